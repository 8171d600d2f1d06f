"""Shared memory that an annotation asks for: a volume in memory at /dev/shm of the primary container."""

from typing import Any

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.pods import LIMITS, PRIMARY_CONTAINER, container, pod, sidecar
from tests.e2e.registration import MUTATING

pytestmark = pytest.mark.e2e

Json = dict[str, Any]

SHARED_MEMORY = "task-resources.io/shared-memory"
VOLUME = "task-resources-shm"

GIVEN = {"cpu": "1", "memory": "4Gi"}


def volumes(stored: Json) -> list[Json]:
    return stored["spec"].get("volumes") or []


def mounts(stored: Json) -> dict[str, list[tuple[str, str]]]:
    """What each container that has a volume has it at."""
    everybody = [*stored["spec"]["containers"], *stored["spec"].get("initContainers", ())]
    return {
        each["name"]: [(mount["name"], mount["mountPath"]) for mount in each["volumeMounts"]]
        for each in everybody
        if "volumeMounts" in each
    }


@pytest.mark.parametrize(
    ("asked", "empty_dir"),
    [
        ("true", {"medium": "Memory"}),
        ("2Gi", {"medium": "Memory", "sizeLimit": "2Gi"}),
        ("4Gi", {"medium": "Memory", "sizeLimit": "4Gi"}),
        ("64Gi", {"medium": "Memory", "sizeLimit": "4Gi"}),
    ],
)
def test_the_primary_container_gets_the_shared_memory_it_asks_for_within_its_memory(
    cluster: Cluster, asked: str, empty_dir: Json
) -> None:
    given = pod(
        container("logs"),
        container("task", limits=GIVEN),
        init=[container("setup"), sidecar("proxy")],
        annotations={SHARED_MEMORY: asked, PRIMARY_CONTAINER: "task"},
    )
    stored = cluster.created(cluster.namespace(), given)
    assert volumes(stored) == [{"name": VOLUME, "emptyDir": empty_dir}]
    assert mounts(stored) == {"task": [(VOLUME, "/dev/shm")]}


def test_shared_memory_is_bounded_by_the_memory_that_the_policy_leaves(cluster: Cluster) -> None:
    task = pod(annotations={SHARED_MEMORY: "64Gi", LIMITS: "memory=16Gi"})
    [volume] = volumes(cluster.created(cluster.namespace(), task))
    assert volume["emptyDir"]["sizeLimit"] == "8Gi"


def test_shared_memory_comes_beside_the_volumes_that_a_pod_has(cluster: Cluster) -> None:
    own = {"name": "scratch", "emptyDir": {}}
    task = container(limits=GIVEN, volumeMounts=[{"name": "scratch", "mountPath": "/scratch"}])
    stored = cluster.created(cluster.namespace(), pod(task, volumes=[own], annotations={SHARED_MEMORY: "true"}))
    assert volumes(stored) == [own, {"name": VOLUME, "emptyDir": {"medium": "Memory"}}]
    assert mounts(stored) == {"main": [("scratch", "/scratch"), (VOLUME, "/dev/shm")]}


def test_shared_memory_beyond_the_containers_memory_is_refused_where_the_policy_refuses(cluster: Cluster) -> None:
    namespace = cluster.namespace("strict")
    task = pod(container(limits=GIVEN), annotations={SHARED_MEMORY: "64Gi"})
    answer = cluster.create(namespace, task)
    assert answer.status == 422
    for part in (MUTATING, "shared memory", "64Gi", "4Gi", "policy strict"):
        assert part in answer.message


def test_a_pod_that_wants_no_shared_memory_gets_none(cluster: Cluster) -> None:
    stored = cluster.created(cluster.namespace(), pod(annotations={SHARED_MEMORY: "false"}))
    assert volumes(stored) == []


@pytest.mark.parametrize("path", ["/dev/shm", "/dev/shm/"])
def test_a_container_that_has_its_own_shared_memory_keeps_it(cluster: Cluster, path: str) -> None:
    own = {"name": "mine", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}}
    task = container(limits=GIVEN, volumeMounts=[{"name": "mine", "mountPath": path}])
    stored = cluster.created(cluster.namespace(), pod(task, volumes=[own], annotations={SHARED_MEMORY: "2Gi"}))
    assert volumes(stored) == [own]
    assert mounts(stored) == {"main": [("mine", path)]}


def test_a_volume_of_our_name_that_is_something_else_is_refused(cluster: Cluster) -> None:
    task = pod(volumes=[{"name": VOLUME, "emptyDir": {}}], annotations={SHARED_MEMORY: "true"})
    answer = cluster.create(cluster.namespace(), task)
    assert answer.status == 422
    for part in (MUTATING, VOLUME):
        assert part in answer.message


def test_shared_memory_that_is_no_quantity_is_refused(cluster: Cluster) -> None:
    answer = cluster.create(cluster.namespace(), pod(annotations={SHARED_MEMORY: "lots"}))
    assert answer.status == 422
    for part in (MUTATING, SHARED_MEMORY, "lots"):
        assert part in answer.message


def test_a_container_that_has_a_device_in_that_place_keeps_it(cluster: Cluster) -> None:
    own = {"name": "disk", "persistentVolumeClaim": {"claimName": "disk"}}
    task = container(limits=GIVEN, volumeDevices=[{"name": "disk", "devicePath": "/dev/shm"}])
    stored = cluster.created(cluster.namespace(), pod(task, volumes=[own], annotations={SHARED_MEMORY: "true"}))
    assert volumes(stored) == [own]
    assert mounts(stored) == {}
