"""What a policy set comes to for one namespace, for people and tools: every value with where it was written (P8)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from webhook.effective import EffectivePolicy, Selections, lowest
from webhook.node_affinity import requirement_text
from webhook.pod import NodeRequirement, Toleration
from webhook.policy import Policy, PolicySet, aliases_in_force, lifted, merge_quota
from webhook.policy_document import path_text
from webhook.projects import Scope
from webhook.scheduling_rules import SchedulingSettings, merge_scheduling
from webhook.setting import Origin, Setting
from webhook.text_table import aligned
from webhook.tolerations import toleration_text


@dataclass(frozen=True, slots=True)
class Row:
    """One value: its field in a policy, and where it was written."""

    field: str
    value: str
    origin: Origin

    def as_json(self) -> dict[str, Any]:
        origin = self.origin
        place = {"file": origin.file, "line": origin.line} if origin.file else {}
        return {"field": self.field, "value": self.value, "policy": origin.policy, "scope": origin.scope, **place}

    def cells(self) -> tuple[str, ...]:
        origin = self.origin
        return (
            self.field,
            self.value,
            origin.policy,
            origin.scope,
            f"{origin.file}:{origin.line}" if origin.file else "",
        )


class EffectiveReport:
    """What a policy set comes to for one namespace, row by row."""

    def __init__(self, policies: PolicySet, scope: Scope) -> None:
        self.hash, self.scope = policies.hash, scope
        compiled, matching = policies.effective(scope), policies.matching(scope)
        self.rows = sorted([*_rows(compiled), *_other_rows(matching)], key=_place)
        self.selected = list(_selected_rows(compiled, compiled.selections)) if compiled.selections is not None else []

    def as_json(self) -> dict[str, Any]:
        return {
            "namespace": self.scope.namespace,
            "project": self.scope.project,
            "domain": self.scope.domain,
            "policySet": self.hash,
            "values": [row.as_json() for row in self.rows],
            "pods": [{"selector": words, "values": [row.as_json() for row in rows]} for words, rows in self.selected],
        }

    def as_text(self) -> str:
        scope = self.scope
        words = f"project {scope.project or 'none'}, domain {scope.domain or 'none'} (policy set {self.hash})"
        head = [f"namespace {scope.namespace}: {words}", ""]
        lines = head + aligned([("FIELD", "VALUE", "POLICY", "SCOPE", "WHERE"), *(row.cells() for row in self.rows)])
        for words, rows in self.selected:
            lines += ["", f"pods with {words}:"] + (aligned([row.cells() for row in rows]) or ["nothing is lower"])
        return "\n".join(lines)


# The order in which fields are shown; the same as in a policy.
_ORDER = ("mode", "onExceed", "missingLimit", "contact", "container", "pod", "quota", "alias", "scheduling")


def _place(row: Row) -> tuple[int, str]:
    """By name, but for scheduling, whose order counts."""
    part = row.field.partition(".")[0]
    return _ORDER.index(part), "" if part == "scheduling" else row.field


def _rows(policy: EffectivePolicy) -> Iterator[Row]:
    settings: dict[str, Setting[Any] | None] = {
        "mode": policy.mode,
        "onExceed": policy.on_exceed,
        "contact": policy.contact,
        "pod.resourceClaims": policy.resource_claims,
    }
    maps: Mapping[str, Mapping[str, Setting[Any] | None]] = {
        "missingLimit": policy.missing_limit,
        "container.defaultRequest": policy.default_request,
        "container.default": policy.default_limit,
        "container.min": policy.minimum,
        "container.max": {**policy.maximum.exact, **policy.maximum.lowest_by_glob()},
        "pod.max": {**policy.pod_maximum.exact, **policy.pod_maximum.lowest_by_glob()},
    }
    for field, values in maps.items():
        settings |= {f"{field}.{name}": setting for name, setting in values.items()}
    for field, setting in settings.items():
        if setting is not None:
            yield Row(field, str(setting.value), setting.origin)


def _other_rows(policies: Sequence[Policy]) -> Iterator[Row]:
    """Values that no pod is decided by (quota), what null lifted, aliases, and scheduling path by path."""
    for name, quota in merge_quota(policies).items():
        yield Row(f"quota.{name}", str(quota.value), quota.origin)
    for field, origin in lifted(policies).items():
        yield Row(field, "null", origin)
    for alias, resource in aliases_in_force(policies).items():
        yield Row(f"alias.{alias}", resource.value, resource.origin)
    yield from _scheduling_rows(merge_scheduling(policy.scheduling for policy in policies))


def _scheduling_rows(merged: SchedulingSettings) -> Iterator[Row]:
    """Resource by resource in the order in which they apply, then the rest."""
    sections = dict.fromkeys(path[:2] for path in merged if path[0] == "resources")
    for section in (*sections, ("interruptible",), ("defaults",)):
        for path, setting in merged.items():
            if path[: len(section)] == section and path[2:] != ("resource",):
                yield Row(path_text(("scheduling", *path)), _scheduling_text(setting.value), setting.origin)


def _scheduling_text(value: object) -> str:
    """A setting of scheduling as pods' own are printed."""
    match value:
        case None:
            return "null"
        case Toleration():
            return toleration_text(value)
        case NodeRequirement():
            return requirement_text(value)
        case tuple():
            return ", ".join(map(_scheduling_text, value)) or "none"
    return str(value)


def _selected_rows(policy: EffectivePolicy, selections: Selections) -> Iterator[tuple[str, list[Row]]]:
    """For the pods of each podSelector policy: what differs from the namespace's values."""
    before = {row.field: row for row in _rows(policy)}
    for selector, own in selections.policies:
        alone = lowest([selections.inherited, own]).fitted()
        rows = [row for row in _rows(alone) if before.get(row.field) != row]
        yield str(selector), sorted(rows, key=_place)
