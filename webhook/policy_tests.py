"""What policies make of the pods of policy tests, held against what is expected of them, field by field."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from webhook.decision import Decision
from webhook.documents import Json
from webhook.explain import Change
from webhook.manifests import Reviewable
from webhook.node_affinity import requirement_text
from webhook.patch import REQUIRED_TERMS
from webhook.pod import NodeRequirement, Toleration
from webhook.policy import PolicySet
from webhook.policy_test_document import Expected, ExpectedAmounts
from webhook.projects import ProjectRule
from webhook.quantity import InvalidQuantity, Quantity, parse_quantity
from webhook.snapshot import Snapshot
from webhook.tolerations import toleration_text

NONE = "none"


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One field that is not as expected; `why` is the rule that made it so, where one did."""

    field: str
    expected: str
    got: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class _Outcome:
    """A decision about a pod, and the pod as it is then stored; None where it is refused, or there is none."""

    decision: Decision
    pod: Json | None
    aliases: Mapping[str, str]


def mismatches(
    policies: PolicySet, rule: ProjectRule, pod: Reviewable, namespace_labels: Mapping[str, str], expected: Expected
) -> list[Mismatch]:
    """Everything that is not as expected. Raises InvalidPod for one that no API server would send."""
    snapshot = Snapshot(policies, rule, {pod.namespace: namespace_labels})
    review = pod.review
    assert review is not None
    decision = snapshot.decide(review)
    after = None
    if review.pod is not None and not decision.refuses:
        after = pod.patched_pod(decision.operations)
    aliases = policies.effective(snapshot.scope(pod.namespace)).aliases
    return [*_decision_mismatches(decision, expected), *_pod_mismatches(_Outcome(decision, after, aliases), expected)]


def _decision_mismatches(decision: Decision, expected: Expected) -> Iterator[Mismatch]:
    message = decision.denial.message if decision.denial is not None else ""
    if expected.outcome is not None and expected.outcome != decision.outcome:
        yield Mismatch("outcome", expected.outcome, decision.outcome, message)
    if expected.denial is not None and (decision.denial is None or expected.denial not in message):
        yield Mismatch("denial", expected.denial, message or f"not denied, but {decision.outcome}")
    if expected.warnings is not None:
        missing = [text for text in expected.warnings if not any(text in said for said in decision.warnings)]
        is_one_too_many = not expected.warnings and decision.warnings
        if missing or is_one_too_many:
            yield Mismatch("warnings", "\n".join(missing) or NONE, "\n".join(decision.warnings) or NONE)


def _pod_mismatches(outcome: _Outcome, expected: Expected) -> Iterator[Mismatch]:
    stated = [
        field
        for field in ("containers", "resources", "tolerations", "node_selector", "node_affinity")
        if getattr(expected, field) is not None
    ]
    decision = outcome.decision
    if outcome.pod is None:
        # Another outcome that is expected has said it already.
        if stated and expected.outcome in (None, decision.outcome):
            denial = decision.denial
            yield Mismatch("pod", "there is one", f"denied: {denial.message}" if denial else "there is none")
        return
    spec = outcome.pod["spec"]
    yield from _container_mismatches(outcome, spec, expected)
    if expected.resources is not None:
        yield from _amount_mismatches(outcome, "resources", None, spec.get("resources") or {}, expected.resources)
    if expected.tolerations is not None:
        wanted = [fields.toleration() for fields in expected.tolerations]
        yield from _toleration_mismatches(spec.get("tolerations") or [], wanted)
    if expected.node_selector is not None:
        yield from _selector_mismatches(spec.get("nodeSelector") or {}, expected.node_selector)
    if expected.node_affinity is not None:
        yield from _affinity_mismatches(spec, [fields.requirement() for fields in expected.node_affinity])


def _container_mismatches(outcome: _Outcome, spec: Json, expected: Expected) -> Iterator[Mismatch]:
    containers = {each.get("name"): each for each in [*spec["containers"], *(spec.get("initContainers") or ())]}
    for name, amounts in (expected.containers or {}).items():
        if name not in containers:
            yield Mismatch(f"containers.{name}", "there is one", f"the pod has {', '.join(map(str, containers))}")
            continue
        resources = containers[name].get("resources") or {}
        limits = resources.get("limits") or {}
        # As the API server stores it: an absent request is its limit.
        stored = {"limits": limits, "requests": {**limits, **(resources.get("requests") or {})}}
        yield from _amount_mismatches(outcome, f"containers.{name}", name, stored, amounts)


def _amount_mismatches(
    outcome: _Outcome, field: str, container: str | None, resources: Json, expected: ExpectedAmounts
) -> Iterator[Mismatch]:
    for side, wanted in (("requests", expected.requests), ("limits", expected.limits)):
        found = {name: str(amount) for name, amount in (resources.get(side) or {}).items()}
        if wanted == {} and found:
            yield Mismatch(f"{field}.{side}", NONE, ", ".join(f"{name} {amount}" for name, amount in found.items()))
        for key, amount in (wanted or {}).items():
            name = outcome.aliases.get(key, key)
            got = found.get(name)
            if not _is_equal(amount, got):
                why = _why(outcome.decision.changes, container, name, side)
                yield Mismatch(f"{field}.{side}.{key}", NONE if amount is None else str(amount), got or NONE, why)


def _is_equal(wanted: Quantity | None, got: str | None) -> bool:
    """By value: 1 is 1000m."""
    if wanted is None or got is None:
        return wanted is None and got is None
    try:
        return parse_quantity(got) == wanted
    except InvalidQuantity:
        return False


def _why(changes: Iterable[Change], container: str | None, resource: str, side: str) -> str:
    """The rule that a value is from; empty where nothing changed it."""
    for change in changes:
        if (change.container, change.resource, change.side) == (container, resource, side):
            asked = f", asked {change.asked}" if change.asked is not None else ""
            return f"{change.rule}{asked}" + (f", policy {change.policy}" if change.policy else "")
    return ""


def _toleration_mismatches(given: Sequence[Json], wanted: Sequence[Toleration]) -> Iterator[Mismatch]:
    found = [Toleration(*(each.get(key) for key in _TOLERATION)) for each in given]
    missing = [each for each in wanted if _complete(each) not in map(_complete, found)]
    if missing or (not wanted and found):
        yield Mismatch(
            "tolerations", _lines(map(toleration_text, missing)), _lines(toleration_text(each) for each in found)
        )


_TOLERATION = ("key", "operator", "value", "effect", "tolerationSeconds")


def _complete(toleration: Toleration) -> tuple[object, ...]:
    """With what is meant by leaving out."""
    each = toleration
    return each.key or "", each.operator or "Equal", each.value or "", each.effect or "", each.toleration_seconds


def _selector_mismatches(given: Mapping[str, str], wanted: Mapping[str, str | None]) -> Iterator[Mismatch]:
    if not wanted and given:
        yield Mismatch("nodeSelector", NONE, _lines(f"{key}={value}" for key, value in given.items()))
    for key, value in wanted.items():
        if given.get(key) != value:
            yield Mismatch(f"nodeSelector[{key}]", _shown(value), _shown(given.get(key)))


def _shown(value: str | None) -> str:
    return NONE if value is None else value or '""'


def _affinity_mismatches(spec: Json, wanted: Sequence[NodeRequirement]) -> Iterator[Mismatch]:
    here: Any = spec
    for key in REQUIRED_TERMS:
        here = (here or {}).get(key)
    # A term that requires nothing fits no node and stays so.
    terms = [found for term in here or () if (found := _requirements(term)) or term.get("matchFields")]
    missing = [each for each in wanted if not terms or not all(_key(each) in map(_key, found) for found in terms)]
    if missing or (not wanted and terms):
        got = (" and ".join(map(requirement_text, found)) or "other fields" for found in terms)
        yield Mismatch("nodeAffinity", _lines(map(requirement_text, missing)), "\nor ".join(got) or NONE)


def _requirements(term: Json) -> list[NodeRequirement]:
    return [
        NodeRequirement(each.get("key", ""), each.get("operator", ""), tuple(each.get("values") or ()))
        for each in term.get("matchExpressions") or ()
    ]


def _key(requirement: NodeRequirement) -> tuple[str, str, frozenset[str]]:
    return requirement.key, requirement.operator, frozenset(requirement.values or ())


def _lines(texts: Iterable[str]) -> str:
    return "\n".join(texts) or NONE
