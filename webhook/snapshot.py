"""What a request reads once, frozen and swapped whole: policies, the rule for projects, labels of namespaces."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from webhook.decision import SKIPPED, Decision, Endpoint, decide
from webhook.effective import EffectivePolicy
from webhook.policy import PolicySet
from webhook.printable import shown
from webhook.projects import ProjectRule, Scope
from webhook.review import Review

DEFAULT_RULE = ProjectRule()
NO_LABELS: Mapping[str, str] = {}

# A cluster has at most some ten thousand namespaces; what is kept of each is two references.
KEPT_NAMESPACES = 16_384
# A label of DNS. The API server sends no longer ones, so nothing is remembered about them.
LONGEST_NAMESPACE = 63


class UnknownNamespace(LookupError):
    """Nothing is known of the namespace yet: it is to be looked up before its pods are decided about (P7)."""

    def __init__(self, namespace: str) -> None:
        super().__init__(f"the namespace {shown(namespace)} is not known yet")
        self.namespace = namespace


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Policies and namespaces as they were at one moment.

    `knows_all`: whether a namespace that is not in `namespace_labels` has no labels, or only has not been heard of.
    """

    policies: PolicySet
    projects: ProjectRule = DEFAULT_RULE
    namespace_labels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    knows_all: bool = True
    _known: dict[str, tuple[Scope, EffectivePolicy]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def scope(self, namespace: str) -> Scope:
        """Project and domain of a namespace (P6). Raises UnknownNamespace."""
        labels = self.namespace_labels.get(namespace)
        if labels is None:
            if not self.knows_all:
                raise UnknownNamespace(namespace)
            labels = NO_LABELS
        return self.projects.scope(namespace, labels)

    def project(self, namespace: str) -> str | None:
        """The project of a namespace that has been decided about; None where it has none."""
        known = self._known.get(namespace)
        return None if known is None else known[0].project

    def _scope_and_policy(self, namespace: str) -> tuple[Scope, EffectivePolicy]:
        """Worked out at the first pod of a namespace, then kept as long as the snapshot."""
        scope = self.scope(namespace)
        found = scope, self.policies.effective(scope)
        if len(namespace) <= LONGEST_NAMESPACE:
            if len(self._known) >= KEPT_NAMESPACES:
                self._known.clear()
            self._known[namespace] = found
        return found

    def forget(self, namespace: str) -> None:
        """Works out the scope of a namespace anew at its next pod: its labels in `namespace_labels` have changed."""
        self._known.pop(namespace, None)

    def pieces(self) -> list[object]:
        """What it holds, to be dropped one by one; see PolicySet.pieces."""
        return [*self._known.values(), *self.policies.pieces()]

    def decide(self, review: Review, endpoint: Endpoint = "mutate") -> Decision:
        """What happens to the reviewed pod.

        Raises InvalidPod for one that no API server would send, and UnknownNamespace.
        """
        try:
            scope, policy = self._known.get(review.namespace) or self._scope_and_policy(review.namespace)
        except UnknownNamespace:
            if review.pod is not None:
                raise
            return SKIPPED  # what is no pod may be in no namespace at all
        return decide(review, policy, policy_hash=self.policies.hash, scope=scope, endpoint=endpoint)
