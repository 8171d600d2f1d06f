"""The program `task-resources`: its commands, each imported when it is called, so that help and checks start fast."""

from importlib import import_module
from typing import Any

import click

from webhook import __version__

COMMANDS = {
    "serve": "Answer the API server's reviews over HTTPS.",
    "review": "Show what the webhook would change in pods, manifests and AdmissionReviews.",
    "policy": "Check policies, and ask what they come to.",
    "certs": "Make a CA and a serving certificate, or renew them.",
}


class Commands(click.Group):
    """The command NAME is the function of that name in webhook.cli.NAME."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"webhook.cli.{cmd_name}"), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's
        """Help without importing any of them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "--version", "-V", prog_name="task-resources")
def main(**_: Any) -> None:
    """A mutating admission webhook that makes every task pod obey its project's maxima."""
