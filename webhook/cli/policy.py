"""`task-resources policy`: what is wrong with policies, and what they come to for a namespace."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from webhook.cli.options import (
    namespace_labels_option,
    policies_or_exit,
    policy_option,
    project_options,
    project_rule,
)
from webhook.effective import EffectivePolicy, Selections, lowest
from webhook.node_affinity import requirement_text
from webhook.pod import NodeRequirement, Toleration
from webhook.policy import Policy, PolicySet, aliases_in_force, lifted, merge_quota
from webhook.policy_document import path_text
from webhook.policy_oddities import oddities
from webhook.projects import Scope
from webhook.scheduling_rules import SchedulingSettings, merge_scheduling
from webhook.setting import Origin, Setting
from webhook.sources.policy_files import InvalidPolicies, load_policies
from webhook.tolerations import toleration_text


@click.group()
def policy() -> None:
    """Check policies, and ask what they come to."""


@policy.command()
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(path_type=Path))
@project_options
def check(paths: tuple[Path, ...], namespace_template: str, domains: tuple[str, ...]) -> None:
    """Report every error of policy files and folders, and what is odd once they are merged.

    Exits with 1 when there are errors; warnings are none.
    """
    rule = project_rule(namespace_template, domains)
    try:
        policies = load_policies(paths)
    except InvalidPolicies as error:
        for problem in error.errors:
            click.echo(problem)
        files = len({problem.file for problem in error.errors})
        click.echo(f"\n{_count(len(error.errors), 'error')} in {_count(files, 'file')}")
        raise click.exceptions.Exit(1) from error
    found = oddities(policies, rule)
    for oddity in found:
        click.echo(oddity)
    files = len({document.file for document in policies.documents})
    of_files = f"{_count(len(policies.documents), 'policy', 'policies')} in {_count(files, 'file')}"
    click.echo(f"{of_files}: no errors, {_count(len(found), 'warning')} (policy set {policies.hash})")


def _count(number: int, word: str, words: str = "") -> str:
    return f"{number or 'no'} {word if number == 1 else words or word + 's'}"


@policy.command()
@click.argument("namespace")
@policy_option()
@project_options
@namespace_labels_option
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def effective(
    namespace: str,
    policy_paths: tuple[Path, ...],
    namespace_template: str,
    domains: tuple[str, ...],
    namespace_labels: dict[str, str],
    output: str,
) -> None:
    """Print what policies come to for NAMESPACE: every value with its policy, file and line."""
    scope = project_rule(namespace_template, domains).scope(namespace, namespace_labels)
    answer = Answer(policies_or_exit(policy_paths), scope)
    click.echo(json.dumps(answer.as_json(), indent=2) if output == "json" else answer.as_text())


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


class Answer:
    """What a policy set comes to for one namespace."""

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
        lines = head + _table([("FIELD", "VALUE", "POLICY", "SCOPE", "WHERE"), *(row.cells() for row in self.rows)])
        for words, rows in self.selected:
            lines += ["", f"pods with {words}:"] + (_table([row.cells() for row in rows]) or ["nothing is lower"])
        return "\n".join(lines)


# The order in which fields are shown; the same as in a policy.
_ORDER = ("mode", "onExceed", "missingLimit", "contact", "container", "pod", "quota", "alias", "scheduling")


def _place(row: Row) -> tuple[int, str]:
    """By name, but for scheduling, whose order counts."""
    part = row.field.partition(".")[0]
    return _ORDER.index(part), "" if part == "scheduling" else row.field


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


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
