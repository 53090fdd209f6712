"""`check`: probes the upstream, connects every server, and says of each fault what to do."""

import argparse
import os
import platform
import shlex
import sys
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from importlib.metadata import version
from typing import Literal, TypedDict, cast

import anyio
from rich.console import Console
from rich.text import Text

from bridge import __version__
from bridge.app import Bridge
from bridge.cli.exits import COMPLETED, FAILED
from bridge.cli.output import print_json
from bridge.cli.screen.columns import wrap
from bridge.clock import Clock
from bridge.config.load import default_file
from bridge.config.principals import DEFAULT
from bridge.config.settings import LEFT_OUT, NO_UPSTREAM, Config
from bridge.errors import ConfigError
from bridge.hub.catalogue import MAX_NAMED
from bridge.hub.hub import Hub
from bridge.hub.member import Member
from bridge.hub.transports.addresses import show_url
from bridge.json_text import Json, JsonObject
from bridge.processes.children import Child
from bridge.state import Unusable, find_state_folder
from bridge.telemetry import Redactor
from bridge.upstream.profile import name_profile
from bridge.visible import show_line, show_name

Level = Literal["ok", "warning", "error"]
MARKS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "error": ("✗", "red")}


class Finding(TypedDict):
    """The state of one checked thing, and what to do if it is not in order."""

    level: Level
    what: str
    message: str
    hint: str | None
    causes: list[str]
    """The cause of each failed attempt, where there was more than one."""


def check(options: argparse.Namespace, config: Config, redact: Redactor, children: Mapping[str, Child]) -> int:
    """Check everything and print the findings; exit code 1 if one is an error. (A wrong config has exited with 2.)"""
    findings = anyio.run(_gather, config, redact, children)
    if options.json:
        report: JsonObject = {"findings": cast("list[Json]", findings), **_describe_installation(options, config)}
        print_json(redact.clean(report))
    else:
        _print_installation(_describe_installation(options, config), redact)
        _print(findings, redact)
    sys.stdout.flush()
    return FAILED if any(finding["level"] == "error" for finding in findings) else COMPLETED


def _describe_installation(options: argparse.Namespace, config: Config) -> JsonObject:
    """Describe what runs here, and where its files are."""
    try:
        state: str | None = str(find_state_folder(os.environ))
    except Unusable:
        state = None
    paths: JsonObject = {
        "program": sys.argv[0],
        "config": str(config.path.absolute()) if config.path else None,
        "state": state,
        "log": str(options.log_file.absolute()) if options.log_file else None,
    }
    versions: JsonObject = {"bridge": __version__, "python": platform.python_version(), "mcp": version("mcp")}
    return {"version": versions | {"system": f"{platform.system()} {platform.machine()}"}, "paths": paths}


def _print_installation(installation: JsonObject, redact: Redactor) -> None:
    """Print it as lines without a mark: there is nothing to be right or wrong about it."""
    versions, paths = (cast("dict[str, str | None]", installation[key]) for key in ("version", "paths"))
    tell_absent = {
        "config": f"none; it would be {default_file(os.environ) or 'named by --config'}",
        "state": "none",
        "log": "stderr (a host keeps that in logs of its own), or --log-file FILE",
    }
    name = f"mcp-responses-bridge {versions['bridge']}"
    lines = [f"{name}, Python {versions['python']}, mcp {versions['mcp']}, {versions['system']}"]
    lines += [f"  {kind + ':':<8} {path or tell_absent[kind]}" for kind, path in paths.items()]
    sys.stdout.write("".join(f"{show_line(redact(line))}\n" for line in lines))
    sys.stdout.flush()


async def _gather(config: Config, redact: Redactor, children: Mapping[str, Child]) -> list[Finding]:
    findings = [_find("ok", "config", _describe_file(config))]
    told = [notice for notice in config.notices if notice["code"] != LEFT_OUT]
    findings += [_find("warning", "config", notice["message"]) for notice in told]
    findings += [_find("error", f"server {name}", f"left out: {why}") for name, why in config.left_out.items()]
    async with Bridge(config, environ=os.environ, redact=redact, children=children) as bridge:
        servers = [partial(_check_server, bridge.hub, member) for member in bridge.hub.members]
        findings += await _run_all(partial(_check_upstream, bridge), *servers, partial(_check_issuer, config))
        findings += _check_principals(config)
        return findings + _check_state(bridge.hub)


def _check_state(hub: Hub) -> list[Finding]:
    why = hub.unkept
    if why is None:
        return []
    from bridge.hub.review import describe_unkept

    return [
        _find("warning", "state folder", describe_unkept(why), "set MCP_RESPONSES_BRIDGE_STATE to a folder of yours")
    ]


def _describe_file(config: Config) -> str:
    if config.path is None:
        return "no file, built-in settings"
    off = f", switched off: {', '.join(config.off)}" if config.off else ""
    return f"{config.path}{'' if config.servers or config.left_out else ', no servers'}{off}"


async def _run_all(*checks: Callable[[], Awaitable[list[Finding]]]) -> list[Finding]:
    """Run all checks at once and return their findings in order.

    One after the other would be too late: a failed server is soon restarted, and its last lines of stderr are gone.
    """
    found = [list[Finding]() for _ in checks]

    async def run(index: int) -> None:
        found[index] = await checks[index]()

    async with anyio.create_task_group() as tasks:
        for index in range(len(checks)):
            tasks.start_soon(run, index)
    return [finding for findings in found for finding in findings]


async def _check_issuer(config: Config) -> list[Finding]:
    """Ask the issuer of the service's tokens for its keys."""
    if config.serve.oauth is None:
        return []
    from bridge.host.issuer.fetch import IssuerFault
    from bridge.host.issuer.keyring import fetch_keys

    issuer = config.serve.oauth.issuer
    try:
        _, keys = await fetch_keys(issuer, None, Clock())
    except IssuerFault as error:
        return [
            _find("error", "issuer", f"tokens of {issuer} cannot be checked: {error}", "look at serve.oauth.issuer")
        ]
    return [_find("ok", "issuer", f"{issuer}, {len(keys)} key{'s' if len(keys) > 1 else ''}")]


def _check_principals(config: Config) -> list[Finding]:
    """Say how many use the service under a name, and who cannot."""
    principals = config.serve.principals
    if not principals:
        return []
    from bridge.host.kept_tokens import KeptTokens
    from bridge.host.personal_tokens import find_folder

    try:
        tokens, faults = KeptTokens(find_folder(os.environ)).read()
    except (ConfigError, Unusable) as error:
        return [_find("error", "principals", str(error))]
    findings = [_find("ok", "principals", f"{len(principals)}: {', '.join(principals)}")]
    findings += [_find("error", "principals", fault) for fault in faults]
    have = {token.name for token in tokens}
    have |= {name for name, entry in principals.items() if entry.token or entry.token_sha256}
    have |= {DEFAULT} if config.serve.token else set()
    if issuer := config.serve.oauth:
        have |= principals.keys() & {*issuer.principals.values(), issuer.others}
    if missing := [name for name in principals if name not in have]:
        hint = "serve.token is that of default" if missing == [DEFAULT] else f"tokens add {missing[0]}"
        findings.append(_find("warning", "principals", f"no token: {', '.join(missing)}", hint))
    if strangers := sorted(have - principals.keys() - {DEFAULT}):
        words = f"tokens that open nothing, of names that serve.principals does not have: {', '.join(strangers)}"
        findings.append(_find("warning", "principals", words, f"tokens remove {strangers[0]}"))
    return findings


async def _check_upstream(bridge: Bridge) -> list[Finding]:
    if bridge.upstream is None:
        return [_find("error", "upstream", "none is configured", NO_UPSTREAM)]
    level, message, hint = await bridge.upstream.probe()
    known = name_profile(bridge.upstream.config)
    taken_for = f"; taken for {known}" if known and level != "error" else ""
    return [_find(level, f"upstream {bridge.upstream.config.base_url}", message + taken_for, hint)]


async def _check_server(hub: Hub, member: Member) -> list[Finding]:
    await member.settled.wait()
    what = f"server {show_name(member.key)}"
    if member.state != "ready":
        said = member.last_lines()
        finding = _find(
            "error", what, member.describe_state().removeprefix("is "), _advise(member, said=bool(said)), *said
        )
        finding["causes"] = [show_line(cause) for cause in member.list_causes()]
        return [finding]
    count = member.listing.note or f"{len(member.tools)} tools"
    signed_in = f", {who}" if (who := member.describe_sign_in()) else ""
    findings = [_find("ok", what, f"ready, {count}, MCP {member.era}{signed_in}")]
    findings += await _check_claims(hub, member)
    left_out = [tool for tool in hub.snapshot().left_out if tool.server == member.key]
    for tool in left_out[:MAX_NAMED]:
        words = f"{tool.shown} is left out: {tool.reason}"
        findings.append(_find("warning", what, words, "its author has to fix it"))
    if more := left_out[MAX_NAMED:]:
        hint = f"`tools {show_name(member.key)}` names them"
        findings.append(_find("warning", what, f"{len(more):,} more are left out", hint))
    return findings


async def _check_claims(hub: Hub, member: Member) -> list[Finding]:
    """Hold what a server claims against what was approved; nothing is pinned here."""
    what = f"server {member.key}"
    difference = await hub.find_unapproved(member.key)
    if difference is None:
        return []
    from bridge.hub.differences import describe_cause, describe_change, quote_accept

    lines = [line for change in difference.changes for line in describe_change(change)]
    hint = f"until somebody accepts it, calls are asked for: {quote_accept(member.key)}"
    return [_find("warning", what, describe_cause(difference), hint, *lines)]


def _advise(member: Member, *, said: bool) -> str | None:
    """Say what else helps; why it did not start or connect, and what would be right, is in the reason."""
    server = member.server
    by_hand = shlex.join([server.command, *server.args]) if server.command else show_url(server.url or "")
    if said:
        return f"above are the last lines that it wrote; to see all, start it by hand: {by_hand}"
    if member.state == "late":
        return f"give it longer with connect_timeout_s, or see what it waits for: {by_hand}"
    return f"start it by hand: {by_hand}" if member.has_started else None


def _find(level: Level, what: str, message: str, hint: str | None = None, *quoted: str) -> Finding:
    """Make a finding; `quoted` are lines of another program, shown below the message."""
    lines = "\n    | ".join(map(show_line, (message, *quoted)))
    return {"level": level, "what": show_line(what), "message": lines, "hint": hint and show_line(hint), "causes": []}


def _print(findings: list[Finding], redact: Redactor) -> None:
    console = Console(highlight=False, soft_wrap=True)
    for finding in findings:
        mark, style = MARKS[finding["level"]]
        message, *quoted = f"{mark} {finding['what']}: {finding['message']}".split("\n")
        _print_wrapped(console, redact(message), "    ", first="", style=style)
        for line in quoted:
            console.print(Text(redact(line), style=style))
        for cause in finding["causes"]:
            _print_wrapped(console, redact(cause), "      ", first="    · ")
        if finding["hint"]:
            _print_wrapped(console, redact(finding["hint"]), "    ", first="  → ")


def _print_wrapped(console: Console, text: str, indent: str, *, first: str, style: str = "") -> None:
    """Print a text; at a terminal, broken between words."""
    columns = console.width if sys.stdout.isatty() else sys.maxsize
    for line in wrap(text, columns, indent=indent, first=first):
        console.print(Text(line, style=style))
