"""The wire contract: what is read of a review, and the exact answer."""

import base64
import json

import pytest

from tests.unit.deciding import container, decided, patched, pod, policy_set, review_body
from webhook.admission import InvalidReview, decode, encode
from webhook.decision import Decision
from webhook.explain import Denial
from webhook.snapshot import Snapshot

MINIMAL = b'{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u"}}'


def test_only_the_uid_is_required() -> None:
    review = decode(MINIMAL)
    assert (review.uid, review.namespace, review.sub_resource, review.pod, review.dry_run) == ("u", "", "", None, False)


def test_unknown_fields_and_nulls_are_accepted_at_every_depth() -> None:
    body = review_body(pod(container(futureField={"a": [1]}), futureField=1, initContainers=None, overhead=None))
    review = decode(body.replace(b'"dryRun": false', b'"dryRun": null, "futureField": {}'))
    assert review.pod is not None
    assert review.pod.spec.init_containers is None


REFUSED = [
    ("not-json", b"x", "no AdmissionReview"),
    ("empty", b"", "no AdmissionReview"),
    ("a-list", b"[]", "no AdmissionReview"),
    ("invalid-utf-8", MINIMAL.replace(b'"u"', b'"\xff"'), "no AdmissionReview"),
    ("deep-nesting", b'{"request":' + b"[" * 100_000, "no AdmissionReview"),
    ("v1beta1", MINIMAL.replace(b"/v1", b"/v1beta1"), "admission.k8s.io/v1 AdmissionReview"),
    ("other-kind", MINIMAL.replace(b'"AdmissionReview"', b'"Pod"'), "accepted"),
    ("no-kind", b"{}", "neither apiVersion nor kind"),
    ("no-request", b'{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}', "request.uid"),
    ("no-uid", MINIMAL.replace(b'"uid":"u"', b""), "uid"),
    ("empty-uid", MINIMAL.replace(b'"u"', b'""'), "request.uid"),
    ("containers-no-list", review_body(pod(containers={})), "spec.containers"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "part"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_what_is_no_review_is_refused_in_one_line(body: bytes, part: str) -> None:
    with pytest.raises(InvalidReview) as refused:
        decode(body)
    assert part in str(refused.value)
    assert str(refused.value).isprintable()


def test_a_review_of_another_kind_need_not_look_like_a_pods() -> None:
    review = decode(review_body(pod(containers=1), kind={"group": "", "version": "v1", "kind": "Binding"}))
    assert (review.kind, review.pod) == ("Binding", None)


def test_the_last_of_two_equal_keys_counts_as_it_does_for_the_api_server() -> None:
    assert decode(MINIMAL.replace(b'"uid":"u"', b'"uid":"u","uid":"v"')).uid == "v"


def test_nothing_to_change_is_answered_without_patch_and_patch_type() -> None:
    answer = encode(decode(MINIMAL), Decision("skipped"))
    assert answer == (
        b'{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":"u","allowed":true}}'
    )


def test_a_refusal_is_422_invalid_without_causes() -> None:
    answer = encode(decode(MINIMAL), Decision("denied", denial=Denial("too much", "maximum")))
    assert json.loads(answer)["response"] == {
        "uid": "u",
        "allowed": False,
        "status": {"code": 422, "reason": "Invalid", "message": "too much"},
    }


def test_a_patch_is_standard_base64_of_operations_with_string_quantities() -> None:
    task = pod(container(limits={"cpu": "8"}, requests={"cpu": "1"}))
    body = review_body(task)
    decision = decided(task, "container: {max: {cpu: '4'}}")
    response = json.loads(encode(decode(body), decision))["response"]
    assert (response["allowed"], response["patchType"]) == (True, "JSONPatch")
    operations = json.loads(base64.b64decode(response["patch"], validate=True))
    assert {"op": "add", "path": "/spec/containers/0/resources/limits/cpu", "value": "4"} in operations
    assert patched(task, decision)["spec"]["containers"][0]["resources"] == {
        "limits": {"cpu": "4"},
        "requests": {"cpu": "1"},
    }


@pytest.mark.parametrize("number", ["8", "8.0", "8e0", '" 8"'], ids=["integer", "float", "exponent", "spaces"])
def test_quantities_are_read_from_json_as_the_api_server_reads_them(number: str) -> None:
    body = review_body(pod(container(limits={"cpu": "NUMBER"}))).replace(b'"NUMBER"', number.encode())
    decision = Snapshot(policy_set("container: {max: {cpu: '4'}}")).decide(decode(body))
    assert [(change.side, change.after) for change in decision.changes] == [("limits", "4"), ("requests", "4")]
