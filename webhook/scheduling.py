"""Where a pod is scheduled (section 6): tolerations, node selector and node affinity that its requests call for.

A `Placement` begins as what the pod says itself. Rules add to it; they never take away, repeat or reorder.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from typing import Literal, TypeVar

import msgspec

from webhook.annotations import (
    ACCELERATOR,
    ACCELERATOR_PARTITION,
    INTERRUPTIBLE,
    NOTHING_PLACED,
    Asked,
    AskedPlacement,
)
from webhook.node_affinity import excludes, implies, required_terms, requirement_text
from webhook.pod import NodeRequirement, Pod, Toleration
from webhook.printable import shown
from webhook.resource_names import COMPUTE_NAMES
from webhook.resources import PLATFORM, Case, ContainerResources, Refusal, Rule
from webhook.scheduling_rules import Device, Partition, Placing, ScheduledResource, SchedulingRules
from webhook.setting import Origin, Setting
from webhook.tolerations import covers, tolerates_every_key, toleration_text
from webhook.validity import is_label_value

WHOLE_DEVICE = "none"
NO_RULES = SchedulingRules()

# So many accepted values are listed in a message.
LISTED = 8

Choice = TypeVar("Choice", Device, Partition)

PlacementField = Literal["tolerations", "nodeSelector", "nodeAffinity"]


class Cause(msgspec.Struct, frozen=True, gc=False):
    """Why something is added: the rule, the resource that called for it ("" for none), and whose rule it is."""

    rule: Rule
    resource: str
    origin: Origin

    def __str__(self) -> str:
        """In words, for messages."""
        return _WORDS.get(self.rule, "for ") + self.resource


_WORDS: Mapping[Rule, str] = {
    "interruptible": "for interruptible pods",
    "not-interruptible": "for pods that are not interruptible",
}


class Addition(msgspec.Struct, frozen=True, gc=False):
    """One thing that was added, in words, and why."""

    field: PlacementField
    text: str
    cause: Cause


class Placement:
    """What a pod says about its node, and what the rules added to it, by fields of its spec.

    `wanted_tolerations` are all that rules called for, those among them that are there already. `requirements` has
    what is added to each term of the required node affinity, by the term's index; where the pod has none, index 0 is a
    new one. `warnings` are about what was added, `objections` about what the pod has and should not (G5).
    """

    __slots__ = (
        "_given_selector",
        "_given_terms",
        "_given_tolerations",
        "additions",
        "node_selector",
        "objections",
        "requirements",
        "tolerations",
        "wanted_tolerations",
        "warnings",
    )

    def __init__(self, pod: Pod) -> None:
        self._given_tolerations = pod.spec.tolerations or ()
        self._given_selector = pod.spec.node_selector or {}
        self._given_terms = required_terms(pod)
        self.tolerations: list[Toleration] = []
        self.wanted_tolerations: list[Toleration] = []
        self.node_selector: dict[str, str] = {}
        self.requirements: dict[int, list[NodeRequirement]] = {}
        self.additions: list[Addition] = []
        self.warnings: list[str] = []
        self.objections: list[str] = []

    def tolerate(self, toleration: Toleration, cause: Cause) -> None:
        """Adds a toleration at the end, unless one that is there covers it (G2)."""
        self.wanted_tolerations.append(toleration)
        if any(covers(given, toleration) for given in (*self._given_tolerations, *self.tolerations)):
            return
        self.tolerations.append(toleration)
        self.additions.append(Addition("tolerations", toleration_text(toleration), cause))

    def selected(self, key: str) -> str | None:
        """The value that the node selector has for a label."""
        return self._given_selector.get(key, self.node_selector.get(key))

    def select(self, key: str, value: str, cause: Cause, *, gives_way: bool) -> None:
        """Adds a label that the node selector does not have yet; where no node would fit then, it may give way."""
        text = f"{key}={value}"
        if _excluded(NodeRequirement(key, "In", (value,)), self._known_requirements(key)):
            if gives_way:
                return
            self._warn_that_no_node_fits(text, cause)
        self.node_selector[key] = value
        self.additions.append(Addition("nodeSelector", text, cause))

    def require(self, wanted: NodeRequirement, cause: Cause) -> None:
        """Adds a requirement to every term that fits any node at all, unless it is implied there (G3)."""
        missing = self.lacking(wanted)
        if not missing:
            return
        text = requirement_text(wanted)
        if _excluded(wanted, self._known_requirements(wanted.key)):
            self._warn_that_no_node_fits(text, cause)
        for index in missing:
            self.requirements.setdefault(index, []).append(wanted)
        self.additions.append(Addition("nodeAffinity", text, cause))

    def lacking(self, wanted: NodeRequirement) -> list[int]:
        """The terms that may fit a node which does not meet it, by their index; 0 where the pod has no terms."""
        known = self._known_requirements(wanted.key)
        return [index for index, given in known.items() if not any(implies(each, wanted) for each in given)]

    def _warn_that_no_node_fits(self, text: str, cause: Cause) -> None:
        self.warnings.append(f"pod: no node fits: another requirement excludes {text}, added {cause}")

    def _known_requirements(self, key: str) -> dict[int, list[NodeRequirement]]:
        """What each term that fits any node asks of a label so far, the node selector included."""
        selected = self.selected(key)
        by_selector = [] if selected is None else [NodeRequirement(key, "In", (selected,))]
        given = {
            index: term.match_expressions or ()
            for index, term in enumerate(self._given_terms)
            if term.match_expressions or term.match_fields
        }
        if not self._given_terms:
            given = {0: ()}
        return {
            index: [*by_selector, *expressions, *self.requirements.get(index, ())]
            for index, expressions in given.items()
        }


def _excluded(wanted: NodeRequirement, known: Mapping[int, Sequence[NodeRequirement]]) -> bool:
    """Whether no node meets it together with what each term asks for."""
    return all(any(excludes(each, wanted) for each in given) for given in known.values())


def decide_placement(
    pod: Pod, containers: Sequence[ContainerResources], asked: AskedPlacement, case: Case, annotated: Asked
) -> Placement | None:
    """Applies G1 to G5 to a pod whose resources are decided; None where no rule has a say, as with most pods.

    `annotated` is what annotations ask for: a resource that they name with 0 is named, too (G5).
    """
    rules = case.policy.scheduling or NO_RULES
    resources = _asked_resources(containers, rules) if rules.resources else []
    suspects = _suspects(pod, rules) if rules.reserved_taints else []
    if not (resources or suspects or rules.concerns_all) and asked is NOTHING_PLACED:
        return None
    placement = Placement(pod)
    called_for = _called_for(resources, rules)
    for rule, resource in called_for:
        _place(placement, rule.placing, "resource", resource, case)
    if asked.accelerator is not None:
        _choose_device(placement, asked.accelerator, resources, rules, case)
    if asked.partition is not None:
        _choose_partition(placement, asked.partition, resources, rules, case)
    for rule, resource in called_for:
        if rule.device is not None and rule.device.allowed is not None:
            _require_allowed(placement, rule.device, rule.device.allowed, resource)
    _place_interruptible(placement, asked.is_interruptible, rules, case)
    _place(placement, rules.defaults, "scheduling-default", "", case)
    # The usual task with a device tolerates its own taint and nothing else; only others are judged.
    suspects = [each for each in suspects if not any(each.key in rule.placing.taints for rule, _ in called_for)]
    if suspects:
        named = annotated.resources | _named_resources(containers)
        _judge_reserved(placement, suspects, named, rules, case)
    return placement


def judge_placement(
    pod: Pod, containers: Sequence[ContainerResources], asked: AskedPlacement, case: Case, annotated: Asked
) -> list[str]:
    """The warnings about a pod that has its node already: nothing is added to it, and all prohibitions count (G8).

    Its taints and the device of its annotation are judged as if it were placed, and what only placing would refuse is
    left out. The device that it gets must be one that it requires itself.
    """
    as_if = Case(case.policy, deny=case.deny)
    placement = decide_placement(pod, containers, asked, as_if, annotated)
    case.refusals += [each for each in as_if.refusals if each.reason in ("accelerator", "reserved")]
    is_refused = any(each.reason == "accelerator" for each in as_if.refusals)
    rules = case.policy.scheduling or NO_RULES
    for rule, resource in _called_for(_asked_resources(containers, rules), rules):
        if rule.device is not None and rule.device.allowed is not None:
            _judge_device(pod, rule.device, rule.device.allowed, resource, case)
    return [
        *(placement.objections if placement is not None else ()),
        *(
            f"annotation {key} has no effect: the pod has its node already"
            for key in (ACCELERATOR, ACCELERATOR_PARTITION, INTERRUPTIBLE)
            if key in pod.annotations and not (key == ACCELERATOR and is_refused)
        ),
    ]


def _judge_device(pod: Pod, device: Device, allowed: Setting[tuple[str, ...]], resource: str, case: Case) -> None:
    own, label = Placement(pod), device.label.value
    if not own.lacking(NodeRequirement(label, "In", allowed.value)):
        return
    selected = own.selected(label)
    text = (
        f"pod: asks for {resource} and has its node already: add a nodeSelector of {label} to its template"
        if selected is None
        else f'pod: nodeSelector {label}: "{selected}" may not be used'
    )
    case.refusals.append(Refusal("accelerator", f"{text}; accepted: {_listed(allowed.value)}", allowed.origin))


def _asked_resources(containers: Sequence[ContainerResources], rules: SchedulingRules) -> list[str]:
    """What any container asks for and a rule is about; zero is not asking (G1)."""
    of = rules.of
    found: list[str] = []
    is_about_compute = rules.is_about_compute
    for container in containers:
        # What has a limit has a request here, so most containers are done with by a glance.
        if not is_about_compute and COMPUTE_NAMES.issuperset(container.requests):
            continue
        for amounts in (container.requests, container.limits):
            for name in amounts:
                if of[name] and amounts[name].nanos > 0 and name not in found:
                    found.append(name)
    return found


def _suspects(pod: Pod, rules: SchedulingRules) -> list[Toleration]:
    """The pod's tolerations that may be for reserved taints: by their key, or for taints of any key."""
    keys = rules.reserved_taints
    found: list[Toleration] = []
    for toleration in pod.spec.tolerations or ():
        if toleration.key in keys or not toleration.key:
            found.append(toleration)  # noqa: PERF401 - a comprehension costs every pod, and most have none
    return found


def _called_for(resources: Sequence[str], rules: SchedulingRules) -> list[tuple[ScheduledResource, str]]:
    """The rules for these resources in the policies' order, each with the first resource that calls for it."""
    if not resources:
        return []
    return [
        (rule, resource)
        for rule in rules.resources
        for resource in [name for name in resources if rule.matches(name)][:1]
    ]


def _place(placement: Placement, placing: Placing, rule: Rule, resource: str, case: Case) -> None:
    tolerations = placing.tolerations
    for toleration in tolerations.value:
        placement.tolerate(toleration, Cause(rule, resource, tolerations.origin))
    for key, setting in placing.node_selector.items():
        given, cause = placement.selected(key), Cause(rule, resource, setting.origin)
        is_default = rule == "scheduling-default"
        if given is None:
            placement.select(key, setting.value, cause, gives_way=is_default)
        elif given != setting.value and not is_default:
            text = f'pod: nodeSelector {key}: "{shown(given)}" is set and "{setting.value}" is required {cause}'
            case.refusals.append(Refusal("node-selector", text, setting.origin))


def _choose_device(
    placement: Placement, text: str, resources: Sequence[str], rules: SchedulingRules, case: Case
) -> None:
    """G4: nodes with the device that an annotation names."""
    what = f'annotation {ACCELERATOR}: "{shown(text)}"'
    resource, devices = _choices(what, "devices", lambda rule: rule.device, resources, rules, case)
    for device in devices:
        known = device.names.get(text.lower())
        value = text if known is None else known.value
        if not value or not is_label_value(value):
            named = f"{_listed(device.names)}, or " if device.names else ""
            accepted = f"{named}a value of the label {device.label.value}"
            _refuse(case, f"{what} is no device; accepted: {accepted}", device.label.origin)
        elif device.allowed is not None and value not in device.allowed.value:
            refusal = f"{what} may not be used; accepted: {_listed(device.allowed.value)}"
            case.refusals.append(Refusal("accelerator", refusal, device.allowed.origin))
        else:
            if known is None and device.names and value not in {each.value for each in device.names.values()}:
                placement.warnings.append(f"{what} is none of {_listed(device.names)}: taken as a label's value")
            _require_label(placement, device.label, value, "accelerator", resource)


def _choose_partition(
    placement: Placement, text: str, resources: Sequence[str], rules: SchedulingRules, case: Case
) -> None:
    """G4: nodes with that part of a device, or with whole ones."""
    what = f'annotation {ACCELERATOR_PARTITION}: "{shown(text)}"'
    resource, partitions = _choices(what, "partitions", lambda rule: rule.partition, resources, rules, case)
    for partition in partitions:
        if text == WHOLE_DEVICE:
            _require_whole(placement, partition, resource)
        elif not text or not is_label_value(text):
            accepted = f"{WHOLE_DEVICE}, or a value of the label {partition.label.value}"
            _refuse(case, f"{what} is no partition; accepted: {accepted}", partition.label.origin)
        else:
            _require_label(placement, partition.label, text, "accelerator-partition", resource)


def _choices(
    what: str,
    choices: str,
    choice_of: Callable[[ScheduledResource], Choice | None],
    resources: Sequence[str],
    rules: SchedulingRules,
    case: Case,
) -> tuple[str, Sequence[Choice]]:
    """The one resource that an annotation can be about, and its choices; none where that is refused."""
    found = {name: [each for each in map(choice_of, rules.of[name]) if each is not None] for name in resources}
    names = [name for name in resources if found[name]]
    if len(names) == 1:
        return names[0], found[names[0]]
    known = [(rule.resource, choice) for rule in rules.resources if (choice := choice_of(rule)) is not None]
    if names:
        _refuse(case, f"{what} may be about any of {_listed(names)}: ask for one resource with {choices} only")
    elif known:
        accepted = " or ".join([resource for resource, _ in known[:LISTED]])
        _refuse(case, f"{what} is accepted for pods that ask for {accepted} only", known[0][1].label.origin)
    else:
        _refuse(case, f"{what}: no policy knows of {choices} here; leave the annotation out")
    return "", ()


def _refuse(case: Case, text: str, origin: Origin = PLATFORM) -> None:
    case.refusals.append(Refusal("annotation", text, origin))


def _require_label(placement: Placement, label: Setting[str], value: str, rule: Rule, resource: str) -> None:
    """Nodes with that value of a label, and their taint of the same name and value."""
    cause = Cause(rule, resource, label.origin)
    placement.tolerate(Toleration(label.value, "Equal", value, "NoSchedule"), cause)
    placement.require(NodeRequirement(label.value, "In", (value,)), cause)


def _require_whole(placement: Placement, partition: Partition, resource: str) -> None:
    toleration = partition.whole_toleration
    if toleration is not None:
        placement.tolerate(toleration.value, Cause("accelerator-partition", resource, toleration.origin))
    placement.require(partition.whole.value, Cause("accelerator-partition", resource, partition.whole.origin))


def _require_allowed(placement: Placement, device: Device, allowed: Setting[tuple[str, ...]], resource: str) -> None:
    wanted = NodeRequirement(device.label.value, "In", allowed.value)
    placement.require(wanted, Cause("allowed-accelerators", resource, allowed.origin))


def _place_interruptible(placement: Placement, is_interruptible: bool, rules: SchedulingRules, case: Case) -> None:
    interruptible = rules.interruptible
    rule: Rule = "interruptible" if is_interruptible else "not-interruptible"
    requirement = interruptible.requirement if is_interruptible else interruptible.otherwise
    if is_interruptible:
        _place(placement, interruptible.placing, rule, "", case)
    if requirement is not None:
        placement.require(requirement.value, Cause(rule, "", requirement.origin))


def _named_resources(containers: Sequence[ContainerResources]) -> set[str]:
    return {
        name
        for container in containers
        for names in (container.requests, container.limits, container.left_alone)
        for name in names
    }


def _judge_reserved(
    placement: Placement,
    suspects: Sequence[Toleration],
    named: Set[str],
    rules: SchedulingRules,
    case: Case,
) -> None:
    """G5: taints of reserved resources are for pods that ask for them, or at least name them.

    Free for this pod is what any rule tolerates for it, and the taint of the name of a resource that it names:
    ExtendedResourceToleration adds a toleration of that (G7).
    """
    of_named = [each for name in named for rule in rules.of[name] for each in rule.placing.tolerations.value]
    shared = [*placement.wanted_tolerations, *of_named]
    free_keys = named | {each.key for each in shared}
    free = [each for each in shared if tolerates_every_key(each)]
    suspects = [suspect for suspect in suspects if not any(covers(each, suspect) for each in shared)]
    for rule in rules.resources:
        guarded = [
            each
            for each in rule.placing.tolerations.value
            if each.key and each.key not in free_keys and not any(covers(other, each) for other in free)
        ]
        found = next((suspect for suspect in suspects if _reaches(suspect, guarded)), None)
        if rule.reserved.value == "Off" or found is None:
            continue
        keys = _listed(sorted({str(each.key) for each in guarded}))
        text = f"pod: tolerates {_taints_in_words(found)}; {keys} is reserved for pods that ask for {rule.resource}"
        if rule.reserved.value == "Deny":
            case.refusals.append(Refusal("reserved", text, rule.reserved.origin))
        else:
            placement.objections.append(text)


def _taints_in_words(toleration: Toleration) -> str:
    if tolerates_every_key(toleration):
        return f"every {toleration.effect} taint" if toleration.effect else "every taint"
    return f'the taint "{shown(toleration.key or "")}"'


def _reaches(toleration: Toleration, guarded: Sequence[Toleration]) -> bool:
    """Whether it is for the taint of one of those, by its key or as any key with such an effect."""
    if tolerates_every_key(toleration):
        effect = toleration.effect
        return any(not effect or not each.effect or effect == each.effect for each in guarded)
    return any(toleration.key == each.key for each in guarded)


def _listed(values: Iterable[str]) -> str:
    """Values for a message; of many the first."""
    names = [*values]
    return ", ".join(names if len(names) <= LISTED else [*names[:LISTED], f"{len(names) - LISTED} more"])
