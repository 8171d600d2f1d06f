"""A decision as RFC 6902 operations, written down directly: diffing a pod would cost a hundred times as much.

Only `add` (which replaces) and `remove`, parents first, and only on paths that this module names. A bad
patch fails the pod's creation even under `failurePolicy: Ignore`, so `decision` checks the result before.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from webhook.pod import Pod, Quantities
from webhook.quantity import Quantity
from webhook.resources import ContainerResources, Side


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
    if not container.reasons and not container.renamed:
        return []
    if container.given is None:
        resources = {
            side: {name: amount.text for name, amount in amounts.items()}
            for side, amounts in (("limits", container.limits), ("requests", container.requests))
            if amounts
        }
        return [Operation("add", f"{container.path}/resources", resources)]
    return [*_side_operations(container, "limits"), *_side_operations(container, "requests")]


def _side_operations(container: ContainerResources, side: Side) -> list[Operation]:
    given = _given(container, side)
    path = f"{container.path}/resources/{side}"
    changed = _changed(container, side)
    if given is None:
        return [Operation("add", path, changed)] if changed else []
    operations = [Operation("add", f"{path}/{escape(name)}", text) for name, text in changed.items()]
    before, now = _before_and_now(container, side)
    if container.renamed or not before.keys() <= now.keys():
        gone = [key for (of, _), keys in container.renamed.items() if of == side for key in keys]
        gone += [name for name in before if name not in now and name in given]
        operations += [Operation("remove", f"{path}/{escape(name)}") for name in gone]
    return operations


def _given(container: ContainerResources, side: Side) -> Quantities | None:
    assert container.given is not None
    return container.given.limits if side == "limits" else container.given.requests


def _before_and_now(container: ContainerResources, side: Side) -> tuple[Mapping[str, Quantity], Mapping[str, Quantity]]:
    if side == "limits":
        return container.before_limits, container.limits
    return container.before_requests, container.requests


def _changed(container: ContainerResources, side: Side) -> dict[str, str]:
    """What the API server would not hold by itself, in the order of the rules."""
    before, now = _before_and_now(container, side)
    touched = [name for of, name in container.reasons if of == side]
    if container.renamed:
        touched += [name for of, name in container.renamed if of == side and name not in touched]
    if side == "requests" and len(before) < len(now):
        # A request that was absent follows its limit by itself, unless it is to stay.
        touched += [name for name in now if name not in touched and name not in before]
    return {
        name: value.text
        for name in touched
        if (value := now.get(name)) is not None and _differs(container, side, name, before.get(name), value)
    }


def _differs(container: ContainerResources, side: Side, name: str, before: Quantity | None, now: Quantity) -> bool:
    """Whether the API server would hold another value without an operation."""
    if container.renamed and (side, name) in container.renamed and name not in (_given(container, side) or ()):
        return True
    if before is not None:
        return before.nanos != now.nanos
    if side == "limits" or container.kind == "pod" or (side, name) in container.reasons:
        return True  # beside a limit of ours the request is written, too: nothing is left to defaulting
    limit = container.limits.get(name)  # an absent request becomes the limit by itself
    return limit is None or limit.nanos != now.nanos


def annotation_operations(pod: Pod, annotations: Mapping[str, str]) -> list[Operation]:
    """Adds annotations one by one, or the whole map where the pod has none."""
    if not annotations:
        return []
    if pod.metadata.annotations is None:
        return [Operation("add", "/metadata/annotations", dict(annotations))]
    return [Operation("add", f"/metadata/annotations/{escape(key)}", text) for key, text in annotations.items()]


def operations_of(
    pod: Pod, containers: Sequence[ContainerResources], annotations: Mapping[str, str]
) -> tuple[Operation, ...]:
    """The whole patch: annotations first, then each container's resources, then the pod level's."""
    operations = annotation_operations(pod, annotations)
    for container in containers:
        operations += resource_operations(container)
    return tuple(operations)
