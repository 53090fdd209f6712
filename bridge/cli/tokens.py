"""`tokens`: makes, lists and removes the tokens of those who use the service under a name of their own."""

import argparse
import os
import secrets
import sys
import time

from bridge.cli.exits import COMPLETED
from bridge.cli.output import print_json, print_text, tell
from bridge.config.faults import find_nearest
from bridge.config.principals import DEFAULT, hash_token
from bridge.config.settings import Config
from bridge.errors import ArgumentError, BridgeError
from bridge.host.kept_tokens import KeptToken, KeptTokens
from bridge.host.personal_tokens import find_folder
from bridge.json_text import Json
from bridge.processes.children import DEPTH
from bridge.state import Unusable

PREFIX, TOKEN_BYTES = "mrb_", 32
"""How a token begins, for those who look for lost ones, and how much of it nobody can guess."""


def keep_tokens(options: argparse.Namespace, config: Config) -> int:
    """Do what is asked of the tokens. Raises ArgumentError or BridgeError."""
    _check_words(options)
    kept = KeptTokens(find_folder(os.environ))
    try:
        if options.action == "list":
            return _list(kept, config, as_json=options.json)
        if DEPTH in os.environ:
            raise ArgumentError("tokens: refused in a process that a bridge has started; a person has to run it")
        return _add(kept, config, options.name) if options.action == "add" else _remove(kept, options.name, options.id)
    except (OSError, Unusable) as error:
        raise BridgeError(f"tokens: the state folder cannot be used: {error}") from None


def _check_words(options: argparse.Namespace) -> None:
    if options.action == "list" and options.name is not None:
        raise ArgumentError(f"tokens list: takes no name, not {options.name!r}")
    if options.action != "list" and options.name is None:
        raise ArgumentError(f"tokens {options.action}: NAME is missing; whose token is it?")
    if options.action == "add" and options.id is not None:
        raise ArgumentError(f"tokens add: takes one name, not {options.id!r} too")
    if options.action != "list" and options.json:
        raise ArgumentError("tokens: --json belongs to list")


def _add(kept: KeptTokens, config: Config, name: str) -> int:
    principals = config.serve.principals
    if name == DEFAULT:
        raise ArgumentError("tokens add: default is whoever sends serve.token; set that instead")
    if name not in principals:
        near = find_nearest(name, principals, at_least=0.6)
        hint = f"did you mean {near}?" if near else f'add "{name}": {{}} there first'
        raise ArgumentError(f"tokens add: {name!r} is not in serve.principals of the config; {hint}")
    token = PREFIX + secrets.token_urlsafe(TOKEN_BYTES)
    kept.add(KeptToken(name, hash_token(token), time.time()))
    tell(f"The token of {name}, shown this once; a service that runs takes it at once:")
    sys.stdout.write(f"{token}\n")
    return COMPLETED


def _list(kept: KeptTokens, config: Config, *, as_json: bool) -> int:
    tokens, faults = kept.read()
    for fault in faults:
        tell(fault)
    if as_json:
        shown: list[Json] = [{"name": each.name, "id": each.id, "added": each.added} for each in tokens]
        print_json(shown)
    elif not tokens and not faults:
        tell("No token has been made here; `tokens add NAME` makes one.")
    elif tokens:
        print_text("\n".join(_describe(each, config) for each in tokens))
    return COMPLETED


def _describe(token: KeptToken, config: Config) -> str:
    made = time.strftime("%Y-%m-%d %H:%M", time.localtime(token.added))
    left = "" if token.name in config.serve.principals else ", opens nothing: not in serve.principals"
    return f"{token.name}  {token.id}  made {made}{left}"


def _remove(kept: KeptTokens, name: str, token_id: str | None) -> int:
    own = [each for each in kept.read()[0] if each.name == name]
    chosen = [each for each in own if token_id in (None, each.id)]
    if not chosen:
        have = f"{name} has {', '.join(each.id for each in own)}" if own else f"{name!r} has none that was made here"
        raise ArgumentError(f"tokens remove: there is no such token; {have}")
    for each in chosen:
        kept.remove(each)
    tell(f"Removed: {', '.join(each.id for each in chosen)} of {name}. A service that runs refuses them at once.")
    return COMPLETED
