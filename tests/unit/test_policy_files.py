"""Reading policies (P4, P5): what is accepted, and that every error has file, line and field."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from webhook.policy import PolicySet
from webhook.policy_document import MOST_ERRORS, schema_text
from webhook.projects import Scope
from webhook.sources.policy_files import InvalidPolicies, load_policies

HEAD = "apiVersion: task-resources.io/v1alpha1\nkind: TaskResourcePolicy\nmetadata: {name: %s}\n"
SCHEMA = Path(__file__).parents[2] / "webhook" / "policy.schema.json"


def load(folder: Path, text: str) -> PolicySet:
    file = folder / "policy.yaml"
    file.write_text(text)
    return load_policies([file])


def errors(folder: Path, text: str) -> list[str]:
    """The errors, without the folder."""
    with pytest.raises(InvalidPolicies) as caught:
        load(folder, text)
    return [str(error).removeprefix(f"{folder}/policy.yaml:") for error in caught.value.errors]


def spec_of(text: str, name: str = "a") -> str:
    return HEAD % name + "spec:\n" + "".join(f"  {line}\n" for line in text.splitlines())


def entry(fields: str) -> str:
    """A spec with one entry of scheduling.resources."""
    return f"scheduling: {{resources: [{{resource: a.com/b, {fields}}}]}}"


def toleration(fields: str) -> str:
    return entry(f"tolerations: [{{{fields}}}]")


def maximum(policies: PolicySet, resource: str) -> str:
    bound = policies.effective(Scope("x")).maximum.get(resource)
    assert bound is not None
    return str(bound.value)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("4", "4"),
        ('"4"', "4"),
        ("0.5", "500m"),
        (".5", "500m"),
        ("1e3", "1e3"),
        ("500m", "500m"),
        ("2k", "2k"),
    ],
)
def test_quantities_are_read_from_their_text(tmp_path: Path, written: str, expected: str) -> None:
    assert maximum(load(tmp_path, spec_of(f"container: {{max: {{cpu: {written}}}}}")), "cpu") == expected


@pytest.mark.parametrize(
    "written", ["1_000", "0x10", "on", "yes", "1:30", "-1", "+1", ".inf", "1,5", "[1]", "1 ", "010"]
)
def test_what_is_no_quantity_is_refused_with_its_line(tmp_path: Path, written: str) -> None:
    text = spec_of(
        f"container:\n  max:\n    cpu: {written!r}\n" if written == "1 " else f"container:\n  max:\n    cpu: {written}"
    )
    if written == "1,5":
        text = text.replace("1,5", '"1,5"')
    (error,) = errors(tmp_path, text)
    assert error.startswith("7: spec.container.max.cpu: ")


def test_words_that_yaml_takes_for_booleans_are_words(tmp_path: Path) -> None:
    policy = load(tmp_path, spec_of("mode: Off\n" + entry("reserved: Off"))).effective(Scope("x"))
    assert policy.mode.value == "Off"
    assert policy.scheduling is not None
    assert policy.scheduling.resources[0].reserved.value == "Off"


# What the fields accept. `schema`: whether the JSON Schema can say it, too.
BAD: list[Any] = [
    pytest.param("foo: 1", "spec.foo: is no field here; accepted: scope, mode, onExceed", True, id="unknown key"),
    pytest.param(
        "container: {maximum: {}}",
        "spec.container.maximum: is no field here; accepted: defaultRequest, default, min, max",
        True,
        id="unknown nested key",
    ),
    pytest.param("on_exceed: Cap", "spec.on_exceed: is no field here", True, id="snake case"),
    pytest.param("mode: off", 'spec.mode: "off" is not accepted: use Enforce, Warn, Audit or Off', True, id="mode"),
    pytest.param("onExceed: 1", 'spec.onExceed: "1" is not accepted: use Cap or Deny', True, id="onExceed"),
    pytest.param("missingLimit: None", "spec.missingLimit: ", True, id="missingLimit"),
    pytest.param(
        "missingLimit: {cpu: x}", 'spec.missingLimit.cpu: "x" is not accepted', True, id="missingLimit by resource"
    ),
    pytest.param(
        "missingLimit: {gpu: Unset}",
        'spec.missingLimit.gpu: "gpu" is not accepted: use cpu, memory',
        False,
        id="missingLimit of a device",
    ),
    pytest.param(
        "contact: 5", "spec.contact: 5 is a number in YAML and text is expected: put it in quotes", True, id="contact"
    ),
    pytest.param("contact: ''", "spec.contact: ", True, id="empty contact"),
    pytest.param(
        "container: null", "spec.container: null is accepted for single values only", True, id="null container"
    ),
    pytest.param(
        "container: {max: null}", "spec.container.max: null is accepted for single values only", True, id="null map"
    ),
    pytest.param("scope: null", "spec.scope: null is accepted for single values only", True, id="null scope"),
    pytest.param(
        "container: [1]",
        "spec.container: a list is not accepted: use a mapping of defaultRequest",
        True,
        id="list for a mapping",
    ),
    pytest.param("scope: {project: 'a*'}", "globs are accepted in namespace only", True, id="glob of projects"),
    pytest.param("scope: {project: ''}", "is no name of a project", True, id="empty project"),
    pytest.param("scope: {namespace: A}", "is no namespace or glob", True, id="namespace"),
    pytest.param("scope: {podSelector: {matchLabels: {'a b': c}}}", "is no label key", False, id="label key"),
    pytest.param("scope: {podSelector: {matchLabels: {a: 'b c'}}}", "is no label value", True, id="label value"),
    pytest.param(
        "scope: {podSelector: {matchLabels: {a: true}}}", "true is a boolean in YAML", True, id="label boolean"
    ),
    pytest.param(
        "scope: {podSelector: {matchExpressions: [{key: a}]}}",
        "matchExpressions[0].operator: is required",
        True,
        id="no operator",
    ),
    pytest.param(
        "scope: {podSelector: {matchExpressions: [{key: a, operator: in}]}}",
        "use In, NotIn, Exists or DoesNotExist",
        True,
        id="operator",
    ),
    pytest.param(
        "scope: {podSelector: {matchExpressions: [{key: a, operator: In}]}}",
        "In needs values",
        False,
        id="In without values",
    ),
    pytest.param(
        "scope: {podSelector: {matchExpressions: [{key: a, operator: Exists, values: [b]}]}}",
        "Exists has no values",
        False,
        id="Exists with values",
    ),
    pytest.param(
        "scope: {podSelector: {}}\nmode: Warn",
        "spec.mode: mode is not accepted: a policy with a podSelector may set",
        False,
        id="selector with mode",
    ),
    pytest.param(
        "scope: {podSelector: {}}\npod: {resourceClaims: Allow}",
        "spec.pod.resourceClaims: a policy with a podSelector may only Deny",
        False,
        id="selector allowing claims",
    ),
    pytest.param(
        "scope: {podSelector: {}}\ncontainer: {max: {cpu: null}}",
        "spec.container.max.cpu: null is not accepted",
        False,
        id="selector lifting",
    ),
    pytest.param("container: {max: {gpus: 1}}", "(did you mean gpu?)", False, id="typo of a resource"),
    pytest.param(
        "container: {max: {CPU: 1}}", '"CPU" is no resource (did you mean cpu?)', False, id="names are case-sensitive"
    ),
    pytest.param(
        "container: {max: {cpu: 0}}",
        "spec.container.max.cpu: 0 is not accepted: write null for unlimited",
        False,
        id="zero cpu",
    ),
    pytest.param(
        "pod: {max: {mem: '0'}}",
        "spec.pod.max.mem: 0 is not accepted: write null for unlimited",
        False,
        id="zero memory by alias",
    ),
    pytest.param(
        "container: {max: {cpu: 100u}}", "use cores in thousandths at most", False, id="finer than a thousandth"
    ),
    pytest.param("container: {max: {memory: 0.5}}", "use whole bytes", False, id="finer than a byte"),
    pytest.param("container: {max: {gpu: 500m}}", "use a whole number", False, id="half a device"),
    pytest.param("container: {max: {nvidia.com/mig-*: 500m}}", "use a whole number", False, id="half a device by glob"),
    pytest.param("container: {max: {x.kubernetes.io/a: 500m}}", "use a whole number", False, id="half a native"),
    pytest.param("container: {max: {hugepages-2Mi: 3Mi}}", "use a multiple of 2Mi", False, id="half a page"),
    pytest.param("container: {max: {'cpu*': 1}}", "is no glob of extended resources", False, id="glob of cpu"),
    pytest.param(
        "container: {max: {'hugepages-*': 0}}", "is no glob of extended resources", False, id="glob of hugepages"
    ),
    pytest.param("container: {min: {'*': 1}}", "they are accepted in max only", False, id="glob in min"),
    pytest.param("container: {default: {gpu: 1}}", "gpu is accepted in max only", False, id="default of a device"),
    pytest.param(
        "container: {min: {hugepages-2Mi: 2Mi}}",
        "hugepages-2Mi is accepted in max only",
        False,
        id="minimum of hugepages",
    ),
    pytest.param(
        "container: {default: {cpu: 0}}", "0 is not accepted: write null for no default", False, id="zero default"
    ),
    pytest.param(
        "container: {min: {cpu: 2}, max: {cpu: 1}}",
        "spec.container.max.cpu: 1 is below min 2",
        False,
        id="min above max",
    ),
    pytest.param(
        "container: {defaultRequest: {mem: 2Mi}, default: {memory: 1Mi}}",
        "1Mi is below defaultRequest 2Mi",
        False,
        id="request above limit",
    ),
    pytest.param(
        "container: {max: {mem: 1Mi, memory: 1Mi}}",
        "mem and memory are one resource, memory",
        False,
        id="one resource twice",
    ),
    pytest.param(
        "scheduling:\n  resources: [{resource: a.com/b, alias: x}, {resource: a.com/c, alias: x}]",
        "resources[1].alias: x is the alias of entry 0 already",
        False,
        id="one alias twice",
    ),
    pytest.param(
        "scheduling: {resources: [{resource: a.com/b}, {resource: a.com/b}]}",
        "resources[1].resource: a.com/b is in entry 0 already",
        False,
        id="one entry twice",
    ),
    pytest.param(
        "scheduling: {resources: [{resource: 'a.com/*', alias: x}]}",
        "an alias stands for an exact name",
        False,
        id="alias of a glob",
    ),
    pytest.param(
        "scheduling: {resources: [{resource: a.com/b, alias: cpu}]}", "is no alias", True, id="alias that is a resource"
    ),
    pytest.param(
        "scheduling: {resources: [{resource: a.com/b, taints: []}]}",
        "resources[0].taints: is no field here; accepted: tolerations, nodeSelector, resource, alias, reserved, device",
        True,
        id="scheduling of unknown fields",
    ),
    pytest.param("quota: {nvidia.com/gpu: 1}", "is no word of a ResourceQuota's spec.hard", False, id="quota word"),
    pytest.param("quota: {pods: 1.5}", "use a whole number", False, id="quota of half a pod"),
]

IS_NO_RESOURCE = "is no resource"
NULL = "null is accepted for single values only"

BAD_SCHEDULING: list[Any] = [
    pytest.param("scheduling: null", f"spec.scheduling: {NULL}", True, id="null scheduling"),
    pytest.param("scheduling: {resources: null}", f"scheduling.resources: {NULL}", True, id="null resources"),
    pytest.param("scheduling: {resources: {}}", "resources: a mapping is not accepted: use a list", True, id="no list"),
    pytest.param("scheduling: {interruptible: null}", f"interruptible: {NULL}", True, id="null interruptible"),
    pytest.param("scheduling: {defaults: null}", f"defaults: {NULL}", True, id="null defaults"),
    pytest.param(
        "scheduling: {nodeSelector: {}}",
        "scheduling.nodeSelector: is no field here; accepted: resources, interruptible, defaults",
        True,
        id="selector for nobody",
    ),
    pytest.param(
        "scope: {podSelector: {}}\nscheduling: {defaults: {nodeSelector: {a: b}}}",
        "spec.scheduling: scheduling is not accepted: a policy with a podSelector may set",
        False,
        id="scheduling by pod selector",
    ),
    # resource and alias
    pytest.param("scheduling: {resources: [{alias: x}]}", "[0].resource: is required", True, id="no resource"),
    pytest.param("scheduling: {resources: [a.com/b]}", "use a mapping of tolerations, nodeS", True, id="text entry"),
    pytest.param("scheduling: {resources: [{resource: 5}]}", "5 is a number in YAML", True, id="number as a resource"),
    pytest.param("scheduling: {resources: [{resource: foo}]}", IS_NO_RESOURCE, False, id="unknown resource"),
    pytest.param("scheduling: {resources: [{resource: ''}]}", f'"" {IS_NO_RESOURCE}', False, id="empty resource"),
    pytest.param("scheduling: {resources: [{resource: 'cpu*'}]}", f'"cpu*" {IS_NO_RESOURCE}', False, id="cpu by glob"),
    pytest.param(
        "scheduling: {resources: [{resource: 'hugepages-*'}]}",
        f'resources[0].resource: "hugepages-*" {IS_NO_RESOURCE}',
        False,
        id="hugepages by glob",
    ),
    pytest.param(entry("alias: a.com/c"), "is no alias: use a short name", True, id="qualified alias"),
    # tolerations
    pytest.param(
        entry("tolerations: {}"), "tolerations: a mapping is not accepted: use a list", True, id="tolerations"
    ),
    pytest.param(
        toleration(""), "tolerations[0]: without a key the operator must be Exists", False, id="empty toleration"
    ),
    pytest.param(toleration("operator: Equal"), "the operator must be Exists", False, id="Equal without a key"),
    pytest.param(
        toleration("key: '', operator: Exists"),
        'tolerations[0].key: "" is no label key: use a name such as team',
        True,
        id="empty key",
    ),
    pytest.param(toleration("key: a b, operator: Exists"), '"a b" is no label key', True, id="key of a toleration"),
    pytest.param(
        toleration("key: a, operator: exists"),
        '.operator: "exists" is not accepted: use Exists or Equal',
        True,
        id="exists",
    ),
    pytest.param(toleration("key: a, operator: Lt, value: '5'"), "use Exists or Equal", True, id="gated operator"),
    pytest.param(toleration("key: a, operator: null"), f"tolerations[0].operator: {NULL}", True, id="null operator"),
    pytest.param(
        toleration("key: a, operator: Exists, value: x"),
        "tolerations[0].value: Exists has no value: leave it out",
        False,
        id="Exists with a value",
    ),
    pytest.param(toleration("key: a, value: x y"), '.value: "x y" is no label value', True, id="toleration's value"),
    pytest.param(toleration("key: a, value: true"), ".value: true is a boolean in YAML", True, id="boolean value"),
    pytest.param(
        toleration("key: a, effect: noschedule"),
        '.effect: "noschedule" is not accepted: use NoSchedule, PreferNoSchedule or NoExecute',
        True,
        id="effect",
    ),
    pytest.param(toleration("key: a, effect: ''"), '.effect: "" is not', True, id="empty effect"),
    pytest.param(
        toleration("key: a, effect: NoSchedule, tolerationSeconds: 5"),
        "tolerationSeconds: tolerationSeconds are accepted with the effect NoExecute only",
        False,
        id="seconds of NoSchedule",
    ),
    pytest.param(toleration("key: a, tolerationSeconds: 5"), "NoExecute only", False, id="seconds of every effect"),
    pytest.param(
        toleration("key: a, effect: NoExecute, tolerationSeconds: '5'"),
        '"5" is not accepted: use whole seconds, 0 or more, without quotes',
        True,
        id="seconds in quotes",
    ),
    pytest.param(
        toleration("key: a, effect: NoExecute, tolerationSeconds: -5"), "0 or more", True, id="negative seconds"
    ),
    pytest.param(
        toleration("key: a, effect: NoExecute, tolerationSeconds: 1.5"), "whole seconds", True, id="half a second"
    ),
    pytest.param(
        "scheduling: {interruptible: {tolerations: [{value: x}]}}",
        "scheduling.interruptible.tolerations[0]: without a key",
        False,
        id="toleration of interruptible pods",
    ),
    pytest.param(
        "scheduling: {defaults: {tolerations: [{key: a, operator: Exists, value: x}]}}",
        "scheduling.defaults.tolerations[0].value: Exists has no value",
        False,
        id="toleration of every pod",
    ),
    # node selectors
    pytest.param(entry("nodeSelector: null"), f"nodeSelector: {NULL}", True, id="null node selector"),
    pytest.param(entry("nodeSelector: []"), "a list is not accepted: use a mapping", True, id="list of labels"),
    pytest.param(
        entry("nodeSelector: {a b: c}"), 'nodeSelector[a b]: "a b" is no label key', False, id="node label key"
    ),
    pytest.param(
        entry("nodeSelector: {a: c d}"), 'nodeSelector.a: "c d" is no label value', True, id="node label value"
    ),
    pytest.param(entry("nodeSelector: {a: true}"), "true is a boolean in YAML", True, id="node label boolean"),
    pytest.param("scheduling: {interruptible: {nodeSelector: {a: 1}}}", "1 is a number", True, id="node label number"),
    pytest.param(
        "scheduling: {defaults: {nodeSelector: {a: c d}}}", "defaults.nodeSelector.a", True, id="default label"
    ),
    # reserved
    pytest.param(
        entry("reserved: deny"), 'reserved: "deny" is not accepted: use Off, Warn or Deny', True, id="reserved"
    ),
    pytest.param(entry("reserved: yes"), "use Off, Warn or Deny", True, id="reserved as a boolean"),
    pytest.param(
        "scheduling: {interruptible: {reserved: Warn}}",
        "reserved: is no field here; accepted: tolerations, nodeSelector, requirement, otherwise",
        True,
        id="reserved for interruptible pods",
    ),
    # device
    pytest.param(entry("device: null"), f"device: {NULL}", True, id="null device"),
    pytest.param(entry("device: a"), "use a mapping of label, names, allowed", True, id="text for a device"),
    pytest.param(entry("device: {kinds: {}}"), "accepted: label, names, allowed", True, id="unknown field of a device"),
    pytest.param(entry("device: {label: a b}"), 'device.label: "a b" is no label key', True, id="device label"),
    pytest.param(entry("device: {names: null}"), f"device.names: {NULL}", True, id="null names"),
    pytest.param(
        entry("device: {names: {A: ''}}"), 'names.A: "" is no value of a label on nodes', True, id="name of nothing"
    ),
    pytest.param(entry("device: {names: {A: x y}}"), "is no value of a label on nodes", True, id="name of no label"),
    pytest.param(
        entry("device: {names: {' A': x}}"), '" A" is no name: use 1 to 63 characters', False, id="name with a space"
    ),
    pytest.param(entry("device: {names: {'': x}}"), '"" is no name', False, id="empty name"),
    pytest.param(
        entry("device: {names: {A: x, b: y, a: z}}"),
        "device.names.a: A and a are one name: case does not count",
        False,
        id="one name in two cases",
    ),
    pytest.param(
        entry("device: {allowed: []}"),
        "device.allowed: an empty list allows none: list at least one, or write null for every device",
        False,
        id="nothing allowed",
    ),
    pytest.param(entry("device: {allowed: x}"), 'allowed: "x" is not accepted: use a list', True, id="allowed"),
    # partition
    pytest.param(entry("partition: null"), f"partition: {NULL}", True, id="null partition"),
    pytest.param(entry("partition: {sizes: []}"), "accepted: label, whole", True, id="unknown field of a partition"),
    pytest.param(entry("partition: {label: ''}"), 'partition.label: "" is no label key', True, id="partition label"),
    pytest.param(entry("partition: {whole: null}"), f"partition.whole: {NULL}", True, id="null whole"),
    pytest.param(
        entry("partition: {whole: {tolerations: []}}"),
        "accepted: requirement, toleration",
        True,
        id="unknown field of whole",
    ),
    pytest.param(
        entry("partition: {whole: {requirement: {}}}"),
        "requirement.operator: is required",
        True,
        id="no operator of whole",
    ),
    pytest.param(
        entry("partition: {whole: {requirement: {operator: In}}}"),
        "partition.whole.requirement: In needs values: a list of at least one",
        False,
        id="whole In without values",
    ),
    pytest.param(
        entry("partition: {whole: {requirement: {operator: DoesNotExist, values: [a]}}}"),
        "partition.whole.requirement.values: DoesNotExist has no values: leave them out",
        False,
        id="whole DoesNotExist with values",
    ),
    pytest.param(
        entry("partition: {whole: {toleration: {operator: Exists, value: x}}}"),
        "partition.whole.toleration.value: Exists has no value",
        False,
        id="toleration of whole",
    ),
    pytest.param(
        entry("partition: {whole: {toleration: {effect: NoSchedule, tolerationSeconds: 1}}}"),
        "NoExecute only",
        False,
        id="seconds of whole",
    ),
    # requirements
    pytest.param(
        "scheduling: {interruptible: {requirement: {operator: Exists}}}",
        "interruptible.requirement.key: is required",
        True,
        id="requirement without a key",
    ),
    pytest.param(
        "scheduling: {interruptible: {otherwise: {key: a, operator: Near}}}",
        'otherwise.operator: "Near" is not accepted: use In, NotIn, Exists, DoesNotExist, Gt or Lt',
        True,
        id="operator of a requirement",
    ),
    pytest.param(
        "scheduling: {interruptible: {requirement: {key: a, operator: In, values: []}}}",
        "interruptible.requirement: In needs values",
        False,
        id="requirement In nothing",
    ),
    pytest.param(
        "scheduling: {interruptible: {otherwise: {key: a, operator: NotIn}}}",
        "interruptible.otherwise: NotIn needs values",
        False,
        id="otherwise NotIn nothing",
    ),
    pytest.param(
        "scheduling: {interruptible: {otherwise: {key: a, operator: Exists, values: [x]}}}",
        "otherwise.values: Exists has no values",
        False,
        id="otherwise Exists with values",
    ),
    pytest.param(
        "scheduling: {interruptible: {requirement: {key: a, operator: Gt, values: [x]}}}",
        'requirement: Gt needs one value, a whole number in quotes such as "8"',
        False,
        id="Gt of a word",
    ),
    pytest.param(
        "scheduling: {interruptible: {requirement: {key: a, operator: Lt, values: ['1', '2']}}}",
        "Lt needs one value",
        False,
        id="Lt of two",
    ),
    pytest.param(
        "scheduling: {interruptible: {requirement: [{key: a, operator: Exists}]}}",
        "requirement: a list is not accepted: use a mapping",
        True,
        id="list of requirements",
    ),
    pytest.param(
        "scheduling: {defaults: {requirement: null}}",
        "requirement: is no field here; accepted: tolerations, nodeSelector",
        True,
        id="requirement of every pod",
    ),
    # What is in a list, or in what may be null: one error, with what is accepted there.
    pytest.param(
        "scheduling: {defaults: {tolerations: [{keys: a}]}}",
        "tolerations[0].keys: is no field here; accepted: key, operator, value, effect, tolerationSeconds",
        True,
        id="field of a toleration",
    ),
    pytest.param(
        "scheduling: {defaults: {tolerations: [x]}}", "use a mapping of key, operator", True, id="text as a toleration"
    ),
    pytest.param(
        "scheduling: {interruptible: {requirement: {key: a, operator: Exists, foo: 1}}}",
        "requirement.foo: is no field here; accepted: key, operator, values",
        True,
        id="field of a requirement",
    ),
    pytest.param(
        "scheduling: {resources: [{resource: a.com/b, device: {label: x, allowed: [100]}}]}",
        "allowed[0]: 100 is a number in YAML",
        True,
        id="number among allowed",
    ),
    pytest.param(
        "scheduling: {resources: [{resource: a.com/b, device: {label: x, allowed: [Tesla V100]}}]}",
        'allowed[0]: "Tesla V100" is neither a value of a label nor one of the names beside it',
        False,
        id="unknown name among allowed",
    ),
    pytest.param(
        "scheduling: {interruptible: {requirement: {key: a, operator: In, values: ['x y']}}}",
        'values[0]: "x y" is no label value',
        True,
        id="wrong value of a requirement",
    ),
    pytest.param(
        "scheduling: {defaults: {tolerations: [{key: a b}]}}", '"a b" is no label key', True, id="wrong key of a taint"
    ),
]

GOOD: list[Any] = [
    pytest.param("{}", id="nothing"),
    pytest.param("scope: {}", id="the platform"),
    pytest.param(
        "mode: null\nonExceed: null\ncontact: null\nmissingLimit: null\npod: {resourceClaims: null}", id="nulls"
    ),
    pytest.param(
        "container: {max: {cpu: 4, memory: null, gpu: 0, 'nvidia.com/mig-*': 0, hugepages-2Mi: 4Mi, '*': 0}}",
        id="maxima",
    ),
    pytest.param(
        "container: {min: {cpu: 50m}, defaultRequest: {cpu: 0.5}, default: {cpu: 1}, max: {cpu: 1}}", id="ascending"
    ),
    pytest.param("missingLimit: {cpu: Unset, mem: Request, ephemeral_storage: null}", id="missingLimit"),
    pytest.param("scope: {project: A_b.c, domain: d, namespace: 'ml-*'}", id="scope"),
    pytest.param(
        "scope: {podSelector: {matchLabels: {a.io/b: ''}, matchExpressions: [{key: c, operator: Exists}]}}\n"
        "pod: {resourceClaims: Deny}",
        id="selector",
    ),
    pytest.param(
        "scheduling: {resources: [{resource: amd.com/gpu, alias: amd}]}\ncontainer: {max: {amd: 1}}", id="alias"
    ),
    pytest.param(
        "quota: {limits.cpu: '64', requests.nvidia.com/gpu: 8, pods: 200, count/jobs.batch: 5, requests.storage: 1Ti,\n"
        "  gold.storageclass.storage.k8s.io/requests.storage: 1Gi}",
        id="quota",
    ),
    pytest.param("scheduling: {}", id="scheduling that says nothing"),
    pytest.param(
        "scheduling: {resources: [{resource: cpu}, {resource: hugepages-2Mi}, {resource: 'nvidia.com/mig-*'},\n"
        "  {resource: '*'}, {resource: deviceclass.resource.kubernetes.io/gpu}]}",
        id="resources",
    ),
    pytest.param(
        "scheduling: {resources: [{resource: a.com/b, alias: null, tolerations: null, nodeSelector: {a: null},\n"
        "  reserved: null, device: {label: null, names: {A: null}, allowed: null},\n"
        "  partition: {label: null, whole: {requirement: null, toleration: null}}}],\n"
        "  interruptible: {tolerations: null, requirement: null, otherwise: null}, defaults: {tolerations: null}}",
        id="nulls of scheduling",
    ),
    pytest.param(
        entry(
            "tolerations: [{operator: Exists}, {key: a.io/b, operator: Exists, effect: NoSchedule},\n"
            "  {key: a, value: b}, {key: a, operator: Exists, value: ''},\n"
            "  {key: a, operator: Equal, value: '', effect: PreferNoSchedule},\n"
            "  {key: a, operator: Exists, effect: NoExecute, tolerationSeconds: 0}]"
        ),
        id="tolerations",
    ),
    pytest.param(entry("tolerations: [], nodeSelector: {}"), id="empty ones"),
    pytest.param(entry("nodeSelector: {a.io/b: ''}, reserved: Warn"), id="an empty label value"),
    pytest.param(
        entry(
            "device: {label: a.io/b, names: {A100: nvidia-a100, NVIDIA A10 (24 GB): a10}, allowed: [a100, nvidia-a100]}"
        ),
        id="device",
    ),
    pytest.param(entry("device: {names: {A: b}}, partition: {whole: {}}"), id="a label that another document gives"),
    pytest.param(
        entry(
            "partition: {label: a, whole: {requirement: {operator: In, values: ['']},\n"
            "  toleration: {effect: NoSchedule}}}"
        ),
        id="partition",
    ),
    pytest.param(
        "scheduling: {interruptible: {requirement: {key: a, operator: Gt, values: ['8']},\n"
        "  otherwise: {key: a.io/b, operator: DoesNotExist}}}",
        id="interruptible",
    ),
]


@pytest.mark.parametrize(("spec", "message", "schema"), [*BAD, *BAD_SCHEDULING])
def test_what_is_wrong_is_refused_with_its_field(tmp_path: Path, spec: str, message: str, schema: bool) -> None:
    found = errors(tmp_path, spec_of(spec))
    assert any(message in error for error in found), found
    assert len(found) == 1, found


@pytest.mark.parametrize("spec", GOOD)
def test_what_is_right_is_accepted(tmp_path: Path, spec: str) -> None:
    assert len(load(tmp_path, HEAD % "a" + f"spec: {spec}\n" if spec == "{}" else spec_of(spec)).documents) == 1


def as_json(text: str) -> Any:
    """As a YAML 1.2 reader sees it: Off is a word."""
    return yaml.safe_load(text.replace("mode: off", "mode: 'off'"))


def test_the_published_schema_is_the_models() -> None:
    assert SCHEMA.read_text() == schema_text(), "write schema_text() to webhook/policy.schema.json"
    jsonschema.Draft202012Validator.check_schema(json.loads(schema_text()))


@pytest.mark.parametrize("spec", GOOD)
def test_the_schema_accepts_what_the_loader_accepts(spec: str) -> None:
    text = HEAD % "a" + f"spec: {spec}\n" if spec == "{}" else spec_of(spec)
    jsonschema.Draft202012Validator(json.loads(schema_text())).validate(as_json(text))


@pytest.mark.parametrize(("spec", "message", "schema"), [*BAD, *BAD_SCHEDULING])
def test_the_schema_refuses_what_it_can_say(spec: str, message: str, schema: bool) -> None:
    is_valid = jsonschema.Draft202012Validator(json.loads(schema_text())).is_valid(as_json(spec_of(spec)))
    assert is_valid is not schema


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("- a\n", ["1: a list is no policy: a TaskResourcePolicy is a mapping"], id="no mapping"),
        pytest.param("kind: Pod\nx: 1\n", ['1: kind: "Pod" is not accepted: use TaskResourcePolicy'], id="other kind"),
        pytest.param("a: 1\na: 2\n", ["2: a: is in line 1 already: a key may be there once"], id="duplicate key"),
        pytest.param("# x\nfoo: [\n", ["3: is no YAML: "], id="syntax"),
        pytest.param("on: 1\n", ["1: the key on is a boolean in YAML: put it in quotes"], id="key that is no text"),
        pytest.param("? [a]\n: 1\n", ["1: a key is a mapping or a list: use text"], id="key that is a list"),
        pytest.param("a: !x 1\n", ["1: a: the tag !x is not accepted: leave it out"], id="tag"),
        pytest.param("a: &b {c: 1}\nd: {<<: *b}\n", ["2: d.<<: merge keys are not accepted"], id="merge key"),
        pytest.param("a: &a [*a]\n", ["has more than 100000 values, or more than 32"], id="recursive anchor"),
        pytest.param("[" * 200, ["is no YAML: "], id="deep nesting, broken"),
        pytest.param("[" * 40 + "]" * 40, ["more than 32 within each other"], id="deep nesting"),
        pytest.param("a: b\x00c\n", ["is no YAML: "], id="control character"),
        pytest.param("", ["no policy in it"], id="empty file"),
        pytest.param("---\n# nothing\n---\n", ["no policy in it"], id="empty documents"),
    ],
)
def test_a_file_that_is_no_policy_is_refused(tmp_path: Path, text: str, expected: list[str]) -> None:
    found = errors(tmp_path, text)
    for part in expected:
        assert any(part in error for error in found), found


def test_an_alias_bomb_is_refused_in_bounded_time(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 20)]
    assert any("more than 100000 values" in error for error in errors(tmp_path, "\n".join(lines)))


def test_anchors_are_fine(tmp_path: Path) -> None:
    text = spec_of("container: {max: &most {cpu: 1}}\npod: {max: *most}")
    assert maximum(load(tmp_path, text), "cpu") == "1"


def test_all_errors_of_all_documents_are_reported_at_once(tmp_path: Path) -> None:
    text = (
        spec_of("mode: x\ncontainer: {min: {cpu: 2}, max: {cpu: 1}}", "A")
        + "---\n"
        + spec_of("scope: {project: b}\nfoo: 1", "b")
    )
    assert [error.partition(": ")[2].partition(": ")[0] for error in errors(tmp_path, text)] == [
        "metadata.name",
        "spec.mode",
        "spec.container.max.cpu",
        "spec.foo",
    ]


@pytest.mark.parametrize(
    ("head", "path"),
    [
        ("kind: TaskResourcePolicy\nmetadata: {name: a}\nspec: {}\n", "apiVersion"),
        ("apiVersion: task-resources.io/v1alpha1\nmetadata: {name: a}\nspec: {}\n", "kind"),
        ("apiVersion: task-resources.io/v1alpha1\nkind: TaskResourcePolicy\nspec: {}\n", "metadata"),
        ("apiVersion: task-resources.io/v1alpha1\nkind: TaskResourcePolicy\nmetadata: {}\nspec: {}\n", "metadata.name"),
        (HEAD % "a", "spec"),
    ],
    ids=["apiVersion", "kind", "metadata", "name", "spec"],
)
def test_what_a_document_needs_is_named(tmp_path: Path, head: str, path: str) -> None:
    assert errors(tmp_path, head) == [
        f"1: {path}: is required" if path != "metadata.name" else f"3: {path}: is required"
    ]


def test_two_policies_with_one_name_or_one_scope_are_errors(tmp_path: Path) -> None:
    first = spec_of("scope: {podSelector: {matchLabels: {a: b}}}")
    same = "scope: {podSelector: {matchExpressions: [{key: a, operator: In, values: [b]}]}}"
    name, scope = errors(tmp_path, first + "---\n" + spec_of(same))
    assert "9: metadata.name: a is the name of the policy at" in name
    assert "11: spec.scope: the scope (pods with a=b) is that of the policy at" in scope


def test_an_alias_of_another_document_is_known(tmp_path: Path) -> None:
    text = spec_of("container: {max: {tpu: 2}}") + "---\n"
    entry = "{resource: google.com/tpu, alias: tpu}"
    text += spec_of(f"scope: {{project: p}}\nscheduling: {{resources: [{entry}]}}", "b")
    policies = load(tmp_path, text)
    bound = policies.effective(Scope("x", "p")).maximum.get("google.com/tpu")
    assert bound is not None
    assert str(bound.value) == "2"
    assert policies.effective(Scope("x")).maximum.get("google.com/tpu") is None


# Files and folders


def test_a_folder_is_read_by_name_without_what_is_hidden(tmp_path: Path) -> None:
    """As a mounted ConfigMap: links to files in a hidden folder."""
    data = tmp_path / "..data"
    data.mkdir()
    (data / "a.yaml").write_text(spec_of("contact: x", "a"))
    (tmp_path / "a.yaml").symlink_to(data / "a.yaml")
    (tmp_path / "b.json").write_text(json.dumps(yaml.safe_load(spec_of("scope: {project: b}", "b"))))
    (tmp_path / ".hidden.yaml").write_text("nonsense")
    (tmp_path / "README.md").write_text("nonsense")
    assert [policy.name for policy in load_policies([tmp_path, tmp_path / "a.yaml"]).documents] == ["a", "b"]


def test_missing_and_empty_places_are_named_together(tmp_path: Path) -> None:
    with pytest.raises(InvalidPolicies) as caught:
        load_policies([tmp_path, tmp_path / "nothing"])
    assert [error.message for error in caught.value.errors] == [
        "no policy files in this folder: use .yaml, .yml, .json",
        "cannot be read: No such file or directory",
    ]


def test_text_that_is_no_utf_8_is_refused_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_bytes(b"a: 1\nb: \xff\n")
    with pytest.raises(InvalidPolicies, match=r"policy\.yaml:2: is no UTF-8 text"):
        load_policies([file])


# Files of somebody who means harm

ESCAPE = "\\e]0;owned\\a"  # a terminal's title, as YAML writes it in double quotes
LONG = "k" * 2_000_000
HOSTILE = {
    "key": f"{LONG}: 1\n",
    "key-of-a-map": spec_of(f"container: {{max: {{? {LONG} : 1}}}}"),
    "keys-within-each-other": f"? {LONG}\n: {{? {LONG} : {{a: 1, a: 2}}}}\n",
    "number": spec_of(f"contact: {'1' * 2_000_000}"),
    "contact": spec_of(f"contact: {LONG}"),
    "resource": spec_of(f"scheduling: {{resources: [{{resource: '{LONG}*', alias: a}}]}}"),
    "same-resource": spec_of(f"scheduling: {{resources: [{{resource: &a {LONG}}}, {{resource: *a}}]}}"),
    "alias": spec_of(f"container: {{max: {{? &a {LONG} : 1, b: *a}}}}"),
    "tag": f"a: !{LONG} 1\n",
    "anchor": f"a: *{LONG}\n",
    "kind": f"kind: {LONG}\n",
    "escapes": spec_of(f'contact: "{ESCAPE}"\n"{ESCAPE}": 1'),
    "escape-in-a-map": spec_of(f'container: {{max: {{"{ESCAPE}": 1}}}}'),
    "line-ends": spec_of('container: {max: {"a\\nb\\u2028c": 1}}'),
    "half-a-character": spec_of('contact: 5\n"\\udc80": 1'),
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_errors_are_short_and_printable_whatever_keys_and_values_there_are(tmp_path: Path, text: str) -> None:
    for error in errors(tmp_path, text):
        assert error.isprintable()
        assert len(error) < 1100


def test_what_is_cut_from_a_message_is_not_what_is_accepted(tmp_path: Path) -> None:
    (error,) = errors(tmp_path, HOSTILE["key-of-a-map"])
    assert f'"{"k" * 79}…" is no resource: use cpu, memory' in error
    (error,) = errors(tmp_path, spec_of(f'contact: "{ESCAPE}"'))
    assert '"?]0;owned?" is no contact: use one line of 1 to 200 characters' in error


MANY = {
    "documents": "--- a\n" * 200_000,
    "keys": "{" + "1: 1, " * 90_000 + "}",
    "fields": "{" + ", ".join(f"k{number}: 1" for number in range(40_000)) + "}",
    "resources": spec_of("container: {max: {" + ", ".join(f"k{number}: 1" for number in range(40_000)) + "}}"),
    "documents-with-errors": ("---\n" + spec_of("container: {max: {a: 1, b: 1}}")) * 2000,
    "of-a-long-number": "- &a " + "1" * 100_000 + "\n" + "- *a\n" * 90_000,
    "of-a-long-key": spec_of(f"quota: {{? &a {LONG} : 1}}\nscheduling: {{resources: [{'{resource: *a}, ' * 20_000}]}}"),
}


@pytest.mark.parametrize("text", MANY.values(), ids=MANY)
def test_of_very_many_errors_a_thousand_are_named_and_the_rest_counted(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidPolicies) as caught:
        load(tmp_path, text)
    *named, rest = caught.value.lines()
    assert len(named) == MOST_ERRORS
    assert rest == f"and at least {caught.value.more} more: mend these first"
    assert sum(map(len, named)) < 1000 * 1100


def test_a_file_of_very_many_documents_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidPolicies, match="has more than 100000 documents: split it"):
        load(tmp_path, "--- {}\n" * 150_000)


@pytest.mark.parametrize("opening", ["[", "{a: ", "- "], ids=["lists", "mappings", "block"])
def test_what_is_nested_without_end_is_an_error(tmp_path: Path, opening: str) -> None:
    assert errors(tmp_path, opening * 200_000)
