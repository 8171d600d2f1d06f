"""What it takes to know 100,000 namespaces: seconds until ready, memory, and what a review costs beside it.

The namespaces are those of an API server of the tests' own in a process of its own, which answers from memory, and
those of a real kube-apiserver with etcd, which takes longer to create them than to list them.
"""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from kubernetes import client

from benchmarks.measure import SAMPLES, Round, measure, ratio, table
from benchmarks.servers import EXAMPLE_POLICIES, Bench, Server, generator_core
from tests.e2e.cluster import connected
from tests.e2e.control_plane import ControlPlane, control_plane
from tests.programs import build
from tests.unit.namespace_server import DOMAIN, PROJECT, namespace_server

CREATED_AT_ONCE = 20
CHANGES = 50
DOMAINS = ("development", "staging", "production")


def namespaces(*, count: int, real: int, rounds: int, seconds: float) -> str:
    """`count` namespaces of a server in memory, and `real` ones of a kube-apiserver (0: none)."""
    with TemporaryDirectory() as directory:
        bench = Bench(Path(directory))
        bench.make_certificates()
        rows, costs = [], ""
        with _ready(bench, None) as (nobodys, took):
            rows.append(["none", *took])
            for title, labelled in (("without labels", False), ("project and domain each", True)):
                with _in_memory(count, labelled) as url, _ready(bench, _kubeconfig(bench, url)) as (theirs, taken):
                    rows.append([f"{count:,} in memory, {title}", *taken])
                    if labelled:
                        costs = _review_costs(nobodys, theirs, rounds, seconds)
        text = ""
        if real:
            with control_plane(build(), _folder(bench, "plane")) as plane:
                text = _create(plane, real)
                with _ready(bench, plane.kubeconfig("admin")) as (theirs, taken):
                    rows.append([f"{real:,} of a kube-apiserver", *taken])
                    text += "\n" + _latency(plane, theirs)
        head = ["namespaces", "ready after s", "CPU s until then", "RSS MiB"]
        return "\n\n".join(filter(None, [table(head, rows), costs, text]))


def _folder(bench: Bench, name: str) -> Path:
    folder = bench.directory / name
    folder.mkdir()
    return folder


@contextmanager
def _ready(bench: Bench, kubeconfig: Path | None) -> Iterator[tuple[Server, list[str]]]:
    """A webhook that is ready, and what it took."""
    started = time.perf_counter()
    name = "none" if kubeconfig is None else kubeconfig.stem
    with bench.webhook(EXAMPLE_POLICIES, name=name, kubeconfig=kubeconfig) as server:
        server.wait_until_ready()
        took = time.perf_counter() - started
        yield server, [f"{took:.1f}", f"{server.cpu_seconds():.1f}", f"{server.rss_mib():.0f}"]


def _review_costs(nobodys: Server, theirs: Server, rounds: int, seconds: float) -> str:
    body = next(sample.body for sample in SAMPLES if sample.name == "task-no-operations")
    bodies = [body.replace(b"flytesnacks-development", name.encode()) for name in _names(1000)]
    played: dict[str, list[Round]] = {nobodys.name: [], theirs.name: []}
    with generator_core():
        for number in range(rounds):
            for server in (nobodys, theirs) if number % 2 else (theirs, nobodys):
                played[server.name].append(measure(server, bodies, seconds=seconds))
    without, having = played.values()
    rate = ratio([r.per_second for r in having], [r.per_second for r in without])
    cpu = ratio([r.cpu_seconds for r in having], [r.cpu_seconds for r in without])
    return f"Reviews of 1,000 namespaces in turn, known to not asked for: rate {rate:.2f}, CPU {cpu:.2f}."


def _names(count: int) -> list[str]:
    return [f"project-{number // 3:05}-{DOMAINS[number % 3]}" for number in range(count)]


def _labels(name: str) -> dict[str, str]:
    project, _, domain = name.rpartition("-")
    return {PROJECT: f"team-{project}", DOMAIN: domain}


@contextmanager
def _in_memory(count: int, labelled: bool) -> Iterator[str]:
    """Where a server with so many namespaces answers."""
    processes = get_context("spawn")
    ours, theirs = processes.Pipe()
    process = processes.Process(target=_serve, args=(theirs, count, labelled))
    process.start()
    try:
        yield ours.recv()
    finally:
        ours.send("stop")
        process.join()


def _serve(told: Connection, count: int, labelled: bool) -> None:
    with namespace_server() as server:
        server.namespaces = {name: _labels(name) if labelled else {} for name in sorted(_names(count))}
        told.send(server.url)
        told.recv()


def _kubeconfig(bench: Bench, url: str) -> Path:
    file = bench.directory / f"memory-{url.rpartition(':')[2]}.kubeconfig"
    context = {"name": "a", "context": {"cluster": "a", "user": "a"}}
    given = {"clusters": [{"name": "a", "cluster": {"server": url}}], "users": [{"name": "a", "user": {}}]}
    file.write_text(yaml.safe_dump({"current-context": "a", "contexts": [context], **given}))
    return file


def _create(plane: ControlPlane, count: int) -> str:
    started = time.perf_counter()
    with connected(plane, connections=CREATED_AT_ONCE) as api, ThreadPoolExecutor(CREATED_AT_ONCE) as creators:
        core: Any = client.CoreV1Api(api)

        def create(name: str) -> None:
            core.create_namespace({"metadata": {"name": name, "labels": _labels(name)}}, _preload_content=False)

        for _ in creators.map(create, _names(count)):
            pass
    return f"The kube-apiserver took {time.perf_counter() - started:.0f} s to create them."


def _latency(plane: ControlPlane, server: Server) -> str:
    """How long after its creation a namespace is known."""
    seconds = []
    with connected(plane) as api:
        core: Any = client.CoreV1Api(api)
        for number in range(CHANGES):
            before = server.sample("task_resources_namespaces")
            core.create_namespace({"metadata": {"name": f"late-{number}"}})
            created = time.perf_counter()
            while server.sample("task_resources_namespaces") == before:
                pass
            seconds.append(time.perf_counter() - created)
    return f"A new namespace is known {median(seconds) * 1e3:.0f} ms after its creation is answered, in the median."
