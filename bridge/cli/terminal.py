"""What a person at a terminal sees of a run, on stderr: a line per turn and call, and a question where one is due."""

import sys

import anyio
import anyio.to_thread
from rich.console import Console
from rich.text import Text

from bridge.items import JsonObject, encode


class Terminal:
    """Lines on stderr; on a terminal with a spinner under them while something is waited for."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._status = self._console.status("")
        self._asking = anyio.Lock()

    def __enter__(self) -> "Terminal":
        if self._console.is_terminal:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._status.stop()

    def show(self, line: str) -> None:
        """One line of progress."""
        style = {"✓": "green", "✗": "red", "!": "yellow", "t": "bold"}.get(line.strip()[:1], "")
        self._console.print(Text(line, style=style))

    async def approve(self, server: str, tool: str, arguments: JsonObject) -> bool:
        """Ask y/n, one question at a time; no terminal to ask on means no."""
        if not (sys.stdin.isatty() and self._console.is_terminal):
            return False
        shown = "".join(c if c.isprintable() else "�" for c in encode(arguments))
        async with self._asking:
            self._status.stop()
            try:
                self._console.print(Text(f"{server} wants to run {tool} with {shown}", style="yellow"))
                answer = await anyio.to_thread.run_sync(self._read_answer, abandon_on_cancel=True)
            finally:
                self._status.start()
        return answer.strip().lower() in ("y", "yes")

    def _read_answer(self) -> str:
        sys.stderr.write("Run it? [y/N] ")
        sys.stderr.flush()
        return sys.stdin.readline()
