"""The load generator: prepared requests over kept-alive TLS connections, one in flight on each.

One thread, epoll and OpenSSL, because it has to be faster than what it measures: it says how busy it was, so that
a figure it limited itself can be told. Reviews are sent as the API server does; connections that a
server asks to close are opened again, and that time counts.
"""

import gc
import select
import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle

ANSWER_SECONDS = 30.0


class BadAnswer(RuntimeError):
    """A server answered with something else than 200, or closed a connection in the middle of an answer."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a server is. `tls` verifies its certificate for `localhost`."""

    port: int
    tls: ssl.SSLContext
    path: str = "/mutate?timeout=2s"

    def request(self, review: bytes) -> bytes:
        """The request with this review as the API server sends it (head and body in one piece)."""
        head = (
            f"POST {self.path} HTTP/1.1\r\nHost: localhost:{self.port}\r\nUser-Agent: kube-apiserver-admission\r\n"
            f"Content-Length: {len(review)}\r\nAccept: application/json, */*\r\nContent-Type: application/json\r\n"
            "Accept-Encoding: gzip\r\n\r\n"
        )
        return head.encode() + review


@dataclass(frozen=True, slots=True)
class Load:
    """What came of it: reviews answered, wall seconds, the latency of each in seconds, and the share of the
    time in which the generator had something to do (0 to 1; near 1 means that it was the bottleneck)."""

    reviews: int
    seconds: float
    latencies: tuple[float, ...]
    generator_busy: float

    @property
    def per_second(self) -> float:
        return self.reviews / self.seconds


def saturate(target: Target, reviews: Sequence[bytes], *, connections: int, seconds: float = 0, count: int = 0) -> Load:
    """Keep every connection busy for `seconds`, or for `count` reviews; the reviews take turns.

    It polls without sleeping: a server that has to wake it would pay for that with every answer.
    """
    requests = cycle([target.request(review) for review in reviews])
    with _Connections(target, connections) as pool, _without_garbage_collection():
        latencies: list[float] = []
        idle = 0.0
        started = last_answer = time.perf_counter()
        end = started + seconds if seconds else float("inf")
        last = count - connections if count else float("inf")
        for connection in pool.idle:
            connection.send(next(requests))
        waiting = len(pool.idle)
        while waiting:
            polled = time.perf_counter()
            for connection in pool.answered(timeout=0):
                now = last_answer = time.perf_counter()
                latencies.append(now - connection.sent)
                if now < end and len(latencies) <= last:
                    connection.send(next(requests))
                else:
                    waiting -= 1
            if last_answer < polled:
                idle += time.perf_counter() - polled
                if polled > last_answer + ANSWER_SECONDS:
                    raise BadAnswer(f"no answer within {ANSWER_SECONDS:.0f} s")
        elapsed = time.perf_counter() - started
        return Load(len(latencies), elapsed, tuple(latencies), 1 - idle / elapsed)


def pace(target: Target, review: bytes, *, connections: int, rate: float, seconds: float) -> Load:
    """Send `rate` reviews a second at fixed times, whether or not the last were answered.

    Latency counts from the time a review was due, so that a server that stalls cannot hide it. The generator polls
    without sleeping; its busy share says nothing here.
    """
    request = target.request(review)
    with _Connections(target, connections) as pool, _without_garbage_collection():
        latencies: list[float] = []
        idle = list(pool.idle)
        total = int(rate * seconds)
        started = time.perf_counter()
        due = [started + i / rate for i in range(total)]
        sent = 0
        while len(latencies) < total:
            while sent < total and idle and due[sent] <= time.perf_counter():
                connection = idle.pop()
                connection.send(request)
                connection.sent = due[sent]
                sent += 1
            for connection in pool.answered(timeout=0):
                latencies.append(time.perf_counter() - connection.sent)
                idle.append(connection)
            if time.perf_counter() > started + seconds + ANSWER_SECONDS:
                raise BadAnswer(f"no answer within {ANSWER_SECONDS:.0f} s")
        return Load(total, time.perf_counter() - started, tuple(latencies), 1.0)


def answer(target: Target, review: bytes) -> bytes:
    """The body of the answer to one review."""
    with _Connections(target, 1) as pool:
        connection = pool.idle[0]
        connection.send(target.request(review))
        while not list(pool.answered()):
            pass
        return connection.body


class _Connection:
    """One kept-alive connection with at most one request in flight; opened again where the server asks for it."""

    def __init__(self, target: Target, pool: "_Connections") -> None:
        self.sent = 0.0
        self.body = b""
        self._target, self._pool = target, pool
        self._buffer = b""
        self._open()

    def _open(self) -> None:
        plain = socket.create_connection(("127.0.0.1", self._target.port), timeout=ANSWER_SECONDS)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = self._target.tls.wrap_socket(plain, server_hostname="localhost")
        self._socket.setblocking(False)
        self._is_closing = False
        self._pool.watch(self, self._socket)

    def close(self) -> None:
        self._pool.forget(self._socket)
        self._socket.close()

    def send(self, request: bytes) -> None:
        self.sent = time.perf_counter()
        if self._is_closing:
            self.close()
            self._open()
        rest = memoryview(request)
        while rest:
            try:
                rest = rest[self._socket.send(rest) :]
            except ssl.SSLWantWriteError:
                select.select([], [self._socket], [], ANSWER_SECONDS)

    def is_answered(self) -> bool:
        """Read what there is; True when the whole answer has come. Raises BadAnswer."""
        while not self._is_whole():
            try:
                received = self._socket.recv(16384)  # at most one TLS record
            except ssl.SSLWantReadError:
                return False
            if not received:
                if self._is_closing:  # as its last answer said, and nothing was sent since
                    return False
                raise BadAnswer(f"the connection was closed after {self._buffer[:200]!r}")
            self._buffer += received
        return True

    def _is_whole(self) -> bool:
        buffer = self._buffer
        head_end = buffer.find(b"\r\n\r\n")
        if head_end < 0:
            return False
        head, body = buffer[:head_end].lower(), buffer[head_end + 4 :]
        if not head.startswith(b"http/1.1 200"):
            raise BadAnswer(repr(buffer[:300]))
        length = head.find(b"content-length: ")
        if length >= 0:
            is_whole = len(body) >= int(head[length + 16 :].partition(b"\r\n")[0])
        else:  # Go answers in chunks above 2 kB
            is_whole = body.endswith(b"0\r\n\r\n")
        if is_whole:
            self.body, self._buffer = body, b""
            self._is_closing = b"connection: close" in head
        return is_whole


class _Connections:
    def __init__(self, target: Target, count: int) -> None:
        self._poll = select.epoll()
        self._by_fileno: dict[int, _Connection] = {}
        self.idle = [_Connection(target, self) for _ in range(count)]

    def watch(self, connection: _Connection, connected: socket.socket) -> None:
        self._by_fileno[connected.fileno()] = connection
        self._poll.register(connected, select.EPOLLIN)

    def forget(self, connected: socket.socket) -> None:
        self._poll.unregister(connected)
        del self._by_fileno[connected.fileno()]

    def answered(self, timeout: float = ANSWER_SECONDS) -> Iterator[_Connection]:
        """Connections whose answer has come; waits up to `timeout` seconds for one. Raises BadAnswer when none does."""
        events = self._poll.poll(timeout)
        if not events and timeout:
            raise BadAnswer(f"no answer within {timeout:.0f} s")
        for fileno, _ in events:
            connection = self._by_fileno[fileno]
            if connection.is_answered():
                yield connection

    def __enter__(self) -> "_Connections":
        return self

    def __exit__(self, *_: object) -> None:
        for connection in list(self._by_fileno.values()):
            connection.close()
        self._poll.close()


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
