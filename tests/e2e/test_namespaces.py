"""Project and domain from the labels of the cluster's namespaces: listed, watched, and looked up (P6, P7)."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client

from tests.e2e.cluster import Answer, Cluster, connected
from tests.e2e.control_plane import ControlPlane, another_api_server
from tests.e2e.pods import GREEDY, resources
from tests.e2e.processes import eventually
from tests.e2e.registration import VALIDATING, registered_for
from tests.e2e.service import Service, creation, is_ready, serving
from webhook.projects import DOMAIN_LABEL, PROJECT_LABEL

pytestmark = pytest.mark.e2e

Json = dict[str, Any]

EXAMPLE = Path(__file__).parents[2] / "examples" / "rbac.yaml"
HOME = "task-resources"

# What a container may have, by the policies of the tests.
UNREVIEWED, PLATFORM, VISION, VISION_PRODUCTION = "16", "4", "2", "3"
IN_VISION = {PROJECT_LABEL: "vision"}
IN_VISION_PRODUCTION = IN_VISION | {DOMAIN_LABEL: "production"}


@pytest.fixture(scope="module")
def account(cluster: Cluster) -> str:
    """The example's service account, with the example's role."""
    cluster.core.create_namespace({"metadata": {"name": HOME}})
    applied = cluster.plane.kubectl("apply", "-f", str(EXAMPLE))
    assert applied.returncode == 0, applied.stderr
    return "task-resource-webhook"


def kubeconfig(plane: ControlPlane, account: str) -> Path:
    """A kubeconfig with a token of the service account, from this API server."""
    with connected(plane) as api:
        core: Any = client.CoreV1Api(api)
        made = core.create_namespaced_service_account_token(account, HOME, {"spec": {"expirationSeconds": 3600}})
    return plane.kubeconfig(account, made.status.token)


@pytest.fixture(scope="module")
def follower(cluster: Cluster, account: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A webhook that follows the cluster's namespaces, and may do nothing else."""
    log = tmp_path_factory.mktemp("follower") / "webhook.log"
    with serving(cluster.service.certificates, log, kubeconfig=kubeconfig(cluster.plane, account)) as service:
        yield service


def cpu_of(cluster: Cluster, namespace: str) -> str:
    """What a pod that wants 16 cores gets."""
    return cpu_in(cluster.try_out(namespace, GREEDY))


def cpu_in(answer: Answer) -> str:
    assert answer.status == 201, answer.body
    cpu: str = resources(answer.body)["main"]["limits"]["cpu"]
    return cpu


def cpus_until(cluster: Cluster, namespace: str, cpu: str) -> set[str]:
    """What pods get until one gets this much."""
    seen: set[str] = set()

    def arrives() -> bool:
        answer = cluster.try_out(namespace, GREEDY)
        if answer.status == 422:  # the labels changed between the two looks at this pod
            assert VALIDATING in answer.message
            return False
        seen.add(cpu_in(answer))
        return cpu in seen

    eventually(arrives, f"a pod of {namespace} gets {cpu} cores")
    return seen


def reviewed_cpu(service: Service, namespace: str) -> str | None:
    """What the warning of a review says the limit became; None where the review was not answered."""
    with service.client() as asking:
        answer = asking.post("/mutate?timeout=2s", json=creation(GREEDY, namespace))
    if answer.status_code != 200:
        return None
    warning: str = answer.json()["response"]["warnings"][0]
    return warning.partition("limits.cpu changed from 16 to ")[2].split()[0]


def metric(service: Service, name: str, **labels: str) -> float:
    return service.metrics().get((f"task_resources_{name}", frozenset(labels.items())), 0.0)


def test_a_pod_obeys_the_project_and_domain_that_its_namespace_is_labelled_with(
    cluster: Cluster, follower: Service
) -> None:
    namespace = cluster.namespace(labels=IN_VISION_PRODUCTION)
    with registered_for(cluster, namespace, follower.url, "Fail"):
        assert cpus_until(cluster, namespace, VISION_PRODUCTION) <= {UNREVIEWED, VISION_PRODUCTION}


def test_a_label_that_changes_counts_for_the_next_pod(cluster: Cluster, follower: Service) -> None:
    namespace = cluster.namespace(labels={})
    with registered_for(cluster, namespace, follower.url, "Fail"):
        cpus_until(cluster, namespace, PLATFORM)
        for labels, cpu in (
            (IN_VISION, VISION),
            (IN_VISION_PRODUCTION, VISION_PRODUCTION),
            ({PROJECT_LABEL: None, DOMAIN_LABEL: None}, PLATFORM),
        ):
            cluster.core.patch_namespace(namespace, {"metadata": {"labels": labels}})
            cpus_until(cluster, namespace, cpu)


def test_the_role_of_the_example_is_to_read_namespaces_and_nothing_else(cluster: Cluster, account: str) -> None:
    role = next(each for each in yaml.safe_load_all(EXAMPLE.read_text()) if each["kind"] == "ClusterRole")
    assert role["rules"] == [{"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get", "list", "watch"]}]
    user = f"--as=system:serviceaccount:{HOME}:{account}"
    for question, answer in (("watch namespaces", "yes"), ("update namespaces", "no"), ("list pods", "no")):
        assert cluster.plane.kubectl("auth", "can-i", *question.split(), user).stdout.strip() == answer


@contextmanager
def deaf_follower(cluster: Cluster, folder: Path) -> Iterator[Service]:
    """A webhook that may list and get namespaces but not watch them: it hears of no new one."""
    name = "task-resource-webhook-deaf"
    rules = [{"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get", "list"]}]
    binding = {
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": [{"kind": "ServiceAccount", "namespace": HOME, "name": name}],
    }
    common = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": name}}
    cluster.core.create_namespaced_service_account(HOME, {"metadata": {"name": name}})
    for given in (
        {"kind": "ClusterRole", "rules": rules, **common},
        {"kind": "ClusterRoleBinding", **binding, **common},
    ):
        assert cluster.plane.kubectl("apply", "-f", "-", given=given).returncode == 0
    config = kubeconfig(cluster.plane, name)
    with serving(cluster.service.certificates, folder / "deaf.log", kubeconfig=config) as service:
        yield service


def test_the_first_pod_of_a_namespace_that_no_watch_told_of_is_right(
    cluster: Cluster, account: str, tmp_path: Path
) -> None:
    with deaf_follower(cluster, tmp_path) as deaf:
        namespace = cluster.namespace(labels=IN_VISION)
        with registered_for(cluster, namespace, deaf.url, "Fail"):
            assert cpus_until(cluster, namespace, VISION) <= {UNREVIEWED, VISION}
            assert cpu_of(cluster, namespace) == VISION
        assert metric(deaf, "namespace_lookups_total", result="found") == 1
        assert metric(deaf, "namespace_failures_total", reason="refused") > 0
        assert "cannot watch resource" in deaf.log.read_text()


def test_a_namespace_that_does_not_exist_is_answered_503_with_retry_after(follower: Service) -> None:
    with follower.client() as asking:
        answer = asking.post("/mutate?timeout=2s", json=creation(GREEDY, "nowhere-development"))
    assert (answer.status_code, answer.text) == (503, "the namespace nowhere-development does not exist\n")
    assert (answer.headers["Retry-After"], answer.headers["Connection"]) == ("1", "close")


def test_after_the_api_server_was_restarted_labels_are_followed_again(
    cluster: Cluster, account: str, tmp_path: Path
) -> None:
    changed = cluster.namespace(labels={})
    folder = tmp_path / "api-server"
    folder.mkdir()
    with ExitStack() as first_life:
        first = first_life.enter_context(another_api_server(cluster.plane, folder))
        log, config = tmp_path / "webhook.log", kubeconfig(first, account)
        with serving(cluster.service.certificates, log, kubeconfig=config) as service:
            assert reviewed_cpu(service, changed) == PLATFORM
            first_life.close()
            eventually(lambda: metric(service, "namespace_failures_total", reason="connection") > 1, "it is away")
            assert reviewed_cpu(service, changed) == PLATFORM
            assert is_ready(service.management_url)
            cluster.core.patch_namespace(changed, {"metadata": {"labels": IN_VISION}})
            with another_api_server(cluster.plane, folder, port=first.port):
                eventually(lambda: reviewed_cpu(service, changed) == VISION, "the new label counts")
                added = cluster.namespace(labels=IN_VISION_PRODUCTION)
                assert reviewed_cpu(service, added) == VISION_PRODUCTION
                said = service.ask("/readyz?verbose").text
                assert "[+]namespaces ok\n" in said
