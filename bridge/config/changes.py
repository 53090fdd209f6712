"""Differences between the configuration in use and one that was read later, and which of them take effect now."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from pydantic import BaseModel

from bridge.config.settings import BUILTIN, LEFT_OUT, Config, ServerConfig, UpstreamConfig
from bridge.visible import show_name

SOFT = frozenset(
    {
        "tools",
        "require_approval",
        "pin",
        "prefix",
        "keep_empty",
        "structured_content",
        "stateful",
        "serial",
        "max_parallel",
        "idle_timeout_s",
        "call_timeout_s",
        "connect_timeout_s",
    }
)
"""Settings of a server that say how it is used. All others say how it is started or reached, and what it is then."""
SOFT_UPSTREAM = frozenset({"model", "defaults"})
"""Settings of the upstream that each run reads: the connections stay as they are."""
LIVE_SERVE = frozenset({"token", "principals", "drain_s"})
"""Settings of the service that take effect while it runs."""
_SECTIONS = ("limits", "tool_search", "prices", "input_roots")
_SHOWN = 5


@dataclass(frozen=True)
class Changes:
    """Changes that a later configuration makes."""

    config: Config
    """Configuration from now on: the later one, but for what needs a restart."""
    added: tuple[str, ...] = ()
    """Servers."""
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    """Servers that are started or reached in another way."""
    adjusted: tuple[str, ...] = ()
    """Servers that go on, and are used in another way."""
    settings: tuple[str, ...] = ()
    """Sections and settings that have changed."""
    later: tuple[str, ...] = ()
    """Settings that have changed and take effect at the next start."""
    unusable: Mapping[str, str] = field(default_factory=dict[str, str])
    """Servers that go on as they were, since their entries cannot be used any more, each with the place and reason."""

    def describe(self) -> str:
        """Sum up what takes effect, for people."""
        counted = (
            _count(self.added, "added"),
            _count(self.removed, "removed"),
            _count(self.changed, "restarted"),
            _count(self.adjusted, "adjusted"),
        )
        said = [*filter(None, counted), *([f"{', '.join(self.settings)} changed"] if self.settings else [])]
        return ", ".join(said) or "nothing has changed"


def list_servers(config: Config) -> tuple[ServerConfig, ...]:
    """List all servers of a config, the built-in one first."""
    builtin = ServerConfig(key=BUILTIN, require_approval="never", structured_content="unless_text")
    return (builtin, *config.servers) if config.builtin_tools else config.servers


def needs_restart(old: ServerConfig, new: ServerConfig) -> bool:
    """Tell whether a server has to be started, or reached, anew to be as `new` has it."""
    return _differ(old, new, except_for=SOFT)


def needs_connections(old: UpstreamConfig | None, new: UpstreamConfig | None) -> bool:
    """Tell whether the upstream is reached in another way."""
    return (old is None) != (new is None) or (
        old is not None and new is not None and _differ(old, new, except_for=SOFT_UPSTREAM)
    )


def compare(old: Config, new: Config) -> Changes:
    """Compare the config that holds with a later one."""
    new, later = _put_off(old, new)
    new, unusable = _keep_unusable(old, new)
    before = {server.key: server for server in list_servers(old)}
    after = {server.key: server for server in list_servers(new)}
    both = [key for key in after if key in before and after[key] != before[key]]
    changed = tuple(key for key in both if needs_restart(before[key], after[key]))
    return Changes(
        new,
        added=tuple(key for key in after if key not in before),
        removed=tuple(key for key in before if key not in after),
        changed=changed,
        adjusted=tuple(key for key in both if key not in changed),
        settings=tuple(_list_settings(old, new)),
        later=later,
        unusable=unusable,
    )


def _put_off(old: Config, new: Config) -> tuple[Config, tuple[str, ...]]:
    """Leave out what needs a restart, and name it."""
    late = [name for name in _list_different(old.serve, new.serve) if name not in LIVE_SERVE]
    serve = new.serve.model_copy(update={name: getattr(old.serve, name) for name in late})
    later = [f"runs.{name}" for name in _list_different(old.runs, new.runs)] + [f"serve.{name}" for name in late]
    return new.model_copy(update={"runs": old.runs, "serve": serve}), tuple(later)


def _keep_unusable(old: Config, new: Config) -> tuple[Config, Mapping[str, str]]:
    """Let servers go on whose entries have become unusable: a slip of the pen ends none."""
    unusable = {server.key: new.left_out[server.key] for server in old.servers if server.key in new.left_out}
    if not unusable:
        return new, {}
    kept = tuple(server for server in old.servers if server.key in unusable)
    notices = tuple(
        notice
        for notice in new.notices
        if not (notice["code"] == LEFT_OUT and any(why in notice["message"] for why in unusable.values()))
    )
    return new.model_copy(update={"servers": (*new.servers, *kept), "notices": notices}), unusable


def _list_settings(old: Config, new: Config) -> Iterator[str]:
    if old.upstream != new.upstream:
        yield "upstream"
    yield from (name for name in _SECTIONS if getattr(old, name) != getattr(new, name))
    yield from (f"serve.{name}" for name in _list_different(old.serve, new.serve))


def _list_different(old: BaseModel, new: BaseModel) -> list[str]:
    return [name for name in type(old).model_fields if getattr(old, name) != getattr(new, name)]


def _differ(old: ServerConfig | UpstreamConfig, new: ServerConfig | UpstreamConfig, except_for: frozenset[str]) -> bool:
    return not except_for.issuperset(_list_different(old, new))


def _count(keys: tuple[str, ...], what: str) -> str:
    if not keys:
        return ""
    names = ", ".join(map(show_name, keys[:_SHOWN])) + (" …" if len(keys) > _SHOWN else "")
    return f"{len(keys)} server{'s' if len(keys) > 1 else ''} {what} ({names})"
