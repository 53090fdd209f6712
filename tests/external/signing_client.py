"""Our side of the conformance suite's scenarios for authorization: the suite starts this program with a server's URL.

It does what a person would: signs in with `login` and a browser that goes where it is led, has a run call the server's
tool, and signs in again where the run says so, once. The rest is the bridge's.
"""

import json
import os
import shlex
import sys
import tempfile
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import anyio.to_thread

from bridge.cli.main import main as run_command
from tests.fakes import person
from tests.fakes.bridges import Outcome, open_bridge
from tests.fakes.items import Json, call

DOCUMENT = "https://conformance-test.local/client-metadata.json"
"""The client ID that the suite expects of a client that has a metadata document."""
SIGN_INS = 2


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


async def sign_in(server: Json) -> int:
    """The exit code of `login`."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "config.json")
        file.write_text(json.dumps({"mcpServers": {"s": server}}), encoding="utf-8")
        file.chmod(0o600)
        return await anyio.to_thread.run_sync(run_command, ["login", "s", "--config", str(file)])


async def use(server: Json) -> Outcome:
    async with open_bridge({"s": server}) as bridge:
        return await bridge.use(call("s__test-tool", {}))


async def main(url: str) -> int:
    context = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT") or "{}")
    server = describe_server(url, os.environ["MCP_CONFORMANCE_SCENARIO"], context)
    for _ in range(SIGN_INS):
        outcome = await use(server)
        said = [*outcome.notices, *map(str, outcome.outputs)]
        print("run:", *said, sep="\n  ", file=sys.stderr)
        if "test" in outcome.outputs:
            return 0
        if not any("login s" in text for text in said):
            return 1
        if code := await sign_in(server):
            return code
    outcome = await use(server)
    print("run:", *outcome.notices, *outcome.outputs, sep="\n  ", file=sys.stderr)
    return 0 if "test" in outcome.outputs else 1


if __name__ == "__main__":
    os.environ["BROWSER"] = f"{shlex.quote(sys.executable)} {shlex.quote(person.__file__)} %s"
    with tempfile.TemporaryDirectory() as home:
        os.environ["MCP_RESPONSES_BRIDGE_STATE"] = f"{home}/state"
        raise SystemExit(anyio.run(main, sys.argv[1]))
