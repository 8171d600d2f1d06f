"""Serves the apps with uvicorn: connections that end in time, reviews on a short way, and a stop that loses none.

A review that arrives the way the API server sends it (POST, a Content-Length, JSON) is answered within the connection
itself. An ASGI request costs a task, an event, two writes and thus two TLS records, together more than deciding
most pods. Everything else, errors of HTTP and namespaces that are to be looked up among it, takes uvicorn's usual way
to the app, and both ways call the same `Reviews.answer`.
"""

import asyncio
import contextlib
import logging
import random
import signal
import socket
import ssl
from collections.abc import Callable, Coroutine, Iterator, Sequence, Set
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, cast

import msgspec
import uvicorn
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from webhook.app import ENDS_AT, LARGEST_BODY_BYTES, Answer, Load, Reviews, is_json, seconds_to_answer
from webhook.connections import Connections, Door, State, all_descriptors, hang_up, most_connections
from webhook.decision import Endpoint
from webhook.snapshot import UnknownNamespace
from webhook.tls import names_of_client

logger = logging.getLogger(__name__)

_REVIEWS: dict[bytes, Endpoint] = {b"/mutate": "mutate", b"/validate": "validate"}

# The API server's is 300 bytes in seven headers; a proxy's may be some kilobytes.
LARGEST_HEAD_BYTES = 16 * 1024
MOST_HEADERS = 100
# The buffers of uvloop and OpenSSL grow with the largest request of a connection and stay as long as it does: measured,
# to three times its size and to 375 kB at the most.
USUAL_REQUEST_BYTES, MOST_BUFFERED_BYTES, BUFFERS = 16 * 1024, 128 * 1024, 3
# Requests of a client that does not wait for answers. The API server's does.
MOST_AHEAD = 16

# A request comes in one piece, or in a few milliseconds; who has less of it than that is slow on purpose, or lost.
LONGEST_TO_RECEIVE_SECONDS = 2.0
LONGEST_TO_READ_SECONDS = 10.0
# A loop that had much to do looks at its timers before it looks at what has come meanwhile.
ONE_TURN_SECONDS = 0.001

# Connections of one start do not all end at one time.
JITTER = 0.2
# After the drain time only what was just being answered is left.
FINISH_SECONDS = 10
BACKLOG = 2048


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """When a connection is ended by a response, in requests and seconds; each loses up to a fifth at random.

    `keep_alive_seconds` is how long an idle one stays: above the API server's own 90 s, so that we never close first.
    """

    max_requests: int = 1000
    max_age_seconds: float = 300.0
    keep_alive_seconds: int = 120


class _TooMuch(Exception):
    """What is not read to its end."""


class Connection(HttpToolsProtocol):
    """uvicorn's connection, which waits for nobody without end and tells `Connections` what it does.

    A request has to be whole soon after it began, and an answer to be read.
    """

    def __init__(self, *args: Any, connections: Connections, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.arriving: socket.socket | None = None
        self._connections = connections
        self._between: Literal["silent", "idle"] = "silent"  # requests
        self._is_unwanted, self._is_lost = False, False
        # Of the request that is being received:
        self._part: Literal["head", "body"] | None = None
        self._chunk_bytes, self._shares_chunk = 0, False
        self._received, self._head_bytes = 0, 0
        self._largest = USUAL_REQUEST_BYTES
        self._objection: str | None = None
        self._began_at = 0.0
        self._deadline: asyncio.TimerHandle | None = None
        self._reading: asyncio.TimerHandle | None = None
        self._takes_data = False

    @property
    def is_here(self) -> bool:
        # uvicorn's annotation leaves out that there is none before the first call of `connection_made`.
        return cast("asyncio.Transport | None", self.transport) is not None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        if self._is_unwanted:  # it had to give way in the last moment of its handshake
            transport.abort()
        self._settle()

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_lost = True
        self._forget_request()
        if self._reading is not None:
            self._reading.cancel()
        self._connections.remove(self)
        super().connection_lost(exc)
        # uvicorn leaves the timer to a connection that was reset, and with it all its memory.
        self._unset_keepalive_if_required()

    def give_way(self) -> None:
        if not self.is_here or self.flow.write_paused:
            self.abort()
        else:
            self._end_request("there are too many, and this one is the oldest that is not whole")

    def abort(self) -> None:
        if self.is_here:
            self.transport.abort()
        elif self.arriving is not None:
            hang_up(self.arriving)
            self._is_unwanted = True

    def data_received(self, data: bytes) -> None:
        self._chunk_bytes, self._shares_chunk = len(data), False
        so_far = self._received + self._chunk_bytes
        self._takes_data = True
        super().data_received(data)
        self._takes_data = False
        if self._part is not None:
            self._count()
        if so_far > self._largest < MOST_BUFFERED_BYTES:
            self._largest = min(so_far, MOST_BUFFERED_BYTES)
            self._hold()
        self._settle()

    def _count(self) -> None:
        """Counts what has come of a request that is not whole."""
        if self.transport.is_closing():
            return
        self._received += self._chunk_bytes
        if self._part == "head" and not self._shares_chunk:
            self._head_bytes += self._chunk_bytes
        reason = self._why_too_much(self._head_bytes)
        if reason is not None:
            self.send_400_response(reason)
        else:
            self._hold()

    def _hold(self) -> None:
        if not self._is_lost:
            received = min(self._received, LARGEST_BODY_BYTES + LARGEST_HEAD_BYTES)
            self._connections.hold(self, BUFFERS * (self._largest - USUAL_REQUEST_BYTES) + received)

    def _why_too_much(self, head_bytes: int) -> str | None:
        """What is wrong with the head so far; there are headers behind a body in chunks, too."""
        if head_bytes > LARGEST_HEAD_BYTES:
            return f"The head of the request is larger than {LARGEST_HEAD_BYTES} bytes."
        if len(self.headers) > MOST_HEADERS:
            return f"The request has more than {MOST_HEADERS} headers."
        return None

    def send_400_response(self, msg: str) -> None:
        if self._is_busy():  # it would pass for the answer to a request before
            self.transport.abort()
        else:
            super().send_400_response(self._objection or msg)
        if self.headers:  # they may be many
            self.headers.clear()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._part = "head"

    def on_headers_complete(self) -> None:
        # Most are in one small chunk, with a body behind them.
        if self._head_bytes + self._chunk_bytes > LARGEST_HEAD_BYTES or len(self.headers) > MOST_HEADERS:
            size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
            self._objection = self._why_too_much(size)
            if self._objection is not None:
                raise _TooMuch
        self._part, self._head_bytes = "body", 0
        self._on_head()

    def _on_head(self) -> None:
        """Has the app answer, after the requests before."""
        if len(self.pipeline) >= MOST_AHEAD:
            raise _TooMuch
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._forget_request()
        super().on_message_complete()

    def _forget_request(self) -> None:
        """Once it is whole, or comes to no end."""
        self._part, self._shares_chunk = None, True
        if not self._received:
            return  # it came in one piece
        self._received = 0
        self._hold()
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._between = "idle"
        if not self._takes_data:  # else once for all that came
            self._settle()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._reading = self.loop.call_later(LONGEST_TO_READ_SECONDS, self.abort)
        self._settle()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None
        self._settle()

    def _is_busy(self) -> bool:
        """Whether the request before this one still waits for its answer."""
        # uvicorn's annotation leaves out that there is no cycle before the first request.
        return self.cycle is not None and not self.cycle.response_complete  # type: ignore[redundant-expr]

    def _settle(self) -> None:
        """Tells what the connection does now, and sees to it that it does not wait without end."""
        if self._is_lost:  # uvicorn answers some requests of it all the same
            return
        state = self._state()
        self._connections.put(self, state)
        if state == "receiving":
            self._wait_for_the_rest()
        elif self.timeout_keep_alive_task is None and state == self._between:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _state(self) -> State:
        if self.transport.is_closing():
            return "closing"
        if self.flow.write_paused:
            return "unread"
        if self._is_busy():
            return "answering"
        return "receiving" if self._part is not None else self._between

    def _wait_for_the_rest(self) -> None:
        """Ends the request where its rest does not come soon enough after its begin."""
        if self._deadline is None:
            self._began_at = self.loop.time()
        ends_at = self._began_at + self._seconds_to_receive()
        if self._deadline is None or self._deadline.when() > ends_at:
            if self._deadline is not None:
                self._deadline.cancel()
            self._deadline = self.loop.call_at(ends_at, self._look_once_more)

    def _seconds_to_receive(self) -> float:
        return LONGEST_TO_RECEIVE_SECONDS

    def _look_once_more(self) -> None:
        self.loop.call_later(ONE_TURN_SECONDS, self._is_late, self._deadline)

    def _is_late(self, deadline: asyncio.TimerHandle | None) -> None:
        """Part of a request came and the rest did not."""
        if deadline is not None and deadline is self._deadline:
            self._end_request(f"the body did not arrive within {self._seconds_to_receive():.1f} s")

    def _end_request(self, reason: str) -> None:
        """Ends the connection, and says why where somebody asked something."""
        logger.debug("a connection ended: %s", reason)
        self._forget_request()
        self.transport.close()
        self._settle()


class ReviewConnection(Connection):
    """A connection that receives reviews and answers them itself, and ends by a response after some requests or time.

    What has to wait for something, and what is no review, it leaves to the app; there a review's body is whole.
    """

    def __init__(
        self,
        *args: Any,
        reviews: Reviews,
        load: Load,
        limits: ConnectionLimits,
        client_names: Set[str],
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._client_names, self._is_stranger = client_names, False
        self._reviews, self._load = reviews, load
        jitter = random.uniform(1 - JITTER, 1)  # noqa: S311 - spreads load, hides nothing
        self._requests_left = round(limits.max_requests * jitter)
        self._ends_at = self.loop.time() + limits.max_age_seconds * jitter
        self._review: _Review | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        if self._client_names and self._client_names.isdisjoint(_names_of_client(transport)):
            self._is_stranger = True
            self.app = self._refuse

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The app of a client whose certificate is of the right CA and has none of the names that are asked for."""
        names = ", ".join(sorted(_names_of_client(self.transport)))
        answer = self._reviews.refused(403, f"--client-name accepts no certificate of {names[:200]!r}")
        await PlainTextResponse(answer.body, answer.status, {"connection": "close"})(scope, receive, send)

    def _on_head(self) -> None:
        self._requests_left -= 1
        is_last = self._requests_left <= 0 or self._load.state != "serving" or self.loop.time() >= self._ends_at
        endpoint = self._endpoint()
        if endpoint is None:
            super()._on_head()
            if is_last:
                self.cycle.keep_alive = False
            return
        is_last = is_last or self.parser.get_http_version() != "1.1" or not self.parser.should_keep_alive()
        self._review = _Review(endpoint, is_last)
        if self.expect_100_continue and not self._is_busy() and self.parser.get_http_version() == "1.1":
            self.expect_100_continue = False  # for the app, if it is asked
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _endpoint(self) -> Endpoint | None:
        """Whose review this is; None for what the app answers without reading a body."""
        endpoint = _REVIEWS.get(self.url.partition(b"?")[0])
        if (
            endpoint is None
            or self.parser.get_method() != b"POST"
            or self.parser.should_upgrade()
            or not self._load.takes_reviews
            or self._is_stranger
        ):
            return None
        content_type = b""
        for name, value in self.headers:
            if name == b"content-type":
                content_type = value
        return endpoint if is_json(content_type) else None

    def on_body(self, body: bytes) -> None:
        if self._review is None:
            super().on_body(body)
        else:
            self._review.add(body)

    def on_message_complete(self) -> None:
        review = self._review
        if review is None:
            super().on_message_complete()
            return
        began_at = self._began_at if self._deadline is not None else None
        self._review = None
        self._forget_request()
        if self._is_busy() or self.flow.write_paused:
            self._ask_app(review, began_at)
            return
        try:
            answer = self._reviews.answer(review.endpoint, bytes(review.body))
        except UnknownNamespace:
            self._ask_app(review, began_at)
        else:
            self._write(answer, is_last=review.is_last)

    def _ask_app(self, review: "_Review", began_at: float | None) -> None:
        """Lets the app answer: a namespace has to be looked up, or its turn has not come, and only there can it wait.

        uvicorn is told of the head only now; what it reads of it stays until the next request begins.
        """
        if began_at is not None:
            seconds = seconds_to_answer(self.url.partition(b"?")[2])
            self.scope[ENDS_AT] = began_at + seconds  # type: ignore[literal-required]  # one key more than ASGI's
        super()._on_head()
        self.cycle.keep_alive = not review.is_last
        super().on_body(bytes(review.body))
        super().on_message_complete()

    def _write(self, answer: Answer, *, is_last: bool) -> None:
        is_last = is_last or answer.asks_for_another_try
        parts = [STATUS_LINE[answer.status]]
        for name, value in self.server_state.default_headers:
            parts += (name, b": ", value, b"\r\n")
        parts += (
            b"content-type: %b\r\ncontent-length: %d\r\n" % (answer.content_type, len(answer.body)),
            b"connection: close\r\n" if is_last else b"",
            b"retry-after: 1\r\n" if answer.asks_for_another_try else b"",
            b"\r\n",
            answer.body,
        )
        self.transport.write(b"".join(parts))
        if is_last:
            self.transport.close()
        HttpToolsProtocol.on_response_complete(self)  # who asked for it settles
        self._between = "idle"
        self.headers.clear()  # an idle connection would keep them

    def _seconds_to_receive(self) -> float:
        most = super()._seconds_to_receive()
        return most if self._review is None else min(most, seconds_to_answer(self.url.partition(b"?")[2]))

    def _end_request(self, reason: str) -> None:
        if self._review is None:
            super()._end_request(reason)
        else:
            self._review = None
            self._forget_request()
            self._write(self._reviews.refused(503, reason), is_last=True)
            self._settle()

    def shutdown(self) -> None:
        """Ends the connection, after the answer where a review is being received."""
        if self._review is None:
            super().shutdown()
        else:
            self._review.is_last = True


class _Review(msgspec.Struct):
    """A review whose head is read, and what has come of its body."""

    endpoint: Endpoint
    is_last: bool
    body: bytes | bytearray = b""

    def add(self, piece: bytes) -> None:
        """Of a body that is too large a byte more is kept than is accepted."""
        if not self.body:
            self.body = piece  # usually all of it, which is not copied
            return
        if isinstance(self.body, bytes):
            self.body = bytearray(self.body)
        self.body += piece[: LARGEST_BODY_BYTES + 1 - len(self.body)]


def _names_of_client(transport: asyncio.Transport) -> frozenset[str]:
    return names_of_client(transport.get_extra_info("peercert"))


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, connections: Connections) -> None:
        super().__init__(config)
        self._connections = connections

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Lets connections in by our own door, which knows how many there are."""
        doors = [Door(each, self._new, self._connections, self.config.ssl) for each in sockets or ()]
        self.servers = cast("list[asyncio.base_events.Server]", doors)
        self.started = True

    def _new(self) -> Connection:
        new = cast("Callable[..., Connection]", self.config.http_protocol_class)
        return new(config=self.config, server_state=self.server_state, app_state={}, connections=self._connections)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """None: both servers of the process stop in an order, and the exit code after SIGTERM is 0."""
        yield


def listen(host: str, port: int) -> socket.socket:
    """A listening socket, of IPv6 and IPv4 both for `::`. Port 0 takes a free one. Raises OSError."""
    family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    is_any = family == socket.AF_INET6 and host == "::"
    return socket.create_server(
        (str(address[0]), int(address[1])),
        family=family,
        backlog=BACKLOG,
        dualstack_ipv6=is_any and socket.has_dualstack_ipv6(),
    )


@dataclass(frozen=True, slots=True)
class Served:
    """What is served where: reviews over TLS, probes and metrics without.

    With `client_names`, reviews need a client certificate with one of them; that there is one, `tls` sees to.
    `background` runs as long as the server does, in its event loop: what keeps policies and namespaces up to date.
    """

    reviews: Reviews
    load: Load
    review_app: FastAPI
    review_socket: socket.socket
    tls: ssl.SSLContext
    management_app: FastAPI
    management_socket: socket.socket
    limits: ConnectionLimits = ConnectionLimits()
    background: Sequence[Callable[[], Coroutine[Any, Any, None]]] = ()
    client_names: Set[str] = frozenset()


async def serve(served: Served, *, drain_seconds: float) -> None:
    """Serves until SIGTERM or SIGINT, then answers on for `drain_seconds` and finishes what it has.

    While it drains, every response ends its connection, so that the API server's next one goes elsewhere; a second
    signal ends the draining. Cancelling closes at once. What fails in the background ends the server, too.
    """
    stopping = asyncio.Event()
    at_once = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop() -> None:
        (at_once if stopping.is_set() else stopping).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    most = most_connections(all_descriptors())
    known = Connections("reviews", most.reviews), Connections("management", most.management)
    served.reviews.metrics.connections = known
    reviews = _Server(_review_config(served), known[0])
    management = _Server(_config(served.management_app, served.limits, Connection), known[1])
    serving = [
        asyncio.create_task(server.serve(sockets=[listener]))
        for server, listener in ((management, served.management_socket), (reviews, served.review_socket))
    ]
    background = [asyncio.create_task(run()) for run in served.background]
    served.reviews.log.later = loop.call_later
    served.load.state = "serving"
    await _first(stopping.wait(), *serving, *background)
    served.load.state = "draining"
    if drain_seconds and not any(task.done() for task in (*serving, *background)):
        logger.info("draining for %g s: not ready, and every response ends its connection", drain_seconds)
        await _first(at_once.wait(), asyncio.sleep(drain_seconds), *serving, *background)
    served.load.state = "stopped"
    for server, task in ((reviews, serving[1]), (management, serving[0])):
        server.should_exit = True
        await task
    for task in background:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _first(*awaitables: Any) -> None:
    """Waits until one is done; those that it made tasks of itself are cancelled then."""
    tasks = [asyncio.ensure_future(awaitable) for awaitable in awaitables]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task, awaitable in zip(tasks, awaitables, strict=True):
        if task is not awaitable:
            task.cancel()


def _review_config(served: Served) -> uvicorn.Config:
    connection = partial(
        ReviewConnection,
        reviews=served.reviews,
        load=served.load,
        limits=served.limits,
        client_names=served.client_names,
    )
    return _config(served.review_app, served.limits, connection, ssl_context_factory=lambda *_: served.tls)


def _config(
    app: FastAPI, limits: ConnectionLimits, connection: Callable[..., Connection], **options: Any
) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=cast("type[asyncio.Protocol]", connection),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=limits.keep_alive_seconds,
        timeout_graceful_shutdown=FINISH_SECONDS,
        **options,
    )


def run(served: Served, *, drain_seconds: float) -> None:
    """`serve` on the fastest event loop there is."""
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(serve(served, drain_seconds=drain_seconds))
        finally:
            served.reviews.log.flush()


def addresses(sockets: Sequence[socket.socket]) -> list[str]:
    """host:port of each, as a URL writes it."""
    found = []
    for listening in sockets:
        host, port = listening.getsockname()[:2]
        found.append(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    return found
