"""Policy sets that come into force one after the other (P5), with no pod refused for having met two of them.

The two looks at a pod, `/mutate` and `/validate`, may go to two replicas, of which one has seen a change and the other
has not: kubelets bring a changed ConfigMap to their pods at times of their own. And each may take its time to read it.
So a set decides in `/mutate` only when every replica has read it, and is accepted by `/validate` from the moment it is
read until no replica can have used it any more. All times count from when it was seen, which replicas do `seconds`
apart at most; how long one of them reads then moves nothing.
"""

import asyncio
import logging
import time
from collections import deque
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from webhook.app import Reviews
from webhook.logs import timestamp
from webhook.policy import PolicySet
from webhook.snapshot import Snapshot
from webhook.sources.policy_process import let_go
from webhook.sources.policy_reload import CHANGE_SECONDS

logger = logging.getLogger(__name__)

# The API server ends every request by then (requestTimeoutUpperBound in kubernetes/apiserver), and with it the time
# between the two looks at a pod.
LONGEST_REQUEST_SECONDS = 34.0
# Nor has any replica read it later than so long after it saw it: what takes longer counts as failed there.
READING_SECONDS = CHANGE_SECONDS
# Each may take as much memory as the one in force.
MOST_ENDING = 8


class Rollout:
    """Brings a set into force `seconds`, and the time for reading, after it was seen: replicas see it so far apart.

    0 is as soon as it is read: right for a single replica. Several that see a change at the same time then agree, too:
    about lowered maxima, as the set before is accepted, and about raised ones, as who still reads does not refuse.
    Where they see it at different times they do not agree about raised ones.
    """

    def __init__(self, reviews: Reviews, seconds: float) -> None:
        self._reviews, self._seconds = reviews, seconds
        self._newest = reviews.snapshot
        self._in_force_at: datetime | None = None
        # Sets that were replaced, oldest first, until they are no longer accepted.
        self._ending: deque[tuple[asyncio.TimerHandle, Snapshot]] = deque()

    def expect(self, is_expected: bool) -> None:
        """Whether a changed set has been seen that is not read yet. Another replica may decide by it already.

        Not where sets come into force later than they are read anywhere: what is refused then is refused rightly.
        """
        self._reviews.awaits_policies = is_expected and not self._seconds

    def use(self, policies: PolicySet, seen_at: float) -> None:
        """Accepts the set from now on, and has it decide in time; `seen_at` is of the event loop's clock."""
        replaced, self._newest = self._newest, replace(self._newest, policies=policies)
        loop = asyncio.get_running_loop()
        read_everywhere_at = seen_at + self._seconds + READING_SECONDS
        in_force_at = max(loop.time(), read_everywhere_at) if self._seconds else loop.time()
        if in_force_at > loop.time():
            seconds = in_force_at - loop.time()
            self._in_force_at = datetime.now(UTC) + timedelta(seconds=seconds)
            logger.info("policy set %s will be in force in %.0f s", policies.hash, seconds)
            self._reviews.also_accepted = (self._newest, *self._reviews.also_accepted)
            loop.call_at(in_force_at, self._put_in_force, self._newest)
        else:
            self._put_in_force(self._newest)
        # Until then a replica that saw it last may have decided by the one before.
        replaced_everywhere_at = max(in_force_at, read_everywhere_at) + self._seconds
        ends = loop.call_at(replaced_everywhere_at + LONGEST_REQUEST_SECONDS, self._end_oldest)
        self._ending.append((ends, replaced))
        if len(self._ending) > MOST_ENDING:
            self._end_oldest()

    def note(self) -> str | None:
        """Which set is yet to come into force; None where the newest is."""
        if self._newest is self._reviews.snapshot or self._in_force_at is None:
            return None
        return f"policy set {self._newest.policies.hash} will be in force at {timestamp(self._in_force_at)}"

    def _put_in_force(self, snapshot: Snapshot) -> None:
        reviews = self._reviews
        reviews.also_accepted = (reviews.snapshot, *(each for each in reviews.also_accepted if each is not snapshot))
        reviews.snapshot = snapshot
        reviews.metrics.set_policy(snapshot.policies, time.time())
        logger.info("policy set %s is in force", snapshot.policies.hash)

    def _end_oldest(self) -> None:
        timer, ended = self._ending.popleft()
        timer.cancel()
        self._reviews.also_accepted = tuple(each for each in self._reviews.also_accepted if each is not ended)
        asyncio.get_running_loop().run_in_executor(None, let_go, [ended])
