"""Spaces whose disk failed go on by themselves when it works again: those that could not be opened, and those that were
open and could not be written.

    could not be opened                 opened
    full, read-only, no descriptors     a small commit
    a sync failed                       a small commit and a checkpoint; then closed, and opened anew from what is on
                                        the disk: what was acknowledged is written to it once more before anything new

A failure is met with the next look, ten seconds later at most, then again after 20 s, 40 s, and every minute for as
long as it lasts. A database that is damaged or missing is left to people.
"""

from __future__ import annotations

import asyncio

from msgspec import Struct

from peerd.core.backoff import doubling_s
from peerd.engine.ports import Times
from peerd.engine.space import Space
from peerd.engine.spaces import Spaces
from peerd.errors import StoreError
from peerd.logs import get
from peerd.protocol.control.reports import RetryView

log = get(__name__)

LOOK_S = 10.0
LONGEST_S = 60.0


class _Trials(Struct):
    tries: int
    next_s: float  # by the monotonic clock


class Reopening:
    def __init__(self, spaces: Spaces, times: Times) -> None:
        self._spaces = spaces
        self._times = times
        self._trials: dict[str, _Trials] = {}

    def view(self, name: str) -> RetryView | None:
        """How often a space that cannot go on was tried since it failed, and when it is the next time; None: it is not,
        or nothing is the matter with it.
        """
        trials = self._trials.get(name)
        if trials is None:
            return None
        return RetryView(tries=trials.tries, in_s=round(max(0.0, trials.next_s - self._times.monotonic_s()), 1))

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            await self.look()

    async def look(self) -> None:
        """Try what is due."""
        stopped = self._stopped()
        for name in self._trials.keys() - stopped:
            del self._trials[name]
        now_s = self._times.monotonic_s()
        for name in sorted(stopped):
            trials = self._trials.get(name)
            if trials is not None and trials.next_s > now_s:
                continue
            tries = trials.tries + 1 if trials is not None else 1
            await self._try(name)
            self._trials[name] = _Trials(tries, self._times.monotonic_s() + doubling_s(LOOK_S, LONGEST_S, tries))
        for name in self._trials.keys() - self._stopped():
            log.info("space goes on", space=name, count=self._trials.pop(name).tries)

    def _stopped(self) -> set[str]:
        """The names of those that wait for their disk."""
        live = {space.name for space in self._spaces.by_id.values() if _waits(space)}
        return live | set(self._spaces.passing())

    async def _try(self, name: str) -> None:
        space = next((one for one in self._spaces.by_id.values() if one.name == name), None)
        try:
            if space is None:
                await self._spaces.open_again(name)
                return
            await space.store.probe()
            if space.store.is_unsynced:
                await self._spaces.reopen(space)
        except StoreError as problem:
            log.debug("space does not go on yet", space=name, code=problem.code, cause=str(problem))


def _waits(space: Space) -> bool:
    return space.store.failure is not None and not space.is_damaged
