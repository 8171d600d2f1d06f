"""What Prometheus scrapes: counts and durations of reviews, and what is in force (E6).

Label values come from closed sets, so that no pod can make new series; names of resources are the exception, and
those beyond a bound are counted as "other".
"""

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from webhook.decision import Decision, Endpoint
from webhook.quantity import NANOS_PER_UNIT
from webhook.review import Review

PREFIX = "task_resources"
OPERATIONS = frozenset({"CREATE", "UPDATE", "DELETE", "CONNECT"})

# A decision takes tens of microseconds; the API server's own buckets begin at 5 ms and cannot see it.
BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)

# Extended resources have any name their pods give them.
MOST_RESOURCES = 100


class Metrics:
    """All series of one server, in a registry of its own."""

    def __init__(self) -> None:
        # A second series for each, which Prometheus' text format has no use for.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # it ships without a type
        self.registry = CollectorRegistry(auto_describe=True)
        ProcessCollector(registry=self.registry)
        labels = ("endpoint", "operation", "outcome", "mode", "dry_run")
        self._reviews = self._counter("reviews", "Reviews answered, by what came of them.", *labels)
        self._duration = Histogram(
            "review_duration_seconds",
            "Time to decide a review, from its whole body to the answer.",
            namespace=PREFIX,
            buckets=BUCKETS,
            registry=self.registry,
        )
        self._changes = self._counter("changes", "Values changed in pods.", "resource", "rule")
        self._capacity = self._counter(
            "capacity_delta",
            "What changes added to or took from requests: cores, bytes, devices.",
            "resource",
            "direction",
        )
        self._denials = self._counter("denials", "Pods refused, by the reason that came first.", "reason")
        self._refused = self._counter("refused_requests", "Requests answered without a decision.", "code")
        self.invalid_results = self._counter(
            "invalid_results", "Results that the API server would have refused: bugs, never sent."
        )
        self.panics = self._counter("panics", "Answers 500: bugs.")
        self.in_flight = self._gauge("in_flight_reviews", "Reviews being received or decided now.")
        self._policy = self._gauge("policy_info", "1 for the policy set in force.", "hash")
        self._policy_success = self._gauge(
            "policy_last_success_timestamp_seconds", "When policies were last loaded without an error."
        )
        self._certificate = self._gauge("certificate_not_after_timestamp_seconds", "When a certificate ends.", "which")
        # Looking up a labelled series costs more than counting in it.
        self._kept: dict[tuple[Endpoint, str, str, str, bool], Counter] = {}
        self._kept_changes: dict[tuple[str, str], Counter] = {}
        self._resources: set[str] = set()

    def _counter(self, name: str, documentation: str, *labels: str) -> Counter:
        return Counter(name, documentation, labels, namespace=PREFIX, registry=self.registry)

    def _gauge(self, name: str, documentation: str, *labels: str) -> Gauge:
        return Gauge(name, documentation, labels, namespace=PREFIX, registry=self.registry)

    def count(self, review: Review, endpoint: Endpoint, decision: Decision, seconds: float) -> None:
        """Counts one review that was decided; a dry run in `reviews_total` and nowhere else."""
        key = (endpoint, review.operation, decision.outcome, decision.mode, review.dry_run)
        series = self._kept.get(key)
        if series is None:
            series = self._series(*key)
        series.inc()
        if review.dry_run:
            return
        self._duration.observe(seconds)
        if decision.changes:
            self._count_changes(decision)
        if decision.denial is not None:
            self._denials.labels(decision.denial.reason).inc()
        if decision.invalid:
            self.invalid_results.inc()

    def _series(self, endpoint: Endpoint, operation: str, outcome: str, mode: str, dry_run: bool) -> Counter:
        known = operation if operation in OPERATIONS else "other"
        series: Counter = self._reviews.labels(endpoint, known, outcome, mode, str(dry_run).lower())
        if known == operation:
            self._kept[endpoint, operation, outcome, mode, dry_run] = series
        return series

    def _count_changes(self, decision: Decision) -> None:
        for change in decision.changes:
            key = (change.resource, change.rule)
            series = self._kept_changes.get(key)
            if series is None:
                series = self._changes.labels(self._resource(change.resource), change.rule)
                if change.resource in self._resources:
                    self._kept_changes[key] = series
            series.inc()
        for resource, nanos in decision.capacity:
            direction = "raised" if nanos > 0 else "lowered"
            self._capacity.labels(self._resource(resource), direction).inc(abs(nanos) / NANOS_PER_UNIT)

    def _resource(self, name: str) -> str:
        if name not in self._resources:
            if len(self._resources) >= MOST_RESOURCES:
                return "other"
            self._resources.add(name)
        return name

    def count_refused(self, code: int) -> None:
        """Counts a request that was answered with an error instead of a decision."""
        self._refused.labels(str(code)).inc()

    def set_policy(self, policy_hash: str, at: float) -> None:
        """The policy set in force; `at` is when it was loaded, in seconds since the epoch."""
        self._policy.clear()
        self._policy.labels(policy_hash).set(1)
        self._policy_success.set(at)

    def set_certificate(self, which: str, not_after: float) -> None:
        """When a certificate ends, in seconds since the epoch."""
        self._certificate.labels(which).set(not_after)

    def exposition(self) -> bytes:
        """Everything in the text format that Prometheus scrapes."""
        text: bytes = generate_latest(self.registry)
        return text
