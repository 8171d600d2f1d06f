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
from webhook.rollout import LONGEST_REQUEST_SECONDS, MOST_ENDING, Rollout
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

    def sees(self, maximum: int, mode: str = "Enforce") -> None:
        self.rollout.use(policy(maximum, mode))

    def mutate(self) -> int:
        """The limit that a greedy pod gets."""
        response = json.loads(self.reviews.answer("mutate", review_body(GREEDY)).body)["response"]
        if "patch" not in response:
            return 16
        changed = jsonpatch.JsonPatch.from_string(b64decode(response["patch"]).decode()).apply(GREEDY)
        return int(changed["spec"]["containers"][0]["resources"]["limits"]["cpu"])

    def accepts(self, limit: int) -> bool:
        """Whether the second look lets a pod with that limit pass."""
        task = pod(container(limits={"cpu": str(limit)}))
        allowed: bool = json.loads(self.reviews.answer("validate", review_body(task)).body)["response"]["allowed"]
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


def test_a_change_decides_after_the_rollout_and_is_accepted_from_its_beginning() -> None:
    async def scenario(loop: Loop) -> None:
        replica = Replica(4, SECONDS)
        replica.sees(8)
        assert (replica.mutate(), replica.accepts(8), replica.accepts(9)) == (4, True, False)
        note = str(replica.rollout.note())
        assert note.startswith(f"policy set {policy(8).hash} will be in force at 20")
        await loop.pass_to(SECONDS - 1)
        assert replica.mutate() == 4
        await loop.pass_to(SECONDS)
        assert (replica.mutate(), replica.rollout.note()) == (8, None)

    play(scenario)


def test_without_a_rollout_a_change_decides_at_once_and_the_set_before_is_accepted_for_one_more_request() -> None:
    async def scenario(loop: Loop) -> None:
        replica = Replica(4, 0)
        replica.sees(2)
        assert (replica.mutate(), replica.accepts(4), replica.accepts(5)) == (2, True, False)
        assert replica.rollout.note() is None
        await loop.pass_to(LONGEST_REQUEST_SECONDS - 1)
        assert replica.accepts(4)
        await loop.pass_to(LONGEST_REQUEST_SECONDS)
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
        assert limits == [4] * 6 + [5] * 3 + [6] * 2 + [7] * 13

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
