"""Text that anybody may have written, as far as it is shown in messages, records and log lines."""

# A container's name is a label of DNS, of at most 63 characters.
LONGEST_CONTAINER_NAME = 63


def shown(text: str, most: int = 80) -> str:
    """The text in one printable line of at most `most` characters; "…" stands for what was cut off.

    It is cut first: the work does not grow with what is not shown.
    """
    if len(text) > most:
        text = f"{text[: most - 1]}…"
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)
