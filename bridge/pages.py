"""Pages that a server wants a person to open: their addresses, as the person is shown them and as they are opened."""

import re
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import SplitResult, quote, urlsplit

from bridge.config.values import is_loopback
from bridge.visible import show_exactly

MAX_CHARS = 4000
"""Of an address: browsers and hosts bear no longer ones."""
_MISREAD = re.compile(r"[\x00-\x20\x7f-\x9f\\]")
"""What browsers drop or take for a slash: they would open another page than the one that was shown."""
_KEPT = "".join(sign for sign in map(chr, range(0x21, 0x7F)) if sign not in '<>"')
_NUMBER = re.compile(r"(.*\.)?(\d+|0x[0-9a-f]*)\.?", re.IGNORECASE)
"""A host that browsers take for an IP address."""


@dataclass(frozen=True)
class Page:
    """An address that may be shown to a person."""

    address: str
    """In ASCII: what is shown is what is opened."""
    host: str
    """Whom the person will be talking to, in full, with the port; a name that is not ASCII in punycode."""


def read_page(address: str, *, is_local: bool) -> Page:
    """Read an address that a server names. Raises ValueError, which ends a sentence about the address.

    `is_local`: the server runs on this machine. A server elsewhere may not have pages of this machine opened.
    """
    shown = show_exactly(address[:100])
    if len(address) > MAX_CHARS:
        raise ValueError(f"it has {len(address):,} characters, more than the {MAX_CHARS:,} that a person can look at")
    if _MISREAD.search(address) or not address.replace(" ", "").isprintable():
        raise ValueError(f"it holds a character that is not seen, or that browsers do not read as it stands: {shown}")
    try:
        parts = urlsplit(address)
        host, port = parts.hostname or "", parts.port
        name = host if host.isascii() else host.encode("idna").decode()
    except (ValueError, UnicodeError):
        raise ValueError(f"it is no address: {shown}") from None
    if "%" in parts.netloc:
        raise ValueError(f"its host is written with escapes: {shown}")
    if "@" in parts.netloc:
        raise ValueError("it holds a user name before its host, which hides the host")
    if not name or parts.scheme not in ("https", "http") or _is_odd_number(name):
        raise ValueError(f"it is no address of a web page (https://…): {shown}")
    _check_reach(parts, name, is_local=is_local)
    shown_name = f"[{name}]" if ":" in name else name
    where = shown_name if port is None else f"{shown_name}:{port}"
    rest = parts._replace(scheme=parts.scheme, netloc=where).geturl()
    return Page(quote(rest, safe=_KEPT), where)


def _check_reach(parts: SplitResult, name: str, *, is_local: bool) -> None:
    if _is_near(name):
        if not is_local:
            raise ValueError(f"it is on this machine or beside it ({name}), and the server is not")
    elif parts.scheme != "https":
        raise ValueError(f"it is not encrypted: http://{name}, where https:// would be right")


def _is_near(name: str) -> bool:
    """Tell a host that is this machine, however it is written, or the next one on its wire."""
    name = name.removesuffix(".")
    try:
        found = ip_address(name)
    except ValueError:
        return is_loopback(name) or name.endswith(".localhost")
    found = getattr(found, "ipv4_mapped", None) or found
    return found.is_loopback or found.is_unspecified or found.is_link_local


def _is_odd_number(name: str) -> bool:
    """Tell a number that browsers read as an IP address, though nobody would."""
    if not _NUMBER.fullmatch(name):
        return False
    try:
        return not ip_address(name)
    except ValueError:
        return True
