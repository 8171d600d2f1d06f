"""Groups of commands, each imported when it is called, so that help and checks start fast."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click


class Commands(click.Group):
    """The command NAME is the function of that name in PACKAGE.NAME; `purposes` says what each is for."""

    def __init__(self, *arguments: Any, package: str, purposes: Mapping[str, str], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.package, self.purposes = package, purposes

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(self.purposes)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's
        if cmd_name not in self.purposes:
            return None
        command: click.Command = getattr(import_module(f"{self.package}.{cmd_name}"), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's
        """Help without importing any of them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self.purposes.items()))
