"""What docs/gpus.md leads through, with its own files: a node, a policy, and the first GPU task on the node."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.cluster import Cluster
from tests.e2e.control_plane import SCHEDULER
from tests.e2e.nodes import A100_NODE
from tests.e2e.processes import eventually
from tests.e2e.registration import registered_for
from tests.e2e.service import serving

pytestmark = pytest.mark.e2e

Json = dict[str, Any]

PAGE = Path(__file__).parents[2] / "examples" / "gpus"
NODE: Json = yaml.safe_load((PAGE / "node.yaml").read_text())
TASK: Json = yaml.safe_load((PAGE / "task.yaml").read_text())
NAMESPACE: str = TASK["metadata"]["namespace"]


@pytest.fixture(scope="module")
def followed(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster with the page's node, and the webhook with the page's policy for the task's namespace."""
    name = NODE["metadata"]["name"]
    room = {"allocatable": {"cpu": "64", "memory": "512Gi", "pods": "100", "nvidia.com/gpu": "8"}}
    cluster.core.create_node({**NODE, "status": room})
    cluster.core.patch_node(name, [{"op": "replace", "path": "/spec/taints", "value": NODE["spec"]["taints"]}])
    cluster.core.create_namespace({"metadata": {"name": NAMESPACE}})
    log = tmp_path_factory.mktemp("gpus") / "webhook.log"
    with (
        serving(cluster.service.certificates, log, policies=PAGE / "policy.yaml") as service,
        registered_for(cluster, NAMESPACE, service.url, "Fail"),
    ):
        eventually(lambda: cluster.try_out(NAMESPACE, TASK).warnings, "the API server asks it")
        yield cluster
    cluster.core.delete_node(name)


def named(name: str, **spec: Any) -> Json:
    """The page's task, placed by the tests' scheduler."""
    return {
        **TASK,
        "metadata": {**TASK["metadata"], "name": name},
        "spec": {**TASK["spec"], "schedulerName": SCHEDULER, **spec},
    }


def test_the_task_comes_to_run_on_a_node_with_its_gpu(followed: Cluster) -> None:
    followed.created(NAMESPACE, named("train"))
    assert followed.node_of(NAMESPACE, "train") in (NODE["metadata"]["name"], A100_NODE.name)


def test_another_kind_of_gpu_is_refused_with_those_that_there_are(followed: Cluster) -> None:
    task = named("other")
    task["metadata"]["annotations"] = {"task-resources.io/accelerator": "H100"}
    message = followed.try_out(NAMESPACE, task).message
    for part in ("H100", "nvidia-tesla-a100, nvidia-tesla-t4", "policy gpus", "#ml-platform"):
        assert part in message


def test_a_task_without_a_gpu_is_kept_away_by_the_taint(followed: Cluster) -> None:
    resources = {"limits": {"cpu": "1", "memory": "1Gi"}}
    task = named(
        "plain",
        containers=[{"name": "main", "image": "registry.example/task", "resources": resources}],
        nodeSelector=NODE["metadata"]["labels"],
    )
    task["metadata"].pop("annotations")
    followed.created(NAMESPACE, task)
    assert "untolerated taint" in followed.reason_unplaced(NAMESPACE, "plain")
