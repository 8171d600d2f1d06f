"""The service over HTTP: what the API server, a kubelet and Prometheus get as answers (section 7)."""

import asyncio
import base64
import io
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families

from tests.unit.deciding import container, pod, policy_set, review_body
from webhook.app import (
    LARGEST_BODY_BYTES,
    Checks,
    Load,
    LookUp,
    Reviews,
    is_json,
    management_app,
    review_app,
    seconds_to_answer,
)
from webhook.effective_report import EffectiveReport
from webhook.logs import LogFormat, LogLevel, ReviewLog
from webhook.metrics import MOST_PROJECTS, MOST_RESOURCES, Metrics
from webhook.projects import PROJECT_LABEL, Scope
from webhook.snapshot import Snapshot

UID = "705ab4f5-6393-11e8-b7cc-42010a800002"
CAP = "container: {max: {cpu: '4'}}"
DENY = "{onExceed: Deny, contact: '#ml', container: {max: {cpu: '4'}}}"
TOO_MUCH = pod(container(limits={"cpu": "8"}))
FINE = pod(container(limits={"cpu": "2"}))
JSON = {"content-type": "application/json"}


class BrokenSnapshot(Snapshot):
    """What a bug looks like from outside."""

    def decide(self, *_: Any, **__: Any) -> Any:
        raise LookupError("this is a bug")


@dataclass
class Service:
    """The review app and what it writes to."""

    reviews: Reviews
    load: Load
    lines: io.BytesIO

    def post(self, body: bytes | AsyncIterator[bytes], path: str = "/mutate", **headers: str) -> httpx.Response:
        return request(review_app(self.reviews, self.load), "POST", path, content=body, headers=headers or JSON)

    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text().splitlines()]

    def text(self) -> str:
        return self.lines.getvalue().decode()

    def samples(self) -> dict[str, float]:
        """Every series, by its name and labels."""
        families = text_string_to_metric_families(self.reviews.metrics.exposition().decode())
        return {
            f"{sample.name}{json.dumps(sample.labels, sort_keys=True) if sample.labels else ''}": sample.value
            for family in families
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float:
        return self.samples()[f"task_resources_{name}{json.dumps(labels, sort_keys=True) if labels else ''}"]


def request(app: FastAPI, method: str, path: str, **options: Any) -> httpx.Response:
    """What the app answers."""

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="https://webhook") as client:
            return await client.request(method, path, **options)

    return asyncio.run(ask())


def service(
    *specs: str,
    snapshot: Snapshot | None = None,
    most_in_flight: int = 256,
    log_format: LogFormat = "json",
    level: LogLevel = "info",
    metrics: Metrics | None = None,
) -> Service:
    lines = io.BytesIO()
    log = ReviewLog(lines, log_format, level)
    reviews = Reviews(snapshot or Snapshot(policy_set(*specs)), metrics or Metrics(), log)
    return Service(reviews, Load(most_in_flight, "serving"), lines)


def test_a_pod_that_obeys_is_allowed_without_a_patch() -> None:
    answer = service(CAP).post(review_body(FINE))
    policy = policy_set(CAP).hash
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.content == (
        b'{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":"' + UID.encode() + b'",'
        b'"allowed":true,"auditAnnotations":{"mode":"Enforce","policy":"' + policy.encode() + b'"}}}'
    )


def test_a_changed_pod_is_allowed_with_a_patch_its_type_and_warnings() -> None:
    response = service(CAP).post(review_body(TOO_MUCH)).json()["response"]
    patch = json.loads(base64.b64decode(response["patch"], validate=True))
    assert (response["uid"], response["allowed"], response["patchType"]) == (UID, True, "JSONPatch")
    assert {"op": "add", "path": "/spec/containers/0/resources/limits/cpu", "value": "4"} in patch
    assert response["warnings"][0] == "main: limits.cpu changed from 8 to 4 (maximum, policy policy-0)"


def test_a_refused_pod_gets_422_invalid_and_no_causes() -> None:
    answer = service(DENY).post(review_body(TOO_MUCH))
    assert answer.status_code == 200
    assert answer.json()["response"] | {"auditAnnotations": None} == {
        "uid": UID,
        "allowed": False,
        "status": {
            "code": 422,
            "reason": "Invalid",
            "message": 'container "main": limits.cpu 8 is above the maximum 4; container "main": requests.cpu 8 is '
            "above the maximum 4 (project flytesnacks, domain development; policy policy-0; to ask for more: #ml)",
        },
        "auditAnnotations": None,
    }


def test_the_second_look_refuses_what_exceeds_a_maximum_and_never_patches() -> None:
    response = service(CAP).post(review_body(TOO_MUCH), "/validate").json()["response"]
    assert (response["allowed"], response["status"]["code"], "patch" in response) == (False, 422, False)


def test_an_object_that_is_no_pod_is_allowed() -> None:
    deployment = {"group": "apps", "version": "v1", "kind": "Deployment"}
    body = review_body({"spec": {"containers": "none of ours"}}, kind=deployment)
    assert service(CAP).post(body).json()["response"] == {"uid": UID, "allowed": True}


REFUSED_BODIES = [
    ("empty", b"", "the body is no AdmissionReview"),
    ("not-json", b"\x00\xff", "the body is no AdmissionReview"),
    ("not-utf8", b'{"kind": "\xff"}', "the body is no AdmissionReview"),
    ("a-list", b"[]", "the body is no AdmissionReview"),
    ("another-kind", b'{"apiVersion": "v1", "kind": "Pod"}', "the body is 'v1 Pod'; accepted: admission.k8s.io/v1"),
    ("v1beta1", b'{"apiVersion": "admission.k8s.io/v1beta1", "kind": "AdmissionReview"}', "accepted: admission.k8s.io"),
    ("no-request", b'{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}', "has no request.uid"),
    ("deep", b'{"request": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "the body is no AdmissionReview"),
    (
        "quantity",
        review_body(pod(container(limits={"cpu": "1,5"}))),
        "spec.containers[0].resources.limits[cpu]: '1,5' is not a",
    ),
]


@pytest.mark.parametrize(("body", "part"), [case[1:] for case in REFUSED_BODIES], ids=[c[0] for c in REFUSED_BODIES])
def test_what_is_no_review_is_answered_400_with_one_line(
    body: bytes, part: str, caplog: pytest.LogCaptureFixture
) -> None:
    refusing = service(CAP)
    with caplog.at_level("INFO", "webhook.app"):
        answer = refusing.post(body)
    assert f"answered 400: {answer.text.strip()}" in caplog.messages
    assert (answer.status_code, answer.headers["content-type"]) == (400, "text/plain; charset=utf-8")
    assert part in answer.text
    assert answer.text.count("\n") == 1
    assert len(answer.content) < 1000
    assert refusing.value("refused_requests_total", code="400") == 1
    assert refusing.post(review_body(FINE)).status_code == 200


@pytest.mark.parametrize("content_type", ["text/plain", "application/yaml", "application/jsonx", ""])
def test_another_content_type_is_answered_415(content_type: str) -> None:
    answer = service(CAP).post(review_body(FINE), **{"content-type": content_type})
    assert (answer.status_code, answer.text) == (
        415,
        f"content type {content_type!r}; accepted: application/json\n",
    )


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=utf-8", "Application/JSON", "application/json ;a=b"]
)
def test_json_may_have_parameters(content_type: str) -> None:
    assert is_json(content_type.encode())
    assert service(CAP).post(review_body(FINE), **{"content-type": content_type}).status_code == 200


def test_another_method_is_answered_405() -> None:
    getting = service(CAP)
    answer = request(review_app(getting.reviews, getting.load), "GET", "/mutate")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize("path", ["/", "/mutate/", "/Mutate", "/docs", "/openapi.json"])
def test_another_path_is_answered_404_and_never_redirected(path: str) -> None:
    answer = service(CAP).post(review_body(FINE), path)
    assert (answer.status_code, answer.text) == (
        404,
        f"{path} is not served here: send reviews to /mutate or /validate\n",
    )


async def pieces(size: int) -> AsyncIterator[bytes]:
    for start in range(0, size, 2**20):
        yield b" " * min(2**20, size - start)


def test_a_body_above_32_mib_is_read_to_its_end_and_answered_413() -> None:
    refusing = service(CAP)
    answer = refusing.post(pieces(LARGEST_BODY_BYTES + 1))
    assert (answer.status_code, answer.text) == (413, f"the body is larger than {LARGEST_BODY_BYTES} bytes\n")


def test_a_review_of_exactly_32_mib_is_answered() -> None:
    body = review_body(FINE)
    answer = service(CAP).post(body + b" " * (LARGEST_BODY_BYTES - len(body)))
    assert answer.status_code == 200


def assert_asks_for_another_try(answer: httpx.Response) -> None:
    assert answer.status_code == 503
    assert (answer.headers["retry-after"], answer.headers["connection"]) == ("1", "close")


def test_while_it_starts_the_api_server_is_asked_to_try_again() -> None:
    starting = service(CAP)
    starting.load.state = "starting"
    answer = starting.post(review_body(FINE))
    assert_asks_for_another_try(answer)
    assert answer.text == "the webhook is starting\n"


def test_while_it_drains_reviews_are_answered() -> None:
    draining = service(CAP)
    draining.load.state = "draining"
    assert draining.post(review_body(FINE)).status_code == 200


def test_more_reviews_than_allowed_at_once_are_asked_to_try_again() -> None:
    full = service(CAP, most_in_flight=1)
    full.load.in_flight = 1
    assert_asks_for_another_try(full.post(review_body(FINE)))
    assert full.value("refused_requests_total", code="503") == 1
    full.load.in_flight = 0
    assert full.post(review_body(FINE)).status_code == 200
    assert full.load.in_flight == 0


def test_a_bug_is_answered_500_with_the_uid_counted_and_the_next_review_is_answered(
    caplog: pytest.LogCaptureFixture,
) -> None:
    snapshot = Snapshot(policy_set(CAP))
    broken = service(snapshot=BrokenSnapshot(snapshot.policies))
    answer = broken.post(review_body(FINE))
    assert (answer.status_code, answer.text) == (500, f"internal error while reviewing {UID}\n")
    assert broken.value("panics_total") == 1
    assert UID in caplog.text
    broken.reviews.snapshot = snapshot
    assert broken.post(review_body(FINE)).status_code == 200


def test_swapping_the_snapshot_swaps_what_the_next_review_is_decided_by() -> None:
    changing = service(CAP)
    assert changing.post(review_body(TOO_MUCH)).json()["response"]["allowed"]
    changing.reviews.snapshot = Snapshot(policy_set(DENY))
    assert not changing.post(review_body(TOO_MUCH)).json()["response"]["allowed"]


def not_known(*specs: str, **labels: str) -> tuple[Service, list[str]]:
    """A service that knows no namespace but can look it up, and which ones it looked up; by `project` and `domain`."""
    namespace_labels: dict[str, Mapping[str, str]] = {}
    looking = service(snapshot=Snapshot(policy_set(*specs), namespace_labels=namespace_labels, knows_all=False))
    looked_up: list[str] = []

    async def look_up(namespace: str) -> str | None:
        looked_up.append(namespace)
        namespace_labels[namespace] = {f"task-resources.io/{key}": text for key, text in labels.items()}
        return None

    looking.reviews.look_up = look_up
    return looking, looked_up


def test_a_namespace_that_is_not_known_is_looked_up_before_its_first_pod_is_decided_about() -> None:
    looking, looked_up = not_known("{scope: {project: ml}, container: {max: {cpu: '4'}}}", project="ml")
    for _ in range(2):
        warnings = looking.post(review_body(TOO_MUCH)).json()["response"]["warnings"]
        assert warnings[0] == "main: limits.cpu changed from 8 to 4 (maximum, policy policy-0)"
    assert looked_up == ["flytesnacks-development"]
    assert looking.load.in_flight == 0


async def nowhere(namespace: str) -> str | None:
    return f"the namespace {namespace} does not exist"


async def nothing_changed(namespace: str) -> str | None:
    return None


async def no_answer(namespace: str) -> str | None:
    await asyncio.Event().wait()
    return None


NOT_FOUND: list[tuple[str, LookUp | None, str]] = [
    ("none", None, "the namespace flytesnacks-development is not known, and there is no cluster to ask"),
    ("nowhere", nowhere, "the namespace flytesnacks-development does not exist"),
    ("gone-again", nothing_changed, "the namespace flytesnacks-development is not known yet"),
    ("late", no_answer, "the namespace flytesnacks-development is not known, and the cluster did not answer in time"),
]


@pytest.mark.parametrize(("look_up", "text"), [case[1:] for case in NOT_FOUND], ids=[case[0] for case in NOT_FOUND])
def test_where_a_look_up_leads_to_nothing_the_api_server_is_asked_to_try_again(
    look_up: LookUp | None, text: str
) -> None:
    looking = service(snapshot=Snapshot(policy_set(CAP), knows_all=False))
    if look_up is not None:
        looking.reviews.look_up = look_up
    answer = looking.post(review_body(FINE), "/mutate?timeout=210ms")
    assert_asks_for_another_try(answer)
    assert answer.text == text + "\n"
    assert looking.value("refused_requests_total", code="503") == 1
    assert (looking.load.in_flight, looking.samples().get("task_resources_panics_total")) == (0, 0)


def test_what_is_no_pod_needs_no_namespace() -> None:
    looking, looked_up = not_known(CAP)
    node = review_body({}, kind={"group": "", "version": "v1", "kind": "Node"}, namespace=None)
    assert looking.post(node).json()["response"] == {"uid": UID, "allowed": True}
    assert looked_up == []


TIMEOUTS = [
    (b"timeout=2s", 1.8),
    (b"timeout=30s", 29.8),
    (b"timeout=1m0s", 29.8),
    (b"timeout=1.5s", 1.3),
    (b"timeout=500ms", 0.3),
    (b"x=1&timeout=3s&y", 2.8),
    (b"timeout=0s", 0.0),
    (b"timeout=999999h", 29.8),
    (b"", 9.8),
    (b"timeout=", 9.8),
    (b"timeout=soon", 9.8),
    (b"timeout=-2s", 9.8),
    (b"timeout=2s;", 9.8),
    (b"timeout=\xff", 9.8),
    (b"nottimeout=2s", 9.8),
]


@pytest.mark.parametrize(("query", "seconds"), TIMEOUTS)
def test_the_deadline_is_the_api_servers_timeout_less_a_margin(query: bytes, seconds: float) -> None:
    assert seconds_to_answer(query) == pytest.approx(seconds)


def call(served: Service, messages: list[dict[str, Any]], query: bytes = b"") -> list[dict[str, Any]]:
    """What the app sends when it receives these messages and then nothing more."""
    sent: list[dict[str, Any]] = []

    async def receive() -> Any:
        if messages:
            return messages.pop(0)
        return await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/mutate",
        "query_string": query,
        "headers": [(b"content-type", b"application/json")],
    }
    asyncio.run(review_app(served.reviews, served.load)(scope, receive, send))
    return sent


def test_a_client_that_goes_away_leaves_nothing_behind() -> None:
    left = service(CAP)
    assert call(left, [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]) == []
    assert left.load.in_flight == 0


def test_a_review_that_changed_or_was_denied_is_one_log_line_without_the_pods_body() -> None:
    logged = service(CAP)
    secret = pod(container(limits={"cpu": "8"}, requests={"cpu": "1"}, env=[{"name": "PASSWORD", "value": "hunter2"}]))
    logged.post(review_body(secret))
    logged.post(review_body(FINE))
    (line,) = logged.log()
    assert isinstance(line.pop("durationMilliseconds"), float)
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "info",
        "message": "pod changed",
        "uid": UID,
        "endpoint": "mutate",
        "operation": "CREATE",
        "namespace": "flytesnacks-development",
        "outcome": "changed",
        "mode": "Enforce",
        "record": {
            "policy": policy_set(CAP).hash,
            "changes": [
                {
                    "container": "main",
                    "resource": "cpu",
                    "side": "limits",
                    "from": "8",
                    "to": "4",
                    "rule": "maximum",
                    "policy": "policy-0",
                    "scope": "platform",
                }
            ],
        },
    }
    assert "hunter2" not in logged.text()


def test_a_denial_is_logged_with_its_message() -> None:
    logged = service(DENY)
    logged.post(review_body(TOO_MUCH))
    (line,) = logged.log()
    assert line["message"] == "pod denied"
    assert line["denial"].startswith('container "main": limits.cpu 8 is above the maximum 4')


def test_the_text_log_is_for_people() -> None:
    logged = service(CAP, log_format="text")
    logged.post(review_body(pod(container(limits={"cpu": "8"}, requests={"cpu": "1"})), name="task"))
    text = logged.text()
    assert "mutate flytesnacks-development/task changed in" in text
    assert "    main: limits.cpu 8 → 4 (maximum)\n" in text


SCHEDULED = """
scheduling:
  resources: [{resource: nvidia.com/gpu, nodeSelector: {group: gpu}, reserved: Deny, tolerations: [{key: gpu}]}]
  interruptible: {otherwise: {key: life, operator: NotIn, values: [spot]}}
"""
GPU_TASK = pod(container(limits={"nvidia.com/gpu": "1"}), annotations={"task-resources.io/shared-memory": "1Gi"})


def test_the_text_log_has_what_was_added_for_scheduling() -> None:
    logged = service(SCHEDULED, log_format="text")
    logged.post(review_body(GPU_TASK))
    _, *changes = logged.text().splitlines()
    assert changes == [
        "    pod: tolerations.nvidia.com/gpu unset → gpu (resource)",
        "    pod: nodeSelector.nvidia.com/gpu unset → group=gpu (resource)",
        "    pod: nodeAffinity unset → life NotIn [spot] (not-interruptible)",
        "    main: volumes.shared-memory unset → emptyDir Memory 1Gi (shared-memory)",
    ]


def test_lines_of_reviews_that_were_answered_together_go_out_together_and_none_is_lost() -> None:
    logged = service(CAP)
    waiting: list[Callable[[], None]] = []
    logged.reviews.log.later = lambda _, flush: waiting.append(flush)
    for _ in range(3):
        logged.post(review_body(TOO_MUCH))
    assert logged.text() == ""
    (flush,) = waiting
    flush()
    assert len(logged.log()) == 3
    logged.post(review_body(TOO_MUCH))
    assert len(waiting) == 2


class BrokenStream(io.BytesIO):
    def write(self, _: Any) -> int:
        raise BrokenPipeError


def test_a_log_that_cannot_be_written_fails_no_review() -> None:
    unheard = service(CAP)
    unheard.reviews.log = ReviewLog(BrokenStream(), "json", "info")
    assert unheard.post(review_body(TOO_MUCH)).status_code == 200


def test_a_log_level_above_info_leaves_reviews_out() -> None:
    logged = service(CAP, level="warning")
    logged.post(review_body(TOO_MUCH))
    assert logged.text() == ""


def test_reviews_changes_and_capacity_are_counted() -> None:
    counted = service(CAP)
    counted.post(review_body(pod(container(limits={"cpu": "8"}, requests={"cpu": "6"}))))
    counted.post(review_body(FINE))
    labels = {"webhook": "mutate", "operation": "CREATE", "mode": "Enforce", "dry_run": "false"}
    assert counted.value("reviews_total", outcome="changed", **labels) == 1
    assert counted.value("reviews_total", outcome="unchanged", **labels) == 1
    assert counted.value("changes_total", resource="cpu", rule="maximum") == 2
    assert counted.value("capacity_delta_total", resource="cpu", direction="lowered") == 2
    assert counted.value("review_duration_seconds_count") == 2


def test_a_dry_run_counts_in_reviews_total_only() -> None:
    counted = service(CAP)
    before = counted.samples()
    counted.post(review_body(TOO_MUCH, dryRun=True))
    after = {name: value for name, value in counted.samples().items() if name.startswith("task_resources_")}
    changed = {name for name, value in after.items() if before.get(name) != value}
    assert len(changed) == 1
    assert '"dry_run": "true"' in changed.pop()


def test_a_denial_is_counted_by_its_reason() -> None:
    counted = service(DENY)
    counted.post(review_body(TOO_MUCH))
    assert counted.value("denials_total", reason="maximum") == 1


def test_what_is_added_for_scheduling_is_counted_by_resource_and_rule() -> None:
    counted = service(SCHEDULED)
    for _ in range(2):
        counted.post(review_body(GPU_TASK))
    changes = {
        name.removeprefix("task_resources_changes_total"): value
        for name, value in counted.samples().items()
        if name.startswith("task_resources_changes_total")
    }
    assert changes == {
        '{"resource": "nvidia.com/gpu", "rule": "resource"}': 4,
        '{"resource": "", "rule": "not-interruptible"}': 2,
        '{"resource": "shared-memory", "rule": "shared-memory"}': 2,
    }
    assert not any(name.startswith("task_resources_capacity_delta_total") for name in counted.samples())


@pytest.mark.parametrize(
    ("reason", "task", "spec"),
    [
        ("annotation", pod(annotations={"task-resources.io/interruptible": "x"}), "{}"),
        ("node-selector", pod(container(limits={"nvidia.com/gpu": "1"}), nodeSelector={"group": "cpu"}), SCHEDULED),
        ("reserved", pod(tolerations=[{"operator": "Exists"}]), SCHEDULED),
        (
            "accelerator",
            pod(container(limits={"a.com/b": "1"}), annotations={"task-resources.io/accelerator": "A100"}),
            "scheduling: {resources: [{resource: a.com/b, device: {label: kind, allowed: [h100]}}]}",
        ),
        (
            "shared-memory",
            pod(container(limits={"memory": "1Gi"}), annotations={"task-resources.io/shared-memory": "2Gi"}),
            "onExceed: Deny",
        ),
    ],
    ids=["annotation", "node selector", "reserved", "accelerator", "shared memory"],
)
def test_a_denial_of_a_place_is_counted_by_its_reason(reason: str, task: dict[str, Any], spec: str) -> None:
    counted = service(spec)
    counted.post(review_body(task))
    assert counted.value("denials_total", reason=reason) == 1


def test_pods_cannot_make_new_series_without_end() -> None:
    counted = service("container: {max: {'example.com/*': 1}}")
    for number in range(MOST_RESOURCES + 20):
        counted.post(review_body(pod(container(limits={f"example.com/device-{number}": "2"}))))
    counted.post(review_body(FINE, operation="FROBNICATE"))
    changes = [name for name in counted.samples() if name.startswith("task_resources_changes_total")]
    assert len(changes) == MOST_RESOURCES + 1
    assert counted.value("changes_total", resource="other", rule="maximum") == 40
    assert any('"operation": "other"' in name for name in counted.samples())


def manage(path: str, **checks: Callable[[], str | None]) -> httpx.Response:
    return request(management_app(service(CAP).reviews, Load(1), Checks(checks)), "GET", path)


def test_livez_says_that_the_process_answers() -> None:
    answer = manage("/livez")
    assert (answer.status_code, answer.text) == (200, "ok\n")


def test_readyz_is_ok_while_no_check_fails() -> None:
    answer = manage("/readyz", certificate=lambda: None)
    assert (answer.status_code, answer.text) == (200, "ok\n")


def test_readyz_verbose_lists_the_checks() -> None:
    answer = manage("/readyz?verbose", serving=lambda: None, certificate=lambda: "it ended")
    assert answer.status_code == 503
    assert answer.text == "[+]serving ok\n[-]certificate failed: it ended\nreadyz check failed\n"


def test_readyz_verbose_has_notes_beside_what_is_well() -> None:
    checks = Checks(
        {"namespaces": lambda: None, "serving": lambda: None, "certificate": lambda: "it ended"},
        {"namespaces": lambda: "as they were", "serving": lambda: None, "certificate": lambda: "-", "x": lambda: "y"},
    )
    answer = request(management_app(service(CAP).reviews, Load(1), checks), "GET", "/readyz?verbose")
    assert answer.text.splitlines() == [
        "[+]namespaces ok: as they were",
        "[+]serving ok",
        "[-]certificate failed: it ended",
        "[+]x ok: y",
        "readyz check failed",
    ]


def test_a_note_leaves_the_server_ready() -> None:
    checks = Checks({"namespaces": lambda: None}, {"namespaces": lambda: "as they were"})
    assert request(management_app(service(CAP).reviews, Load(1), checks), "GET", "/readyz").text == "ok\n"


def test_metrics_are_what_prometheus_scrapes() -> None:
    answer = manage("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    assert {"task_resources_reviews", "task_resources_review_duration_seconds", "process_resident_memory_bytes"} <= set(
        families
    )
    assert all(family.documentation for family in families.values())


def effective(snapshot: Snapshot, namespace: str) -> httpx.Response:
    managed = service(snapshot=snapshot).reviews
    return request(management_app(managed, Load(1), Checks()), "GET", f"/policies/effective/{namespace}")


def test_what_policies_come_to_for_a_namespace_can_be_asked_of_a_server() -> None:
    project = "scope: {project: search}\ncontainer: {max: {cpu: '2'}}"
    snapshot = Snapshot(policy_set(CAP, project), namespace_labels={"lab": {PROJECT_LABEL: "search"}})
    answer = effective(snapshot, "lab")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json() == EffectiveReport(snapshot.policies, Scope("lab", "search")).as_json()
    assert answer.json()["values"][2] == {
        "field": "container.max.cpu",
        "value": "2",
        "policy": "policy-1",
        "scope": "project search",
        "file": "policies.yaml",
        "line": 12,
    }


def test_the_policies_in_force_are_shown_once_they_were_swapped() -> None:
    reviews = service(CAP).reviews
    app = management_app(reviews, Load(1), Checks())
    reviews.snapshot = Snapshot(policy_set(DENY))
    shown = request(app, "GET", "/policies/effective/lab").json()
    assert shown["policySet"] == policy_set(DENY).hash


def test_of_a_namespace_that_is_not_known_yet_it_says_so() -> None:
    answer = effective(Snapshot(policy_set(CAP), knows_all=False), "lab")
    assert (answer.status_code, answer.text) == (404, "the namespace lab is not known yet\n")


def test_changes_and_denials_are_counted_by_project_where_that_is_asked_for() -> None:
    counted = service(CAP, metrics=Metrics(by_project=True))
    counted.post(review_body(TOO_MUCH))
    counted.post(review_body(TOO_MUCH, namespace="nobodys"))
    counted.post(review_body(pod(annotations={"task-resources.io/limits": "?"})))
    for project in ("flytesnacks", "none"):
        assert counted.value("changes_total", project=project, resource="cpu", rule="maximum") == 2
        assert counted.value("capacity_delta_total", project=project, resource="cpu", direction="lowered") > 0
    assert counted.value("denials_total", project="flytesnacks", reason="annotation") == 1


def test_projects_beyond_a_bound_are_counted_together() -> None:
    counted = service(CAP, metrics=Metrics(by_project=True))
    for number in range(MOST_PROJECTS + 20):
        counted.post(review_body(TOO_MUCH, namespace=f"p{number}-staging"))
    assert counted.value("changes_total", project="other", resource="cpu", rule="maximum") == 40
