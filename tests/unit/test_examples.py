"""What examples/ has works as it stands."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.deciding import patched
from webhook.admission import decode
from webhook.decision import Decision
from webhook.snapshot import Snapshot
from webhook.sources.policy_files import load_policies

EXAMPLES = Path(__file__).parents[2] / "examples"
SYSTEM_NAMESPACES = {"kube-system", "kube-public", "kube-node-lease"}


@pytest.fixture(scope="module")
def snapshot() -> Snapshot:
    return Snapshot(load_policies([EXAMPLES / "policies"]))


def decided(snapshot: Snapshot, name: str) -> tuple[dict[str, Any], Decision]:
    body = (EXAMPLES / "reviews" / f"{name}.json").read_bytes()
    pod = json.loads(body)["request"]["object"]
    decision = snapshot.decide(decode(body))
    return patched(pod, decision), decision


def test_flytes_example_gets_the_four_cores_that_the_platform_allows(snapshot: Snapshot) -> None:
    pod, decision = decided(snapshot, "flyte-task-override-cpu-6")
    assert pod["spec"]["containers"][0]["resources"] == {
        "limits": {"cpu": "4", "memory": "500Mi"},
        "requests": {"cpu": "1", "memory": "200Mi"},
    }
    assert decision.denial is None


@pytest.mark.parametrize(
    ("name", "outcome"),
    [
        ("flyte-gpu-task", "changed"),
        ("init-and-sidecar", "changed"),
        ("limits-only", "changed"),
        ("minimal-no-resources", "changed"),
        ("pod-level-resources", "changed"),
        ("resize-above-maximum", "changed"),
    ],
)
def test_a_sample_review_shows_what_its_name_says(snapshot: Snapshot, name: str, outcome: str) -> None:
    assert decided(snapshot, name)[1].outcome == outcome


def registered(kind: str) -> dict[str, Any]:
    documents = yaml.safe_load_all((EXAMPLES / "webhook-configuration.yaml").read_text())
    [webhook] = next(document for document in documents if document["kind"] == kind)["webhooks"]
    assert isinstance(webhook, dict)
    return webhook


def test_both_webhooks_review_the_same_pods() -> None:
    mutating, validating = (registered(f"{kind}WebhookConfiguration") for kind in ("Mutating", "Validating"))
    for field in ("rules", "namespaceSelector", "matchConditions", "matchPolicy", "failurePolicy", "sideEffects"):
        assert mutating[field] == validating[field]


@pytest.mark.parametrize("kind", ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"])
def test_the_webhook_never_reviews_what_it_depends_on(kind: str) -> None:
    webhook = registered(kind)
    [excluded] = [
        expression["values"]
        for expression in webhook["namespaceSelector"]["matchExpressions"]
        if (expression["key"], expression["operator"]) == ("kubernetes.io/metadata.name", "NotIn")
    ]
    assert {*SYSTEM_NAMESPACES, webhook["clientConfig"]["service"]["namespace"]} <= {*excluded}
    assert "objectSelector" not in webhook  # labels of a pod are its author's
