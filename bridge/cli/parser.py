"""The commands and their options.

The standard library's parser is enough for a handful of commands, and takes a tenth of the time of typer.
"""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from typing_extensions import override

from bridge import __version__

if TYPE_CHECKING:
    Commands: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]

PROGRAM = "mcp-responses-bridge"
DESCRIPTIONS = {
    "serve": "Be an MCP server with the tool `respond`. Hosts start it so; over HTTP it is a service for many of them.",
    "ask": "Ask the model once, with your servers' tools. The answer goes to stdout, all else to stderr.",
    "init": "Write a config file to begin with, and say where it is. A file that is there is left as it is.",
    "demo": "Watch one whole run of an example: four tools are called at once, by the model or, where none is "
    "configured, by the embedded upstream.",
    "tools": "Show each server with its state, and each of its tools as the model sees it, with its cost in tokens.",
    "check": "Check the upstream and every server, and say what to do; show the version and where the files are.",
    "login": "Sign in to a server that wants it, in the browser. That is kept in the state folder, and renewed.",
    "logout": "Forget the sign-in to a server.",
    "runs": "Look back at runs that are kept: the newest ones, one of them with its turns and calls in time, and what "
    "is going on now. A run whose process has ended can be taken up.",
    "tokens": "Make, list and remove the tokens of those who use the service under a name of their own.",
    "config": "Print the entry to paste into a host, and say where.",
    "install": "Write our entry into a host's file, after showing the change. Everything else there stays.",
    "import": "Copy a host's servers into our config, without their secrets; what would be written is shown first. "
    "--move also takes them out of the host's file: the bridge is then its only server.",
    "uninstall": "Take our entry out of a host's file. The file is then as it was before, if nobody has changed it "
    "since.",
    "offline": "Serve the embedded upstream on a loopback port: a Responses endpoint without a model.",
}
RUN_ACTIONS = {
    "show": "its turns and calls as bars in time, and its answer",
    "follow": "what it does, until it ends",
    "approve": "show each call of it that waits for your yes, and let it run (ID CALL: this one alone)",
    "deny": "show each call of it that waits for your yes, and refuse it",
    "cancel": "end it, whoever drives it",
    "resume": "take it up here, if no process drives it, and print its answer",
    "export": "all that is kept of it, as JSON",
    "forget": "delete it",
}
"""Actions of `runs`, each on the run of an ID, in words for people."""
TOKEN_ACTIONS = {
    "add": "make a token of NAME, and print it this once; its hash is kept",
    "list": "show who has which",
    "remove": "remove all tokens of NAME; they open nothing from then on",
}
"""Actions of `tokens`, in words for people."""
HOSTS = (
    "claude-desktop",
    "claude-code",
    "cursor",
    "vscode",
    "codex",
    "gemini-cli",
    "windsurf",
    "zed",
    "opencode",
    "copilot-cli",
)
"""The hosts whose files are written, as `bridge.hosts.known` has them; most starts do without that."""


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of all commands."""
    parser = _MainParser(
        PROGRAM, description="Any model behind POST /v1/responses as one MCP tool, with your MCP servers as its tools."
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=argparse.ArgumentParser)
    common, quiet = _build_common("warning"), _build_common("error")
    upstream = argparse.ArgumentParser(add_help=False)
    upstream.add_argument("--offline", action="store_true", help="use the embedded rule-based upstream: no key needed")
    _add_serve(commands, common, upstream)
    _add_ask(commands, common, upstream)
    _add_init(commands)
    commands.add_parser("demo", parents=[common, upstream], help="watch one whole run of an example")
    _add_tools(commands, quiet)
    _add_check(commands, quiet)
    _add_sign_in(commands, quiet)
    _add_runs(commands, quiet, upstream)
    _add_tokens(commands, quiet)
    _add_hosts(commands, common)
    _add_offline(commands)
    for name, command in commands.choices.items():
        command.description = DESCRIPTIONS[name]
        known = [option for action in command._actions for option in action.option_strings]
        command.set_defaults(
            known=known, refuse=command.error, again=command.parse_known_intermixed_args
        )  # the main parser would show its own usage
    return parser


def _add_serve(commands: "Commands", *parents: argparse.ArgumentParser) -> None:
    serve = commands.add_parser("serve", parents=parents, help="be an MCP server, for a host to start")
    transports = ["stdio", "http", "sse"]
    serve.add_argument("--transport", choices=transports, default="stdio", help="http and sse are one service")
    serve.add_argument("--host", help="the address to listen on; default: 127.0.0.1")
    serve.add_argument("--port", type=_read_port, help="the port to listen on; default: 8787")
    serve.add_argument("--record", type=Path, metavar="FOLDER", help="record each run in a file of its own there")
    serve.add_argument("--no-auth", action="store_true", help="no token, on a loopback address only")


def _add_ask(commands: "Commands", *parents: argparse.ArgumentParser) -> None:
    ask = commands.add_parser("ask", parents=parents, help="ask the model once, from the terminal")
    ask.add_argument("prompt", metavar="PROMPT", nargs="*", help="what to ask; - reads it from stdin")
    ask.add_argument("--model", help="the model to ask instead of the configured one")
    ask.add_argument("--json", action="store_true", help="print the whole result as JSON")
    ask.add_argument(
        "--yes", action="store_true", help="let every tool run, also those that the config says to ask about"
    )
    ask.add_argument(
        "--images", type=Path, metavar="FOLDER", help="save images of tools there; default: a new temporary folder"
    )
    earlier = ask.add_mutually_exclusive_group()
    earlier.add_argument("--continue", "-c", dest="goes_on", action="store_true", help="go on from your last answer")
    earlier.add_argument("--run", metavar="ID", help="go on from this run, which `runs` lists")
    earlier.add_argument("--previous", metavar="ID", help="continue after this response")
    modes = ask.add_mutually_exclusive_group()
    modes.add_argument(
        "--dry-run", action="store_true", help="print the first request as it would be sent, and send nothing"
    )
    modes.add_argument("--record", type=Path, metavar="FILE", help="record the run in a new file")
    modes.add_argument("--replay", type=Path, metavar="FILE", help="run a recording again, with no servers or network")


def _add_init(commands: "Commands") -> None:
    init = commands.add_parser("init", help="write a config file to begin with, and say where it is")
    init.add_argument("--config", type=Path, metavar="FILE", help="where to write it instead")


def _add_tools(commands: "Commands", *parents: argparse.ArgumentParser) -> None:
    tools = commands.add_parser("tools", parents=parents, help="show each server, and each tool as the model sees it")
    tools.add_argument(
        "name",
        metavar="NAME",
        nargs="?",
        help="one tool: all that the model reads of it, what was changed, and why; or a server: its tools",
    )
    tools.add_argument(
        "server",
        metavar="SERVER",
        nargs="?",
        help="after accept instead of NAME: show what this server's tools claim now and did not before, and accept it",
    )
    tools.add_argument("--json", action="store_true", help="print it as JSON")
    tools.add_argument("--search", type=_read_words, metavar="WORDS", help="show which tools the model would find")


def _add_check(commands: "Commands", *parents: argparse.ArgumentParser) -> None:
    check = commands.add_parser(
        "check", parents=parents, help="check the upstream and every server, and say what to do"
    )
    check.add_argument("--json", action="store_true", help="print it as JSON")
    check.add_argument(
        "--live", action="store_true", help="try what the real endpoint supports; costs a few cents at most"
    )
    check.add_argument("--yes", action="store_true", help="with --live: run it, after the cost is printed")
    check.add_argument(
        "--record", type=Path, metavar="FILE", help="with --live: the recording; default: live-check.jsonl"
    )


def _add_sign_in(commands: "Commands", *parents: argparse.ArgumentParser) -> None:
    login = commands.add_parser("login", parents=parents, help="sign in to a server that wants it, in the browser")
    login.add_argument("server", metavar="SERVER", help="the server, by its name in the config")
    login.add_argument(
        "--no-browser",
        action="store_true",
        help="print the address, and take the one that it ends at, as over ssh",
    )
    logout = commands.add_parser("logout", parents=parents, help="forget the sign-in to a server")
    logout.add_argument("server", metavar="SERVER", help="the server, by its name in the config")


def _add_runs(commands: "Commands", *parents: argparse.ArgumentParser) -> None:
    runs = commands.add_parser("runs", parents=parents, help="look back at runs, go on with one, or forget them")
    actions = "; ".join(f"{name}: {words}" for name, words in RUN_ACTIONS.items())
    runs.add_argument(
        "action", metavar="ACTION", nargs="?", choices=RUN_ACTIONS, help=f"none: the newest ones. {actions}"
    )
    runs.add_argument("ids", metavar="ID", nargs="*", help="a run; as much of its id as no other begins with")
    forms = runs.add_mutually_exclusive_group()
    forms.add_argument("--json", action="store_true", help="print it as JSON, times in seconds since 1970")
    forms.add_argument("--html", metavar="FILE", help="with show: write it as a page into a new file; - is stdout")
    runs.add_argument("--limit", type=_read_count, default=20, metavar="N", help="how many are listed; default: 20")
    runs.add_argument("--all", action="store_true", help="with forget: all runs, but for those that go on")
    runs.add_argument("--yes", action="store_true", help="forget without a question; resume, and let every tool run")


def _add_tokens(commands: "Commands", *parents: argparse.ArgumentParser) -> None:
    tokens = commands.add_parser("tokens", parents=parents, help="make, list and remove tokens of the service's users")
    actions = "; ".join(f"{name}: {words}" for name, words in TOKEN_ACTIONS.items())
    tokens.add_argument("action", metavar="ACTION", choices=TOKEN_ACTIONS, help=actions)
    tokens.add_argument("name", metavar="NAME", nargs="?", help="one of serve.principals")
    tokens.add_argument("id", metavar="ID", nargs="?", help="with remove: this one alone, as list shows it")
    tokens.add_argument("--json", action="store_true", help="with list: print it as JSON, times in seconds since 1970")


def _add_hosts(commands: "Commands", common: argparse.ArgumentParser) -> None:
    """Add the commands about the files of hosts."""
    config = commands.add_parser("config", parents=[common], help="print the entry to paste into a host")
    config.add_argument("host", metavar="HOST", help=f"one of: {', '.join(HOSTS)}, goose, continue, librechat")
    install = commands.add_parser("install", help="write the entry into a host's file, after showing the change")
    _add_host_options(install, printing="print what to paste, and write nothing")
    install.add_argument("--config", type=Path, metavar="FILE", help="the config file that the host is to use")
    uninstall = commands.add_parser("uninstall", help="take the entry out again; the file is as it was before")
    _add_host_options(uninstall, printing="show what would be written, and write nothing")
    imports = commands.add_parser("import", help="copy a host's servers into our config, after showing the change")
    _add_host_options(imports, printing="show what would be written, and write nothing")
    imports.add_argument("--config", type=Path, metavar="FILE", help="our config file, which gets the servers")
    ways = imports.add_mutually_exclusive_group()
    ways.add_argument(
        "--move", action="store_true", help="take the servers out of the host's file; their secrets stay there"
    )
    ways.add_argument("--undo", action="store_true", help="take all imports from this host back")
    imports.set_defaults(log_level="error", log_file=None)


def _add_host_options(command: argparse.ArgumentParser, printing: str) -> None:
    """Add the options of a command that changes the file of a host; `printing` says what `--print` does."""
    command.add_argument("host", metavar="HOST", help=f"one of: {', '.join(HOSTS)}")
    command.add_argument(
        "--project",
        type=Path,
        metavar="FOLDER",
        nargs="?",
        const=Path(),
        help="the file of a project instead of the user's; default: the working directory",
    )
    command.add_argument("--yes", action="store_true", help="do not ask")
    command.add_argument("--print", action="store_true", help=printing)


def _add_offline(commands: "Commands") -> None:
    offline = commands.add_parser("offline", help="serve the embedded upstream on a loopback port")
    offline.add_argument("--host", default="127.0.0.1", help="default: %(default)s")
    offline.add_argument("--port", type=_read_port, default=8788, help="default: %(default)s")


class _MainParser(argparse.ArgumentParser):
    """The parser whose help also says where the config file is looked for."""

    @override
    def format_help(self) -> str:
        from bridge.config.load import default_file  # late: most starts print no help

        place = default_file(os.environ)
        self.epilog = f"The config file: --config, else MCP_RESPONSES_BRIDGE_CONFIG, else {place}." if place else None
        return super().format_help()


def _read_words(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("WORDS: nothing to search for; it is empty")
    return text


def _read_count(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= 1_000_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a count; one is a number from 1 to 1,000,000")
    return int(text)


def _read_port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port; one is a number from 0 to 65535")
    return int(text)


def _build_common(level: str) -> argparse.ArgumentParser:
    """Build the options that most commands share; the default log `level` is "error" for commands that print every
    fault themselves."""
    parser = argparse.ArgumentParser(add_help=False)
    common = parser.add_argument_group("options of most commands")
    common.add_argument("--config", type=Path, metavar="FILE", help="the config file")
    common.add_argument("--project", metavar="FOLDER", help="with ~/.claude.json: take this project's servers, too")
    levels = ["debug", "info", "warning", "error"]
    common.add_argument(
        "--log-level",
        choices=levels,
        default=level,
        metavar="LEVEL",
        help=f"{', '.join(levels)}; default: %(default)s",
    )
    common.add_argument("--log-file", type=Path, metavar="FILE", help="write the log there instead of to stderr")
    return parser
