"""Rules across the fields of a policy and across policies (P2 to P4), and the way from documents to `Policy`."""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

from pydantic import BaseModel

from webhook.effective import MissingLimit
from webhook.policy import BUILT_IN_ALIASES, Amounts, Choice, Policy, PolicyScope
from webhook.policy_document import (
    MOST_ERRORS,
    DeviceFields,
    Document,
    InvalidPolicies,
    MatchExpression,
    NodeRequirementFields,
    PartitionFields,
    Path,
    PlacingFields,
    PolicyError,
    Scheduling,
    ScopeFields,
    Spec,
    TaskResourcePolicy,
    TolerationFields,
    WholeRequirementFields,
    path_text,
    read_document,
)
from webhook.printable import shown
from webhook.quantity import NANOS_PER_UNIT, Quantity
from webhook.quota_names import counted_resource, is_quota_name, quota_step_nanos
from webhook.resource_names import (
    COMPUTE,
    HUGEPAGES,
    is_container_resource,
    is_native,
    is_qualified_name,
    page_bytes,
    unit_nanos,
)
from webhook.scheduling_rules import SchedulingPath
from webhook.setting import Origin, Setting
from webhook.validity import is_label_value

T = TypeVar("T")

Aliases = Mapping[str, frozenset[str]]

# In the order that they have to be in within one document (P4).
ASCENDING = ("min", "defaultRequest", "default", "max")

# A name is compared with so many at most to find out what was meant.
MOST_COMPARED = 100


@dataclass(frozen=True, slots=True)
class _Read:
    document: Document
    fields: TaskResourcePolicy
    errors: tuple[PolicyError, ...]

    def is_wrong(self, path: Path) -> bool:
        """Whether a field at or below the path was refused already."""
        text = path_text(path)
        return any(error.path == text or error.path.startswith((text + ".", text + "[")) for error in self.errors)


def read_policies(documents: Sequence[Document], errors: Sequence[PolicyError] = ()) -> tuple[Policy, ...]:
    """The policies that the documents hold.

    Raises InvalidPolicies with every error of all of them, after those that were found already.
    """
    policies, more = _policies_and_errors(documents)
    if errors or more:
        raise InvalidPolicies([*errors, *more])
    return policies


def _policies_and_errors(documents: Sequence[Document]) -> tuple[tuple[Policy, ...], list[PolicyError]]:
    """Policies only where nothing is wrong. What comes after more errors than are printed is not looked at."""
    errors: list[PolicyError] = []
    readable = []
    for document in documents:
        if len(errors) > MOST_ERRORS:
            break
        fields, found = read_document(document)
        errors += found
        if fields is not None:
            readable.append(_Read(document, fields, tuple(found)))
    aliases = _all_aliases(read.fields.spec for read in readable)
    for read in readable:
        if len(errors) > MOST_ERRORS:
            break
        # What was refused is left out of the fields, so that a rule across them may find a gap that is none.
        found_now = islice(_spec_errors(read.fields.spec, aliases), MOST_ERRORS + 1)
        findings = [finding for finding in found_now if not read.is_wrong(finding[0])]
        errors += [read.document.error(path, message) for path, message in findings]
    errors += _same_names(readable)
    errors += _same_scopes(readable)
    return (() if errors else tuple(_policy(read.document, read.fields) for read in readable)), errors


def _all_aliases(specs: Iterable[Spec]) -> Aliases:
    """What every alias of any document may stand for, somewhere."""
    found: dict[str, set[str]] = {}
    for spec in specs:
        for alias, resource in _own_aliases(spec).items():
            found.setdefault(alias, set()).add(resource)
    return {alias: frozenset(resources) for alias, resources in found.items()}


def _own_aliases(spec: Spec) -> dict[str, str]:
    entries = spec.scheduling.resources if spec.scheduling is not None else None
    return {entry.alias: entry.resource for entry in entries or () if entry.alias is not None}


# One document


@dataclass(frozen=True, slots=True)
class _Names:
    """What keys of a document may stand for: its own aliases first, then other documents', then the built-in ones."""

    own: Mapping[str, str]
    others: Aliases

    def candidates(self, key: str) -> frozenset[str]:
        """All that the key may stand for, in some namespace; nothing for a name that nobody knows."""
        if key in self.own:
            return frozenset({self.own[key]})
        found = self.others.get(key, frozenset())
        if key in BUILT_IN_ALIASES:
            found |= {BUILT_IN_ALIASES[key]}
        return found or (frozenset({key}) if is_container_resource(key) else found)

    def within(self, key: str) -> str:
        """What the document itself makes of the key: where only another one's alias counts, the key."""
        if key in self.own:
            return self.own[key]
        return key if key in self.others else BUILT_IN_ALIASES.get(key, key)

    def unknown(self, key: str) -> str:
        """Why the key is refused, with what was perhaps meant."""
        known = list(islice([*COMPUTE, *BUILT_IN_ALIASES, *self.own, *self.others], MOST_COMPARED))
        close = difflib.get_close_matches(key[:80].lower(), known, n=1)
        meant = f" (did you mean {shown(close[0])}?)" if close else ""
        return (
            f'"{shown(key)}" is no resource{meant}: use cpu, memory, ephemeral-storage, hugepages-<size>, '
            "a qualified name such as nvidia.com/gpu, or an alias"
        )


Finding = tuple[Path, str]


def _spec_errors(spec: Spec, aliases: Aliases) -> Iterator[Finding]:
    names = _Names(_own_aliases(spec), aliases)
    yield from _selector_errors(spec)
    yield from _scheduling_errors(spec)
    container, pod = spec.container, spec.pod
    if container is not None:
        at: Path = ("spec", "container")
        yield from _default_errors((*at, "defaultRequest"), container.default_request, names)
        yield from _default_errors((*at, "default"), container.default, names)
        yield from _default_errors((*at, "min"), container.min, names, is_zero_fine=True)
        yield from _maximum_errors((*at, "max"), container.max, names)
        yield from _order_errors(
            at, names, (container.min, container.default_request, container.default, container.max)
        )
    if pod is not None:
        yield from _maximum_errors(("spec", "pod", "max"), pod.max, names)
    if isinstance(spec.missing_limit, dict):
        yield from _missing_limit_errors(("spec", "missingLimit"), spec.missing_limit, names)
    yield from _quota_errors(("spec", "quota"), spec.quota, names)


def _selector_errors(spec: Spec) -> Iterator[Finding]:
    selector = spec.scope.pod_selector if spec.scope is not None else None
    if selector is None:
        return
    at: Path = ("spec", "scope", "podSelector", "matchExpressions")
    for index, expression in enumerate(selector.match_expressions or ()):
        yield from _operator_errors((*at, index), expression)
    # Pod labels belong to the pod's author, so these policies can only lower (P3).
    only = "a policy with a podSelector may set container, pod and contact only"
    for name in sorted(spec.model_fields_set - {"scope", "container", "pod", "contact"}):
        field = Spec.model_fields[name].alias or name
        yield ("spec", field), f"{field} is not accepted: {only}"
    if spec.pod is not None and spec.pod.resource_claims != "Deny" and "resource_claims" in spec.pod.model_fields_set:
        yield ("spec", "pod", "resourceClaims"), "a policy with a podSelector may only Deny"
    for part, amounts in (("container", spec.container and spec.container.max), ("pod", spec.pod and spec.pod.max)):
        for key, amount in (amounts or {}).items():
            if amount is None:
                yield ("spec", part, "max", key), "null is not accepted: a policy with a podSelector can only lower"


def _operator_errors(
    at: Path, requirement: MatchExpression | NodeRequirementFields | WholeRequirementFields
) -> Iterator[Finding]:
    operator, values = requirement.operator, requirement.values or []
    match operator:
        case "In" | "NotIn" if not values:
            yield at, f"{operator} needs values: a list of at least one"
        case "Exists" | "DoesNotExist" if values:
            yield (*at, "values"), f"{operator} has no values: leave them out"
        case "Gt" | "Lt" if len(values) != 1 or not values[0].isdigit():
            yield at, f'{operator} needs one value, a whole number in quotes such as "8"'


def _scheduling_errors(spec: Spec) -> Iterator[Finding]:
    entries = (spec.scheduling.resources if spec.scheduling is not None else None) or ()
    resources: dict[str, int] = {}
    aliases: dict[str, int] = {}
    for index, entry in enumerate(entries):
        at: Path = ("spec", "scheduling", "resources", index)
        is_glob = "*" in entry.resource
        if (is_glob and not _is_glob(entry.resource)) or (not is_glob and not is_container_resource(entry.resource)):
            text = f'"{shown(entry.resource)}" is no resource: use its whole name such as nvidia.com/gpu, or a glob'
            yield (*at, "resource"), f"{text} of extended resources such as nvidia.com/mig-*"
        if is_glob and entry.alias is not None:
            yield (*at, "alias"), f"{shown(entry.resource)} is a glob: an alias stands for an exact name"
        if entry.resource in resources:
            yield (*at, "resource"), f"{shown(entry.resource)} is in entry {resources[entry.resource]} already"
        if entry.alias is not None and entry.alias in aliases:
            yield (*at, "alias"), f"{entry.alias} is the alias of entry {aliases[entry.alias]} already"
        resources.setdefault(entry.resource, index)
        if entry.alias is not None:
            aliases.setdefault(entry.alias, index)
        yield from _toleration_list_errors((*at, "tolerations"), entry)
        yield from _device_errors((*at, "device"), entry.device)
        yield from _whole_errors((*at, "partition", "whole"), entry.partition)
    if spec.scheduling is None:
        return
    at = ("spec", "scheduling")
    interruptible, defaults = spec.scheduling.interruptible, spec.scheduling.defaults
    if interruptible is not None:
        yield from _toleration_list_errors((*at, "interruptible", "tolerations"), interruptible)
        for field, requirement in (
            ("requirement", interruptible.requirement),
            ("otherwise", interruptible.otherwise),
        ):
            if requirement is not None:
                yield from _operator_errors((*at, "interruptible", field), requirement)
    if defaults is not None:
        yield from _toleration_list_errors((*at, "defaults", "tolerations"), defaults)


def _toleration_list_errors(at: Path, placing: PlacingFields) -> Iterator[Finding]:
    for index, toleration in enumerate(placing.tolerations or ()):
        yield from _toleration_errors((*at, index), toleration)


def _toleration_errors(at: Path, toleration: TolerationFields, *, needs_key: bool = True) -> Iterator[Finding]:
    """Source: kubernetes pkg/apis/core/validation/validation.go ValidateTolerations."""
    if needs_key and toleration.key is None and toleration.operator != "Exists":
        yield at, "without a key the operator must be Exists: it is every taint"
    if toleration.operator == "Exists" and toleration.value:
        yield (*at, "value"), "Exists has no value: leave it out"
    if toleration.toleration_seconds is not None and toleration.effect != "NoExecute":
        yield (*at, "tolerationSeconds"), "tolerationSeconds are accepted with the effect NoExecute only"


def _device_errors(at: Path, device: DeviceFields | None) -> Iterator[Finding]:
    if device is None:
        return
    names: dict[str, str] = {}
    for name in device.names or ():
        first = names.setdefault(name.lower(), name)
        if first != name:
            yield (*at, "names", name), f"{first} and {name} are one name: case does not count"
    if device.allowed == []:
        yield (*at, "allowed"), "an empty list allows none: list at least one, or write null for every device"
    for index, text in enumerate(device.allowed or ()):
        if not is_label_value(text) and text.lower() not in names:
            yield (*at, "allowed", index), f'"{text}" is neither a value of a label nor one of the names beside it'


def _whole_errors(at: Path, partition: PartitionFields | None) -> Iterator[Finding]:
    whole = partition.whole if partition is not None else None
    if whole is None:
        return
    if whole.requirement is not None:
        yield from _operator_errors((*at, "requirement"), whole.requirement)
    if whole.toleration is not None:
        yield from _toleration_errors((*at, "toleration"), whole.toleration, needs_key=False)


def _default_errors(
    at: Path, amounts: Mapping[str, Quantity | None] | None, names: _Names, *, is_zero_fine: bool = False
) -> Iterator[Finding]:
    for key, amount in (amounts or {}).items():
        candidates = names.candidates(key)
        if "*" in key:
            yield (*at, key), f"{shown(key)} is a glob: they are accepted in max only"
        elif not candidates:
            yield (*at, key), names.unknown(key)
        elif not candidates & set(COMPUTE):
            yield (*at, key), f"{shown(key)} is accepted in max only: use cpu, memory or ephemeral-storage here"
        elif amount is not None:
            yield from _step_errors((*at, key), amount, candidates)
            if not amount and not is_zero_fine:
                yield (*at, key), f"0 is not accepted: write null for no {at[-1]}"
    yield from _repeated_errors(at, amounts, names)


def _maximum_errors(at: Path, amounts: Mapping[str, Quantity | None] | None, names: _Names) -> Iterator[Finding]:
    for key, amount in (amounts or {}).items():
        candidates = names.candidates(key)
        if "*" in key:
            if not _is_glob(key):
                yield (*at, key), f"{shown(key)} is no glob of extended resources: use one such as nvidia.com/mig-*"
            elif amount is not None:
                yield from _step_errors((*at, key), amount, frozenset({key}))
        elif not candidates:
            yield (*at, key), names.unknown(key)
        elif amount is not None:
            yield from _step_errors((*at, key), amount, candidates)
            if not amount and candidates <= set(COMPUTE):
                yield (*at, key), "0 is not accepted: write null for unlimited"
    yield from _repeated_errors(at, amounts, names)


def _is_glob(key: str) -> bool:
    """Whether it can fit an extended resource: only such names have globs."""
    is_name = is_qualified_name(key.replace("*", "x")) or key == "*"
    return is_name and not key.startswith(HUGEPAGES) and not any(_covers(key, name) for name in COMPUTE)


def _covers(pattern: str, name: str) -> bool:
    return pattern.partition("*")[0] != "" and "/" not in pattern and name.startswith(pattern.partition("*")[0])


def _step_errors(path: Path, amount: Quantity, candidates: frozenset[str]) -> Iterator[Finding]:
    """Amounts are in steps that the resource can have; an alias is wrong where none of what it stands for can."""
    if all(amount.nanos % _step(name) for name in candidates):
        yield path, f"{amount} is not accepted: use {' or '.join(sorted(_step_text(name) for name in candidates))}"


def _step(name: str) -> int:
    return NANOS_PER_UNIT if is_native(name) or "*" in name else unit_nanos(name)


def _step_text(name: str) -> str:
    if name == "cpu":
        return "cores in thousandths at most, such as 500m"
    if name in COMPUTE:
        return "whole bytes"
    return f"a multiple of {name.removeprefix(HUGEPAGES)}" if page_bytes(name) else "a whole number"


def _repeated_errors(at: Path, settings: Mapping[str, Any] | None, names: _Names) -> Iterator[Finding]:
    seen: dict[str, str] = {}
    for key in settings or ():
        first = seen.setdefault(names.within(key), key)
        if first != key:
            yield (
                (*at, key),
                f"{shown(first)} and {shown(key)} are one resource, {shown(names.within(key))}: use one of them",
            )


def _order_errors(at: Path, names: _Names, maps: Sequence[Mapping[str, Quantity | None] | None]) -> Iterator[Finding]:
    """min ≤ defaultRequest ≤ default ≤ max, of what the document itself says."""
    highest: dict[str, tuple[str, Quantity]] = {}
    for field, amounts in zip(ASCENDING, maps, strict=True):
        for key, amount in (amounts or {}).items():
            name = names.within(key)
            if not amount or name not in COMPUTE:  # null says nothing here, and a zero is refused by itself
                continue
            below = highest.get(name)
            if below is not None and below[1] > amount:
                yield (*at, field, key), f"{amount} is below {below[0]} {below[1]}: use {' ≤ '.join(ASCENDING)}"
            else:
                highest[name] = (field, amount)


def _missing_limit_errors(at: Path, words: Mapping[str, str | None], names: _Names) -> Iterator[Finding]:
    for key in words:
        candidates = names.candidates(key)
        if not candidates or not candidates & set(COMPUTE):
            yield (*at, key), f'"{shown(key)}" is not accepted: use cpu, memory or ephemeral-storage'
    yield from _repeated_errors(at, words, names)


def _quota_errors(at: Path, amounts: Mapping[str, Quantity | None] | None, names: _Names) -> Iterator[Finding]:
    aliases = frozenset({*names.own, *names.others, *BUILT_IN_ALIASES})
    for key, amount in (amounts or {}).items():
        if not is_quota_name(key, aliases):
            yield (
                (*at, key),
                (
                    f'"{shown(key)}" is no word of a ResourceQuota\'s spec.hard: use one such as requests.cpu, '
                    "limits.memory, requests.nvidia.com/gpu, pods or count/jobs.batch"
                ),
            )
        elif amount is not None and amount.nanos % quota_step_nanos(key):
            unit = "cores in thousandths" if counted_resource(key) == "cpu" else "a whole number"
            yield (*at, key), f"{amount} is not accepted: use {unit}"


# All documents


def _same_names(readable: Sequence[_Read]) -> Iterator[PolicyError]:
    first: dict[str, Document] = {}
    for read in readable:
        if read.is_wrong(("metadata",)):
            continue
        name = read.fields.metadata.name
        other = first.setdefault(name, read.document)
        if other is not read.document:
            yield read.document.error(
                ("metadata", "name"),
                f"{name} is the name of the policy at {other.file}:{other.line_of(('metadata', 'name'))}, too: "
                "every policy has its own",
            )


def _same_scopes(readable: Sequence[_Read]) -> Iterator[PolicyError]:
    first: dict[PolicyScope, Document] = {}
    for read in readable:
        if read.is_wrong(("spec", "scope")) or any(error.path == "spec" for error in read.errors):
            continue
        scope = _scope(read.fields.spec.scope)
        other = first.setdefault(scope, read.document)
        if other is not read.document:
            yield read.document.error(
                ("spec", "scope"),
                f"the scope ({scope}) is that of the policy at {other.file}:{other.line_of(('spec', 'scope'))}, too: "
                "put both into one",
            )


# From fields to policies


def _scope(fields: ScopeFields | None) -> PolicyScope:
    if fields is None:
        return PolicyScope()
    selector = fields.pod_selector
    return PolicyScope(
        fields.project, fields.domain, fields.namespace, selector.selector() if selector is not None else None
    )


def _policy(document: Document, fields: TaskResourcePolicy) -> Policy:
    spec, scope = fields.spec, _scope(fields.spec.scope)
    name, words = fields.metadata.name, str(scope)

    def setting(value: T, *path: str | int) -> Setting[T]:
        return Setting(value, Origin(name, words, document.file, document.line_of(("spec", *path))))

    def settings(values: Mapping[str, T] | None, *path: str) -> dict[str, Setting[T]]:
        return {key: setting(value, *path, key) for key, value in (values or {}).items()}

    choices: dict[Choice, Setting[str | None]] = {}
    if "mode" in spec.model_fields_set:
        choices["mode"] = setting(spec.mode, "mode")
    if "on_exceed" in spec.model_fields_set:
        choices["onExceed"] = setting(spec.on_exceed, "onExceed")
    if "contact" in spec.model_fields_set:
        choices["contact"] = setting(spec.contact, "contact")
    container, pod = spec.container, spec.pod
    if pod is not None and "resource_claims" in pod.model_fields_set:
        choices["resourceClaims"] = setting(pod.resource_claims, "pod", "resourceClaims")

    missing_limit: dict[str, Setting[MissingLimit | None]] = {}
    if isinstance(spec.missing_limit, dict):
        missing_limit = settings(spec.missing_limit, "missingLimit")
    elif "missing_limit" in spec.model_fields_set:
        missing_limit = dict.fromkeys(COMPUTE, setting(spec.missing_limit, "missingLimit"))

    values = [(path, setting(value, "scheduling", *at)) for at, path, value in _scheduling_values(spec.scheduling)]
    amounts: dict[str, Amounts] = {}
    if container is not None:
        amounts = {
            "default_request": settings(container.default_request, "container", "defaultRequest"),
            "default_limit": settings(container.default, "container", "default"),
            "minimum": settings(container.min, "container", "min"),
            "maximum": settings(container.max, "container", "max"),
        }
    if pod is not None:
        amounts["pod_maximum"] = settings(pod.max, "pod", "max")
    return Policy(
        name=name,
        file=document.file,
        line=document.line,
        scope=scope,
        choices=choices,
        missing_limit=missing_limit,
        quota=settings(spec.quota, "quota"),
        aliases={path[1]: said for path, said in values if path[2:] == ALIAS},
        scheduling={path: said for path, said in values if path[2:] != ALIAS},
        **amounts,
    )


# The end of an entry's path: aliases are in force before anything is merged.
ALIAS = ("alias",)


def _scheduling_values(fields: Scheduling | None) -> Iterator[tuple[Path, SchedulingPath, Any]]:
    """Each value with its place in the document, and the path by which it is merged."""
    if fields is None:
        return
    for index, entry in enumerate(fields.resources or ()):
        yield from _placed_values(entry, ("resources", index), ("resources", entry.resource))
    if fields.interruptible is not None:
        yield from _placed_values(fields.interruptible, ("interruptible",), ("interruptible",))
    if fields.defaults is not None:
        yield from _placed_values(fields.defaults, ("defaults",), ("defaults",))


def _placed_values(fields: BaseModel, at: Path, to: SchedulingPath) -> Iterator[tuple[Path, SchedulingPath, Any]]:
    """Fields within fields and maps by key are values of their own; lists, tolerations and requirements are whole."""
    for name, information in type(fields).model_fields.items():
        if name not in fields.model_fields_set:
            continue
        value, key = getattr(fields, name), information.alias or name
        match value:
            case TolerationFields():
                yield (*at, key), (*to, key), value.toleration()
            case NodeRequirementFields() | WholeRequirementFields():
                yield (*at, key), (*to, key), value.requirement()
            case BaseModel():
                yield from _placed_values(value, (*at, key), (*to, key))
            case dict():
                for part, said in value.items():
                    yield (*at, key, part), (*to, key, part.lower() if key == "names" else part), said
            case list() if isinstance(fields, DeviceFields):
                yield (*at, key), (*to, key), fields.allowed_values()
            case list():
                items = [item.toleration() if isinstance(item, TolerationFields) else item for item in value]
                yield (*at, key), (*to, key), tuple(items)
            case _:
                yield (*at, key), (*to, key), value
