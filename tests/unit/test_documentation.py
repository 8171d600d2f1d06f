"""What the README and the pages of docs/ show is what happens: every example in them is read or run here."""

import argparse
import json
import os
import re
import shlex
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.pages import commands, is_shown
from tests.unit.deciding import Json, container, decided, denial, patched, pod, resources_after, sidecar
from webhook.manifests import PATCHED_FIELDS
from webhook.sources.policy_files import load_policies

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("*/*.md"), *ROOT.glob("charts/*/*.md")])
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.DOTALL | re.MULTILINE)
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")

# Commands that need neither a cluster nor a registry; the others in the pages are for people. Those of docs/install.md
# are followed in a cluster, by tests/e2e/test_install_page.py.
RUNNABLE = ("task-resources review ", "task-resources policy ", "task-resources --help")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page: where it stands, its language, its text."""

    place: str
    language: str
    text: str


def _blocks(*languages: str) -> Iterator[Any]:
    for page in PAGES:
        text = page.read_text()
        for fence in FENCE.finditer(text):
            if fence[1] in languages:
                place = f"{page.relative_to(ROOT)}:{text.count(chr(10), 0, fence.start()) + 1}"
                yield pytest.param(Block(place, fence[1], fence[2]), id=place)


def _is_rule_example(block: Block) -> bool:
    return any(f"\n{outcome}:" in block.text for outcome in ("becomes", "scheduled", "denied"))


YAML = [*_blocks("yaml")]
RULES = [param for param in YAML if _is_rule_example(param.values[0])]
MANIFESTS = [param for param in YAML if not _is_rule_example(param.values[0])]


def _pod(resources: dict[str, Json | None], annotations: Json | None, spec: Json) -> Json:
    """The pod of an example: `init …` and `sidecar …` are init containers, `pod` is its own level."""
    regular, init, spec = [], [], {**spec}
    for key, amounts in resources.items():
        match key.split(" "):
            case ["pod"]:
                spec["resources"] = amounts
            case ["init", name]:
                init.append(container(name, **(amounts or {})))
            case ["sidecar", name]:
                init.append(sidecar(name, **(amounts or {})))
            case _:
                regular.append(container(key, **(amounts or {})))
    return pod(*regular, init=init, annotations=annotations, **spec)


def _as_stored(key: str, resources: Json) -> Json:
    """As the API server stores a container's resources: without empty maps, absent requests filled in."""
    limits = resources.get("limits", {})
    requests = resources.get("requests", {}) if key == "pod" else {**limits, **resources.get("requests", {})}
    return {side: amounts for side, amounts in (("limits", limits), ("requests", requests)) if amounts}


@pytest.mark.parametrize("block", RULES)
def test_an_example_of_a_rule_comes_out_as_the_page_says(block: Block) -> None:
    example = yaml.safe_load(block.text)
    given = _pod(example["pod"], example.get("annotations"), example.get("spec", {}))
    if "denied" in example:
        assert denial(given, example["policy"]).replace("policy-0", "example") == example["denied"]
    elif "scheduled" in example:
        spec = patched(given, decided(given, example["policy"]))["spec"]
        assert {field: spec[field] for field in PATCHED_FIELDS if field in spec} == example["scheduled"]
    else:
        running = {"old": _pod(example["running"], None, {})} if "running" in example else {}
        after = resources_after(given, example["policy"], **running)
        stored = {name: _as_stored(name, resources) for name, resources in after.items()}
        assert stored == {key.split(" ")[-1]: amounts for key, amounts in example["becomes"].items()}


@pytest.mark.parametrize("block", MANIFESTS)
def test_a_yaml_block_can_be_used_as_it_stands(block: Block, tmp_path: Path) -> None:
    documents = [*yaml.safe_load_all(block.text)]
    if any(isinstance(d, dict) and d.get("kind") == "TaskResourcePolicy" for d in documents):
        path = tmp_path / "policies.yaml"
        path.write_text(block.text)
        assert len(load_policies([path]).documents) == len(documents)
    if any(isinstance(d, dict) and d.get("kind") == "TaskResourcePolicyTest" for d in documents):
        assert EXAMPLES[block.text].parent.name == "policy-tests"


EXAMPLES = {path.read_text(): path for path in ROOT.glob("examples/*/*.yaml")}


@pytest.mark.parametrize("block", [param for param in MANIFESTS if "docs/gpus.md" in param.values[0].place])
def test_the_page_about_gpus_shows_the_files_that_it_names(block: Block) -> None:
    assert EXAMPLES[block.text].parent.name == "gpus"


@pytest.mark.parametrize("block", [*_blocks("json")])
def test_a_json_block_is_json(block: Block) -> None:
    json.loads(block.text)


CONSOLE = [
    pytest.param(command, output, id=f"{param.id}-{index}")
    for param in _blocks("console")
    for index, (command, output) in enumerate(commands(param.values[0].text))
    if command.removeprefix(".venv/bin/").startswith(RUNNABLE) and "docs/install.md" not in str(param.id)
]


@pytest.mark.parametrize(("command", "output"), CONSOLE)
def test_a_command_prints_what_the_page_shows(command: str, output: list[str]) -> None:
    arguments = shlex.split(command)[1:]
    result = subprocess.run(
        [sys.executable, "-m", "webhook", *arguments],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "120", "NO_COLOR": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )
    printed = "\n".join(line.rstrip() for line in result.stdout.rstrip("\n").split("\n"))
    assert is_shown(output, printed), printed


CURLS = [
    pytest.param(command, output, id=f"{param.id}-{index}")
    for param in _blocks("console")
    for index, (command, output) in enumerate(commands(param.values[0].text))
    if command.startswith("curl ")
]


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def development(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, str]]]:
    """What `make run` starts, in a folder that has examples/: the folder, and where its ports are instead."""
    folder = tmp_path_factory.mktemp("clone")
    (folder / "examples").symlink_to(ROOT / "examples")
    ports = {"8443": str(_free_port()), "8080": str(_free_port())}
    options = ["--dev", "--port", ports["8443"], "--management-port", ports["8080"]]
    server = subprocess.Popen(
        [sys.executable, "-m", "webhook", "serve", *options], cwd=folder, stderr=subprocess.PIPE, text=True
    )
    try:
        assert server.stderr is not None
        for line in server.stderr:  # it says when it serves
            if "curl" in line:
                break
        yield folder, ports
    finally:
        server.terminate()
        server.communicate(timeout=30)


@pytest.mark.parametrize(("command", "output"), CURLS)
def test_a_request_is_answered_as_the_page_shows(
    command: str, output: list[str], development: tuple[Path, dict[str, str]]
) -> None:
    folder, ports = development
    for port, instead in ports.items():
        command = command.replace(f"localhost:{port}", f"localhost:{instead}")
    answer = _curl(command, folder)
    assert is_shown(output, answer), answer


def _curl(command: str, folder: Path) -> str:
    """What curl prints, as far as the pages use it: not every machine has it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--cacert")
    parser.add_argument("--header", "-H", action="append", default=[])
    parser.add_argument("--data-binary")
    parser.add_argument("url")
    given = parser.parse_args(shlex.split(command)[1:])
    trusted = ssl.create_default_context(cafile=folder / given.cacert) if given.cacert else True
    headers = dict(header.split(": ", 1) for header in given.header)
    if given.data_binary is None:
        return httpx.get(given.url, verify=trusted, headers=headers).text
    body = (folder / given.data_binary.removeprefix("@")).read_bytes()
    return httpx.post(given.url, verify=trusted, headers=headers, content=body).text


def _anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives a page's headings."""
    text = FENCE.sub("", page.read_text())
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in HEADING.findall(text)}


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_links_lead_somewhere(page: Path) -> None:
    lost = []
    for link in LINK.findall(FENCE.sub("", page.read_text())):
        if "://" in link or link.startswith("mailto:"):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            lost.append(link)
    assert not lost
