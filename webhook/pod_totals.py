"""R10: the pod's effective total, by Kubernetes' own formula, within `pod.max`.

Over it, limits that the platform itself wrote give way first, then init containers are lowered to what is
left for them, then the primary container; nothing below its floor.
"""

from collections.abc import Mapping, Sequence

from webhook.effective import Bound, Maxima
from webhook.quantity import Quantity, quantity
from webhook.resource_names import COMPUTE, is_native, unit_nanos
from webhook.resources import Case, ContainerResources, PodLevel, Reason, Refusal, Side, where_all
from webhook.usage import pod_usage

# The floors of R10 where no policy says otherwise: 10m of CPU, 16Mi of memory or storage.
FLOORS = {"cpu": 10 * 10**6, "memory": 16 * 2**20 * 10**9, "ephemeral-storage": 16 * 2**20 * 10**9}


def bound_totals(
    containers: Sequence[ContainerResources],
    pod_level: PodLevel,
    overhead: Mapping[str, Quantity],
    case: Case,
) -> None:
    """Applies R10 to every resource that `pod.max` bounds; a limit that is absent counts as 0."""
    for resource, bound in _bounds(case.policy.pod_maximum, containers):
        if not _surely_fits(containers, resource, bound, overhead):
            Total(containers, resource, bound, overhead, pod_level, case).bound_both_sides()


def _bounds(maxima: Maxima, containers: Sequence[ContainerResources]) -> Sequence[tuple[str, Bound]]:
    """The bounds that may apply to the containers, in the order of the resources' names."""
    if not maxima.globs:
        return maxima.by_name
    names = {name for container in containers for amounts in (container.limits, container.requests) for name in amounts}
    return [(name, bound) for name in sorted(names) if (bound := maxima.get(name)) is not None]


def _surely_fits(
    containers: Sequence[ContainerResources], resource: str, bound: Bound, overhead: Mapping[str, Quantity]
) -> bool:
    """Whether even all containers at once stay within the bound: the usual pod needs no closer look."""
    limits = requests = 0
    for container in containers:
        limit, request = container.limits.get(resource), container.requests.get(resource)
        if limit is not None:
            limits += limit.nanos
        if request is not None:
            requests += request.nanos
            if limit is not None and limit.nanos and request.nanos > limit.nanos:
                return False
    room = bound.value.nanos - (overhead[resource].nanos if resource in overhead else 0)
    if limits <= room and requests <= room:
        return True
    # What no container names is not bounded, however large the overhead.
    return not any(resource in c.limits or resource in c.requests for c in containers)


class Total:
    """The pod's total of one resource, and the room that `pod.max` leaves it."""

    def __init__(
        self,
        containers: Sequence[ContainerResources],
        resource: str,
        bound: Bound,
        overhead: Mapping[str, Quantity],
        pod_level: PodLevel,
        case: Case,
    ) -> None:
        self.containers, self.resource, self.bound, self.case = containers, resource, bound, case
        self.overhead = overhead[resource].nanos if resource in overhead else 0
        self.unit = unit_nanos(resource)
        self.pod_level = pod_level
        self.is_whole = resource not in COMPUTE and not is_native(resource)

    def bound_both_sides(self) -> None:
        # Where the pod level says a value, that is the total, and R11 has bounded it.
        if self.resource not in self.pod_level.limits:
            self._bound_side("limits")
            if self.is_whole:
                return
            self._keep_requests_within_limits()
        if not self.pod_level.sets(self.resource):
            self._bound_side("requests")

    def of(self, side: Side) -> int:
        """The effective total of a side, in nanos."""
        amounts = [(c.kind, self._amount(c, side)) for c in self.containers]
        total = pod_usage(
            [amount for kind, amount in amounts if kind in ("primary", "regular")],
            [(amount, kind == "sidecar") for kind, amount in amounts if kind in ("sidecar", "init")],
        )
        return total + self.overhead if total or side == "requests" else 0

    def _amount(self, container: ContainerResources, side: Side) -> int:
        amounts = container.limits if side == "limits" else container.requests
        value = amounts.get(self.resource)
        return 0 if value is None else value.nanos

    def _bound_side(self, side: Side) -> None:
        asked = self.of(side)
        if asked <= self.bound.value.nanos:
            return
        if side == "limits" and not self.case.judging:
            self._lower_filled_limits()
        if self.of(side) <= self.bound.value.nanos:
            return
        if self.case.deny or not self.bound.value.nanos:
            self._refuse(side, asked)
        elif not (self._lower_init_containers(side) and self._lower_primary(side)):
            self._refuse(side, asked, "and lowering its containers to their floors is not enough")

    def _lower_filled_limits(self) -> None:
        """Limits that only R3 or R5 wrote go down to one common value, none below its request or floor."""
        filled = [container for container in self.containers if self.resource in container.filled]
        if not filled:
            return
        # Each container's limit, and what it does not go below.
        bounds = {id(c): (amount, amount) for c in self.containers for amount in [self._amount(c, "limits")]}
        bounds |= {id(c): (self._amount(c, "limits"), self._lowest(c)) for c in filled}
        regular = [bounds[id(c)] for c in self.containers if c.kind in ("primary", "regular")]
        init = [(*bounds[id(c)], c.kind == "sidecar") for c in self.containers if c.kind in ("sidecar", "init")]

        def total(common: int) -> int:
            return pod_usage(
                [min(amount, max(common, lowest)) for amount, lowest in regular],
                [(min(amount, max(common, lowest)), is_sidecar) for amount, lowest, is_sidecar in init],
            )

        # The largest common value that fits, in units; the total grows with it. None is above the pod's maximum.
        room = self.bound.value.nanos - self.overhead
        low, high = 0, min(room, max(self._amount(c, "limits") for c in filled)) // self.unit
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if total(middle * self.unit) <= room else (low, middle - 1)
        for container in filled:
            amount, lowest = bounds[id(container)]
            self._lower(container, "limits", min(amount, max(low * self.unit, lowest)))

    def _lowest(self, container: ContainerResources) -> int:
        return max(self._amount(container, "requests"), self._floor(container))

    def _floor(self, container: ContainerResources) -> int:
        if container.kind == "primary":
            policy = self.case.policy
            least = policy.minimum.get(self.resource) or policy.default_request.get(self.resource)
            if least is not None:
                return least.value.nanos
        return FLOORS.get(self.resource, self.unit)

    def _lower_init_containers(self, side: Side) -> bool:
        """Lowers each init step to what the sidecars before it leave; False where that is below its floor."""
        room = self.bound.value.nanos - self.overhead
        for container in self.containers:
            if container.kind == "sidecar":
                room -= self._amount(container, side)
            elif (
                container.kind == "init"
                and self._amount(container, side) > room
                and not self._lower_to(container, side, room)
            ):
                return False
        return True

    def _lower_primary(self, side: Side) -> bool:
        excess = self.of(side) - self.bound.value.nanos
        if excess <= 0:
            return True
        primary = next((c for c in self.containers if c.kind == "primary"), None)
        return primary is not None and self._lower_to(primary, side, self._amount(primary, side) - excess)

    def _lower_to(self, container: ContainerResources, side: Side, room: int) -> bool:
        room = room // self.unit * self.unit
        if room < self._floor(container):
            return False
        self._lower(container, side, room)
        return True

    def _lower(self, container: ContainerResources, side: Side, nanos: int) -> None:
        amounts = container.limits if side == "limits" else container.requests
        before = amounts[self.resource]
        if nanos >= before.nanos:
            return
        # A limit that the platform wrote itself was asked by nobody.
        asked = None if self.resource in container.filled else before
        after = quantity(nanos, before.notation)
        reason = Reason("pod-maximum", self.bound.origin, asked)
        container.set(side, self.resource, after, reason)
        if self.is_whole:
            container.set("requests", self.resource, after, reason)

    def _keep_requests_within_limits(self) -> None:
        for container in self.containers:
            limit, request = container.limits.get(self.resource), container.requests.get(self.resource)
            if limit is not None and limit.nanos and request is not None and request.nanos > limit.nanos:
                after = limit.rounded_down(self.unit)
                container.set("requests", self.resource, after, Reason("request-within-limit"))

    def _refuse(self, side: Side, asked: int, why: str = "") -> None:
        names = where_all([c for c in self.containers if self._amount(c, side)]) or "its overhead"
        total = quantity(asked, self.bound.value.notation)
        text = f"pod: {side}.{self.resource} of {names} come to {total}, above the pod's maximum {self.bound.value}"
        self.case.refusals.append(Refusal("pod-maximum", f"{text} {why}".rstrip(), self.bound.origin))
