"""Enforce, Warn and Audit: the same decision, and how much of it is done."""

from typing import Any

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.pods import APPLIED, PRIMARY_CONTAINER, annotations, container, pod, resources
from tests.e2e.registration import MUTATING, VALIDATING

pytestmark = pytest.mark.e2e

Json = dict[str, Any]

AMOUNTS: Json = {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "16", "memory": "1Gi"}}
GREEDY = pod(container(**AMOUNTS))


def test_enforce_changes_the_pod_and_says_so(cluster: Cluster) -> None:
    namespace = cluster.namespace()
    answer = cluster.create(namespace, GREEDY)
    assert answer.warnings == ("main: limits.cpu changed from 16 to 4 (maximum, policy platform)",)
    assert resources(cluster.stored(namespace))["main"]["limits"]["cpu"] == "4"


def test_warn_says_what_would_be_changed_and_leaves_the_pod_as_it_came(cluster: Cluster) -> None:
    namespace = cluster.namespace("warn")
    answer = cluster.create(namespace, GREEDY)
    assert answer.warnings == ("main: limits.cpu would be changed from 16 to 4 (maximum, policy platform)",)
    assert_as_it_came(cluster, namespace)


def test_audit_leaves_the_pod_as_it_came_and_says_nothing(cluster: Cluster) -> None:
    namespace = cluster.namespace("audit")
    assert cluster.create(namespace, GREEDY).warnings == ()
    assert_as_it_came(cluster, namespace)
    annotated = cluster.audit_annotations(namespace)
    assert annotated[f"{MUTATING}/mode"] == "Audit"
    assert '"to":"4"' in annotated[f"{MUTATING}/changes"]


def test_only_enforce_refuses(cluster: Cluster) -> None:
    assert cluster.create(cluster.namespace("strict"), GREEDY).status == 422
    warned, audited = cluster.namespace("warn-strict"), cluster.namespace("audit-strict")
    answer = cluster.create(warned, GREEDY)
    assert len(answer.warnings) == 1
    assert answer.warnings[0].startswith("would be denied: ")
    assert cluster.create(audited, GREEDY).warnings == ()
    for namespace in (warned, audited):
        assert_as_it_came(cluster, namespace)
        assert "limits.cpu" in cluster.audit_annotations(namespace)[f"{MUTATING}/denial"]


def assert_as_it_came(cluster: Cluster, namespace: str) -> None:
    stored = cluster.stored(namespace)
    assert resources(stored) == {"main": AMOUNTS}
    assert not {APPLIED, PRIMARY_CONTAINER} & annotations(stored).keys()
    assert f"{VALIDATING}/denial" not in cluster.audit_annotations(namespace), "what was not bounded is not judged"
