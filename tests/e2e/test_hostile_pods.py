"""Pods that are made to take long: each is refused or bounded, and the pods of others are bounded meanwhile."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.attackers import HOSTILE, LARGE, OURS
from tests.e2e.cluster import Cluster
from tests.e2e.pods import GREEDY, LIMITS, container, pod, resources
from tests.e2e.processes import eventually
from tests.e2e.registration import MUTATING, registered_for
from tests.e2e.stream import steady_creations

pytestmark = pytest.mark.e2e

Json = dict[str, Any]

SOME = 24

# What a pod may well have, twice: at its most it is bounded.
BOUNDED = [
    ("two-hundred-containers", pod(*[container(f"c{index}", limits=LARGE) for index in range(200)])),
    (
        "a-long-list-of-names",
        pod(container(limits=LARGE, env=[{"name": f"V{i}", "value": "x" * 90} for i in range(9000)])),
    ),
    ("unknown-annotations", pod(container(limits=LARGE), annotations={f"{OURS}/x{i}": "x" for i in range(2000)})),
]


@pytest.fixture(scope="module", params=["Ignore", "Fail"])
def namespace(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace whose pods are created unbounded, or not at all, where no answer comes in time."""
    namespace = cluster.namespace(labels={})
    with registered_for(cluster, namespace, cluster.service.url, request.param):
        eventually(lambda: cluster.try_out(namespace, GREEDY).warnings, "the API server asks")
        yield namespace


def test_a_pod_that_is_made_to_take_long_is_refused_and_the_pods_of_others_are_bounded(
    cluster: Cluster, namespace: str
) -> None:
    with steady_creations(cluster, namespace, per_second=24) as stream:
        stream.wait_for_more(SOME)
        answers = {name: cluster.create(namespace, task) for name, task in HOSTILE.items()}
        stream.wait_for_more(SOME)
    assert {name: answer.status for name, answer in answers.items()} == dict.fromkeys(answers, 422)
    by_us = {name for name, answer in answers.items() if MUTATING in answer.message}
    assert by_us == set(answers)
    assert stream.failures == []


@pytest.mark.parametrize("task", [case[1] for case in BOUNDED], ids=[case[0] for case in BOUNDED])
def test_a_large_pod_is_bounded_in_every_container(cluster: Cluster, namespace: str, task: Json) -> None:
    answer = cluster.try_out(namespace, task)
    assert answer.status == 201, answer.message
    assert {amounts["limits"]["cpu"] for amounts in resources(answer.body).values()} == {"4"}


def test_a_dry_run_is_answered_like_a_creation(cluster: Cluster, namespace: str) -> None:
    task = pod(container("x" * 20_000, limits=LARGE), annotations={LIMITS: "x," * 2000})
    answer = cluster.try_out(namespace, task)
    assert answer.status == 422
    assert len(answer.message) < 2_000
