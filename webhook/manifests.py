"""What a dry run is given: AdmissionReviews, pods, and whatever has a pod template.

Makes reviews of objects and puts a changed pod back where it came from. Manifests first get what the API server would
fill in before admission, requests from limits; AdmissionReviews are taken as they are. Pods that an API server has
stored already are reviewed as if they were created once more. Reading files is left to `documents`.
"""

import copy
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import jsonpatch
import msgspec
from msgspec.structs import replace

from webhook.admission import decode, patch_json
from webhook.documents import Document, Json, UnusableInput, decoded, read_documents
from webhook.patch import Operation
from webhook.pod import Container, Metadata, Pod
from webhook.printable import shown
from webhook.review import DAEMON_SET_CONTROLLER, MIRROR_ANNOTATION, NODES_GROUP, Review, UserInfo

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

ENDED_PHASES = ("Succeeded", "Failed")

UID = "00000000-0000-0000-0000-000000000000"

NODE = UserInfo(groups=[NODES_GROUP])
DAEMON_SETS = UserInfo(username=DAEMON_SET_CONTROLLER)
SOMEBODY = UserInfo(username="dry-run")


@dataclass(frozen=True, slots=True)
class Reviewable:
    """One object of the input, and the review that the API server would send for its pod.

    `review` is None for an object without a pod, such as a Service: it is passed through. `template` is the way to
    the pod inside the object; empty where the object is the pod. `is_stored`: whether it is a pod that an API server
    has admitted already, as in a dump; `has_ended`: whether it is one that holds nothing any more.
    """

    source: str
    kind: str
    namespace: str
    name: str
    content: Document
    review: Review | None = None
    template: tuple[str, ...] = ()
    is_admission_review: bool = False
    is_stored: bool = False
    has_ended: bool = False
    warnings: tuple[str, ...] = ()

    @property
    def document(self) -> Json:
        """The whole object."""
        document: Json = decoded(self.content)
        return document

    @property
    def pod(self) -> Json:
        """The pod that the review is about: what a patch applies to. Shares parts with the object."""
        if self.is_admission_review:
            return _at(self.document, self.template)
        return _pod(self.source, self.document, self.template, self.namespace)

    def patched_pod(self, operations: tuple[Operation, ...]) -> Json:
        """The pod with a patch applied, as the API server applies it."""
        pod: Json = jsonpatch.JsonPatch(patch_json(operations)).apply(self.pod)
        return pod

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


class _NamespaceMetadata(msgspec.Struct):
    name: str
    labels: dict[str, str] | None = None


class _Namespace(msgspec.Struct, tag_field="kind", tag="Namespace"):
    metadata: _NamespaceMetadata


def labels_of_namespaces(source: str, text: bytes) -> Iterator[tuple[str, dict[str, str]]]:
    """Name and labels of each Namespace object in a file, wherever in it they stand; what is none is left out."""
    if b"Namespace" not in text:  # a dump is not read twice for nothing
        return
    for document in read_documents(source, text, refuse=lambda _: None):
        try:
            if isinstance(document, msgspec.Raw):
                namespace = msgspec.json.decode(document, type=_Namespace)
            else:
                namespace = msgspec.convert(document, _Namespace)
        except msgspec.ValidationError:
            continue
        yield namespace.metadata.name, namespace.metadata.labels or {}


def reviewable(source: str, document: Document, *, namespace: str | None = None) -> Reviewable:
    """What to review of an object. `namespace` replaces the object's own; without either it is "default".

    Raises UnusableInput, and InvalidReview for an AdmissionReview that the API server would not send.
    """
    if isinstance(document, msgspec.Raw):
        return _reviewable_pod(source, document, namespace) or _reviewable(source, document, namespace)
    return _reviewable(source, document, namespace)


class _StoredMetadata(Metadata, frozen=True):
    uid: str | None = None


class _Status(msgspec.Struct, frozen=True, gc=False):
    phase: str | None = None


class _PodObject(Pod, frozen=True):
    """A pod with what tells a stored one from a manifest."""

    api_version: str = ""
    kind: str = ""
    metadata: _StoredMetadata = _StoredMetadata()
    status: _Status | None = None

    @property
    def has_ended(self) -> bool:
        return self.status is not None and self.status.phase in ENDED_PHASES


_decode_pod = msgspec.json.Decoder(_PodObject).decode


def _reviewable_pod(source: str, text: msgspec.Raw, namespace: str | None) -> Reviewable | None:
    """A pod read straight into the typed view, as the service reads it: ten times faster than by way of plain values.

    None for what is no pod, or none without flaws: the other way has words for them.
    """
    try:
        pod = _decode_pod(text)
    except (msgspec.DecodeError, RecursionError):
        return None
    if pod.kind != "Pod" or pod.api_version not in ("v1", "") or not pod.spec.containers:
        return None
    metadata = pod.metadata
    name = metadata.name or metadata.generate_name or ""
    place = namespace or metadata.namespace or "default"
    review = _review(_with_requests(pod), place, name, _creator(pod, is_stored=metadata.uid is not None))
    return Reviewable(
        source, "Pod", place, name, text, review, is_stored=metadata.uid is not None, has_ended=pod.has_ended
    )


def _with_requests(pod: Pod) -> Pod:
    """The pod with requests filled in from limits. Source: as of `_fill_in_requests`."""
    spec = pod.spec
    if not any(_lacks_requests(each) for each in (*(spec.containers or ()), *(spec.init_containers or ()))):
        return pod
    regular = [_with_own_requests(each) for each in spec.containers or ()]
    init = None if spec.init_containers is None else [_with_own_requests(each) for each in spec.init_containers]
    return replace(pod, spec=replace(spec, containers=regular, init_containers=init))


def _lacks_requests(container: Container) -> bool:
    resources = container.resources
    return bool(
        resources is not None and resources.limits and not resources.limits.keys() <= (resources.requests or {}).keys()
    )


def _with_own_requests(container: Container) -> Container:
    resources = container.resources
    if resources is None or not _lacks_requests(container):
        return container
    requests = resources.requests or {}
    filled_in = {name: amount for name, amount in (resources.limits or {}).items() if name not in requests}
    return replace(container, resources=replace(resources, requests={**requests, **filled_in}))


def _reviewable(source: str, given: Document, namespace: str | None) -> Reviewable:
    try:
        document: Json = decoded(given)
    except (ValueError, RecursionError) as error:
        raise UnusableInput(f"{source}: cannot be read: {error}") from error
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
        return Reviewable(source, kind, "" if kind == "Namespace" else place, name, document)
    within = f"{shown(metadata['namespace'])}/" if metadata.get("namespace") else ""
    where = f"{source}: {shown(kind)} {within}{shown(name)}".rstrip()
    _mapping(where, document, "metadata")
    pod = _pod(where, document, template, place)
    if kind == "DaemonSet":
        _pin(pod, owner={"kind": kind, "name": name})
    view = _view(where, pod)
    status = None if template else document.get("status")
    is_stored = not template and metadata.get("uid") is not None
    return Reviewable(
        source,
        kind,
        place,
        name,
        document,
        _review(view, place, "" if template else name, _creator(view, is_stored=is_stored)),
        template,
        is_stored=is_stored,
        has_ended=isinstance(status, dict) and status.get("phase") in ENDED_PHASES,
        warnings=_misplaced_annotations(metadata, kind, name) if template else (),
    )


def _template(api_version: object, kind: str) -> tuple[str, ...] | None:
    """The way to the pod; None for a kind that has none. Without an apiVersion the kind alone says it."""
    if not api_version:
        return next((path for (_, known), path in TEMPLATES.items() if known == kind), None)
    return TEMPLATES.get((str(api_version).rpartition("/")[0], kind))


def _admission_review(source: str, document: Json) -> Reviewable:
    """Raises UnusableInput and InvalidReview."""
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
        decode(_encoded(f"{source}: AdmissionReview", document)),
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


def _pin(pod: Json, owner: Json) -> None:
    """Makes a template's pod one of a DaemonSet's, as its controller does: required node affinity names the node alone.

    Source of the rule: kubernetes pkg/controller/daemon/util ReplaceDaemonSetPodNodeNameNodeAffinity.
    """
    pod["metadata"]["ownerReferences"] = [owner]
    affinity = pod["spec"].get("affinity")
    node_affinity = affinity.get("nodeAffinity") if isinstance(affinity, dict) else None
    if isinstance(node_affinity, dict):
        node = {"key": "metadata.name", "operator": "In", "values": ["node"]}
        required = {"nodeSelectorTerms": [{"matchFields": [node]}]}
        node_affinity["requiredDuringSchedulingIgnoredDuringExecution"] = required


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


def _view(where: str, pod: Json) -> Pod:
    """The typed view of a pod. Raises UnusableInput."""
    try:
        return _decode_pod(_encoded(where, pod))
    except (msgspec.DecodeError, RecursionError) as error:
        raise UnusableInput(f"{where}: the pod cannot be read: {error}") from error


def _review(pod: Pod, namespace: str, name: str, creator: UserInfo) -> Review:
    """What the API server would ask at the creation of the pod, as a dry run."""
    return Review(
        uid=UID,
        kind="Pod",
        operation="CREATE",
        sub_resource="",
        namespace=namespace,
        name=name,
        user_info=creator,
        dry_run=True,
        pod=pod,
        old_pod=None,
    )


def _creator(pod: Pod, *, is_stored: bool) -> UserInfo:
    """Who would create the pod, as far as it matters; of a stored pod its annotations and owners are believed."""
    if is_stored and MIRROR_ANNOTATION in pod.annotations:
        return NODE
    owners = pod.metadata.owner_references or ()
    return DAEMON_SETS if any(owner.kind == "DaemonSet" for owner in owners) else SOMEBODY


def _encoded(where: str, document: Json) -> bytes:
    """As JSON. Raises UnusableInput for what JSON does not have, such as a key that is true."""
    try:
        return msgspec.json.encode(document)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise UnusableInput(f"{where}: cannot be written as JSON: {error}") from error


def _misplaced_annotations(metadata: Json, kind: str, name: str) -> tuple[str, ...]:
    annotations = metadata.get("annotations")
    ours = [key for key in annotations if OUR_ANNOTATIONS in str(key)] if isinstance(annotations, dict) else []
    return tuple(
        f"{kind} {shown(name)}: annotation {shown(key)} is on the {kind} and has no effect: put it on the pod template"
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
