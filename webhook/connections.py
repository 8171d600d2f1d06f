"""The connections of a port: how many there may be, and which gives way where there are too many.

A connection is known here from the moment it is accepted, before its TLS handshake: whoever says nothing at all takes
a descriptor and memory as well. What is said on a connection is left to `server`.
"""

import asyncio
import logging
import resource
import socket
import ssl
import sys
from collections import Counter, OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any, Literal, Protocol, cast

from webhook.logs import Sparing, and_more

logger = logging.getLogger(__name__)

Port = Literal["reviews", "management"]
# What a connection does: its TLS handshake; nothing, since it was made; it sends a request; it is being answered; it
# does not read its answer; nothing, since its last answer; it is being closed.
State = Literal["arriving", "silent", "receiving", "answering", "unread", "idle", "closing"]

# One that says nothing takes 55 kB of memory, with its TLS or without, one that keeps the largest head 115 kB: 110 to
# 230 MiB for all, beside 70 of the process and the 128 below, within the 512 MiB of the chart. An API server has one
# for each request that it works on, by default 600 at the most.
MOST_CONNECTIONS = 2048
# Kubelets and Prometheus have one each.
MOST_MANAGEMENT_CONNECTIONS = 64
# What the process opens itself: files, sockets to the cluster, pipes, and what is accepted before an end is through.
OWN_DESCRIPTORS = 64

# All that is held of requests which are not whole, four of the largest bodies, and of buffers that were large once.
MOST_BYTES = 128 * 2**20

# As many as the API server's own client waits; under a deadline that is not ours, as nothing is known of a request yet.
HANDSHAKE_SECONDS = 10.0
# What a client is given to say that it has seen the end of its connection.
GOODBYE_SECONDS = 5.0
# What handshakes that began before the stop are given.
LAST_HANDSHAKES_SECONDS = 1.0

# Between two looks at the connections that are there.
ACCEPTED_AT_ONCE = 32
# Where there is no room, or no descriptor.
AGAIN_SECONDS = 0.05


class Peer(Protocol):
    """One connection, as far as it concerns the others: a protocol of asyncio's.

    `arriving` is its socket during the handshake, after which it `is_here`.
    """

    arriving: socket.socket | None

    @property
    def is_here(self) -> bool: ...

    def give_way(self) -> None:
        """Ends it, with an answer where something was asked."""

    def abort(self) -> None:
        """Ends it at once."""


class Connections:
    """Who is connected to a port, in the order in which they give way.

    First those that have not asked anything yet, are slow to ask or to read the answer; then those that are idle; of
    either those first that do so for the longest time. One that is being answered never does. A quarter of the places
    is for the slow, so that one that has just come is not the oldest of them because all others are idle.
    """

    def __init__(self, port: Port, most: int, most_bytes: int = MOST_BYTES) -> None:
        self.port = port
        # An end takes a moment: those that are ended have an eighth for themselves, until they are cut off.
        self._most_closing = max(most // 8, 1)
        self._most_open = max(most - self._most_closing, 1)
        self._slow_places = self._most_open // 4
        self._most_bytes, self._all_bytes = most_bytes, 0
        self._states: dict[Peer, State] = {}
        self._bytes: dict[Peer, int] = {}
        self._slow: OrderedDict[Peer, None] = OrderedDict()
        self._idle: OrderedDict[Peer, None] = OrderedDict()
        self._closing: OrderedDict[Peer, None] = OrderedDict()
        self._queues: dict[State, OrderedDict[Peer, None]] = {
            **dict.fromkeys(("arriving", "silent", "receiving", "unread"), self._slow),
            "answering": OrderedDict(),
            "idle": self._idle,
            "closing": self._closing,
        }
        self.gave_way: Counter[State] = Counter({"arriving": 0, "silent": 0, "receiving": 0, "unread": 0, "idle": 0})
        self._lines = Sparing(1)

    def states(self) -> Counter[State]:
        """How many connections do what."""
        return Counter({**dict.fromkeys(self._queues, 0), **Counter(self._states.values())})

    def put(self, peer: Peer, state: State) -> None:
        """Says what a connection does now. One that becomes idle again has its turn after the others."""
        before = self._states.get(peer)
        if before == state:
            if state == "idle":
                self._idle.move_to_end(peer)
            return
        if before is not None:
            del self._queues[before][peer]
        self._states[peer] = state
        self._queues[state][peer] = None

    def remove(self, peer: Peer) -> None:
        """Forgets a connection that has ended."""
        state = self._states.pop(peer, None)
        if state is not None:
            del self._queues[state][peer]
        self.hold(peer, 0)

    def hold(self, peer: Peer, size: int) -> None:
        """Says how many bytes are held for a connection; where all are too many, those that hold some give way."""
        before = self._bytes.get(peer, 0)
        self._all_bytes += size - before
        if size:
            self._bytes[peer] = size
        elif before:
            del self._bytes[peer]
        while self._all_bytes > self._most_bytes:
            holder = self._holder()
            if holder is None:
                return
            if self._states[holder] == "closing":
                self._cut_off(holder)
            else:
                self._end(holder)

    def _holder(self) -> Peer | None:
        """Whose turn it is to give memory back: the slow hold half of it before one of them has to."""
        of_slow = sum(self._bytes.get(each, 0) for each in self._slow)
        order = (self._slow, self._idle) if of_slow > self._most_bytes // 2 else (self._idle, self._slow)
        return next((each for each in chain(self._closing, *order) if each in self._bytes), None)

    def make_room(self) -> bool:
        """Whether there is room for one more, for which those give way whose turn it is."""
        while len(self._closing) > self._most_closing:
            self._cut_off(next(iter(self._closing)))
        while len(self._states) - len(self._closing) >= self._most_open:
            if not self.one_gives_way():
                return False
        return True

    def one_gives_way(self) -> bool:
        """Whether there is one that could."""
        are_many = len(self._slow) > self._slow_places
        peer = next(iter(self._slow if are_many else self._idle or self._slow), None)
        if peer is not None:
            self._end(peer)
        return peer is not None

    def _end(self, peer: Peer) -> None:
        state = self._states[peer]
        self.gave_way[state] += 1
        left_out = self._lines.left_out(state)
        if left_out is not None:
            what = "a connection of the %s port that was %s gave way, as there are too many%s"
            logger.warning(what, self.port, state, and_more(left_out))
        peer.give_way()
        self.put(peer, "closing")

    def _cut_off(self, peer: Peer) -> None:
        self.remove(peer)
        peer.abort()


@dataclass(frozen=True, slots=True)
class MostConnections:
    """How many connections each port may have."""

    reviews: int
    management: int


def most_connections(descriptors: int) -> MostConnections:
    """What a number of descriptors is enough for. Each port has a few in any case."""
    free = descriptors - OWN_DESCRIPTORS
    management = min(MOST_MANAGEMENT_CONNECTIONS, max(free // 8, 8))
    return MostConnections(min(MOST_CONNECTIONS, max(free - management, 16)), management)


def all_descriptors() -> int:
    """How many descriptors the process may have: it takes what the system allows it, and not what it begins with."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # systems that say "without a limit" and have one
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


class Door:
    """Lets connections in at a listening socket; where they are too many, others give way to them.

    It is what uvicorn takes for a server of asyncio's, which would wait for a client's handshake without knowing it.
    """

    def __init__(
        self,
        listening: socket.socket,
        new_protocol: Callable[[], Peer],
        connections: Connections,
        tls: ssl.SSLContext | None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._listening, self._new_protocol, self._connections = listening, new_protocol, connections
        self._tls_options: dict[str, Any] = {}
        if tls is not None:
            times = {"ssl_handshake_timeout": HANDSHAKE_SECONDS, "ssl_shutdown_timeout": GOODBYE_SECONDS}
            self._tls_options = {"ssl": tls, **times}
        self._arriving: set[asyncio.Task[object]] = set()
        self._lines = Sparing(1)
        listening.setblocking(False)
        self._open()

    def _open(self) -> None:
        if self._listening.fileno() >= 0:  # it may have been closed meanwhile
            self._loop.add_reader(self._listening, self._let_in)

    def _let_in(self) -> None:
        for _ in range(ACCEPTED_AT_ONCE):
            if not self._connections.make_room():
                self._wait()
                return
            try:
                accepted, _ = self._listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                left_out = self._lines.left_out(error.errno)
                if left_out is not None:
                    logger.error("no connection can be accepted now: %s%s", error.strerror, and_more(left_out))
                self._connections.one_gives_way()
                self._wait()
                return
            self._arrive(accepted)

    def _wait(self) -> None:
        """Leaves connections to the system for a moment."""
        self._loop.remove_reader(self._listening)
        self._loop.call_later(AGAIN_SECONDS, self._open)

    def _arrive(self, accepted: socket.socket) -> None:
        accepted.setblocking(False)
        peer = self._new_protocol()
        protocol = cast("asyncio.BaseProtocol", peer)
        connecting = self._loop.connect_accepted_socket(lambda: protocol, accepted, **self._tls_options)
        peer.arriving, task = accepted, self._loop.create_task(connecting)
        self._connections.put(peer, "arriving")
        self._arriving.add(task)
        task.add_done_callback(partial(self._arrived, peer, accepted))

    def _arrived(self, peer: Peer, accepted: socket.socket, task: asyncio.Task[object]) -> None:
        self._arriving.discard(task)
        peer.arriving = None
        if not peer.is_here:
            self._connections.remove(peer)
            hang_up(accepted)
            accepted.close()  # as the loop does, where it had come to taking it
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, OSError):
            raise error

    def close(self) -> None:
        """Lets nobody in any more."""
        self._loop.remove_reader(self._listening)

    async def wait_closed(self) -> None:
        """Waits a little for the handshakes that have begun; those that come to no end are cut off."""
        if self._arriving:
            await asyncio.wait(self._arriving, timeout=LAST_HANDSHAKES_SECONDS)
        for task in self._arriving:
            task.cancel()


def hang_up(accepted: socket.socket) -> None:
    """Ends what a loop may be in the middle of: it finds the end of the stream, and closes what it has of it."""
    with suppress(OSError):
        accepted.shutdown(socket.SHUT_RDWR)
