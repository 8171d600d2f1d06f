import pytest

from webhook.quantity import Quantity, parse_quantity
from webhook.usage import RequestsAndLimits, pod_usage, qos_class, stored_pod_level

SIDECAR, STEP = True, False


def amounts(text: str) -> dict[str, Quantity]:
    """`cpu=1 memory=1Gi` as a resource list."""
    return {name: parse_quantity(value) for name, _, value in (item.partition("=") for item in text.split())}


def of(requests: str = "", limits: str = "") -> RequestsAndLimits:
    return amounts(requests), amounts(limits)


@pytest.mark.parametrize(
    ("regular", "init", "usage"),
    [
        pytest.param([], [], 0, id="no containers"),
        pytest.param([2, 3], [], 5, id="regular containers add up"),
        pytest.param([1], [(4, STEP)], 4, id="a larger init container decides"),
        pytest.param([2, 3], [(2, STEP)], 5, id="a smaller one does not"),
        pytest.param([1], [(5, STEP), (3, STEP)], 5, id="init containers run one after another"),
        pytest.param([2], [(1, SIDECAR)], 3, id="a sidecar adds to the regular containers"),
        pytest.param([1], [(1, SIDECAR), (5, STEP)], 6, id="a sidecar runs beside the steps after it"),
        pytest.param([1], [(5, STEP), (1, SIDECAR)], 5, id="but not beside the steps before it"),
        pytest.param([1], [(1, SIDECAR), (2, SIDECAR), (3, SIDECAR)], 7, id="sidecars add up"),
        pytest.param([], [(1, SIDECAR), (2, STEP), (3, SIDECAR), (100, STEP)], 104, id="step by step"),
        pytest.param([100], [(10, SIDECAR), (200, STEP)], 210, id="the highest moment counts"),
    ],
)
def test_usage_is_the_highest_that_containers_come_to_at_one_time(
    regular: list[int], init: list[tuple[int, bool]], usage: int
) -> None:
    assert pod_usage(regular, init) == usage


GUARANTEED = of("cpu=100m memory=100Mi ephemeral-storage=10Gi", "cpu=100m memory=100Mi")
BEST_EFFORT = {
    "nothing": of(),
    "zero requests": of("cpu=0 memory=0"),
    "zeros on both sides": of("cpu=0 memory=0", "cpu=0 memory=0"),
    "storage": of("ephemeral-storage=10Gi", "ephemeral-storage=10Gi"),
    "devices": of("nvidia.com/gpu=1", "nvidia.com/gpu=1"),
}
BURSTABLE = {
    "limits above requests": of("cpu=100m memory=100Mi", "cpu=200m memory=200Mi"),
    "a memory limit above its request": of("cpu=100m memory=100Mi", "cpu=100m memory=200Mi"),
    "a cpu limit above its request": of("cpu=100m memory=100Mi", "cpu=200m memory=100Mi"),
    "requests only": of("cpu=100m memory=100Mi"),
    "no memory limit": of("cpu=100m memory=100Mi", "cpu=100m"),
    "cpu only": of("cpu=1", "cpu=1"),
    "memory only": of("memory=1Gi", "memory=1Gi"),
    "a limit beside a zero request": of("cpu=0 memory=0", "cpu=1 memory=1Gi"),
}


def test_a_pod_is_guaranteed_whose_containers_all_limit_cpu_and_memory_to_what_they_request() -> None:
    assert qos_class([GUARANTEED]) == "Guaranteed"
    assert qos_class([GUARANTEED, of("cpu=1 memory=1Gi", "cpu=1000m memory=1024Mi")]) == "Guaranteed"


@pytest.mark.parametrize("container", BEST_EFFORT.values(), ids=BEST_EFFORT)
def test_a_pod_without_cpu_and_memory_is_best_effort(container: RequestsAndLimits) -> None:
    assert qos_class([container]) == "BestEffort"
    assert qos_class([container, of()]) == "BestEffort"


@pytest.mark.parametrize("container", BURSTABLE.values(), ids=BURSTABLE)
def test_any_other_pod_is_burstable(container: RequestsAndLimits) -> None:
    assert qos_class([container]) == "Burstable"
    assert qos_class([container, container]) == "Burstable"
    assert qos_class([GUARANTEED, container]) == "Burstable"


@pytest.mark.parametrize("container", BEST_EFFORT.values(), ids=BEST_EFFORT)
def test_one_container_without_limits_makes_a_guaranteed_pod_burstable(container: RequestsAndLimits) -> None:
    assert qos_class([container, GUARANTEED]) == "Burstable"


def test_a_pod_without_containers_is_best_effort() -> None:
    assert qos_class([]) == "BestEffort"


@pytest.mark.parametrize(
    ("pod_level", "expected"),
    [
        pytest.param(GUARANTEED, "Guaranteed", id="guaranteed"),
        pytest.param(of("cpu=1", "cpu=2"), "Burstable", id="burstable"),
        pytest.param(of("cpu=0"), "BestEffort", id="zero is a value of the pod level"),
        pytest.param(of("hugepages-2Mi=2Mi", "hugepages-2Mi=2Mi"), "BestEffort", id="hugepages"),
    ],
)
def test_a_pod_level_decides_alone(pod_level: RequestsAndLimits, expected: str) -> None:
    assert qos_class([GUARANTEED], pod_level) == expected
    assert qos_class([BURSTABLE["cpu only"]], pod_level) == expected


@pytest.mark.parametrize("pod_level", [of(), of("ephemeral-storage=1Gi")], ids=["empty", "storage"])
def test_a_pod_level_that_sets_nothing_it_may_leaves_the_class_to_the_containers(
    pod_level: RequestsAndLimits,
) -> None:
    assert qos_class([GUARANTEED], pod_level) == "Guaranteed"


@pytest.mark.parametrize(
    ("typed", "regular", "init", "stored"),
    [
        pytest.param(of(), [of("cpu=1", "cpu=1")], [], of(), id="a pod level that says nothing stays so"),
        pytest.param(
            of("", "cpu=4"),
            [of("cpu=1"), of("cpu=2")],
            [],
            of("cpu=3", "cpu=4"),
            id="request from the containers",
        ),
        pytest.param(of("", "cpu=4"), [of()], [], of("cpu=4", "cpu=4"), id="request from the limit"),
        pytest.param(of("", "cpu=4"), [of("cpu=0")], [], of("cpu=0", "cpu=4"), id="a zero request is one"),
        pytest.param(of("cpu=2", "cpu=4"), [of("cpu=1")], [], of("cpu=2", "cpu=4"), id="typed values stay"),
        pytest.param(
            of("", "cpu=4"),
            [of("cpu=1 memory=1Gi")],
            [],
            of("cpu=1 memory=1Gi", "cpu=4"),
            id="requests of other resources, too",
        ),
        pytest.param(
            of("", "cpu=4"),
            [of("cpu=1")],
            [(of("cpu=500m"), SIDECAR), (of("cpu=3"), STEP)],
            of("cpu=3500m", "cpu=4"),
            id="init containers count",
        ),
        pytest.param(
            of("cpu=1"),
            [of("cpu=1", "cpu=2"), of("", "cpu=3")],
            [],
            of("cpu=1", "cpu=5"),
            id="limit from all",
        ),
        pytest.param(of("cpu=9"), [of("", "cpu=2")], [], of("cpu=9", "cpu=9"), id="no limit below the request"),
        pytest.param(of("cpu=1"), [of("", "cpu=2"), of()], [], of("cpu=1"), id="no limit where one has none"),
        pytest.param(
            of("cpu=1"),
            [of("", "cpu=2")],
            [(of(), STEP)],
            of("cpu=1"),
            id="no limit where an init container has none",
        ),
        pytest.param(
            of("memory=1Gi"),
            [of("hugepages-2Mi=4Mi", "hugepages-2Mi=4Mi")],
            [],
            of("memory=1Gi hugepages-2Mi=4Mi", "hugepages-2Mi=4Mi"),
            id="hugepages from the containers",
        ),
        pytest.param(
            of("nvidia.com/gpu=1"),
            [of("nvidia.com/gpu=1", "nvidia.com/gpu=1")],
            [],
            of("nvidia.com/gpu=1"),
            id="nothing for what the pod level may not have",
        ),
    ],
)
def test_the_api_server_fills_in_what_the_pod_level_does_not_say(
    typed: RequestsAndLimits,
    regular: list[RequestsAndLimits],
    init: list[tuple[RequestsAndLimits, bool]],
    stored: RequestsAndLimits,
) -> None:
    assert stored_pod_level(typed, regular, init) == stored
