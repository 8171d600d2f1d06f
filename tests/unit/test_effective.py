"""What the decision reads: maxima by exact name and glob, and what fits labels."""

import pytest

from webhook.effective import Bound, EffectivePolicy, Maxima
from webhook.label_selector import LabelSelector, Requirement
from webhook.quantity import parse_quantity
from webhook.setting import Origin, Setting


def bound(text: str, policy: str = "p") -> Bound:
    return Setting(parse_quantity(text), Origin(policy, "platform"))


def test_an_exact_name_counts_before_globs_and_nothing_is_no_bound() -> None:
    maxima = Maxima({"a.com/b": bound("2"), "a.com/free": None}, (("a.com/x*", None), ("a.com/*", bound("1"))))
    found = {name: maxima.get(name) for name in ("a.com/b", "a.com/free", "a.com/c", "a.com/xy", "b.com/c", "cpu")}
    assert {name: value and str(value.value) for name, value in found.items()} == {
        "a.com/b": "2",
        "a.com/free": None,
        "a.com/c": "1",
        "a.com/xy": None,
        "b.com/c": None,
        "cpu": None,
    }


@pytest.mark.parametrize("name", ["cpu", "memory", "hugepages-2Mi", "gpu", "a b/c", "x" * 1000])
def test_a_glob_fits_extended_resources_only(name: str) -> None:
    assert Maxima(globs=(("*", bound("0")),)).get(name) is None


def test_of_globs_looked_up_by_themselves_the_lowest_counts_and_the_first_of_equals() -> None:
    maxima = Maxima(
        globs=(("a.com/*", bound("2", "one")),), more_globs=((("*", bound("2", "two")),), (("a.com/x", bound("1")),))
    )
    first = maxima.get("a.com/b")
    assert first is not None
    assert first.origin.policy == "one"
    lower = maxima.get("a.com/x")
    assert lower is not None
    assert str(lower.value) == "1"


def test_the_maximum_beats_the_minimum_when_values_are_fitted() -> None:
    policy = EffectivePolicy(
        default_request={"cpu": bound("1"), "memory": bound("4Gi")},
        minimum={"cpu": bound("3"), "memory": bound("1Gi")},
        maximum=Maxima({"cpu": bound("2"), "memory": bound("2Gi")}),
    ).fitted()
    assert {name: str(value.value) for name, value in policy.default_request.items()} == {"cpu": "2", "memory": "2Gi"}
    assert {name: str(value.value) for name, value in policy.minimum.items()} == {"cpu": "2", "memory": "1Gi"}
    assert policy.fitted() == policy


def test_a_selector_in_words_and_the_labels_it_needs() -> None:
    selector = LabelSelector(
        frozenset(
            {
                Requirement("a", "In", frozenset({"x"})),
                Requirement("b", "In", frozenset({"y", "z"})),
                Requirement("c", "NotIn", frozenset({"v"})),
                Requirement("d", "Exists"),
                Requirement("e", "DoesNotExist"),
            }
        )
    )
    assert str(selector) == "!e, a=x, b in (y, z), c not in (v), d"
    assert selector.needed_labels() == (("a", "x"),)
    assert selector.matches({"a": "x", "b": "z", "d": ""})
    assert not selector.matches({"a": "x", "b": "z", "d": "", "c": "v"})
    assert str(LabelSelector()) == "any labels"
