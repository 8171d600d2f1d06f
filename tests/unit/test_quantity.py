"""Every recorded input is read as Kubernetes' own code reads it; the tables below them are ours."""

import json
import time
from decimal import ROUND_UP, Decimal, localcontext
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from webhook.quantity import (
    BINARY_MAXIMUM,
    NANOS_PER_MILLI,
    NANOS_PER_UNIT,
    ZERO,
    InvalidQuantity,
    Notation,
    Quantity,
    UncomputableQuantity,
    parse_json_quantity,
    parse_quantity,
    parse_strict_quantity,
    quantity,
)

Json = dict[str, Any]

RECORDED = json.loads((Path(__file__).parents[1] / "vectors" / "quantity.json").read_text())
VALID = [case for case in RECORDED["parse"] if case["valid"]]
INVALID = [case for case in RECORDED["parse"] if not case["valid"]]
NOTATIONS: tuple[Notation, ...] = ("BinarySI", "DecimalSI", "DecimalExponent")


def ids(cases: list[Json], key: str = "input") -> list[str]:
    return [ascii(case[key]) for case in cases]


def exact(value: Quantity) -> Decimal:
    with localcontext(prec=1000):
        return Decimal(value.nanos) / NANOS_PER_UNIT


@pytest.mark.parametrize("case", VALID, ids=ids(VALID))
def test_a_quantity_has_the_value_notation_and_text_that_kubernetes_gives_it(case: Json) -> None:
    value = parse_quantity(case["input"])
    assert exact(value) == Decimal(case["exact"])
    assert (value.notation, str(value)) == (case["format"], case["canonical"])
    assert bool(value) == bool(case["sign"])


@pytest.mark.parametrize("case", VALID, ids=ids(VALID))
def test_a_pod_keeps_thousandths_rounded_up(case: Json) -> None:
    kept = parse_quantity(case["input"]).rounded_up(NANOS_PER_MILLI)
    assert exact(kept) == Decimal(case["in_resource_list"]["exact"])
    assert str(kept) == case["in_resource_list"]["canonical"]
    assert parse_json_quantity(json.dumps(case["input"]).encode()) == kept


@pytest.mark.parametrize("case", INVALID, ids=ids(INVALID))
def test_what_kubernetes_does_not_read_is_no_quantity(case: Json) -> None:
    with pytest.raises(InvalidQuantity):
        parse_quantity(case["input"])
    with pytest.raises(InvalidQuantity):
        parse_strict_quantity(case["input"])


@pytest.mark.parametrize("case", RECORDED["json_values"], ids=ids(RECORDED["json_values"], "json"))
def test_a_quantity_in_json_is_a_string_or_a_number(case: Json) -> None:
    raw = case["json"].encode()
    if not case["ok"]:
        with pytest.raises(InvalidQuantity):
            parse_json_quantity(raw)
        return
    assert parse_json_quantity(raw) == parse_quantity(case["canonical"]).rounded_up(NANOS_PER_MILLI)


@pytest.mark.parametrize(
    ("raw", "text"),
    [(b'"1000m"', "1000m"), (b'"0.5"', "0.5"), (b"2", "2"), (b"1.50", "1.50"), (b'" 1Gi "', "1Gi"), (b"null", "0")],
)
def test_a_pods_own_text_is_kept(raw: bytes, text: str) -> None:
    assert str(parse_json_quantity(raw)) == text


@pytest.mark.parametrize("raw", [b"true", b'"1', b'"\\ud800"', b'"\xff"', b'"1"2'])
def test_other_json_is_no_quantity(raw: bytes) -> None:
    with pytest.raises(InvalidQuantity):
        parse_json_quantity(raw)


ARITHMETIC = RECORDED["compare_and_arithmetic"]


@pytest.mark.parametrize("case", ARITHMETIC, ids=[f"{case['a']} and {case['b']}" for case in ARITHMETIC])
def test_quantities_compare_and_add_up_exactly(case: Json) -> None:
    a, b = parse_quantity(case["a"]), parse_quantity(case["b"])
    assert ((a > b) - (a < b), a == b) == (case["cmp"], case["cmp"] == 0)
    first = a.notation if a else b.notation
    assert str(quantity(a.nanos + b.nanos, first)) == case["sum"]
    assert str(quantity(a.nanos - b.nanos, first)) == case["diff"]


@pytest.mark.parametrize(
    "text",
    [case["input"] for case in RECORDED["pathological_exponents"]]
    + ["1e401", "1e-401", "1" * 65, "0." + "0" * 63, "1e" + "0" * 63, "9" * 5000, "1e" + "9" * 5000],
    ids=lambda text: text[:20],
)
def test_what_is_too_large_to_compute_with_is_refused_before_it_is_computed(text: str) -> None:
    start = time.perf_counter()
    with pytest.raises(UncomputableQuantity) as error:
        parse_quantity(text)
    with pytest.raises(InvalidQuantity) as strict_error:
        parse_strict_quantity(text)
    assert time.perf_counter() - start < 0.1
    assert len(str(error.value)) < 200
    assert len(str(strict_error.value)) < 200


def test_a_quantity_behind_a_megabyte_of_spaces_is_not_computed_with() -> None:
    with pytest.raises(UncomputableQuantity):
        parse_json_quantity(b'"' + b" " * 2**20 + b'1"')


@pytest.mark.parametrize("text", ["1e400", "1e-400", "9" * 64, "0." + "0" * 62])
def test_up_to_64_characters_and_an_exponent_of_400_are_computed_with(text: str) -> None:
    assert parse_quantity(text) >= ZERO


@pytest.mark.parametrize(
    ("text", "nanos"),
    [
        ("1", 10**9),
        ("1.", 10**9),
        (".5", 5 * 10**8),
        ("0", 0),
        ("007", 7 * 10**9),
        ("1.5Gi", 3 * 2**29 * 10**9),
        ("1E", 10**27),
        ("1E3", 10**12),
        ("1e+3", 10**12),
        ("1e-9", 1),
        ("1e30", 10**39),
        ("1e-30", 1),
        ("0.1n", 1),
        ("9" * 32, int("9" * 32) * 10**9),
        ("16Ei", BINARY_MAXIMUM),
    ],
)
def test_an_annotation_may_say_what_a_person_would(text: str, nanos: int) -> None:
    assert parse_strict_quantity(text).nanos == nanos


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", ".", "m", "Ki", "E", ".e3", "e3", "1..", "1.1.1"),
        *("+1", "-1", "-0", "+.5"),
        *(" 1", "1 ", "1 Gi", "1\n", "1Gi\n", "\t1", "1\x00"),
        *("1K", "1KB", "1GiB", "1gi", "1mi", "1MI", "1b", "1i", "1kk"),
        *("1e", "1E+", "1e1.5", "1e3k", "1e31", "1e-31", "1e99999999999999999999"),
        *("١", "１", "1٫5", "²", "1_000", "1,5", "0x10", "NaN", "Infinity", "∞"),
        "1" * 33,
    ],
    ids=ascii,
)
def test_an_annotation_may_not_say_anything_else(text: str) -> None:
    with pytest.raises(InvalidQuantity):
        parse_strict_quantity(text)


@pytest.mark.parametrize("text", ["١", "１", "1٫5", "1\n", "1Gi\n", "\n1", "1_0", "NaN", "Infinity", "1 "], ids=ascii)
def test_a_pods_quantity_has_ascii_digits_and_nothing_after_them(text: str) -> None:
    with pytest.raises(InvalidQuantity):
        parse_quantity(text)


@pytest.mark.parametrize(
    ("text", "unit", "up", "down"),
    [
        ("1500m", NANOS_PER_UNIT, "2", "1"),
        ("1.5m", NANOS_PER_MILLI, "2m", "1m"),
        ("2", NANOS_PER_UNIT, "2", "2"),
        ("2000m", NANOS_PER_UNIT, "2", "2"),
        ("0.1Gi", NANOS_PER_UNIT, "107374183", "107374182"),
        ("1e-9", NANOS_PER_UNIT, "1", "0"),
        ("3Mi", 2 * 2**20 * NANOS_PER_UNIT, "4Mi", "2Mi"),
        ("-1500m", NANOS_PER_UNIT, "-2", "-2"),
    ],
)
def test_a_quantity_is_rounded_to_a_multiple_of_its_unit(text: str, unit: int, up: str, down: str) -> None:
    value = parse_quantity(text)
    assert value.rounded_up(unit) == parse_quantity(up)
    assert value.rounded_down(unit) == parse_quantity(down)


def test_a_multiple_of_the_unit_keeps_its_text_when_rounded() -> None:
    value = parse_json_quantity(b'"2000m"')
    assert str(value.rounded_up(NANOS_PER_UNIT)) == str(value.rounded_down(NANOS_PER_UNIT)) == "2000m"


def test_equal_amounts_are_equal_whatever_their_notation() -> None:
    assert len({parse_quantity(text) for text in ("1", "1000m", "1.0", "1e0", "0.001k")}) == 1
    assert parse_quantity("1") != "1"


nanos = st.integers(min_value=-(10**45), max_value=10**45) | st.integers(-(10**12), 10**12)
whole = st.integers(min_value=0, max_value=2**64).map(lambda units: units * NANOS_PER_UNIT)


@given(nanos | whole, st.sampled_from(NOTATIONS))
@example(BINARY_MAXIMUM, "BinarySI")
@example(BINARY_MAXIMUM + NANOS_PER_UNIT, "BinarySI")
@example(2**60 * NANOS_PER_UNIT, "BinarySI")
@example(-BINARY_MAXIMUM, "BinarySI")
def test_what_is_printed_is_read_back_as_the_same_amount(value: int, notation: Notation) -> None:
    text = str(quantity(value, notation))
    assert parse_quantity(text).nanos == value
    assert str(parse_quantity(text)) == text, "and printed again as the same text"


@given(nanos | whole, nanos | whole)
def test_quantities_are_ordered_as_numbers_are(a: int, b: int) -> None:
    first, second = quantity(a), quantity(b, "BinarySI")
    assert (first < second) == (exact(first) < exact(second))
    assert (first == second) == (exact(first) == exact(second))
    assert max(first, second).nanos == max(a, b)


mantissas = st.from_regex(r"[0-9]{0,12}(\.[0-9]{0,12})?", fullmatch=True).filter(lambda text: text.strip("."))
exponents = st.integers(-30, 30)
DECIMAL_SUFFIXES = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
BINARY_SUFFIXES = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}


def nano_ceiling(value: Decimal) -> Decimal:
    with localcontext(prec=1000):
        return value.quantize(Decimal("1e-9"), rounding=ROUND_UP)


@given(mantissas, st.sampled_from(sorted(DECIMAL_SUFFIXES)))
def test_decimal_suffixes_are_powers_of_ten(mantissa: str, suffix: str) -> None:
    expected = nano_ceiling(Decimal(mantissa).scaleb(DECIMAL_SUFFIXES[suffix]))
    assert exact(parse_quantity(mantissa + suffix)) == expected
    assert exact(parse_strict_quantity(mantissa + suffix)) == expected


@given(mantissas, st.sampled_from(sorted(BINARY_SUFFIXES)))
def test_binary_suffixes_are_powers_of_1024_up_to_the_largest_integer(mantissa: str, suffix: str) -> None:
    with localcontext(prec=1000):
        expected = min(nano_ceiling(Decimal(mantissa) * 1024 ** BINARY_SUFFIXES[suffix]), Decimal(2**63 - 1))
    assert exact(parse_quantity(mantissa + suffix)) == expected


@given(mantissas, st.sampled_from("eE"), exponents)
def test_an_exponent_is_one_of_ten(mantissa: str, letter: str, exponent: int) -> None:
    with localcontext(prec=1000):
        expected = nano_ceiling(Decimal(mantissa).scaleb(exponent))
    assert exact(parse_quantity(f"{mantissa}{letter}{exponent}")) == expected


@given(st.text(max_size=40))
def test_any_text_is_a_quantity_or_refused_with_one_line(text: str) -> None:
    for parse in (parse_quantity, parse_strict_quantity):
        try:
            message = str(parse(text))
        except InvalidQuantity as error:
            message = str(error)
        assert message.isprintable()
