"""Kubernetes resource quantities: exact values of any magnitude, with the notation they print in.

Responsible for the two grammars (pod fields as the API server reads them, annotations stricter) and
for canonical output. What a resource may be (whole, a multiple of a page) is left to `resources`.

Source of the rules: kubernetes/apimachinery pkg/api/resource/{quantity,suffix}.go.
"""

import re
from functools import lru_cache
from typing import Literal

import msgspec

Notation = Literal["BinarySI", "DecimalSI", "DecimalExponent"]

NANOS_PER_UNIT = 10**9
NANOS_PER_MILLI = 10**6

# The API server caps quantities with a binary suffix, and only those, at the largest int64.
BINARY_MAXIMUM = (2**63 - 1) * NANOS_PER_UNIT

# Rendering 1e2147483647 takes the API server's own code seconds and gigabytes (spec A2).
POD_FIELD_LENGTH, POD_FIELD_EXPONENT = 64, 400
ANNOTATION_LENGTH, ANNOTATION_EXPONENT = 32, 30

# In JSON, with each character as an escape of six and blanks around them; beyond it nothing is remembered.
POD_FIELD_BYTES = 8 * POD_FIELD_LENGTH

_DECIMAL_SUFFIXES = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY_SUFFIXES = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_DECIMAL_NAMES = {exponent: suffix for suffix, exponent in _DECIMAL_SUFFIXES.items()}
_BINARY_NAMES = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")

_SUFFIX = r"(?:(?P<binary>[KMGTPE]i)|(?P<decimal>[numkMGTPE])|[eE](?P<exponent>[+-]?[0-9]+))?"
_POD_FIELD = re.compile(r"(?P<sign>[+-]?)(?P<whole>[0-9]*)(?:\.(?P<fraction>[0-9]*))?" + _SUFFIX, re.ASCII)
_ANNOTATION = re.compile(r"(?P<sign>)(?=\.?[0-9])(?P<whole>[0-9]*)(?:\.(?P<fraction>[0-9]*))?" + _SUFFIX, re.ASCII)


class InvalidQuantity(ValueError):
    """The text is no quantity; the message says what is accepted."""


class UncomputableQuantity(InvalidQuantity):
    """The API server accepts the text, but it is too long or too large to compute with safely."""


class Quantity(msgspec.Struct, frozen=True, eq=False, gc=False):
    """An exact amount. Equal and ordered by value: 1 == 1000m, whatever the notation.

    `nanos` is the amount in billionths of the resource's unit (a core, a byte, a device), the finest
    that the API server keeps. `text` is how the API server prints it.
    """

    nanos: int
    notation: Notation
    text: str

    def __str__(self) -> str:
        return self.text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Quantity) and self.nanos == other.nanos

    def __lt__(self, other: "Quantity") -> bool:
        return self.nanos < other.nanos

    def __le__(self, other: "Quantity") -> bool:
        return self.nanos <= other.nanos

    def __hash__(self) -> int:
        return hash(self.nanos)

    def __bool__(self) -> bool:
        return self.nanos != 0

    def rounded_up(self, unit: int) -> "Quantity":
        """The next multiple of `unit` nanos, away from zero; itself where it is one already."""
        if self.nanos % unit == 0:
            return self
        size = -(-abs(self.nanos) // unit) * unit
        return quantity(size if self.nanos > 0 else -size, self.notation)

    def rounded_down(self, unit: int) -> "Quantity":
        """The multiple of `unit` nanos at or below it; itself where it is one already."""
        if self.nanos % unit == 0:
            return self
        return quantity(self.nanos // unit * unit, self.notation)


ZERO = Quantity(0, "DecimalSI", "0")


def quantity(nanos: int, notation: Notation = "DecimalSI") -> Quantity:
    """The quantity of `nanos` billionths, printed canonically."""
    return Quantity(nanos, notation, format_quantity(nanos, notation))


@lru_cache(maxsize=4096)
def format_quantity(nanos: int, notation: Notation) -> str:
    """The canonical text: no fraction digits, the largest suffix that fits, the notation's family.

    Binary text only for whole numbers from 1024 to 2^63-1: above, the API server would cap it.
    """
    if nanos == 0:
        return "0"
    if notation == "BinarySI":
        units, rest = divmod(nanos, NANOS_PER_UNIT)
        if rest == 0 and abs(units) >= 1024 and abs(nanos) <= BINARY_MAXIMUM:
            return _binary_text(units)
        notation = "DecimalSI"
    return _decimal_text(nanos, notation)


def _binary_text(units: int) -> str:
    steps = min((abs(units) & -abs(units)).bit_length() - 1, 60) // 10
    return f"{units >> 10 * steps}{_BINARY_NAMES[steps]}"


def _decimal_text(nanos: int, notation: Notation) -> str:
    digits = str(nanos)
    exponent = (len(digits) - len(digits.rstrip("0"))) // 3 * 3
    if notation == "DecimalSI":
        exponent = min(exponent, 27)  # there is no suffix above E
    mantissa, exponent = (digits[:-exponent] if exponent else digits), exponent - 9
    if notation == "DecimalSI":
        return mantissa + _DECIMAL_NAMES[exponent]
    return f"{mantissa}e{exponent}" if exponent else mantissa


@lru_cache(maxsize=4096)
def parse_quantity(text: str) -> Quantity:
    """The quantity that the API server reads from `text` in a pod: more than nano precision is rounded up.

    Raises InvalidQuantity; UncomputableQuantity over 64 characters or an exponent beyond 400.
    """
    match = _POD_FIELD.fullmatch(text)
    if match is None or not text.strip("+-"):
        raise InvalidQuantity(f"{text[:80]!r} is not a quantity: use a number with a suffix, such as 500m, 2 or 4Gi")
    if len(text) > POD_FIELD_LENGTH or abs(int(match["exponent"] or 0)) > POD_FIELD_EXPONENT:
        raise UncomputableQuantity(f"{text[:80]!r} has more than 64 characters or an exponent beyond 400")
    return _read(text, match)


@lru_cache(maxsize=4096)
def parse_json_quantity(raw: bytes) -> Quantity:
    """The quantity of a pod field, from its JSON: a string, a number, or null for 0.

    Rounded up to a thousandth as the API server does with every pod resource; `text` stays the pod's own.
    Source: Quantity.UnmarshalJSON; kubernetes pkg/apis/core/v1/defaults.go SetDefaults_ResourceList.
    """
    if raw == b"null":
        return ZERO
    if len(raw) > POD_FIELD_BYTES:
        raise UncomputableQuantity("a quantity has more than 64 characters")
    try:
        text = msgspec.json.decode(raw, type=str).strip(" ") if raw[:1] == b'"' else raw.decode()
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidQuantity(f"not a quantity: {error}") from error
    value = parse_quantity(text).rounded_up(NANOS_PER_MILLI)
    return Quantity(value.nanos, value.notation, text)


@lru_cache(maxsize=4096)
def parse_strict_quantity(text: str) -> Quantity:
    """The quantity in an annotation or a policy: a digit is required, no sign, ASCII (spec A2).

    Raises InvalidQuantity also over 32 characters or an exponent beyond 30.
    """
    if len(text) > ANNOTATION_LENGTH:
        raise InvalidQuantity(f"{text[:32]!r}… is longer than 32 characters")
    match = _ANNOTATION.fullmatch(text)
    if match is None:
        raise InvalidQuantity(f"{text!r} is not a quantity: use a number with a suffix, such as 500m, 2 or 4Gi")
    if abs(int(match["exponent"] or 0)) > ANNOTATION_EXPONENT:
        raise InvalidQuantity(f"{text!r} has an exponent beyond 30")
    return _read(text, match)


def _read(text: str, match: re.Match[str]) -> Quantity:
    whole, fraction = (match["whole"] or "").lstrip("0"), match["fraction"] or ""
    exponent = int(match["exponent"]) if match["exponent"] else _DECIMAL_SUFFIXES[match["decimal"] or ""]
    notation: Notation = "DecimalExponent" if match["exponent"] else "BinarySI" if match["binary"] else "DecimalSI"
    number = int(whole + fraction or "0")
    if match["binary"]:
        number <<= _BINARY_SUFFIXES[match["binary"]]
    nanos = _scaled_up(number, exponent - len(fraction) + 9)
    if notation == "BinarySI":
        nanos = min(nanos, BINARY_MAXIMUM)
        notation = "DecimalSI" if 0 < nanos < NANOS_PER_UNIT else notation
    if match["sign"] == "-":
        nanos = -nanos
    keeps_text = _is_canonical_looking(whole or "0", fraction, exponent, match["binary"])
    return Quantity(nanos, notation, text if keeps_text and nanos else format_quantity(nanos, notation))


def _scaled_up(number: int, exponent: int) -> int:
    return int(number * 10**exponent if exponent >= 0 else -(-number // 10**-exponent))


def _is_canonical_looking(whole: str, fraction: str, exponent: int, binary: str | None) -> bool:
    """Whether the API server would print the text as it came (ParseQuantity's fast path)."""
    if binary:
        bits = _BINARY_SUFFIXES[binary]
        return not fraction and 15 - len(whole) - bits * 3 // 10 - 1 >= 0 and int(whole) & 7 != 0
    digits, scale = whole + fraction, exponent - len(fraction)
    short = len(digits) <= 18 and scale >= -9
    return short and scale % 3 == 0 and not digits.endswith("000") and digits[0] != "0"
