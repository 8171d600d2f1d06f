"""`task-resources policy`: what it prints, and how it exits."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from webhook.cli.main import main

HEAD = "apiVersion: task-resources.io/v1alpha1\nkind: TaskResourcePolicy\nmetadata: {name: %s}\nspec:\n"


def run(*arguments: str | Path, **environment: str) -> Result:
    return CliRunner().invoke(main, ["policy", *map(str, arguments)], env=environment)


def written(folder: Path, name: str, *lines: str) -> Path:
    file = folder / f"{name}.yaml"
    file.write_text(HEAD % name + "".join(f"  {line}\n" for line in lines))
    return file


def for_gpus(fields: str) -> str:
    return f"scheduling: {{resources: [{{resource: nvidia.com/gpu, {fields}}}]}}"


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
    [
        ("check",),
        ("check", "x", "--namespace-template", "nothing"),
        ("effective", "x"),
        ("effective",),
        ("effective", "x", "--policy", "examples/policies", "--context", "x"),
        ("effective", "x", "--policy", "examples/policies", "--cluster", "--namespace-labels", "a=b"),
    ],
    ids=["no path", "template", "no policy", "no namespace", "a context and no cluster", "labels and a cluster"],
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
            "pod: {max: {tpu: 4}, resourceClaims: Allow}",
            "scheduling: {resources: [{resource: google.com/tpu, alias: tpu}]}",
            "pod.max.tpu says nothing: no policy for it has the alias tpu (platform)",
            id="an alias that is not in force",
        ),
        pytest.param(
            for_gpus("tolerations: [{key: gpu, operator: Exists}], reserved: Warn"),
            for_gpus("tolerations: null"),
            "a.yaml:5: warning: reserved Warn of nvidia.com/gpu has no effect: its tolerations name no taint's key "
            "(project p)",
            id="reserved without a taint",
        ),
        pytest.param(
            for_gpus("tolerations: [{key: gpu, operator: Exists}]"),
            for_gpus("tolerations: [{operator: Exists}], reserved: Deny"),
            "b.yaml:6: warning: reserved Deny of nvidia.com/gpu has no effect: its tolerations name no taint's key",
            id="reserved with every taint",
        ),
        pytest.param(
            for_gpus("device: {label: kind, names: {A100: a}}"),
            for_gpus("device: {label: null}"),
            "a.yaml:5: warning: device of nvidia.com/gpu has no effect: no policy for it gives its label (project p)",
            id="a device without a label",
        ),
        pytest.param(
            "contact: x",
            for_gpus("partition: {whole: {requirement: {operator: Exists}}}"),
            "b.yaml:6: warning: partition of nvidia.com/gpu has no effect: no policy for it gives its label",
            id="a partition without a label",
        ),
        pytest.param(
            for_gpus("nodeSelector: {group: gpu, zone: a}"),
            "scheduling: {resources: [{resource: 'nvidia.com/*', nodeSelector: {group: other, zone: a}}]}",
            "b.yaml:6: warning: nodeSelector group of nvidia.com/* is other, and gpu of nvidia.com/gpu: ",
            id="node selectors that contradict each other",
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


@pytest.mark.parametrize(
    "project",
    [
        pytest.param("scheduling: {resources: [{resource: 'google.com/*', nodeSelector: {group: x}}]}", id="others"),
        pytest.param("scheduling: {resources: [{resource: 'nvidia.com/*', nodeSelector: {zone: a}}]}", id="labels"),
        pytest.param("scheduling: {resources: [{resource: 'nvidia.com/*', nodeSelector: {group: gpu}}]}", id="value"),
        pytest.param(for_gpus("reserved: null, device: {names: {L4: l}}"), id="of an entry"),
        pytest.param(for_gpus("partition: {whole: {requirement: null}}"), id="a null of nothing"),
    ],
)
def test_what_policies_say_of_scheduling_together_is_fine(tmp_path: Path, project: str) -> None:
    platform = "tolerations: [{key: gpu}], reserved: Deny, nodeSelector: {group: gpu}, device: {label: a}"
    written(tmp_path, "a", for_gpus(platform))
    written(tmp_path, "b", "scope: {project: p}", project)
    assert "no errors, no warnings" in run("check", tmp_path).output


DECIDED = "pod: {resourceClaims: Allow"
CLAIMS = (
    "does not count resource claims and device classes (DRA): set pod.resourceClaims to Deny, or to Allow and a "
    "maximum of deviceclass.resource.kubernetes.io/*"
)
PAGES = (
    "does not count hugepages: set container.max.hugepages-2Mi and container.max.hugepages-1Gi, too "
    "(0 forbids them, null allows any)"
)
EACH = "is for each container, and a pod may have many: set pod.max"

PASSED = [
    # what two policies say, the second for project p, and the warning; None for none
    ("a device", "container: {max: {gpu: 0}}", "", f"a.yaml:5: warning: container.max.nvidia.com/gpu 0 {CLAIMS} (p"),
    ("a glob", "container: {max: {'nvidia.com/*': 0}}", "", f"container.max.nvidia.com/* 0 {CLAIMS} (platform; pr"),
    ("a pod's devices", "pod: {max: {gpu: 2}}", "", f"pod.max.nvidia.com/gpu 2 {CLAIMS} (platform"),
    ("an implicit class", "pod: {max: {deviceclass.resource.kubernetes.io/gpu: 2}}", "", CLAIMS),
    ("claims that may be", "container: {max: {gpu: 0}}\npod: {resourceClaims: Allow}", "", None),
    ("claims that may not be", "container: {max: {gpu: 0}}\npod: {resourceClaims: Deny}", "", None),
    ("claims that may be in one project", "container: {max: {gpu: 0}}", "pod: {resourceClaims: Allow}",
     f"a.yaml:5: warning: container.max.nvidia.com/gpu 0 {CLAIMS} (platform)"),
    ("claims that are open again in one project", "container: {max: {gpu: 0}}\npod: {resourceClaims: Deny}",
     "pod: {resourceClaims: null}", f"a.yaml:5: warning: container.max.nvidia.com/gpu 0 {CLAIMS} (project p)"),
    ("devices that are lifted in one project", "container: {max: {gpu: 0}}", "container: {max: {gpu: null}}",
     f"container.max.nvidia.com/gpu 0 {CLAIMS} (platform)"),
    ("one warning, where it is said first", "container: {max: {gpu: 0, 'amd.com/*': 0}}",
     "container: {max: {gpu: 0, example.com/x: 0}}", f"a.yaml:5: warning: container.max.nvidia.com/gpu 0 {CLAIMS}"),
    ("no device", "container: {max: {cpu: 1, ephemeral-storage: 1Gi, hugepages-2Mi: 0}}", "", None),

    ("memory", "container: {max: {memory: 1Gi}}", "", f"a.yaml:5: warning: container.max.memory 1Gi {PAGES} (platform"),
    ("memory by its alias", "container: {max: {mem: 1Gi}}", "", f"container.max.memory 1Gi {PAGES}"),
    ("a pod's memory", "container: {max: {memory: 1Gi}}\npod: {max: {memory: 1Gi}}", "", PAGES),
    ("memory of one project", "contact: x", "container: {max: {memory: 1Gi}}",
     "b.yaml:6: warning: container.max.memory"),
    ("memory that is lifted in one project", "container: {max: {memory: 1Gi}}", "container: {max: {memory: null}}",
     f"{PAGES} (platform)"),
    ("one warning for all memory", "container: {max: {memory: 1Gi}}", "container: {max: {memory: 2Gi}}",
     f"a.yaml:5: warning: container.max.memory 1Gi {PAGES} (platform; project p)"),
    ("hugepages that may not be", "container: {max: {memory: 1Gi, hugepages-2Mi: 0}}", "", None),
    ("hugepages that may be", "container: {max: {memory: 1Gi, hugepages-1Gi: null}}", "", None),
    ("a pod's hugepages", "container: {max: {memory: 1Gi}}\npod: {max: {hugepages-2Mi: 1Gi}}", "", None),

    ("a device a container", f"container: {{max: {{gpu: 1}}}}\n{DECIDED}}}", "",
     f"a.yaml:5: warning: container.max.nvidia.com/gpu 1 {EACH}.nvidia.com/gpu, too (platform; project p)"),
    ("a glob a container", f"container: {{max: {{'nvidia.com/*': 1}}}}\n{DECIDED}, max: {{gpu: 1}}}}", "",
     f"container.max.nvidia.com/* 1 {EACH}.nvidia.com/*, too"),
    ("a project's device a container", DECIDED + "}", "container: {max: {gpu: 1}}",
     f"b.yaml:6: warning: container.max.nvidia.com/gpu 1 {EACH}.nvidia.com/gpu, too (project p)"),
    ("a device a pod", f"container: {{max: {{gpu: 1}}}}\n{DECIDED}, max: {{gpu: 1}}}}", "", None),
    ("a device a pod by a glob", f"container: {{max: {{gpu: 1}}}}\n{DECIDED}, max: {{'nvidia.com/*': 1}}}}", "", None),
    ("a glob by a wider one", f"container: {{max: {{'nvidia.com/mig-*': 1}}}}\n{DECIDED}, max: {{'nvidia.com/*': 1}}}}",
     "", None),
    ("any number a pod", f"container: {{max: {{gpu: 1}}}}\n{DECIDED}, max: {{gpu: null}}}}", "", None),
    ("no device a container", f"container: {{max: {{gpu: 0}}}}\n{DECIDED}}}", "", None),
    ("cores a container", "container: {max: {cpu: 1, ephemeral-storage: 1Gi}}", "", None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("platform", "project", "warning"), [case[1:] for case in PASSED], ids=[case[0] for case in PASSED]
)
def test_what_passes_a_maximum_is_a_warning_until_the_policy_says_what_is_meant(
    tmp_path: Path, platform: str, project: str, warning: str | None
) -> None:
    written(tmp_path, "a", *platform.splitlines())
    written(tmp_path, "b", "scope: {project: p}", project or "contact: x")
    result = run("check", tmp_path)
    assert result.exit_code == 0
    *warnings, summary = result.output.splitlines()
    assert summary.startswith("2 policies in 2 files: no errors, ")
    assert len(warnings) == (warning is not None), warnings
    assert warning is None or warning in warnings[0]


SELECTED = [
    # what the platform says, what a policy for some pods says, warnings
    ("claims", "contact: x", "container: {max: {gpu: 0}}", [CLAIMS]),
    ("claims that such pods may not have", "contact: x", "container: {max: {gpu: 0}}\npod: {resourceClaims: Deny}", []),
    ("memory", "contact: x", "container: {max: {memory: 1Gi}}", [PAGES]),
    ("memory and hugepages", "contact: x", "container: {max: {memory: 1Gi, hugepages-2Mi: 0}}", []),
    ("a device a container", DECIDED + "}", "container: {max: {gpu: 1}}", [EACH]),
    ("a device a pod", DECIDED + "}", "container: {max: {gpu: 1}}\npod: {max: {gpu: 1}}", []),
    ("a device a pod of all", DECIDED + ", max: {gpu: 2}}", "container: {max: {gpu: 1}}", []),
    ("what the platform is warned of", f"container: {{max: {{gpu: 2}}}}\n{DECIDED}}}", "container: {max: {gpu: 1}}",
     [f"container.max.nvidia.com/gpu 2 {EACH}"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("platform", "selected", "warnings"), [case[1:] for case in SELECTED], ids=[case[0] for case in SELECTED]
)
def test_what_passes_the_maximum_of_a_pod_selector_policy_is_a_warning(
    tmp_path: Path, platform: str, selected: str, warnings: list[str]
) -> None:
    written(tmp_path, "a", *platform.splitlines())
    written(tmp_path, "b", "scope: {podSelector: {}}", *selected.splitlines())
    found = run("check", tmp_path).output.splitlines()[:-1]
    assert len(found) == len(warnings), found
    assert all(text in line for text, line in zip(warnings, found, strict=True))


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


PLATFORM = """\
scheduling:
  resources:
  - resource: nvidia.com/gpu
    tolerations: [{key: gpu, operator: Exists, effect: NoSchedule}, {key: b, value: c}]
    nodeSelector: {example.com/group: gpu, zone: a}
    reserved: Warn
    device: {label: kind, names: {a100: a-100}, allowed: [a-100, h-100]}
    partition: {label: slice, whole: {requirement: {operator: DoesNotExist}, toleration: {operator: Exists}}}
  - {resource: z.com/x, reserved: Deny, tolerations: [{key: z}]}
  interruptible: {requirement: {key: life, operator: In, values: [spot, other]}}
  defaults: {tolerations: [], nodeSelector: {os: linux}}
"""
PROJECT = """\
scope: {project: p}
scheduling:
  resources:
  - {resource: a.com/x, nodeSelector: {a: b}}
  - {resource: nvidia.com/gpu, reserved: null, nodeSelector: {zone: null}, device: {names: {h100: h-100}}}
  interruptible: {otherwise: null}
"""


def test_scheduling_is_shown_value_by_value_in_the_order_in_which_it_applies(tmp_path: Path) -> None:
    written(tmp_path, "a", *PLATFORM.splitlines())
    written(tmp_path, "b", *PROJECT.splitlines())
    values = json.loads(run("effective", "p-staging", "--policy", tmp_path, "-o", "json").stdout)["values"]
    found = [(v["field"], v["value"], v["policy"], v["line"]) for v in values if v["field"].startswith("scheduling")]
    gpu = "scheduling.resources[nvidia.com/gpu]"
    assert found == [
        (f"{gpu}.tolerations", "gpu:NoSchedule op=Exists, b=c", "a", 8),
        (f"{gpu}.nodeSelector[example.com/group]", "gpu", "a", 9),
        (f"{gpu}.nodeSelector.zone", "null", "b", 9),
        (f"{gpu}.reserved", "null", "b", 9),
        (f"{gpu}.device.label", "kind", "a", 11),
        (f"{gpu}.device.names.a100", "a-100", "a", 11),
        (f"{gpu}.device.allowed", "a-100, h-100", "a", 11),
        (f"{gpu}.partition.label", "slice", "a", 12),
        (f"{gpu}.partition.whole.requirement", "DoesNotExist", "a", 12),
        (f"{gpu}.partition.whole.toleration", "op=Exists", "a", 12),
        (f"{gpu}.device.names.h100", "h-100", "b", 9),
        ("scheduling.resources[z.com/x].tolerations", "z", "a", 13),
        ("scheduling.resources[z.com/x].reserved", "Deny", "a", 13),
        ("scheduling.resources[a.com/x].nodeSelector.a", "b", "b", 8),
        ("scheduling.interruptible.requirement", "life In [spot, other]", "a", 14),
        ("scheduling.interruptible.otherwise", "null", "b", 10),
        ("scheduling.defaults.tolerations", "none", "a", 15),
        ("scheduling.defaults.nodeSelector.os", "linux", "a", 15),
    ]


def test_scheduling_comes_last_and_with_its_policy_and_place(tmp_path: Path) -> None:
    file = written(tmp_path, "a", "quota: {pods: 5}", "mode: Warn", for_gpus("nodeSelector: {a: b}"))
    last = run("effective", "p-staging", "--policy", file).output.splitlines()[-1]
    assert last.split() == ["scheduling.resources[nvidia.com/gpu].nodeSelector.a", "b", "a", "platform", f"{file}:7"]


def test_the_same_as_json_by_labels_and_the_environment(tmp_path: Path) -> None:
    file = written(tmp_path, "b", "scope: {project: q}", "contact: '#q'")
    labels = "task-resources.io/project=q"
    result = run("effective", "x", "-o", "json", "--namespace-labels", labels, TASK_RESOURCES_POLICY=str(file))
    answer = json.loads(result.stdout)
    assert (answer["namespace"], answer["project"], answer["domain"], answer["pods"]) == ("x", "q", None, [])
    contact = {"field": "contact", "value": "#q", "policy": "b", "scope": "project q", "file": str(file), "line": 6}
    assert contact in answer["values"]


def test_a_cluster_that_nothing_leads_to_is_said_and_exits_with_2(tmp_path: Path) -> None:
    file = written(tmp_path, "a", "contact: x")
    result = run("effective", "x", "--policy", file, "--cluster", "--kubeconfig", tmp_path / "nothing")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"Error: {tmp_path}/nothing: ")
    assert "accepted: --kubeconfig FILE" in result.stderr


def test_policies_that_cannot_be_used_exit_with_2_and_all_errors_on_stderr(tmp_path: Path) -> None:
    result = run("effective", "x", "--policy", written(tmp_path, "a", "foo: 1", "bar: 2"))
    assert (result.exit_code, result.stdout) == (2, "")
    assert len(result.stderr.splitlines()) == 2
