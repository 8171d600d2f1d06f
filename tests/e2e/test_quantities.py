"""Amounts in every notation that the API server reads, compared by value and stored as it prints them."""

from typing import Any

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.pods import LIMITS, container, pod, resources

pytestmark = pytest.mark.e2e

Json = dict[str, Any]


@pytest.fixture(scope="module")
def platform(cluster: Cluster) -> str:
    return cluster.namespace()


@pytest.mark.parametrize(
    ("resource", "asked", "stored"),
    [
        ("cpu", "0.5", "500m"),
        ("cpu", "4000m", "4"),
        ("cpu", "4001m", "4"),
        ("cpu", "1e3", "4"),
        ("cpu", "100E", "4"),
        ("cpu", 0.25, "250m"),
        ("memory", "1.5Gi", "1536Mi"),
        ("memory", "1e3", "16Mi"),  # the minimum
        ("memory", "8Gi", "8Gi"),
        ("memory", "8589934592", "8589934592"),  # 8Gi, and keeps its text
        ("memory", "8589934593", "8Gi"),
        ("memory", "9G", "8Gi"),
        ("memory", "16Ei", "8Gi"),
        ("memory", "100E", "8Gi"),
        ("memory", "20000000000500m", "8Gi"),  # half a byte
        ("memory", "1000000000500m", "1000000000500m"),
        ("hugepages-2Mi", "4Mi", "4Mi"),
        ("hugepages-2Mi", "128Mi", "64Mi"),
        ("nvidia.com/gpu", "8", "1"),
        ("nvidia.com/gpu", "1k", "1"),
        ("nvidia.com/gpu", "1000m", "1"),
        ("example.com/fpga", "7", "7"),  # no policy says anything
    ],
)
def test_a_limit_is_compared_by_its_value(
    cluster: Cluster, platform: str, resource: str, asked: object, stored: str
) -> None:
    given = {"cpu": "1", "memory": "1Gi", resource: asked}
    answer = cluster.try_out(platform, pod(container(limits=given)))
    assert answer.status == 201, answer.message
    amounts = resources(answer.body)["main"]
    assert amounts["limits"][resource] == amounts["requests"][resource] == stored


@pytest.mark.parametrize(
    ("asked", "stored"),
    [
        ("cpu=1e3", {"cpu": "4"}),
        ("cpu=0.0001", {"cpu": "50m"}),  # a thousandth at least, then the minimum
        ("memory=1.5Gi", {"memory": "1536Mi"}),
        ("memory=1000000000.5", {"memory": "1000000001"}),  # whole bytes, rounded up
        ("mem=100E", {"memory": "8Gi"}),
        ("gpu=4", {"nvidia.com/gpu": "1"}),
        ("hugepages-2Mi=128Mi", {"hugepages-2Mi": "64Mi"}),
    ],
)
def test_an_annotation_may_use_the_same_notations(cluster: Cluster, platform: str, asked: str, stored: Json) -> None:
    answer = cluster.try_out(platform, pod(annotations={LIMITS: asked}))
    assert answer.status == 201, answer.message
    assert stored.items() <= resources(answer.body)["main"]["limits"].items()


@pytest.mark.parametrize("name", ["nvidia.com/mig-1g.5gb", "nvidia.com/mig-7g.80gb"])
@pytest.mark.parametrize("policy", ["platform", "strict"])
def test_a_maximum_of_0_refuses_every_resource_that_its_glob_names(cluster: Cluster, policy: str, name: str) -> None:
    namespace = cluster.namespace(policy)
    answer = cluster.try_out(namespace, pod(container("train", limits={name: "1"})))
    assert answer.status == 422
    for part in ("train", name, "policy platform"):
        assert part in answer.message
    assert cluster.try_out(namespace, pod(container(limits={name: "0"}))).status == 201, "zero is not asking"


@pytest.mark.parametrize("resource", ["cpu", "memory"])
def test_an_amount_beyond_all_computing_is_refused_where_a_maximum_applies(
    cluster: Cluster, platform: str, resource: str
) -> None:
    answer = cluster.try_out(platform, pod(container(limits={resource: "9" * 70})))
    assert answer.status == 422
    assert "mutate.task-resources.io" in answer.message
    assert resource in answer.message


def test_the_zeros_that_flyte_writes_for_nothing_count_as_nothing(cluster: Cluster, platform: str) -> None:
    zeros = {"cpu": "0", "memory": "0"}
    task = pod(container(requests={"cpu": "1", "memory": "1Gi"}, limits=zeros))
    assert cluster.try_out(cluster.namespace(labels={}), task).status == 422, "the API server refuses it as it is"
    answer = cluster.try_out(platform, task)
    assert resources(answer.body)["main"] == {
        "requests": {"cpu": "1", "memory": "1Gi"},
        "limits": {"cpu": "4", "memory": "8Gi"},
    }
