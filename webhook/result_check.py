"""R13: a decision's result is checked against the API server's own rules before it is sent.

A patch that the API server refuses fails the pod even under `failurePolicy: Ignore`.
"""

from collections.abc import Callable, Mapping, Sequence

from webhook.pod import Pod
from webhook.resources import ContainerResources, Side
from webhook.scheduling import Placement
from webhook.validity import FieldError, StoredPod, StoredResources, amount_errors, errors, toleration_errors

POD_LEVEL = "spec.resources"


def placement_errors(pod: Pod, placement: Placement) -> list[FieldError]:
    """What the API server would refuse in the tolerations that were added."""
    first = len(pod.spec.tolerations or ())
    return [
        error
        for index, toleration in enumerate(placement.tolerations, first)
        for error in toleration_errors(f"spec.tolerations[{index}]", toleration)
    ]


def errors_of_ours(pod: Pod, containers: Sequence[ContainerResources]) -> list[FieldError]:
    """What the API server would refuse in the result, but for what the pod came with and we did not write.

    `containers` ends with the pod level, if any. Containers that no rule touched matter only to that.
    """
    if pod.spec.resources is None:
        containers = [container for container in containers if container.reasons or container.renamed]
        # Without a pod level each container stands for itself, and the usual result is nobody's error.
        if not any(amount_errors("", container.requests, container.limits) for container in containers):
            return []
    found = errors(_pod(containers, _after, is_windows=pod.is_windows))
    if not found:
        return found
    before = errors(_pod(containers, _before, is_windows=pod.is_windows))
    fields = {(error.path, error.resource) for error in before}
    doomed = {error.resource for error in before}
    by_field = {container.field: container for container in containers}

    def is_ours(error: FieldError) -> bool:
        if _is_written(error, by_field):
            return True
        # A pod level that does not fit a container's value says nothing new where that value was wrong before.
        is_new = (error.path, error.resource) not in fields
        return is_new and not (error.path.startswith(POD_LEVEL) and error.resource in doomed)

    return [error for error in found if is_ours(error)]


def caused_by_annotation(found: Sequence[FieldError], containers: Sequence[ContainerResources]) -> list[FieldError]:
    """Those of a field whose value an annotation set, or that sums up containers with such a value."""
    annotated = {
        (place, resource)
        for container in containers
        for (_, name), reason in container.reasons.items()
        if reason.rule == "annotation"
        for place in (container.field, POD_LEVEL)
        for resource in (name, "")  # an error of a field as a whole names no resource
    }
    return [error for error in found if (_field_of(error), error.resource) in annotated]


def _is_written(error: FieldError, by_field: Mapping[str, ContainerResources]) -> bool:
    """Whether a rule set the field's value; a limit that the pod lacks is not ours because its request is."""
    side: Side = "limits" if ".limits" in error.path else "requests"
    container = by_field.get(_field_of(error))
    return container is not None and (side, error.resource) in container.reasons


def _field_of(error: FieldError) -> str:
    """The field `resources` that the error is in; of the pod level, what it says about a container is, too."""
    return f"{error.path.partition('.resources')[0]}.resources"


def _pod(
    containers: Sequence[ContainerResources],
    resources: Callable[[ContainerResources], StoredResources],
    *,
    is_windows: bool,
) -> StoredPod:
    pod_levels = [resources(container) for container in containers if container.kind == "pod"]
    return StoredPod(
        regular=[resources(container) for container in containers if container.kind in ("primary", "regular")],
        init=[resources(container) for container in containers if container.kind in ("sidecar", "init")],
        pod_level=pod_levels[0] if pod_levels else None,
        is_windows=is_windows,
    )


def _after(container: ContainerResources) -> StoredResources:
    is_sidecar = container.kind == "sidecar"
    return StoredResources(container.field, container.requests, container.limits, is_sidecar=is_sidecar)


def _before(container: ContainerResources) -> StoredResources:
    """As it came, but by its resources' names: an alias is no error of the pod."""
    requests, limits = container.before_requests, container.before_limits
    if container.kind != "pod":
        requests = {**limits, **requests}
    return StoredResources(container.field, requests, limits, is_sidecar=container.kind == "sidecar")
