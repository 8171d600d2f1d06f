"""Policies read again while reviews come in: what that does to their latency, how long it takes, and memory."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory

from benchmarks.load import Load, pace, saturate
from benchmarks.measure import CONNECTIONS, PACED_PER_SECOND, SAMPLES, table
from benchmarks.scale import POLICIES, write_project_policies
from benchmarks.servers import ROOT, SERVER_CORE, Bench, Server, generator_core

COUNTS = (300, POLICIES)
# Short enough to tell the reviews of a reload from those after it.
SEGMENT_SECONDS = 0.25
LONGEST_SECONDS = 120.0
# A server that has no time may never be done.
LONGEST_SATURATED_SECONDS = 40.0

NEIGHBOURS = 4
# Ends by itself, whatever becomes of who started it.
_BUSY = "import time; end = time.monotonic() + 600\nwhile time.monotonic() < end: pass"


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


@dataclass(slots=True)
class _Saturated:
    """Of one build: seconds from each change until it was in force, and reviews a second with nothing to reload and
    meanwhile."""

    seconds: list[float] = field(default_factory=list)
    quiet: list[float] = field(default_factory=list)
    reloading: list[float] = field(default_factory=list)


def reload_saturated(*, rounds: int, seconds: float, other: Path | None) -> str:
    """The same with as many reviews as the server answers, which leave its core no time, and with busy processes beside
    it there; of this build and of another checkout in turns."""
    sources = {"this": ROOT} | ({} if other is None else {"other": other})
    rows = []
    with TemporaryDirectory() as directory:
        bench = Bench(Path(directory))
        bench.make_certificates()
        for count in COUNTS:
            for neighbours in (0, NEIGHBOURS):
                played = _play_saturated(bench, sources, count, neighbours, rounds, seconds)
                rows += [_saturated_row(count, neighbours, build, played[build]) for build in sources]
    head = ["policies", "neighbours", "build", "a change is in force after", "reviews a second meanwhile"]
    return table(head, rows) + "\n\nReviews a second: next to those with nothing to reload."


def _play_saturated(
    bench: Bench, sources: dict[str, Path], count: int, neighbours: int, rounds: int, seconds: float
) -> dict[str, _Saturated]:
    played = {build: _Saturated() for build in sources}
    with ExitStack() as stack:
        servers = {}
        for build, source in sources.items():
            folder = bench.directory / f"{build}-{count}-{neighbours}"
            write_project_policies(folder, count)
            running = Bench(bench.directory, source).webhook(folder, name=folder.name)
            servers[build] = stack.enter_context(running), folder
        stack.enter_context(generator_core())
        for _ in range(rounds):
            for build, (server, folder) in servers.items():
                with _busy_neighbours(neighbours):
                    played[build].quiet.append(_saturate(server, seconds).per_second)
                    _reload_saturated(server, folder, bench.directory / f"{server.name}.log", played[build])
    return played


def _reload_saturated(server: Server, folder: Path, log: Path, played: _Saturated) -> None:
    changed_at = time.time()
    for file in folder.iterdir():
        os.utime(file)
    loads = []
    before = len(_times_in_force(log))
    while not (in_force := _times_in_force(log)[before:]) and time.time() < changed_at + LONGEST_SATURATED_SECONDS:
        loads.append(_saturate(server, SEGMENT_SECONDS))
    played.seconds.append(in_force[0] - changed_at if in_force else LONGEST_SATURATED_SECONDS)
    played.reloading.append(sum(load.reviews for load in loads) / sum(load.seconds for load in loads))


def _saturate(server: Server, seconds: float) -> Load:
    reviews: Sequence[bytes] = next(sample for sample in SAMPLES if sample.name == "task-six-operations").bodies()
    return saturate(server.target, reviews, connections=CONNECTIONS, seconds=seconds)


@contextmanager
def _busy_neighbours(count: int) -> Iterator[None]:
    """Processes of the usual priority that want all of the server's core."""
    command = ["taskset", "--cpu-list", str(SERVER_CORE), sys.executable, "-c", _BUSY]
    processes = [subprocess.Popen(command) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _saturated_row(count: int, neighbours: int, build: str, played: _Saturated) -> list[str]:
    share = median(meanwhile / quiet for meanwhile, quiet in zip(played.reloading, played.quiet, strict=True))
    return [f"{count:,}", str(neighbours), build, _in_force_after(played.seconds), f"{share:.2f}"]


def _in_force_after(seconds: list[float]) -> str:
    if median(seconds) == LONGEST_SATURATED_SECONDS:
        return f"not within {LONGEST_SATURATED_SECONDS:.0f} s"
    return f"{median(seconds):.1f} s (at most {max(seconds):.1f})"
