"""Where hosts keep their files: on Linux, macOS and Windows, as their documents and users say."""

from collections.abc import Callable
from pathlib import PurePath, PurePosixPath, PureWindowsPath

import pytest

from bridge.errors import ConfigError
from bridge.hosts.known import HOSTS, WRITTEN
from bridge.hosts.places import locate

LINUX = {"HOME": "/home/me"}
MAC = {"HOME": "/Users/me"}
WINDOWS = {
    "USERPROFILE": r"C:\Users\me",
    "APPDATA": r"C:\Users\me\AppData\Roaming",
    "LOCALAPPDATA": r"C:\Users\me\AppData\Local",
}
STORE = r"C:\Users\me\AppData\Local\Packages\Claude_pzs8sxrjxfjjc\LocalCache\Roaming\Claude"

PLACES = {
    "linux": {
        "claude-desktop": "/home/me/.config/Claude/claude_desktop_config.json",
        "claude-code": "/home/me/.claude.json",
        "cursor": "/home/me/.cursor/mcp.json",
        "vscode": "/home/me/.config/Code/User/mcp.json",
        "codex": "/home/me/.codex/config.toml",
        "gemini-cli": "/home/me/.gemini/settings.json",
        "windsurf": "/home/me/.codeium/windsurf/mcp_config.json",
        "zed": "/home/me/.config/zed/settings.json",
        "opencode": "/home/me/.config/opencode/opencode.json",
        "copilot-cli": "/home/me/.copilot/mcp-config.json",
    },
    "darwin": {
        "claude-desktop": "/Users/me/Library/Application Support/Claude/claude_desktop_config.json",
        "claude-code": "/Users/me/.claude.json",
        "cursor": "/Users/me/.cursor/mcp.json",
        "vscode": "/Users/me/Library/Application Support/Code/User/mcp.json",
        "codex": "/Users/me/.codex/config.toml",
        "gemini-cli": "/Users/me/.gemini/settings.json",
        "windsurf": "/Users/me/.codeium/windsurf/mcp_config.json",
        "zed": "/Users/me/.config/zed/settings.json",
        "opencode": "/Users/me/.config/opencode/opencode.json",
        "copilot-cli": "/Users/me/.copilot/mcp-config.json",
    },
    "win32": {
        "claude-desktop": r"C:\Users\me\AppData\Roaming\Claude\claude_desktop_config.json",
        "claude-code": r"C:\Users\me\.claude.json",
        "cursor": r"C:\Users\me\.cursor\mcp.json",
        "vscode": r"C:\Users\me\AppData\Roaming\Code\User\mcp.json",
        "codex": r"C:\Users\me\.codex\config.toml",
        "gemini-cli": r"C:\Users\me\.gemini\settings.json",
        "windsurf": r"C:\Users\me\.codeium\windsurf\mcp_config.json",
        "zed": r"C:\Users\me\AppData\Roaming\Zed\settings.json",
        "opencode": r"C:\Users\me\.config\opencode\opencode.json",
        "copilot-cli": r"C:\Users\me\.copilot\mcp-config.json",
    },
}


def having(*paths: str, kind: type[PurePath] = PurePosixPath) -> Callable[[PurePath], bool]:
    """A disk on which there is this, and the folders above it."""
    there = {parent for path in paths for parent in (kind(path), *kind(path).parents)}
    return lambda path: path in there


@pytest.mark.parametrize("host", WRITTEN)
@pytest.mark.parametrize(("platform", "environ"), [("linux", LINUX), ("darwin", MAC), ("win32", WINDOWS)])
def test_each_host_keeps_its_file_there(platform: str, environ: dict[str, str], host: str) -> None:
    kind = PureWindowsPath if platform == "win32" else PurePosixPath
    expected = PLACES[platform][host]
    found = locate(HOSTS[host], environ, platform, having(expected, kind=kind))
    assert found == kind(expected)
    assert str(found) == expected


def test_claude_desktop_as_a_package_of_windows_reads_its_own_file() -> None:
    """%APPDATA%\\Claude is there too, and is never read then."""
    old = PLACES["win32"]["claude-desktop"]
    disk = having(old, STORE, kind=PureWindowsPath)
    found = locate(HOSTS["claude-desktop"], WINDOWS, "win32", disk)
    assert found == PureWindowsPath(STORE) / "claude_desktop_config.json"


@pytest.mark.parametrize(
    ("host", "there", "expected"),
    [
        ("vscode", "/home/me/.config/Code - Insiders/User", "/home/me/.config/Code - Insiders/User/mcp.json"),
        ("vscode", "/home/me/.config/VSCodium/User", "/home/me/.config/VSCodium/User/mcp.json"),
        (
            "vscode",
            "/home/me/.var/app/com.visualstudio.code/config/Code/User",
            "/home/me/.var/app/com.visualstudio.code/config/Code/User/mcp.json",
        ),
        (
            "zed",
            "/home/me/.var/app/dev.zed.Zed/config/zed",
            "/home/me/.var/app/dev.zed.Zed/config/zed/settings.json",
        ),
        ("opencode", "/home/me/.config/opencode/opencode.jsonc", "/home/me/.config/opencode/opencode.jsonc"),
        ("claude-code", "/home/me/.claude", "/home/me/.claude.json"),
    ],
)
def test_other_ways_to_be_installed_are_found(host: str, there: str, expected: str) -> None:
    assert locate(HOSTS[host], LINUX, "linux", having(there)) == PurePosixPath(expected)


@pytest.mark.parametrize(
    ("host", "variable", "expected"),
    [
        ("claude-code", "CLAUDE_CONFIG_DIR", "/x/.claude.json"),
        ("codex", "CODEX_HOME", "/x/config.toml"),
        ("copilot-cli", "COPILOT_HOME", "/x/mcp-config.json"),
        ("zed", "XDG_CONFIG_HOME", "/x/zed/settings.json"),
        ("vscode", "XDG_CONFIG_HOME", "/x/Code/User/mcp.json"),
        ("opencode", "XDG_CONFIG_HOME", "/x/opencode/opencode.json"),
        ("claude-desktop", "XDG_CONFIG_HOME", "/x/Claude/claude_desktop_config.json"),
    ],
)
def test_a_variable_of_the_host_moves_its_file(host: str, variable: str, expected: str) -> None:
    assert locate(HOSTS[host], {**LINUX, variable: "/x"}, "linux", having(expected)) == PurePosixPath(expected)
    relative = locate(HOSTS[host], {**LINUX, variable: "x"}, "linux", having(PLACES["linux"][host]))
    assert relative == PurePosixPath(PLACES["linux"][host]), "the working directory is nobody's home"


def test_what_is_on_the_windows_side_of_wsl_is_told() -> None:
    environ = {**LINUX, "WSL_DISTRO_NAME": "Ubuntu", "PATH": "/mnt/c/Windows"}
    with pytest.raises(ConfigError, match="a host on the Windows side of WSL keeps its file there"):
        locate(HOSTS["claude-desktop"], environ, "linux", having("/"))


@pytest.mark.parametrize("host", WRITTEN)
def test_without_a_home_folder_nothing_is_guessed(host: str) -> None:
    homeless: dict[str, str] = {}
    for platform, environ in (("linux", homeless), ("linux", {"HOME": "here"}), ("win32", {"HOME": "/home/me"})):
        with pytest.raises(ConfigError, match="no home folder"):
            locate(HOSTS[host], environ, platform, having("/"))
