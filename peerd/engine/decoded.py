"""The entries of runs that came, decoded before it is their turn.

Decoding and checking them needs nothing of the copy, so it is done on the loop, a run at a time, while the writer's
thread is busy with the commit before. What is not decoded yet, or cannot be, is decoded when it is applied: only there
is anything refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TypeAlias

from peerd.core import plain_put
from peerd.core.chain import Run
from peerd.core.clocks import ReadClock
from peerd.core.copy import CopyState
from peerd.core.entry import Entry
from peerd.core.limits import RUN_BYTES
from peerd.core.plain_put import PlainPut

# Between two slices the loop serves whoever else waits, and lets go of Python's lock. While the writer's thread
# decides, it keeps that for some time and few slices are done; while it is inside SQLite, all the others.
SLICE_ENTRIES = 100

Read: TypeAlias = Entry | PlainPut


class Decoded:
    """Runs are told apart by what they are, not by what they claim: of two that claim one place, one is forged.
    `known`: so far whoever brought them is known to hold our history of each origin, if that is to be looked at; it was
    found out when ours had been `replaced` so often.
    """

    def __init__(self, known: ReadClock | None = None, replaced: int = 0) -> None:
        self.known = known
        self._replaced = replaced
        self._ahead: dict[int, tuple[Run, list[Read]]] = {}

    def judge(self, replaced: int) -> None:
        """It is their turn, and by now our history was replaced so often: of one before nothing is known to be ours."""
        if self.known is not None and replaced != self._replaced:
            self.known = {}

    async def decode(self, runs: Sequence[Run], copy: CopyState) -> None:
        """Decode those that `copy` lacks and that keep nobody else waiting for long."""
        for run in runs:
            if run.last <= copy.seq(run.origin) or run.size_bytes > 2 * RUN_BYTES:
                continue
            try:
                self._ahead[id(run)] = run, await self._in_slices(run.entries)
            except ValueError:
                continue

    async def _in_slices(self, entries: Sequence[bytes]) -> list[Read]:
        found: list[Read] = []
        for start in range(0, len(entries), SLICE_ENTRIES):
            if found:
                await asyncio.sleep(0)
            found += [plain_put.read(data) for data in entries[start : start + SLICE_ENTRIES]]
        return found

    def entries(self, run: Run) -> list[Read]:
        """Raises what `core.entry.decode` raises."""
        _, entries = self._ahead.get(id(run), (run, None))
        return [plain_put.read(data) for data in run.entries] if entries is None else entries
