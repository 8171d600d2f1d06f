"""`task-resources policy test`: whether policies do to pods what is expected of them."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import click
from click.core import ParameterSource
from rich.text import Text

from webhook.cli.options import counted, policy_option, project_options, project_rule
from webhook.cli.policy.junit import Failure, TestCase, TestSuite, junit_xml
from webhook.cli.terminal import Color, color_option, console
from webhook.policy import PolicySet
from webhook.policy_document import InvalidPolicies, PolicyError
from webhook.policy_tests import Mismatch, mismatches
from webhook.projects import ProjectRule
from webhook.resources import InvalidPod
from webhook.sources.policy_files import load_policies
from webhook.sources.policy_test_files import PolicyTest, load_policy_tests


@dataclass(frozen=True, slots=True)
class Result:
    """A test that was run: it passed where nothing mismatches."""

    test: PolicyTest
    mismatches: Sequence[Mismatch]
    seconds: float


@click.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@policy_option(required=False)
@project_options
@click.option("-k", "--filter", "part", default="", metavar="TEXT", help="Only tests that have it in their name.")
@click.option("-o", "--output", type=click.Choice(["text", "junit"]), default="text", show_default=True)
@color_option
def test(
    files: tuple[Path, ...],
    policy_paths: tuple[Path, ...],
    namespace_template: str,
    domains: tuple[str, ...],
    part: str,
    output: Literal["text", "junit"],
    color: Color,
) -> None:
    """Run the tests in each FILE, or in a folder's files: whether policies do to pods what is expected.

    Policies are those of --policy, else those that a file of tests names, else those of the environment.

    Exit status: 0 all passed, 1 some failed, 2 nothing was run: unusable tests, policies or usage.
    """
    rule = project_rule(namespace_template, domains)
    is_given = click.get_current_context().get_parameter_source("policy_paths") is ParameterSource.COMMANDLINE
    try:
        tests = [test for test in load_policy_tests(files) if part.lower() in test.name.lower()]
        if not tests:
            raise click.UsageError(f"no test has {part!r} in its name")
        results = _run(tests, rule, lambda test: policy_paths if is_given else test.policies or policy_paths)
    except InvalidPolicies as error:
        for line in error.lines():
            click.echo(line, err=True)
        raise click.exceptions.Exit(2) from error
    if output == "junit":
        click.echo(junit_xml(_suites(results)))
    else:
        _print(results, color)
    raise click.exceptions.Exit(int(any(result.mismatches for result in results)))


def _run(
    tests: Sequence[PolicyTest], rule: ProjectRule, policies_of: Callable[[PolicyTest], tuple[Path, ...]]
) -> list[Result]:
    """Each test's result. Raises InvalidPolicies with all that is wrong with policies and pods."""
    errors: list[PolicyError] = []
    results: list[Result] = []

    @cache
    def load(paths: tuple[Path, ...]) -> PolicySet | None:
        try:
            return load_policies(paths, may_be_pipes=True)
        except InvalidPolicies as error:
            errors.extend(error.errors)
            return None

    for test in tests:
        paths = policies_of(test)
        if not paths:
            text = f'"{test.name}" has no policies: name them in the file (policies), or by --policy'
            errors.append(PolicyError(test.file, test.line, "", text))
            continue
        policies = load(paths)
        if policies is None:
            continue
        started = time.perf_counter()
        try:
            found = mismatches(policies, rule, test.pod, test.namespace_labels, test.expected)
        except InvalidPod as error:
            errors.append(PolicyError(test.file, test.line, "", f'"{test.name}": {error}'))
            continue
        results.append(Result(test, found, time.perf_counter() - started))
    if errors:
        raise InvalidPolicies(dict.fromkeys(errors))
    return results


def _print(results: Sequence[Result], color: Color) -> None:
    """A line a test, what mismatches beneath it, and a summary."""
    terminal = console(color)
    for result in results:
        test = result.test
        if not result.mismatches:
            terminal.print(Text("passed", style="green"), Text(test.name))
            continue
        terminal.print(Text("FAILED", style="bold red"), Text(test.name, style="bold"))
        terminal.print(Text(f"  {test.file}:{test.line}", style="dim"))
        for mismatch in result.mismatches:
            terminal.print(Text(f"  {mismatch.field}"))
            terminal.print(Text(_beneath("expected", mismatch.expected), style="green"))
            terminal.print(Text(_beneath("got", mismatch.got), style="red"), end="")
            terminal.print(Text(f"  ({mismatch.why})" if mismatch.why else "", style="dim"))
    failed = sum(bool(result.mismatches) for result in results)
    files = len({result.test.file for result in results})
    head = f"{counted(len(results), 'test')} in {counted(files, 'file')}: "
    words = f"{failed} failed, {len(results) - failed} passed" if failed else "all passed"
    terminal.print(Text(head + words, style="bold red" if failed else "bold green"))


def _beneath(word: str, text: str) -> str:
    """`expected  …`, further lines below the first."""
    first = f"    {word:<10}"
    return first + text.replace("\n", "\n" + " " * len(first))


def _suites(results: Sequence[Result]) -> list[TestSuite]:
    """A suite a file."""
    by_file: dict[str, list[TestCase]] = {}
    for result in results:
        test = result.test
        failure = _failure(result) if result.mismatches else None
        by_file.setdefault(test.file, []).append(TestCase(test.name, test.file, result.seconds, failure))
    return [TestSuite(file, cases) for file, cases in by_file.items()]


def _failure(result: Result) -> Failure:
    fields = ", ".join(mismatch.field for mismatch in result.mismatches)
    lines = [f"{result.test.file}:{result.test.line}"]
    for mismatch in result.mismatches:
        why = f"  ({mismatch.why})" if mismatch.why else ""
        lines += [mismatch.field, _beneath("expected", mismatch.expected), _beneath("got", mismatch.got) + why]
    return Failure(f"not as expected: {fields}", "\n".join(lines))
