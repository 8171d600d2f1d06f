"""`task-resources policy quotas` without a cluster: what it prints, and how it says what is wrong (Q1)."""

from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from tests.unit.deciding import policy_set
from webhook.cli.main import main
from webhook.projects import Scope
from webhook.resource_quota import hard, is_ours, resource_quota

HEAD = "apiVersion: task-resources.io/v1alpha1\nkind: TaskResourcePolicy\n"
POLICIES = f"""{HEAD}metadata: {{name: platform}}
spec: {{quota: {{limits.cpu: 64, pods: 200}}}}
---
{HEAD}metadata: {{name: search}}
spec: {{scope: {{project: search}}, quota: {{limits.cpu: 128, pods: null, requests.gpu: 8}}}}
---
{HEAD}metadata: {{name: nothing}}
spec: {{scope: {{project: nothing}}, quota: {{limits.cpu: null, pods: null}}}}
"""


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    file = tmp_path / "policies.yaml"
    file.write_text(POLICIES)
    return file


def run(policies: Path, *arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["policy", "quotas", "--policy", str(policies), *map(str, arguments)])


def test_the_quota_of_a_namespace_is_printed_as_an_object(policies: Path) -> None:
    result = run(policies, "search-development")
    assert result.exit_code == 0
    assert yaml.safe_load(result.stdout) == {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {
            "name": "task-resources",
            "namespace": "search-development",
            "labels": {"app.kubernetes.io/managed-by": "task-resources"},
        },
        "spec": {"hard": {"limits.cpu": "128", "requests.nvidia.com/gpu": "8"}},
    }


def test_several_namespaces_make_several_documents_and_one_without_a_quota_none(policies: Path) -> None:
    documents = [*yaml.safe_load_all(run(policies, "a-staging", "nothing-staging", "search-staging").stdout)]
    assert [document["metadata"]["namespace"] for document in documents] == ["a-staging", "search-staging"]


def test_where_no_policy_sets_a_quota_nothing_is_printed_and_that_is_said(policies: Path) -> None:
    result = run(policies, "nothing-staging")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "The policies set no quota for nothing-staging.\n"


def test_labels_say_the_project_without_a_cluster(policies: Path) -> None:
    result = run(policies, "lab", "--namespace-labels", "task-resources.io/project=search")
    assert yaml.safe_load(result.stdout)["spec"]["hard"]["limits.cpu"] == "128"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param((), "Missing NAMESPACE: name at least one, or all of a cluster by --cluster.", id="nothing"),
        pytest.param(("--apply",), "Missing NAMESPACE", id="apply to nothing"),
        pytest.param(("a", "--kubeconfig", "f"), "use it with --cluster or --apply", id="kubeconfig"),
        pytest.param(("a", "--context", "c"), "use it with --cluster or --apply", id="context"),
        pytest.param(("a", "--selector", "x=y"), "use --cluster and no NAMESPACE", id="selector"),
        pytest.param(("a", "--cluster", "-l", "x=y"), "use --cluster and no NAMESPACE", id="selector of one"),
        pytest.param(
            ("a", "--apply", "--namespace-labels", "x=y"),
            "--namespace-labels is for use without a cluster",
            id="labels",
        ),
    ],
)
def test_options_that_contradict_each_other_are_a_usage_error(
    policies: Path, arguments: tuple[str, ...], message: str
) -> None:
    result = run(policies, *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr


def test_a_cluster_that_does_not_answer_is_said_once(policies: Path, tmp_path: Path) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    cluster = {"name": "c", "cluster": {"server": "http://127.0.0.1:9"}}  # the discard port, which nobody listens on
    context = {"name": "c", "context": {"cluster": "c", "user": "u"}}
    kubeconfig.write_text(
        yaml.safe_dump(
            {"clusters": [cluster], "contexts": [context], "users": [{"name": "u", "user": {}}], "current-context": "c"}
        )
    )
    result = run(policies, "--cluster", "--apply", "--kubeconfig", kubeconfig)
    assert (result.exit_code, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: list namespaces: no answer of an API server: ")
    assert line.endswith("Connection refused")


def test_an_object_is_ours_by_its_label() -> None:
    quota = resource_quota(policy_set("quota: {pods: 5}"), Scope("lab"))
    assert quota is not None
    assert is_ours(quota)
    assert hard(quota) == {"pods": "5"}
    assert not is_ours({"metadata": {"name": "task-resources", "labels": {"app.kubernetes.io/managed-by": "Helm"}}})
    assert not is_ours({"metadata": {"name": "task-resources"}})
