"""Where functions over a `sqlite3.Connection` run: in a thread of aiosqlite, or right here for simulations."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Protocol, TypeVar

import aiosqlite

T = TypeVar("T")
Connect = Callable[[], sqlite3.Connection]


class Runner(Protocol):
    async def run(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Run all of `function` over the connection. Once called it runs to its end, even if the caller is cancelled;
        functions run one at a time, in the order of the calls.
        """
        ...

    async def close(self) -> None: ...


class ThreadRunner(aiosqlite.Connection):
    """A whole transaction in one hop to the thread and back (a hop costs some 50 µs, aiosqlite's own way is one per
    statement). aiosqlite finishes what is queued whether or not somebody still waits for it.
    """

    def __init__(self, connect: Connect) -> None:
        super().__init__(connect, iter_chunk_size=64)

    def join(self) -> None:
        """Wait for the thread of a connection that could not be opened: it ends at once, and while it does it still
        speaks to the loop, which may be closed by then.
        """
        self._thread.join()

    async def run(self, function: Callable[[sqlite3.Connection], T]) -> T:
        result: T = await self._execute(function, self._conn)  # type: ignore[no-untyped-call]  # aiosqlite has none
        return result


class InlineRunner:
    """The same without a thread: nothing runs beside the caller, so that a simulation stays deterministic."""

    def __init__(self, connect: Connect) -> None:
        self._connection = connect()

    async def run(self, function: Callable[[sqlite3.Connection], T]) -> T:
        return function(self._connection)

    async def close(self) -> None:
        self._connection.close()


async def start(connect: Connect, *, threaded: bool) -> Runner:
    """A runner over a connection that `connect` opens; it belongs to the runner's thread alone."""
    if threaded:
        runner = ThreadRunner(connect)
        try:
            await runner
        except BaseException:
            runner.join()
            raise
        return runner
    return InlineRunner(connect)
