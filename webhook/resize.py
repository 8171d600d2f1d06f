"""Z1: a resize of a running pod may not raise anything above its maximum, and nothing is ever shrunk.

Only cpu and memory can be resized; annotations, defaults, minima and scheduling do not apply.
"""

from collections.abc import Mapping, Sequence

from webhook.effective import Bound
from webhook.pod_level import fit_into_pod_level, pod_level_bound
from webhook.quantity import ZERO, Quantity, quantity
from webhook.resources import Case, ContainerResources, Reason, Refusal, Side, lower, where
from webhook.setting import Setting
from webhook.usage import pod_usage, qos_class

RESIZABLE = ("cpu", "memory")
SIDES: tuple[Side, Side] = ("limits", "requests")

NOTHING = ContainerResources("", "", "pod", None)


def bound_resize(
    new: Sequence[ContainerResources],
    old: Sequence[ContainerResources],
    overhead: Mapping[str, Quantity],
    case: Case,
) -> None:
    """Bounds what the resize raises or adds by the larger of the maximum and its old value.

    Both sequences hold the containers and last the pod level, which may say nothing.
    """
    was = {(container.kind == "pod", container.name): container for container in old}
    pod, containers = new[-1], new[:-1]
    running = sum(container.kind in ("primary", "regular", "sidecar") for container in containers)
    for container in (pod, *containers):
        container.requests = dict(container.before_requests)  # no key is added
        before = was.get((container.kind == "pod", container.name), NOTHING)
        for resource in RESIZABLE:
            if container.kind == "pod":
                bound = pod_level_bound(resource, overhead, running, case)
            else:
                bound = case.policy.maximum.get(resource)
            if bound is not None:
                _bound(container, before, pod.limits.get(resource), resource, bound, case)
    old_containers = [was.get((False, container.name), NOTHING) for container in containers]
    for resource in RESIZABLE:
        _refuse_higher_total(containers, old_containers, pod, resource, overhead, case)
    _refuse_lowering(pod, containers, case)
    if any(container.reasons for container in new) and qos_class_of(new) != qos_class_of(old):
        _refuse_new_class(new, old, case)


def _bound(
    container: ContainerResources,
    before: ContainerResources,
    pod_limit: Quantity | None,
    resource: str,
    bound: Bound,
    case: Case,
) -> None:
    if resource in container.left_alone:
        if resource in container.uncomputable and _given(container, resource) != _given(before, resource):
            text = f"{where(container)}: {resource} is too large to compute with; the maximum is {bound.value}"
            case.refusals.append(Refusal("maximum", text, bound.origin))
        return
    limit, old_limit = container.limits.get(resource), before.limits.get(resource)
    if limit is not None:
        _bound_limit(container, resource, limit, old_limit, pod_limit, bound, case)
        limit = container.limits[resource]
    request = container.requests.get(resource)
    old_request = before.before_requests.get(resource, ZERO)
    ceiling = _larger(bound, old_request)
    if request is not None and request.nanos > ceiling.value.nanos:
        request = lower(container, "requests", resource, case, ceiling, request)
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
    old_limit: Quantity | None,
    pod_limit: Quantity | None,
    bound: Bound,
    case: Case,
) -> None:
    if old_limit is None and container.kind == "pod":
        ceiling = bound  # a pod-level limit that a resize adds: by R11's bound alone
    elif old_limit is None or not old_limit.nanos:
        return  # there was no limit, so this one is lower
    else:
        ceiling = _larger(bound, old_limit)
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
    """The pod's QoS class by the values it carries; the last entry is the pod level."""
    *regular, pod = containers
    return qos_class(
        [(container.requests, container.limits) for container in regular],
        None if pod.given is None else (pod.requests, pod.limits),
    )


def _refuse_new_class(new: Sequence[ContainerResources], old: Sequence[ContainerResources], case: Case) -> None:
    reason = next(reason for container in new for reason in container.reasons.values())
    text = (
        f"pod: bounded by its maxima the resize would change the QoS class from {qos_class_of(old)} "
        f"to {qos_class_of(new)}, which Kubernetes does not allow"
    )
    case.refusals.append(Refusal("qos", text, reason.origin))
