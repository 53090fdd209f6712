"""A command that cannot be started: people are told what is wrong with it, where, and what would be right."""

import json
from pathlib import Path

import pytest

from tests.fakes.aloud import tell
from tests.fakes.bridges import open_bridge
from tests.fakes.items import Json
from tests.fakes.servers import rogue

pytestmark = pytest.mark.anyio

SHORT_PATH = "/usr/bin:/bin"
"""What desktop apps have."""
FILES = {
    "file": b"",
    "my app/server": b"#!/bin/sh\n",
    "server.py": b"print(1)\n",
    "empty": b"",
    "elf": b"\x7fELF\x02\x01\x01" + bytes(60),
    "server.exe": b"MZ\x90\x00" + bytes(60),
    "marked": b"\xef\xbb\xbf#!/bin/sh\n",
    "orphan": b"#!/no/such/python -S\n",
    "crlf": b"#!/bin/sh\r\necho\r\n",
    "locked": b"#!/bin/sh\n",
    "bin/orphan-of-pip": b"#!/old/venv/bin/python\n",
    "bin/locked": b"#!/bin/sh\n",
    "pa$th/locked": b"#!/bin/sh\n",
}


def write(file: Path, data: bytes) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    file.chmod(0o644 if file.name == "locked" else 0o755)
    return file


@pytest.mark.rule("REL3")
@pytest.mark.parametrize(
    ("entry", "told"),
    [
        pytest.param(
            {"command": "cat", "cwd": "{folder}/no"},
            'cwd "{folder}/no" does not exist; create that folder, or give one that exists',
            id="cwd: nicobailon/pi-mcp-adapter#442, QwenLM/qwen-code#3163",
        ),
        pytest.param(
            {"command": "cat", "cwd": "{folder}/file"},
            'cwd "{folder}/file" is not a folder; give the folder to start the command in',
            id="cwd that is a file",
        ),
        pytest.param(
            {"command": "cat", "cwd": "~/server"},
            'cwd "~/server" is not expanded, as no shell is used; write "/home/me/server"',
            id="cwd with a tilde",
        ),
        pytest.param(
            {"command": "no-such-command", "cwd": "/no/such/folder"},
            'cwd "/no/such/folder" does not exist',
            id="cwd and command",
        ),
        pytest.param(
            {"command": "~/bin/server"},
            'command "~/bin/server" is not expanded, as no shell is used; write "/home/me/bin/server"',
            id="a tilde: Science-Discovery/Aether#1082",
        ),
        pytest.param(
            {"command": "$HOME/bin/server"},
            'command "$HOME/bin/server" is not expanded, as no shell is used; write "${HOME}/bin/server"',
            id="a variable",
        ),
        pytest.param(
            {"command": "%APPDATA%\\npm\\npx.cmd"},
            "is not expanded, as no shell is used; write",
            id="a variable of Windows",
        ),
        pytest.param({"command": " \t"}, "command is blank; name the program to start", id="blank"),
        pytest.param(
            {"command": "http://localhost:3000/mcp"},
            "command is a URL; write it as url, without command",
            id="a URL",
        ),
        pytest.param(
            {"command": "npx -y @corp/server /tmp"},
            'split it into "command": "npx", "args": ["-y","@corp/server","/tmp"]',
            id="a command line: duncatzat/vigils#14",
        ),
        pytest.param({"command": "npx\t-y\u00a0x"}, '"command": "npx", "args": ["-y","x"]', id="tabs and odd blanks"),
        pytest.param(
            {"command": "uvx --from 'a b' x"}, '"args": ["--from","a b","x"]', id="a command line with quotes"
        ),
        pytest.param({"command": "uvx it's"}, '"command": "uvx", "args": ["it\'s"]', id="half a quote"),
        pytest.param(
            {"command": "npx -y x --api-key=sk-123456789 -v"},
            '"args": ["-y","x","--api-key=…","…"]',
            id="a command line with a key",
        ),
        pytest.param(
            {"command": "{folder}/my app/server --stdio"},
            '"command": "{folder}/my app/server", "args": ["--stdio"]',
            id="a path with a blank, and arguments",
        ),
        pytest.param(
            {"command": '"{folder}/my app/server"'},
            'has quotes or blanks around it; write "{folder}/my app/server"',
            id="a path in quotes",
        ),
        pytest.param({"command": "cat "}, 'has quotes or blanks around it; write "cat"', id="a blank behind"),
        pytest.param({"command": "C:\\Program Files\\nodejs\\npx.cmd"}, "is a path of Windows", id="a path of Windows"),
        pytest.param(
            {"command": "{folder}"},
            'command "{folder}" is a folder; give the program in it',
            id="a folder",
        ),
        pytest.param(
            {"command": "{folder}/locked"},
            'command "{folder}/locked" may not be executed: run chmod +x on it',
            id="no program: modelcontextprotocol/mcpb#42",
        ),
        pytest.param(
            {"command": "{folder}/server.py"},
            'is a script without a #! line, so nothing says what runs it: give "python3" as command and the file',
            id="no shebang: speakeasy-api/speakeasy#1276",
        ),
        pytest.param({"command": "{folder}/empty"}, "is an empty file", id="an empty file"),
        pytest.param(
            {"command": "{folder}/elf"},
            "was built for another system or processor",
            id="another processor",
        ),
        pytest.param(
            {"command": "{folder}/server.exe"},
            "was built for another system or processor",
            id="a program of Windows",
        ),
        pytest.param(
            {"command": "{folder}/marked"},
            "has a byte order mark before its #! line",
            id="a byte order mark",
        ),
        pytest.param(
            {"command": "{folder}/orphan"},
            'the interpreter in its #! line, "/no/such/python", does not exist',
            id="no interpreter",
        ),
        pytest.param(
            {"command": "{folder}/crlf"},
            "has Windows line endings, so its #! line names no interpreter: save it with LF",
            id="CRLF: thedotmack/claude-mem#1342",
        ),
        pytest.param(
            {"command": "./server", "cwd": "{folder}"},
            'there is no file "./server" in {folder}; give its absolute path as command, or correct cwd',
            id="a relative path: warpdotdev/warp#9239",
        ),
        pytest.param(
            {"command": "/no/such/server"},
            'there is no file "/no/such/server"; correct the path in command',
            id="an absolute path",
        ),
        pytest.param(
            {"command": "{folder}/file/server"},
            "there is no file",
            id="a path through a file",
        ),
        pytest.param(
            {"command": "npx-of-nobody"},
            "command not found: npx-of-nobody is in no folder of PATH (/usr/bin:/bin); give the absolute path",
            id="not found: aaddrick/claude-desktop-debian#79",
        ),
        pytest.param(
            {"command": "uvx"},
            "command not found: uvx is in no folder of PATH (/usr/bin:/bin); install uv, or give the absolute path",
            id="not installed: tinyhumansai/openhuman#5600",
        ),
        pytest.param(
            {"command": "cat", "env": {"PATH": "/no/such"}},
            "no folder of PATH of env",
            id="a PATH of its own",
        ),
        pytest.param(
            {"command": "orphan-of-pip", "env": {"PATH": "{folder}/bin"}},
            'command "orphan-of-pip" cannot run: the interpreter in its #! line, "/old/venv/bin/python", does not',
            id="found in PATH, without its interpreter",
        ),
        pytest.param(
            {"command": "locked", "env": {"PATH": "{folder}/bin"}},
            'command "locked" may not be executed: run chmod +x on it',
            id="found in PATH, but no program",
        ),
        pytest.param({"command": "{folder}/pa$th/locked"}, "may not be executed: run chmod +x", id="a $ that is meant"),
        pytest.param({"command": "{folder}/link"}, 'command "{folder}/link" is a link to no file', id="a dead link"),
        pytest.param({"command": "cat", "cwd": "no/such"}, 'cwd "no/such" does not exist in /', id="a relative cwd"),
        pytest.param(
            {"command": f"npx -y /srv/{'x' * 300}"}, f'"args": ["-y","/srv/{"x" * 55}…"]', id="a long command line"
        ),
        pytest.param({"command": f"/srv/{'x' * 300}"}, "there is no file", id="a long path"),
        pytest.param({"command": "cat", "env": {"PATH": ""}}, "no folder of PATH of env", id="no PATH"),
    ],
)
async def test_what_is_wrong_with_it_is_told(entry: Json, told: str, tmp_path: Path) -> None:
    for name, data in FILES.items():
        write(tmp_path / name, data)
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    entry = json.loads(json.dumps(entry).replace("{folder}", str(tmp_path)))
    words = await tell(entry, {"HOME": "/home/me", "PATH": SHORT_PATH})
    assert told.replace("{folder}", str(tmp_path)) in words
    assert ("command not found" in words) == ("PATH" in told)


@pytest.mark.parametrize(
    ("folder", "report"),
    [
        (".nvm/versions/node/v22.1.0/bin", "modelcontextprotocol/servers#64"),
        (".local/bin", "mims-harvard/ToolUniverse#36"),
        (".local/share/mise/shims", "tomaspavlin/rohlik-mcp#6"),
    ],
)
async def test_a_command_that_only_shells_find_is_found_for_people(folder: str, report: str, tmp_path: Path) -> None:
    """Desktop apps have a short PATH."""
    assert "#" in report
    file = write(tmp_path / folder / "npx-of-mine", b"#!/bin/sh\n")
    words = await tell({"command": "npx-of-mine"}, {"HOME": str(tmp_path), "PATH": SHORT_PATH})
    assert f'it is {file}: add "{file.parent}" to PATH in env of its entry' in words


async def test_what_is_called_otherwise_here_is_named(tmp_path: Path) -> None:
    write(tmp_path / "python3", b"#!/bin/sh\n")
    words = await tell({"command": "python"}, {"HOME": "/home/me", "PATH": str(tmp_path)})
    assert words.endswith('but python3 is: write "python3" as command; its tools are missing')


async def test_a_path_with_blanks_is_fine(tmp_path: Path) -> None:
    good = rogue("good")
    line = " ".join([good["command"], *good["args"]])
    file = write(tmp_path / "my app" / "a server", f"#!/bin/sh\nexec {line}\n".encode())
    async with open_bridge({"far": {"command": str(file)}}) as bridge:
        assert not (await bridge.use()).notices
