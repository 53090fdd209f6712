"""Model names are legal, unique, the same after every restart, and owe nothing to who else is connected."""

import random
import re

import pytest

from bridge.config.settings import BUILTIN_NAMES
from bridge.hub.naming import MAX_CHARS, choose_prefixes, name_tool
from builtin_tools.server import build_server
from tests.fakes.bridges import open_bridge
from tests.fakes.servers import rogue
from tests.fakes.upstream import call

LEGAL = re.compile(r"[A-Za-z0-9_-]+")
KEYS = [
    "git",
    "git_",
    "git__x",
    "g it",
    "git.x",
    "git/x",
    "",
    "_",
    "__",
    "工具",
    "k" * 70,
    "current_time",
    "GIT",
    "g_it",
    "g-it",
]
WORDS = ["log", "log_", "log__x", "_x__log", "x__log", "lo g", "log.x", "log/x", "log\n", "日志", "журнал", "é", "é"]
WORDS += ["t" * 63, "t" * 64, "t" * 70, "t" * 71, "", "current_time", "system_info", "log_0123abcd", "😀", "a\u202eb"]
BUILTIN = frozenset(BUILTIN_NAMES)


@pytest.mark.parametrize(
    ("key", "tool", "name"),
    [
        ("git", "log", "git__log"),
        ("git", "log-all", "git__log-all"),
        ("git", "log__all", "git__log__all"),
        ("my-files", "current_time", "my-files__current_time"),
    ],
)
def test_a_plain_case_reads_as_one_expects(key: str, tool: str, name: str) -> None:
    assert name_tool(key, tool, prefix=key, taken=BUILTIN) == name


@pytest.mark.parametrize(
    ("key", "prefix"),
    [
        ("git", "git"),
        ("Git-2_x", "Git-2_x"),
        ("my server", "my_server"),
        ("@scope/files", "scope_files"),
        ("io.github.me/weather", "io_github_me_weather"),
        ("Café Größe", "Cafe_Groe"),
        ("a__b_", "a_b"),
        ("🔧 tools", "tools"),
        ("天气", "server"),
        ("", "server"),
    ],
)
def test_tools_of_a_server_with_any_name_begin_with_what_can_be_read_of_it(key: str, prefix: str) -> None:
    assert choose_prefixes(["other", key]) == {"other": "other", key: prefix}
    assert name_tool(key, "read", prefix=prefix, taken=BUILTIN) == f"{prefix}__read"


def test_keys_that_read_alike_are_told_apart_and_a_key_that_is_legal_keeps_its_name() -> None:
    prefixes = choose_prefixes(["my server", "my_server", "my.server", "天气", "新闻"])
    assert prefixes["my_server"] == "my_server"
    assert len(set(prefixes.values())) == 5
    assert all(re.fullmatch(r"(my_server|server)(_[0-9a-f]{8})?", prefix) for prefix in prefixes.values())


@pytest.mark.rule("R12")
def test_a_name_that_had_to_be_changed_is_still_recognised_and_stays_the_same() -> None:
    assert name_tool("git", "log.all", prefix="git", taken=BUILTIN) == "git__log_all_475fcd5f"
    assert name_tool("git", "current_time", prefix=None, taken=BUILTIN).startswith("current_time_")


@pytest.mark.rule("S21")
@pytest.mark.anyio
async def test_the_reserved_names_are_those_of_the_built_in_tools() -> None:
    assert {tool.name for tool in build_server().list_tools()} == BUILTIN


@pytest.mark.rule("S21")
@pytest.mark.external
def test_ten_thousand_sets_of_tools_have_legal_names_and_no_two_share_one() -> None:
    seeded = random.Random(20261122)
    tried = 0

    def word(known: list[str]) -> str:
        if seeded.random() < 0.7:
            return seeded.choice(known)
        return "".join(seeded.choices("ab_.-/ 日\u0430a", k=seeded.randint(1, 70)))

    for _ in range(10_000):
        tools = {(word(KEYS), word(WORDS)) for _ in range(seeded.randint(1, 12))}
        plain, max_chars = seeded.choice(KEYS), seeded.choice([16, 40, 60, 64, 128])
        prefixes: dict[str, str | None] = {**choose_prefixes(key for key, _ in tools), plain: None}

        def give(tool: tuple[str, str], prefixes: dict[str, str | None] = prefixes, max_chars: int = max_chars) -> str:
            return name_tool(*tool, prefix=prefixes[tool[0]], taken=BUILTIN, max_chars=max_chars)

        names = {tool: give(tool) for tool in tools}
        assert len({*names.values(), *BUILTIN}) == len(names) + len(BUILTIN), names
        assert all(LEGAL.fullmatch(name) and len(name) <= max_chars for name in names.values()), names
        others = seeded.sample(sorted(tools), k=seeded.randint(1, len(tools)))
        assert {tool: give(tool) for tool in others}.items() <= names.items(), "whoever is connected, in any order"
        tried += len(tools)
    assert tried > 50_000


@pytest.mark.rule("R12", "S21")
def test_no_tool_can_take_the_name_that_another_was_given() -> None:
    given = name_tool("k", "t.", prefix="k", taken=BUILTIN)  # k__t__ and eight digits
    for key, tool in (("k", given.removeprefix("k__")), ("k__t", given.removeprefix("k__t"))):
        assert name_tool(key, tool, prefix=key, taken=BUILTIN) != given


def test_plain_names_keep_clear_of_prefixed_and_of_reserved_ones() -> None:
    assert name_tool("any", "log", prefix=None, taken=BUILTIN) == "log"
    for tool in ("git__log", "current_time", "", "x" * (MAX_CHARS + 1)):
        name = name_tool("any", tool, prefix=None, taken=BUILTIN)
        assert LEGAL.fullmatch(name)
        assert len(name) <= MAX_CHARS
        assert name not in {"git__log", *BUILTIN}


@pytest.mark.rule("R12")
@pytest.mark.anyio
async def test_plain_names_are_used_where_they_are_free_and_reach_their_owner() -> None:
    servers = {"one": {**rogue("legacy"), "prefix": False}, "two": {**rogue("modern"), "prefix": False}}
    async with open_bridge(servers, builtin_tools=True) as bridge:
        outcome = await bridge.use(call("echo", {"text": "first"}), call("two__echo", {"text": "second"}))
    assert outcome.outputs == ["first", "second"]
    assert [made["server"] for made in outcome.receipt["tool_calls"]] == ["one", "two"]
    assert list(outcome.offered[:4]) == ["random_generator", "system_info", "math_calculator", "current_time"]
