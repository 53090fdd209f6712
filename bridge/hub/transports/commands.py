"""Why a command cannot be started, in one sentence for people. Imported only when one could not be."""

import errno
import os
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from bridge.config.settings import ServerConfig
from bridge.json_text import encode

COMMAND_NOT_FOUND = "command not found"
_URL = re.compile(r"https?://", re.IGNORECASE)
_WINDOWS_PATH = re.compile(r"[A-Za-z]:[\\/]")
_VARIABLE = re.compile(r"\$(\w+)|\$\{(\w+)\}|%(\w+)%")
_QUOTES = str.maketrans({"“": '"', "”": '"', "‘": "'", "’": "'"})
_HEAD_BYTES = 256
_PATH_CHARS, _ARG_CHARS = 100, 60
_PROGRAMS = (b"\x7fELF", b"MZ", b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe", b"\xca\xfe\xba\xbe")
"""How programs begin: Linux, Windows, macOS."""
_INTERPRETERS = {".py": "python3", ".js": "node", ".mjs": "node", ".cjs": "node", ".sh": "sh", ".rb": "ruby"}
_PARTS_OF = {
    **dict.fromkeys(("node", "npx", "npm"), "Node.js"),
    **dict.fromkeys(("uv", "uvx"), "uv"),
    **dict.fromkeys(("bun", "bunx"), "Bun"),
    "docker": "Docker",
}
"""What brings a command that is missing on many machines."""
_RENAMED = {"python": "python3", "nodejs": "node"}
_USUAL_FOLDERS = (
    *("/usr/local/bin", "/opt/homebrew/bin", "/opt/local/bin", "/snap/bin", "/home/linuxbrew/.linuxbrew/bin"),
    *("~/.local/bin", "~/bin", "~/.cargo/bin", "~/.bun/bin", "~/.deno/bin", "~/.volta/bin", "~/go/bin"),
    *("~/.asdf/shims", "~/.local/share/mise/shims", "~/.pyenv/shims", "~/.nix-profile/bin"),
    *("~/.nvm/versions/node/*/bin", "~/.local/share/fnm/node-versions/*/installation/bin"),
)
"""Folders that a shell has in PATH and a desktop app has not."""


def explain_unstartable(server: ServerConfig, environ: Mapping[str, str], error: OSError) -> str:
    """Explain why the command of `server` could not be started: what is wrong, and what would be right."""
    with suppress(OSError):  # a path that the system refuses to look at
        if words := _explain(server, environ, error):
            return words
    return f'command "{server.command}" cannot be started: {_describe(error)}'


def _explain(server: ServerConfig, environ: Mapping[str, str], error: OSError) -> str | None:
    assert server.command
    home = environ.get("HOME", "")
    command, folder = server.command, Path(server.cwd or ".")
    file = folder / command if _is_path(command) else _find_file(command, server.env.get("PATH", environ.get("PATH")))
    is_missing = error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)
    return (
        _explain_folder(server.cwd, home)
        or (_explain_file(file, command, error) if file else None)
        or _explain_writing(command, home)
        or _explain_words(command, folder)
        or (_explain_absence(command, folder) if _is_path(command) else None)
        or (f"{COMMAND_NOT_FOUND}: {explain_missing(command, server, environ)}" if is_missing else None)
    )


def _find_file(name: str, path: str | None) -> Path | None:
    """Find the file that a command means, even if it is no program."""
    files = [Path(folder, name) for folder in (path or "").split(os.pathsep) if folder]
    return next(filter(_is_program, files), None) or next((file for file in files if _holds(Path.is_file, file)), None)


def explain_missing(name: str, server: ServerConfig, environ: Mapping[str, str]) -> str:
    """Explain that no folder of PATH holds the program `name`, and name the place where it is, if that is usual."""
    path, home = server.env.get("PATH", environ.get("PATH", "")), environ.get("HOME", "")
    shown = os.pathsep.join(dict.fromkeys(path.split(os.pathsep)))
    shown = shown if len(shown) <= _PATH_CHARS else f"{shown[:_PATH_CHARS]}…"
    whose = " of env" if "PATH" in server.env else f" ({shown or 'which is empty'})"
    words = f"{name} is in no folder of PATH{whose}"
    if found := find_elsewhere(name, home):
        return f'{words}; it is {found}: add "{found.parent}" to PATH in env of its entry'
    if renamed := _find_renamed(name, path):
        return f'{words}, but {renamed} is: write "{renamed}" as command'
    brought = f"install {_PARTS_OF[name]}, or " if name in _PARTS_OF else ""
    return f"{words}; {brought}give the absolute path of the command"


def find_elsewhere(name: str, home: str) -> Path | None:
    """Find a program in the folders that shells have in PATH and desktop apps have not."""
    for folder in _USUAL_FOLDERS:
        if folder.startswith("~") and not home:
            continue
        root, _, pattern = folder.replace("~", home, 1).partition("/*")
        folders = sorted(Path(root).glob(f"*{pattern}"), reverse=True) if pattern else [Path(root)]
        for found in folders:
            if _is_program(found / name):
                return found / name
    return None


def find_unexpanded(text: str, home: str) -> str | None:
    """Return how `text` must be written if it is one that only a shell expands; None if it is not."""
    if text == "~" or text.startswith("~/"):
        return home + text[1:] if home else None
    if _VARIABLE.search(text):
        return _VARIABLE.sub(lambda match: f"${{{match[1] or match[2] or match[3]}}}", text)
    return None


def _find_renamed(name: str, path: str) -> str | None:
    other = _RENAMED.get(name)
    return other if other and any(_is_program(Path(folder, other)) for folder in path.split(os.pathsep)) else None


def _is_program(file: Path) -> bool:
    return _holds(Path.is_file, file) and os.access(file, os.X_OK)


def _holds(check: Callable[[Path], bool], path: Path | str) -> bool:
    """Tell whether a check of a path holds: not where the system refuses to look."""
    with suppress(OSError):
        return check(Path(path))
    return False


def _is_path(command: str) -> bool:
    return "/" in command or os.sep in command


def _describe(error: OSError) -> str:
    return (error.strerror or "the system refuses").lower()


def _explain_folder(cwd: str | None, home: str) -> str | None:
    if cwd is None or (_holds(Path.is_dir, cwd) and os.access(cwd, os.X_OK)):
        return None
    if right := find_unexpanded(cwd, home):
        return f'cwd "{cwd}" is not expanded, as no shell is used; write "{right}"'
    if _holds(Path.is_dir, cwd):
        return f'cwd "{cwd}" may not be entered; give another folder, or permit it'
    if _holds(Path.exists, cwd):
        return f'cwd "{cwd}" is not a folder; give the folder to start the command in'
    if not Path(cwd).is_absolute():
        return f'cwd "{cwd}" does not exist in {Path.cwd()}; give an absolute path'
    return f'cwd "{cwd}" does not exist; create that folder, or give one that exists'


def _explain_writing(command: str, home: str) -> str | None:
    """Explain a command that is no name of a program by the way it is written."""
    if not command.strip():
        return "command is blank; name the program to start"
    if _URL.match(command.strip()):
        return "command is a URL; write it as url, without command"
    if right := find_unexpanded(command, home):
        return f'command "{command}" is not expanded, as no shell is used; write "{right}"'
    if _WINDOWS_PATH.match(command) and os.name != "nt":
        return f'command "{command}" is a path of Windows; give the path on this machine'
    return None


def _explain_file(file: Path, command: str, error: OSError) -> str | None:
    """Explain why a file that exists could not be executed; None if it does not exist."""
    if _holds(Path.is_dir, file):
        return f'command "{command}" is a folder; give the program in it'
    if not _holds(Path.exists, file):
        return f'command "{command}" is a link to no file; install it again' if _holds(Path.is_symlink, file) else None
    if not os.access(file, os.X_OK):
        return f'command "{command}" may not be executed: run chmod +x on it, or {_advise_interpreter(file)}'
    try:
        with file.open("rb") as opened:
            head = opened.read(_HEAD_BYTES)
    except OSError:
        head = b""
    return f'command "{command}" {_explain_head(head, file, error)}'


def _explain_head(head: bytes, file: Path, error: OSError) -> str:
    """Explain by its first bytes why a file could not be executed."""
    first = head.partition(b"\n")[0]
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR if head.startswith(b"#!"):
            if first.endswith(b"\r"):
                return "has Windows line endings, so its #! line names no interpreter: save it with LF"
            wanted = first[2:].decode("utf-8", "replace").split()
            return (
                f'cannot run: the interpreter in its #! line, "{"".join(wanted[:1])}", does not exist; '
                f"correct that line, or {_advise_interpreter(file)}"
            )
        case errno.ENOENT | errno.ENOEXEC if head.startswith(_PROGRAMS):
            return "was built for another system or processor; get the one for this machine"
        case errno.ENOEXEC if not head:
            return "is an empty file; install it again"
        case errno.ENOEXEC if head.startswith(b"\xef\xbb\xbf"):
            return "has a byte order mark before its #! line: save it as UTF-8 without one"
        case errno.ENOEXEC:
            return f"is a script without a #! line, so nothing says what runs it: {_advise_interpreter(file)}"
        case _:
            return f"cannot be started: {_describe(error)}"


def _advise_interpreter(file: Path) -> str:
    name = _INTERPRETERS.get(file.suffix)
    shown = f'"{name}"' if name else "its interpreter"
    return f"give {shown} as command and the file as the first of args"


def _explain_words(command: str, folder: Path) -> str | None:
    """Explain that a command holds its arguments, too, or quotes; None if it is one word."""
    program, args = next(_split(command, folder), ("", list[str]()))
    if not program or (program == command and not args):
        return None
    if not args:
        return f"command {encode(command)} has quotes or blanks around it; write {encode(program)}"
    shown = [f"{arg.partition('=')[0]}=…" if "=" in arg else _cut(arg) for arg in args[:3]]
    written = encode([*shown, *(["…"] if len(args) > len(shown) else [])])
    return f'command holds its arguments, too; split it into "command": {encode(program)}, "args": {written}'


def _cut(arg: str) -> str:
    return arg if len(arg) <= _ARG_CHARS else f"{arg[:_ARG_CHARS]}…"


def _split(command: str, folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield the likely splits of a command line into program and arguments, the likeliest first."""
    words = command.split()
    for count in range(len(words) - 1, 0, -1):  # a path may hold blanks
        program = " ".join(words[:count])
        if _is_path(program) and _holds(Path.is_file, folder / program):
            yield program, words[count:]
    with suppress(ValueError):  # a quote without its other half
        words = shlex.split(" ".join(command.translate(_QUOTES).split()), posix=not _WINDOWS_PATH.match(command))
    if words and (not _is_path(words[0]) or _WINDOWS_PATH.match(words[0]) or _holds(Path.exists, folder / words[0])):
        yield words[0].strip("\"'"), words[1:]


def _explain_absence(command: str, folder: Path) -> str:
    if Path(command).is_absolute():
        return f'there is no file "{command}"; correct the path in command'
    return f'there is no file "{command}" in {folder.resolve()}; give its absolute path as command, or correct cwd'
