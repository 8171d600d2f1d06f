"""A dry run is answered like the real thing, and nothing else happens."""

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.pods import GREEDY, resources

pytestmark = pytest.mark.e2e


def test_a_dry_run_is_answered_like_a_creation_and_stores_nothing(cluster: Cluster) -> None:
    namespace = cluster.namespace()
    tried = cluster.try_out(namespace, GREEDY)
    assert tried.status == 201
    assert cluster.pods(namespace) == []
    created = cluster.create(namespace, GREEDY)
    assert tried.warnings == created.warnings
    assert resources(tried.body) == resources(created.body)


def test_a_dry_run_is_refused_like_a_creation(cluster: Cluster) -> None:
    namespace = cluster.namespace("strict")
    assert cluster.try_out(namespace, GREEDY).message == cluster.create(namespace, GREEDY).message


def test_a_dry_run_counts_as_a_review_and_in_no_other_metric(cluster: Cluster) -> None:
    cluster.create(cluster.namespace(), GREEDY)
    before = cluster.service.metrics()
    cluster.try_out(cluster.namespace(), GREEDY)
    cluster.try_out(cluster.namespace("strict"), GREEDY)
    after = cluster.service.metrics()
    changed = {key for key, value in after.items() if value != before.get(key, 0.0)}
    reviews = {key for key in changed if key[0] == "task_resources_reviews_total"}
    assert all(("dry_run", "true") in labels for _, labels in reviews)
    assert sum(after[key] - before.get(key, 0.0) for key in reviews) == 3  # the refused one is not looked at twice
    assert changed == reviews


def test_a_creation_counts_what_it_changed(cluster: Cluster) -> None:
    before = cluster.service.metrics()
    cluster.create(cluster.namespace(), GREEDY)
    after = cluster.service.metrics()

    def grown(name: str, **labels: str) -> float:
        keys = [key for key in after if key[0] == f"task_resources_{name}" and labels.items() <= dict(key[1]).items()]
        return sum(after[key] - before.get(key, 0.0) for key in keys)

    assert grown("changes_total", resource="cpu", rule="maximum") == 2  # limit and request
    assert grown("reviews_total", operation="CREATE", outcome="changed", mode="Enforce", dry_run="false") == 1
    assert grown("review_duration_seconds_count") == 2  # the second look, too
    assert grown("capacity_delta_total", resource="cpu") == 12  # the request went from 16 to 4
