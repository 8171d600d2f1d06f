"""What the API server accepts, it accepts with the webhook, too; and no patch of ours is ever refused."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st

from tests.e2e.cluster import Answer, Cluster
from tests.e2e.pods import all_containers
from tests.e2e.service import POLICIES
from tests.unit.strategies import placed_pods, pods, resized
from webhook.quantity import parse_quantity
from webhook.usage import pod_usage

pytestmark = pytest.mark.e2e

Json = dict[str, Any]

RECORDED = json.loads((Path(__file__).parents[1] / "vectors" / "pod_validation.json").read_text())["cases"]

# Pods that the API server refuses as they are, and that our rules put right.
PUT_RIGHT = {
    "bad-unqualified-name": "gpu is a name for nvidia.com/gpu (A6)",
    "bad-gpu-zero-req-nonzero-lim": "request and limit of devices are one (R7)",
    "bad-request-gt-zero-limit": "a zero limit is none (R9)",
    "bad-podlevel-req-lt-sum": "the primary container makes room in the pod's request (R11)",
}

SPECS = {each["metadata"]["name"]: each["spec"] for each in yaml.safe_load_all(POLICIES.read_text())}
POLICIES_THAT_BITE = ["platform", "strict", "total", "unset", "narrow", "gpus", "spot"]


@pytest.fixture(scope="module")
def generous(cluster: Cluster) -> str:
    return cluster.namespace("generous")


@pytest.fixture(scope="module")
def placing(cluster: Cluster) -> str:
    return cluster.namespace("placing")


@pytest.fixture(scope="module")
def outside(cluster: Cluster) -> str:
    """A namespace that did not opt in."""
    return cluster.namespace(labels={})


@pytest.fixture(scope="module")
def namespaces(cluster: Cluster) -> dict[str, str]:
    """A namespace of each policy that changes or refuses much."""
    return {policy: cluster.namespace(policy) for policy in POLICIES_THAT_BITE}


@pytest.mark.parametrize("case", RECORDED, ids=[case["id"] for case in RECORDED])
def test_where_no_maximum_applies_a_pod_is_as_valid_as_without_the_webhook(
    cluster: Cluster, generous: str, case: Json
) -> None:
    answer = cluster.try_out(generous, case["pod"])
    assert answer.status == (201 if case["id"] in PUT_RIGHT else case["http_status"]), answer.body
    if case["valid"]:
        assert answer.body["status"]["qosClass"] == case["qosClass"]
        for field, kept in case.get("stored_resources", {}).items():
            spec = answer.body["spec"]
            assert (spec["resources"] if field == "pod" else [each["resources"] for each in spec[field]]) == kept
    elif "causes" in case and answer.status == 422:
        causes = answer.body["details"]["causes"]
        assert {cause["field"] for cause in causes} == {cause["field"] for cause in case["causes"]}


@pytest.mark.parametrize("case", RECORDED, ids=[case["id"] for case in RECORDED])
def test_a_valid_pod_stays_valid_under_policies_that_bite(
    cluster: Cluster, namespaces: dict[str, str], case: Json
) -> None:
    for policy, namespace in namespaces.items():
        answer = cluster.try_out(namespace, case["pod"])
        if case["valid"]:
            assert answer.status == 201 or is_refused_by_us(answer), (policy, answer.body)
        else:
            assert answer.status in {201, 400, 422}, (policy, answer.body)
        if answer.status == 201:
            assert_obeys(answer.body, policy)


randomly = settings(derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))


@settings(randomly, max_examples=80)
@given(task=pods(good_annotations=True), policy=st.sampled_from(POLICIES_THAT_BITE))
def test_no_random_pod_exceeds_a_maximum_or_gets_a_patch_that_the_api_server_refuses(
    cluster: Cluster, namespaces: dict[str, str], outside: str, task: Json, policy: str
) -> None:
    answer = cluster.try_out(namespaces[policy], without_overhead(task))
    event(f"{answer.status}{' by us' if is_refused_by_us(answer) else ''}")
    if answer.status == 201:
        assert_obeys(answer.body, policy)
        again = cluster.service.review(answer.body, namespaces[policy])
        assert again["allowed"]
        assert "patch" not in again, (again, answer.body)
    elif not is_refused_by_us(answer):
        assert answer.status == 422, answer.body
        assert cluster.try_out(outside, without_overhead(task)).status == 422, answer.body


@settings(randomly, max_examples=80)
@given(task=placed_pods(SPECS["placing"]["scheduling"], good_annotations=True))
def test_no_random_pod_is_placed_by_a_patch_that_the_api_server_refuses(
    cluster: Cluster, placing: str, outside: str, task: Json
) -> None:
    answer = cluster.try_out(placing, without_overhead(task))
    event(f"{answer.status}{' by us' if is_refused_by_us(answer) else ''}")
    if answer.status == 201:
        again = cluster.service.review(answer.body, placing)
        assert again["allowed"]
        assert "patch" not in again, (again, answer.body)
    elif not is_refused_by_us(answer):
        assert answer.status == 422, answer.body
        assert cluster.try_out(outside, without_overhead(task)).status == 422, answer.body


@settings(randomly, max_examples=40)
@given(data=st.data(), policy=st.sampled_from(POLICIES_THAT_BITE))
def test_no_random_resize_exceeds_a_maximum_or_gets_a_patch_that_the_api_server_refuses(
    cluster: Cluster, namespaces: dict[str, str], outside: str, data: st.DataObject, policy: str
) -> None:
    task = without_overhead(data.draw(pods(annotated=False)))
    task["metadata"] = {"generateName": "task-"}
    created = cluster.create(namespaces[policy], task)
    assume(created.status == 201)
    old = created.body
    asked = only_resources(data.draw(resized(old)))
    answer = cluster.resize_to(namespaces[policy], old["metadata"]["name"], asked)
    event(f"{answer.status}{' by us' if is_refused_by_us(answer) else ''}")
    if answer.status == 200:
        assert_bounds_what_grew(old, asked, answer.body, policy)
    elif not is_refused_by_us(answer):
        assert answer.status == 422, answer.body
        twin = {**task, "spec": {**task["spec"], **{key: old["spec"].get(key) for key in task["spec"]}}}
        name = cluster.created(outside, twin)["metadata"]["name"]
        assert cluster.resize_to(outside, name, asked).status == 422, answer.body


def assert_bounds_what_grew(old: Json, asked: Json, stored: Json, policy: str) -> None:
    """What was asked for is stored, or less of what it adds, so that nothing grows above its maximum."""
    bounds = container_maxima(policy)
    for before, wanted, now in zip(*map(all_containers, (old, {"spec": asked}, stored)), strict=True):
        for side, amounts in now["resources"].items():
            for resource in amounts:
                old_reach, asked_reach, new_reach = (
                    reach(each["resources"], side, resource) for each in (before, wanted, now)
                )
                told = (policy, side, resource, before, wanted, now)
                assert min(old_reach, asked_reach) <= new_reach <= asked_reach, told
                assert new_reach <= max(old_reach, nanos(bounds.get(resource, "1e30"))), told


def reach(amounts: Json, side: str, resource: str) -> float:
    """How far the container may go: an absent or zero limit is none."""
    amount = nanos(amounts.get(side, {}).get(resource, "0"))
    return amount or (math.inf if side == "limits" else 0)


def only_resources(task: Json) -> Json:
    """What of the pod's spec a resize may say."""
    fields = [field for field in ("containers", "initContainers") if field in task["spec"]]
    spec: Json = {
        field: [{"name": each["name"], "resources": each["resources"]} for each in task["spec"][field]]
        for field in fields
    }
    return spec | ({"resources": task["spec"]["resources"]} if "resources" in task["spec"] else {})


def without_overhead(task: Json) -> Json:
    """The pod without namespace and overhead, which only a RuntimeClass may give it."""
    spec = {key: value for key, value in task["spec"].items() if key != "overhead"}
    return {**task, "metadata": {**task["metadata"], "namespace": ""}, "spec": spec}


def is_refused_by_us(answer: Answer) -> bool:
    return answer.status == 422 and 'admission webhook "mutate.task-resources.io" denied' in answer.message


def container_maxima(policy: str) -> Json:
    """What a container may have; what random pods use has no globs here."""
    merged = {**SPECS["platform"]["container"]["max"], **SPECS[policy].get("container", {}).get("max", {})}
    return {name: amount for name, amount in merged.items() if amount is not None}


def assert_obeys(stored: Json, policy: str) -> None:
    """No container and no pod has more than its maximum, and none has no limit where that would be more."""
    level = stored["spec"].get("resources") or {}
    for each in all_containers(stored):
        amounts = each["resources"]
        for resource, bound in container_maxima(policy).items():
            given = [nanos(amounts[side][resource]) for side in amounts if resource in amounts[side]]
            assert not [amount for amount in given if amount > nanos(bound)], (policy, resource, each)
        if policy != "unset":
            assert {"cpu", "memory"} <= {*amounts.get("limits", {}), *level.get("limits", {})}, (policy, each)
    for resource, bound in SPECS[policy].get("pod", {}).get("max", {}).items():
        for side in ("limits", "requests"):
            assert total(stored, side, resource) <= nanos(bound), (policy, side, resource, stored["spec"])


def total(stored: Json, side: str, resource: str) -> int:
    """What the pod has together; the pod level's word where it has one."""
    level = stored["spec"].get("resources") or {}
    if resource in level.get(side, {}):
        return nanos(level[side][resource])

    def amount(container: Json) -> int:
        return nanos(container["resources"].get(side, {}).get(resource, "0"))

    init = stored["spec"].get("initContainers", ())
    return pod_usage(
        [amount(each) for each in stored["spec"]["containers"]],
        [(amount(each), each.get("restartPolicy") == "Always") for each in init],
    )


def nanos(amount: object) -> int:
    """The amount in billionths, however it is written."""
    return parse_quantity(str(amount)).nanos
