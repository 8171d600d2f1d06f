"""Log lines on standard error: one a review that changed, was denied or failed, and what happens to the service.

Reviews go past the logging module: its record of a call costs as much as deciding a small pod.
"""

import logging
import time
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import BinaryIO, Literal

import msgspec

from webhook.decision import Decision, Endpoint
from webhook.explain import Change
from webhook.printable import shown
from webhook.review import Review

LogFormat = Literal["json", "text"]
LogLevel = Literal["debug", "info", "warning", "error"]

# What a killed process may lose of its lines; a process that is stopped loses none.
FLUSH_SECONDS = 0.02

# Characters of a field, and of a whole message; the changes of a pod that a line for people has.
LONGEST_FIELD, LONGEST_MESSAGE, MOST_CHANGES = 300, 16_384, 20
# Of lines that anybody who reaches a port can cause.
SPARED_LINES, SPARED_SECONDS = 10, 10.0

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


class _Line(msgspec.Struct, omit_defaults=True, rename="camel"):
    """Fields of a line; a pod's body is never among them.

    What comes from a review is bounded and printable: names may be of any length and hold anything.
    """

    time: str
    level: str
    message: str
    uid: str = ""
    endpoint: str = ""
    operation: str = ""
    namespace: str = ""
    pod: str = ""
    outcome: str = ""
    mode: str = ""
    dry_run: bool = False
    record: msgspec.Raw | None = None
    denial: str = ""
    invalid: Sequence[str] = ()
    duration_milliseconds: float = 0.0
    logger: str = ""
    error: str = ""


INDENTED = "\n    "

_encode = msgspec.json.Encoder().encode


class ReviewLog:
    """Writes one line a review; lines of reviews that were answered together go out together.

    A write wakes whoever reads the stream, which costs more than the line. `later` is an event loop's `call_later`;
    until it is given, every line goes out by itself.
    """

    later: Callable[[float, Callable[[], None]], object] | None = None

    def __init__(self, stream: BinaryIO, log_format: LogFormat, level: LogLevel) -> None:
        self._stream = stream
        self._is_json = log_format == "json"
        self._is_on = LEVELS[level] <= logging.INFO
        self._waiting: list[bytes] = []

    def write(self, review: Review, endpoint: Endpoint, decision: Decision, seconds: float) -> None:
        """The line of a review that changed or was denied; nothing for others."""
        if self._is_on and (decision.outcome == "changed" or decision.outcome == "denied"):
            line = _line(review, endpoint, decision, seconds)
            self._waiting.append(_encode(line) if self._is_json else _text(line, decision.changes))
            if self.later is None:
                self.flush()
            elif len(self._waiting) == 1:
                self.later(FLUSH_SECONDS, self.flush)

    def flush(self) -> None:
        """Writes the lines that wait. A stream that is broken loses them; reviews are answered all the same."""
        lines, self._waiting = self._waiting, []
        if lines:
            with suppress(OSError):
                self._stream.write(b"\n".join([*lines, b""]))
                self._stream.flush()


def _line(review: Review, endpoint: Endpoint, decision: Decision, seconds: float) -> _Line:
    denial = decision.denial
    uid, operation, namespace, pod = review.uid, review.operation, review.namespace, pod_name(review)
    together = uid + operation + namespace + pod
    if len(together) > LONGEST_FIELD or not together.isprintable():
        uid, operation, namespace, pod = (shown(name, LONGEST_FIELD) for name in (uid, operation, namespace, pod))
    return _Line(
        time=_now(),
        level="info",
        message=f"pod {decision.outcome}",
        uid=uid,
        endpoint=endpoint,
        operation=operation,
        namespace=namespace,
        pod=pod,
        outcome=decision.outcome,
        mode=decision.mode,
        dry_run=review.dry_run,
        record=msgspec.Raw(decision.record.encode()) if decision.record else None,
        denial="" if denial is None else denial.message,
        invalid=decision.invalid,
        duration_milliseconds=round(seconds * 1000, 3),
    )


def pod_name(review: Review) -> str:
    """The pod's name; `prefix*` where the API server will generate it."""
    metadata = review.pod.metadata if review.pod is not None else None
    generated = metadata.generate_name if metadata is not None else None
    return review.name or (f"{generated}*" if generated else "")


def timestamp(moment: datetime, timespec: Literal["seconds", "milliseconds"] = "seconds") -> str:
    """A time in UTC as RFC 3339 has it, such as 2026-03-01T09:30:00Z."""
    return moment.isoformat(timespec=timespec).replace("+00:00", "Z")


def _now() -> str:
    return timestamp(datetime.now(UTC), "milliseconds")


def _text(line: _Line, changed: Sequence[Change]) -> bytes:
    """A line for people: when, what happened to which pod, and every change."""
    mode = f" (mode {line.mode}: nothing is enforced)" if line.mode not in ("", "Enforce") else ""
    what = f"{line.endpoint} {line.namespace}/{line.pod} {line.outcome}{mode} in {line.duration_milliseconds} ms"
    changes = "".join(
        f"\n    {change.container or 'pod'}: {'.'.join(filter(None, (change.side, change.resource)))} "
        f"{change.before or 'unset'} → {change.after or 'unset'} ({change.rule})"
        for change in changed[:MOST_CHANGES]
    )
    if len(changed) > MOST_CHANGES:
        changes += f"\n    and {len(changed) - MOST_CHANGES} more"
    denial = f"\n    {line.denial}" if line.denial else ""
    return f"{line.time} {what}{changes}{denial}".encode()


def _printable_lines(text: str, between: str) -> str:
    return text if text.isprintable() else between.join(shown(line, LONGEST_MESSAGE) for line in text.split("\n"))


def configure_logging(stream: BinaryIO, log_format: LogFormat, level: LogLevel) -> None:
    """Sends everything that is logged, uvicorn's warnings among it, to `stream` as lines of the same form."""
    handler = _StreamHandler(stream, log_format)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(LEVELS[level])
    # Its start and stop are told by our own lines.
    logging.getLogger("uvicorn").setLevel(max(logging.WARNING, LEVELS[level]))
    logging.getLogger("uvicorn.error").filters[:] = [SparingFilter(Sparing())]


class _StreamHandler(logging.Handler):
    def __init__(self, stream: BinaryIO, log_format: LogFormat) -> None:
        super().__init__()
        self._stream, self._format = stream, log_format

    def emit(self, record: logging.LogRecord) -> None:
        error = logging.Formatter().formatException(record.exc_info)[-LONGEST_MESSAGE:] if record.exc_info else ""
        message = record.getMessage()[:LONGEST_MESSAGE]
        if self._format == "json":
            line = _Line(
                _now(),
                record.levelname.lower(),
                _printable_lines(message, "\n"),
                uid=shown(getattr(record, "uid", ""), LONGEST_FIELD),
                logger=record.name,
                error=_printable_lines(error, "\n"),
            )
            text = _encode(line)
        else:
            level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
            told = f"{level}{message}\n{error}" if error else f"{level}{message}"
            # A line that begins with a blank belongs to the one before: nobody can forge one with a time.
            text = f"{_now()} {_printable_lines(told, INDENTED)}".encode()
        with suppress(OSError):
            self._stream.write(text + b"\n")
            self._stream.flush()


class Sparing:
    """Which lines of a kind are written, where anybody can cause any number of them: so many in so many seconds."""

    def __init__(
        self, lines: int = SPARED_LINES, seconds: float = SPARED_SECONDS, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._lines, self._seconds, self._now = lines, seconds, now
        self._kinds: dict[Hashable, _Spared] = {}

    def left_out(self, kind: Hashable) -> int | None:
        """How many of a kind, of which there may be few, were left out before this one; None: leave it out, too."""
        now = self._now()
        spared = self._kinds.setdefault(kind, _Spared(now))
        if now - spared.since >= self._seconds:
            spared.since, spared.written = now, 0
        if spared.written >= self._lines:
            spared.left_out += 1
            return None
        spared.written += 1
        left_out, spared.left_out = spared.left_out, 0
        return left_out


@dataclass(slots=True)
class _Spared:
    since: float
    written: int = 0
    left_out: int = 0


def and_more(left_out: int) -> str:
    """What a line ends with for those that were left out before it."""
    return f" ({left_out} like it were not logged)" if left_out else ""


class SparingFilter(logging.Filter):
    """For what uvicorn says of requests that are none: a line each, of few kinds."""

    def __init__(self, sparing: Sparing) -> None:
        super().__init__()
        self._sparing = sparing

    def filter(self, record: logging.LogRecord) -> bool:
        left_out = self._sparing.left_out(record.msg)
        if left_out:
            record.msg = record.getMessage() + and_more(left_out)
            record.args = ()
        return left_out is not None
