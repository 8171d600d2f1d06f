"""What a policy set comes to for one namespace: every value with the policy, file and line it came from.

Compiled once per policy set and namespace by `policy`; `decide` reads it and nothing else of the policies.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar

from webhook.quantity import Quantity

Mode = Literal["Enforce", "Warn", "Audit", "Off"]
OnExceed = Literal["Cap", "Deny"]
MissingLimit = Literal["Maximum", "Request", "Unset"]

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


Bound = Setting[Quantity]


@dataclass(frozen=True, slots=True)
class Maxima:
    """Maxima by resource name: exact names first, then globs, the most specific first.

    None stands for a value that a more specific policy lifted: an exact None lifts a glob, too.
    """

    exact: Mapping[str, Bound | None] = field(default_factory=dict)
    globs: tuple[tuple[str, Bound | None], ...] = ()

    def get(self, resource: str) -> Bound | None:
        """The maximum of `resource`; None where nothing bounds it."""


@dataclass(frozen=True, slots=True)
class EffectivePolicy:
    """What bounds a pod. `None` and absent keys bound nothing."""

    mode: Setting[Mode] = Setting("Enforce")
    on_exceed: Setting[OnExceed] = Setting("Cap")
    missing_limit: Mapping[str, Setting[MissingLimit]] = field(default_factory=dict)
    contact: Setting[str] | None = None
    default_request: Mapping[str, Bound] = field(default_factory=dict)
    default_limit: Mapping[str, Bound] = field(default_factory=dict)
    minimum: Mapping[str, Bound] = field(default_factory=dict)
    maximum: Maxima = Maxima()
    pod_maximum: Maxima = Maxima()
    resource_claims: Setting[Literal["Allow", "Deny"]] = Setting("Allow")
    aliases: Mapping[str, str] = field(default_factory=dict)
