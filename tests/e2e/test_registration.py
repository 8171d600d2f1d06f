"""Which pods the API server asks about, as examples/webhook-configuration.yaml registers the webhook."""

from typing import Any

import pytest

from tests.e2e.cluster import Cluster, connected, create
from tests.e2e.control_plane import NODE
from tests.e2e.pods import annotations, container, pod, resources

pytestmark = pytest.mark.e2e

Json = dict[str, Any]

AMOUNTS: Json = {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "16", "memory": "1Gi"}}
GREEDY = pod(container(**AMOUNTS))


def assert_untouched(cluster: Cluster, namespace: str, task: Json = GREEDY) -> None:
    answer = cluster.create(namespace, task)
    assert (answer.status, answer.warnings) == (201, ())
    stored = cluster.stored(namespace, task["metadata"]["name"])
    assert resources(stored) == {"main": AMOUNTS}
    assert not annotations(stored)
    assert not [key for key in cluster.audit_annotations(namespace) if "task-resources.io/" in key]


@pytest.mark.parametrize("labels", [{}, {"task-resources.io/enforce": "disabled"}], ids=["no label", "another value"])
def test_a_namespace_that_did_not_opt_in_is_left_alone(cluster: Cluster, labels: Json) -> None:
    assert_untouched(cluster, cluster.namespace(labels=labels))


@pytest.mark.parametrize("namespace", ["kube-system", "kube-public", "kube-node-lease"])
def test_the_clusters_own_namespaces_are_left_alone_even_with_the_label(cluster: Cluster, namespace: str) -> None:
    cluster.label(namespace)
    cluster.opt_in(cluster.namespace(labels={}))  # the API server sees labels in the order in which they were set
    assert_untouched(cluster, namespace)


def test_a_namespace_that_opts_in_is_bounded_from_then_on(cluster: Cluster) -> None:
    namespace = cluster.namespace(labels={})
    assert_untouched(cluster, namespace)
    cluster.opt_in(namespace)
    later = cluster.created(namespace, pod(container(**AMOUNTS), name="later"))
    assert resources(later)["main"]["limits"]["cpu"] == "4"


def test_no_label_or_annotation_of_a_pod_exempts_it(cluster: Cluster) -> None:
    exempt = {"task-resources.io/enforce": "disabled"}
    task = pod(container(**AMOUNTS), annotations=exempt)
    task["metadata"]["labels"] = exempt
    assert resources(cluster.created(cluster.namespace(), task))["main"]["limits"]["cpu"] == "4"


def mirror(cluster: Cluster) -> Json:
    """The pod by which a kubelet shows one of its static pods."""
    task = pod(container(**AMOUNTS), name=f"static-{NODE}", nodeName=NODE)
    owner = {"apiVersion": "v1", "kind": "Node", "name": NODE, "controller": True}
    owner["uid"] = cluster.core.read_node(NODE).metadata.uid
    marks = {"kubernetes.io/config.mirror": "5f1a", "kubernetes.io/config.hash": "5f1a"}
    task["metadata"] |= {"annotations": marks, "ownerReferences": [owner]}
    return task


def test_a_static_pods_mirror_is_left_alone_when_its_node_creates_it(cluster: Cluster) -> None:
    namespace, task = cluster.namespace(), mirror(cluster)
    reviews = cluster.service.metrics()
    with connected(cluster.plane, "node") as api:
        answer = create(api, namespace, task)
    assert answer.status == 201, answer.body
    assert cluster.service.metrics() == reviews, "the API server did not even ask"
    stored = cluster.stored(namespace, task["metadata"]["name"])
    assert resources(stored) == {"main": AMOUNTS}
    assert annotations(stored) == task["metadata"]["annotations"]


def test_the_annotation_of_a_mirror_pod_alone_exempts_nobody(cluster: Cluster) -> None:
    namespace, task = cluster.namespace(), mirror(cluster)
    answer = cluster.create(namespace, task)
    assert answer.status == 201, answer.body
    assert resources(cluster.stored(namespace, task["metadata"]["name"]))["main"]["limits"]["cpu"] == "4"


def test_an_update_of_a_pod_that_is_no_resize_is_not_reviewed(cluster: Cluster) -> None:
    namespace = cluster.namespace()
    before = cluster.created(namespace, GREEDY)
    reviews = cluster.service.metrics()
    cluster.core.patch_namespaced_pod("task", namespace, {"metadata": {"labels": {"step": "2"}}})
    after = cluster.stored(namespace)
    assert after["metadata"]["labels"] == {"step": "2"}
    assert after["spec"] == before["spec"]
    assert cluster.service.metrics() == reviews
