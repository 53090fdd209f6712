"""What the machine tells about itself, and what it never does."""

import getpass
import os
import platform
import socket
import sys
from datetime import datetime

import psutil
import pytest

from builtin_tools.system import SystemInfo, build_readers, read_system

READERS = build_readers()


def test_the_facts_are_those_of_this_machine() -> None:
    told = read_system()
    assert (told.os, told.architecture, told.python_version) == (
        platform.system(),
        platform.machine(),
        platform.python_version(),
    )
    assert told.memory_total_bytes == psutil.virtual_memory().total
    assert told.disk_total_bytes == psutil.disk_usage(os.sep).total
    assert told.boot_time is not None
    assert datetime.fromisoformat(told.boot_time).second == 0


@pytest.mark.rule("B9")
def test_every_declared_fact_is_read_and_no_other() -> None:
    assert list(READERS) == list(SystemInfo.model_fields)
    assert SystemInfo.model_json_schema()["additionalProperties"] is False


@pytest.mark.rule("B9")
@pytest.mark.parametrize("refusal", [psutil.AccessDenied(), NotImplementedError(), FileNotFoundError("/proc/stat")])
@pytest.mark.parametrize("field", list(READERS))
def test_a_fact_that_is_refused_is_null_and_the_others_stay(field: str, refusal: Exception) -> None:
    def refuse() -> object:
        raise refusal

    told = read_system({**READERS, field: refuse}).model_dump()
    assert told[field] is None
    assert [name for name in told if told[name] is None] == [field]


def test_a_machine_that_refuses_everything_still_has_a_line_to_read() -> None:
    nothing = read_system(dict.fromkeys(READERS, lambda: None))
    assert str(nothing).startswith("unknown unknown (unknown), Python unknown, unknown CPUs at unknown%")


@pytest.mark.rule("B9")
def test_nothing_tells_whose_machine_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "USER", "LOGNAME", "USERNAME", "HOSTNAME", "USERPROFILE", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, f"canary-{name}")
    monkeypatch.setattr(sys, "argv", ["canary-argv"])
    monkeypatch.setattr(socket, "gethostname", lambda: "canary-host")
    monkeypatch.setattr(platform, "node", lambda: "canary-node")
    monkeypatch.chdir(os.sep)
    told = read_system()
    text = f"{told} {told.model_dump_json()}".lower()
    assert "canary" not in text
    assert getpass.getuser() == "canary-LOGNAME", "the canary is where a leak would look"
