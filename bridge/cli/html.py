"""`runs show ID --html FILE`: one run as a file of the page, for a report."""

import os
import sys
import time
from pathlib import Path

from bridge.cli.output import tell
from bridge.errors import ArgumentError
from bridge.host.page.document import write
from bridge.host.page.whole import write_file
from bridge.host.page.words import Words
from bridge.run.run import Run
from bridge.run.summary import Summary
from bridge.telemetry import Redactor

STDOUT = "-"


def write_page(place: str, run: Run, summary: Summary, redact: Redactor) -> None:
    """Write the page with this run into a new file, or on stdout. Raises ArgumentError where that cannot be."""
    html = write(write_file(run, summary, time.time(), Words(redact)))
    if place == STDOUT:
        sys.stdout.write(html)
        sys.stdout.flush()
        return
    path = Path(place)
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode=0o600)  # it holds what was asked and answered
    except FileExistsError:
        raise ArgumentError(f"--html: {path} is there already, and is not overwritten; name another file") from None
    except OSError as error:
        raise ArgumentError(f"--html: {path} cannot be written: {error.strerror}") from None
    with os.fdopen(file, "w", encoding="utf-8") as opened:
        opened.write(html)
    tell(f"Written: {path} (what was asked and answered is in it; secrets of the config are not)")
