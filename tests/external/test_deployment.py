"""The files of `deploy/` for a container and for systemd: each checked by its own program, and its commands one by one.

There is no Docker here: what the image is built of is built as a folder, and what it runs is run.
"""

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.external.conftest import Find, miss
from tests.external.strangers import find_python, run
from tests.fakes.service import TOKEN, start_service

pytestmark = pytest.mark.external


@pytest.fixture
def deploy(repository: Path) -> Path:
    return repository / "deploy"


def read_instructions(file: Path) -> list[tuple[str, str]]:
    """The instructions of a Dockerfile, each on one line."""
    text = re.sub(r"^#.*\n", "", file.read_text(encoding="utf-8"), flags=re.MULTILINE).replace("\\\n", " ")
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in text.splitlines() if line)]


def find_rest(file: Path, instruction: str) -> str:
    [*_, rest] = [rest for name, rest in read_instructions(file) if name == instruction]
    return rest


def test_hadolint_finds_nothing(deploy: Path, peer: Find) -> None:
    done = subprocess.run([peer("hadolint"), deploy / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_compose_reads_the_file_and_asks_for_the_token(deploy: Path, peer: Find) -> None:
    command = [peer("docker-compose"), "-f", str(deploy / "compose.yaml"), "config"]
    token = {"MCP_RESPONSES_BRIDGE_TOKEN": TOKEN}
    refused = subprocess.run(command, env={}, capture_output=True, text=True, check=False)
    assert "MCP_RESPONSES_BRIDGE_TOKEN is missing a value: write it into deploy/.env" in refused.stderr
    done = subprocess.run(command, env=token, capture_output=True, text=True, check=True)
    service = yaml.safe_load(done.stdout)["services"]["bridge"]
    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    assert [port["host_ip"] for port in service["ports"]] == ["127.0.0.1"]
    assert Path(service["build"]["context"]) == deploy.parent


def test_what_the_image_is_made_of_is_enough_to_install_it(deploy: Path, clone: Path, tmp_path: Path) -> None:
    """Every COPY from the clone into an empty folder, what the ignore file lets in, then the RUN of the first stage."""
    context, source = tmp_path / "context", tmp_path / "src"
    for line in (deploy / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines():
        if line.startswith("!"):
            copy(clone / line[1:], context / line[1:])
    source.mkdir()
    for name, rest in read_instructions(deploy / "Dockerfile"):
        if name == "COPY" and not rest.startswith("--from"):
            *names, target = rest.split()
            for each in names:
                copy(context / each, source / target / Path(each).name if target == "./" else source / target)
    [install, _] = [rest for name, rest in read_instructions(deploy / "Dockerfile") if name == "RUN"]
    script = install.replace("python -m venv", f"{find_python()} -m venv").replace("/opt", str(tmp_path))
    done = run(source, "/usr/bin:/bin", "sh", "-c", script, env={"PYTHONPATH": ""})
    assert done.returncode == 0, done.stderr
    [program] = json.loads(find_rest(deploy / "Dockerfile", "ENTRYPOINT"))
    done = run(tmp_path, f"{tmp_path}/bridge/bin:/usr/bin:/bin", program, "--version", env={"PYTHONPATH": ""})
    assert done.stdout.startswith("mcp-responses-bridge ")


def copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copy(source, target)


@pytest.mark.anyio
async def test_the_health_check_finds_the_service_that_the_image_starts(
    deploy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the config of the container, on every address; and nothing where nothing listens."""
    command = json.loads(find_rest(deploy / "Dockerfile", "CMD"))
    assert command[:3] == ["serve", "--transport", "http"]
    assert command[3:] == ["--config", "/etc/bridge/bridge.json"]
    assert "./bridge.json:/etc/bridge/bridge.json:ro" in (deploy / "compose.yaml").read_text(encoding="utf-8")
    check = json.loads(find_rest(deploy / "Dockerfile", "HEALTHCHECK").partition("CMD ")[2])
    monkeypatch.setenv("OPENAI_API_KEY", "a-key-of-the-tests")
    async with start_service("--config", str(deploy / "bridge.json")) as (_, port):
        assert ask(check, port) == 0
    assert ask(check, port) == 1


def ask(check: list[str], port: int) -> int:
    """The exit code of the health check, at another port."""
    code = check[2].replace(":8787", f":{port}")
    return subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode


def test_systemd_takes_the_unit_and_calls_it_safe(
    deploy: Path, tmp_path: Path, record_testsuite_property: Callable[[str, object], None]
) -> None:
    program = shutil.which("systemd-analyze") or miss("systemd-analyze")
    unit = tmp_path / "mcp-responses-bridge.service"
    text = (deploy / unit.name).read_text(encoding="utf-8")
    [start] = re.findall(r"^ExecStart=(.+)$", text, re.MULTILINE)
    assert shlex.split(start)[1:4] == ["serve", "--transport", "http"]
    unit.write_text(text.replace(shlex.split(start)[0], "/bin/true"), encoding="utf-8")
    done = subprocess.run([program, "verify", "--man=no", unit], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    done = subprocess.run(
        [program, "security", "--offline=true", "--no-pager", unit], capture_output=True, text=True, check=False
    )
    [level] = re.findall(r"exposure level for \S+: ([\d.]+)", done.stdout)
    record_testsuite_property("exposure of the systemd unit, of 10", level)
    assert float(level) < 2.5
