"""`task-resources policy`: what is wrong with policies, what they come to, and whether they do what is expected."""

import click

from webhook.cli.commands import Commands

COMMANDS = {
    "check": "Report every error of policies, and what is odd once they are merged.",
    "effective": "Print what policies come to for a namespace.",
    "quotas": "Print the ResourceQuotas that policies come to, or apply them.",
    "test": "Run tests of policies: pods, and what is expected of them.",
}


@click.group(cls=Commands, package="webhook.cli.policy", purposes=COMMANDS)
def policy() -> None:
    """Check and test policies, and ask what they come to."""
