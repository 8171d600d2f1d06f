"""Pods that grow in any two dimensions at once, and what answering them takes: lines of our code and bytes."""

import sys
import tracemalloc
from dataclasses import dataclass, fields, replace
from types import FrameType
from typing import Any

from tests.unit.deciding import NAMESPACE, Json, container, review_body
from webhook.admission import InvalidReview, decode, encode
from webhook.decision import Decision, Endpoint
from webhook.resources import InvalidPod
from webhook.snapshot import Snapshot

OURS = "task-resources.io"

# It has a say in everything that grows.
POLICY = """
missingLimit: {memory: Request}
container:
  max: {cpu: 4, memory: 8Gi, ephemeral-storage: 1Gi, example.com/*: 4}
  min: {cpu: 50m}
  default: {memory: 1Gi}
pod: {max: {cpu: 16, memory: 32Gi, example.com/*: 40}}
scheduling:
  resources:
  - resource: example.com/*
    tolerations: [{key: gpus, operator: Exists, effect: NoSchedule}]
    nodeSelector: {pool: gpus}
    reserved: Warn
    device: {label: accelerator, names: {A100: a100}}
  defaults: {tolerations: [{key: spot, operator: Exists}], nodeSelector: {zone: a}}
"""


@dataclass(frozen=True)
class Shape:
    """How much a pod has of everything that is read; numbers are counts, `…_length` are characters."""

    containers: int = 1
    steps: int = 0
    amounts: int = 1
    amount_length: int = 1
    resource_length: int = 8
    container_length: int = 8
    overhead: int = 0
    pod_level: int = 0
    container_claims: int = 0
    claims: int = 0
    labels: int = 0
    label_length: int = 8
    annotations: int = 0
    annotation_length: int = 8
    wrong_items: int = 0
    wrong_length: int = 4
    named_annotations: int = 0
    named_items: int = 1
    unknown_annotations: int = 0
    applied_length: int = 0
    primary_length: int = 0
    tolerations: int = 0
    toleration_length: int = 8
    terms: int = 0
    requirements: int = 1
    values: int = 1
    value_length: int = 4
    selectors: int = 0
    selector_length: int = 8
    volumes: int = 0
    mounts: int = 0
    path_length: int = 8
    owners: int = 0
    groups: int = 0
    group_length: int = 8
    generated_length: int = 0


DIMENSIONS = tuple(field.name for field in fields(Shape))

# What it grows together with, or nothing of that kind is there.
NEEDS: dict[str, dict[str, int]] = {
    "annotation_length": {"annotations": 4, "wrong_items": 4, "named_annotations": 4, "unknown_annotations": 4},
    "wrong_items": {"annotations": 4},
    "wrong_length": {"annotations": 4, "wrong_items": 4},
    "named_items": {"named_annotations": 4},
    "label_length": {"labels": 4},
    "toleration_length": {"tolerations": 4},
    "requirements": {"terms": 4},
    "values": {"terms": 4},
    "value_length": {"terms": 4, "values": 4},
    "selector_length": {"selectors": 4},
    "path_length": {"mounts": 4},
    "group_length": {"groups": 4},
}


def grown(shape: Shape, dimension: str, size: int) -> Shape:
    """The shape with one dimension of that size, in characters a hundred times as many."""
    return replace(shape, **{dimension: size * (100 if dimension.endswith("_length") else 1)})


def grown_in(first: str, second: str, size: int) -> Shape:
    needed = NEEDS.get(first, {}) | NEEDS.get(second, {})
    return grown(grown(Shape(**needed), first, size), second, size)


def text_of(tag: str, index: int, length: int) -> str:
    """A text of its own of about that length, valid as a name where it is short enough."""
    return f"{tag}{index}".ljust(length, "x")


def pod_of(shape: Shape, tag: str) -> Json:
    """A pod of that shape; no two tags have a name in common."""
    amount = "8".rjust(shape.amount_length, "0")
    amounts = {"cpu": amount, "memory": "16Gi"} | {
        f"example.com/{text_of(tag, index, shape.resource_length)}": amount for index in range(shape.amounts)
    }
    names = [text_of(tag, index, shape.container_length) for index in range(shape.containers + shape.steps)]
    containers = [_container(shape, name, amounts, tag) for name in names]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": "g".ljust(shape.generated_length, "\n"),
            "namespace": NAMESPACE,
            "labels": {text_of(tag, index, shape.label_length): "v" for index in range(shape.labels)},
            "annotations": _annotations(shape, names, tag),
            "ownerReferences": [{"kind": text_of(tag, index, 8)} for index in range(shape.owners)],
        },
        "spec": {
            "containers": containers[: shape.containers],
            "initContainers": containers[shape.containers :],
            "overhead": {f"example.com/{tag}{index}": "1" for index in range(shape.overhead)},
            "volumes": [{"name": text_of(tag, index, 8)} for index in range(shape.volumes)],
            "nodeSelector": {text_of(tag, index, shape.selector_length): "v" for index in range(shape.selectors)},
            "resourceClaims": [{"name": text_of(tag, index, 8)} for index in range(shape.claims)],
            "tolerations": [
                {"key": text_of(tag, index, shape.toleration_length), "operator": "Exists"}
                for index in range(shape.tolerations)
            ],
            **_pod_level(shape, amount),
            **_affinity(shape, tag),
        },
    }


def _container(shape: Shape, name: str, amounts: Json, tag: str) -> Json:
    mounts = [{"name": tag, "mountPath": "/" + text_of(tag, index, shape.path_length)} for index in range(shape.mounts)]
    task = container(name, limits=amounts, volumeMounts=mounts)
    task["resources"]["claims"] = [{"name": f"{tag}{index}"} for index in range(shape.container_claims)]
    return task


def _annotations(shape: Shape, names: list[str], tag: str) -> dict[str, str]:
    wrong = ",".join(text_of(tag, index, shape.wrong_length) for index in range(shape.wrong_items))
    named = ",".join(f"example.com/{tag}a{index}=1" for index in range(shape.named_items))
    keys = [f"limits.{OURS}/{text_of(tag, index, shape.annotation_length)}" for index in range(shape.annotations)]
    found = dict.fromkeys(keys, wrong or "cpu=1")
    found |= {f"limits.{OURS}/{name}": named for name in names[: shape.named_annotations]}
    found |= {
        f"{OURS}/{text_of(tag, index, shape.annotation_length)}": "x" for index in range(shape.unknown_annotations)
    }
    if shape.applied_length:
        found[f"{OURS}/applied"] = "[".ljust(shape.applied_length, "[")
    if shape.primary_length:
        found[f"{OURS}/primary-container"] = "p".ljust(shape.primary_length, "p")
    return found | {f"{OURS}/accelerator": "A100", f"{OURS}/shared-memory": "1Gi"}


def _pod_level(shape: Shape, amount: str) -> Json:
    level = {f"hugepages-{1 + index}Mi": amount for index in range(shape.pod_level)}
    return {"resources": {"limits": {"cpu": "90", **level}}} if level else {}


def _affinity(shape: Shape, tag: str) -> Json:
    requirement = {
        "key": "accelerator",
        "operator": "In",
        "values": [text_of(tag, index, shape.value_length) for index in range(shape.values)],
    }
    terms = [{"matchExpressions": [requirement] * shape.requirements} for _ in range(shape.terms)]
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    return {"affinity": {"nodeAffinity": required}} if terms else {}


def body_of(shape: Shape, tag: str, *, is_resize: bool = False) -> bytes:
    """A review of a pod of that shape; of a resize, its pod was half as large before."""
    pod = pod_of(shape, tag)
    old = pod_of(replace(shape, amount_length=1), tag) if is_resize else None
    groups = [text_of(tag, index, shape.group_length) for index in range(shape.groups)]
    return review_body(pod, old=old, userInfo={"username": "admin", "groups": groups})


@dataclass(frozen=True)
class Work:
    """What an answer took: lines of our code that ran, and bytes that they allocated, freed ones among them."""

    lines: int
    allocated: int
    peak: int
    decision: Decision | None


def work_of(snapshot: Snapshot, body: bytes, endpoint: Endpoint = "mutate") -> Work:
    """Answers a review and counts. What the interpreter does within a line, such as joining, shows in bytes."""
    lines = allocated = highest = 0
    last = 0

    def count(_frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal lines, allocated, highest, last
        now, peak = tracemalloc.get_traced_memory()
        allocated += max(0, peak - last)
        highest = max(highest, peak)
        lines += event == "line"
        tracemalloc.reset_peak()
        last = now
        return count

    def enter(frame: FrameType, _event: str, _argument: Any) -> Any:
        return count if "/webhook/" in frame.f_code.co_filename else None

    decision = None
    tracemalloc.start()
    before = sys.gettrace()
    start, _ = tracemalloc.get_traced_memory()
    last = start
    sys.settrace(enter)
    try:
        review = decode(body)
        decision = snapshot.decide(review, endpoint)
        encode(review, decision)
    except (InvalidReview, InvalidPod):
        pass
    finally:
        sys.settrace(before)
        tracemalloc.stop()
    return Work(lines, allocated, highest - start, decision)
