"""Policy sets that come into force one after the other (P5), with no pod refused for having met two of them.

The two looks at a pod, `/mutate` and `/validate`, may go to two replicas, of which one has seen a change and the other
has not: kubelets bring a changed ConfigMap to their pods at times of their own. So a set decides in `/mutate` only when
every replica has seen it, and is accepted by `/validate` from the moment it is seen until no replica can have used it
any more.
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

logger = logging.getLogger(__name__)

# The API server ends every request by then (requestTimeoutUpperBound in kubernetes/apiserver), and with it the time
# between the two looks at a pod.
LONGEST_REQUEST_SECONDS = 34.0
# Each may take as much memory as the one in force.
MOST_ENDING = 8


class Rollout:
    """Brings a set into force `seconds` after it was seen, which is how far apart replicas may see one change.

    0 is at once: right for a single replica. Several that see a change at different times then still agree about
    lowered maxima, as a set is accepted for 34 s after the next one was seen, but not about raised ones.
    """

    def __init__(self, reviews: Reviews, seconds: float) -> None:
        self._reviews, self._seconds = reviews, seconds
        self._newest = reviews.snapshot
        self._in_force_at: datetime | None = None
        # Sets that were replaced, oldest first, until they are no longer accepted.
        self._ending: deque[tuple[asyncio.TimerHandle, Snapshot]] = deque()

    def use(self, policies: PolicySet) -> None:
        """Accepts the set from now on, and has it decide in time."""
        replaced, self._newest = self._newest, replace(self._newest, policies=policies)
        loop = asyncio.get_running_loop()
        if self._seconds:
            self._in_force_at = datetime.now(UTC) + timedelta(seconds=self._seconds)
            logger.info("policy set %s will be in force in %g s", policies.hash, self._seconds)
            self._reviews.also_accepted = (self._newest, *self._reviews.also_accepted)
            loop.call_later(self._seconds, self._put_in_force, self._newest)
        else:
            self._put_in_force(self._newest)
        ends = loop.call_later(2 * self._seconds + LONGEST_REQUEST_SECONDS, self._end_oldest)
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
