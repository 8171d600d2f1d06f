"""Log lines: whatever names a review has, a line stays one line, short, and cannot be taken for another."""

import io
import json
import logging
from collections.abc import Callable

import pytest

from tests.unit.deciding import container, pod, policy_set, review_body
from webhook.admission import decode
from webhook.logs import LONGEST_FIELD, LONGEST_MESSAGE, MOST_CHANGES, LogFormat, ReviewLog, configure_logging
from webhook.snapshot import Snapshot

ESCAPE = "\x1b[2J"
FORGED = "x\n2026-11-29T00:00:00.000Z mutate shop/task denied"
FORMATS: list[LogFormat] = ["json", "text"]
SNAPSHOT = Snapshot(policy_set("container: {max: {cpu: 4}}"))


def logged(log_format: LogFormat, body: bytes) -> str:
    stream = io.BytesIO()
    review = decode(body)
    ReviewLog(stream, log_format, "info").write(review, "mutate", SNAPSHOT.decide(review), 0.001)
    return stream.getvalue().decode()


def hostile(text: str) -> bytes:
    """A review whose every name, that a line may have, is this text."""
    task = pod(container(text, limits={"cpu": "8"}))
    task["metadata"] = {"generateName": text, "annotations": {}}
    return review_body(task, uid=text, namespace=text)


@pytest.mark.parametrize("log_format", FORMATS)
def test_a_line_is_short_whatever_names_a_review_has(log_format: LogFormat) -> None:
    assert len(logged(log_format, hostile("x" * 2_500_000))) < 10 * LONGEST_FIELD


@pytest.mark.parametrize("log_format", FORMATS)
@pytest.mark.parametrize("text", [FORGED, ESCAPE, "\x9b31m", "\x7f", "\u202e", "\r"], ids=ascii)
def test_a_name_forges_no_line_and_passes_nothing_to_the_terminal(log_format: LogFormat, text: str) -> None:
    first, *more = logged(log_format, hostile(text)).removesuffix("\n").split("\n")
    assert first.isprintable()
    assert all(line.startswith("    ") and line.isprintable() for line in more)
    assert len(more) == (0 if log_format == "json" else 2)


def test_a_line_for_people_has_the_first_changes_of_many() -> None:
    task = pod(*[container(f"c{index}", limits={"cpu": "8"}, requests={"cpu": "1"}) for index in range(30)])
    _, *changes = logged("text", review_body(task)).splitlines()
    assert len(changes) == MOST_CHANGES + 1
    assert changes[-1] == f"    and {30 - MOST_CHANGES} more"


@pytest.fixture
def told() -> "Callable[[LogFormat, str], str]":
    """What the service's own lines come out as."""

    def tell(log_format: LogFormat, message: str) -> str:
        root = logging.getLogger()
        handlers, level = root.handlers[:], root.level
        stream = io.BytesIO()
        configure_logging(stream, log_format, "info")
        try:
            logging.getLogger("webhook").info(message, extra={"uid": ESCAPE})
        finally:
            root.handlers[:] = handlers
            root.setLevel(level)
        return stream.getvalue().decode()

    return tell


def test_lines_of_a_message_stay_with_it(told: "Callable[[LogFormat, str], str]") -> None:
    assert told("text", f"refused\n{FORGED}").count("\n    ") == 2
    assert json.loads(told("json", "refused\na.yaml:1: wrong"))["message"] == "refused\na.yaml:1: wrong"


@pytest.mark.parametrize("log_format", FORMATS)
def test_a_message_is_bounded_and_printable(told: "Callable[[LogFormat, str], str]", log_format: LogFormat) -> None:
    line = told(log_format, ESCAPE + "x" * 100_000)
    assert line.removesuffix("\n").isprintable()
    assert len(line) < LONGEST_MESSAGE + 500
