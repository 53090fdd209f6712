"""`login SERVER`: a person signs in to a server in the browser, on this machine or on another one."""

import argparse
import os
import sys

import anyio

from bridge.cli.exits import COMPLETED
from bridge.cli.screen.terminal import read_line
from bridge.clock import Clock
from bridge.config.settings import Config, ServerConfig
from bridge.errors import BridgeError, SignInFailed
from bridge.hub.sign_in.browser import open_browser
from bridge.hub.sign_in.kept import SignedIn, open_folder
from bridge.hub.sign_in.person import PERSON_S, sign_in
from bridge.state import Unusable
from bridge.telemetry import Redactor
from bridge.visible import show_line, show_name


def login(options: argparse.Namespace, config: Config, redact: Redactor) -> int:
    """Sign in to the one server of this config. Raises SignInFailed in one sentence."""
    [server] = config.servers
    clock = Clock()
    try:
        signed_in = anyio.run(_sign_in, server, redact, clock, not options.no_browser)
    except Unusable as error:
        raise SignInFailed(f"login: nothing can be kept: {error}") from None
    except SignInFailed as error:
        raise SignInFailed(show_line(redact(f"login: {error.message}"))) from None
    if isinstance(signed_in, BridgeError):
        raise signed_in
    _print(show_line(f"{show_name(server.key)}: {signed_in.describe(clock.time())}."))
    return COMPLETED


async def _sign_in(server: ServerConfig, redact: Redactor, clock: Clock, opens: bool) -> SignedIn:
    async def show(url: str) -> None:
        is_open = opens and await open_browser(url, os.environ)
        _print(_say_where(server, url, is_open=is_open, takes_paste=takes_paste))

    async def complain(fault: str) -> None:
        _print(f"{fault[0].upper()}{fault[1:]}. Paste it again:")

    takes_paste = sys.stdin is not None and (not opens or sys.stdin.isatty())
    paste = _read_address if takes_paste else None
    folder = open_folder(os.environ)
    return await sign_in(server, folder, show, clock=clock, redact=redact, paste=paste, complain=complain)


def _say_where(server: ServerConfig, url: str, *, is_open: bool, takes_paste: bool) -> str:
    """Say which address to open, and what to do with the one that it ends at."""
    opened = "The browser was opened at this address" if is_open else "Open this address in a browser"
    lines = [f"{opened}, to sign in to {show_name(server.key)}:", "", show_line(url), ""]
    if takes_paste:
        lines.append(
            "If the browser is on another machine, it ends at a page that it cannot show: paste its address here:"
        )
    else:
        lines.append(f"Waiting until it comes back here by itself, for {PERSON_S / 60:g} minutes at most.")
    return "\n".join(lines)


async def _read_address() -> str:
    line = await read_line()
    if not line:  # stdin has ended; the browser may still come back by itself
        await anyio.sleep_forever()
    return line


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
