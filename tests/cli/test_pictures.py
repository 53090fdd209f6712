"""`ask` and the pictures of tools: saved under new names, and said where."""

import base64
import json
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import pytest

from tests.fakes.commands import Done, run
from tests.fakes.servers import PIXEL
from tests.fakes.upstream import Reply, Request, ScriptedUpstream, call, message, responds

pytestmark = pytest.mark.anyio

SERVER = f"""
import json, sys
images = [dict(type="image", mimeType="image/png", data=data) for data in ["{PIXEL}", "aGVsbG8=", "/9j/AAAA"]]
about = dict(protocolVersion="2025-11-25", capabilities=dict(tools=dict()), serverInfo=dict(name="p", version="1"))
answers = dict([
    ("initialize", about),
    ("tools/list", dict(tools=[dict(name="../draw it", inputSchema=dict(type="object"))])),
    ("tools/call", dict(content=images)),
])
for line in sys.stdin:
    request = json.loads(line)
    if "id" in request:
        known = answers.get(request["method"])
        end = dict(result=known) if known else dict(error=dict(code=-32601, message="no"))
        print(json.dumps(dict(jsonrpc="2.0", id=request["id"], **end)), flush=True)
"""
PNG, JPEG = base64.b64decode(PIXEL), b"\xff\xd8\xff\0\0\0"

Ask = Callable[..., Awaitable[Done]]


@pytest.fixture
def ask(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Has the model draw, with these further options, in a working directory of its own."""
    for name in ("here", "temporary"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setenv("OPENAI_MODEL", "m")
    (tmp_path / "paint.py").write_text(SERVER, encoding="utf-8")
    paint = {
        "command": sys.executable,
        "args": ["-S", "-E", str(tmp_path / "paint.py")],
        "tools": {"allow": ["*"]},
        "pin": False,
    }

    async def draw(*options: str, **limits: int) -> Done:
        config = {"mcpServers": {"paint": paint}, "builtin_tools": False, "limits": limits}
        (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
        async with ScriptedUpstream(use_the_tool) as upstream:
            monkeypatch.setenv("OPENAI_BASE_URL", upstream.base_url)
            return await run(capfd, "ask", "draw", "--config", str(tmp_path / "config.json"), *options)

    return draw


def use_the_tool(request: Request) -> Reply:
    [name] = [tool["name"] for tool in request.json["tools"] if tool["name"].startswith("paint__")]
    return responds(message("Done.")) if len(request.json["input"]) > 1 else responds(call(name))


def find_paths(stderr: str) -> list[Path]:
    return [Path(line.removeprefix("image: ")) for line in stderr.splitlines() if line.startswith("image: ")]


async def test_pictures_are_saved_in_a_new_folder_and_their_paths_are_on_stderr(ask: Ask, tmp_path: Path) -> None:
    done = await ask()
    assert (done.code, done.stdout) == (0, "Done.\n")
    png, jpeg = find_paths(done.stderr)
    assert (png.read_bytes(), jpeg.read_bytes()) == (PNG, JPEG)
    assert (png.name, jpeg.name) == ("1--draw-it.png", "2--draw-it.jpg"), "the type is that of the bytes"
    assert png.parent.parent == tmp_path / "temporary"
    assert png.parent.stat().st_mode & 0o077 == 0 or sys.platform == "win32", "for nobody else"
    assert list((tmp_path / "here").iterdir()) == []
    assert "not shown, it is not a PNG, JPEG, WebP or GIF" in done.stderr


async def test_each_run_takes_another_folder_and_nothing_is_overwritten_in_one_that_is_named(
    ask: Ask, tmp_path: Path
) -> None:
    assert find_paths((await ask()).stderr)[0] != find_paths((await ask()).stderr)[0]
    named = tmp_path / "here" / "new" / "pictures"
    for _ in range(2):
        await ask("--images", "new/pictures")
    assert sorted(file.name for file in named.iterdir()) == [
        *("1--draw-it-2.png", "1--draw-it.png", "2--draw-it-2.jpg", "2--draw-it.jpg")
    ]


async def test_the_json_names_the_files_and_has_no_bytes(ask: Ask) -> None:
    done = await ask("--json")
    [png, jpeg] = json.loads(done.stdout)["images"]
    assert png == {"server": "paint", "tool": "../draw it", "type": "image/png", "bytes": 68, "path": png["path"]}
    assert (jpeg["type"], jpeg["bytes"]) == ("image/jpeg", 6)
    assert find_paths(done.stderr) == [Path(image["path"]) for image in (png, jpeg)]
    assert PIXEL not in done.stdout


async def test_a_folder_that_cannot_be_made_is_one_sentence_and_the_answer_is_there(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "here" / "file").touch()
    done = await ask("--images", "file")
    assert (done.code, done.stdout) == (0, "Done.\n")
    assert done.stderr.splitlines()[-1] == f"images: 2 of 2 cannot be saved: File exists: {tmp_path / 'here' / 'file'}"


async def test_with_result_images_0_nothing_is_saved(ask: Ask, tmp_path: Path) -> None:
    done = await ask("--json", result_images=0)
    assert "images" not in json.loads(done.stdout)
    assert list((tmp_path / "temporary").iterdir()) == []


async def test_the_bounds_of_a_result_are_not_those_of_a_disk(ask: Ask) -> None:
    assert len(find_paths((await ask(result_images=1, result_image_bytes=1)).stderr)) == 2


@pytest.mark.external
async def test_a_run_without_pictures_imports_nothing_for_them() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "bridge", "ask", "What is 2 + 3?", "--offline"]
    done = await anyio.run_process(command)
    assert b"bridge.run.receipt" in done.stderr
    assert b"bridge.run.pictures" not in done.stderr
    assert b"bridge.cli.pictures" not in done.stderr
