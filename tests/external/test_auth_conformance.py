"""The official conformance suite's scenarios of authorization, with our side as the client that it starts.

`signing_client.py` is that client: `login`, then a run.
"""

import json
import shlex
import sys
from pathlib import Path

import pytest

from tests.external import signing_client
from tests.external.conftest import RunNode

pytestmark = [pytest.mark.anyio, pytest.mark.external]

BOTH = ("2025-11-25", "2026-07-28")
OF_BOTH = (
    "metadata-default",
    "metadata-var1",
    "metadata-var2",
    "metadata-var3",
    "basic-cimd",
    "scope-from-www-authenticate",
    "scope-from-scopes-supported",
    "scope-omitted-when-undefined",
    "scope-step-up",
    "scope-retry-limit",
    "token-endpoint-auth-basic",
    "token-endpoint-auth-post",
    "token-endpoint-auth-none",
    "pre-registration",
)
OF_THE_LATEST = (
    "resource-mismatch",
    "offline-access-scope",
    "offline-access-not-supported",
    "authorization-server-migration",
    "iss-supported",
    "iss-not-advertised",
    "iss-supported-missing",
    "iss-wrong-issuer",
    "iss-unexpected",
    "iss-normalized",
    "metadata-issuer-mismatch",
)
OF_OLD = ("2025-03-26-oauth-metadata-backcompat", "2025-03-26-oauth-endpoint-fallback")
EXTENSIONS = ("client-credentials-basic",)

SCENARIOS = [
    *((scenario, revision) for scenario in OF_BOTH for revision in BOTH),
    *((scenario, BOTH[1]) for scenario in (*OF_THE_LATEST, *EXTENSIONS)),
    *((scenario, "2025-03-26") for scenario in OF_OLD),
]

NOT_OURS = {
    "client-credentials-jwt": "a client is known by its secret, not by a key of its own",
    "enterprise-managed-authorization": "an extension for an identity provider that signs people in to servers",
    "wif-jwt-bearer": "an extension for workloads with an identity of their platform",
    "dpop": "an extension: tokens that are bound to a key",
    "dpop-nonce": "an extension: tokens that are bound to a key",
}
"""Scenarios that do not apply, and why."""


def read_faults(folder: Path) -> list[str]:
    """The checks that failed, each with what our side had to say."""
    [file] = folder.glob("**/checks.json")
    said = file.with_name("stderr.txt").read_text(encoding="utf-8")
    checks = json.loads(file.read_text(encoding="utf-8"))
    assert any(check["status"] == "SUCCESS" for check in checks), said
    faults = [check for check in checks if check["status"] in ("FAILURE", "WARNING")]
    return [f"{check['id']}: {check['description']}\n{said}" for check in faults]


@pytest.mark.parametrize(("scenario", "revision"), SCENARIOS)
async def test_a_client_that_signs_in_passes(
    scenario: str, revision: str, run_node: RunNode, tmp_path: Path, repository: Path
) -> None:
    command = shlex.join(["env", f"PYTHONPATH={repository}", sys.executable, "-m", signing_client.__name__])
    options = ["--scenario", f"auth/{scenario}", "--spec-version", revision, "--output-dir", str(tmp_path), "--force"]
    await run_node("conformance", "client", "--command", command, *options)
    assert read_faults(tmp_path) == []


async def test_every_scenario_is_passed_or_does_not_apply(run_node: RunNode) -> None:
    listed = (await run_node("conformance", "list", "--client")).stdout.decode().split()
    scenarios = {word.removeprefix("auth/") for word in listed if word.startswith("auth/")}
    assert scenarios == {scenario for scenario, _ in SCENARIOS} | set(NOT_OURS)
