"""The scrub of one copy: slow, in small steps.

What a round looks for stands in `peerd.core.repair.scrub`. Records that are not what was written are found as their
rows are read; rows that are gone, or were changed together with their share, when the round is over and everything is
added up. What becomes of that is the business of `engine.repair.damage`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress

from peerd.core import digest
from peerd.core.repair.scrub import LOG, ScrubState
from peerd.engine.commits import Commits
from peerd.engine.ports import Times
from peerd.engine.repair.damage import Damage
from peerd.engine.store_ports import SpaceStore
from peerd.errors import StoreError
from peerd.logs import get

log = get(__name__)

STEP_ROWS = 100  # in about a millisecond
STEP_BYTES = 256 << 10
STEP_RUNS_BYTES = 128 << 10
PAUSE_S = 0.02
PAUSE_AT_ONCE_S = 0.001
WITHIN_S = 20.0
ALARM_S = 600.0
AGAIN_S = 60.0
A_STEP = 1e-9  # of a round


class Scrubbing:
    """`copy_id` gives the id of the copy."""

    def __init__(
        self, name: str, commits: Commits, store: SpaceStore, times: Times, copy_id: Callable[[], bytes], damage: Damage
    ) -> None:
        self.end = 0  # what there is to look at in a round, as far as it is known
        self._name = name
        self._commits = commits
        self._store = store
        self._times = times
        self._copy_id = copy_id
        self._damage = damage
        self._lock = asyncio.Lock()
        self._over = False
        self._ending = asyncio.Event()
        self._alarmed_s: float | None = None
        self._round: asyncio.Task[None] | None = None
        self._again: asyncio.Task[None] | None = None
        self.trouble: StoreError | None = None  # what kept it from going on, the last time

    @property
    def state(self) -> ScrubState:
        return self._damage.state

    async def close(self) -> None:
        """Stop at the end of the step."""
        self._over = True
        self._ending.set()
        if self._again is not None:
            await asyncio.wait({self._again})
        if self._round is not None:
            await asyncio.wait({self._round})
        async with self._lock:
            pass

    # ---- rounds

    async def some(self, share: float) -> None:
        """So much of a round (1.0: as much as a whole one), with pauses. Raises StoreError."""
        async with self._at_work():
            await self._begin()
            left = share * max(1, self.end)
            while left > 0 and not self._over:
                looked = await self._step(left)
                left -= max(1, looked)
                if looked < 0:
                    await self._finish(at_once=False)
                    break
                await asyncio.sleep(PAUSE_S)
            await self._store.scrubs.save(self.state)

    def alarm(self) -> None:
        """Something in the database could not be read: look at all of it now, unless that was done just now."""
        now_s = self._times.monotonic_s()
        if self._over or self.running or (self._alarmed_s is not None and now_s - self._alarmed_s < ALARM_S):
            return
        self._alarmed_s = now_s
        self._round = asyncio.create_task(self.round(), name="scrub")
        self._round.add_done_callback(self._alarm_over)

    def _alarm_over(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (problem := task.exception()) is not None:
            log.warning("scrub failed", space=self._name, cause=str(problem))

    @property
    def running(self) -> bool:
        return self._round is not None and not self._round.done()

    async def now(self, within_s: float = WITHIN_S) -> None:
        """Begin a round at once, unless one is under way, and wait so long for its end. Raises StoreError."""
        if self._round is None or self._round.done():
            self._round = asyncio.create_task(self.round(), name="scrub")
        done, _ = await asyncio.wait({self._round}, timeout=within_s)
        for round_ in done:
            round_.result()

    async def round(self) -> None:
        """All of it, from the beginning, with hardly a pause. Raises StoreError."""
        async with self._at_work():
            self.state.begin(self._copy_id())
            while not self._over:
                if await self._step(STEP_ROWS) < 0:
                    break
                await asyncio.sleep(PAUSE_AT_ONCE_S)
            if not self._over:
                await self._finish(at_once=True)
            await self._store.scrubs.save(self.state)

    @asynccontextmanager
    async def _at_work(self) -> AsyncGenerator[None, None]:
        async with self._lock:
            try:
                yield
            except StoreError as problem:
                self.trouble = problem
                self._look_again()
                raise
            self.trouble = None

    def _look_again(self) -> None:
        if not self._over and (self._again is None or self._again.done()):
            self._again = asyncio.create_task(self._until_it_goes(), name="scrub again")

    async def _until_it_goes(self) -> None:
        """What it met with may pass, and would be told for an hour after that."""
        while self.trouble is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(AGAIN_S):
                    await self._ending.wait()
                return
            with suppress(StoreError):
                await self.some(A_STEP)

    async def _begin(self) -> None:
        if self.state.copy_id != self._copy_id():
            self.state.begin(self._copy_id())
        if not self.end:
            rows = await self._store.scrubs.rows(self.state.row, 1, 0)
            self.end = rows.end + self._commits.last_position

    async def _step(self, most: float) -> int:
        """Look at some records, or after them at some runs. Gives how many; -1 if there are no more."""
        state, scrubs, still = self.state, self._store.scrubs, self._still()
        if not state.rows_done:
            rows = await scrubs.rows(state.row, max(1, min(STEP_ROWS, round(most))), STEP_BYTES)
            state.row, state.rows_done = rows.last, not rows.more
            state.records += rows.records
            self.end = rows.end + self._commits.last_position
            if rows.suspects:
                state.found += len(rows.suspects)
                await self._damage.suspected(rows.suspects, still)
            return rows.records
        runs = await scrubs.runs(state.run, STEP_RUNS_BYTES, self._commits.verify)
        state.run = runs.last
        state.runs += runs.runs
        if runs.broken:
            state.found += len(runs.broken)
            names = [("", f"{run.origin.hex()} {run.first}") for run in runs.broken]
            findings = self._damage.findings
            await findings.note(findings.fresh(LOG, names))
            self._damage.changed()
        return runs.runs if runs.more else -1

    def _still(self) -> Callable[[], bool]:
        """Is the copy still the one that it is now?"""
        copy_id = self._copy_id()
        return lambda: self._copy_id() == copy_id

    async def _finish(self, *, at_once: bool) -> None:
        """Everything was looked at: does it add up?"""
        still = self._still()
        counted = await self._store.scrubs.count(at_once=at_once)
        if not counted.agrees:
            self.state.found += len(digest.differing(counted.sums, counted.kept))
            await self._damage.counted(counted, still)
        await self._damage.begin_anew()
        state = self.state
        state.end(self._times.wall_ms())
        state.begin(self._copy_id())
        await self._damage.findings.forget()
        log.info("copy scrubbed", space=self._name, count=state.last_records, state=f"{state.last_found} found")
