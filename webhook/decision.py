"""`decide`: the one place that joins the rules of sections 4, 5 and 7.

Which rule lowered my cpu? The order is the one in `_decide_creation`: annotations (`annotations`), the pod level
(`pod_level`), each container (`resources`), pod totals (`pod_totals`), the pod level again. What a pod then asks for
decides where it runs (`scheduling`, `shared_memory`).
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec
from msgspec.structs import replace

from webhook.annotations import (
    APPLIED,
    NOTHING,
    NOTHING_ASKED,
    PRIMARY_CONTAINER,
    SHARED_MEMORY,
    Asked,
    asked_placement,
    asked_resources,
    primary_container,
)
from webhook.effective import EffectivePolicy, Mode
from webhook.explain import (
    Change,
    Denial,
    applied_again,
    applied_record,
    audit_annotations,
    change_of_shared_memory,
    changes_of,
    changes_of_placement,
    denial_message,
    fit_warnings,
    requested_before,
    warnings_of,
)
from webhook.patch import Operation, operations_of
from webhook.pod import Pod
from webhook.pod_level import bound_pod_level, fit_into_pod_level, write_pod_limits, write_pod_requests
from webhook.pod_totals import bound_totals
from webhook.projects import Scope
from webhook.quantity import Quantity, parse_json_quantity
from webhook.resize import bound_resize
from webhook.resource_names import COMPUTE_NAMES
from webhook.resources import (
    NO_POD_LEVEL,
    Case,
    ContainerResources,
    InvalidPod,
    Kind,
    Refusal,
    decide_container,
)
from webhook.result_check import caused_by_annotation, errors_of_ours, placement_errors
from webhook.review import Review
from webhook.scheduling import Placement, decide_placement, judge_placement
from webhook.shared_memory import SharedMemory, decide_shared_memory
from webhook.validity import FieldError, annotations_fit
from webhook.weight import MOST_CONTAINERS, SURELY_FEW, why_too_large

Endpoint = Literal["mutate", "validate"]
Outcome = Literal["unchanged", "changed", "denied", "skipped"]

# Of errors in our own result, which are a bug.
NAMED_ERRORS = 10


class Decision(msgspec.Struct, frozen=True, gc=False):
    """What is decided about a pod, and why.

    `outcome` is what the rules came to. `operations` is what is answered: empty unless the mode is Enforce.
    `record` is the changes as the `applied` annotation and the audit log have them: JSON of at most 8 KiB.
    `capacity` is what the change adds to (or takes from) the pod's requests, in nanos by resource.
    `invalid` is what the API server would have refused in our own result: a bug, and nothing is patched (R13).
    """

    outcome: Outcome
    mode: Mode = "Enforce"
    changes: tuple[Change, ...] = ()
    warnings: tuple[str, ...] = ()
    denial: Denial | None = None
    operations: tuple[Operation, ...] = ()
    audit_annotations: Mapping[str, str] = {}
    record: str = ""
    capacity: tuple[tuple[str, int], ...] = ()
    invalid: tuple[str, ...] = ()

    @property
    def is_enforced(self) -> bool:
        return self.mode == "Enforce"

    @property
    def refuses(self) -> bool:
        """Whether the pod is denied, and not only said to be."""
        return self.denial is not None and self.is_enforced


SKIPPED = Decision("skipped")


class _Ruling(msgspec.Struct):
    """What the rules made of a pod: its containers, last its pod level, if any; refusals; what to write down.

    `placement` and `shared_memory` are None where nothing is said about them.
    """

    containers: list[ContainerResources]
    case: Case
    warnings: Sequence[str] = ()
    primary: str | None = None
    placement: Placement | None = None
    shared_memory: SharedMemory | None = None

    def changes(self) -> tuple[Change, ...]:
        """Everything that was changed, one record each."""
        changes: list[Change] = []
        for container in self.containers:
            if container.reasons or container.renamed:
                changes += changes_of(container)
        if self.placement is not None and self.placement.additions:
            changes += changes_of_placement(self.placement)
        if self.shared_memory is not None:
            changes.append(change_of_shared_memory(self.shared_memory))
        return tuple(changes)

    def errors(self, pod: Pod) -> list[FieldError]:
        """What the API server would refuse of what was changed (R13)."""
        errors = errors_of_ours(pod, self.containers)
        return errors if self.placement is None else errors + placement_errors(pod, self.placement)


def decide(
    review: Review, policy: EffectivePolicy, *, policy_hash: str, scope: Scope, endpoint: Endpoint = "mutate"
) -> Decision:
    """What happens to the reviewed pod under the policy of its namespace.

    `validate` judges maxima only and never patches (Z2). Raises InvalidPod for a pod that no API server would send.
    """
    pod = review.pod
    is_creation = review.is_creation
    if pod is None or not (is_creation or review.is_resize) or review.is_mirror:
        return SKIPPED
    if policy.selections is not None:
        policy = policy.for_pod(pod.labels)
    mode = policy.mode.value
    judging = endpoint == "validate"
    # Where nothing is enforced, what `mutate` would have changed is no reason to refuse.
    if mode == "Off" or (judging and mode != "Enforce"):
        return Decision("skipped", mode)
    case = Case(policy, deny=judging or policy.on_exceed.value == "Deny", judging=judging)
    if review.too_large is not None:
        ruling = _too_large(review.too_large, case)
    elif is_creation:
        ruling = _decide_creation(review, pod, case)
    else:
        ruling = _decide_resize(pod, review.old_pod, case)
    if ruling.case.refusals:
        return _refused(ruling, policy_hash, scope)
    changes = () if judging else ruling.changes()
    if not changes:
        return _unchanged(ruling, mode, policy_hash)
    invalid = ruling.errors(pod)
    if invalid:
        return _invalid(review, ruling, invalid, policy_hash, scope)
    return _changed(review, ruling, changes, policy_hash)


def _too_large(reason: str, case: Case) -> _Ruling:
    """Nobody waits for a decision about it, which could come too late to bound the pod (Bounded work)."""
    case.refusals.append(Refusal("too-large", f"pod: {reason}: too much to be decided about"))
    return _Ruling([], case)


def _decide_creation(review: Review, pod: Pod, case: Case) -> _Ruling:
    spec = pod.spec
    if len(spec.containers or ()) + len(spec.init_containers or ()) > MOST_CONTAINERS:
        return _too_large(f"more than {MOST_CONTAINERS} containers", case)
    primary, error = primary_container(pod)
    regular = _containers(pod, primary)
    containers = regular if spec.resources is None else [*regular, _pod_level(pod)]
    aliases = case.policy.aliases
    alias_names, amounts = aliases.keys(), 0
    for container in containers:
        amounts += len(container.requests)
        if not alias_names.isdisjoint(container.requests):
            conflicts = container.resolve_aliases(aliases)
            case.refusals.extend(conflicts if not case.judging else ())
    asked = NOTHING_ASKED if case.judging else asked_resources(pod, primary, aliases)
    amounts += asked.amounts
    if (
        len(containers) * amounts > SURELY_FEW
        or spec.affinity is not None
        or (spec.tolerations is not None and len(spec.tolerations) > SURELY_FEW)
    ) and (reason := why_too_large(pod, containers, amounts, asked)) is not None:
        return _too_large(reason, case)
    if error and not case.judging:
        case.refusals.append(Refusal("annotation", error))
    if asked.errors:
        case.refusals.extend(Refusal("annotation", text) for text in asked.errors)
    _refuse_claims(pod, containers, case)
    overhead = _overhead(pod)

    pod_resources = None if spec.resources is None or pod.is_windows else containers[-1]
    pod_level = NO_POD_LEVEL
    if pod_resources is not None:
        running = sum(container.kind != "init" for container in regular)
        pod_level = bound_pod_level(pod_resources, overhead, running, case)
    for container in regular:
        name = container.name
        decide_container(container, case, pod_level, asked.requests.get(name, NOTHING), asked.limits.get(name, NOTHING))
    bound_totals(regular, pod_level, overhead, case)
    if pod_resources is not None and not case.judging:
        write_pod_limits(pod_resources, regular)
        fit_into_pod_level(pod_resources, regular, case)
        write_pod_requests(pod_resources, regular)
    ruling = _Ruling(containers, case, asked.warnings, primary)
    if not case.judging:
        _decide_placement(pod, ruling, asked, has_node=review.is_of_daemon_set)
    return ruling


def _decide_placement(pod: Pod, ruling: _Ruling, annotated: Asked, *, has_node: bool) -> None:
    """G1 to G6. To a pod that has its node nothing is added: its controller would make it anew, forever (G8)."""
    asked, case = asked_placement(pod, has_node=has_node), ruling.case
    if asked.errors:
        case.refusals.extend(Refusal("annotation", text) for text in asked.errors)
    if has_node:
        ruling.warnings = [*ruling.warnings, *judge_placement(pod, ruling.containers, asked, case, annotated)]
    else:
        placement = ruling.placement = decide_placement(pod, ruling.containers, asked, case, annotated)
        if placement is not None and (placement.warnings or placement.objections):
            ruling.warnings = [*ruling.warnings, *placement.warnings, *placement.objections]
    if asked.shared_memory is None:
        return
    if pod.is_windows:
        text = f"annotation {SHARED_MEMORY}: Windows pods get no shared memory, it is ignored"
        ruling.warnings = [*ruling.warnings, text]
        return
    for container in ruling.containers:
        if container.kind == "primary":
            ruling.shared_memory = decide_shared_memory(pod, container, asked.shared_memory, case)
            break


def _decide_resize(pod: Pod, old: Pod | None, case: Case) -> _Ruling:
    for each in (pod, old or pod):
        if len(each.spec.containers or ()) + len(each.spec.init_containers or ()) > MOST_CONTAINERS:
            return _too_large(f"more than {MOST_CONTAINERS} containers", case)
    containers = [*_containers(pod, primary_container(pod)[0]), _pod_level(pod)]
    amounts = sum(len(container.requests) for container in containers)
    if (reason := why_too_large(pod, containers, amounts, NOTHING_ASKED)) is not None:
        return _too_large(reason, case)
    if old is not None:
        if pod.spec.resources is None:
            containers[-1] = _pod_level(old)  # as the API server fills it in
        old_containers = [*_containers(old, primary_container(old)[0]), _pod_level(old)]
        bound_resize(containers, old_containers, _overhead(pod), case)
    return _Ruling(containers, case)


def _containers(pod: Pod, primary: str) -> list[ContainerResources]:
    """Every container in its class (A5), regular ones first."""
    spec = pod.spec
    containers = []
    for index, container in enumerate(spec.containers or ()):
        kind: Kind = "primary" if container.name == primary else "regular"
        containers.append(ContainerResources(container.name, f"/spec/containers/{index}", kind, container.resources))
    for index, container in enumerate(spec.init_containers or ()):
        kind = "sidecar" if container.is_sidecar else "init"
        containers.append(
            ContainerResources(container.name, f"/spec/initContainers/{index}", kind, container.resources)
        )
    return containers


def _pod_level(pod: Pod) -> ContainerResources:
    return ContainerResources("", "/spec", "pod", pod.spec.resources)


def _overhead(pod: Pod) -> Mapping[str, Quantity]:
    """The pod's overhead. Raises InvalidPod."""
    if not pod.spec.overhead:
        return NOTHING
    overhead = {}
    for name, raw in pod.spec.overhead.items():
        try:
            overhead[name] = parse_json_quantity(bytes(raw))
        except ValueError as error:
            raise InvalidPod(f"spec.overhead[{name[:80]}]: {error}") from error
    return overhead


def _refuse_claims(pod: Pod, containers: Sequence[ContainerResources], case: Case) -> None:
    """`pod.resourceClaims: Deny`: no devices by way of dynamic resource allocation."""
    setting = case.policy.resource_claims
    if setting.value != "Deny":
        return
    others = [container for container in containers if not COMPUTE_NAMES.issuperset(container.requests)]
    names = dict.fromkeys(
        [name for container in others for name in container.requests if name.startswith("deviceclass.")]
    )
    if pod.spec.resource_claims:
        names["spec.resourceClaims"] = None
    if names:
        more = f" and {len(names) - 4} more" if len(names) > 4 else ""
        text = f"pod: {', '.join([*names][:4])}{more}: resource claims may not be used"
        case.refusals.append(Refusal("resource-claims", text, setting.origin))


def _refused(ruling: _Ruling, policy_hash: str, scope: Scope) -> Decision:
    refusals, mode = ruling.case.refusals, ruling.case.policy.mode.value
    message = denial_message(refusals, scope, ruling.case.policy)
    would = [f"would be denied: {refusal.text}" for refusal in refusals] if mode == "Warn" else []
    warnings = () if mode == "Audit" else fit_warnings([*would, *ruling.warnings], refusals.more if would else 0)
    return Decision(
        "denied",
        mode,
        warnings=warnings,
        denial=Denial(message, refusals[0].reason),
        audit_annotations=audit_annotations(mode, policy_hash, denial=message),
    )


def _unchanged(ruling: _Ruling, mode: Mode, policy_hash: str) -> Decision:
    warnings = fit_warnings(ruling.warnings) if ruling.warnings and mode != "Audit" else ()
    return Decision("unchanged", mode, warnings=warnings, audit_annotations={"mode": mode, "policy": policy_hash})


def _invalid(review: Review, ruling: _Ruling, found: Sequence[FieldError], policy_hash: str, scope: Scope) -> Decision:
    """What an annotation caused is denied with that reason; the rest is our bug, and never patched (R13)."""
    annotated = caused_by_annotation(found, ruling.containers)
    pod, policy = review.pod, ruling.case.policy
    assert pod is not None
    if annotated:
        ruling.case.refusals.extend(Refusal("annotation", f"as annotated, {error}") for error in annotated)
        return _refused(ruling, policy_hash, scope)
    judged = Case(policy, deny=True, judging=True)
    as_it_came = (
        _decide_resize(pod, review.old_pod, judged) if review.is_resize else _decide_creation(review, pod, judged)
    )
    decision = (
        _refused(as_it_came, policy_hash, scope)
        if judged.refusals
        else _unchanged(as_it_came, policy.mode.value, policy_hash)
    )
    return replace(decision, invalid=tuple(map(str, found[:NAMED_ERRORS])))


def _changed(review: Review, ruling: _Ruling, changes: tuple[Change, ...], policy_hash: str) -> Decision:
    mode = ruling.case.policy.mode.value
    pod = review.pod
    assert pod is not None
    operations: tuple[Operation, ...] = ()
    record = applied_record(changes, policy_hash)
    if mode == "Enforce":
        annotations = {} if review.is_resize else _annotations(pod, ruling, changes, policy_hash, record)
        operations = operations_of(pod, ruling.containers, annotations, ruling.placement, ruling.shared_memory)
    warnings, more = ([], 0) if mode == "Audit" else warnings_of(changes, mode)
    return Decision(
        "changed",
        mode,
        changes,
        () if mode == "Audit" else fit_warnings([*warnings, *ruling.warnings], more),
        operations=operations,
        audit_annotations=audit_annotations(mode, policy_hash, record=record, was_patched=APPLIED in pod.annotations),
        record=record,
        capacity=_capacity(ruling.containers),
    )


def _annotations(pod: Pod, ruling: _Ruling, changes: Sequence[Change], policy_hash: str, record: str) -> dict[str, str]:
    """`applied` and, where it is absent, the primary container's name (A4, E2), as far as there is room."""
    given = pod.annotations
    earlier = given.get(APPLIED)
    written = {APPLIED: record}
    if earlier:
        written[APPLIED] = applied_again(earlier, changes, policy_hash, pod, ruling.containers)
    if ruling.primary and PRIMARY_CONTAINER not in given:
        written[PRIMARY_CONTAINER] = ruling.primary
    for key in (APPLIED, PRIMARY_CONTAINER):
        if annotations_fit({**given, **written}):
            break
        written.pop(key, None)
    return written


def _capacity(containers: Sequence[ContainerResources]) -> tuple[tuple[str, int], ...]:
    delta: dict[str, int] = {}
    for container in containers:
        for side, resource in container.reasons:
            if side == "requests":
                before = requested_before(container, resource)
                added = container.requests[resource].nanos - (0 if before is None else before.nanos)
                delta[resource] = delta.get(resource, 0) + added
    return tuple([(resource, nanos) for resource, nanos in delta.items() if nanos])
