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
from webhook.printable import shown
from webhook.review import Review, UserInfo
from webhook.weight import MOST_USER_BYTES, WeighedPod

API_VERSION = "admission.k8s.io/v1"

# Whatever is in it, a body of this size is read with less than 8 MB; the usual one has 6 kB.
LARGEST_UNWEIGHED_BYTES = 256 * 1024


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


class _WeighedRequest(_AnyRequest, frozen=True):
    object: WeighedPod | None = None
    old_object: WeighedPod | None = None


class _WeighedReview(_Json, frozen=True):
    api_version: str = ""
    kind: str = ""
    request: _WeighedRequest | None = None


class _WeighedUser(_Json, frozen=True):
    user_info: msgspec.Raw = msgspec.Raw(b"{}")


class _UserReview(_Json, frozen=True):
    request: _WeighedUser | None = None


_decode_user_review = msgspec.json.Decoder(_UserReview).decode
_decode_weighed_review = msgspec.json.Decoder(_WeighedReview).decode
_decode_pod_review = msgspec.json.Decoder(_PodReview).decode
_decode_any_review = msgspec.json.Decoder(_AnyReview).decode


def decode(body: bytes) -> Review:
    """The review in a request's body. Raises InvalidReview."""
    too_large = None
    try:
        review: _PodReview | _AnyReview
        if len(body) > LARGEST_UNWEIGHED_BYTES and (too_large := _why_too_large(body)) is not None:
            review = _decode_any_review(body)
        else:
            review = _decode_pod_review(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        review = _decode_without_object(body, error)
    request = review.request
    if review.kind != "AdmissionReview" or review.api_version != API_VERSION:
        found = f"{shown(review.api_version)} {shown(review.kind)}".strip() or "neither apiVersion nor kind"
        raise InvalidReview(f"the body is {found!r}; accepted: {API_VERSION} AdmissionReview")
    if request is None or not request.uid:
        raise InvalidReview("the AdmissionReview has no request.uid")
    kind = request.kind
    pod, old_pod = None, None
    if kind.kind == "Pod" and not kind.group:
        if isinstance(request, _PodRequest):
            pod, old_pod = request.object, request.old_object
        elif too_large is not None:
            pod = Pod()
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
        too_large=too_large,
    )


def _why_too_large(body: bytes) -> str | None:
    """What takes too much to be read, in words; None where the body may be read. Raises msgspec.DecodeError."""
    request = _decode_user_review(body).request
    if request is not None and len(request.user_info) > MOST_USER_BYTES:
        raise InvalidReview(f"the user takes {len(request.user_info)} bytes, above {MOST_USER_BYTES}")
    weighed = _decode_weighed_review(body).request
    pods = () if weighed is None else (weighed.object, weighed.old_object)
    return next((reason for pod in pods if pod is not None and (reason := pod.why_too_large()) is not None), None)


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
    return shown(str(error) or type(error).__name__, 300)


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
