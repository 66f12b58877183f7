"""What came on one session, taken into our copy in the order in which it came.

Several frames of runs go in one commit if they have piled up, and the next ones are decoded beside that commit. No
more runs wait here than our credit allows, and while more is said of members than is learnt so fast, nothing more is
read of the link. While our disk takes no writes, what came waits and is tried again: no credit is returned meanwhile,
so they stop sending.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from functools import partial

from peerd.core.batch import Fork
from peerd.core.chain import Run
from peerd.core.clocks import Clock, ReadClock
from peerd.core.device_id import short_id
from peerd.core.entry import NeedsNewer
from peerd.core.origin import Announcement
from peerd.engine.decoded import Decoded
from peerd.engine.space import Space
from peerd.errors import DiskFull, StoreClosed, StoreDamaged, StoreError
from peerd.logs import get
from peerd.protocol.effects import ApplyRuns, Effect, LearnStatements, Send
from peerd.protocol.messages import Notice
from peerd.protocol.session import Session

log = get(__name__)

FULL_DISK_S = 15.0
COMMIT_BYTES = 1 << 20  # of runs in one SQL transaction
STATEMENTS_WAITING = 16  # messages


class Inbound:
    """`perform` does what the session asks for next. `on_fork` hears that a run does not fit our history; `known`
    gives how far they are known to hold the same one. `stalled` is why nothing more is taken in at the moment.
    """

    def __init__(
        self,
        space: Space,
        theirs: bytes,
        machine: Session,
        perform: Callable[[Iterable[Effect]], None],
        on_fork: Callable[[Fork], None],
        known: Callable[[], ReadClock],
    ) -> None:
        self.stalled: StoreError | None = None
        self.room = asyncio.Event()  # for more statements
        self.room.set()
        self._space = space
        self._theirs = theirs
        self._machine = machine
        self._perform = perform
        self._on_fork = on_fork
        self._known = known
        self._replaced = space.commits.replaced  # so often, when that began to be found out
        self._waiting: deque[LearnStatements | ApplyRuns] = deque()
        self._work = asyncio.Event()
        self._stopped = False

    def start(self, group: asyncio.TaskGroup) -> None:
        """With a worker in the link's group: its end is ours."""
        group.create_task(self._work_off(group), name="session inbound")

    def stop(self) -> None:
        """What they said of the members counts all the same: the last word may be that we are none."""
        left = [one for effect in self._waiting if isinstance(effect, LearnStatements) for one in effect.statements]
        if left:
            self._space.learning.begin(left, self._theirs)
        self._waiting.clear()
        self._stopped = True
        self._work.set()
        self.room.set()

    def came(self, effect: LearnStatements | ApplyRuns) -> None:
        self._waiting.append(effect)
        self._work.set()
        self._look_for_room()

    def _look_for_room(self) -> None:
        if sum(isinstance(one, LearnStatements) for one in self._waiting) < STATEMENTS_WAITING:
            self.room.set()
        else:
            self.room.clear()

    async def _work_off(self, tasks: asyncio.TaskGroup) -> None:
        applying: asyncio.Task[None] | None = None
        while not self._stopped:
            if not self._waiting:
                self._work.clear()
                await self._work.wait()
                continue
            if isinstance(effect := self._waiting[0], LearnStatements):
                await _end_of(applying)
                if self._stopped:
                    return  # `stop` has seen to it
                self._waiting.popleft()
                self._look_for_room()
                await self._kept(partial(self._space.learn, effect.statements, self._theirs))
                self._perform(self._machine.roster_changed(self._space.ours()))
            else:
                self._waiting.popleft()
                following, decoded = self._with_followers(effect), Decoded(self._known(), self._replaced)
                await decoded.decode([run for one in following for run in one.runs], self._space.copy)
                await _end_of(applying)
                applying = tasks.create_task(self._apply(following, decoded), name="session apply")

    def _with_followers(self, first: ApplyRuns) -> list[ApplyRuns]:
        group = [first]
        size = first.size_bytes
        while self._waiting and isinstance(self._waiting[0], ApplyRuns) and size < COMMIT_BYTES:
            group.append(self._waiting.popleft())  # type: ignore[arg-type] # looked at just now
            size += group[-1].size_bytes
        return group

    async def _apply(self, group: list[ApplyRuns], decoded: Decoded) -> None:
        announcements = [one for effect in group for one in effect.announcements]
        runs = [run for effect in group for run in effect.runs]
        try:
            await self._kept(partial(self._take, announcements, runs, decoded))
        except Fork as fork:
            self._on_fork(fork)
        except NeedsNewer as later:
            self._perform(self._machine.refuse("needs-newer", f"{later} needs a newer peerd here"))
        else:
            self._note_sent(runs)
            self._perform(self._machine.applied(sum(effect.size_bytes for effect in group), self._space.ours()))

    def _note_sent(self, runs: Iterable[Run]) -> None:
        """Whoever sends a run has it, and all of its origin before it."""
        sent: Clock = {}
        for run in runs:
            sent[run.origin] = max(run.last, sent.get(run.origin, 0))
        self._space.presence.note_acks(self._theirs, sent)

    async def _take(self, announcements: list[Announcement], runs: list[Run], decoded: Decoded) -> None:
        """Through the commit door."""
        self._space.check_room()
        await self._space.commits.take(announcements, runs, decoded, (self._theirs,))

    async def _kept(self, work: Callable[[], Awaitable[object]]) -> None:
        """Do this; while our disk is full, or fails, wait and try again."""
        while True:
            try:
                await work()
            except StoreError as problem:
                if isinstance(problem, StoreDamaged | StoreClosed):
                    raise
                went_on, self.stalled = self.stalled is None, problem
                if went_on:
                    log.warning(
                        "session stalled", space=self._space.name, device=short_id(self._theirs), cause=str(problem)
                    )
                    text = "its disk is full" if isinstance(problem, DiskFull) else "its disk takes no writes"
                    self._perform([Send(Notice(self._space.id, problem.code, text))])
                await asyncio.sleep(FULL_DISK_S)
            else:
                break
        if self.stalled is not None:
            self.stalled = None
            self._perform([Send(Notice(self._space.id))])


async def _end_of(applying: asyncio.Task[None] | None) -> None:
    """Of the commit before. If it fails, the link's group has heard of it and ends us."""
    if applying is not None:
        await asyncio.wait([applying])
