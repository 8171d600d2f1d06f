"""The program `task-resources`: its commands, each imported when it is called."""

from typing import Any

import click

from webhook import __version__
from webhook.cli.commands import Commands

COMMANDS = {
    "serve": "Answer the API server's reviews over HTTPS.",
    "review": "Show what the webhook would change in pods, manifests and AdmissionReviews.",
    "policy": "Check and test policies, and ask what they come to.",
    "probe": "Ask a running webhook as the API server would.",
    "certs": "Make a CA and a serving certificate, or renew them.",
}


@click.group(
    cls=Commands,
    package="webhook.cli",
    purposes=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, "--version", "-V", prog_name="task-resources")
def main(**_: Any) -> None:
    """A mutating admission webhook that makes every task pod obey its project's maxima."""
