"""How results are written: each as it comes, none is kept. Results go to stdout, what is said about them to stderr."""

import difflib
import json
from collections.abc import Iterable, Iterator, Sequence
from textwrap import indent
from typing import Any, Literal

import click
import yaml
from rich.console import Console
from rich.text import Text

from webhook.admission import patch_json
from webhook.cli.review.reviewed import Reviewed
from webhook.cli.review.totals import Totals
from webhook.cli.terminal import Color, console
from webhook.documents import Json
from webhook.explain import Change, fit_warnings, warnings_of
from webhook.text_table import aligned

Output = Literal["text", "diff", "json", "yaml", "patch", "response"]

MARGIN = "  "
NOTE = "LimitRanges are not applied: a cluster's own may have changed the pod before."


def print_results(results: Iterable[Reviewed], output: Output, *, totals: Totals | None, color: Color) -> None:
    """Writes the results; where there are totals, those of all results after them, or in text instead of them."""
    results = _with_bugs_told(results)
    if output == "text":
        _print_text(results, console(color), totals)
    elif output == "json":
        _print_json(results, totals)
    else:
        for index, result in enumerate(results):
            click.echo(_written(result, output, is_first=index == 0), nl=False)
            _print_remarks(result)
        if totals is not None:
            click.echo(json.dumps(totals.as_json(), indent=2), err=True)


def _with_bugs_told(results: Iterable[Reviewed]) -> Iterator[Reviewed]:
    """Says where our own result would be refused by the API server (R13)."""
    for result in results:
        for found in result.decision.invalid:
            click.echo(f"{result.title}: a bug of the webhook, please report it: {found}", err=True)
        yield result


def _print_text(results: Iterable[Reviewed], terminal: Console, totals: Totals | None) -> None:
    is_of_manifests = False
    for result in results:
        if totals is None:
            _print_result(terminal, result)
        item = result.item
        is_of_manifests |= item.review is not None and not item.is_admission_review and not item.is_stored
    if totals is not None:
        _print_totals(terminal, totals)
    if is_of_manifests:
        click.echo(NOTE, err=True)


def _print_totals(terminal: Console, totals: Totals) -> None:
    terminal.print(Text(totals.headline(), style="bold"))
    for table in totals.as_tables():
        terminal.print()
        for index, line in enumerate(aligned(table, margin=MARGIN)):
            terminal.print(Text(line, style="" if index else "dim"))


def _print_json(results: Iterable[Reviewed], totals: Totals | None) -> None:
    """One JSON object, written piece by piece."""
    count = 0
    for count, result in enumerate(results, 1):
        click.echo(('{\n  "reviews": [\n' if count == 1 else ",\n") + _indented(_as_json(result), "    "), nl=False)
    click.echo("\n  ]" if count else '{\n  "reviews": []', nl=False)
    if totals is not None:
        click.echo(',\n  "summary": ' + _indented(totals.as_json(), "  ").lstrip(), nl=False)
    click.echo("\n}")


def _indented(value: Json, margin: str) -> str:
    return indent(json.dumps(value, indent=2), margin)


def _written(result: Reviewed, output: Output, *, is_first: bool) -> str:
    """A result as it stands on stdout."""
    if output == "yaml":
        return ("" if is_first else "---\n") + _yaml(result.patched_object())
    if output == "diff":
        return "".join(_diff(result))
    if output == "patch" and result.has_pod:
        return json.dumps(patch_json(result.decision.operations), separators=(",", ":")) + "\n"
    if output == "response" and result.response:
        return result.response.decode() + "\n"
    return ""


def _print_remarks(result: Reviewed) -> None:
    for warning in result.warnings:
        click.echo(f"{result.title}: {warning}", err=True)
    if result.decision.denial is not None:
        click.echo(f"{result.title}: denied: {result.decision.denial.message}", err=True)


class _Dumper(yaml.SafeDumper):
    """Writes what is there twice twice: anchors are for people."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML's signature
        return True


def _yaml(document: Json) -> str:
    return str(yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=10_000))


_STYLES = {"unchanged": "green", "changed": "yellow", "denied": "red", "skipped": "dim"}


def _print_result(terminal: Console, result: Reviewed) -> None:
    decision = result.decision
    would = "" if decision.is_enforced else f" (mode {decision.mode}: nothing is enforced)"
    terminal.print(
        Text(result.title, style="bold"), Text(f" {decision.outcome}{would}", style=_STYLES[decision.outcome]), sep=""
    )
    if decision.denial is not None:
        terminal.print(Text(f"  {decision.denial.message}", style="red"))
    for index, line in enumerate(_table(decision.changes)):
        terminal.print(Text(line, style="" if index else "dim"))
    # What a change says already is no warning of its own here.
    said = fit_warnings(*warnings_of(decision.changes, decision.mode))
    for warning in result.warnings:
        if warning not in said and not (decision.denial is not None and warning.startswith("would be denied: ")):
            terminal.print(Text(f"  Warning: {warning}", style="yellow"))
    for line in _diff(result):
        style = "green" if line.startswith("+") else "red" if line.startswith("-") else "dim"
        terminal.print(Text(line.rstrip("\n"), style=style))
    terminal.print()


def _table(changes: Sequence[Change]) -> list[str]:
    head = [("CONTAINER", "RESOURCE", "FIELD", "FROM", "TO", "REASON", "POLICY")] if changes else []
    return aligned([*head, *map(_cells, changes)], margin=MARGIN)


def _cells(change: Change) -> tuple[str, ...]:
    return (
        change.container or "(pod)",
        change.resource or "-",
        change.side,
        change.before or "-",
        change.after or "-",
        change.rule if change.asked is None else f"{change.rule} (asked {change.asked})",
        f"{change.policy} ({change.scope})" if change.policy else "-",
    )


def _diff(result: Reviewed) -> list[str]:
    """A unified diff of the object, without the annotations that the webhook writes for itself."""
    if not result.decision.operations:
        return []
    item = result.item
    before = item.pod
    # A patch changes nothing in the metadata but these annotations.
    after = {**result.patched_pod(), "metadata": before["metadata"]}
    lines = [_yaml(item.with_pod(pod)).splitlines(keepends=True) for pod in (before, after)]
    return list(difflib.unified_diff(lines[0], lines[1], item.source, f"{item.source} (reviewed)"))


def _as_json(result: Reviewed) -> Json:
    decision = result.decision
    return {
        "source": result.item.source,
        "kind": result.item.kind,
        "namespace": result.item.namespace,
        "name": result.item.name,
        "project": result.scope.project,
        "domain": result.scope.domain,
        "outcome": decision.outcome,
        "mode": decision.mode,
        "changes": [_change_as_json(change) for change in decision.changes],
        "warnings": list(result.warnings),
        "message": decision.denial.message if decision.denial is not None else None,
        "patch": patch_json(decision.operations),
    }


def _change_as_json(change: Change) -> Json:
    return {
        "container": change.container,
        "resource": change.resource,
        "side": change.side,
        "from": change.before,
        "to": change.after,
        "asked": change.asked,
        "rule": change.rule,
        "policy": change.policy,
        "scope": change.scope,
    }
