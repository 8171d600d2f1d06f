"""Section 4, rule by rule: what a container comes out with."""

import pytest

from tests.unit.deciding import Json, container, decided, denial, pod, resources_after, sidecar

LIMITS, REQUESTS = "task-resources.io/limits", "task-resources.io/requests"


def amounts(limits: str | None = None, requests: str | None = None) -> Json:
    """`amounts("cpu=2", "cpu=1")` as a container's resources."""
    result = {}
    for side, text in (("limits", limits), ("requests", requests)):
        if text is not None:
            result[side] = dict(item.split("=") for item in text.split(",") if item)
    return result


def main(limits: str | None = None, requests: str | None = None) -> Json:
    return container(**amounts(limits, requests))


CASES = [
    # R1, R2: annotations
    ("R1-annotation-replaces-both", main("cpu=2", "cpu=1"), {LIMITS: "cpu=4", REQUESTS: "cpu=3"}, "{}",
     amounts("cpu=4", "cpu=3")),
    ("R1-annotated-limit-alone-keeps-request", main("cpu=2", "cpu=1"), {LIMITS: "cpu=6"},
     "container: {max: {cpu: '4'}}", amounts("cpu=4", "cpu=1")),
    ("R1-mem-is-memory", main(), {LIMITS: "mem=1Gi"}, "{}", amounts("memory=1Gi", "memory=1Gi")),
    ("R1-cpu-rounds-up-to-a-thousandth", main(), {LIMITS: "cpu=1.0001"}, "{}", amounts("cpu=1001m", "cpu=1001m")),
    ("R1-memory-rounds-up-to-a-byte", main(), {LIMITS: "memory=0.5"}, "{}", amounts("memory=1", "memory=1")),
    ("R2-annotated-request-raises-limit", main("cpu=2", "cpu=1"), {REQUESTS: "cpu=3"}, "{}", amounts("cpu=3", "cpu=3")),
    ("R2-annotated-limit-lowers-request", main("cpu=2", "cpu=2"), {LIMITS: "cpu=1"}, "{}", amounts("cpu=1", "cpu=1")),
    ("R2-annotated-request-above-annotated-limit-is-lowered", main(), {LIMITS: "cpu=1", REQUESTS: "cpu=2"}, "{}",
     amounts("cpu=1", "cpu=1")),
    # R3: defaults
    ("R3-neither-default-request-and-maximum", main(), None,
     "container: {defaultRequest: {cpu: 500m}, max: {cpu: '4'}}", amounts("cpu=4", "cpu=500m")),
    ("R3-neither-default-limit-is-the-request-too", main(), None, "container: {default: {cpu: '1'}}",
     amounts("cpu=1", "cpu=1")),
    ("R3-neither-default-request-and-default", main(), None,
     "container: {defaultRequest: {cpu: 500m}, default: {cpu: '1'}, max: {cpu: '4'}}", amounts("cpu=1", "cpu=500m")),
    ("R3-missing-limit-request", main(), None,
     "{missingLimit: Request, container: {defaultRequest: {cpu: 500m}, max: {cpu: '4'}}}",
     amounts("cpu=500m", "cpu=500m")),
    ("R3-missing-limit-request-without-one-is-the-maximum", main(), None,
     "{missingLimit: Request, container: {max: {cpu: '4'}}}", amounts("cpu=4", "cpu=0")),
    ("R3-missing-limit-unset", main(), None,
     "{missingLimit: Unset, container: {defaultRequest: {cpu: 500m}, max: {cpu: '4'}}}", amounts(None, "cpu=500m")),
    ("R3-missing-limit-by-resource", main(), None,
     "missingLimit: {cpu: Request}\ncontainer: {defaultRequest: {cpu: 500m, memory: 1Gi}, max: {cpu: 4, memory: 2Gi}}",
     amounts("cpu=500m,memory=2Gi", "cpu=500m,memory=1Gi")),
    ("R3-request-only", main(None, "cpu=1"), None, "container: {default: {cpu: '2'}, max: {cpu: '4'}}",
     amounts("cpu=4", "cpu=1")),
    ("R3-limit-only-keeps-it", main("cpu=1"), None, "container: {defaultRequest: {cpu: 500m}, max: {cpu: '4'}}",
     amounts("cpu=1", "cpu=1")),
    ("R3-zeros-are-unset", main("cpu=0", "cpu=0"), None, "container: {defaultRequest: {cpu: 500m}, max: {cpu: '4'}}",
     amounts("cpu=4", "cpu=500m")),
    ("R3-ephemeral-storage-unnamed-gets-no-default", main(), None,
     "container: {defaultRequest: {ephemeral-storage: 1Gi}}", {}),
    ("R3-ephemeral-storage-named-gets-its-default", main(None, "ephemeral-storage=0"), None,
     "container: {defaultRequest: {ephemeral-storage: 1Gi}}", amounts(None, "ephemeral-storage=1Gi")),
    ("R3-default-is-lowered-to-the-maximum", main(), None,
     "container: {defaultRequest: {cpu: 500m}, default: {cpu: '1'}}", amounts("cpu=1", "cpu=500m")),
    # R4: minimum
    ("R4-raised", main("cpu=20m", "cpu=10m"), None, "container: {min: {cpu: 50m}}", amounts("cpu=50m", "cpu=50m")),
    ("R4-unset-is-not-below", main(None, "memory=1Gi"), None, "container: {min: {cpu: 50m}}",
     amounts(None, "memory=1Gi")),
    ("R4-zero-request-beside-a-limit", main("cpu=1", "cpu=0"), None, "container: {min: {cpu: 50m}}",
     amounts("cpu=1", "cpu=50m")),
    ("R4-minimum-beside-a-written-limit", main(), None, "container: {min: {cpu: 50m}, max: {cpu: '4'}}",
     amounts("cpu=4", "cpu=50m")),
    # R5: maximum
    ("R5-both-lowered", main("cpu=8", "cpu=6"), None, "container: {max: {cpu: '4'}}", amounts("cpu=4", "cpu=4")),
    ("R5-equal-in-other-words-is-kept", main("cpu=4000m", "cpu=4000m"), None, "container: {max: {cpu: '4'}}",
     amounts("cpu=4000m", "cpu=4000m")),
    ("R5-one-byte-above", main("memory=8589934593", "memory=1Gi"), None, "container: {max: {memory: 8Gi}}",
     amounts("memory=8Gi", "memory=1Gi")),
    ("R5-hundred-exa", main("memory=100E", "memory=1Gi"), None, "container: {max: {memory: 8Gi}}",
     amounts("memory=8Gi", "memory=1Gi")),
    ("R5-unbounded-stays", main("cpu=100", "cpu=50"), None, "container: {max: {memory: 8Gi}, min: {memory: 1Mi}}",
     amounts("cpu=100,memory=8Gi", "cpu=50,memory=1Mi")),
    ("R5-request-within-limit", main("cpu=2", "cpu=3"), None, "container: {max: {cpu: '4'}}",
     amounts("cpu=2", "cpu=2")),
    ("R5-unset-bounds-only-the-request", main(None, "cpu=8"), None,
     "{missingLimit: Unset, container: {max: {cpu: '4'}}}", amounts(None, "cpu=4")),
    ("R5-ephemeral-storage-without-limit-escapes-not", main(), None, "container: {max: {ephemeral-storage: 20Gi}}",
     amounts("ephemeral-storage=20Gi", "ephemeral-storage=0")),
    # R7: extended resources and hugepages
    ("R7-alias-key-renamed", main("gpu=1"), None, "{}", amounts("nvidia.com/gpu=1", "nvidia.com/gpu=1")),
    ("R7-annotation-is-both-sides", main(), {REQUESTS: "gpu=2"}, "{}", amounts("nvidia.com/gpu=2", "nvidia.com/gpu=2")),
    ("R7-annotated-side-replaces-both", main("nvidia.com/gpu=4"), {REQUESTS: "gpu=2"}, "{}",
     amounts("nvidia.com/gpu=2", "nvidia.com/gpu=2")),
    ("R7-capped", main("nvidia.com/gpu=4"), None, "container: {max: {nvidia.com/gpu: 2}}",
     amounts("nvidia.com/gpu=2", "nvidia.com/gpu=2")),
    ("R7-limit-wins", main("nvidia.com/gpu=2", "nvidia.com/gpu=1"), None, "{}",
     amounts("nvidia.com/gpu=2", "nvidia.com/gpu=2")),
    ("R7-fraction-is-left-to-the-api-server", main("nvidia.com/gpu=1500m"), None,
     "container: {max: {nvidia.com/gpu: 1}}", amounts("nvidia.com/gpu=1500m", "nvidia.com/gpu=1500m")),
    ("R7-glob", main("nvidia.com/mig-1g.5gb=3"), None, "container: {max: {'nvidia.com/mig-*': 2}}",
     amounts("nvidia.com/mig-1g.5gb=2", "nvidia.com/mig-1g.5gb=2")),
    ("R7-exact-null-lifts-the-glob", main("nvidia.com/mig-1g.5gb=3"), None,
     "container: {max: {'nvidia.com/mig-*': 2, nvidia.com/mig-1g.5gb: null}}",
     amounts("nvidia.com/mig-1g.5gb=3", "nvidia.com/mig-1g.5gb=3")),
    ("R7-hugepages", main("hugepages-2Mi=8Mi,memory=1Gi"), None, "container: {max: {hugepages-2Mi: 4Mi}}",
     amounts("hugepages-2Mi=4Mi,memory=1Gi", "hugepages-2Mi=4Mi,memory=1Gi")),
    ("R7-native-names-may-differ",
     main("deviceclass.resource.kubernetes.io/a=4", "deviceclass.resource.kubernetes.io/a=1"), None,
     "container: {max: {'deviceclass.resource.kubernetes.io/*': 2}}",
     amounts("deviceclass.resource.kubernetes.io/a=2", "deviceclass.resource.kubernetes.io/a=1")),
    # R9
    ("R9-zero-limit-beside-a-request-goes", main("cpu=0", "cpu=0"), {REQUESTS: "cpu=1"}, "{}", amounts("", "cpu=1")),
    ("R9-zero-limit-goes-although-another-one-is-written", main("cpu=0", "cpu=1"), None,
     "container: {max: {memory: 1Gi}}", amounts("memory=1Gi", "cpu=1,memory=0")),
    ("R9-zeros-that-nothing-touches-stay", main("cpu=0", "cpu=0"), None, "{}", amounts("cpu=0", "cpu=0")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "annotations", "spec", "expected"), [case[1:] for case in CASES], ids=[c[0] for c in CASES]
)
def test_a_primary_container_comes_out_as_the_rules_say(
    given: Json, annotations: Json, spec: str, expected: Json
) -> None:
    assert resources_after(pod(given, annotations=annotations), spec)["main"] == expected


def test_flytes_own_example_is_capped_at_four_cores() -> None:
    given = main("cpu=2,memory=350Mi", "cpu=1,memory=200Mi")
    after = resources_after(pod(given, annotations={LIMITS: "cpu=6,memory=500Mi"}), "container: {max: {cpu: '4'}}")
    assert after["main"] == amounts("cpu=4,memory=500Mi", "cpu=1,memory=200Mi")


OTHERS = [
    ("R5-absent-limit-is-written-request-is-zero", container("x"), amounts("cpu=4", "cpu=0")),
    ("R5-request-without-limit", container("x", requests={"cpu": "1"}), amounts("cpu=4", "cpu=1")),
    ("R5-capped", container("x", limits={"cpu": "8"}), amounts("cpu=4", "cpu=4")),
    ("R4-no-minimum", container("x", limits={"cpu": "1m"}), amounts("cpu=1m", "cpu=1m")),
]


@pytest.mark.parametrize("place", ["regular", "sidecar", "init"])
@pytest.mark.parametrize(("given", "expected"), [case[1:] for case in OTHERS], ids=[c[0] for c in OTHERS])
def test_every_other_class_of_container_is_bounded_and_never_defaulted(place: str, given: Json, expected: Json) -> None:
    spec = "container: {defaultRequest: {cpu: 500m}, min: {cpu: 50m}, max: {cpu: '4'}}"
    primary = main("cpu=1", "cpu=1")
    annotations = {"task-resources.io/primary-container": "main"}
    if place == "regular":
        task = pod(primary, given, annotations=annotations)
    else:
        task = pod(primary, init=[given | ({"restartPolicy": "Always"} if place == "sidecar" else {})])
    after = resources_after(task, spec)
    assert (after["x"], after["main"]) == (expected, amounts("cpu=1", "cpu=1"))


def test_named_annotations_reach_containers_of_any_class() -> None:
    annotations = {"limits.task-resources.io/setup": "cpu=2", "requests.task-resources.io/proxy": "cpu=100m"}
    task = pod(main("cpu=1"), init=[container("setup"), sidecar("proxy")], annotations=annotations)
    after = resources_after(task, "{}")
    assert after["setup"] == amounts("cpu=2", "cpu=2")
    assert after["proxy"] == amounts(None, "cpu=100m")


DENIALS = [
    ("R6-deny-names-every-value", main("cpu=8,memory=16Gi", "cpu=1,memory=1Gi"), None,
     "{onExceed: Deny, container: {max: {cpu: '4', memory: 8Gi}}}",
     ["limits.cpu 8 is above the maximum 4", "limits.memory 16Gi is above the maximum 8Gi"]),
    ("R6-annotated", main("cpu=2", "cpu=1"), {LIMITS: "cpu=6"}, "{onExceed: Deny, container: {max: {cpu: '4'}}}",
     ["limits.cpu 6 is above the maximum 4"]),
    ("P2-zero-forbids-even-under-cap", main("nvidia.com/gpu=1"), None, "container: {max: {nvidia.com/gpu: 0}}",
     ["nvidia.com/gpu 1", "may not be used"]),
    ("E7-says-project-policy-and-contact", main("cpu=8"), None,
     "{onExceed: Deny, contact: '#ml-platform', container: {max: {cpu: '4'}}}",
     ["project flytesnacks", "domain development", "policy policy-0", "#ml-platform"]),
    ("A2-uncomputable", main("memory=1e999"), None, "container: {max: {memory: 8Gi}}", ["memory", "8Gi"]),
    ("A3-empty", main(), {LIMITS: ""}, "{}", ["task-resources.io/limits", "cpu=2,memory=4Gi"]),
    ("A3-syntax", main(), {LIMITS: "cpu"}, "{}", ['"cpu" is not name=quantity']),
    ("A3-unknown-resource", main(), {LIMITS: "cores=2"}, "{}", ['"cores"', "accepted: cpu, memory"]),
    ("A3-negative", main(), {LIMITS: "cpu=-2"}, "{}", ["must not be negative"]),
    ("A3-zero", main(), {LIMITS: "cpu=0"}, "{}", ["cpu=0: must be more than zero"]),
    ("A3-fraction-of-a-device", main(), {LIMITS: "gpu=0.5"}, "{}", ["gpu=0.5: must be a whole number"]),
    ("A3-given-twice", main(), {LIMITS: "gpu=1,nvidia.com/gpu=1"}, "{}", ["given twice"]),
    ("A3-given-twice-by-name", main(), {LIMITS: "cpu=1", "limits.task-resources.io/main": "cpu=1"}, "{}",
     ["already given"]),
    ("A3-quantity", main(), {LIMITS: "memory=1GB"}, "{}", ["'1GB' is not a quantity"]),
    ("A4-unknown-primary", main(), {"task-resources.io/primary-container": "x"}, "{}",
     ['"x" is no regular container', "main"]),
    ("A6-two-values", main("gpu=1,nvidia.com/gpu=2"), None, "{}", ["limits.gpu 1", "limits.nvidia.com/gpu 2"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "annotations", "spec", "parts"), [case[1:] for case in DENIALS], ids=[c[0] for c in DENIALS]
)
def test_what_cannot_be_allowed_is_denied_with_a_message_that_helps(
    given: Json, annotations: Json, spec: str, parts: list[str]
) -> None:
    message = denial(pod(given, annotations=annotations), spec)
    assert [part for part in parts if part not in message] == [], message


def test_an_annotation_for_a_container_that_is_not_there_yet_is_a_warning() -> None:
    decision = decided(pod(annotations={"limits.task-resources.io/proxy": "cpu=1"}), "{}")
    assert decision.outcome == "unchanged"
    assert 'no container "proxy" yet' in decision.warnings[0]


PRIMARIES = [
    ("our-annotation", {"task-resources.io/primary-container": "b", "primary_container_name": "a"}, ["a", "b"], "b"),
    (
        "flytes-annotation",
        {"primary_container_name": "b", "kubectl.kubernetes.io/default-container": "a"},
        ["a", "b"],
        "b",
    ),
    ("kubectls-annotation", {"kubectl.kubernetes.io/default-container": "b"}, ["a", "b"], "b"),
    ("flytes-is-ignored-when-unknown", {"primary_container_name": "x"}, ["a", "b"], "a"),
    ("named-primary", {}, ["a", "primary", "task"], "primary"),
    ("named-like-the-pod", {}, ["a", "task"], "task"),
    ("the-first", {}, ["a", "b"], "a"),
]


@pytest.mark.parametrize(
    ("annotations", "names", "expected"), [case[1:] for case in PRIMARIES], ids=[c[0] for c in PRIMARIES]
)
def test_the_primary_container_is_found_in_this_order(annotations: Json, names: list[str], expected: str) -> None:
    task = pod(*(container(name) for name in names), annotations=annotations)
    after = resources_after(task, "container: {defaultRequest: {cpu: 500m}}")
    assert [name for name, resources in after.items() if resources] == [expected]


UNCHANGED_GUARANTEED = main("cpu=8,memory=16Gi")


def test_capping_keeps_a_guaranteed_pod_guaranteed() -> None:
    spec = "{container: {max: {cpu: '4', memory: 8Gi}}, pod: {max: {cpu: '3'}}}"
    after = resources_after(pod(UNCHANGED_GUARANTEED), spec)["main"]
    assert after == amounts("cpu=3,memory=8Gi", "cpu=3,memory=8Gi")


TOTALS = [
    ("limits-that-we-wrote-give-way-to-one-value",
     [container("main", requests={"cpu": "1"}), container("b"), container("c")],
     None, "{container: {max: {cpu: '4'}}, pod: {max: {cpu: '6'}}}",
     {"main": amounts("cpu=2", "cpu=1"), "b": amounts("cpu=2", "cpu=0"), "c": amounts("cpu=2", "cpu=0")}),
    ("none-below-its-request", [container("main", requests={"cpu": "3"}), container("b"), container("c")],
     None, "{container: {max: {cpu: '4'}}, pod: {max: {cpu: '6'}}}",
     {"main": amounts("cpu=3", "cpu=3"), "b": amounts("cpu=1500m", "cpu=0"), "c": amounts("cpu=1500m", "cpu=0")}),
    ("then-the-primary", [container("main", limits={"cpu": "6"}), container("b", limits={"cpu": "3"})],
     None, "pod: {max: {cpu: '8'}}", {"main": amounts("cpu=5", "cpu=5"), "b": amounts("cpu=3", "cpu=3")}),
    ("an-init-step-is-lowered-to-what-is-left", [container("main", limits={"cpu": "1"})],
     [sidecar("proxy", limits={"cpu": "2"}), container("setup", limits={"cpu": "9"})],
     "pod: {max: {cpu: '8'}}", {"proxy": amounts("cpu=2", "cpu=2"), "setup": amounts("cpu=6", "cpu=6")}),
    ("init-steps-and-containers-do-not-add-up", [container("main", limits={"cpu": "8"})],
     [container("setup", limits={"cpu": "8"})], "pod: {max: {cpu: '8'}}", {"setup": amounts("cpu=8", "cpu=8")}),
    ("devices", [container("main", limits={"nvidia.com/gpu": "6"}), container("b", limits={"nvidia.com/gpu": "3"})],
     None, "pod: {max: {nvidia.com/gpu: 8}}", {"main": amounts("nvidia.com/gpu=5", "nvidia.com/gpu=5")}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("containers", "init", "spec", "expected"), [case[1:] for case in TOTALS], ids=[c[0] for c in TOTALS]
)
def test_pod_totals_stay_within_the_pods_maximum(
    containers: list[Json], init: list[Json] | None, spec: str, expected: Json
) -> None:
    annotations = {"task-resources.io/primary-container": "main"}
    after = resources_after(pod(*containers, init=init, annotations=annotations), spec)
    assert {name: after[name] for name in expected} == expected


TOO_MUCH = [
    ("deny", [container("main", limits={"cpu": "6"}), container("b", limits={"cpu": "3"})],
     "{onExceed: Deny, pod: {max: {cpu: '8'}}}", "come to 9, above the pod's maximum 8"),
    ("floors", [container("main", limits={"cpu": "1"}), container("b", limits={"cpu": "8"})],
     "{container: {min: {cpu: 50m}}, pod: {max: {cpu: '8'}}}", "floors is not enough"),
    ("forbidden", [container("main", limits={"nvidia.com/gpu": "1"})], "pod: {max: {nvidia.com/gpu: 0}}",
     "nvidia.com/gpu"),
]  # fmt: skip


@pytest.mark.parametrize(("containers", "spec", "part"), [case[1:] for case in TOO_MUCH], ids=[c[0] for c in TOO_MUCH])
def test_a_total_that_cannot_be_lowered_is_denied(containers: list[Json], spec: str, part: str) -> None:
    assert part in denial(pod(*containers), spec)


def test_overhead_counts_towards_the_pods_total() -> None:
    task = pod(container(limits={"cpu": "4"}), overhead={"cpu": "500m"})
    assert resources_after(task, "pod: {max: {cpu: '4'}}")["main"] == amounts("cpu=3500m", "cpu=3500m")


POD_LEVEL = [
    ("bounded-by-pod-max", {"limits": {"cpu": "8"}, "requests": {"cpu": "6"}}, "pod: {max: {cpu: '4'}}",
     {"pod": amounts("cpu=4", "cpu=4"), "main": {}}),
    ("bounded-by-container-max-times-containers", {"limits": {"cpu": "8"}, "requests": {"cpu": "1"}},
     "container: {max: {cpu: '4'}}", {"pod": amounts("cpu=4", "cpu=1"), "main": {}}),
    ("zero-limit-is-written-as-the-bound", {"limits": {"cpu": "0"}, "requests": {"cpu": "0"}}, "pod: {max: {cpu: '4'}}",
     {"pod": amounts("cpu=4", "cpu=0"), "main": {}}),
    ("no-default-for-what-the-pod-level-sets", {"limits": {"cpu": "2"}, "requests": {"cpu": "1"}},
     "container: {defaultRequest: {cpu: 500m}, max: {cpu: '4'}}", {"pod": amounts("cpu=2", "cpu=1"), "main": {}}),
    ("a-pod-limit-above-the-container-maximum-is-no-limit-for-a-container",
     {"limits": {"cpu": "6"}, "requests": {"cpu": "2"}}, "{container: {max: {cpu: '4'}}, pod: {max: {cpu: '8'}}}",
     {"pod": amounts("cpu=6", "cpu=2"), "main": amounts("cpu=4", "cpu=0")}),
    ("the-pod-request-is-written-where-ours-would-take-the-limits-place", {"limits": {"cpu": "6"}},
     "{container: {max: {cpu: '4'}}, pod: {max: {cpu: '8'}}}",
     {"pod": amounts("cpu=6", "cpu=6"), "main": amounts("cpu=4", "cpu=0")}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("resources", "spec", "expected"), [case[1:] for case in POD_LEVEL], ids=[c[0] for c in POD_LEVEL]
)
def test_pod_level_resources_are_bounded_and_containers_fit_into_them(
    resources: Json, spec: str, expected: Json
) -> None:
    assert resources_after(pod(resources=resources), spec) == expected


def test_containers_that_request_more_than_their_pod_lower_the_primary() -> None:
    task = pod(
        container(requests={"cpu": "3"}), container("b", requests={"cpu": "1"}),
        resources={"limits": {"cpu": "8"}, "requests": {"cpu": "8"}},
    )  # fmt: skip
    after = resources_after(task, "{missingLimit: Unset, pod: {max: {cpu: '3'}}}")
    assert after["pod"] == amounts("cpu=3", "cpu=3")
    assert after["main"]["requests"] == {"cpu": "2"}


RESIZES = [
    ("raised-limit-is-bounded", ("cpu=2", "cpu=1"), ("cpu=8", "cpu=3"), amounts("cpu=4", "cpu=3")),
    ("what-was-above-stays", ("cpu=6", "cpu=1"), ("cpu=8", "cpu=1"), amounts("cpu=6", "cpu=1")),
    ("lowering-is-free", ("cpu=8", "cpu=6"), ("cpu=7", "cpu=5"), amounts("cpu=7", "cpu=5")),
    ("a-new-limit-is-less-than-none", (None, "cpu=1"), ("cpu=8", "cpu=1"), amounts("cpu=8", "cpu=1")),
    ("a-zero-limit-is-above-every-maximum", ("cpu=2", "cpu=1"), ("cpu=0", "cpu=0"), amounts("cpu=4", "cpu=0")),
    ("request-bounded-too", ("cpu=2", "cpu=1"), ("cpu=8", "cpu=8"), amounts("cpu=4", "cpu=4")),
]


@pytest.mark.parametrize(("old", "new", "expected"), [case[1:] for case in RESIZES], ids=[c[0] for c in RESIZES])
def test_a_resize_is_bounded_and_shrinks_nothing(old: tuple[str, str], new: tuple[str, str], expected: Json) -> None:
    burstable = container("other")
    before, after = pod(main(*old), burstable), pod(main(*new), burstable)
    spec = "container: {max: {cpu: '4'}, defaultRequest: {memory: 1Gi}, min: {cpu: 50m}}"
    assert resources_after(after, spec, old=before)["main"] == expected


RESIZE_DENIALS = [
    ("deny", ("cpu=2", "cpu=1"), ("cpu=8", "cpu=1"), "{onExceed: Deny, container: {max: {cpu: '4'}}}",
     "above the maximum 4"),
    ("pod-total", ("cpu=2", "cpu=1"), ("cpu=8", "cpu=1"), "pod: {max: {cpu: '4'}}", "above the pod's maximum 4"),
    ("qos", ("cpu=2,memory=1Gi", "cpu=2,memory=1Gi"), ("cpu=8,memory=1Gi", "cpu=3,memory=1Gi"),
     "container: {max: {cpu: '1'}}", "QoS"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "spec", "part"), [c[1:] for c in RESIZE_DENIALS[:2]], ids=[c[0] for c in RESIZE_DENIALS[:2]]
)
def test_a_resize_that_cannot_be_bounded_is_denied(
    old: tuple[str, str], new: tuple[str, str], spec: str, part: str
) -> None:
    assert part in denial(pod(main(*new)), spec, old=pod(main(*old)))


VALIDATIONS = [
    ("above", main("cpu=8", "cpu=1"), "container: {max: {cpu: '4'}}", "limits.cpu 8 is above the maximum 4"),
    ("absent", main(), "container: {max: {cpu: '4'}}", "limits.cpu is not set and the maximum is 4"),
    ("forbidden", main("nvidia.com/gpu=1"), "container: {max: {nvidia.com/gpu: 0}}", "may not be used"),
    ("total", main("cpu=8"), "pod: {max: {cpu: '4'}}", "above the pod's maximum 4"),
]


@pytest.mark.parametrize(("given", "spec", "part"), [case[1:] for case in VALIDATIONS], ids=[c[0] for c in VALIDATIONS])
def test_validate_denies_a_pod_that_exceeds_a_maximum(given: Json, spec: str, part: str) -> None:
    assert part in denial(pod(given), spec, endpoint="validate")


NOT_JUDGED = [
    ("defaults", main("cpu=1"), "container: {defaultRequest: {memory: 1Gi}}"),
    ("minimum", main("cpu=1m"), "container: {min: {cpu: 50m}}"),
    ("request-above-limit", main("cpu=1", "cpu=2"), "{}"),
    ("unset", main(None, "cpu=1"), "{missingLimit: Unset, container: {max: {cpu: '4'}}}"),
]


@pytest.mark.parametrize(("given", "spec"), [case[1:] for case in NOT_JUDGED], ids=[c[0] for c in NOT_JUDGED])
def test_validate_judges_nothing_but_maxima_and_never_patches(given: Json, spec: str) -> None:
    decision = decided(pod(given, annotations={LIMITS: "cpu=-1"}), spec, endpoint="validate")
    assert (decision.outcome, decision.operations) == ("unchanged", ())
