"""Policies: which of them count for a namespace, and what they come to when merged (P1 to P3, A1).

Documents are read and checked by `policy_document`; values here are known to be good. The outcome, an
`EffectivePolicy`, is compiled once per scope and kept.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar, cast

from msgspec import to_builtins

from webhook.effective import (
    Bound,
    EffectivePolicy,
    Maxima,
    MissingLimit,
    Mode,
    OnExceed,
    ResourceClaims,
    Selections,
)
from webhook.label_selector import LabelSelector
from webhook.projects import Scope
from webhook.quantity import Quantity
from webhook.resource_names import COMPUTE, is_container_resource, matches_glob, unit_nanos
from webhook.scheduling_rules import SchedulingSettings, merge_scheduling, scheduling_rules
from webhook.setting import Origin, Setting

BUILT_IN_ALIASES: Mapping[str, str] = {
    "mem": "memory",
    "ephemeral_storage": "ephemeral-storage",
    "gpu": "nvidia.com/gpu",
}

# Namespaces with the same policies share what they come to.
KEPT_POLICIES = 4_096

T = TypeVar("T")
K = TypeVar("K")

Amount = Setting[Quantity | None]
Amounts = Mapping[str, Amount]
Choice = Literal["mode", "onExceed", "contact", "resourceClaims"]


@dataclass(frozen=True, slots=True)
class PolicyScope:
    """Whom a policy is for; a field that is None fits everybody. `namespace` is a name or a glob."""

    project: str | None = None
    domain: str | None = None
    namespace: str | None = None
    pod_selector: LabelSelector | None = None

    def matches(self, scope: Scope) -> bool:
        """Whether the policy is for (some of) the pods of that namespace."""
        return (
            self.project in (None, scope.project)
            and self.domain in (None, scope.domain)
            and (self.namespace is None or matches_glob(self.namespace, scope.namespace))
        )

    @property
    def specificity(self) -> tuple[bool, int, bool, bool]:
        """The higher, the more specific: podSelector, namespace, project, domain, platform (P1)."""
        return self.pod_selector is not None, self._namespace_rank, self.project is not None, self.domain is not None

    @property
    def _namespace_rank(self) -> int:
        """0 without a namespace, then globs by their literal prefix; above any prefix an exact name."""
        if self.namespace is None:
            return 0
        return 1 + len(self.namespace.partition("*")[0]) if "*" in self.namespace else 1_000

    def __str__(self) -> str:
        """In words, for messages: `project flytesnacks, domain development`."""
        parts = [
            f"{word} {value}"
            for word, value in (
                ("pods with", self.pod_selector),
                ("namespace", self.namespace),
                ("project", self.project),
                ("domain", self.domain),
            )
            if value is not None
        ]
        return ", ".join(parts) or "platform"


@dataclass(frozen=True, slots=True)
class Policy:
    """One document. Keys of maps are as written, aliases not resolved; a value of None lifts an inherited one."""

    name: str
    file: str
    line: int
    scope: PolicyScope = PolicyScope()
    choices: Mapping[Choice, Setting[str | None]] = field(default_factory=dict)
    missing_limit: Mapping[str, Setting[MissingLimit | None]] = field(default_factory=dict)
    default_request: Amounts = field(default_factory=dict)
    default_limit: Amounts = field(default_factory=dict)
    minimum: Amounts = field(default_factory=dict)
    maximum: Amounts = field(default_factory=dict)
    pod_maximum: Amounts = field(default_factory=dict)
    quota: Amounts = field(default_factory=dict)
    # By resource: its alias, from scheduling.resources.
    aliases: Mapping[str, Setting[str | None]] = field(default_factory=dict)
    scheduling: SchedulingSettings = field(default_factory=dict)

    @property
    def origin(self) -> Origin:
        """The document as a whole."""
        return Origin(self.name, str(self.scope), self.file, self.line)

    @property
    def content(self) -> dict[str, Any]:
        """What it says, without where it stands: JSON that is equal for equal policies."""
        selector = self.scope.pod_selector
        said: dict[str, Any] = {
            "name": self.name,
            "scope": [self.scope.project, self.scope.domain, self.scope.namespace, selector and str(selector)],
        }
        for part in _PARTS:
            settings: Mapping[str, Setting[Any]] = getattr(self, part)
            if settings:
                said[part] = {key: _plain(setting.value) for key, setting in settings.items()}
        if self.scheduling:
            # A list, because the order of resources counts.
            said["scheduling"] = [[*path, to_builtins(setting.value)] for path, setting in self.scheduling.items()]
        return said


_PARTS = (
    "choices",
    "missing_limit",
    "default_request",
    "default_limit",
    "minimum",
    "maximum",
    "pod_maximum",
    "quota",
    "aliases",
)


def _plain(value: Quantity | str | None) -> str | int | None:
    return value.nanos if isinstance(value, Quantity) else value


class PolicySet:
    """All policies at one moment, found by what they are for.

    `resources` are the resources that they may be about, by their exact names, and `projects` those in their scopes.
    """

    def __init__(self, documents: Iterable[Policy]) -> None:
        # Broadest first: what comes later wins. Of equally specific ones the first by name wins, so it comes last.
        by_name = sorted(documents, key=lambda policy: policy.name, reverse=True)
        ordered = sorted(by_name, key=lambda policy: policy.scope.specificity)
        self.documents: tuple[Policy, ...] = tuple(reversed(by_name))
        self._index = _Index(ordered)
        self._by_policies: dict[tuple[int, ...], EffectivePolicy] = {}
        self.hash: str = _digest(self.documents)
        self.resources: frozenset[str] = frozenset(_resources(self.documents))
        self.projects: frozenset[str] = frozenset(
            policy.scope.project for policy in self.documents if policy.scope.project is not None
        )

    def effective(self, scope: Scope) -> EffectivePolicy:
        """What the set comes to for a namespace; compiled once for all that the same policies are for."""
        positions = self._index.matching(scope)
        found = self._by_policies.get(positions)
        if found is None:
            if len(self._by_policies) >= KEPT_POLICIES:
                self._by_policies.clear()
            found = compile_policies([self._index.policies[position] for position in positions])
            self._by_policies[positions] = found
        return found

    def matching(self, scope: Scope) -> tuple[Policy, ...]:
        """The policies for a namespace or for some of its pods, the broadest first."""
        return tuple(self._index.policies[position] for position in self._index.matching(scope))

    def pieces(self) -> list[object]:
        """What it holds, to be dropped one by one: freed at once, 10,000 policies hold up every other thread."""
        return [*self._by_policies.values(), *self.documents]


def _resources(documents: Iterable[Policy]) -> Iterator[str]:
    """Exact names of resources that policies bound, fill in, place or give an alias, and those of built-in aliases.

    A key that is an alias is there as each resource that it may stand for.
    """
    yield from COMPUTE
    yield from BUILT_IN_ALIASES.values()
    for policy in documents:
        keys = [key for part in FIELDS for key in getattr(policy, part)]
        placed = [path[1] for path in policy.scheduling if path[0] == "resources"]
        yield from (name for name in (*keys, *policy.aliases, *placed) if is_container_resource(name))


def _digest(documents: Sequence[Policy]) -> str:
    """12 hex digits that change with the content, whatever the files and their order."""
    # Of the JSON list of all, piece by piece: ten thousand in one call would hold up every other thread for 0.1 s.
    digest = hashlib.sha256(b"[")
    for number, policy in enumerate(documents):
        text = json.dumps(policy.content, sort_keys=True, separators=(",", ":"))
        digest.update(f"{',' if number else ''}{text}".encode())
    digest.update(b"]")
    return digest.hexdigest()[:12]


class _Index:
    """Policies by what they are for, so that a namespace looks at its own and at globs only."""

    def __init__(self, policies: Sequence[Policy]) -> None:
        self.policies = tuple(policies)
        self._by_name: dict[tuple[str, str | None], list[int]] = {}
        self._globs: list[int] = []
        for position, policy in enumerate(self.policies):
            scope = policy.scope
            if scope.namespace is not None and "*" not in scope.namespace:
                self._by_name.setdefault(("namespace", scope.namespace), []).append(position)
            elif scope.project is not None:
                self._by_name.setdefault(("project", scope.project), []).append(position)
            elif scope.domain is not None:
                self._by_name.setdefault(("domain", scope.domain), []).append(position)
            elif scope.namespace is not None:
                self._globs.append(position)
            else:
                self._by_name.setdefault(("platform", None), []).append(position)

    def matching(self, scope: Scope) -> tuple[int, ...]:
        """Positions of the policies for a namespace or for some of its pods, the broadest first."""
        keys = (
            ("platform", None),
            ("domain", scope.domain),
            ("project", scope.project),
            ("namespace", scope.namespace),
        )
        candidates = [position for key in keys for position in self._by_name.get(key, ())] + self._globs
        return tuple(sorted(position for position in candidates if self.policies[position].scope.matches(scope)))


def compile_policies(policies: Sequence[Policy]) -> EffectivePolicy:
    """Merges policies, the broadest first: the last that sets a value wins, null included."""
    inherited = [policy for policy in policies if policy.scope.pod_selector is None]
    aliases = {alias: setting.value for alias, setting in aliases_in_force(policies).items()}
    merged = _merge(inherited, aliases)
    selected = [
        (policy.scope.pod_selector, _merge([policy], aliases))
        for policy in reversed(policies)
        if policy.scope.pod_selector is not None
    ]
    return replace(merged.fitted(), selections=Selections(merged, selected) if selected else None)


def merge_policies(policies: Sequence[Policy]) -> EffectivePolicy:
    """What the policies without a podSelector say, merged and not fitted: `policy check` looks at what does not fit."""
    aliases = {alias: setting.value for alias, setting in aliases_in_force(policies).items()}
    return _merge([policy for policy in policies if policy.scope.pod_selector is None], aliases)


def aliases_in_force(policies: Sequence[Policy]) -> dict[str, Setting[str]]:
    """What each alias stands for where these policies count, the broadest first (A1)."""
    by_resource: dict[str, tuple[int, Setting[str | None]]] = {}
    for rank, policy in enumerate(policies):
        for resource, setting in policy.aliases.items():
            by_resource[resource] = (rank, setting)
    found = {alias: Setting(resource) for alias, resource in BUILT_IN_ALIASES.items()}
    # Of two entries with one alias the more specific policy's counts, so it is written last.
    for resource, (_, setting) in sorted(by_resource.items(), key=lambda entry: entry[1][0]):
        if setting.value is not None:
            found[setting.value] = Setting(resource, setting.origin)
    return found


def merge_quota(policies: Sequence[Policy]) -> dict[str, Bound]:
    """The ResourceQuota that the policies write down, the broadest first (Q1); the webhook does not read it."""
    aliases = aliases_in_force(policies)

    def word(key: str) -> str:
        prefix, dot, resource = key.partition(".")
        return f"{prefix}{dot}{aliases[resource].value}" if dot and resource in aliases else key

    # Two keys come to one only by another document's alias; the lower counts, null being no quota at all.
    found: dict[str, Amount] = {}
    for policy in policies:
        said: dict[str, Amount] = {}
        for key, amount in policy.quota.items():
            name = word(key)
            said[name] = min(said.get(name, amount), amount, key=_height(null_is_highest=True))
        found |= said
    return _present(found)


def lifted(policies: Sequence[Policy]) -> dict[str, Origin]:
    """By field, such as `container.max.cpu`: where null lifts what a broader policy says, or may say."""
    inherited = [policy for policy in policies if policy.scope.pod_selector is None]
    aliases = {alias: setting.value for alias, setting in aliases_in_force(inherited).items()}
    found: dict[str, Origin] = {}
    for part, field_name in FIELDS.items():
        maps: list[Mapping[str, Setting[Any]]] = [getattr(policy, part) for policy in inherited]
        is_maximum = part in ("maximum", "pod_maximum")
        merged = _merged(_resolved(settings, aliases, null_is_highest=is_maximum) for settings in maps)
        found |= {f"{field_name}.{name}": setting.origin for name, setting in merged.items() if setting.value is None}
    return found


# Parts of a policy by resource, and where they are in a document.
FIELDS = {
    "missing_limit": "missingLimit",
    "default_request": "container.defaultRequest",
    "default_limit": "container.default",
    "minimum": "container.min",
    "maximum": "container.max",
    "pod_maximum": "pod.max",
}


def _merge(policies: Sequence[Policy], aliases: Mapping[str, str]) -> EffectivePolicy:
    choices = _present(_merged(policy.choices for policy in policies))
    return EffectivePolicy(
        mode=cast("Setting[Mode]", choices.get("mode", Setting("Enforce"))),
        on_exceed=cast("Setting[OnExceed]", choices.get("onExceed", Setting("Cap"))),
        contact=choices.get("contact"),
        resource_claims=cast("Setting[ResourceClaims]", choices.get("resourceClaims", Setting("Allow"))),
        missing_limit=_present(_merged(_resolved(policy.missing_limit, aliases) for policy in policies)),
        default_request=_defaults([policy.default_request for policy in policies], aliases),
        default_limit=_defaults([policy.default_limit for policy in policies], aliases),
        minimum=_defaults([policy.minimum for policy in policies], aliases),
        maximum=_maxima([policy.maximum for policy in policies], aliases),
        pod_maximum=_maxima([policy.pod_maximum for policy in policies], aliases),
        aliases=aliases,
        scheduling=scheduling_rules(merge_scheduling(policy.scheduling for policy in policies)),
    )


def _merged(maps: Iterable[Mapping[K, T]]) -> dict[K, T]:
    return {key: value for settings in maps for key, value in settings.items()}


def _present(settings: Mapping[K, Setting[T | None]]) -> dict[K, Setting[T]]:
    """Without what was lifted: the built-in value counts there."""
    return {key: cast("Setting[T]", setting) for key, setting in settings.items() if setting.value is not None}


def _defaults(maps: Iterable[Amounts], aliases: Mapping[str, str]) -> dict[str, Bound]:
    """Defaults and minima; an alias may stand for a device here and for cpu there, and devices have none."""
    merged = _present(_merged(_resolved(amounts, aliases) for amounts in maps))
    return {name: _stepped(name, bound) for name, bound in merged.items() if name in COMPUTE}


def _maxima(maps: Iterable[Amounts], aliases: Mapping[str, str]) -> Maxima:
    merged = _merged(_resolved(amounts, aliases, null_is_highest=True) for amounts in maps)
    exact = {name: _bound(name, amount) for name, amount in merged.items() if "*" not in name}
    globs = [(pattern, _bound(pattern, amount)) for pattern, amount in merged.items() if "*" in pattern]
    return Maxima(exact, tuple(sorted(globs, key=lambda glob: glob_specificity(glob[0]))))


def glob_specificity(pattern: str) -> tuple[int, int, str]:
    """Sorts the most specific first: the longest literal prefix, then the longest pattern (P2)."""
    return -len(pattern.partition("*")[0]), -len(pattern), pattern


def _bound(name: str, amount: Amount) -> Bound | None:
    return None if amount.value is None else _stepped(name, cast("Bound", amount))


def _stepped(name: str, bound: Bound) -> Bound:
    """In steps that the resource can have; only where an alias stands for another resource than its policy meant."""
    unit = unit_nanos(name)
    if "*" in name or bound.value.nanos % unit == 0:
        return bound
    return Setting(bound.value.rounded_down(unit), bound.origin)


def _resolved(
    settings: Mapping[str, Setting[T]], aliases: Mapping[str, str], *, null_is_highest: bool = False
) -> dict[str, Setting[T]]:
    """By resource. Where two keys come to one, the lower counts; an alias that is not in force here says nothing."""
    found: dict[str, Setting[T]] = {}
    for key, setting in settings.items():
        name = aliases.get(key, key)
        if "*" in name or is_container_resource(name):
            other = found.get(name)
            found[name] = setting if other is None else min(other, setting, key=_height(null_is_highest))
    return found


def _height(null_is_highest: bool) -> Callable[[Setting[Any]], tuple[int, Any]]:
    """Sorts amounts and words; null is no maximum at all, hence the highest, but the lowest of anything else."""

    def height(setting: Setting[Any]) -> tuple[int, Any]:
        if setting.value is None:
            return (2 if null_is_highest else 0), 0
        return 1, _plain(setting.value)

    return height


EMPTY = PolicySet(())
