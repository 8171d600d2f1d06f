"""Whoever reaches the review port and says nothing, or too little, lets no pod through and stops none."""

import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from socket import create_connection, socket
from threading import Event, Thread

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.pods import APPLIED, GREEDY, annotations
from tests.e2e.processes import eventually
from tests.e2e.registration import FailurePolicy, registered_for
from tests.e2e.service import Service, serving
from tests.e2e.stream import steady_creations

pytestmark = pytest.mark.e2e

SLOW, SILENT = 300, 300
PODS = 60
# Before the two seconds that it has are over, so that there are always as many.
AGAIN_SECONDS = 1.5
BEGUN = (
    b"POST /mutate?timeout=30s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2000\r\n\r\n{"
)


@contextmanager
def attacked(service: Service) -> Iterator[None]:
    """As many slow bodies as it can keep up, and silent connections."""
    over = Event()
    with ExitStack() as held:
        for _ in range(SILENT):
            held.enter_context(create_connection(("127.0.0.1", service.port)))
        attacker = Thread(target=_keep_slow, args=(service, over))
        attacker.start()
        try:
            eventually(lambda: _received(service) >= SLOW // 2, "bodies are received")
            yield
        finally:
            over.set()
            attacker.join()


def _keep_slow(service: Service, over: Event) -> None:
    tls = ssl.create_default_context(cafile=str(service.certificates.authority))
    callers: list[tuple[float, socket]] = []
    while not over.is_set():
        if len(callers) >= SLOW:
            began, oldest = callers.pop(0)
            over.wait(max(0.0, began + AGAIN_SECONDS - time.monotonic()))
            oldest.close()
        with suppress(OSError):
            caller: socket = tls.wrap_socket(
                create_connection(("127.0.0.1", service.port)), server_hostname="localhost"
            )
            caller.sendall(BEGUN)
            callers.append((time.monotonic(), caller))
    for _, caller in callers:
        caller.close()


def _received(service: Service) -> float:
    labels = frozenset({"port": "reviews", "state": "receiving"}.items())
    return service.metrics()["task_resources_connections", labels]


@pytest.mark.parametrize("failure_policy", ["Ignore", "Fail"])
def test_while_300_slow_bodies_and_300_silent_connections_are_held_open_every_pod_is_created_and_bounded(
    cluster: Cluster, tmp_path: Path, failure_policy: FailurePolicy
) -> None:
    namespace = cluster.namespace(labels={})
    with (
        serving(cluster.service.certificates, tmp_path / "attacked.log") as service,
        registered_for(cluster, namespace, service.url, failure_policy),
    ):
        eventually(lambda: APPLIED in annotations(cluster.try_out(namespace, GREEDY).body), "the API server asks")
        with attacked(service), steady_creations(cluster, namespace, per_second=12) as stream:
            stream.wait_for_more(PODS)
        assert stream.failures == []
