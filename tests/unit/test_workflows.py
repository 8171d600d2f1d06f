"""The workflows of .github/ run what there is: targets of the Makefile, files, supported versions, pinned actions."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from webhook import __version__

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FILE = re.compile(r"(?<![\w/.$-])(?:tools|requirements|charts|webhook|\.ci)/[\w./-]+")

Json = dict[str, Any]


def jobs(workflow: Path) -> Json:
    read: Json = yaml.safe_load(workflow.read_text())["jobs"]
    return read


def commands(workflow: Path) -> Iterator[str]:
    for job in jobs(workflow).values():
        yield from (step["run"] for step in job["steps"] if "run" in step)


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_runs_targets_and_files_that_there_are(workflow: Path) -> None:
    run = "\n".join(commands(workflow))
    targets = set(re.findall(r"^([a-z0-9]+):.*  ## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z]+)", run)) <= targets
    assert [name for name in FILE.findall(run) if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_an_action_is_pinned_by_its_commit_and_may_do_no_more_than_it_says(workflow: Path) -> None:
    for used in re.findall(r"uses: (.*)", workflow.read_text()):
        assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v[\d.]+", used)
    assert yaml.safe_load(workflow.read_text())["permissions"] in ({}, {"contents": "read"})


def test_ci_tries_every_supported_python_and_kubernetes() -> None:
    matrix = {
        key: value
        for job in jobs(WORKFLOWS[0]).values()
        for key, value in job.get("strategy", {}).get("matrix", {}).items()
    }
    classifiers = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', (ROOT / "pyproject.toml").read_text())
    assert matrix["python"] == classifiers
    folders = (ROOT / "tools" / "programs").glob("kubernetes-*")
    supported = sorted(folder.name.removeprefix("kubernetes-") for folder in folders)
    assert matrix["kubernetes"] == supported
    page = (ROOT / "docs" / "install.md").read_text()
    assert f"| {', '.join(reversed(supported))} | every test runs on it" in page


def test_a_release_finds_the_version_that_its_tag_must_name() -> None:
    found = re.search(r'^__version__ = "(.*)"$', (ROOT / "webhook" / "__init__.py").read_text(), re.MULTILINE)
    assert found is not None
    assert found[1] == __version__
