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
from typing import Any, cast

import uvicorn
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from webhook.app import ENDS_AT, Answer, Load, Reviews, is_json, seconds_to_answer
from webhook.decision import Endpoint
from webhook.snapshot import UnknownNamespace
from webhook.tls import names_of_client

logger = logging.getLogger(__name__)

# Reviews above it take the usual way, which bounds what all bodies together take of memory.
LARGEST_DIRECT_BYTES = 256 * 1024
_DIRECT: dict[bytes, Endpoint] = {b"/mutate": "mutate", b"/validate": "validate"}

# The API server's is 300 bytes; a proxy's may be some kilobytes.
LARGEST_HEAD_BYTES = 64 * 1024

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


class Connection(HttpToolsProtocol):
    """uvicorn's connection, which ends by a response after some requests or time and answers usual reviews itself.

    A client that sends nothing, or no end of a head, is not waited for without end either.
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
        self._endpoint: Endpoint | None = None  # of the review that is being received on the short way
        self._chunks: list[bytes] = []
        self._is_last = False
        self._deadline: asyncio.TimerHandle | None = None
        self._head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        if self._client_names and self._client_names.isdisjoint(_names_of_client(transport)):
            self._is_stranger = True
            self.app = self._refuse
        self._wait_for_a_head()

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The app of a client whose certificate is of the right CA and has none of the names that are asked for."""
        names = ", ".join(sorted(_names_of_client(self.transport)))
        answer = self._reviews.refused(403, f"--client-name accepts no certificate of {names[:200]!r}")
        await PlainTextResponse(answer.body, answer.status, {"connection": "close"})(scope, receive, send)

    def _wait_for_a_head(self) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def on_headers_complete(self) -> None:
        self._head_bytes = 0
        self._requests_left -= 1
        is_last = self._requests_left <= 0 or self._load.state != "serving" or self.loop.time() >= self._ends_at
        endpoint = self._direct_endpoint()
        if endpoint is None:
            super().on_headers_complete()
            if is_last:
                self.cycle.keep_alive = False
            return
        self._endpoint, self._chunks = endpoint, []
        self._is_last = is_last or not self.parser.should_keep_alive()
        self._load.in_flight += 1

    def _direct_endpoint(self) -> Endpoint | None:
        """Whose review this is, where it can be answered on the short way."""
        endpoint = _DIRECT.get(self.url.partition(b"?")[0])
        if (
            endpoint is None
            or self.parser.get_method() != b"POST"
            or self.parser.get_http_version() != "1.1"
            or self.parser.should_upgrade()
            or self.expect_100_continue
            or self._is_busy()
            or self.flow.write_paused
            or self._load.why_refused() is not None
            or self._is_stranger
        ):
            return None
        length, is_review = b"", False
        for name, value in self.headers:
            if name == b"content-length":
                length = value
            elif name == b"content-type":
                is_review = is_json(value)
        is_short = length.isdigit() and int(length) <= LARGEST_DIRECT_BYTES
        return endpoint if is_short and is_review else None

    def _is_busy(self) -> bool:
        """Whether the request before this one still waits for its answer."""
        # uvicorn's annotation leaves out that there is no cycle before the first request.
        return self.cycle is not None and not self.cycle.response_complete  # type: ignore[redundant-expr]

    def on_body(self, body: bytes) -> None:
        if self._endpoint is None:
            super().on_body(body)
        else:
            self._chunks.append(body)

    def on_message_complete(self) -> None:
        if self._endpoint is None:
            super().on_message_complete()
            return
        endpoint, chunks, deadline = self._endpoint, self._chunks, self._deadline
        self._forget_review()
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        try:
            answer = self._reviews.answer(endpoint, body)
        except UnknownNamespace:
            self._take_the_usual_way(body, deadline)
        else:
            self._write(answer)

    def _take_the_usual_way(self, body: bytes, deadline: asyncio.TimerHandle | None) -> None:
        """Lets the app answer after all: its namespace has to be looked up, and only there can an answer wait.

        uvicorn is told of the head only now; what it reads of it stays until the next request begins.
        """
        if deadline is not None:
            self.scope[ENDS_AT] = deadline.when()  # type: ignore[literal-required]  # one key more than ASGI's
        super().on_headers_complete()
        self.cycle.keep_alive = not self._is_last
        super().on_body(body)
        super().on_message_complete()

    def _write(self, answer: Answer) -> None:
        is_last = self._is_last or answer.asks_for_another_try
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
        self.on_response_complete()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._endpoint is not None:
            if self._deadline is None:
                seconds = seconds_to_answer(self.url.partition(b"?")[2])
                self._deadline = self.loop.call_later(seconds, self._give_up, seconds)
        elif self.timeout_keep_alive_task is None and not self._is_busy() and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > LARGEST_HEAD_BYTES:
                self.send_400_response(f"The head of the request is larger than {LARGEST_HEAD_BYTES} bytes.")
            else:
                self._wait_for_a_head()

    def _give_up(self, seconds: float) -> None:
        """Part of a review came and the rest did not."""
        self._forget_review()
        self._is_last = True
        self._write(self._reviews.refused(503, f"the body did not arrive within {seconds:.1f} s"))

    def _forget_review(self) -> None:
        self._endpoint, self._chunks = None, []
        self._load.in_flight -= 1
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def connection_lost(self, exc: Exception | None) -> None:
        if self._endpoint is not None:
            self._forget_review()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Ends the connection, after the answer where a review is being received."""
        if self._endpoint is None:
            super().shutdown()
        else:
            self._is_last = True


def _names_of_client(transport: asyncio.Transport) -> frozenset[str]:
    return names_of_client(transport.get_extra_info("peercert"))


class _Server(uvicorn.Server):
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
    reviews = _Server(_review_config(served))
    management = _Server(_config(served.management_app, served.limits))
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
        Connection,
        reviews=served.reviews,
        load=served.load,
        limits=served.limits,
        client_names=served.client_names,
    )
    return _config(
        served.review_app,
        served.limits,
        http=cast("type[asyncio.Protocol]", connection),
        ssl_context_factory=lambda *_: served.tls,
    )


def _config(app: FastAPI, limits: ConnectionLimits, **options: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=limits.keep_alive_seconds,
        timeout_graceful_shutdown=FINISH_SECONDS,
        **{"http": "httptools", **options},
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
