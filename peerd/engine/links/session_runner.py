"""Performs what one session asks for, and tells it how that went.

Each kind of work has its own worker, so that none waits for another: `inbound` takes in what came, `outbound` looks up
in the log what is to go, and beside them snapshots, repairs and the talk of forks go their own ways.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from peerd.core.batch import Doubt, Fork, Name
from peerd.core.device_id import short_id
from peerd.engine.commits import Commit
from peerd.engine.forks.fork_talk import ForkTalk
from peerd.engine.links.inbound import Inbound
from peerd.engine.links.outbound import Outbound
from peerd.engine.ports import Times
from peerd.engine.repair.repairs import CAPABILITY, Repairs
from peerd.engine.restores import LACKING
from peerd.engine.snapshots.exchange import SnapshotExchange, SnapshotTrouble
from peerd.engine.space import Space
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

LACKING_AT_ONCE = 1_000


class SessionRunner:
    """`on_turn` and `on_caught_up` are the switchboard's: who may catch up from whom."""

    def __init__(self, space: Space, theirs: bytes, link: LinkRunner, times: Times) -> None:
        self.space = space
        self.theirs = theirs
        self.machine = Session(space.id)
        self.diverged = False
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
            lambda: self.machine.their_copy.clock,
        )
        self.inbound = Inbound(space, theirs, self.machine, self._perform, self._forked, lambda: self.forks.known)
        self._outbound = Outbound(space, theirs, self.machine, times, self._perform, self.forks)
        self._times = times
        self._wake: asyncio.TimerHandle | None = None
        self.since_ms = times.wall_ms()  # when `in_sync` last changed
        self._was_in_sync = False
        self._said_lacking: set[Name] = set()

    # ---- events

    def start(self, group: asyncio.TaskGroup) -> None:
        """Begin, with workers in the link's group: its end is theirs."""
        log.info("session opened", space=self.space.name, device=short_id(self.theirs))
        self.inbound.start(group)
        self._outbound.start(group)
        self._exchange.start(group)
        self.repairs.start(group)
        self.forks.start(group)
        self._perform(self.machine.opened(self.space.ours()))

    def stop(self) -> None:
        self.inbound.stop()
        self._outbound.stop()
        self.machine.ended()
        self._exchange.stop()
        self.repairs.stop()
        self.forks.stop()
        if self._wake is not None:
            self._wake.cancel()

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

    async def room(self) -> None:
        """For what they may say next: until then nobody should listen to it."""
        await self.inbound.room.wait()
        await self._outbound.room.wait()

    def bulk_sent(self, message: Message) -> None:
        if isinstance(message, SnapshotChunk):
            self._exchange.sent()
            return
        self._perform(self.machine.sent(self._now()))

    def committed(self, commit: Commit) -> None:
        self._say_lacking(commit.lacking)
        self._perform(
            self.machine.committed(
                self.space.ours(), self._now(), own=commit.own, foreign=commit.foreign, switched=commit.switched
            )
        )

    def _say_lacking(self, names: Iterable[Name]) -> None:
        """Each once, so that two that lack the same come to an end; what is too much at once with the next look."""
        news = [name for name in names if name not in self._said_lacking][:LACKING_AT_ONCE]
        if not news:
            return
        if len(self._said_lacking) >= LACKING:
            self._said_lacking.clear()
        self._said_lacking.update(news)
        self._link.say(Lacking(self.space.id, news))

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
        if machine.blocked is not None or machine.notice is not None or self.inbound.stalled is not None:
            return False
        return machine.behind(ours) == machine.ahead(ours) == 0

    def _look_at_sync(self) -> None:
        """After whatever may change it."""
        if self.in_sync != self._was_in_sync:
            self._was_in_sync = not self._was_in_sync
            self.since_ms = self._times.wall_ms()
            if self._was_in_sync:
                # What they said to have of origins that were new to us, we could not note then.
                self.space.presence.note_acks(self.theirs, self.machine.their_copy.clock)
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
                    self.inbound.came(effect)
                case ReadLog() | FindPosition() | CheckPositions():
                    self._outbound.asked(effect)
                case Wake():
                    self._arm(effect.at_s)
                case _:
                    self._note(effect)
        self._look_at_sync()

    def _note(self, effect: Effect) -> None:
        match effect:
            case WantTurn():
                self.space.look_at_parked()  # what we found to lack before, nobody has told them
                self.on_turn(self, effect.behind)
            case CaughtUp():
                self.on_caught_up(self)
            case Acked():
                self.space.presence.note_acks(self.theirs, effect.clock, whole=effect.whole)
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

    @property
    def is_fetching(self) -> bool:
        """Is a snapshot of theirs asked for, as often as it takes?"""
        return self._exchange.is_fetching

    def _compared(self, *, equal: bool) -> None:
        if equal:
            self.space.provenance.agrees_with(self.theirs)
        if equal == self.diverged:
            self.diverged = not equal
            if equal:
                log.info("copies agree", space=self.space.name, device=short_id(self.theirs))
            else:
                doubt = self.space.provenance.doubt(self.theirs)
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

    def _forked(self, fork: Fork) -> None:
        self._perform(self.machine.refuse("fork", str(fork)))
        self.forks.found(fork.origin, fork.seq, doubtful=isinstance(fork, Doubt))
