"""The file of the audit: private, only added to, by several processes at once, in parts of a bounded size."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bridge.audit_file import KEPT, AuditFile

ROOM = 1 << 20
WRITE = """
import sys
from pathlib import Path
from bridge.audit_file import AuditFile
file = AuditFile(Path(sys.argv[1]), int(sys.argv[2]))
for number in range(int(sys.argv[4])):
    file.write('{"who": %s, "number": %d}' % (sys.argv[3], number))
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


def read(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def start(path: Path, max_bytes: int, who: int, count: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", WRITE, str(path), str(max_bytes), str(who), str(count)])


def test_it_is_readable_by_its_owner_alone_also_where_it_was_not(path: Path) -> None:
    AuditFile(path, ROOM).close()
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o644)
    AuditFile(path, ROOM).close()
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.rule("S33")
@pytest.mark.parametrize("kind", ["link", "folder", "pipe", "device"])
def test_what_is_no_file_at_its_place_is_refused(path: Path, kind: str) -> None:
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        (path if kind == "link" else path.parent / "other").symlink_to("/dev/null")
        path = path if kind == "link" else Path("/dev/full")
    with pytest.raises(OSError, match=r"."):
        AuditFile(path, ROOM)


def test_what_is_there_stays_and_lines_come_behind_it(path: Path) -> None:
    path.write_text("old\n", encoding="utf-8")
    AuditFile(path, ROOM).write("new")
    assert read(path) == ["old", "new"]


@pytest.mark.rule("S29")
def test_a_line_that_a_killed_process_left_in_part_costs_no_other(path: Path) -> None:
    path.write_text('{"a": 1}\n{"b":', encoding="utf-8")
    AuditFile(path, ROOM).write('{"c": 3}')
    assert read(path) == ['{"a": 1}', '{"b":', '{"c": 3}']


def test_a_file_that_is_moved_away_or_deleted_is_begun_anew(path: Path) -> None:
    file = AuditFile(path, ROOM)
    file.write("one")
    path.rename(path.with_suffix(".old"))
    file.write("two")
    path.unlink()
    file.write("three")
    assert (read(path.with_suffix(".old")), read(path)) == (["one"], ["three"])


def test_a_full_file_is_kept_and_only_so_many_of_them(path: Path) -> None:
    file = AuditFile(path, 100)
    for number in range(30):
        file.write(f"{number:019}")
    names = sorted(kept.name for kept in path.parent.iterdir())
    assert names == sorted([path.name, *(f"{path.name}.{number}" for number in range(1, KEPT + 1))])
    parts = [path.with_name(f"{path.name}.{number}") for number in range(KEPT, 0, -1)] + [path]
    assert [int(line) for part in parts for line in read(part)] == list(range(30))
    file.write("30")
    assert int(read(parts[0])[0]) == 5, "the oldest are gone"
    assert list(file.find("0000029")) == [f"{29:019}"]


@pytest.mark.rule("S29")
@pytest.mark.external
def test_processes_that_write_at_once_and_take_turns_to_begin_anew_lose_no_line(path: Path) -> None:
    count, writers = 2000, 4
    size = count * writers * 30 // KEPT
    for process in [start(path, size, who, count) for who in range(writers)]:
        assert process.wait(120) == 0
    parts = [part for part in path.parent.iterdir() if part.name.startswith(path.name)]
    lines = [json.loads(line) for part in parts for line in read(part) if line]
    assert len(parts) > 2
    assert sorted((line["who"], line["number"]) for line in lines) == [
        (who, number) for who in range(writers) for number in range(count)
    ]


@pytest.mark.rule("S29")
@pytest.mark.external
def test_a_process_that_is_killed_as_it_writes_leaves_one_line_in_part_at_most(path: Path) -> None:
    for who in range(5):
        process = start(path, 1 << 30, who, 10_000_000)
        before = path.stat().st_size if path.exists() else 0
        while not path.exists() or path.stat().st_size < before + 1000:
            os.sched_yield()
        process.send_signal(signal.SIGKILL)
        process.wait(60)
    AuditFile(path, 1 << 30).write("{}")
    broken = [line for line in read(path) if not line.endswith("}")]
    assert len(broken) <= 5
    assert read(path)[-1] == "{}"
