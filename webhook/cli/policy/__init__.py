"""`task-resources policy`: what is wrong with policies, what they come to, and whether they do what is expected."""

import click

from webhook.cli.policy.check import check
from webhook.cli.policy.effective import effective
from webhook.cli.policy.quotas import quotas


@click.group()
def policy() -> None:
    """Check policies, test them, and ask what they come to."""


for command in (check, effective, quotas):
    policy.add_command(command)
