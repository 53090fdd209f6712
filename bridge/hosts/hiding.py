"""The secrets of an entry, hidden: references stand in their places, and they stay in the host's file."""

import re
from collections.abc import Collection, Iterable

from bridge.config.places import Entry
from bridge.config.secrets import find_in_args, find_in_credential, find_in_url, find_named, names_secret
from bridge.hosts.secret_names import Secret, name_secret
from bridge.json_text import Json

_PLAIN_HEADERS = re.compile(r"(?i)accept(-.*)?|content-type|user-agent|mcp-protocol-version")
_SETTING = re.compile(r"(?i)true|false|\d{1,5}|[a-z]{1,7}")
_SCHEME = re.compile(r"(?i)bearer|basic|token|bot|api-?key")
_MODES = r"true|false|yes|no|on|off|none|null|auto|oauth2?|basic|bearer|digest|jwt|sso|api-?key|\d"
"""What follows `--auth` and is no secret."""
_WORD = re.compile(rf"(?i)(?!(?:{_MODES})$)[^\s/\\.-][^\s/\\]*")
_REFERENCE = r"\$\{[^}]*\}"
_NOTHING = r"(?!)"
_OTHERS = re.compile(r"\$([A-Za-z_]\w*)|\{env:(\w+)\}")


class Hiding:
    """Hides the secrets of one entry; after a move also what its host fills in, which is what `filled_in` matches.

    Without it the host fills in nothing: of its `texts`, those that look like references of ours stay with it, too.
    """

    def __init__(self, server: str, filled_in: str | None, moves: bool, texts: Collection[str] = ()) -> None:
        self.kept: dict[str, Secret] = {}
        self._server = server
        self._texts = texts
        self._filled_in = filled_in or _NOTHING
        self._references = re.compile(f"{_REFERENCE}|{self._filled_in}")
        self._moves = moves

    def hide(self, values: Entry) -> None:
        """Put references in place of the secrets of an entry in our shape."""
        for section, prefix in (("env", ""), ("headers", "HEADER_")):
            if isinstance(named := values.get(section), dict):
                values[section] = {
                    name: self._hide_named(value, name, f"{prefix}{name}", f"{section}.{name}", is_header=bool(prefix))
                    for name, value in named.items()
                }
        args = values.get("args")
        if isinstance(args, list):
            texts = [self._strip(arg) if isinstance(arg, str) else "" for arg in args]
            secrets = set(find_in_args(texts))
            values["args"] = [
                self._hide(arg, secrets | _find_short(before, text), f"ARG_{index + 1}", f"args[{index}]")
                for index, (arg, before, text) in enumerate(zip(args, ["", *texts], texts, strict=False))
            ]
        for key in ("command", "url", "cwd", "envFile"):
            text = self._strip(value) if isinstance(value := values.get(key), str) else ""
            found = find_in_url(text) if key == "url" else find_in_args(text.split()) if key == "command" else ()
            if key in values:
                values[key] = self._hide(values[key], set(found), key.upper(), key)

    def _hide_named(self, value: Json, name: str, key: str, place: str, *, is_header: bool) -> Json:
        """Hide the secrets in a variable or a header; of a header, whatever is not known to be none."""
        if not isinstance(value, str):
            return value
        key = key.upper().replace("-", "_") if is_header else key
        if value in self._texts:
            return self._keep(value, key, place)
        text = self._strip(value)
        secrets = set(find_named(name, text)) | _find_short(name, text)
        if is_header:
            secrets |= set(find_in_credential(text))
            is_plain = _PLAIN_HEADERS.fullmatch(name) or _SETTING.fullmatch(text)
            secrets |= {text} if (names_secret(name) and len(text) > 7) or not is_plain else set()
        if text == value.strip():
            return self._keep(value, key, place) if any(secrets) else value
        secrets -= {text} if _SCHEME.fullmatch(text) else set()
        return self._hide(value, secrets, key, place)

    def _hide(self, value: Json, secrets: Iterable[str], key: str, place: str) -> Json:
        if not isinstance(value, str):
            return value
        if value in self._texts:
            return self._keep(value, key, place)
        wanted = sorted(filter(None, secrets), key=len, reverse=True)
        pattern = "|".join([f"(?P<filled>{self._filled_in})", *map(re.escape, wanted)])

        def replace(match: re.Match[str]) -> str:
            if match["filled"] and not self._moves:
                other = _OTHERS.fullmatch(match[0])
                return f"${{env:{other[1] or other[2]}}}" if other else match[0]
            return self._keep(match[0], key, place, is_reference=bool(match["filled"]))

        return re.sub(pattern, replace, value)

    def _strip(self, value: str) -> str:
        return self._references.sub("", value).strip()

    def _keep(self, value: str, key: str, place: str, *, is_reference: bool = False) -> str:
        """Note what stays in the host's file; return the reference to it."""
        number = 1
        while True:
            name = name_secret(self._server, key if number == 1 else f"{key}_{number}")
            secret = self.kept.setdefault(name, Secret(place, value, is_reference))
            if secret.place == place and secret.value == value:
                return f"${{env:{name}}}"
            number += 1


def _find_short(name: str, value: str) -> set[str]:
    """Find the password that is a word, or a few digits: too short to be looked for in a log, but nobody else's."""
    if name.startswith("-") and "=" in name:
        return set()
    called, equals, rest = value.partition("=")
    name, value = (called, rest) if equals and called.startswith("-") else (name, value)
    return {value} if names_secret(name.lstrip("-")) and _WORD.fullmatch(value) else set()
