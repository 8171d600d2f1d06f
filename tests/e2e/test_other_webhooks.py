"""Other mutating webhooks that come after ours: what they change is looked at once more."""

import copy
from typing import Any

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.pods import PRIMARY_CONTAINER, annotations, container, pod, resources
from tests.e2e.registration import VALIDATING, another_webhook

pytestmark = pytest.mark.e2e

Json = dict[str, Any]

TASK = pod(container(limits={"cpu": "2", "memory": "1Gi"}))
RAISED = "16"


def raise_cpu(given: Json) -> list[Json]:
    """Gives the first container more cpu than any policy here allows."""
    amounts = given["spec"]["containers"][0]["resources"]["limits"]
    path = "/spec/containers/0/resources/limits/cpu"
    return [] if amounts["cpu"] == RAISED else [{"op": "replace", "path": path, "value": RAISED}]


def inject_proxy(given: Json) -> list[Json]:
    """Adds a container without limits in front of all others."""
    if any(each["name"] == "proxy" for each in given["spec"]["containers"]):
        return []
    proxy = container("proxy", requests={"cpu": "100m"})
    return [{"op": "add", "path": "/spec/containers/0", "value": proxy}]


def inject_init_proxy(given: Json) -> list[Json]:
    """Adds a native sidecar with more memory than the policy allows."""
    if "initContainers" in given["spec"]:
        return []
    proxy = container("proxy", limits={"memory": "64Gi"}, restartPolicy="Always")
    return [{"op": "add", "path": "/spec/initContainers", "value": [proxy]}]


def test_the_second_look_refuses_what_a_later_webhook_raises_again_and_again(cluster: Cluster) -> None:
    namespace = cluster.namespace()
    with another_webhook(cluster, namespace, raise_cpu, reinvocation="IfNeeded"):
        answer = cluster.create(namespace, TASK)
    assert answer.status == 422
    assert answer.message.startswith(f'admission webhook "{VALIDATING}" denied the request: ')
    for part in ("main", "limits.cpu", RAISED, "4", "policy platform"):
        assert part in answer.message
    assert cluster.pods(namespace) == []


def test_what_a_later_webhook_raises_once_is_bounded_when_ours_is_asked_again(cluster: Cluster) -> None:
    namespace = cluster.namespace()
    with another_webhook(cluster, namespace, raise_cpu):
        stored = cluster.created(namespace, TASK)
    assert resources(stored)["main"]["limits"]["cpu"] == "4"


@pytest.mark.parametrize("inject", [inject_proxy, inject_init_proxy], ids=["container", "native sidecar"])
def test_a_sidecar_that_a_later_webhook_injects_is_bounded(cluster: Cluster, inject: Any) -> None:
    namespace = cluster.namespace()
    alone = cluster.try_out(namespace, TASK).body
    with another_webhook(cluster, namespace, inject):
        stored = cluster.created(namespace, TASK)
    amounts = resources(stored)
    assert (amounts["proxy"]["limits"]["cpu"], amounts["proxy"]["limits"]["memory"]) == ("4", "8Gi")
    assert amounts["main"] == resources(alone)["main"], "the others keep what they have"
    assert "patch" not in cluster.service.review(stored, namespace)


def test_an_injected_sidecar_does_not_become_the_primary_container(cluster: Cluster) -> None:
    namespace = cluster.namespace()
    with another_webhook(cluster, namespace, inject_proxy):
        stored = cluster.created(namespace, pod())
    assert [each["name"] for each in stored["spec"]["containers"]] == ["proxy", "main"]
    assert annotations(stored)[PRIMARY_CONTAINER] == "main"
    assert resources(stored)["main"]["requests"] == {"cpu": "500m", "memory": "500Mi"}, "defaults are the primary's"
    assert resources(stored)["proxy"]["requests"] == {"cpu": "100m", "memory": "0"}


def test_an_annotation_for_a_container_that_is_injected_later_counts_when_it_is_there(cluster: Cluster) -> None:
    namespace = cluster.namespace()
    task = copy.deepcopy(TASK)
    task["metadata"]["annotations"] = {"limits.task-resources.io/proxy": "cpu=300m,memory=64Mi"}
    alone = cluster.try_out(namespace, task)
    assert [text for text in alone.warnings if "proxy" in text]
    with another_webhook(cluster, namespace, inject_proxy):
        stored = cluster.created(namespace, task)
    assert resources(stored)["proxy"]["limits"] == {"cpu": "300m", "memory": "64Mi"}


def test_the_audit_log_keeps_what_was_changed_before_and_after_the_other_webhook(cluster: Cluster) -> None:
    namespace = cluster.namespace("strict")
    with another_webhook(cluster, namespace, inject_proxy):
        cluster.created(namespace, pod(name="two-looks"))
    [annotated] = [
        event["annotations"]
        for event in cluster.plane.audit_events(namespace)
        if event["objectRef"].get("name") == "two-looks" and event["verb"] == "create"
    ]
    assert '"container":"main"' in annotated["mutate.task-resources.io/changes"]
    assert '"container":"proxy"' in annotated["mutate.task-resources.io/changes-again"]
