"""What was changed and why: on the pod, for the client, in the audit log."""

import json

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.pods import APPLIED, LIMITS, annotations, container, pod, resources
from tests.e2e.registration import MUTATING, VALIDATING

pytestmark = pytest.mark.e2e

GREEDY = pod(container(requests={"cpu": "1", "memory": "1Gi"}, limits={"cpu": "16", "memory": "1Gi"}))


def test_the_pod_carries_one_record_of_each_change(cluster: Cluster) -> None:
    stored = cluster.created(cluster.namespace(), GREEDY)
    applied = json.loads(annotations(stored)[APPLIED])
    assert applied["changes"] == [
        {
            "container": "main",
            "resource": "cpu",
            "side": "limits",
            "from": "16",
            "to": "4",
            "rule": "maximum",
            "policy": "platform",
            "scope": "platform",
        }
    ]
    assert applied["policy"]


def test_a_pod_that_obeys_is_stored_as_it_came(cluster: Cluster) -> None:
    amounts = {"cpu": "1000m", "memory": "1Gi"}
    answer = cluster.create(namespace := cluster.namespace(), pod(container(limits=amounts, requests=amounts)))
    assert answer.warnings == ()
    stored = cluster.stored(namespace)
    assert resources(stored) == {
        "main": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1", "memory": "1Gi"}}
    }
    assert annotations(stored) == {}


@pytest.mark.parametrize(
    "task",
    [
        GREEDY,
        pod(),
        pod(container("a"), container("b"), annotations={LIMITS: "cpu=6,memory=500Mi,gpu=2"}),
        pod(resources={"limits": {"cpu": "32", "memory": "64Gi"}}),
    ],
    ids=["above the maximum", "nothing said", "annotated", "limits at the pod level"],
)
@pytest.mark.parametrize("policy", ["platform", "total", "unset", "narrow"])
def test_a_second_review_of_what_was_stored_changes_nothing(
    cluster: Cluster, policy: str, task: dict[str, object]
) -> None:
    namespace = cluster.namespace(policy)
    stored = cluster.created(namespace, task)
    assert APPLIED in annotations(stored)
    for endpoint in ("mutate", "validate"):
        answer = cluster.service.review(stored, namespace, endpoint)
        assert answer["allowed"]
        assert "patch" not in answer
    again = {**stored, "metadata": {"name": "again", "annotations": annotations(stored)}}
    again = cluster.created(namespace, again)
    assert resources(again) == resources(stored)
    assert annotations(again) == annotations(stored)


def test_the_audit_log_says_mode_policy_and_changes(cluster: Cluster) -> None:
    stored = cluster.created(namespace := cluster.namespace(), GREEDY)
    applied = json.loads(annotations(stored)[APPLIED])
    annotated = cluster.audit_annotations(namespace)
    assert annotated[f"{MUTATING}/mode"] == annotated[f"{VALIDATING}/mode"] == "Enforce"
    assert annotated[f"{MUTATING}/policy"] == annotated[f"{VALIDATING}/policy"] == applied["policy"]
    assert json.loads(annotated[f"{MUTATING}/changes"])["changes"] == applied["changes"]
    assert f"{VALIDATING}/changes" not in annotated


def test_the_audit_log_says_why_a_pod_was_refused(cluster: Cluster) -> None:
    answer = cluster.create(namespace := cluster.namespace("strict"), GREEDY)
    denial = cluster.audit_annotations(namespace)[f"{MUTATING}/denial"]
    assert answer.message.endswith(denial)


def test_many_changes_are_ten_warnings_and_a_count_of_the_rest(cluster: Cluster) -> None:
    containers = [container(f"worker-{number}", limits={"cpu": "16", "memory": "64Gi"}) for number in range(10)]
    answer = cluster.create(cluster.namespace(), pod(*containers))
    assert len(answer.warnings) == 11
    assert answer.warnings[-1] == "and 30 more"  # 10 containers, 2 resources, 2 sides
    assert max(map(len, answer.warnings)) <= 120
