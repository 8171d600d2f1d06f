"""Section 7's table of modes, and who is left alone."""

import pytest

from tests.unit.deciding import container, decided, pod, sidecar

TOO_MUCH = pod(container(limits={"cpu": "8"}))
CAP = "container: {max: {cpu: '4'}}"
DENY = "{onExceed: Deny, container: {max: {cpu: '4'}}}"


def in_mode(mode: str, spec: str) -> str:
    return f"{{mode: {mode}, onExceed: {'Deny' if 'Deny' in spec else 'Cap'}, container: {{max: {{cpu: '4'}}}}}}"


MODES = [
    # mode, outcome, patch, warnings, refused, audit annotations
    ("Enforce", "changed", True, True, False, True),
    ("Warn", "changed", False, True, False, True),
    ("Audit", "changed", False, False, False, True),
    ("Off", "skipped", False, False, False, False),
]


@pytest.mark.parametrize(("mode", "outcome", "patch", "warnings", "refused", "audit"), MODES, ids=[m[0] for m in MODES])
def test_a_change_is_answered_as_the_mode_says(
    mode: str, outcome: str, patch: bool, warnings: bool, refused: bool, audit: bool
) -> None:
    decision = decided(TOO_MUCH, in_mode(mode, CAP))
    assert decision.outcome == outcome
    assert bool(decision.operations) == patch
    assert bool(decision.warnings) == warnings
    assert (decision.denial is not None) == refused
    assert ("changes" in decision.audit_annotations) == audit


@pytest.mark.parametrize("mode", ["Warn", "Audit"])
def test_without_enforcement_nothing_is_refused(mode: str) -> None:
    decision = decided(TOO_MUCH, in_mode(mode, DENY))
    assert decision.outcome == "denied"
    assert not decision.is_enforced
    assert bool(decision.warnings) == (mode == "Warn")


@pytest.mark.parametrize("mode", ["Warn", "Audit"])
def test_without_enforcement_the_second_look_does_not_judge_what_was_never_bounded(mode: str) -> None:
    decision = decided(TOO_MUCH, in_mode(mode, CAP), endpoint="validate")
    assert (decision.outcome, decision.denial, decision.warnings) == ("skipped", None, ())


def test_warnings_say_would_in_mode_warn() -> None:
    decision = decided(TOO_MUCH, in_mode("Warn", CAP))
    assert decision.warnings == (
        "main: limits.cpu would be changed from 8 to 4 (maximum, policy policy-0)",
        "main: requests.cpu would be changed from 8 to 4 (maximum, policy policy-0)",
    )


SCHEDULED = """
scheduling:
  resources:
  - {resource: nvidia.com/gpu, tolerations: [{key: gpu, operator: Exists}], nodeSelector: {group: gpu}}
  interruptible: {requirement: {key: life, operator: In, values: [spot]}}
  defaults: {nodeSelector: {os: linux}}
"""
GPU_TASK = pod(
    container(limits={"nvidia.com/gpu": "1"}),
    annotations={"task-resources.io/interruptible": "true", "task-resources.io/shared-memory": "1Gi"},
)


@pytest.mark.parametrize(
    ("mode", "would"),
    [("Enforce", "added"), ("Warn", "would be added"), ("Audit", None)],
    ids=["Enforce", "Warn", "Audit"],
)
def test_what_is_added_for_scheduling_is_warned_of_as_the_mode_says(mode: str, would: str | None) -> None:
    decision = decided(GPU_TASK, f"mode: {mode}{SCHEDULED}")
    assert (decision.outcome, bool(decision.operations)) == ("changed", mode == "Enforce")
    assert len(decision.changes) == 5
    assert decision.warnings == (
        ()
        if would is None
        else (
            f"pod: toleration gpu op=Exists {would} (asks for nvidia.com/gpu, policy policy-0)",
            f"pod: node selector group=gpu {would} (asks for nvidia.com/gpu, policy policy-0)",
            f"pod: node affinity life In [spot] {would} (interruptible, policy policy-0)",
            f"main: /dev/shm emptyDir Memory 1Gi {would} (shared-memory)",
        )
    )


@pytest.mark.parametrize("mode", ["Warn", "Audit"])
def test_without_enforcement_a_pod_is_not_refused_its_place(mode: str) -> None:
    decision = decided(pod(annotations={"task-resources.io/accelerator": "A100"}), f"mode: {mode}{SCHEDULED}")
    assert (decision.outcome, decision.is_enforced, decision.operations) == ("denied", False, ())
    assert [warning.partition(":")[0] for warning in decision.warnings] == (
        ["would be denied"] if mode == "Warn" else []
    )


def test_in_mode_off_nobody_is_placed() -> None:
    assert decided(GPU_TASK, f"mode: Off{SCHEDULED}").outcome == "skipped"


def test_warnings_of_a_refusal_name_every_value_in_mode_warn() -> None:
    decision = decided(TOO_MUCH, in_mode("Warn", DENY))
    assert decision.warnings == (
        'would be denied: container "main": limits.cpu 8 is above the maximum 4',
        'would be denied: container "main": requests.cpu 8 is above the maximum 4',
    )


@pytest.mark.parametrize(("mode", "count"), [("Enforce", 1), ("Warn", 3), ("Audit", 0)])
def test_a_refused_pod_gets_the_other_warnings_too(mode: str, count: int) -> None:
    task = pod(container(limits={"cpu": "8"}), annotations={"task-resources.io/limit": "cpu=2"})
    assert len(decided(task, in_mode(mode, DENY)).warnings) == count


def test_defaults_are_no_warning() -> None:
    decision = decided(pod(), "container: {defaultRequest: {cpu: 500m}, max: {cpu: '4'}}")
    assert (decision.outcome, decision.warnings) == ("changed", ())


def test_more_than_ten_warnings_end_with_how_many_more() -> None:
    task = pod(*(container(f"c{index}", limits={"cpu": "8"}, requests={"cpu": "1"}) for index in range(14)))
    warnings = decided(task, CAP).warnings
    assert (len(warnings), warnings[-1]) == (11, "and 4 more")


def test_no_warning_is_longer_than_120_characters_or_has_control_characters() -> None:
    task = pod(container("x" * 63 + "\n", limits={"cpu": "8", "example.com/" + "y" * 60: "3"}))
    spec = "container: {max: {cpu: '4', 'example.com/*': 1}}"
    for warning in decided(task, spec).warnings:
        assert len(warning) <= 120
        assert warning.isprintable()


def test_a_denial_fits_into_an_event() -> None:
    task = pod(*(container(f"container-{index}", limits={"cpu": "8"}) for index in range(100)))
    denial = decided(task, "{onExceed: Deny, contact: '" + "é" * 200 + "', container: {max: {cpu: '4'}}}").denial
    assert denial is not None
    assert len(denial.message.encode()) <= 900
    assert "more" in denial.message


LEFT_ALONE = [
    ("update", {"operation": "UPDATE"}),
    ("delete", {"operation": "DELETE", "object": None}),
    ("status", {"operation": "UPDATE", "subResource": "status"}),
    ("ephemeral-containers", {"operation": "UPDATE", "subResource": "ephemeralcontainers"}),
    ("binding", {"subResource": "binding", "kind": {"group": "", "version": "v1", "kind": "Binding"}}),
    ("not-a-pod", {"kind": {"group": "apps", "version": "v1", "kind": "Deployment"}}),
]


@pytest.mark.parametrize("request_fields", [case[1] for case in LEFT_ALONE], ids=[case[0] for case in LEFT_ALONE])
@pytest.mark.parametrize("endpoint", ["mutate", "validate"])
def test_what_is_no_creation_or_resize_of_a_pod_is_allowed(request_fields: dict[str, object], endpoint: str) -> None:
    decision = decided(TOO_MUCH, CAP, endpoint=endpoint, **request_fields)  # type: ignore[arg-type]
    assert (decision.outcome, decision.operations) == ("skipped", ())


def test_a_mirror_pod_is_left_alone_only_when_a_node_creates_it() -> None:
    mirror = pod(container(limits={"cpu": "8"}), annotations={"kubernetes.io/config.mirror": "x"})
    node = {"username": "system:node:n", "groups": ["system:nodes"]}
    assert decided(mirror, CAP, userInfo=node).outcome == "skipped"
    assert decided(mirror, CAP).outcome == "changed"


def test_ephemeral_containers_are_never_touched() -> None:
    task = pod(container(limits={"cpu": "1"}), ephemeralContainers=[container("debug", limits={"cpu": "9"})])
    assert decided(task, CAP).outcome == "unchanged"


def test_a_second_review_writes_its_changes_under_a_key_of_its_own() -> None:
    """The API server refuses a second, different value for an audit annotation (E4)."""
    task = pod(container(limits={"cpu": "8"}), sidecar("late"), annotations={"task-resources.io/applied": "{}"})
    assert set(decided(task, CAP).audit_annotations) == {"mode", "policy", "changes-again"}
