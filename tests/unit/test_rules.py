"""Sentences of sections 2, 4 and 5 that need more than one container, annotation or look; ids name the rule."""

import json

import pytest

from tests.unit.deciding import Json, container, decided, denial, patched, pod, resources_after, sidecar

LIMITS, REQUESTS = "task-resources.io/limits", "task-resources.io/requests"
PRIMARY = {"task-resources.io/primary-container": "main"}

# Amounts as `kubectl set resources` writes them; "" is an empty map, None an absent one.
Amounts = tuple[str | None, str | None]


def parsed(text: str) -> Json:
    return dict(item.split("=") for item in text.split(",") if item)


def resources(amounts: Amounts) -> Json:
    return {side: parsed(t) for side, t in zip(("limits", "requests"), amounts, strict=True) if t is not None}


def one(name: str, limits: str | None = None, requests: str | None = None, **fields: str) -> Json:
    amounts = resources((limits, requests))
    return container(name, limits=amounts.get("limits"), requests=amounts.get("requests"), **fields)


def main(limits: str | None = None, requests: str | None = None) -> Json:
    return one("main", limits, requests)


def cpu(limit: str, request: str) -> Json:
    return resources((f"cpu={limit}", f"cpu={request}"))


ALIASES = "scheduling: {resources: [{resource: nvidia.com/gpu, alias: accel}]}"

ONE_CONTAINER = [
    # A1, A3, A6: names and aliases
    ("A1-spaces-before-a-name", main(), {LIMITS: "cpu=1,  memory=1Gi"}, "{}", ("cpu=1,memory=1Gi", "cpu=1,memory=1Gi")),
    ("A1-a-policys-alias", main(), {LIMITS: "accel=1"}, ALIASES, ("nvidia.com/gpu=1", "nvidia.com/gpu=1")),
    ("A1-an-alias-in-a-policy", main("gpu=4"), None, "container: {max: {gpu: 2}}",
     ("nvidia.com/gpu=2", "nvidia.com/gpu=2")),
    ("A1-gpu-means-what-a-policy-says", main("gpu=4"), None,
     "scheduling: {resources: [{resource: amd.com/gpu, alias: gpu}]}", ("amd.com/gpu=4", "amd.com/gpu=4")),
    ("A2-rounded-up", main(), {REQUESTS: "cpu=0.0001,memory=1.5"}, "{}", (None, "cpu=1m,memory=2")),
    ("A3-no-gpu-may-be-asked", main("nvidia.com/gpu=1"), {LIMITS: "gpu=0"}, "{}",
     ("nvidia.com/gpu=0", "nvidia.com/gpu=0")),
    ("A3-no-gpu-where-none-was-asked-writes-nothing", main("cpu=1"), {LIMITS: "gpu=0"}, "{}", ("cpu=1", "cpu=1")),
    ("A2-native-rounded-up-to-a-thousandth", main(), {LIMITS: "a.kubernetes.io/b=1.0001"}, "{}",
     ("a.kubernetes.io/b=1001m", "a.kubernetes.io/b=1001m")),
    ("A6-each-side-by-itself", main("mem=2Gi", "memory=1Gi,mem=1Gi"), None, "{}", ("memory=2Gi", "memory=1Gi")),
    ("A6-two-aliases-of-one-resource", main("gpu=1,accel=1"), None, ALIASES, ("nvidia.com/gpu=1", "nvidia.com/gpu=1")),
    ("A6-the-resources-own-text-is-kept", main("gpu=1000m,nvidia.com/gpu=1"), None, "{}",
     ("nvidia.com/gpu=1", "nvidia.com/gpu=1")),
    ("A6-request-above-limit-is-the-api-servers-to-refuse", main("mem=1Gi", "mem=2Gi"), None, "{}",
     ("memory=1Gi", "memory=2Gi")),
    # R1 to R3
    ("R1-by-key-and-side", main("cpu=2,memory=2Gi",
     "cpu=1,memory=1Gi"), {LIMITS: "cpu=3", REQUESTS: "memory=1.5Gi"}, "{}",
     ("cpu=3,memory=2Gi", "cpu=1,memory=1536Mi")),
    ("R2-a-request-without-a-limit", main(None, "cpu=1"), {REQUESTS: "cpu=3"}, "{}", (None, "cpu=3")),
    ("R2-a-zero-limit-is-no-limit", main("cpu=0", "cpu=0"), {REQUESTS: "cpu=3"}, "container: {max: {cpu: 4}}",
     ("cpu=4", "cpu=3")),
    ("R3-beside-an-annotated-limit-no-default", main(), {LIMITS: "cpu=2"},
     "container: {defaultRequest: {cpu: 1}, default: {cpu: 3}}", ("cpu=2", "cpu=2")),
    ("R3-ephemeral-storage-named-by-annotation", main(), {REQUESTS: "ephemeral-storage=2Gi"},
     "{missingLimit: Request, container: {default: {ephemeral-storage: 1Gi}}}",
     ("ephemeral-storage=2Gi", "ephemeral-storage=2Gi")),
    ("R3-missing-limit-maximum-without-one", main(None, "cpu=1"), None,
     "container: {default: {cpu: 2}}", (None, "cpu=1")),
    ("R3-missing-limit-request-without-a-maximum", main(None, "cpu=1"), None,
     "missingLimit: Request", ("cpu=1", "cpu=1")),
    ("R3-default-without-a-request-under-unset", main(), None, "{missingLimit: Unset, container: {default: {cpu: 2}}}",
     ("cpu=2", "cpu=2")),
    # R4, R5
    ("R4-request-alone", main("cpu=1", "cpu=10m"), None, "container: {min: {cpu: 50m}}", ("cpu=1", "cpu=50m")),
    ("R4-a-default-below-a-minimum-is-raised", main(), None,
     "container: {defaultRequest: {cpu: 50m}, min: {cpu: 50m}, max: {cpu: 1}}", ("cpu=1", "cpu=50m")),
    ("R5-beside-a-written-limit-zero", main(None, "memory=1Gi"), None, "container: {max: {cpu: 4}}",
     ("cpu=4", "memory=1Gi,cpu=0")),
    ("R5-missing-limit-request-above-the-maximum", main(None, "cpu=8"), None,
     "{missingLimit: Request, container: {max: {cpu: 4}}}", ("cpu=4", "cpu=4")),
    ("R5-unset-keeps-an-asked-limit-bounded", main("cpu=8", "cpu=8"), None,
     "{missingLimit: Unset, container: {max: {cpu: 4}}}", ("cpu=4", "cpu=4")),
    # R7
    ("R7-request-alone", main(None, "nvidia.com/gpu=2"), None, "{}", ("nvidia.com/gpu=2", "nvidia.com/gpu=2")),
    ("R7-a-zero-limit-is-unset", main("nvidia.com/gpu=0", "nvidia.com/gpu=2"), None, "container: {max: {gpu: 1}}",
     ("nvidia.com/gpu=1", "nvidia.com/gpu=1")),
    ("R7-of-two-annotated-the-limit-wins", main(), {LIMITS: "gpu=1", REQUESTS: "gpu=2"}, "{}",
     ("nvidia.com/gpu=1", "nvidia.com/gpu=1")),
    ("R7-zero-is-not-asking", main("nvidia.com/gpu=0"), None, "container: {max: {gpu: 0}}",
     ("nvidia.com/gpu=0", "nvidia.com/gpu=0")),
    ("R7-no-page-multiple", main("hugepages-2Mi=3Mi,cpu=1"), None, "container: {max: {hugepages-2Mi: 2Mi}}",
     ("hugepages-2Mi=3Mi,cpu=1", "hugepages-2Mi=3Mi,cpu=1")),
    ("R7-native-request-alone-and-fractions", main(None, "a.kubernetes.io/b=1500m"), None,
     "container: {max: {a.kubernetes.io/b: 1}}", (None, "a.kubernetes.io/b=1")),
    ("R7-native-is-the-api-servers-to-refuse", main("a.kubernetes.io/b=1", "a.kubernetes.io/b=2"), None, "{}",
     ("a.kubernetes.io/b=1", "a.kubernetes.io/b=2")),
    ("R7-what-is-no-resource-stays", main("pods=1,a/b/c=2"), None, "container: {max: {'*': 0}}",
     ("pods=1,a/b/c=2", "pods=1,a/b/c=2")),
    # R8
    ("R8-a-request-beside-a-fractional-limit-is-rounded-down", main("memory=2500m", "memory=3"), None,
     "container: {max: {memory: 1Gi}}", ("memory=2500m", "memory=2")),
    ("R8-a-copied-value-keeps-its-text", main(None, "memory=1.50Gi"), None, "missingLimit: Request",
     ("memory=1.50Gi", "memory=1.50Gi")),
    ("R8-canonical", main("memory=100E"), None, "container: {max: {memory: 16Ei}}",
     ("memory=9223372036854775807", "memory=9223372036854775807")),
    ("R8-exact-below-and-above-a-float", main("memory=9007199254740993"), None,
     "container: {max: {memory: 9007199254740992}}",
     ("memory=9007199254740992", "memory=9007199254740992")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "annotations", "spec", "expected"),
    [case[1:] for case in ONE_CONTAINER],
    ids=[c[0] for c in ONE_CONTAINER],
)
def test_one_container(given: Json, annotations: Json | None, spec: str, expected: Amounts) -> None:
    assert resources_after(pod(given, annotations=annotations), spec)["main"] == resources(expected)


NOT_COMPUTED = ["1e999999999", "1e-401", "1" * 65, "0." + "0" * 70 + "1"]


@pytest.mark.parametrize("amount", NOT_COMPUTED, ids=lambda amount: amount[:12])
@pytest.mark.parametrize(
    ("spec", "is_denied"),
    [
        ("container: {max: {memory: 8Gi}}", True),
        ("pod: {max: {memory: 8Gi}}", True),
        ("container: {max: {cpu: 4}, min: {memory: 1Gi}, default: {memory: 1Gi}}", False),
    ],
    ids=["container", "pod", "no-maximum"],
)
@pytest.mark.parametrize("level", ["container", "pod"])
def test_a2_what_is_not_computed_with_is_denied_where_a_maximum_applies(
    amount: str, spec: str, is_denied: bool, level: str
) -> None:
    if level == "container":
        task = pod(container("main", limits={"memory": amount}))
    else:
        task = pod(container("main"), resources={"limits": {"memory": amount}})
    decision = decided(task, spec)
    assert (decision.denial is not None) == is_denied
    if is_denied:
        assert decision.denial is not None
        assert "memory has more than 64 characters" in decision.denial.message
        assert "8Gi" in decision.denial.message
    elif level == "container":
        after = patched(task, decision)["spec"]["containers"][0]["resources"]
        assert after["limits"]["memory"] == after["requests"]["memory"] == amount


DENIED_ANNOTATIONS = [
    ("A2-too-long", {LIMITS: "cpu=" + "1" * 4093}, "longer than 4096 characters"),
    ("A2-a-long-quantity", {LIMITS: "cpu=" + "1" * 33}, "longer than 32 characters"),
    ("A2-exponent", {LIMITS: "cpu=1e31"}, "an exponent beyond 30"),
    ("A2-sign", {LIMITS: "cpu=+1"}, "'+1' is not a quantity"),
    ("A2-no-digit", {LIMITS: "memory=Ki"}, "'Ki' is not a quantity"),
    ("A2-ascii-only", {LIMITS: "cpu=١"}, "is not a quantity"),
    ("A3-space-after-a-name", {LIMITS: "cpu =1"}, '"cpu " is no resource'),
    ("A3-trailing-comma", {LIMITS: "cpu=1,"}, "an item is empty"),
    ("A3-names-are-case-sensitive", {LIMITS: "CPU=1"}, '"CPU" is no resource'),
    ("A3-half-a-page", {LIMITS: "hugepages-2Mi=3Mi"}, "multiple of the page size"),
    ("A3-hugepages-of-no-size", {LIMITS: "hugepages-x=1"}, '"hugepages-x" is no resource'),
    ("A3-twice-by-alias", {LIMITS: "mem=1Gi,memory=1Gi"}, '"memory" is given twice'),
    ("A3-a-sidecar-that-is-there", {"limits.task-resources.io/proxy": "cpu=0"},
     "limits.task-resources.io/proxy: cpu=0"),
    ("A3-wrong-even-for-nobody", {"limits.task-resources.io/nobody": "cpu"}, '"cpu" is not name=quantity'),
    ("A4-an-init-container-is-no-primary", {"task-resources.io/primary-container": "proxy"}, "no regular container"),
    ("R13-hugepages-alone", {LIMITS: "hugepages-2Mi=2Mi"}, "hugepages require cpu or memory"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("annotations", "part"), [case[1:] for case in DENIED_ANNOTATIONS], ids=[c[0] for c in DENIED_ANNOTATIONS]
)
def test_an_annotation_that_cannot_be_used_denies_and_says_why(annotations: Json, part: str) -> None:
    message = denial(pod(container("main"), init=[sidecar("proxy")], annotations=annotations), "{}")
    assert part in message
    assert next(iter(annotations)) in message or "as annotated" in message


def test_every_annotation_that_cannot_be_used_is_named_at_once() -> None:
    message = denial(pod(annotations={LIMITS: "cpu", REQUESTS: "gpu=0.5,cores=1"}), "{}")
    assert [part in message for part in ('"cpu" is not', "gpu=0.5", '"cores"')] == [True, True, True]


def test_an_annotation_that_we_do_not_know_is_a_warning() -> None:
    decision = decided(pod(annotations={"task-resources.io/limit": "cpu=1", "example.com/limit": "x"}), "{}")
    assert decision.warnings == ("annotation task-resources.io/limit is not known and has no effect",)


def test_a4_an_injected_container_named_primary_does_not_become_it() -> None:
    spec = "container: {defaultRequest: {cpu: 1}}"
    task = pod(container("a"), container("b"))
    first = patched(task, decided(task, spec))
    assert first["metadata"]["annotations"]["task-resources.io/primary-container"] == "a"
    first["spec"]["containers"].insert(0, container("primary"))
    assert not decided(first, spec).operations


SPEC_OF_THREE = "{container: {max: {cpu: 4}}, pod: {max: {cpu: 6}}}"

TOTALS = [
    # containers, init containers, policy, what they come out with
    ("R10-1-sidecars-and-init-containers-give-way-too", [main("cpu=2")], [sidecar("p"), one("i")],
     SPEC_OF_THREE, {"main": cpu("2", "2"), "p": cpu("3", "0"), "i": cpu("3", "0")}),
    ("R10-1-what-was-asked-does-not-give-way", [main("cpu=3", "cpu=1"), one("b"), one("c", None, "cpu=1")], [],
     SPEC_OF_THREE, {"main": cpu("3", "1"), "b": cpu("1500m", "0"), "c": cpu("1500m", "1")}),
    ("R10-1-not-below-the-floor-of-the-primary", [main(), one("b"), one("c")], [],
     "{container: {defaultRequest: {cpu: 2500m}, max: {cpu: 4}}, pod: {max: {cpu: 3}}}",
     {"main": cpu("2500m", "2500m"), "b": cpu("250m", "0"), "c": cpu("250m", "0")}),
    ("R10-1-not-below-ten-thousandths", [main("cpu=2980m"), one("b"), one("c")], [],
     "{container: {max: {cpu: 4}}, pod: {max: {cpu: 3}}}",
     {"main": cpu("2980m", "2980m"), "b": cpu("10m", "0"), "c": cpu("10m", "0")}),
    ("R10-1-rounded-down", [main(), one("b"), one("c")], [],
     "{container: {max: {memory: 1Gi}}, pod: {max: {memory: 1000000000}}}",
     {name: resources(("memory=333333333", "memory=0")) for name in ("main", "b", "c")}),
    ("R10-1-also-under-deny", [main(), one("b")], [],
     "{onExceed: Deny, container: {max: {cpu: 4}}, pod: {max: {cpu: 6}}}",
     {"main": cpu("3", "0"), "b": cpu("3", "0")}),
    ("R10-2-before-the-primary", [main("cpu=4")], [one("i", "cpu=9", "cpu=1")], "pod: {max: {cpu: 6}}",
     {"main": cpu("4", "4"), "i": cpu("6", "1")}),
    ("R10-2-each-is-left-what-the-sidecars-before-it-leave", [main("cpu=1")],
     [one("i", "cpu=9"), sidecar("p", limits={"cpu": "2"}), one("j", "cpu=9")], "pod: {max: {cpu: 6}}",
     {"i": cpu("6", "6"), "p": cpu("2", "2"), "j": cpu("4", "4"), "main": cpu("1", "1")}),
    ("R10-3-the-primary-is-left-what-the-others-leave", [main("cpu=9"), one("b", "cpu=1")],
     [sidecar("p", limits={"cpu": "2"})], "pod: {max: {cpu: 6}}",
     {"main": cpu("3", "3"), "b": cpu("1", "1"), "p": cpu("2", "2")}),
    ("R10-requests-by-themselves", [main(None, "cpu=9"), one("b", None, "cpu=1")], [], "pod: {max: {cpu: 6}}",
     {"main": resources((None, "cpu=5")), "b": resources((None, "cpu=1"))}),
    ("R10-a-limit-that-stays-absent-counts-as-nothing", [main(None, "cpu=1"), one("b", "cpu=6")], [],
     "{missingLimit: Unset, pod: {max: {cpu: 7}}}", {"main": resources((None, "cpu=1")), "b": cpu("6", "6")}),
    ("R10-down-to-the-minimum", [main("cpu=9"), one("b", "cpu=5950m")], [],
     "{container: {min: {cpu: 50m}}, pod: {max: {cpu: 6}}}", {"main": cpu("50m", "50m"), "b": cpu("5950m", "5950m")}),
    ("R10-devices-down-to-one", [main("nvidia.com/gpu=5"), one("b", "nvidia.com/gpu=3")], [],
     "pod: {max: {gpu: 4}}", {"main": resources(("nvidia.com/gpu=1", "nvidia.com/gpu=1"))}),
    ("R10-globs", [main("nvidia.com/gpu=5"), one("b", "nvidia.com/gpu=3")], [],
     "pod: {max: {nvidia.com/*: 6}}", {"main": resources(("nvidia.com/gpu=3", "nvidia.com/gpu=3"))}),
    ("R10-native-sides-by-themselves", [main("a.kubernetes.io/b=5", "a.kubernetes.io/b=1")], [],
     "pod: {max: {a.kubernetes.io/b: 4}}", {"main": resources(("a.kubernetes.io/b=4", "a.kubernetes.io/b=1"))}),
    ("R12-an-init-container-is-lowered-on-both-sides", [main("cpu=1,memory=1Gi")],
     [one("i", "cpu=9,memory=1Gi")], "pod: {max: {cpu: 6}}",
     {"i": resources(("cpu=6,memory=1Gi", "cpu=6,memory=1Gi"))}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("containers", "init", "spec", "expected"), [case[1:] for case in TOTALS], ids=[case[0] for case in TOTALS]
)
def test_totals(containers: list[Json], init: list[Json], spec: str, expected: Json) -> None:
    after = resources_after(pod(*containers, init=init, annotations=PRIMARY), spec)
    assert {name: after[name] for name in expected} == expected


DENIED_TOTALS = [
    ("R10-2-an-init-container-below-its-floor", [main("cpu=1")],
     [sidecar("p", limits={"cpu": "5995m"}), one("i", "cpu=1")], "pod: {max: {cpu: 6}}"),
    ("R10-3-the-primary-below-its-minimum", [main("cpu=9"), one("b", "cpu=5951m")], [],
     "{container: {min: {cpu: 50m}}, pod: {max: {cpu: 6}}}"),
    ("R10-3-the-primary-below-its-default-request", [main("cpu=9"), one("b", "cpu=5500m")], [],
     "{container: {defaultRequest: {cpu: 600m}}, pod: {max: {cpu: 6}}}"),
    ("R10-3-a-device-has-no-half", [main("nvidia.com/gpu=5"), one("b", "nvidia.com/gpu=4")], [],
     "pod: {max: {gpu: 4}}"),
    ("R10-others-alone", [main("cpu=1"), one("b", "cpu=7")], [], "pod: {max: {cpu: 6}}"),
    ("R10-deny-an-init-container", [main("cpu=1")], [one("i", "cpu=9")], "{onExceed: Deny, pod: {max: {cpu: 6}}}"),
    ("R10-limits-that-we-wrote-are-not-enough-under-deny", [main(None, "cpu=4"), one("b", None, "cpu=3")], [],
     "{onExceed: Deny, container: {max: {cpu: 4}}, pod: {max: {cpu: 6}}}"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("containers", "init", "spec"), [case[1:] for case in DENIED_TOTALS], ids=[case[0] for case in DENIED_TOTALS]
)
def test_totals_that_cannot_be_lowered(containers: list[Json], init: list[Json], spec: str) -> None:
    assert "above the pod's maximum" in denial(pod(*containers, init=init, annotations=PRIMARY), spec)


def test_a_denial_about_many_containers_still_says_how_much_is_allowed() -> None:
    task = pod(*(container(f"container-{index}", limits={"cpu": "1"}) for index in range(1000)))
    message = denial(task, "pod: {max: {cpu: 6}}")
    assert 'container "container-3" and 996 more come to 1k, above the pod\'s maximum 6' in message


def test_r10_overhead_alone_is_said() -> None:
    task = pod(container(requests={"cpu": "0"}), overhead={"cpu": "8"})
    assert "its overhead come to 8" in denial(task, "pod: {max: {cpu: 4}}")


LEVELS = [
    # the pod level, containers, policy, the pod level and containers after
    ("R11-less-the-overhead", ("cpu=8", None), [main()], "pod: {max: {cpu: 4}}", {"cpu": "500m"},
     {"pod": resources(("cpu=3500m", None)), "main": {}}),
    ("R11-container-maximum-times-sidecars", ("cpu=20", "cpu=20"), [main(), one("b"), sidecar("p"), one("i", init="x")],
     "container: {max: {cpu: 4}}", {}, {"pod": cpu("12", "12")}),
    ("R11-zero-limit-without-a-bound", ("cpu=0", None), [main()], "container: {defaultRequest: {cpu: 1}}", {},
     {"pod": resources(("cpu=0", None)), "main": {}}),
    ("R11-zero-limit-is-written-as-the-bound", ("cpu=0", "cpu=1"), [main()], "pod: {max: {cpu: 4}}", {},
     {"pod": cpu("4", "1"), "main": {}}),
    ("R11-a-request-alone", (None, "cpu=8"), [main()], "{missingLimit: Unset, pod: {max: {cpu: 4}}}", {},
     {"pod": resources((None, "cpu=4")), "main": {}}),
    ("R11-the-primarys-request-is-lowered", ("cpu=8", None), [main(None, "cpu=3"), one("b", None, "cpu=2")],
     "pod: {max: {cpu: 4}}", {},
     {"pod": resources(("cpu=4", None)), "main": resources((None, "cpu=2")), "b": resources((None, "cpu=2"))}),
    ("R11-containers-limits-within-the-pods", ("cpu=8", "cpu=1"), [main("cpu=6", "cpu=1"), one("b", "cpu=5", "cpu=0")],
     "pod: {max: {cpu: 4}}", {}, {"pod": cpu("4", "1"), "main": cpu("4", "1"), "b": cpu("4", "0")}),
    ("R11-no-default-beside-the-pods", (None, "cpu=1"), [main()],
     "container: {defaultRequest: {cpu: 2}, default: {cpu: 3}}", {}, {"pod": resources((None, "cpu=1")), "main": {}}),
    ("R11-what-the-pod-level-does-not-set-is-defaulted", (None, "cpu=1"), [main()],
     "container: {default: {memory: 1Gi}}", {}, {"main": resources(("memory=1Gi", "memory=1Gi"))}),
    ("R11-an-asked-limit-stays-bounded", ("cpu=3", None), [main("cpu=2", "cpu=1")], "container: {max: {cpu: 1}}", {},
     {"pod": resources(("cpu=1", None)), "main": cpu("1", "1")}),
    ("R11-hugepages", ("hugepages-2Mi=8Mi,cpu=1", "hugepages-2Mi=8Mi,cpu=1"), [main()],
     "pod: {max: {hugepages-2Mi: 4Mi}}", {},
     {"pod": resources(("hugepages-2Mi=4Mi,cpu=1", "hugepages-2Mi=4Mi,cpu=1"))}),
    ("R12-a-limit-that-is-filled-in-stays-the-pods-request", (None, "cpu=1,memory=1Gi"), [main("cpu=1,memory=1Gi")],
     "container: {min: {memory: 1.5Gi}}", {},
     {"pod": resources(("memory=1Gi", "cpu=1,memory=1Gi")),
      "main": resources(("cpu=1,memory=1Gi", "cpu=1,memory=1Gi"))}),
    ("C-69-the-pods-request-is-the-containers", ("cpu=8", None), [main(None, "cpu=1")],
     "{container: {max: {cpu: 4}}, pod: {max: {cpu: 8}}}", {},
     {"pod": resources(("cpu=8", None)), "main": cpu("4", "1")}),
    ("C-69-by-annotation-it-is-the-containers-too", ("cpu=8", None), [main()],
     "pod: {max: {cpu: 8}}", {"annotated": "cpu=1"},
     {"pod": resources(("cpu=8", None)), "main": resources((None, "cpu=1"))}),
    ("C-69-else-the-limit-is-written", ("cpu=8", None), [main()],
     "{container: {max: {cpu: 4}}, pod: {max: {cpu: 8}}}", {},
     {"pod": cpu("8", "8"), "main": cpu("4", "0")}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("level", "containers", "spec", "more", "expected"), [case[1:] for case in LEVELS], ids=[case[0] for case in LEVELS]
)
def test_pod_level(level: Amounts, containers: list[Json], spec: str, more: Json, expected: Json) -> None:
    regular = [c for c in containers if "restartPolicy" not in c and "init" not in c]
    annotations = {**PRIMARY, **({REQUESTS: more["annotated"]} if "annotated" in more else {})}
    overhead = {name: amount for name, amount in more.items() if name != "annotated"}
    task = pod(
        *regular,
        init=[c for c in containers if c not in regular],
        annotations=annotations,
        resources=resources(level),
        overhead=overhead,
    )
    after = resources_after(task, spec)
    assert {name: after[name] for name in expected} == expected


DENIED_LEVELS = [
    ("R6-deny", ("cpu=8", None), [main()], "{onExceed: Deny, pod: {max: {cpu: 4}}}", "pod: limits.cpu 8 is above"),
    ("R11-others-request-too-much", ("cpu=8", None), [main(None, "cpu=1"), one("b", None, "cpu=4")],
     "pod: {max: {cpu: 4}}", "lowering the primary container's is not enough"),
    ("R11-nothing-is-left", ("cpu=8", None), [main()], "pod: {max: {cpu: 4}}", "nothing is left"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("level", "containers", "spec", "part"),
    [case[1:] for case in DENIED_LEVELS],
    ids=[case[0] for case in DENIED_LEVELS],
)
def test_pod_level_denied(level: Amounts, containers: list[Json], spec: str, part: str) -> None:
    overhead = {"cpu": "4"} if "nothing" in part else {}
    task = pod(*containers, annotations=PRIMARY, resources=resources(level), overhead=overhead)
    assert part in denial(task, spec)


def test_g8_windows_pods_have_maxima_but_neither_hugepages_nor_a_pod_level() -> None:
    task = pod(
        main("cpu=8"),
        os={"name": "windows"},
        resources={"limits": {"cpu": "9"}},
        annotations={LIMITS: "hugepages-2Mi=2Mi,memory=1Gi"},
    )
    decision = decided(task, "container: {max: {cpu: 4}}")
    after = patched(task, decision)["spec"]
    assert after["resources"] == {"limits": {"cpu": "9"}}, "Kubernetes refuses it anyway"
    assert after["containers"][0]["resources"] == resources(("cpu=4,memory=1Gi", "cpu=4,memory=1Gi"))
    assert any("Windows pods get no hugepages" in warning for warning in decision.warnings)


CLAIMS = [
    ("claim", {"resourceClaims": [{"name": "gpu"}]}, None, True),
    ("device-class", {}, {"deviceclass.resource.kubernetes.io/gpu": "1"}, True),
    ("none", {"resourceClaims": []}, {"nvidia.com/gpu": "1"}, False),
]  # fmt: skip


@pytest.mark.parametrize(
    ("spec", "limits", "is_denied"), [case[1:] for case in CLAIMS], ids=[case[0] for case in CLAIMS]
)
def test_p2_resource_claims_may_be_denied(spec: Json, limits: Json | None, is_denied: bool) -> None:
    decision = decided(pod(container(limits=limits), **spec), "pod: {resourceClaims: Deny}")
    assert (decision.denial is not None) == is_denied


# Section 5

RESIZE = "container: {max: {cpu: 4, memory: 8Gi}, defaultRequest: {memory: 1Gi}, min: {cpu: 50m}}"
RESIZES = [
    # old, new, after
    ("an-old-request-above-the-maximum", ("cpu=8", "cpu=6"), ("cpu=8", "cpu=7"), ("cpu=8", "cpu=6")),
    ("an-absent-request-counts-as-nothing", (None, "memory=1Gi"), (None, "cpu=5"), (None, "cpu=4")),
    ("an-absent-limit-stays-absent", (None, "cpu=1"), (None, "cpu=2"), (None, "cpu=2")),
    ("a-zero-limit-is-unlimited", ("cpu=0", "cpu=0"), ("cpu=100", "cpu=1"), ("cpu=100", "cpu=1")),
    ("a-zero-limit-that-was-there-stays", ("cpu=0,memory=1Gi", "memory=1Gi"), ("cpu=0,memory=2Gi", "memory=2Gi"),
     ("cpu=0,memory=2Gi", "cpu=0,memory=2Gi")),
    ("the-other-resource-is-left-alone", ("cpu=8,memory=16Gi", "cpu=1,memory=1Gi"),
     ("cpu=2,memory=16Gi", "cpu=1,memory=1Gi"), ("cpu=2,memory=16Gi", "cpu=1,memory=1Gi")),
    ("no-default-no-minimum", ("cpu=1", "cpu=1"), ("cpu=10m", "cpu=10m"), ("cpu=10m", "cpu=10m")),
    ("both-in-one", ("cpu=1,memory=1Gi", "cpu=1,memory=1Gi"), ("cpu=8,memory=9Gi", "cpu=5,memory=1Gi"),
     ("cpu=4,memory=8Gi", "cpu=4,memory=1Gi")),
    ("other-resources-are-the-api-servers", ("nvidia.com/gpu=1", None), ("nvidia.com/gpu=2,cpu=1", "cpu=1"),
     ("nvidia.com/gpu=2,cpu=1", "nvidia.com/gpu=2,cpu=1")),
    ("what-is-not-computed-with-but-not-raised", ("memory=1e999", "cpu=1"), ("memory=1e999", "cpu=2"),
     ("memory=1e999", "memory=1e999,cpu=2")),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "expected"), [case[1:] for case in RESIZES], ids=[case[0] for case in RESIZES])
def test_z1_a_resize_is_bounded_and_nothing_is_shrunk(old: Amounts, new: Amounts, expected: Amounts) -> None:
    annotations = {LIMITS: "cpu=3", "task-resources.io/primary-container": "nobody"}
    was, asked = (pod(main(*amounts), one("other", None, "cpu=1"), annotations=annotations) for amounts in (old, new))
    decision = decided(asked, f"{RESIZE}\nmissingLimit: Request", old=was)
    assert decision.denial is None
    assert patched(asked, decision)["spec"]["containers"][0]["resources"] == resources(expected)
    assert all(operation.path.startswith("/spec/containers/0/resources/") for operation in decision.operations)


LEVEL_RESIZES = [
    ("a-pod-limit-is-bounded-by-the-larger", ("cpu=6", "cpu=1"), ("cpu=9", "cpu=1"), ("cpu=6", "cpu=1")),
    ("a-pod-request-is-bounded", ("cpu=6", "cpu=1"), ("cpu=6", "cpu=5"), ("cpu=6", "cpu=4")),
    ("an-added-pod-limit-is-bounded-by-the-bound-alone", None, ("cpu=9", None), ("cpu=4", None)),
    ("lowering-is-free", ("cpu=9", "cpu=9"), ("cpu=8", "cpu=8"), ("cpu=8", "cpu=8")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "expected"), [case[1:] for case in LEVEL_RESIZES], ids=[case[0] for case in LEVEL_RESIZES]
)
def test_z1_the_pod_level_is_bounded_the_same_way(old: Amounts | None, new: Amounts, expected: Amounts) -> None:
    was = pod(main(None, "cpu=1"), resources=old and resources(old))
    asked = pod(main(None, "cpu=1"), resources=resources(new))
    decision = decided(asked, "pod: {max: {cpu: 4}}", old=was)
    assert decision.denial is None, decision.denial
    assert patched(asked, decision)["spec"]["resources"] == resources(expected)


# Each: the cpu of the pod level and of containers before the resize, as asked, and after it, as "limit/request"; an
# absent side is empty. "step" is an init container, "proxy" a sidecar. The policy: container.max cpu 4, pod.max cpu 8.
LIMITS_IN_FORCE = [
    ("a-raised-pod-limit-stops-where-a-container-has-no-limit",
     {"pod": "3/1", "main": "/1"}, {"pod": "40/1", "main": "/1"}, {"pod": "4/1", "main": "/1"}),
    ("below-the-containers-maximum-it-is-raised",
     {"pod": "3/1", "main": "/1"}, {"pod": "3500m/1", "main": "/1"}, {"pod": "3500m/1", "main": "/1"}),
    ("a-zero-limit-of-a-container-is-none",
     {"pod": "3/1", "main": "0/0"}, {"pod": "6/1", "main": "0/0"}, {"pod": "4/1", "main": "0/0"}),
    ("where-the-container-gets-its-own-limit-the-pod-is-free-up-to-its-own-maximum",
     {"pod": "3/1", "main": "/1"}, {"pod": "40/1", "main": "8/1"}, {"pod": "8/1", "main": "4/1"}),
    ("an-own-limit-is-bounded-by-what-the-pod-limit-allowed-before",
     {"pod": "6/1", "main": "/1"}, {"pod": "8/1", "main": "7/1"}, {"pod": "8/1", "main": "6/1"}),
    ("a-limit-that-becomes-zero-is-bounded-itself",
     {"pod": "3/1", "main": "2/0"}, {"pod": "8/1", "main": "0/0"}, {"pod": "8/1", "main": "4/0"}),
    ("a-limit-that-becomes-zero-stays-so-within-a-low-pod-limit",
     {"pod": "3/1", "main": "2/0"}, {"pod": "3/1", "main": "0/0"}, {"pod": "3/1", "main": "0/0"}),
    ("a-zero-pod-limit-is-none",
     {"pod": "3/0", "main": "/0"}, {"pod": "0/0", "main": "/0"}, {"pod": "4/0", "main": "/0"}),
    ("a-pod-that-was-larger-stays-and-does-not-grow",
     {"pod": "6/1", "main": "/1"}, {"pod": "7/1", "main": "/1"}, {"pod": "6/1", "main": "/1"}),
    ("a-pod-that-was-larger-may-be-lowered",
     {"pod": "7/1", "main": "/1"}, {"pod": "6/1", "main": "/1"}, {"pod": "6/1", "main": "/1"}),
    ("a-container-that-was-larger-by-its-own-limit-is-not-concerned",
     {"pod": "7/1", "main": "6/1"}, {"pod": "40/1", "main": "6/1"}, {"pod": "8/1", "main": "6/1"}),
    ("one-container-without-a-limit-stops-the-pod-of-several",
     {"pod": "3/1", "main": "1/1", "b": "/0"}, {"pod": "6/1", "main": "3/1", "b": "/0"},
     {"pod": "4/1", "main": "3/1", "b": "/0"}),
    ("where-every-container-has-a-limit-the-pod-is-free",
     {"pod": "3/1", "main": "1/1", "b": "2/0"}, {"pod": "6/1", "main": "3/1", "b": "3/0"},
     {"pod": "6/1", "main": "3/1", "b": "3/0"}),
    ("an-init-container-without-a-limit-counts",
     {"pod": "3/1", "main": "1/1", "step": "/1"}, {"pod": "6/1", "main": "1/1", "step": "/1"},
     {"pod": "4/1", "main": "1/1", "step": "/1"}),
    ("a-sidecar-without-a-limit-counts",
     {"pod": "3/2", "main": "1/1", "proxy": "/1"}, {"pod": "6/2", "main": "1/1", "proxy": "/1"},
     {"pod": "4/2", "main": "1/1", "proxy": "/1"}),
    ("the-pods-request-goes-with-its-limit",
     {"pod": "3/2", "main": "/1"}, {"pod": "40/6", "main": "/1"}, {"pod": "4/4", "main": "/1"}),
    ("a-pod-limit-that-is-added-takes-nothing-from-a-container-that-was-unlimited",
     {"main": "/1"}, {"pod": "6/1", "main": "/1"}, {"pod": "6/1", "main": "/1"}),
    ("nor-from-one-that-a-zero-pod-limit-left-unlimited",
     {"pod": "0/0", "main": "/0"}, {"pod": "6/0", "main": "/0"}, {"pod": "6/0", "main": "/0"}),
    ("a-limit-that-becomes-zero-under-an-added-pod-limit",
     {"main": "2/0"}, {"pod": "6/1", "main": "0/0"}, {"pod": "6/1", "main": "4/0"}),
    ("a-limit-that-becomes-zero-where-the-pod-has-none",
     {"pod": "/1", "main": "2/0", "b": "/1"}, {"pod": "/1", "main": "0/0", "b": "/1"},
     {"pod": "/1", "main": "4/0", "b": "/1"}),
    ("a-pod-level-that-is-left-out-is-the-old-one",
     {"pod": "6/3", "main": "4/1", "b": "3/1", "c": "/1"}, {"main": "4/1", "b": "4/1", "c": "/1"},
     {"main": "4/1", "b": "4/1", "c": "/1"}),
]  # fmt: skip
TWO_CEILINGS = "container: {max: {cpu: '4', memory: 4Gi}}\npod: {max: {cpu: '8', memory: 8Gi}}"


def sized(amounts: dict[str, str], resource: str = "cpu") -> Json:
    """A pod whose pod level and containers have these limits and requests of one resource."""

    def of(text: str) -> Json:
        given = {
            side: {resource: each} for side, each in zip(("limits", "requests"), text.split("/"), strict=True) if each
        }
        return {"limits": given.get("limits"), "requests": given.get("requests")}

    kinds = {"step": container, "proxy": sidecar}
    level = {side: given for side, given in of(amounts.get("pod", "/")).items() if given}
    return pod(
        *(container(name, **of(text)) for name, text in amounts.items() if name != "pod" and name not in kinds),
        init=[kinds[name](name, **of(text)) for name, text in amounts.items() if name in kinds],
        **({"resources": level} if level else {}),
    )


def sizes(task: Json, resource: str = "cpu") -> dict[str, str]:
    """What `sized` makes a pod of."""
    spec = task["spec"]
    level = {"pod": spec["resources"]} if "resources" in spec else {}
    given = level | {c["name"]: c["resources"] for c in (*spec["containers"], *spec["initContainers"])}
    return {
        name: "/".join(amounts.get(side, {}).get(resource, "") for side in ("limits", "requests"))
        for name, amounts in given.items()
    }


@pytest.mark.parametrize(
    ("old", "new", "expected"), [case[1:] for case in LIMITS_IN_FORCE], ids=[case[0] for case in LIMITS_IN_FORCE]
)
def test_z1_a_resize_lifts_no_limit_in_force_above_the_containers_maximum(
    old: dict[str, str], new: dict[str, str], expected: dict[str, str]
) -> None:
    was, asked = sized(old), sized(new)
    decision = decided(asked, TWO_CEILINGS, old=was)
    assert (decision.denial, decision.invalid) == (None, ())
    after = patched(asked, decision)
    assert sizes(after) == expected
    assert decided(after, TWO_CEILINGS, old=was, endpoint="validate").denial is None


def test_z1_memory_in_force_is_bounded_like_cpu() -> None:
    was, asked = (sized({"pod": f"{limit}/1Gi", "main": "/1Gi"}, "memory") for limit in ("3Gi", "40Gi"))
    after = patched(asked, decided(asked, TWO_CEILINGS, old=was))
    assert sizes(after, "memory") == {"pod": "4Gi/1Gi", "main": "/1Gi"}


RAISED_IN_FORCE = [case for case in LIMITS_IN_FORCE if case[1].keys() == case[2].keys() and case[2] != case[3]]


@pytest.mark.parametrize(("old", "new"), [case[1:3] for case in RAISED_IN_FORCE], ids=[c[0] for c in RAISED_IN_FORCE])
def test_z1_what_a_resize_lifts_in_force_is_refused_under_deny_and_by_the_second_look(
    old: dict[str, str], new: dict[str, str]
) -> None:
    was, asked = sized(old), sized(new)
    assert decided(asked, f"{TWO_CEILINGS}\nonExceed: Deny", old=was).denial is not None
    assert decided(asked, TWO_CEILINGS, old=was, endpoint="validate").denial is not None


def test_z1_a_refusal_names_the_container_that_has_no_limit_of_its_own() -> None:
    was, asked = (sized({"pod": f"{limit}/1", "main": "1/1", "b": "/0"}) for limit in ("3", "40"))
    assert (
        'pod: limits.cpu 40 is the limit of container "b", which has none of its own, and its maximum is 4'
        in denial(asked, f"{TWO_CEILINGS}\nonExceed: Deny", old=was)
    )
    assert "above the maximum 8" not in denial(asked, f"{TWO_CEILINGS}\nonExceed: Deny", old=was)


NOT_BOUNDED_IN_FORCE = [
    ("the-containers-request-more-than-the-pod-may-have",
     {"pod": "4/4", "main": "/2", "b": "/2"}, {"pod": "8/6", "main": "/3", "b": "/3"}, "would have to be lowered"),
    ("the-pod-limit-is-left-out-and-filled-in-higher",
     {"pod": "3/1", "main": "0/0", "b": "3/1", "c": "2/0"}, {"pod": "/1", "main": "0/0", "b": "4/1", "c": "3/0"},
     'pod: limits.cpu 7, which Kubernetes fills in, is the limit of container "main"'),
    ("the-pod-limit-is-left-out-and-filled-in-as-zero",
     {"pod": "3/0", "main": "0/0"}, {"pod": "/0", "main": "0/0"},
     'pod: limits.cpu 0 (unlimited), which Kubernetes fills in, is the limit of container "main"'),
]  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "part"), [c[1:] for c in NOT_BOUNDED_IN_FORCE], ids=[c[0] for c in NOT_BOUNDED_IN_FORCE]
)
def test_z1_a_limit_in_force_that_cannot_be_bounded_is_refused(
    old: dict[str, str], new: dict[str, str], part: str
) -> None:
    assert part in denial(sized(new), TWO_CEILINGS, old=sized(old))


def two(first: Amounts, second: Amounts, level: Amounts | None = None) -> Json:
    return pod(main(*first), one("b", *second), resources=level and resources(level))


RESIZES_TO_TOTALS = [
    # old, new, whether it is denied by pod.max cpu 6
    ("above-the-maximum-and-the-old-total", two(("cpu=3", "cpu=1"), ("cpu=3", "cpu=1")),
     two(("cpu=4", "cpu=1"), ("cpu=3", "cpu=1")), True),
    ("above-the-maximum-but-not-the-old-total", two(("cpu=5", "cpu=1"), ("cpu=3", "cpu=1")),
     two(("cpu=4", "cpu=1"), ("cpu=4", "cpu=1")), False),
    ("requests", two((None, "cpu=3"), (None, "cpu=3")), two((None, "cpu=4"), (None, "cpu=3")), True),
    ("an-absent-old-limit-counts-as-the-new-one", two((None, "cpu=1"), ("cpu=3", "cpu=1")),
     two(("cpu=9", "cpu=1"), ("cpu=3", "cpu=1")), False),
    ("a-zero-old-limit-too", two(("cpu=0", "cpu=0"), ("cpu=3", "cpu=1")),
     two(("cpu=9", "cpu=0"), ("cpu=3", "cpu=1")), False),
    ("but-the-others-count-as-they-were", two((None, "cpu=1"), ("cpu=3", "cpu=1")),
     two(("cpu=9", "cpu=1"), ("cpu=4", "cpu=1")), True),
    ("where-the-pod-level-says-it-that-is-the-total", two(("cpu=3", "cpu=1"), ("cpu=3", "cpu=1"), ("cpu=6", "cpu=2")),
     two(("cpu=5", "cpu=1"), ("cpu=5", "cpu=1"), ("cpu=6", "cpu=2")), False),
    ("containers-would-have-to-be-lowered-into-the-bounded-pod",
     two((None, "cpu=2"), (None, "cpu=2"), ("cpu=6", "cpu=4")),
     two((None, "cpu=6"), (None, "cpu=2"), ("cpu=9", "cpu=8")), True),
]  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "is_denied"), [case[1:] for case in RESIZES_TO_TOTALS], ids=[case[0] for case in RESIZES_TO_TOTALS]
)
def test_z1_a_resize_over_the_pods_maximum_is_denied(old: Json, new: Json, is_denied: bool) -> None:
    decision = decided(new, "pod: {max: {cpu: 6}}", old=old)
    assert (decision.denial is not None) == is_denied, (decision.denial, decision.operations)


def test_z1_the_qos_class_does_not_change() -> None:
    """Guaranteed stays when both sides are bounded alike; where an old request is larger, the resize is denied."""
    old, new = pod(main("cpu=2,memory=1Gi")), pod(main("cpu=8,memory=1Gi"))
    decision = decided(new, "container: {max: {cpu: 4}}", old=old)
    assert patched(new, decision)["spec"]["containers"][0]["resources"] == resources(
        ("cpu=4,memory=1Gi", "cpu=4,memory=1Gi")
    )
    burstable = pod(main("cpu=3,memory=1Gi", "cpu=2,memory=1Gi"))
    raised = pod(main("cpu=8,memory=1Gi", "cpu=5,memory=1Gi"))
    assert "would change the QoS class from Burstable to Guaranteed" in denial(
        raised, "container: {max: {cpu: 4}}", old=burstable
    )


def test_z1_the_qos_class_is_that_of_the_pod_level_as_it_is_stored() -> None:
    """Kubernetes fills in the limits of a pod level that is added with requests alone: Guaranteed stays."""
    old = pod(main("cpu=1,memory=1Gi"))
    new = pod(main("cpu=1,memory=1Gi"), resources=resources((None, "cpu=12,memory=2Gi")))
    decision = decided(new, TWO_CEILINGS, old=old)
    assert patched(new, decision)["spec"]["resources"] == resources((None, "cpu=8,memory=2Gi"))


def test_z1_a_resize_names_what_is_above_under_deny() -> None:
    old, new = pod(main("cpu=2", "cpu=1")), pod(main("cpu=8", "cpu=6"))
    message = denial(new, "{onExceed: Deny, container: {max: {cpu: 4}}}", old=old)
    assert "limits.cpu 8 is above the maximum 4" in message
    assert "requests.cpu 6 is above the maximum 4" in message


@pytest.mark.parametrize("mode", ["Warn", "Audit", "Off"])
def test_z2_the_second_look_says_nothing_where_nothing_is_enforced(mode: str) -> None:
    """What the first look would have lowered is no reason to say that it would be denied."""
    decision = decided(pod(main("cpu=8")), f"{{mode: {mode}, container: {{max: {{cpu: 4}}}}}}", endpoint="validate")
    assert (decision.outcome, decision.warnings, decision.denial) == ("skipped", (), None)


def test_z2_a_resize_is_judged_by_the_larger_of_the_maximum_and_its_old_value() -> None:
    spec, old = "container: {max: {cpu: 4}}", pod(main("cpu=8", "cpu=1"))
    assert decided(pod(main("cpu=7", "cpu=2")), spec, endpoint="validate", old=old).outcome == "unchanged"
    assert "limits.cpu 9 is above the maximum" in denial(
        pod(main("cpu=9", "cpu=2")), spec, endpoint="validate", old=old
    )


# R13 and R14

LEFT_TO_THE_API_SERVER = [
    ("request-above-limit", main("memory=1Gi", "memory=2Gi")),
    ("half-a-device", main("nvidia.com/gpu=1500m")),
    ("no-resource", main("pods=1")),
    ("negative", main("ephemeral-storage=-1")),
    ("negative-request-without-a-limit", main(None, "cpu=-1")),
    ("a-negative-device", main(None, "nvidia.com/gpu=-1")),
    ("a-negative-limit-of-a-native-resource", main("a.kubernetes.io/b=-1", "a.kubernetes.io/b=0")),
    ("hugepages-alone", main("hugepages-2Mi=2Mi")),
]


def test_r13_what_no_pod_level_may_have_is_the_api_servers_to_tell() -> None:
    task = pod(main("cpu=8"), resources={"limits": {"ephemeral-storage": "9Gi", "nvidia.com/gpu": "9"}})
    decision = decided(task, "container: {max: {cpu: 4, ephemeral-storage: 1Gi, nvidia.com/gpu: 1}}")
    assert (decision.denial, decision.invalid) == (None, ())
    assert patched(task, decision)["spec"]["resources"] == task["spec"]["resources"]


@pytest.mark.parametrize(
    "given", [case[1] for case in LEFT_TO_THE_API_SERVER], ids=[c[0] for c in LEFT_TO_THE_API_SERVER]
)
def test_r13_an_error_that_the_pod_came_with_is_the_api_servers_to_tell(given: Json) -> None:
    decision = decided(pod(given, one("b", "cpu=8")), "container: {max: {cpu: 4}}")
    assert (decision.denial, decision.invalid) == (None, ())
    assert decision.outcome == "changed"


def test_r13_too_many_annotations_leave_ours_out() -> None:
    """First `applied`, then the primary container's name; the change itself is made."""
    big = {"x": "y" * (262144 - 100)}
    paths = [o.path for o in decided(pod(main("cpu=8"), annotations=big), "container: {max: {cpu: 4}}").operations]
    assert paths[0] == "/metadata/annotations/task-resources.io~1primary-container"
    full = {"x": "y" * (262144 - 10)}
    paths = [o.path for o in decided(pod(main("cpu=8"), annotations=full), "container: {max: {cpu: 4}}").operations]
    assert paths[0] == "/spec/containers/0/resources/limits/cpu"


def test_e2_records_of_an_earlier_look_stay_while_they_are_true() -> None:
    spec = "container: {max: {cpu: 4}}"
    task = pod(main("cpu=8"))
    first = patched(task, decided(task, spec))
    first["spec"]["containers"].append(container("late", limits={"cpu": "9"}))
    second = patched(first, decided(first, spec))
    applied = json.loads(second["metadata"]["annotations"]["task-resources.io/applied"])
    assert [(c["container"], c["side"], c["from"], c["to"]) for c in applied["changes"]] == [
        ("main", "limits", "8", "4"),
        ("main", "requests", "8", "4"),
        ("late", "limits", "9", "4"),
        ("late", "requests", "9", "4"),
    ]


def test_e2_the_last_records_are_left_out_and_counted() -> None:
    task = pod(*(container(f"container-{index}", limits={"cpu": "9"}) for index in range(200)))
    text = patched(task, decided(task, "container: {max: {cpu: 4}}"))["metadata"]["annotations"][
        "task-resources.io/applied"
    ]
    applied = json.loads(text)
    assert len(text.encode()) <= 8192
    assert len(applied["changes"]) + applied["more"] == 400
    assert applied["changes"][0]["container"] == "container-0"


def test_e4_audit_annotations_are_the_same_for_the_same_pod() -> None:
    task = pod(main("cpu=8"))
    first, second = (decided(task, "container: {max: {cpu: 4}}") for _ in range(2))
    assert first.audit_annotations == second.audit_annotations
    assert set(first.audit_annotations) == {"mode", "policy", "changes"}


def test_z1_a_zero_limit_in_a_resize_leaves_the_pods_own_limit_in_force() -> None:
    level = {"limits": {"cpu": "50m"}, "requests": {"cpu": "10m"}}

    def sized(limit: str, request: str) -> Json:
        return pod(container(limits={"cpu": limit}, requests={"cpu": request}), resources=level)

    decision = decided(sized("0", "0"), "container: {max: {cpu: '4'}}", old=sized("40m", "1m"))
    assert (decision.outcome, decision.invalid) == ("unchanged", ())


def test_r13_a_pod_level_that_no_container_could_fit_is_left_to_the_api_server() -> None:
    huge = container(requests={"cpu": "1", "memory": "1Gi", "hugepages-2Mi": "4Mi"})
    doomed = pod(huge, resources={"limits": {"hugepages-2Mi": "0"}})
    decision = decided(doomed, "container: {max: {hugepages-2Mi: 64Mi}}")
    assert (decision.denial, decision.invalid) == (None, ())
