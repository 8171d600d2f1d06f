"""200,000 reviews, each of another pod and many namespaces: memory that only grows with what was seen would show."""

from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.load import saturate
from benchmarks.measure import CONNECTIONS, SAMPLES, table
from benchmarks.servers import EXAMPLE_POLICIES, Bench, generator_core

REVIEWS = 200_000
SAMPLINGS = 20
NAMESPACES = 20_000
MOST_MIB = 80.0
# What allocators breathe in and out; a leak of 100 bytes a review would come to 10 MiB.
STEADY_MIB = 2.0


def soak(reviews: int = REVIEWS) -> tuple[str, bool]:
    """RSS over the run, and whether it stayed within bounds and did not grow in the second half."""
    with TemporaryDirectory() as directory:
        bench = Bench(Path(directory))
        bench.make_certificates()
        with bench.webhook(EXAMPLE_POLICIES) as server, generator_core():
            rss = [server.rss_mib()]
            for step in range(SAMPLINGS):
                bodies = _bodies(step, reviews // SAMPLINGS)
                saturate(server.target, bodies, connections=CONNECTIONS, count=reviews // SAMPLINGS)
                rss.append(server.rss_mib())
    growth = rss[-1] - rss[SAMPLINGS // 2]
    is_fine = max(rss) <= MOST_MIB and growth <= STEADY_MIB
    rows = [[f"{step * reviews // SAMPLINGS:,}", f"{mib:.1f}"] for step, mib in enumerate(rss)]
    verdict = f"{'fine' if is_fine else 'too much'}: {max(rss):.0f} MiB at most, {growth:+.1f} MiB in the second half"
    return f"{table(['reviews', 'RSS MiB'], rows)}\n\n{verdict}", is_fine


def _bodies(step: int, count: int) -> list[bytes]:
    """Reviews that the server has not seen: new uids, namespaces and amounts of memory."""
    bodies = []
    for number in range(step * count, (step + 1) * count):
        body = SAMPLES[number % len(SAMPLES)].bodies(number, 1)[0]
        body = body.replace(b"flytesnacks-development", b"snacks%05d-development" % (number % NAMESPACES))
        bodies.append(body.replace(b'"350Mi"', b'"%dKi"' % (300_000 + number)))
    return bodies
