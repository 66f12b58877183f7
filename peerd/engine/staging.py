"""Runs that came before what they depend on: durable, bounded, not part of the clock, tried after every commit.

What they wait for may be lost for good. So after a long time they go: whoever has them sends them again if that ever
turns up, as nothing was acknowledged.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

from peerd.core.batch import Batch, Fork, Verdict
from peerd.core.chain import Run
from peerd.core.copy import CopyState
from peerd.core.entry import NeedsNewer
from peerd.core.limits import ENTRY_BYTES
from peerd.core.origin import Announcement
from peerd.core.stored import StagedRun
from peerd.engine.store_ports import SpaceStore
from peerd.errors import LinkLost, RemoteProtocolError
from peerd.logs import get

log = get(__name__)

STAGING_BYTES = ENTRY_BYTES + (64 << 20)
STAGING_RUNS = 10_000  # each is looked at after every commit
STAGED_MS = 60 * 24 * 3600 * 1000  # by the age of the database
Attempt = Callable[[Batch, Run], Verdict]
LimitOf = Callable[[bytes, Announcement], int | None]


class Staging:
    def __init__(self, staged: Iterable[StagedRun]) -> None:
        self.runs: dict[int, StagedRun] = {one.number: one for one in staged}

    def __len__(self) -> int:
        return len(self.runs)

    def try_all(self, batch: Batch, attempt: Attempt, limit_of: LimitOf) -> set[int]:
        """Apply those whose time has come. Gives the numbers of those that turn out to be worthless: whoever brought
        them is long gone, and nobody else is to suffer for it. So is what a removal keeps out (if somebody vouches
        for it later, the sessions ask for it again), and what is of a history that falls.
        """
        worthless: set[int] = set()
        progress = bool(self.runs)
        while progress:
            progress = False
            for number, staged in self.runs.items():
                run = staged.run
                at = batch.state.origins.get(run.origin)
                if number in worthless or at is None or run.last <= at.seq:
                    continue
                limit = limit_of(run.origin, at.announcement)
                if limit is not None and run.last > limit:
                    worthless.add(number)
                if number in worthless or run.first != at.seq + 1:
                    continue
                try:
                    verdict = attempt(batch, run)
                    progress |= verdict is Verdict.APPLIED
                    if verdict is Verdict.REFUSED:
                        worthless.add(number)
                except (RemoteProtocolError, Fork, NeedsNewer) as problem:
                    log.warning("staged run dropped", origin=run.origin.hex(), seq=run.first, cause=str(problem))
                    worthless.add(number)
        return worthless

    def used_up(self, state: CopyState) -> set[int]:
        """Those that are in the copy by now, from here or from elsewhere."""
        return {number for number, staged in self.runs.items() if staged.run.last <= state.seq(staged.run.origin)}

    def stale(self, state: CopyState, age_ms: int) -> set[int]:
        """Those that nobody should wait for any more, in a database of this age: they have waited for too long, or are
        in the copy by now.
        """
        return self.used_up(state) | {
            number for number, staged in self.runs.items() if age_ms - staged.age_ms > STAGED_MS
        }

    def forget(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            self.runs.pop(number, None)

    async def drop(self, store: SpaceStore, numbers: Collection[int]) -> None:
        """Those that are worthless."""
        if numbers:
            await store.unstage(list(numbers))
            self.forget(numbers)

    async def keep(self, store: SpaceStore, runs: Sequence[Run]) -> None:
        """Stage `runs` durably, if they are not there already: a relay gives them again and again.

        Raises:
            LinkLost: there is no room for all of them; another link brings the rest again.
        """
        there = {(one.run.origin, one.run.first, one.run.signature): one.run for one in self.runs.values()}
        fresh = [run for run in runs if there.get((run.origin, run.first, run.signature)) != run]
        fitting = fresh[: max(0, STAGING_RUNS - len(self.runs))]
        kept = await store.stage(fitting, STAGING_BYTES) if fitting else []
        self.runs.update((one.number, one) for one in kept)
        if len(kept) < len(fresh):
            raise LinkLost("too much waits for what it depends on", code="staging-full")
