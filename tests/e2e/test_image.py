"""What the image holds, installed here by the step of the Dockerfile that installs it there."""

import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.processes import free_ports, running
from tests.e2e.service import POLICIES, Certificates, is_ready

# It installs everything twice, from the registry of packages.
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
LEFT_OUT = ("pip", "hatchling", "aiohttp", "kubernetes/aio", "kubernetes/client/api/apps_v1_api.py")


QUOTA = """
apiVersion: task-resources.io/v1alpha1
kind: TaskResourcePolicy
metadata: {name: quota}
spec: {scope: {}, quota: {pods: 5}}
"""


def install(folder: Path) -> None:
    environment = {**os.environ, "PYTHON": sys._base_executable, "SOURCE_DATE_EPOCH": "1764000000"}  # type: ignore[attr-defined] # undocumented
    subprocess.run([ROOT / "tools" / "image.sh", folder], check=True, env=environment)


def contents(folder: Path) -> Mapping[str, tuple[object, ...]]:
    """Each file's mode, time, and bytes or target."""

    def content(path: Path) -> bytes | Path | None:
        if path.is_symlink():
            return path.readlink()
        return path.read_bytes() if path.is_file() else None

    def entry(path: Path) -> tuple[object, ...]:
        status = path.lstat()
        return stat.filemode(status.st_mode), status.st_mtime, content(path)

    return {str(path.relative_to(folder)): entry(path) for path in folder.rglob("*")}


@pytest.fixture(scope="module")
def twice(tmp_path_factory: pytest.TempPathFactory) -> Sequence[Path]:
    """What two builds in one place come to; the second is still there."""
    folder = tmp_path_factory.mktemp("opt") / "webhook"
    install(folder)
    first = folder.rename(folder.with_name("first"))
    install(folder)
    return first, folder


@pytest.fixture(scope="module")
def installed(twice: Sequence[Path]) -> Path:
    return twice[1]


def program(installed: Path, *arguments: str) -> list[str]:
    """A command that sees nothing but what is installed."""
    return [str(installed / "bin" / "python"), "-I", "-m", "webhook", *arguments]


def test_the_same_commit_makes_the_same_bytes_modes_and_times(twice: Sequence[Path]) -> None:
    first, second = map(contents, twice)
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []
    assert {time for _, time, _ in second.values()} == {1764000000}


def test_nothing_is_in_it_that_is_not_run(installed: Path) -> None:
    programs = {path.name for path in (installed / "bin").iterdir() if not path.name.startswith("python")}
    assert programs == {"task-resources"}
    packages = next(installed.glob("lib/python*/site-packages"))
    assert [name for name in LEFT_OUT if (packages / name).exists()] == []


def test_everything_is_compiled_once(installed: Path) -> None:
    packages = next(installed.glob("lib/python*/site-packages"))
    assert list(packages.rglob("*.pyc")) == []
    compiled = {path.name.partition(".")[0] for path in (installed / "pycache").rglob("*.pyc")}
    assert compiled >= {path.stem for path in packages.rglob("*.py")} | {"asyncio", "ssl", "json"}


def test_every_package_is_in_the_list_of_what_is_in_it(installed: Path) -> None:
    # That it follows CycloneDX' schema is checked as it is written.
    listed = json.loads((installed / "sbom.cdx.json").read_text())
    packages = {re.sub("[-_.]+", "-", f"{part['name']}".lower()): part["version"] for part in listed["components"]}
    folders = [path.name.removesuffix(".dist-info").rpartition("-") for path in installed.rglob("*.dist-info")]
    there = {re.sub("[-_.]+", "-", name.lower()): version for name, _, version in folders}
    itself = listed["metadata"]["component"]
    assert packages | {itself["name"]: itself["version"]} == there
    assert all(part["licenses"] for part in listed["components"])
    assert listed["metadata"]["timestamp"].startswith("2025-11-24T")


def test_it_serves_by_the_namespaces_of_a_cluster(
    installed: Path, cluster: Cluster, certificates: Certificates, tmp_path: Path
) -> None:
    port, management_port = free_ports(2)
    certificate, key = map(str, certificates.pair)
    options = (
        f"--host 127.0.0.1 --port {port} --management-port {management_port} --namespaces cluster --drain-seconds 0"
    )
    command = program(installed, "serve", *options.split(), "--policy", str(POLICIES))
    service = running(
        [*command, "--tls-cert", certificate, "--tls-key", key],
        tmp_path / "serve.log",
        is_ready=lambda: is_ready(f"http://127.0.0.1:{management_port}"),
        environment={"KUBECONFIG": str(cluster.plane.kubeconfig("admin"))},
    )
    with service:
        pass


@pytest.mark.parametrize("asking", ["review --namespace default", "policy effective default"])
def test_it_asks_a_cluster(installed: Path, cluster: Cluster, asking: str) -> None:
    options = ["--cluster", "--policy", str(POLICIES), "--kubeconfig", str(cluster.plane.kubeconfig("admin"))]
    done = subprocess.run(program(installed, *asking.split(), *options), capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_it_applies_quotas_to_a_cluster(installed: Path, cluster: Cluster, tmp_path: Path) -> None:
    namespace = cluster.namespace()
    policy = tmp_path / "policy.yaml"
    policy.write_text(QUOTA)
    options = ["--apply", "--policy", str(policy), "--kubeconfig", str(cluster.plane.kubeconfig("admin"))]
    done = subprocess.run(
        program(installed, "policy", "quotas", namespace, *options), capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{namespace}: created")
