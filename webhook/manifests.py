"""What a dry run is given: AdmissionReviews, pods, and whatever has a pod template, in YAML or JSON.

Reads documents into pods to review and puts a changed pod back where it came from. Manifests first get what the
API server would fill in before admission, requests from limits; AdmissionReviews are taken as they are.
"""

import copy
import json
import re
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import yaml

from webhook.review import DAEMON_SET_CONTROLLER

Json = dict[str, Any]

# Where the pod (or its template) is in an object of each kind. Other groups have kinds of these names, too.
TEMPLATES: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("", "Pod"): (),
    ("", "PodTemplate"): ("template",),
    ("", "ReplicationController"): ("spec", "template"),
    ("apps", "Deployment"): ("spec", "template"),
    ("apps", "ReplicaSet"): ("spec", "template"),
    ("apps", "StatefulSet"): ("spec", "template"),
    ("apps", "DaemonSet"): ("spec", "template"),
    ("batch", "Job"): ("spec", "template"),
    ("batch", "CronJob"): ("spec", "jobTemplate", "spec", "template"),
}
OUR_ANNOTATIONS = "task-resources.io/"

# What a patch changes in a pod's spec, beside its containers.
PATCHED_FIELDS = ("resources", "tolerations", "nodeSelector", "affinity", "volumes")


class UnusableInput(ValueError):
    """An input that cannot be reviewed; the message names it and says what is accepted."""


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc] # the same in C where libyaml is
    """YAML as Kubernetes reads it: a date, 22:22 and = are text."""


_INTEGER = re.compile(r"[-+]?(?:0b[01_]+|0x[0-9a-fA-F_]+|0[0-7_]+|0|[1-9][0-9_]*)")
_OTHERS = {"tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:value", "tag:yaml.org,2002:int"}
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _OTHERS]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(rf"{_INTEGER.pattern}\Z"), list("-+0123456789"))


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
        """The whole object with its pod replaced; of an AdmissionReview the pod itself.

        Nothing is different but what a patch changed: what was filled in for the review is left out again.
        """
        if self.is_admission_review:
            return pod
        document = copy.deepcopy(self.document)
        template = _at(document, self.template)
        annotations = pod["metadata"].get("annotations")
        if annotations != (template.get("metadata") or {}).get("annotations"):
            template["metadata"] = {**(template.get("metadata") or {}), "annotations": annotations}
        spec = template["spec"]
        spec |= {field: pod["spec"][field] for field in PATCHED_FIELDS if field in pod["spec"]}
        for field in ("containers", "initContainers"):
            for own, reviewed in zip(spec.get(field) or (), pod["spec"].get(field) or (), strict=True):
                _put_back(own, reviewed)
        return document


def _put_back(container: Json, reviewed: Json) -> None:
    """Gives a container what it has after the review, but no requests that are only filled in."""
    if "volumeMounts" in reviewed:
        container["volumeMounts"] = reviewed["volumeMounts"]
    filled_in = copy.deepcopy(container)
    _fill_in_requests(filled_in)
    if reviewed.get("resources") == filled_in.get("resources"):
        return
    resources = copy.deepcopy(reviewed["resources"])
    own, before = container.get("resources") or {}, filled_in.get("resources") or {}
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    for name in [name for name in requests if name not in (own.get("requests") or {})]:
        was = ((before.get("requests") or {}).get(name), (before.get("limits") or {}).get(name))
        if was == (requests[name], limits.get(name)):
            del requests[name]
    if not requests and "requests" not in own:
        resources.pop("requests", None)
    container["resources"] = resources


def read_documents(source: str, text: bytes, refuse: Callable[[UnusableInput], None]) -> Iterator[Json]:
    """The objects in a file: several YAML documents, or JSON values one after the other; Lists taken apart.

    What cannot be used goes to `refuse`, and the rest of the file goes on.
    """
    found = 0
    for document in _parse(source, text, refuse):
        if document is None:
            continue
        found += 1
        place = source if found == 1 else f"{source}, document {found}"
        if isinstance(document, dict):
            yield from _taken_apart(place, document, refuse)
        else:
            found_text = json.dumps(document, default=str)[:60]
            refuse(UnusableInput(f"{place}: is {found_text}; accepted: Kubernetes objects and AdmissionReviews"))
    if not found and not text.strip():
        refuse(UnusableInput(f"{source}: there is nothing in it"))


_JSON = re.compile(rb'\s*\{\s*["}]')


def _parse(source: str, text: bytes, refuse: Callable[[UnusableInput], None]) -> Iterator[Any]:
    text = text.removeprefix(BOM_UTF8)
    if _JSON.match(text):  # a YAML mapping may begin with a brace, too
        yield from _parse_json(source, text, refuse)
        return
    try:
        yield from yaml.load_all(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:300]
        refuse(UnusableInput(f"{source}: neither YAML nor JSON: {reason}"))


def _parse_json(source: str, text: bytes, refuse: Callable[[UnusableInput], None]) -> Iterator[Any]:
    """JSON values after each other, also one a line. After a broken one it goes on with the next line."""
    try:
        rest = text.decode().strip()
    except UnicodeDecodeError as error:
        refuse(UnusableInput(f"{source}: neither YAML nor JSON: {error}"))
        return
    decoder = json.JSONDecoder()
    position = 0
    while position < len(rest):
        try:
            value, position = decoder.raw_decode(rest, position)
            yield value
        except (ValueError, RecursionError) as error:
            line = rest.count("\n", 0, position) + 1
            reason = str(error) if isinstance(error, json.JSONDecodeError) else "too deep, or a number too long"
            refuse(UnusableInput(f"{source}: neither YAML nor JSON, from line {line}: {reason}"))
            position = rest.find("\n{", position)
            if position < 0:
                return
        position += len(rest[position:]) - len(rest[position:].lstrip())


def _taken_apart(source: str, document: Json, refuse: Callable[[UnusableInput], None]) -> Iterator[Json]:
    kind = str(document.get("kind"))
    if not kind.endswith("List") or not isinstance(document.get("items"), list):
        yield document
        return
    item_kind = kind.removesuffix("List")
    # A typed list leaves apiVersion and kind of its items out.
    own = {"apiVersion": document.get("apiVersion", "v1"), "kind": item_kind} if item_kind else {}
    for index, item in enumerate(document["items"]):
        if isinstance(item, dict):
            yield from _taken_apart(source, {**own, **item}, refuse)
        else:
            refuse(UnusableInput(f"{source}: items[{index}] of the {kind} is no object"))


def reviewable(source: str, document: Json, *, namespace: str | None = None) -> Reviewable:
    """What to review of an object. `namespace` replaces the object's own; without either it is "default".

    Raises UnusableInput.
    """
    kind = document.get("kind")
    if not isinstance(kind, str) or not kind:
        raise UnusableInput(f"{source}: an object has no kind; accepted: Kubernetes objects and AdmissionReviews")
    if kind == "AdmissionReview":
        return _admission_review(source, document)
    template = _template(document.get("apiVersion"), kind)
    metadata = document.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    name = str(metadata.get("name") or metadata.get("generateName") or "")
    place = namespace or str(metadata.get("namespace") or "default")
    if template is None:
        return Reviewable(source, kind, place, name, document)
    where = f"{source}: {kind} {name}".rstrip()
    _mapping(where, document, "metadata")
    pod = _pod(where, document, template, place)
    if kind == "DaemonSet":
        pod["metadata"]["ownerReferences"] = [{"kind": kind, "name": name}]
    body = _review_body(where, pod, place, name if kind == "Pod" else "")
    warnings = _misplaced_annotations(metadata, kind, name) if template else ()
    return Reviewable(source, kind, place, name, document, body, template, warnings=warnings)


def _template(api_version: object, kind: str) -> tuple[str, ...] | None:
    """The way to the pod; None for a kind that has none. Without an apiVersion the kind alone says it."""
    if not api_version:
        return next((path for (_, known), path in TEMPLATES.items() if known == kind), None)
    return TEMPLATES.get((str(api_version).rpartition("/")[0], kind))


def _admission_review(source: str, document: Json) -> Reviewable:
    request = _mapping(f"{source}: AdmissionReview", document, "request")
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
        _encoded(f"{source}: AdmissionReview", document),
        ("request", "object"),
        is_admission_review=True,
    )


def _pod(where: str, document: Json, template: tuple[str, ...], namespace: str) -> Json:
    """The pod that would be created, with requests filled in from limits as the API server does."""
    pod = document
    for key in template:
        pod = _mapping(where, pod, key)
    spec = copy.deepcopy(_mapping(where, pod, "spec"))
    metadata = dict(_mapping(where, pod, "metadata"))
    if template:
        metadata.pop("name", None)  # pods of a template get generated names
    containers = [*_containers(where, spec, "containers"), *_containers(where, spec, "initContainers")]
    if not containers:
        raise UnusableInput(f"{where}: has no containers")
    for container in containers:
        _fill_in_requests(container)
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {**metadata, "namespace": namespace}, "spec": spec}


def _containers(where: str, spec: Json, field: str) -> list[Json]:
    containers = spec.get(field) or []
    if not isinstance(containers, list) or not all(isinstance(container, dict) for container in containers):
        raise UnusableInput(f"{where}: {field} must be a list of containers")
    return containers


def _fill_in_requests(container: Json) -> None:
    """Source: kubernetes pkg/apis/core/v1/defaults.go SetDefaults_Pod."""
    resources = container.get("resources")
    limits = resources.get("limits") if isinstance(resources, dict) else None
    if not isinstance(resources, dict) or not isinstance(limits, dict):
        return
    requests = resources.get("requests")
    if limits and (requests is None or isinstance(requests, dict)):
        resources["requests"] = {**(requests or {}), **{k: v for k, v in limits.items() if k not in (requests or {})}}


def _review_body(where: str, pod: Json, namespace: str, name: str) -> bytes:
    return _encoded(
        where,
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
                "userInfo": {"username": _creator(pod)},
                "object": pod,
                "dryRun": True,
            },
        },
    )


def _creator(pod: Json) -> str:
    """Who would create the pod; matters for those of DaemonSets only."""
    owners = pod["metadata"].get("ownerReferences")
    kinds = [owner.get("kind") for owner in owners if isinstance(owner, dict)] if isinstance(owners, list) else []
    return DAEMON_SET_CONTROLLER if "DaemonSet" in kinds else "dry-run"


def _encoded(where: str, document: Json) -> bytes:
    """As JSON. Raises UnusableInput for what JSON does not have, such as a key that is true."""
    try:
        return msgspec.json.encode(document)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise UnusableInput(f"{where}: cannot be written as JSON: {error}") from error


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


def _mapping(where: str, parent: Json, key: str) -> Json:
    value = parent.get(key)
    if value is None and key == "metadata":
        return {}
    if not isinstance(value, dict):
        found = "is missing" if value is None else f"is {json.dumps(value, default=str)[:60]}"
        raise UnusableInput(f"{where}: {key} {found}; accepted: a mapping")
    return value


def _at(document: Json, path: tuple[str, ...]) -> Json:
    for key in path:
        document = document[key]
    return document
