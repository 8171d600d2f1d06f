"""Requirements of nodes' labels: which of them follows from which, which contradict each other, and how they read."""

import pytest

from webhook.node_affinity import excludes, implies, requirement_text
from webhook.pod import NodeRequirement


def requirement(text: str) -> NodeRequirement:
    """`pool In a,b` and `pool Exists`."""
    key, operator, *values = text.split()
    return NodeRequirement(key, operator, tuple(values[0].split(",")) if values else None)


IMPLIED = [
    # what is there, what is wanted, whether every node that meets the one meets the other
    ("pool In a", "pool In a", True),
    ("pool In a", "pool In a,b", True),
    ("pool In b,a", "pool In a,b", True),
    ("pool In a,b", "pool In a", False),
    ("pool In a", "pool In b", False),
    ("pool In a", "zone In a", False),
    ("pool In a", "pool NotIn b", True),
    ("pool In a,b", "pool NotIn b", False),
    ("pool In a", "pool Exists", True),
    ("pool In a", "pool DoesNotExist", False),
    ("pool In", "pool In a", False),
    ("pool NotIn a,b", "pool NotIn a", True),
    ("pool NotIn a", "pool NotIn a,b", False),
    ("pool NotIn a", "pool In b", False),
    ("pool NotIn a", "pool Exists", False),
    ("pool Exists", "pool Exists", True),
    ("pool Exists", "pool In a", False),
    ("pool Exists", "pool NotIn a", False),
    ("pool DoesNotExist", "pool DoesNotExist", True),
    ("pool DoesNotExist", "pool NotIn a", True),
    ("pool DoesNotExist", "zone DoesNotExist", False),
    ("pool DoesNotExist", "pool In a", False),
    ("cores Gt 8", "cores Exists", True),
    ("cores Lt 8", "cores Exists", True),
    ("cores Gt 8", "cores Gt 8", True),
    ("cores Gt 8", "cores Gt 9", False),
    ("cores Gt 8", "cores Lt 8", False),
]


@pytest.mark.parametrize(("given", "wanted", "expected"), IMPLIED, ids=[f"{case[0]}, {case[1]}" for case in IMPLIED])
def test_a_requirement_follows_from_one_that_no_other_node_meets(given: str, wanted: str, expected: bool) -> None:
    assert implies(requirement(given), requirement(wanted)) is expected


EXCLUDED = [
    # two requirements, whether no node meets both
    ("pool In a", "pool In b", True),
    ("pool In a,b", "pool In b,c", False),
    ("pool In a", "zone In b", False),
    ("pool In a", "pool NotIn a", True),
    ("pool In a", "pool NotIn a,b", True),
    ("pool In a,b", "pool NotIn a", False),
    ("pool In a", "pool Exists", False),
    ("pool In a", "pool DoesNotExist", True),
    ("pool NotIn a", "pool NotIn b", False),
    ("pool NotIn a", "pool DoesNotExist", False),
    ("pool NotIn a", "pool Exists", False),
    ("pool Exists", "pool DoesNotExist", True),
    ("cores Gt 8", "cores DoesNotExist", True),
    ("cores Lt 8", "cores DoesNotExist", True),
    ("pool DoesNotExist", "pool DoesNotExist", False),
    ("cores Gt 8", "cores Gt 9", False),
]


@pytest.mark.parametrize(("first", "second", "expected"), EXCLUDED, ids=[f"{case[0]}, {case[1]}" for case in EXCLUDED])
def test_two_requirements_contradict_each_other_either_way(first: str, second: str, expected: bool) -> None:
    assert excludes(requirement(first), requirement(second)) is expected
    assert excludes(requirement(second), requirement(first)) is expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param(NodeRequirement("pool", "In", ("a", "b")), "pool In [a, b]", id="values"),
        pytest.param(NodeRequirement("pool", "DoesNotExist"), "pool DoesNotExist", id="no values"),
        pytest.param(NodeRequirement("", "DoesNotExist"), "DoesNotExist", id="no key"),
    ],
)
def test_a_requirement_reads_in_the_words_of_the_api(given: NodeRequirement, expected: str) -> None:
    assert requirement_text(given) == expected
