"""Two replicas behind a Service, `failurePolicy: Fail`, a steady stream of pods: what changes fails none of them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.deployment import OFTEN_CONNECTED, Deployment, deployed, renewed, replace_authority, secret
from tests.e2e.pods import GREEDY
from tests.e2e.processes import eventually
from tests.e2e.registration import registered_for
from tests.e2e.service import make_certificates
from tests.e2e.stream import Stream, steady_creations

pytestmark = pytest.mark.e2e

# Of the stream, which are enough to use every connection several times.
SOME = 24


@pytest.fixture(scope="module")
def deployment(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Two replicas that drain for longer than a Service needs to see that they are not ready."""
    options = {"--drain-seconds": 1, "--policy-rollout-seconds": 3, **OFTEN_CONNECTED}
    folder = tmp_path_factory.mktemp("deployment")
    with deployed(cluster.service.certificates, folder, probe_seconds=0.5, options=options) as deployment:
        yield deployment


@pytest.fixture(scope="module")
def namespace(cluster: Cluster, deployment: Deployment) -> Iterator[str]:
    """A namespace whose pods those replicas alone review."""
    namespace = cluster.namespace(labels={})
    with registered_for(cluster, namespace, deployment.url, "Fail"):
        eventually(lambda: cluster.try_out(namespace, GREEDY).warnings, "the API server asks")
        yield namespace


@pytest.fixture
def stream(cluster: Cluster, namespace: str) -> Iterator[Stream]:
    """Pods that are created from before a test until after it."""
    with steady_creations(cluster, namespace, per_second=40) as stream:
        stream.wait_for_more(SOME)
        yield stream


def test_a_rolling_restart_fails_no_pod(deployment: Deployment, stream: Stream) -> None:
    deployment.restart()
    stream.wait_for_more(SOME)
    assert stream.failures == []


def test_a_replica_that_is_killed_fails_pods_only_until_the_service_knows(
    deployment: Deployment, stream: Stream
) -> None:
    deployment.kill()
    failed = stream.failures
    stream.wait_for_more(SOME)
    assert stream.failures == failed
    assert [text for text in failed if "failed calling webhook" not in text] == []
    assert len(stream.creations) - len(failed) > SOME


def test_another_certificate_of_the_same_authority_fails_no_pod(
    cluster: Cluster, deployment: Deployment, stream: Stream, tmp_path: Path
) -> None:
    deployment.mount_secret(secret(renewed(cluster.service.certificates, tmp_path / "renewed")))
    stream.wait_for_more(SOME)
    assert stream.failures == []


def test_another_authority_fails_no_pod_while_both_are_trusted(
    cluster: Cluster, deployment: Deployment, stream: Stream, tmp_path: Path
) -> None:
    for issued in (secret(make_certificates(tmp_path)), deployment.secret):
        replace_authority(cluster, deployment, issued, stream, between=SOME)
    assert stream.failures == []


def test_a_changed_maximum_that_one_replica_sees_first_fails_no_pod(deployment: Deployment, stream: Stream) -> None:
    for maximum in (6, 4):
        deployment.change_maximum(maximum, stream, between=SOME)
    stream.wait_for_more(SOME)
    assert stream.failures == []


def test_a_broken_certificate_changes_nothing(deployment: Deployment, stream: Stream, tmp_path: Path) -> None:
    of_another_key = secret(make_certificates(tmp_path))["tls.crt"]
    deployment.mount_broken_secret({**deployment.secret, "tls.crt": of_another_key})
    stream.wait_for_more(SOME)
    assert stream.failures == []
