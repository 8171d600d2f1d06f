"""What examples/ has works as it stands."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.deciding import container, patched, pod, review_body
from webhook.admission import decode
from webhook.annotations import ACCELERATOR
from webhook.decision import Decision
from webhook.explain import fit_warnings, warnings_of
from webhook.policy_oddities import oddities
from webhook.projects import ProjectRule
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


# A resource of each vendor, a device by its name, and what is then required of the node.
DEVICES = [
    ("nvidia-eks", "nvidia.com/gpu", "T4", "k8s.amazonaws.com/accelerator In [nvidia-tesla-t4]"),
    ("nvidia-eks-karpenter", "nvidia.com/gpu", "a100", "karpenter.k8s.aws/instance-gpu-name In [a100]"),
    ("nvidia-gke", "nvidia.com/gpu", "A100 80GB", "cloud.google.com/gke-accelerator In [nvidia-a100-80gb]"),
    ("nvidia-aks", "nvidia.com/gpu", "H100", "node.kubernetes.io/instance-type In [Standard_NC40ads_H100_v5]"),
    ("nvidia-gpu-operator", "nvidia.com/mig-1g.10gb", "H100", "nvidia.com/gpu.product In [NVIDIA-H100-80GB-HBM3]"),
    ("amd", "amd.com/gpu", "MI300X", "amd.com/gpu.device-id In [74a1]"),
    ("google-tpu", "google.com/tpu", "v5e", "cloud.google.com/gke-tpu-accelerator In [tpu-v5-lite-podslice]"),
    ("aws-neuron", "aws.amazon.com/neuroncore", "Trn2", "karpenter.k8s.aws/instance-accelerator-name In [trainium2]"),
    ("intel-gaudi", "habana.ai/gaudi", "gaudi3", "habana.ai/device.type In [GAUDI3]"),
]


@pytest.mark.parametrize(("name", "resource", "accelerator", "required"), DEVICES, ids=[row[0] for row in DEVICES])
def test_a_task_gets_onto_the_nodes_of_each_vendor(name: str, resource: str, accelerator: str, required: str) -> None:
    policies = load_policies([EXAMPLES / "accelerators" / f"{name}.yaml"])
    task = pod(container(limits={resource: "1"}), annotations={ACCELERATOR: accelerator})
    decision = Snapshot(policies).decide(decode(review_body(task)))
    added = [change.after for change in decision.changes if change.side == "tolerations"]
    assert added[0] is not None
    assert added[0].endswith(":NoSchedule op=Exists" if name != "nvidia-aks" else ":NoSchedule")
    assert required in [change.after for change in decision.changes if change.side == "nodeAffinity"]
    assert decision.warnings == fit_warnings(*warnings_of(decision.changes, "Enforce")), "nothing else to say"


def test_each_file_about_a_vendor_is_tried() -> None:
    assert {path.stem for path in (EXAMPLES / "accelerators").iterdir()} == {row[0] for row in DEVICES}


@pytest.mark.parametrize("path", sorted((EXAMPLES / "accelerators").iterdir()), ids=lambda path: path.stem)
def test_nothing_is_odd_about_a_vendors_policy(path: Path) -> None:
    assert oddities(load_policies([path]), ProjectRule()) == []


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


@pytest.mark.parametrize(("hook", "arguments"), [("policy-check", ["policies"]), ("policy-test", ["policy-tests"])])
def test_a_hook_runs_as_pre_commit_would_run_it(hook: str, arguments: list[str]) -> None:
    hooks = yaml.safe_load((EXAMPLES.parent / ".pre-commit-hooks.yaml").read_text())
    (entry,) = [each["entry"] for each in hooks if each["id"] == hook]
    program, *words = entry.split()
    assert program == "task-resources"
    command = [sys.executable, "-m", "webhook", *words, *arguments]
    done = subprocess.run(command, cwd=EXAMPLES, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
