"""`task-resources review`: what it takes, what it prints, and how it exits."""

import json
from pathlib import Path
from typing import Any

import jsonpatch
import pytest
import yaml
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings

from tests.unit.deciding import policy_set, review_body
from tests.unit.strategies import pods, policies
from webhook.admission import decode, encode
from webhook.cli.main import main
from webhook.snapshot import Snapshot

Json = dict[str, Any]

POLICY = """
apiVersion: task-resources.io/v1alpha1
kind: TaskResourcePolicy
metadata: {name: platform}
spec:
  contact: "#ml-platform"
  container: {max: {cpu: "4", nvidia.com/gpu: 0}}
---
apiVersion: task-resources.io/v1alpha1
kind: TaskResourcePolicy
metadata: {name: vision}
spec:
  scope: {project: vision}
  container: {max: {cpu: "16"}}
"""

LARGE = {"limits": {"cpu": "8"}, "requests": {"cpu": "1"}}
FITS = {"limits": {"cpu": "2"}, "requests": {"cpu": "1"}}
FORBIDDEN = {"limits": {"cpu": "2", "nvidia.com/gpu": "1"}}


def template(resources: Json | None = None, **metadata: Any) -> Json:
    main_container = {"name": "main", "image": "busybox", **({"resources": resources} if resources else {})}
    return {"metadata": metadata, "spec": {"containers": [main_container]}}


def manifest(kind: str, resources: Json | None = None, name: str = "train", **metadata: Any) -> Json:
    """An object of the kind, whose pod has one container with these resources."""
    given_template = template(resources)
    group = {"Pod": "v1", "PodTemplate": "v1", "ReplicationController": "v1", "Job": "batch/v1", "CronJob": "batch/v1"}
    head = {"apiVersion": group.get(kind, "apps/v1"), "kind": kind, "metadata": {"name": name, **metadata}}
    match kind:
        case "Pod":
            return {**head, "spec": given_template["spec"]}
        case "PodTemplate":
            return {**head, "template": given_template}
        case "CronJob":
            return {**head, "spec": {"schedule": "@daily", "jobTemplate": {"spec": {"template": given_template}}}}
    return {**head, "spec": {"template": given_template}}


def pod_in(document: Json) -> Json:
    for key in ("template", "jobTemplate"):
        if key in document:
            return pod_in(document[key])
    spec: Json = document["spec"]
    return document if "containers" in spec else pod_in(spec)


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    file = tmp_path / "policy.yaml"
    file.write_text(POLICY)
    return file


class Files:
    """A folder of inputs, and the program run on them with the policy above."""

    def __init__(self, folder: Path, policy: Path) -> None:
        self.folder, self.policy = folder, policy

    def write(self, *documents: Any, name: str = "input.yaml") -> str:
        file = self.folder / name
        texts = [d if isinstance(d, str) else yaml.safe_dump(d, sort_keys=False) for d in documents]
        file.write_text("---\n".join(texts))
        return str(file)

    def run(self, *arguments: str, stdin: str | bytes | None = None) -> Result:
        return CliRunner().invoke(main, ["review", "--policy", str(self.policy), *arguments], input=stdin)

    def reviews(self, *arguments: str, stdin: str | None = None) -> list[Json]:
        result = self.run("-o", "json", *arguments, stdin=stdin)
        reviews: list[Json] = json.loads(result.stdout)["reviews"]
        return reviews


@pytest.fixture
def files(tmp_path: Path, policy: Path) -> Files:
    folder = tmp_path / "inputs"
    folder.mkdir()
    return Files(folder, policy)


KINDS = [
    "Pod",
    "PodTemplate",
    "Deployment",
    "ReplicaSet",
    "StatefulSet",
    "DaemonSet",
    "ReplicationController",
    "Job",
    "CronJob",
]


@pytest.mark.parametrize("kind", KINDS)
def test_everything_with_a_pod_template_is_reviewed_and_comes_out_whole(files: Files, kind: str) -> None:
    given = manifest(kind, LARGE)
    file = files.write(given)
    [review] = files.reviews(file)
    assert (review["kind"], review["outcome"]) == (kind, "changed")
    changed = yaml.safe_load(files.run("-o", "yaml", file).stdout)
    resources = pod_in(changed)["spec"]["containers"][0]["resources"]
    assert resources == {"limits": {"cpu": "4"}, "requests": {"cpu": "1"}}
    # Nothing else is different but the annotations.
    resources |= LARGE
    annotations = pod_in(changed)["metadata"].pop("annotations")
    assert set(annotations) == {"task-resources.io/applied", "task-resources.io/primary-container"}
    assert changed == given


@pytest.mark.parametrize(
    "document",
    [
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}, "spec": {"ports": []}},
        {"apiVersion": "v1", "kind": "ConfigMap"},
        {"apiVersion": "batch.volcano.sh/v1alpha1", "kind": "Job", "metadata": {"name": "x"}, "spec": {"tasks": []}},
        {"apiVersion": "example.com/v1", "kind": "Deployment", "spec": None},
    ],
    ids=["service", "nothing-but-a-kind", "job-of-another-group", "deployment-of-another-group"],
)
def test_objects_without_a_pod_are_skipped_and_passed_through(files: Files, document: Json) -> None:
    file = files.write(document)
    [review] = files.reviews(file)
    assert (review["outcome"], review["kind"]) == ("skipped", document["kind"])
    assert yaml.safe_load(files.run("-o", "yaml", file).stdout) == document
    assert files.run("-o", "patch", file).stdout == ""
    assert files.run("-o", "response", file).stdout == ""


def test_an_object_without_api_version_is_known_by_its_kind(files: Files) -> None:
    given = manifest("Deployment", LARGE)
    del given["apiVersion"]
    assert [review["outcome"] for review in files.reviews(files.write(given))] == ["changed"]


def as_list(*items: Json, kind: str = "List", **fields: Any) -> Json:
    return {"apiVersion": "v1", "kind": kind, "metadata": {}, "items": list(items), **fields}


def without_kind(document: Json) -> Json:
    return {key: value for key, value in document.items() if key not in ("apiVersion", "kind")}


ONE, TWO = manifest("Pod", LARGE, name="one"), manifest("Pod", FITS, name="two")

SEVERAL = [
    ("documents", [ONE, TWO], "input.yaml"),
    ("empty-documents-between", [ONE, "", "# nothing\n", TWO, ""], "input.yaml"),
    ("list", [as_list(ONE, TWO)], "input.yaml"),
    ("list-in-a-list", [as_list(as_list(ONE), TWO)], "input.yaml"),
    ("typed-list", [as_list(without_kind(ONE), without_kind(TWO), kind="PodList")], "input.yaml"),
    ("json-list", [json.dumps(as_list(ONE, TWO), indent=2)], "input.json"),
    ("json-lines", [json.dumps(ONE) + "\n\n" + json.dumps(TWO) + "\n"], "input.jsonl"),
    ("json-after-json", [json.dumps(ONE, indent=2) + "\n" + json.dumps(TWO, indent=2)], "input.json"),
    ("json-with-bom", ["\ufeff" + json.dumps(ONE) + json.dumps(TWO)], "input.json"),
]


@pytest.mark.parametrize(("documents", "name"), [case[1:] for case in SEVERAL], ids=[case[0] for case in SEVERAL])
def test_several_objects_are_reviewed_in_their_order(files: Files, documents: list[Any], name: str) -> None:
    reviews = files.reviews(files.write(*documents, name=name))
    assert [(r["kind"], r["name"], r["outcome"]) for r in reviews] == [
        ("Pod", "one", "changed"),
        ("Pod", "two", "unchanged"),
    ]


@pytest.mark.parametrize("arguments", [[], ["-"]], ids=["no-file", "dash"])
def test_standard_input_is_read(files: Files, arguments: list[str]) -> None:
    reviews = files.reviews(*arguments, stdin=yaml.safe_dump(ONE))
    assert [(r["source"], r["outcome"]) for r in reviews] == [("standard input", "changed")]


def test_several_files_are_reviewed_in_their_order(files: Files) -> None:
    sources = [files.write(TWO, name="b.yaml"), files.write(ONE, name="a.yaml")]
    assert [r["source"] for r in files.reviews(*sources)] == sources


BAD = [
    ("yaml-syntax", "a: [", "neither YAML nor JSON"),
    ("json-syntax", '{"a": ', "neither YAML nor JSON"),
    ("tab", "\tx: 1\n", "neither YAML nor JSON"),
    ("control-character", "a: \x01\n", "neither YAML nor JSON"),
    ("text", "hello\n", 'is "hello"; accepted: Kubernetes objects'),
    ("list", "[1]\n", "is [1]; accepted: Kubernetes objects"),
    ("no-kind", "metadata: {name: x}\n", "no kind"),
    ("empty", " \n", "there is nothing in it"),
    ("no-containers", yaml.safe_dump(manifest("Job") | {"spec": {"template": {"spec": {}}}}), "Job train: has no con"),
    ("no-spec", "{apiVersion: v1, kind: Pod, metadata: {name: x}}\n", "Pod x: spec is missing"),
    ("spec-null", "{apiVersion: v1, kind: Pod, metadata: {name: x}, spec: null}\n", "Pod x: spec is missing"),
    ("spec-text", "{apiVersion: v1, kind: Pod, metadata: {name: x}, spec: y}\n", 'Pod x: spec is "y"'),
    ("metadata-list", "{apiVersion: v1, kind: Pod, metadata: [], spec: {}}\n", "Pod: metadata is []"),
    ("container-null", "{apiVersion: v1, kind: Pod, spec: {containers: [null]}}\n", "containers must be a list"),
    ("quantity", yaml.safe_dump(manifest("Pod", {"limits": {"cpu": "x"}})), "spec.containers[0].resources.limits[cpu]"),
    ("resources-text", yaml.safe_dump(manifest("Pod", "x")), "the pod cannot be read"),  # type: ignore[arg-type]
    ("requests-list", yaml.safe_dump(manifest("Pod", {"limits": {"cpu": "1"}, "requests": []})), "cannot be read"),
    ("key-is-no-text", "{apiVersion: v1, kind: Pod, spec: {containers: [{name: x}], true: 1}}\n", "as JSON"),
    ("anchor-in-itself", "&a {apiVersion: v1, kind: Pod, spec: {containers: [{name: x}], x: *a}}\n", "as JSON"),
    ("review-without-request", '{"kind": "AdmissionReview"}', "AdmissionReview: request is missing"),
    ("review-of-no-version", '{"kind": "AdmissionReview", "request": {"uid": "x"}}', "accepted: admission.k8s.io/v1"),
    ("list-item", yaml.safe_dump(as_list() | {"items": [1]}), "items[0] of the List is no object"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "part"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_bad_input_names_its_file_and_loses_nothing_else(files: Files, text: str, part: str) -> None:
    bad, good = files.write(text, name="bad"), files.write(ONE)
    result = files.run("-o", "json", bad, good)
    assert result.exit_code == 2
    assert [review["name"] for review in json.loads(result.stdout)["reviews"]] == ["one"]
    [line] = result.stderr.splitlines()
    assert line.startswith(f"Error: {bad}")
    assert part in line


@pytest.mark.parametrize(
    ("documents", "name"),
    [
        ([ONE, "[1]\n", manifest("Pod", {"limits": {"cpu": "x"}}), as_list(TWO)], "input.yaml"),
        ([as_list(ONE, {"kind": "Pod"}, TWO)], "input.yaml"),
        ([json.dumps(ONE) + '\n{"kind": "Pod", \n' + json.dumps(TWO)], "input.jsonl"),
    ],
    ids=["documents", "items", "json-lines"],
)
def test_a_bad_document_loses_nothing_else_of_its_file(files: Files, documents: list[Any], name: str) -> None:
    file = files.write(*documents, name=name)
    result = files.run("-o", "json", file)
    assert result.exit_code == 2
    assert [review["name"] for review in json.loads(result.stdout)["reviews"]] == ["one", "two"]
    assert all(line.startswith(f"Error: {file}") for line in result.stderr.splitlines())


def test_a_file_that_cannot_be_read_is_named(files: Files) -> None:
    result = files.run("-o", "json", "nowhere.yaml", str(files.folder), files.write(ONE))
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [
        "Error: nowhere.yaml: No such file or directory",
        f"Error: {files.folder}: it is a folder; accepted: a regular file, or a link to one",
    ]
    assert len(json.loads(result.stdout)["reviews"]) == 1


def test_policies_that_cannot_be_used_are_all_reported_and_exit_with_2(files: Files) -> None:
    files.policy.write_text(POLICY.replace("contact", "contacts").replace("16", "x"))
    result = files.run(files.write(ONE))
    assert (result.exit_code, result.stdout) == (2, "")
    assert [line.split(": ")[1] for line in result.stderr.splitlines()] == ["spec.contacts", "spec.container.max.cpu"]


@pytest.mark.parametrize(
    "arguments",
    [["-o", "xml"], ["--fail-on", "never"], ["--domains", ","], ["--namespace-template", "x"], ["--nope"],
     ["--namespace-labels", "x"]],
    ids=lambda arguments: arguments[0],
)  # fmt: skip
def test_wrong_usage_exits_with_2(files: Files, arguments: list[str]) -> None:
    assert files.run(*arguments, files.write(ONE)).exit_code == 2


def test_a_policy_is_required() -> None:
    result = CliRunner().invoke(main, ["review", "-"], input="", env={"TASK_RESOURCES_POLICY": ""})
    assert result.exit_code == 2
    assert "--policy" in result.stderr


def test_policies_may_come_from_the_environment(files: Files) -> None:
    environment = {"TASK_RESOURCES_POLICY": str(files.policy)}
    result = CliRunner().invoke(main, ["review", "-o", "patch"], input=yaml.safe_dump(ONE), env=environment)
    assert (result.exit_code, len(json.loads(result.stdout))) == (0, 2)


# What each kind of result makes of --fail-on.
DENIED = manifest("Pod", FORBIDDEN)
WARNED = manifest("Pod", FITS)
WARNED["metadata"]["annotations"] = {"limits.task-resources.io/proxy": "cpu=1"}
EXITS = [
    # pod, denied, changed, warning
    ("unchanged", manifest("Pod", FITS), 0, 0, 0),
    ("warned", WARNED, 0, 0, 1),
    ("filled-in", manifest("Pod"), 0, 1, 1),
    ("changed", manifest("Pod", LARGE), 0, 1, 1),
    ("denied", DENIED, 1, 1, 1),
    ("skipped", {"apiVersion": "v1", "kind": "Service"}, 0, 0, 0),
]


@pytest.mark.parametrize(
    ("document", "denied", "changed", "warning"), [c[1:] for c in EXITS], ids=[c[0] for c in EXITS]
)
def test_the_exit_status_says_what_it_failed_on(
    files: Files, document: Json, denied: int, changed: int, warning: int
) -> None:
    file = files.write(TWO, document)
    assert files.run(file).exit_code == denied
    for output in ("text", "diff", "json", "yaml", "patch", "response"):
        statuses = [
            files.run("-o", output, "--fail-on", what, file).exit_code for what in ("denied", "changed", "warning")
        ]
        assert statuses == [denied, changed, warning]


def test_annotations_on_a_deployment_instead_of_its_template_are_a_warning(files: Files) -> None:
    given = manifest("Deployment", FITS, annotations={"task-resources.io/limits": "cpu=1", "team": "x"})
    file = files.write(given)
    [review] = files.reviews(file)
    assert review["outcome"] == "unchanged"
    [warning] = review["warnings"]
    assert warning.startswith("Deployment train: annotation task-resources.io/limits is on the Deployment and has no")
    assert "Warning: Deployment train: annotation task-resources.io/limits" in files.run(file).stdout
    assert files.run("--fail-on", "warning", file).exit_code == 1


PLACES = [
    ("the-objects-own", manifest("Pod", LARGE, namespace="vision-production"), [],
     ("vision", "production", "unchanged")),
    ("default", manifest("Pod", LARGE), [], (None, None, "changed")),
    ("option", manifest("Pod", LARGE, namespace="x"), ["--namespace", "vision-staging"],
     ("vision", "staging", "unchanged")),
    ("project", manifest("Pod", LARGE), ["--project", "vision"], ("vision", None, "unchanged")),
    ("domain", manifest("Pod", LARGE), ["--domain", "staging"], (None, "staging", "changed")),
    ("labels", manifest("Pod", LARGE), ["--namespace-labels", "task-resources.io/project=vision,team=x"],
     ("vision", None, "unchanged")),
    ("option-over-label", manifest("Pod", LARGE),
     ["--namespace-labels", "task-resources.io/project=x", "--project", "vision"], ("vision", None, "unchanged")),
    ("label-over-name", manifest("Pod", LARGE, namespace="x-staging"), ["--project", "vision"],
     ("vision", "staging", "unchanged")),
    ("template-and-domains", manifest("Pod", LARGE, namespace="prod--vision"),
     ["--namespace-template", "{domain}--{project}", "--domains", "dev,prod"], ("vision", "prod", "unchanged")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("document", "arguments", "expected"), [case[1:] for case in PLACES], ids=[case[0] for case in PLACES]
)
def test_project_and_domain_come_from_the_namespace(
    files: Files, document: Json, arguments: list[str], expected: tuple[str | None, str | None, str]
) -> None:
    [review] = files.reviews(files.write(document), *arguments)
    assert (review["project"], review["domain"], review["outcome"]) == expected


def test_requests_are_filled_in_from_limits_before_the_review_and_left_out_after_it(files: Files) -> None:
    resources = {"limits": {"cpu": 2, "memory": "1.5Gi", "nvidia.com/tpu": 1}}
    given = manifest("Job", resources)
    given["spec"]["template"]["spec"]["initContainers"] = [{"name": "setup", "resources": {"limits": {"cpu": "8"}}}]
    file = files.write(given)
    after = pod_in(yaml.safe_load(files.run("-o", "yaml", file).stdout))["spec"]
    assert after["containers"][0]["resources"] == resources
    assert after["initContainers"][0]["resources"] == {"limits": {"cpu": "4"}, "requests": {"cpu": "4"}}
    [review] = files.reviews(file)
    assert [(c["container"], c["side"], c["from"], c["to"]) for c in review["changes"]] == [
        ("setup", "limits", "8", "4"),
        ("setup", "requests", "8", "4"),
    ]


SCHEDULING = """
  scheduling:
    resources:
    - resource: nvidia.com/gpu
      tolerations: [{key: nvidia.com/gpu, operator: Exists, effect: NoSchedule}]
      nodeSelector: {node-group: gpu}
      device: {label: kind, names: {A100: a-100}}
"""
MAY_HAVE_GPUS = POLICY.replace(", nvidia.com/gpu: 0}}\n---", f"}}}}{SCHEDULING}---")
ASKING = {"task-resources.io/accelerator": "A100", "task-resources.io/shared-memory": "1Gi"}


def gpu_task(kind: str) -> Json:
    given = manifest(kind, {"limits": {"cpu": "2", "nvidia.com/gpu": 1}})
    pod_in(given)["metadata"]["annotations"] = dict(ASKING)
    pod_in(given)["spec"]["tolerations"] = [{"key": "own", "operator": "Exists"}]
    return given


def test_a_template_comes_out_with_what_its_pods_get_for_scheduling(files: Files) -> None:
    files.policy.write_text(MAY_HAVE_GPUS)
    given = gpu_task("Deployment")
    after = yaml.safe_load(files.run("-o", "yaml", files.write(given)).stdout)
    annotations = pod_in(after)["metadata"]["annotations"]
    assert set(annotations) - set(ASKING) == {"task-resources.io/applied", "task-resources.io/primary-container"}
    pod_in(after)["metadata"]["annotations"] = dict(ASKING)
    expression = {"key": "kind", "operator": "In", "values": ["a-100"]}
    pod_in(given)["spec"] |= {
        "tolerations": [
            {"key": "own", "operator": "Exists"},
            {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
            {"key": "kind", "operator": "Equal", "value": "a-100", "effect": "NoSchedule"},
        ],
        "nodeSelector": {"node-group": "gpu"},
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [{"matchExpressions": [expression]}]
                }
            }
        },
        "volumes": [{"name": "task-resources-shm", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}}],
    }
    mounts = [{"name": "task-resources-shm", "mountPath": "/dev/shm"}]
    pod_in(given)["spec"]["containers"][0]["volumeMounts"] = mounts
    assert after == given


def test_a_daemon_sets_template_gets_shared_memory_and_nothing_for_scheduling(files: Files) -> None:
    files.policy.write_text(MAY_HAVE_GPUS)
    given = gpu_task("DaemonSet")
    file = files.write(given)
    [review] = files.reviews(file)
    assert [change["side"] for change in review["changes"]] == ["volumes"]
    assert "annotation task-resources.io/accelerator has no effect: the pod has its node already" in review["warnings"]
    after = pod_in(yaml.safe_load(files.run("-o", "yaml", file).stdout))["spec"]
    given = pod_in(given)["spec"]
    assert after.pop("volumes")[0]["name"] == "task-resources-shm"
    assert after["containers"][0].pop("volumeMounts")
    assert after == given


@pytest.mark.parametrize(
    ("spec", "outcome"),
    [
        ({"nodeSelector": {"kind": "a-100"}}, "unchanged"),
        ({"nodeSelector": {"kind": "other"}}, "denied"),
        ({}, "denied"),
        # The controller puts the node's name in the place of these terms, so that its pods do not have them.
        (
            {
                "affinity": {
                    "nodeAffinity": {
                        "requiredDuringSchedulingIgnoredDuringExecution": {
                            "nodeSelectorTerms": [
                                {"matchExpressions": [{"key": "kind", "operator": "In", "values": ["a-100"]}]}
                            ]
                        }
                    }
                }
            },
            "denied",
        ),
    ],
    ids=["an allowed device", "another", "none", "an allowed device by affinity"],
)
def test_a_daemon_set_that_asks_for_a_device_must_select_an_allowed_one(files: Files, spec: Json, outcome: str) -> None:
    files.policy.write_text(MAY_HAVE_GPUS.replace("names: {A100: a-100}", "allowed: [a-100]"))
    given = manifest("DaemonSet", {"limits": {"cpu": "2", "nvidia.com/gpu": 1}, "requests": {"cpu": "2"}})
    pod_in(given)["spec"] |= spec
    assert [review["outcome"] for review in files.reviews(files.write(given))] == [outcome]


def test_text_has_what_was_added_for_scheduling_in_the_table(files: Files) -> None:
    files.policy.write_text(MAY_HAVE_GPUS)
    output = files.run(files.write(gpu_task("Deployment"))).stdout
    table = [" ".join(line.split()) for line in output.splitlines() if line.startswith("  ")][:6]
    assert table == [
        "CONTAINER RESOURCE FIELD FROM TO REASON POLICY",
        "(pod) nvidia.com/gpu tolerations - nvidia.com/gpu:NoSchedule op=Exists resource platform (platform)",
        "(pod) nvidia.com/gpu nodeSelector - node-group=gpu resource platform (platform)",
        "(pod) nvidia.com/gpu tolerations - kind=a-100:NoSchedule accelerator platform (platform)",
        "(pod) nvidia.com/gpu nodeAffinity - kind In [a-100] accelerator platform (platform)",
        "main shared-memory volumes - emptyDir Memory 1Gi shared-memory -",
    ]


def test_a_summary_counts_what_was_added_for_scheduling_by_resource_and_rule(files: Files) -> None:
    files.policy.write_text(MAY_HAVE_GPUS)
    result = files.run("--summary", "-o", "json", files.write(gpu_task("Job"), gpu_task("Pod")))
    counts = {(c["resource"], c["rule"]): c["count"] for c in json.loads(result.stdout)["summary"]["changes"]}
    assert counts == {
        ("nvidia.com/gpu", "resource"): 4,
        ("nvidia.com/gpu", "accelerator"): 4,
        ("shared-memory", "shared-memory"): 2,
    }


def test_limit_ranges_are_said_not_to_be_applied(files: Files) -> None:
    assert "LimitRanges are not applied" in files.run(files.write(ONE)).stderr
    assert "LimitRanges" not in files.run(stdin=review_body(ONE)).stderr


def test_yaml_reads_as_kubernetes_reads_it(files: Files) -> None:
    """A date, a time, and = are text; what is there twice is written twice."""
    text = (
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n  - name: main\n"
        "    args: [22:22, =, 2024-01-01, 1_000, 0x10, yes]\n    resources: {limits: &a {cpu: 8}, requests: *a}\n"
    )
    output = files.run("-o", "yaml", files.write(text)).stdout
    after = yaml.safe_load(output)["spec"]["containers"][0]
    assert after["args"] == ["22:22", "=", "2024-01-01", 1000, 16, True]
    assert after["resources"] == {"limits": {"cpu": "4"}, "requests": {"cpu": "4"}}
    assert "&" not in output


def test_what_is_not_changed_keeps_its_text(files: Files) -> None:
    resources = {"limits": {"cpu": "8", "memory": "0.5Gi"}, "requests": {"cpu": 0.5, "memory": 1048576}}
    after = yaml.safe_load(files.run("-o", "yaml", files.write(manifest("Deployment", resources))).stdout)
    assert pod_in(after)["spec"]["containers"][0]["resources"] == {
        "limits": {"cpu": "4", "memory": "0.5Gi"},
        "requests": {"cpu": 0.5, "memory": 1048576},
    }


def test_a_patch_is_one_line_a_pod_relative_to_it(files: Files) -> None:
    documents = [manifest("CronJob", LARGE), {"apiVersion": "v1", "kind": "Service"}, TWO, DENIED]
    lines = files.run("-o", "patch", files.write(*documents)).stdout.splitlines()
    patches = [json.loads(line) for line in lines]
    assert [len(patch) for patch in patches] == [2, 0, 0]
    after = jsonpatch.JsonPatch(patches[0]).apply(pod_in(documents[0]))
    assert after["spec"]["containers"][0]["resources"]["limits"] == {"cpu": "4"}


def test_json_says_everything_about_each_review(files: Files) -> None:
    file = files.write(manifest("Job", LARGE, namespace="flytesnacks-development"))
    [review] = files.reviews(file)
    patch = review.pop("patch")
    assert [operation["path"] for operation in patch] == [
        "/metadata/annotations",
        "/spec/containers/0/resources/limits/cpu",
    ]
    assert review == {
        "source": file,
        "kind": "Job",
        "namespace": "flytesnacks-development",
        "name": "train",
        "project": "flytesnacks",
        "domain": "development",
        "outcome": "changed",
        "mode": "Enforce",
        "changes": [
            {
                "container": "main",
                "resource": "cpu",
                "side": "limits",
                "from": "8",
                "to": "4",
                "asked": None,
                "rule": "maximum",
                "policy": "platform",
                "scope": "platform",
            }
        ],
        "warnings": ["main: limits.cpu changed from 8 to 4 (maximum, policy platform)"],
        "message": None,
    }


def test_text_is_a_table_of_changes_with_reasons_and_a_diff(files: Files) -> None:
    """Nothing is cut, however narrow the terminal; the webhook's own annotations are left out of the diff."""
    file = files.write(manifest("Pod", LARGE, namespace="flytesnacks-development"))
    output = CliRunner(env={"COLUMNS": "30"}).invoke(main, ["review", "--policy", str(files.policy), file]).stdout
    assert output == (
        "Pod flytesnacks-development/train changed\n"
        "  CONTAINER  RESOURCE  FIELD   FROM  TO  REASON   POLICY\n"
        "  main       cpu       limits  8     4   maximum  platform (platform)\n"
        f"--- {file}\n"
        f"+++ {file} (reviewed)\n"
        "@@ -9,6 +9,6 @@\n"
        "     image: busybox\n"
        "     resources:\n"
        "       limits:\n"
        "-        cpu: '8'\n"
        "+        cpu: '4'\n"
        "       requests:\n"
        "         cpu: '1'\n"
        "\n"
    )


def test_text_says_why_a_pod_is_denied_and_keeps_other_warnings(files: Files) -> None:
    changed = manifest("Pod", LARGE, annotations={"limits.task-resources.io/proxy": "cpu=1"})
    output = files.run(files.write(DENIED, changed)).stdout
    assert "Pod default/train denied\n" in output
    assert "nvidia.com/gpu 1 is asked and the maximum is 0" in output
    assert 'Warning: annotation limits.task-resources.io/proxy: the pod has no container "proxy" yet' in output
    assert output.count("Warning:") == 1, "what the table says is no warning of its own"


def test_a_diff_is_one_that_tools_read(files: Files) -> None:
    file = files.write(TWO, manifest("Job", LARGE))
    lines = files.run("-o", "diff", file).stdout.splitlines()
    assert lines[:2] == [f"--- {file}", f"+++ {file} (reviewed)"]
    assert [line for line in lines[2:] if line[0] in "+-"] == ["-            cpu: '8'", "+            cpu: '4'"]


@pytest.mark.parametrize("output", ["diff", "yaml", "patch", "response"])
def test_what_is_said_about_a_review_goes_to_stderr(files: Files, output: str) -> None:
    result = files.run("-o", output, files.write(DENIED, manifest("Pod", LARGE)))
    assert "Pod default/train: denied: container" in result.stderr
    assert "Pod default/train: main: limits.cpu changed from 8 to 4" in result.stderr


def test_colours_are_for_terminals_and_whoever_asks(files: Files) -> None:
    file = files.write(ONE)
    assert "\x1b[" not in files.run(file).stdout
    assert "\x1b[" not in files.run("--color", "never", file).stdout
    assert "\x1b[32m" in files.run("--color", "always", file).stdout


def test_a_summary_has_totals_by_project_resource_and_rule(files: Files) -> None:
    gpu = manifest("Pod", {"limits": {"cpu": "32"}}, namespace="vision-staging")
    file = files.write(manifest("Pod", LARGE), manifest("Pod", {"limits": {"cpu": "8"}}), gpu, DENIED)
    assert files.run("--summary", file).stdout.splitlines() == [
        "4 pods: 3 changed, 1 denied",
        "",
        "  PROJECT  PODS  CHANGED  DENIED  UNCHANGED  SKIPPED",
        "  -        3     2        1       0          0",
        "  vision   1     1        0       0          0",
        "",
        "  PROJECT  RESOURCE  RULE     CHANGES",
        "  -        cpu       maximum  3",
        "  vision   cpu       maximum  2",
        "",
        "  PROJECT  DENIED BY  PODS",
        "  -        forbidden  1",
        "",
        "  RESOURCE  FIELD     LOWERED BY  RAISED BY",
        "  cpu       requests  20          -",
        "  cpu       limits    24          -",
    ]
    totals = json.loads(files.run("--summary", "-o", "json", file).stdout)["summary"]
    assert totals == {
        "pods": 4,
        "changed": 3,
        "denied": 1,
        "unchanged": 0,
        "skipped": 0,
        "warned": 3,
        "ended": 0,
        "projects": [
            {"project": None, "pods": 3, "changed": 2, "denied": 1, "unchanged": 0, "skipped": 0},
            {"project": "vision", "pods": 1, "changed": 1, "denied": 0, "unchanged": 0, "skipped": 0},
        ],
        "changes": [
            {"project": None, "resource": "cpu", "rule": "maximum", "count": 3},
            {"project": "vision", "resource": "cpu", "rule": "maximum", "count": 2},
        ],
        "denials": [{"project": None, "reason": "forbidden", "count": 1}],
        "amounts": [
            {"project": None, "resource": "cpu", "side": "limits", "lowered": "8", "raised": "0"},
            {"project": None, "resource": "cpu", "side": "requests", "lowered": "4", "raised": "0"},
            {"project": "vision", "resource": "cpu", "side": "limits", "lowered": "16", "raised": "0"},
            {"project": "vision", "resource": "cpu", "side": "requests", "lowered": "16", "raised": "0"},
        ],
    }


def test_a_summary_beside_other_outputs_goes_to_stderr(files: Files) -> None:
    result = files.run("--summary", "-o", "patch", files.write(TWO))
    assert result.stdout == "[]\n"
    assert '"pods": 1' in result.stderr


def test_an_admission_review_is_taken_as_it_is(files: Files) -> None:
    """Nothing is filled in, and the namespace is the request's."""
    pod = {
        "metadata": {"namespace": "x"},
        "spec": {"containers": [{"name": "main", "resources": {"limits": {"cpu": "8"}}}]},
    }
    body = review_body(pod, namespace="flytesnacks-development")
    [review] = files.reviews("--namespace", "vision-staging", stdin=body.decode())
    assert (review["namespace"], review["project"]) == ("flytesnacks-development", "flytesnacks")
    after = yaml.safe_load(files.run("-o", "yaml", stdin=body).stdout)
    assert after["spec"]["containers"][0]["resources"] == {"limits": {"cpu": "4"}, "requests": {"cpu": "4"}}


SKIPPED_REVIEWS = [
    ("delete", {"operation": "DELETE", "object": None}),
    ("binding", {"subResource": "binding", "kind": {"group": "", "version": "v1", "kind": "Binding"}}),
    ("another-kind", {"kind": {"group": "apps", "version": "v1", "kind": "Deployment"}}),
    ("another-pod", {"kind": {"group": "example.com", "version": "v1", "kind": "Pod"}}),
    ("update", {"operation": "UPDATE"}),
    ("mirror", {"userInfo": {"groups": ["system:nodes"]},
                "object": manifest("Pod", LARGE, annotations={"kubernetes.io/config.mirror": "x"})}),
]  # fmt: skip


@pytest.mark.parametrize("request_fields", [c[1] for c in SKIPPED_REVIEWS], ids=[c[0] for c in SKIPPED_REVIEWS])
def test_reviews_that_the_webhook_leaves_alone_are_skipped(files: Files, request_fields: Json) -> None:
    body = review_body(manifest("Pod", LARGE), **request_fields)
    [review] = files.reviews(stdin=body.decode())
    assert (review["outcome"], review["patch"]) == ("skipped", [])
    assert json.loads(files.run("-o", "response", stdin=body).stdout)["response"]["allowed"] is True


def test_a_mode_that_does_not_enforce_is_said(files: Files) -> None:
    files.policy.write_text(POLICY.replace("contact:", "mode: Audit\n  contact:"))
    result = files.run(files.write(ONE))
    assert "Pod default/one changed (mode Audit: nothing is enforced)" in result.stdout
    assert "@@" not in result.stdout


def test_a_refusal_that_is_not_enforced_is_said_once(files: Files) -> None:
    files.policy.write_text(POLICY.replace("contact:", "mode: Warn\n  contact:"))
    result = files.run(files.write(DENIED))
    assert result.stdout.count("nvidia.com/gpu 1 is asked") == 1
    assert (result.stdout.splitlines()[0], result.exit_code) == (
        "Pod default/train denied (mode Warn: nothing is enforced)",
        1,
    )


def test_two_reviews_of_one_input_are_equal_bytes(files: Files) -> None:
    file = files.write(ONE, DENIED, manifest("Job", LARGE))
    assert files.run("-o", "response", file).stdout == files.run("-o", "response", file).stdout


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture])
@given(pods(doomed=True), policies())
def test_a_response_is_what_the_service_answers_byte_for_byte(tmp_path: Path, pod: Json, spec: Json) -> None:
    policy_file = tmp_path / "policy.yaml"
    document = {
        "apiVersion": "task-resources.io/v1alpha1",
        "kind": "TaskResourcePolicy",
        "metadata": {"name": "policy-0"},
    }
    policy_file.write_text(json.dumps({**document, "spec": spec}))
    body = review_body(pod)
    review = decode(body)
    result = CliRunner().invoke(main, ["review", "--policy", str(policy_file), "-o", "response"], input=body)
    answer = encode(review, Snapshot(policy_set(spec)).decide(review))
    assert result.stdout_bytes == answer + b"\n"
    assert result.exit_code == (0 if json.loads(answer)["response"]["allowed"] else 1)


def test_the_example_manifests_come_out_whole(files: Files) -> None:
    folder = Path(__file__).parents[2] / "examples"
    manifests = sorted(map(str, folder.glob("manifests/*.yaml")))
    result = CliRunner().invoke(main, ["review", "--policy", str(folder / "policies"), "-o", "yaml", *manifests])
    before = [document for file in manifests for document in yaml.safe_load_all(Path(file).read_text())]
    after = list(yaml.safe_load_all(result.stdout))
    assert [d["metadata"] for d in after] == [d["metadata"] for d in before]
    assert result.exit_code == 1, "the job is denied"
    assert after[1] == before[1]


LONG = "k" * 2_000_000
HOSTILE = {
    "kind": f"kind: {LONG}\nspec: 1",
    "name": f'kind: Pod\nmetadata: {{name: "\\e]0;owned\\a{LONG}"}}\nspec: 1',
    "field": f'kind: Pod\nspec: {{containers: [{{name: a, resources: {{limits: {{"\\e{LONG}": [1]}}}}}}]}}',
    "anchor": f"*{LONG}",
    "text": f'"\\e{LONG}"',
    "nested": "[" * 100_000,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_an_error_is_short_and_printable_whatever_a_manifest_says(files: Files, text: str) -> None:
    result = files.run(files.write(text))
    assert result.stderr.removesuffix("\n").isprintable()
    assert len(result.stderr) < 1100


def test_of_very_many_errors_a_thousand_are_named_and_the_rest_counted(files: Files) -> None:
    result = files.run(files.write("--- 5\n" * 3000))
    *named, rest = result.stderr.splitlines()
    assert (result.exit_code, len(named), rest) == (2, 1000, "and 2000 more errors")
