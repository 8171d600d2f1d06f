"""R13: a decision's result is checked against the API server's own rules before it is sent.

A patch that the API server refuses fails the pod even under `failurePolicy: Ignore`.
"""

from collections.abc import Sequence

from webhook.pod import Pod
from webhook.resources import ContainerResources, Side
from webhook.validity import FieldError, StoredPod, StoredResources, errors, stored


def errors_of_ours(pod: Pod, containers: Sequence[ContainerResources]) -> list[FieldError]:
    """What the API server would refuse in the result, but for what the pod came with and we did not write.

    `containers` ends with the pod level. Containers that no rule touched matter only to a pod level.
    """
    *regular, pod_level = containers
    if pod_level.given is None:
        regular = [container for container in regular if container.reasons or container.renamed]
    result = StoredPod(
        regular=[_stored(container) for container in regular if container.kind in ("primary", "regular")],
        init=[_stored(container) for container in regular if container.kind in ("sidecar", "init")],
        pod_level=None if pod_level.given is None else _stored(pod_level),
        is_windows=pod.is_windows,
    )
    found = errors(result)
    if not found:
        return found
    before = {(error.path, error.resource) for error in errors(stored(pod))}
    return [error for error in found if (error.path, error.resource) not in before or _written(error, containers)]


def caused_by_annotation(error: FieldError, containers: Sequence[ContainerResources]) -> bool:
    """Whether an annotation set a value of the field, or of a container that the pod level's field sums up."""
    return any(
        reason.rule == "annotation" and (not error.resource or resource == error.resource)
        for container in containers
        if _is_of(error, container) or error.path.startswith("spec.resources")
        for (_, resource), reason in container.reasons.items()
    )


def _written(error: FieldError, containers: Sequence[ContainerResources]) -> bool:
    """Whether a rule set the field's value; a limit that the pod lacks is not ours because its request is."""
    side: Side = "limits" if ".limits" in error.path else "requests"
    return any((side, error.resource) in container.reasons and _is_of(error, container) for container in containers)


def _is_of(error: FieldError, container: ContainerResources) -> bool:
    return error.path.startswith(container.field)


def _stored(container: ContainerResources) -> StoredResources:
    is_sidecar = container.kind == "sidecar"
    return StoredResources(container.field, container.requests, container.limits, is_sidecar=is_sidecar)
