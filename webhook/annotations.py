"""What a pod asks for in its annotations (section 2), and which of its containers is the primary one.

Annotation text is untrusted: it is bounded before it is computed with, and whatever cannot be used
is an error that names the annotation, the offending part and what is accepted.
"""

from collections.abc import Mapping, Sequence, Set
from functools import lru_cache
from typing import Literal

import msgspec

from webhook.pod import Pod
from webhook.printable import LONGEST_CONTAINER_NAME, shown
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
# Of a pod's annotations together (Bounded work): what is read, and what is said about the rest.
MOST_AMOUNTS = 1_000
MOST_ERRORS = 10
# A name of an annotation is at most 253 + 1 + 63 characters, what we read of one is far shorter.
SHOWN_KEY = 100
# Texts that are remembered: the usual one has 30 characters.
REMEMBERED_LENGTH = 200

SYNTAX = "cpu=2,memory=4Gi,gpu=1"

Amounts = dict[str, Quantity]
NOTHING: Mapping[str, Quantity] = {}


class Asked(msgspec.Struct, frozen=True):
    """Annotated requests and limits by container name; errors deny the pod, warnings do not.

    `amounts` is how many are asked for together.
    """

    requests: Mapping[str, Amounts] = {}
    limits: Mapping[str, Amounts] = {}
    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    amounts: int = 0

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
    if named is None and len(names) == 1:
        return names[0], None
    if named is not None:
        if named in names:
            return named, None
        return _first_choice(pod, names), (
            f'annotation {PRIMARY_CONTAINER}: "{shown(named)}" is no regular container of the pod; '
            f"accepted: {', '.join(shown(name, LONGEST_CONTAINER_NAME) for name in names[:10])}"
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
        if not reader.read(key, annotations[key]):
            break
    if pod.is_windows:
        reader.drop_hugepages()
    if reader.unknown:
        reader.warn_of_unknown()
    return Asked(reader.requests, reader.limits, tuple(reader.errors), tuple(reader.warnings), reader.amounts)


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
            errors.append(f'annotation {INTERRUPTIBLE}: "{shown(interruptible)}" is not accepted: use true or false')
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
        f'annotation {SHARED_MEMORY}: "{shown(text)}" is not accepted: use true, false or a quantity such as 1Gi'
    )
    return None


class _Reader:
    def __init__(self, primary: str, containers: Set[str], aliases: Mapping[str, str]) -> None:
        self.primary, self.containers, self.aliases = primary, containers, aliases
        self.requests: dict[str, Amounts] = {}
        self.limits: dict[str, Amounts] = {}
        self.errors: list[str] = []
        self.warnings: list[str] = []
        self.unknown: list[str] = []
        self.amounts = 0

    def read(self, key: str, text: str) -> bool:
        """Whether a further annotation is worth reading: the pod is not denied for enough reasons already."""
        if key in (REQUESTS, LIMITS):
            container = self.primary
        elif key.startswith((NAMED_REQUESTS, NAMED_LIMITS)):
            container = key.partition("/")[2]
        else:
            if key.startswith(OURS) and key not in KNOWN:
                self.unknown.append(key)
            return True
        amounts = self._amounts(key, text)
        if container in self.containers:
            side = self.requests if key == REQUESTS or key.startswith(NAMED_REQUESTS) else self.limits
            self._add(side.setdefault(container, {}), key, amounts)
        elif amounts:
            name = shown(container, LONGEST_CONTAINER_NAME)
            self.warnings.append(f'annotation {shown(key, SHOWN_KEY)}: the pod has no container "{name}" yet')
        return len(self.errors) < MOST_ERRORS

    def drop_hugepages(self) -> None:
        for amounts in (*self.requests.values(), *self.limits.values()):
            for name in [name for name in amounts if is_hugepages(name)]:
                del amounts[name]
                self.warnings.append(f"{name}: Windows pods get no hugepages, the annotation is ignored")

    def warn_of_unknown(self) -> None:
        for key in self.unknown[:MOST_ERRORS]:
            self.warnings.append(f"annotation {shown(key, SHOWN_KEY)} is not known and has no effect")
        if len(self.unknown) > MOST_ERRORS:
            more = len(self.unknown) - MOST_ERRORS
            self.warnings.append(f"{more} more annotations of {OURS} are not known and have no effect")

    def _amounts(self, key: str, text: str) -> Amounts:
        """What an annotation asks for; nothing where there is an error in it."""
        if len(text) > TEXT_LENGTH:
            self._refuse(key, f"longer than {TEXT_LENGTH} characters")
            return {}
        items, errors = _items(text), len(self.errors)
        if not self._may_go_on(len(items)):
            return {}
        amounts: Amounts = {}
        for name, value in items:
            resource = self.aliases.get(name, name)
            try:
                amount = _amount(name, resource, value)
            except InvalidQuantity as error:
                if not self._refuse(key, str(error)):
                    break
                continue
            if resource in amounts and not self._refuse(key, f'"{name}" is given twice'):
                break
            amounts[resource] = amount
        return amounts if len(self.errors) == errors else {}

    def _add(self, asked: Amounts, key: str, amounts: Amounts) -> None:
        for name in [name for name in amounts if name in asked]:
            self._refuse(key, f"{name} is already given by another annotation for the same container")
        asked.update(amounts)

    def _may_go_on(self, items: int) -> bool:
        """Whether so many further items may be read."""
        before, self.amounts = self.amounts, self.amounts + items
        if before <= MOST_AMOUNTS < self.amounts:
            self.errors.append(f"annotations: more than {MOST_AMOUNTS} amounts are asked for: ask for fewer")
        return self.amounts <= MOST_AMOUNTS

    def _refuse(self, key: str, error: str) -> bool:
        """Whether there is room for a further error."""
        if len(self.errors) < MOST_ERRORS:
            self.errors.append(f"annotation {shown(key, SHOWN_KEY)}: {error}")
        return len(self.errors) < MOST_ERRORS


def _items(text: str) -> tuple[tuple[str, str | None], ...]:
    """Name and value of each item; None where there is no equals sign."""
    return _remembered_items(text) if len(text) <= REMEMBERED_LENGTH else _read_items(text)


def _read_items(text: str) -> tuple[tuple[str, str | None], ...]:
    items = []
    for item in text.split(","):
        name, equals, value = item.lstrip(" ").partition("=")
        items.append((name, value if equals else None))
    return tuple(items)


_remembered_items = lru_cache(maxsize=1024)(_read_items)


@lru_cache(maxsize=2048)  # only what is valid is kept, so each entry is small
def _amount(name: str, resource: str, text: str | None) -> Quantity:
    """Raises InvalidQuantity with the whole reason. Rounded up as the API server would store it (A2)."""
    if text is None:
        part = f'"{shown(name)}" is not name=quantity' if name else "an item is empty"
        raise InvalidQuantity(f"{part}; write it like {SYNTAX}")
    if not is_container_resource(resource):
        raise InvalidQuantity(
            f'"{shown(name)}" is no resource; accepted: cpu, memory, ephemeral-storage, hugepages-<size>, '
            "an alias such as gpu, or a qualified name such as nvidia.com/gpu"
        )
    if text.startswith("-"):
        raise InvalidQuantity(f"{name}={shown(text, 32)}: a quantity must not be negative")
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
