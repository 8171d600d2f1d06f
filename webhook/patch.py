"""A decision as RFC 6902 operations, written down directly: diffing a pod would cost a hundred times as much.

Only `add` (which replaces) and `remove`, parents first, and only on paths that this module names. A bad
patch fails the pod's creation even under `failurePolicy: Ignore`, so `decision` checks the result before.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from webhook.node_affinity import required_terms
from webhook.pod import Pod, Quantities
from webhook.quantity import Quantity
from webhook.resources import ContainerResources, Side
from webhook.scheduling import Placement
from webhook.shared_memory import MOUNT_PATH, VOLUME, SharedMemory

# The way from a pod's spec to the terms of its required node affinity.
REQUIRED_TERMS = ("affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms")


class Operation(msgspec.Struct, frozen=True, gc=False):
    """One RFC 6902 operation; `remove` has no value."""

    op: Literal["add", "remove"]
    path: str
    value: Any = msgspec.UNSET


def escape(key: str) -> str:
    """A map key as an RFC 6901 reference token."""
    return key.replace("~", "~0").replace("/", "~1") if "~" in key or "/" in key else key


def resource_operations(container: ContainerResources) -> list[Operation]:
    """The operations that bring `resources` from what the pod came with to what the rules decided."""
    given, limits, requests = container.given, container.limits, container.requests
    if not container.reasons and not container.renamed:
        return []
    if given is None:
        resources = {
            side: {name: amount.text for name, amount in amounts.items()}
            for side, amounts in (("limits", limits), ("requests", requests))
            if amounts
        }
        return [Operation("add", f"{container.path}/resources", resources)]
    return [
        *_side_operations(container, "limits", given.limits, container.before_limits, limits),
        *_side_operations(container, "requests", given.requests, container.before_requests, requests),
    ]


def _side_operations(
    container: ContainerResources,
    side: Side,
    given: Quantities | None,
    before: Mapping[str, Quantity],
    now: Mapping[str, Quantity],
) -> list[Operation]:
    path = f"{container.path}/resources/{side}"
    changed = {}  # what the API server would not hold by itself, in the order of the rules
    for of, name in container.reasons:
        if of == side and name in now:
            amount = now[name]
            if name not in before or before[name].nanos != amount.nanos:
                changed[name] = amount.text
    if container.renamed:
        renamed = [name for of, name in container.renamed if of == side]
        changed |= {name: now[name].text for name in renamed if name in now and name not in (given or ())}
    if side == "requests" and len(before) < len(now):
        changed |= _requests_of_their_own(container, changed)
    if given is None:
        return [Operation("add", path, changed)] if changed else []
    operations = [Operation("add", f"{path}/{escape(name)}", text) for name, text in changed.items()]
    if container.renamed or not before.keys() <= now.keys():
        gone = [key for (of, _), keys in container.renamed.items() if of == side for key in keys]
        gone += [name for name in before if name not in now and name in given]
        operations += [Operation("remove", f"{path}/{escape(name)}") for name in gone]
    return operations


def _requests_of_their_own(container: ContainerResources, changed: Mapping[str, str]) -> dict[str, str]:
    """Absent requests that no rule set and that would not follow their limit, as the API server defaults them."""
    limits, before = container.limits, container.before_requests
    return {
        name: request.text
        for name, request in container.requests.items()
        if name not in before
        and name not in changed
        and (container.kind == "pod" or name not in limits or limits[name].nanos != request.nanos)
    }


def placement_operations(pod: Pod, placement: Placement) -> list[Operation]:
    """Adds tolerations, labels of the node selector and requirements; nothing that is there is moved or replaced."""
    spec = pod.spec
    return [
        *_list_operations("/spec/tolerations", spec.tolerations, placement.tolerations),
        *_map_operations("/spec/nodeSelector", spec.node_selector, placement.node_selector),
        *_affinity_operations(pod, placement),
    ]


def _affinity_operations(pod: Pod, placement: Placement) -> list[Operation]:
    if not placement.requirements:
        return []
    terms = required_terms(pod)
    if terms:
        path = "/".join(["/spec", *REQUIRED_TERMS])
        return [
            operation
            for index, added in placement.requirements.items()
            for operation in _list_operations(f"{path}/{index}/matchExpressions", terms[index].match_expressions, added)
        ]
    affinity = pod.spec.affinity
    node_affinity = affinity.node_affinity if affinity is not None else None
    required = node_affinity.required if node_affinity is not None else None
    depth = [affinity, node_affinity, required, None].index(None) + 1
    value: Any = [{"matchExpressions": placement.requirements[0]}]
    for key in reversed(REQUIRED_TERMS[depth:]):
        value = {key: value}
    return [Operation("add", "/".join(["/spec", *REQUIRED_TERMS[:depth]]), value)]


def shared_memory_operations(pod: Pod, shared_memory: SharedMemory) -> list[Operation]:
    """Adds the volume and its mount in the primary container."""
    directory = {"medium": "Memory"} | ({} if shared_memory.size is None else {"sizeLimit": shared_memory.size.text})
    volume, mount = {"name": VOLUME, "emptyDir": directory}, {"name": VOLUME, "mountPath": MOUNT_PATH}
    path = f"{shared_memory.container.path}/volumeMounts"
    return [
        *_list_operations("/spec/volumes", pod.spec.volumes, [volume]),
        *_list_operations(path, shared_memory.mounts, [mount]),
    ]


def _list_operations(path: str, given: Sequence[Any] | None, added: Sequence[Any]) -> list[Operation]:
    """Appends to a list, or adds it where there is none."""
    if given is None:
        return [Operation("add", path, added)] if added else []
    return [Operation("add", f"{path}/-", value) for value in added]


def _map_operations(path: str, given: Mapping[str, Any] | None, added: Mapping[str, str]) -> list[Operation]:
    """Adds keys one by one, or the whole map where there is none."""
    if given is None:
        return [Operation("add", path, dict(added))] if added else []
    return [Operation("add", f"{path}/{escape(key)}", text) for key, text in added.items()]


def operations_of(
    pod: Pod,
    containers: Sequence[ContainerResources],
    annotations: Mapping[str, str],
    placement: Placement | None = None,
    shared_memory: SharedMemory | None = None,
) -> tuple[Operation, ...]:
    """The whole patch: annotations first, then each container's resources, the pod level's, and where it runs."""
    operations = _map_operations("/metadata/annotations", pod.metadata.annotations, annotations)
    for container in containers:
        operations += resource_operations(container)
    if placement is not None:
        operations += placement_operations(pod, placement)
    if shared_memory is not None:
        operations += shared_memory_operations(pod, shared_memory)
    return tuple(operations)
