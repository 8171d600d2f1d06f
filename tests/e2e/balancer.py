"""As a Service of Kubernetes does it: each new connection goes to a replica that is ready, old ones stay."""

import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from threading import Thread

# Closing then sends a reset, which is how a connection to nobody ends.
RESET = struct.pack("ii", 1, 0)


@contextmanager
def balancer(ready_ports: Callable[[], Sequence[int]]) -> Iterator[int]:
    """The port of a balancer; `ready_ports` is asked for each new connection, which is reset where nobody answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        accepting = Thread(target=_accept, args=(listening, ready_ports))
        accepting.start()
        try:
            yield int(listening.getsockname()[1])
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            accepting.join()


def _accept(listening: socket.socket, ready_ports: Callable[[], Sequence[int]]) -> None:
    connections = []
    with suppress(OSError):  # the listener was shut down
        for turn in count():
            client, _ = listening.accept()
            connections.append(Thread(target=_connect, args=(client, ready_ports(), turn)))
            connections[-1].start()
    for connection in connections:
        connection.join()


def _connect(client: socket.socket, ports: Sequence[int], turn: int) -> None:
    """Passes on what both sides say, until both have ended."""
    with client:
        try:
            replica = socket.create_connection(("127.0.0.1", ports[turn % len(ports)]))
        except (ConnectionError, ZeroDivisionError):  # it is gone, or none is ready
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            return
        with replica:
            forth = Thread(target=_pump, args=(client, replica))
            forth.start()
            _pump(replica, client)
            forth.join()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
