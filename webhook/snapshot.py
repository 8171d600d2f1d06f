"""What a request reads once, frozen and swapped whole: policies, the rule for projects, labels of namespaces."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from webhook.decision import Decision, Endpoint, decide
from webhook.effective import EffectivePolicy
from webhook.policy import PolicySet
from webhook.projects import ProjectRule, Scope
from webhook.review import Review

DEFAULT_RULE = ProjectRule()
NO_LABELS: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Policies and namespaces as they were at one moment."""

    policies: PolicySet
    projects: ProjectRule = DEFAULT_RULE
    namespace_labels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def scope(self, namespace: str) -> Scope:
        """Project and domain of a namespace (P6)."""
        return self.projects.scope(namespace, self.namespace_labels.get(namespace, NO_LABELS))

    def policy(self, namespace: str) -> EffectivePolicy:
        """The effective policy of a namespace."""
        return self.policies.effective(self.scope(namespace))

    def decide(self, review: Review, endpoint: Endpoint = "mutate") -> Decision:
        """What happens to the reviewed pod; raises InvalidPod for one that no API server would send."""
        scope = self.scope(review.namespace)
        policy = self.policies.effective(scope)
        return decide(review, policy, policy_hash=self.policies.hash, scope=scope, endpoint=endpoint)
