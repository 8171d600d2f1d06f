"""The page about Flyte translates a configuration, and the translation decides as Flyte would."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.deciding import container, patched, pod, review_body
from webhook.admission import decode
from webhook.decision import Decision
from webhook.policy import PolicySet
from webhook.projects import Scope
from webhook.scheduling_rules import Placing
from webhook.snapshot import Snapshot
from webhook.sources.policy_files import parse_policies

Json = dict[str, Any]

PAGE = Path(__file__).parents[2] / "docs" / "coming-from-flyte.md"
BLOCKS = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
CONFIGURATION, ATTRIBUTE = (yaml.safe_load(text) for text in BLOCKS[:2])
POLICIES: PolicySet = parse_policies(BLOCKS[2], file=PAGE.name)

PLATFORM = Scope("other-production", "other", "production")
PROJECT = Scope("flytesnacks-development", "flytesnacks", "development")

NAMES = {"gpu": "nvidia.com/gpu", "ephemeralStorage": "ephemeral-storage"}


@pytest.mark.parametrize(
    ("scope", "said"), [(PLATFORM, CONFIGURATION["task_resources"]), (PROJECT, ATTRIBUTE)], ids=["platform", "project"]
)
def test_defaults_and_limits_are_those_of_flyte(scope: Scope, said: Json) -> None:
    policy = POLICIES.effective(scope)
    limits = {NAMES.get(name, name): str(amount) for name, amount in said["limits"].items() if str(amount) != "0"}
    assert {name: bound.value.text for name, bound in policy.maximum.by_name} == limits
    assert {name: bound.value.text for name, bound in policy.default_request.items()} == said["defaults"]


def test_tasks_run_where_flyte_sends_them() -> None:
    flyte, rules = CONFIGURATION["plugins"]["k8s"], POLICIES.effective(PLATFORM).scheduling
    assert rules is not None
    [gpu] = rules.resources
    assert tolerations(gpu.placing) == flyte["resource-tolerations"][gpu.resource]
    assert tolerations(rules.interruptible.placing) == flyte["interruptible-tolerations"]
    assert tolerations(rules.defaults) == flyte["default-tolerations"]
    assert gpu.device is not None
    assert gpu.device.label.value == flyte["gpu-device-node-label"]
    assert gpu.partition is not None
    assert gpu.partition.label.value == flyte["gpu-partition-size-node-label"]
    for setting, key in (
        (rules.interruptible.requirement, "interruptible-node-selector-requirement"),
        (rules.interruptible.otherwise, "non-interruptible-node-selector-requirement"),
    ):
        assert setting is not None
        requirement = setting.value
        assert {"key": requirement.key, "operator": requirement.operator, "values": [*(requirement.values or ())]} == (
            flyte[key]
        )


def tolerations(placing: Placing) -> list[Json]:
    fields = ("key", "operator", "value", "effect")
    return [
        {field: value for field in fields if (value := getattr(toleration, field)) is not None}
        for toleration in placing.tolerations.value
    ]


def decided(task: Json, namespace: str) -> tuple[Json, Decision]:
    decision = Snapshot(POLICIES).decide(decode(review_body(task, namespace=namespace)))
    return patched(task, decision), decision


def test_the_zeros_that_flyte_writes_for_no_limit_become_its_defaults() -> None:
    """As Flyte does with `missingLimit: Request`: request and limit are the default."""
    zeros = {"cpu": "0", "memory": "0"}
    task, _ = decided(pod(container(limits=zeros, requests=zeros)), "other-production")
    expected = {"cpu": "500m", "memory": "500Mi"}
    assert task["spec"]["containers"][0]["resources"] == {"limits": expected, "requests": expected}


def test_what_flyte_added_to_an_interruptible_gpu_task_is_not_added_again() -> None:
    flyte = CONFIGURATION["plugins"]["k8s"]
    terms = [{"matchExpressions": [flyte["interruptible-node-selector-requirement"]]}]
    task = pod(
        container(limits={"cpu": "1", "memory": "1Gi", "nvidia.com/gpu": "1"}),
        labels={"interruptible": "true"},
        tolerations=[
            *flyte["resource-tolerations"]["nvidia.com/gpu"],
            *flyte["interruptible-tolerations"],
            *flyte["default-tolerations"],
        ],
        affinity={"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}},
    )
    _, decision = decided(task, "other-production")
    assert decision.outcome == "unchanged"
