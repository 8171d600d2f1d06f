"""Label selectors: which labels fit.

Source of the rules: apimachinery pkg/apis/meta/v1 LabelSelectorAsSelector, pkg/labels/selector.go Requirement.Matches.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Operator = Literal["In", "NotIn", "Exists", "DoesNotExist"]


@dataclass(frozen=True, slots=True)
class Requirement:
    """What a selector asks of one label; `values` is empty for Exists and DoesNotExist."""

    key: str
    operator: Operator
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether the labels fit; an absent label fits NotIn."""
        value = labels.get(self.key)
        match self.operator:
            case "In":
                return value is not None and value in self.values
            case "NotIn":
                return value is None or value not in self.values
            case "Exists":
                return value is not None
            case "DoesNotExist":
                return value is None

    def __str__(self) -> str:
        values = ", ".join(sorted(self.values))
        match self.operator:
            case "In":
                return f"{self.key}={values}" if len(self.values) == 1 else f"{self.key} in ({values})"
            case "NotIn":
                return f"{self.key} not in ({values})"
            case "Exists":
                return self.key
            case "DoesNotExist":
                return f"!{self.key}"


@dataclass(frozen=True, slots=True)
class LabelSelector:
    """Labels fit that meet every requirement; with none, all labels fit. Equal selectors ask the same."""

    requirements: frozenset[Requirement] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        return all(requirement.matches(labels) for requirement in self.requirements)

    def needed_labels(self) -> tuple[tuple[str, str], ...]:
        """Key and value pairs, one of which every fitting set of labels has; none where there is no such rule."""
        choices = [
            tuple((requirement.key, value) for value in sorted(requirement.values))
            for requirement in self.requirements
            if requirement.operator == "In"
        ]
        return min(choices, key=lambda pairs: (len(pairs), pairs), default=())

    def __str__(self) -> str:
        return ", ".join(sorted(map(str, self.requirements))) or "any labels"
