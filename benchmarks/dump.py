"""A dump of 100,000 pods through `task-resources review --summary`: pods a second, and memory next to the file's size.

The yardstick is `json.load` of the same file in the same run, each in a process of its own.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.measure import SAMPLES, table
from benchmarks.servers import EXAMPLE_POLICIES, ROOT

_MIB = 2**20
_NAMESPACES = 500
# How often each sample comes: most pods of a cluster are small.
_WEIGHTS = {"small": 4, "task-no-operations": 8, "task-six-operations": 7, "large": 1}

_LOAD = "import json, sys; json.load(open(sys.argv[1], 'rb'))"


@dataclass(frozen=True, slots=True)
class _Run:
    """One process: its time by the clock and on the processor, in seconds, and its memory at the most, in bytes."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int


def dump(pods: int, *, rounds: int) -> str:
    """A table of medians over the rounds."""
    with TemporaryDirectory() as directory:
        file = Path(directory) / "pods.json"
        write_dump(file, pods)
        size = file.stat().st_size
        review = [sys.executable, "-m", "webhook", "review", str(file), "--policy", str(EXAMPLE_POLICIES), "--summary"]
        played = [(_run(review), _run([sys.executable, "-c", _LOAD, str(file)])) for _ in range(rounds)]
    ours, theirs = [pair[0] for pair in played], [pair[1] for pair in played]
    rows = [_row("review --summary", ours, pods, size), _row("json.load", theirs, pods, size)]
    ratio = median(theirs.cpu_seconds / ours.cpu_seconds for ours, theirs in played)
    head = ["", "pods a second", "CPU µs a pod", "peak MiB", "peak to the file"]
    text = f"{pods:,} pods, a file of {size / _MIB:,.0f} MiB; medians of {rounds} rounds"
    return f"{text}\n\n{table(head, rows)}\n\nCPU of json.load to that of the review: {ratio:.2f}"


def write_dump(file: Path, pods: int) -> None:
    """As `kubectl get pods -A -o json` writes it: the sample pods with names, namespaces and memory of their own."""
    samples = [_stored(sample.body) for sample in SAMPLES for _ in range(_WEIGHTS[sample.name])]
    with file.open("w") as out:
        out.write('{\n    "apiVersion": "v1",\n    "items": [\n')
        for number in range(pods):
            pod = samples[number % len(samples)].replace('"NAME"', f'"pod-{number}"')
            pod = pod.replace('"NAMESPACE"', f'"snacks{number % _NAMESPACES}-development"')
            out.write((",\n" if number else "") + pod.replace('"350Mi"', f'"{300_000 + number}Ki"'))
        out.write('\n    ],\n    "kind": "List"\n}\n')


def _stored(review: bytes) -> str:
    pod: dict[str, Any] = json.loads(review)["request"]["object"]
    pod["metadata"] |= {"name": "NAME", "namespace": "NAMESPACE", "uid": "e1f2a3b4-0000-4000-8000-000000000000"}
    return json.dumps({"apiVersion": "v1", "kind": "Pod", **pod, "status": {"phase": "Running"}}, indent=4)


def _run(command: Sequence[str]) -> _Run:
    started = time.perf_counter()
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 1):  # 1: some pod is denied
        raise RuntimeError(f"{command[:4]} ended with {process.returncode}")
    return _Run(time.perf_counter() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def _row(name: str, runs: Sequence[_Run], pods: int, size: int) -> list[str]:
    peak = median(run.peak_bytes for run in runs)
    return [
        name,
        f"{median(pods / run.seconds for run in runs):,.0f}",
        f"{median(run.cpu_seconds / pods for run in runs) * 1e6:.0f}",
        f"{peak / _MIB:,.0f}",
        f"{peak / size:.2f}",
    ]
