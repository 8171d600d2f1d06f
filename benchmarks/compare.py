"""The comparison: every server answers every review in every round, so that a machine that slows down slows all."""

import json
import sys
from base64 import b64decode
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.load import answer
from benchmarks.measure import BOTTLENECK, SAMPLES, Round, Sample, measure, percentile, ratio, table
from benchmarks.servers import EXAMPLE_POLICIES, Bench, Server, generator_core

TARGET = 0.6

Results = Mapping[tuple[str, str], Sequence[Round]]  # by sample and server


def compare(*, rounds: int, seconds: float) -> str:
    """The report of `rounds` rounds with `seconds` of load on each server and review."""
    with TemporaryDirectory() as directory, ExitStack() as running:
        bench = Bench(Path(directory))
        bench.make_certificates()
        servers = [running.enter_context(bench.echo()), running.enter_context(bench.webhook(EXAMPLE_POLICIES))]
        program = bench.build_controller_runtime()
        if program:
            servers.append(running.enter_context(bench.controller_runtime(program)))
        check_answers(servers)
        with generator_core():
            return report(_play(servers, rounds, seconds))


def check_answers(servers: Sequence[Server]) -> None:
    """Every server allows every sample with its uid, and ours patches it as the sample's name promises."""
    for sample in SAMPLES:
        uid = json.loads(sample.body)["request"]["uid"]
        for server in servers:
            body = answer(server.target, sample.body)
            response: dict[str, Any] = json.loads(body[body.index(b"{") : body.rindex(b"}") + 1])["response"]
            assert response["uid"] == uid, f"{server.name} does not echo the uid of {sample.name}"
            assert response["allowed"], f"{server.name} denies {sample.name}"
            if server.name == "webhook":
                _check_operations(sample, response)


def _check_operations(sample: Sample, response: Mapping[str, Any]) -> None:
    operations = len(json.loads(b64decode(response["patch"]))) if "patch" in response else 0
    assert operations == sample.operations, f"{sample.name} came to {operations} operations, not {sample.operations}"


def _play(servers: Sequence[Server], rounds: int, seconds: float) -> Results:
    results: dict[tuple[str, str], list[Round]] = {}
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
        first = number % len(servers)  # no one always goes first
        for sample in SAMPLES:
            for server in (*servers[first:], *servers[:first]):
                played = results.setdefault((sample.name, server.name), [])
                played.append(measure(server, sample.bodies(), seconds=seconds))
    return results


def report(results: Results) -> str:
    """Ratios against the echo first; absolute figures only describe this machine at this moment."""
    rows = [[*key, *_figures(played, results[key[0], "echo"])] for key, played in results.items()]
    rounds = len(next(iter(results.values())))
    notes = [f"Medians of {rounds} rounds. Target on both task reviews: {TARGET} of the echo's rate."]
    if any(r.generator_busy > BOTTLENECK for played in results.values() for r in played):
        notes.append("The load generator was the bottleneck at least once: trust the CPU time, not the rates.")
    return "\n".join([table(_HEAD, rows), "", *notes])


_HEAD = (
    "review",
    "server",
    "rate to echo",
    "echo CPU to CPU",
    "reviews/s",
    "CPU µs",
    "p50 µs",
    "p99 µs",
    "RSS MiB",
    "generator busy",
)


def _figures(played: Sequence[Round], echo: Sequence[Round]) -> tuple[str, ...]:
    return (
        f"{ratio([r.per_second for r in played], [r.per_second for r in echo]):.2f}",
        f"{ratio([r.cpu_seconds for r in echo], [r.cpu_seconds for r in played]):.2f}",
        f"{median(r.per_second for r in played):.0f}",
        f"{median(r.cpu_seconds for r in played) * 1e6:.0f}",
        f"{percentile(played, 50) * 1e6:.0f}",
        f"{percentile(played, 99) * 1e6:.0f}",
        f"{played[-1].rss_mib:.0f}",
        f"{median(r.generator_busy for r in played):.2f}",
    )
