"""`import HOST`, with `--move` and `--undo`, as commands on real files of all hosts, with real servers."""

import json
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters, types

from bridge.config.file import parse
from bridge.config.load import load
from bridge.questions import YES
from tests.fakes.upstream import Reply, ScriptedUpstream, call, message, responds
from tests.hosts.host_homes import KEY, SAMPLES, TEAM, WORD, Home

pytestmark = [pytest.mark.anyio, pytest.mark.external]
SECRETS = (KEY, WORD)


@pytest.fixture(params=sorted(SAMPLES))
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Home:
    return Home(tmp_path / "home", request.param)


def assert_secrets_are_theirs_alone(home: Home, printed: str) -> None:
    """No secret is on the terminal, nor in a file that is not the host's own or its copy of before."""
    for secret in SECRETS:
        assert secret not in printed
        holders = [name for name, data in home.files().items() if secret.encode() in data]
        assert all(name.startswith(SAMPLES[home.host].path) for name in holders), holders


async def ask_for_environment(home: Home, base_url: str, name: str) -> tuple[str, Any]:
    """Play the host: start our entry as its file says, and have the model look at a moved server's environment."""

    async def agree(context: object, params: types.ElicitRequestParams) -> types.ElicitResult:  # noqa: ARG001
        return types.ElicitResult(action="accept", content={"answer": YES})

    own = next(key for key in home.read_theirs() if key.endswith(("responses", "bridge")))
    command, args, env = home.start_of(own, TEAM=TEAM, TEAM_NAME=TEAM)
    env |= {"OPENAI_BASE_URL": base_url, "OPENAI_MODEL": "m"}
    server = StdioServerParameters(command=command, args=args, env=env, cwd=str(home.folder))
    async with Client(server, elicitation_callback=agree) as client:
        listed = await client.list_tools()
        result = await client.call_tool("respond", {"input": f"Look at {name}"})
    assert result.structured_content
    return str(listed.tools[0].description), result.structured_content


def without_memories(home: Home) -> dict[str, bytes]:
    """All files, but for what the bridge remembers of its runs and of the tools in them."""
    return {name: data for name, data in home.files().items() if "/pins/" not in name and "/runs/" not in name}


@pytest.mark.rule("S36")
async def test_after_a_move_the_bridge_that_the_host_starts_has_its_servers_with_their_secrets(home: Home) -> None:
    home.write()
    before, mode = home.files(), home.theirs.stat().st_mode
    moved = home.run("import", home.host, "--move", "--yes", TEAM=TEAM, TEAM_NAME=TEAM)
    assert moved.returncode == 0, moved.stderr
    assert_secrets_are_theirs_alone(home, moved.stdout + moved.stderr)
    assert set(home.read_theirs()) == {"responses", SAMPLES[home.host].off}
    script: list[Reply] = [
        responds(call("git_hub__environment", {}), call("team__environment", {})),
        responds(message("done")),
    ]
    async with ScriptedUpstream(script) as upstream:
        _, result = await ask_for_environment(home, upstream.base_url, "both")
        assert result["status"] == "completed", result
        names = [tool["name"] for tool in upstream.requests[0].json["tools"]]
        outputs = [item["output"] for item in upstream.requests[1].json["input"] if "output" in item]
    assert {"git_hub__environment", "team__environment"} <= set(names)
    assert ("git_hub__add" in names) == (home.host != "codex")  # whose file shows one tool of it
    git_hub, team = (json.loads(output) for output in outputs)
    assert (git_hub["API_TOKEN"], git_hub["REGION"]) == (KEY, "cn")
    assert team["TEAM_NAME"] == TEAM
    assert not [name for name in git_hub if name.startswith("MRB_")]
    undone = home.run("import", home.host, "--undo", "--yes")
    assert undone.returncode == 0, undone.stderr
    assert_secrets_are_theirs_alone(home, undone.stdout + undone.stderr)
    assert (without_memories(home), home.theirs.stat().st_mode) == (before, mode)


async def test_a_copy_leaves_the_hosts_file_alone_and_says_which_server_needs_what(home: Home) -> None:
    data = home.write()
    home.ours.parent.mkdir(parents=True)
    home.ours.write_text('{\n  // mine\n  "limits": {"max_turns": 5}, // few\n}\n', encoding="utf-8")
    before = home.files()
    copied = home.run("import", home.host, "--yes", TEAM=TEAM)
    assert copied.returncode == 0, copied.stderr
    assert home.theirs.read_bytes() == data
    assert_secrets_are_theirs_alone(home, copied.stdout + copied.stderr)
    assert home.ours.read_text(encoding="utf-8").startswith('{\n  // mine\n  "limits": {"max_turns": 5}, // few\n')
    assert "MRB_GIT_HUB__API_TOKEN" in copied.stdout
    assert "idle: stays there: it is switched off" in copied.stdout
    environ = {**home.environ(TEAM=TEAM, TEAM_NAME=TEAM), **list_needed(home)}
    config = load(home.ours, environ=environ)
    servers = {server.key: server for server in config.servers}
    assert servers["git hub"].env == {"API_TOKEN": KEY, "REGION": "cn"}
    assert servers["git hub"].args[-1] == WORD
    assert servers["team"].env == {"TEAM_NAME": TEAM}
    undone = home.run("import", home.host, "--undo", "--yes")
    assert undone.returncode == 0, undone.stderr
    assert home.files() == before


def list_needed(home: Home) -> dict[str, str]:
    """The variables that our config asks for, with the values that stand in the host's file."""
    entry: Any = parse(home.ours.read_text(encoding="utf-8"))["mcpServers"]
    references = (entry["git hub"]["env"]["API_TOKEN"], entry["git hub"]["args"][-1])
    names = [text.removeprefix("${env:").removesuffix("}") for text in references]
    return dict(zip(names, SECRETS, strict=True))
