"""Reading what a dry run is given, and putting a changed pod back where it came from."""

import copy
from typing import Any

import msgspec
import pytest

from webhook.admission import decode
from webhook.manifests import Reviewable, UnusableInput, read_documents, reviewable, reviewed_pod

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


def read(text: str | bytes) -> tuple[list[Json], list[str]]:
    errors: list[UnusableInput] = []
    documents = list(read_documents("f", text.encode() if isinstance(text, str) else text, errors.append))
    return documents, [str(error) for error in errors]


READ = [
    ("yaml", "a: 1\n---\na: 2\n", [{"a": 1}, {"a": 2}]),
    ("json", '{"a": 1}', [{"a": 1}]),
    ("json-lines", '{"a": 1}\n{"a": 2}\n', [{"a": 1}, {"a": 2}]),
    ("json-of-several-lines-after-each-other", '{\n"a": 1\n}\n{\n"a": 2}', [{"a": 1}, {"a": 2}]),
    ("flow-yaml", "{a: 1}\n", [{"a": 1}]),
    ("empty-json", "{}", [{}]),
    ("only-comments", "# nothing\n---\n", []),
    ("byte-order-mark", b'\xef\xbb\xbf{"a": 1}', [{"a": 1}]),
    ("utf-16", "a: é\n".encode("utf-16"), [{"a": "é"}]),
    ("a-date-is-text", "a: 2026-11-22", [{"a": "2026-11-22"}]),
    ("a-time-is-text", "a: 22:22", [{"a": "22:22"}]),
    ("numbers", "a: [0x1f, 0b11, 0o17, 017, 1_000, -1, 1.5]", [{"a": [31, 3, "0o17", 15, 1000, -1, 1.5]}]),
    ("list", '{"kind": "List", "items": [{"a": 1}, {"kind": "List", "items": [{"a": 2}]}]}',
     [{"a": 1}, {"a": 2}]),
    ("typed-list", '{"apiVersion": "v1", "kind": "PodList", "items": [{"a": 1}]}',
     [{"apiVersion": "v1", "kind": "Pod", "a": 1}]),
    ("list-without-items", '{"kind": "List"}', [{"kind": "List"}]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), [case[1:] for case in READ], ids=[case[0] for case in READ])
def test_documents_are_read(text: str | bytes, expected: list[Json]) -> None:
    assert read(text) == (expected, [])


def test_after_a_broken_line_the_next_ones_are_read() -> None:
    documents, errors = read('{"a": 1}\n{"a": \n{"a": 3}\n{"a" 4}\n')
    assert documents == [{"a": 1}, {"a": 3}]
    assert [error.partition(":")[2].split(",")[1].split(":")[0] for error in errors] == [" from line 2", " from line 4"]


def review_of(document: Json) -> Json:
    item = reviewable("f", document)
    assert item.body is not None
    request: Json = msgspec.json.decode(item.body)["request"]
    return request


def test_the_review_is_the_one_that_the_api_server_would_send() -> None:
    request = review_of(job(resources={"limits": {"cpu": 2, "memory": "1Gi"}, "requests": {"cpu": "1"}}))
    assert (request["namespace"], request["operation"], request["name"]) == ("vision-production", "CREATE", "")
    assert request["object"] == {
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


def test_a_pod_keeps_its_name_and_a_template_gives_none() -> None:
    pod = {"kind": "Pod", "metadata": {"name": "task"}, "spec": {"containers": [{"name": "main"}]}}
    assert review_of(pod)["object"]["metadata"] == {"name": "task", "namespace": "default"}
    assert "name" not in review_of(JOB)["object"]["metadata"]


def after(document: Json, **resources: Any) -> Json:
    """The document after a review that gave its container these resources."""
    item = reviewable("f", document)
    assert item.body is not None
    pod = copy.deepcopy(reviewed_pod(item.body))
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
    assert item.body is not None
    pod = reviewed_pod(item.body)
    pod["spec"][field] = value
    document["spec"]["template"]["spec"][field] = value
    assert item.with_pod(pod) == document


def test_a_mount_goes_into_its_container() -> None:
    document = job(volumeMounts=[{"name": "own", "mountPath": "/data"}])
    document["spec"]["template"]["spec"]["containers"].append({"name": "second"})
    item = reviewable("f", document)
    assert item.body is not None
    pod = reviewed_pod(item.body)
    mounts = [{"name": "own", "mountPath": "/data"}, {"name": "task-resources-shm", "mountPath": "/dev/shm"}]
    pod["spec"]["containers"][0]["volumeMounts"] = mounts
    document["spec"]["template"]["spec"]["containers"][0]["volumeMounts"] = mounts
    assert item.with_pod(pod) == document


@pytest.mark.parametrize("kind", ["DaemonSet", "Deployment"])
def test_pods_of_a_daemon_set_are_those_that_its_controller_makes(kind: str) -> None:
    document = {**JOB, "apiVersion": "apps/v1", "kind": kind}
    review = decode(reviewable("f", document).body or b"")
    assert review.is_of_daemon_set is (kind == "DaemonSet")
    assert "ownerReferences" not in JOB["spec"]["template"]["metadata"]


def test_a_pod_that_a_daemon_set_owns_is_one_of_its() -> None:
    owners = [{"kind": "DaemonSet", "name": "d"}]
    pod: Json = {"kind": "Pod", "metadata": {"ownerReferences": owners}, "spec": {"containers": [{"name": "main"}]}}
    assert decode(reviewable("f", pod).body or b"").is_of_daemon_set
    assert reviewable("f", pod).with_pod({**pod, "metadata": {}}) == pod


@pytest.mark.parametrize("metadata", [None, {}, {"annotations": None}, {"annotations": {"a": "b"}}])
def test_annotations_go_where_the_template_has_them(metadata: Json | None) -> None:
    document = copy.deepcopy(JOB)
    document["spec"]["template"]["metadata"] = metadata
    item = reviewable("f", document)
    assert item.body is not None
    pod = reviewed_pod(item.body)
    assert item.with_pod(pod) == document, "nothing was changed"
    pod["metadata"]["annotations"] = {"task-resources.io/applied": "{}"}
    assert item.with_pod(pod)["spec"]["template"]["metadata"] == {"annotations": {"task-resources.io/applied": "{}"}}
    assert document["spec"]["template"]["metadata"] is metadata, "what was given is not touched"


def test_an_admission_review_is_passed_on_as_it_is_and_becomes_its_pod() -> None:
    pod = {"metadata": {}, "spec": {"containers": [{"name": "main", "resources": {"limits": {"cpu": 2}}}]}}
    request = {"uid": "u", "kind": {"group": "", "version": "v1", "kind": "Pod"}, "namespace": "x", "object": pod}
    document = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
    item = reviewable("f", document, namespace="elsewhere")
    assert item.body is not None
    assert (item.namespace, decode(item.body).namespace, reviewed_pod(item.body)) == ("x", "x", pod)
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
