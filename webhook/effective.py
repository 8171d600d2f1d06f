"""What a policy set comes to for one namespace: every value with the policy, file and line it came from.

Compiled once per policy set and namespace by `policy`; `decide` reads it and nothing else of the policies.
What policies with a podSelector add for a single pod (P3) is worked out here, too: `EffectivePolicy.for_pod`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from webhook.label_selector import LabelSelector
from webhook.quantity import Quantity
from webhook.resource_names import COMPUTE, is_extended, is_native, matches_glob
from webhook.scheduling_rules import SchedulingRules
from webhook.setting import Setting

Mode = Literal["Enforce", "Warn", "Audit", "Off"]
OnExceed = Literal["Cap", "Deny"]
MissingLimit = Literal["Maximum", "Request", "Unset"]
ResourceClaims = Literal["Allow", "Deny"]

# How many different sets of matching podSelector policies are remembered for one namespace.
REMEMBERED_SELECTIONS = 256


Bound = Setting[Quantity]
Globs = tuple[tuple[str, Bound | None], ...]

_UNLISTED: Bound | None = Setting(Quantity(0, "DecimalSI", "0"))


@dataclass(frozen=True, slots=True)
class Maxima:
    """Maxima by resource name: exact names first, then globs, the most specific first.

    None stands for a value that a more specific policy lifted: an exact None lifts a glob, too.
    `by_name` is what is left of the exact ones, in the names' order.
    `more_globs` are those of policies that are looked up by themselves (P3): the lowest of all counts.
    """

    exact: Mapping[str, Bound | None] = field(default_factory=dict)
    globs: Globs = ()
    more_globs: tuple[Globs, ...] = ()
    by_name: tuple[tuple[str, Bound], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        present = [(name, bound) for name, bound in sorted(self.exact.items()) if bound is not None]
        object.__setattr__(self, "by_name", tuple(present))

    def get(self, resource: str) -> Bound | None:
        """The maximum of `resource`; None where nothing bounds it."""
        bound = self.exact.get(resource, _UNLISTED)
        if bound is not _UNLISTED:
            return bound
        return self._from_globs(resource) if self.globs else None

    def lowest_by_glob(self) -> dict[str, Bound | None]:
        """Every pattern with its maximum, for people: a name may fit several, see `get`."""
        found: dict[str, Bound | None] = {}
        for globs in (self.globs, *self.more_globs):
            for pattern, bound in globs:
                found[pattern] = _lowest((found.get(pattern), bound))
        return found

    def _from_globs(self, resource: str) -> Bound | None:
        """Globs are for devices only: `*` says nothing about cpu or hugepages (P2)."""
        if not is_extended(resource) and not is_native(resource):
            return None
        return _lowest(_first_match(globs, resource) for globs in (self.globs, *self.more_globs))


def _first_match(globs: Globs, resource: str) -> Bound | None:
    return next((bound for pattern, bound in globs if matches_glob(pattern, resource)), None)


def _lowest(bounds: Iterable[Bound | None]) -> Bound | None:
    """The lowest, the first of equals; None where none says anything."""
    return min((bound for bound in bounds if bound is not None), key=lambda bound: bound.value.nanos, default=None)


@dataclass(frozen=True, slots=True)
class ComputeRules:
    """All that a policy says of cpu, memory or ephemeral-storage. `None` says nothing."""

    resource: str
    maximum: Bound | None
    minimum: Bound | None
    default_limit: Bound | None
    default_request: Bound | None  # the default limit where there is none
    missing_limit: Setting[MissingLimit] | None


@dataclass(frozen=True, slots=True)
class EffectivePolicy:
    """What bounds a pod. `None` and absent keys bound nothing. `compute` is the same again, by resource."""

    mode: Setting[Mode] = Setting("Enforce")
    on_exceed: Setting[OnExceed] = Setting("Cap")
    missing_limit: Mapping[str, Setting[MissingLimit]] = field(default_factory=dict)
    contact: Setting[str] | None = None
    default_request: Mapping[str, Bound] = field(default_factory=dict)
    default_limit: Mapping[str, Bound] = field(default_factory=dict)
    minimum: Mapping[str, Bound] = field(default_factory=dict)
    maximum: Maxima = Maxima()
    pod_maximum: Maxima = Maxima()
    resource_claims: Setting[ResourceClaims] = Setting("Allow")
    aliases: Mapping[str, str] = field(default_factory=dict)
    scheduling: SchedulingRules | None = None
    selections: "Selections | None" = None
    compute: tuple[ComputeRules, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "compute", tuple(map(self._compute_rules, COMPUTE)))

    def _compute_rules(self, resource: str) -> ComputeRules:
        default = self.default_limit.get(resource)
        return ComputeRules(
            resource,
            self.maximum.get(resource),
            self.minimum.get(resource),
            default,
            self.default_request.get(resource, default),
            self.missing_limit.get(resource),
        )

    def for_pod(self, labels: Mapping[str, str]) -> "EffectivePolicy":
        """The policy of a pod with these labels: itself, lowered by every podSelector policy that fits (P3)."""
        return self if self.selections is None else self.selections.for_pod(self, labels)

    def fitted(self) -> "EffectivePolicy":
        """The same with defaults lowered to the maximum and raised to the minimum; the maximum beats the minimum."""
        minimum = {name: _at_most(self.maximum.get(name), bound) for name, bound in self.minimum.items()}

        def fit(defaults: Mapping[str, Bound]) -> dict[str, Bound]:
            return {
                name: _at_least(minimum.get(name), _at_most(self.maximum.get(name), bound))
                for name, bound in defaults.items()
            }

        return replace(
            self,
            minimum=minimum,
            default_request=fit(self.default_request),
            default_limit=fit(self.default_limit),
        )


def _at_most(limit: Bound | None, bound: Bound) -> Bound:
    return limit if limit is not None and limit.value.nanos < bound.value.nanos else bound


def _at_least(limit: Bound | None, bound: Bound) -> Bound:
    return limit if limit is not None and limit.value.nanos > bound.value.nanos else bound


class Selections:
    """The podSelector policies of a namespace, the most specific first, each looked up by itself.

    `inherited` is what the other policies say, not fitted yet: a default is fitted to the maximum that counts.
    """

    def __init__(self, inherited: EffectivePolicy, policies: Sequence[tuple[LabelSelector, EffectivePolicy]]) -> None:
        self.inherited, self.policies = inherited, tuple(policies)
        # Most selectors name a label's value: a pod's few labels then find the few that can fit.
        self._by_label: dict[tuple[str, str], list[int]] = {}
        self._others: list[int] = []
        for index, (selector, _) in enumerate(self.policies):
            pairs = selector.needed_labels()
            for pair in pairs:
                self._by_label.setdefault(pair, []).append(index)
            if not pairs:
                self._others.append(index)
        self._remembered: dict[tuple[int, ...], EffectivePolicy] = {}

    def for_pod(self, policy: EffectivePolicy, labels: Mapping[str, str]) -> EffectivePolicy:
        """What counts for a pod with these labels; `policy` itself where no selector fits."""
        matching = self._matching(labels)
        if not matching:
            return policy
        found = self._remembered.get(matching)
        if found is None:
            found = lowest([self.inherited, *(self.policies[index][1] for index in matching)]).fitted()
            # Labels are the pod author's: what is remembered of them is bounded.
            if len(self._remembered) >= REMEMBERED_SELECTIONS:
                self._remembered.clear()
            self._remembered[matching] = found
        return found

    def _matching(self, labels: Mapping[str, str]) -> tuple[int, ...]:
        candidates = set(self._others)
        for pair in labels.items():
            candidates.update(self._by_label.get(pair, ()))
        return tuple(index for index in sorted(candidates) if self.policies[index][0].matches(labels))


def lowest(policies: Sequence[EffectivePolicy]) -> EffectivePolicy:
    """The first policy with the lowest of what all of them say; what only one says counts as that one says it."""
    inherited, *selected = policies
    return replace(
        inherited,
        contact=next((policy.contact for policy in selected if policy.contact is not None), inherited.contact),
        default_request=_lowest_of_each([policy.default_request for policy in policies]),
        default_limit=_lowest_of_each([policy.default_limit for policy in policies]),
        minimum=_lowest_of_each([policy.minimum for policy in policies]),
        maximum=_lowest_maxima([policy.maximum for policy in policies]),
        pod_maximum=_lowest_maxima([policy.pod_maximum for policy in policies]),
        resource_claims=next(
            (policy.resource_claims for policy in policies if policy.resource_claims.value == "Deny"),
            inherited.resource_claims,
        ),
        selections=None,
    )


def _lowest_of_each(maps: Sequence[Mapping[str, Bound]]) -> dict[str, Bound]:
    names = dict.fromkeys(name for bounds in maps for name in bounds)
    found = {name: _lowest(bounds.get(name) for bounds in maps) for name in names}
    return {name: bound for name, bound in found.items() if bound is not None}


def _lowest_maxima(all_maxima: Sequence[Maxima]) -> Maxima:
    names = dict.fromkeys(name for maxima in all_maxima for name in maxima.exact)
    globs = [maxima.globs for maxima in all_maxima if maxima.globs]
    return Maxima(
        exact={name: _lowest(maxima.get(name) for maxima in all_maxima) for name in names},
        globs=globs[0] if globs else (),
        more_globs=tuple(globs[1:]),
    )
