"""Z1: a resize of a running pod may not raise anything above its maximum, and nothing is ever shrunk.

Only cpu and memory can be resized; annotations, defaults, minima and scheduling do not apply.
"""

from collections.abc import Mapping, Sequence

from webhook.effective import Bound
from webhook.pod_level import fit_into_pod_level, pod_level_bound
from webhook.quantity import ZERO, Quantity, quantity
from webhook.resources import Case, ContainerResources, Reason, Refusal, Side, lower, where
from webhook.setting import Setting
from webhook.usage import RequestsAndLimits, pod_usage, qos_class, stored_pod_level

RESIZABLE = ("cpu", "memory")
SIDES: tuple[Side, Side] = ("limits", "requests")

NOTHING = ContainerResources("", "", "pod", None)

Pairs = Sequence[tuple[ContainerResources, ContainerResources]]  # each container with what it was before


def bound_resize(
    new: Sequence[ContainerResources],
    old: Sequence[ContainerResources],
    overhead: Mapping[str, Quantity],
    case: Case,
) -> None:
    """Bounds what the resize raises or adds by the larger of the maximum and its old value in force.

    Both sequences hold the containers and last the pod level, which may say nothing.
    """
    for container in (*new, *old):
        container.requests = dict(container.before_requests)  # no key is added
    was = {container.name: container for container in old[:-1]}
    pod, containers, old_pod = new[-1], new[:-1], old[-1]
    old_containers = [was.get(container.name, NOTHING) for container in containers]
    pairs = list(zip(containers, old_containers, strict=True))
    old_level = _stored_level(old)[1]
    running = sum(container.kind in ("primary", "regular", "sidecar") for container in containers)
    for resource in RESIZABLE:
        bound = pod_level_bound(resource, overhead, running, case)
        if bound is not None:
            ceiling = _pod_ceiling(pod, old_pod, pairs, old_level, resource, bound, case)
            _bound(pod, old_pod, resource, bound, ceiling, None, case)
    for container, before in pairs:
        for resource in RESIZABLE:
            maximum = case.policy.maximum.get(resource)
            if maximum is not None:
                lives_by_the_pod = not _has_limit(container, resource) and not _has_limit(before, resource)
                ceiling = None if lives_by_the_pod else _ceiling(before, resource, old_level, maximum)
                _bound(container, before, resource, maximum, ceiling, pod.limits.get(resource), case)
    for resource in RESIZABLE:
        _refuse_filled_in(new, pairs, old_level, resource, case)
        _refuse_higher_total(containers, old_containers, pod, resource, overhead, case)
    _refuse_lowering(pod, containers, case)
    if any(container.reasons for container in new) and qos_class_of(new) != qos_class_of(old):
        _refuse_new_class(new, old, case)


def _stored_level(containers: Sequence[ContainerResources]) -> RequestsAndLimits:
    """The pod level, which is the last entry, as the API server stores it, as far as a resize may change it."""
    *others, pod = containers
    return stored_pod_level(
        (pod.requests, pod.limits),
        [_resizable(c) for c in others if c.kind in ("primary", "regular")],
        [(_resizable(c), c.kind == "sidecar") for c in others if c.kind in ("sidecar", "init")],
    )


def _resizable(container: ContainerResources) -> RequestsAndLimits:
    requests, limits = container.requests, container.limits
    return (
        {resource: requests[resource] for resource in RESIZABLE if resource in requests},
        {resource: limits[resource] for resource in RESIZABLE if resource in limits},
    )


def _has_limit(container: ContainerResources, resource: str) -> bool:
    """A zero limit is none, and one that is not computed with is one."""
    limit = container.limits.get(resource, ZERO)
    return bool(limit.nanos) or resource in container.left_alone


def _ceiling(
    before: ContainerResources, resource: str, old_level: Mapping[str, Quantity], maximum: Bound
) -> Bound | None:
    """The most that a container's limit in force may be; None where it was unlimited before.

    In force is its own limit or, where that is absent or zero, the pod level's.
    """
    if resource in before.left_alone:
        return None
    in_force = before.limits[resource] if _has_limit(before, resource) else old_level.get(resource, ZERO)
    return _larger(maximum, in_force) if in_force.nanos else None


def _pod_ceiling(
    pod: ContainerResources,
    old_pod: ContainerResources,
    pairs: Pairs,
    old_level: Mapping[str, Quantity],
    resource: str,
    bound: Bound,
    case: Case,
) -> Bound | None:
    """The most that the pod level's limit may be; None where it was unlimited before, or is refused already.

    That is what R11 allows it and, since no key is added to a container, what each container without a limit may have.
    """
    limit, old_limit = pod.limits.get(resource), old_pod.limits.get(resource)
    if old_limit is None:
        ceiling = bound  # a pod-level limit that a resize adds: by R11's bound alone
    elif old_limit.nanos:
        ceiling = _larger(bound, old_limit)
    else:
        return None
    least = _least_of_unlimited(pairs, old_level, resource, case)
    if least is None or least[0].value.nanos >= ceiling.value.nanos:
        return ceiling
    if limit is None or 0 < limit.nanos <= least[0].value.nanos or not case.deny:
        return least[0]
    _refuse_in_force(*least, limit, "", resource, case)
    return None


def _least_of_unlimited(
    pairs: Pairs, old_level: Mapping[str, Quantity], resource: str, case: Case
) -> tuple[Bound, ContainerResources] | None:
    """Of the containers without a limit the one that may have the least of the pod level, and how much that is.

    None where no such container is bounded. A limit that the resize sets to zero is bounded itself, and one that it
    takes away is the API server's to refuse.
    """
    maximum = case.policy.maximum.get(resource)
    if maximum is None:
        return None
    found = [
        (ceiling, container)
        for container, before in pairs
        if not _has_limit(container, resource) and not _has_limit(before, resource)
        if (ceiling := _ceiling(before, resource, old_level, maximum)) is not None
    ]
    return min(found, key=lambda each: each[0].value.nanos, default=None)


def _refuse_filled_in(
    new: Sequence[ContainerResources], pairs: Pairs, old_level: Mapping[str, Quantity], resource: str, case: Case
) -> None:
    """Where the resize leaves the pod's limit out and what Kubernetes fills in is more than a container may have."""
    pod = new[-1]
    if resource in pod.limits or resource in pod.left_alone:
        return
    least = _least_of_unlimited(pairs, old_level, resource, case)
    filled = _stored_level(new)[1].get(resource)
    if least is not None and filled is not None and not 0 < filled.nanos <= least[0].value.nanos:
        _refuse_in_force(*least, filled, ", which Kubernetes fills in,", resource, case)


def _refuse_in_force(
    ceiling: Bound, container: ContainerResources, limit: Quantity, note: str, resource: str, case: Case
) -> None:
    unlimited = "" if limit.nanos else " (unlimited)"
    text = (
        f"pod: limits.{resource} {limit}{unlimited}{note} is the limit of {where(container)}, "
        f"which has none of its own, and its maximum is {ceiling.value}"
    )
    case.refusals.append(Refusal("maximum", text, ceiling.origin))


def _bound(
    container: ContainerResources,
    before: ContainerResources,
    resource: str,
    bound: Bound,
    ceiling: Bound | None,
    pod_limit: Quantity | None,
    case: Case,
) -> None:
    """Bounds the limit by the ceiling, None being unlimited, and the request by the larger of bound and old request."""
    if resource in container.left_alone:
        if resource in container.uncomputable and _given(container, resource) != _given(before, resource):
            text = f"{where(container)}: {resource} is too large to compute with; the maximum is {bound.value}"
            case.refusals.append(Refusal("maximum", text, bound.origin))
        return
    limit = container.limits.get(resource)
    if limit is not None and ceiling is not None:
        _bound_limit(container, resource, limit, pod_limit, ceiling, case)
        limit = container.limits[resource]
    request = container.requests.get(resource)
    old_request = before.before_requests.get(resource, ZERO)
    most = _larger(bound, old_request)
    if request is not None and request.nanos > most.value.nanos:
        request = lower(container, "requests", resource, case, most, request)
    if (
        request is not None
        and limit is not None
        and request.nanos > limit.nanos
        and ("limits", resource) in container.reasons
    ):
        container.set("requests", resource, limit, Reason("request-within-limit"))


def _given(container: ContainerResources, resource: str) -> list[bytes | None]:
    """Limit and request as they came, in JSON."""
    given = container.given
    sides = () if given is None else (given.limits, given.requests)
    return [bytes(side[resource]) if side is not None and resource in side else None for side in sides]


def _bound_limit(
    container: ContainerResources,
    resource: str,
    limit: Quantity,
    pod_limit: Quantity | None,
    ceiling: Bound,
    case: Case,
) -> None:
    # A container whose limit is zero, none, has the pod's own.
    in_force = limit if limit.nanos or container.kind == "pod" or pod_limit is None else pod_limit
    if in_force.nanos > ceiling.value.nanos or not in_force.nanos:
        lower(container, "limits", resource, case, ceiling, limit)


def _larger(bound: Bound, old: Quantity) -> Bound:
    return bound if bound.value.nanos >= old.nanos else Setting(old, bound.origin)


def _refuse_higher_total(
    containers: Sequence[ContainerResources],
    old: Sequence[ContainerResources],
    pod: ContainerResources,
    resource: str,
    overhead: Mapping[str, Quantity],
    case: Case,
) -> None:
    """Over `pod.max` and above the old total; a limit that was absent or zero counts with its new value."""
    bound = case.policy.pod_maximum.get(resource)
    if bound is None:
        return
    extra = overhead.get(resource, ZERO).nanos
    for side in SIDES:
        if resource in pod.limits or (side == "requests" and resource in pod.requests):
            continue
        now = [_amount(container, side, resource) for container in containers]
        before = [_amount(container, side, resource) for container in old]
        if side == "limits":
            before = [then or amount for then, amount in zip(before, now, strict=True)]
        total = _total(containers, now) + extra
        if total > bound.value.nanos and total > _total(containers, before) + extra:
            text = (
                f"pod: the resize raises {side}.{resource} of all containers to "
                f"{quantity(total, bound.value.notation)}, above the pod's maximum {bound.value}"
            )
            case.refusals.append(Refusal("pod-maximum", text, bound.origin))


def _amount(container: ContainerResources, side: Side, resource: str) -> int:
    value = (container.limits if side == "limits" else container.requests).get(resource)
    return 0 if value is None else value.nanos


def _total(containers: Sequence[ContainerResources], amounts: Sequence[int]) -> int:
    pairs = list(zip(containers, amounts, strict=True))
    return pod_usage(
        [amount for container, amount in pairs if container.kind in ("primary", "regular")],
        [(amount, c.kind == "sidecar") for c, amount in pairs if c.kind in ("sidecar", "init")],
    )


def _refuse_lowering(pod: ContainerResources, containers: Sequence[ContainerResources], case: Case) -> None:
    """Where bounding the pod level would need a container lowered, the resize is refused (Z1)."""
    if not pod.reasons:
        return
    before = [(dict(c.limits), dict(c.requests)) for c in containers]
    fit_into_pod_level(pod, containers, case)
    for container, (limits, requests) in zip(containers, before, strict=True):
        if (limits, requests) != (container.limits, container.requests):
            reason = next(iter(pod.reasons.values()))
            text = f"{where(container)}: would have to be lowered to fit into the pod's own bounded resources"
            case.refusals.append(Refusal("pod-level", text, reason.origin))


def qos_class_of(containers: Sequence[ContainerResources]) -> str:
    """The QoS class of the pod as it is stored; the last entry is the pod level."""
    return qos_class([(c.requests, c.limits) for c in containers[:-1]], _stored_level(containers))


def _refuse_new_class(new: Sequence[ContainerResources], old: Sequence[ContainerResources], case: Case) -> None:
    reason = next(reason for container in new for reason in container.reasons.values())
    text = (
        f"pod: bounded by its maxima the resize would change the QoS class from {qos_class_of(old)} "
        f"to {qos_class_of(new)}, which Kubernetes does not allow"
    )
    case.refusals.append(Refusal("qos", text, reason.origin))
