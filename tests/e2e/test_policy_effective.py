"""`task-resources policy effective --cluster`: by the labels that a namespace has in a real cluster."""

import json
import subprocess

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.service import POLICIES, PROGRAM

pytestmark = pytest.mark.e2e


def effective(cluster: Cluster, namespace: str) -> "subprocess.CompletedProcess[str]":
    options = ["--policy", str(POLICIES), "--cluster", "--kubeconfig", str(cluster.plane.kubeconfig("admin"))]
    command = [*PROGRAM, "policy", "effective", namespace, *options, "-o", "json"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_the_labels_of_a_namespace_are_those_that_it_has_in_the_cluster(cluster: Cluster) -> None:
    namespace = cluster.namespace(labels={"task-resources.io/project": "search"})
    answer = json.loads(effective(cluster, namespace).stdout)
    assert (answer["namespace"], answer["project"], answer["domain"]) == (namespace, "search", "development")


def test_a_namespace_that_is_not_there_is_an_error(cluster: Cluster) -> None:
    done = effective(cluster, "nowhere")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == 'Error: read the namespace nowhere: namespaces "nowhere" not found (404)\n'


def test_a_server_and_the_command_line_come_to_the_same(cluster: Cluster) -> None:
    namespace = cluster.namespace("strict")
    answer = cluster.service.ask(f"/policies/effective/{namespace}")
    assert answer.json() == json.loads(effective(cluster, namespace).stdout)
