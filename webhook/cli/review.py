"""`task-resources review`: what the webhook would answer, without a cluster. The same code as the service decides."""

import difflib
import json
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import click
import jsonpatch
import yaml
from rich.console import Console
from rich.text import Text

from webhook.admission import InvalidReview, decode, encode, patch_json
from webhook.cli.options import (
    namespace_labels_option,
    policies_or_exit,
    policy_option,
    project_options,
    project_rule,
)
from webhook.decision import SKIPPED, Decision
from webhook.explain import Change, fit_warnings, warnings_of
from webhook.manifests import Json, Reviewable, UnusableInput, read_documents, reviewable, reviewed_pod
from webhook.projects import DOMAIN_LABEL, PROJECT_LABEL, Scope
from webhook.quantity import quantity
from webhook.resources import InvalidPod
from webhook.snapshot import Snapshot

Output = Literal["text", "diff", "json", "yaml", "patch", "response"]
FailOn = Literal["denied", "changed", "warning"]

NOTE = "LimitRanges are not applied: a cluster's own may have changed the pod before."


@dataclass(frozen=True, slots=True)
class Reviewed:
    """One object, what was decided about its pod, and the pod after it; no decision where there is no pod."""

    item: Reviewable
    scope: Scope
    decision: Decision = SKIPPED
    before: Json | None = None
    after: Json | None = None
    response: bytes = b""

    @property
    def warnings(self) -> tuple[str, ...]:
        return self.decision.warnings + self.item.warnings

    @property
    def title(self) -> str:
        return f"{self.item.kind} {self.item.namespace}/{self.item.name or '(generated name)'}"


@click.command(short_help="What the webhook would change in pods, manifests and AdmissionReviews.")
@click.argument("files", nargs=-1, metavar="[FILE...|-]")
@policy_option()
@click.option("--namespace", metavar="NAME", help="The namespace of manifests.  [default: the object's, else default]")
@namespace_labels_option
@click.option("--project", metavar="P", help="The project, as its namespace's label would say it.")
@click.option("--domain", metavar="D", help="The domain, as its namespace's label would say it.")
@project_options
@click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "diff", "json", "yaml", "patch", "response"]),
    default="text",
    show_default=True,
    help="A table with reasons and a diff; only the diff; one JSON object; the changed objects; JSON patches, "
    "one a line; AdmissionReview responses, one a line.",
)
@click.option(
    "--summary", is_flag=True, help="Totals per project, resource and rule, after (or, with text, instead of) the rest."
)
@click.option(
    "--fail-on",
    type=click.Choice(["denied", "changed", "warning"]),
    default="denied",
    show_default=True,
    help="Exit with 1 on this or anything worse (denied is worst).",
)
@click.option("--color", type=click.Choice(["auto", "always", "never"]), default="auto", show_default=True)
def review(
    files: tuple[str, ...],
    policy_paths: tuple[Path, ...],
    namespace: str | None,
    namespace_labels: dict[str, str],
    project: str | None,
    domain: str | None,
    namespace_template: str,
    domains: tuple[str, ...],
    output: Output,
    summary: bool,
    fail_on: FailOn,
    color: str,
) -> None:
    """Shows what the webhook would change in each FILE, or in what comes on standard input.

    Takes AdmissionReviews, Pods, anything with a pod template (Deployment, Job, CronJob, StatefulSet, DaemonSet,
    ReplicaSet), Lists, and several documents a file, in YAML or JSON.

    Exit status: 0 fine, 1 --fail-on met, 2 unusable input, policy or usage.
    """
    labels = namespace_labels | {
        key: value for key, value in ((PROJECT_LABEL, project), (DOMAIN_LABEL, domain)) if value is not None
    }
    rule = project_rule(namespace_template, domains)
    reviewer = Reviewer(Snapshot(policies_or_exit(policy_paths), rule), namespace, labels)
    reviews = [result for source in files or ("-",) for result in reviewer.review_source(source)]
    print_reviews(reviews, output, summary=summary, color=color)
    for error_text in reviewer.errors:
        click.echo(f"Error: {error_text}", err=True)
    raise click.exceptions.Exit(2 if reviewer.errors else exit_status(reviews, fail_on))


class Reviewer:
    """Reviews one input after another; what cannot be reviewed becomes an error, and the rest goes on."""

    def __init__(self, snapshot: Snapshot, namespace: str | None, labels: dict[str, str]) -> None:
        self.snapshot, self.namespace, self.labels = snapshot, namespace, labels
        self.errors: list[str] = []

    def review_source(self, source: str) -> list[Reviewed]:
        """Everything in a file, or on standard input for `-`."""
        try:
            text = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
        except OSError as error:
            self.errors.append(f"{source}: {error.strerror}")
            return []
        name = "standard input" if source == "-" else source
        documents = read_documents(name, text, lambda error: self.errors.append(str(error)))
        results = (self._review_document(name, document) for document in documents)
        return [result for result in results if result is not None]

    def _review_document(self, source: str, document: Json) -> Reviewed | None:
        try:
            return self._reviewed(reviewable(source, document, namespace=self.namespace))
        except UnusableInput as error:
            self.errors.append(str(error))
        except (InvalidReview, InvalidPod) as error:
            self.errors.append(f"{source}: {error}")
        return None

    def _reviewed(self, item: Reviewable) -> Reviewed:
        labelled = Snapshot(self.snapshot.policies, self.snapshot.projects, {item.namespace: self.labels})
        scope = labelled.scope(item.namespace)
        if item.body is None:
            return Reviewed(item, scope)
        asked = decode(item.body)
        decision = labelled.decide(asked)
        if asked.pod is None:
            return Reviewed(item, scope, decision, response=encode(asked, decision))
        before = reviewed_pod(item.body)
        after = jsonpatch.JsonPatch(patch_json(decision.operations)).apply(before) if decision.operations else before
        return Reviewed(item, scope, decision, before, after, encode(asked, decision))


def exit_status(reviews: Iterable[Reviewed], fail_on: FailOn) -> int:
    """1 where --fail-on is met: by what it names, or by anything worse."""
    for result in reviews:
        outcome = result.decision.outcome
        if outcome == "denied" or (fail_on != "denied" and outcome == "changed"):
            return 1
        if fail_on == "warning" and result.warnings:
            return 1
    return 0


def print_reviews(reviews: Sequence[Reviewed], output: Output, *, summary: bool, color: str) -> None:
    """Writes the results to standard output; what is said about them goes to standard error."""
    if output == "text":
        console = Console(
            highlight=False,
            soft_wrap=True,
            force_terminal={"always": True, "never": False}.get(color),
            no_color={"always": False, "never": True}.get(color),
        )
        for result in () if summary else reviews:
            _print_text(console, result)
        if summary:
            _print_summary(console, reviews)
        _print_bugs(reviews)
        if any(result.item.body is not None and not result.item.is_admission_review for result in reviews):
            click.echo(NOTE, err=True)
        return
    if output == "json":
        report: Json = {"reviews": [_as_json(result) for result in reviews]}
        click.echo(json.dumps(report | ({"summary": _totals(reviews)} if summary else {}), indent=2))
    elif output == "yaml":
        objects = [result.item.with_pod(result.after) if result.after else result.item.document for result in reviews]
        click.echo(_yaml_documents(objects), nl=False)
    else:
        for result in reviews:
            _print_line(result, output)
    _print_bugs(reviews)
    if output != "json":
        _print_remarks(reviews)
        if summary:
            click.echo(json.dumps(_totals(reviews), indent=2), err=True)


def _print_bugs(reviews: Iterable[Reviewed]) -> None:
    """Where our own result would be refused by the API server (R13)."""
    for result in reviews:
        for found in result.decision.invalid:
            click.echo(f"{result.title}: a bug of the webhook, please report it: {found}", err=True)


def _print_line(result: Reviewed, output: Output) -> None:
    if output == "diff":
        click.echo("".join(_diff(result)), nl=False)
    elif output == "patch" and result.before is not None:
        click.echo(json.dumps(patch_json(result.decision.operations), separators=(",", ":")))
    elif output == "response" and result.response:
        click.echo(result.response.decode())


def _print_remarks(reviews: Iterable[Reviewed]) -> None:
    for result in reviews:
        for warning in result.warnings:
            click.echo(f"{result.title}: {warning}", err=True)
        if result.decision.denial is not None:
            click.echo(f"{result.title}: denied: {result.decision.denial.message}", err=True)


class _Dumper(yaml.SafeDumper):
    """Writes what is there twice twice: anchors are for people."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML's signature
        return True


def _yaml_documents(objects: Sequence[Json]) -> str:
    return str(yaml.dump_all(objects, Dumper=_Dumper, sort_keys=False, width=10_000, explicit_start=len(objects) > 1))


_STYLES = {"unchanged": "green", "changed": "yellow", "denied": "red", "skipped": "dim"}


def _print_text(console: Console, result: Reviewed) -> None:
    decision = result.decision
    would = "" if decision.is_enforced else f" (mode {decision.mode}: nothing is enforced)"
    console.print(
        Text(result.title, style="bold"), Text(f" {decision.outcome}{would}", style=_STYLES[decision.outcome]), sep=""
    )
    if decision.denial is not None:
        console.print(Text(f"  {decision.denial.message}", style="red"))
    for index, line in enumerate(_table(decision.changes)):
        console.print(Text(line, style="" if index else "dim"))
    # What a change says already is no warning of its own here.
    said = fit_warnings(warnings_of(decision.changes, decision.mode))
    for warning in result.warnings:
        if warning not in said and not (decision.denial is not None and warning.startswith("would be denied: ")):
            console.print(Text(f"  Warning: {warning}", style="yellow"))
    for line in _diff(result):
        style = "green" if line.startswith("+") else "red" if line.startswith("-") else "dim"
        console.print(Text(line.rstrip("\n"), style=style))
    console.print()


def _table(changes: Sequence[Change]) -> list[str]:
    head = [("CONTAINER", "RESOURCE", "FIELD", "FROM", "TO", "REASON", "POLICY")] if changes else []
    return aligned([*head, *map(_cells, changes)])


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


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines with two spaces before and between the columns; never cut, whatever the terminal's width."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def _diff(result: Reviewed) -> list[str]:
    """A unified diff of the object, without the annotations that the webhook writes for itself."""
    if result.before is None or result.after is None or result.before == result.after:
        return []
    # A patch changes nothing in the metadata but these annotations.
    noted = {**result.after, "metadata": result.before["metadata"]}
    before, after = (
        _yaml_documents([result.item.with_pod(pod)]).splitlines(keepends=True) for pod in (result.before, noted)
    )
    return list(difflib.unified_diff(before, after, result.item.source, f"{result.item.source} (reviewed)"))


def _as_json(result: Reviewed) -> dict[str, Any]:
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


def _change_as_json(change: Change) -> dict[str, Any]:
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


def _totals(reviews: Sequence[Reviewed]) -> dict[str, Any]:
    """Outcomes, changes by project, resource and rule, and what requests were raised or lowered by, as quantities."""
    rows = Counter(
        (result.scope.project or "", change.resource, change.rule)
        for result in reviews
        for change in result.decision.changes
    )
    capacity: Counter[tuple[str, str]] = Counter()
    for result in reviews:
        for resource, nanos in result.decision.capacity:
            capacity[resource, "raised" if nanos > 0 else "lowered"] += abs(nanos)
    return {
        "pods": sum(result.before is not None for result in reviews),
        "outcomes": dict(Counter(result.decision.outcome for result in reviews)),
        "changes": [
            {"project": project, "resource": resource, "rule": rule, "count": count}
            for (project, resource, rule), count in sorted(rows.items())
        ],
        "requests": [
            {"resource": resource, "direction": direction, "by": _amount(resource, nanos)}
            for (resource, direction), nanos in sorted(capacity.items())
        ],
    }


def _amount(resource: str, nanos: int) -> str:
    return quantity(nanos, "BinarySI" if resource in ("memory", "ephemeral-storage") else "DecimalSI").text


def _print_summary(console: Console, reviews: Sequence[Reviewed]) -> None:
    totals = _totals(reviews)
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in sorted(totals["outcomes"].items()))
    console.print(Text(f"{totals['pods']} pods: {outcomes or 'none'}", style="bold"))
    head = [("PROJECT", "RESOURCE", "RULE", "CHANGES")] if totals["changes"] else []
    rows = [
        (row["project"] or "-", row["resource"] or "-", row["rule"], str(row["count"])) for row in totals["changes"]
    ]
    for line in aligned([*head, *rows]):
        console.print(Text(line))
    for row in totals["requests"]:
        console.print(Text(f"requests.{row['resource']} {row['direction']} by {row['by']}"))
