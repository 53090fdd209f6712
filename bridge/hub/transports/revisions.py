"""What a server says of protocol revisions when it refuses the one that it was asked for."""

import re
from collections.abc import Iterator, Sequence

from mcp import MCPError
from mcp_types import UNSUPPORTED_PROTOCOL_VERSION
from mcp_types.version import KNOWN_PROTOCOL_VERSIONS
from pydantic import ValidationError

_PROTOCOL = re.compile(r"(protocol|mcp)\W{0,2}(version|revision)|(version|revision)\b.{0,40}\bprotocol", re.I)
_VERSION = re.compile(
    r"(unsupported|incompatible|unknown|invalid) version|version \S{0,16} ?(is )?(not |un)supp|version mism", re.I
)
"""What says in an error that it is about the revision, without the word protocol."""
_DATE = re.compile(r"(?<![\d.-])20\d\d-\d\d-\d\d(?!\d)")
_ASKED = re.compile(r"unsupported|requested|received|client|actual", re.I)
"""Keys of what was asked for, beside what is spoken."""


def read_refusals(errors: Sequence[BaseException], last_words: str = "") -> list[str] | None:
    """Return the revisions that the errors, or the last words of a process, name: maybe also the one that they refuse.

    None if they are about something else.
    """
    found = [*map(_read, errors), _read_words(last_words)]
    return next((named for named in found if named is not None), None)


def find_older(asked: str) -> list[str]:
    """Return the revisions before `asked`, the newest first: for a server that does not name its own."""
    index = KNOWN_PROTOCOL_VERSIONS.index(asked) if asked in KNOWN_PROTOCOL_VERSIONS else 0
    return [*reversed(KNOWN_PROTOCOL_VERSIONS[:index])]


def find_spoken(named: Sequence[str]) -> list[str]:
    """Return those of `named` that we speak, the newest first."""
    return [revision for revision in reversed(KNOWN_PROTOCOL_VERSIONS) if revision in named]


def advise_setting(named: Sequence[str], said: str) -> str:
    """Complete what a refusal `said`, for people: which revisions they can set, those that are `named` or any."""
    spoken = sorted(find_spoken(named))
    *others, last = spoken or KNOWN_PROTOCOL_VERSIONS
    unsaid = [revision for revision in named if revision not in said]
    words = f"{said}; it names {', '.join(unsaid)}" if unsaid and not spoken else said
    return f'{words}; its setting "protocol" can be {", ".join(others)}{" or " if others else ""}{last}'


def _read(error: BaseException) -> list[str] | None:
    match error:
        case MCPError(code=code, message=message):
            is_meant = code == UNSUPPORTED_PROTOCOL_VERSION or bool(_VERSION.search(message))
            return _read_words(message, error.error.data, is_meant=is_meant)
        case RuntimeError():  # the SDK's, about the revision that the server answered with: one of several, perhaps
            named = _read_words(str(error))
            return named and find_spoken(named)
        case ValidationError() if any(fault["loc"][:1] == ("protocolVersion",) for fault in error.errors()):
            return []
        case _:
            return None


def _read_words(words: str, data: object = None, *, is_meant: bool = False) -> list[str] | None:
    named = list(dict.fromkeys([*_find_dates(data), *_DATE.findall(words)]))
    return named if is_meant or _PROTOCOL.search(words) or find_spoken(named) else None


def _find_dates(data: object) -> Iterator[str]:
    match data:
        case dict():
            for key, value in data.items():
                if not _ASKED.search(str(key)):
                    yield from _DATE.findall(str(key))
                    yield from _find_dates(value)
        case list():
            for value in data:
                yield from _find_dates(value)
        case str():
            yield from _DATE.findall(data)
        case _:
            pass
