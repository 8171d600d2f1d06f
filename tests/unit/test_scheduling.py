"""Where a pod is scheduled (section 6): tolerations, node selector and node affinity; headings name the rules."""

import copy
import json
from typing import Any

import msgspec
import pytest

from tests.unit.deciding import Json, container, decided, denial, pod, reviewed, sidecar
from webhook.annotations import ACCELERATOR, ACCELERATOR_PARTITION, APPLIED, INTERRUPTIBLE, SHARED_MEMORY
from webhook.node_affinity import requirement_text
from webhook.patch import Operation
from webhook.pod import NodeRequirement, Toleration
from webhook.tolerations import toleration_text

GPU, TPU = "nvidia.com/gpu", "google.com/tpu"
LIMITS = "task-resources.io/limits"


def device(name: str = "main", amount: str = "1", resource: str = GPU, **fields: Any) -> Json:
    """A container that asks for devices."""
    return container(name, limits={resource: amount}, **fields)


def for_gpus(*fields: str) -> str:
    """A policy whose only entry is for GPUs."""
    return f"scheduling: {{resources: [{{resource: {GPU}, {', '.join(fields)}}}]}}"


def toleration(text: str) -> Json:
    """`gpu` for any value, `gpu=a` for one; NoSchedule either way."""
    key, equals, value = text.partition("=")
    operator = {"operator": "Equal", "value": value} if equals else {"operator": "Exists"}
    return {"key": key, **operator, "effect": "NoSchedule"}


def expression(text: str) -> Json:
    """`pool In a,b` and `pool Exists`."""
    key, operator, *values = text.split()
    return {"key": key, "operator": operator} | ({"values": values[0].split(",")} if values else {})


def term(*texts: str, fields: list[Json] | None = None) -> Json:
    expressions = {"matchExpressions": [expression(text) for text in texts]} if texts else {}
    return expressions | ({} if fields is None else {"matchFields": fields})


def required(*terms: Json, **more: Any) -> Json:
    """An affinity with these terms of required node affinity."""
    needed = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": list(terms)}}
    return {"nodeAffinity": needed | more}


def tolerations_of(task: Json) -> list[str]:
    """The pod's tolerations as `kubectl describe` prints them."""
    return [toleration_text(msgspec.convert(each, Toleration)) for each in task["spec"].get("tolerations", ())]


def requirements_of(task: Json) -> list[str]:
    """The requirements of the only term."""
    affinity = task["spec"].get("affinity")
    if affinity is None:
        return []
    [only] = affinity["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert list(only) == ["matchExpressions"]
    return [requirement_text(msgspec.convert(each, NodeRequirement)) for each in only["matchExpressions"]]


# G1: who asks for a resource, and which entries are about it

ON_GPU_NODES = for_gpus("nodeSelector: {node-group: gpu}")

ASKING = [
    ("a-container", pod(device()), True),
    ("a-request-alone", pod(container(requests={GPU: "1"})), True),
    ("another-container", pod(container(), device("second")), True),
    ("a-sidecar", pod(init=[device("proxy", restartPolicy="Always")]), True),
    ("an-init-container", pod(init=[device("setup")]), True),
    ("one-of-two-sidecars", pod(init=[sidecar("proxy"), device("other", restartPolicy="Always")]), True),
    ("nobody", pod(container(limits={"cpu": "1"})), False),
    ("another-device", pod(device(resource="amd.com/gpu")), False),
    ("zero", pod(device(amount="0")), False),
    ("zero-beside-an-init-containers-one", pod(device(amount="0"), init=[device("setup")]), True),
    ("an-alias", pod(device(resource="gpu")), True),
    ("an-annotation", pod(annotations={LIMITS: "gpu=1"}), True),
    ("an-annotated-request", pod(annotations={"task-resources.io/requests": "gpu=1"}), True),
    ("an-annotation-for-a-sidecar",
     pod(init=[sidecar("proxy")], annotations={"limits.task-resources.io/proxy": "gpu=1"}), True),
    ("an-annotation-takes-it-back", pod(device(), annotations={LIMITS: "gpu=0"}), False),
    ("an-annotation-takes-back-the-primarys-only",
     pod(device(), device("second"), annotations={LIMITS: "gpu=0"}), True),
    ("an-ephemeral-container-comes-later", pod(ephemeralContainers=[device("debug")]), False),
]  # fmt: skip


@pytest.mark.parametrize(("task", "asks"), [case[1:] for case in ASKING], ids=[case[0] for case in ASKING])
def test_a_pod_asks_for_a_resource_when_any_container_has_some_of_it(task: Json, asks: bool) -> None:
    assert reviewed(task, ON_GPU_NODES)["spec"].get("nodeSelector") == ({"node-group": "gpu"} if asks else None)


MATCHING = [
    # an entry's resource, what the pod asks for, whether the entry is about it
    (GPU, GPU, True),
    ("nvidia.com/mig-*", "nvidia.com/mig-1g.5gb", True),
    ("nvidia.com/mig-*", GPU, False),
    ("*.5gb", "nvidia.com/mig-1g.5gb", True),
    ("*", "amd.com/gpu", True),
    ("*", "deviceclass.resource.kubernetes.io/gpu", True),
    ("*", "cpu", False),
    ("*", "memory", False),
    ("*", "ephemeral-storage", False),
    ("*", "hugepages-2Mi", False),
    ("cpu", "cpu", True),
    ("hugepages-2Mi", "hugepages-2Mi", True),
]


@pytest.mark.parametrize(("resource", "asked", "is_about_it"), MATCHING, ids=[f"{c[0]} and {c[1]}" for c in MATCHING])
def test_an_entry_is_about_its_resource_and_a_glob_about_devices_only(
    resource: str, asked: str, is_about_it: bool
) -> None:
    amounts = {"memory": "1Gi", "cpu": "1"} if asked == "hugepages-2Mi" else {}
    task = pod(container(limits={**amounts, asked: "2Mi" if asked == "hugepages-2Mi" else "1"}))
    spec = f"scheduling: {{resources: [{{resource: '{resource}', nodeSelector: {{a: b}}}}]}}"
    assert ("nodeSelector" in reviewed(task, spec)["spec"]) is is_about_it


THREE_ENTRIES = """
scheduling:
  resources:
  - {resource: 'nvidia.com/*', tolerations: [{key: first, operator: Exists}]}
  - {resource: google.com/tpu, tolerations: [{key: second, operator: Exists}]}
  - {resource: nvidia.com/gpu, tolerations: [{key: third, operator: Exists}]}
"""


@pytest.mark.parametrize("resources", [(GPU, TPU), (TPU, GPU)], ids=["gpu first", "tpu first"])
def test_all_matching_entries_apply_in_the_policys_order_not_the_pods(resources: tuple[str, str]) -> None:
    task = pod(*(device(f"c{index}", resource=resource) for index, resource in enumerate(resources)))
    keys = [each["key"] for each in reviewed(task, THREE_ENTRIES)["spec"]["tolerations"]]
    assert keys == ["first", "second", "third"]


def test_a_pod_that_a_pod_selector_policy_lowers_is_placed_as_its_namespaces_others() -> None:
    lower = "{scope: {podSelector: {matchLabels: {team: ml}}}, container: {max: {cpu: 1}}}"
    after = reviewed(pod(device(), labels={"team": "ml"}), ON_GPU_NODES, lower)["spec"]
    assert after["containers"][0]["resources"]["limits"]["cpu"] == "1"
    assert after["nodeSelector"] == {"node-group": "gpu"}


# G2: tolerations

ALL_OF_IT = """
scheduling:
  resources:
  - resource: nvidia.com/gpu
    tolerations: [{key: first, operator: Exists}, {key: second, operator: Exists}]
    device: {label: device, allowed: [a100, h100]}
    partition: {label: partition}
  - resource: nvidia.com/*
    tolerations: [{key: third, operator: Exists}]
    nodeSelector: {zone: a}
  interruptible:
    tolerations: [{key: spot, operator: Exists}]
    nodeSelector: {pool: spot}
    requirement: {key: life, operator: In, values: [spot]}
  defaults:
    tolerations: [{key: last, operator: Exists}]
    nodeSelector: {os: linux}
"""
ALL_ASKED = {ACCELERATOR: "a100", ACCELERATOR_PARTITION: "1g.5gb", INTERRUPTIBLE: "true", SHARED_MEMORY: "1Gi"}


def test_the_order_is_resources_device_and_partition_interruptible_defaults() -> None:
    """The pod's own come first, in their own order."""
    own = [toleration("own-b"), toleration("own-a")]
    after = reviewed(pod(device(), annotations=ALL_ASKED, tolerations=own, nodeSelector={"own": "x"}), ALL_OF_IT)
    keys = [each["key"] for each in after["spec"]["tolerations"]]
    assert keys == ["own-b", "own-a", "first", "second", "third", "device", "partition", "spot", "last"]
    assert after["spec"]["tolerations"][:2] == own
    assert list(after["spec"]["nodeSelector"]) == ["own", "zone", "pool", "os"]
    assert requirements_of(after) == ["device In [a100]", "partition In [1g.5gb]", "life In [spot]"]


TOLERATING = for_gpus("tolerations: [{key: gpu, operator: Equal, value: a, effect: NoSchedule}]")
WANTED = toleration("gpu=a")

TOLERATIONS: list[tuple[str, list[Json], bool]] = [
    # the pod's own, whether the policy's is added to them
    ("none-that-covers-it", [toleration("tpu"), toleration("gpu=b")], True),
    ("the-same", [WANTED], False),
    ("one-that-covers-it", [toleration("tpu"), toleration("gpu")], False),
    ("everything", [{"operator": "Exists"}], False),
    ("not-yet-for-ever", [{"key": "gpu", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}], True),
    ("an-operator-that-we-do-not-know", [{"key": "gpu", "operator": "Lt", "value": "5"}], True),
    ("one-that-is-there-twice", [toleration("tpu"), toleration("tpu")], True),
]


@pytest.mark.parametrize(("own", "is_added"), [case[1:] for case in TOLERATIONS], ids=[case[0] for case in TOLERATIONS])
def test_a_toleration_is_added_at_the_end_unless_another_covers_it(own: list[Json], is_added: bool) -> None:
    after = reviewed(pod(device(), tolerations=own), TOLERATING)["spec"]["tolerations"]
    assert after == [*own, *([WANTED] if is_added else [])]


def two_lists(first: str, second: str) -> str:
    """A policy with tolerations for GPUs, and others for every pod."""
    return for_gpus(f"tolerations: [{first}]").removesuffix("}") + f", defaults: {{tolerations: [{second}]}}}}"


EXISTS, EQUAL = "{key: gpu, operator: Exists}", "{key: gpu, value: a}"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param(two_lists(EXISTS, EXISTS), ["gpu op=Exists"], id="the same"),
        pytest.param(two_lists(EXISTS, EQUAL), ["gpu op=Exists"], id="the broader first"),
        pytest.param(two_lists(EQUAL, EXISTS), ["gpu=a", "gpu op=Exists"], id="the narrower first"),
        pytest.param(two_lists(f"{EXISTS}, {EXISTS}", ""), ["gpu op=Exists"], id="twice in one list"),
    ],
)
def test_no_toleration_is_added_that_an_earlier_rule_added(spec: str, expected: list[str]) -> None:
    assert tolerations_of(reviewed(pod(device()), spec)) == expected


SECONDS = for_gpus("tolerations: [{key: gpu, operator: Exists, effect: NoExecute, tolerationSeconds: 60}]")


def test_every_field_of_a_policys_toleration_is_written_and_no_other() -> None:
    after = reviewed(pod(device()), SECONDS)["spec"]["tolerations"]
    assert after == [{"key": "gpu", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60}]


# G3: node selector


def two_selectors(resource: str, selector: str, other: str, of_other: str) -> str:
    entries = f"{{resource: {resource}, nodeSelector: {selector}}}, {{resource: {other}, nodeSelector: {of_other}}}"
    return f"scheduling: {{resources: [{entries}]}}"


GROUPS = for_gpus("nodeSelector: {node-group: gpu, zone: a}")
DEFAULT_GROUP = "defaults: {nodeSelector: {node-group: general, os: linux}}"

SELECTORS: list[tuple[str, Json | None, str, Json]] = [
    ("free-keys", {"x": "y"}, GROUPS, {"x": "y", "node-group": "gpu", "zone": "a"}),
    ("its-own-equal-value", {"node-group": "gpu"}, GROUPS, {"node-group": "gpu", "zone": "a"}),
    ("a-default", None, f"scheduling: {{{DEFAULT_GROUP}}}", {"node-group": "general", "os": "linux"}),
    ("a-default-yields-to-the-pod", {"node-group": "cpu"}, f"scheduling: {{{DEFAULT_GROUP}}}",
     {"node-group": "cpu", "os": "linux"}),
    ("a-default-yields-to-a-rule", None,
     f"scheduling: {{resources: [{{resource: {GPU}, nodeSelector: {{node-group: gpu}}}}], {DEFAULT_GROUP}}}",
     {"node-group": "gpu", "os": "linux"}),
    ("two-rules-that-agree", None,
     two_selectors(GPU, "{a: b}", "nvidia.com/*", "{a: b}"), {"a": "b"}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "spec", "expected"), [case[1:] for case in SELECTORS], ids=[case[0] for case in SELECTORS]
)
def test_a_label_is_added_to_the_node_selector_where_its_key_is_free(
    given: Json | None, spec: str, expected: Json
) -> None:
    assert reviewed(pod(device(), nodeSelector=given), spec)["spec"]["nodeSelector"] == expected


CONFLICTS = [
    ("a-resource", pod(device(), nodeSelector={"node-group": "cpu"}), GROUPS,
     ['pod: nodeSelector node-group: "cpu" is set and "gpu" is required for nvidia.com/gpu']),
    ("the-empty-value-is-one", pod(device(), nodeSelector={"node-group": ""}), GROUPS,
     ['nodeSelector node-group: "" is set and "gpu" is required']),
    ("every-one-is-named", pod(device(), nodeSelector={"node-group": "cpu", "zone": "b"}), GROUPS,
     ['node-group: "cpu" is set and "gpu"', 'zone: "b" is set and "a"']),
    ("interruptible", pod(labels={"interruptible": "true"}, nodeSelector={"pool": "steady"}),
     "scheduling: {interruptible: {nodeSelector: {pool: spot}}}",
     ['pod: nodeSelector pool: "steady" is set and "spot" is required for interruptible pods']),
    ("two-rules", pod(device(), device("second", resource=TPU)),
     two_selectors(GPU, "{a: b}", TPU, "{a: c}"),
     ['nodeSelector a: "b" is set and "c" is required for google.com/tpu', "policy policy-0"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("task", "spec", "parts"), [case[1:] for case in CONFLICTS], ids=[case[0] for case in CONFLICTS]
)
def test_a_different_value_in_the_node_selector_is_denied_with_both_values(
    task: Json, spec: str, parts: list[str]
) -> None:
    message = denial(task, spec)
    assert [part for part in parts if part not in message] == [], message


# G3: node affinity

IN_POOLS = "scheduling: {interruptible: {otherwise: {key: pool, operator: In, values: [a, b]}}}"
POOLS = "pool In a,b"
ONE_NODE = [{"key": "metadata.name", "operator": "In", "values": ["node-1"]}]
SPREAD = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "zone"}]}}
PREFERRED = {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": term("pool In c")}]}

TERMS: list[tuple[str, Json | None, Json]] = [
    ("no-affinity", None, required(term(POOLS))),
    ("an-empty-affinity", {}, required(term(POOLS))),
    ("no-node-affinity", {"nodeAffinity": None}, required(term(POOLS))),
    ("an-empty-node-affinity", {"nodeAffinity": {}}, required(term(POOLS))),
    ("pod-affinity-stays", SPREAD, SPREAD | required(term(POOLS))),
    ("preferences-stay", {"nodeAffinity": PREFERRED}, required(term(POOLS), **PREFERRED)),
    ("a-list-without-terms", required(), required(term(POOLS))),
    ("one-term", required(term("zone In x")), required(term("zone In x", POOLS))),
    ("every-term", required(term("zone In x"), term("zone In y", "os Exists")),
     required(term("zone In x", POOLS), term("zone In y", "os Exists", POOLS))),
    ("a-term-with-fields-only", required(term(fields=ONE_NODE)), required(term(POOLS, fields=ONE_NODE))),
    ("a-term-with-fields-and-an-empty-list", required(term(fields=ONE_NODE) | {"matchExpressions": []}),
     required(term(POOLS, fields=ONE_NODE))),
    ("an-empty-term-stays-empty", required({}, term("zone In x")), required({}, term("zone In x", POOLS))),
    ("a-term-of-empty-lists-too", required({"matchExpressions": [], "matchFields": []}, term("zone In x")),
     required({"matchExpressions": [], "matchFields": []}, term("zone In x", POOLS))),
    ("where-every-term-is-empty-nothing-is-added", required({}, {}), required({}, {})),
    ("only-where-it-is-not-implied", required(term("pool In a"), term("zone In x")),
     required(term("pool In a"), term("zone In x", POOLS))),
    ("where-it-is-implied-nothing-is-added", required(term("pool In b")), required(term("pool In b"))),
    ("what-is-wider-does-not-imply-it", required(term("pool In a,b,c")), required(term("pool In a,b,c", POOLS))),
    ("fields-do-not-imply-it", required(term(fields=[expression("pool In a")])),
     required(term(POOLS, fields=[expression("pool In a")]))),
]  # fmt: skip


@pytest.mark.parametrize(("given", "expected"), [case[1:] for case in TERMS], ids=[case[0] for case in TERMS])
def test_a_requirement_holds_in_every_term_that_fits_any_node(given: Json | None, expected: Json) -> None:
    assert reviewed(pod(affinity=given), IN_POOLS)["spec"]["affinity"] == expected


@pytest.mark.parametrize("value", ["a", "b"])
def test_what_the_node_selector_says_implies_a_requirement(value: str) -> None:
    assert decided(pod(nodeSelector={"pool": value}), IN_POOLS).outcome == "unchanged"


def test_what_a_rule_adds_to_the_node_selector_implies_a_requirement() -> None:
    spec = for_gpus("nodeSelector: {accelerator: a100}", "device: {label: accelerator, allowed: [a100, h100]}")
    after = reviewed(pod(device()), spec)["spec"]
    assert (after["nodeSelector"], "affinity" in after) == ({"accelerator": "a100"}, False)


NO_NODE: list[tuple[str, Json, bool]] = [
    ("another-value", {"affinity": required(term("pool In c"))}, True),
    ("none-of-them", {"affinity": required(term("pool NotIn a,b,c"))}, True),
    ("no-such-label", {"affinity": required(term("pool DoesNotExist"))}, True),
    ("by-the-node-selector", {"nodeSelector": {"pool": "c"}}, True),
    ("in-every-term", {"affinity": required(term("pool In c"), term("pool In d"))}, True),
    ("in-one-of-two-terms", {"affinity": required(term("pool In c"), term("zone In x"))}, False),
    ("beside-an-empty-term", {"affinity": required(term("pool In c"), {})}, True),
    ("one-of-them", {"affinity": required(term("pool NotIn a"))}, False),
    ("any-value", {"affinity": required(term("pool Exists"))}, False),
]


@pytest.mark.parametrize(("fields", "is_warned"), [case[1:] for case in NO_NODE], ids=[case[0] for case in NO_NODE])
def test_a_pod_that_no_node_can_fit_any_more_is_warned(fields: Json, is_warned: bool) -> None:
    decision = decided(pod(**fields), IN_POOLS)
    found = [
        warning
        for warning in decision.warnings
        if "no node fits: another requirement excludes pool In [a, b]" in warning
    ]
    assert (decision.outcome, len(found)) == ("changed", int(is_warned))


# The patch: whole parents where there are none, else what is added and nothing more


def at(path: str, value: Any) -> Operation:
    return Operation("add", path, value)


def as_sent(operations: list[Operation]) -> Any:
    return msgspec.json.decode(msgspec.json.encode(operations))


AFFINITY = "/spec/affinity"
NEEDED = f"{AFFINITY}/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution"
ADDED = expression(POOLS)
TOLERANT = "scheduling: {defaults: {tolerations: [{key: gpu, operator: Equal, value: a, effect: NoSchedule}]}}"
LABELLED = "scheduling: {defaults: {nodeSelector: {example.com/pool: a, zone: b}}}"
SELECTED = {"example.com/pool": "a", "zone": "b"}

PATCHES: list[tuple[str, str, Json, list[Operation]]] = [
    ("no-tolerations", TOLERANT, {}, [at("/spec/tolerations", [WANTED])]),
    ("tolerations-null", TOLERANT, {"tolerations": None}, [at("/spec/tolerations", [WANTED])]),
    ("an-empty-list", TOLERANT, {"tolerations": []}, [at("/spec/tolerations/-", WANTED)]),
    ("a-list", TOLERANT, {"tolerations": [toleration("x")]}, [at("/spec/tolerations/-", WANTED)]),
    ("no-node-selector", LABELLED, {}, [at("/spec/nodeSelector", SELECTED)]),
    ("node-selector-null", LABELLED, {"nodeSelector": None}, [at("/spec/nodeSelector", SELECTED)]),
    ("an-empty-map", LABELLED, {"nodeSelector": {}},
     [at("/spec/nodeSelector/example.com~1pool", "a"), at("/spec/nodeSelector/zone", "b")]),
    ("a-map", LABELLED, {"nodeSelector": {"zone": "c"}}, [at("/spec/nodeSelector/example.com~1pool", "a")]),
    ("no-affinity", IN_POOLS, {}, [at(AFFINITY, required({"matchExpressions": [ADDED]}))]),
    ("an-empty-affinity", IN_POOLS, {"affinity": {}},
     [at(f"{AFFINITY}/nodeAffinity", required({"matchExpressions": [ADDED]})["nodeAffinity"])]),
    ("preferences", IN_POOLS, {"affinity": {"nodeAffinity": PREFERRED}},
     [at(NEEDED, {"nodeSelectorTerms": [{"matchExpressions": [ADDED]}]})]),
    ("a-list-without-terms", IN_POOLS, {"affinity": required()},
     [at(f"{NEEDED}/nodeSelectorTerms", [{"matchExpressions": [ADDED]}])]),
    ("terms", IN_POOLS, {"affinity": required(term("zone In x"), {}, term(fields=ONE_NODE))},
     [at(f"{NEEDED}/nodeSelectorTerms/0/matchExpressions/-", ADDED),
      at(f"{NEEDED}/nodeSelectorTerms/2/matchExpressions", [ADDED])]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("spec", "fields", "expected"), [case[1:] for case in PATCHES], ids=[case[0] for case in PATCHES]
)
def test_a_patch_adds_and_replaces_nothing(spec: str, fields: Json, expected: list[Operation]) -> None:
    operations = [each for each in decided(pod(**fields), spec).operations if each.path.startswith("/spec")]
    assert as_sent(operations) == as_sent(expected)


# G4: accelerators and their partitions

A100, H100 = "nvidia-tesla-a100", "nvidia-h100"
DEVICE = f"device: {{label: accelerator, names: {{a100: {A100}, h100: {H100}}}}}"
PARTITION = "partition: {label: slice}"
CHOICE = for_gpus(DEVICE, PARTITION)


def whole(text: str) -> str:
    """A policy that says what a whole device is."""
    return for_gpus(f"partition: {{label: slice, whole: {{{text}}}}}")


CHOICES: list[tuple[str, str, Json, list[str], list[str]]] = [
    # the policy, annotations, requirements, tolerations
    ("a-name", CHOICE, {ACCELERATOR: "A100"}, [f"accelerator In [{A100}]"], [f"accelerator={A100}:NoSchedule"]),
    ("a-name-in-any-case", CHOICE, {ACCELERATOR: "a100"}, [f"accelerator In [{A100}]"],
     [f"accelerator={A100}:NoSchedule"]),
    ("a-policys-name-in-any-case", for_gpus("device: {label: accelerator, names: {NVIDIA A10: a10}}"),
     {ACCELERATOR: "nvidia a10"}, ["accelerator In [a10]"], ["accelerator=a10:NoSchedule"]),
    ("a-labels-value", CHOICE, {ACCELERATOR: H100}, [f"accelerator In [{H100}]"], [f"accelerator={H100}:NoSchedule"]),
    ("a-labels-value-keeps-its-case", CHOICE, {ACCELERATOR: "Nvidia-L4"}, ["accelerator In [Nvidia-L4]"],
     ["accelerator=Nvidia-L4:NoSchedule"]),
    ("no-names", for_gpus("device: {label: accelerator}"), {ACCELERATOR: "A100"}, ["accelerator In [A100]"],
     ["accelerator=A100:NoSchedule"]),
    ("a-partition-without-a-device", CHOICE, {ACCELERATOR_PARTITION: "1g.5gb"}, ["slice In [1g.5gb]"],
     ["slice=1g.5gb:NoSchedule"]),
    ("both", CHOICE, {ACCELERATOR: "H100", ACCELERATOR_PARTITION: "2g.10gb"},
     [f"accelerator In [{H100}]", "slice In [2g.10gb]"],
     [f"accelerator={H100}:NoSchedule", "slice=2g.10gb:NoSchedule"]),
    ("neither", CHOICE, {}, [], []),
    ("a-whole-device", CHOICE, {ACCELERATOR_PARTITION: "none"}, ["slice DoesNotExist"], []),
    ("none-is-a-word-of-partitions-only", CHOICE, {ACCELERATOR: "none"}, ["accelerator In [none]"],
     ["accelerator=none:NoSchedule"]),
    ("whole-by-the-labels-value", whole("requirement: {operator: In, values: [full]}"),
     {ACCELERATOR_PARTITION: "none"}, ["slice In [full]"], []),
    ("whole-by-another-label", whole("requirement: {key: mig, operator: NotIn, values: ['on']}"),
     {ACCELERATOR_PARTITION: "none"}, ["mig NotIn [on]"], []),
    ("a-toleration-for-whole-devices", whole("toleration: {operator: Exists, effect: NoSchedule}"),
     {ACCELERATOR_PARTITION: "none"}, ["slice DoesNotExist"], ["slice:NoSchedule op=Exists"]),
    ("with-a-key-of-its-own", whole("toleration: {key: whole, value: 'yes', effect: NoExecute}"),
     {ACCELERATOR_PARTITION: "none"}, ["slice DoesNotExist"], ["whole=yes:NoExecute"]),
    ("what-whole-says-is-not-for-partitions", whole("toleration: {operator: Exists}"),
     {ACCELERATOR_PARTITION: "1g.5gb"}, ["slice In [1g.5gb]"], ["slice=1g.5gb:NoSchedule"]),
    ("by-a-glob", f"scheduling: {{resources: [{{resource: 'nvidia.com/*', {DEVICE}}}]}}", {ACCELERATOR: "a100"},
     [f"accelerator In [{A100}]"], [f"accelerator={A100}:NoSchedule"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("spec", "annotations", "requirements", "tolerations"), [case[1:] for case in CHOICES], ids=[c[0] for c in CHOICES]
)
def test_a_device_and_its_partition_are_required_and_their_taints_tolerated(
    spec: str, annotations: Json, requirements: list[str], tolerations: list[str]
) -> None:
    after = reviewed(pod(device(), annotations=annotations), spec)
    assert (requirements_of(after), tolerations_of(after)) == (requirements, tolerations)


def test_the_taint_is_tolerated_with_operator_value_and_effect() -> None:
    after = reviewed(pod(device(), annotations={ACCELERATOR: "A100"}), CHOICE)["spec"]["tolerations"]
    assert after == [{"key": "accelerator", "operator": "Equal", "value": A100, "effect": "NoSchedule"}]


KNOWN_NAMES = [
    ("a-name", CHOICE, "h100", False),
    ("a-labels-value", CHOICE, A100, False),
    ("a-policy-without-names", for_gpus("device: {label: accelerator}"), "L4", False),
    ("an-unknown-name", CHOICE, "L4", True),
]


@pytest.mark.parametrize(
    ("spec", "name", "is_warned"), [case[1:] for case in KNOWN_NAMES], ids=[case[0] for case in KNOWN_NAMES]
)
def test_a_name_that_no_policy_knows_is_a_labels_value_and_a_warning(spec: str, name: str, is_warned: bool) -> None:
    warnings = decided(pod(device(), annotations={ACCELERATOR: name}), spec).warnings
    text = f'annotation {ACCELERATOR}: "{name}" is none of a100, h100: taken as a label\'s value'
    assert (text in warnings) is is_warned


@pytest.mark.parametrize(("count", "end"), [(7, "v6"), (8, "v6, v7"), (9, "v6, v7, 1 more"), (20, "v6, v7, 12 more")])
def test_of_many_accepted_devices_a_message_has_the_first_eight(count: int, end: str) -> None:
    spec = for_gpus(f"device: {{label: kind, allowed: [{', '.join(f'v{number}' for number in range(count))}]}}")
    message = denial(pod(device(), annotations={ACCELERATOR: "other"}), spec)
    assert f"accepted: v0, v1, v2, v3, v4, v5, {end} (project" in message


ALLOWED = for_gpus(f"device: {{label: accelerator, names: {{a100: {A100}}}, allowed: [a100, {H100}]}}")

ALLOWED_DEVICES: list[tuple[str, Json, list[str]]] = [
    ("whoever-asks", pod(device()), [f"accelerator In [{A100}, {H100}]"]),
    ("one-of-them", pod(device(), annotations={ACCELERATOR: "A100"}), [f"accelerator In [{A100}]"]),
    ("one-of-them-by-value", pod(device(), annotations={ACCELERATOR: H100}), [f"accelerator In [{H100}]"]),
    ("whoever-asks-for-nothing", pod(), []),
    ("whoever-takes-it-back", pod(device(), annotations={LIMITS: "gpu=0"}), []),
]


@pytest.mark.parametrize(
    ("task", "expected"), [case[1:] for case in ALLOWED_DEVICES], ids=[case[0] for case in ALLOWED_DEVICES]
)
def test_with_allowed_every_pod_that_asks_is_kept_to_these_devices(task: Json, expected: list[str]) -> None:
    assert requirements_of(reviewed(task, ALLOWED)) == expected


TWO_CHOICES = f"""
scheduling:
  resources:
  - {{resource: {GPU}, {DEVICE}, {PARTITION}}}
  - {{resource: {TPU}, device: {{label: tpu-type}}, partition: {{label: topology}}}}
"""
BOTH = pod(device(), device("second", resource=TPU))
CHOICELESS = for_gpus("nodeSelector: {a: b}")


def annotated(task: Json, annotations: Json) -> Json:
    return {**task, "metadata": {**task["metadata"], "annotations": annotations}}


REFUSED: list[tuple[str, str, Json, Json, list[str]]] = [
    ("not-allowed", ALLOWED, pod(device()), {ACCELERATOR: "L4"},
     [f'annotation {ACCELERATOR}: "L4" may not be used; accepted: {A100}, {H100}', "policy policy-0"]),
    ("a-name-that-is-not-allowed",
     for_gpus(f"device: {{label: accelerator, names: {{a100: {A100}, h100: {H100}}}, allowed: [H100]}}"),
     pod(device()), {ACCELERATOR: "a100"}, [f'"a100" may not be used; accepted: {H100}']),
    ("nothing-is-asked-for", CHOICE, pod(), {ACCELERATOR: "A100"},
     [f'annotation {ACCELERATOR}: "A100" is accepted for pods that ask for {GPU} only']),
    ("zero-is-asked-for", CHOICE, pod(device(amount="0")), {ACCELERATOR: "A100"}, [f"that ask for {GPU} only"]),
    ("something-else-is-asked-for", TWO_CHOICES, pod(device(resource="amd.com/gpu")), {ACCELERATOR: "A100"},
     [f"is accepted for pods that ask for {GPU} or {TPU} only"]),
    ("several-are-asked-for", TWO_CHOICES, BOTH, {ACCELERATOR: "A100"},
     [f'annotation {ACCELERATOR}: "A100" may be about any of {GPU}, {TPU}: ask for one resource with devices only']),
    ("no-policy-knows-devices", CHOICELESS, pod(device()), {ACCELERATOR: "A100"},
     [f'annotation {ACCELERATOR}: "A100": no policy knows of devices here; leave the annotation out']),
    ("no-policy-says-anything", "{}", pod(device()), {ACCELERATOR: "A100"}, ["no policy knows of devices here"]),
    ("no-text", CHOICE, pod(device()), {ACCELERATOR: ""},
     [f'annotation {ACCELERATOR}: "" is no device; accepted: a100, h100, or a value of the label accelerator']),
    ("no-value-of-a-label", CHOICE, pod(device()), {ACCELERATOR: "A100 or H100"},
     ['"A100 or H100" is no device; accepted: a100, h100']),
    ("a-long-one", CHOICE, pod(device()), {ACCELERATOR: "x" * 5000}, [f'"{"x" * 79}…" is no device']),
    ("a-partition-of-nothing", CHOICE, pod(), {ACCELERATOR_PARTITION: "none"},
     [f'annotation {ACCELERATOR_PARTITION}: "none" is accepted for pods that ask for {GPU} only']),
    ("a-partition-of-several", TWO_CHOICES, BOTH, {ACCELERATOR_PARTITION: "1g.5gb"},
     [f'"1g.5gb" may be about any of {GPU}, {TPU}: ask for one resource with partitions only']),
    ("no-policy-knows-partitions", for_gpus(DEVICE), pod(device()), {ACCELERATOR_PARTITION: "1g.5gb"},
     [f'annotation {ACCELERATOR_PARTITION}: "1g.5gb": no policy knows of partitions here']),
    ("no-text-of-a-partition", CHOICE, pod(device()), {ACCELERATOR_PARTITION: ""},
     [f'annotation {ACCELERATOR_PARTITION}: "" is no partition; accepted: none, or a value of the label slice']),
    ("no-value-of-the-partitions-label", CHOICE, pod(device()), {ACCELERATOR_PARTITION: "1g,5gb"},
     ['"1g,5gb" is no partition; accepted: none']),
    ("both-at-once", CHOICE, pod(device()), {ACCELERATOR: "", ACCELERATOR_PARTITION: ""},
     ["is no device", "is no partition"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("spec", "task", "annotations", "parts"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED]
)
def test_an_accelerator_that_cannot_be_given_is_denied_with_what_is_accepted(
    spec: str, task: Json, annotations: Json, parts: list[str]
) -> None:
    message = denial(annotated(task, annotations), spec)
    assert [part for part in parts if part not in message] == [], message


def test_of_two_resources_the_one_with_a_choice_is_meant() -> None:
    spec = f"scheduling: {{resources: [{{resource: {GPU}, {DEVICE}}}, {{resource: {TPU}, {PARTITION}}}]}}"
    after = reviewed(annotated(BOTH, {ACCELERATOR: "A100", ACCELERATOR_PARTITION: "2x2"}), spec)
    assert requirements_of(after) == [f"accelerator In [{A100}]", "slice In [2x2]"]


# G5: taints that are reserved for pods that ask


def reserving(word: str = "Warn", taint: str = "key: gpu, operator: Exists, effect: NoSchedule", more: str = "") -> str:
    entries = f"[{{resource: {GPU}, reserved: {word}, tolerations: [{{{taint}}}]}}, {{resource: {TPU}{more}}}]"
    return f"scheduling: {{resources: {entries}}}"


def tolerating(*tolerations: Json, on: Json | None = None, **fields: Any) -> Json:
    return pod(on or container(), tolerations=list(tolerations), **fields)


ALL_EFFECTS = "key: gpu, operator: Exists"
EVERYTHING: Json = {"operator": "Exists"}

JUDGED: list[tuple[str, str, Json, bool]] = [
    # the policy, the pod, whether it is warned
    ("no-tolerations", reserving(), pod(), False),
    ("another-key", reserving(), tolerating(toleration("tpu")), False),
    ("those-of-every-pod", reserving(),
     tolerating({"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute",
                 "tolerationSeconds": 300}), False),
    ("the-key", reserving(), tolerating(toleration("gpu")), True),
    ("the-key-with-a-value", reserving(), tolerating(toleration("gpu=a")), True),
    ("the-key-with-another-effect", reserving(), tolerating({"key": "gpu", "operator": "Exists",
                                                             "effect": "NoExecute"}), True),
    ("the-key-after-others", reserving(), tolerating(toleration("tpu"), toleration("gpu")), True),
    ("everything", reserving(), tolerating(EVERYTHING), True),
    ("everything-with-an-empty-key", reserving(), tolerating({"key": "", "operator": "Exists", "effect": ""}), True),
    ("every-taint-of-the-effect", reserving(), tolerating({"operator": "Exists", "effect": "NoSchedule"}), True),
    ("every-taint-of-another-effect", reserving(), tolerating({"operator": "Exists", "effect": "NoExecute"}), False),
    ("the-reserved-taint-has-another-effect", reserving(taint=ALL_EFFECTS + ", effect: NoExecute"),
     tolerating({"operator": "Exists", "effect": "NoSchedule"}), False),
    ("the-reserved-taint-has-every-effect", reserving(taint=ALL_EFFECTS),
     tolerating({"operator": "Exists", "effect": "NoExecute"}), True),
    ("off-by-default", reserving().replace("reserved: Warn, ", ""), tolerating(toleration("gpu")), False),
    ("off", reserving("Off"), tolerating(toleration("gpu")), False),
    ("a-toleration-of-everything-names-no-taint", reserving(taint="operator: Exists"), tolerating(EVERYTHING), False),
    # Those who may
    ("who-asks", reserving(), tolerating(toleration("gpu"), on=device()), False),
    ("who-asks-and-tolerates-everything", reserving(), tolerating(EVERYTHING, on=device()), False),
    ("who-asks-by-annotation", reserving(), tolerating(toleration("gpu"), annotations={LIMITS: "gpu=1"}), False),
    ("who-names-it-with-zero", reserving(), tolerating(toleration("gpu"), on=device(amount="0")), False),
    ("who-takes-it-back", reserving(), tolerating(toleration("gpu"), on=device(), annotations={LIMITS: "gpu=0"}),
     False),
    ("who-names-an-amount-that-is-not-computed-with", reserving(),
     tolerating(toleration("gpu"), on=device(amount="1e500")), False),
    ("who-asks-for-something-else", reserving(), tolerating(toleration("gpu"), on=device(resource=TPU)), True),
    ("who-asks-for-something-with-the-same-taint", reserving(more=f", tolerations: [{{{ALL_EFFECTS}}}]"),
     tolerating(toleration("gpu"), on=device(resource=TPU)), False),
    ("who-names-something-with-the-same-taint", reserving(more=f", tolerations: [{{{ALL_EFFECTS}}}]"),
     tolerating(toleration("gpu"), on=device(resource=TPU, amount="0")), False),
    ("who-names-nothing-with-the-same-taint", reserving(more=f", tolerations: [{{{ALL_EFFECTS}}}]"),
     tolerating(toleration("gpu")), True),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "task", "is_warned"), [case[1:] for case in JUDGED], ids=[case[0] for case in JUDGED])
def test_a_pod_that_tolerates_a_reserved_taint_and_does_not_ask_is_warned(
    spec: str, task: Json, is_warned: bool
) -> None:
    decision = decided(task, spec)
    assert decision.denial is None
    assert [warning for warning in decision.warnings if "reserved" in warning] == (
        [f"pod: tolerates {judged(task)}; gpu is reserved for pods that ask for {GPU}"] if is_warned else []
    )


def judged(task: Json) -> str:
    """What the last of its tolerations is for, in words."""
    last = task["spec"]["tolerations"][-1]
    if last.get("key"):
        return f'the taint "{last["key"]}"'
    return f"every {last['effect']} taint" if last.get("effect") else "every taint"


def sharing(section: str, taint: str = ALL_EFFECTS) -> str:
    return reserving().removesuffix("}") + f", {section}: {{tolerations: [{{{taint}}}]}}}}"


SHARED_KEYS = [
    ("defaults", sharing("defaults"), {}, False),
    ("interruptible-where-it-applies", sharing("interruptible"), {"labels": {"interruptible": "true"}}, False),
    ("interruptible-where-it-does-not", sharing("interruptible"), {}, True),
    ("defaults-that-tolerate-everything", sharing("defaults", "operator: Exists"), {}, False),
    ("defaults-that-tolerate-everything-of-the-effect",
     sharing("defaults", "operator: Exists, effect: NoSchedule"), {}, False),
    ("defaults-that-tolerate-everything-of-another-effect",
     sharing("defaults", "operator: Exists, effect: NoExecute"), {}, True),
]  # fmt: skip


@pytest.mark.parametrize(
    ("spec", "fields", "is_warned"), [case[1:] for case in SHARED_KEYS], ids=[case[0] for case in SHARED_KEYS]
)
def test_a_taint_that_other_rules_tolerate_too_is_not_judged(spec: str, fields: Json, is_warned: bool) -> None:
    warnings = decided(tolerating(toleration("gpu"), **fields), spec).warnings
    assert any("reserved" in warning for warning in warnings) is is_warned


def test_deny_refuses_what_warn_warns_of() -> None:
    decision = decided(tolerating(toleration("gpu")), reserving("Deny"))
    assert decision.denial is not None
    assert decision.denial.reason == "reserved"
    assert decision.denial.message == (
        f'pod: tolerates the taint "gpu"; gpu is reserved for pods that ask for {GPU} '
        "(project flytesnacks, domain development; policy policy-0)"
    )


def test_every_reserved_resource_is_judged_by_itself() -> None:
    spec = f"""
scheduling:
  resources:
  - {{resource: {GPU}, reserved: Deny, tolerations: [{{{ALL_EFFECTS}}}, {{key: gpu-big, operator: Exists}}]}}
  - {{resource: {TPU}, reserved: Deny, tolerations: [{{key: tpu, operator: Exists}}]}}
"""
    message = denial(tolerating(EVERYTHING), spec)
    assert f"gpu, gpu-big is reserved for pods that ask for {GPU}" in message
    assert f"tpu is reserved for pods that ask for {TPU}" in message
    assert GPU not in denial(tolerating(EVERYTHING, on=device()), spec)


def test_deny_in_mode_warn_is_a_warning() -> None:
    decision = decided(tolerating(toleration("gpu")), "mode: Warn\n" + reserving("Deny"))
    assert not decision.is_enforced
    assert decision.warnings == (
        f'would be denied: pod: tolerates the taint "gpu"; gpu is reserved for pods that ask for {GPU}',
    )


# Interruptible pods

SPOT = """
scheduling:
  interruptible:
    tolerations: [{key: spot, operator: Exists, effect: NoSchedule}]
    nodeSelector: {pool: spot}
    requirement: {key: life, operator: In, values: [spot]}
    otherwise: {key: life, operator: NotIn, values: [spot]}
"""

INTERRUPTIBLE_PODS: list[tuple[str, Json | None, Json | None, bool]] = [
    # annotations, labels, whether the pod is interruptible
    ("neither", None, None, False),
    ("the-label", None, {"interruptible": "true"}, True),
    ("the-label-says-no", None, {"interruptible": "false"}, False),
    ("the-label-in-another-case", None, {"interruptible": "True"}, False),
    ("the-label-with-another-word", None, {"interruptible": "yes"}, False),
    ("the-annotation", {INTERRUPTIBLE: "true"}, None, True),
    ("the-annotation-says-no", {INTERRUPTIBLE: "false"}, None, False),
    ("the-annotation-over-the-label", {INTERRUPTIBLE: "false"}, {"interruptible": "true"}, False),
    ("and-the-other-way-round", {INTERRUPTIBLE: "true"}, {"interruptible": "false"}, True),
    ("the-label-beside-another-annotation", {SHARED_MEMORY: "false"}, {"interruptible": "true"}, True),
]


@pytest.mark.parametrize(
    ("annotations", "labels", "is_interruptible"),
    [case[1:] for case in INTERRUPTIBLE_PODS],
    ids=[case[0] for case in INTERRUPTIBLE_PODS],
)
def test_a_pod_is_interruptible_by_its_annotation_else_by_flytes_label(
    annotations: Json | None, labels: Json | None, is_interruptible: bool
) -> None:
    after = reviewed(pod(annotations=annotations, labels=labels), SPOT)
    found = tolerations_of(after), after["spec"].get("nodeSelector"), requirements_of(after)
    assert found == (
        (["spot:NoSchedule op=Exists"], {"pool": "spot"}, ["life In [spot]"])
        if is_interruptible
        else ([], None, ["life NotIn [spot]"])
    )


@pytest.mark.parametrize("text", ["", "True", "yes", "1", " true"], ids=repr)
@pytest.mark.parametrize("spec", [SPOT, "{}"], ids=["with a policy", "without one"])
def test_an_interruptible_annotation_of_any_other_word_is_denied(text: str, spec: str) -> None:
    message = denial(pod(annotations={INTERRUPTIBLE: text}, labels={"interruptible": "true"}), spec)
    assert f'annotation {INTERRUPTIBLE}: "{text}" is not accepted: use true or false' in message


def test_where_no_policy_says_what_interruptible_means_it_means_nothing() -> None:
    decision = decided(pod(annotations={INTERRUPTIBLE: "true"}), ON_GPU_NODES)
    assert (decision.outcome, decision.warnings) == ("unchanged", ())


# G7: beside the API server's own plugin


def test_what_the_extended_resource_toleration_plugin_adds_is_not_added_again() -> None:
    spec = for_gpus(f"tolerations: [{{key: {GPU}, operator: Exists, effect: NoSchedule}}]")
    of_plugin = {"key": GPU, "operator": "Exists", "effect": "NoSchedule"}
    assert reviewed(pod(device()), spec)["spec"]["tolerations"] == [of_plugin]
    assert decided(tolerating(of_plugin, on=device()), spec).outcome == "unchanged"


def test_a_second_review_adds_nothing_to_what_every_rule_added() -> None:
    task = pod(device(), annotations=ALL_ASKED)
    decision = decided(reviewed(task, ALL_OF_IT), ALL_OF_IT)
    assert (decision.outcome, decision.warnings) == ("unchanged", ())


# G8: pods that have their node, and pods that are left alone

OF_DAEMON_SET = [{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "uid": "u", "controller": True}]
OF_JOB = [{"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "u", "controller": True}]
CONTROLLER = "system:serviceaccount:kube-system:daemon-set-controller"

DAEMON_SETS: list[tuple[str, list[Json] | None, str, bool]] = [
    # owners, user, whether the pod is placed
    ("its-pods", OF_DAEMON_SET, CONTROLLER, False),
    ("its-pods-by-a-controller-manager-without-accounts", OF_DAEMON_SET, "system:kube-controller-manager", False),
    ("one-of-its-owners", [*OF_JOB, *OF_DAEMON_SET], CONTROLLER, False),
    ("the-owner-alone", OF_DAEMON_SET, "admin", True),
    ("the-owner-by-another-controller", OF_DAEMON_SET, "system:serviceaccount:kube-system:job-controller", True),
    ("the-owner-by-an-account-of-that-name", OF_DAEMON_SET, "system:serviceaccount:x:daemon-set-controller", True),
    ("the-user-alone", None, CONTROLLER, True),
    ("the-user-for-another-owner", OF_JOB, "system:kube-controller-manager", True),
]


@pytest.mark.parametrize(
    ("owners", "user", "is_placed"), [case[1:] for case in DAEMON_SETS], ids=[case[0] for case in DAEMON_SETS]
)
def test_pods_of_daemon_sets_are_bounded_and_not_placed(owners: list[Json] | None, user: str, is_placed: bool) -> None:
    task = pod(device(amount="4"), annotations={ACCELERATOR: "a100"})
    task["metadata"]["ownerReferences"] = owners
    spec = ALL_OF_IT.replace(", allowed: [a100, h100]", "")
    after = reviewed(task, spec + "container: {max: {gpu: 2}}", userInfo={"username": user})["spec"]
    assert after["containers"][0]["resources"]["limits"] == {GPU: "2"}
    assert {field for field in ("tolerations", "nodeSelector", "affinity") if field in after} == (
        {"tolerations", "nodeSelector", "affinity"} if is_placed else set()
    )


def on_its_node(task: Json) -> Json:
    """The pod as the DaemonSet controller makes it of a template."""
    task["metadata"]["ownerReferences"] = OF_DAEMON_SET
    task["spec"]["affinity"] = required(term(fields=[{"key": "metadata.name", "operator": "In", "values": ["n"]}]))
    return task


BY_ITS_CONTROLLER: Json = {"userInfo": {"username": CONTROLLER}}

UNUSED = [
    # the annotation, its value, the policy
    ("a-device", ACCELERATOR, "A100", CHOICE),
    ("no-device", ACCELERATOR, "", CHOICE),
    ("a-device-that-no-policy-knows-of", ACCELERATOR, "A100", "{}"),
    ("a-device-that-is-allowed", ACCELERATOR, "a100", ALLOWED),
    ("a-partition", ACCELERATOR_PARTITION, "1g.5gb", CHOICE),
    ("no-partition", ACCELERATOR_PARTITION, "?", CHOICE),
    ("an-interruption", INTERRUPTIBLE, "true", SPOT),
    ("no-interruption", INTERRUPTIBLE, "x", SPOT),
]


@pytest.mark.parametrize(("key", "value", "spec"), [case[1:] for case in UNUSED], ids=[case[0] for case in UNUSED])
def test_an_annotation_of_scheduling_has_no_effect_on_a_pod_that_has_its_node_and_a_warning_says_so(
    key: str, value: str, spec: str
) -> None:
    task = on_its_node(pod(device(), annotations={key: value}, nodeSelector={"accelerator": A100}))
    decision = decided(task, spec, **BY_ITS_CONTROLLER)
    assert (decision.outcome, decision.denial) == ("unchanged", None)
    assert decision.warnings == (f"annotation {key} has no effect: the pod has its node already",)


def test_a_node_selector_that_the_policy_contradicts_is_no_reason_to_refuse_a_pod_that_has_its_node() -> None:
    task = on_its_node(pod(device(), nodeSelector={"node-group": "cpu"}))
    assert decided(task, ON_GPU_NODES, **BY_ITS_CONTROLLER).outcome == "unchanged"


def test_a_pod_that_has_its_node_gets_shared_memory_as_every_other() -> None:
    task = on_its_node(pod(container(limits={"memory": "1Gi"}), annotations={SHARED_MEMORY: "2Gi"}))
    after = reviewed(task, "{}", **BY_ITS_CONTROLLER)["spec"]
    assert after["volumes"] == [{"name": "task-resources-shm", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}}]
    task["metadata"]["annotations"] = {SHARED_MEMORY: "x"}
    assert '"x" is not accepted' in denial(task, "{}", **BY_ITS_CONTROLLER)


@pytest.mark.parametrize(("spec", "task", "is_warned"), [case[1:] for case in JUDGED], ids=[case[0] for case in JUDGED])
def test_what_a_pod_that_has_its_node_tolerates_is_judged_as_of_every_other(
    spec: str, task: Json, is_warned: bool
) -> None:
    others = [text for text in decided(task, spec).warnings if "reserved" in text]
    assert bool(others) is is_warned
    owned = on_its_node(copy.deepcopy(task))
    assert [text for text in decided(owned, spec, **BY_ITS_CONTROLLER).warnings if "reserved" in text] == others
    refused = decided(owned, spec.replace("reserved: Warn", "reserved: Deny"), **BY_ITS_CONTROLLER).denial
    assert (refused is not None and refused.reason == "reserved") is is_warned


@pytest.mark.parametrize(
    ("spec", "fields", "is_warned"), [case[1:] for case in SHARED_KEYS], ids=[case[0] for case in SHARED_KEYS]
)
def test_what_the_rules_tolerate_for_others_a_pod_that_has_its_node_may_tolerate_itself(
    spec: str, fields: Json, is_warned: bool
) -> None:
    task = on_its_node(tolerating(toleration("gpu"), **fields))
    assert any("reserved" in text for text in decided(task, spec, **BY_ITS_CONTROLLER).warnings) is is_warned


def test_a_pod_that_has_its_node_and_names_a_device_that_is_not_allowed_is_refused_as_every_other() -> None:
    annotations = {ACCELERATOR: "L4"}
    task = on_its_node(pod(device(), annotations=annotations, nodeSelector={"accelerator": A100}))
    decision = decided(task, ALLOWED, **BY_ITS_CONTROLLER)
    assert (decision.denial, decision.warnings) == (decided(pod(device(), annotations=annotations), ALLOWED).denial, ())


OWN_DEVICES: list[tuple[str, Json, list[Json], bool]] = [
    # the node selector, the terms of node affinity, whether only nodes with an allowed device are meant
    ("nothing", {}, [], False),
    ("an-allowed-device", {"accelerator": A100}, [], True),
    ("another-device", {"accelerator": "l4"}, [], False),
    ("a-label-of-another-name", {"accelerators": A100}, [], False),
    ("allowed-devices-in-every-term", {}, [term(f"accelerator In {A100}"), term(f"accelerator In {H100}")], True),
    ("one-term-without", {}, [term(f"accelerator In {A100}"), term("pool Exists")], False),
    ("one-device-too-many", {}, [term(f"accelerator In {A100},l4")], False),
    ("any-device", {}, [term("accelerator Exists")], False),
    ("all-but-one", {}, [term("accelerator NotIn l4")], False),
    ("a-selector-beside-terms", {"accelerator": H100}, [term("pool Exists"), term("zone Exists")], True),
]


@pytest.mark.parametrize(
    ("selector", "terms", "is_fine"), [case[1:] for case in OWN_DEVICES], ids=[case[0] for case in OWN_DEVICES]
)
def test_a_pod_that_has_its_node_must_require_an_allowed_device_itself(
    selector: Json, terms: list[Json], is_fine: bool
) -> None:
    task = on_its_node(pod(device(), nodeSelector=selector))
    pins = task["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    pins["nodeSelectorTerms"] = [{**pins["nodeSelectorTerms"][0], **each} for each in terms or [{}]]
    decision = decided(task, ALLOWED, **BY_ITS_CONTROLLER)
    assert decision.outcome == ("unchanged" if is_fine else "denied")
    assert decision.denial is None or decision.denial.reason == "accelerator"


def test_the_refusal_of_a_device_that_nobody_chose_says_what_to_add_to_the_template() -> None:
    assert denial(on_its_node(pod(device())), ALLOWED, **BY_ITS_CONTROLLER) == (
        f"pod: asks for {GPU} and has its node already: add a nodeSelector of accelerator to its template; "
        f"accepted: {A100}, {H100} (project flytesnacks, domain development; policy policy-0)"
    )
    another = on_its_node(pod(device(), nodeSelector={"accelerator": "l4"}))
    assert denial(another, ALLOWED, **BY_ITS_CONTROLLER).startswith(
        f'pod: nodeSelector accelerator: "l4" may not be used; accepted: {A100}, {H100} ('
    )


@pytest.mark.parametrize(
    "task", [pod(), pod(device(amount="0")), pod(device(resource=TPU))], ids=["nothing", "zero", "another"]
)
def test_a_pod_that_has_its_node_and_does_not_ask_need_not_say_which_device(task: Json) -> None:
    assert decided(on_its_node(task), ALLOWED, **BY_ITS_CONTROLLER).outcome == "unchanged"


def test_mirror_pods_are_not_placed() -> None:
    mirror = pod(device(), annotations={"kubernetes.io/config.mirror": "x"})
    node = {"username": "system:node:n", "groups": ["system:nodes"]}
    assert decided(mirror, ON_GPU_NODES, userInfo=node).outcome == "skipped"
    assert decided(mirror, ON_GPU_NODES).outcome == "changed", "the annotation alone anybody can write"


def test_windows_pods_are_placed_as_others() -> None:
    after = reviewed(pod(device(), os={"name": "windows"}), ON_GPU_NODES)
    assert after["spec"]["nodeSelector"] == {"node-group": "gpu"}


# Where scheduling has no say: resizes and the second look (section 5)


def test_a_resize_is_not_placed() -> None:
    old = pod(container(limits={"cpu": "1", GPU: "1"}), annotations={ACCELERATOR: "", INTERRUPTIBLE: "x"})
    new = pod(container(limits={"cpu": "2", GPU: "1"}), annotations={ACCELERATOR: "", INTERRUPTIBLE: "x"})
    assert decided(new, ALL_OF_IT, old=old).outcome == "unchanged"


UNJUDGED = [
    ("what-would-be-added", pod(device()), ALL_OF_IT),
    ("a-conflict", pod(device(), nodeSelector={"node-group": "cpu"}), GROUPS),
    ("a-reserved-taint", tolerating(toleration("gpu")), reserving("Deny")),
    ("a-device-that-may-not-be-used", pod(device(), annotations={ACCELERATOR: "L4"}), ALLOWED),
    ("annotations-that-cannot-be-used", pod(annotations={INTERRUPTIBLE: "x", SHARED_MEMORY: "x"}), SPOT),
]


@pytest.mark.parametrize(("task", "spec"), [case[1:] for case in UNJUDGED], ids=[case[0] for case in UNJUDGED])
def test_the_second_look_judges_nothing_of_scheduling(task: Json, spec: str) -> None:
    decision = decided(task, spec, endpoint="validate")
    assert (decision.outcome, decision.denial, decision.warnings) == ("unchanged", None, ())


# Section 8: how it is explained


def test_every_addition_is_one_record() -> None:
    changes = decided(pod(device(), annotations=ALL_ASKED), ALL_OF_IT).changes
    assert [(c.container, c.side, c.resource, c.before, c.after, c.rule) for c in changes] == [
        (None, "tolerations", GPU, None, "first op=Exists", "resource"),
        (None, "tolerations", GPU, None, "second op=Exists", "resource"),
        (None, "tolerations", GPU, None, "third op=Exists", "resource"),
        (None, "nodeSelector", GPU, None, "zone=a", "resource"),
        (None, "tolerations", GPU, None, "device=a100:NoSchedule", "accelerator"),
        (None, "nodeAffinity", GPU, None, "device In [a100]", "accelerator"),
        (None, "tolerations", GPU, None, "partition=1g.5gb:NoSchedule", "accelerator-partition"),
        (None, "nodeAffinity", GPU, None, "partition In [1g.5gb]", "accelerator-partition"),
        (None, "tolerations", "", None, "spot op=Exists", "interruptible"),
        (None, "nodeSelector", "", None, "pool=spot", "interruptible"),
        (None, "nodeAffinity", "", None, "life In [spot]", "interruptible"),
        (None, "tolerations", "", None, "last op=Exists", "scheduling-default"),
        (None, "nodeSelector", "", None, "os=linux", "scheduling-default"),
        ("main", "volumes", "shared-memory", None, "emptyDir Memory 1Gi", "shared-memory"),
    ]
    assert {(c.policy, c.scope) for c in changes[:-1]} == {("policy-0", "platform")}


SCOPED = "scope: {project: flytesnacks}\n"

RULES: list[tuple[str, Json, str, str]] = [
    ("resource", pod(device()), ON_GPU_NODES, GPU),
    ("resource", pod(device(resource="nvidia.com/mig-1g.5gb")), ON_GPU_NODES.replace(GPU, "nvidia.com/mig-*"),
     "nvidia.com/mig-1g.5gb"),
    ("accelerator", pod(device(), annotations={ACCELERATOR: "A100"}), CHOICE, GPU),
    ("accelerator-partition", pod(device(), annotations={ACCELERATOR_PARTITION: "none"}), CHOICE, GPU),
    ("allowed-accelerators", pod(device()), ALLOWED, GPU),
    ("interruptible", pod(labels={"interruptible": "true"}), SPOT, ""),
    ("not-interruptible", pod(), SPOT, ""),
    ("scheduling-default", pod(), TOLERANT, ""),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "task", "spec", "resource"), RULES, ids=[f"{case[0]} {case[3]}" for case in RULES])
def test_a_record_names_its_rule_and_the_policy_that_says_so(rule: str, task: Json, spec: str, resource: str) -> None:
    changes = decided(task, "contact: '#platform'", SCOPED + spec).changes
    assert {(c.rule, c.resource, c.policy, c.scope) for c in changes} == {
        (rule, resource, "policy-1", "project flytesnacks")
    }


def test_of_several_policies_each_value_is_its_own_policys() -> None:
    project = SCOPED + for_gpus("nodeSelector: {zone: a}")
    changes = decided(pod(device()), ON_GPU_NODES, project).changes
    assert [(c.after, c.policy) for c in changes] == [("node-group=gpu", "policy-0"), ("zone=a", "policy-1")]


def test_a_requirement_in_several_terms_is_one_record() -> None:
    task = pod(affinity=required(term("zone In x"), term("zone In y")))
    assert [c.after for c in decided(task, IN_POOLS).changes] == ["pool In [a, b]"]


def test_additions_that_the_pod_asked_for_are_warnings_and_defaults_are_not() -> None:
    assert decided(pod(device(), annotations=ALL_ASKED), ALL_OF_IT).warnings == (
        "pod: toleration first op=Exists added (asks for nvidia.com/gpu, policy policy-0)",
        "pod: toleration second op=Exists added (asks for nvidia.com/gpu, policy policy-0)",
        "pod: toleration third op=Exists added (asks for nvidia.com/gpu, policy policy-0)",
        "pod: node selector zone=a added (asks for nvidia.com/gpu, policy policy-0)",
        "pod: toleration device=a100:NoSchedule added (accelerator, policy policy-0)",
        "pod: node affinity device In [a100] added (accelerator, policy policy-0)",
        "pod: toleration partition=1g.5gb:NoSchedule added (accelerator-partition, policy policy-0)",
        "pod: node affinity partition In [1g.5gb] added (accelerator-partition, policy policy-0)",
        "pod: toleration spot op=Exists added (interruptible, policy policy-0)",
        "pod: node selector pool=spot added (interruptible, policy policy-0)",
        "and 2 more",
    )


@pytest.mark.parametrize("spec", [TOLERANT, LABELLED, IN_POOLS], ids=["toleration", "label", "not interruptible"])
def test_what_every_pod_gets_is_no_warning(spec: str) -> None:
    decision = decided(pod(), spec)
    assert (decision.outcome, decision.warnings) == ("changed", ())


def test_allowed_devices_are_a_warning() -> None:
    text = f"pod: node affinity accelerator In [{A100}, {H100}] added (allowed-accelerators, policy policy-0)"
    assert decided(pod(device()), ALLOWED).warnings == (text,)


# E2: `applied` after a second patch

FIELDS = ("tolerations", "nodeSelector", "nodeAffinity", "volumes")


def applied(task: Json) -> list[Json]:
    changes: list[Json] = json.loads(task["metadata"]["annotations"][APPLIED])["changes"]
    return changes


def placed() -> Json:
    """A pod with all that a policy adds, and no longer with what asked for it: nothing is added again."""
    task = reviewed(pod(device(), annotations=ALL_ASKED), ALL_OF_IT)
    for asked in ALL_ASKED:
        del task["metadata"]["annotations"][asked]
    return task


def applied_after_another_patch(task: Json) -> list[Json]:
    """The records that are left beside those of a container that came later."""
    task["spec"]["containers"].append(container("late", limits={"cpu": "8"}))
    *records, limit, request = applied(reviewed(task, "container: {max: {cpu: 4}}"))
    assert (limit["container"], request["container"]) == ("late", "late")
    return [record for record in records if record["container"] != "main" or record["side"] == "volumes"]


def test_records_of_additions_stay_while_what_was_added_is_there() -> None:
    task = placed()
    before = applied(task)
    assert {record["side"] for record in before} == set(FIELDS)
    assert applied_after_another_patch(task) == before


def without(task: Json, field: str) -> Json:
    """The pod with something else in that field than what was added."""
    spec = task["spec"]
    match field:
        case "tolerations":
            spec["tolerations"] = [toleration("first")]
        case "nodeSelector":
            spec["nodeSelector"] = {"zone": "b", "x": "spot"}
        case "nodeAffinity":
            spec["affinity"] = required(term("device In a100,h100", fields=[expression("partition In 1g.5gb")]))
        case "volumes":
            spec["containers"][0]["volumeMounts"] = [{"name": "own", "mountPath": "/dev/shm"}]
    return task


@pytest.mark.parametrize("field", FIELDS)
def test_records_of_what_is_no_longer_there_go(field: str) -> None:
    sides = {record["side"] for record in applied_after_another_patch(without(placed(), field))}
    assert sides == {*FIELDS} - {field}


def test_what_is_added_again_is_recorded_once() -> None:
    task = reviewed(pod(device()), TOLERATING)
    task["spec"]["tolerations"] = []
    assert [record["to"] for record in applied(reviewed(task, TOLERATING))] == ["gpu=a:NoSchedule"]


def test_a_pod_whose_additions_are_all_there_keeps_its_record() -> None:
    task = reviewed(pod(device()), TOLERATING)
    assert reviewed(task, TOLERATING) == task


# Policies that say one thing in two places


def test_names_are_known_to_every_entry_with_the_same_label() -> None:
    spec = f"""
scheduling:
  resources:
  - {{resource: {GPU}, device: {{label: kind, names: {{A100: x}}}}}}
  - {{resource: nvidia.com/*, device: {{label: kind, allowed: [a100]}}}}
"""
    decision = decided(pod(device(), annotations={ACCELERATOR: "a100"}), spec)
    assert [change.after for change in decision.changes if change.side == "nodeAffinity"] == ["kind In [x]"]


def test_a_name_of_any_form_may_be_allowed() -> None:
    spec = for_gpus("device: {label: kind, names: {Tesla V100: v100}, allowed: [tesla v100]}")
    decision = decided(pod(device()), spec)
    assert [change.after for change in decision.changes if change.side == "nodeAffinity"] == ["kind In [v100]"]


def test_a_default_label_gives_way_to_a_required_affinity() -> None:
    spec = "scheduling: {defaults: {nodeSelector: {zone: a, tier: x}}}"
    task = reviewed(pod(affinity=required(term("zone In b"))), spec)
    assert task["spec"]["nodeSelector"] == {"tier": "x"}


def test_a_label_that_the_pods_affinity_excludes_is_warned_of() -> None:
    decision = decided(pod(device(), affinity=required(term("zone In b"))), for_gpus("nodeSelector: {zone: a}"))
    assert f"pod: no node fits: another requirement excludes zone=a, added for {GPU}" in decision.warnings


def test_an_annotated_zero_names_the_resource() -> None:
    task = tolerating(toleration("gpu"), annotations={"task-resources.io/limits": "gpu=0"})
    assert decided(task, reserving("Deny")).denial is None


def test_who_may_choose_is_said_with_the_policy_that_gives_the_choice() -> None:
    message = denial(pod(annotations={ACCELERATOR: "A100"}), for_gpus("device: {label: kind}"))
    assert message.startswith(f'annotation {ACCELERATOR}: "A100" is accepted for pods that ask for {GPU} only')
    assert "policy policy-0" in message


def test_what_the_rules_tolerate_for_a_pod_is_not_judged_at_its_second_look() -> None:
    spec = f"""
scheduling:
  resources:
  - {{resource: {GPU}, device: {{label: accelerator}}}}
  - {{resource: {TPU}, reserved: Deny, tolerations: [{{key: accelerator, operator: Exists, effect: NoSchedule}}]}}
"""
    assert tolerations_of(reviewed(pod(device(), annotations={ACCELERATOR: "A100"}), spec)) == [
        "accelerator=A100:NoSchedule"
    ]


def test_what_kubernetes_itself_tolerates_for_a_pod_is_not_judged() -> None:
    """ExtendedResourceToleration: the name of each resource that the pod names."""
    entry = f"{{resource: {TPU}, reserved: Deny, tolerations: [{{key: {GPU}, operator: Exists}}]}}"
    spec = f"scheduling: {{resources: [{entry}]}}"
    assert decided(tolerating(toleration(GPU), on=device(amount="0")), spec).denial is None
    assert decided(tolerating(toleration(GPU)), spec).denial is not None
