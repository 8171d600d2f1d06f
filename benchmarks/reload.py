"""Policies read again while reviews come in: what that does to their latency, how long it takes, and memory."""

import json
import os
import time
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory

from benchmarks.load import pace
from benchmarks.measure import CONNECTIONS, PACED_PER_SECOND, SAMPLES, table
from benchmarks.scale import POLICIES, write_project_policies
from benchmarks.servers import Bench, Server, generator_core

COUNTS = (300, POLICIES)
# Short enough to tell the reviews of a reload from those after it.
SEGMENT_SECONDS = 0.25
LONGEST_SECONDS = 120.0


class DidNotReload(RuntimeError):
    """Changed policies did not come into force in time."""


@dataclass(slots=True)
class _Played:
    """Latencies in seconds of reviews with nothing else to do and while policies are read; seconds from each change
    until it was in force; RSS in MiB at the start and after each reload."""

    rss_mib: list[float]
    quiet: list[float] = field(default_factory=list)
    reloading: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


def reload(*, rounds: int, seconds: float) -> str:
    """A few hundred policies and 10,000, each reloaded once a round, after `seconds` of the same load without."""
    rows = []
    with TemporaryDirectory() as directory:
        bench = Bench(Path(directory))
        bench.make_certificates()
        for count in COUNTS:
            folder = bench.directory / str(count)
            write_project_policies(folder, count)
            with bench.webhook(folder, name=f"{count}-policies") as server, generator_core():
                played = _play(server, folder, bench.directory / f"{server.name}.log", rounds, seconds)
            rows.append(_row(count, played))
    head = ["policies", "reviews, lost", "p50", "p99", "a change is in force after", "RSS MiB"]
    return table(head, rows) + "\n\np50 and p99: while they are reloaded to the same load without."


def _play(server: Server, folder: Path, log: Path, rounds: int, seconds: float) -> _Played:
    played = _Played([server.rss_mib()])
    for _ in range(rounds):
        for _ in range(round(seconds / SEGMENT_SECONDS)):
            played.quiet += _latencies(server)
        changed_at = time.time()
        for file in folder.iterdir():
            os.utime(file)
        while not (in_force := _times_in_force(log)[len(played.seconds) :]):
            played.reloading += _latencies(server)
            if time.time() > changed_at + LONGEST_SECONDS:
                raise DidNotReload(log.read_text()[-2000:])
        # What was replaced is freed then, which is a part of it.
        played.reloading += _latencies(server)
        played.seconds.append(in_force[0] - changed_at)
        played.rss_mib.append(server.rss_mib())
    return played


def _latencies(server: Server) -> tuple[float, ...]:
    """Of the next reviews. Raises BadAnswer where one is lost."""
    body = next(sample.body for sample in SAMPLES if sample.name == "task-six-operations")
    load = pace(server.target, body, connections=CONNECTIONS, rate=PACED_PER_SECOND, seconds=SEGMENT_SECONDS)
    return load.latencies


def _times_in_force(log: Path) -> list[float]:
    """When policies came into force, in seconds since the epoch: the server says so in its log."""
    lines = [json.loads(line) for line in log.read_text().splitlines() if "is in force" in line]
    return [datetime.fromisoformat(line["time"]).timestamp() for line in lines]


def _row(count: int, played: _Played) -> list[str]:
    quiet, reloading = quantiles(played.quiet, n=100), quantiles(played.reloading, n=100)
    return [
        f"{count:,}",
        f"{len(played.reloading):,}, 0",
        f"{reloading[49] / quiet[49]:.2f}",
        f"{reloading[98] / quiet[98]:.2f}",
        f"{median(played.seconds):.1f} s (at most {max(played.seconds):.1f})",
        f"{played.rss_mib[0]:.0f}, then at most {max(played.rss_mib[1:]):.0f}",
    ]
