"""One control plane and one webhook for the whole session; a namespace of its own for each test."""

from collections.abc import Iterator, Mapping

import pytest

from tests.e2e.cluster import Cluster, connected
from tests.e2e.control_plane import ControlPlane, control_plane
from tests.e2e.nodes import create_nodes
from tests.e2e.pods import LIMITS, pod
from tests.e2e.registration import MUTATING, register
from tests.e2e.service import Certificates, Service, make_certificates, serving

# What no pod of any test may lead to.
BUGS = {"task_resources_invalid_results_total", "task_resources_panics_total"}
REJECTIONS = "apiserver_admission_webhook_rejection_count{"


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory, programs: Mapping[str, str]) -> Iterator[ControlPlane]:
    with control_plane(programs, tmp_path_factory.mktemp("control-plane")) as plane:
        yield plane


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def service(certificates: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(certificates, tmp_path_factory.mktemp("service") / "webhook.log") as service:
        yield service


@pytest.fixture(scope="session")
def cluster(plane: ControlPlane, service: Service) -> Iterator[Cluster]:
    """A cluster in which the webhook is registered."""
    with connected(plane) as api:
        cluster = Cluster(plane, service, api)
        create_nodes(cluster.core)
        register(cluster, service)
        yield cluster
        assert_no_bug_was_seen(cluster)


def assert_no_bug_was_seen(cluster: Cluster) -> None:
    """No pod of any test led to a result of ours that is wrong, by our own count and by that of the API server."""
    plane, service = cluster.plane, cluster.service
    told = [line for line in service.log.read_text().splitlines() if '"level":"error"' in line]
    assert sum(value for (name, _), value in service.metrics().items() if name in BUGS) == 0, told
    assert cluster.try_out(cluster.namespace(), pod(annotations={LIMITS: "?"})).status == 422  # one that is counted
    counted = plane.kubectl("get", "--raw", "/metrics").stdout.splitlines()
    rejections = [line for line in counted if line.startswith(REJECTIONS) and f'name="{MUTATING}"' in line]
    assert rejections
    assert not [line for line in rejections if "apiserver_internal_error" in line], "a patch that could not be applied"
    assert "Failed to set admission audit annotation" not in (plane.folder / "kube-apiserver.log").read_text()
