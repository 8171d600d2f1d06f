"""`task-resources review --cluster` asks a real API server, as somebody who may list pods and namespaces only."""

import base64
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from kubernetes import client

from tests.e2e.cluster import Cluster, connected
from tests.e2e.control_plane import another_api_server
from tests.e2e.pods import container, pod
from webhook.sources.cluster_lists import pod_pages

pytestmark = pytest.mark.e2e

Json = dict[str, Any]

POLICIES = """
apiVersion: task-resources.io/v1alpha1
kind: TaskResourcePolicy
metadata: {name: whatif}
spec: {scope: {project: whatif}, container: {max: {cpu: "4", memory: 8Gi}}}
---
apiVersion: task-resources.io/v1alpha1
kind: TaskResourcePolicy
metadata: {name: whatif-strict}
spec: {scope: {project: whatif, domain: production}, onExceed: Deny}
"""

LARGE, FITS = {"cpu": "6", "memory": "10Gi"}, {"cpu": "2", "memory": "1Gi"}


class WhatIf:
    """The program, as a service account that may list these resources."""

    def __init__(self, cluster: Cluster, folder: Path, resources: Sequence[str]) -> None:
        self.cluster, self.folder = cluster, folder
        (folder / "policies.yaml").write_text(POLICIES)
        self.kubeconfig = folder / "kubeconfig"
        self.kubeconfig.write_text(self._kubeconfig(cluster.namespace(labels={}), resources))

    def _kubeconfig(self, name: str, resources: Sequence[str]) -> str:
        """A kubeconfig of a new service account, in a namespace of that name."""
        given = f"""
apiVersion: v1
kind: ServiceAccount
metadata: {{name: {name}, namespace: {name}}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {{name: {name}}}
rules: [{{apiGroups: [""], resources: [{", ".join(resources)}], verbs: [list]}}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{name: {name}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {name}}}
subjects: [{{kind: ServiceAccount, name: {name}, namespace: {name}}}]
"""
        plane = self.cluster.plane
        for document in yaml.safe_load_all(given):
            created = plane.kubectl("create", "-f", "-", given=document)
            assert created.returncode == 0, created.stderr
        token = plane.kubectl("create", "token", name, "--namespace", name).stdout.strip()
        config = yaml.safe_load(plane.kubeconfig("admin").read_text())
        config["users"][0]["user"] = {"token": token}
        return str(yaml.safe_dump(config))

    def run(self, *arguments: str, stdin: str | None = None) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "webhook", "review", "--policy", str(self.folder / "policies.yaml")]
        return subprocess.run([*command, *arguments], input=stdin, capture_output=True, text=True, timeout=60)

    def review(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return self.run("--cluster", "--kubeconfig", str(self.kubeconfig), *arguments)


def _filled(cluster: Cluster, name: str, labels: Json) -> str:
    """A namespace that nobody reviews, with pods that would be changed, would not be, and have ended."""
    namespace = f"{name}-{cluster.namespace(labels={})}"
    cluster.core.create_namespace({"metadata": {"name": namespace, "labels": labels}})
    for number in range(5):
        limits = FITS if number == 4 else LARGE
        cluster.created(namespace, pod(container(limits=limits), name=f"task-{number}"))
    ended = {"status": {"phase": "Succeeded"}}
    cluster.core.patch_namespaced_pod_status("task-3", namespace, ended)
    return namespace


def _project(summary: Json, name: str) -> Json:
    [row] = [row for row in summary["projects"] if row["project"] == name]
    return {key: count for key, count in row.items() if key != "project"}


def test_what_policies_would_change_in_a_cluster_is_counted_by_its_namespaces_labels(
    cluster: Cluster, tmp_path: Path
) -> None:
    whatif = WhatIf(cluster, tmp_path, ["pods", "namespaces"])
    by_label = _filled(cluster, "x", {"task-resources.io/project": "whatif"})
    _filled(cluster, "y", {"task-resources.io/project": "whatif", "task-resources.io/domain": "production"})

    result = whatif.review("--summary", "-o", "json", "--page-size", "3")
    summary = json.loads(result.stdout)["summary"]
    assert _project(summary, "whatif") == {"pods": 8, "changed": 3, "denied": 3, "unchanged": 2, "skipped": 0}
    assert summary["ended"] >= 2
    assert {row["side"]: (row["lowered"], row["raised"]) for row in summary["amounts"] if row["project"] == "whatif"
            and row["resource"] == "memory"} == {"requests": ("6Gi", "0"), "limits": ("6Gi", "0")}  # fmt: skip
    assert result.returncode == 1, "some would be denied"

    # One page and many say the same, and so does kubectl's dump.
    assert json.loads(whatif.review("-o", "json").stdout)["reviews"] == json.loads(result.stdout)["reviews"]
    one = json.loads(whatif.review("-o", "json", "--summary", "--namespace", by_label).stdout)
    dump = cluster.plane.kubectl("get", "namespaces,pods", "-A", "-o", "json").stdout
    dumped = json.loads(whatif.run("-o", "json", "--summary", stdin=dump).stdout)
    assert dumped["summary"] == summary
    assert one["summary"]["changed"] == 3

    what_came_of_them = {(review["namespace"], review["name"]): review["patch"] for review in dumped["reviews"]}
    assert all(what_came_of_them[review["namespace"], review["name"]] == review["patch"] for review in one["reviews"])


def test_a_patch_is_the_one_that_the_webhook_makes_when_the_pod_is_created_again(
    cluster: Cluster, tmp_path: Path
) -> None:
    """Under the policies of the service: the pod is stored while its namespace is not reviewed, then created anew."""
    whatif = WhatIf(cluster, tmp_path, ["pods", "namespaces"])
    (tmp_path / "policies.yaml").write_text((Path(__file__).parent / "policies.yaml").read_text())
    namespace = cluster.namespace(labels={})
    task = pod(container(limits={"cpu": "16", "memory": "1Gi"}), container("second"))
    cluster.created(namespace, task)
    [review] = json.loads(whatif.review("-o", "json", "--namespace", namespace).stdout)["reviews"]
    cluster.core.delete_namespaced_pod("task", namespace, grace_period_seconds=0)
    cluster.opt_in(namespace)
    applied = json.loads(cluster.created(namespace, task)["metadata"]["annotations"]["task-resources.io/applied"])
    told = [(change["container"], change["resource"], change["side"], change["to"]) for change in review["changes"]]
    assert told == [(c.get("container"), c["resource"], c["side"], c.get("to")) for c in applied["changes"]]


class _Late(client.ApiClient):
    """Asks for the next page only when its position has expired: it names a state that etcd has long forgotten."""

    def __init__(self, configuration: client.Configuration) -> None:
        super().__init__(configuration)
        self.expired = 0

    def param_serialize(self, *arguments: Any, **options: Any) -> Any:
        options["query_params"] = [*map(self._aged, options["query_params"])]
        return super().param_serialize(*arguments, **options)

    def _aged(self, parameter: tuple[str, Any]) -> tuple[str, Any]:
        name, value = parameter
        if name != "continue" or self.expired:
            return parameter
        self.expired += 1
        token = json.loads(base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)))
        return name, base64.urlsafe_b64encode(json.dumps(token | {"rv": 1}).encode()).decode().rstrip("=")


def _compact(cluster: Cluster) -> None:
    """Makes etcd forget all that is not the newest, as the API server does every five minutes."""
    url = f"{cluster.plane.etcd_url}/v3/kv"
    revision = httpx.post(f"{url}/range", json={"key": "AA=="}).json()["header"]["revision"]
    httpx.post(f"{url}/compaction", json={"revision": revision, "physical": True}).raise_for_status()


def test_a_list_goes_on_where_it_was_when_its_position_has_expired(cluster: Cluster, tmp_path: Path) -> None:
    """Asked of an API server that has just started: one that runs for long remembers by itself what etcd forgets."""
    namespace = cluster.namespace(labels={})
    for number in range(4):
        cluster.created(namespace, pod(name=f"task-{number}"))
    _compact(cluster)
    with another_api_server(cluster.plane, tmp_path, ()) as young, connected(young) as connection:
        api = _Late(connection.configuration)
        pages = [json.loads(page.text)["items"] for page in pod_pages(api, namespace, page_size=2)]
        assert api.expired == 1
    names = [[item["metadata"]["name"] for item in page] for page in pages]
    assert names == [["task-0", "task-1"], ["task-2", "task-3"]]


@pytest.mark.parametrize("allowed", ["pods", "namespaces"])
def test_who_may_not_list_is_told_so(cluster: Cluster, tmp_path: Path, allowed: str) -> None:
    [refused] = {"pods", "namespaces"} - {allowed}
    result = WhatIf(cluster, tmp_path, [allowed]).review("--summary")
    assert result.returncode == 2
    [line] = result.stderr.splitlines()
    assert line.startswith(f'Error: list {refused}: {refused} is forbidden: User "system:serviceaccount:')
