import pytest

from webhook.resource_names import (
    is_container_resource,
    is_extended,
    is_hugepages,
    is_native,
    is_qualified_name,
    matches_glob,
    page_bytes,
    unit_nanos,
)

MILLI, UNIT = 10**6, 10**9


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("cpu", MILLI),
        ("memory", UNIT),
        ("ephemeral-storage", UNIT),
        ("hugepages-2Mi", 2 * 2**20 * UNIT),
        ("hugepages-1Gi", 2**30 * UNIT),
        ("hugepages-1.5Ki", 1536 * UNIT),
        ("nvidia.com/gpu", UNIT),
        ("nvidia.com/mig-2g.10gb", UNIT),
        ("deviceclass.resource.kubernetes.io/gpu", MILLI),
        ("a" * 244 + "/gpu", UNIT),
    ],
)
def test_a_container_may_have_amounts_of_a_resource_in_steps_of_its_unit(name: str, unit: int) -> None:
    assert is_container_resource(name)
    assert unit_nanos(name) == unit


@pytest.mark.parametrize(
    "name",
    [
        "",
        "gpu",
        "CPU",
        "Memory",
        "mem",
        "pods",
        "storage",
        "requests.cpu",
        "limits.memory",
        "requests.nvidia.com/gpu",
        "nvidia.com/",
        "/gpu",
        "nvidia.com/gpu/0",
        "Nvidia.com/gpu",
        "nvidia.com/gpu-",
        "nvidia..com/gpu",
        "nvidia.com/gpu\n",
        "nvidia.com/gpü",
        "kubernetes.io/",
        "a" * 245 + "/gpu",
        "nvidia.com/" + "g" * 64,
        "g" * 1_000_000,
        "hugepages-",
        "hugepages-x",
        "hugepages-0",
        "hugepages-2mi",
        "hugepages-500m",
        "hugepages--1",
        "hugepages-1e401",
        "hugepages-2m/x",
    ],
)
def test_a_container_may_not_have_amounts_of_any_other_name(name: str) -> None:
    assert not is_container_resource(name)
    assert not is_extended(name)
    assert page_bytes(name) is None


@pytest.mark.parametrize(
    ("name", "native", "extended", "page"),
    [
        ("cpu", False, False, None),
        ("hugepages-2Mi", False, False, 2 * 2**20),
        ("nvidia.com/gpu", False, True, None),
        ("deviceclass.resource.kubernetes.io/gpu", True, False, None),
        ("example.kubernetes.io/widget", True, False, None),
    ],
)
def test_a_name_says_which_kind_of_resource_it_is(name: str, native: bool, extended: bool, page: int | None) -> None:
    assert (is_native(name), is_extended(name), page_bytes(name)) == (native, extended, page)
    assert is_hugepages(name) == (page is not None)


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [
        ("nvidia.com/gpu", "nvidia.com/gpu", True),
        ("nvidia.com/gpu", "nvidia.com/gpus", False),
        ("nvidia.com/mig-*", "nvidia.com/mig-2g.10gb", True),
        ("nvidia.com/mig-*", "nvidia.com/mig-", True),
        ("nvidia.com/mig-*", "nvidia.com/gpu", False),
        ("*", "anything/at.all", True),
        ("*/gpu", "amd.com/gpu", True),
        ("*/gpu", "amd.com/gpu.shared", False),
        ("*.com/*gpu*", "nvidia.com/my-gpu.shared", True),
        ("a*ba", "aba", True),
        ("ab*ba", "aba", False),
        ("a*b*b", "ab", False),
        ("nvidia.com/mig-?g", "nvidia.com/mig-2g", False),
        ("nvidia.com/[mig]", "nvidia.com/m", False),
        ("nvidiaXcom/*", "nvidia.com/gpu", False),
    ],
)
def test_in_a_glob_only_the_asterisk_is_special(pattern: str, name: str, fits: bool) -> None:
    assert matches_glob(pattern, name) == fits


def test_a_glob_of_many_asterisks_costs_no_backtracking() -> None:
    assert not matches_glob("*a" * 50 + "b", "a" * 100_000)


@pytest.mark.parametrize("name", ["key", "example.com/key", "1", "a_b.c-d", "a" * 63, "a" * 253 + "/b"])
def test_a_qualified_name_may_have_one_dns_subdomain_before_it(name: str) -> None:
    assert is_qualified_name(name)


@pytest.mark.parametrize("name", ["", "-a", "a-", "a/b/c", "A.com/b", "a" * 64, "a" * 254 + "/b", "a b", "é", "a\n"])
def test_other_text_is_no_qualified_name(name: str) -> None:
    assert not is_qualified_name(name)
