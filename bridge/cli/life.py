"""The life of a service, by signals: SIGHUP has it read its configuration again, SIGTERM lets it end its runs first."""

import argparse
import logging
import os
import signal
from collections.abc import Callable
from pathlib import Path

import anyio
import anyio.to_thread
from anyio.abc import TaskStatus

from bridge.app import Bridge
from bridge.cli.exits import COMPLETED, INTERRUPTED
from bridge.cli.setup import read_config
from bridge.config.changes import Changes, compare
from bridge.config.settings import Config
from bridge.errors import ConfigError
from bridge.host.http import Listening
from bridge.host.personal_tokens import choose_verifiers

logger = logging.getLogger(__name__)
logger.setLevel(logging.INFO)  # what a signal of the operator's comes to is said at any level
RECORDED = "runs are recorded (--record), each with the configuration as it was at the start; restart to change it"


class Life:
    """Watcher of one service's signals. Reloads are done one after the other; the last one holds."""

    def __init__(
        self, bridge: Bridge, listening: Listening, options: argparse.Namespace, has_hangup: Callable[[], bool]
    ) -> None:
        """`has_hangup` tells whether SIGHUP came before somebody watched."""
        self._bridge = bridge
        self._listening = listening
        self._options = options
        self._has_hangup = has_hangup
        self._is_ending = False
        self._asked = anyio.Event()

    async def watch(
        self, on_end: Callable[[int], None], *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """Obey signals until cancelled; call `on_end` once, with the exit code. SIGTERM ends the service once its runs
        have ended, another one or SIGINT at once."""
        names = ("SIGINT", "SIGTERM", "SIGHUP")
        known = [getattr(signal, name) for name in names if hasattr(signal, name)]
        has_ended = False

        def end(code: int) -> None:
            nonlocal has_ended
            if not has_ended:
                has_ended = self._is_ending = True
                on_end(code)

        async with anyio.create_task_group() as tasks:
            with anyio.open_signal_receiver(*known) as signals:
                if self._has_hangup():
                    self.ask()
                task_status.started()
                async for number in signals:
                    if number not in (signal.SIGINT, signal.SIGTERM):
                        self.ask()
                    elif number == signal.SIGTERM and not self._is_ending and self._drain_s:
                        self._is_ending = True
                        tasks.start_soon(self._drain, end)
                    else:
                        end(INTERRUPTED if number == signal.SIGINT else COMPLETED)

    @property
    def _drain_s(self) -> float:
        return self._bridge.config.serve.drain_s

    async def _drain(self, end: Callable[[int], None]) -> None:
        engine = self._bridge.engine
        if count := len(engine.list_live()):
            logger.info("stopping: no more runs are begun; %d may go on for %g s", count, self._drain_s)
        await self._bridge.drain(self._drain_s)
        if left := len(engine.list_live()):
            fate = "kept for the next process" if engine.outlives else "cancelled"
            logger.info("stopping: %d of the runs did not end in time (serve.drain_s) and are %s", left, fate)
        end(COMPLETED)

    def ask(self) -> None:
        """Have the configuration read again."""
        self._asked.set()

    async def reload_when_asked(self) -> None:
        """Read the configuration again whenever that was asked for, until cancelled or at the end."""
        while True:
            await self._asked.wait()
            self._asked = anyio.Event()
            if not self._is_ending:
                await self._reload()

    async def _reload(self) -> None:
        before = self._bridge.config
        try:
            if self._options.record:
                raise ConfigError(RECORDED)
            changes = compare(before, await self._read(before.path))
            self._listening.readmit(
                before.serve, changes.config.serve, choose_verifiers(changes.config.serve, os.environ)
            )
            self._bridge.reconfigure(changes)
        except ConfigError as error:
            self._bridge.config_fault = error.message
            logger.warning("not reloaded, all stays as it was: %s", error.message)
        except Exception:  # boundary: runs go on, whatever is wrong with a file
            self._bridge.config_fault = "the bridge itself failed to read it; its log has the cause"
            logger.exception("not reloaded, all stays as it was")
        else:
            self._bridge.config_fault = None
            _tell(changes, before)

    async def _read(self, path: Path | None) -> Config:
        """Read the file. One that never ends, such as a pipe, does not hold up the end of the service."""
        return await anyio.to_thread.run_sync(read_config, self._options, path, abandon_on_cancel=True)


def _tell(changes: Changes, before: Config) -> None:
    """Say what a reload comes to: one line, and one for each thing that somebody has to know or do."""
    logger.info("reloaded: %s", changes.describe())
    for setting in changes.later:
        logger.warning("%s: has changed, and takes effect at the next start", setting)
    for why in changes.unusable.values():
        logger.warning("%s; the server goes on as it was", why)
    for notice in changes.config.notices:
        if notice not in before.notices:
            logger.warning("%s", notice["message"])
