"""AdmissionReview v1 in and out: the only place that knows its JSON.

Every field but the uid may be absent, unknown ones are skipped, and an object that is no Pod is none of
ours. Source: kubernetes/api admission/v1 types.go; what the API server accepts as an answer is in
kubernetes/apiserver pkg/admission/plugin/webhook/request/admissionreview.go.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from webhook.decision import Decision
from webhook.patch import Operation
from webhook.pod import Pod
from webhook.review import Review, UserInfo

API_VERSION = "admission.k8s.io/v1"


class InvalidReview(ValueError):
    """The body is no AdmissionReview v1; the message is one line."""


class _Json(msgspec.Struct, rename="camel", frozen=True, gc=False):
    pass


class _GroupVersionKind(_Json, frozen=True):
    group: str = ""
    version: str = ""
    kind: str = ""


class _AnyRequest(_Json, frozen=True):
    uid: str
    kind: _GroupVersionKind = _GroupVersionKind()
    operation: str = ""
    sub_resource: str | None = None
    namespace: str | None = None
    name: str | None = None
    user_info: UserInfo = UserInfo()
    dry_run: bool | None = None


class _PodRequest(_AnyRequest, frozen=True):
    object: Pod | None = None
    old_object: Pod | None = None


class _AnyReview(_Json, frozen=True):
    api_version: str = ""
    kind: str = ""
    request: _AnyRequest | None = None


class _PodReview(_Json, frozen=True):
    api_version: str = ""
    kind: str = ""
    request: _PodRequest | None = None


_decode_pod_review = msgspec.json.Decoder(_PodReview).decode
_decode_any_review = msgspec.json.Decoder(_AnyReview).decode


def decode(body: bytes) -> Review:
    """The review in a request's body. Raises InvalidReview."""
    try:
        review: _PodReview | _AnyReview = _decode_pod_review(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        review = _decode_without_object(body, error)
    request = review.request
    if review.kind != "AdmissionReview" or review.api_version != API_VERSION:
        found = f"{review.api_version[:80]} {review.kind[:80]}".strip() or "neither apiVersion nor kind"
        raise InvalidReview(f"the body is {found!r}; accepted: {API_VERSION} AdmissionReview")
    if request is None or not request.uid:
        raise InvalidReview("the AdmissionReview has no request.uid")
    kind = request.kind
    pod, old_pod = None, None
    if isinstance(request, _PodRequest) and kind.kind == "Pod" and not kind.group:
        pod, old_pod = request.object, request.old_object
    return Review(
        uid=request.uid,
        kind=kind.kind,
        operation=request.operation,
        sub_resource=request.sub_resource or "",
        namespace=request.namespace or "",
        name=request.name or "",
        user_info=request.user_info,
        dry_run=bool(request.dry_run),
        pod=pod,
        old_pod=old_pod,
    )


def _decode_without_object(body: bytes, error: Exception) -> _AnyReview:
    """A review of another kind of object need not look like a pod's. Raises InvalidReview."""
    try:
        review = _decode_any_review(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as general:
        raise InvalidReview(f"the body is no AdmissionReview: {_one_line(general)}") from general
    if review.request is not None and review.request.kind.kind == "Pod":
        raise InvalidReview(f"the pod cannot be read: {_one_line(error)}") from error
    return review


def _one_line(error: Exception) -> str:
    text = str(error) or type(error).__name__
    return "".join(c if c.isprintable() else "?" for c in text)[:300]


class _Status(msgspec.Struct, frozen=True):
    code: int
    reason: str
    message: str


class _Response(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, gc=False):
    uid: str
    allowed: bool = msgspec.field()
    status: _Status | None = None
    patch: bytes | None = None  # in JSON it is base64
    patch_type: str | None = None
    warnings: tuple[str, ...] = ()
    audit_annotations: Mapping[str, str] | None = None


_encode = msgspec.json.Encoder().encode
_PREFIX = b'{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":'


def encode(review: Review, decision: Decision) -> bytes:
    """The answer to a review: the whole AdmissionReview.

    422 for a refusal: Flyte and other controllers retry a 403. No `details.causes`, or kubectl would not
    name the webhook.
    """
    operations, denial = decision.operations, decision.denial
    refused = denial is not None and decision.is_enforced
    return (
        _PREFIX
        + _encode(
            _Response(
                uid=review.uid,
                allowed=not refused,
                status=_Status(422, "Invalid", denial.message) if refused and denial is not None else None,
                patch=_encode(operations) if operations else None,
                patch_type="JSONPatch" if operations else None,
                warnings=decision.warnings,
                audit_annotations=decision.audit_annotations or None,
            )
        )
        + b"}"
    )


def patch_json(operations: tuple[Operation, ...]) -> list[dict[str, Any]]:
    """The operations as plain JSON values."""
    values: list[dict[str, Any]] = msgspec.json.decode(_encode(operations))
    return values
