"""`task-resources policy test`: what is compared, how a failure reads, and what the format accepts."""

import json
from pathlib import Path
from textwrap import indent
from typing import Any
from xml.etree import ElementTree

import jsonschema
import pytest
import yaml
from click.testing import CliRunner, Result

from webhook.cli.main import main
from webhook.policy_test_document import schema_text

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "webhook" / "policy-test.schema.json"

HEAD = "apiVersion: task-resources.io/v1alpha1\nkind: TaskResourcePolicyTest\n"
POLICY = """\
apiVersion: task-resources.io/v1alpha1
kind: TaskResourcePolicy
metadata: {name: platform}
spec:
  container: {defaultRequest: {cpu: 500m}, max: {cpu: 4, memory: 8Gi, nvidia.com/gpu: 1}}
  scheduling:
    resources:
    - resource: nvidia.com/gpu
      tolerations: [{key: nvidia.com/gpu, operator: Exists, effect: NoSchedule}]
      nodeSelector: {node-group: gpu}
      device: {label: gpu-kind, names: {A100: nvidia-a100}}
---
apiVersion: task-resources.io/v1alpha1
kind: TaskResourcePolicy
metadata: {name: strict}
spec: {scope: {project: strict}, onExceed: Deny}
---
apiVersion: task-resources.io/v1alpha1
kind: TaskResourcePolicy
metadata: {name: trial}
spec: {scope: {domain: staging}, mode: Warn}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "policy.yaml").write_text(POLICY)
    return tmp_path


def written(folder: Path, *cases: str, name: str = "tests.yaml") -> Path:
    """A file of tests; each is a mapping without its name, which is case 0, case 1, …"""
    file = folder / name
    tests = "".join(f"- name: case {index}\n{indent(case, '  ')}\n" for index, case in enumerate(cases))
    file.write_text(f"{HEAD}policies: [policy.yaml]\ntests:\n{tests}")
    return file


def run(*arguments: str | Path, **environment: str) -> Result:
    return CliRunner().invoke(main, ["policy", "test", *map(str, arguments)], env=environment)


def failures(folder: Path, case: str) -> list[str]:
    """The lines beneath a test: nothing where it passes."""
    result = run(written(folder, case))
    assert result.exit_code in (0, 1), result.stderr
    lines = result.stdout.splitlines()
    assert lines[-1] == ("1 test in 1 file: 1 failed, 0 passed" if result.exit_code else "1 test in 1 file: all passed")
    return [line.strip() for line in lines[2:-1]]


GREEDY = "pod: {containers: {main: {limits: {cpu: 16, memory: 1Gi}}}}\n"
GPU = "pod: {annotations: {task-resources.io/accelerator: A100}, containers: {main: {limits: {nvidia.com/gpu: 1}}}}\n"
FINE = "pod: {containers: {main: {limits: {cpu: 1, memory: 1Gi}}}}\n"

PASSING = [
    pytest.param(GREEDY + "expect: {outcome: changed}", id="outcome"),
    pytest.param(GREEDY + "expect: {containers: {main: {limits: {cpu: 4000m}}}}", id="amounts by value"),
    pytest.param(GREEDY + "expect: {containers: {main: {limits: {mem: 1Gi}}}}", id="by alias"),
    pytest.param(GREEDY + "expect: {containers: {main: {requests: {cpu: 4}}}}", id="a request that follows its limit"),
    pytest.param(GREEDY + "expect: {containers: {main: {limits: {ephemeral-storage: null}}}}", id="no amount"),
    pytest.param(GREEDY + "expect: {warnings: [from 16 to 4]}", id="part of a warning"),
    pytest.param(FINE + "expect: {warnings: []}", id="no warnings"),
    pytest.param(FINE + "expect: {outcome: unchanged, tolerations: [], nodeSelector: {}, nodeAffinity: []}", id="none"),
    pytest.param("project: strict\n" + GREEDY + "expect: {denial: above the maximum 4}", id="part of a denial"),
    pytest.param("namespace: strict-production\n" + GREEDY + "expect: {outcome: denied}", id="project of the name"),
    pytest.param(
        "namespaceLabels: {task-resources.io/project: strict}\n" + GREEDY + "expect: {outcome: denied}", id="labels"
    ),
    pytest.param(
        "domain: staging\n" + GREEDY + "expect: {outcome: changed, containers: {main: {limits: {cpu: 16}}}}",
        id="in mode Warn nothing is changed",
    ),
    pytest.param(
        GPU + "expect: {tolerations: [{key: nvidia.com/gpu, operator: Exists, effect: NoSchedule}]}", id="toleration"
    ),
    pytest.param(
        GPU + "expect: {tolerations: [{key: gpu-kind, value: nvidia-a100, effect: NoSchedule}]}",
        id="Equal is meant by leaving the operator out",
    ),
    pytest.param(GPU + "expect: {nodeSelector: {node-group: gpu, zone: null}}", id="node selector"),
    pytest.param(
        GPU + "expect: {nodeAffinity: [{key: gpu-kind, operator: In, values: [nvidia-a100]}]}", id="node affinity"
    ),
    pytest.param(
        "pod:\n  containers: {main: {requests: {cpu: 1}}}\n  initContainers: {proxy: {restartPolicy: Always}}\n"
        "  spec: {automountServiceAccountToken: false, terminationGracePeriodSeconds: 30}\n"
        "expect: {containers: {proxy: {limits: {cpu: 4}}}}",
        id="a sidecar",
    ),
    pytest.param(
        "pod: {containers: {main: {}}, resources: {limits: {cpu: 16}}}\nexpect: {resources: {limits: {cpu: 4}}}",
        id="pod-level resources",
    ),
    pytest.param(
        "manifest: {kind: Job, metadata: {namespace: strict-production}, spec: {template: {spec: {containers: "
        "[{name: main, resources: {limits: {cpu: 16}}}]}}}}\nexpect: {outcome: denied}",
        id="a manifest, in its own namespace",
    ),
]


@pytest.mark.parametrize("case", PASSING)
def test_what_is_as_expected_passes_and_nothing_else_is_compared(folder: Path, case: str) -> None:
    assert failures(folder, case) == []


DENIED = (
    'container "main": limits.cpu 5 is above the maximum 4; container "main": requests.cpu 5 is above the maximum 4 '
    "(project strict, domain production; policy platform)"
)

FAILING = [
    pytest.param(
        GREEDY + "expect: {outcome: unchanged}", ["outcome", "expected  unchanged", "got       changed"], id="outcome"
    ),
    pytest.param(
        GREEDY + "expect: {containers: {main: {limits: {cpu: 8}}}}",
        ["containers.main.limits.cpu", "expected  8", "got       4  (maximum, policy platform)"],
        id="an amount, with the rule that it is from",
    ),
    pytest.param(
        GREEDY + "expect: {containers: {main: {limits: {memory: null}}}}",
        ["containers.main.limits.memory", "expected  none", "got       1Gi"],
        id="an amount where none is expected",
    ),
    pytest.param(
        FINE + "expect: {containers: {main: {limits: {gpu: 1}}}}",
        ["containers.main.limits.gpu", "expected  1", "got       none"],
        id="no amount where one is expected",
    ),
    pytest.param(
        FINE + "expect: {containers: {main: {limits: {}}}}",
        ["containers.main.limits", "expected  none", "got       cpu 1, memory 1Gi"],
        id="amounts where none are expected",
    ),
    pytest.param(
        FINE + "expect: {containers: {proxy: {}}}",
        ["containers.proxy", "expected  there is one", "got       the pod has main"],
        id="a container that is not there",
    ),
    pytest.param(
        GREEDY + "expect: {warnings: [capped]}",
        [
            "warnings",
            "expected  capped",
            "got       main: limits.cpu changed from 16 to 4 (maximum, policy platform)",
            "main: requests.cpu changed from 16 to 4 (maximum, policy platform)",
        ],
        id="a warning",
    ),
    pytest.param(
        FINE + "expect: {denial: maximum}",
        ["denial", "expected  maximum", "got       not denied, but unchanged"],
        id="a denial",
    ),
    pytest.param(
        "project: strict\ndomain: production\n" + FINE.replace("cpu: 1", "cpu: 5") + "expect: {tolerations: []}",
        ["pod", "expected  there is one", f"got       denied: {DENIED}"],
        id="a pod that is denied",
    ),
    pytest.param(
        GPU + "expect: {tolerations: [{key: spot, operator: Exists}]}",
        [
            "tolerations",
            "expected  spot op=Exists",
            "got       nvidia.com/gpu:NoSchedule op=Exists",
            "gpu-kind=nvidia-a100:NoSchedule",
        ],
        id="a toleration",
    ),
    pytest.param(
        GPU + "expect: {nodeSelector: {node-group: cpu, zone: a}}",
        [
            "nodeSelector[node-group]",
            "expected  cpu",
            "got       gpu",
            "nodeSelector[zone]",
            "expected  a",
            "got       none",
        ],
        id="node selector",
    ),
    pytest.param(
        GPU + "expect: {nodeSelector: {}}",
        ["nodeSelector", "expected  none", "got       node-group=gpu"],
        id="a node selector where none is expected",
    ),
    pytest.param(
        GPU + "expect: {nodeAffinity: [{key: gpu-kind, operator: In, values: [nvidia-t4]}]}",
        ["nodeAffinity", "expected  gpu-kind In [nvidia-t4]", "got       gpu-kind In [nvidia-a100]"],
        id="node affinity",
    ),
]


@pytest.mark.parametrize(("case", "lines"), FAILING)
def test_what_is_not_as_expected_is_shown_field_by_field(folder: Path, case: str, lines: list[str]) -> None:
    assert failures(folder, case) == lines


def test_a_requirement_must_be_in_every_alternative_of_the_affinity(folder: Path) -> None:
    terms = (
        "[{matchExpressions: [{key: a, operator: Exists}, {key: b, operator: Exists}]}, "
        "{matchExpressions: [{key: a, operator: Exists}]}]"
    )
    affinity = (
        "{nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: %s}}}" % terms  # noqa: UP031
    )
    pod = f"pod: {{containers: {{main: {{}}}}, spec: {{affinity: {affinity}}}}}\n"
    assert failures(folder, pod + "expect: {nodeAffinity: [{key: a, operator: Exists}]}") == []
    assert failures(folder, pod + "expect: {nodeAffinity: [{key: b, operator: Exists}]}") == [
        "nodeAffinity",
        "expected  b Exists",
        "got       a Exists and b Exists",
        "or a Exists",
    ]


def test_the_summary_counts_and_any_failure_exits_with_1(folder: Path) -> None:
    fine = GREEDY + "expect: {outcome: changed}"
    file, other = written(folder, fine, FINE + "expect: {outcome: changed}"), written(folder, fine, name="other.yaml")
    result = run(file, other)
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "passed case 0",
        "FAILED case 1",
        f"  {file}:8",
        "  outcome",
        "    expected  changed",
        "    got       unchanged",
        "passed case 0",
        "3 tests in 2 files: 1 failed, 2 passed",
    ]


def test_tests_can_be_chosen_by_their_name(folder: Path) -> None:
    file = written(folder, FINE + "expect: {outcome: changed}", FINE + "expect: {outcome: unchanged}")
    chosen = run(file, "-k", "CASE 1")
    assert (chosen.exit_code, chosen.stdout) == (0, "passed case 1\n1 test in 1 file: all passed\n")
    none = run(file, "-k", "nothing")
    assert (none.exit_code, none.stdout) == (2, "")
    assert "no test has 'nothing' in its name" in none.stderr


def test_a_failure_is_coloured_where_colours_are_wanted(folder: Path) -> None:
    file = written(folder, FINE + "expect: {outcome: changed}")
    assert "\x1b[32m    expected  changed\x1b[0m" in run(file, "--color", "always").stdout
    assert "\x1b" not in run(file, "--color", "never").stdout


def test_policies_of_the_command_line_come_first_those_of_the_environment_last(folder: Path) -> None:
    for cores in (1, 2):
        text = POLICY.replace("cpu: 4", f"cpu: {cores}")
        (folder / f"policy-{cores}.yaml").write_text(text)
    file = written(folder, GREEDY + "expect: {containers: {main: {limits: {cpu: 4}}}}")
    environment = {"TASK_RESOURCES_POLICY": str(folder / "policy-2.yaml")}
    assert run(file, **environment).exit_code == 0
    assert "got       1  (" in run(file, "--policy", folder / "policy-1.yaml", **environment).stdout
    file.write_text(file.read_text().replace("policies: [policy.yaml]\n", ""))
    assert "got       2  (" in run(file, **environment).stdout
    without = run(file)
    assert (without.exit_code, without.stdout) == (2, "")
    assert without.stderr == (f'{file}:4: "case 0" has no policies: name them in the file (policies), or by --policy\n')


# Files


def test_a_file_is_found_beside_the_tests_and_may_hold_more_than_the_pod(folder: Path) -> None:
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "task"}}
    template = {"spec": {"containers": [{"name": "main", "resources": {"limits": {"cpu": "16"}}}]}}
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "task"}, "spec": {"template": template}}
    (folder / "task.yaml").write_text(yaml.safe_dump_all([service, job]))
    assert failures(folder, "file: task.yaml\nexpect: {containers: {main: {limits: {cpu: 4}}}}") == []


def test_a_namespace_replaces_that_of_an_admission_review(folder: Path) -> None:
    review = json.loads((ROOT / "examples/reviews/flyte-task-override-cpu-6.json").read_text())
    (folder / "review.json").write_text(json.dumps(review))
    assert failures(folder, "file: review.json\nexpect: {outcome: changed}") == []
    assert failures(folder, "file: review.json\nnamespace: strict-production\nexpect: {denial: maximum 4}") == []
    assert failures(folder, f"manifest: {json.dumps(review)}\nproject: strict\nexpect: {{outcome: denied}}") == []


UNUSABLE: list[Any] = [
    pytest.param("file: nothing.yaml\n", "6: tests[0].file: ", "nothing.yaml: cannot be read: No such file", id="file"),
    pytest.param("file: two.yaml\n", "6: tests[0].file: ", "has 2 pods; accepted: one, in a Pod, a", id="two pods"),
    pytest.param("file: policy.yaml\n", "6: tests[0].file: ", "has 0 pods", id="no pod"),
    pytest.param("file: broken.yaml\n", "6: tests[0].file: ", "neither YAML nor JSON", id="broken"),
    pytest.param(
        "manifest: {kind: Service}\n", "6: tests[0].manifest: ", "case 0: Service has no pod; accepted:", id="kind"
    ),
    pytest.param(
        "manifest: {kind: Pod, spec: {containers: []}}\n", "6: tests[0].manifest: ", "has no containers", id="empty pod"
    ),
    pytest.param(
        "manifest: {kind: Pod, spec: {containers: [{name: a, resources: 1}]}}\n",
        "6: tests[0].manifest: ",
        "the pod cannot be read",
        id="no pod's fields",
    ),
    pytest.param(
        "manifest: {kind: Pod, spec: {containers: [{name: a, resources: {limits: {cpu: lots}}}]}}\n",
        '5: "case 0": ',
        "spec.containers[0].resources.limits[cpu]",
        id="a pod that no API server would send",
    ),
]


@pytest.mark.parametrize(("case", "place", "message"), UNUSABLE)
def test_a_pod_that_cannot_be_used_is_named_by_file_and_line(folder: Path, case: str, place: str, message: str) -> None:
    pod = "apiVersion: v1\nkind: Pod\nspec: {containers: [{name: main}]}\n"
    (folder / "two.yaml").write_text(f"{pod}---\n{pod}")
    (folder / "broken.yaml").write_text("{")
    file = written(folder, case + "expect: {outcome: changed}")
    result = run(file, "-o", "junit")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"{file}:{place}")
    assert message in result.stderr


# `schema`: whether the JSON Schema can say it, too.
BAD: list[Any] = [
    pytest.param(
        FINE + "expect: {outcom: changed}", "expect.outcom: is no field here; accepted: outcome", True, id="key"
    ),
    pytest.param(
        FINE + "expect: {outcome: capped}",
        'expect.outcome: "capped" is not accepted: use unchanged, changed, denied or skipped',
        True,
        id="outcome",
    ),
    pytest.param(FINE + "expect: {}", "expect: expects nothing; accepted: outcome, denial", False, id="nothing"),
    pytest.param(FINE, "tests[0].expect: is required", True, id="no expectation"),
    pytest.param("expect: {outcome: changed}", "has no pod: use one of pod, manifest and file", False, id="no pod"),
    pytest.param(
        FINE + "file: x\nexpect: {outcome: changed}",
        "has pod and file: use one of pod, manifest and file",
        False,
        id="two pods",
    ),
    pytest.param(
        "pod: {containers: {}}\nexpect: {outcome: changed}",
        "pod.containers: is empty: use at least one",
        False,
        id="no containers",
    ),
    pytest.param(
        "pod: {containers: [{name: main}]}\nexpect: {outcome: changed}",
        "pod.containers: a list is not accepted: use a mapping",
        True,
        id="a list of containers",
    ),
    pytest.param(
        "pod: {containers: {main: {limit: {cpu: 1}}}}\nexpect: {outcome: changed}",
        "pod.containers.main.limit: is no field here; accepted: requests, limits, restartPolicy",
        True,
        id="field of a container",
    ),
    pytest.param(
        "pod: {containers: {main: {limits: {cpu: 1 core}}}}\nexpect: {outcome: changed}",
        "pod.containers.main.limits.cpu: '1 core' is not a quantity",
        True,
        id="quantity",
    ),
    pytest.param(
        FINE + "expect: {containers: {main: {limits: {cpu: '1,5'}}}}",
        "expect.containers.main.limits.cpu: '1,5' is not a quantity",
        True,
        id="expected quantity",
    ),
    pytest.param(
        FINE + "expect: {tolerations: [{taint: a}]}",
        "expect.tolerations[0].taint: is no field here; accepted: key, operator",
        True,
        id="field of a toleration",
    ),
    pytest.param(
        "namespace: Lab\n" + FINE + "expect: {outcome: changed}", '"Lab" is no namespace', False, id="namespace"
    ),
    pytest.param(
        "pod: {annotations: {a: true}, containers: {m: {}}}\nexpect: {outcome: changed}",
        "pod.annotations.a: true is a boolean in YAML and text is expected: put it in quotes",
        True,
        id="an annotation that is no text",
    ),
]


@pytest.mark.parametrize(("case", "message", "schema"), BAD)
def test_what_the_format_does_not_know_is_refused_with_its_line(
    folder: Path, case: str, message: str, schema: bool
) -> None:
    file = written(folder, case)
    result = run(file)
    assert (result.exit_code, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"{file}:")
    assert message in line
    is_valid = jsonschema.Draft202012Validator(json.loads(schema_text())).is_valid(yaml.safe_load(file.read_text()))
    assert is_valid is not schema


def test_every_error_of_every_file_is_reported_at_once(folder: Path) -> None:
    first = written(folder, FINE + "expect: {outcom: x}", FINE + "foo: 1\nexpect: {outcome: changed}")
    second = written(folder, FINE + "expect: {outcome: changed}", name="z.yaml")
    second.write_text(second.read_text().replace("policies: [policy.yaml]", "policies: [missing.yaml, policy.yaml]"))
    third = folder / "zz.yaml"
    third.write_text("kind: TaskResourcePolicy\n")
    result = run(first, second, third)
    assert result.exit_code == 2
    assert [line.removeprefix(f"{folder}/").split(": ")[0] for line in result.stderr.splitlines()] == [
        "tests.yaml:7",
        "tests.yaml:10",
        "zz.yaml:1",
        "zz.yaml:1",
        "zz.yaml:1",
    ]
    missing = run(second)
    assert missing.exit_code == 2
    assert missing.stderr == f"{folder}/missing.yaml: cannot be read: No such file or directory\n"


def test_two_tests_of_a_file_do_not_share_a_name(folder: Path) -> None:
    file = written(folder, FINE + "expect: {outcome: unchanged}", FINE + "expect: {outcome: unchanged}")
    file.write_text(file.read_text().replace("case 1", "case 0"))
    first, second = run(file).stderr.splitlines()
    assert first == f'{file}:5: tests[0].name: "case 0" is the name of 2 tests: each has its own'
    assert second.startswith(f"{file}:8: tests[1].name: ")


def test_a_folder_is_all_files_in_it_and_one_without_tests_is_an_error(folder: Path) -> None:
    tests = folder / "tests"
    tests.mkdir()
    (folder / "policy.yaml").rename(tests / ".policy.yaml")
    file = written(tests, FINE + "expect: {outcome: unchanged}")
    file.write_text(file.read_text().replace("policy.yaml", ".policy.yaml"))
    assert run(tests).stdout.splitlines()[-1] == "1 test in 1 file: all passed"
    file.write_text("")
    assert run(tests).stderr == f"{tests}: no tests in it\n"


# JUnit


def test_junit_has_a_suite_a_file_and_says_why_a_test_failed(folder: Path) -> None:
    file = written(folder, FINE + "expect: {outcome: unchanged}", FINE + "expect: {outcome: changed}")
    result = run(file, "-o", "junit")
    assert result.exit_code == 1
    assert result.stdout.startswith('<?xml version="1.0" encoding="UTF-8"?>\n')
    root = ElementTree.fromstring(result.stdout)
    assert root.tag == "testsuites"
    (suite,) = root
    counts = {name: suite.get(name) for name in ("name", "tests", "failures", "errors")}
    assert counts == {"name": str(file), "tests": "2", "failures": "1", "errors": "0"}
    assert [case.get("name") for case in suite] == ["case 0", "case 1"]
    assert [len(case) for case in suite] == [0, 1]
    failure = suite[1][0]
    assert (failure.tag, failure.get("message")) == ("failure", "not as expected: outcome")
    assert failure.text == f"{file}:8\noutcome\n    expected  changed\n    got       unchanged"


def test_junit_holds_any_text_of_a_pod(folder: Path) -> None:
    pod = 'pod: {annotations: {task-resources.io/limits: "cpu=<\\x01&\\"]]>"}, containers: {main: {}}}\n'
    root = ElementTree.fromstring(run(written(folder, pod + "expect: {denial: nothing}"), "-o", "junit").stdout)
    (text,) = [failure.text for failure in root.iter("failure")]
    assert text is not None
    assert '&"]]>' in text


# What is published


def test_the_published_schema_is_the_models() -> None:
    assert SCHEMA.read_text() == schema_text(), "write schema_text() to webhook/policy-test.schema.json"
    jsonschema.Draft202012Validator.check_schema(json.loads(schema_text()))


@pytest.mark.parametrize("case", PASSING)
def test_the_schema_accepts_what_is_accepted(folder: Path, case: str) -> None:
    tests = yaml.safe_load(written(folder, case).read_text())
    jsonschema.Draft202012Validator(json.loads(schema_text())).validate(tests)


@pytest.mark.parametrize("path", sorted(ROOT.glob("examples/policy-tests/*.yaml")), ids=lambda path: path.stem)
def test_the_examples_pass_and_fit_the_schema(path: Path) -> None:
    result = run(path)
    assert result.exit_code == 0, result.output
    jsonschema.Draft202012Validator(json.loads(schema_text())).validate(yaml.safe_load(path.read_text()))
