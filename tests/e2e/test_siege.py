"""All that is known to hold up a server, at once and for a while: nobody else notices.

The same for ten minutes, with figures: `python -m benchmarks reliability --seconds 600 siege`.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from urllib.request import urlopen

import pytest

from tests.e2e.attackers import KINDS, attacking
from tests.e2e.cluster import Cluster
from tests.e2e.pods import GREEDY
from tests.e2e.processes import eventually
from tests.e2e.registration import registered_for
from tests.e2e.service import Service, serving
from tests.e2e.stream import steady_creations

pytestmark = pytest.mark.e2e

SECONDS = 30.0
# Of a kubelet: every two seconds, and as long as the chart has it wait.
PROBE_SECONDS, PROBE_TIMEOUT_SECONDS = 2.0, 5.0
# The chart's limit, and what is left of it in any case.
LIMIT_MIB, ROOM_MIB = 512, 128


@contextmanager
def probed(service: Service) -> Iterator[list[str]]:
    """What was wrong with each probe that failed."""
    failed: list[str] = []
    over = Event()

    def probe() -> None:
        while not over.wait(PROBE_SECONDS):
            for path in ("/livez", "/readyz"):
                try:
                    with urlopen(service.management_url + path, timeout=PROBE_TIMEOUT_SECONDS) as answer:
                        answer.read()
                except OSError as error:
                    failed.append(f"{path}: {error}")

    prober = Thread(target=probe)
    prober.start()
    try:
        yield failed
    finally:
        over.set()
        prober.join()


def test_an_innocent_client_beside_all_attacks_at_once_gets_every_pod_bounded(cluster: Cluster, tmp_path: Path) -> None:
    namespace = cluster.namespace(labels={})
    with (
        serving(cluster.service.certificates, tmp_path / "besieged.log") as service,
        registered_for(cluster, namespace, service.url, "Ignore"),
    ):
        eventually(lambda: cluster.try_out(namespace, GREEDY).warnings, "the API server asks")
        with (
            attacking(cluster.service.certificates, service.port, SECONDS),
            probed(service) as failed_probes,
            steady_creations(cluster, namespace, per_second=12) as stream,
        ):
            until = time.monotonic() + SECONDS
            eventually(lambda: time.monotonic() > until, "the attack is over", seconds=2 * SECONDS)
        assert stream.failures == []
        assert failed_probes == []
        assert rss_mib(service) < LIMIT_MIB - ROOM_MIB
        eventually(lambda: service.metrics()["task_resources_in_flight_reviews", frozenset()] == 0, "all is answered")
    assert len(KINDS) == 8


def rss_mib(service: Service) -> float:
    status = Path(f"/proc/{service.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024
