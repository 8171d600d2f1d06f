"""Pods that a controller makes: nobody sees a warning, so what happened stands on the pod or in an event."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.pods import APPLIED, LIMITS, annotations, container, deployment, pod, resources
from tests.e2e.processes import eventually

pytestmark = pytest.mark.e2e

Json = dict[str, Any]


@contextmanager
def deployed(cluster: Cluster, namespace: str, body: Json) -> Iterator[None]:
    """A Deployment, and at the end an end to its attempts to make pods."""
    cluster.apps.create_namespaced_deployment(namespace, body)
    try:
        yield
    finally:
        cluster.apps.delete_namespaced_deployment(body["metadata"]["name"], namespace)
        cluster.apps.delete_collection_namespaced_replica_set(namespace)


def test_the_pods_of_a_deployment_are_bounded(cluster: Cluster) -> None:
    namespace = cluster.namespace()
    template = pod(container(limits={"cpu": "16", "memory": "1Gi"}), annotations={LIMITS: "memory=9Gi"})
    with deployed(cluster, namespace, deployment(template, replicas=3)):
        pods = eventually(lambda: found if len(found := cluster.pods(namespace)) == 3 else None, "three pods")
    for each in pods:
        assert resources(each)["main"]["limits"] == {"cpu": "4", "memory": "8Gi"}
        assert APPLIED in annotations(each)


def test_the_template_of_a_deployment_stays_as_it_was_written(cluster: Cluster) -> None:
    namespace = cluster.namespace()
    with deployed(cluster, namespace, deployment(pod(container(limits={"cpu": "16"})))):
        eventually(lambda: cluster.pods(namespace), "a pod")
        [kept] = cluster.apps.read_namespaced_deployment("tasks", namespace).spec.template.spec.containers
        assert kept.resources.limits == {"cpu": "16"}


def test_a_refusal_is_a_readable_event_of_the_replica_set(cluster: Cluster) -> None:
    namespace = cluster.namespace("strict")
    with deployed(cluster, namespace, deployment(pod(container("train", limits={"cpu": "16", "memory": "1Gi"})))):
        event = eventually(lambda: failure(cluster, namespace), "an event FailedCreate")
    assert event.involved_object.kind == "ReplicaSet"
    assert cluster.pods(namespace) == []
    for part in ("train", "limits.cpu", "16", "4", "policy platform", "#strict-team", "mutate.task-resources.io"):
        assert part in event.message


def failure(cluster: Cluster, namespace: str) -> Any:
    """The first event that says why a pod could not be made."""
    events = cluster.core.list_namespaced_event(namespace, field_selector="reason=FailedCreate").items
    return events[0] if events else None


def test_a_refusal_of_many_containers_is_cut_to_what_an_event_can_hold(cluster: Cluster) -> None:
    namespace = cluster.namespace("strict")
    many = [container(f"container-with-a-long-name-{number}", limits={"cpu": "16"}) for number in range(40)]
    with deployed(cluster, namespace, deployment(pod(*many))):
        event = eventually(lambda: failure(cluster, namespace), "an event FailedCreate")
    assert " more" in event.message
    assert "#strict-team" in event.message
    assert len(event.message.encode()) < 1024
