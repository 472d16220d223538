"""Texts out of files and answers, made fit to be shown."""


def printable(text: str, most: int = 80) -> str:
    """A text out of a file, fit for a terminal and a log: no escape sequences, not endless."""
    shown = ascii(text[: most + 1])[1:-1]
    return shown if len(text) <= most else f"{shown}..."
