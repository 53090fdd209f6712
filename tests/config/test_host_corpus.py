"""Two hundred files, each made after one that somebody really has: what is connected, and what is said of the rest."""

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from bridge.config.load import load
from bridge.config.settings import Config
from bridge.errors import ConfigError

CASES: list[dict[str, Any]] = json.loads((Path(__file__).parents[1] / "data/host_files.json").read_text("utf-8"))
HOME = "/home/me"


def place(case: dict[str, Any], home: Path) -> Path:
    """Write the file where its host has it, below this home."""
    written = str(case["path"]).replace("\\", "/")
    folder = home if written.startswith(("~", "AppData", "Library", ".config")) else home / "project"
    file = folder / written.removeprefix("~").lstrip("/").replace(":", "")
    file.parent.mkdir(parents=True, exist_ok=True)
    mark = b"\xfe\xff" if case.get("encoding") == "utf-16-be" else b""
    file.write_bytes(mark + str(case["text"]).encode(case.get("encoding", "utf-8")))
    file.chmod(0o600)
    for name, text in case.get("files", {}).items():
        beside = home / Path(name).relative_to(HOME) if name.startswith(HOME) else home / "project" / name
        beside.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(text, encoding="utf-8")
    return file


def read(case: dict[str, Any], home: Path) -> tuple[Config | None, str]:
    """What the file comes to, and all that is said of it."""
    environ = {"HOME": str(home), "USERPROFILE": str(home)}
    environ |= {name: str(value).replace(HOME, str(home)) for name, value in case.get("environ", {}).items()}
    try:
        config = load(place(case, home), environ=environ, project=case.get("project"))
    except ConfigError as error:
        return None, error.message
    return config, "\n".join([notice["message"] for notice in config.notices])


@pytest.mark.parametrize(
    "number", range(len(CASES)), ids=[f"{number} {case['host']}" for number, case in enumerate(CASES)]
)
def test_a_file_of_somebody_is_understood_or_told_in_a_sentence(number: int, tmp_path: Path) -> None:
    case = CASES[number]
    config, said = read(case, tmp_path)
    assert config or len(said.splitlines()) == 1
    servers = {server.key: server for server in config.servers} if config else {}
    assert set(servers) == set(case.get("servers", {})), said
    for key, expected in case.get("servers", {}).items():
        found = json.loads(servers[key].model_dump_json().replace(str(tmp_path), HOME))
        assert {name: found[name] for name in expected} == expected
    for key, tools in case.get("only", {}).items():
        assert set(servers[key].tools.only or ()) == set(tools)
    for key, tools in case.get("deny", {}).items():
        assert {servers[key].tools.decision(tool) for tool in tools} == {"deny"}
    if config:
        assert set(case.get("off", [])) <= set(config.off)
        assert set(case.get("left_out", [])) <= set(config.left_out)
    for words in case.get("told", []):
        assert words.lower() in said.replace(str(tmp_path), HOME).lower()
    is_bare = "{\n}" in case["text"]  # nothing in it: the defaults
    assert servers or said or (config and config.off) or is_bare, "a file without servers is never silent"


@pytest.mark.skipif(os.name != "posix", reason="one machine counts")
def test_the_corpus_is_large_and_of_many_hosts() -> None:
    assert len(CASES) >= 200
    assert len(Counter(case["host"] for case in CASES)) >= 50
    assert len({case["source"] for case in CASES}) >= 150
