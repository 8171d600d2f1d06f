"""A value of a policy, and where it was written."""

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value was written: policy name, its scope in words ("project flytesnacks"), file and line."""

    policy: str
    scope: str
    file: str = ""
    line: int = 0


BUILT_IN = Origin(policy="built-in", scope="default")


@dataclass(frozen=True, slots=True)
class Setting(Generic[T]):
    """A value of a policy and where it came from."""

    value: T
    origin: Origin = BUILT_IN
