"""The command line: which command runs, and what becomes of its errors.

Each command imports its modules only when it runs, because a host pays the start-up time of `serve` every time.
"""

import argparse
import os
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from bridge.cli.exits import COMPLETED, FAILED, INTERRUPTED, USAGE
from bridge.cli.output import tell
from bridge.cli.parser import DESCRIPTIONS, PROGRAM, build_parser
from bridge.errors import ArgumentError, BridgeError, ConfigError, NotConfigured
from bridge.processes.own_stdio import drop_output, prepare_streams
from bridge.visible import show_line

if TYPE_CHECKING:
    from bridge.config.settings import Config
    from bridge.telemetry import Redactor

WITHOUT_OUTPUT = ("serve", "offline")
"""Commands that print nothing on stdout."""


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
    if any(
        not word.startswith("-") for word in unknown
    ):  # a word behind an option: argparse wants to be asked for that
        command = options.command
        options, unknown = options.again(words[words.index(command) + 1 :])
        options.command = command
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
        case "runs" if options.action in ("approve", "deny"):
            return _answer(options)
        case "runs":
            return _look_back(options)
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
    if options.command == "install":
        from bridge.cli.install import install

        return install(options)
    from bridge.cli.uninstall import uninstall

    return uninstall(options)


def _look_back(options: argparse.Namespace) -> int:
    from bridge.cli.setup import booting, check_upstream, set_up

    config, redact = set_up(options)
    from bridge.cli.runs import check_words, look_back

    check_words(options)
    if options.action != "resume":
        return look_back(options, config, redact)
    from bridge.cli.kept import find_resumable

    run_id = find_resumable(options.ids[0], config)
    check_upstream(config)
    with booting(config.servers) as children:
        from bridge.cli.resume import resume
    return resume(options, config, redact, children, run_id)


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


def _sign_in_or_out(options: argparse.Namespace, config: "Config", redact: "Redactor") -> int:
    if options.command == "logout":
        from bridge.cli.logout import logout

        sys.stdout.write(logout(options.server, config) + "\n")
        return COMPLETED
    from bridge.cli.setup import find_server

    server = find_server(config, options.server)
    from bridge.cli.login import login

    return login(options, config.model_copy(update={"servers": (server,)}), redact)


def _answer(options: argparse.Namespace) -> int:
    from bridge.cli.setup import check_attended, set_up

    check_attended(os.environ, f"runs {options.action}", "what it answers")
    config, redact = set_up(options)
    from bridge.cli.approvals import answer
    from bridge.cli.runs import check_words

    check_words(options)
    return answer(options, config, redact)


def _run_configured(options: argparse.Namespace) -> int:
    """Run a command that takes a while to import: faults are reported first, and the servers boot meanwhile."""
    from bridge.cli.setup import booting, build_arguments, focus, set_up

    config, redact = set_up(options)
    match options.command:
        case "login" | "logout":
            return _sign_in_or_out(options, config, redact)
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
