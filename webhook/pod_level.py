"""R11: pod-level resources (`spec.resources`) within their bound, and the containers within those.

What the API server fills in only after mutation is worked out here: a missing pod request becomes the
containers' requests together or, where there is none, the pod's limit. Source: kubernetes pkg/api/pod/util.go
DefaultPodLevelResources.
"""

from collections.abc import Callable, Mapping, Sequence

from webhook.effective import Bound
from webhook.quantity import Quantity, quantity
from webhook.resource_names import is_hugepages, unit_nanos
from webhook.resources import Case, ContainerResources, PodLevel, Reason, Refusal, Side, lower, where_all
from webhook.setting import Setting
from webhook.usage import is_pod_level_resource, pod_usage


def bound_pod_level(pod: ContainerResources, overhead: Mapping[str, Quantity], running: int, case: Case) -> PodLevel:
    """Bounds the pod's own limits and requests; `running` is the number of regular containers and sidecars.

    Only what the pod itself says counts as its request: an API server before 1.37 writes one before mutation.
    """
    pod.requests = dict(pod.before_requests)
    for resource in dict.fromkeys([*pod.limits, *pod.requests]):
        if resource in pod.left_alone or not is_pod_level_resource(resource):
            continue
        bound = pod_level_bound(resource, overhead, running, case)
        if bound is None:
            continue
        limit = pod.limits.get(resource)
        if limit is not None and not limit.nanos:
            _write_zero_limit(pod, resource, bound, case)
        for side, amounts in (("limits", pod.limits), ("requests", pod.requests)):
            amount = amounts.get(resource)
            if amount is not None and amount.nanos > bound.value.nanos:
                _lower(pod, "limits" if side == "limits" else "requests", resource, amount, bound, case)
        if not case.judging:
            _keep_request_within_limit(pod, resource)
    _refuse_uncomputable(pod, overhead, running, case)
    return PodLevel(pod.limits, pod.requests)


def pod_level_bound(resource: str, overhead: Mapping[str, Quantity], running: int, case: Case) -> Bound | None:
    """`pod.max` less the overhead, or where there is none `container.max` times the running containers."""
    policy = case.policy
    bound = policy.pod_maximum.get(resource)
    if bound is not None:
        if resource not in overhead:
            return bound
        left = max(0, bound.value.nanos - overhead[resource].nanos)
        return Setting(quantity(left, bound.value.notation).rounded_down(unit_nanos(resource)), bound.origin)
    bound = policy.maximum.get(resource)
    if bound is None:
        return None
    return Setting(quantity(bound.value.nanos * running, bound.value.notation), bound.origin)


def _write_zero_limit(pod: ContainerResources, resource: str, bound: Bound, case: Case) -> None:
    """A zero pod-level limit is no limit: where there is a bound, it is written as the bound."""
    if is_hugepages(resource):
        return
    if case.judging:
        case.refuse_missing(pod, resource, bound)
    elif bound.value.nanos:
        pod.set("limits", resource, bound.value, Reason("pod-level", bound.origin))


def _lower(pod: ContainerResources, side: Side, resource: str, asked: Quantity, bound: Bound, case: Case) -> None:
    if bound.value.nanos:
        lower(pod, side, resource, case, bound, asked)
    else:
        text = f"pod: {side}.{resource} {asked} is asked and nothing is left of the pod's maximum"
        case.refusals.append(Refusal("forbidden", text, bound.origin))


def _keep_request_within_limit(pod: ContainerResources, resource: str) -> None:
    """A zero limit is none, but of hugepages, whose request and limit are one value."""
    limit, request = pod.limits.get(resource), pod.requests.get(resource)
    if limit is None or request is None or request.nanos <= limit.nanos:
        return
    if limit.nanos or is_hugepages(resource):
        pod.set("requests", resource, limit, Reason("request-within-limit"))


def _refuse_uncomputable(pod: ContainerResources, overhead: Mapping[str, Quantity], running: int, case: Case) -> None:
    for resource in sorted(pod.uncomputable):
        bound = pod_level_bound(resource, overhead, running, case)
        if bound is not None:
            text = (
                f"pod: {resource} has more than 64 characters or an exponent beyond 400; the maximum is {bound.value}"
            )
            case.refusals.append(Refusal("maximum", text, bound.origin))


def write_pod_limits(pod: ContainerResources, containers: Sequence[ContainerResources]) -> None:
    """Writes the pod's limit where what we wrote would make the one that is filled in larger than the pod's request.

    Where every container limits a resource and the pod only requests it, the pod's limit becomes the larger of its
    request and the containers' limits together: equal to its request, the pod may be Guaranteed, and stays so (R12).
    """
    for resource, request in pod.requests.items():
        if resource in pod.limits or resource not in ("cpu", "memory") or resource not in pod.before_requests:
            continue
        if not all(resource in container.before_limits for container in containers):
            continue
        before = _together(containers, lambda c, name=resource: c.before_limits.get(name))  # type: ignore[misc]
        now = _together(containers, lambda c, name=resource: c.limits.get(name))  # type: ignore[misc]
        if before <= pod.before_requests[resource].nanos and now > request.nanos:
            pod.set("limits", resource, request, Reason("pod-level"))


def fit_into_pod_level(pod: ContainerResources, containers: Sequence[ContainerResources], case: Case) -> None:
    """Keeps regular containers' limits, and the containers' requests together, within the pod level's."""
    for resource in dict.fromkeys([*pod.limits, *pod.requests]):
        if resource in pod.left_alone or not is_pod_level_resource(resource):
            continue
        limit = pod.limits.get(resource)
        if limit is not None and limit.nanos:
            _keep_limits_within(limit, resource, containers)
        room = pod.requests.get(resource, limit)
        if room is not None and (room.nanos or resource in pod.requests):
            _keep_requests_within(room, resource, containers, case)


def _keep_limits_within(limit: Quantity, resource: str, containers: Sequence[ContainerResources]) -> None:
    for container in containers:
        amount = container.limits.get(resource)
        if container.kind in ("primary", "regular") and amount is not None and amount.nanos > limit.nanos:
            container.set("limits", resource, limit, Reason("pod-level", asked=amount))
            request = container.requests.get(resource)
            if request is not None and (request.nanos > limit.nanos or is_hugepages(resource)):
                container.set("requests", resource, limit, Reason("pod-level", asked=request))


def _keep_requests_within(room: Quantity, resource: str, containers: Sequence[ContainerResources], case: Case) -> None:
    excess = _requested(resource, containers) - room.nanos
    if excess <= 0:
        return
    primary = next((c for c in containers if c.kind == "primary"), None)
    request = primary.requests.get(resource) if primary is not None else None
    if primary is not None and request is not None:
        unit = unit_nanos(resource)
        left = (request.nanos - excess) // unit * unit
        if left > 0 and not is_hugepages(resource):
            lowered = Reason("pod-level", asked=request)
            primary.set("requests", resource, quantity(left, request.notation), lowered)
            if _requested(resource, containers) <= room.nanos:
                return
    names = where_all([c for c in containers if resource in c.requests])
    text = (
        f"pod: requests.{resource} of {names} exceed the pod's own {room}, "
        "and lowering the primary container's is not enough"
    )
    case.refusals.append(Refusal("pod-level", text))


def _requested(resource: str, containers: Sequence[ContainerResources]) -> int:
    return _together(containers, lambda container: container.requests.get(resource))


def _together(
    containers: Sequence[ContainerResources], value_of: Callable[[ContainerResources], Quantity | None]
) -> int:
    def amount(container: ContainerResources) -> int:
        value = value_of(container)
        return 0 if value is None else value.nanos

    return pod_usage(
        [amount(c) for c in containers if c.kind in ("primary", "regular")],
        [(amount(c), c.kind == "sidecar") for c in containers if c.kind in ("sidecar", "init")],
    )


def write_pod_requests(pod: ContainerResources, containers: Sequence[ContainerResources]) -> None:
    """Writes the pod's request where a container's that we write would take the limit's place as its default."""
    for resource, limit in pod.limits.items():
        if resource in pod.requests or resource in pod.left_alone or not limit.nanos:
            continue
        if not is_pod_level_resource(resource):
            continue
        if any(_requests_itself(container, resource) for container in containers):
            continue
        if any(("requests", resource) in container.reasons for container in containers):
            pod.set("requests", resource, limit, Reason("pod-level"))


def _requests_itself(container: ContainerResources, resource: str) -> bool:
    """By its own value (an absent request beside a limit is that limit) or, hugepages apart, by annotation."""
    if resource in container.before_requests or resource in container.before_limits:
        return True
    reason = container.reasons.get(("requests", resource))
    return reason is not None and reason.rule == "annotation" and not is_hugepages(resource)
