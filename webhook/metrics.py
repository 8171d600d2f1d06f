"""What Prometheus scrapes: counts and durations of reviews, and what is in force (E6).

A review counts in plain numbers, which become series when they are scraped: counting in labelled series of the
library would cost as much as deciding a small pod. One thread counts and is scraped, so nothing is locked.

Label values come from closed sets, so that no pod can make new series; names of resources and projects are the
exception. Those that policies use have series of their own; of all others, which pods and namespaces invent, those
beyond a bound are counted as "other".
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, Literal, get_args

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from webhook.connections import Connections
from webhook.decision import Decision, Endpoint
from webhook.policy import PolicySet
from webhook.quantity import NANOS_PER_UNIT
from webhook.resource_names import LONGEST
from webhook.review import Review
from webhook.tls import HandshakeFailure

ReloadResult = Literal["success", "failure"]

PREFIX = "task_resources_"
OPERATIONS = frozenset({"CREATE", "UPDATE", "DELETE", "CONNECT"})

# A decision takes tens of microseconds; the API server's own buckets begin at 5 ms and cannot see it.
BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)

# Extended resources have any name their pods give them, and projects any that their namespaces have.
MOST_RESOURCES = 100
MOST_PROJECTS = 1_000
# A project is the value of a namespace's label, or a part of a namespace's name: Kubernetes allows both 63 characters.
LONGEST_PROJECT = 63

NO_PROJECT = "none"
# What changes are about that is no resource: places that no resource called for, and volumes.
NO_RESOURCES = ("", "shared-memory")


class _Names:
    """Names that become values of a label: those of policies and our own, the first so many others, else "other".

    Nothing longer than `longest` is remembered.
    """

    def __init__(self, most: int, longest: int, ours: Iterable[str]) -> None:
        self._longest, self._known = longest, set(ours)
        self._most = most + len(self._known)
        self.of_policies: frozenset[str] = frozenset()

    def of(self, name: str) -> str:
        if name in self.of_policies or name in self._known:
            return name
        if len(self._known) >= self._most or len(name) > self._longest:
            return "other"
        self._known.add(name)
        return name


@dataclass(slots=True)
class NamespaceCounts:
    """How well the namespaces of a cluster are known; `last_sync_at` in seconds since the epoch."""

    known: int = 0
    last_sync_at: float = 0.0
    lists: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    look_ups: Counter[str] = field(default_factory=Counter)

    def collect(self) -> Iterator[Metric]:
        yield _gauge("namespaces", "Namespaces of the cluster that are known.", (), {(): self.known})
        yield _gauge(
            "namespaces_last_sync_timestamp_seconds",
            "When the API server last said how the cluster's namespaces are, or that they have not changed.",
            (),
            {(): self.last_sync_at},
        )
        yield _counter("namespace_lists", "Times that all namespaces of the cluster were listed.", (), {(): self.lists})
        yield _counter(
            "namespace_failures",
            "Failures to list or watch the cluster's namespaces.",
            ("reason",),
            {(reason,): count for reason, count in self.failures.items()},
        )
        yield _counter(
            "namespace_lookups",
            "Namespaces that a pod came from before they were known, by what the API server said.",
            ("result",),
            {(result,): count for result, count in self.look_ups.items()},
        )


class Metrics(Collector):
    """All series of one server, in a registry of its own.

    `by_project`: whether changes, capacity and denials have a label for the project.
    """

    def __init__(self, *, by_project: bool = False) -> None:
        self.by_project = by_project
        self.in_flight = 0
        self.panics = 0
        self.invalid_results = 0
        self._reviews: Counter[tuple[Endpoint, str, str, str, bool]] = Counter()
        self._durations = [0] * (len(BUCKETS) + 1)
        self._duration_sum = 0.0
        # By project first, which is "" for all where nobody asks for it.
        self._changes: Counter[tuple[str, str, str]] = Counter()
        self._raised: Counter[tuple[str, str]] = Counter()
        self._lowered: Counter[tuple[str, str]] = Counter()
        self._denials: Counter[tuple[str, str]] = Counter()
        self._refused: Counter[int] = Counter()
        self._resources = _Names(MOST_RESOURCES, LONGEST, NO_RESOURCES)
        self._projects = _Names(MOST_PROJECTS, LONGEST_PROJECT, (NO_PROJECT,))
        self._policy_hash = ""
        self._policy_loaded_at = 0.0
        self._policy_is_refused = False
        self._reloads: Counter[ReloadResult] = Counter({"success": 0, "failure": 0})
        self._certificates: dict[str, float] = {}
        self._certificate_reloads: Counter[ReloadResult] = Counter({"success": 0, "failure": 0})
        self._certificate_is_refused = False
        self._failed_handshakes: Counter[HandshakeFailure] = Counter(dict.fromkeys(get_args(HandshakeFailure), 0))
        self.namespaces: NamespaceCounts | None = None  # where they do not come from a cluster
        self.connections: Sequence[Connections] = ()
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def count(
        self, review: Review, endpoint: Endpoint, decision: Decision, seconds: float, project: str | None = None
    ) -> None:
        """Counts one review that was decided; a dry run in `reviews_total` and nowhere else."""
        operation = review.operation if review.operation in OPERATIONS else "other"
        self._reviews[endpoint, operation, decision.outcome, decision.mode, review.dry_run] += 1
        if review.dry_run:
            return
        self._durations[bisect_left(BUCKETS, seconds)] += 1
        self._duration_sum += seconds
        name = self._projects.of(project or NO_PROJECT) if self.by_project else ""
        for change in decision.changes:
            self._changes[name, self._resources.of(change.resource), change.rule] += 1
        for resource, nanos in decision.capacity:
            key = name, self._resources.of(resource)
            if nanos > 0:
                self._raised[key] += nanos
            else:
                self._lowered[key] -= nanos
        if decision.denial is not None:
            self._denials[name, decision.denial.reason] += 1
        if decision.invalid:
            self.invalid_results += 1

    def count_refused(self, code: int) -> None:
        """Counts a request that was answered with an error instead of a decision."""
        self._refused[code] += 1

    def set_policy(self, policies: PolicySet, at: float) -> None:
        """The policy set in force; `at` is when it was loaded, in seconds since the epoch.

        The names that it uses have series of their own from now on.
        """
        self._policy_hash, self._policy_loaded_at = policies.hash, at
        self._resources.of_policies, self._projects.of_policies = policies.resources, policies.projects

    def count_reload(self, result: ReloadResult) -> None:
        """Counts a change of policy files that came into force, or was refused."""
        self._reloads[result] += 1
        self._policy_is_refused = result == "failure"

    def set_certificate(self, which: str, not_after: float) -> None:
        """When a certificate ends, in seconds since the epoch."""
        self._certificates[which] = not_after

    def count_certificate_reload(self, result: ReloadResult) -> None:
        """Counts a change of certificate files that came into force, or was refused."""
        self._certificate_reloads[result] += 1
        self._certificate_is_refused = result == "failure"

    def count_failed_handshake(self, reason: HandshakeFailure) -> None:
        """Counts a connection that came to no request."""
        self._failed_handshakes[reason] += 1

    def exposition(self) -> bytes:
        """Everything in the text format that Prometheus scrapes."""
        text: bytes = generate_latest(self._registry)
        return text

    def collect(self) -> Iterable[Metric]:
        """The series, for the registry."""
        yield _counter(
            "reviews",
            "Reviews answered, by what came of them.",
            # Not "endpoint": the Prometheus Operator gives every target a label of that name.
            ("webhook", "operation", "outcome", "mode", "dry_run"),
            {(*key[:4], str(key[4]).lower()): count for key, count in self._reviews.items()},
        )
        yield self._duration()
        yield _counter(
            "changes",
            "Values changed in pods.",
            *self._labelled(("resource", "rule"), self._changes),
        )
        amounts = {(*key, "raised"): nanos / NANOS_PER_UNIT for key, nanos in self._raised.items()}
        amounts |= {(*key, "lowered"): nanos / NANOS_PER_UNIT for key, nanos in self._lowered.items()}
        yield _counter(
            "capacity_delta",
            "What changes added to or took from requests: cores, bytes, devices.",
            *self._labelled(("resource", "direction"), amounts),
        )
        yield _counter(
            "denials",
            "Pods refused, by the reason that came first.",
            *self._labelled(("reason",), self._denials),
        )
        yield _counter(
            "refused_requests",
            "Requests answered without a decision, by HTTP status.",
            ("code",),
            {(str(code),): count for code, count in self._refused.items()},
        )
        invalid = "Results that the API server would have refused: bugs, never sent."
        yield _counter("invalid_results", invalid, (), {(): self.invalid_results})
        yield _counter("panics", "Answers 500: bugs.", (), {(): self.panics})
        yield _gauge("in_flight_reviews", "Reviews that are whole and wait for their answer.", (), {(): self.in_flight})
        yield _gauge(
            "connections",
            "Connections by port, and by what they do: a handshake (arriving), nothing yet (silent), and so on.",
            ("port", "state"),
            {(each.port, state): count for each in self.connections for state, count in each.states().items()},
        )
        yield _counter(
            "ended_connections",
            "Connections that gave way to newer ones, as there were too many, by what they did.",
            ("port", "state"),
            {(each.port, state): count for each in self.connections for state, count in each.gave_way.items()},
        )
        yield _gauge("policy_info", "1 for the policy set in force.", ("hash",), {(self._policy_hash,): 1})
        yield _counter(
            "policy_reloads",
            "Changes of policy files: a failure leaves the last good set in force.",
            ("result",),
            {(result,): count for result, count in self._reloads.items()},
        )
        refused = "1 while policy files are as they were last refused, 0 while they are in force."
        yield _gauge("policy_refused", refused, (), {(): self._policy_is_refused})
        yield _gauge(
            "policy_last_success_timestamp_seconds",
            "When policies were last loaded without an error.",
            (),
            {(): self._policy_loaded_at},
        )
        yield _gauge(
            "certificate_not_after_timestamp_seconds",
            "When the serving certificate ends, and the last authority of the file that clients, or clients' "
            "certificates, are checked against.",
            ("which",),
            {(which,): not_after for which, not_after in self._certificates.items()},
        )
        yield _counter(
            "certificate_reloads",
            "Changes of certificate files: a failure leaves what was served before in force.",
            ("result",),
            {(result,): count for result, count in self._certificate_reloads.items()},
        )
        refused = "1 while certificate files are as they were last refused, 0 while they are served."
        yield _gauge("certificate_refused", refused, (), {(): self._certificate_is_refused})
        yield _counter(
            "failed_handshakes",
            "TLS handshakes that failed: by the client's certificate or its lack, by the client's alert, or otherwise.",
            ("reason",),
            {(reason,): count for reason, count in self._failed_handshakes.items()},
        )
        if self.namespaces is not None:
            yield from self.namespaces.collect()

    def _labelled(
        self, labels: tuple[str, ...], values: Mapping[Any, float]
    ) -> tuple[tuple[str, ...], Mapping[tuple[str, ...], float]]:
        """Labels and values of what is kept by project: with the project where it is asked for."""
        if self.by_project:
            return ("project", *labels), values
        return labels, {key[1:]: value for key, value in values.items()}

    def _duration(self) -> Metric:
        bounds = [*map(str, BUCKETS), "+Inf"]
        family = HistogramMetricFamily(
            f"{PREFIX}review_duration_seconds", "Time to decide a review, from its whole body to the answer."
        )
        buckets = list(zip(bounds, accumulate(self._durations), strict=True))
        family.add_metric([], buckets, self._duration_sum)
        return family


def _counter(name: str, text: str, labels: tuple[str, ...], values: Mapping[tuple[str, ...], float]) -> Metric:
    return _filled(CounterMetricFamily(PREFIX + name, text, labels=labels), values)


def _gauge(name: str, text: str, labels: tuple[str, ...], values: Mapping[tuple[str, ...], float]) -> Metric:
    return _filled(GaugeMetricFamily(PREFIX + name, text, labels=labels), values)


def _filled(
    family: CounterMetricFamily | GaugeMetricFamily, values: Mapping[tuple[str, ...], float]
) -> CounterMetricFamily | GaugeMetricFamily:
    for labels, value in values.items():
        family.add_metric(labels, value)
    return family
