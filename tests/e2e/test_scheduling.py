"""Where pods come to run: a real scheduler chooses among nodes that are tainted, labelled and have devices or not.

The pods of most tests would rather have another node than the right one, so that it is our rule that decides.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.e2e.cluster import Answer, Cluster
from tests.e2e.control_plane import SCHEDULER
from tests.e2e.nodes import (
    A100,
    A100_NODE,
    ACCELERATOR,
    CPU_NODE,
    GPU,
    LIFECYCLE,
    MIG_NODE,
    PARTITION,
    POOL,
    SLICE,
    SPOT_NODE,
    T4,
    T4_NODE,
    TOLERATES_EVERYTHING,
    TOLERATES_GPUS,
    ZONE,
)
from tests.e2e.pods import LIMITS, annotations, container, daemon_set, deployment, job, pod, resources
from tests.e2e.processes import eventually

pytestmark = pytest.mark.e2e

Json = dict[str, Any]

AN_ACCELERATOR = "task-resources.io/accelerator"
A_PARTITION = "task-resources.io/accelerator-partition"
INTERRUPTIBLE = "task-resources.io/interruptible"
SHARED_MEMORY = "task-resources.io/shared-memory"


def task(*containers: Json, labels: Json | None = None, **fields: Any) -> Json:
    """A pod that is to be placed on a node."""
    body = pod(*containers, schedulerName=SCHEDULER, **fields)
    return {**body, "metadata": {**body["metadata"], **({"labels": labels} if labels else {})}}


def gpu_task(**fields: Any) -> Json:
    return task(container(limits={GPU: "1"}), **fields)


def expression(key: str, operator: str, *values: str) -> Json:
    return {"key": key, "operator": operator, **({"values": list(values)} if values else {})}


def preferring(*expressions: Json) -> Json:
    """An affinity that rules out no node, and is worth more to the scheduler than all else."""
    wish = {"weight": 100, "preference": {"matchExpressions": list(expressions)}}
    return {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [wish]}}


def required_terms(stored: Json) -> list[list[Json]]:
    """The expressions of each term of the pod's required node affinity."""
    affinity = stored["spec"].get("affinity", {}).get("nodeAffinity", {})
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution", {"nodeSelectorTerms": []})
    return [term.get("matchExpressions", []) for term in required["nodeSelectorTerms"]]


def tolerations(stored: Json) -> list[Json]:
    """The pod's tolerations without those that the API server gives every pod."""
    given: list[Json] = stored["spec"].get("tolerations", [])
    return [each for each in given if not each.get("key", "").startswith("node.kubernetes.io/")]


def refusal(answer: Answer) -> str:
    assert answer.status == 422, answer.body
    return answer.message


def test_a_pod_that_asks_for_a_gpu_is_placed_on_a_node_that_is_kept_for_gpus(cluster: Cluster) -> None:
    namespace = cluster.namespace("gpus")
    stored = cluster.created(namespace, gpu_task())
    assert cluster.node_of(namespace) == A100_NODE.name
    assert tolerations(stored) == [TOLERATES_GPUS]
    assert stored["spec"]["nodeSelector"] == {POOL: "gpu"}


def test_without_the_webhook_a_pod_that_asks_for_a_gpu_is_placed_nowhere(cluster: Cluster) -> None:
    outside = cluster.namespace(labels={})
    cluster.created(outside, gpu_task())
    assert "untolerated taint" in cluster.reason_unplaced(outside)


def test_a_gpu_that_an_annotation_asks_for_counts_like_one_of_a_container(cluster: Cluster) -> None:
    namespace = cluster.namespace("gpus")
    cluster.created(namespace, task(annotations={LIMITS: "gpu=1"}))
    assert cluster.node_of(namespace) == A100_NODE.name


def test_a_pod_without_a_gpu_is_placed_elsewhere(cluster: Cluster) -> None:
    namespace = cluster.namespace("gpus")
    rather = preferring(expression(POOL, "In", "gpu"))
    cluster.created(namespace, task(name="none", affinity=rather))
    zero = cluster.created(namespace, task(container(limits={GPU: "0"}), name="zero", affinity=rather))
    assert cluster.node_of(namespace, "none") == cluster.node_of(namespace, "zero") == CPU_NODE.name
    assert tolerations(zero) == []


def test_a_pod_without_a_gpu_waits_rather_than_take_the_place_of_one_with(cluster: Cluster) -> None:
    namespace = cluster.namespace("gpus")
    cluster.created(namespace, task(nodeSelector={POOL: "gpu"}))
    assert "untolerated taint" in cluster.reason_unplaced(namespace)


@pytest.mark.parametrize(
    ("asked", "value"), [("A100", A100), ("a100", A100), (A100, A100), ("T4", T4), ("t4", T4), (T4, T4)]
)
def test_the_accelerator_decides_between_two_kinds_of_device(cluster: Cluster, asked: str, value: str) -> None:
    namespace = cluster.namespace("gpus")
    rather = preferring(expression(ACCELERATOR, "NotIn", value))
    taints = [{"key": ACCELERATOR, "operator": "Exists"}] if value == A100 else []
    stored = cluster.created(
        namespace, gpu_task(annotations={AN_ACCELERATOR: asked}, affinity=rather, tolerations=taints)
    )
    assert cluster.node_of(namespace) == (A100_NODE if value == A100 else T4_NODE).name
    assert required_terms(stored) == [[expression(ACCELERATOR, "In", value)]]


def test_an_accelerator_for_a_pod_that_asks_for_no_device_is_refused(cluster: Cluster) -> None:
    message = refusal(cluster.create(cluster.namespace("gpus"), task(annotations={AN_ACCELERATOR: "A100"})))
    assert AN_ACCELERATOR in message
    assert "A100" in message


@pytest.mark.parametrize("resource", [GPU, SLICE])
def test_a_partition_is_placed_where_devices_are_cut_that_way(cluster: Cluster, resource: str) -> None:
    namespace = cluster.namespace("gpus")
    rather = preferring(expression(PARTITION, "DoesNotExist"))
    asked = {A_PARTITION: "2g.10gb"}
    stored = cluster.created(namespace, task(container(limits={resource: "1"}), annotations=asked, affinity=rather))
    assert cluster.node_of(namespace) == MIG_NODE.name
    assert required_terms(stored) == [[expression(PARTITION, "In", "2g.10gb")]]


def test_a_whole_device_is_not_taken_from_a_node_whose_devices_are_cut(cluster: Cluster) -> None:
    namespace = cluster.namespace("gpus")
    tolerant = [{"key": PARTITION, "operator": "Exists"}]
    rather = preferring(expression(PARTITION, "Exists"))
    cluster.created(namespace, gpu_task(name="any", tolerations=tolerant, affinity=rather))
    whole = gpu_task(name="whole", annotations={A_PARTITION: "none"}, tolerations=tolerant, affinity=rather)
    stored = cluster.created(namespace, whole)
    assert cluster.node_of(namespace, "any") == MIG_NODE.name
    assert cluster.node_of(namespace, "whole") == A100_NODE.name
    assert required_terms(stored) == [[expression(PARTITION, "DoesNotExist")]]


def test_an_init_container_that_alone_asks_for_a_gpu_decides_for_the_pod(cluster: Cluster) -> None:
    namespace = cluster.namespace("gpus")
    setup = container("setup", limits={GPU: "1"})
    cluster.created(namespace, task(init=[setup], affinity=preferring(expression(POOL, "In", "cpu"))))
    assert cluster.node_of(namespace) == A100_NODE.name


def test_each_term_of_a_pods_own_affinity_is_narrowed_and_none_is_added(cluster: Cluster) -> None:
    namespace = cluster.namespace("gpus")
    zones = [[expression(ZONE, "In", "a")], [expression(ZONE, "In", "b"), expression(POOL, "Exists")]]
    affinity = preferring(expression(ZONE, "In", "b"))
    affinity["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] = {
        "nodeSelectorTerms": [{"matchExpressions": each} for each in zones]
    }
    tolerant = [{"key": ACCELERATOR, "operator": "Exists"}]
    stored = cluster.created(
        namespace, gpu_task(annotations={AN_ACCELERATOR: "A100"}, affinity=affinity, tolerations=tolerant)
    )
    assert cluster.node_of(namespace) == A100_NODE.name
    assert required_terms(stored) == [[*each, expression(ACCELERATOR, "In", A100)] for each in zones]


@pytest.mark.parametrize(
    "fields",
    [
        {"annotations": {INTERRUPTIBLE: "true"}},
        {"labels": {"interruptible": "true"}},
        {"labels": {"interruptible": "true"}, "annotations": {SHARED_MEMORY: "false"}},
    ],
    ids=["annotation", "Flyte's label", "Flyte's label beside another annotation"],
)
def test_an_interruptible_pod_is_placed_on_a_spot_node(cluster: Cluster, fields: Json) -> None:
    namespace = cluster.namespace("spot")
    rather = preferring(expression(LIFECYCLE, "DoesNotExist"))
    stored = cluster.created(namespace, task(**fields, affinity=rather))
    assert cluster.node_of(namespace) == SPOT_NODE.name
    assert required_terms(stored) == [[expression(LIFECYCLE, "In", "spot")]]


@pytest.mark.parametrize(
    "fields",
    [{}, {"annotations": {INTERRUPTIBLE: "false"}, "labels": {"interruptible": "true"}}],
    ids=["nothing said", "the annotation before the label"],
)
def test_another_pod_is_kept_off_spot_nodes_even_if_it_tolerates_them(cluster: Cluster, fields: Json) -> None:
    namespace = cluster.namespace("spot")
    tolerant = [{"key": LIFECYCLE, "operator": "Exists"}]
    rather = preferring(expression(LIFECYCLE, "In", "spot"))
    cluster.created(namespace, task(**fields, affinity=rather, tolerations=tolerant))
    assert cluster.node_of(namespace) == CPU_NODE.name


def test_a_node_selector_that_contradicts_the_policys_is_refused_with_both_values(cluster: Cluster) -> None:
    namespace = cluster.namespace("gpus")
    message = refusal(cluster.create(namespace, gpu_task(nodeSelector={POOL: "my-pool"})))
    for part in (POOL, '"my-pool"', '"gpu"', "policy gpus"):
        assert part in message
    assert cluster.created(namespace, gpu_task(nodeSelector={POOL: "gpu"}))["spec"]["nodeSelector"] == {POOL: "gpu"}


def test_a_device_that_a_project_may_not_have_is_refused_with_those_that_it_may(cluster: Cluster) -> None:
    answer = cluster.create(cluster.namespace("gpus-allowed"), gpu_task(annotations={AN_ACCELERATOR: "T4"}))
    for part in (AN_ACCELERATOR, "T4", A100, "policy gpus-allowed", "#gpu-team"):
        assert part in refusal(answer)


def test_a_pod_that_names_no_device_is_placed_on_one_that_its_project_may_have(cluster: Cluster) -> None:
    namespace = cluster.namespace("gpus-allowed")
    tolerant = [{"key": ACCELERATOR, "operator": "Exists"}]
    stored = cluster.created(
        namespace, gpu_task(tolerations=tolerant, affinity=preferring(expression(ACCELERATOR, "In", T4)))
    )
    assert cluster.node_of(namespace) == A100_NODE.name
    assert required_terms(stored) == [[expression(ACCELERATOR, "In", A100)]]


def test_a_namespaces_defaults_place_its_pods_unless_they_say_otherwise_themselves(cluster: Cluster) -> None:
    namespace = cluster.namespace("gpus-with-defaults")
    stored = cluster.created(namespace, gpu_task())
    assert stored["spec"]["nodeSelector"] == {POOL: "gpu", ZONE: "a"}
    assert tolerations(stored) == [TOLERATES_GPUS, {"key": "e2e.example/batch", "operator": "Exists"}]
    assert cluster.node_of(namespace) == A100_NODE.name
    other = gpu_task(name="other", nodeSelector={ZONE: "b"}, annotations={AN_ACCELERATOR: "T4"})
    assert cluster.created(namespace, other)["spec"]["nodeSelector"] == {POOL: "gpu", ZONE: "b"}
    assert cluster.node_of(namespace, "other") == T4_NODE.name


def test_the_pods_of_a_deployment_and_of_a_job_are_placed_by_what_their_templates_ask_for(cluster: Cluster) -> None:
    namespace = cluster.namespace("gpus")
    asked = {AN_ACCELERATOR: "T4", LIMITS: "gpu=1"}
    cluster.apps.create_namespaced_deployment(namespace, deployment(task(annotations=asked), replicas=2))
    cluster.batch.create_namespaced_job(namespace, job(gpu_task()))
    pods = eventually(lambda: found if len(found := placed(cluster, namespace)) == 3 else None, "three pods on nodes")
    nodes = sorted((each["metadata"]["ownerReferences"][0]["kind"], each["spec"]["nodeName"]) for each in pods)
    assert nodes == [("Job", A100_NODE.name), ("ReplicaSet", T4_NODE.name), ("ReplicaSet", T4_NODE.name)]


def placed(cluster: Cluster, namespace: str) -> list[Json]:
    """The pods that are on a node."""
    return [each for each in cluster.pods(namespace) if "nodeName" in each["spec"]]


def test_the_pods_of_a_daemon_set_are_bounded_and_otherwise_left_to_its_controller(cluster: Cluster) -> None:
    namespace = cluster.namespace("gpus-with-defaults")
    greedy = container(limits={GPU: "1", "cpu": "16", "memory": "1Gi"})
    template = task(greedy, nodeSelector={POOL: "gpu"}, tolerations=[TOLERATES_EVERYTHING])
    cluster.apps.create_namespaced_daemon_set(namespace, daemon_set(template))
    before = eventually(lambda: found if len(found := placed(cluster, namespace)) == 3 else None, "three pods on nodes")
    assert {each["spec"]["nodeName"] for each in before} == {A100_NODE.name, T4_NODE.name, MIG_NODE.name}
    for each in before:
        assert resources(each)["main"]["limits"] == {GPU: "1", "cpu": "4", "memory": "1Gi"}
        assert each["spec"]["nodeSelector"] == {POOL: "gpu"}
        assert tolerations(each) == [TOLERATES_EVERYTHING]
    # The controller looks at its pods once more, and finds nothing to do.
    cluster.apps.patch_namespaced_daemon_set("tasks", namespace, {"spec": {"minReadySeconds": 1}})
    eventually(lambda: has_seen_its_last_change(cluster, namespace), "the controller has looked again")
    assert identities(cluster.pods(namespace)) == identities(before)


@contextmanager
def daemon_set_of(cluster: Cluster, namespace: str, template: Json) -> Iterator[None]:
    """A DaemonSet, and at the end an end to its attempts to make pods."""
    cluster.apps.create_namespaced_daemon_set(namespace, daemon_set(template))
    try:
        yield
    finally:
        cluster.apps.delete_namespaced_daemon_set("tasks", namespace)


ON_AN_A100 = {"requiredDuringSchedulingIgnoredDuringExecution": {
    "nodeSelectorTerms": [{"matchExpressions": [expression(ACCELERATOR, "In", A100)]}]
}}  # fmt: skip

REFUSED_DAEMON_SETS = [
    ("a-device-that-nobody-chose", "gpus-allowed", gpu_task(tolerations=[TOLERATES_EVERYTHING]),
     (f"asks for {GPU}", f"add a nodeSelector of {ACCELERATOR} to its template; accepted: {A100}", "#gpu-team")),
    ("a-device-that-is-not-allowed", "gpus-allowed",
     gpu_task(tolerations=[TOLERATES_EVERYTHING], nodeSelector={ACCELERATOR: T4}),
     (f'nodeSelector {ACCELERATOR}: "{T4}" may not be used', f"accepted: {A100}", "policy gpus-allowed")),
    # The controller makes pods for these nodes only, and takes the terms out of them.
    ("an-allowed-device-that-only-its-controller-knows-of", "gpus-allowed",
     gpu_task(tolerations=[TOLERATES_EVERYTHING], affinity={"nodeAffinity": ON_AN_A100}),
     (f"add a nodeSelector of {ACCELERATOR} to its template",)),
    ("a-reserved-taint", "gpus-reserved-strictly", task(tolerations=[TOLERATES_GPUS]),
     (f'tolerates the taint "{GPU}"', f"reserved for pods that ask for {GPU}")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("policy", "template", "parts"),
    [case[1:] for case in REFUSED_DAEMON_SETS],
    ids=[case[0] for case in REFUSED_DAEMON_SETS],
)
def test_a_daemon_set_gets_no_pod_that_a_policy_forbids_and_an_event_says_why(
    cluster: Cluster, policy: str, template: Json, parts: tuple[str, ...]
) -> None:
    namespace = cluster.namespace(policy)
    with daemon_set_of(cluster, namespace, template):
        event = eventually(lambda: failure(cluster, namespace), "an event FailedCreate")
    assert event.involved_object.kind == "DaemonSet"
    assert cluster.pods(namespace) == []
    for part in parts:
        assert part in event.message


def failure(cluster: Cluster, namespace: str) -> Any:
    """The first event that says why a pod could not be made."""
    events = cluster.core.list_namespaced_event(namespace, field_selector="reason=FailedCreate").items
    return events[0] if events else None


def test_a_daemon_set_that_selects_an_allowed_device_gets_its_pods(cluster: Cluster) -> None:
    namespace = cluster.namespace("gpus-allowed")
    template = gpu_task(tolerations=[TOLERATES_GPUS], nodeSelector={ACCELERATOR: A100, POOL: "gpu"})
    with daemon_set_of(cluster, namespace, template):
        [found] = eventually(lambda: placed(cluster, namespace), "a pod on a node")
    assert found["spec"]["nodeName"] == A100_NODE.name
    assert found["spec"]["nodeSelector"] == {ACCELERATOR: A100, POOL: "gpu"}


def test_what_a_daemon_sets_pods_ask_of_their_node_has_no_effect(cluster: Cluster) -> None:
    namespace = cluster.namespace("gpus")
    asking = {AN_ACCELERATOR: "T4", A_PARTITION: "?", INTERRUPTIBLE: "perhaps", SHARED_MEMORY: "1Gi"}
    template = task(container(limits={"memory": "1Gi"}), annotations=asking, nodeSelector={ZONE: "a", POOL: "cpu"})
    before = daemon_set(template)["spec"]["template"]["spec"]
    with daemon_set_of(cluster, namespace, template):
        [found] = eventually(lambda: placed(cluster, namespace), "a pod on a node")
    assert found["spec"]["nodeName"] == CPU_NODE.name
    assert found["spec"]["nodeSelector"] == before["nodeSelector"]
    [volume] = [each for each in found["spec"]["volumes"] if each["name"] == "task-resources-shm"]
    assert volume["emptyDir"]["sizeLimit"] == "1Gi"


def has_seen_its_last_change(cluster: Cluster, namespace: str) -> bool:
    found = cluster.apps.read_namespaced_daemon_set("tasks", namespace)
    return bool(found.metadata.generation == found.status.observed_generation == 2)


def identities(pods: list[Json]) -> set[tuple[str, int]]:
    return {(each["metadata"]["uid"], each["metadata"]["generation"]) for each in pods}


def test_a_pod_that_somebody_else_says_is_a_daemon_sets_is_placed_like_every_other(cluster: Cluster) -> None:
    namespace = cluster.namespace("gpus-with-defaults")
    body = gpu_task()
    owner = {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "agents", "controller": True}
    body["metadata"]["ownerReferences"] = [{**owner, "uid": "705ab4f5-6393-11e8-b7cc-42010a800002"}]
    assert cluster.created(namespace, body)["spec"]["nodeSelector"] == {POOL: "gpu", ZONE: "a"}


@pytest.mark.parametrize(
    ("policy", "body"),
    [
        ("gpus", gpu_task()),
        ("gpus", gpu_task(annotations={AN_ACCELERATOR: "T4", A_PARTITION: "none"})),
        ("gpus", task(container(limits={SLICE: "1"}), annotations={A_PARTITION: "2g.10gb"})),
        ("gpus-allowed", gpu_task(nodeSelector={POOL: "gpu"}, tolerations=[TOLERATES_GPUS])),
        ("gpus-reserved", task(tolerations=[TOLERATES_EVERYTHING])),
        ("gpus-with-defaults", gpu_task(affinity={"nodeAffinity": {}})),
        ("spot", task()),
        ("spot", task(annotations={INTERRUPTIBLE: "true", SHARED_MEMORY: "1Gi"})),
    ],
)
def test_a_second_review_of_a_placed_pod_changes_nothing(cluster: Cluster, policy: str, body: Json) -> None:
    namespace = cluster.namespace(policy)
    stored = cluster.created(namespace, body)
    for endpoint in ("mutate", "validate"):
        answer = cluster.service.review(stored, namespace, endpoint)
        assert answer["allowed"]
        assert "patch" not in answer
    again = cluster.created(
        namespace, {**stored, "metadata": {**body["metadata"], "name": "again", "annotations": annotations(stored)}}
    )
    for field in ("tolerations", "nodeSelector", "affinity", "volumes", "containers"):
        assert again["spec"].get(field) == stored["spec"].get(field)
