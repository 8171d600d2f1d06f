"""Which connections give way where there are too many, and how many there may be."""

import socket
from collections.abc import Sequence

import pytest

from webhook.connections import Connections, State, most_connections


class Caller:
    """A connection that remembers how it ended."""

    arriving: socket.socket | None = None
    is_here = True

    def __init__(self, connections: Connections, *states: State) -> None:
        self.ended = ""
        self._connections = connections
        for state in states:
            connections.put(self, state)

    def give_way(self) -> None:
        self.ended = "gave way"

    def abort(self) -> None:
        self.ended = "cut off"


def ended(callers: Sequence[Caller]) -> list[str]:
    return [caller.ended for caller in callers]


def test_as_long_as_there_is_room_nobody_gives_way() -> None:
    connections = Connections("reviews", 8)
    callers = [Caller(connections, "silent") for _ in range(6)]
    assert connections.make_room()
    assert ended(callers) == [""] * 6


def test_the_oldest_that_has_not_asked_gives_way_and_the_newest_never() -> None:
    connections = Connections("reviews", 8)
    callers = []
    for _ in range(40):
        assert connections.make_room()
        callers.append(Caller(connections, "arriving"))
    assert callers[-1].ended == ""
    assert [caller.ended == "" for caller in callers] == [False] * 33 + [True] * 7
    assert connections.gave_way["arriving"] == 33


@pytest.mark.parametrize("state", ["arriving", "silent", "receiving", "unread"])
def test_whoever_is_slow_gives_way_before_any_that_is_idle(state: State) -> None:
    connections = Connections("reviews", 8)
    idle = [Caller(connections, "silent", "idle") for _ in range(5)]
    slow, another = Caller(connections, state), Caller(connections, state)
    assert connections.make_room()
    assert (ended(idle), slow.ended, another.ended) == ([""] * 5, "gave way", "")
    assert connections.gave_way[state] == 1


def test_of_idle_ones_that_gives_way_which_has_asked_nothing_for_the_longest_time() -> None:
    connections = Connections("reviews", 8)
    callers = [Caller(connections, "idle") for _ in range(7)]
    connections.put(callers[0], "idle")  # it was answered once more
    assert connections.make_room()
    assert [caller.ended for caller in callers[:3]] == ["", "gave way", ""]


def test_one_that_has_just_come_does_not_give_way_because_all_others_are_idle() -> None:
    connections = Connections("reviews", 8)
    idle = [Caller(connections, "silent", "idle") for _ in range(6)]
    newest = Caller(connections, "arriving")
    assert connections.make_room()
    assert (idle[0].ended, newest.ended) == ("gave way", "")


def test_one_that_is_being_answered_never_gives_way_and_those_that_come_wait() -> None:
    connections = Connections("reviews", 8)
    callers = [Caller(connections, "silent", "answering") for _ in range(7)]
    assert not connections.make_room()
    assert ended(callers) == [""] * 7
    connections.put(callers[3], "idle")
    assert connections.make_room()


def test_who_begins_a_request_is_the_newest_of_the_slow_ones() -> None:
    connections = Connections("reviews", 8)
    callers = [Caller(connections, "silent") for _ in range(7)]
    connections.put(callers[0], "receiving")
    connections.put(callers[0], "receiving")
    assert connections.make_room()
    assert [caller.ended for caller in callers[:3]] == ["", "gave way", ""]


def test_who_does_not_part_is_cut_off_once_others_are_parting_too() -> None:
    connections = Connections("reviews", 16)
    callers = [Caller(connections, "closing") for _ in range(3)]
    assert connections.make_room()
    assert ended(callers) == ["cut off", "", ""]


def test_where_too_many_bytes_are_held_the_request_that_began_first_gives_way() -> None:
    connections = Connections("reviews", 8, most_bytes=100)
    first, second, third = (Caller(connections, "receiving") for _ in range(3))
    for caller, size in ((first, 10), (second, 60), (first, 20), (third, 30)):
        connections.hold(caller, size)
    assert [first.ended != "", second.ended, third.ended] == [True, "", ""]
    connections.hold(second, 0)
    connections.hold(third, 100)
    assert third.ended == ""


def test_what_idle_ones_hold_ends_no_request_that_has_just_begun() -> None:
    connections = Connections("reviews", 8, most_bytes=100)
    idle = [Caller(connections, "idle") for _ in range(3)]
    begun = Caller(connections, "receiving")
    connections.hold(begun, 10)
    for caller in idle:
        connections.hold(caller, 40)
    assert (idle[0].ended != "", ended(idle[1:]), begun.ended) == (True, ["", ""], "")


def test_of_idle_ones_that_hold_much_memory_the_one_that_asked_last_is_the_last_to_give_way() -> None:
    connections = Connections("reviews", 8, most_bytes=100)
    used, unused, small = (Caller(connections, "idle") for _ in range(3))
    for caller in (used, unused):
        connections.hold(caller, 40)
    connections.put(used, "idle")
    connections.hold(Caller(connections, "silent", "answering"), 40)
    assert (used.ended, unused.ended != "", small.ended) == ("", True, "")


def test_what_has_ended_takes_no_place_and_holds_nothing() -> None:
    connections = Connections("reviews", 8, most_bytes=100)
    for _ in range(20):
        caller = Caller(connections, "receiving")
        connections.hold(caller, 60)
        connections.remove(caller)
        assert caller.ended == ""
    assert connections.states().total() == 0


LIMITS = [(128, 56, 8), (1024, 896, 64), (20_000, 2048, 64), (64, 16, 8)]


@pytest.mark.parametrize(("descriptors", "reviews", "management"), LIMITS)
def test_connections_are_fewer_than_descriptors(descriptors: int, reviews: int, management: int) -> None:
    most = most_connections(descriptors)
    assert (most.reviews, most.management) == (reviews, management)
