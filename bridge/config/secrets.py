"""Finds the values in a config that are secrets, by what they are called or by what they look like.

The judgement has to hold both ways: a key must not be shown, and a message that hides a path, a package or a port helps
nobody (tests/config/test_secrets.py has the commands that it was made for).
"""

import base64
import json
import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import pairwise
from urllib.parse import unquote, unquote_plus, urlsplit

from bridge.config.values import is_dummy
from bridge.json_text import Json

KEY_CHARS, KNOWN_CHARS, NAMED_CHARS, LINE_CHARS = 16, 12, 5, 16
"""The shortest value that is a secret by its looks, by the beginning that a service gives its keys, by its name alone,
and the shortest line of a secret of several, such as a private key."""

# The patterns are compiled when they are needed: most starts need few of them, and all take 10 ms.

_STRONG = (
    r"token|secret|password|passwd|passphrase|pwd|credentials?|auth|authorization|bearer|apikey|jwt|dsn|cookie|sig"
    r"|accesskey|secretkey|authtoken|accesstoken|apitoken|signature|webhook"
)
_LAST = r"pass|pat|sas|pin|keys"
"""Words that mean a secret only at the end of a name, as `key` does."""
_PUBLIC_KEYS = r"public|primary|foreign|partition|sort|group|row|range|project|issue|cache|object"
_ABOUT = (
    r"file|paths?|dir|folder|env|names?|types?|ids?|url|uri|host|var|mode|method|headers?|count|limit|length|size|ttl"
    r"|timeout|expiry|store|format|algorithm|server|issuer|endpoint|prefix|provider|region|location|version|only"
    r"|required|enabled|disabled|scopes?|column|field|port"
)
"""Last words of names that tell something about a secret, such as where it is."""
_NAME = r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+"
_ID = r"(?i)(.*[-_.])?ids?|.*Ids?"

_KNOWN = (
    r"(sk|rk|pk|pat|key|tvly|fc|gsk|xox[abprs]|ghp|gho|ghu|ghs|ghr|glpat|hf|npm|pypi|lin_api|ntn|figd|sbp|r8|whsec|shpat"
    r"|dop_v1|github_pat|NRAK|AGE-SECRET-KEY)[-_]|AKIA|ASIA|AIza|ya29\.|eyJ|SG\.|ATATT"
)
"""How services begin their keys."""
_UUID = r"(?i)[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_RUN = r"[A-Z]?[a-z]+|[A-Z]+|\d+"
_HEX = r"(?i)(?=.*\d)(?=.*[a-f])[0-9a-f]{12,}"
_DIGEST = r"(?i)(@|sha\d+[:-])([0-9a-f]{7,}|[\w+/=-]{43,88})\b"
"""A commit or a checksum: it names what is run."""

_PATH = r"(~|\.{1,2}|\$\w+|[A-Za-z]:)?[/\\]|[A-Za-z]:$|[\w@.~-]+([/\\][\w@. -]+)+\.\w{1,5}$"
_FILE = r"(?i).*[^/\\]\.(pem|key|crt|json|env|txt|ya?ml|toml|p12|pfx|js|py|sh|db|sqlite)"
_REFERENCE = r"\$\{[^}]*\}|\$\w+|%\w+%"
_SETTING = r"(?i)true|false|yes|no|on|off|\d{1,5}|[a-z]{1,7}"

_URL = r"[A-Za-z][\w+.-]*://[^\s\"'<>]+"
_ASSIGNED = r"(?s)-{0,2}([\w.-]+)=(.+)"
_HEADER = r"(?s)([\w-]+):\s*(.+)"
_PAIR = r"""([\w.-]*[A-Za-z])["']?\s*[=:]\s*(?:"([^"]*)"|'([^']*)'|([^\s"';,&]+))"""
_SCHEME = r"(?i)\b(Bearer|Basic|Token)\s+([^\s\"',;]+)"
_WORD = r"[^\s\"'`,;()\[\]{}<>]+"
_MARKS = r"(?i)[sut]|hooks?|webhooks?|services|token|secret|(api-?)?key"
"""Parts of a URL's path that a key follows."""


def names_secret(name: str) -> bool:
    """Tell whether what is called so is a secret: `API_KEY` and `--auth-token` are, `--token-file` and `max_tokens` are
    not."""
    words = [word.lower() for word in re.findall(_NAME, name)] or [""]
    before, last = words[-2] if len(words) > 1 else "", words[-1]
    if re.fullmatch(_ABOUT, last):
        return False
    if last == "key":
        return not re.fullmatch(_PUBLIC_KEYS, before)
    is_strong = any(re.fullmatch(_STRONG, word) for word in words) or (before, last) == ("connection", "string")
    return is_strong or bool(re.fullmatch(_LAST, last))


def looks_like_key(word: str) -> bool:
    """Tell whether a word has no other purpose than to be hard to guess."""
    if re.match(_KNOWN, word) and len(word) >= KNOWN_CHARS:
        return any(map(str.isdigit, word)) or len(word) >= KEY_CHARS
    if len(word) < KEY_CHARS or re.search(_DIGEST, word):
        return False
    if re.fullmatch(_UUID, word):
        return True
    pieces = re.findall(r"[A-Za-z0-9]+", word)
    odd = sum(len(piece) for piece in pieces if _is_random(piece))
    return odd >= KEY_CHARS and odd * 2 >= sum(map(len, pieces))


def _is_random(piece: str) -> bool:
    """Tell whether letters and digits alternate, or capitals and small letters, more often than in any name."""
    runs = len(re.findall(_RUN, piece))
    has_digit = any(map(str.isdigit, piece))
    if piece.isdigit() or (piece.islower() and not has_digit):
        return False
    return bool(re.fullmatch(_HEX, piece)) or len(piece) <= runs * (3.4 if has_digit else 2.2)


def find_in_args(args: Sequence[str]) -> Iterator[str]:
    """Yield the secrets in the arguments of a command."""
    for before, arg in pairwise(["", *args]):
        flag = before.lstrip("-") if before.startswith("-") and "=" not in before else ""
        if flag and names_secret(flag) and not arg.startswith("--"):
            yield from _take(arg)
        if before in ("-u", "--user", "--username"):
            yield from _take(arg.partition(":")[2])
        yield from find_in_text(arg, name=flag)


def find_in_text(text: str, *, name: str = "") -> Iterator[str]:
    """Yield the secrets in one argument, which may be a URL, a header, an assignment, JSON or a line for a shell."""
    for whole in (re.fullmatch(_ASSIGNED, text), re.fullmatch(_HEADER, text)):
        if whole and names_secret(whole[1]):
            yield from _take(whole[2])
    for match in re.finditer(_PAIR, text):
        if names_secret(match[1]):
            yield from _take(match[2] or match[3] or match[4] or "")
    for match in re.finditer(_SCHEME, text):
        yield from find_in_credential(match[0])
    for match in re.finditer(_URL, text):
        yield from find_in_url(match[0])
    yield from _find_in_json(text)
    yield from _find_keys(text, name)
    if re.search(r"\s", text):
        with suppress(ValueError):  # a quote without its other half
            words = shlex.split(text)
            yield from find_in_args(words) if words != [text] else ()


def _take(value: str) -> Iterator[str]:
    """Yield a value that is a secret by its name, unless it is a file, a reference or a setting."""
    value = value.strip("\"'")
    is_file = (re.match(_PATH, value) and not looks_like_key(value)) or re.fullmatch(_FILE, value)
    if is_file or re.fullmatch(_REFERENCE, value) or re.fullmatch(_SETTING, value) or len(value) < NAMED_CHARS:
        return
    yield value
    yield from find_in_credential(value)


def find_in_credential(value: str) -> Iterator[str]:
    """Yield the secret in `Bearer SECRET` or `Basic BASE64`, and the password in the latter."""
    kind, _, rest = value.strip().partition(" ")
    rest = rest.strip()
    if not rest or " " in rest or re.fullmatch(_SETTING, rest) or re.fullmatch(_REFERENCE, rest):
        return
    yield rest
    if kind.lower() == "basic":
        with suppress(ValueError):
            pair = base64.b64decode(rest, validate=True).decode()
            yield from (pair, pair.partition(":")[2])


def find_in_url(url: str) -> Iterator[str]:
    """Yield the secrets in a URL: in its userinfo, its path, its query and its fragment."""
    with suppress(ValueError):
        parts = urlsplit(url)
        user, has_password, password = parts.netloc.rpartition("@")[0].partition(":")
        if has_password:
            yield from (password, unquote(password), unquote(f"{user}:{password}"))
        elif looks_like_key(user) or (parts.scheme.startswith("http") and len(user) >= KNOWN_CHARS):
            yield user
        yield from find_in_path(parts.path)
        for text in (parts.query, parts.fragment):
            for pair in text.split("&"):
                name, _, value = pair.partition("=")
                if names_secret(unquote(name)) or looks_like_key(unquote(value)):
                    yield from (value, unquote(value), unquote_plus(value))


def find_in_path(path: str) -> Iterator[str]:
    """Yield the keys in the path of a URL."""
    for before, part in pairwise(path.split("/")):
        plain = unquote(part)
        is_marked = re.fullmatch(_MARKS, before) and len(plain) >= 8 and not re.fullmatch(r"[A-Z]?[a-z_-]+", plain)
        if is_marked or looks_like_key(plain):
            yield from (part, plain)


def _find_in_json(text: str) -> Iterator[str]:
    if text.lstrip()[:1] not in ("{", "["):
        return
    with suppress(ValueError, RecursionError):
        yield from _find_in_value(json.loads(text), "")


def _find_in_value(value: Json, name: str) -> Iterator[str]:
    match value:
        case str() if names_secret(name):
            yield from _take(value)
        case str():
            yield from find_in_text(value, name=name)
        case dict():
            for key, inner in value.items():
                yield from _find_in_value(inner, key)
        case list():
            for inner in value:
                yield from _find_in_value(inner, name)
        case _:
            return


def _find_keys(text: str, name: str) -> Iterator[str]:
    """Yield the words that look like keys: not in paths and URLs, nor what is called an id."""
    for word in re.findall(_WORD, re.sub(_URL, " ", text)):
        called, has_name, value = word.rpartition("=") if re.match(r"-{0,2}[\w.-]+=[^=]", word) else ("", "", word)
        is_id = re.fullmatch(_ID, called.lstrip("-") if has_name else name) and not re.match(_KNOWN, value)
        if not is_id and not re.match(_PATH, value) and looks_like_key(value):
            yield value


def find_named(name: str, value: str) -> Iterator[str]:
    """Yield a value that is a secret by its name, such as an environment variable's, and the secrets within it."""
    if names_secret(name):
        yield from _take(value)
    yield from find_in_text(value, name=name)
    yield from find_lines(value)


def holds_paths(value: str) -> bool:
    """Tell whether a value is a list of folders, as in PATH."""
    parts = value.split(":")
    return "//" not in value and all(part.startswith("/") and not looks_like_key(part) for part in parts)


def find_lines(value: str) -> Iterator[str]:
    """Yield the lines of a value that has several: others repeat them one by one."""
    lines = [line.strip() for line in value.splitlines()] if "\n" in value.strip() else []
    yield from (line for line in lines if len(line) >= LINE_CHARS and not line.startswith("-----"))


def is_short_secret(value: str) -> bool:
    """Tell whether a value is too short to be found within words, and no word itself."""
    return NAMED_CHARS <= len(value) < 8 and not value.isalpha() and not is_dummy(value) and not value.isdigit()
