"""Policies that change while the webhook runs, mounted as a ConfigMap is: what the API server then stores."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.config_map import write_config_map
from tests.e2e.cluster import Cluster
from tests.e2e.deployment import POLICY
from tests.e2e.pods import APPLIED, GREEDY, annotations, resources
from tests.e2e.processes import eventually
from tests.e2e.registration import registered_for
from tests.e2e.service import Service, serving

pytestmark = pytest.mark.e2e

Json = dict[str, Any]


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """A mounted ConfigMap with a policy."""
    volume = tmp_path / "policies"
    volume.mkdir()
    write_config_map(volume, {"platform.yaml": POLICY % 4})
    return volume


@pytest.fixture
def reloading(cluster: Cluster, volume: Path, tmp_path: Path) -> Iterator[Service]:
    with serving(cluster.service.certificates, tmp_path / "webhook.log", policies=volume) as service:
        yield service


@pytest.fixture
def namespace(cluster: Cluster, reloading: Service) -> Iterator[str]:
    """A namespace whose pods that webhook alone reviews."""
    namespace = cluster.namespace(labels={})
    with registered_for(cluster, namespace, reloading.url, "Fail"):
        eventually(lambda: limit(cluster.try_out(namespace, GREEDY).body) == "4", "the API server asks it")
        yield namespace


def limit(stored: Json) -> str:
    cpu: str = resources(stored)["main"]["limits"]["cpu"]
    return cpu


def named(name: str) -> Json:
    return {**GREEDY, "metadata": {"name": name}}


def counted(service: Service) -> dict[str, float]:
    """Reloads by their result."""
    return {
        dict(labels)["result"]: value
        for (name, labels), value in service.metrics().items()
        if name == "task_resources_policy_reloads_total"
    }


def test_pods_created_after_a_change_obey_it_and_those_before_stay(
    cluster: Cluster, namespace: str, volume: Path, reloading: Service
) -> None:
    assert limit(cluster.created(namespace, named("before"))) == "4"
    write_config_map(volume, {"platform.yaml": POLICY % 2})
    eventually(lambda: counted(reloading)["success"] == 1, "the new maximum is in force")
    assert limit(cluster.created(namespace, named("after"))) == "2"
    assert limit(cluster.stored(namespace, "before")) == "4"
    records = [annotations(cluster.stored(namespace, name))[APPLIED] for name in ("before", "after")]
    assert len({record.partition(",")[0] for record in records}) == 2  # each names the hash of its policy set


def test_a_broken_change_leaves_the_policy_in_force_until_it_is_mended(
    cluster: Cluster, namespace: str, volume: Path, reloading: Service
) -> None:
    write_config_map(volume, {"platform.yaml": POLICY % "lots"})
    eventually(lambda: "the last change was refused" in reloading.ask("/readyz?verbose").text, "it says what is wrong")
    shown = reloading.ask("/readyz?verbose")
    assert shown.status_code == 200
    assert "platform.yaml:4: spec.container.max.cpu: " in shown.text
    assert limit(cluster.created(namespace, named("broken"))) == "4"
    assert '"level":"error"' in reloading.log.read_text()
    write_config_map(volume, {"platform.yaml": POLICY % 3})
    eventually(lambda: counted(reloading)["success"] == 1, "the mended policy is in force")
    assert limit(cluster.created(namespace, named("mended"))) == "3"
    assert "[+]policies ok\n" in reloading.ask("/readyz?verbose").text
    assert counted(reloading) == {"success": 1, "failure": 1}


def test_no_pod_fails_or_escapes_while_policies_are_reloaded(cluster: Cluster, namespace: str, volume: Path) -> None:
    with ThreadPoolExecutor(4) as clients:

        def limits() -> set[str]:
            answers = list(clients.map(lambda _: cluster.try_out(namespace, GREEDY), range(8)))
            assert {answer.status for answer in answers} == {201}
            found = {limit(answer.body) for answer in answers}
            assert found <= {"2", "4", "6"}
            return found

        def is_limited_to(maximum: str) -> bool:
            return limits() == {maximum}

        for maximum in ("2", "6", "4"):
            write_config_map(volume, {"platform.yaml": POLICY % maximum})
            eventually(partial(is_limited_to, maximum), "the new maximum is in force")


def test_a_pipe_where_a_policy_was_leaves_the_last_good_set_in_force_and_holds_up_nothing(
    cluster: Cluster, namespace: str, volume: Path, reloading: Service
) -> None:
    (volume / "platform.yaml").unlink()
    os.mkfifo(volume / "platform.yaml")
    eventually(lambda: counted(reloading)["failure"] == 1, "it is refused")
    assert "platform.yaml: cannot be read: it is a pipe (FIFO)" in reloading.ask("/readyz?verbose").text
    assert limit(cluster.created(namespace, named("meanwhile"))) == "4"
    (volume / "platform.yaml").unlink()
    (volume / "platform.yaml").write_text(POLICY % 2)
    eventually(lambda: counted(reloading)["success"] == 1, "the file that is one again is read")
    assert limit(cluster.created(namespace, named("mended"))) == "2"
    assert "[+]policies ok\n" in reloading.ask("/readyz?verbose").text
