"""Resizing a pod that runs: it may not be raised above a maximum, and is never shrunk by us."""

from typing import Any

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.control_plane import NODE, SCHEDULER
from tests.e2e.nodes import GPU, TOLERATES_EVERYTHING
from tests.e2e.pods import annotations, container, pod, resources
from tests.e2e.registration import MUTATING

pytestmark = pytest.mark.e2e

Json = dict[str, Any]

GIVEN: Json = {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "2", "memory": "2Gi"}}


def run(cluster: Cluster, namespace: str, task: Json) -> Json:
    """The pod, running on a node."""
    cluster.created(namespace, {**task, "spec": {**task["spec"], "nodeName": NODE}})
    return cluster.started(namespace)


def outgrown(cluster: Cluster, policy: str, task: Json) -> str:
    """A namespace that opted in when this pod, larger than its policy allows, ran already."""
    namespace = cluster.namespace(policy, labels={})
    before = run(cluster, namespace, task)
    cluster.opt_in(namespace)
    assert resources(cluster.stored(namespace)) == resources(before)
    return namespace


def test_a_resize_above_the_maximum_stops_at_the_maximum(cluster: Cluster) -> None:
    namespace = cluster.namespace()
    before = run(cluster, namespace, pod(container(**GIVEN)))
    answer = cluster.resize(namespace, "task", {"main": {"limits": {"cpu": "6", "memory": "3Gi"}}})
    assert answer.status == 200
    assert answer.warnings == ("main: limits.cpu changed from 6 to 4 (maximum, policy platform)",)
    stored = cluster.stored(namespace)
    assert resources(stored) == {"main": {**GIVEN, "limits": {"cpu": "4", "memory": "3Gi"}}}
    assert annotations(stored) == annotations(before)


def test_a_resize_within_the_maximum_is_not_touched(cluster: Cluster) -> None:
    namespace = cluster.namespace()
    run(cluster, namespace, pod(container(**GIVEN)))
    resized = {"requests": {"cpu": "1500m", "memory": "1Gi"}, "limits": {"cpu": "3", "memory": "2Gi"}}
    answer = cluster.resize(namespace, "task", {"main": resized})
    assert (answer.status, answer.warnings) == (200, ())
    assert resources(cluster.stored(namespace)) == {"main": resized}


def test_a_guaranteed_pod_stays_guaranteed(cluster: Cluster) -> None:
    namespace = cluster.namespace()
    amounts = {"cpu": "2", "memory": "2Gi"}
    run(cluster, namespace, pod(container(limits=amounts, requests=amounts)))
    raised = {"cpu": "8", "memory": "2Gi"}
    assert cluster.resize(namespace, "task", {"main": {"limits": raised, "requests": raised}}).status == 200
    stored = cluster.stored(namespace)
    bounded = {"cpu": "4", "memory": "2Gi"}
    assert resources(stored) == {"main": {"limits": bounded, "requests": bounded}}
    assert stored["status"]["qosClass"] == "Guaranteed"


def test_a_resize_is_refused_where_the_policy_refuses(cluster: Cluster) -> None:
    namespace = cluster.namespace("strict")
    run(cluster, namespace, pod(container(**GIVEN)))
    answer = cluster.resize(namespace, "task", {"main": {"limits": {"cpu": "6"}}})
    assert answer.status == 422
    for part in (MUTATING, "main", "limits.cpu", "6", "4", "policy platform", "#strict-team"):
        assert part in answer.message
    assert resources(cluster.stored(namespace)) == {"main": GIVEN}


@pytest.mark.parametrize("policy", ["platform", "strict"])
def test_a_pod_that_exceeds_the_maximum_already_is_never_shrunk(cluster: Cluster, policy: str) -> None:
    large: Json = {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "6", "memory": "2Gi"}}
    namespace = outgrown(cluster, policy, pod(container(**large)))
    answer = cluster.resize(namespace, "task", {"main": {"limits": {"memory": "3Gi"}}})
    assert (answer.status, answer.warnings) == (200, ())
    assert resources(cluster.stored(namespace))["main"]["limits"] == {"cpu": "6", "memory": "3Gi"}
    answer = cluster.resize(namespace, "task", {"main": {"limits": {"cpu": "5"}}})
    assert (answer.status, answer.warnings) == (200, ())
    assert resources(cluster.stored(namespace))["main"]["limits"] == {"cpu": "5", "memory": "3Gi"}


def test_a_pod_that_exceeds_the_maximum_already_does_not_grow_further(cluster: Cluster) -> None:
    large: Json = {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "6", "memory": "2Gi"}}
    namespace = outgrown(cluster, "platform", pod(container(**large)))
    answer = cluster.resize(namespace, "task", {"main": {"limits": {"cpu": "7"}}})
    assert answer.status == 200
    assert [text for text in answer.warnings if "from 7 to 6" in text]
    assert resources(cluster.stored(namespace)) == {"main": large}


def test_a_resize_that_takes_the_pod_above_its_total_is_refused(cluster: Cluster) -> None:
    namespace = cluster.namespace("total")
    amounts = {"cpu": "2", "memory": "1Gi"}
    run(cluster, namespace, pod(container("main", limits=amounts), container("helper", limits=amounts)))
    raised = {"limits": {"cpu": "4500m"}, "requests": {"cpu": "4500m"}}
    assert cluster.resize(namespace, "task", {"main": {"limits": {"cpu": "4"}, "requests": {"cpu": "4"}}}).status == 200
    answer = cluster.resize(namespace, "task", {"helper": raised})
    assert answer.status == 422
    assert "pod's maximum 6" in answer.message


def test_a_resize_of_the_pod_level_is_bounded(cluster: Cluster) -> None:
    namespace = cluster.namespace("total")
    level = {"requests": {"cpu": "2", "memory": "2Gi"}, "limits": {"cpu": "4", "memory": "4Gi"}}
    own: Json = {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "2", "memory": "2Gi"}}
    run(cluster, namespace, pod(container(**own), resources=level))
    answer = cluster.resize(namespace, "task", {"pod": {"limits": {"cpu": "9"}}})
    assert answer.status == 200, answer.message
    assert resources(cluster.stored(namespace))["pod"] == {**level, "limits": {"cpu": "6", "memory": "4Gi"}}


# The pod may have 8 cores, each of its containers 4; the first has no limit but the pod's.
SHARING: Json = pod(
    container(requests={"cpu": "1", "memory": "1Gi"}, limits={"memory": "1Gi"}),
    container("helper", requests={"cpu": "100m", "memory": "64Mi"}, limits={"cpu": "1", "memory": "64Mi"}),
    resources={"requests": {"cpu": "2", "memory": "2Gi"}, "limits": {"cpu": "3", "memory": "2Gi"}},
)


def cores(stored: Json) -> dict[str, str | None]:
    """The limits of cpu, of the pod level under "pod"."""
    return {name: amounts.get("limits", {}).get("cpu") for name, amounts in resources(stored).items()}


def test_a_pod_limit_is_not_raised_above_the_maximum_of_a_container_that_has_no_limit_of_its_own(
    cluster: Cluster,
) -> None:
    namespace = cluster.namespace()
    run(cluster, namespace, SHARING)
    answer = cluster.resize(namespace, "task", {"pod": {"limits": {"cpu": "40"}}})
    assert answer.status == 200, answer.message
    assert answer.warnings == ("pod: limits.cpu changed from 40 to 4 (maximum, policy platform)",)
    assert cores(cluster.stored(namespace)) == {"pod": "4", "main": None, "helper": "1"}


def test_a_pod_limit_that_would_lift_a_containers_maximum_is_refused_where_the_policy_refuses(
    cluster: Cluster,
) -> None:
    namespace = cluster.namespace("strict")
    run(cluster, namespace, SHARING)
    answer = cluster.resize(namespace, "task", {"pod": {"limits": {"cpu": "8"}}})
    assert answer.status == 422
    assert 'limits.cpu 8 is the limit of container "main", which has none of its own' in answer.message
    assert cores(cluster.stored(namespace)) == {"pod": "3", "main": None, "helper": "1"}


def test_a_container_that_gets_its_own_limit_leaves_the_pod_its_own_maximum(cluster: Cluster) -> None:
    namespace = cluster.namespace()
    run(cluster, namespace, SHARING)
    answer = cluster.resize(namespace, "task", {"pod": {"limits": {"cpu": "8"}}, "main": {"limits": {"cpu": "8"}}})
    assert answer.status == 200, answer.message
    assert cores(cluster.stored(namespace)) == {"pod": "8", "main": "4", "helper": "1"}


def test_a_pod_level_that_a_client_does_not_send_stays_and_is_judged_as_it_is(cluster: Cluster) -> None:
    namespace = cluster.namespace("total")
    level = {"requests": {"cpu": "300m", "memory": "2Gi"}, "limits": {"cpu": "6", "memory": "2Gi"}}
    amounts: Json = {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "2", "memory": "64Mi"}}
    before = run(cluster, namespace, pod(*(container(name, **amounts) for name in ("main", "b", "c")), resources=level))
    sent = {**before, "spec": {key: value for key, value in before["spec"].items() if key != "resources"}}
    sent["spec"]["containers"][0]["resources"]["limits"]["cpu"] = "4"
    answer = cluster.resize_whole(namespace, "task", sent)
    assert answer.status == 200, answer.message
    assert cores(cluster.stored(namespace)) == {"pod": "6", "main": "4", "b": "2", "c": "2"}


def test_annotations_defaults_and_minima_do_not_concern_a_resize(cluster: Cluster) -> None:
    namespace = cluster.namespace("generous")
    asked = {"task-resources.io/limits": "cpu=3"}
    amounts: Json = {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "3", "memory": "2Gi"}}
    run(cluster, namespace, pod(container(**amounts), annotations=asked))
    resized = {"limits": {"cpu": "2", "memory": "2Gi"}, "requests": {"cpu": "10m", "memory": "1Mi"}}
    assert cluster.resize(namespace, "task", {"main": resized}).status == 200
    assert resources(cluster.stored(namespace)) == {"main": resized}


def test_a_pod_that_was_placed_on_a_gpu_is_resized_like_every_other(cluster: Cluster) -> None:
    namespace = cluster.namespace("gpus")
    amounts: Json = {side: {**given, GPU: "1"} for side, given in GIVEN.items()}
    cluster.created(namespace, pod(container(**amounts), schedulerName=SCHEDULER))
    node = cluster.node_of(namespace)
    before = cluster.started(namespace)
    answer = cluster.resize(namespace, "task", {"main": {"limits": {"cpu": "6", "memory": "3Gi"}}})
    assert answer.status == 200
    assert answer.warnings == ("main: limits.cpu changed from 6 to 4 (maximum, policy platform)",)
    after = cluster.stored(namespace)
    assert after["spec"]["nodeName"] == node
    assert resources(after) == {"main": {**amounts, "limits": {"cpu": "4", "memory": "3Gi", GPU: "1"}}}
    for field in ("tolerations", "nodeSelector"):
        assert after["spec"][field] == before["spec"][field]


def test_where_a_pod_may_run_is_not_judged_when_it_is_resized(cluster: Cluster) -> None:
    tolerant = pod(container(**GIVEN), tolerations=[TOLERATES_EVERYTHING])
    namespace = outgrown(cluster, "gpus-reserved-strictly", tolerant)
    assert cluster.create(namespace, {**tolerant, "metadata": {"name": "new"}}).status == 422
    assert cluster.service.review(tolerant, namespace, "validate")["allowed"]
    answer = cluster.resize(namespace, "task", {"main": {"limits": {"cpu": "3"}}})
    assert (answer.status, answer.warnings) == (200, ())
    assert resources(cluster.stored(namespace))["main"]["limits"]["cpu"] == "3"
