"""What happens to pods while the webhook is away, and how a replica leaves."""

from pathlib import Path

import pytest

from tests.e2e.cluster import Cluster, refusal
from tests.e2e.pods import GREEDY, resources
from tests.e2e.processes import eventually, free_ports
from tests.e2e.registration import MUTATING, registered_for
from tests.e2e.service import creation, is_ready, serving

pytestmark = pytest.mark.e2e


def test_fail_creates_no_pod_while_the_webhook_is_away(cluster: Cluster) -> None:
    namespace = cluster.namespace(labels={})
    (nobody,) = free_ports(1)
    with registered_for(cluster, namespace, f"https://127.0.0.1:{nobody}", "Fail"):
        refused = eventually(lambda: refusal(cluster.try_out(namespace, GREEDY)), "the API server asks")
        assert refused.status == 500
        assert f'failed calling webhook "{MUTATING}"' in refused.message
        assert cluster.pods(namespace) == []


def test_ignore_creates_pods_as_they_come_while_the_webhook_is_away_and_the_audit_log_says_so(cluster: Cluster) -> None:
    namespace = cluster.namespace(labels={})
    (nobody,) = free_ports(1)
    with registered_for(cluster, namespace, f"https://127.0.0.1:{nobody}", "Ignore"):
        eventually(lambda: failed_open(cluster, namespace), "the API server asks")
        stored = cluster.created(namespace, GREEDY)
    assert resources(stored)["main"]["limits"]["cpu"] == "16"


def failed_open(cluster: Cluster, namespace: str) -> bool:
    assert cluster.try_out(namespace, GREEDY).status == 201
    return any(
        key.startswith("failed-open.mutation.webhook.admission.k8s.io/") and webhook == MUTATING
        for event in cluster.plane.audit_events(namespace)
        for key, webhook in event.get("annotations", {}).items()
    )


def test_a_replica_that_leaves_answers_on_and_sends_its_callers_elsewhere(cluster: Cluster, tmp_path: Path) -> None:
    with serving(cluster.service.certificates, tmp_path / "leaving.log", drain_seconds=30) as leaving:
        leaving.process.terminate()
        eventually(lambda: not is_ready(leaving.management_url), "the replica is not ready")
        with leaving.client() as client:
            answer = client.post("/mutate", json=creation(GREEDY, "platform-development"))
        assert (answer.status_code, answer.headers["Connection"]) == (200, "close")
        assert answer.json()["response"]["patchType"] == "JSONPatch"
        leaving.process.terminate()  # a second signal ends the draining
        assert leaving.process.wait(20) == 0
