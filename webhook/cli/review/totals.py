"""What a policy set comes to for many pods: outcomes, changes, amounts, by project. Nothing is kept of one pod."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from webhook.cli.review.reviewed import Reviewed
from webhook.decision import Outcome
from webhook.documents import Json
from webhook.explain import Change
from webhook.quantity import parse_quantity, quantity
from webhook.resource_names import is_hugepages

Project = str | None

# Of a table for people; a cluster may have thousands of projects.
MOST_ROWS = 25

OUTCOMES: tuple[Outcome, ...] = ("changed", "denied", "unchanged", "skipped")


class Totals:
    """Sums over the results that were added.

    `warned` counts pods and manifests with warnings, `ended` pods that were left out because they have ended.
    """

    def __init__(self) -> None:
        self.warned = self.ended = 0
        self._pods: Counter[tuple[Project, Outcome]] = Counter()
        self._changes: Counter[tuple[Project, str, str]] = Counter()
        self._denials: Counter[tuple[Project, str]] = Counter()
        # In nanos: what requests and limits were lowered and raised by.
        self._lowered: Counter[tuple[Project, str, str]] = Counter()
        self._raised: Counter[tuple[Project, str, str]] = Counter()

    def add(self, result: Reviewed) -> None:
        """Objects without a pod count for nothing."""
        self.warned += bool(result.warnings)
        if not result.has_pod:
            return
        project, decision = result.scope.project, result.decision
        self._pods[project, decision.outcome] += 1
        if decision.denial is not None:
            self._denials[project, decision.denial.reason] += 1
        for change in decision.changes:
            self._changes[project, change.resource, change.rule] += 1
            if change.side == "limits":
                self._add_amount(project, change.resource, "limits", _difference(change))
        for resource, nanos in decision.capacity:
            self._add_amount(project, resource, "requests", nanos)

    def _add_amount(self, project: Project, resource: str, side: str, nanos: int) -> None:
        if nanos:
            (self._raised if nanos > 0 else self._lowered)[project, resource, side] += abs(nanos)

    def as_json(self) -> Json:
        """Everything, amounts as quantities; `project` is null for namespaces of no project."""
        amounts = self._lowered.keys() | self._raised.keys()
        return {
            "pods": self._pods.total(),
            **{outcome: self.count(outcome) for outcome in OUTCOMES},
            "warned": self.warned,
            "ended": self.ended,
            "projects": [
                {"project": project, "pods": sum(counts), **dict(zip(OUTCOMES, counts, strict=True))}
                for project, counts in self._by_project()
            ],
            "changes": [
                {
                    "project": project,
                    "resource": resource,
                    "rule": rule,
                    "count": self._changes[project, resource, rule],
                }
                for project, resource, rule in _sorted(self._changes)
            ],
            "denials": [
                {"project": project, "reason": reason, "count": self._denials[project, reason]}
                for project, reason in _sorted(self._denials)
            ],
            "amounts": [
                {
                    "project": project,
                    "resource": resource,
                    "side": side,
                    "lowered": _quantity(resource, self._lowered[project, resource, side]),
                    "raised": _quantity(resource, self._raised[project, resource, side]),
                }
                for project, resource, side in _sorted(amounts)
            ],
        }

    def as_tables(self) -> Iterator[list[tuple[str, ...]]]:
        """The same for people: tables with a heading each, what counts most first; those without rows are left out."""
        projects = [(_name(project), str(sum(counts)), *map(str, counts)) for project, counts in self._by_project()]
        tables: list[tuple[tuple[str, ...], list[tuple[str, ...]]]] = [
            (("PROJECT", "PODS", *map(str.upper, OUTCOMES)), _most(projects, by=1)),
            (("PROJECT", "RESOURCE", "RULE", "CHANGES"), _most(_rows(self._changes), by=3)),
            (("PROJECT", "DENIED BY", "PODS"), _most(_rows(self._denials), by=2)),
            (("RESOURCE", "FIELD", "LOWERED BY", "RAISED BY"), [*self._amount_rows()]),
        ]
        return ([head, *rows] for head, rows in tables if rows)

    def headline(self) -> str:
        """How many pods, and what came of them."""
        outcomes = ", ".join(f"{self.count(outcome)} {outcome}" for outcome in OUTCOMES if self.count(outcome))
        pods = self._pods.total()
        return f"{pods} {'pod' if pods == 1 else 'pods'}: {outcomes or 'none'}"

    def count(self, outcome: Outcome) -> int:
        """How many pods came to this."""
        return sum(count for (_, of), count in self._pods.items() if of == outcome)

    def _by_project(self) -> list[tuple[Project, list[int]]]:
        projects = _sorted({(project,) for project, _ in self._pods})
        return [(project, [self._pods[project, outcome] for outcome in OUTCOMES]) for (project,) in projects]

    def _amount_rows(self) -> Iterator[tuple[str, ...]]:
        """Of all projects together, requests before limits."""
        lowered, raised = _over_projects(self._lowered), _over_projects(self._raised)
        for resource, side in sorted(lowered.keys() | raised.keys(), key=lambda key: (key[0], key[1] == "limits")):
            amounts = (lowered[resource, side], raised[resource, side])
            yield (resource, side, *(_readable(resource, nanos) if nanos else "-" for nanos in amounts))


def _difference(change: Change) -> int:
    """What a limit was raised by; 0 for one that was not there before, or was zero: it bounded nothing."""
    if change.before is None or change.after is None:
        return 0
    before = parse_quantity(change.before).nanos
    return parse_quantity(change.after).nanos - before if before else 0


def _over_projects(amounts: Counter[tuple[Project, str, str]]) -> Counter[tuple[str, str]]:
    totals: Counter[tuple[str, str]] = Counter()
    for (_, resource, side), nanos in amounts.items():
        totals[resource, side] += nanos
    return totals


def _sorted(keys: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """What belongs to no project first."""
    return sorted(keys, key=lambda key: (key[0] or "", *key[1:]))


def _rows(counter: Counter[Any]) -> list[tuple[str, ...]]:
    return [(*(part or "-" for part in key), str(counter[key])) for key in _sorted(counter)]


def _most(rows: list[tuple[str, ...]], *, by: int) -> list[tuple[str, ...]]:
    """The rows with the highest counts, as many as a person reads, and how many more there are."""
    rows = sorted(rows, key=lambda row: -int(row[by]))
    more = len(rows) - MOST_ROWS
    return rows if more <= 0 else [*rows[:MOST_ROWS], (f"and {more} more, all of them with -o json",)]


def _name(project: Project) -> str:
    return project or "-"


def _is_bytes(resource: str) -> bool:
    return resource in ("memory", "ephemeral-storage") or is_hugepages(resource)


def _quantity(resource: str, nanos: int) -> str:
    return quantity(nanos, "BinarySI" if _is_bytes(resource) else "DecimalSI").text


_UNITS = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")


def _readable(resource: str, nanos: int) -> str:
    """An amount with at most two digits after the point: cores, devices, or bytes in the unit that fits."""
    amount, unit = nanos / 10**9, 0
    while _is_bytes(resource) and amount >= 1024 and unit + 1 < len(_UNITS):
        amount, unit = amount / 1024, unit + 1
    return f"{amount:,.2f}".rstrip("0").rstrip(".") + _UNITS[unit]
