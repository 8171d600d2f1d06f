"""10,000 project policies against one: what a review costs must not depend on how many policies there are."""

import time
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.measure import SAMPLES, Round, measure, percentile, ratio, table
from benchmarks.servers import Bench, Server, generator_core

POLICIES = 10_000
_PER_FILE = 500
_NAMESPACES = 1_000

_POLICY = """\
apiVersion: task-resources.io/v1alpha1
kind: TaskResourcePolicy
metadata: {{name: project-{number}}}
spec:
  scope: {scope}
  contact: "#project-{number}"
  container:
    defaultRequest: {{cpu: 500m, memory: 500Mi}}
    max: {{cpu: "4", memory: {gibibytes}Gi}}
"""


def scale(*, rounds: int, seconds: float) -> str:
    """One policy and 10,000 side by side: one busy namespace, and 1,000 namespaces in turn."""
    with TemporaryDirectory() as directory:
        bench = Bench(Path(directory))
        bench.make_certificates()
        one, many = bench.directory / "one", bench.directory / "many"
        write_platform_policy(one)
        write_project_policies(many, POLICIES)
        with bench.webhook(one, name="1") as small:
            before = time.perf_counter()
            with bench.webhook(many, name=f"{POLICIES}") as large, generator_core():
                start = f"{POLICIES:,} policies are read in {time.perf_counter() - before:.0f} s at the start."
                return f"{_play(small, large, rounds, seconds)}\n\n{start}"


def write_platform_policy(folder: Path) -> None:
    """One policy for everybody, so that the same pods are changed as by those of the projects."""
    folder.mkdir()
    (folder / "platform.yaml").write_text(_POLICY.format(number=0, scope="{}", gibibytes=4))


def write_project_policies(folder: Path, count: int) -> None:
    """`count` policies, each of a project of its own, 500 to a file."""
    folder.mkdir()
    for first in range(0, count, _PER_FILE):
        numbers = range(first, min(first + _PER_FILE, count))
        texts = [
            _POLICY.format(number=number, scope=f"{{project: project-{number:05}}}", gibibytes=4 + number % 8)
            for number in numbers
        ]
        (folder / f"{first:05}.yaml").write_text("---\n".join(texts))


def _play(small: Server, large: Server, rounds: int, seconds: float) -> str:
    body = next(sample.body for sample in SAMPLES if sample.name == "task-six-operations")
    names = [b"project-%05d-development" % number for number in range(_NAMESPACES)]
    bodies = [body.replace(b"flytesnacks-development", name) for name in names]
    rows = []
    for title, reviews in (("one namespace", bodies[:1]), (f"{_NAMESPACES} namespaces", bodies)):
        played: dict[str, list[Round]] = {}
        for number in range(rounds):
            for server in (small, large) if number % 2 else (large, small):
                played.setdefault(server.name, []).append(measure(server, reviews, seconds=seconds))
        ours, theirs = played[large.name], played[small.name]
        rows.append(
            [
                title,
                f"{ratio([r.per_second for r in ours], [r.per_second for r in theirs]):.2f}",
                f"{ratio([r.cpu_seconds for r in ours], [r.cpu_seconds for r in theirs]):.2f}",
                f"{percentile(ours, 99) / percentile(theirs, 99):.2f}",
                f"{theirs[-1].rss_mib:.0f} and {ours[-1].rss_mib:.0f}",
            ]
        )
    return table([f"{POLICIES:,} policies to 1", "rate", "CPU", "p99", "RSS MiB"], rows)
