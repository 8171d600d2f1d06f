"""What is measured of a server and a review, and how two servers compare."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median, quantiles

from benchmarks.load import pace, saturate
from benchmarks.servers import HERE, Server

CONNECTIONS = 8
# Slow enough for the slowest server and the largest review, so that latency is not queueing.
PACED_PER_SECOND = 100.0
BOTTLENECK = 0.95


@dataclass(frozen=True, slots=True)
class Sample:
    """A review and what the example policies make of it: how many operations the answer has."""

    name: str
    operations: int

    @property
    def body(self) -> bytes:
        return (HERE / "reviews" / f"{self.name}.json").read_bytes()

    def bodies(self, first: int = 0, count: int = 256) -> list[bytes]:
        """The review `count` times with uids of their own, from number `first`: no two neighbours are equal bytes."""
        head, quote, rest = self.body.partition(b'"uid":"')
        return [head + quote + b"%036d" % number + rest[36:] for number in range(first, first + count)]


SAMPLES = (
    Sample("small", 3),
    Sample("task-no-operations", 0),
    Sample("task-six-operations", 6),
    Sample("large", 4),
)


@dataclass(frozen=True, slots=True)
class Round:
    """One server and one review in one round: reviews a second at saturation, server CPU seconds a review, latencies
    in seconds at a fixed low rate, RSS in MiB, and how busy the generator was (0 to 1)."""

    per_second: float
    cpu_seconds: float
    latencies: tuple[float, ...]
    rss_mib: float
    generator_busy: float


def measure(server: Server, reviews: Sequence[bytes], *, seconds: float) -> Round:
    """Saturate the server for `seconds`, then pace it for half of that."""
    saturate(server.target, reviews, connections=CONNECTIONS, seconds=seconds / 10)
    cpu = server.cpu_seconds()
    load = saturate(server.target, reviews, connections=CONNECTIONS, seconds=seconds)
    cpu = server.cpu_seconds() - cpu
    paced = pace(server.target, reviews[0], connections=CONNECTIONS, rate=PACED_PER_SECOND, seconds=seconds / 2)
    return Round(load.per_second, cpu / load.reviews, paced.latencies, server.rss_mib(), load.generator_busy)


def ratio(ours: Iterable[float], theirs: Iterable[float]) -> float:
    """The median over the rounds of ours / theirs, each pair from one round."""
    return median(a / b for a, b in zip(ours, theirs, strict=True))


def percentile(rounds: Sequence[Round], percent: int) -> float:
    """A percentile of the latencies of all rounds together, in seconds."""
    return quantiles([latency for r in rounds for latency in r.latencies], n=100)[percent - 1]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, readable as it stands."""
    lines = [list(head), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join("| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in lines)
