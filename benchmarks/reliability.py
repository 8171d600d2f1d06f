"""What becomes of pods while the webhook changes or is hit: a steady stream of creations through a real API server.

Two replicas behind a balancer, registered with `failurePolicy: Fail`. Each case is done again and again for some
seconds while pods are created; the same stream with nothing else to do is the yardstick of its round.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory, mkdtemp

from benchmarks.flood import Flood
from benchmarks.measure import table
from benchmarks.servers import HERE
from tests.e2e.attackers import attacking, probed, rss_mib
from tests.e2e.cluster import Cluster, connected
from tests.e2e.control_plane import control_plane
from tests.e2e.deployment import Deployment, deployed, renewed, replace_authority, secret
from tests.e2e.pods import GREEDY
from tests.e2e.processes import eventually
from tests.e2e.registration import registered_for
from tests.e2e.service import make_certificates, serving
from tests.e2e.stream import Stream, steady_creations
from tests.programs import build

# As docs/operations.md has it, the drain time and the rollout but shorter.
PROBE_SECONDS = 2.0
OPTIONS = {"--drain-seconds": 5, "--policy-rollout-seconds": 5}

# Pods of the stream between two steps of a case.
SOME = 24

MAXIMA = (6, 2, 4)
OVERLOAD, CAPACITY_SECONDS = 3.0, 3.0
# Of an API server: as many requests as it works on at once by default, 400 and 200.
FEW_CONNECTIONS, MANY_CONNECTIONS = 16, 600


@dataclass(slots=True)
class Scene:
    """What a case acts upon, and what it has to say beside its row."""

    cluster: Cluster
    deployment: Deployment
    stream: Stream
    seconds: float
    notes: list[str] = field(default_factory=list)

    def folder(self) -> Path:
        return Path(mkdtemp(dir=self.cluster.plane.folder))


def nothing(scene: Scene) -> None:
    scene.stream.wait_for_more(SOME)


def restart(scene: Scene) -> None:
    scene.deployment.restart()


def kill(scene: Scene) -> None:
    scene.deployment.kill()
    scene.stream.wait_for_more(SOME)


def renew(scene: Scene) -> None:
    scene.deployment.mount_secret(secret(renewed(scene.cluster.service.certificates, scene.folder() / "renewed")))
    scene.stream.wait_for_more(SOME)


def issue_anew(scene: Scene) -> None:
    for issued in (secret(make_certificates(scene.folder())), scene.deployment.secret):
        replace_authority(scene.cluster, scene.deployment, issued, scene.stream, between=SOME)


def change_policies(scene: Scene) -> None:
    for maximum in MAXIMA:
        scene.deployment.change_maximum(maximum, scene.stream, between=3 * SOME)


def break_policy(scene: Scene) -> None:
    scene.deployment.mount_broken_policy()


def break_certificate(scene: Scene) -> None:
    of_another_key = secret(make_certificates(scene.folder()))["tls.crt"]
    scene.deployment.mount_broken_secret({**scene.deployment.secret, "tls.crt": of_another_key})
    scene.stream.wait_for_more(SOME)


def overload(scene: Scene) -> None:
    ca = str(scene.cluster.service.certificates.authority)
    ports = [replica.service.port for replica in scene.deployment.replicas]
    review = (HERE / "reviews" / "task-six-operations.json").read_text()
    answered = Flood(ca, ports, review, FEW_CONNECTIONS, CAPACITY_SECONDS).play()["200"]
    capacity = answered / CAPACITY_SECONDS
    outcomes = Flood(ca, ports, review, MANY_CONNECTIONS, scene.seconds, OVERLOAD * capacity).play()
    scene.notes.append(f"overload: capacity {capacity:.0f} a second; of {sum(outcomes.values())}: {dict(outcomes)}")


def siege(scene: Scene) -> None:
    """Every attack at once upon one of the replicas, which the other does not relieve of any of its connections."""
    besieged = scene.deployment.replicas[0].service
    before, probes, ends_at = rss_mib(besieged), 0, time.monotonic() + scene.seconds
    highest = before
    slowest = 0.0
    with attacking(scene.cluster.service.certificates, besieged.port, scene.seconds), probed(besieged) as failed:
        while time.monotonic() < ends_at:
            started = time.monotonic()
            besieged.ask("/readyz")
            slowest = max(slowest, time.monotonic() - started)
            highest = max(highest, rss_mib(besieged))
            probes += 1
            time.sleep(1)
    gave_way = sum(value for (name, _), value in besieged.metrics().items() if "ended_connections_total" in name)
    scene.notes.append(
        f"siege: {before:.0f} MiB, at most {highest:.0f}, {rss_mib(besieged):.0f} in the end; of {probes} probes"
        f" {len(failed)} failed, the slowest took {slowest:.1f} s; {gave_way:.0f} connections gave way so far"
    )


CASES: dict[str, Callable[[Scene], None]] = {
    "nothing": nothing,
    "rolling-restart": restart,
    "kill": kill,
    "new-certificate": renew,
    "new-authority": issue_anew,
    "policy-reload": change_policies,
    "broken-policy": break_policy,
    "broken-certificate": break_certificate,
    "overload": overload,
    "siege": siege,
}
YARDSTICK = "nothing"


@dataclass(frozen=True, slots=True)
class Played:
    """A case in one round: seconds of each creation, what failed, seconds of each time it was done."""

    latencies: Sequence[float]
    failures: Sequence[str]
    seconds: Sequence[float]

    @property
    def percentiles(self) -> tuple[float, float]:
        cuts = quantiles(self.latencies, n=100)
        return cuts[49], cuts[98]


def reliability(
    cases: Sequence[str], *, rounds: int, seconds: float, rate: float, options: Mapping[str, object]
) -> str:
    """A table of these cases, each done for `seconds` in each round while `rate` pods a second are created.

    `options` are further ones of both replicas.
    """
    played: dict[str, list[Played]] = {case: [] for case in (YARDSTICK, *cases)}
    with TemporaryDirectory() as folder, _scene(Path(folder), {**OPTIONS, **options}, seconds) as scene:
        for _ in range(rounds):
            for case, results in played.items():
                results.append(_play(scene, CASES[case], rate))
    head = ["case", "times", "each takes", "creations", "failed", "p50", "p99"]
    rows = [_row(case, results, played[YARDSTICK]) for case, results in played.items()]
    return "\n".join([table(head, rows), "", *scene.notes, *_failures(played)])


def _failures(played: Mapping[str, Sequence[Played]]) -> list[str]:
    """How often each case failed by what; the rest of the API server's words is mostly addresses."""
    counts = Counter(
        (case, text.rpartition(": ")[2])
        for case, results in played.items()
        for each in results
        for text in each.failures
    )
    return [f"{case}: {number} × {text}" for (case, text), number in counts.items()]


def _play(scene: Scene, case: Callable[[Scene], None], rate: float) -> Played:
    took: list[float] = []
    with steady_creations(scene.cluster, scene.stream.namespace, per_second=rate) as scene.stream:
        ends_at = time.monotonic() + scene.seconds
        while not took or time.monotonic() < ends_at:
            started = time.monotonic()
            case(scene)
            took.append(time.monotonic() - started)
    return Played([creation.seconds for creation in scene.stream.creations], scene.stream.failures, took)


def _row(case: str, results: Sequence[Played], yardstick: Sequence[Played]) -> list[str]:
    pairs = [(each.percentiles, other.percentiles) for each, other in zip(results, yardstick, strict=True)]
    ratios = [f"{median(ours[rank] / theirs[rank] for ours, theirs in pairs):.2f}" for rank in (0, 1)]
    if case == YARDSTICK:
        ratios = [f"{median(theirs[rank] for _, theirs in pairs) * 1e3:.0f} ms" for rank in (0, 1)]
    took = [seconds for each in results for seconds in each.seconds]
    return [
        case,
        f"{len(took)}",
        f"{median(took):.1f} s",
        f"{sum(len(each.latencies) for each in results):,}",
        f"{sum(len(each.failures) for each in results)}",
        *ratios,
    ]


@contextmanager
def _scene(folder: Path, options: Mapping[str, object], seconds: float) -> Iterator[Scene]:
    for name in ("plane", "certificates", "replicas"):
        (folder / name).mkdir()
    certificates = make_certificates(folder / "certificates")
    with (
        control_plane(build(), folder / "plane") as plane,
        serving(certificates, folder / "webhook.log") as service,
        connected(plane) as api,
        deployed(certificates, folder / "replicas", probe_seconds=PROBE_SECONDS, options=options) as deployment,
    ):
        cluster = Cluster(plane, service, api)
        namespace = cluster.namespace(labels={})
        with registered_for(cluster, namespace, deployment.url, "Fail"):
            eventually(lambda: cluster.try_out(namespace, GREEDY).warnings, "the API server asks")
            yield Scene(cluster, deployment, Stream(namespace), seconds)
