"""What the containers of a pod come to together, what its pod level comes to with them, and its QoS class.

Source of the rules: component-helpers resource/helpers.go AggregateContainerRequests, kubernetes pkg/api/pod/util.go
DefaultPodLevelResources and pkg/apis/core/v1/helper/qos/qos.go ComputePodQOS. Overhead and maxima are left to others.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from webhook.quantity import ZERO, Quantity, quantity
from webhook.resource_names import is_hugepages

QosClass = Literal["BestEffort", "Burstable", "Guaranteed"]

# Requests and limits, in this order, of one container or of the pod level, by resource.
RequestsAndLimits = tuple[Mapping[str, Quantity], Mapping[str, Quantity]]


def pod_usage(regular: Iterable[int], init: Iterable[tuple[int, bool]]) -> int:
    """The most that the containers use at one time of one resource, in the unit of the amounts.

    `init` is in the pod's order, each amount with whether it is a sidecar's. Sidecars stay: they count beside
    every init step after them and beside the regular containers.
    """
    sidecars = highest_step = 0
    for amount, is_sidecar in init:
        highest_step = max(highest_step, sidecars + amount)
        if is_sidecar:
            sidecars += amount
    return max(sum(regular) + sidecars, highest_step)


def is_pod_level_resource(name: str) -> bool:
    """Whether the pod level may have amounts of it: cpu, memory and hugepages."""
    return name == "cpu" or name == "memory" or is_hugepages(name)


def stored_pod_level(
    pod_level: RequestsAndLimits,
    regular: Sequence[RequestsAndLimits],
    init: Sequence[tuple[RequestsAndLimits, bool]] = (),
) -> RequestsAndLimits:
    """The pod level as the API server stores it: since 1.37 it fills in what is missing, after mutation.

    First limits of hugepages, then requests, as the containers' together, and for a limit that still has none that
    limit; last the limits of what every container limits. A pod level that says nothing stays so.
    """
    requests, limits = dict(pod_level[0]), dict(pod_level[1])
    if not requests and not limits:
        return requests, limits
    containers = [*regular, *(container for container, _ in init)]
    names = {name for container in containers for amounts in container for name in amounts}
    for name in names:
        if is_hugepages(name) and name not in requests and name not in limits:
            _fill(limits, name, _total(1, name, regular, init))
    for name in names:
        if (name == "cpu" or name == "memory") and name not in requests:
            _fill(requests, name, _total(0, name, regular, init))
    for name, limit in limits.items():
        if is_pod_level_resource(name):
            requests.setdefault(name, limit)
    for name, request in requests.items():
        if is_pod_level_resource(name) and name not in limits and all(name in of[1] for of in containers):
            total = _total(1, name, regular, init)
            _fill(limits, name, None if total is None else max(total, request.nanos))
    return requests, limits


def qos_class(containers: Iterable[RequestsAndLimits], pod_level: RequestsAndLimits | None = None) -> QosClass:
    """The QoS class of a pod with these containers, init containers and sidecars among them.

    A pod level that sets cpu, memory or hugepages decides alone (`stored_pod_level`); one that sets none of them
    is ignored, as since 1.37. An absent request counts as zero: the API server has copied the limit before.
    """
    if pod_level is not None and any(is_pod_level_resource(name) for amounts in pod_level for name in amounts):
        return _class_of(pod_level)
    classes = {_class_of(container) for container in containers}
    if len(classes) == 1:
        return classes.pop()
    return "Burstable" if classes else "BestEffort"


def _class_of(container: RequestsAndLimits) -> QosClass:
    requests, limits = container
    equal = 0
    for name in ("cpu", "memory"):
        request, limit = requests.get(name, ZERO).nanos, limits.get(name, ZERO).nanos
        if request != limit:
            return "Burstable"
        equal += request != 0
    return _BY_EQUAL_RESOURCES[equal]


# How many of cpu and memory have a limit equal to the request, the other being unset.
_BY_EQUAL_RESOURCES: tuple[QosClass, ...] = ("BestEffort", "Burstable", "Guaranteed")


def _total(
    side: int, name: str, regular: Sequence[RequestsAndLimits], init: Sequence[tuple[RequestsAndLimits, bool]]
) -> int | None:
    """The containers' usage in nanos; None where no container names the resource on this side (zero is a name)."""
    if not any(name in of[side] for of in regular) and not any(name in of[side] for of, _ in init):
        return None
    return pod_usage(
        [of[side].get(name, ZERO).nanos for of in regular],
        [(of[side].get(name, ZERO).nanos, is_sidecar) for of, is_sidecar in init],
    )


def _fill(amounts: dict[str, Quantity], name: str, nanos: int | None) -> None:
    if nanos is not None:
        amounts[name] = quantity(nanos)
