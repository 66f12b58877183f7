"""Keeping the database of a space from growing without end: history is forgotten, the log trimmed, room given back.

What may go is decided anew for each step, since members come and acknowledge meanwhile. Whoever was about to be sent
what has gone begins a new session, and takes a snapshot there.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from peerd.core.clocks import Clock
from peerd.core.trimming import Plan, held_by_all, standing_at
from peerd.engine.ports import Times
from peerd.engine.space import Space
from peerd.engine.upkeep.holding import Holder, Holders
from peerd.engine.upkeep.small_steps import SmallSteps

_ALL = 1 << 62


class Gone(Struct):
    """What went: rows of history, runs and their bytes, pages of the file, runs that waited in vain."""

    history: int = 0
    runs: int = 0
    log_bytes: int = 0
    pages: int = 0
    staged: int = 0


class Trimming:
    def __init__(self, holders: Holders, times: Times) -> None:
        self._holders = holders
        self._times = times

    async def trim(self, space: Space, history_ms: int) -> Gone:
        """Let go of what is older than `history_ms` and of use to nobody. Raises StoreError."""
        upkeep, gone = space.store.upkeep, Gone()
        before_ms = space.age.ms - history_ms

        async def forget(size: int) -> int:
            return await upkeep.forget(before_ms, size)

        async def shorten(size: int) -> int:
            trimmed = await upkeep.trim(self._plan(space, before_ms), size)
            if trimmed.runs:
                space.trimmed(trimmed.horizon)
                gone.log_bytes += trimmed.size_bytes
            return trimmed.runs

        async def stop_waiting() -> None:
            staging = space.commits.staging
            if stale := staging.stale(space.copy, space.age.ms):
                await space.store.unstage(list(stale))
                staging.forget(stale)
                gone.staged = len(stale)

        await space.commits.tend(stop_waiting)
        gone.history = await self._steps(space).do(forget)
        gone.runs = await self._steps(space).do(shorten)
        gone.pages = await self._steps(space).do(upkeep.give_back)
        return gone

    def may_go(self, space: Space) -> int:
        """How many transactions of the log all others have by now who count, whatever their age."""
        begins = space.copy.horizon()
        return sum(
            max(0, seq - begins.get(origin, 0)) for origin, seq in self._held(space, self._holders.of(space)).items()
        )

    def _held(self, space: Space, holders: Sequence[Holder]) -> Clock:
        return held_by_all(space.copy.clock(), (one.clock for one in holders if one.counts))

    def _steps(self, space: Space) -> SmallSteps:
        return SmallSteps(space.commits.tend, self._times)

    def _plan(self, space: Space, before_ms: int) -> Plan:
        holders = self._holders.of(space)
        pinned = space.snapshots.pinned()
        return Plan(
            self._held(space, holders),
            before_ms,
            _ALL if pinned is None else pinned,
            standing_at([*(one.clock for one in holders), *space.forks.places()]),
        )
