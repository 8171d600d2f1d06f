"""Pods as people write them, and what of a pod the tests look at."""

from typing import Any

Json = dict[str, Any]

REQUESTS = "task-resources.io/requests"
LIMITS = "task-resources.io/limits"
PRIMARY_CONTAINER = "task-resources.io/primary-container"
APPLIED = "task-resources.io/applied"


def container(name: str = "main", *, limits: Json | None = None, requests: Json | None = None, **fields: Any) -> Json:
    resources = {side: amounts for side, amounts in (("limits", limits), ("requests", requests)) if amounts is not None}
    return {"name": name, "image": "registry.example/task", **({"resources": resources} if resources else {}), **fields}


def sidecar(name: str, **amounts: Any) -> Json:
    return container(name, restartPolicy="Always", **amounts)


def pod(
    *containers: Json,
    name: str = "task",
    init: list[Json] | None = None,
    annotations: Json | None = None,
    **spec: Any,
) -> Json:
    metadata = {"name": name, **({"annotations": annotations} if annotations else {})}
    body: Json = {"containers": list(containers) or [container()], **spec}
    if init:
        body["initContainers"] = init
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": body}


# More than the maximum of 4 CPUs that most policies of the tests have.
GREEDY = pod(container(limits={"cpu": "16", "memory": "1Gi"}))


def deployment(template: Json, *, replicas: int = 1) -> Json:
    """A Deployment of this pod."""
    return _of_pods("Deployment", template, replicas=replicas)


def daemon_set(template: Json) -> Json:
    """A DaemonSet of this pod."""
    return _of_pods("DaemonSet", template)


def _of_pods(kind: str, template: Json, **spec: Any) -> Json:
    labels = {"app": "tasks"}
    metadata = {"labels": labels, "annotations": annotations(template)}
    spec |= {"selector": {"matchLabels": labels}, "template": {"metadata": metadata, "spec": template["spec"]}}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "tasks"}, "spec": spec}


def job(template: Json) -> Json:
    """A Job that runs this pod once."""
    metadata = {"annotations": annotations(template)}
    spec = {"template": {"metadata": metadata, "spec": {**template["spec"], "restartPolicy": "Never"}}}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "tasks"}, "spec": spec}


def all_containers(given: Json) -> list[Json]:
    return [*given["spec"]["containers"], *given["spec"].get("initContainers", ())]


def resources(given: Json) -> Json:
    """The resources of each container by its name; of the pod level under "pod"."""
    found = {each["name"]: each.get("resources", {}) for each in all_containers(given)}
    return found | ({"pod": given["spec"]["resources"]} if "resources" in given["spec"] else {})


def annotations(given: Json) -> dict[str, str]:
    return given["metadata"].get("annotations") or {}
