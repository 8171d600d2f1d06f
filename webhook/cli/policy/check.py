"""`task-resources policy check`: every error of policies, and what is odd once they are merged (P4)."""

from pathlib import Path

import click

from webhook.cli.options import counted, project_options, project_rule
from webhook.policy_oddities import oddities
from webhook.sources.policy_files import InvalidPolicies, load_policies


@click.command()
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(path_type=Path))
@project_options
def check(paths: tuple[Path, ...], namespace_template: str, domains: tuple[str, ...]) -> None:
    """Report every error of policy files and folders, and what is odd once they are merged.

    Exits with 1 when there are errors; warnings are none.
    """
    rule = project_rule(namespace_template, domains)
    try:
        policies = load_policies(paths, may_be_pipes=True)
    except InvalidPolicies as error:
        for line in error.lines():
            click.echo(line)
        files = len({problem.file for problem in error.errors})
        click.echo(f"\n{counted(len(error.errors) + error.more, 'error')} in {counted(files, 'file')}")
        raise click.exceptions.Exit(1) from error
    found = oddities(policies, rule)
    for oddity in found:
        click.echo(oddity)
    files = len({document.file for document in policies.documents})
    of_files = f"{counted(len(policies.documents), 'policy', 'policies')} in {counted(files, 'file')}"
    click.echo(f"{of_files}: no errors, {counted(len(found), 'warning')} (policy set {policies.hash})")
