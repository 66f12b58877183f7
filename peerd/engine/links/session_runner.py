"""Performs what one session asks for, and tells it how that went.

Two workers per session: *inbound* learns statements and applies runs, in the order in which they came, several frames
in one commit if they have piled up, and decodes the next ones beside that commit; *outbound* finds, reads and compares
in the log, as far as the tail does not hold what is sought. Neither holds more than the credit allows.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from peerd.core.batch import Doubt, Fork
from peerd.core.chain import Run
from peerd.core.clocks import Clock
from peerd.core.device_id import short_id
from peerd.core.entry import NeedsNewer
from peerd.core.origin import Announcement
from peerd.engine.commits import Commit
from peerd.engine.decoded import Decoded
from peerd.engine.forks.fork_talk import ForkTalk
from peerd.engine.ports import Times
from peerd.engine.repair.repairs import CAPABILITY, Repairs
from peerd.engine.snapshots.exchange import SnapshotExchange, SnapshotTrouble
from peerd.engine.space import Space
from peerd.errors import DiskFull, StoreDamaged, StoreError
from peerd.logs import get
from peerd.protocol.effects import (
    Acked,
    ApplyRuns,
    Blocked,
    CaughtUp,
    CheckPositions,
    Compared,
    Effect,
    FindPosition,
    LearnLacking,
    LearnStatements,
    ReadLog,
    RolledBack,
    Send,
    ServeSnapshot,
    SnapshotCame,
    Wake,
    WantSnapshot,
    WantTurn,
)  # fmt: skip
from peerd.protocol.messages import (
    Ack,
    ForkMessage,
    Lacking,
    Locate,
    Located,
    Mend,
    Mended,
    Message,
    Notice,
    SessionMessage,
    SnapshotChunk,
    SnapshotRefuse,
    SnapshotWant,
    Summary,
)
from peerd.protocol.session import Phase, Session

if TYPE_CHECKING:
    from peerd.engine.links.link_runner import LinkRunner

log = get(__name__)

FULL_DISK_S = 15.0
COMMIT_BYTES = 1 << 20  # of runs in one SQL transaction
LACKING_AT_ONCE = 1_000


class SessionRunner:
    """`on_turn` and `on_caught_up` are the switchboard's: who may catch up from whom."""

    def __init__(self, space: Space, theirs: bytes, link: LinkRunner, times: Times) -> None:
        self.space = space
        self.theirs = theirs
        self.machine = Session(space.id, theirs)
        self.diverged = False
        self.stalled: StoreError | None = None
        self.on_turn: Callable[[SessionRunner, int], None] = lambda _one, _behind: None
        self.on_caught_up: Callable[[SessionRunner], None] = lambda _: None
        self._link = link
        self.repairs = Repairs(space, theirs, times, self._link.say, lambda equal: self._compared(equal=equal))
        self.repairs.understood = CAPABILITY in link.greeting.theirs.capabilities
        self._exchange = SnapshotExchange(space, theirs, self.machine, self._say, self._perform, self._forked)
        self.forks = ForkTalk(
            space,
            theirs,
            self._exchange,
            self._tell_ends,
            lambda: self.machine.is_forked,
            lambda: self.machine.their_clock,
        )
        self._times = times
        self._inbound: deque[LearnStatements | ApplyRuns] = deque()
        self._outbound: deque[ReadLog | FindPosition | CheckPositions] = deque()
        self._work_in = asyncio.Event()
        self._work_out = asyncio.Event()
        self._wake: asyncio.TimerHandle | None = None
        self._stopped = False
        self.since_ms = times.wall_ms()  # when `in_sync` last changed
        self._was_in_sync = False

    # ---- events

    def start(self, group: asyncio.TaskGroup) -> None:
        """Begin, with workers in the link's group: its end is theirs."""
        log.info("session opened", space=self.space.name, device=short_id(self.theirs))
        group.create_task(self._work_inbound(group), name="session inbound")
        group.create_task(self._work_outbound(), name="session outbound")
        self._exchange.start(group)
        self.repairs.start(group)
        self.forks.start(group)
        self._perform(self.machine.opened(self.space.ours()))

    def stop(self) -> None:
        """End. What they said of the members counts all the same: the last word may be that we are none."""
        left = [one for effect in self._inbound if isinstance(effect, LearnStatements) for one in effect.statements]
        if left:
            self.space.begin_to_learn(left)
        self._inbound.clear()
        self._outbound.clear()
        self.machine.ended()
        self._exchange.stop()
        self.repairs.stop()
        if self._wake is not None:
            self._wake.cancel()
        self._stopped = True
        self._work_in.set()
        self._work_out.set()

    def received(self, message: SessionMessage) -> None:
        if self.forks.received(message):
            return
        if isinstance(message, Locate | Located | Mend | Mended):
            if self.machine.phase in {Phase.READY, Phase.STREAMING}:
                self.repairs.came(message)
            return
        if isinstance(message, Summary | Ack):
            self.repairs.their_digest = message.digest
        self._perform(self.machine.received(message, self.space.ours(), self._now()))

    def bulk_sent(self, message: Message) -> None:
        if isinstance(message, SnapshotChunk):
            self._exchange.sent()
            return
        self._perform(self.machine.sent(self._now()))

    def committed(self, commit: Commit) -> None:
        if commit.lacking:
            self._link.say(Lacking(self.space.id, list(commit.lacking[:LACKING_AT_ONCE])))
        self._perform(
            self.machine.committed(
                self.space.ours(), self._now(), own=commit.own, foreign=commit.foreign, switched=commit.switched
            )
        )

    def roster_changed(self) -> None:
        self.forks.roster_changed()
        self._perform(self.machine.roster_changed(self.space.ours()))

    def take_turn(self) -> None:
        """It is our turn to receive."""
        self._perform(self.machine.want(self.space.ours()))

    @property
    def is_ready(self) -> bool:
        return self.machine.phase is Phase.READY

    @property
    def in_sync(self) -> bool:
        """Does nothing stop us, and does neither side lack a transaction, as far as is known here?"""
        machine, ours = self.machine, self.space.ours()
        if machine.phase is not Phase.STREAMING or self.diverged:
            return False
        if machine.blocked is not None or machine.notice is not None or self.stalled is not None:
            return False
        return machine.behind(ours) == machine.ahead(ours) == 0

    def _look_at_sync(self) -> None:
        """After whatever may change it."""
        if self.in_sync != self._was_in_sync:
            self._was_in_sync = not self._was_in_sync
            self.since_ms = self._times.wall_ms()
            if self._was_in_sync:
                self.repairs.in_sync()
                self.space.filled()

    def _say(self, message: SnapshotWant | SnapshotChunk | SnapshotRefuse) -> None:
        self._link.say(message, self)

    def _tell_ends(self, message: ForkMessage) -> None:
        self._link.say(message, self)

    def _now(self) -> float:
        return self._times.monotonic_s()

    # ---- effects

    def _perform(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send():
                    self.forks.saying(effect.message)
                    self._link.say(effect.message, self)
                case LearnStatements() | ApplyRuns():
                    self._inbound.append(effect)
                    self._work_in.set()
                case ReadLog() | FindPosition() | CheckPositions():
                    self._outbound.append(effect)
                    self._work_out.set()
                case Wake():
                    self._arm(effect.at_s)
                case _:
                    self._note(effect)
        self._look_at_sync()

    def _note(self, effect: Effect) -> None:
        match effect:
            case WantTurn():
                self.on_turn(self, effect.behind)
            case CaughtUp():
                self.on_caught_up(self)
            case Acked():
                self.space.note_acks(self.theirs, effect.clock, whole=effect.whole)
            case RolledBack():
                log.warning("copy went back in time", space=self.space.name, origin=effect.origin.hex())
                self.space.went_back()
            case Compared():
                self._compared(equal=effect.equal)
            case WantSnapshot():
                self._exchange.fetch()
            case ServeSnapshot():
                self._exchange.serve(effect.message)
            case SnapshotCame():
                self._exchange.came(effect.message)
            case Blocked():
                self._exchange.give_up()
                log.warning("session blocked", space=self.space.name, code=effect.code, cause=effect.text)
                self.on_caught_up(self)  # as far as it will ever get
            case LearnLacking():
                self.space.commits.restores.lacks(self.theirs, effect.records)
                self.space.look_at_parked()

    @property
    def snapshot_trouble(self) -> SnapshotTrouble | None:
        """Why the last attempt to take in one of theirs failed."""
        return self._exchange.trouble

    def _compared(self, *, equal: bool) -> None:
        if equal:
            self.space.agrees_with(self.theirs)
        if equal == self.diverged:
            self.diverged = not equal
            if equal:
                log.info("copies agree", space=self.space.name, device=short_id(self.theirs))
            else:
                doubt = self.space.doubt(self.theirs)
                more = {"cause": doubt} if doubt else {}
                log.error("copies diverged", space=self.space.name, device=short_id(self.theirs), **more)
            self._look_at_sync()
        self.repairs.compared(equal=equal)

    def _arm(self, at_s: float) -> None:
        if self._wake is not None:
            self._wake.cancel()
        delay = max(0.0, at_s - self._now())
        self._wake = asyncio.get_running_loop().call_later(delay, self._woken)

    def _woken(self) -> None:
        self._wake = None
        self._perform(self.machine.woken(self._now()))

    # ---- workers

    async def _work_inbound(self, tasks: asyncio.TaskGroup) -> None:
        applying: asyncio.Task[None] | None = None
        while not self._stopped:
            if not self._inbound:
                self._work_in.clear()
                await self._work_in.wait()
                continue
            if isinstance(effect := self._inbound[0], LearnStatements):
                await _end_of(applying)
                if self._stopped:
                    return  # `stop` has seen to it
                self._inbound.popleft()
                await self.space.learn(effect.statements)
                self._perform(self.machine.roster_changed(self.space.ours()))
            else:
                self._inbound.popleft()
                following, decoded = self._with_followers(effect), Decoded(self.forks.known)
                await decoded.decode([run for one in following for run in one.runs], self.space.copy)
                await _end_of(applying)
                applying = tasks.create_task(self._apply(following, decoded), name="session apply")

    def _with_followers(self, first: ApplyRuns) -> list[ApplyRuns]:
        group = [first]
        size = first.size_bytes
        while self._inbound and isinstance(self._inbound[0], ApplyRuns) and size < COMMIT_BYTES:
            group.append(self._inbound.popleft())  # type: ignore[arg-type] # looked at just now
            size += group[-1].size_bytes
        return group

    async def _apply(self, group: list[ApplyRuns], decoded: Decoded) -> None:
        announcements = [one for effect in group for one in effect.announcements]
        runs = [run for effect in group for run in effect.runs]
        try:
            await self._take(announcements, runs, decoded)
        except Fork as fork:
            self._forked(fork)
        except NeedsNewer as later:
            self._perform(self.machine.refuse("needs-newer", f"{later} needs a newer peerd here"))
        else:
            self._note_sent(runs)
            self._perform(self.machine.applied(sum(effect.size_bytes for effect in group), self.space.ours()))

    def _note_sent(self, runs: Iterable[Run]) -> None:
        """Whoever sends a run has it, and all of its origin before it."""
        sent: Clock = {}
        for run in runs:
            sent[run.origin] = max(run.last, sent.get(run.origin, 0))
        self.space.note_acks(self.theirs, sent)

    async def _take(self, announcements: list[Announcement], runs: list[Run], decoded: Decoded) -> None:
        """Through the commit door; while our disk is full, or fails, wait and try again. No credit is returned
        meanwhile, so they stop sending.
        """
        while True:
            try:
                self.space.check_room()
                await self.space.commits.take(announcements, runs, decoded)
            except StoreError as problem:
                if isinstance(problem, StoreDamaged) or problem.code == "stopping":
                    raise
                if self.stalled is None:
                    log.warning("session stalled", space=self.space.name, cause=str(problem))
                    text = "its disk is full" if isinstance(problem, DiskFull) else "its disk takes no writes"
                    self._link.say(Notice(self.space.id, problem.code, text))
                self.stalled = problem
                self._look_at_sync()
                await asyncio.sleep(FULL_DISK_S)
            else:
                break
        if self.stalled is not None:
            self.stalled = None
            self._link.say(Notice(self.space.id))
            self._look_at_sync()

    async def _work_outbound(self) -> None:
        while not self._stopped:
            if not self._outbound:
                self._work_out.clear()
                await self._work_out.wait()
                continue
            match self._outbound.popleft():
                case FindPosition() as effect:
                    position = await self.space.store.position_before(effect.clock)
                    snapshots = self.space.store.snapshots
                    gap = await snapshots.gap(effect.clock, position) if effect.measured else None
                    self._perform(self.machine.positioned(position, self.space.ours(), self._now(), gap))
                case CheckPositions() as effect:
                    differing = await self.space.forks.differing(effect.positions)
                    fork = differing[:2] if differing is not None else None
                    self._perform(self.machine.positions_checked(fork, self.space.ours()))
                    if differing is not None:
                        self.forks.found(differing.origin, differing.seq, doubtful=differing.doubtful)
                    else:
                        self.space.forks.healed(self.theirs)
                        self.forks.agreed()
                case ReadLog() as effect:
                    await self._read_log(effect)

    async def _read_log(self, effect: ReadLog) -> None:
        # Here and not at the doorbell: whoever wrote is answered before we begin to send.
        slice_ = self.space.commits.tail.runs_after(effect.after, effect.max_bytes, covered=effect.covered)
        if slice_ is None:
            slice_ = await self.space.store.runs_after(effect.after, effect.max_bytes, covered=effect.covered)
        self._perform(
            self.machine.log_read(
                slice_.rows, slice_.read_up_to, self.space.ours(), self._now(), express=effect.express
            )
        )

    def _forked(self, fork: Fork) -> None:
        self._perform(self.machine.refuse("fork", str(fork)))
        self.forks.found(fork.origin, fork.seq, doubtful=isinstance(fork, Doubt))


async def _end_of(applying: asyncio.Task[None] | None) -> None:
    """Of the commit before. If it fails, the link's group has heard of it and ends us."""
    if applying is not None:
        await asyncio.wait([applying])
