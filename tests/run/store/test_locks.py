"""The locks that tell which processes are alive, where several come and go at the same instant."""

import subprocess
import sys
from pathlib import Path

import pytest

BORN_WHILE_ANOTHER_TIDIES = """
import subprocess, sys
from pathlib import Path
from bridge.run.store.database import Driver

database = Path(sys.argv[1])
tidy = "import sys, pathlib; from bridge.run.store.database import clear_locks as clear; clear(pathlib.Path(%r), set())"

def watch(event, _):
    if event == "sqlite3.connect/handle":  # the file of the lock is there, and nobody holds it yet
        subprocess.run([sys.executable, "-c", tidy % str(database)], check=True)

sys.addaudithook(watch)
driver = Driver(database)
ask = "import sys, pathlib; from bridge.run.store.database import is_alive; print(is_alive(pathlib.Path(%r), %r))"
subprocess.run([sys.executable, "-c", ask % (str(database), driver.name)], check=True)
"""


@pytest.mark.external
@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be removed there")
def test_a_process_that_begins_while_another_tidies_up_is_not_taken_for_a_dead_one(tmp_path: Path) -> None:
    """Else its runs would be taken up while it drives them, and their calls be made twice."""
    command = [sys.executable, "-c", BORN_WHILE_ANOTHER_TIDIES, str(tmp_path / "runs.sqlite")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "True\n", "it is alive"
