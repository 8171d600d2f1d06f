"""What the core alone costs: microseconds for each step of each sample, and of the usual quantities.

In one process, without a network: for finding out where time goes, not for comparing with anything.
"""

import cProfile
import gc
import io
import pstats
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks.measure import SAMPLES, table
from benchmarks.servers import EXAMPLE_POLICIES
from webhook.admission import decode, encode
from webhook.quantity import format_quantity, parse_json_quantity, parse_quantity
from webhook.snapshot import Snapshot
from webhook.sources.policy_files import load_policies

_REPEATS, _SECONDS = 7, 0.03


def steps() -> str:
    """Microseconds to decode, decide and encode each sample."""
    snapshot = _snapshot()
    rows = []
    for sample in SAMPLES:
        body = sample.body
        review = decode(body)
        decision = snapshot.decide(review)
        times = [
            _microseconds(partial(decode, body)),
            _microseconds(partial(snapshot.decide, review)),
            _microseconds(partial(encode, review, decision)),
        ]
        rows.append([sample.name, f"{len(body)}", *(f"{value:.1f}" for value in [*times, sum(times)])])
    return table(["review", "bytes", "decode µs", "decide µs", "encode µs", "sum µs"], rows)


def quantities() -> str:
    """Microseconds to compare, format and parse the usual values; parsing and formatting also without their caches."""
    small, large = parse_quantity("500m"), parse_quantity("4Gi")
    operations: dict[str, Callable[[], object]] = {
        "compare 500m with 4Gi": lambda: small <= large,
        "format 4Gi": lambda: format_quantity(large.nanos, "BinarySI"),
        "format 4Gi, not seen before": lambda: format_quantity.__wrapped__(large.nanos, "BinarySI"),
        "format 1500m, not seen before": lambda: format_quantity.__wrapped__(1_500_000_000, "DecimalSI"),
        "parse 350Mi of a pod": lambda: parse_json_quantity(b'"350Mi"'),
        "parse 350Mi of a pod, not seen before": lambda: parse_json_quantity.__wrapped__(b'"351Mi"'),
    }
    return table(["quantity", "µs"], [[name, f"{_microseconds(act):.2f}"] for name, act in operations.items()])


def profile(name: str, count: int = 20_000, lines: int = 25) -> str:
    """The core's functions by their own time. cProfile makes short calls look dearer than they are."""
    snapshot = _snapshot()
    body = next(sample.body for sample in SAMPLES if sample.name == name)
    profiler = cProfile.Profile()
    profiler.enable()
    for _ in range(count):
        review = decode(body)
        encode(review, snapshot.decide(review))
    profiler.disable()
    text = io.StringIO()
    pstats.Stats(profiler, stream=text).strip_dirs().sort_stats("tottime").print_stats(lines)
    return text.getvalue()


def _snapshot() -> Snapshot:
    return Snapshot(load_policies([Path(EXAMPLE_POLICIES)]))


def _microseconds(act: Callable[[], object]) -> float:
    """The median over repeats, each long enough for the clock."""
    count, elapsed = 1, 0.0
    gc.disable()
    try:
        while elapsed < _SECONDS:
            count *= 2
            elapsed = _time(act, count)
        return median(_time(act, count) for _ in range(_REPEATS)) / count * 1e6
    finally:
        gc.enable()


def _time(act: Callable[[], object], count: int) -> float:
    started = time.perf_counter()
    for _ in range(count):
        act()
    return time.perf_counter() - started
