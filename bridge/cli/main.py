"""The command line: its commands and their options.

Each command imports its modules only when it runs, because a host pays the start-up time of `serve` every time. The
standard library's parser is enough for a handful of commands, and takes a tenth of the time of typer.
"""

import argparse
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from typing_extensions import override

from bridge import __version__
from bridge.cli.exits import FAILED, INTERRUPTED, USAGE
from bridge.cli.output import tell
from bridge.errors import ArgumentError, BridgeError, ConfigError, NotConfigured
from bridge.processes.own_stdio import drop_output, prepare_streams
from bridge.visible import show_line

PROGRAM = "mcp-responses-bridge"
WITHOUT_OUTPUT = ("serve", "offline")
"""Commands that print nothing on stdout."""
DESCRIPTIONS = {
    "serve": "Be an MCP server with the tool `respond`. Hosts start it so; over HTTP it is a service for many of them.",
    "ask": "Ask the model once, with your servers' tools. The answer goes to stdout, all else to stderr.",
    "init": "Write a config file to begin with, and say where it is. A file that is there is left as it is.",
    "demo": "Watch one whole run of an example: four tools are called at once, by the model or, where none is "
    "configured, by the embedded upstream.",
    "tools": "Show each server with its state, and each of its tools as the model sees it, with its cost in tokens.",
    "check": "Check the upstream and every server, and say what to do; show the version and where the files are.",
    "config": "Print the entry to paste into a host, and say where.",
    "install": "Write our entry into a host's file, after showing the change. Everything else there stays.",
    "import": "Copy a host's servers into the config, without their secrets, after showing it. --move leaves the "
    "host the bridge alone.",
    "uninstall": "Undo that: to the byte where nobody has changed the file since, else our entry alone.",
    "offline": "Serve the embedded upstream on a loopback port: a Responses endpoint without a model.",
}
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


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code, one of `bridge.cli.exits`."""
    closed = prepare_streams()
    try:
        try:
            return _run_parsed(argv, closed)
        finally:
            sys.stdout.flush()
    except (ConfigError, NotConfigured, ArgumentError) as error:
        return _complain(error.message, USAGE)
    except BridgeError as error:
        return _complain(error.message, FAILED)
    except BrokenPipeError:
        drop_output()  # whoever read the output has seen enough
        return FAILED
    except OSError as error:
        drop_output()
        return _complain(f"the output cannot be written: {error.strerror or error}", FAILED)
    except KeyboardInterrupt:
        return INTERRUPTED


def _run_parsed(argv: Sequence[str] | None, closed: Sequence[str]) -> int:
    parser = build_parser()
    words = sys.argv[1:] if argv is None else argv
    if words and not words[0].startswith("-") and words[0] not in DESCRIPTIONS:
        parser.error(show_line(f"{words[0]!r} is no command{_find_near(words[0], DESCRIPTIONS)}"))
    options, unknown = parser.parse_known_args(argv)
    if options.command is None:
        parser.print_help(sys.stderr)
        return USAGE
    if unknown:
        near = _find_near(unknown[0], options.known) if unknown[0].startswith("--") else ""
        options.refuse(show_line(f"unrecognized arguments: {' '.join(unknown)}{near}"))
    options.closed = closed
    if "stdout" in closed and options.command not in WITHOUT_OUTPUT:
        raise OSError("stdout is closed")
    return _run(options)


def _find_near(word: str, known: Iterable[str]) -> str:
    """Say which word was meant, if one is near."""
    from difflib import get_close_matches

    near = get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _complain(message: str, code: int) -> int:
    tell(f"{PROGRAM}: {message}")
    return code


def _run(options: argparse.Namespace) -> int:
    match options.command:
        case "serve":
            from bridge.cli.serve import serve

            return serve(options)
        case "config" | "install" | "uninstall" | "import":
            return _change_host(options)
        case "init":
            from bridge.cli.init import write_config

            return write_config(options.config)
        case "offline":
            from bridge.cli.offline import serve_offline

            return serve_offline(options)
        case "ask" if options.replay:
            from bridge.cli.replay import replay

            return replay(options)
        case "tools" if options.server is not None:
            return _accept(options)
        case "check" if not options.live and (options.yes or options.record):
            raise ArgumentError("check: --yes and --record belong to --live")
        case _:
            return _run_configured(options)


def _change_host(options: argparse.Namespace) -> int:
    """Run a command about the file of a host."""
    if options.command == "config":
        from bridge.cli.entries import print_entry

        return print_entry(options.host, options.config)
    if options.command == "import":
        from bridge.cli.imports import import_servers

        return import_servers(options)
    if options.command == "install" or options.print:
        from bridge.cli.install import install

        return install(options)
    from bridge.cli.uninstall import uninstall

    return uninstall(options)


def _accept(options: argparse.Namespace) -> int:
    from bridge.cli.setup import booting, check_attended, find_server, set_up

    if options.name != "accept":
        raise ArgumentError(f"tools: {options.name!r} and then {options.server!r}; it is one NAME, or accept SERVER")
    check_attended(os.environ)
    config, redact = set_up(options)
    server = find_server(config, options.server)
    with booting([server]) as children:
        from bridge.cli.accept import accept
    return accept(config.model_copy(update={"servers": (server,), "builtin_tools": False}), redact, children)


def _run_configured(options: argparse.Namespace) -> int:
    """Run a command that takes a while to import: faults are reported first, and the servers boot meanwhile."""
    from bridge.cli.setup import booting, build_arguments, focus, set_up

    config, redact = set_up(options)
    match options.command:
        case "demo":
            from bridge.cli.language import choose_words, describe_start
            from bridge.config.settings import EMBEDDED

            tell(describe_start(choose_words(os.environ), config.upstream or EMBEDDED))
            with booting(()):  # the bridge that it starts will start the servers
                from bridge.cli.demo import demo
            return demo(options, config)
        case "tools":
            config = focus(config, options.name)
            with booting(config.servers) as children:
                from bridge.cli.details import show_tool
                from bridge.cli.search import search_tools
                from bridge.cli.tools import show_tools
            show = show_tool if options.name else show_tools if options.search is None else search_tools
            return show(options, config, redact, children)
        case "check" if options.live:
            from bridge.cli.live_check import check_live

            return check_live(options, config, redact)
        case "check":
            with booting(config.servers) as children:
                from bridge.cli.check import check
            return check(options, config, redact, children)
        case "ask":
            arguments = build_arguments(options, config)
            with booting(config.servers) as children:
                from bridge.cli.ask import ask
                from bridge.cli.dry_run import show_request
            if options.dry_run:
                return show_request(config, redact, children, arguments)
            return ask(options, config, redact, children, arguments)
        case unknown:
            raise AssertionError(f"the parser accepts {unknown}, but nothing runs it")


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

    serve = commands.add_parser("serve", parents=[common, upstream], help="be an MCP server, for a host to start")
    transports = ["stdio", "http", "sse"]
    serve.add_argument("--transport", choices=transports, default="stdio", help="http and sse are one service")
    serve.add_argument("--host", help="the address to listen on; default: 127.0.0.1")
    serve.add_argument("--port", type=_read_port, help="the port to listen on; default: 8787")
    serve.add_argument("--no-auth", action="store_true", help="no token, on a loopback address only")

    ask = commands.add_parser("ask", parents=[common, upstream], help="ask the model once, from the terminal")
    ask.add_argument("prompt", metavar="PROMPT", nargs="*", help="what to ask; - reads it from stdin")
    ask.add_argument("--model", help="the model to ask instead of the configured one")
    ask.add_argument("--json", action="store_true", help="print the whole result as JSON")
    ask.add_argument(
        "--yes", action="store_true", help="let every tool run, also those that the config says to ask about"
    )
    ask.add_argument(
        "--images", type=Path, metavar="FOLDER", help="save images of tools there; default: a new temporary folder"
    )
    ask.add_argument("--previous", metavar="ID", help="continue after this response")
    modes = ask.add_mutually_exclusive_group()
    modes.add_argument(
        "--dry-run", action="store_true", help="print the first request as it would be sent, and send nothing"
    )
    modes.add_argument("--record", type=Path, metavar="FILE", help="record the run in a new file")
    modes.add_argument("--replay", type=Path, metavar="FILE", help="run a recording again, with no servers or network")

    init = commands.add_parser("init", help="write a config file to begin with, and say where it is")
    init.add_argument("--config", type=Path, metavar="FILE", help="where to write it instead")
    commands.add_parser("demo", parents=[common, upstream], help="watch one whole run of an example")
    tools = commands.add_parser("tools", parents=[quiet], help="show each server, and each tool as the model sees it")
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
    check = commands.add_parser(
        "check", parents=[quiet], help="check the upstream and every server, and say what to do"
    )
    check.add_argument("--json", action="store_true", help="print it as JSON")
    check.add_argument(
        "--live", action="store_true", help="try what the real endpoint supports; costs a few cents at most"
    )
    check.add_argument("--yes", action="store_true", help="with --live: run it, after the cost is printed")
    check.add_argument(
        "--record", type=Path, metavar="FILE", help="with --live: the recording; default: live-check.jsonl"
    )
    config = commands.add_parser("config", parents=[common], help="print the entry to paste into a host")
    config.add_argument("host", metavar="HOST", help=f"one of: {', '.join(HOSTS)}, goose, continue, librechat")
    _add_host_command(commands.add_parser("install", help="write the entry into a host's file, after showing it"))
    _add_host_command(commands.add_parser("uninstall", help="undo that, to the byte where nobody has changed the file"))
    imports = commands.add_parser("import", help="copy a host's servers into the config, after showing it")
    _add_host_command(imports, printing="show what would be written, and write nothing")
    ways = imports.add_mutually_exclusive_group()
    ways.add_argument("--move", action="store_true", help="leave the host the bridge alone, and the secrets")
    ways.add_argument("--undo", action="store_true", help="take all imports from this host back")
    imports.set_defaults(log_level="error", log_file=None)
    offline = commands.add_parser("offline", help="serve the embedded upstream on a loopback port")
    offline.add_argument("--host", default="127.0.0.1", help="default: %(default)s")
    offline.add_argument("--port", type=_read_port, default=8788, help="default: %(default)s")
    for name, command in commands.choices.items():
        command.description = DESCRIPTIONS[name]
        known = [option for action in command._actions for option in action.option_strings]
        command.set_defaults(known=known, refuse=command.error)  # the main parser would show its own usage
    return parser


def _add_host_command(
    command: argparse.ArgumentParser, printing: str = "print what to paste, and write nothing"
) -> None:
    """Add the options of a command that changes the file of a host."""
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
    command.add_argument("--config", type=Path, metavar="FILE", help="the config file that the host is to use")


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
