"""Others' text on its way into a message: one line of a bounded length, and nothing for a terminal to do."""

# Enough to recognise a name or a value by.
SHOWN_CHARACTERS = 80
# A container's name is a label of DNS.
LONGEST_CONTAINER_NAME = 63


def shown(text: object, longest: int = SHOWN_CHARACTERS) -> str:
    """The text with ? for each control character, cut to so many characters; what is cut ends with …."""
    words = text if isinstance(text, str) else str(text)
    if len(words) <= longest and words.isprintable():
        return words
    cut = words if len(words) <= longest else f"{words[: longest - 1]}…"
    return cut if cut.isprintable() else "".join(character if character.isprintable() else "?" for character in cut)
