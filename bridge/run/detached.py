"""Detached runs: they go on though their callers have left, as long as they are few and in nobody's way."""

from bridge.run.task import RunTask


class Detached:
    """The runs whose callers have left them, who was left first comes first. A caller may come back for its run."""

    def __init__(self, most: int) -> None:
        """`most`: as many may be of one principal that gave them up."""
        self.most = most
        self._tasks: dict[RunTask, bool] = {}
        """Each with whether it was given up, or else answered `in_progress` and not asked for since."""

    def add(self, task: RunTask, *, is_given_up: bool) -> None:
        """Note that a run was left. The oldest that its principal gave up is stopped if there are too many."""
        self._tasks[task] = self._tasks.get(task, False) or is_given_up
        given_up = [other for other in self._list() if self._tasks[other] and other.principal == task.principal]
        if len(given_up) > self.most:
            self._stop(given_up[0], f"nobody waited for this run, and {self.most} more like it went on")

    def make_room(self) -> None:
        """Stop the oldest run that holds a place which another run waits for."""
        if oldest := next((task for task in self._list() if task.has_place), None):
            self._stop(oldest, "nobody waited for this run, and others waited for its place (limits.max_runs)")

    def make_own_room(self, principal: str | None) -> None:
        """Stop the oldest run of this principal that holds a place which another one of its waits for."""
        own = (task for task in self._list() if task.has_place and task.principal == principal)
        if oldest := next(own, None):
            self._stop(
                oldest, "nobody waited for this run, and the next of its principal waited for its place (max_runs)"
            )

    def discard(self, task: RunTask) -> None:
        """Forget a run: it has ended."""
        self._tasks.pop(task, None)

    def _list(self) -> list[RunTask]:
        self._tasks = {task: given_up for task, given_up in self._tasks.items() if not task.is_wanted}
        return list(self._tasks)

    def _stop(self, task: RunTask, reason: str) -> None:
        self.discard(task)
        task.yield_place(f"{reason}, so it was stopped; with its run_id you can go on from what it had done")
