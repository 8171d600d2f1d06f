"""`task-resources policy`: what it prints, and how it exits."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from webhook.cli.policy import policy

HEAD = "apiVersion: task-resources.io/v1alpha1\nkind: TaskResourcePolicy\nmetadata: {name: %s}\nspec:\n"


def run(*arguments: str | Path, **environment: str) -> Result:
    return CliRunner().invoke(policy, [str(argument) for argument in arguments], env=environment)


def written(folder: Path, name: str, *lines: str) -> Path:
    file = folder / f"{name}.yaml"
    file.write_text(HEAD % name + "".join(f"  {line}\n" for line in lines))
    return file


def test_a_good_set_passes_with_a_summary(tmp_path: Path) -> None:
    result = run("check", written(tmp_path, "a", "container: {max: {cpu: 1}}"))
    assert result.exit_code == 0
    assert result.output.startswith("1 policy in 1 file: no errors, no warnings (policy set ")


def test_errors_are_printed_one_a_line_and_exit_with_1(tmp_path: Path) -> None:
    file = written(tmp_path, "a", "foo: 1", "mode: x")
    result = run("check", file)
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert [line.split(": ")[:2] for line in lines[:2]] == [[f"{file}:5", "spec.foo"], [f"{file}:6", "spec.mode"]]
    assert lines[-1] == "2 errors in 1 file"


@pytest.mark.parametrize(
    "arguments",
    [("check",), ("check", "x", "--namespace-template", "nothing"), ("effective", "x"), ("effective",)],
    ids=["no path", "template", "no policy", "no namespace"],
)
def test_wrong_usage_exits_with_2(arguments: tuple[str, ...]) -> None:
    assert run(*arguments).exit_code == 2


@pytest.mark.parametrize(
    ("platform", "project", "warning"),
    [
        pytest.param(
            "container: {default: {cpu: 4}}",
            "container: {max: {cpu: 2}}",
            "a.yaml:5: warning: container.default.cpu 4 is above container.max.cpu 2 of policy b and lowered to it",
            id="default above the maximum",
        ),
        pytest.param(
            "container: {defaultRequest: {cpu: 1}}",
            "container: {min: {cpu: 2}}",
            "container.defaultRequest.cpu 1 is below container.min.cpu 2 of policy b and raised to it",
            id="default below the minimum",
        ),
        pytest.param(
            "container: {min: {cpu: 4}}",
            "container: {max: {cpu: 2}}",
            "container.min.cpu 4 is above container.max.cpu 2 of policy b and lowered to it",
            id="minimum above the maximum",
        ),
        pytest.param(
            "container: {defaultRequest: {cpu: 4}}",
            "container: {default: {cpu: 2}}",
            "container.defaultRequest.cpu 4 is above container.default.cpu 2 of policy b: the request will be",
            id="request above the limit",
        ),
        pytest.param(
            "pod: {max: {cpu: 4}}",
            "contact: x",
            "pod.max.cpu 4 does not bound limits that stay absent: set container.max.cpu, too (platform; project p)",
            id="a pod maximum alone",
        ),
        pytest.param(
            "container: {max: {cpu: 1}}\npod: {max: {cpu: 4}}",
            "missingLimit: Unset",
            "pod.max.cpu 4 does not bound limits that stay absent: missingLimit is Unset by policy b (project p)",
            id="a pod maximum with Unset",
        ),
        pytest.param(
            "container: {max: {tpu: 4}}",
            "scheduling: {resources: [{resource: google.com/tpu, alias: tpu}]}",
            "container.max.tpu says nothing: no policy for it has the alias tpu (platform)",
            id="an alias that is not in force",
        ),
    ],
)
def test_what_only_merging_brings_to_light_is_a_warning(
    tmp_path: Path, platform: str, project: str, warning: str
) -> None:
    written(tmp_path, "a", *platform.splitlines())
    written(tmp_path, "b", "scope: {project: p}", project)
    result = run("check", tmp_path)
    assert result.exit_code == 0
    assert warning in result.output
    assert result.output.splitlines()[-1].startswith("2 policies in 2 files: no errors, 1 warning (")


def test_what_a_pod_selector_policy_says_in_vain_is_a_warning(tmp_path: Path) -> None:
    written(tmp_path, "a", "container: {max: {cpu: 1}}")
    written(tmp_path, "b", "scope: {podSelector: {}}", "container: {max: {cpu: 2}, min: {cpu: null}}")
    output = run("check", tmp_path).output
    assert "container.max.cpu 2 has no effect: a policy with a podSelector can only lower 1 of policy a" in output
    assert "container.min.cpu null has no effect" in output


def test_every_value_is_shown_with_policy_file_and_line(tmp_path: Path) -> None:
    written(tmp_path, "a", "container: {max: {cpu: 2, memory: 1Gi}}", "quota: {requests.gpu: 8}")
    written(tmp_path, "b", "scope: {project: p}", "container:", "  max:", "    cpu: 1", "    memory: null")
    written(tmp_path, "c", "scope: {podSelector: {matchLabels: {x: y}}}", "container: {max: {cpu: 500m}}")
    text = run("effective", "p-staging", "--policy", tmp_path).output
    rows = [line.split() for line in text.splitlines()]
    assert rows[0][:6] == ["namespace", "p-staging:", "project", "p,", "domain", "staging"]
    assert ["container.max.cpu", "1", "b", "project", "p", f"{tmp_path}/b.yaml:8"] in rows
    assert ["container.max.memory", "null", "b", "project", "p", f"{tmp_path}/b.yaml:9"] in rows
    assert ["mode", "Enforce", "built-in", "default"] in rows
    assert ["quota.requests.nvidia.com/gpu", "8", "a", "platform", f"{tmp_path}/a.yaml:6"] in rows
    assert ["container.max.cpu", "500m", "c", "pods", "with", "x=y", f"{tmp_path}/c.yaml:6"] in rows


def test_the_same_as_json_by_labels_and_the_environment(tmp_path: Path) -> None:
    file = written(tmp_path, "b", "scope: {project: q}", "contact: '#q'")
    labels = "task-resources.io/project=q"
    result = run("effective", "x", "-o", "json", "--namespace-labels", labels, TASK_RESOURCES_POLICY=str(file))
    answer = json.loads(result.stdout)
    assert (answer["namespace"], answer["project"], answer["domain"], answer["pods"]) == ("x", "q", None, [])
    contact = {"field": "contact", "value": "#q", "policy": "b", "scope": "project q", "file": str(file), "line": 6}
    assert contact in answer["values"]


def test_policies_that_cannot_be_used_exit_with_2_and_all_errors_on_stderr(tmp_path: Path) -> None:
    result = run("effective", "x", "--policy", written(tmp_path, "a", "foo: 1", "bar: 2"))
    assert (result.exit_code, result.stdout) == (2, "")
    assert len(result.stderr.splitlines()) == 2
