"""Entries of a config file that start this program: a bridge in a bridge would never end."""

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise

from bridge.json_text import Json

PROGRAM = "mcp-responses-bridge"

_OURS = re.compile(PROGRAM + r"(\.exe)?(\[[^\]]*\])?([@=<>~!].*)?", re.IGNORECASE)
_PYTHON = re.compile(r"(python|pypy|pyw?$|pyw?\.exe$|uv)", re.IGNORECASE)
_SHELL = re.compile(r"((ba|z|da|fi)?sh|cmd|powershell|pwsh)(\.exe)?", re.IGNORECASE)


def starts_this_program(entry: Mapping[str, Json]) -> bool:
    """Tell whether the entry starts a bridge: directly, as `python -m bridge`, or through uvx, npx, a shell etc.

    A path that ends in our name is another server's argument (a clone of the repository, for example), unless it is in
    a `bin` or `Scripts` folder.
    """
    command, args = entry.get("command"), entry.get("args")
    if not isinstance(command, str):
        return False
    words = [text for text in args if isinstance(text, str)] if isinstance(args, list) else []
    if is_shell(command):
        words = [word for text in words for word in text.split()]
    return (
        bool(_OURS.fullmatch(_basename(command)))
        or any(map(_names_this_program, words))
        or _runs_module(command, words)
    )


def is_installed(entry: Mapping[str, Json]) -> bool:
    """Tell whether the entry is one that `install` may have written: it serves, by our command or through a launcher.

    Stricter than `starts_this_program`: what it tells may be replaced and taken out, so a mere word is not enough.
    """
    command, args = entry.get("command"), entry.get("args")
    if not isinstance(command, str):
        return False
    words = [command, *(text for text in args if isinstance(text, str))] if isinstance(args, list) else [command]
    if is_shell(command):
        words = [word for text in words for word in text.split()]
    named = any(_names_this_program(word) and following == "serve" for word, following in pairwise(words))
    run = any(trio == ("-m", "bridge", "serve") for trio in zip(words, words[1:], words[2:], strict=False))
    return bool(_OURS.fullmatch(_basename(command))) or named or run


def is_shell(command: Json) -> bool:
    """Tell whether a command is a shell, whose arguments are a script."""
    return isinstance(command, str) and bool(_SHELL.fullmatch(_basename(command)))


def _basename(path: str) -> str:
    return re.split(r"[/\\]", path)[-1]


def _names_this_program(word: str) -> bool:
    *folders, name = re.split(r"[/\\]", word)
    return bool(_OURS.fullmatch(name)) and (not folders or folders[-1] in ("bin", "Scripts"))


def _runs_module(command: str, words: Sequence[str]) -> bool:
    if not any(_PYTHON.match(_basename(word)) for word in (command, *words)):
        return False
    return "-mbridge" in words or ("-m", "bridge") in pairwise(words)
