"""Tables as text, for people."""

from collections.abc import Sequence


def aligned(rows: Sequence[Sequence[str]], *, margin: str = "") -> list[str]:
    """Lines with two spaces between the columns, and the margin before them; never cut, whatever a terminal's width.

    A row of one cell is a remark that no column makes room for.
    """
    widths = [max(map(len, column)) for column in zip(*(row for row in rows if len(row) > 1), strict=True)]
    return [margin + "  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
