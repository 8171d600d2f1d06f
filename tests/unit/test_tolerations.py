"""Tolerations: which of them makes which other one needless (G2), and how they read."""

from typing import Any

import pytest

from webhook.pod import Toleration
from webhook.tolerations import covers, tolerates_every_key, toleration_text

EXISTS = Toleration("gpu", "Exists")
NO_SCHEDULE = Toleration("gpu", "Exists", effect="NoSchedule")
EQUAL = Toleration("gpu", "Equal", "a", "NoSchedule")
EVERYTHING = Toleration(operator="Exists")


def for_seconds(seconds: int | None, key: str | None = "gpu") -> Toleration:
    return Toleration(key, "Exists", effect="NoExecute", toleration_seconds=seconds)


COVERED = [
    # what is there, what is wanted, whether that is needless
    ("itself", NO_SCHEDULE, NO_SCHEDULE, True),
    ("exists-covers-equal", NO_SCHEDULE, EQUAL, True),
    ("equal-does-not-cover-exists", EQUAL, NO_SCHEDULE, False),
    ("another-key", Toleration("tpu", "Exists", effect="NoSchedule"), NO_SCHEDULE, False),
    ("another-value", Toleration("gpu", "Equal", "b", "NoSchedule"), EQUAL, False),
    ("no-value-is-the-empty-one", Toleration("gpu", "Equal", None, "NoSchedule"),
     Toleration("gpu", "Equal", "", "NoSchedule"), True),
    ("no-value-is-not-every-value", Toleration("gpu", "Equal", None, "NoSchedule"), EQUAL, False),
    # Operators
    ("no-operator-is-equal", Toleration("gpu", None, "a", "NoSchedule"), EQUAL, True),
    ("equal-is-no-operator", EQUAL, Toleration("gpu", None, "a", "NoSchedule"), True),
    ("the-empty-operator-is-equal", Toleration("gpu", "", "a", "NoSchedule"), EQUAL, True),
    ("no-operator-is-not-exists", Toleration("gpu", effect="NoSchedule"), NO_SCHEDULE, False),
    ("an-operator-behind-a-gate-is-not-equal", Toleration("gpu", "Gt", "5", "NoSchedule"),
     Toleration("gpu", "Equal", "5", "NoSchedule"), False),
    ("nor-exists", Toleration("gpu", "Lt", "5", "NoSchedule"), NO_SCHEDULE, False),
    ("it-covers-its-like", Toleration("gpu", "Lt", "5", "NoSchedule"), Toleration("gpu", "Lt", "5", "NoSchedule"),
     True),
    ("an-operator-that-nobody-knows", Toleration("gpu", "Near", "a", "NoSchedule"), EQUAL, False),
    # Effects
    ("no-effect-is-every-effect", EXISTS, NO_SCHEDULE, True),
    ("the-empty-effect-is-every-effect", Toleration("gpu", "Exists", effect=""), NO_SCHEDULE, True),
    ("one-effect-is-not-every-effect", NO_SCHEDULE, EXISTS, False),
    ("another-effect", NO_SCHEDULE, for_seconds(None), False),
    ("no-effect-but-another-value", Toleration("gpu", "Equal", "b"), EQUAL, False),
    # Keys
    ("everything", EVERYTHING, EQUAL, True),
    ("the-empty-key-is-every-key", Toleration("", "Exists"), NO_SCHEDULE, True),
    ("every-key-of-one-effect", Toleration(operator="Exists", effect="NoSchedule"), NO_SCHEDULE, True),
    ("every-key-of-another-effect", Toleration(operator="Exists", effect="NoExecute"), NO_SCHEDULE, False),
    ("one-key-is-not-every-key", EXISTS, EVERYTHING, False),
    ("without-a-key-equal-is-nothing", Toleration("", "Equal", "a", "NoSchedule"), EQUAL, False),
    # Seconds
    ("as-long", for_seconds(60), for_seconds(60), True),
    ("shorter", for_seconds(60), for_seconds(30), True),
    ("longer", for_seconds(60), for_seconds(61), False),
    ("some-time-is-not-for-ever", for_seconds(60), for_seconds(None), False),
    ("for-ever-is-any-time", for_seconds(None), for_seconds(60), True),
    ("below-zero-is-at-once", for_seconds(-5), for_seconds(0), True),
    ("at-once-is-not-later", for_seconds(-5), for_seconds(1), False),
    ("everything-for-some-time", for_seconds(60, key=None), for_seconds(None), False),
]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "wanted", "expected"), [case[1:] for case in COVERED], ids=[case[0] for case in COVERED]
)
def test_a_toleration_is_needless_where_another_one_tolerates_as_much(
    given: Toleration, wanted: Toleration, expected: bool
) -> None:
    assert covers(given, wanted) is expected


EVERY_KEY = [
    ("no-key", EVERYTHING, True),
    ("the-empty-key", Toleration("", "Exists"), True),
    ("of-one-effect", Toleration(operator="Exists", effect="NoSchedule"), True),
    ("a-key", EXISTS, False),
    ("without-an-operator", Toleration(), False),
]


@pytest.mark.parametrize(
    ("toleration", "expected"), [case[1:] for case in EVERY_KEY], ids=[case[0] for case in EVERY_KEY]
)
def test_without_a_key_exists_is_every_key(toleration: Toleration, expected: bool) -> None:
    assert tolerates_every_key(toleration) is expected


TEXTS: list[Any] = [
    (EQUAL, "gpu=a:NoSchedule"),
    (Toleration("gpu", None, "a", "NoSchedule"), "gpu=a:NoSchedule"),
    (Toleration("gpu", "Equal", "", "NoSchedule"), "gpu:NoSchedule"),
    (Toleration("gpu", value="a"), "gpu=a"),
    (NO_SCHEDULE, "gpu:NoSchedule op=Exists"),
    (EXISTS, "gpu op=Exists"),
    (EVERYTHING, "op=Exists"),
    (Toleration(operator="Exists", effect="NoExecute"), ":NoExecute op=Exists"),
    (for_seconds(300), "gpu:NoExecute op=Exists for 300s"),
]


@pytest.mark.parametrize(("toleration", "expected"), TEXTS, ids=[text for _, text in TEXTS])
def test_a_toleration_reads_as_kubectl_describes_it(toleration: Toleration, expected: str) -> None:
    assert toleration_text(toleration) == expected
