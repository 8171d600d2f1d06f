"""What pods cost that grow in two dimensions at once, next to an ordinary pod of their size (Bounded work).

In one process, without a network. CPU time by the byte: the ordinary pod has a hundred containers with variables.
"""

import time
from itertools import combinations

from benchmarks.measure import table
from tests.unit.deciding import container, pod, policy_set, review_body
from tests.unit.growing import DIMENSIONS, POLICY, body_of, grown_in
from webhook.admission import InvalidReview, decode, encode
from webhook.decision import Endpoint
from webhook.resources import InvalidPod
from webhook.snapshot import Snapshot

SIZES = (30, 120, 900)
# What an API server lets through.
LARGEST_BYTES = 3 * 2**20
WORST = 12


def hostile() -> str:
    """The worst pairs of dimensions, of all, by their cost next to an ordinary pod's."""
    snapshots = {mode: Snapshot(policy_set(f"onExceed: {mode}\n{POLICY}")) for mode in ("Cap", "Deny")}
    ordinary = _ordinary()
    by_the_byte = _seconds(snapshots["Cap"], ordinary, "mutate") / len(ordinary)
    found: list[tuple[float, list[str]]] = []
    for first, second in combinations(DIMENSIONS, 2):
        for size in SIZES:
            for kind in ("mutate", "validate", "resize"):
                body = body_of(grown_in(first, second, size), kind, is_resize=kind == "resize")
                if len(body) > LARGEST_BYTES:
                    continue
                for mode, snapshot in snapshots.items():
                    seconds = _seconds(snapshot, body, "validate" if kind == "validate" else "mutate")
                    ratio = seconds / len(body) / by_the_byte
                    words = [f"{first}, {second}", kind, mode, f"{len(body):,}", f"{seconds * 1e3:.1f}", f"{ratio:.1f}"]
                    found.append((ratio, words))
    worst = sorted(found, reverse=True)[:WORST]
    head = ["grown", "look", "onExceed", "bytes", "CPU ms", "to an ordinary pod of its size"]
    return f"{table(head, [words for _, words in worst])}\n\nThe worst of {len(found):,}."


def _ordinary() -> bytes:
    variables = [{"name": f"VARIABLE_{index}", "value": "some value of it"} for index in range(30)]
    limits = {"cpu": "8", "memory": "16Gi"}
    return review_body(pod(*[container(f"c{index}", limits=limits, env=variables) for index in range(100)]))


def _seconds(snapshot: Snapshot, body: bytes, endpoint: Endpoint) -> float:
    """The least of two, so that caches are filled."""
    return min(_once(snapshot, body, endpoint) for _ in range(2))


def _once(snapshot: Snapshot, body: bytes, endpoint: Endpoint) -> float:
    started = time.process_time()
    try:
        review = decode(body)
        encode(review, snapshot.decide(review, endpoint))
    except (InvalidReview, InvalidPod):
        pass
    return time.process_time() - started
