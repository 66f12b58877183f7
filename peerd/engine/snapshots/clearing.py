"""Clearing away what came of a snapshot that was given up, or what is left of one that is in place."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from peerd.engine.ports import Times
from peerd.engine.snapshots.ports import SnapshotStore
from peerd.engine.upkeep.small_steps import SmallSteps
from peerd.errors import StoreError
from peerd.logs import get

log = get(__name__)


class Clearing:
    """Some rows at a time, so that writers get their turn between. `name` is the space's, for the log."""

    def __init__(self, name: str, store: SnapshotStore, times: Times) -> None:
        self._name = name
        self._store = store
        self._times = times
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    async def close(self) -> None:
        """Stop in the middle; the next start goes on with it."""
        self._closed = True
        if self._task is not None:
            await asyncio.wait([self._task])

    def begin(self) -> None:
        """Beside everything else."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._clear(), name="clear snapshot")

    async def finish(self) -> None:
        """Until nothing is left."""
        if self._task is not None:
            await asyncio.wait([self._task])
        await self._clear()

    async def _clear(self) -> None:
        async def clear(size: int) -> int:
            return int(not self._closed and await self._store.clear_some(size))

        try:
            await SmallSteps(_in_no_turn, self._times).do(clear)
        except StoreError as problem:  # the next start goes on with it
            log.warning("snapshot not cleared away", space=self._name, code=problem.code, cause=str(problem))


async def _in_no_turn(work: Callable[[], Awaitable[None]]) -> None:
    """What is cleared away, no commit knows of."""
    await work()
