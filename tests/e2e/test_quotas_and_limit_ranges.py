"""Beside Kubernetes' own bounds: LimitRanges come before and after the webhook, quotas count what it leaves."""

from typing import Any

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.pods import container, pod, resources, sidecar
from tests.e2e.processes import eventually

pytestmark = pytest.mark.e2e

Json = dict[str, Any]


def limit_range(cluster: Cluster, namespace: str, **bounds: Json) -> None:
    cluster.core.create_namespaced_limit_range(
        namespace, {"metadata": {"name": "bounds"}, "spec": {"limits": [{"type": "Container", **bounds}]}}
    )


def quota(cluster: Cluster, namespace: str, hard: Json) -> None:
    """A ResourceQuota that is in force: its controller has counted."""
    cluster.core.create_namespaced_resource_quota(namespace, {"metadata": {"name": "total"}, "spec": {"hard": hard}})

    def has_counted() -> bool:
        return bool(cluster.core.read_namespaced_resource_quota("total", namespace).status.hard == hard)

    eventually(has_counted, "the quota's controller counted")


def test_what_a_limit_range_fills_in_is_bounded_like_the_pods_own(cluster: Cluster) -> None:
    namespace = cluster.namespace()
    limit_range(cluster, namespace, default={"cpu": "6"}, defaultRequest={"cpu": "2"})
    eventually(lambda: resources(cluster.try_out(namespace, pod()).body)["main"]["requests"]["cpu"] == "2", "it counts")
    stored = cluster.created(namespace, pod())
    assert resources(stored)["main"] == {
        "requests": {"cpu": "2", "memory": "500Mi"},
        "limits": {"cpu": "4", "memory": "8Gi"},
    }


def test_a_pod_above_a_limit_range_is_stored_when_the_policy_lowers_it_far_enough(cluster: Cluster) -> None:
    namespace, outside = cluster.namespace(), cluster.namespace(labels={})
    for each in (namespace, outside):
        limit_range(cluster, each, max={"cpu": "4"})
    task = pod(container(limits={"cpu": "16", "memory": "1Gi"}))
    eventually(lambda: cluster.try_out(outside, task).status == 403, "the LimitRange refuses")
    assert resources(cluster.created(namespace, task))["main"]["limits"]["cpu"] == "4"


def test_a_quota_counts_what_the_webhook_leaves(cluster: Cluster) -> None:
    namespace = cluster.namespace()
    quota(cluster, namespace, {"requests.cpu": "5", "limits.cpu": "8"})
    task = pod(container(limits={"cpu": "16", "memory": "1Gi"}, requests={"cpu": "1", "memory": "1Gi"}))
    eventually(lambda: cluster.try_out(namespace, task).status == 201, "the quota is in force")
    cluster.created(namespace, task)
    used = cluster.core.read_namespaced_resource_quota("total", namespace).status.used
    assert used == {"requests.cpu": "1", "limits.cpu": "4"}


def test_under_a_quota_containers_that_say_nothing_need_not_name_its_resources(cluster: Cluster) -> None:
    hard = {"requests.cpu": "5", "limits.cpu": "16", "requests.memory": "8Gi", "limits.memory": "32Gi"}
    namespace, outside = cluster.namespace(), cluster.namespace(labels={})
    for each in (namespace, outside):
        quota(cluster, each, hard)
    task = pod(container("main"), container("logs"), init=[container("setup"), sidecar("proxy")])
    eventually(lambda: "must specify" in str(cluster.try_out(outside, task).body.get("message")), "the quota refuses")
    eventually(lambda: cluster.try_out(namespace, task).status == 201, "the quota is in force")
    cluster.created(namespace, task)
    used = cluster.core.read_namespaced_resource_quota("total", namespace).status.used
    assert used == {"requests.cpu": "500m", "limits.cpu": "12", "requests.memory": "500Mi", "limits.memory": "24Gi"}
