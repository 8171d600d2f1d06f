"""What a pod asks for in its annotations (section 2), and which of its containers is the primary one.

Annotation text is untrusted: it is bounded before it is computed with, and whatever cannot be used
is an error that names the annotation, the offending part and what is accepted.
"""

from collections.abc import Mapping, Sequence, Set
from functools import lru_cache
from typing import Literal

import msgspec

from webhook.pod import Pod
from webhook.quantity import InvalidQuantity, Quantity, parse_strict_quantity
from webhook.resource_names import (
    COMPUTE,
    is_container_resource,
    is_hugepages,
    is_native,
    page_bytes,
    unit_nanos,
)

REQUESTS = "task-resources.io/requests"
LIMITS = "task-resources.io/limits"
NAMED_REQUESTS = "requests.task-resources.io/"
NAMED_LIMITS = "limits.task-resources.io/"
PRIMARY_CONTAINER = "task-resources.io/primary-container"
ACCELERATOR = "task-resources.io/accelerator"
ACCELERATOR_PARTITION = "task-resources.io/accelerator-partition"
SHARED_MEMORY = "task-resources.io/shared-memory"
INTERRUPTIBLE = "task-resources.io/interruptible"
APPLIED = "task-resources.io/applied"

OURS = "task-resources.io/"
KNOWN = frozenset(
    {
        REQUESTS,
        LIMITS,
        PRIMARY_CONTAINER,
        ACCELERATOR,
        ACCELERATOR_PARTITION,
        SHARED_MEMORY,
        INTERRUPTIBLE,
        APPLIED,
    }
)

FLYTE_PRIMARY_CONTAINER = "primary_container_name"
KUBECTL_DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"
FLYTE_INTERRUPTIBLE = "interruptible"  # a label

TEXT_LENGTH = 4096
SYNTAX = "cpu=2,memory=4Gi,gpu=1"

Amounts = dict[str, Quantity]
NOTHING: Mapping[str, Quantity] = {}


class Asked(msgspec.Struct, frozen=True):
    """Annotated requests and limits by container name; errors deny the pod, warnings do not."""

    requests: Mapping[str, Amounts] = {}
    limits: Mapping[str, Amounts] = {}
    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def resources(self) -> set[str]:
        """The names of all resources that are asked for, with 0 among them."""
        return {name for side in (self.requests, self.limits) for amounts in side.values() for name in amounts}


NOTHING_ASKED = Asked()


class AskedPlacement(msgspec.Struct, frozen=True, gc=False):
    """Where the pod wants to run, as far as its annotations say; None where they do not.

    `shared_memory` is a size, or True for one without a bound of its own.
    """

    accelerator: str | None = None
    partition: str | None = None
    shared_memory: Quantity | Literal[True] | None = None
    is_interruptible: bool = False
    errors: tuple[str, ...] = ()


_PLACING = (ACCELERATOR, ACCELERATOR_PARTITION, SHARED_MEMORY, INTERRUPTIBLE)

NOTHING_PLACED = AskedPlacement()
_INTERRUPTIBLE = AskedPlacement(is_interruptible=True)


def primary_container(pod: Pod) -> tuple[str, str | None]:
    """The name of the primary container and, where our annotation names none of them, the error (A4)."""
    names = [container.name for container in pod.spec.containers or ()]
    annotations = pod.annotations
    named = annotations.get(PRIMARY_CONTAINER)
    if named is not None:
        if named in names:
            return named, None
        return _first_choice(pod, names), (
            f'annotation {PRIMARY_CONTAINER}: "{named[:80]}" is no regular container of the pod; '
            f"accepted: {', '.join(names[:10])}"
        )
    for key in (FLYTE_PRIMARY_CONTAINER, KUBECTL_DEFAULT_CONTAINER):
        if annotations.get(key) in names:
            return annotations[key], None
    return _first_choice(pod, names), None


def _first_choice(pod: Pod, names: Sequence[str]) -> str:
    if len(names) > 1:
        for name in ("primary", pod.metadata.name):
            if name in names:
                return str(name)
    return names[0] if names else ""


def asked_resources(pod: Pod, primary: str, aliases: Mapping[str, str]) -> Asked:
    """The requests and limits that the pod's annotations ask for, by container (A1–A3).

    Windows has no hugepages (G8): there they are left out with a warning.
    """
    annotations, spec = pod.annotations, pod.spec
    ours = [key for key in annotations if OURS in key]
    if not ours:
        return NOTHING_ASKED
    containers = {container.name for container in (*(spec.containers or ()), *(spec.init_containers or ()))}
    reader = _Reader(primary, containers, aliases)
    for key in sorted(ours, key=len):  # the primary form first, so that a repetition names the other
        reader.read(key, annotations[key])
    if pod.is_windows:
        reader.drop_hugepages()
    return Asked(reader.requests, reader.limits, tuple(reader.errors), tuple(reader.warnings))


def asked_placement(pod: Pod, *, has_node: bool = False) -> AskedPlacement:
    """What the pod's annotations ask of its node, and of `/dev/shm` (section 2).

    `has_node`: the node is chosen already, so that no word about interruptions is an error (G8).
    """
    annotations = pod.annotations
    if annotations.keys().isdisjoint(_PLACING):
        return _INTERRUPTIBLE if pod.labels.get(FLYTE_INTERRUPTIBLE) == "true" else NOTHING_PLACED
    shared_memory, interruptible = annotations.get(SHARED_MEMORY), annotations.get(INTERRUPTIBLE)
    errors: list[str] = []
    is_interruptible = pod.labels.get(FLYTE_INTERRUPTIBLE) == "true"
    if interruptible is not None:
        is_interruptible = interruptible == "true"
        if interruptible not in ("true", "false") and not has_node:
            errors.append(f'annotation {INTERRUPTIBLE}: "{interruptible[:80]}" is not accepted: use true or false')
    return AskedPlacement(
        annotations.get(ACCELERATOR),
        annotations.get(ACCELERATOR_PARTITION),
        None if shared_memory is None else _shared_memory(shared_memory, errors),
        is_interruptible,
        tuple(errors),
    )


def _shared_memory(text: str, errors: list[str]) -> Quantity | Literal[True] | None:
    if text in ("true", "false"):
        return True if text == "true" else None
    try:
        size = parse_strict_quantity(text)
    except InvalidQuantity:
        size = None
    if size:
        return size.rounded_up(unit_nanos("memory"))
    errors.append(
        f'annotation {SHARED_MEMORY}: "{text[:80]}" is not accepted: use true, false or a quantity such as 1Gi'
    )
    return None


class _Reader:
    def __init__(self, primary: str, containers: Set[str], aliases: Mapping[str, str]) -> None:
        self.primary, self.containers, self.aliases = primary, containers, aliases
        self.requests: dict[str, Amounts] = {}
        self.limits: dict[str, Amounts] = {}
        self.errors: list[str] = []
        self.warnings: list[str] = []

    def read(self, key: str, text: str) -> None:
        if key in (REQUESTS, LIMITS):
            container = self.primary
        elif key.startswith((NAMED_REQUESTS, NAMED_LIMITS)):
            container = key.partition("/")[2]
        else:
            if key.startswith(OURS) and key not in KNOWN:
                self.warnings.append(f"annotation {key} is not known and has no effect")
            return
        amounts, errors = _amounts(text, self.aliases)
        if errors:
            self.errors += [f"annotation {key}: {error}" for error in errors]
        elif container not in self.containers:
            self.warnings.append(f'annotation {key}: the pod has no container "{container}" yet')
        else:
            side = self.requests if key == REQUESTS or key.startswith(NAMED_REQUESTS) else self.limits
            self._add(side.setdefault(container, {}), key, amounts)

    def drop_hugepages(self) -> None:
        for amounts in (*self.requests.values(), *self.limits.values()):
            for name in [name for name in amounts if is_hugepages(name)]:
                del amounts[name]
                self.warnings.append(f"{name}: Windows pods get no hugepages, the annotation is ignored")

    def _add(self, asked: Amounts, key: str, amounts: Amounts) -> None:
        self.errors += [
            f"annotation {key}: {name} is already given by another annotation for the same container"
            for name in amounts
            if name in asked
        ]
        asked.update(amounts)


def _amounts(text: str, aliases: Mapping[str, str]) -> tuple[Amounts, list[str]]:
    if len(text) > TEXT_LENGTH:
        return {}, [f"longer than {TEXT_LENGTH} characters"]
    amounts: Amounts = {}
    errors: list[str] = []
    for name, value in _items(text):
        resource = aliases.get(name, name)
        try:
            amount = _amount(name, resource, value)
        except InvalidQuantity as error:
            errors.append(str(error))
            continue
        if resource in amounts:
            errors.append(f'"{name}" is given twice')
        amounts[resource] = amount
    return amounts, errors


@lru_cache(maxsize=1024)
def _items(text: str) -> tuple[tuple[str, str | None], ...]:
    """Name and value of each item; None where there is no equals sign."""
    items = []
    for item in text.split(","):
        name, equals, value = item.lstrip(" ").partition("=")
        items.append((name, value if equals else None))
    return tuple(items)


@lru_cache(maxsize=2048)  # only what is valid is kept, so each entry is small
def _amount(name: str, resource: str, text: str | None) -> Quantity:
    """Raises InvalidQuantity with the whole reason. Rounded up as the API server would store it (A2)."""
    if text is None:
        part = f'"{name[:80]}" is not name=quantity' if name else "an item is empty"
        raise InvalidQuantity(f"{part}; write it like {SYNTAX}")
    if not is_container_resource(resource):
        raise InvalidQuantity(
            f'"{name[:80]}" is no resource; accepted: cpu, memory, ephemeral-storage, hugepages-<size>, '
            "an alias such as gpu, or a qualified name such as nvidia.com/gpu"
        )
    if text.startswith("-"):
        raise InvalidQuantity(f"{name}={text[:32]}: a quantity must not be negative")
    try:
        amount = parse_strict_quantity(text)
    except InvalidQuantity as error:
        raise InvalidQuantity(f"{name}: {error}") from error
    if resource in COMPUTE:
        if not amount:
            raise InvalidQuantity(f"{name}={text}: must be more than zero")
        return amount.rounded_up(unit_nanos(resource))
    return _whole(name, resource, text, amount)


def _whole(name: str, resource: str, text: str, amount: Quantity) -> Quantity:
    unit = unit_nanos(resource)
    if is_native(resource):
        return amount.rounded_up(unit)
    if amount.nanos % unit == 0:
        return amount
    if is_hugepages(resource):
        raise InvalidQuantity(f"{name}={text}: must be a multiple of the page size, {page_bytes(resource)} bytes")
    raise InvalidQuantity(f"{name}={text}: must be a whole number")
