"""What a later configuration changes: which servers stay as they are, what takes effect, and what has to wait."""

from typing import Any

import pytest

from bridge.config.changes import LIVE_SERVE, SOFT, SOFT_UPSTREAM, Changes, compare, needs_connections
from bridge.config.settings import Config, ServeConfig, ServerConfig, UpstreamConfig
from tests.fakes.bridges import configure
from tests.fakes.items import Json

ONE: Json = {"command": "one"}


def change(before: Json, after: Json) -> Changes:
    return compare(configure(**split(before)), configure(**split(after)))


def split(config: Json) -> Any:
    return {"servers": config.get("mcpServers", {}), **{name: config[name] for name in config if name != "mcpServers"}}


def servers(**entries: Json) -> Json:
    return {"mcpServers": entries}


@pytest.mark.parametrize(
    ("entry", "came"),
    [
        ({**ONE, "args": ["x"]}, "1 server restarted (one)"),
        ({**ONE, "env": {"A": "b"}}, "1 server restarted (one)"),
        ({**ONE, "cwd": "/"}, "1 server restarted (one)"),
        ({**ONE, "protocol": "legacy"}, "1 server restarted (one)"),
        ({"url": "http://127.0.0.1:1/mcp"}, "1 server restarted (one)"),
        ({**ONE, "tools": {"deny": ["*"]}}, "1 server adjusted (one)"),
        ({**ONE, "require_approval": "always"}, "1 server adjusted (one)"),
        ({**ONE, "call_timeout_s": 1}, "1 server adjusted (one)"),
        ({**ONE, "disabled": True}, "1 server removed (one)"),
        (ONE, "nothing has changed"),
    ],
)
def test_a_server_is_restarted_only_for_what_starts_it(entry: Json, came: str) -> None:
    assert change(servers(one=ONE), servers(one=entry)).describe() == came


def test_another_order_changes_no_server() -> None:
    two = {"command": "two"}
    changes = change(servers(one=ONE, two=two), servers(two=two, one=ONE))
    assert changes.describe() == "nothing has changed"
    assert [server.key for server in changes.config.servers] == ["two", "one"]


def test_every_name_of_what_takes_effect_is_a_setting() -> None:
    assert ServerConfig.model_fields.keys() >= SOFT
    assert ServeConfig.model_fields.keys() >= LIVE_SERVE
    assert UpstreamConfig.model_fields.keys() >= SOFT_UPSTREAM


def test_what_needs_a_restart_is_named_and_left_as_it_was() -> None:
    after = {"serve": {"port": 1, "host": "::1", "drain_s": 3}, "runs": {"keep_s": 5}, "limits": {"max_turns": 2}}
    changes = change({}, after)
    assert changes.later == ("runs.keep_s", "serve.host", "serve.port")
    assert changes.describe() == "limits, serve.drain_s changed"
    assert (changes.config.serve.port, changes.config.serve.drain_s, changes.config.runs.keep_s) == (8787, 3, 86_400)


def test_an_entry_that_cannot_be_used_any_more_leaves_its_server_as_it_is() -> None:
    changes = change(servers(one=ONE, two=ONE), servers(one={"command": 1}, two=ONE, three={"command": 1}))
    assert changes.describe() == "nothing has changed"
    assert [server.key for server in changes.config.servers] == ["two", "one"]
    assert list(changes.unusable) == ["one"]
    assert [notice["message"].partition(":")[0] for notice in changes.config.notices] == ["mcpServers.three.command"]


def test_the_built_in_server_comes_and_goes_as_any_other() -> None:
    assert change({"builtin_tools": True}, {"builtin_tools": False}).removed == ("builtin_tools",)
    assert change({"builtin_tools": False}, {"builtin_tools": True}).added == ("builtin_tools",)


def test_another_model_needs_no_other_connections() -> None:
    first = UpstreamConfig(base_url="http://127.0.0.1:1/v1", model="a")
    assert not needs_connections(first, first.model_copy(update={"model": "b"}))
    assert needs_connections(first, first.model_copy(update={"api_key": "key"}))
    assert needs_connections(None, first)
    assert not needs_connections(None, None)


def test_many_servers_are_counted_and_a_few_are_named() -> None:
    many = servers(**{f"s{number}": ONE for number in range(7)})
    assert change({}, many).describe() == "7 servers added (s0, s1, s2, s3, s4 …)"
    assert compare(Config(), Config()).describe() == "nothing has changed"
