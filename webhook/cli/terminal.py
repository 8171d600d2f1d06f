"""Results for people: in colours where they are wanted, never cut to a terminal's width."""

from typing import Literal

import click
from rich.console import Console

Color = Literal["auto", "always", "never"]

color_option = click.option(
    "--color", type=click.Choice(["auto", "always", "never"]), default="auto", show_default=True
)


def console(color: Color) -> Console:
    """Writes to stdout; `auto` is colours on a terminal."""
    return Console(
        highlight=False,
        soft_wrap=True,
        force_terminal={"always": True, "never": False}.get(color),
        no_color={"always": False, "never": True}.get(color),
    )
