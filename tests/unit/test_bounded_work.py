"""Whatever a pod holds, in whichever two dimensions it grows: the work and the memory for it stay linear in its size.

No time is measured: lines of our code that run and bytes that they allocate are the same on every machine. What a
review costs next to an ordinary one of its size is in `python -m benchmarks hostile`.
"""

import gc
import json
import re
import tracemalloc
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from tests.unit.deciding import Json, container, decided, denial, pod, policy_set, review_body, sidecar
from tests.unit.growing import DIMENSIONS, OURS, POLICY, body_of, grown_in, work_of
from webhook.admission import LARGEST_UNWEIGHED_BYTES, decode, encode
from webhook.annotations import MOST_AMOUNTS as MOST_ANNOTATED
from webhook.annotations import MOST_ERRORS
from webhook.decision import Endpoint
from webhook.snapshot import Snapshot
from webhook.weight import (
    MOST_AMOUNTS,
    MOST_CONTAINERS,
    MOST_LABELS,
    MOST_PART_BYTES,
    MOST_REQUIREMENTS,
    MOST_RESOURCES,
    MOST_TOLERATIONS,
)

SMALL, LARGE = 4, 16
# Work for a byte grows less than this when both dimensions are four times as large; a quadratic step makes it four.
MOST_GROWTH = 1.8
# What does not grow with a pod, such as what is said about it: lines of code, and bytes.
FIXED_LINES, FIXED_BYTES = 3_000, 100_000

SNAPSHOTS = {
    mode: Snapshot(policy_set(f"{mode}\n{POLICY}")) for mode in ("onExceed: Cap", "onExceed: Deny", "mode: Warn")
}
# Every second pair as most pods are looked at, the others in each other way in turn.
LOOKS = [
    look
    for mode in SNAPSHOTS
    for kind in ("mutate", "validate", "resize")
    for look in (("onExceed: Cap", "mutate"), (mode, kind))
]
PAIRS = [*combinations(DIMENSIONS, 2)]


@pytest.mark.parametrize("first", DIMENSIONS[:-1])
def test_work_grows_no_faster_than_a_pod_that_grows_in_two_dimensions(first: str) -> None:
    for number, pair in enumerate(PAIRS):
        if pair[0] == first:
            mode, kind = LOOKS[number % len(LOOKS)]
            endpoint: Endpoint = "validate" if kind == "validate" else "mutate"
            small, large = (
                body_of(grown_in(*pair, size), f"{kind[0]}{size}", is_resize=kind == "resize")
                for size in (SMALL, LARGE)
            )
            before, after = (work_of(SNAPSHOTS[mode], body, endpoint) for body in (small, large))
            growth = MOST_GROWTH * len(large) / len(small)
            assert after.lines <= growth * before.lines + FIXED_LINES, (*pair, mode, kind)
            assert after.allocated <= growth * before.allocated + FIXED_BYTES, (*pair, mode, kind)


def dense(item: Any, **where: str) -> Json:
    """A pod of three megabytes of one item, in a field of its spec, its metadata or its container."""
    count = 3 * 2**20 // (len(json.dumps(item)) + 2)
    items = [item] * count if not isinstance(item, str) else {f"{index:x}": item for index in range(count // 2)}
    task = pod()
    ((kind, field),) = where.items()
    parent = {"spec": task["spec"], "metadata": task["metadata"], "container": task["spec"]["containers"][0]}[kind]
    parent[field] = items
    return task


def in_affinity(terms: list[Any]) -> Json:
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    return pod(affinity={"nodeAffinity": required})


MANY = 300_000
DENSE = [
    ("tolerations", dense({}, spec="tolerations")),
    ("tolerations-with-keys", dense({"key": "a"}, spec="tolerations")),
    ("containers", dense({}, spec="initContainers")),
    ("containers-with-names", dense({"name": "a"}, spec="initContainers")),
    ("volumes", dense({}, spec="volumes")),
    ("volumes-with-names", dense({"name": "a"}, spec="volumes")),
    ("claims", dense({}, spec="resourceClaims")),
    ("node-selector", dense("", spec="nodeSelector")),
    ("overhead", dense("1", spec="overhead")),
    ("labels", dense("", metadata="labels")),
    ("annotations", dense("", metadata="annotations")),
    ("owners", dense({}, metadata="ownerReferences")),
    ("mounts", dense({}, container="volumeMounts")),
    ("container-claims", pod(container(claims=[]), init=[container("a")] * 2)),
    ("resources", pod(container(limits={f"{index:x}": "1" for index in range(MANY // 2)}))),
    ("pod-level", pod(resources={"limits": {f"hugepages-{index}": "1" for index in range(MANY // 2)}})),
    ("terms", in_affinity([{}] * MANY)),
    ("requirements", in_affinity([{"matchExpressions": [{}] * MANY}])),
    ("values", in_affinity([{"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"] * MANY}]}])),
]


@pytest.mark.parametrize("task", [case[1] for case in DENSE], ids=[case[0] for case in DENSE])
def test_a_review_takes_less_memory_than_eight_times_its_size(task: Json) -> None:
    for old in (None, task):
        body = json.dumps(json.loads(review_body(task, old=old)), separators=(",", ":")).encode()
        work = work_of(SNAPSHOTS["onExceed: Cap"], body)
        assert work.peak < max(8 * len(body), 8 * 2**20)


PLAIN = "container: {max: {cpu: 4}}"


def bare(count: int) -> list[Json]:
    return [container(f"c{index}") for index in range(count)]


TOO_LARGE = [
    ("containers", pod(*bare(MOST_CONTAINERS), init=[sidecar("proxy")]), f"more than {MOST_CONTAINERS} containers"),
    (
        "resources",
        pod(container(limits={f"example.com/{index}": "1" for index in range(MOST_RESOURCES + 1)})),
        f"{MOST_RESOURCES + 1} different resources",
    ),
    (
        "resources-in-many-containers",
        pod(*[container(f"c{index}", limits={f"example.com/{index % 60}": "1"}) for index in range(100)]),
        "100 containers times 60 resources",
    ),
    (
        "tolerations",
        pod(tolerations=[{"operator": "Exists"}] * (MOST_TOLERATIONS + 1)),
        f"{MOST_TOLERATIONS + 1} tolerations",
    ),
    (
        "node-affinity",
        in_affinity([{"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"] * MOST_REQUIREMENTS}]}]),
        f"{MOST_REQUIREMENTS + 2} requirements of node affinity",
    ),
    ("empty-volumes", dense({}, spec="volumes"), "nearly empty containers or volumes"),
    ("labels", dense("", metadata="labels"), "more than 10000 labels and annotations"),
    ("bytes", dense({"key": "a"}, spec="tolerations"), "bytes of resources, tolerations"),
]


@pytest.mark.parametrize(("task", "reason"), [case[1:] for case in TOO_LARGE], ids=[case[0] for case in TOO_LARGE])
def test_a_pod_that_is_too_much_to_be_decided_about_is_refused_by_both_looks(task: Json, reason: str) -> None:
    for endpoint in ("mutate", "validate"):
        message = denial(task, PLAIN, endpoint=endpoint)
        assert message.startswith("pod: ")
        assert reason in message
        assert "too much to be decided about" in message


def test_a_resize_of_a_pod_that_is_too_large_is_refused() -> None:
    large = pod(*bare(MOST_CONTAINERS + 1))
    for endpoint in ("mutate", "validate"):
        message = denial(large, PLAIN, old=large, endpoint=endpoint)
        assert f"more than {MOST_CONTAINERS} containers" in message


def test_where_nothing_is_enforced_a_pod_that_is_too_large_is_left_alone() -> None:
    task = pod(*bare(MOST_CONTAINERS + 1))
    would = decided(task, f"mode: Warn\n{PLAIN}")
    assert not would.refuses
    assert would.warnings[0].startswith(f"would be denied: pod: more than {MOST_CONTAINERS} containers")
    assert decided(task, f"mode: Audit\n{PLAIN}").warnings == ()
    assert decided(task, "mode: Off").outcome == "skipped"


def test_a_large_pod_is_bounded_like_every_other() -> None:
    words = [{"name": f"VARIABLE_{index}", "value": "x" * 50} for index in range(200)]
    task = pod(*[container(f"c{index}", limits={"cpu": "8", "memory": "1Gi"}, env=words) for index in range(100)])
    assert len(review_body(task)) > 4 * LARGEST_UNWEIGHED_BYTES
    decision = decided(task, PLAIN)
    assert [change.after for change in decision.changes] == ["4"] * 200
    assert denial(task, f"onExceed: Deny\n{PLAIN}").startswith('container "c0": limits.cpu 8 is above the maximum 4')


def test_a_large_review_of_another_object_is_allowed() -> None:
    body = review_body(dense({}, spec="volumes"), kind={"group": "apps", "version": "v1", "kind": "Deployment"})
    review = decode(body)
    decision = SNAPSHOTS["onExceed: Cap"].decide(review)
    assert json.loads(encode(review, decision))["response"]["allowed"]


def test_of_many_wrong_annotations_the_first_errors_are_told() -> None:
    wrong = {f"limits.{OURS}/c{index}": "x," * 2000 for index in range(500)}
    message = denial(pod(*bare(3), annotations=wrong), PLAIN)
    assert message.count("annotation limits.") <= MOST_ERRORS
    assert len(message.encode()) <= 900


def test_annotations_that_ask_for_more_amounts_than_any_pod_needs_are_refused() -> None:
    items = 50
    text = ",".join(f"example.com/{index}=1" for index in range(items))
    asked = {f"limits.{OURS}/c{index}": text for index in range(MOST_ANNOTATED // items + 1)}
    assert f"more than {MOST_ANNOTATED} amounts" in denial(pod(*bare(30), annotations=asked), PLAIN)


def test_of_many_unknown_annotations_ten_are_named() -> None:
    unknown = {f"{OURS}/x{index:05}": "" for index in range(5_000)}
    warnings = decided(pod(annotations=unknown)).warnings
    assert warnings[0] == f"annotation {OURS}/x00000 is not known and has no effect"
    assert warnings[-1] == "and 1 more"
    only_eleven = dict([*unknown.items()][:11])
    assert decided(pod(annotations=only_eleven)).warnings[-2:] == (
        f"annotation {OURS}/x00009 is not known and has no effect",
        "and 1 more",
    )


def test_names_that_are_longer_than_kubernetes_allows_are_cut_where_they_are_shown() -> None:
    long = "\x1b" + "x" * 20_000
    task = pod(container(long, limits={"cpu": "8"}), annotations={f"{OURS}/primary-container": "y" * 20_000})
    assert f'container "?{"x" * 61}…": limits.cpu 8' in denial(with_annotations(task, {}), f"onExceed: Deny\n{PLAIN}")
    assert len(denial(task, PLAIN).encode()) <= 900
    decision = decided(with_annotations(task, {}), PLAIN)
    assert {change.container for change in decision.changes} == {"?" + "x" * 61 + "…"}
    assert len(decision.record) < 2_000


def with_annotations(task: Json, annotations: Json) -> Json:
    return {**task, "metadata": {**task["metadata"], "annotations": annotations}}


def test_nothing_of_unusual_length_is_remembered() -> None:
    snapshot = SNAPSHOTS["onExceed: Cap"]

    def review(index: int) -> None:
        text = f"{index}x," * 600
        long = f"{index}".ljust(20_000, "x")
        task = pod(
            container(limits={"cpu": "8", f"example.com/{long}": "1", f"hugepages-{long}": "1"}),
            annotations={f"{OURS}/limits": text, f"{OURS}/accelerator": long},
            tolerations=[{"key": long, "operator": "Exists"}],
        )
        decision = snapshot.decide(decode(review_body(task, namespace=long)))
        assert decision.denial is not None

    review(0)
    tracemalloc.start()
    try:
        for index in range(1, 150):
            review(index)
        gc.collect()
        kept_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept_bytes < 1_000_000


def test_the_page_has_the_bounds_in_force() -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-a-value-is-decided.md").read_text()
    rows = dict(
        re.findall(r"^\| (.+) \| ([\d,]+(?: KiB)?) \|$", page.partition("## Pods that are too large")[2], re.MULTILINE)
    )
    bounds = [
        MOST_CONTAINERS,
        MOST_RESOURCES,
        MOST_AMOUNTS,
        MOST_TOLERATIONS,
        MOST_REQUIREMENTS,
        MOST_ANNOTATED,
        MOST_LABELS,
    ]
    assert [*rows.values()] == [*(f"{bound:,}" for bound in bounds), f"{MOST_PART_BYTES // 1024} KiB"]
