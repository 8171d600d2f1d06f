"""Reviews the objects of one input after another, as they are asked for."""

from collections.abc import Iterator, Mapping

from webhook.admission import InvalidReview
from webhook.cli.review.inputs import Errors, Inputs
from webhook.cli.review.progress import Bar
from webhook.cli.review.reviewed import Reviewed
from webhook.cli.review.totals import Totals
from webhook.documents import Document, UnusableInput, read_documents
from webhook.manifests import Reviewable, reviewable
from webhook.policy import PolicySet
from webhook.projects import SYSTEM_NAMESPACES, ProjectRule
from webhook.resources import InvalidPod
from webhook.snapshot import Snapshot


class Reviewer:
    """Decides about objects by one set of policies, and counts in `totals`.

    `namespace` replaces the objects' own, `labels` are what every namespace has beside its own. Pods that have ended
    are only counted, unless they are wanted, too.
    """

    def __init__(
        self,
        policies: PolicySet,
        projects: ProjectRule,
        totals: Totals,
        errors: Errors,
        *,
        namespace: str | None,
        labels: Mapping[str, str],
        with_ended: bool,
    ) -> None:
        self._known: dict[str, Mapping[str, str]] = {}
        self._snapshot = Snapshot(policies, projects, self._known)
        self._totals, self._errors = totals, errors
        self._namespace, self._labels, self._with_ended = namespace, labels, with_ended

    def reviews(self, inputs: Inputs, bar: Bar) -> Iterator[Reviewed]:
        """One result an object, in their order. What cannot be reviewed is an error, and the rest goes on."""
        for given in inputs.texts:
            bar.later = given.remaining
            for document in read_documents(given.name, given.text, self._errors.add, bar.expect):
                result = self._review(given.name, document, inputs.namespaces)
                bar.advance()
                if result is not None:
                    self._totals.add(result)
                    yield result

    def _review(self, source: str, document: Document, namespaces: Mapping[str, Mapping[str, str]]) -> Reviewed | None:
        item = self._read(source, document)
        if item is None:
            return None
        if item.has_ended and not self._with_ended:
            self._totals.ended += 1
            return None
        if item.namespace not in self._known:
            self._known[item.namespace] = {**namespaces.get(item.namespace, {}), **self._labels}
        try:
            return self._decided(item)
        except InvalidPod as error:
            self._errors.add(f"{source}: {item.kind} {item.namespace}/{item.name}: {error}")
            return None

    def _read(self, source: str, document: Document) -> Reviewable | None:
        try:
            return reviewable(source, document, namespace=self._namespace)
        except UnusableInput as error:
            self._errors.add(error)
        except InvalidReview as error:
            self._errors.add(f"{source}: {error}")
        return None

    def _decided(self, item: Reviewable) -> Reviewed:
        scope = self._snapshot.scope(item.namespace)
        if item.review is None or (item.is_stored and item.namespace in SYSTEM_NAMESPACES):
            return Reviewed(item, scope)
        return Reviewed(item, scope, self._snapshot.decide(item.review))
