"""What one session looks up in our log for the other side: where a clock stands in it, what follows, and whether their
history is ours. One look at a time, in the order in which the session asks, and none for what the tail still holds.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import TypeAlias

from peerd.engine.forks.fork_talk import ForkTalk
from peerd.engine.ports import Times
from peerd.engine.space import Space
from peerd.protocol.effects import CheckPositions, Effect, FindPosition, ReadLog
from peerd.protocol.session import Session

LOOKS_WAITING = 64

Look: TypeAlias = ReadLog | FindPosition | CheckPositions


class Outbound:
    """`perform` does what the session asks for after each answer; `forks` hears where two histories part, or that they
    do not.
    """

    def __init__(
        self,
        space: Space,
        theirs: bytes,
        machine: Session,
        times: Times,
        perform: Callable[[Iterable[Effect]], None],
        forks: ForkTalk,
    ) -> None:
        self._space = space
        self._theirs = theirs
        self._machine = machine
        self._times = times
        self._perform = perform
        self._forks = forks
        self.room = asyncio.Event()  # for more looks: until then nothing more is read of the link
        self.room.set()
        self._waiting: deque[Look] = deque()
        self._work = asyncio.Event()
        self._stopped = False

    def start(self, group: asyncio.TaskGroup) -> None:
        """With a worker in the link's group: its end is ours."""
        group.create_task(self._work_off(), name="session outbound")

    def stop(self) -> None:
        self._waiting.clear()
        self._stopped = True
        self._work.set()
        self.room.set()

    def asked(self, look: Look) -> None:
        self._waiting.append(look)
        self._work.set()
        if len(self._waiting) >= LOOKS_WAITING:
            self.room.clear()

    async def _work_off(self) -> None:
        while not self._stopped:
            if not self._waiting:
                self._work.clear()
                await self._work.wait()
                continue
            look = self._waiting.popleft()
            if len(self._waiting) < LOOKS_WAITING:
                self.room.set()
            match look:
                case FindPosition():
                    await self._find_position(look)
                case CheckPositions():
                    await self._check_positions(look)
                case ReadLog():
                    await self._read_log(look)

    async def _find_position(self, look: FindPosition) -> None:
        store = self._space.store
        position = await store.position_before(look.clock)
        gap = await store.snapshots.gap(look.clock, position) if look.measured else None
        self._perform(self._machine.positioned(position, self._space.ours(), self._now(), gap))

    async def _check_positions(self, look: CheckPositions) -> None:
        differing = await self._space.forks.differing(look.positions)
        fork = differing[:2] if differing is not None else None
        self._perform(self._machine.positions_checked(fork, self._space.ours()))
        if differing is not None:
            self._forks.found(differing.origin, differing.seq, doubtful=differing.doubtful)
        else:
            self._space.forks.healed(self._theirs)
            self._forks.agreed()

    async def _read_log(self, look: ReadLog) -> None:
        # Here and not at the doorbell: whoever wrote is answered before we begin to send.
        slice_ = self._space.commits.tail.runs_after(look.after, look.max_bytes, covered=look.covered)
        if slice_ is None:
            slice_ = await self._space.store.runs_after(look.after, look.max_bytes, covered=look.covered)
        self._perform(
            self._machine.log_read(
                slice_.rows, slice_.read_up_to, self._space.ours(), self._now(), express=look.express
            )
        )

    def _now(self) -> float:
        return self._times.monotonic_s()
