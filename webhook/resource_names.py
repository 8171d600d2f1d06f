"""What a resource's name says about it: its kind, and the smallest step that an amount of it may have.

Names come from pods nobody vouches for, so what is remembered about them is bounded, in number and length.
Source of the rules: kubernetes pkg/apis/core/helper/helpers.go and pkg/apis/core/validation/validation.go
ValidateContainerResourceName, apimachinery pkg/api/validate/content IsLabelKey.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from webhook.quantity import NANOS_PER_MILLI, NANOS_PER_UNIT, InvalidQuantity, parse_quantity

COMPUTE = ("cpu", "memory", "ephemeral-storage")
COMPUTE_NAMES = frozenset(COMPUTE)

HUGEPAGES = "hugepages-"
NATIVE = "kubernetes.io/"
QUOTA_PREFIX = "requests."

# A qualified name is a DNS subdomain of at most 253 characters, a slash, and at most 63.
LONGEST_PREFIX, LONGEST_NAME = 253, 63
LONGEST = LONGEST_PREFIX + 1 + LONGEST_NAME

_NAME = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*")


def is_hugepages(name: str) -> bool:
    """Whether it is memory in pages of a fixed size: `hugepages-2Mi`."""
    return name.startswith(HUGEPAGES)


def is_native(name: str) -> bool:
    """Whether it is a qualified name of Kubernetes' own, such as DRA's: overcommit and fractions are allowed."""
    return NATIVE in name


def is_extended(name: str) -> bool:
    """Whether it is a device: whole numbers only, the request equal to the limit."""
    return facts_of(name).is_extended


def is_container_resource(name: str) -> bool:
    """Whether a container may have amounts of it. Hugepages of a size that is none count as unknown."""
    return facts_of(name).is_container_resource


def page_bytes(name: str) -> int | None:
    """The page size of hugepages in bytes; None for anything else, and for a size that is none."""
    return facts_of(name).page_bytes


def unit_nanos(name: str) -> int:
    """The smallest step of amounts that we write, in nanos: a thousandth, a byte, a device or a page.

    Kubernetes' own qualified names have thousandths, as the API server rounds every amount in a pod.
    """
    return facts_of(name).unit_nanos


def matches_glob(pattern: str, name: str) -> bool:
    """Whether `name` fits `pattern`, in which `*` stands for any text, also none, and all else for itself."""
    first, *rest = pattern.split("*")
    if not rest:
        return pattern == name
    *middle, last = rest
    if not name.startswith(first) or not name.endswith(last):
        return False
    position, end = len(first), len(name) - len(last)
    for part in middle:
        position = name.find(part, position, end)
        if position < 0:
            return False
        position += len(part)
    return position <= end


def is_qualified_name(name: str) -> bool:
    """Whether it could be a label's key: a name of at most 63 characters, or one with a DNS subdomain before it."""
    return len(name) <= LONGEST and _is_qualified(name)


@lru_cache(maxsize=4096)
def _is_qualified(name: str) -> bool:
    prefix, slash, last = name.rpartition("/")
    if slash and (len(prefix) > LONGEST_PREFIX or not _SUBDOMAIN.fullmatch(prefix)):
        return False
    return len(last) <= LONGEST_NAME and _NAME.fullmatch(last) is not None


@dataclass(frozen=True, slots=True)
class Facts:
    """What a resource's name says: see the functions of the same names."""

    is_container_resource: bool = False
    is_extended: bool = False
    page_bytes: int | None = None
    unit_nanos: int = NANOS_PER_UNIT


_UNKNOWN = Facts()


def facts_of(name: str) -> Facts:
    """All that a resource's name says, for those who ask for more than one thing."""
    # A name of a megabyte is not worth remembering.
    return _read_facts(name) if len(name) <= LONGEST else _UNKNOWN


@lru_cache(maxsize=4096)
def _read_facts(name: str) -> Facts:
    if name in COMPUTE:
        return Facts(is_container_resource=True, unit_nanos=NANOS_PER_MILLI if name == "cpu" else NANOS_PER_UNIT)
    if not is_qualified_name(name):
        return _UNKNOWN
    if is_hugepages(name):
        size = _page_bytes(name)
        return Facts(size is not None, page_bytes=size, unit_nanos=(size or 1) * NANOS_PER_UNIT)
    if "/" not in name:
        return _UNKNOWN
    if is_native(name):
        return Facts(is_container_resource=True, unit_nanos=NANOS_PER_MILLI)
    # A ResourceQuota counts it as requests.<name>, which must be a qualified name, too.
    extended = not name.startswith(QUOTA_PREFIX) and is_qualified_name(QUOTA_PREFIX + name)
    return Facts(is_container_resource=extended, is_extended=extended)


def _page_bytes(name: str) -> int | None:
    try:
        nanos = parse_quantity(name.removeprefix(HUGEPAGES)).nanos
    except InvalidQuantity:
        return None
    return nanos // NANOS_PER_UNIT if nanos > 0 and nanos % NANOS_PER_UNIT == 0 else None
