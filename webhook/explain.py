"""Explaining a decision (section 8): change records, warnings, denials, the `applied` annotation, audit annotations."""

from collections.abc import Sequence
from typing import Literal

import msgspec

from webhook.effective import EffectivePolicy, Mode
from webhook.node_affinity import required_terms, requirement_text
from webhook.pod import Pod
from webhook.printable import LONGEST_CONTAINER_NAME, shown
from webhook.projects import Scope
from webhook.quantity import Quantity
from webhook.resources import ContainerResources, Reason, Refusals, Side
from webhook.scheduling import Placement, PlacementField
from webhook.shared_memory import MOUNT_PATH, VOLUME, SharedMemory
from webhook.tolerations import toleration_text

WARNING_CHARACTERS = 120
WARNINGS = 10
DENIAL_BYTES = 900
APPLIED_BYTES = 8 * 1024
# A record takes 80 bytes at least: of more, not all fit.
RECORDS = APPLIED_BYTES // 80

# Filling in what a pod leaves open is what it expects; nobody wants a warning for it (E3).
SILENT_RULES: frozenset[str] = frozenset({"default", "missing-limit", "scheduling-default", "not-interruptible"})

ALIAS = Reason("alias")


class Change(msgspec.Struct, frozen=True, rename={"before": "from", "after": "to"}, omit_defaults=True, gc=False):
    """One value that was changed, and why (E1). `container` is None for the pod; `to` is None for a removal.

    What was added for scheduling has the field of the pod's spec as its side, and the resource that called for it.
    """

    container: str | None
    resource: str
    side: Side | PlacementField | Literal["volumes"]
    before: str | None
    after: str | None
    rule: str
    asked: str | None = None
    policy: str = ""
    scope: str = ""


class Applied(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """The content of the `applied` annotation (E2)."""

    policy: str
    changes: tuple[Change, ...] = ()
    more: int = 0


_encode = msgspec.json.Encoder().encode


def changes_of(container: ContainerResources) -> list[Change]:
    """What the rules changed, one record a value; nothing for a value that came out as it went in."""
    reasons, renamed = container.reasons, container.renamed
    name = name_in_records(container)
    changes = []
    touched = {**dict.fromkeys(renamed, ALIAS), **reasons} if renamed else reasons
    for (side, resource), last_reason in touched.items():
        if side == "limits":
            before, after = container.before_limits.get(resource), container.limits.get(resource)
        else:
            before, after = requested_before(container, resource), container.requests.get(resource)
        reason = last_reason
        if before is None if after is None else before is not None and before.nanos == after.nanos:
            if (side, resource) not in renamed:
                continue
            reason, before = ALIAS, after
        asked, origin = reason.asked, reason.origin
        if asked is not None and before is not None and asked.nanos == before.nanos:
            asked = None
        changes.append(
            Change(
                name,
                resource,
                side,
                None if before is None else before.text,
                None if after is None else after.text,
                reason.rule,
                None if asked is None else asked.text,
                origin.policy,
                origin.scope,
            )
        )
    return changes


def name_in_records(container: ContainerResources) -> str | None:
    """The container's name, cut where it is longer than Kubernetes allows; None for the pod level."""
    return None if container.kind == "pod" else shown(container.name, LONGEST_CONTAINER_NAME)


def changes_of_placement(placement: Placement) -> list[Change]:
    """One record a toleration, a label of the node selector and a requirement of node affinity."""
    return [
        Change(
            None,
            cause.resource,
            addition.field,
            None,
            addition.text,
            cause.rule,
            policy=cause.origin.policy,
            scope=cause.origin.scope,
        )
        for addition in placement.additions
        for cause in [addition.cause]
    ]


def change_of_shared_memory(shared_memory: SharedMemory) -> Change:
    """The record of a volume for `/dev/shm`."""
    size, asked = shared_memory.size, shared_memory.asked
    after = "emptyDir Memory" if size is None else f"emptyDir Memory {size}"
    return Change(
        name_in_records(shared_memory.container),
        "shared-memory",
        "volumes",
        None,
        after,
        "shared-memory",
        None if asked is None else asked.text,
    )


def requested_before(container: ContainerResources, resource: str) -> Quantity | None:
    """The request the pod came with; an absent one beside a limit was that limit, but at the pod level."""
    before = container.before_requests.get(resource)
    if before is None and container.kind != "pod":
        return container.before_limits.get(resource)
    return before


def warnings_of(changes: Sequence[Change], mode: Mode) -> tuple[list[str], int]:
    """One warning a change, none for what was filled in (E3): the first ones, and how many more there would be."""
    texts: list[str] = []
    more = 0
    for change in changes:
        if change.rule in SILENT_RULES:
            continue
        if len(texts) <= WARNINGS:
            texts.append(_warning(change, mode))
        else:
            more += 1
    return texts, more


_ADDED = {
    "tolerations": "toleration",
    "nodeSelector": "node selector",
    "nodeAffinity": "node affinity",
    "volumes": MOUNT_PATH,
}


def _warning(change: Change, mode: Mode) -> str:
    rule, before, after = change.rule, change.before, change.after
    would = "would be " if mode == "Warn" else ""
    why = rule if change.asked is None else f"asked {change.asked}, {rule}"
    policy = f", policy {change.policy}" if change.policy else ""
    if change.side in _ADDED:
        why = f"asks for {change.resource}" if rule == "resource" else why
        return f"{change.container or 'pod'}: {_ADDED[change.side]} {after} {would}added ({why}{policy})"
    what = f"{change.container or 'pod'}: {change.side}.{change.resource} {would}"
    if rule == "alias":
        return f"{what}written for its alias ({why})"
    if after is None:
        return f"{what}removed ({why})"
    if before is None:
        return f"{what}set to {after} ({why}{policy})"
    return f"{what}changed from {before} to {after} ({why}{policy})"


def fit_warnings(warnings: Sequence[str], more: int = 0) -> tuple[str, ...]:
    """At most ten, each at most 120 characters, without control characters and repetitions; then how many are left out.

    The API server drops a warning with a control character, and all of them past 4,096 characters together.
    """
    texts = tuple(dict.fromkeys(map(_fit_warning, warnings)))
    if len(texts) <= WARNINGS and not more:
        return texts
    return (*texts[:WARNINGS], f"and {more + max(0, len(texts) - WARNINGS)} more")


def _fit_warning(text: str) -> str:
    return shown(text, WARNING_CHARACTERS)


def denial_message(refusals: Refusals, scope: Scope, policy: EffectivePolicy) -> str:
    """What was asked, what is allowed, for which project, by which policy, and how to ask for more (E7).

    At most 900 bytes, because the event that a controller makes of it holds 1 KiB.
    """
    policies = dict.fromkeys(refusal.origin.policy for refusal in refusals if refusal.origin.policy)
    parts = [_scope_in_words(scope)]
    if policies:
        parts.append("policy " + ", ".join(policies))
    if policy.contact is not None and policies:
        parts.append(f"to ask for more: {policy.contact.value}")
    tail = _fit_bytes(shown(f" ({'; '.join(parts)})", DENIAL_BYTES), DENIAL_BYTES // 2)
    room = DENIAL_BYTES - len(tail.encode())
    texts = list(dict.fromkeys(shown(refusal.text, DENIAL_BYTES) for refusal in refusals))
    return _joined(texts, refusals.more, room) + tail


def _scope_in_words(scope: Scope) -> str:
    if scope.project is None and scope.domain is None:
        return f"namespace {shown(scope.namespace)}"
    words = [f"project {shown(scope.project)}"] if scope.project else []
    return ", ".join([*words, f"domain {shown(scope.domain)}"] if scope.domain else words)


def _joined(texts: Sequence[str], more: int, room: int) -> str:
    """As many texts as there is room for, of one as much as there is, and how many are left out."""
    for count in range(len(texts), 0, -1):
        left_out = len(texts) - count + more
        rest = f"; and {left_out} more" if left_out else ""
        text = "; ".join(texts[:count]) + rest
        if count == 1:
            return _fit_bytes(texts[0], room - len(rest)) + rest
        if len(text.encode()) <= room:
            return text
    return ""


def _fit_bytes(text: str, room: int) -> str:
    encoded = text.encode()
    return text if len(encoded) <= room else encoded[: room - 3].decode(errors="ignore") + "…"


def applied_record(changes: tuple[Change, ...], policy_hash: str) -> str:
    """What was changed, as compact JSON of at most 8 KiB; the last changes are left out (E2)."""
    return _bounded(policy_hash, changes, new=len(changes))


def applied_again(
    earlier: str, changes: Sequence[Change], policy_hash: str, pod: Pod, containers: Sequence[ContainerResources]
) -> str:
    """The same, with the records of an earlier review whose value still is the pod's before it."""
    kept = _still_true(earlier, changes, pod, containers)
    return _bounded(policy_hash, (*kept, *changes), new=len(changes))


def _bounded(policy_hash: str, records: tuple[Change, ...], *, new: int) -> str:
    count = min(len(records), RECORDS)
    while True:
        more = min(len(records) - count, new)
        text = _encode(Applied(policy_hash, records[:count], more))
        if len(text) <= APPLIED_BYTES or not count:
            return text.decode()
        count = min(count - 1, count * APPLIED_BYTES // len(text))


def _still_true(
    earlier: str, changes: Sequence[Change], pod: Pod, containers: Sequence[ContainerResources]
) -> list[Change]:
    if len(earlier) > APPLIED_BYTES:
        return []
    try:
        applied = msgspec.json.decode(earlier, type=Applied)
    except (msgspec.DecodeError, UnicodeError):
        return []  # anybody may write the annotation; it is information, never evidence
    superseded = {(change.container, change.resource, change.side) for change in changes if change.side not in _ADDED}
    by_name = {name_in_records(container): container for container in containers}
    present = _present(pod)
    return [
        change
        for change in applied.changes
        if (
            (change.container, change.side, None if change.side == "volumes" else change.after) in present
            if change.side in _ADDED
            else (change.container, change.resource, change.side) not in superseded
            and _is_current(change, by_name.get(change.container))
        )
    ]


def _present(pod: Pod) -> set[tuple[str | None, str, str | None]]:
    """Container, field and text of all that scheduling may have added, as records have it; a volume by its name."""
    spec = pod.spec
    found: list[tuple[str | None, str, str | None]] = [
        (None, "tolerations", toleration_text(toleration)) for toleration in spec.tolerations or ()
    ]
    found += [(None, "nodeSelector", f"{key}={value}") for key, value in (spec.node_selector or {}).items()]
    for term in required_terms(pod):
        found += [(None, "nodeAffinity", requirement_text(each)) for each in term.match_expressions or ()]
    for container in spec.containers or ():
        name = shown(container.name, LONGEST_CONTAINER_NAME)
        found += [(name, "volumes", None) for mount in container.volume_mounts or () if mount.name == VOLUME]
    return set(found)


def _is_current(change: Change, container: ContainerResources | None) -> bool:
    if container is None:
        return False
    now = (container.limits if change.side == "limits" else container.requests).get(change.resource)
    return (None if now is None else now.text) == change.after


def audit_annotations(
    mode: Mode, policy_hash: str, *, record: str | None = None, denial: str | None = None, was_patched: bool = False
) -> dict[str, str]:
    """What the audit log keeps (E4): deterministic, because the API server refuses a second, different value.

    A review of a pod that we patched before writes its record as `changes-again`.
    """
    annotations = {"mode": mode, "policy": policy_hash}
    if record is not None:
        annotations["changes-again" if was_patched else "changes"] = record
    if denial is not None:
        annotations["denial"] = denial
    return annotations


class Denial(msgspec.Struct, frozen=True):
    """Why a pod was refused: the message for people, and a short label for metrics."""

    message: str
    reason: str
