"""Where each host keeps its file, on Linux, macOS and Windows."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath

from bridge.errors import ConfigError
from bridge.hosts.known import Host

_CLAUDE_PACKAGE = "Packages/Claude_pzs8sxrjxfjjc/LocalCache/Roaming/Claude"
"""Where Windows keeps the files of Claude Desktop if it is a package, as also that of its own site is by now."""


@dataclass(frozen=True)
class Place:
    """A folder in which a host keeps its file, if it is installed in this way."""

    folder: PurePath
    names: tuple[str, ...]
    """The names that the file may have; the first one is that of a new file."""
    signs: tuple[PurePath, ...] = ()
    """What is there if the host is installed; by default the folder."""

    def list_signs(self) -> tuple[PurePath, ...]:
        return self.signs or (self.folder,)


class _Homes:
    """The folders of one person, by the environment; a variable that is relative counts as unset."""

    def __init__(self, environ: Mapping[str, str], platform: str) -> None:
        self._environ = environ
        self.is_windows, self.is_mac = platform == "win32", platform == "darwin"
        self._kind = PureWindowsPath if self.is_windows else PurePosixPath
        home = self.named("USERPROFILE" if self.is_windows else "HOME")
        if home is None:
            raise ConfigError("there is no home folder here, so no host's file can be found; see --print")
        self.home: PurePath = home

    def named(self, variable: str) -> PurePath | None:
        """Return the folder that a variable names; None where it names none."""
        folder = self._kind(self._environ.get(variable) or ".")
        return folder if folder.is_absolute() else None

    @property
    def config(self) -> PurePath:
        """Where programs of the command line keep settings, on any system."""
        return (None if self.is_windows else self.named("XDG_CONFIG_HOME")) or self.home / ".config"

    @property
    def app_data(self) -> PurePath:
        """Where apps with windows keep settings."""
        if self.is_windows:
            return self.named("APPDATA") or self.home / "AppData/Roaming"
        return self.home / "Library/Application Support" if self.is_mac else self.config

    @property
    def local_app_data(self) -> PurePath:
        return self.named("LOCALAPPDATA") or self.home / "AppData/Local"


def list_places(host: Host, environ: Mapping[str, str], platform: str) -> list[Place]:
    """List the folders of the user in which the host may keep its file, the likeliest first.

    Not seen by us: that of Claude Desktop on Linux, of packages of Flatpak, and of Copilot under XDG_CONFIG_HOME (its
    older documents named it, the newer ones name COPILOT_HOME). Raises ConfigError where there is no home folder.
    """
    return _PLACES[host.name](_Homes(environ, platform))


def locate(
    host: Host, environ: Mapping[str, str], platform: str, exists: Callable[[PurePath], bool] | None = None
) -> PurePath:
    """Find the file of the user's where the host keeps it; it need not exist.

    Raises ConfigError, with the places that were looked at, where the host is not installed.
    """
    exists = exists or (lambda path: Path(path).exists())
    places = list_places(host, environ, platform)
    found = next((place for place in places if any(map(exists, place.list_signs()))), None)
    if found is None and not _is_command(host, environ):
        raise ConfigError(_say_absent(host, places, environ))
    place = found or places[0]
    files = [place.folder / name for name in place.names]
    return next((file for file in files if exists(file)), files[0])


def locate_in_project(host: Host, folder: Path) -> Path:
    """Find the host's file of a project; it need not exist. Raises ConfigError where the host has none."""
    if not host.project_files:
        raise ConfigError(f"{host.title} has no file for a project; leave --project out")
    if not folder.is_dir():
        raise ConfigError(f"--project: {folder} is not a folder")
    files = [folder.absolute() / name for name in host.project_files]
    return next((file for file in files if file.exists()), files[0])


def _say_absent(host: Host, places: list[Place], environ: Mapping[str, str]) -> str:
    looked = ", ".join(str(sign) for place in places for sign in place.list_signs())
    commands = f", and {' or '.join(host.commands)} on PATH" if host.commands else ""
    windows = "; a host on the Windows side of WSL keeps its file there" if "WSL_DISTRO_NAME" in environ else ""
    shown = f"{host.title} is not installed here: looked for {looked}{commands}{windows}"
    return f"{shown}; install {host.name} --print shows what to paste"


def _is_command(host: Host, environ: Mapping[str, str]) -> bool:
    """Tell whether the host's command is on PATH; in WSL those of Windows are, too, and do not count."""
    found = (shutil.which(command, path=environ.get("PATH", "")) for command in host.commands)
    return any(path is not None and not path.startswith("/mnt/") for path in found)


def _claude_desktop(homes: _Homes) -> list[Place]:
    name = ("claude_desktop_config.json",)
    store = [Place(homes.local_app_data / _CLAUDE_PACKAGE, name)] if homes.is_windows else []
    return [*store, Place(homes.app_data / "Claude", name)]


def _claude_code(homes: _Homes) -> list[Place]:
    if folder := homes.named("CLAUDE_CONFIG_DIR"):
        return [Place(folder, (".claude.json",))]
    return [Place(homes.home, (".claude.json",), (homes.home / ".claude.json", homes.home / ".claude"))]


def _vscode(homes: _Homes) -> list[Place]:
    folders = [homes.app_data / name / "User" for name in ("Code", "Code - Insiders", "VSCodium")]
    if not (homes.is_windows or homes.is_mac):
        folders.append(homes.home / ".var/app/com.visualstudio.code/config/Code/User")
    return [Place(folder, ("mcp.json",)) for folder in folders]


def _codex(homes: _Homes) -> list[Place]:
    return [Place(homes.named("CODEX_HOME") or homes.home / ".codex", ("config.toml",))]


def _zed(homes: _Homes) -> list[Place]:
    name = ("settings.json",)
    if homes.is_windows:
        return [Place(homes.app_data / "Zed", name)]
    if homes.is_mac:
        return [Place(homes.home / ".config/zed", name)]
    return [Place(homes.config / "zed", name), Place(homes.home / ".var/app/dev.zed.Zed/config/zed", name)]


def _copilot_cli(homes: _Homes) -> list[Place]:
    return [Place(homes.named("COPILOT_HOME") or homes.home / ".copilot", ("mcp-config.json",))]


def _opencode(homes: _Homes) -> list[Place]:
    return [Place(homes.config / "opencode", ("opencode.json", "opencode.jsonc"))]


_PLACES: dict[str, Callable[[_Homes], list[Place]]] = {
    "claude-desktop": _claude_desktop,
    "claude-code": _claude_code,
    "cursor": lambda homes: [Place(homes.home / ".cursor", ("mcp.json",))],
    "vscode": _vscode,
    "codex": _codex,
    "gemini-cli": lambda homes: [Place(homes.home / ".gemini", ("settings.json",))],
    "windsurf": lambda homes: [Place(homes.home / ".codeium/windsurf", ("mcp_config.json",))],
    "zed": _zed,
    "opencode": _opencode,
    "copilot-cli": _copilot_cli,
}
