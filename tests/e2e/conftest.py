"""One control plane and one webhook for the whole session; a namespace of its own for each test."""

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from tests.e2e.cluster import Cluster, connected
from tests.e2e.control_plane import NODE, ControlPlane, Programs, build, control_plane
from tests.e2e.registration import register
from tests.e2e.service import Certificates, Service, make_certificates, serving

# What no pod of any test may lead to.
BUGS = {"task_resources_invalid_results_total", "task_resources_panics_total"}

PROGRAMS = pytest.StashKey[Programs]()
HERE = Path(__file__).parent

# There is no kubelet: the node is what one would say of it.
NODE_STATUS = {
    "allocatable": {"cpu": "64", "memory": "512Gi", "pods": "500"},
    "declaredFeatures": ["InPlacePodLevelResourcesVerticalScaling"],
}


def pytest_collection_finish(session: pytest.Session) -> None:
    """Builds what is missing before the first test starts: it takes longer than any test may."""
    if any(HERE in item.path.parents for item in session.items) and not session.config.option.collectonly:
        capture = session.config.pluginmanager.getplugin("capturemanager")
        with capture.global_and_fixture_disabled() if capture else nullcontext():
            session.config.stash[PROGRAMS] = build()


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[ControlPlane]:
    with control_plane(pytestconfig.stash[PROGRAMS], tmp_path_factory.mktemp("control-plane")) as plane:
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
        cluster.core.create_node({"metadata": {"name": NODE}, "status": NODE_STATUS})
        register(cluster, service)
        yield cluster
    metrics = service.metrics()
    assert sum(value for (name, _), value in metrics.items() if name in BUGS) == 0, service.log.read_text()
