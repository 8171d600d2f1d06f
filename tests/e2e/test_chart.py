"""The chart, installed by Helm into a real cluster: what it does there, how it changes, what it leaves."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import yaml

from tests.chart.rendering import CHART, NAME, NAMESPACE
from tests.e2e.cluster import ENFORCED
from tests.e2e.helm import WAIT, Release, Site, site
from tests.e2e.pods import GREEDY, resources
from tests.e2e.processes import eventually
from tests.programs import DEFINITIONS
from webhook.certificates import ensure_certificates

pytestmark = pytest.mark.e2e

Json = dict[str, Any]


def policy(cpu: str) -> str:
    """A policy by which no container has more CPUs."""
    metadata = "apiVersion: task-resources.io/v1alpha1\nkind: TaskResourcePolicy\nmetadata: {name: platform}\n"
    return f'{metadata}spec: {{container: {{max: {{cpu: "{cpu}"}}}}}}\n'


def policies(cpu: str) -> Json:
    return {"policies": {"files": {"platform.yaml": policy(cpu)}, "rolloutSeconds": 0}}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, programs: Mapping[str, str]) -> Iterator[Site]:
    """A cluster with the namespaces of the release and of tasks; the first takes restricted pods alone."""
    with site(programs, tmp_path_factory.mktemp("site")) as cluster:
        restricted = {"pod-security.kubernetes.io/enforce": "restricted"}
        cluster.core.create_namespace({"metadata": {"name": NAMESPACE, "labels": restricted}})
        cluster.core.create_namespace({"metadata": {"name": "tasks", "labels": ENFORCED}})
        cluster.core.create_namespace({"metadata": {"name": "others"}})
        yield cluster


@pytest.fixture
def release(cluster: Site) -> Iterator[Release]:
    with cluster.release(NAME, NAMESPACE, policies("4")) as release:
        yield release


def cpus(cluster: Site, namespace: str = "tasks") -> str:
    """What a greedy pod gets."""
    answer = cluster.try_out(namespace, GREEDY)
    return str(resources(answer.body)["main"]["limits"]["cpu"]) if answer.status == 201 else answer.message


def test_pods_of_a_namespace_that_opted_in_are_bounded(cluster: Site, release: Release) -> None:
    eventually(lambda: cpus(cluster) == "4", "its pods are bounded")
    assert cpus(cluster, "others") == "16"
    assert len(release.pods()) == 2


def test_a_changed_policy_is_in_force_without_a_new_replica(cluster: Site, release: Release) -> None:
    replicas = release.pods()
    release.upgrade(policies("2"))
    eventually(lambda: cpus(cluster) == "2", "the new maximum")
    assert release.pods() == replicas
    assert cluster.helm("rollback", NAME, "1", "--namespace", NAMESPACE, "--wait").returncode == 0
    eventually(lambda: cpus(cluster) == "4", "the old maximum")
    assert release.pods() == replicas


def test_an_upgrade_replaces_replicas_and_fails_no_pod(cluster: Site, release: Release) -> None:
    eventually(lambda: cpus(cluster) == "4", "its pods are bounded")
    fail = {**policies("4"), "webhooks.failurePolicy": "Fail"}
    release.upgrade(fail)
    replicas = release.pods()
    cluster.kubelet.exit_codes.clear()
    with no_pod_fails(cluster):
        release.upgrade({**fail, "server.logLevel": "warning"})
        eventually(lambda: len(cluster.kubelet.exit_codes) == 2, "both old replicas have ended")
    assert not set(replicas) & set(release.pods())
    assert cluster.kubelet.exit_codes == [0, 0]


def test_an_upgrade_that_does_not_get_ready_is_taken_back_and_fails_no_pod(cluster: Site, release: Release) -> None:
    fail = {**policies("4"), "webhooks.failurePolicy": "Fail"}
    release.upgrade(fail)
    eventually(lambda: cpus(cluster) == "4", "its pods are bounded")
    replicas = release.pods()
    with no_pod_fails(cluster):
        done = release.helm("upgrade", {**fail, "extraArgs": ["--none"]}, "--rollback-on-failure", "--timeout", "5s")
        assert done.returncode != 0
        eventually(lambda: release.pods() == replicas, "the replica that cannot start is gone")


def test_what_somebody_has_changed_without_helm_is_not_overwritten_by_accident(cluster: Site, release: Release) -> None:
    cluster.plane.kubectl("scale", "deployment", NAME, "--replicas=3", "--namespace", NAMESPACE)
    done = release.helm("upgrade", policies("2"))
    assert 'conflict with "kubectl" with subresource "scale"' in done.stderr
    assert ".spec.replicas" in done.stderr
    assert release.helm("upgrade", policies("2"), "--force-conflicts", *WAIT).returncode == 0
    eventually(lambda: len(release.pods()) == 2, "two replicas, as the values say")


def test_a_certificate_of_somebody_else_is_served(cluster: Site, tmp_path: Path) -> None:
    ensure_certificates(tmp_path, ["127.0.0.1"])
    files = {name: (tmp_path / name).read_text() for name in ("tls.crt", "tls.key")}
    cluster.core.create_namespaced_secret(NAMESPACE, {"metadata": {"name": "ours"}, "stringData": files})
    ours = {"certificates.existingSecret": "ours", "certificates.caBundle": (tmp_path / "ca.crt").read_text()}
    with cluster.release(NAME, NAMESPACE, {**policies("4"), **ours}):
        eventually(lambda: cpus(cluster) == "4", "its pods are bounded")
        code, told = helm_test(cluster)
        assert code == 0, told


def test_uninstalling_locks_nobody_out_and_leaves_nothing(cluster: Site, release: Release) -> None:
    release.upgrade({**policies("4"), "webhooks.failurePolicy": "Fail"})
    eventually(lambda: cpus(cluster) == "4", "its pods are bounded")
    with no_pod_fails(cluster, allowed=("4", "16")):
        assert cluster.helm("uninstall", NAME, "--namespace", NAMESPACE, "--wait").returncode == 0
        eventually(lambda: not release.pods(), "its replicas are gone")
    assert cpus(cluster) == "16"
    eventually(lambda: not left_behind(cluster), "all of it is gone")


def left_behind(cluster: Site) -> list[str]:
    """Every object of the cluster that has the release's label."""
    kinds = cluster.plane.kubectl("api-resources", "--verbs=list", "--output=name").stdout.split()
    label = f"--selector=app.kubernetes.io/instance={NAME}"
    found = cluster.plane.kubectl("get", ",".join(kinds), "--all-namespaces", label, "--output=name")
    assert found.returncode == 0, found.stderr
    return found.stdout.split()


@contextmanager
def no_pod_fails(cluster: Site, allowed: Collection[str] = ("4",)) -> Iterator[None]:
    """Creates pods all the time, and then looks at what became of them."""
    done = Event()

    def keep_creating() -> Counter[str]:
        became: Counter[str] = Counter()
        while not done.is_set():
            became[cpus(cluster)] += 1
        return became

    with ThreadPoolExecutor(2) as clients:
        creating = [clients.submit(keep_creating) for _ in range(2)]
        try:
            yield
        finally:
            done.set()
        became = sum((each.result() for each in creating), Counter[str]())
    assert became.keys() <= set(allowed)
    assert became.total() > 20


def helm_test(cluster: Site) -> tuple[int, str]:
    tested = cluster.helm("test", NAME, "--namespace", NAMESPACE, "--timeout", "60s")
    return tested.returncode, tested.stdout + tested.stderr


def test_helm_test_asks_the_webhook_as_the_api_server_does(cluster: Site, release: Release) -> None:
    code, told = helm_test(cluster)
    assert code == 0, told
    assert "/mutate: allowed" in told
    assert "/validate: allowed" in told


def test_helm_test_says_what_is_wrong(cluster: Site, release: Release) -> None:
    cluster.plane.kubectl("scale", "deployment", NAME, "--replicas=0", "--namespace", NAMESPACE)
    eventually(lambda: not cluster.kubelet.endpoints(NAMESPACE, NAME), "no replica is there")
    code, told = helm_test(cluster)
    assert code != 0
    assert "the connection ended without an answer" in told
    status = cluster.core.read_namespaced_pod(f"{NAME}-probe", NAMESPACE).status
    assert "without an answer" in status.container_statuses[0].state.terminated.message


def test_helm_test_sees_that_only_who_has_a_client_certificate_is_answered(cluster: Site, tmp_path: Path) -> None:
    ensure_certificates(tmp_path, ["any"], client="kube-apiserver")
    authority = {"metadata": {"name": "clients"}, "stringData": {"ca.crt": (tmp_path / "ca.crt").read_text()}}
    cluster.core.create_namespaced_secret(NAMESPACE, authority)
    with cluster.release(NAME, NAMESPACE, {"certificates.client.existingSecret": "clients"}) as release:
        code, told = helm_test(cluster)
        assert code == 0, told
        assert "refused without a client certificate, as it should be" in told
        release.upgrade()
        code, told = helm_test(cluster)
        assert "/mutate: allowed" in told


def may(cluster: Site, service_account: str) -> set[str]:
    """What a service account of the release's namespace may do there, a line each."""
    whose = f"--as=system:serviceaccount:{NAMESPACE}:{service_account}"
    asked = cluster.plane.kubectl("auth", "can-i", "--list", whose, "--namespace", NAMESPACE, "--no-headers")
    return {" ".join(line.split()) for line in asked.stdout.splitlines()}


def test_a_replica_may_read_namespaces_and_nothing_else_that_not_everybody_may(cluster: Site, release: Release) -> None:
    assert may(cluster, NAME) - may(cluster, "somebody") == {"namespaces [] [] [get list watch]"}


def test_two_releases_have_their_own_webhooks(cluster: Site, release: Release) -> None:
    """Each for some namespaces only."""
    cluster.core.create_namespace({"metadata": {"name": "beta-tasks", "labels": {**ENFORCED, "team": "beta"}}})
    for_beta = [{"key": "team", "operator": "In", "values": ["beta"]}]
    with cluster.release("beta", "beta", {**policies("2"), "webhooks.namespaces.matchExpressions": for_beta}) as beta:
        for_others = [{"key": "team", "operator": "NotIn", "values": ["beta"]}]
        release.upgrade({**policies("4"), "webhooks.namespaces.matchExpressions": for_others})
        eventually(lambda: cpus(cluster, "beta-tasks") == "2", "those of the second one")
        eventually(lambda: cpus(cluster) == "4", "those of the first one")
        assert beta.pods()
    assert cpus(cluster, "beta-tasks") == "16"
    assert cpus(cluster) == "4"


ISSUER = {"certificates.certManager.enabled": True}
PEM = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n"


@pytest.fixture(scope="module")
def with_definitions(cluster: Site, programs: Mapping[str, str]) -> Site:
    """The cluster with the custom resources of cert-manager and of the Prometheus operator."""
    for folder in DEFINITIONS:
        applied = cluster.plane.kubectl("apply", "--server-side", f"--filename={programs[folder]}")
        assert applied.returncode == 0, applied.stderr
    waiting = ("wait", "--for=condition=Established", "customresourcedefinition", "--all", "--timeout=30s")
    assert cluster.plane.kubectl(*waiting).returncode == 0
    return cluster


@pytest.mark.parametrize(
    ("values", "kinds"),
    [
        pytest.param({}, {"PodDisruptionBudget", "Secret", "ConfigMap", "ClusterRole", "Pod"}, id="defaults"),
        pytest.param({"webhooks.namespaces.mode": "OptOut", "webhooks.failurePolicy": "Fail"}, set(), id="opt-out"),
        pytest.param({"autoscaling.enabled": True}, {"HorizontalPodAutoscaler"}, id="autoscaling"),
        pytest.param(
            {"networkPolicy.enabled": True, "networkPolicy.metricsFrom": [{"namespaceSelector": {}}]},
            {"NetworkPolicy"},
            id="network policy",
        ),
        pytest.param({"metrics.serviceMonitor.enabled": True}, {"ServiceMonitor"}, id="service monitor"),
        pytest.param({"metrics.podMonitor.enabled": True}, {"PodMonitor"}, id="pod monitor"),
        pytest.param({"metrics.prometheusRule.enabled": True}, {"PrometheusRule"}, id="alerts"),
        pytest.param({"metrics.dashboard.enabled": True}, set(), id="dashboard"),
        pytest.param(ISSUER, {"Issuer", "Certificate"}, id="cert-manager"),
        pytest.param(
            {**ISSUER, "certificates.certManager.issuerRef": {"name": "ours", "kind": "ClusterIssuer"}},
            {"Certificate"},
            id="an issuer of cert-manager",
        ),
        pytest.param(
            {"certificates.existingSecret": "ours", "certificates.caBundle": PEM}, set(), id="an existing certificate"
        ),
        pytest.param({"certificates.client.existingSecret": "clients"}, set(), id="client certificates"),
        pytest.param({"server.namespaces": "none"}, set(), id="no role"),
    ],
)
def test_every_object_is_accepted_with_no_field_that_the_api_does_not_know(
    with_definitions: Site, values: Json, kinds: set[str]
) -> None:
    site = with_definitions
    rendered = site.helm("template", NAME, str(CHART), "--namespace", NAMESPACE, values=values)
    assert rendered.returncode == 0, rendered.stderr
    objects = [each for each in yaml.safe_load_all(rendered.stdout) if each]
    assert kinds <= {each["kind"] for each in objects}
    strictly = ("apply", "--server-side", "--dry-run=server", "--validate=strict", "--filename=-")
    applied = site.plane.kubectl(*strictly, given={"apiVersion": "v1", "kind": "List", "items": objects})
    assert applied.returncode == 0, applied.stderr
    assert "Warning" not in applied.stderr
