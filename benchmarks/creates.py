"""What a pod's creation through a real kube-apiserver costs more with the webhook: both of its looks, over TLS.

Pods are created one after the other, in turns in namespaces that nobody reviews, that a bare echo reviews, and that
the webhook reviews, on one API server: what slows one slows all. What the echo adds is the API server's own work of
asking.
"""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.measure import table
from benchmarks.servers import HERE, Bench
from tests.e2e.cluster import Cluster, connected
from tests.e2e.control_plane import control_plane
from tests.e2e.registration import register, registered_for
from tests.e2e.service import make_certificates, serving
from tests.programs import build

WARM_UP = 50
REVIEWS = {"no operations": "task-no-operations", "six operations": "task-six-operations"}


def creates(pods: int) -> str:
    """Times of `pods` creations of each of two task pods, one that is changed, by who reviews them."""
    with TemporaryDirectory() as folder, _namespaces(Path(folder)) as (cluster, namespaces):
        rows = []
        for title, review in REVIEWS.items():
            pod = _pod(review)
            _in_turns(cluster, namespaces, pod, WARM_UP)
            times = _in_turns(cluster, namespaces, pod, pods)
            bare, *_ = times
            for who, seconds in zip(("nobody", "an echo", "the webhook"), times, strict=True):
                added = median(seconds) - median(bare)
                rows.append([title, who, *(f"{ms * 1e3:.2f}" for ms in (median(seconds), _p99(seconds), added))])
    head = ["task pod", "reviewed by", "p50 ms", "p99 ms", "added p50 ms"]
    return f"{table(head, rows)}\n\n{pods} creations each, one at a time; a reviewer is asked twice for each."


def _p99(seconds: Sequence[float]) -> float:
    return quantiles(seconds, n=100)[98]


def _in_turns(cluster: Cluster, namespaces: Sequence[str], pod: dict[str, Any], count: int) -> list[list[float]]:
    """Seconds of each creation, by namespace."""
    times: list[list[float]] = [[] for _ in namespaces]
    for number in range(count):
        for turn in range(len(namespaces)):
            place = (turn + number) % len(namespaces)
            started = time.perf_counter()
            answer = cluster.create(namespaces[place], pod)
            times[place].append(time.perf_counter() - started)
            assert answer.status == 201, answer.body
    return times


def _pod(review: str) -> dict[str, Any]:
    """The pod of a recorded review, to be created anew as often as wanted."""
    recorded = json.loads((HERE / "reviews" / f"{review}.json").read_text())["request"]["object"]
    metadata = {key: recorded["metadata"].get(key, {}) for key in ("labels", "annotations")}
    spec = {key: value for key, value in recorded["spec"].items() if key not in ("priority", "serviceAccount")}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "task-", **metadata}, "spec": spec}


@contextmanager
def _namespaces(folder: Path) -> Iterator[tuple[Cluster, list[str]]]:
    """A cluster, and namespaces of it that nobody, an echo and the webhook review."""
    for name in ("plane", "certificates"):
        (folder / name).mkdir()
    certificates = make_certificates(folder / "certificates")
    with (
        control_plane(build(), folder / "plane") as plane,
        serving(certificates, folder / "webhook.log") as service,
        Bench(certificates.folder).echo() as echo,
        connected(plane) as api,
    ):
        cluster = Cluster(plane, service, api)
        register(cluster, service)
        nobodys, echoed, reviewed = cluster.namespace(labels={}), cluster.namespace(labels={}), cluster.namespace()
        with registered_for(cluster, echoed, f"https://localhost:{echo.target.port}", "Fail"):
            yield cluster, [nobodys, echoed, reviewed]
