"""A steady stream of pod creations through the API server: what becomes of each, whatever happens to the webhook."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from threading import Event

from tests.e2e.cluster import Answer, Cluster
from tests.e2e.pods import GREEDY, resources
from tests.e2e.processes import eventually

# As many are created at the same moment, so that the API server needs several connections and uses all replicas.
CLIENTS = 6

TASK = {**GREEDY, "metadata": {"generateName": "task-"}}


@dataclass(frozen=True, slots=True)
class Creation:
    """One creation: seconds from the moment it was due to its answer, and what CPU limits the pod may have got."""

    seconds: float
    answer: Answer
    allowed: frozenset[str]

    @property
    def failure(self) -> str | None:
        """What was answered instead of a pod that is bounded as it should be; None where it is."""
        if self.answer.status != 201:
            return self.answer.message
        limit: str = resources(self.answer.body)["main"]["limits"]["cpu"]
        return None if limit in self.allowed else f"created with {limit} CPUs"


@dataclass(slots=True)
class Stream:
    """The creations in a namespace so far, in the order of their answers.

    `allowed` are the CPU limits by which pods are bounded now; one whose creation a change falls into may have either.
    """

    namespace: str
    creations: list[Creation] = field(default_factory=list)
    allowed: frozenset[str] = frozenset({"4"})

    def wait_for_more(self, count: int) -> None:
        """Waits for so many more."""
        enough = len(self.creations) + count
        eventually(lambda: len(self.creations) >= enough, f"{count} more pods are created")

    @property
    def failures(self) -> list[str]:
        """Why creations failed."""
        return [creation.failure for creation in self.creations if creation.failure is not None]


@contextmanager
def steady_creations(cluster: Cluster, namespace: str, *, per_second: float) -> Iterator[Stream]:
    """Creates pods, six at a time, whether or not those before were answered in time; they are deleted at the end."""
    stream, ended, numbers = Stream(namespace), Event(), count()
    started = time.monotonic()

    def keep_creating() -> None:
        while True:
            due = started + next(numbers) // CLIENTS * CLIENTS / per_second
            if ended.wait(max(0.0, due - time.monotonic())):
                return
            allowed = stream.allowed
            answer = cluster.create(namespace, TASK)
            stream.creations.append(Creation(time.monotonic() - due, answer, allowed | stream.allowed))

    with ThreadPoolExecutor(CLIENTS) as clients:
        creating = [clients.submit(keep_creating) for _ in range(CLIENTS)]
        try:
            yield stream
        finally:
            ended.set()
    for each in creating:
        each.result()
    cluster.core.delete_collection_namespaced_pod(namespace, grace_period_seconds=0, _preload_content=False)
