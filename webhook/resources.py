"""How a container's requests and limits are decided: rules R1 to R9, one container and resource at a time.

A `ContainerResources` goes through the rules and remembers, for every value a rule set, which rule it was
and whose policy. Pod totals (R10) are in `pod_totals`, pod-level resources (R11) in `pod_level`.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from webhook.annotations import NOTHING
from webhook.effective import Bound, ComputeRules, EffectivePolicy
from webhook.pod import Quantities, Resources
from webhook.printable import LONGEST_CONTAINER_NAME, shown
from webhook.quantity import ZERO, Quantity, UncomputableQuantity, parse_json_quantity
from webhook.resource_names import COMPUTE, COMPUTE_NAMES, is_container_resource, is_native, unit_nanos
from webhook.setting import Origin

Side = Literal["limits", "requests"]
Kind = Literal["primary", "regular", "sidecar", "init", "pod"]
Rule = Literal[
    "alias",  # a key such as `gpu` renamed to the resource it stands for (A6)
    "annotation",  # R1, R2
    "default",  # R3
    "missing-limit",  # an absent limit, and the request beside it (R3, R5)
    "minimum",  # R4
    "maximum",  # R5
    "request-equals-limit",  # R7
    "request-within-limit",  # R5
    "zero-limit",  # a zero limit that must go (R9)
    "pod-maximum",  # R10
    "pod-level",  # R11
    # Scheduling, section 6.
    "resource",  # what pods get that ask for a resource (G2, G3)
    "accelerator",  # G4
    "accelerator-partition",
    "allowed-accelerators",
    "interruptible",
    "not-interruptible",
    "scheduling-default",
    "shared-memory",  # G6
]

# Why a pod is refused, for metrics; docs/runbook.md says what to do about each.
RefusalReason = Literal[
    "accelerator",
    "alias",
    "annotation",
    "forbidden",
    "maximum",
    "node-selector",
    "pod-level",
    "pod-maximum",
    "qos",
    "reserved",
    "resource-claims",
    "shared-memory",
    "too-large",
]

# Of more a denial has no room to speak.
KEPT_REFUSALS = 32

NAMED_CONTAINERS = 4

PLATFORM = Origin(policy="", scope="")  # a rule of Kubernetes or of the pod itself, no policy's


class InvalidPod(ValueError):
    """A pod that no API server would send: a field is not what its type says."""


class Reason(msgspec.Struct, frozen=True, gc=False):
    """Why a value is what it is; `asked` is what the pod or its annotation wanted instead."""

    rule: Rule
    origin: Origin = PLATFORM
    asked: Quantity | None = None


REQUEST_EQUALS_LIMIT = Reason("request-equals-limit")


class Refusal(msgspec.Struct, frozen=True, gc=False):
    """One thing that cannot be allowed: a short label for metrics, the text, and whose rule it was."""

    reason: RefusalReason
    text: str
    origin: Origin = PLATFORM


class Refusals(list[Refusal]):
    """Why a pod is refused: the first reasons that were found, and how many `more` there are."""

    more = 0

    def append(self, refusal: Refusal) -> None:
        if len(self) < KEPT_REFUSALS:
            super().append(refusal)
        else:
            self.more += 1

    def extend(self, refusals: Iterable[Refusal]) -> None:
        for refusal in refusals:
            self.append(refusal)


class ContainerResources:
    """Requests and limits of one container, or of the pod level, on their way through the rules.

    `before_*` is what the pod came with, aliases resolved; `requests` and `limits` are what it has now. An absent
    request beside a limit counts as that limit, as the API server defaults it.
    """

    __slots__ = (
        "before_limits",
        "before_requests",
        "filled",
        "given",
        "kind",
        "left_alone",
        "limits",
        "name",
        "path",
        "reasons",
        "renamed",
        "requests",
        "uncomputable",
    )

    def __init__(self, name: str, path: str, kind: Kind, given: Resources | None) -> None:
        self.name, self.path, self.kind, self.given = name, path, kind, given
        self.reasons: dict[tuple[Side, str], Reason] = {}
        self.renamed: dict[tuple[Side, str], list[str]] = {}  # the aliases that stood for a resource
        self.filled: set[str] = set()  # resources whose limit R3 or R5 wrote
        self.uncomputable: set[str] = set()
        self.left_alone: set[str] = set()  # what no rule decides: uncomputable or negative
        limits = {} if given is None or not given.limits else self._read("limits", given.limits)
        requests = {} if given is None or not given.requests else self._read("requests", given.requests)
        self.before_limits, self.before_requests = limits, requests
        self.limits, self.requests = limits.copy(), {**limits, **requests}

    def _read(self, side: Side, quantities: Quantities) -> dict[str, Quantity]:
        before = {}
        for name, raw in quantities.items():
            try:
                value = parse_json_quantity(bytes(raw))
                if value.nanos < 0:
                    self.left_alone.add(name)  # the API server's to refuse
                else:
                    before[name] = value
            except UncomputableQuantity:
                self.uncomputable.add(name)
                self.left_alone.add(name)
            except ValueError as error:
                raise InvalidPod(f"{self.field}.{side}[{name[:80]}]: {error}") from error
        return before

    @property
    def field(self) -> str:
        """The path of its resources as the API server writes it: spec.containers[0].resources."""
        if self.kind == "pod":
            return "spec.resources"
        _, spec, containers, index = self.path.split("/")
        return f"{spec}.{containers}[{index}].resources"

    def set(self, side: Side, resource: str, value: Quantity, reason: Reason) -> None:
        """Gives the resource a value and remembers why; a value it has already keeps its text and its reason."""
        amounts = self.limits if side == "limits" else self.requests
        now = amounts.get(resource)
        if now is None or now.nanos != value.nanos:
            amounts[resource] = value
            self.reasons[side, resource] = reason

    def unset_limit(self, resource: str) -> None:
        """Takes away a zero limit that would stand beside a request above zero (R9)."""
        if self.limits.pop(resource, None) is not None:
            self.reasons["limits", resource] = Reason("zero-limit")

    def resolve_aliases(self, aliases: Mapping[str, str]) -> list[Refusal]:
        """Renames keys such as `gpu` to the resource they stand for, each side by itself (A6)."""
        refusals = []
        for side, before in (("limits", self.before_limits), ("requests", self.before_requests)):
            for key in [key for key in before if key in aliases]:
                refusals += self._rename("limits" if side == "limits" else "requests", before, key, aliases[key])
        if self.renamed:
            self.limits = self.before_limits.copy()
            self.requests = {**self.before_limits, **self.before_requests}
        return refusals

    def _rename(self, side: Side, before: dict[str, Quantity], key: str, resource: str) -> list[Refusal]:
        value = before.pop(key)
        other = before.setdefault(resource, value)
        self.renamed.setdefault((side, resource), []).append(key)
        if other == value:
            return []
        text = f'{where(self)}: {side}.{key} {value} and {side}.{resource} {other} are one resource, "{key}" its alias'
        return [Refusal("alias", text)]


def where(container: ContainerResources) -> str:
    """The container in words, for messages."""
    return "pod" if container.kind == "pod" else f'container "{shown(container.name, LONGEST_CONTAINER_NAME)}"'


def where_all(containers: Sequence[ContainerResources]) -> str:
    """Containers in words; of many the first, so that what is said about them fits into a message."""
    names = ", ".join(map(where, containers[:NAMED_CONTAINERS]))
    return names if len(containers) <= NAMED_CONTAINERS else f"{names} and {len(containers) - NAMED_CONTAINERS} more"


class Case(msgspec.Struct):
    """What the rules decide by, and what they have refused so far.

    `deny`: values above a maximum are refused rather than lowered (R6; always in `judging`).
    `judging`: nothing is written, only maxima are looked at (Z2).
    """

    policy: EffectivePolicy
    deny: bool = False
    judging: bool = False
    refusals: Refusals = msgspec.field(default_factory=Refusals)

    def refuse_excess(
        self, container: ContainerResources, side: Side, resource: str, asked: Quantity, bound: Bound
    ) -> None:
        text = f"{where(container)}: {side}.{resource} {asked} is above the maximum {bound.value}"
        self.refusals.append(Refusal("maximum", text, bound.origin))

    def refuse_missing(self, container: ContainerResources, resource: str, bound: Bound) -> None:
        text = f"{where(container)}: limits.{resource} is not set and the maximum is {bound.value}"
        self.refusals.append(Refusal("maximum", text, bound.origin))


class PodLevel(msgspec.Struct, frozen=True):
    """What the pod's own level says of a resource, as far as containers are concerned."""

    limits: Mapping[str, Quantity]
    requests: Mapping[str, Quantity]

    def sets(self, resource: str) -> bool:
        return resource in self.limits or resource in self.requests


NO_POD_LEVEL = PodLevel({}, {})


def decide_container(
    container: ContainerResources,
    case: Case,
    pod_level: PodLevel,
    asked_requests: Mapping[str, Quantity] = NOTHING,
    asked_limits: Mapping[str, Quantity] = NOTHING,
) -> None:
    """Applies R1 to R9 to every resource of the container."""
    left_alone = container.left_alone
    for rules in case.policy.compute:
        resource = rules.resource
        if resource not in left_alone:
            _decide_compute(container, rules, case, pod_level, asked_requests.get(resource), asked_limits.get(resource))
    for resource in _other_resources(container, asked_requests, asked_limits):
        if resource not in left_alone:
            decide = _decide_native if is_native(resource) else _decide_devices
            decide(container, resource, case, asked_requests.get(resource), asked_limits.get(resource))
    if container.uncomputable:
        _refuse_uncomputable(container, case)


def _other_resources(
    container: ContainerResources, asked_requests: Mapping[str, Quantity], asked_limits: Mapping[str, Quantity]
) -> list[str]:
    """Names that the API server does not accept are its own to refuse, and stay as they are."""
    names: list[str] = []
    if not COMPUTE_NAMES.issuperset(container.requests):
        names = [name for name in container.requests if name not in COMPUTE and is_container_resource(name)]
    if asked_requests or asked_limits:
        asked = dict.fromkeys([*asked_requests, *asked_limits])
        names += [name for name in asked if name not in COMPUTE and name not in names]
    return names


def _refuse_uncomputable(container: ContainerResources, case: Case) -> None:
    """A quantity too large to compute with is refused where a maximum applies to it, else left alone (A2)."""
    for resource in sorted(container.uncomputable):
        bound = case.policy.maximum.get(resource) or case.policy.pod_maximum.get(resource)
        if bound is not None:
            text = (
                f"{where(container)}: {resource} has more than 64 characters or an exponent beyond 400; "
                f"the maximum is {bound.value}"
            )
            case.refusals.append(Refusal("maximum", text, bound.origin))


def _decide_compute(
    container: ContainerResources,
    rules: ComputeRules,
    case: Case,
    pod_level: PodLevel,
    asked_request: Quantity | None,
    asked_limit: Quantity | None,
) -> None:
    """R1 to R6 and R9 for cpu, memory and ephemeral-storage."""
    resource, minimum, bound = rules.resource, rules.minimum, rules.maximum
    limit, request = container.limits.get(resource), container.requests.get(resource)
    is_annotated = asked_request is not None or asked_limit is not None
    is_named = limit is not None or request is not None or is_annotated
    is_primary = container.kind == "primary"
    if (
        limit is not None
        and request is not None
        and not is_annotated
        and (minimum is None or request.nanos >= minimum.value.nanos)
        and limit.nanos >= request.nanos
        and limit.nanos
        and (bound is None or limit.nanos <= bound.value.nanos)
    ):
        return  # the usual pod obeys
    if not is_named and bound is None and (not is_primary or resource == "ephemeral-storage"):
        return
    # Unset: absent, a zero limit, a zero request without a limit.
    if limit is not None and not limit.nanos:
        limit = None
    if request is not None and not request.nanos and limit is None:
        request = None

    if is_annotated:
        limit, request = _apply_annotation(container, resource, limit, request, asked_limit, asked_request)

    stays_absent = resource in pod_level.limits and (
        bound is None or 0 < pod_level.limits[resource].nanos <= bound.value.nanos
    )
    if is_primary and not case.judging:
        if limit is None and (is_named or resource != "ephemeral-storage"):
            limit, request = _apply_defaults(container, rules, pod_level, stays_absent, request)
        if minimum is not None:
            limit, request = _raise_to_minimum(container, resource, minimum, limit, request)

    if bound is not None:
        limit, request = _bound(container, rules, bound, case, stays_absent, limit, request)
    # Where no rule has a say the pod is the API server's to refuse.
    has_say = bound is not None or is_annotated or ("limits", resource) in container.reasons
    if has_say and limit is not None and request is not None and request.nanos > limit.nanos:
        request = limit.rounded_down(unit_nanos(resource))
        container.set("requests", resource, request, Reason("request-within-limit"))
    elif limit is None and request is not None and request.nanos and resource in container.limits:
        container.unset_limit(resource)


def _apply_annotation(
    container: ContainerResources,
    resource: str,
    limit: Quantity | None,
    request: Quantity | None,
    asked_limit: Quantity | None,
    asked_request: Quantity | None,
) -> tuple[Quantity | None, Quantity | None]:
    """R1 and R2: the annotation is the newest word, and takes the other side with it where it must."""
    reason = Reason("annotation")
    if asked_limit is None:
        assert asked_request is not None
        request = asked_request
        if limit is not None and request.nanos > limit.nanos:
            limit = request
    elif asked_request is None:
        limit = asked_limit
        if request is None or request.nanos > limit.nanos:
            request = limit
    else:
        limit, request = asked_limit, asked_request
    if limit is not None:
        container.set("limits", resource, limit, reason)
    container.set("requests", resource, request, reason)
    return limit, request


def _apply_defaults(
    container: ContainerResources,
    rules: ComputeRules,
    pod_level: PodLevel,
    stays_absent: bool,
    request: Quantity | None,
) -> tuple[Quantity | None, Quantity | None]:
    """R3: what the primary container gets where it asks for nothing, or for a request only."""
    resource, default = rules.resource, None
    if request is None and not pod_level.sets(resource):
        default = rules.default_limit
        if rules.default_request is not None:
            request = rules.default_request.value
            container.set("requests", resource, request, Reason("default", rules.default_request.origin))
    if stays_absent:
        return None, request
    if default is not None:
        container.set("limits", resource, default.value, Reason("default", default.origin))
        container.filled.add(resource)
        return default.value, request
    return _fill_limit(container, rules, request)


def _fill_limit(
    container: ContainerResources, rules: ComputeRules, request: Quantity | None
) -> tuple[Quantity | None, Quantity | None]:
    """Writes an absent limit, the primary's as `missingLimit` says, any other as the maximum (R3, R5).

    An absent request beside it becomes 0, the primary's its minimum: else the API server would copy the limit
    into it and reserve that much (R5).
    """
    is_primary = container.kind == "primary"
    choice, bound = rules.missing_limit if is_primary else None, rules.maximum
    if choice is not None and choice.value == "Unset":
        return None, request
    if choice is not None and choice.value == "Request" and request is not None and request.nanos:
        limit, reason = request, Reason("missing-limit", choice.origin)
    elif bound is not None:
        limit, reason = bound.value, Reason("missing-limit", bound.origin)
    else:
        return None, request
    container.set("limits", rules.resource, limit, reason)
    container.filled.add(rules.resource)
    if request is None:
        request = rules.minimum.value if is_primary and rules.minimum is not None else ZERO
        container.set("requests", rules.resource, request, reason)
    return limit, request


def _raise_to_minimum(
    container: ContainerResources, resource: str, minimum: Bound, limit: Quantity | None, request: Quantity | None
) -> tuple[Quantity | None, Quantity | None]:
    """R4, for the primary container; unset is not below the minimum."""
    if limit is not None and limit.nanos < minimum.value.nanos:
        container.set("limits", resource, minimum.value, Reason("minimum", minimum.origin, limit))
        limit = minimum.value
    if request is not None and request.nanos < minimum.value.nanos:
        container.set("requests", resource, minimum.value, Reason("minimum", minimum.origin, request))
        request = minimum.value
    return limit, request


def _bound(
    container: ContainerResources,
    rules: ComputeRules,
    bound: Bound,
    case: Case,
    stays_absent: bool,
    limit: Quantity | None,
    request: Quantity | None,
) -> tuple[Quantity | None, Quantity | None]:
    """R5 and R6: limit and request at most the maximum; an absent limit is written."""
    maximum = bound.value
    if limit is not None:
        if limit.nanos > maximum.nanos:
            limit = lower(container, "limits", rules.resource, case, bound, limit)
    elif not stays_absent:
        if case.judging:
            _judge_missing(container, rules, case, bound)
        else:
            limit, request = _fill_limit(container, rules, request)
    if request is not None and request.nanos > maximum.nanos:
        request = lower(container, "requests", rules.resource, case, bound, request)
    return limit, request


def _judge_missing(container: ContainerResources, rules: ComputeRules, case: Case, bound: Bound) -> None:
    choice = rules.missing_limit if container.kind == "primary" else None
    if choice is None or choice.value != "Unset":
        case.refuse_missing(container, rules.resource, bound)


def lower(
    container: ContainerResources, side: Side, resource: str, case: Case, bound: Bound, asked: Quantity
) -> Quantity:
    """The value the rules go on with: the maximum, or under `Deny` what was asked, refused."""
    if case.deny:
        reason = container.reasons.get((side, resource))
        if reason is None or reason.rule == "annotation":
            case.refuse_excess(container, side, resource, asked, bound)
            return asked
    container.set(side, resource, bound.value, Reason("maximum", bound.origin, asked))
    return bound.value


def _decide_devices(
    container: ContainerResources,
    resource: str,
    case: Case,
    asked_request: Quantity | None,
    asked_limit: Quantity | None,
) -> None:
    """R7: request and limit of an extended resource or of hugepages are one whole value."""
    limit, request = container.limits.get(resource), container.requests.get(resource)
    value = asked_limit if asked_limit is not None else asked_request
    if value is not None:
        reason = Reason("annotation")
        if request is None and not value.nanos:
            return  # none of what was not asked: a zero key would still get tolerations for the device
    else:
        assert request is not None  # where only a limit is given, it is the request
        unit = unit_nanos(resource)
        if request.nanos % unit or (limit is not None and limit.nanos % unit):
            return  # the API server's to refuse
        # A zero limit is unset.
        value = limit if limit is not None and limit.nanos else request
        reason = REQUEST_EQUALS_LIMIT
    bound = case.policy.maximum.get(resource)
    if bound is not None and value.nanos > bound.value.nanos:
        if not bound.value.nanos:
            _refuse_forbidden(container, resource, case, value, bound)
        elif case.deny:
            case.refuse_excess(container, "limits", resource, value, bound)
        else:
            value, reason = bound.value, Reason("maximum", bound.origin, value)
    if not case.judging:
        container.set("limits", resource, value, reason)
        container.set("requests", resource, value, reason)


def _refuse_forbidden(container: ContainerResources, resource: str, case: Case, asked: Quantity, bound: Bound) -> None:
    text = f"{where(container)}: {resource} {asked} is asked and the maximum is 0: it may not be used"
    case.refusals.append(Refusal("forbidden", text, bound.origin))


def _decide_native(
    container: ContainerResources,
    resource: str,
    case: Case,
    asked_request: Quantity | None,
    asked_limit: Quantity | None,
) -> None:
    """Names containing kubernetes.io/: requests and limits by themselves, fractions allowed (R7)."""
    limit, request = container.limits.get(resource), container.requests.get(resource)
    if asked_limit is not None or asked_request is not None:
        limit, request = _apply_annotation(container, resource, limit, request, asked_limit, asked_request)
    bound = case.policy.maximum.get(resource)
    has_say = bound is not None or asked_limit is not None or asked_request is not None
    asked = max((amount for amount in (limit, request) if amount is not None), default=ZERO)
    if bound is not None and asked.nanos > bound.value.nanos:
        if not bound.value.nanos:
            _refuse_forbidden(container, resource, case, asked, bound)
            return
        if limit is not None and limit.nanos > bound.value.nanos:
            limit = lower(container, "limits", resource, case, bound, limit)
        if request is not None and request.nanos > bound.value.nanos:
            request = lower(container, "requests", resource, case, bound, request)
    if has_say and limit is not None and request is not None and request.nanos > limit.nanos and not case.judging:
        container.set("requests", resource, limit, Reason("request-within-limit"))
