"""What is odd about policies that are each fine by themselves: what only merging brings to light (P4).

Nothing here is an error. `policy check` looks at every scope that the policies themselves name.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product

from webhook.effective import Bound, EffectivePolicy, Maxima
from webhook.policy import FIELDS, Amount, Policy, PolicySet, aliases_in_force, compile_policies, merge_policies
from webhook.projects import ProjectRule, Scope
from webhook.resource_names import (
    COMPUTE,
    is_container_resource,
    is_extended,
    is_hugepages,
    is_native,
    matches_glob,
)
from webhook.scheduling_rules import ScheduledResource, SchedulingRules, SchedulingSettings, merge_scheduling
from webhook.setting import BUILT_IN, Origin, Setting

# So many scopes are named in one warning.
NAMED_SCOPES = 3


@dataclass(frozen=True, slots=True)
class Oddity:
    """One warning: where its value is written, what comes of it, and for whom ("project a, domain b")."""

    origin: Origin
    message: str
    scopes: tuple[str, ...]

    def __str__(self) -> str:
        more = len(self.scopes) - NAMED_SCOPES
        scopes = "; ".join(self.scopes[:NAMED_SCOPES]) + (f"; and {more} more" if more > 0 else "")
        return f"{self.origin.file}:{self.origin.line}: warning: {self.message} ({scopes})"


def oddities(policies: PolicySet, rule: ProjectRule) -> list[Oddity]:
    """All warnings for all scopes that exist, by file and line; the same one for several scopes is one."""
    found: dict[tuple[Origin, str], dict[str, None]] = {}
    for words, scope in scopes_that_exist(policies, rule).items():
        for origin, message in _of_scope(policies.matching(scope)):
            found.setdefault((origin, message), {})[words] = None
    ordered = sorted(found.items(), key=lambda entry: (entry[0][0].file, entry[0][0].line, entry[0][1]))
    return [Oddity(origin, message, tuple(scopes)) for (origin, message), scopes in ordered]


def scopes_that_exist(policies: PolicySet, rule: ProjectRule) -> dict[str, Scope]:
    """Every project in every domain that policies name, and their namespaces; by their names in words.

    A glob is looked at as a namespace of no project, or of its policy's.
    """
    scopes = [policy.scope for policy in policies.documents]
    projects = [None, *sorted({scope.project for scope in scopes if scope.project is not None})]
    domains = [None, *sorted({scope.domain for scope in scopes if scope.domain is not None})]
    found: dict[str, Scope] = {}
    for project in projects:
        for domain in domains:
            words = [f"project {project}"] * (project is not None) + [f"domain {domain}"] * (domain is not None)
            found[", ".join(words) or "platform"] = Scope("", project, domain)
    for scope in scopes:
        if scope.namespace is not None:
            example = rule.scope(scope.namespace.replace("*", "x"), {})
            found[f"namespace {scope.namespace}"] = Scope(
                example.namespace, scope.project or example.project, scope.domain or example.domain
            )
    return found


Finding = tuple[Origin, str]


def _of_scope(policies: tuple[Policy, ...]) -> Iterator[Finding]:
    yield from _unused_keys(policies)
    merged = merge_policies(policies)
    yield from _unfitting(merged)
    yield from _request_above_limit(merged.fitted())
    yield from _absent_limits(merged)
    yield from _claimed_devices(policies, merged)
    yield from _hugepages(policies, merged)
    yield from _devices_of_each_container(policies, merged)
    yield from _selected(policies, merged)
    yield from _scheduling(policies, merged.scheduling)


def _unused_keys(policies: tuple[Policy, ...]) -> Iterator[Finding]:
    """Keys that another policy's alias explains, but not here."""
    aliases = aliases_in_force(policies)
    for policy in policies:
        for part, field in FIELDS.items():
            settings: Mapping[str, Setting[object]] = getattr(policy, part)
            for key, setting in settings.items():
                name = aliases[key].value if key in aliases else key
                if "*" not in key and not is_container_resource(name):
                    yield setting.origin, f"{field}.{key} says nothing: no policy for it has the alias {key}"
                elif part not in ("maximum", "pod_maximum") and name not in COMPUTE:
                    yield setting.origin, f"{field}.{key} says nothing: {key} stands for {name}, which has maxima only"


def _unfitting(merged: EffectivePolicy) -> Iterator[Finding]:
    for name, least in merged.minimum.items():
        most = merged.maximum.get(name)
        if most is not None and least.value > most.value:
            yield least.origin, f"container.min.{name} {least.value} is above {_maximum(name, most)} and lowered to it"
    for field, defaults in (
        ("container.defaultRequest", merged.default_request),
        ("container.default", merged.default_limit),
    ):
        for name, bound in defaults.items():
            most, minimum = merged.maximum.get(name), merged.minimum.get(name)
            if most is not None and bound.value > most.value:
                yield bound.origin, f"{field}.{name} {bound.value} is above {_maximum(name, most)} and lowered to it"
            elif minimum is not None and bound.value < minimum.value:
                text = f"{field}.{name} {bound.value} is below container.min.{name} {minimum.value}"
                yield bound.origin, f"{text} of policy {minimum.origin.policy} and raised to it"


def _maximum(name: str, bound: Bound) -> str:
    return f"container.max.{name} {bound.value} of policy {bound.origin.policy}"


def _request_above_limit(policy: EffectivePolicy) -> Iterator[Finding]:
    for name, request in policy.default_request.items():
        limit = policy.default_limit.get(name)
        if limit is not None and request.value > limit.value:
            text = f"container.defaultRequest.{name} {request.value} is above container.default.{name} {limit.value}"
            yield request.origin, f"{text} of policy {limit.origin.policy}: the request will be the limit"


def _absent_limits(policy: EffectivePolicy) -> Iterator[Finding]:
    """A limit that stays absent counts as 0 in a pod's total, and is an escape from it (R10)."""
    for name in COMPUTE:
        bound = policy.pod_maximum.get(name)
        if bound is None:
            continue
        choice = policy.missing_limit.get(name)
        text = f"pod.max.{name} {bound.value} does not bound limits that stay absent"
        if policy.maximum.get(name) is None:
            yield bound.origin, f"{text}: set container.max.{name}, too"
        elif choice is not None and choice.value == "Unset":
            yield bound.origin, f"{text}: missingLimit is Unset by policy {choice.origin.policy}"


def _claimed_devices(policies: tuple[Policy, ...], merged: EffectivePolicy) -> Iterator[Finding]:
    """A maximum of a device counts what containers name, not what resource claims bring (DRA)."""
    if merged.resource_claims.origin == BUILT_IN:
        others = [
            policy for policy in policies if policy.scope.pod_selector is None or "resourceClaims" not in policy.choices
        ]
        choice = "set pod.resourceClaims to Deny, or to Allow and a maximum of deviceclass.resource.kubernetes.io/*"
        for text, origin in _first_said(others, merged, _is_device):
            yield origin, f"{text} does not count resource claims and device classes (DRA): {choice}"


def _hugepages(policies: tuple[Policy, ...], merged: EffectivePolicy) -> Iterator[Finding]:
    """Hugepages are memory that no maximum of memory counts; who writes any of them, null too, has thought of it."""
    if not any(map(is_hugepages, (*merged.maximum.exact, *merged.pod_maximum.exact))):
        others = [policy for policy in policies if not any(map(is_hugepages, (*policy.maximum, *policy.pod_maximum)))]
        sizes = "container.max.hugepages-2Mi and container.max.hugepages-1Gi"
        for text, origin in _first_said(others, merged, lambda name: name == "memory"):
            yield origin, f"{text} does not count hugepages: set {sizes}, too (0 forbids them, null allows any)"


def _first_said(
    policies: Sequence[Policy], merged: EffectivePolicy, is_meant: Callable[[str], bool]
) -> list[tuple[str, Origin]]:
    """The broadest policy's maximum of such a resource, in words, where one counts: to say it once is enough."""
    parts = [
        ("container.max", "maximum", _bounds(merged.maximum)),
        ("pod.max", "pod_maximum", _bounds(merged.pod_maximum)),
    ]
    for policy, (field, part, in_force) in product(policies, parts):
        for name, setting in _values(getattr(policy, part), merged):
            if is_meant(name) and (name in in_force or policy.scope.pod_selector is not None):
                return [(f"{field}.{name} {setting.value}", setting.origin)]
    return []


def _devices_of_each_container(policies: tuple[Policy, ...], merged: EffectivePolicy) -> Iterator[Finding]:
    """As many containers as a pod has, as many times has it what one container may have."""
    of_pods = {*merged.pod_maximum.exact, *dict(merged.pod_maximum.globs)}
    candidates = [(name, bound, of_pods) for name, bound in _bounds(merged.maximum).items()]
    for policy in policies:
        if policy.scope.pod_selector is not None:
            own = of_pods | {merged.aliases.get(key, key) for key in policy.pod_maximum}
            candidates += [(name, setting, own) for name, setting in _values(policy.maximum, merged)]
    found: set[str] = set()
    for name, bound, names in candidates:
        is_bounded = any(matches_glob(pattern, name) for pattern in names)
        if bound.value and _is_device(name) and not is_bounded and name not in found:
            found.add(name)
            text = f"container.max.{name} {bound.value} is for each container, and a pod may have many"
            yield bound.origin, f"{text}: set pod.max.{name}, too"


def _bounds(maxima: Maxima) -> dict[str, Bound]:
    """What is bounded, by name and by glob."""
    return {name: bound for name, bound in (*maxima.exact.items(), *maxima.globs) if bound is not None}


def _values(amounts: Mapping[str, Amount], merged: EffectivePolicy) -> Iterator[tuple[str, Bound]]:
    """By resource, without what is lifted."""
    for key, setting in amounts.items():
        if setting.value is not None:
            yield merged.aliases.get(key, key), Setting(setting.value, setting.origin)


def _is_device(name: str) -> bool:
    """Also of a glob: they are for devices only."""
    return "*" in name or is_extended(name) or is_native(name)


def _selected(policies: tuple[Policy, ...], merged: EffectivePolicy) -> Iterator[Finding]:
    """What a podSelector policy says in vain: it can only lower."""
    inherited = [policy for policy in policies if policy.scope.pod_selector is None]
    for policy in policies:
        if policy.scope.pod_selector is None:
            continue
        compiled = compile_policies([*inherited, policy]).selections
        assert compiled is not None
        ((_, own),) = compiled.policies
        for field, said, before in (
            ("container.max", own.maximum.exact, merged.maximum.get),
            ("pod.max", own.pod_maximum.exact, merged.pod_maximum.get),
            ("container.defaultRequest", own.default_request, merged.default_request.get),
            ("container.default", own.default_limit, merged.default_limit.get),
            ("container.min", own.minimum, merged.minimum.get),
        ):
            for name, bound in said.items():
                other = before(name)
                if bound is not None and other is not None and bound.value > other.value:
                    text = f"{field}.{name} {bound.value} has no effect: a policy with a podSelector can only lower"
                    yield bound.origin, f"{text} {other.value} of policy {other.origin.policy}"
        for part, field in FIELDS.items():
            settings: Mapping[str, Setting[object]] = getattr(policy, part)
            for key, setting in settings.items():
                if setting.value is None:
                    yield (
                        setting.origin,
                        f"{field}.{key} null has no effect: a policy with a podSelector can only lower",
                    )


def _scheduling(policies: tuple[Policy, ...], rules: SchedulingRules | None) -> Iterator[Finding]:
    if rules is None:
        return
    yield from _labels_missing(merge_scheduling(policy.scheduling for policy in policies), rules)
    for rule in rules.resources:
        reserved = rule.reserved
        if reserved.value != "Off" and not any(toleration.key for toleration in rule.placing.tolerations.value):
            text = f"reserved {reserved.value} of {rule.resource} has no effect: its tolerations name no taint's key"
            yield reserved.origin, text
    for first, second in combinations(rules.resources, 2):
        yield from _contradictions(first, second)


def _labels_missing(merged: SchedulingSettings, rules: SchedulingRules) -> Iterator[Finding]:
    for rule in rules.resources:
        for field, choice in (("device", rule.device), ("partition", rule.partition)):
            path = ("resources", rule.resource, field)
            said = [setting for at, setting in merged.items() if at[:3] == path and setting.value is not None]
            if said and choice is None:
                yield said[0].origin, f"{field} of {rule.resource} has no effect: no policy for it gives its label"


def _contradictions(first: ScheduledResource, second: ScheduledResource) -> Iterator[Finding]:
    """Two entries of which one covers the other, and that want different values of one label of their nodes."""
    one, other = first.resource, second.resource
    if not (matches_glob(one, other) or matches_glob(other, one)):
        return
    for key, setting in second.placing.node_selector.items():
        before = first.placing.node_selector.get(key)
        if before is not None and before.value != setting.value:
            text = f"nodeSelector {key} of {other} is {setting.value}, and {before.value} of {one}"
            yield setting.origin, f"{text}: pods that both are for are refused"
