"""One space on one link, from the roster to live changes. A pure machine: methods are events, they give effects.

| phase     | meaning                                    | leaves when                                             |
|-----------|--------------------------------------------|---------------------------------------------------------|
| settling  | both sides exchange roster statements      | their digest of the roster equals ours → comparing      |
| comparing | SUMMARY sent; positions are compared       | no fork is found, theirs is here → ready                |
| behind    | a snapshot of theirs takes its place       | it is in place, or what we lack came else → comparing   |
| ready     | waiting for our turn to receive            | the engine says so: WANT → streaming                    |
| streaming | log to log, both ways, until the link ends | they offer a snapshot → behind                          |
| blocked   | a fork, a refusal, a version: `reason`     | a new link                                              |

One is behind at once where their log begins after what we have; or later, if the log that we lack is more than a
snapshot (`core.snapshots.choice`): then we may go back to *streaming* without one.

Statements are exchanged in every phase. What they want is served from `comparing` on: sending does not wait for our
turn to receive. A message that the phase does not allow is the peer's mistake and closes the link.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from msgspec import Struct

from peerd.core import digest
from peerd.core.clocks import Clock, includes
from peerd.core.copy import CopyState
from peerd.core.roster.roster import Roster
from peerd.core.snapshots.choice import Gap, by_snapshot
from peerd.core.stored import LogRow
from peerd.errors import LinkLost, RemoteProtocolError
from peerd.protocol.acknowledging import Acknowledging
from peerd.protocol.effects import (
    Acked,
    ApplyRuns,
    Blocked,
    Effect,
    LearnLacking,
    Send,
    ServeSnapshot,
    SnapshotCame,
    WantSnapshot,
    WantTurn,
)  # fmt: skip
from peerd.protocol.inflow import Inflow, announced
from peerd.protocol.messages import (
    Ack,
    Credit,
    Entries,
    Error,
    Lacking,
    Notice,
    Part,
    RosterMessage,
    SessionMessage,
    SnapshotChunk,
    SnapshotOffer,
    SnapshotRefuse,
    SnapshotWant,
    Summary,
    Want,
)  # fmt: skip
from peerd.protocol.outflow import Outflow
from peerd.protocol.roster_exchange import RosterExchange
from peerd.protocol.their_copy import TheirCopy, log_reaches, positions_to_check
from peerd.protocol.wanting import Wanting

FEATURE_LEVEL = 1


class Phase(Enum):
    SETTLING = "settling"
    COMPARING = "comparing"
    BEHIND = "behind"
    READY = "ready"
    STREAMING = "streaming"
    BLOCKED = "blocked"


class Ours(Struct, frozen=True):
    """What a session has to know of our side at the moment of an event."""

    copy: CopyState
    roster: Roster
    own_origin: bytes | None
    last_position: int
    refused: int = 0  # runs that came and were not accepted, because of a removal, since the copy was opened


class Session:
    def __init__(self, space: bytes) -> None:
        self.phase = Phase.SETTLING
        self.blocked: Blocked | None = None
        self.their_copy = TheirCopy()
        self.notice: Notice | None = None  # why they do not go on at the moment
        self.offer: SnapshotOffer | None = None  # of theirs, while we are behind because of it
        self._space = space
        self._rosters = RosterExchange(space)
        self._acks = Acknowledging(space)
        self._told_horizon: Clock = {}  # where our log began when we said so
        self._was_behind = False  # so that parts of a snapshot may come
        self._wanting = Wanting(space)
        self._inflow = Inflow()
        self._outflow = Outflow(space)

    # ---- the roster

    def opened(self, ours: Ours) -> list[Effect]:
        return self._rosters.tell(ours.roster)

    def roster_changed(self, ours: Ours) -> list[Effect]:
        """Our roster grew, by their statements or by others."""
        if self.phase is Phase.BLOCKED and not self.is_forked:
            return []
        effects = self._rosters.tell(ours.roster) + self._settle(ours)
        if self.phase is Phase.STREAMING and self.behind(ours):
            effects += self._wanting.what_was_refused(ours.copy.clock(), ours.refused)
        return effects

    def _on_roster(self, message: RosterMessage, ours: Ours) -> list[Effect]:
        effects = self._rosters.received(message, ours.roster)
        return effects if message.statements else effects + self._settle(ours)

    def _settle(self, ours: Ours) -> list[Effect]:
        if self.phase is not Phase.SETTLING or not self._rosters.agree(ours.roster):
            return []
        self.phase = Phase.COMPARING
        self._acks.told(ours.copy.clock())
        self._told_horizon = ours.copy.horizon()
        summary = Summary(
            self._space,
            ours.copy.positions(),
            digest.summary(ours.copy.digest),
            horizon=self._told_horizon,
            level=FEATURE_LEVEL,
        )
        effects: list[Effect] = [Send(summary)]
        if self.their_copy.summary is not None:
            effects += self._compare(self.their_copy.summary, ours)
        return effects

    # ---- comparing

    def _on_summary(self, message: Summary, ours: Ours) -> list[Effect]:
        self.their_copy.summed_up(message)
        if self.phase is Phase.SETTLING:
            return []  # they saw equal rosters first; ours follows
        return self._compare(message, ours)

    def _compare(self, message: Summary, ours: Ours) -> list[Effect]:
        effects = self.their_copy.meet(message, ours.copy, ours.own_origin)
        self._outflow.learn(self.their_copy.clock)
        clock = ours.copy.clock()
        if not log_reaches(message, clock):
            self.phase, self._was_behind = Phase.BEHIND, True
            notice = Notice(self._space, "horizon", "it lacks what the log here no longer has")
            effects.append(Send(notice))
        return [*effects, positions_to_check(message, clock)]

    def snapshot_stands(self, clock: Clock) -> None:
        """A snapshot of theirs that is whole stands there, and so they do."""
        self._know(clock)

    def _on_offer(self, message: SnapshotOffer) -> list[Effect]:
        if self.phase is not Phase.STREAMING:
            return []  # it answers what we wanted before
        self.phase, self._was_behind, self.offer = Phase.BEHIND, True, message
        return [WantSnapshot()]

    def without_snapshot(self, ours: Ours) -> list[Effect]:
        """The snapshot that they offered is not to be had, or of no use: the log will do."""
        if self.phase is not Phase.BEHIND or self.offer is None:
            return []
        self.phase, self.offer = Phase.STREAMING, None
        return [self._wanting.again(ours.copy.clock(), either=False)]

    def _reached(self, ours: Ours, *, switched: bool) -> list[Effect]:
        """Perhaps we need no snapshot (any more). After one that was offered, the log brings what it did not, and if it
        was another member's and that is much again, they will say so.
        """
        if self.phase is not Phase.BEHIND or (theirs := self.their_copy.summary) is None:
            return []
        clock = ours.copy.clock()
        if not log_reaches(theirs, clock):
            return []
        if self.offer is None:
            effects: list[Effect] = [Send(Notice(self._space))]
        elif switched or not self.behind(ours):
            self.offer, effects = None, []
        else:
            return []
        self.phase = Phase.COMPARING
        return [*effects, positions_to_check(theirs, clock)]

    def positions_checked(self, fork: tuple[bytes, int] | None, ours: Ours) -> list[Effect]:
        """`fork`: the origin and seq where our history differs from theirs, if any."""
        if fork is not None and self.phase is not Phase.BLOCKED:
            return self.refuse("fork", f"two histories of origin {fork[0].hex()} at {fork[1]}")
        if self.phase is not Phase.COMPARING:
            return [WantSnapshot()] if self.phase is Phase.BEHIND and self.offer is None else []
        self.phase = Phase.READY
        return [*self._acknowledge(ours), WantTurn(self.behind(ours))]

    def want(self, ours: Ours) -> list[Effect]:
        """It is our turn to receive on this session."""
        if self.phase is not Phase.READY:
            return []
        self.phase = Phase.STREAMING
        begin = self._wanting.begin(ours.copy.clock(), ours.refused)
        return [begin, *self._wanting.caught_up(self.their_copy, ours.copy)]

    def refuse(self, code: str, text: str) -> list[Effect]:
        """We go no further with them. The first reason stands."""
        if self.phase is Phase.BLOCKED:
            return []
        return [self._block(Blocked(code, text, ours=True)), Send(Error(code, text, self._space))]

    @property
    def is_forked(self) -> bool:
        return self.blocked is not None and self.blocked.code == "fork"

    def _block(self, why: Blocked) -> Blocked:
        self.phase = Phase.BLOCKED
        self.blocked = why
        self._outflow.stop()
        return why

    # ---- streaming

    def received(self, message: SessionMessage, ours: Ours, now_s: float) -> list[Effect]:
        """A message of this session's space.

        Raises:
            RemoteProtocolError: the phase does not allow it, or it breaks a limit.
            LinkLost: they relied on what we no longer have; a new session tells them.
        """
        if self.phase is Phase.BLOCKED:
            return self._on_roster(message, ours) if self.is_forked and isinstance(message, RosterMessage) else []
        effects = self._at_any_time(message, ours)
        if effects is not None:
            return effects
        if self.phase is Phase.SETTLING:
            raise RemoteProtocolError(f"{type(message).__name__.upper()} before the rosters agreed", code="order")
        match message:
            case Want():
                return self._on_want(message, ours)
            case Ack():
                return self._on_ack(message, ours)
            case Credit():
                return self._outflow.credited(message.released_bytes, now_s)
            case Entries() | Part():
                return self._on_entries(message)
            case SnapshotWant():
                return [ServeSnapshot(message)]
            case SnapshotOffer():
                return self._on_offer(message)
            case SnapshotChunk() | SnapshotRefuse() if self._was_behind:
                return [SnapshotCame(message)]
        raise RemoteProtocolError(f"{type(message).__name__} has no place in a session", code="order")

    def _on_want(self, message: Want, ours: Ours) -> list[Effect]:
        self._know(message.clock)
        if not includes(message.clock, ours.copy.horizon()):
            if includes(message.clock, self._told_horizon):
                raise LinkLost("our log begins later now than was said: both begin anew", code="bye")
            return self.refuse("horizon", "the log no longer reaches back to what they have")
        found = self._outflow.wanted(message.clock, message.credit_bytes, either=message.either)
        return [Acked(dict(message.clock)), *found]

    def _at_any_time(self, message: SessionMessage, ours: Ours) -> list[Effect] | None:
        """What a message asks for whose place does not depend on the phase; None if it does."""
        match message:
            case Error():
                return [self._block(Blocked(message.code, message.text, ours=False))]
            case Notice():
                self.notice = message if message.code else None
                return []
            case Lacking():
                return [LearnLacking(list(message.records))]
            case RosterMessage():
                return self._on_roster(message, ours)
            case Summary():
                return self._on_summary(message, ours)
        return None

    def _on_entries(self, message: Entries | Part) -> list[Effect]:
        if self.phase is not Phase.STREAMING:
            raise RemoteProtocolError("entries that nobody wanted", code="order")
        if isinstance(message, Entries):
            size = self._inflow.entries(message)
            self._know({run.origin: run.last for run in message.runs})
            return [ApplyRuns(announced(message, self._space), list(message.runs), size)]
        taken = self._inflow.part(message)
        effects: list[Effect] = [Send(Credit(self._space, taken.credit_bytes))] if taken.credit_bytes else []
        if taken.run is not None:
            self._know({taken.run.origin: taken.run.last})
            effects.append(ApplyRuns(taken.introduced, [taken.run], taken.owed_bytes))
        return effects

    def _on_ack(self, message: Ack, ours: Ours) -> list[Effect]:
        self._know(message.clock)
        effects: list[Effect] = [Acked(dict(message.clock)), *self.their_copy.compared(message.digest, ours.copy)]
        is_past_comparing = self.phase in {Phase.READY, Phase.STREAMING}
        if is_past_comparing and self._acks.is_news(message.clock, ours.copy, self._outflow.sent_clock):
            effects += self._acknowledge(ours)
        return effects

    def _know(self, clock: Clock) -> None:
        self.their_copy.know(clock)
        self._outflow.learn(clock)

    def applied(self, size_bytes: int, ours: Ours) -> list[Effect]:
        """Runs of `size_bytes` from this session are applied or staged."""
        released_bytes = self._inflow.release(size_bytes)
        effects: list[Effect] = [Send(Credit(self._space, released_bytes))] if released_bytes else []
        return effects + self._wanting.caught_up(self.their_copy, ours.copy)

    def committed(self, ours: Ours, now_s: float, *, own: bool, foreign: bool, switched: bool = False) -> list[Effect]:
        """Our copy moved: by our own transactions, by those of others from any session, or (a restore) by both.
        `switched`: because a snapshot took its place.
        """
        if self.phase in {Phase.SETTLING, Phase.BLOCKED}:
            return []
        effects: list[Effect] = []
        if foreign and self.phase is not Phase.COMPARING:  # until their SUMMARY is here, they may be settling still
            effects += self._acknowledge(ours)
        if switched and self.phase is Phase.STREAMING and self.behind(ours):
            # What waited here for that, and was given up, nobody sends again unasked.
            effects.append(self._wanting.again(ours.copy.clock()))
        effects += self._reached(ours, switched=switched)
        effects += self._wanting.caught_up(self.their_copy, ours.copy)
        return effects + self._outflow.committed(ours.last_position, now_s, own=own)

    def _acknowledge(self, ours: Ours) -> list[Effect]:
        return [Send(ack) for ack in self._acks.news(ours.copy)]

    def positioned(self, position: int, ours: Ours, now_s: float, gap: Gap | None = None) -> list[Effect]:
        """`gap` is what they lack, if it was measured."""
        if gap is not None and by_snapshot(gap) and self._outflow.put_off():
            return [Send(SnapshotOffer(self._space, gap.records, gap.record_bytes))]
        return self._outflow.positioned(position, ours.last_position, now_s)

    def log_read(
        self, rows: Sequence[LogRow], read_up_to: int, ours: Ours, now_s: float, *, express: bool
    ) -> list[Effect]:
        return self._outflow.log_read(rows, read_up_to, ours.copy, now_s, express=express)

    def sent(self, now_s: float) -> list[Effect]:
        return self._outflow.sent(now_s)

    def woken(self, now_s: float) -> list[Effect]:
        return self._outflow.pump(now_s)

    def ended(self) -> None:
        """The link is gone: let go of what was held for it, now and not when Python happens to look."""
        self._inflow, self._outflow, self.their_copy.summary = Inflow(), Outflow(self._space), None

    # ---- for people

    def behind(self, ours: Ours) -> int:
        """Transactions that they are known to have and we have not."""
        return self.their_copy.behind(ours.copy)

    def ahead(self, ours: Ours) -> int:
        """Transactions that we have and they are not known to have."""
        return self.their_copy.ahead(ours.copy)
