"""The daemon's long-lived tasks: each has a name, a rule for its failure, and a state that `status` shows.

A task is one of two kinds. A *restarted* task works beside others that need not stop for it: after a failure it is
started again, later each time, and at once again after it has run well for a while; returning is its ordinary end.
An *essential* task is one without which peerd is of no use: when it fails or returns, the supervisor stops
everything and `run` raises.

    state      event                    next        what happens
    waiting    its turn, delay over     running
    running    returns, restarted       finished
    running    fails, restarted         waiting     logged; back-off doubles up to a minute, spread by chance
    running    fails, essential         failed      the others are stopped, `run` raises
    running    returns, essential       failed      the same
    any        stop                     stopped     cancelled; what does not end in time is left and named

Stopping goes in the reverse order of adding, one after the other, because a later task may use an earlier one; all
of it together has `stop_within_s`.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Protocol

from peerd import logs
from peerd.errors import PeerdError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

log = logs.get(__name__)

STOP_WITHIN_S: Final = 5.0
_FIRST_DELAY_S: Final = 1.0
_LONGEST_DELAY_S: Final = 60.0


class Clock(Protocol):
    def monotonic_s(self) -> float: ...
    def uniform(self, low: float, high: float, /) -> float: ...


class State(StrEnum):
    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(frozen=True)
class Report:
    """One task as `status` shows it: its state, how often it failed, and why last."""

    state: State
    failures: int
    cause: str


class TaskFailedError(PeerdError):
    """An essential task ended; the cause is chained."""

    code = "task-failed"


class _Task:
    def __init__(self, name: str, work: Callable[[], Awaitable[None]], *, essential: bool) -> None:
        self.name = name
        self.work = work
        self.essential = essential
        self.state = State.WAITING
        self.failures = 0
        self.cause = ""
        self.running: asyncio.Task[None] | None = None


class Supervisor:
    """Runs the tasks that were added. Used once: `add`, `run`, and `stop` from anywhere in the same loop."""

    def __init__(self, clock: Clock, *, stop_within_s: float = STOP_WITHIN_S) -> None:
        self._clock = clock
        self._stop_within_s = stop_within_s
        self._tasks: dict[str, _Task] = {}
        self._ended = asyncio.Event()
        self._stopping = False
        self._failure: TaskFailedError | None = None

    def add(self, name: str, work: Callable[[], Awaitable[None]], *, essential: bool = False) -> None:
        """Name a task; `work` is called anew for each start. Before `run` only."""
        if name in self._tasks:
            raise ValueError(f"two tasks named {name}")
        self._tasks[name] = _Task(name, work, essential=essential)

    def reports(self) -> dict[str, Report]:
        """Every task in the order of adding."""
        return {name: Report(task.state, task.failures, task.cause) for name, task in self._tasks.items()}

    async def run(self) -> None:
        """Start the tasks in order and return when all have been stopped.

        Raises:
            TaskFailedError: an essential task ended by itself; the others have been stopped.

        """
        try:
            for task in self._tasks.values():
                task.running = asyncio.create_task(self._keep(task), name=task.name)
            await self._ended.wait()
        finally:
            await self._stop_all()
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Ask for the end; `run` returns when it is reached. Harmless when repeated."""
        self._ended.set()

    # --- one task ---------------------------------------------------------------------------------------

    async def _keep(self, task: _Task) -> None:
        delay_s = _FIRST_DELAY_S
        while True:
            task.state = State.RUNNING
            started_s = self._clock.monotonic_s()
            try:
                await task.work()
            except Exception as error:
                if self._stopping:
                    log.exception("task failed while stopping", key=task.name, cause=str(error))
                    return
                task.failures += 1
                task.cause = str(error) or type(error).__name__
                if task.essential:
                    self._end_with(task, error)
                    return
                if self._clock.monotonic_s() - started_s > _LONGEST_DELAY_S:
                    delay_s = _FIRST_DELAY_S
                log.exception("task failed", key=task.name, count=task.failures, cause=task.cause)
            else:
                if task.essential and not self._stopping:
                    self._end_with(task, None)
                else:
                    task.state = State.FINISHED
                return
            task.state = State.WAITING
            await asyncio.sleep(self._clock.uniform(delay_s / 2, delay_s))
            delay_s = min(delay_s * 2, _LONGEST_DELAY_S)

    def _end_with(self, task: _Task, cause: Exception | None) -> None:
        task.state = State.FAILED
        task.cause = task.cause or "ended by itself"
        log.error("essential task ended", key=task.name, cause=task.cause, exc_info=cause)
        if self._failure is None:
            self._failure = TaskFailedError(f"{task.name}: {task.cause}")
            self._failure.__cause__ = cause
        self._ended.set()

    # --- the end ----------------------------------------------------------------------------------------

    async def _stop_all(self) -> None:
        self._stopping = True
        deadline_s = self._clock.monotonic_s() + self._stop_within_s
        for task in reversed(self._tasks.values()):
            if task.running is None:
                continue
            task.running.cancel()
            # Even with nothing left of the time, a cancelled task gets one turn of the loop to end.
            left_s = max(deadline_s - self._clock.monotonic_s(), 0)
            _done, pending = await asyncio.wait([task.running], timeout=left_s)
            if pending:
                log.error("task did not stop", key=task.name, hint="a bug of peerd, please report it")
            if task.state is not State.FAILED:
                task.state = State.STOPPED
