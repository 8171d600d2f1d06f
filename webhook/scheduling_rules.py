"""What a policy set says of scheduling (section 6), compiled for one namespace: every value with its origin.

A policy's `scheduling` is kept flat, one setting a path such as ("resources", "nvidia.com/gpu", "tolerations"), so
that merging is by path; `scheduling_rules` makes rules of what is left. What they do to a pod is in `scheduling`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, cast

from msgspec.structs import replace

from webhook.pod import NodeRequirement, Toleration
from webhook.resource_names import COMPUTE, LONGEST, is_extended, is_native, matches_glob
from webhook.setting import Setting

Reserved = Literal["Off", "Warn", "Deny"]

Keyed = TypeVar("Keyed", NodeRequirement, Toleration)

# ("resources", resource, field...), ("interruptible", field...) or ("defaults", field...).
SchedulingPath = tuple[str, ...]
SchedulingSettings = Mapping[SchedulingPath, Setting[Any]]

NO_TOLERATIONS: Setting[tuple[Toleration, ...]] = Setting(())

# Names of resources come from pods.
KEPT_NAMES = 256


@dataclass(frozen=True, slots=True)
class Placing:
    """Tolerations and labels of nodes that go together; the labels by key. `taints` are the tolerations' keys."""

    tolerations: Setting[tuple[Toleration, ...]] = NO_TOLERATIONS
    node_selector: Mapping[str, Setting[str]] = field(default_factory=dict)
    taints: frozenset[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        taints = frozenset(toleration.key for toleration in self.tolerations.value if toleration.key)
        object.__setattr__(self, "taints", taints)


@dataclass(frozen=True, slots=True)
class Device:
    """The kinds of a device. `names` are in lower case, for values of the node's label.

    `allowed` is None where every kind is; else the values of the label that are.
    """

    label: Setting[str]
    names: Mapping[str, Setting[str]]
    allowed: Setting[tuple[str, ...]] | None


@dataclass(frozen=True, slots=True)
class Partition:
    """Parts of a device: their label on nodes, and what a pod gets that wants a whole one."""

    label: Setting[str]
    whole: Setting[NodeRequirement]
    whole_toleration: Setting[Toleration] | None


@dataclass(frozen=True, slots=True)
class ScheduledResource:
    """What pods get that ask for a resource; `resource` is its name, or a glob of extended resources."""

    resource: str
    placing: Placing
    reserved: Setting[Reserved]
    device: Device | None
    partition: Partition | None

    def matches(self, name: str) -> bool:
        """Globs are for devices only, as in maxima."""
        if "*" not in self.resource:
            return self.resource == name
        return matches_glob(self.resource, name) and (is_extended(name) or is_native(name))


@dataclass(frozen=True, slots=True)
class Interruptible:
    """What interruptible pods get; `otherwise` is for all others. None adds nothing."""

    placing: Placing = Placing()
    requirement: Setting[NodeRequirement] | None = None
    otherwise: Setting[NodeRequirement] | None = None


class _ByName(dict[str, tuple[ScheduledResource, ...]]):
    """What is said of a resource, worked out when it is asked for and kept: names come from pods, so not too many.

    Nothing is said of a name that is longer than Kubernetes allows.
    """

    def __init__(self, resources: tuple[ScheduledResource, ...]) -> None:
        super().__init__()
        self._resources = resources

    def __missing__(self, name: str) -> tuple[ScheduledResource, ...]:
        if len(name) > LONGEST:
            return ()
        if len(self) >= KEPT_NAMES:
            self.clear()
        found = self[name] = tuple(rule for rule in self._resources if rule.matches(name))
        return found


@dataclass(frozen=True, slots=True)
class SchedulingRules:
    """What decides where a namespace's pods are scheduled, in the order in which it is added.

    `of` has all that is said of a resource, by its name and by globs. `reserved_taints` are kept for pods that ask
    for their resource. `concerns_all`: whether there is something for pods that ask for nothing; `is_about_compute`:
    for who asks for cpu, memory or ephemeral-storage, hence for nearly every pod.
    """

    resources: tuple[ScheduledResource, ...] = ()
    interruptible: Interruptible = Interruptible()
    defaults: Placing = Placing()
    of: Mapping[str, tuple[ScheduledResource, ...]] = field(init=False, repr=False, compare=False)
    reserved_taints: frozenset[str] = field(init=False, repr=False, compare=False)
    concerns_all: bool = field(init=False, repr=False, compare=False)
    is_about_compute: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        reserved = [rule.placing.taints for rule in self.resources if rule.reserved.value != "Off"]
        object.__setattr__(self, "of", _ByName(self.resources))
        object.__setattr__(self, "reserved_taints", frozenset().union(*reserved))
        object.__setattr__(self, "is_about_compute", any(rule.resource in COMPUTE for rule in self.resources))
        object.__setattr__(self, "concerns_all", self.defaults != Placing() or self.interruptible.otherwise is not None)


def merge_scheduling(settings: Iterable[SchedulingSettings]) -> dict[SchedulingPath, Setting[Any]]:
    """Path by path, the broadest policy first: its order stays, the last value counts, null included (P1)."""
    return {path: setting for each in settings for path, setting in each.items()}


def scheduling_rules(merged: SchedulingSettings) -> SchedulingRules | None:
    """The rules that merged settings come to; None where they say nothing. A value of null says nothing."""
    said = {path: setting for path, setting in merged.items() if setting.value is not None}
    if not said:
        return None
    interruptible = _within(said, "interruptible")
    names = _names_by_label(said)
    return SchedulingRules(
        tuple(
            _resource(resource, _within(said, "resources", resource), names)
            for resource in dict.fromkeys(path[1] for path in said if path[0] == "resources")
        ),
        Interruptible(_placing(interruptible), interruptible.get(("requirement",)), interruptible.get(("otherwise",))),
        _placing(_within(said, "defaults")),
    )


def _within(settings: SchedulingSettings, *prefix: str) -> dict[SchedulingPath, Setting[Any]]:
    depth = len(prefix)
    return {path[depth:]: setting for path, setting in settings.items() if path[:depth] == prefix}


def _placing(said: SchedulingSettings) -> Placing:
    selector = {path[1]: setting for path, setting in said.items() if path[0] == "nodeSelector"}
    return Placing(said.get(("tolerations",), NO_TOLERATIONS), selector)


def _resource(
    resource: str, said: SchedulingSettings, names_by_label: Mapping[str, Mapping[str, Setting[str]]]
) -> ScheduledResource:
    return ScheduledResource(
        resource,
        _placing(said),
        cast("Setting[Reserved]", said.get(("reserved",), Setting("Off"))),
        _device(said, names_by_label),
        _partition(said),
    )


def _names_by_label(said: SchedulingSettings) -> dict[str, dict[str, Setting[str]]]:
    """The names that entries give to values of a label, whichever entry it is; of two the first counts."""
    labels = {path[1]: setting.value for path, setting in said.items() if path[2:] == ("device", "label")}
    found: dict[str, dict[str, Setting[str]]] = {label: {} for label in labels.values()}
    for path, setting in said.items():
        if path[2:4] == ("device", "names") and path[1] in labels:
            found[labels[path[1]]].setdefault(path[4], setting)
    return found


def _device(said: SchedulingSettings, names_by_label: Mapping[str, Mapping[str, Setting[str]]]) -> Device | None:
    label = said.get(("device", "label"))
    if label is None:
        return None
    own = {path[2]: setting for path, setting in said.items() if path[:2] == ("device", "names")}
    names = {**names_by_label[label.value], **own}
    allowed = said.get(("device", "allowed"))
    if allowed is not None:
        values = [names[value.lower()].value if value.lower() in names else value for value in allowed.value]
        allowed = Setting(tuple(dict.fromkeys(values)), allowed.origin)
    return Device(label, names, allowed)


def _partition(said: SchedulingSettings) -> Partition | None:
    label = said.get(("partition", "label"))
    if label is None:
        return None
    without = Setting(NodeRequirement(operator="DoesNotExist"), label.origin)
    toleration = said.get(("partition", "whole", "toleration"))
    return Partition(
        label,
        _of_label(said.get(("partition", "whole", "requirement"), without), label.value),
        None if toleration is None else _of_label(toleration, label.value),
    )


def _of_label(setting: Setting[Keyed], label: str) -> Setting[Keyed]:
    """Without a key it is about the label itself."""
    return setting if setting.value.key else Setting(replace(setting.value, key=label), setting.origin)
