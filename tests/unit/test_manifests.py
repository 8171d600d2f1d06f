"""What is reviewed of an object, and putting a changed pod back where it came from."""

import copy
from typing import Any

import msgspec
import pytest

from tests.unit.deciding import review_body
from webhook.admission import decode
from webhook.manifests import Reviewable, labels_of_namespaces, reviewable
from webhook.review import Review

Json = dict[str, Any]

JOB: Json = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {"name": "train", "namespace": "vision-production"},
    "spec": {"template": {"metadata": {"name": "x", "labels": {"a": "b"}}, "spec": {"containers": [{"name": "main"}]}}},
}


def job(**container: Any) -> Json:
    document = copy.deepcopy(JOB)
    document["spec"]["template"]["spec"]["containers"][0] |= container
    return document


def review_of(document: Json) -> Review:
    """What is asked about an object of YAML; the same of JSON."""
    from_yaml, from_json = reviewable("f", document), reviewable("f", msgspec.Raw(msgspec.json.encode(document)))
    assert from_yaml.review is not None
    assert from_json.review is not None
    assert seen_in(from_json.review) == seen_in(from_yaml.review)
    assert (from_json.namespace, from_json.name) == (from_yaml.namespace, from_yaml.name)
    assert (from_json.is_stored, from_json.has_ended) == (from_yaml.is_stored, from_yaml.has_ended)
    assert from_json.pod == from_yaml.pod
    return from_yaml.review


def test_the_review_is_the_one_that_the_api_server_would_send() -> None:
    document = job(resources={"limits": {"cpu": 2, "memory": "1Gi"}, "requests": {"cpu": "1"}})
    review = review_of(document)
    assert (review.namespace, review.operation, review.name) == ("vision-production", "CREATE", "")
    given = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"labels": {"a": "b"}, "namespace": "vision-production"},
        "spec": {
            "containers": [
                {
                    "name": "main",
                    "resources": {"limits": {"cpu": 2, "memory": "1Gi"}, "requests": {"cpu": "1", "memory": "1Gi"}},
                }
            ]
        },
    }
    assert reviewable("f", document).pod == given
    asked = decode(review_body(given, userInfo={"username": "dry-run"}, name="", namespace="vision-production"))
    assert seen_in(review) == seen_in(asked)


def seen_in(review: Review) -> Any:
    """What a decision depends on, as plain values."""
    pod = review.pod
    assert pod is not None
    asked = [review.operation, review.namespace, review.name, review.user_info]
    owners = pod.metadata.owner_references if review.is_of_daemon_set else None
    return msgspec.json.decode(msgspec.json.encode([asked, pod.labels, pod.annotations, owners, pod.spec]))


def after(document: Json, **resources: Any) -> Json:
    """The document after a review that gave its container these resources."""
    item = reviewable("f", document)
    pod = copy.deepcopy(item.pod)
    pod["spec"]["containers"][0]["resources"] = resources
    container: Json = item.with_pod(pod)["spec"]["template"]["spec"]["containers"][0]
    return container["resources"]  # type: ignore[no-any-return]


PUT_BACK = [
    # what the container has, what it has after the review, what is written
    ("limit-changed-request-filled-in", {"limits": {"cpu": "8"}}, {"limits": {"cpu": "4"}, "requests": {"cpu": "4"}},
     {"limits": {"cpu": "4"}, "requests": {"cpu": "4"}}),
    ("only-the-limit-changed", {"limits": {"cpu": "2"}}, {"limits": {"cpu": "6"}, "requests": {"cpu": "2"}},
     {"limits": {"cpu": "6"}, "requests": {"cpu": "2"}}),
    ("the-other-resource-is-left-out-again", {"limits": {"cpu": "8", "memory": "1Gi"}},
     {"limits": {"cpu": "4", "memory": "1Gi"}, "requests": {"cpu": "4", "memory": "1Gi"}},
     {"limits": {"cpu": "4", "memory": "1Gi"}, "requests": {"cpu": "4"}}),
    ("a-request-that-was-there-stays", {"limits": {"cpu": "8", "memory": "1Gi"}, "requests": {"memory": "1Gi"}},
     {"limits": {"cpu": "8", "memory": "2Gi"}, "requests": {"cpu": "8", "memory": "1Gi"}},
     {"limits": {"cpu": "8", "memory": "2Gi"}, "requests": {"memory": "1Gi"}}),
]  # fmt: skip


@pytest.mark.parametrize(("given", "reviewed", "written"), [c[1:] for c in PUT_BACK], ids=[c[0] for c in PUT_BACK])
def test_what_was_filled_in_for_the_review_is_left_out_again(given: Json, reviewed: Json, written: Json) -> None:
    assert after(job(resources=given), **reviewed) == written


PLACING: list[Json] = [
    {"tolerations": [{"key": "own"}, {"key": "added"}]},
    {"nodeSelector": {"own": "x", "added": "y"}},
    {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}}},
    {"volumes": [{"name": "own"}, {"name": "added"}]},
]


@pytest.mark.parametrize("changed", PLACING, ids=[next(iter(fields)) for fields in PLACING])
@pytest.mark.parametrize("has_own", [True, False], ids=["beside its own", "alone"])
def test_where_a_pod_is_scheduled_goes_into_the_template(changed: Json, has_own: bool) -> None:
    document = copy.deepcopy(JOB)
    [(field, value)] = changed.items()
    if has_own:
        own = value[:1] if isinstance(value, list) else {"own": "x"}
        document["spec"]["template"]["spec"] |= {field: own, "serviceAccountName": "default"}
    item = reviewable("f", document)
    pod = copy.deepcopy(item.pod)
    pod["spec"][field] = value
    document["spec"]["template"]["spec"][field] = value
    assert item.with_pod(pod) == document


def test_a_mount_goes_into_its_container() -> None:
    document = job(volumeMounts=[{"name": "own", "mountPath": "/data"}])
    document["spec"]["template"]["spec"]["containers"].append({"name": "second"})
    item = reviewable("f", document)
    pod = copy.deepcopy(item.pod)
    mounts = [{"name": "own", "mountPath": "/data"}, {"name": "task-resources-shm", "mountPath": "/dev/shm"}]
    pod["spec"]["containers"][0]["volumeMounts"] = mounts
    document["spec"]["template"]["spec"]["containers"][0]["volumeMounts"] = mounts
    assert item.with_pod(pod) == document


@pytest.mark.parametrize("kind", ["DaemonSet", "Deployment"])
def test_pods_of_a_daemon_set_are_those_that_its_controller_makes(kind: str) -> None:
    document = {**JOB, "apiVersion": "apps/v1", "kind": kind}
    assert review_of(document).is_of_daemon_set is (kind == "DaemonSet")
    assert "ownerReferences" not in JOB["spec"]["template"]["metadata"]


def test_a_pod_that_a_daemon_set_owns_is_one_of_its() -> None:
    owners = [{"kind": "DaemonSet", "name": "d"}]
    pod: Json = {"kind": "Pod", "metadata": {"ownerReferences": owners}, "spec": {"containers": [{"name": "main"}]}}
    assert review_of(pod).is_of_daemon_set
    assert reviewable("f", pod).with_pod({**pod, "metadata": {}}) == pod


@pytest.mark.parametrize("metadata", [None, {}, {"annotations": None}, {"annotations": {"a": "b"}}])
def test_annotations_go_where_the_template_has_them(metadata: Json | None) -> None:
    document = copy.deepcopy(JOB)
    document["spec"]["template"]["metadata"] = metadata
    item = reviewable("f", document)
    pod = copy.deepcopy(item.pod)
    assert item.with_pod(pod) == document, "nothing was changed"
    pod["metadata"]["annotations"] = {"task-resources.io/applied": "{}"}
    assert item.with_pod(pod)["spec"]["template"]["metadata"] == {"annotations": {"task-resources.io/applied": "{}"}}
    assert document["spec"]["template"]["metadata"] is metadata, "what was given is not touched"


def test_an_admission_review_is_passed_on_as_it_is_and_becomes_its_pod() -> None:
    pod = {"metadata": {}, "spec": {"containers": [{"name": "main", "resources": {"limits": {"cpu": 2}}}]}}
    request = {"uid": "u", "kind": {"group": "", "version": "v1", "kind": "Pod"}, "namespace": "x", "object": pod}
    document = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
    item = reviewable("f", document, namespace="elsewhere")
    assert item.review is not None
    assert (item.namespace, item.review.namespace, item.pod) == ("x", "x", pod)
    assert item.with_pod({"a": 1}) == {"a": 1}


def test_misplaced_annotations_are_named_once_each() -> None:
    document = copy.deepcopy(JOB)
    document["metadata"]["annotations"] = {
        "limits.task-resources.io/main": "cpu=1",
        "x": "y",
        "task-resources.io/limits": "",
    }
    warnings = reviewable("f", document).warnings
    assert [warning.split()[3] for warning in warnings] == ["limits.task-resources.io/main", "task-resources.io/limits"]
    pod: Json = {"kind": "Pod", "metadata": document["metadata"], "spec": {"containers": [{"name": "main"}]}}
    assert reviewable("f", pod).warnings == ()


def test_what_has_no_pod_is_no_error() -> None:
    assert reviewable("f", {"kind": "Service", "metadata": None}) == Reviewable(
        "f", "Service", "default", "", {"kind": "Service", "metadata": None}
    )


def stored(**fields: Any) -> Json:
    """A pod as a dump has it."""
    metadata = {"name": "task", "namespace": "x", "uid": "1", "ownerReferences": [], **fields.pop("metadata", {})}
    spec = {"containers": [{"name": "main", "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "1"}}}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": {}, **fields}


@pytest.mark.parametrize(
    "resources",
    [
        {"limits": {"cpu": 2}},
        {"limits": {"cpu": "2", "memory": "1Gi"}, "requests": {"cpu": "1"}},
        {"limits": {}, "requests": None},
        {"requests": {"cpu": "1"}},
        {"limits": None},
        None,
    ],
    ids=str,
)
def test_a_pod_is_the_same_pod_in_json_and_in_yaml(resources: Json | None) -> None:
    containers = [{"name": "main", "resources": resources}, {"name": "other"}]
    for init in (None, [], containers[:1]):
        review_of({"kind": "Pod", "spec": {"containers": containers, "initContainers": init}})


def test_a_stored_pod_is_one_with_a_uid() -> None:
    assert reviewable("f", stored()).is_stored
    assert not reviewable("f", stored(metadata={"uid": None})).is_stored


@pytest.mark.parametrize(("phase", "has_ended"), [("Succeeded", True), ("Failed", True), ("Running", False)])
def test_a_pod_has_ended_by_its_phase(phase: str, has_ended: bool) -> None:
    document = stored(status={"phase": phase})
    review_of(document)
    assert reviewable("f", document).has_ended is has_ended


def test_a_stored_pod_with_the_annotation_of_mirrors_is_a_mirror_and_a_manifest_is_not() -> None:
    """Who made a stored pod is not known any more; in a manifest anybody could write the annotation."""
    mirror = {"annotations": {"kubernetes.io/config.mirror": "x"}}
    assert review_of(stored(metadata=mirror)).is_mirror
    assert not review_of({"kind": "Pod", "metadata": mirror, "spec": {"containers": [{"name": "main"}]}}).is_mirror


NAMESPACES = [
    ("object", '{"kind": "Namespace", "metadata": {"name": "x", "labels": {"a": "b"}}}', {"x": {"a": "b"}}),
    ("yaml", "kind: Namespace\nmetadata: {name: x, labels: {a: b}}\n", {"x": {"a": "b"}}),
    ("without-labels", '{"kind": "Namespace", "metadata": {"name": "x"}}', {"x": {}}),
    ("list", '{"kind": "List", "items": [{"kind": "Pod"}, {"kind": "Namespace", "metadata": {"name": "x"}}]}',
     {"x": {}}),
    ("typed-list", '{"kind": "NamespaceList", "items": [{"metadata": {"name": "x"}}]}', {"x": {}}),
    ("two-of-a-name", "\n".join(
        f'{{"kind": "Namespace", "metadata": {{"name": "x", "labels": {{"a": "{label}"}}}}}}' for label in "bc"),
     {"x": {"a": "c"}}),
    ("owned-by-one", '{"kind": "Pod", "metadata": {"name": "x", "ownerReferences": [{"kind": "Namespace"}]}}', {}),
    ("without-name", '{"kind": "Namespace"}', {}),
    ("labels-are-no-text", '{"kind": "Namespace", "metadata": {"name": "x", "labels": {"a": 1}}}', {}),
    ("broken", '{"kind": "Namespace"', {}),
]  # fmt: skip


@pytest.mark.parametrize(("text", "labels"), [case[1:] for case in NAMESPACES], ids=[case[0] for case in NAMESPACES])
def test_namespace_objects_say_the_labels_of_their_namespaces(text: str, labels: Json) -> None:
    assert dict(labels_of_namespaces("f", text.encode())) == labels
