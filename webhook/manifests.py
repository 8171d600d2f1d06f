"""What a dry run is given: AdmissionReviews, pods, and whatever has a pod template, in YAML or JSON.

Reads documents into pods to review and puts a changed pod back where it came from. Manifests first get what the
API server would fill in before admission, requests from limits; AdmissionReviews are taken as they are.
"""

import copy
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import yaml

Json = dict[str, Any]

# Where the pod (or its template) is in an object of each kind.
TEMPLATES: Mapping[str, tuple[str, ...]] = {
    "Pod": (),
    "PodTemplate": ("template",),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
    **dict.fromkeys(
        ("Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Job", "ReplicationController"),
        ("spec", "template"),
    ),
}
OUR_ANNOTATIONS = "task-resources.io/"


class UnusableInput(ValueError):
    """An input that cannot be reviewed; the message names it and says what is accepted."""


class _Loader(yaml.CSafeLoader):  # type: ignore[misc, unused-ignore]
    """YAML as Kubernetes reads it: a date is text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


@dataclass(frozen=True, slots=True)
class Reviewable:
    """One object of the input, and the review that the API server would send for its pod.

    `body` is None for an object without a pod, such as a Service: it is passed through. `template` is the way to
    the pod inside `document`, the whole object; empty where the object is the pod.
    """

    source: str
    kind: str
    namespace: str
    name: str
    document: Json
    body: bytes | None = None
    template: tuple[str, ...] = ()
    is_admission_review: bool = False
    warnings: tuple[str, ...] = ()

    @property
    def pod(self) -> Json:
        """The pod, or the template it is made from, as it came."""
        return _at(self.document, self.template)

    def with_pod(self, pod: Json) -> Json:
        """The whole object with its pod replaced; of an AdmissionReview the pod itself."""
        if self.is_admission_review or not self.template:
            return pod
        document = copy.deepcopy(self.document)
        template = _at(document, self.template)
        for key in ("metadata", "spec"):
            if key in pod:
                template[key] = pod[key]
        return document


def read_documents(source: str, text: bytes) -> Iterator[Json]:
    """The objects in a file: several YAML documents, one JSON value, or JSON values one a line; Lists taken apart.

    Raises UnusableInput.
    """
    found = False
    for document in _parse(source, text):
        if document is None:
            continue
        if not isinstance(document, dict):
            shape = type(document).__name__
            raise UnusableInput(f"{source}: a document is a {shape}; accepted: Kubernetes objects and AdmissionReviews")
        found = True
        yield from _taken_apart(source, document)
    if not found:
        raise UnusableInput(f"{source}: there is nothing in it")


def _parse(source: str, text: bytes) -> Iterator[Any]:
    try:
        if text.lstrip()[:1] == b"{":
            yield from msgspec.json.Decoder().decode_lines(text) if _has_lines(text) else [json.loads(text)]
        else:
            yield from yaml.load_all(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UnusableInput(f"{source}: neither YAML nor JSON: {reason}") from error


def _has_lines(text: bytes) -> bool:
    """Whether each line is a JSON object of its own."""
    first, _, rest = text.strip().partition(b"\n")
    return first[:1] == b"{" and first.rstrip()[-1:] == b"}" and rest.lstrip()[:1] == b"{"


def _taken_apart(source: str, document: Json) -> Iterator[Json]:
    kind = str(document.get("kind"))
    if kind.endswith("List") and isinstance(document.get("items"), list):
        item_kind = kind.removesuffix("List")
        for item in document["items"]:
            if not isinstance(item, dict):
                raise UnusableInput(f"{source}: an item of the {kind} is no object")
            # A typed list leaves apiVersion and kind of its items out.
            own = {"apiVersion": document.get("apiVersion", "v1"), "kind": item_kind} if item_kind else {}
            yield from _taken_apart(source, {**own, **item})
    else:
        yield document


def reviewable(source: str, document: Json, *, namespace: str | None = None) -> Reviewable:
    """What to review of an object. `namespace` replaces the object's own; without either it is "default".

    Raises UnusableInput.
    """
    kind = document.get("kind")
    if not isinstance(kind, str) or not kind:
        raise UnusableInput(f"{source}: an object has no kind; accepted: Kubernetes objects and AdmissionReviews")
    if kind == "AdmissionReview":
        return _admission_review(source, document)
    metadata = _mapping(source, document, "metadata", kind)
    name = str(metadata.get("name") or metadata.get("generateName") or "")
    place = namespace or str(metadata.get("namespace") or "default")
    template = TEMPLATES.get(kind)
    if template is None:
        return Reviewable(source, kind, place, name, document)
    pod = _pod(source, document, template, kind, place)
    warnings = _misplaced_annotations(metadata, kind, name) if template else ()
    body = _review_body(pod, place, name if kind == "Pod" else "")
    return Reviewable(source, kind, place, name, document, body, template, warnings=warnings)


def _admission_review(source: str, document: Json) -> Reviewable:
    request = _mapping(source, document, "request", "AdmissionReview")
    pod = request.get("object")
    metadata = pod.get("metadata") if isinstance(pod, dict) else None
    metadata = metadata if isinstance(metadata, dict) else {}
    kind = request.get("kind")
    return Reviewable(
        source,
        str(kind.get("kind", "")) if isinstance(kind, dict) else "",
        str(request.get("namespace") or ""),
        str(request.get("name") or metadata.get("name") or metadata.get("generateName") or ""),
        document,
        msgspec.json.encode(document),
        ("request", "object"),
        is_admission_review=True,
    )


def _pod(source: str, document: Json, template: tuple[str, ...], kind: str, namespace: str) -> Json:
    """The pod that would be created, with requests filled in from limits as the API server does."""
    pod = document
    for key in template:
        pod = _mapping(source, pod, key, kind)
    spec = copy.deepcopy(_mapping(source, pod, "spec", kind))
    metadata = dict(_mapping(source, pod, "metadata", kind, required=False))
    if template:
        metadata.pop("name", None)  # pods of a template get generated names
    containers = [*_containers(source, spec, "containers"), *_containers(source, spec, "initContainers")]
    if not containers:
        raise UnusableInput(f"{source}: {kind} has no containers")
    for container in containers:
        _fill_in_requests(container)
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {**metadata, "namespace": namespace}, "spec": spec}


def _containers(source: str, spec: Json, field: str) -> list[Json]:
    containers = spec.get(field) or []
    if not isinstance(containers, list) or not all(isinstance(container, dict) for container in containers):
        raise UnusableInput(f"{source}: {field} must be a list of containers")
    return containers


def _fill_in_requests(container: Json) -> None:
    """Source: kubernetes pkg/apis/core/v1/defaults.go SetDefaults_Pod."""
    resources = container.get("resources")
    limits = resources.get("limits") if isinstance(resources, dict) else None
    if isinstance(resources, dict) and isinstance(limits, dict) and limits:
        requests = resources.get("requests")
        resources["requests"] = {**limits, **(requests if isinstance(requests, dict) else {})}


def _review_body(pod: Json, namespace: str, name: str) -> bytes:
    return msgspec.json.encode(
        {
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": {
                "uid": "00000000-0000-0000-0000-000000000000",
                "kind": {"group": "", "version": "v1", "kind": "Pod"},
                "resource": {"group": "", "version": "v1", "resource": "pods"},
                "namespace": namespace,
                "name": name,
                "operation": "CREATE",
                "userInfo": {"username": "dry-run"},
                "object": pod,
                "dryRun": True,
            },
        }
    )


def reviewed_pod(body: bytes) -> Json:
    """The pod that a review is about: what a patch applies to."""
    pod: Json = msgspec.json.decode(body)["request"]["object"]
    return pod


def _misplaced_annotations(metadata: Json, kind: str, name: str) -> tuple[str, ...]:
    annotations = metadata.get("annotations")
    ours = [key for key in annotations if OUR_ANNOTATIONS in str(key)] if isinstance(annotations, dict) else []
    return tuple(
        f"{kind} {name}: annotation {key} is on the {kind} and has no effect: put it on the pod template"
        for key in ours
    )


def _mapping(source: str, parent: Json, key: str, kind: str, *, required: bool = True) -> Json:
    value = parent.get(key)
    if value is None and (not required or key == "metadata"):
        return {}
    if not isinstance(value, dict):
        found = "is missing" if value is None else f"is {json.dumps(value, default=str)[:60]}"
        raise UnusableInput(f"{source}: {key} of the {kind} {found}; accepted: a mapping")
    return value


def _at(document: Json, path: tuple[str, ...]) -> Json:
    for key in path:
        document = document[key]
    return document
