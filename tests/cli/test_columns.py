"""What the commands print at terminals of 80 and 40 columns."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.cli.language import CHINESE, ENGLISH, choose_words
from bridge.cli.screen.columns import count_columns, crop, wrap
from bridge.cli.screen.tables import ShownTool, list_tools
from bridge.hosts.start import find_command
from tests.fakes.screen import AtTerminal
from tests.fakes.servers import rogue

WORDS = st.text("abc 文件é-", max_size=60)
LONG = "a_very_long_name_of_a_tool_that_goes_on_and_on_and_on"


@given(WORDS, st.integers(8, 40))
def test_lines_break_between_words_and_lose_none(text: str, columns: int) -> None:
    lines = list(wrap(text, columns, indent="  ", first=""))
    assert " ".join([lines[0], *(line[2:] for line in lines[1:])]) == text
    assert all(count_columns(line) <= columns or " " not in line.strip() for line in lines)


@given(WORDS, st.integers(1, 40))
def test_what_is_cut_has_a_mark(text: str, columns: int) -> None:
    shown = crop(text, columns)
    assert count_columns(shown) <= columns
    assert shown == text or shown.endswith("…")


@pytest.mark.parametrize("columns", [40, 80])
def test_a_name_has_its_own_line_where_it_is_wider_than_its_column(columns: int) -> None:
    tools = [ShownTool("git__git_add", "run", "145", ["a note of several words that needs a second line, too"])]
    tools += [ShownTool(LONG, "left out", "1,145"), ShownTool("查找文件", "ask", "9")]
    lines = list(list_tools(tools, columns))
    assert all(count_columns(line) <= columns for line in lines if LONG not in line)
    assert [line for line in lines if LONG in line]
    ends = {count_columns(line) for line in lines if line.endswith(("tokens", "145", "9"))}
    assert len(ends) == 1, "the last column is straight, with Chinese names too"
    assert "left out  " in " ".join(lines)


def at_terminal(command: list[str], size: tuple[int, int], **environ: str) -> AtTerminal:
    with AtTerminal([sys.executable, "-m", "bridge", *command], environ, size) as terminal:
        assert terminal.wait() == 0
    return terminal


@pytest.mark.external
@pytest.mark.parametrize("columns", [80, 40])
def test_tools_breaks_no_word_that_fits(tmp_path: Path, columns: int) -> None:
    config = tmp_path / "config.json"
    odd: list[Any] = [{"name": name, "inputSchema": {"type": "object"}} for name in (LONG, "查找/文件")]
    servers = {"r": rogue("bad_tool", f"tools={json.dumps(odd)}"), "absent": {"command": "no-such-command"}}
    config.write_text(json.dumps({"mcpServers": servers}), encoding="utf-8")
    rows = at_terminal(["tools", "--config", str(config)], (columns, 100)).rows
    words = [word for row in rows for word in row.split()]
    for whole in ("random_generator", "r__sleep_forever", "查找/文件", "approval", "schema:", "no-such-command"):
        assert whole in words
    assert f"r__{LONG}" in "".join(rows)
    assert all(count_columns(row) <= columns for row in rows)


@pytest.mark.external
@pytest.mark.parametrize(("locale", "words"), [("en_GB.UTF-8", ENGLISH), ("zh_CN.UTF-8", CHINESE), ("C", ENGLISH)])
def test_the_demo_speaks_the_readers_language_and_fits_the_screen(locale: str, words: Any) -> None:
    environ = {"LC_ALL": "", "LC_MESSAGES": "", "LANG": locale, "OPENAI_API_KEY": "", "OPENAI_BASE_URL": ""}
    terminal = at_terminal(["demo"], (80, 24), **environ)
    rows = terminal.rows
    assert len(rows) <= 24, "with that of the next prompt"
    assert rows[0] == words.starting.format(whom=words.embedded)
    assert words.paste in rows
    page = "\n".join(rows)
    assert page.count("✓") == 4
    assert "580.2" in page
    entry = json.loads("".join(rows[rows.index(words.paste) + 1 :]))
    assert entry["mcpServers"]["responses"]["command"] == find_command()


def test_the_language_is_that_of_messages() -> None:
    assert choose_words({"LANG": "zh_TW.UTF-8"}) is CHINESE
    assert choose_words({"LC_ALL": "en_US.UTF-8", "LANG": "zh_CN.UTF-8"}) is ENGLISH
    assert choose_words({"LC_ALL": "", "LC_MESSAGES": "zh_CN", "LANG": "de_DE"}) is CHINESE
    assert choose_words({"LANG": "de_DE.UTF-8"}) is ENGLISH
    assert choose_words({}) is ENGLISH
