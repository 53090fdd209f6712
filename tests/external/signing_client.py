"""Our side of the conformance suite's scenarios for authorization: the suite starts this program with a server's URL.

It does what a person would: signs in with `login` and a browser that goes where it is led, has a run call the server's
tool, and signs in again where the run says so, once. The rest is the bridge's.
"""

import json
import os
import sys
import tempfile
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import anyio.to_thread

from bridge.cli.main import main as run_command
from tests.fakes.bridges import open_bridge
from tests.fakes.items import Json, call
from tests.fakes.person import name_browser

DOCUMENT = "https://conformance-test.local/client-metadata.json"
"""The client ID that the suite expects of a client that has a metadata document."""
SIGN_INS, TRIES = 2, 4
PATIENCE_S = 50


def describe_server(url: str, scenario: str, context: Json) -> Json:
    """The server's entry in the config file, with what a person would have been told of it by other ways."""
    oauth = {name: context[name] for name in ("client_id", "client_secret", "issuer") if name in context}
    if "client-credentials" in scenario:
        oauth |= {"grant": "client_credentials", "issuer": find_issuer(url)}
    if scenario == "auth/basic-cimd":
        oauth["client_id"] = DOCUMENT
    return {"url": url, "require_approval": "never", "pin": False} | ({"oauth": oauth} if oauth else {})


def find_issuer(url: str) -> str:
    parts = urlsplit(url)
    place = f"{parts.scheme}://{parts.netloc}/.well-known/oauth-protected-resource{parts.path}"
    with urllib.request.urlopen(place, timeout=10) as reply:
        return str(json.load(reply)["authorization_servers"][0])


def sign_in(server: Json) -> int:
    """The exit code of `login`."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "config.json")
        file.write_text(json.dumps({"mcpServers": {"s": server}}), encoding="utf-8")
        file.chmod(0o600)
        return run_command(["login", "s", "--config", str(file)])


async def use(server: Json) -> str:
    """What a run that calls the tool is told."""
    async with open_bridge({"s": server}, limits={"connect_timeout_s": PATIENCE_S}) as bridge:
        outcome = await bridge.use(call("s__test-tool", {}))
    said = [*map(str, outcome.outputs), *outcome.notices]
    sys.stderr.write("\n  ".join(["run:", *said, ""]))
    return said[0] if said[0] == "test" else "\n".join(said)


async def main(url: str) -> int:
    context = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT") or "{}")
    server = describe_server(url, os.environ["MCP_CONFORMANCE_SCENARIO"], context)
    sign_ins = 0
    for _ in range(TRIES):
        if (told := await use(server)) == "test":
            return 0
        if any(words in told for words in ("login s", "needs sign-in")):
            sign_ins += 1
            if sign_ins > SIGN_INS or await anyio.to_thread.run_sync(sign_in, server):
                break
    return 1


if __name__ == "__main__":
    os.environ["BROWSER"] = name_browser()
    with tempfile.TemporaryDirectory() as home:
        os.environ["MCP_RESPONSES_BRIDGE_STATE"] = f"{home}/state"
        raise SystemExit(anyio.run(main, sys.argv[1]))
