"""This build and another one, taking turns round by round: what a change costs, or brings."""

import sys
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks.compare import check_answers
from benchmarks.measure import BOTTLENECK, SAMPLES, Round, measure, table
from benchmarks.servers import EXAMPLE_POLICIES, Bench, generator_core


def turns(other: Path, *, rounds: int, seconds: float) -> str:
    """Rate and CPU time of a review, this build's to that of the other checkout; both decide by our examples."""
    with TemporaryDirectory() as directory, ExitStack() as running:
        theirs, ours = Bench(Path(directory), other), Bench(Path(directory))
        ours.make_certificates()
        servers = [running.enter_context(bench.webhook(EXAMPLE_POLICIES)) for bench in (theirs, ours)]
        check_answers(servers)
        played: dict[str, list[tuple[Round, Round]]] = {sample.name: [] for sample in SAMPLES}
        with generator_core():
            for number in range(rounds):
                print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
                for sample in SAMPLES:
                    order = servers if number % 2 else servers[::-1]
                    pair = [measure(server, sample.bodies(), seconds=seconds) for server in order]
                    played[sample.name].append((pair[0], pair[1]) if number % 2 else (pair[1], pair[0]))
    head = ["review", "rate", "CPU", "CPU µs, other", "CPU µs, this", "generator busy"]
    return "\n".join([table(head, [[name, *_figures(pairs)] for name, pairs in played.items()]), "", _note(rounds)])


def _figures(pairs: list[tuple[Round, Round]]) -> tuple[str, ...]:
    rates = [ours.per_second / theirs.per_second for theirs, ours in pairs]
    cpu = [ours.cpu_seconds / theirs.cpu_seconds for theirs, ours in pairs]
    return (
        f"{median(rates):.3f}",
        f"{median(cpu):.3f}",
        f"{median(theirs.cpu_seconds for theirs, _ in pairs) * 1e6:.1f}",
        f"{median(ours.cpu_seconds for _, ours in pairs) * 1e6:.1f}",
        f"{median(ours.generator_busy for _, ours in pairs):.2f}",
    )


def _note(rounds: int) -> str:
    return f"Medians of {rounds} rounds. Above {BOTTLENECK} of the generator trust the CPU time, not the rate."
