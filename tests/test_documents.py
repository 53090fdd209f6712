"""What the documents say can be done: their commands parse, their files are read, and both READMEs say the same."""

import contextlib
import io
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bridge.cli.parser import build_parser
from bridge.config.load import load
from bridge.hosts.known import HOSTS as KNOWN
from tests.fakes.screen import COLUMNS
from tests.picture import COMMAND, run_demo

PAGES = ("README.md", "README.zh-CN.md", "docs/getting-started.md", "docs/team.md", "docs/hosts.md", "docs/service.md")
HOSTS = {
    "Claude Desktop": "claude_desktop_config.json",
    "Claude Code": ".mcp.json",
    "Cursor": ".cursor/mcp.json",
    "VS Code": ".vscode/mcp.json",
    "Codex": ".codex/config.toml",
    "Gemini CLI": ".gemini/settings.json",
    "Windsurf": ".codeium/windsurf/mcp_config.json",
    "Zed": ".config/zed/settings.json",
    "opencode": "opencode.json",
    "Copilot CLI": ".copilot/mcp-config.json",
}
"""The hosts that both pages for people have a section about, and where each has its file."""
TOKEN = "a-token-of-the-team"
NOT_YET = {"import"}
"""Commands that are being made."""
PLACEHOLDERS = {"HOST": "claude-desktop", "NAME": "git__git_log", "SERVER": "git", "WORDS": "commits"}
BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


def read(repository: Path, page: str) -> str:
    return (repository / page).read_text(encoding="utf-8")


def list_blocks(text: str, *kinds: str) -> list[str]:
    """The blocks of code of these kinds, without the indentation of a list around them."""
    return [re.sub(f"^{indent}", "", body, flags=re.M) for indent, kind, body in BLOCK.findall(text) if kind in kinds]


def list_commands(text: str) -> Iterator[str]:
    """Every command of ours in blocks and in running text, from the name of the program on."""
    plain = BLOCK.sub("", text)
    lines = [line for block in list_blocks(text, "sh") for line in block.splitlines()]
    for line in [*lines, *re.findall(r"`([^`\n]+)`", plain)]:
        if found := re.search(r"(?:^|[/ ])mcp-responses-bridge (?=[a-z])(.+)", re.sub(r" +#.*", "", line)):
            yield found[1]


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_ours_is_one_that_the_program_knows(page: str, repository: Path) -> None:
    commands = list(list_commands(read(repository, page)))
    assert commands
    for command in commands:
        words = [PLACEHOLDERS.get(word, word) for word in shlex.split(command)]
        said = io.StringIO()
        with contextlib.redirect_stderr(said):
            try:
                _, unknown = build_parser().parse_known_args(words)
            except SystemExit:
                pytest.fail(f"{command}: {said.getvalue()}")
        assert not unknown, command


@pytest.mark.parametrize("page", PAGES)
def test_every_block_for_a_shell_can_be_read_by_one(page: str, repository: Path) -> None:
    for block in list_blocks(read(repository, page), "sh"):
        subprocess.run(["sh", "-n"], input=block, text=True, check=True)


@pytest.mark.parametrize("page", PAGES)
def test_every_link_to_a_file_leads_to_one(page: str, repository: Path) -> None:
    folder = (repository / page).parent
    for target, _, place in re.findall(r"\]\((?!https?:)([^)#\s]*)(#?)([^)\s]*)\)", read(repository, page)):
        file = folder / target if target else repository / page
        assert file.exists(), target
        if place and file.suffix == ".md":
            assert place in list_anchors(file.read_text(encoding="utf-8")), f"{target}#{place}"


def list_anchors(text: str) -> list[str]:
    """The names by which a page's headings are linked to, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", BLOCK.sub("", text), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]


def test_each_host_has_a_section_in_both_pages_for_people(repository: Path) -> None:
    for page in ("docs/getting-started.md", "docs/team.md"):
        assert list(HOSTS) == [
            title for title in re.findall(r"^### (.+)$", read(repository, page), re.M) if title in HOSTS
        ]


def test_each_hosts_section_names_its_own_command(repository: Path) -> None:
    for title in HOSTS:
        section = find_section(read(repository, "docs/getting-started.md"), title)
        name = {"VS Code": "vscode"}.get(title, title.lower().replace(" ", "-"))
        assert list_blocks(section, "sh") == [f"mcp-responses-bridge install {name}\n"]
        assert all(f"\n- {word}: " in section for word in ("File", "Then", "Log"))


def find_section(text: str, title: str) -> str:
    return text.split(f"\n### {title}\n")[1].split("\n### ")[0]


def test_what_is_said_of_a_host_is_what_install_says_of_it(repository: Path) -> None:
    page = read(repository, "docs/getting-started.md")
    assert [host.title for host in KNOWN.values() if host.is_written] == list(HOSTS)
    for title, file in HOSTS.items():
        [host] = [host for host in KNOWN.values() if host.title == title]
        section = find_section(page, title)
        assert Path(file).name in section
        if host.project_files:
            assert "--project" in section
        for place in re.findall(r"(?:~|%\w+%)[/\\][\w./\\ -]+\w", host.log):
            assert place in section


@pytest.mark.parametrize("title", HOSTS)
def test_a_client_entry_is_read_as_its_host_reads_it(title: str, repository: Path, tmp_path: Path) -> None:
    """By our own reader of that host's files; what only the host fills in stays as it is written."""
    section = find_section(read(repository, "docs/team.md"), title)
    [block] = list_blocks(section, "json", "toml")
    file = tmp_path / HOSTS[title]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(block, encoding="utf-8")
    config = load(file, environ={"BRIDGE_TOKEN": TOKEN, "HOME": str(tmp_path)})
    [server] = config.servers
    if title == "Claude Desktop":
        assert (server.command, server.args[:3]) == ("npx", ("-y", "mcp-remote", "https://bridge.example.com/mcp"))
        return
    own = {"Zed": "YOUR_TOKEN", "opencode": "{env:BRIDGE_TOKEN}"}
    assert server.url == "https://bridge.example.com/mcp"
    assert server.headers == {"Authorization": f"Bearer {own.get(title, TOKEN)}"}


def test_the_config_for_a_team_loads(repository: Path, tmp_path: Path) -> None:
    [block, *_] = list_blocks(read(repository, "docs/team.md"), "json")
    (tmp_path / "bridge.json").write_text(block, encoding="utf-8")
    config = load(tmp_path / "bridge.json", environ={"OPENAI_API_KEY": "a-key-of-the-tests"})
    assert config.serve.allowed_hosts == ("bridge.example.com",)
    assert config.notices == ()


def test_both_readmes_have_the_same_headings_blocks_links_and_tables(repository: Path) -> None:
    own, other = read(repository, "README.md"), read(repository, "README.zh-CN.md")
    levels = [[len(mark) for mark in re.findall(r"^(#+) ", BLOCK.sub("", text), re.MULTILINE)] for text in (own, other)]
    assert levels[0] == levels[1]
    assert BLOCK.findall(own) == BLOCK.findall(other)
    targets = [sorted(re.findall(r"\]\(([^)#\s]+)", text)) for text in (own, other)]
    assert [target for target in targets[0] if "README" not in target] == [
        target for target in targets[1] if "README" not in target
    ]
    rows = [[line.count("|") for line in text.splitlines() if line.startswith("|")] for text in (own, other)]
    assert rows[0] == rows[1]


def test_the_first_screen_of_the_readme_says_who_what_and_how(repository: Path) -> None:
    for page in ("README.md", "README.zh-CN.md"):
        first = "\n".join(read(repository, page).splitlines()[:30])
        assert all(words in first for words in ("git clone https://", "make run", "install ", "(docs/demo.svg)"))


@pytest.mark.external
def test_the_picture_shows_what_the_demo_shows(repository: Path) -> None:
    """But for times, numbers and the machine. Make it again: `python -m tests.picture > docs/demo.svg`."""
    picture = ElementTree.parse(repository / "docs" / "demo.svg")
    rows = [text.text or "" for text in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert rows[0] == f"$ {COMMAND}"
    assert max(map(len, rows)) <= COLUMNS
    assert sorted(map(shorten, rows)) == sorted(shorten(row) for row in run_demo() if row)


def shorten(row: str) -> str:
    """The first two words of a row, without numbers; nothing of what a long one goes on with in the next."""
    return re.sub(r"\d+", "0", " ".join(row.split()[:2])) if re.match(r" *(turn|[→✓✗$-] )", row) else ""
