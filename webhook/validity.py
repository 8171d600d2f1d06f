"""Would the API server accept the pod? Its rules for resources, tolerations and the size of annotations.

Responsible for saying no where the API server would, with the same field; which errors matter, because
they are new or ours, is left to `decision`. What the webhook neither writes nor moves is not looked at.

Source of the rules: kubernetes pkg/apis/core/validation/validation.go validateResourceRequirements,
validatePodResources, ValidateTolerations, and apimachinery pkg/api/validation/objectmeta.go.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from webhook.pod import Container, Pod, Quantities, ResourceClaim, Toleration
from webhook.quantity import NANOS_PER_UNIT, Quantity, UncomputableQuantity, parse_json_quantity, quantity
from webhook.resource_names import (
    COMPUTE,
    facts_of,
    is_extended,
    is_hugepages,
    is_qualified_name,
)
from webhook.usage import is_pod_level_resource, pod_usage, stored_pod_level

ANNOTATIONS_BYTES = 256 * 1024  # keys and values together
LABEL_VALUE_LENGTH = 63

_LABEL_VALUE = re.compile(r"(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?)?")
_EFFECTS = frozenset({"", "NoSchedule", "PreferNoSchedule", "NoExecute"})


@dataclass(frozen=True, slots=True)
class FieldError:
    """One reason to refuse a pod. `path` is the API server's own: spec.containers[0].resources.limits[gpu].

    `resource` names the resource where the path does not, as with a request above its limit; "" where there is none.
    """

    path: str
    message: str
    resource: str = ""

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


class StoredResources(msgspec.Struct, frozen=True, gc=False):
    """The resources of one container, or of the pod level, as they would be stored: requests filled in from limits.

    `path` is that of the `resources` field, `claims` is None where the field is absent.
    """

    path: str
    requests: Mapping[str, Quantity]
    limits: Mapping[str, Quantity]
    claims: Sequence[ResourceClaim] | None = None
    is_sidecar: bool = False


class StoredPod(msgspec.Struct, frozen=True, gc=False):
    """What is checked of a pod. `init` holds init containers and sidecars, in their order.

    `pod_level` is as the pod says it (None: no `spec.resources`): what the API server fills in is worked out here.
    """

    regular: Sequence[StoredResources]
    init: Sequence[StoredResources] = ()
    pod_level: StoredResources | None = None
    claim_names: frozenset[str] = frozenset()
    tolerations: Sequence[Toleration] = ()
    annotations: Mapping[str, str] = {}
    is_windows: bool = False
    has_ephemeral_containers: bool = False


def stored(pod: Pod) -> StoredPod:
    """The pod as the API server would store it. Quantities too large to compute with are left out.

    Raises InvalidQuantity for what is no quantity: such a pod the API server cannot even read.
    """
    spec = pod.spec
    level = spec.resources
    return StoredPod(
        regular=[_stored(c, f"spec.containers[{i}].resources") for i, c in enumerate(spec.containers or ())],
        init=[_stored(c, f"spec.initContainers[{i}].resources") for i, c in enumerate(spec.init_containers or ())],
        pod_level=None
        if level is None
        else StoredResources("spec.resources", _amounts(level.requests), _amounts(level.limits), level.claims),
        claim_names=frozenset(claim.name for claim in spec.resource_claims or () if claim.name),
        tolerations=spec.tolerations or (),
        annotations=pod.annotations,
        is_windows=pod.is_windows,
        has_ephemeral_containers=bool(spec.ephemeral_containers),
    )


def _stored(container: Container, path: str) -> StoredResources:
    given = container.resources
    if given is None:
        return StoredResources(path, {}, {}, is_sidecar=container.is_sidecar)
    limits = _amounts(given.limits)
    requests = {**limits, **_amounts(given.requests)}
    return StoredResources(path, requests, limits, given.claims, container.is_sidecar)


def _amounts(quantities: Quantities | None) -> dict[str, Quantity]:
    amounts = {}
    for name, raw in (quantities or {}).items():
        try:
            amounts[name] = parse_json_quantity(bytes(raw))
        except UncomputableQuantity:
            continue
    return amounts


def errors(pod: StoredPod, *, on_create: bool = True) -> list[FieldError]:
    """All that the API server would refuse; empty for a pod that it accepts.

    `on_create`: False on an update, when ephemeral containers are no error.
    """
    found: list[FieldError] = []
    for containers in (pod.regular, pod.init):
        for resources in containers:
            if resources.limits or resources.requests:
                found += amount_errors(resources.path, resources.requests, resources.limits)
            if resources.claims:
                _check_claims(found, resources, pod.claim_names)
    if pod.pod_level is not None:
        _check_pod_level(found, pod.pod_level, pod)
    for index, toleration in enumerate(pod.tolerations):
        found += toleration_errors(f"spec.tolerations[{index}]", toleration)
    if not annotations_fit(pod.annotations):
        found.append(FieldError("metadata.annotations", f"must be no more than {ANNOTATIONS_BYTES} bytes together"))
    if on_create and pod.has_ephemeral_containers:
        found.append(FieldError("spec.ephemeralContainers", "cannot be set on create"))
    return found


def annotations_fit(annotations: Mapping[str, str]) -> bool:
    """Whether the API server accepts annotations of this size together."""
    text = "".join([*annotations, *annotations.values()])
    # No character takes more than four bytes: the usual pod is far below, and need not be encoded.
    return len(text) * 4 <= ANNOTATIONS_BYTES or len(text.encode()) <= ANNOTATIONS_BYTES


def amount_errors(
    path: str, requests: Mapping[str, Quantity], limits: Mapping[str, Quantity], *, is_pod_level: bool = False
) -> list[FieldError]:
    """What the API server would refuse in the requests and limits of the `resources` field at `path`."""
    found: list[FieldError] = []
    # The common case, cpu, memory and ephemeral-storage, is decided by comparisons alone: this runs on every change.
    for name, limit in limits.items():
        if limit.nanos < 0 or name not in COMPUTE or is_pod_level:
            _check_amount(found, f"{path}.limits[{name}]", name, limit, is_pod_level)
    for name, request in requests.items():
        if request.nanos < 0 or name not in COMPUTE or is_pod_level:
            _check_amount(found, f"{path}.requests[{name}]", name, request, is_pod_level)
        bound = limits.get(name)
        if bound is None:
            if name not in COMPUTE and _is_exact(name):
                found.append(FieldError(f"{path}.limits", f"must be set for {name}", name))
        elif request.nanos > bound.nanos or (request.nanos < bound.nanos and name not in COMPUTE and _is_exact(name)):
            relation = "equal to" if _is_exact(name) else "less than or equal to"
            text = f"{request} must be {relation} {name} limit of {bound}"
            found.append(FieldError(f"{path}.requests", text, name))
    has_company = "cpu" in requests or "memory" in requests or "cpu" in limits or "memory" in limits
    if not has_company and any(is_hugepages(name) for name in (*requests, *limits)):
        found.append(FieldError(path, "hugepages require cpu or memory"))
    return found


def _is_exact(name: str) -> bool:
    """Whether a request must be the limit: the resource cannot be overcommitted."""
    return is_hugepages(name) or is_extended(name)


def _check_amount(found: list[FieldError], path: str, name: str, amount: Quantity, is_pod_level: bool) -> None:
    facts = facts_of(name)
    if is_pod_level:
        if not is_pod_level_resource(name) or not facts.is_container_resource:
            found.append(FieldError(path, f'"{name}" is not cpu, memory or hugepages', name))
    elif not facts.is_container_resource:
        found.append(FieldError(path, f'"{name}" is no resource of containers', name))
    if amount.nanos < 0:
        found.append(FieldError(path, f"{amount} must be greater than or equal to 0", name))
    elif facts.is_extended:
        if amount.nanos % NANOS_PER_UNIT:
            found.append(FieldError(path, f"{amount} must be an integer", name))
    elif facts.page_bytes is not None and -(-amount.nanos // NANOS_PER_UNIT) % facts.page_bytes:
        # As there: rounded up first.
        found.append(FieldError(path, f"{amount} is no multiple of the page size", name))


def _check_claims(found: list[FieldError], resources: StoredResources, claim_names: frozenset[str]) -> None:
    seen: set[tuple[str, str]] = set()
    for index, claim in enumerate(resources.claims or ()):
        path = f"{resources.path}.claims[{index}]"
        key = (claim.name, claim.request or "")
        if not claim.name:
            found.append(FieldError(path, "must have a name"))
            continue
        # A claim as a whole overlaps with each request of it.
        if key in seen or (claim.name, "") in seen or (not key[1] and any(claim.name == name for name, _ in seen)):
            found.append(FieldError(path, f'"{claim.name}" is there twice'))
        seen.add(key)
        if claim.name not in claim_names:
            found.append(FieldError(path, f'"{claim.name}" is not in spec.resourceClaims'))


def _check_pod_level(found: list[FieldError], typed: StoredResources, pod: StoredPod) -> None:
    if pod.is_windows:
        found.append(FieldError(typed.path, "may not be set for a windows pod"))
        return
    if typed.claims is not None:
        found.append(FieldError(f"{typed.path}.claims", "may not be set at the pod level"))
        _check_claims(found, typed, pod.claim_names)
    requests, limits = stored_pod_level(
        (typed.requests, typed.limits),
        [(c.requests, c.limits) for c in pod.regular],
        [((c.requests, c.limits), c.is_sidecar) for c in pod.init],
    )
    found += amount_errors(typed.path, requests, limits, is_pod_level=True)
    for name, request in requests.items():
        total = _total([c.requests for c in pod.regular], [(c.requests, c.is_sidecar) for c in pod.init], name)
        if total > request.nanos:
            text = f"{request} must be greater than or equal to the containers' requests together, {quantity(total)}"
            found.append(FieldError(f"{typed.path}.requests[{name}]", text, name))
    for name, limit in limits.items():
        _check_limits_within(found, typed.path, name, limit, pod)


def _check_limits_within(found: list[FieldError], path: str, name: str, limit: Quantity, pod: StoredPod) -> None:
    if is_hugepages(name):
        total = _total([c.limits for c in pod.regular], [(c.limits, c.is_sidecar) for c in pod.init], name)
        if total > limit.nanos:
            text = f"{limit} must be greater than or equal to the containers' limits together, {quantity(total)}"
            found.append(FieldError(f"{path}.limits[{name}]", text, name))
    for index, container in enumerate(pod.regular):
        amount = container.limits.get(name)
        if amount is not None and amount > limit:
            # The API server's own path, odd as it is.
            where = f"{path}.containers[{index}][{name}].limits"
            found.append(FieldError(where, f"{amount} must be less than or equal to the pod's limit of {limit}", name))


def _total(
    regular: Sequence[Mapping[str, Quantity]], init: Sequence[tuple[Mapping[str, Quantity], bool]], name: str
) -> int:
    return pod_usage(
        [amounts[name].nanos for amounts in regular if name in amounts],
        [(amounts[name].nanos, is_sidecar) for amounts, is_sidecar in init if name in amounts],
    )


def toleration_errors(path: str, toleration: Toleration) -> list[FieldError]:
    """What the API server would refuse in one toleration."""
    found: list[FieldError] = []
    key, operator, value, effect = (
        toleration.key or "",
        toleration.operator or "",
        toleration.value or "",
        toleration.effect or "",
    )
    if key and not is_qualified_name(key):
        found.append(FieldError(f"{path}.key", f'"{key}" is no qualified name'))
    if not key and operator != "Exists":
        found.append(FieldError(f"{path}.operator", "must be Exists where there is no key"))
    if toleration.toleration_seconds is not None and effect != "NoExecute":
        found.append(FieldError(f"{path}.effect", "must be NoExecute where there are tolerationSeconds"))
    if operator == "Exists":
        if value:
            found.append(FieldError(f"{path}.operator", "there must be no value where the operator is Exists"))
    elif operator and operator != "Equal":
        # Lt and Gt need a feature gate that is off by default.
        found.append(FieldError(f"{path}.operator", f'"{operator}" is neither Equal nor Exists'))
    elif value and not is_label_value(value):
        found.append(FieldError(f"{path}.operator", f'"{value}" is no label value'))
    if effect not in _EFFECTS:
        found.append(FieldError(f"{path}.effect", f'"{effect}" is not NoSchedule, PreferNoSchedule or NoExecute'))
    return found


def is_label_value(value: str) -> bool:
    """Whether a label may have the value; it may be empty."""
    return len(value) <= LABEL_VALUE_LENGTH and _LABEL_VALUE.fullmatch(value) is not None
