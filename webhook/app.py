"""The service as ASGI apps: reviews in, answers out; and probes and metrics on a port of their own.

Everything about HTTP that the API server sees is here: status codes, content types, size, deadline and overload
(section 7). What is decided is left to the core, connections and TLS to `server`.
"""

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from webhook.admission import InvalidReview, decode, encode
from webhook.decision import Decision, Endpoint
from webhook.effective_report import EffectiveReport
from webhook.logs import ReviewLog, Sparing, and_more
from webhook.metrics import Metrics
from webhook.printable import shown
from webhook.resources import InvalidPod
from webhook.review import Review
from webhook.snapshot import Snapshot, UnknownNamespace

logger = logging.getLogger(__name__)

# A pod of 2.9 MB of "<" makes a review of 17 MB, and an update carries two pods (contract C-06).
LARGEST_BODY_BYTES = 32 * 2**20

# What is kept of the API server's time for the way back; its own default is used where it names none.
DEADLINE_MARGIN_SECONDS = 0.2
DEFAULT_TIMEOUT_SECONDS, LONGEST_TIMEOUT_SECONDS = 10.0, 30.0

# In an ASGI scope: when the answer is due by the event loop's clock, where that was settled before.
ENDS_AT = "task_resources.ends_at"

# Characters of a line that says why nothing was decided.
LONGEST_REFUSAL = 500

State = Literal["starting", "serving", "draining", "stopped"]

_JSON = b"application/json"
_TEXT = b"text/plain; charset=utf-8"

_DURATION = re.compile(r"(\d{1,6}(?:\.\d{1,9})?)(ms|s|m|h)", re.ASCII)
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class Answer(msgspec.Struct, frozen=True):
    """An HTTP status with its body: a review's answer under 200, else one line of text."""

    status: int
    body: bytes

    @property
    def content_type(self) -> bytes:
        return _JSON if self.status == 200 else _TEXT

    @property
    def asks_for_another_try(self) -> bool:
        """Whether the API server should try again on another connection, hence perhaps another replica."""
        return self.status == 503


@dataclass(slots=True)
class Load:
    """Whether reviews are taken, and how many wait: what a full or leaving server refuses by (H4, H5).

    A review is in flight from when its body is whole, until its answer is known. One that can be decided at once is
    so before anything else happens in the process: those that are in flight together wait for a namespace.
    """

    most_in_flight: int
    state: State = "starting"
    in_flight: int = 0

    @property
    def takes_reviews(self) -> bool:
        return self.state == "serving" or self.state == "draining"

    def why_refused(self) -> str | None:
        """Why no further review is taken now that may have to wait; None where it is."""
        if not self.takes_reviews:
            return f"the webhook is {'starting' if self.state == 'starting' else 'stopping'}"
        if self.in_flight >= self.most_in_flight:
            return f"{self.in_flight} reviews are in flight already, the most that --max-in-flight allows"
        return None


# Makes a namespace known to the snapshot by asking the cluster; says why it is not known then, or None.
LookUp = Callable[[str], Awaitable[str | None]]


async def _nobody_to_ask(namespace: str) -> str | None:
    return f"the namespace {namespace} is not known, and there is no cluster to ask"


class _Outdated(Exception):
    pass


@dataclass(slots=True)
class Reviews:
    """Answers reviews by the snapshot that is in force; swapping `snapshot` swaps all of it at once.

    What one of `also_accepted` allows, `/validate` allows, too: around a change the pod may have been bounded by it.
    """

    snapshot: Snapshot
    metrics: Metrics
    log: ReviewLog
    look_up: LookUp = _nobody_to_ask
    also_accepted: tuple[Snapshot, ...] = ()
    # A changed policy set has been seen and is still being read: who has read it may have let a pod have more.
    awaits_policies: bool = False
    _sparing: Sparing = field(default_factory=Sparing)

    def answer(self, endpoint: Endpoint, body: bytes) -> Answer:
        """The answer to a whole body. Raises UnknownNamespace, and nothing else: then look it up and ask again (P7)."""
        if len(body) > LARGEST_BODY_BYTES:
            return self.refused(413, f"the body is larger than {LARGEST_BODY_BYTES} bytes")
        started = time.perf_counter()
        uid = ""
        try:
            review = decode(body)
            uid = review.uid
            decision = self._decide(review, endpoint)
            encoded = encode(review, decision)
            seconds = time.perf_counter() - started
            project = self.snapshot.project(review.namespace) if self.metrics.by_project else None
            self.metrics.count(review, endpoint, decision, seconds, project)
            self.log.write(review, endpoint, decision, seconds)
            if decision.invalid:
                errors = "; ".join(decision.invalid)
                logger.error(
                    "a result would be invalid and was not sent, please report it: %s", errors, extra={"uid": uid}
                )
        except UnknownNamespace:
            raise
        except _Outdated:
            return self.refused(503, "changed policies are being read, by which the pod may be allowed", uid)
        except (InvalidReview, InvalidPod) as error:
            return self.refused(400, str(error), uid)
        except Exception:
            self.metrics.panics += 1
            logger.exception("review %s failed, please report it", uid, extra={"uid": uid})
            return Answer(500, f"internal error while reviewing {shown(uid)}\n".encode())
        return Answer(200, encoded)

    def _decide(self, review: Review, endpoint: Endpoint) -> Decision:
        decision = self.snapshot.decide(review, endpoint)
        if endpoint == "validate" and decision.refuses:
            for snapshot in self.also_accepted:
                other = snapshot.decide(review, endpoint)
                if not other.refuses:
                    return other
            if self.awaits_policies:
                raise _Outdated
        return decision

    def forget(self, namespace: str) -> None:
        """Decides anew what a namespace's labels come to, as they have changed."""
        for snapshot in (self.snapshot, *self.also_accepted):
            snapshot.forget(namespace)

    def refused(self, status: int, text: str, uid: str = "") -> Answer:
        """The answer to a request that nothing is decided about, counted and, of many, some of them logged."""
        text = shown(text, LONGEST_REFUSAL)
        self.metrics.count_refused(status)
        left_out = self._sparing.left_out(status)
        if left_out is not None:
            logger.info("answered %d: %s%s", status, text, and_more(left_out), extra={"uid": uid})
        return Answer(status, text.encode() + b"\n")


def review_app(reviews: Reviews, load: Load) -> FastAPI:
    """`/mutate` and `/validate`, and nothing else."""
    app = FastAPI(title="task-resource-webhook", openapi_url=None, redirect_slashes=False)
    endpoints: tuple[Endpoint, ...] = ("mutate", "validate")
    for endpoint in endpoints:
        # No function: Starlette would read the request into objects that nothing here needs.
        app.router.routes.append(Route(f"/{endpoint}", _ReviewRoute(partial(reviews.answer, endpoint), reviews, load)))

    @app.exception_handler(404)
    async def not_found(request: Request, _: Exception) -> PlainTextResponse:
        path = request.url.path[:80]
        return PlainTextResponse(f"{path} is not served here: send reviews to /mutate or /validate\n", 404)

    return app


class _Disconnected(Exception):
    pass


class _ReviewRoute:
    """An ASGI app: one review a request, whose body was received, within bounds, before the app is asked (`server`)."""

    def __init__(self, answer: Callable[[bytes], Answer], reviews: Reviews, load: Load) -> None:
        self._answer, self._reviews, self._load = answer, reviews, load

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with suppress(_Disconnected):
            await self._send(send, self._why_refused(scope) or await self._review(scope, receive))

    def _why_refused(self, scope: Scope) -> Answer | None:
        """The answer that needs no body."""
        refusal = self._load.why_refused()
        if refusal is not None:
            return self._reviews.refused(503, refusal)
        if scope["method"] != "POST":
            return self._reviews.refused(405, f"{scope['method']} is not accepted: send an AdmissionReview by POST")
        content_type = dict(scope["headers"]).get(b"content-type", b"")
        if not is_json(content_type):
            return self._reviews.refused(
                415, f"content type {content_type.decode('latin-1')[:80]!r}; accepted: application/json"
            )
        return None

    async def _review(self, scope: Scope, receive: Receive) -> Answer:
        ends_at = scope.get(ENDS_AT) or asyncio.get_running_loop().time() + seconds_to_answer(scope["query_string"])
        body = await self._body(receive)
        self._load.in_flight += 1
        try:
            return self._answer(body)
        except UnknownNamespace as unknown:
            return await self._answer_after_look_up(unknown.namespace, body, ends_at)
        finally:
            self._load.in_flight -= 1

    async def _answer_after_look_up(self, namespace: str, body: bytes, ends_at: float) -> Answer:
        try:
            async with asyncio.timeout_at(ends_at):
                unknown_because = await self._reviews.look_up(namespace)
            if unknown_because is None:
                return self._answer(body)
        except TimeoutError:
            unknown_because = f"the namespace {namespace} is not known, and the cluster did not answer in time"
        except UnknownNamespace as gone_again:
            unknown_because = str(gone_again)
        return self._reviews.refused(503, unknown_because)

    async def _body(self, receive: Receive) -> bytes:
        """The whole body; of one that is too large, which is read to its end, one byte more than is accepted."""
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] != "http.request":
                raise _Disconnected
            body += message.get("body", b"")[: LARGEST_BODY_BYTES + 1 - len(body)]
            if not message.get("more_body", False):
                return bytes(body)

    async def _send(self, send: Send, answer: Answer) -> None:
        headers = [(b"content-type", answer.content_type), (b"content-length", b"%d" % len(answer.body))]
        if answer.status == 405:
            headers.append((b"allow", b"POST"))
        if answer.asks_for_another_try:
            headers += [(b"retry-after", b"1"), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})


def is_json(content_type: bytes) -> bool:
    """Whether a content type is application/json, with or without parameters."""
    return content_type == _JSON or content_type.partition(b";")[0].strip().lower() == _JSON


def seconds_to_answer(query: bytes) -> float:
    """How long an answer may take by the API server's `?timeout=2s`, less a margin for the way back.

    A Go duration; what is none counts as the API server's own default of 10 s, and 30 s is the most it gives.
    """
    found = re.search(r"(?:^|&)timeout=([^&]*)", query.decode("latin-1"))
    text = found[1] if found else ""
    parts = _DURATION.findall(text)
    is_duration = bool(parts) and "".join(number + unit for number, unit in parts) == text
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts) if is_duration else DEFAULT_TIMEOUT_SECONDS
    return max(0.0, min(seconds, LONGEST_TIMEOUT_SECONDS) - DEADLINE_MARGIN_SECONDS)


Check = Callable[[], str | None]


@dataclass(frozen=True, slots=True)
class Checks:
    """What must be well for the server to be ready: by name, each says what is wrong or None.

    `notes` say what is worth knowing, beside the check of that name where there is one: it is ready all the same.
    """

    checks: Mapping[str, Check] = field(default_factory=dict)
    notes: Mapping[str, Check] = field(default_factory=dict)

    def failed(self) -> dict[str, str]:
        """What is wrong, by the name of the check."""
        results = {name: check() for name, check in self.checks.items()}
        return {name: reason for name, reason in results.items() if reason is not None}

    def lines(self, failed: Mapping[str, str]) -> list[str]:
        """One line a check, in the API server's own form."""
        names = dict.fromkeys((*self.checks, *self.notes))
        return [f"[-]{name} failed: {failed[name]}" if name in failed else self._passed(name) for name in names]

    def _passed(self, name: str) -> str:
        note = self.notes[name]() if name in self.notes else None
        return f"[+]{name} ok" if note is None else f"[+]{name} ok: {note}"


def management_app(reviews: Reviews, load: Load, checks: Checks) -> FastAPI:
    """`/livez`, `/readyz` and `/metrics`, for kubelets and Prometheus (H6), and `/policies/effective/` for people."""
    app = FastAPI(title="task-resource-webhook management", openapi_url=None, redirect_slashes=False)

    @app.get("/livez", response_class=PlainTextResponse)
    async def livez() -> str:
        """Whether the process answers at all."""
        return "ok\n"

    @app.get("/readyz", response_class=PlainTextResponse)
    async def readyz(response: Response, verbose: str | None = None) -> str:
        """Whether reviews should come here; `?verbose` lists the checks."""
        failed = checks.failed()
        if failed:
            response.status_code = 503
        if verbose is None and not failed:
            return "ok\n"
        return "\n".join([*checks.lines(failed), f"readyz check {'failed' if failed else 'passed'}", ""])

    @app.get("/metrics")
    async def scrape() -> Response:
        """Everything in Prometheus' text format."""
        reviews.metrics.in_flight = load.in_flight
        return Response(reviews.metrics.exposition(), media_type=CONTENT_TYPE_LATEST)

    @app.get("/policies/effective/{namespace}")
    async def effective(namespace: str) -> Response:
        """What the policies in force come to for a namespace (P8): the JSON of `policy effective`."""
        snapshot = reviews.snapshot
        try:
            report = EffectiveReport(snapshot.policies, snapshot.scope(namespace))
        except UnknownNamespace as error:
            return PlainTextResponse(f"{error}\n", 404)
        return Response(msgspec.json.format(msgspec.json.encode(report.as_json())), media_type="application/json")

    return app
