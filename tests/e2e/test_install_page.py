"""docs/install.md, followed from its first command to its last one in a cluster where nothing is installed yet."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.chart.rendering import NAME, NAMESPACE
from tests.e2e.helm import QUICK, Site, site
from tests.e2e.processes import NotInTime, eventually
from tests.pages import commands, is_shown

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "install.md"
BLOCK = re.compile(r"^```(console|yaml)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


# What is not here: a builder and a registry, and a kubelet that forwards ports.
NOT_HERE = ("docker ", "kubectl port-forward ")

# Questions, which are asked until they are answered as on the page: policies come into force a little later.
QUESTIONS = re.compile(r"kubectl (get|logs|rollout status) |kubectl create .* --dry-run=server")
PATIENCE_SECONDS = 20.0


@dataclass(frozen=True)
class Reader:
    """Somebody with a clone, a cluster, and the programs that the page names."""

    site: Site
    folder: Path
    url: str

    def follow(self) -> Iterator[str]:
        """Each command that was run, in the page's order; files are written where they are shown."""
        for block in BLOCK.finditer(PAGE.read_text()):
            language, text = block.groups()
            if language == "yaml":
                (self.folder / text.split("\n")[0].removeprefix("# ")).write_text(text)
            else:
                for command, output in commands(text):
                    if not command.startswith(NOT_HERE):
                        self.run(command, output)
                        yield command

    def run(self, command: str, shown: list[str]) -> None:
        """Runs a command, which has to print what is shown."""
        printed = ""

        def is_as_shown() -> bool:
            nonlocal printed
            printed = self.printed(command)
            return is_shown(shown, printed)

        seconds = PATIENCE_SECONDS if QUESTIONS.match(command) else 0.0
        try:
            eventually(is_as_shown, command, seconds=seconds)
        except NotInTime:
            pytest.fail(f"$ {command}\n{printed}")

    def printed(self, command: str) -> str:
        """What a shell prints; a command that fails says so at the end."""
        command = command.replace("https://localhost:8443", self.url)
        result = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command],
            cwd=self.folder,
            env={
                **os.environ,
                "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
                "HOME": str(self.folder),
                "KUBECONFIG": str(self.site.plane.kubeconfig("admin")),
                "PYTHONPATH": str(ROOT),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=100,
        )
        failed = f"\nexit status {result.returncode}" if result.returncode else ""
        return "\n".join(line.rstrip() for line in result.stdout.rstrip("\n").split("\n")) + failed


@pytest.fixture
def reader(tmp_path: Path, programs: Mapping[str, str]) -> Iterator[Reader]:
    """The API server reaches no Service, so Helm is given a URL; and nobody has the time for a rollout of policies."""
    plane, folder = tmp_path / "plane", tmp_path / "clone"
    for each in (plane, folder, folder / "bin"):
        each.mkdir()
    (folder / "charts").symlink_to(ROOT / "charts")
    with site(programs, plane) as cluster, cluster.service(NAMESPACE, NAME) as url:
        given = " ".join(f"--set {path}={value}" for path, value in {**QUICK, "webhooks.url": url}.items())
        scripts = {
            "helm": f'case $1 in install | upgrade) set -- "$@" {given};; esac\nexec {programs["helm"]} "$@"',
            "kubectl": f'exec {programs["kubectl"]} "$@"',
            "task-resources": f'exec {sys.executable} -m webhook "$@"',
        }
        for name, script in scripts.items():
            program = folder / "bin" / name
            program.write_text(f"#!/bin/sh\n{script}\n")
            program.chmod(0o755)
        yield Reader(cluster, folder, url)


def test_the_page_leads_from_nothing_to_a_bounded_pod_and_back(reader: Reader) -> None:
    followed = list(reader.follow())
    assert any(command.startswith("helm uninstall") for command in followed)
    assert set(reader.site.kubelet.exit_codes) == {0}
