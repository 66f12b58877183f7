"""Work that nobody waits for, cut into steps so short that whoever writes does not notice.

How much a step does is made to fit: about 10 ms, whatever the disk and the machine are. After each one, others have at
least as long to themselves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from peerd.engine.ports import Times

AIM_S = 0.010
FIRST_SIZE = 32
MAX_SIZE = 4_000


class SmallSteps:
    """One kind of work on one database; `turn` does a step when it may be done: `Commits.tend`, mostly."""

    def __init__(self, turn: Callable[[Callable[[], Awaitable[None]]], Awaitable[None]], times: Times) -> None:
        self._turn = turn
        self._times = times
        self._size = FIRST_SIZE

    async def do(self, step: Callable[[int], Awaitable[int]]) -> int:
        """Call `step` with how much it may do, in rows or pages, until it says that it has done nothing. Gives what it
        has done in all.
        """
        total = 0
        while done := await self._once(step):
            total += done
        return total

    async def _once(self, step: Callable[[int], Awaitable[int]]) -> int:
        done = 0
        took_s = 0.0

        async def work() -> None:
            nonlocal done, took_s
            began_s = self._times.monotonic_s()
            done = await step(self._size)
            took_s = self._times.monotonic_s() - began_s

        await self._turn(work)
        if took_s > AIM_S:
            self._size = max(1, int(self._size * max(0.25, AIM_S / took_s)))
        elif done and took_s < AIM_S / 2:
            self._size = min(MAX_SIZE, 2 * self._size)
        if done:
            await asyncio.sleep(took_s)
        return done
