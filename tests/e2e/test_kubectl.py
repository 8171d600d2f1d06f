"""What people see who use kubectl."""

import json

import pytest
import yaml

from tests.e2e.cluster import Cluster
from tests.e2e.pods import APPLIED, LIMITS, container, pod, resources

pytestmark = pytest.mark.e2e

GREEDY = pod(container(requests={"cpu": "1", "memory": "1Gi"}, limits={"cpu": "16", "memory": "1Gi"}))


def test_kubectl_prints_each_change_as_a_warning(cluster: Cluster) -> None:
    done = cluster.plane.kubectl("create", "-f-", "-n", cluster.namespace(), given=GREEDY)
    assert done.stdout == "pod/task created\n"
    assert done.stderr == "Warning: main: limits.cpu changed from 16 to 4 (maximum, policy platform)\n"


def test_kubectl_says_which_webhook_refused_a_pod_and_why(cluster: Cluster) -> None:
    namespace = cluster.namespace("strict")
    done = cluster.plane.kubectl("create", "-f-", "-n", namespace, given=GREEDY)
    assert done.returncode == 1
    assert 'admission webhook "mutate.task-resources.io" denied the request: ' in done.stderr
    for part in ("main", "limits.cpu", "16", "4", "policy platform", f"project {namespace[:-12]}", "#strict-team"):
        assert part in done.stderr
    assert cluster.pods(namespace) == []


def test_a_server_side_dry_run_shows_what_would_be_stored(cluster: Cluster) -> None:
    namespace = cluster.namespace()
    apply = ["apply", "-f-", "-n", namespace, "-ojson"]
    tried = cluster.plane.kubectl(*apply, "--dry-run=server", given=GREEDY)
    assert cluster.pods(namespace) == []
    applied = cluster.plane.kubectl(*apply, given=GREEDY)
    assert tried.stderr == applied.stderr != ""
    assert resources(json.loads(tried.stdout)) == resources(json.loads(applied.stdout))
    assert resources(cluster.stored(namespace))["main"]["limits"]["cpu"] == "4"


def test_server_side_apply_is_bounded_like_every_other_creation(cluster: Cluster) -> None:
    namespace = cluster.namespace()
    apply = ["apply", "--server-side", "-f-", "-n", namespace]
    done = cluster.plane.kubectl(*apply, given=GREEDY)
    assert done.stdout == "pod/task serverside-applied\n"
    assert resources(cluster.stored(namespace))["main"]["limits"]["cpu"] == "4"


def test_a_pod_explains_itself_by_rule_and_policy(cluster: Cluster) -> None:
    namespace = cluster.namespace()
    cluster.create(namespace, pod(annotations={LIMITS: "cpu=6"}))
    shown = cluster.plane.kubectl("get", "pod", "task", "-n", namespace, "-oyaml").stdout
    applied = json.loads(yaml.safe_load(shown)["metadata"]["annotations"][APPLIED])
    explained = {(change["side"], change["resource"]): change for change in applied["changes"]}
    change = explained["limits", "cpu"]
    assert (change["asked"], change["to"]) == ("6", "4")
    assert (change["rule"], change["policy"], change["scope"]) == ("maximum", "platform", "platform")


def test_kubectl_describe_shows_the_first_change_before_it_cuts_the_annotation(cluster: Cluster) -> None:
    namespace = cluster.namespace()
    cluster.create(namespace, GREEDY)
    described = cluster.plane.kubectl("describe", "pod", "task", "-n", namespace).stdout
    assert '"resource":"cpu","side":"limits","from":"16","to":"4","rule":"maximum"' in described


@pytest.mark.parametrize("kind", ["--server-side", "--server-side=false"])
def test_a_manifest_that_was_changed_cannot_be_applied_twice_to_a_bare_pod(cluster: Cluster, kind: str) -> None:
    """Pods are immutable: kubectl would have to undo the change. Those of a Deployment or Job are made anew."""
    namespace = cluster.namespace()
    apply = ["apply", kind, "-f-", "-n", namespace]
    assert cluster.plane.kubectl(*apply, given=GREEDY).returncode == 0
    again = cluster.plane.kubectl(*apply, given=GREEDY)
    assert again.returncode == 1
    assert "pod updates may not change fields other than" in again.stderr
