"""Options that several commands share, and what their values are read into."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from webhook.policy import PolicySet
from webhook.projects import DEFAULT_DOMAINS, DEFAULT_TEMPLATE, InvalidProjectRule, ProjectRule
from webhook.sources.policy_files import InvalidPolicies, load_policies

F = TypeVar("F", bound=Callable[..., Any])


class NameList(click.ParamType[tuple[str, ...], Any]):
    """Names with commas between them, such as `development,staging`."""

    name = "names"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        names = tuple(name.strip() for name in str(value).split(","))
        if "" in names:
            self.fail(f"{value!r} has an empty name: use names with commas between them", parameter, context)
        return names


class Labels(click.ParamType[dict[str, str], Any]):
    """Labels with commas between them, such as `team=ml,tier=gold`."""

    name = "k=v,..."

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> dict[str, str]:
        if isinstance(value, dict):
            return value
        labels: dict[str, str] = {}
        for part in str(value).split(",") if value else ():
            key, equals, text = part.strip().partition("=")
            if not key or not equals or key in labels:
                self.fail(f"{part!r} is no label of its own: use key=value, each key once", parameter, context)
            labels[key] = text
        return labels


def policy_option(*, required: bool = True) -> Callable[[F], F]:
    """`--policy PATH`, repeatable, as `policy_paths: tuple[Path, ...]`."""
    return click.option(
        "--policy",
        "policy_paths",
        multiple=True,
        required=required,
        metavar="PATH",
        # Not checked to exist here: the loader reports it together with all other errors.
        type=click.Path(path_type=Path),
        envvar="TASK_RESOURCES_POLICY",
        show_envvar=True,
        help="A policy file, or a folder of them; repeatable (in the environment with colons between).",
    )


def project_options(command: F) -> F:
    """`--namespace-template` and `--domains`; see `project_rule`."""
    command = click.option(
        "--domains",
        type=NameList(),
        default=",".join(DEFAULT_DOMAINS),
        show_default=True,
        envvar="TASK_RESOURCES_DOMAINS",
        metavar="D,...",
        help="The domains that a namespace's name may hold.",
    )(command)
    return click.option(
        "--namespace-template",
        default=DEFAULT_TEMPLATE,
        show_default=True,
        envvar="TASK_RESOURCES_NAMESPACE_TEMPLATE",
        metavar="T",
        help="How a namespace is named after its project and domain.",
    )(command)


def project_rule(namespace_template: str, domains: tuple[str, ...]) -> ProjectRule:
    """The rule that both options say; a wrong one is a usage error."""
    try:
        return ProjectRule(namespace_template, domains)
    except InvalidProjectRule as error:
        raise click.BadParameter(str(error), param_hint="--namespace-template or --domains") from error


def namespace_labels_option(command: F) -> F:
    """`--namespace-labels k=v,...` as `namespace_labels: dict[str, str]`."""
    return click.option(
        "--namespace-labels",
        type=Labels(),
        default="",
        metavar="K=V,...",
        help="Labels of the namespace; task-resources.io/project and task-resources.io/domain are read.",
    )(command)


def policies_or_exit(paths: Sequence[Path], *, code: int = 2, may_be_pipes: bool = True) -> PolicySet:
    """The policy set; where it cannot be used, its errors go to stderr and the program ends with `code`.

    `may_be_pipes`: whether what the shell opened, as `<(command)`, is read: not by what reads its policies again.
    """
    try:
        return load_policies(paths, may_be_pipes=may_be_pipes)
    except InvalidPolicies as error:
        for line in error.lines():
            click.echo(line, err=True)
        raise click.exceptions.Exit(code) from error


def counted(number: int, word: str, words: str = "") -> str:
    """`no files`, `1 file`, `2 files`; `words` is the plural where it is not the word with an s."""
    return f"{number or 'no'} {word if number == 1 else words or word + 's'}"
