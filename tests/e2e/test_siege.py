"""All that is known to hold up a server, at once and for a while: nobody else notices.

The same for ten minutes, with figures: `python -m benchmarks reliability --seconds 600 siege`.
"""

import time
from pathlib import Path

import pytest

from tests.e2e.attackers import attacking, probed, rss_mib
from tests.e2e.cluster import Cluster
from tests.e2e.pods import GREEDY
from tests.e2e.processes import eventually
from tests.e2e.registration import registered_for
from tests.e2e.service import serving
from tests.e2e.stream import steady_creations

pytestmark = pytest.mark.e2e

SECONDS = 30.0
# The chart's limit.
LIMIT_MIB = 512


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
        assert rss_mib(service) < LIMIT_MIB
        eventually(lambda: service.metrics()["task_resources_in_flight_reviews", frozenset()] == 0, "all is answered")
