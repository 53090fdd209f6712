"""What is shipped beside the package says the same of it: the version, the name, and what can be set."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from bridge import __version__
from bridge.config.load import load

REGISTRY_RULES: dict[str, Any] = {
    "type": "object",
    "required": ["$schema", "name", "description", "version"],
    "properties": {
        "$schema": {"const": "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json"},
        "name": {"pattern": r"^[a-zA-Z0-9.-]+/[a-zA-Z0-9._-]+$", "minLength": 3, "maxLength": 200},
        "title": {"type": "string", "minLength": 1, "maxLength": 100},
        "description": {"type": "string", "minLength": 1, "maxLength": 100},
        "version": {"type": "string", "maxLength": 255, "not": {"pattern": r"[~^<>=*]|\.x"}},
        "repository": {"required": ["url", "source"], "additionalProperties": {"type": "string"}},
        "packages": {"items": {"$ref": "#/$defs/package"}, "minItems": 1},
    },
    "additionalProperties": False,
    "$defs": {
        "package": {
            "required": ["registryType", "identifier", "version", "transport"],
            "properties": {
                "registryType": {"enum": ["pypi", "oci", "mcpb"]},
                "identifier": {"type": "string"},
                "version": {"type": "string", "minLength": 1, "not": {"const": "latest"}},
                "runtimeHint": {"enum": ["uvx", "docker"]},
                "transport": {"const": {"type": "stdio"}},
                "packageArguments": {"items": {"required": ["type", "value"]}},
                "environmentVariables": {"items": {"$ref": "#/$defs/variable"}},
            },
            "additionalProperties": False,
        },
        "variable": {
            "required": ["name"],
            "properties": {
                **{key: {"type": "string"} for key in ("name", "description", "placeholder", "default")},
                "format": {"enum": ["string", "number", "boolean", "filepath"]},
                **{key: {"type": "boolean"} for key in ("isSecret", "isRequired")},
            },
            "additionalProperties": False,
        },
    },
}
"""The rules of the registry's schema of 2025-12-11 for the parts that we use, and no other part. Written from it."""


@pytest.fixture
def entry(repository: Path) -> dict[str, Any]:
    """`server.json`."""
    return json.loads((repository / "server.json").read_text(encoding="utf-8"))


@pytest.fixture
def manifest(repository: Path) -> dict[str, Any]:
    """The manifest of the bundle."""
    return json.loads((repository / "deploy" / "mcpb" / "manifest.json").read_text(encoding="utf-8"))


def test_every_file_that_names_the_version_names_the_same(
    repository: Path, entry: dict[str, Any], manifest: dict[str, Any]
) -> None:
    named = {entry["version"], manifest["version"], *(package["version"] for package in entry["packages"])}
    assert named == {__version__}
    headings = re.findall(r"^## (\S+)", (repository / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    released = [heading.strip("[]") for heading in headings if heading != "Unreleased"]
    assert released[:1] in ([], [__version__])


def test_the_entry_of_the_registry_is_what_its_schema_allows(entry: dict[str, Any]) -> None:
    jsonschema.validate(entry, REGISTRY_RULES)


def test_the_readme_has_the_mark_by_which_the_registry_knows_the_package(
    repository: Path, entry: dict[str, Any]
) -> None:
    assert f"<!-- mcp-name: {entry['name']} -->" in (repository / "README.md").read_text(encoding="utf-8")


def test_every_address_of_the_repository_is_the_same(repository: Path, entry: dict[str, Any]) -> None:
    address = entry["repository"]["url"]
    owner = entry["name"].removeprefix("io.github.").partition("/")[0]
    assert address == f"https://github.com/{owner}/mcp-responses-bridge"
    for file in [repository / "pyproject.toml", *repository.glob("*.md"), *repository.glob("docs/*.md")]:
        found = re.findall(r"https://github\.com/[^/\s]+/mcp-responses-bridge", file.read_text(encoding="utf-8"))
        assert set(found) <= {address}, file.name


def test_the_bundle_and_the_registry_offer_the_same_settings(entry: dict[str, Any], manifest: dict[str, Any]) -> None:
    """Each that the bundle asks a person for is filled in somewhere; what is secret in one is so in the other."""
    filled = manifest["server"]["mcp_config"]["env"]
    asked = manifest["user_config"]
    assert set(filled.values()) == {f"${{user_config.{name}}}" for name in asked}
    secret = {name for name, value in filled.items() if asked[value[len("${user_config.") : -1]].get("sensitive")}
    variables = entry["packages"][0]["environmentVariables"]
    assert filled.keys() == {variable["name"] for variable in variables}
    assert secret == {variable["name"] for variable in variables if variable.get("isSecret")} == {"OPENAI_API_KEY"}


def test_the_config_of_the_container_loads(repository: Path) -> None:
    config = load(repository / "deploy" / "bridge.json", environ={"MCP_RESPONSES_BRIDGE_TOKEN": "a-token-of-ten"})
    assert (config.serve.host, config.serve.token, config.notices) == ("0.0.0.0", "a-token-of-ten", ())


def test_the_release_page_names_files_that_exist_and_commands_that_a_shell_can_read(repository: Path) -> None:
    page = (repository / "docs" / "releasing.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:bridge|deploy|tests|\.ci)/[\w./-]+|\w+\.(?:json|toml|md))`", page)
    assert "deploy/mcpb/build.py" in named
    assert [name for name in named if not (repository / name).exists()] == []
    blocks = re.findall(r"^ *```sh\n(.*?)^ *```", page, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        subprocess.run(["sh", "-n"], input=block, text=True, check=True)
