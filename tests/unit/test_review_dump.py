"""`task-resources review` of what `kubectl get pods -A -o json` prints: very many pods that are there already."""

import gc
import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from tests.unit.deciding import policy_set
from webhook.cli.main import main
from webhook.cli.review.inputs import Errors, Input, Inputs
from webhook.cli.review.output import print_results
from webhook.cli.review.progress import progress_bar
from webhook.cli.review.reviewed import Reviewed
from webhook.cli.review.reviewer import Reviewer
from webhook.cli.review.totals import Totals
from webhook.projects import SYSTEM_NAMESPACES, ProjectRule

Json = dict[str, Any]

ROOT = Path(__file__).parents[2]

POLICY = """
apiVersion: task-resources.io/v1alpha1
kind: TaskResourcePolicy
metadata: {name: platform}
spec: {container: {max: {cpu: "4", memory: 8Gi}}}
---
apiVersion: task-resources.io/v1alpha1
kind: TaskResourcePolicy
metadata: {name: vision}
spec: {scope: {project: vision}, onExceed: Deny}
"""

FITS = {"cpu": "2", "memory": "1Gi"}
LARGE = {"cpu": "8", "memory": "12.5Gi"}


def stored(name: str = "task", limits: Json | None = None, *, namespace: str = "x", phase: str = "Running") -> Json:
    """A pod as a dump has it."""
    amounts = FITS if limits is None else limits
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "uid": f"uid-of-{name}"},
        "spec": {
            "nodeName": "node-1",
            "containers": [{"name": "main", "resources": {"limits": amounts, "requests": amounts}}],
        },
        "status": {"phase": phase},
    }


def namespace(name: str, **labels: str) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": {f"task-resources.io/{key}": text for key, text in labels.items()}},
    }


def dump(*items: Any) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": list(items)}, indent=4)


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    file = tmp_path / "policy.yaml"
    file.write_text(POLICY)
    return file


def run(policy: Path, *arguments: str, stdin: str = "") -> Result:
    return CliRunner().invoke(main, ["review", "--policy", str(policy), *arguments], input=stdin)


def report(policy: Path, stdin: str, *arguments: str) -> Json:
    found: Json = json.loads(run(policy, "--summary", "-o", "json", *arguments, stdin=stdin).stdout)
    return found


def outcomes(policy: Path, *items: Json) -> list[tuple[str, str]]:
    return [(review["name"], review["outcome"]) for review in report(policy, dump(*items))["reviews"]]


ORDERS: dict[str, list[Json]] = {
    "namespaces-first": [namespace("x", project="vision"), stored(limits=LARGE)],
    "namespaces-last": [stored(limits=LARGE), namespace("x", project="vision")],
}


@pytest.mark.parametrize("items", ORDERS.values(), ids=ORDERS)
def test_namespaces_in_a_dump_say_the_project_of_its_pods(policy: Path, items: list[Json]) -> None:
    assert ("task", "denied") in outcomes(policy, *items)
    assert report(policy, dump(*items))["summary"]["projects"] == [
        {"project": "vision", "pods": 1, "changed": 0, "denied": 1, "unchanged": 0, "skipped": 0}
    ]


@pytest.mark.parametrize("write", [json.dumps, yaml.safe_dump], ids=["json", "yaml"])
def test_namespaces_in_one_file_count_for_pods_in_another(policy: Path, tmp_path: Path, write: Any) -> None:
    pods, namespaces = tmp_path / "pods.json", tmp_path / "namespaces"
    pods.write_text(dump(stored(limits=LARGE)))
    namespaces.write_text(write({"kind": "NamespaceList", "items": [namespace("x", project="vision")]}))
    reviews = json.loads(run(policy, "-o", "json", str(pods), str(namespaces)).stdout)["reviews"]
    assert [(review["kind"], review["outcome"]) for review in reviews] == [("Pod", "denied"), ("Namespace", "skipped")]


def test_labels_of_options_count_beside_those_of_namespaces(policy: Path) -> None:
    text = dump(namespace("x", project="vision", domain="staging"), stored())
    pod = report(policy, text, "--domain", "production")["reviews"][1]
    assert (pod["project"], pod["domain"]) == ("vision", "production")


def test_pods_that_have_ended_are_left_out_and_counted(policy: Path) -> None:
    text = dump(stored("a", LARGE, phase="Succeeded"), stored("b", LARGE, phase="Failed"), stored("c"))
    result = run(policy, "--summary", stdin=text)
    assert result.stdout.startswith("1 pod: 1 unchanged\n")
    assert result.stderr == "Left out because they have ended: 2 (--ended reviews them, too).\n"
    assert report(policy, text)["summary"]["ended"] == 2
    with_ended = run(policy, "--summary", "--ended", stdin=text)
    assert with_ended.stdout.startswith("3 pods: 2 changed, 1 unchanged\n")
    assert with_ended.stderr == ""


def test_what_an_earlier_review_wrote_is_information(policy: Path) -> None:
    """A pod is judged by what it asks for now: an annotation, and else what it has, not what it once had."""
    pod = stored(limits=LARGE)
    earlier = {"container": "main", "resource": "memory", "side": "limits", "from": "99Gi", "to": "12.5Gi",
               "rule": "maximum"}  # fmt: skip
    pod["metadata"]["annotations"] = {
        "task-resources.io/applied": json.dumps({"policy": "of-old", "changes": [earlier]}),
        "task-resources.io/limits": "memory=9Gi",
    }
    [review] = report(policy, dump(pod))["reviews"]
    limits = [change for change in review["changes"] if change["side"] == "limits"]
    assert [(change["resource"], change["from"], change["to"], change["asked"]) for change in limits] == [
        ("cpu", "8", "4", None),
        ("memory", "12.5Gi", "8Gi", "9Gi"),
    ]


def test_mirror_pods_are_skipped_and_pods_of_daemon_sets_are_bounded(policy: Path) -> None:
    mirror, daemon = stored("mirror", LARGE), stored("daemon", LARGE)
    mirror["metadata"]["annotations"] = {"kubernetes.io/config.mirror": "x"}
    daemon["metadata"]["ownerReferences"] = [{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d"}]
    assert outcomes(policy, mirror, daemon) == [("mirror", "skipped"), ("daemon", "changed")]


def test_pods_that_no_registration_asks_about_are_skipped(policy: Path) -> None:
    pods = [stored(name, LARGE, namespace=name) for name in SYSTEM_NAMESPACES]
    assert outcomes(policy, *pods) == [(name, "skipped") for name in SYSTEM_NAMESPACES]


def test_the_example_registers_for_no_namespace_of_these() -> None:
    for configuration in yaml.safe_load_all((ROOT / "examples" / "webhook-configuration.yaml").read_text()):
        for webhook in configuration["webhooks"]:
            expressions = webhook["namespaceSelector"]["matchExpressions"]
            [left_out] = [each["values"] for each in expressions if each["key"] == "kubernetes.io/metadata.name"]
            assert left_out[: len(SYSTEM_NAMESPACES)] == [*SYSTEM_NAMESPACES]


def test_manifests_of_such_a_namespace_are_reviewed(policy: Path) -> None:
    pod = stored(limits=LARGE, namespace="kube-system")
    del pod["metadata"]["uid"]
    assert outcomes(policy, pod) == [("task", "changed")]


def test_limit_ranges_have_been_applied_to_stored_pods(policy: Path) -> None:
    assert run(policy, stdin=dump(stored())).stderr == ""


def test_what_is_broken_in_the_middle_of_a_dump_is_named_and_the_rest_goes_on(policy: Path) -> None:
    without_containers, nameless = stored("empty"), {"apiVersion": "v1", "kind": "Pod"}
    without_containers["spec"]["containers"] = []
    text = dump(stored("a"), 7, stored("b", {"cpu": "lots"}), without_containers, nameless, stored("z", LARGE))
    for output, arguments in (("json", []), ("json", ["--summary"]), ("text", ["--summary"]), ("patch", [])):
        result = run(policy, "-o", output, *arguments, stdin=text)
        assert result.exit_code == 2
        errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
        assert [error.removeprefix("Error: standard input: ")[:40] for error in errors] == [
            "items[1] of the List is no object",
            "Pod x/b: spec.containers[0].resources.li",
            "Pod x/empty: has no containers",
            "Pod: spec is missing; accepted: a mappin",
        ]
    assert outcomes(policy, *json.loads(text)["items"][::5]) == [("a", "unchanged"), ("z", "changed")]


@pytest.mark.parametrize(
    ("items", "status"),
    [([stored()], 0), ([stored(), stored(limits=LARGE)], 1), ([stored(limits=LARGE, phase="Failed")], 0)],
    ids=["unchanged", "changed", "ended"],
)
@pytest.mark.parametrize("arguments", [["--summary"], ["-o", "json"], ["--summary", "-o", "json"], ["-o", "yaml"]])
def test_a_pipeline_may_fail_on_what_would_change(
    policy: Path, items: list[Json], status: int, arguments: list[str]
) -> None:
    assert run(policy, "--fail-on", "changed", *arguments, stdin=dump(*items)).exit_code == status


@pytest.mark.parametrize("count", [0, 1, 3])
def test_json_is_one_document_however_many_reviews_it_has(policy: Path, count: int) -> None:
    text = dump(*[stored(f"task-{number}", LARGE) for number in range(count)])
    for arguments in ([], ["--summary"]):
        printed = run(policy, "-o", "json", *arguments, stdin=text).stdout
        assert len(json.loads(printed)["reviews"]) == count
        assert printed == json.dumps(json.loads(printed), indent=2) + "\n"


def test_a_summary_reads_well(policy: Path) -> None:
    pods = [stored(str(number), LARGE, namespace=f"team{number % 40}-staging") for number in range(120)]
    lines = run(policy, "--summary", stdin=dump(*pods)).stdout.splitlines()
    assert lines[0] == "120 pods: 120 changed"
    assert lines[2:4] == [
        "  PROJECT  PODS  CHANGED  DENIED  UNCHANGED  SKIPPED",
        "  team0    3     3        0       0          0",
    ]
    assert "  and 15 more, all of them with -o json" in lines
    assert lines[-5:] == [
        "  RESOURCE  FIELD     LOWERED BY  RAISED BY",
        "  cpu       requests  480         -",
        "  cpu       limits    480         -",
        "  memory    requests  540Gi       -",
        "  memory    limits    540Gi       -",
    ]


def test_limits_that_bounded_nothing_are_changes_and_no_amounts(policy: Path) -> None:
    """An absent limit, or one of zero, was none: nothing says what it was lowered by."""
    pod = stored()
    pod["spec"]["containers"][0]["resources"] = {"limits": {"cpu": "0"}, "requests": {"cpu": "1", "memory": "1Gi"}}
    summary = report(policy, dump(pod))["summary"]
    assert {(change["resource"], change["count"]) for change in summary["changes"]} == {("cpu", 1), ("memory", 1)}
    assert summary["amounts"] == []


def _results(pages: Iterator[Input], totals: Totals) -> Iterator[Reviewed]:
    policies = policy_set("container: {max: {cpu: 4}}")
    reviewer = Reviewer(policies, ProjectRule(), totals, Errors(), namespace=None, labels={}, with_ended=False)
    with progress_bar(writes_results=True) as bar:
        yield from reviewer.reviews(Inputs(pages, {}), bar)


def test_inputs_are_read_as_their_results_are_asked_for() -> None:
    asked = []

    def pages() -> Iterator[Input]:
        for number in range(3):
            asked.append(number)
            yield Input("page", dump(stored(f"{number}-a"), stored(f"{number}-b")).encode())

    results = _results(pages(), Totals())
    assert asked == []
    names = [result.item.name for result in islice(results, 3)]
    assert (names, asked) == (["0-a", "0-b", "1-a"], [0, 1])


def _living() -> int:
    return sum(isinstance(each, Reviewed) for each in gc.get_objects())


@pytest.mark.parametrize("output", ["text", "json", "yaml"])
@pytest.mark.parametrize("has_totals", [True, False], ids=["summary", "all"])
def test_no_result_is_kept_once_it_is_written(output: Any, has_totals: bool, capsys: Any) -> None:
    gc.collect()
    before, alive, totals = _living(), [], Totals()
    page = Input("page", dump(*[stored(str(number), LARGE) for number in range(12)]).encode())

    def watched() -> Iterator[Reviewed]:
        for result in _results(iter([page]), totals):
            alive.append(_living() - before)
            yield result

    print_results(watched(), output, totals=totals if has_totals else None, color="never")
    assert len(alive) == 12
    assert max(alive) <= 3


def _on_terminal(policy: Path, file: Path, *, stdout: int | None) -> str:
    """What the program writes to a terminal that is its stderr, and its stdout, too, unless that goes elsewhere."""
    controller, terminal = pty.openpty()
    command = [sys.executable, "-m", "webhook", "review", "--policy", str(policy), "-o", "patch", str(file)]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen(
        command, stdout=terminal if stdout is None else stdout, stderr=terminal, cwd=ROOT, env=environment
    )
    os.close(terminal)
    written = b""
    try:
        while part := os.read(controller, 65536):
            written += part
    except OSError:  # Linux says EIO where the other end is closed
        pass
    finally:
        os.close(controller)
        process.wait(timeout=30)
    return written.decode()


def test_progress_is_shown_on_a_terminal_that_results_do_not_scroll_over(policy: Path, tmp_path: Path) -> None:
    file = tmp_path / "dump.json"
    file.write_text(dump(*[stored(str(number)) for number in range(200)]))
    assert "200/200" in _on_terminal(policy, file, stdout=subprocess.DEVNULL)
    assert "200/200" not in _on_terminal(policy, file, stdout=None)


def test_there_is_no_progress_in_a_pipeline(policy: Path, tmp_path: Path) -> None:
    file = tmp_path / "dump.json"
    file.write_text(dump(stored()))
    command = [sys.executable, "-m", "webhook", "review", "--policy", str(policy), "--summary", str(file)]
    environment = {**os.environ, "FORCE_COLOR": "1", "TERM": "xterm"}
    assert subprocess.run(command, capture_output=True, cwd=ROOT, env=environment, timeout=30).stderr == b""
