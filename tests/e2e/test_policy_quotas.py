"""`task-resources policy quotas --apply`: ResourceQuotas of a real cluster, enforced by its own controller (Q1)."""

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client

from tests.e2e.cluster import Cluster, connected
from tests.e2e.pods import container, pod
from tests.e2e.processes import eventually
from tests.e2e.service import PROGRAM
from webhook.sources.cluster_lists import all_namespaces

pytestmark = pytest.mark.e2e

Json = dict[str, Any]

NAME = "task-resources"

# All that the command needs; docs/policies.md shows the same.
RULES = [
    {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get", "list"]},
    {"apiGroups": [""], "resources": ["resourcequotas"], "verbs": ["get", "create", "patch", "delete"]},
]


class Platform:
    """One namespace, the policies for it, and the user who applies them, who may do nothing else."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster, self.folder = cluster, folder
        self.labels = {"task-resources.io/project": folder.name}
        self.namespace = cluster.namespace(labels=self.labels)

    def quotas(
        self, *options: str, quota: Json | None = None, user: str = "quotas"
    ) -> "subprocess.CompletedProcess[str]":
        """What the command prints where policies set this quota for the project."""
        spec = {"scope": {"project": self.folder.name}} | ({} if quota is None else {"quota": quota})
        head = {"apiVersion": "task-resources.io/v1alpha1", "kind": "TaskResourcePolicy"}
        file = self.folder / "policy.yaml"
        file.write_text(yaml.safe_dump({**head, "metadata": {"name": "totals"}, "spec": spec}))
        kubeconfig = str(self.cluster.plane.kubeconfig(user))
        command = [*PROGRAM, "policy", "quotas", *options, "--policy", str(file), "--kubeconfig", kubeconfig]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    def apply(self, quota: Json | None = None) -> str:
        """What is said of the namespace where this quota is applied."""
        done = self.quotas(self.namespace, "--apply", quota=quota)
        assert (done.returncode, done.stderr) == (0, "")
        said: str = done.stdout.splitlines()[0].removeprefix(f"{self.namespace}: ")
        return said

    def stored(self) -> Mapping[str, str] | None:
        """The totals of the object in the cluster; None where there is none."""
        found = self.cluster.core.list_namespaced_resource_quota(self.namespace).items
        return next((quota.spec.hard for quota in found if quota.metadata.name == NAME), None)

    def in_force(self, quota: Json) -> None:
        def is_counted() -> bool:
            status = self.cluster.core.read_namespaced_resource_quota(NAME, self.namespace).status
            return bool(status.hard == quota)

        eventually(is_counted, "the quota's controller counted")


@pytest.fixture(scope="module")
def may_write_quotas(cluster: Cluster) -> None:
    with connected(cluster.plane) as api:
        rbac: Any = client.RbacAuthorizationV1Api(api)
        rbac.create_cluster_role({"metadata": {"name": "quotas"}, "rules": RULES})
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "quotas"}
        subjects = [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "quotas"}]
        rbac.create_cluster_role_binding({"metadata": {"name": "quotas"}, "roleRef": role, "subjects": subjects})


@pytest.fixture
def platform(cluster: Cluster, may_write_quotas: None, tmp_path: Path) -> Platform:
    platform = Platform(cluster, tmp_path)
    eventually(lambda: platform.quotas(platform.namespace, "--cluster").returncode == 0, "the role counts")
    return platform


def test_a_pod_over_the_quota_of_its_project_is_refused_by_kubernetes(platform: Platform) -> None:
    quota = {"requests.cpu": "2", "pods": "5"}
    assert platform.apply(quota) == "created (pods 5, requests.cpu 2)"
    platform.in_force(quota)
    task = container(requests={"cpu": "1500m"})
    assert platform.cluster.create(platform.namespace, pod(task, name="first")).status == 201
    refused = platform.cluster.create(platform.namespace, pod(task, name="second"))
    assert refused.status == 403
    assert "exceeded quota: task-resources, requested: requests.cpu=1500m, used: requests.cpu=1500m" in refused.message


def test_a_raised_quota_lets_in_more(platform: Platform) -> None:
    platform.apply({"pods": "1"})
    platform.in_force({"pods": "1"})
    cluster, namespace = platform.cluster, platform.namespace
    assert cluster.create(namespace, pod(name="first")).status == 201
    assert cluster.create(namespace, pod(name="second")).status == 403
    assert platform.apply({"pods": 2}) == "changed (pods 1 → 2)"
    platform.in_force({"pods": "2"})
    assert cluster.create(namespace, pod(name="second")).status == 201


def test_what_is_applied_twice_is_unchanged(platform: Platform) -> None:
    quota = {"requests.memory": "1024Mi", "limits.cpu": 0.5}
    platform.apply(quota)
    assert platform.apply(quota) == "unchanged"


def test_a_value_that_policies_no_longer_set_is_removed(platform: Platform) -> None:
    platform.apply({"limits.cpu": "64", "pods": 20})
    assert platform.apply({"limits.cpu": "64"}) == "changed (pods 20 removed)"
    assert platform.stored() == {"limits.cpu": "64"}


def test_a_namespace_without_a_quota_loses_its_object(platform: Platform) -> None:
    platform.apply({"pods": 20})
    assert platform.quotas(platform.namespace, "--cluster").stdout == ""
    assert platform.stored() == {"pods": "20"}
    assert platform.apply() == "deleted (pods 20 removed)"
    assert platform.stored() is None
    assert platform.apply() == "1 namespace: 1 without a quota"


def test_a_value_changed_by_hand_is_set_back_and_one_added_by_hand_stays(platform: Platform) -> None:
    platform.apply({"pods": 20})
    by_hand = {"spec": {"hard": {"pods": "99", "services": "3"}}}
    platform.cluster.core.patch_namespaced_resource_quota(NAME, platform.namespace, by_hand)
    assert platform.apply({"pods": 20}) == "changed (pods 99 → 20)"
    assert platform.stored() == {"pods": "20", "services": "3"}


def test_an_object_that_somebody_else_made_is_left_alone(platform: Platform) -> None:
    theirs = {"metadata": {"name": NAME}, "spec": {"hard": {"pods": "3"}}}
    platform.cluster.core.create_namespaced_resource_quota(platform.namespace, theirs)
    done = platform.quotas(platform.namespace, "--apply", quota={"pods": 20})
    assert done.returncode == 1
    assert done.stderr.startswith(f"Error: {platform.namespace}: the ResourceQuota task-resources is not ours: ")
    assert done.stdout == "1 namespace: 1 failed\n"
    assert platform.apply() == "1 namespace: 1 without a quota"
    assert platform.stored() == {"pods": "3"}


def test_all_namespaces_of_a_cluster_get_theirs_by_their_labels(platform: Platform) -> None:
    other = platform.cluster.namespace(labels=platform.labels)
    platform.cluster.namespace(labels={"task-resources.io/project": "others"})
    quota: Json = {"pods": 7}
    documents = [*yaml.safe_load_all(platform.quotas("--cluster", quota=quota).stdout)]
    named = [document["metadata"]["namespace"] for document in documents]
    assert sorted(named) == sorted([platform.namespace, other])
    (label,) = platform.labels.items()
    done = platform.quotas("--cluster", "-l", "=".join(label), "--apply", quota=quota)
    created = [f"{namespace}: created (pods 7)" for namespace in named]
    assert done.stdout.splitlines() == [*created, "2 namespaces: 2 created"]


def test_namespaces_are_read_page_by_page_without_those_that_are_ending(platform: Platform) -> None:
    ending = platform.cluster.namespace(labels=platform.labels)
    platform.cluster.core.delete_namespace(ending)  # no controller of namespaces finishes it
    found = dict(all_namespaces(platform.cluster.api, page_size=2))
    assert {platform.namespace, "kube-system", "default"} <= found.keys()
    assert found[platform.namespace].items() >= platform.labels.items()
    assert ending not in found


def test_what_is_printed_can_be_applied_by_kubectl(platform: Platform) -> None:
    quota: Json = {"requests.memory": "1Ti", "requests.gpu": 8}
    (document,) = yaml.safe_load_all(platform.quotas(platform.namespace, "--cluster", quota=quota).stdout)
    done = platform.cluster.plane.kubectl(
        "apply", "--server-side", "--field-manager=task-resources", "-f-", given=document
    )
    assert done.returncode == 0, done.stderr
    assert platform.apply(quota) == "unchanged"


def test_who_may_not_is_told_what_the_api_server_says(platform: Platform) -> None:
    quota: Json = {"pods": 7}
    listing = platform.quotas("--cluster", "--apply", user="node", quota=quota)
    assert (listing.returncode, listing.stdout) == (2, "")
    assert listing.stderr.startswith(
        'Error: list namespaces: namespaces is forbidden: User "system:node:node-1" cannot'
    )
    named = platform.quotas(platform.namespace, "--apply", user="node", quota=quota)
    assert named.returncode == 2
    assert f"Error: read the namespace {platform.namespace}: " in named.stderr


def test_a_namespace_that_is_not_there_stops_everything_before_it_begins(platform: Platform) -> None:
    done = platform.quotas(platform.namespace, "nowhere", "--apply", quota={"pods": 7})
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == 'Error: read the namespace nowhere: namespaces "nowhere" not found (404)\n'
    assert platform.stored() is None
