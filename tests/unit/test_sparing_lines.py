"""Lines that anybody can cause are written now and then, and say how many were left out."""

import logging

import pytest

from webhook.logs import Sparing, SparingFilter, and_more


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_so_many_of_a_kind_are_written_and_the_next_says_how_many_were_not() -> None:
    clock = Clock()
    sparing = Sparing(2, 10, clock)
    assert [sparing.left_out(503) for _ in range(5)] == [0, 0, None, None, None]
    clock.now = 9.9
    assert sparing.left_out(503) is None
    clock.now = 10.0
    assert [sparing.left_out(503) for _ in range(3)] == [4, 0, None]


def test_one_kind_takes_nothing_from_another() -> None:
    sparing = Sparing(1, 10, Clock())
    assert [sparing.left_out(kind) for kind in (503, 400, 503, 400)] == [0, 0, None, None]


def test_a_line_ends_with_the_number_of_those_left_out_if_there_are_any() -> None:
    assert (and_more(0), and_more(3)) == ("", " (3 like it were not logged)")


def test_what_uvicorn_says_of_every_request_that_is_none_is_written_now_and_then(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = Clock()
    chatty = logging.getLogger("chatty")
    chatty.addFilter(SparingFilter(Sparing(1, 10, clock)))
    for now in (0.0, 0.0, 0.0, 10.0):
        clock.now = now
        chatty.warning("Invalid %s", "request")
    assert caplog.messages == ["Invalid request", "Invalid request (2 like it were not logged)"]
