"""One object of the input with what was decided about its pod; the pod after it only where it is asked for."""

from dataclasses import dataclass

from webhook.admission import encode
from webhook.decision import SKIPPED, Decision
from webhook.documents import Json
from webhook.manifests import Reviewable
from webhook.projects import Scope


@dataclass(frozen=True, slots=True)
class Reviewed:
    """One object, and what was decided about its pod; `skipped` where there is no pod."""

    item: Reviewable
    scope: Scope
    decision: Decision = SKIPPED

    @property
    def has_pod(self) -> bool:
        return self.item.review is not None and self.item.review.pod is not None

    @property
    def warnings(self) -> tuple[str, ...]:
        return self.decision.warnings + self.item.warnings

    @property
    def title(self) -> str:
        item = self.item
        within = f"{item.namespace}/" if item.namespace else ""
        return f"{item.kind} {within}{item.name or '(generated name)'}"

    @property
    def response(self) -> bytes:
        """What the webhook would answer; nothing for an object that it is not asked about."""
        return b"" if self.item.review is None else encode(self.item.review, self.decision)

    def patched_pod(self) -> Json:
        """The pod with the patch applied, as the API server applies it."""
        return self.item.patched_pod(self.decision.operations)

    def patched_object(self) -> Json:
        """The whole object after the review; of an AdmissionReview its pod."""
        if not self.has_pod:
            return self.item.document
        return self.item.with_pod(self.patched_pod() if self.decision.operations else self.item.pod)
