"""Prints for the commands: sentences and answers that are safe for people to look at, and JSON for programs."""

import sys

from bridge.json_text import Json, encode
from bridge.visible import show_exactly, show_line, show_prose


def tell(line: str) -> None:
    """Print a line on stderr."""
    sys.stderr.write(show_line(line) + "\n")


def print_text(text: str) -> None:
    """Print a text of many lines on stdout."""
    sys.stdout.write(show_prose(text) + "\n")
    sys.stdout.flush()


def print_json(value: Json) -> None:
    """Print a value on stdout as JSON on one line; what would act on a terminal is written as JSON's escape of it."""
    sys.stdout.write(show_exactly(encode(value)) + "\n")
    sys.stdout.flush()
