"""Taints that are kept for pods that ask for a device: who tolerates them, with whose help, and who should not."""

from collections.abc import Iterator
from typing import Any

import pytest
from kubernetes import client

from tests.e2e.cluster import Answer, Cluster, connected, create
from tests.e2e.control_plane import another_api_server
from tests.e2e.nodes import GPU, POOL, TOLERATES_EVERYTHING, TOLERATES_GPUS
from tests.e2e.pods import LIMITS, container, pod
from tests.e2e.processes import eventually
from tests.e2e.registration import MUTATING, another_webhook

pytestmark = pytest.mark.e2e

Json = dict[str, Any]

GPU_TASKS: dict[str, Json] = {
    "a container": pod(container(limits={GPU: "1"})),
    "an alias": pod(container(limits={"gpu": "1"})),
    "an annotation": pod(annotations={LIMITS: "gpu=1"}),
    "an init container": pod(init=[container("setup", limits={GPU: "1"})]),
    "a toleration of its own": pod(container(limits={GPU: "1"}), tolerations=[TOLERATES_GPUS]),
}

TOLERANT: dict[str, Json] = {
    "the key": {"key": GPU, "operator": "Exists"},
    "the key and an effect": TOLERATES_GPUS,
    "a value": {"key": GPU, "operator": "Equal", "value": "present", "effect": "NoSchedule"},
    "everything": TOLERATES_EVERYTHING,
}


@pytest.fixture(scope="module")
def api_with_plugin(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[client.ApiClient]:
    """A client of an API server that itself lets pods tolerate the taint of each device that they ask for."""
    folder = tmp_path_factory.mktemp("another-api-server")
    with (
        another_api_server(cluster.plane, folder, ["ExtendedResourceToleration"]) as plane,
        connected(plane) as api,
    ):
        yield api


@pytest.fixture(params=[False, True], ids=["without the plugin", "with the plugin"])
def api(request: pytest.FixtureRequest, cluster: Cluster, api_with_plugin: client.ApiClient) -> client.ApiClient:
    """A client of an API server without, then of one with the plugin ExtendedResourceToleration."""
    return api_with_plugin if request.param else cluster.api


def about_gpus(answer: Answer) -> list[Json]:
    """The tolerations for GPUs that a pod came to have."""
    assert answer.status == 201, answer.body
    return [each for each in answer.body["spec"]["tolerations"] if each.get("key") == GPU]


@pytest.mark.parametrize("task", GPU_TASKS.values(), ids=GPU_TASKS)
def test_a_pod_that_asks_for_a_device_tolerates_its_taint_once(
    cluster: Cluster, api: client.ApiClient, task: Json
) -> None:
    namespace = cluster.namespace("gpus")
    assert about_gpus(create(api, namespace, task)) == [TOLERATES_GPUS]


@pytest.mark.parametrize("task", GPU_TASKS.values(), ids=GPU_TASKS)
def test_a_second_look_after_another_webhook_adds_no_second_toleration(
    cluster: Cluster, api: client.ApiClient, task: Json
) -> None:
    namespace = cluster.namespace("gpus")
    with another_webhook(cluster, namespace, inject_proxy):
        answer = eventually(lambda: injected(create(api, namespace, task, dry_run=True)), "a proxy")
    assert about_gpus(answer) == [TOLERATES_GPUS]


def inject_proxy(given: Json) -> list[Json]:
    """Adds a container, so that ours is asked once more."""
    if any(each["name"] == "proxy" for each in given["spec"]["containers"]):
        return []
    return [{"op": "add", "path": "/spec/containers/-", "value": container("proxy")}]


def injected(answer: Answer) -> Answer | None:
    assert answer.status == 201, answer.body
    return answer if "proxy" in [each["name"] for each in answer.body["spec"]["containers"]] else None


@pytest.mark.parametrize("toleration", TOLERANT.values(), ids=TOLERANT)
def test_a_pod_that_tolerates_the_taint_of_a_device_and_asks_for_none_is_warned(
    cluster: Cluster, toleration: Json
) -> None:
    namespace = cluster.namespace("gpus-reserved")
    answer = cluster.create(namespace, pod(tolerations=[toleration]))
    assert answer.status == 201
    [warning] = answer.warnings
    assert GPU in warning
    assert toleration in cluster.stored(namespace)["spec"]["tolerations"]


@pytest.mark.parametrize("toleration", TOLERANT.values(), ids=TOLERANT)
def test_a_pod_that_tolerates_the_taint_of_a_device_and_asks_for_none_is_refused_where_the_policy_says_so(
    cluster: Cluster, toleration: Json
) -> None:
    namespace = cluster.namespace("gpus-reserved-strictly")
    answer = cluster.create(namespace, pod(tolerations=[toleration]))
    assert answer.status == 422
    for part in (MUTATING, GPU, "policy gpus-reserved-strictly"):
        assert part in answer.message
    assert cluster.pods(namespace) == []


@pytest.mark.parametrize("policy", ["gpus-reserved", "gpus-reserved-strictly"])
@pytest.mark.parametrize("amount", ["0", "1"])
def test_a_pod_that_names_a_device_may_tolerate_its_taint_even_if_it_asks_for_none(
    cluster: Cluster, api: client.ApiClient, policy: str, amount: str
) -> None:
    tolerant = [TOLERATES_GPUS, TOLERATES_EVERYTHING]
    task = pod(container(limits={GPU: amount}), tolerations=tolerant, nodeSelector={POOL: "gpu"})
    answer = create(api, cluster.namespace(policy), task)
    assert (answer.status, answer.warnings) == (201, ())


def test_what_kubernetes_tolerates_for_a_pod_that_asks_for_0_devices_is_not_held_against_it(
    cluster: Cluster, api_with_plugin: client.ApiClient
) -> None:
    task = pod(container(limits={GPU: "0"}))
    answer = create(api_with_plugin, cluster.namespace("gpus-reserved-strictly"), task)
    assert about_gpus(answer) == [TOLERATES_GPUS]


def test_a_taint_that_nobody_reserved_may_be_tolerated_by_everybody(cluster: Cluster) -> None:
    for policy in ("gpus", "gpus-reserved-strictly"):
        answer = cluster.create(
            cluster.namespace(policy), pod(tolerations=[{"key": "lifecycle", "operator": "Exists"}])
        )
        assert (answer.status, answer.warnings) == (201, ())
    answer = cluster.create(cluster.namespace("gpus"), pod(tolerations=[TOLERATES_GPUS]))
    assert (answer.status, answer.warnings) == (201, ())
