"""Policy sets that follow one another while pods are created, on one replica and on several (P5)."""

import asyncio
import io
import json
from base64 import b64decode
from collections.abc import Callable, Coroutine
from itertools import product

import jsonpatch
import pytest

from tests.unit.deciding import container, pod, policy_set, review_body
from webhook.app import Reviews
from webhook.logs import ReviewLog
from webhook.metrics import Metrics
from webhook.policy import PolicySet
from webhook.rollout import LONGEST_REQUEST_SECONDS, MOST_ENDING, READING_SECONDS, Rollout
from webhook.snapshot import Snapshot

SECONDS = 60.0
GREEDY = pod(container(limits={"cpu": "16"}))


class Loop(asyncio.SelectorEventLoop):
    """An event loop whose time passes when a test says so."""

    now = 0.0

    def time(self) -> float:
        return self.now

    async def pass_to(self, seconds: float) -> None:
        self.now = seconds
        for _ in range(2):  # a timer is found in one turn and runs in the next
            await asyncio.sleep(0)


def play(scenario: Callable[[Loop], Coroutine[None, None, None]]) -> None:
    """Runs it in a loop of its own."""
    with asyncio.Runner(loop_factory=Loop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, Loop)
        runner.run(scenario(loop))


class Replica:
    def __init__(self, maximum: int, seconds: float) -> None:
        snapshot = Snapshot(policy(maximum))
        self.reviews = Reviews(snapshot, Metrics(), ReviewLog(io.BytesIO(), "json", "error"))
        self.rollout = Rollout(self.reviews, seconds)

    def sees(self, maximum: int, mode: str = "Enforce", *, at: float | None = None) -> None:
        """Reads a changed policy that it saw at that time, by default just now."""
        seen_at = asyncio.get_running_loop().time() if at is None else at
        self.rollout.use(policy(maximum, mode), seen_at)

    def mutate(self) -> int:
        """The limit that a greedy pod gets."""
        response = json.loads(self.reviews.answer("mutate", review_body(GREEDY)).body)["response"]
        if "patch" not in response:
            return 16
        changed = jsonpatch.JsonPatch.from_string(b64decode(response["patch"]).decode()).apply(GREEDY)
        return int(changed["spec"]["containers"][0]["resources"]["limits"]["cpu"])

    def accepts(self, limit: int) -> bool | None:
        """Whether the second look lets a pod with that limit pass; None where another replica is to be asked."""
        task = pod(container(limits={"cpu": str(limit)}))
        answer = self.reviews.answer("validate", review_body(task))
        if answer.asks_for_another_try:
            return None
        allowed: bool = json.loads(answer.body)["response"]["allowed"]
        return allowed


def policy(maximum: int, mode: str = "Enforce") -> PolicySet:
    return policy_set({"mode": mode, "container": {"max": {"cpu": str(maximum)}}})


@pytest.mark.parametrize(("before", "after"), [(4, 2), (4, 8)], ids=["lowered", "raised"])
def test_replicas_that_see_a_change_apart_refuse_no_pod_of_each_other(before: int, after: int) -> None:
    async def scenario(loop: Loop) -> None:
        first, second = Replica(before, SECONDS), Replica(before, SECONDS)
        events = {5: first, 5 + SECONDS: second}
        for now in range(300):
            await loop.pass_to(now)
            if now in events:
                events[now].sees(after)
            for mutating, validating in product((first, second), repeat=2):
                assert validating.accepts(mutating.mutate()), f"after {now} s"
        assert (first.mutate(), second.mutate()) == (after, after)
        assert not first.accepts(max(before, after) + 1)
        assert first.accepts(before) == (before <= after), "the replaced set is no longer accepted"

    play(scenario)


CHANGES = pytest.mark.parametrize(("before", "after"), [(4, 2), (4, 8)], ids=["lowered", "raised"])
LATEST = int(READING_SECONDS)


@CHANGES
@pytest.mark.parametrize(
    ("seconds", "apart"), [(0, 0), (60, 0), (60, 30), (60, 60)], ids=["at-once", "together", "half", "whole"]
)
@pytest.mark.parametrize("reading", [*product((0, 4, LATEST), repeat=2)], ids=lambda each: "-".join(map(str, each)))
def test_however_late_a_replica_reads_a_change_no_pod_is_refused_between_two(
    before: int, after: int, seconds: int, apart: int, reading: tuple[int, int]
) -> None:
    """Pods that were bounded in the last 34 s, by either replica, are looked at by either: while it sees and reads."""

    async def scenario(loop: Loop) -> None:
        replicas = Replica(before, seconds), Replica(before, seconds)
        seen = dict(zip(replicas, (5, 5 + apart), strict=True))
        read = {replica: seen[replica] + took for replica, took in zip(replicas, reading, strict=True)}
        bounded: dict[int, int] = {}
        events = {*seen.values(), *read.values()}
        for now in sorted({*range(0, 250, 3), *events, *(each + LONGEST_REQUEST_SECONDS for each in events)}):
            await loop.pass_to(now)
            for replica in replicas:
                if now == seen[replica]:
                    replica.rollout.expect(True)
                if now == read[replica]:
                    replica.sees(after, at=seen[replica])
                    replica.rollout.expect(False)
            bounded |= {replica.mutate(): now for replica in replicas}
            for replica in replicas:
                under_way = [limit for limit, at in bounded.items() if now - at < LONGEST_REQUEST_SECONDS]
                answers = {replica.accepts(limit) for limit in under_way}
                is_reading = seen[replica] <= now < read[replica]
                assert answers <= ({True, None} if is_reading and not seconds else {True}), f"after {now} s"
                # What no set allows is refused all the same, by who has read all that was seen.
                assert is_reading or replica.accepts(max(before, after) + 1) is False
        assert {replica.mutate() for replica in replicas} == {after}
        assert {replica.accepts(before) for replica in replicas} == {before <= after}

    play(scenario)


def test_who_reads_a_change_refuses_no_pod_but_asks_for_another_try_until_it_has_read_or_refused_it() -> None:
    async def scenario(_: Loop) -> None:
        replica = Replica(4, 0)
        replica.rollout.expect(True)
        assert (replica.accepts(8), replica.accepts(4), replica.mutate()) == (None, True, 4)
        replica.rollout.expect(False)
        assert replica.accepts(8) is False

    play(scenario)


def test_where_changes_come_into_force_later_than_they_are_read_refusals_stay_refusals() -> None:
    async def scenario(_: Loop) -> None:
        replica = Replica(4, SECONDS)
        replica.rollout.expect(True)
        assert replica.accepts(8) is False

    play(scenario)


@pytest.mark.parametrize("seconds", [0, SECONDS])
def test_a_change_that_is_read_far_too_late_is_in_force_at_once_and_the_set_before_is_accepted_on(
    seconds: float,
) -> None:
    async def scenario(loop: Loop) -> None:
        replica = Replica(4, seconds)
        await loop.pass_to(1000)
        replica.sees(2, at=5)
        assert (replica.mutate(), replica.accepts(4), replica.rollout.note()) == (2, True, None)
        await loop.pass_to(1000 + seconds + LONGEST_REQUEST_SECONDS - 1)
        assert replica.accepts(4)
        await loop.pass_to(1000 + seconds + LONGEST_REQUEST_SECONDS)
        assert not replica.accepts(4)

    play(scenario)


def test_a_change_decides_after_the_rollout_and_is_accepted_from_its_beginning() -> None:
    async def scenario(loop: Loop) -> None:
        replica = Replica(4, SECONDS)
        replica.sees(8)
        assert (replica.mutate(), replica.accepts(8), replica.accepts(9)) == (4, True, False)
        note = str(replica.rollout.note())
        assert note.startswith(f"policy set {policy(8).hash} will be in force at 20")
        await loop.pass_to(SECONDS + READING_SECONDS - 1)
        assert replica.mutate() == 4
        await loop.pass_to(SECONDS + READING_SECONDS)
        assert (replica.mutate(), replica.rollout.note()) == (8, None)

    play(scenario)


def test_without_a_rollout_a_change_decides_at_once_and_the_set_before_is_accepted_for_one_more_request() -> None:
    async def scenario(loop: Loop) -> None:
        replica = Replica(4, 0)
        replica.sees(2)
        assert (replica.mutate(), replica.accepts(4), replica.accepts(5)) == (2, True, False)
        assert replica.rollout.note() is None
        await loop.pass_to(READING_SECONDS + LONGEST_REQUEST_SECONDS - 1)
        assert replica.accepts(4)
        await loop.pass_to(READING_SECONDS + LONGEST_REQUEST_SECONDS)
        assert not replica.accepts(4)

    play(scenario)


def test_changes_that_follow_each_other_come_into_force_each_in_its_time() -> None:
    async def scenario(loop: Loop) -> None:
        replica = Replica(4, SECONDS)
        limits = []
        for now in range(0, 240, 10):
            await loop.pass_to(now)
            if now in (0, 30, 50):
                replica.sees({0: 5, 30: 6, 50: 7}[now])
            limits.append(replica.mutate())
            assert replica.accepts(limits[-1])
        assert limits == [4] * 7 + [5] * 3 + [6] * 2 + [7] * 12

    play(scenario)


def test_a_pod_that_was_only_warned_about_is_not_refused_once_the_mode_is_enforce() -> None:
    async def scenario(_: Loop) -> None:
        replica = Replica(4, 0)
        replica.sees(4, mode="Warn")
        warned = replica.mutate()
        replica.sees(4)
        assert warned == 16
        assert replica.accepts(warned)

    play(scenario)


def test_no_more_than_some_replaced_sets_are_kept() -> None:
    async def scenario(_: Loop) -> None:
        replica = Replica(100, 0)
        for maximum in range(99, 79, -1):
            replica.sees(maximum)
        assert len(replica.reviews.also_accepted) == MOST_ENDING
        assert replica.accepts(80 + MOST_ENDING)
        assert not replica.accepts(81 + MOST_ENDING)

    play(scenario)
