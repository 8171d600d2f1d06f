"""Whatever the body: an answer in bounded time, or an error that says what is wrong with the review or the pod."""

import copy
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.unit.deciding import Json, container, pod, policy_set, review_body, sidecar
from webhook.admission import InvalidReview, decode, encode
from webhook.decision import Endpoint
from webhook.resources import InvalidPod
from webhook.snapshot import Snapshot

SPEC = """
missingLimit: {memory: Request}
container:
  max: {cpu: 4, memory: 8Gi, ephemeral-storage: 1Gi, nvidia.com/*: 1}
  min: {cpu: 50m}
  defaultRequest: {memory: 1Gi}
pod: {max: {cpu: 16, memory: 32Gi, nvidia.com/gpu: 4}}
"""
# Far above what any of them takes, also on a busy machine; far below what a quadratic step or a big power would take.
SECONDS = 3.0

ENDPOINTS: tuple[Endpoint, ...] = ("mutate", "validate")


@pytest.fixture(scope="module")
def snapshot() -> Snapshot:
    return Snapshot(policy_set(SPEC))


def answered(snapshot: Snapshot, body: bytes, endpoint: Endpoint = "mutate") -> Json | None:
    """The response, or None where the review or the pod is refused as unreadable."""
    started = time.perf_counter()
    answer, message = None, ""
    try:
        review = decode(body)
        answer = json.loads(encode(review, snapshot.decide(review, endpoint)))["response"]
    except (InvalidReview, InvalidPod) as error:
        message = str(error)
    assert time.perf_counter() - started < SECONDS
    assert message.isprintable()
    assert len(message) < 1000
    return answer


EVERYTHING = pod(
    container("main", limits={"cpu": "9"}),
    init=[container("setup", limits={"cpu": "9"}), sidecar("proxy")],
    annotations={"task-resources.io/limits": "memory=1Gi", "task-resources.io/applied": "{}"},
    labels={"team": "x"},
    resources={"limits": {"cpu": "9"}, "requests": {"cpu": "1"}},
    overhead={"cpu": "1"},
    tolerations=[{"key": "a", "tolerationSeconds": 1}],
    resourceClaims=[{"name": "x"}],
    ephemeralContainers=[container("debug")],
    os={"name": "linux"},
)


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*path, key)
        yield from places(item, (*path, key))


def with_value(value: Any, path: tuple[str | int, ...], new: Any) -> Any:
    result = copy.deepcopy(value)
    parent = result
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1]] = new
    return result


ODD_VALUES: list[Any] = [None, [], {}, "", "x", 1, -1, 1e300, True, [None], {"a": None}, [[]], {"": {}}]


@pytest.mark.parametrize("odd", ODD_VALUES, ids=json.dumps)
def test_any_field_may_have_any_shape(snapshot: Snapshot, odd: Any) -> None:
    for path in places(EVERYTHING):
        changed = with_value(EVERYTHING, path, odd)
        for body in (review_body(changed), review_body(changed, old=EVERYTHING), review_body(EVERYTHING, old=changed)):
            for endpoint in ENDPOINTS:
                answered(snapshot, body, endpoint)


NULLS = [
    ("resources", pod({"name": "main", "resources": None})),
    ("limits", pod({"name": "main", "resources": {"limits": None, "requests": None, "claims": None}})),
    ("annotations", with_value(pod(), ("metadata", "annotations"), None)),
    ("labels", with_value(pod(), ("metadata", "labels"), None)),
    ("init-containers", pod(initContainers=None, ephemeralContainers=None)),
    ("pod-level", pod(resources=None)),
    ("pod-level-limits", pod(resources={"limits": None, "requests": None})),
    ("overhead-and-os", pod(overhead=None, os=None, tolerations=None, resourceClaims=None)),
    ("restart-policy", pod(init=[container("setup", restartPolicy=None)])),
]


@pytest.mark.parametrize("task", [case[1] for case in NULLS], ids=[case[0] for case in NULLS])
def test_null_is_what_is_absent(snapshot: Snapshot, task: Json) -> None:
    answer = answered(snapshot, review_body(task))
    assert answer is not None
    assert answer["allowed"]
    assert answer["patchType"] == "JSONPatch"


MAIN = b'"image": "busybox"'
BODY = review_body(pod(container(limits={"cpu": "9"})))

BROKEN = [
    ("deep-lists", BODY.replace(MAIN, b'"x":' + b"[" * 100_000 + b"]" * 100_000)),
    ("deep-objects", BODY.replace(MAIN, b'"x":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000)),
    ("deep-from-the-start", b"[" * 1_000_000),
    ("no-utf-8-in-a-name", BODY.replace(b'"main"', b'"\xff\xfe"')),
    ("half-a-surrogate", BODY.replace(b'"main"', b'"\\udc00x"')),
    ("cut-off", BODY[:-20]),
    ("two-bodies", BODY + BODY),
    ("a-quantity-that-is-an-object", BODY.replace(b'"9"', b'{"a": 1}')),
    ("a-quantity-that-is-true", BODY.replace(b'"9"', b"true")),
    ("a-quantity-with-a-null-byte", BODY.replace(b'"9"', b'"9\\u0000"')),
    ("not-a-number", BODY.replace(b'"9"', b"NaN")),
]  # fmt: skip


@pytest.mark.parametrize("body", [case[1] for case in BROKEN], ids=[case[0] for case in BROKEN])
@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_what_no_api_server_sends_is_refused_with_one_line(snapshot: Snapshot, body: bytes, endpoint: Endpoint) -> None:
    assert answered(snapshot, body, endpoint) is None


def test_the_last_of_two_equal_keys_counts_as_it_does_for_the_api_server(snapshot: Snapshot) -> None:
    body = BODY.replace(
        b'"limits": {"cpu": "9"}', b'"limits": {"cpu": "9"}, "limits": {"memory": "1Gi", "cpu": "5", "cpu": "2"}'
    )
    review = decode(body)
    changes = snapshot.decide(review).changes
    assert not [change for change in changes if (change.resource, change.side) == ("cpu", "limits")]


def test_a_quantity_reads_the_same_as_an_escape_and_with_spaces(snapshot: Snapshot) -> None:
    for text in (b'"\\u0039"', b'" 9 "', b"9", b"9.0", b'"9"'):
        [limit] = [c for c in snapshot.decide(decode(BODY.replace(b'"9"', text, 1))).changes if c.side == "limits"][:1]
        assert limit.after == "4"


def many(count: int, **amounts: str) -> list[Json]:
    return [container(f"container-{index}", limits=dict(amounts)) for index in range(count)]


DOOMED = {"a.kubernetes.io/x": "1", "pods": "1", "foo": "1.5", "cpu": "8"}
HUGE = [
    ("a-thousand-containers", pod(*many(1000, cpu="8", memory="16Gi"))),
    ("a-thousand-bare-containers", pod(*[container(f"c{index}") for index in range(1000)])),
    ("a-thousand-steps", pod(init=many(1000, cpu="8"))),
    ("a-thousand-containers-with-errors", pod(*many(1000, **DOOMED))),
    ("a-thousand-containers-and-a-pod-level", pod(*many(1000, **DOOMED), resources={"limits": {"cpu": "90000"}})),
    ("containers-of-one-name", pod(*[container("same", limits={"cpu": "9"})] * 1000)),
    ("many-resources", pod(container(limits={f"example.com/{index}": "2" for index in range(10_000)}))),
    ("long-names", pod(container("x" * 500_000, limits={"y" * 500_000: "1"}))),
    ("a-quarter-mebibyte-for-us", pod(annotations={"task-resources.io/limits": "x" * 262_144})),
    ("commas", pod(annotations={"task-resources.io/limits": "," * 4096})),
    ("many-annotations", pod(annotations={f"limits.task-resources.io/c{i}": "cpu=1," * 40 + "x" for i in range(1000)})),
    ("many-names", pod(annotations={f"task-resources.io/{index}": "" for index in range(10_000)})),
    ("deep-applied", with_value(EVERYTHING, ("metadata", "annotations", "task-resources.io/applied"), "[" * 8000)),
    ("long-applied", with_value(EVERYTHING, ("metadata", "annotations", "task-resources.io/applied"), "[" * 200_000)),
]  # fmt: skip


@pytest.mark.parametrize("task", [case[1] for case in HUGE], ids=[case[0] for case in HUGE])
@pytest.mark.parametrize(
    "spec", [SPEC, f"onExceed: Deny\n{SPEC}", "container: {max: {cpu: 4}}"], ids=["cap", "deny", "cpu"]
)
def test_large_pods_are_answered_in_time(task: Json, spec: str) -> None:
    snapshot = Snapshot(policy_set(spec))
    body = review_body(task)
    for endpoint in ENDPOINTS:
        answer = answered(snapshot, body, endpoint)
        assert answer is not None
        if not answer["allowed"]:
            assert len(answer["status"]["message"].encode()) <= 900
        assert all(len(warning) <= 120 and warning.isprintable() for warning in answer.get("warnings", ()))


def test_a_review_of_seventeen_megabytes_is_answered(snapshot: Snapshot) -> None:
    """A pod of 2.9 MB of `<` is that large in the API server's JSON."""
    body = BODY.replace(b"busybox", b"\\u003c" * 2_900_000)
    answer = answered(snapshot, body)
    assert answer is not None
    assert answer["patchType"] == "JSONPatch"


AMOUNTS = [
    "1e999999999",
    "-1e999999999",
    "0e999999999",
    "1e-999999999",
    "1e401",
    "1" * 65,
    "9" * 100_000,
    "x" * 100_000,
]


@pytest.mark.parametrize("amount", AMOUNTS, ids=lambda amount: amount[:14])
@pytest.mark.parametrize(
    "path",
    [("spec", "containers", 0), ("spec", "initContainers", 1), ("spec",), ("spec", "overhead")],
    ids=["container", "sidecar", "pod-level", "overhead"],
)
def test_an_amount_of_any_length_takes_no_time(snapshot: Snapshot, amount: str, path: tuple[str | int, ...]) -> None:
    given = {"memory": amount} if path[-1] == "overhead" else {"limits": {"memory": amount}}
    task = with_value(EVERYTHING, path if path[-1] == "overhead" else (*path, "resources"), given)
    for body in (review_body(task), review_body(task, old=EVERYTHING), review_body(EVERYTHING, old=task)):
        for endpoint in ENDPOINTS:
            answered(snapshot, body, endpoint)
