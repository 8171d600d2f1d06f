"""Merging by scope: which policy's value counts (P1 to P3, A1)."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from webhook.effective import EffectivePolicy
from webhook.policy import EMPTY, PolicySet
from webhook.policy_checks import read_policies
from webhook.policy_document import Document
from webhook.projects import Scope
from webhook.scheduling_rules import ScheduledResource, SchedulingRules
from webhook.tolerations import toleration_text

HERE = Scope("ml-a-development", "a", "development")


def policy_set(*specs: Mapping[str, Any], names: Sequence[str] = ()) -> PolicySet:
    """Policies named p0, p1, … after their place."""
    return PolicySet(
        read_policies(
            [
                Document(
                    f"{index}.yaml",
                    1,
                    {
                        "apiVersion": "task-resources.io/v1alpha1",
                        "kind": "TaskResourcePolicy",
                        "metadata": {"name": names[index] if names else f"p{index}"},
                        "spec": json.loads(json.dumps(spec)),
                    },
                )
                for index, spec in enumerate(specs)
            ]
        )
    )


def cpu_maximum(value: str | None, **scope: Any) -> dict[str, Any]:
    return {"scope": scope, "container": {"max": {"cpu": value}}}


def maximum(policy: EffectivePolicy, resource: str) -> str | None:
    bound = policy.maximum.get(resource)
    return None if bound is None else str(bound.value)


SELECTOR = {"matchLabels": {"team": "ml"}}


@pytest.mark.parametrize(
    ("broader", "narrower"),
    [
        pytest.param({}, {"domain": "development"}, id="domain beats platform"),
        pytest.param({"domain": "development"}, {"project": "a"}, id="project beats domain"),
        pytest.param({"project": "a"}, {"project": "a", "domain": "development"}, id="project and domain beat project"),
        pytest.param({"project": "a", "domain": "development"}, {"namespace": "ml-*"}, id="namespace beats project"),
        pytest.param({"namespace": "ml-*"}, {"namespace": "ml-*", "domain": "development"}, id="ties by the next"),
        pytest.param({"namespace": "*"}, {"namespace": "ml-*"}, id="the longer literal prefix wins"),
        pytest.param(
            {"namespace": "ml-*", "project": "a"}, {"namespace": "ml-a-*"}, id="the prefix counts before the project"
        ),
        pytest.param({"namespace": "ml-a-development*"}, {"namespace": "ml-a-development"}, id="exact beats glob"),
    ],
)
@pytest.mark.parametrize("is_first", [True, False], ids=["broader first", "narrower first"])
def test_the_more_specific_policy_wins_and_may_raise(broader: Any, narrower: Any, is_first: bool) -> None:
    specs = [cpu_maximum("2", **broader), cpu_maximum("4", **narrower)]
    policies = policy_set(*(specs if is_first else reversed(specs)))
    assert maximum(policies.effective(HERE), "cpu") == "4"


def test_what_is_tied_goes_by_name_and_the_first_wins() -> None:
    specs = [cpu_maximum("2", namespace="ml-*a*"), cpu_maximum("4", namespace="ml-*-development")]
    assert maximum(policy_set(*specs, names=["b", "a"]).effective(HERE), "cpu") == "4"
    assert maximum(policy_set(*specs, names=["a", "b"]).effective(HERE), "cpu") == "2"


@pytest.mark.parametrize(
    "scope",
    [
        {"project": "b"},
        {"domain": "staging"},
        {"namespace": "ml"},
        {"namespace": "x-*"},
        {"project": "a", "domain": "x"},
    ],
    ids=str,
)
def test_a_policy_for_others_says_nothing(scope: Any) -> None:
    assert maximum(policy_set(cpu_maximum("1", **scope)).effective(HERE), "cpu") is None


def test_an_empty_set_bounds_nothing() -> None:
    policy = EMPTY.effective(HERE)
    assert policy.maximum.get("cpu") is None
    assert (policy.mode.value, policy.on_exceed.value, policy.contact) == ("Enforce", "Cap", None)
    assert policy.for_pod({"a": "b"}) is policy


def test_maps_merge_by_key_and_every_value_keeps_its_origin() -> None:
    policy = policy_set(
        {"mode": "Warn", "container": {"max": {"cpu": "2", "memory": "1Gi"}}},
        {"scope": {"project": "a"}, "container": {"max": {"memory": "2Gi"}}},
    ).effective(HERE)
    cpu, memory = policy.maximum.get("cpu"), policy.maximum.get("memory")
    assert cpu is not None
    assert memory is not None
    assert (str(cpu.value), cpu.origin.policy, cpu.origin.scope, cpu.origin.file) == ("2", "p0", "platform", "0.yaml")
    assert (str(memory.value), memory.origin.policy, memory.origin.scope) == ("2Gi", "p1", "project a")
    assert policy.mode.value == "Warn"


@pytest.mark.parametrize(
    ("platform", "project", "field", "expected"),
    [
        pytest.param({"mode": "Off"}, {"mode": None}, "mode", "Enforce", id="mode"),
        pytest.param({"onExceed": "Deny"}, {"onExceed": None}, "on_exceed", "Cap", id="onExceed"),
        pytest.param(
            {"pod": {"resourceClaims": "Deny"}},
            {"pod": {"resourceClaims": None}},
            "resource_claims",
            "Allow",
            id="resourceClaims",
        ),
    ],
)
def test_null_lifts_a_choice_back_to_what_is_built_in(platform: Any, project: Any, field: str, expected: str) -> None:
    policy = policy_set(platform, {"scope": {"project": "a"}, **project}).effective(HERE)
    assert getattr(policy, field).value == expected


def test_null_lifts_contact_maxima_defaults_and_minima() -> None:
    values = {"cpu": "1"}
    policy = policy_set(
        {"contact": "#x", "container": {"max": values, "min": values, "default": values, "defaultRequest": values}},
        {
            "scope": {"project": "a"},
            "contact": None,
            "container": {part: {"cpu": None} for part in ("max", "min", "default", "defaultRequest")},
        },
    ).effective(HERE)
    assert policy.contact is None
    assert policy.maximum.get("cpu") is None
    assert (policy.minimum, policy.default_limit, policy.default_request) == ({}, {}, {})


@pytest.mark.parametrize(
    ("broader", "narrower", "expected"),
    [
        pytest.param("Request", {"cpu": "Unset"}, {"cpu": "Unset", "memory": "Request"}, id="a map over a word"),
        pytest.param({"cpu": "Unset"}, "Maximum", {"cpu": "Maximum", "memory": "Maximum"}, id="a word over a map"),
        pytest.param({"cpu": "Unset", "mem": "Request"}, {"cpu": None}, {"memory": "Request"}, id="null in a map"),
        pytest.param("Unset", None, {}, id="null for all"),
    ],
)
def test_missing_limit_merges_by_resource(broader: Any, narrower: Any, expected: dict[str, str]) -> None:
    policy = policy_set({"missingLimit": broader}, {"scope": {"project": "a"}, "missingLimit": narrower}).effective(
        HERE
    )
    words = {name: setting.value for name, setting in policy.missing_limit.items() if name != "ephemeral-storage"}
    assert words == expected


@pytest.mark.parametrize(
    ("resource", "expected"),
    [
        pytest.param("nvidia.com/gpu", "8", id="exact beats glob"),
        pytest.param("nvidia.com/mig-1g", "2", id="the longest literal prefix"),
        pytest.param("nvidia.com/mig-1g.shared", "3", id="of one prefix the longer pattern"),
        pytest.param("nvidia.com/x", "1", id="a shorter prefix"),
        pytest.param("nvidia.com/free", None, id="an exact null lifts a glob"),
        pytest.param("amd.com/gpu", "0", id="a star alone"),
        pytest.param("deviceclass.resource.kubernetes.io/a", "0", id="DRA classes count as extended"),
        pytest.param("cpu", None, id="a star says nothing of cpu"),
        pytest.param("hugepages-2Mi", None, id="nor of hugepages"),
    ],
)
def test_the_most_specific_key_of_max_counts(resource: str, expected: str | None) -> None:
    amounts = {"*": "0", "nvidia.com/*": "1", "nvidia.com/mig-*": "2", "nvidia.com/mig-*.shared": "3"}
    exact = {"nvidia.com/gpu": "8", "nvidia.com/free": None}
    policy = policy_set({"container": {"max": {**amounts, **exact}}}).effective(HERE)
    assert maximum(policy, resource) == expected


def alias(resource: str, name: str | None) -> dict[str, Any]:
    return {"scheduling": {"resources": [{"resource": resource, "alias": name}]}}


@pytest.mark.parametrize(
    ("specs", "key", "expected"),
    [
        pytest.param([{}], "gpu", "nvidia.com/gpu", id="built in"),
        pytest.param([alias("amd.com/gpu", "gpu")], "gpu", "amd.com/gpu", id="a policy says otherwise"),
        pytest.param(
            [alias("amd.com/gpu", "gpu"), {"scope": {"project": "a"}, **alias("x.com/gpu", "gpu")}],
            "gpu",
            "x.com/gpu",
            id="the more specific policy's counts",
        ),
        pytest.param(
            [alias("amd.com/gpu", "x"), {"scope": {"project": "a"}, **alias("amd.com/gpu", None)}],
            "x",
            None,
            id="null lifts an alias",
        ),
        pytest.param(
            [alias("amd.com/gpu", "x"), {"scope": {"project": "b"}, **alias("x.com/y", "x")}],
            "x",
            "amd.com/gpu",
            id="another project's does not count",
        ),
    ],
)
def test_aliases_are_those_in_force_for_the_namespace(specs: list[Any], key: str, expected: str | None) -> None:
    assert policy_set(*specs).effective(HERE).aliases.get(key) == expected


def test_keys_are_resolved_before_merging_and_the_lower_counts_where_anothers_alias_makes_two_one() -> None:
    policy = policy_set(
        {"container": {"max": {"gpu": "4", "amd.com/gpu": "2", "mem": "1Gi"}}, "quota": {"requests.gpu": "9"}},
        {"scope": {"project": "a"}, **alias("amd.com/gpu", "gpu"), "container": {"max": {"memory": "2Gi"}}},
    ).effective(HERE)
    assert maximum(policy, "amd.com/gpu") == "2"
    assert maximum(policy, "nvidia.com/gpu") is None
    assert maximum(policy, "memory") == "2Gi"


def test_defaults_are_fitted_to_the_maximum_and_the_minimum_and_the_maximum_beats_the_minimum() -> None:
    policy = policy_set(
        {
            "container": {
                "defaultRequest": {"cpu": "3", "memory": "1Mi"},
                "default": {"cpu": "3"},
                "min": {"cpu": "2500m"},
            }
        },
        {"scope": {"project": "a"}, "container": {"max": {"cpu": "2"}, "min": {"memory": "2Mi"}}},
    ).effective(HERE)
    shown = [policy.default_request["cpu"], policy.default_limit["cpu"], policy.minimum["cpu"]]
    assert [(str(bound.value), bound.origin.policy) for bound in shown] == [("2", "p1")] * 3
    assert str(policy.default_request["memory"].value) == "2Mi"


# P3


def with_selector(selector: Any, **spec: Any) -> dict[str, Any]:
    return {"scope": {"project": "a", "podSelector": selector}, **spec}


def test_a_pod_selector_policy_lowers_and_never_raises() -> None:
    policy = policy_set(
        {"contact": "#all", "container": {"max": {"cpu": "4", "memory": "1Gi"}, "default": {"cpu": "4"}}},
        with_selector(SELECTOR, contact="#ml", container={"max": {"cpu": "2", "memory": "9Gi", "nvidia.com/gpu": "0"}}),
    ).effective(HERE)
    assert policy.for_pod({"team": "x"}) is policy
    assert maximum(policy, "nvidia.com/gpu") is None
    chosen = policy.for_pod({"team": "ml", "other": "y"})
    assert [maximum(chosen, name) for name in ("cpu", "memory", "nvidia.com/gpu")] == ["2", "1Gi", "0"]
    assert str(chosen.default_limit["cpu"].value) == "2"
    assert chosen.contact is not None
    assert chosen.contact.value == "#ml"
    assert policy.for_pod({"team": "ml"}) is chosen


def test_each_pod_selector_policy_is_looked_up_by_itself() -> None:
    policy = policy_set(
        {"container": {"max": {"nvidia.com/gpu": "8", "x.com/*": "5"}}},
        with_selector(SELECTOR, container={"max": {"nvidia.com/*": "2", "x.com/a*": "6"}}),
        with_selector({"matchLabels": {"tier": "low"}}, container={"max": {"nvidia.com/gpu": "4", "x.com/a": "3"}}),
    ).effective(HERE)
    chosen = policy.for_pod({"team": "ml", "tier": "low"})
    assert [maximum(chosen, name) for name in ("nvidia.com/gpu", "nvidia.com/x", "x.com/a", "x.com/ab", "x.com/b")] == [
        "2",
        "2",
        "3",
        "5",
        "5",
    ]


def test_a_lifted_maximum_is_lowered_by_a_pod_selector_policy() -> None:
    policy = policy_set(
        {
            "container": {"max": {"nvidia.com/*": "1", "nvidia.com/gpu": None, "cpu": None}},
            "pod": {"max": {"cpu": "9"}},
        },
        with_selector(
            SELECTOR, container={"max": {"nvidia.com/*": "3"}}, pod={"max": {"cpu": "7"}, "resourceClaims": "Deny"}
        ),
    ).effective(HERE)
    chosen = policy.for_pod({"team": "ml"})
    assert maximum(chosen, "nvidia.com/gpu") == "3"
    assert chosen.resource_claims.value == "Deny"
    bound = chosen.pod_maximum.get("cpu")
    assert bound is not None
    assert str(bound.value) == "7"


@pytest.mark.parametrize(
    ("expression", "fits"),
    [
        pytest.param({"operator": "In", "values": ["x", "ml"]}, [True, False, False], id="In"),
        pytest.param({"operator": "NotIn", "values": ["ml"]}, [False, True, True], id="NotIn fits an absent label"),
        pytest.param({"operator": "Exists"}, [True, True, False], id="Exists"),
        pytest.param({"operator": "DoesNotExist"}, [False, False, True], id="DoesNotExist"),
    ],
)
def test_selectors_fit_as_in_kubernetes(expression: Any, fits: list[bool]) -> None:
    selector = {"matchExpressions": [{"key": "team", **expression}]}
    policy = policy_set(with_selector(selector, container={"max": {"cpu": "1"}})).effective(HERE)
    pods: list[dict[str, str]] = [{"team": "ml"}, {"team": "y"}, {"a": "ml"}]
    assert [maximum(policy.for_pod(labels), "cpu") == "1" for labels in pods] == fits


def test_what_is_remembered_of_pods_labels_is_bounded() -> None:
    specs = [
        with_selector(
            {"matchExpressions": [{"key": f"k{index}", "operator": "Exists"}]}, container={"max": {"cpu": "1"}}
        )
        for index in range(10)
    ]
    policy = policy_set(*specs).effective(HERE)
    for number in range(1, 1024):
        labels = {f"k{index}": "" for index in range(10) if number >> index & 1}
        assert maximum(policy.for_pod(labels), "cpu") == "1"
    assert policy.selections is not None
    assert len(policy.selections._remembered) <= 256


# Scheduling: path by path, entries of resources by their resource


def for_gpus(**fields: Any) -> dict[str, Any]:
    return {"scheduling": {"resources": [{"resource": "nvidia.com/gpu", **fields}]}}


def tolerations(*keys: str) -> list[dict[str, str]]:
    return [{"key": key, "operator": "Exists"} for key in keys]


def scheduling_of(*specs: Any) -> SchedulingRules:
    """What policies for the platform, the domain and the project come to, as many as there are."""
    scopes = [{}, {"domain": "development"}, {"project": "a"}][-len(specs) :] if len(specs) > 1 else [{}]
    policies = policy_set(*({"scope": scope, **spec} for scope, spec in zip(scopes, specs, strict=True)))
    found = policies.effective(HERE).scheduling
    assert found is not None
    return found


def only(rules: SchedulingRules) -> ScheduledResource:
    [entry] = rules.resources
    return entry


def in_words(entry: ScheduledResource) -> dict[str, Any]:
    """What an entry says, without where that is written."""
    device, partition = entry.device, entry.partition
    said = {
        "tolerations": [toleration_text(each) for each in entry.placing.tolerations.value],
        "nodeSelector": {key: setting.value for key, setting in entry.placing.node_selector.items()},
        "reserved": entry.reserved.value,
        "device": device and device.label.value,
        "names": device and {name: setting.value for name, setting in device.names.items()},
        "allowed": device and device.allowed and device.allowed.value,
        "partition": partition and partition.label.value,
        "whole": partition and (partition.whole.value.key, partition.whole.value.operator),
        "whole.toleration": partition and partition.whole_toleration and partition.whole_toleration.value.key,
    }
    return {field: value for field, value in said.items() if value not in (None, [], {}, "Off")}


MERGED = [
    # what the broader and the narrower policy say of GPUs, what comes of it
    ("other-fields-stay", {"nodeSelector": {"a": "b"}}, {"reserved": "Warn"},
     {"nodeSelector": {"a": "b"}, "reserved": "Warn"}),
    ("tolerations-replace-whole", {"tolerations": tolerations("a", "b")}, {"tolerations": tolerations("c")},
     {"tolerations": ["c op=Exists"]}),
    ("an-empty-list-replaces-too", {"tolerations": tolerations("a")}, {"tolerations": []}, {}),
    ("null-lifts-tolerations", {"tolerations": tolerations("a")}, {"tolerations": None}, {}),
    ("node-selectors-merge-by-key", {"nodeSelector": {"a": "1", "b": "1"}}, {"nodeSelector": {"b": "2", "c": "2"}},
     {"nodeSelector": {"a": "1", "b": "2", "c": "2"}}),
    ("null-lifts-one-label", {"nodeSelector": {"a": "1", "b": "1"}}, {"nodeSelector": {"a": None}},
     {"nodeSelector": {"b": "1"}}),
    ("reserved", {"reserved": "Warn"}, {"reserved": "Deny"}, {"reserved": "Deny"}),
    ("null-lifts-reserved", {"reserved": "Deny"}, {"reserved": None}, {}),
    ("names-merge-in-any-case", {"device": {"label": "x", "names": {"A100": "a", "L4": "l"}}},
     {"device": {"names": {"a100": "b", "H100": "h"}}},
     {"device": "x", "names": {"a100": "b", "l4": "l", "h100": "h"}}),
    ("null-lifts-a-name", {"device": {"label": "x", "names": {"A100": "a", "L4": "l"}}},
     {"device": {"names": {"A100": None}}}, {"device": "x", "names": {"l4": "l"}}),
    ("allowed-replaces-whole", {"device": {"label": "x", "allowed": ["a", "b"]}}, {"device": {"allowed": ["c"]}},
     {"device": "x", "allowed": ("c",)}),
    ("null-lifts-allowed", {"device": {"label": "x", "allowed": ["a"]}}, {"device": {"allowed": None}},
     {"device": "x"}),
    ("allowed-by-a-name-of-another-policy", {"device": {"label": "x", "names": {"A100": "a", "L4": "l"}}},
     {"device": {"allowed": ["a100", "l", "L4", "other"]}},
     {"device": "x", "names": {"a100": "a", "l4": "l"}, "allowed": ("a", "l", "other")}),
    ("null-lifts-the-label-and-with-it-the-device", {"device": {"label": "x", "names": {"A": "a"}}},
     {"device": {"label": None}}, {}),
    ("a-whole-device", {"partition": {"label": "x", "whole": {"requirement": {"key": "y", "operator": "Exists"}}}},
     {"partition": {"label": "z", "whole": {"toleration": {"operator": "Exists"}}}},
     {"partition": "z", "whole": ("y", "Exists"), "whole.toleration": "z"}),
    ("null-lifts-a-whole-device-back-to-no-label",
     {"partition": {"label": "x", "whole": {"requirement": {"operator": "Exists"}, "toleration": {"value": "v"}}}},
     {"partition": {"whole": {"requirement": None, "toleration": None}}},
     {"partition": "x", "whole": ("x", "DoesNotExist")}),
    ("a-requirement-replaces-whole",
     {"partition": {"label": "x", "whole": {"requirement": {"key": "y", "operator": "In", "values": ["1"]}}}},
     {"partition": {"whole": {"requirement": {"operator": "Exists"}}}}, {"partition": "x", "whole": ("x", "Exists")}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("broader", "narrower", "expected"), [case[1:] for case in MERGED], ids=[case[0] for case in MERGED]
)
def test_what_policies_say_of_a_resource_merges_field_by_field(broader: Any, narrower: Any, expected: Any) -> None:
    assert in_words(only(scheduling_of(for_gpus(**broader), for_gpus(**narrower)))) == expected


def entries(*resources: str) -> dict[str, Any]:
    return {"scheduling": {"resources": [{"resource": resource} for resource in resources]}}


def test_the_broader_policys_order_of_resources_comes_first() -> None:
    rules = scheduling_of(entries("c.com/x", "a.com/x"), entries("b.com/x", "a.com/x"), entries("d.com/x", "c.com/x"))
    assert [entry.resource for entry in rules.resources] == ["c.com/x", "a.com/x", "b.com/x", "d.com/x"]


def test_an_entry_that_null_empties_keeps_its_place() -> None:
    first = {"scheduling": {"resources": [{"resource": "a.com/x", "reserved": "Warn"}, {"resource": "b.com/x"}]}}
    again = {"scheduling": {"resources": [{"resource": "a.com/x", "reserved": "Deny"}]}}
    lifted = {"scheduling": {"resources": [{"resource": "a.com/x", "reserved": None}]}}
    found = [(entry.resource, entry.reserved.value) for entry in scheduling_of(first, lifted, again).resources]
    assert found == [("a.com/x", "Deny"), ("b.com/x", "Off")]


def test_interruptible_and_defaults_merge_field_by_field() -> None:
    requirement = {"key": "life", "operator": "In", "values": ["spot"]}
    placing = {"tolerations": tolerations("a"), "nodeSelector": {"a": "1", "b": "1"}}
    broader = {"interruptible": {**placing, "requirement": requirement, "otherwise": requirement}, "defaults": placing}
    narrower = {
        "interruptible": {"nodeSelector": {"a": "2"}, "requirement": None},
        "defaults": {"tolerations": tolerations("c"), "nodeSelector": {"b": None}},
    }
    rules = scheduling_of({"scheduling": broader}, {"scheduling": narrower})
    interruptible, defaults = rules.interruptible, rules.defaults
    assert [toleration_text(each) for each in interruptible.placing.tolerations.value] == ["a op=Exists"]
    assert {key: setting.value for key, setting in interruptible.placing.node_selector.items()} == {"a": "2", "b": "1"}
    assert interruptible.requirement is None
    assert interruptible.otherwise is not None
    assert interruptible.otherwise.value.values == ("spot",)
    assert [toleration_text(each) for each in defaults.tolerations.value] == ["c op=Exists"]
    assert {key: setting.value for key, setting in defaults.node_selector.items()} == {"a": "1"}


def test_every_value_of_scheduling_keeps_its_origin() -> None:
    entry = only(
        scheduling_of(
            for_gpus(tolerations=tolerations("a"), nodeSelector={"a": "1", "b": "1"}),
            for_gpus(nodeSelector={"b": "2"}, reserved="Warn"),
        )
    )
    selector = entry.placing.node_selector
    found = [entry.placing.tolerations.origin, selector["a"].origin, selector["b"].origin, entry.reserved.origin]
    assert [(origin.policy, origin.scope) for origin in found] == [
        ("p0", "domain development"),
        ("p0", "domain development"),
        ("p1", "project a"),
        ("p1", "project a"),
    ]


@pytest.mark.parametrize(
    "specs",
    [[{}], [{"scheduling": {}}], [{"scheduling": {"defaults": {}}}], [alias("amd.com/gpu", "x")]],
    ids=["nothing", "an empty one", "empty sections", "an alias"],
)
def test_a_namespace_without_rules_places_nobody(specs: list[Any]) -> None:
    rules = policy_set(*specs).effective(HERE).scheduling
    assert rules is None or (rules.defaults == SchedulingRules().defaults and not rules.of["nvidia.com/gpu"])


def test_another_projects_scheduling_does_not_count() -> None:
    other = {"scope": {"project": "b"}, **for_gpus(reserved="Warn")}
    assert policy_set(other).effective(HERE).scheduling is None
    assert policy_set(other).effective(Scope("x", "b")).scheduling is not None


def test_a_pod_selector_policy_changes_nothing_of_scheduling() -> None:
    policy = policy_set(for_gpus(reserved="Warn"), with_selector(SELECTOR, container={"max": {"cpu": "1"}})).effective(
        HERE
    )
    assert policy.for_pod({"team": "ml"}).scheduling == policy.scheduling is not None


def test_what_is_remembered_of_pods_resources_is_bounded() -> None:
    rules = scheduling_of(for_gpus(reserved="Warn"))
    assert [bool(rules.of[f"nvidia.com/gpu{number or ''}"]) for number in range(1024)] == [True] + [False] * 1023
    assert len(rules.of) <= 256


# The set as a whole


SCOPES = [
    {},
    {"project": "a"},
    {"domain": "development"},
    {"project": "a", "domain": "development"},
    {"namespace": "ml-*"},
    {"namespace": "ml-a-*"},
    {"namespace": "ml-*t"},
    {"namespace": "ml-a-development"},
    {"podSelector": SELECTOR},
    {"project": "a", "podSelector": {"matchExpressions": [{"key": "team", "operator": "Exists"}]}},
]
AMOUNTS = st.dictionaries(
    st.sampled_from(["cpu", "memory", "nvidia.com/gpu", "nvidia.com/*", "*"]), st.sampled_from("1234"), max_size=4
)
SETS = st.lists(st.tuples(st.sampled_from(SCOPES), AMOUNTS), max_size=8, unique_by=lambda pair: str(pair[0]))


@settings(max_examples=60, deadline=None)
@given(SETS, st.randoms(use_true_random=False))
def test_merging_does_not_depend_on_the_order_of_files(pairs: list[tuple[Any, dict[str, str]]], random: Any) -> None:
    named = [(f"p{index}", {"scope": scope, "container": {"max": most}}) for index, (scope, most) in enumerate(pairs)]
    shuffled = named.copy()
    random.shuffle(shuffled)
    first, second = (
        policy_set(*(spec for _, spec in some), names=[name for name, _ in some]) for some in (named, shuffled)
    )
    assert first.hash == second.hash
    for labels in ({}, {"team": "ml"}):
        one, other = (policies.effective(HERE).for_pod(labels) for policies in (first, second))
        for name in ("cpu", "memory", "nvidia.com/gpu", "nvidia.com/x", "amd.com/gpu"):
            assert maximum(one, name) == maximum(other, name)


def test_the_hash_changes_with_the_content_only() -> None:
    one = policy_set(cpu_maximum("1"), cpu_maximum("2", project="a"))
    assert one.hash == policy_set(cpu_maximum("1000m"), cpu_maximum("2", project="a")).hash
    assert one.hash != policy_set(cpu_maximum("1"), cpu_maximum("3", project="a")).hash
    assert one.hash != policy_set(cpu_maximum("1"), cpu_maximum("2", project="b")).hash
    first, second = entries("a.com/x", "b.com/x"), entries("b.com/x", "a.com/x")
    assert policy_set(first).hash != policy_set(second).hash, "the order of resources counts"
    assert policy_set(first).hash == policy_set(entries("a.com/x", "b.com/x")).hash
    tolerated = [policy_set(for_gpus(tolerations=tolerations(key))).hash for key in ("a", "b")]
    assert tolerated[0] != tolerated[1]
    assert len(one.hash) == 12


def test_the_effective_policy_is_compiled_once_and_shared() -> None:
    policies = policy_set(cpu_maximum("1"), cpu_maximum("2", project="a"))
    assert policies.effective(HERE) is policies.effective(Scope("ml-a-development", "a", "development"))
    assert policies.effective(Scope("x")) is policies.effective(Scope("y", "other"))
