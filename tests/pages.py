"""The commands that pages show, with what they print."""

import re
from collections.abc import Iterator


def commands(console: str) -> Iterator[tuple[str, list[str]]]:
    """Each `$ command` of a console block, continued lines joined, with the lines beneath it."""
    for part in re.split(r"^\$ ", console, flags=re.MULTILINE)[1:]:
        command, _, output = part.replace("\\\n", "").partition("\n")
        yield re.sub(r" +", " ", command), output.rstrip("\n").split("\n")


def is_shown(output: list[str], printed: str) -> bool:
    """Whether a page shows this; a line of `...` stands for any lines, `…` for any text within one."""
    return re.fullmatch("\n".join(map(_pattern, output)), printed) is not None


def _pattern(line: str) -> str:
    return "(?s:.*)" if line == "..." else re.escape(line).replace("…", ".*")
