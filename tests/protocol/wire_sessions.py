"""Two or more sessions with a small copy in memory behind each, and a wire of any order between them."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from hashlib import blake2b

from msgspec import Raw

from peerd.core import entry, values
from peerd.core.batch import Author, Batch, Verdict
from peerd.core.chain import Run
from peerd.core.copy import CopyState
from peerd.core.entry import Change, Kind
from peerd.core.origin import Announcement, origin_of
from peerd.core.roster.statements import SignedStatement, statement_id
from peerd.core.stored import LogRow
from peerd.core.writes import finish
from peerd.protocol.effects import (
    ApplyRuns,
    CheckPositions,
    Effect,
    FindPosition,
    LearnStatements,
    ReadLog,
    Send,
    Wake,
    WantTurn,
)
from peerd.protocol.messages import SessionMessage
from peerd.protocol.session import Ours, Session
from tests.simulation.memory import Disk, MemoryReader

SPACE = b"a space of tests"


class StatementSet:
    """What a session asks of a roster: a set of statements that only grows."""

    def __init__(self, statements: Sequence[SignedStatement] = ()) -> None:
        self.statements = {statement_id(one.data): one for one in statements}

    def digest(self) -> bytes:
        return blake2b(b"".join(sorted(self.statements)), digest_size=16).digest()

    def missing_from(self, ids: set[bytes]) -> tuple[SignedStatement, ...]:
        return tuple(one for name, one in self.statements.items() if name not in ids)

    def add(self, statements: Sequence[SignedStatement]) -> None:
        self.statements.update({statement_id(one.data): one for one in statements})


def statement(name: str) -> SignedStatement:
    return SignedStatement(name.encode(), bytes(64))


class Copy:
    """A device's copy, and its sessions by the name of the other side."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.device = blake2b(name.encode(), digest_size=32).digest()
        self.disk = Disk(CopyState(SPACE))
        self.roster = StatementSet([statement("genesis")])
        self.rows: list[LogRow] = []
        self.waiting: list[Run] = []
        self.limits: dict[bytes, int] = {}
        self.refused = 0
        self.sessions: dict[str, Side] = {}
        announcement = Announcement(self.device, bytes(16), blake2b(name.encode(), digest_size=16).digest())
        self.author = Author(origin_of(SPACE, announcement), announcement, lambda _: b"s" * 64)

    def ours(self) -> Ours:
        return Ours(self.disk.state, self.roster, self.author.origin, len(self.rows), self.refused)  # type: ignore[arg-type] # see StatementSet

    def _batch(self) -> Batch:
        return Batch(
            self.disk.state, MemoryReader(self.disk), lambda origin, _: self.limits.get(origin), lambda *_: True
        )

    def _commit(self, batch: Batch, *, own: bool) -> None:
        writes = finish(batch)
        self.disk.commit(writes)
        for applied in writes.runs:
            self.rows.append(LogRow(len(self.rows) + 1, applied.run, 0))
        if writes.runs:
            for side in list(self.sessions.values()):
                side.perform(side.session.committed(self.ours(), side.wire.now_s, own=own, foreign=not own))

    def write(self, key: str, size_bytes: int = 10) -> None:
        """One transaction."""
        batch = self._batch()
        batch.load([("notes", key)])
        batch.write(self.author, [Change(Kind.PUT, "notes", key, {"a": Raw(values.pack("x" * size_bytes))})], 1, 2)
        self._commit(batch, own=True)

    def take(self, announcements: Sequence[Announcement], runs: Sequence[Run]) -> None:
        batch = self._batch()
        for announcement in announcements:
            batch.state = batch.state.with_origin(origin_of(SPACE, announcement), announcement)
        pending, self.waiting = [*runs, *self.waiting], []
        progress = True
        while progress:
            verdicts = [(run, batch.take(run, [entry.decode(data) for data in run.entries])) for run in pending]
            progress = any(verdict is Verdict.APPLIED for _, verdict in verdicts)
            pending = [run for run, verdict in verdicts if verdict is Verdict.WAITING]
            self.refused += sum(verdict is Verdict.REFUSED for _, verdict in verdicts)
        self.waiting = pending
        self._commit(batch, own=False)

    @property
    def keys(self) -> set[str]:
        return {key for _, key in self.disk.rows}


class Side:
    """One session with what it asks for done on the spot, or held back: `holds` names kinds of effects."""

    def __init__(self, copy: Copy, wire: Wire) -> None:
        self.copy = copy
        self.wire = wire
        self.session = Session(SPACE)
        self.sent: deque[SessionMessage] = deque()  # under way to the other side
        self.effects: list[Effect] = []  # all that it ever asked for
        self.wakes: list[float] = []
        self.held: deque[Effect] = deque()
        self.holds: tuple[type[Effect], ...] = ()
        self.auto_sent = True
        self.unsaid = 0  # bulk frames of which the session has not heard yet that they left
        self.is_saying = False

    def perform(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            self.effects.append(effect)
            if isinstance(effect, self.holds):
                self.held.append(effect)
            else:
                self.do(effect)
        while self.unsaid and not self.is_saying:
            self.is_saying = True
            self.unsaid -= 1
            self.perform(self.session.sent(self.wire.now_s))
            self.is_saying = False

    def do(self, effect: Effect) -> None:  # noqa: C901 - one case for each kind of effect
        ours, now_s, session = self.copy.ours(), self.wire.now_s, self.session
        match effect:
            case Send(message):
                self.sent.append(message)
                self.unsaid += message.bulk and self.auto_sent
            case LearnStatements(statements):
                self.copy.roster.add(statements)
                for side in self.copy.sessions.values():
                    side.perform(side.session.roster_changed(self.copy.ours()))
            case CheckPositions(positions):
                self.perform(session.positions_checked(self._fork(positions), ours))
            case FindPosition(clock):
                behind = [row.position for row in self.copy.rows if row.run.last > clock.get(row.run.origin, 0)]
                self.perform(session.positioned(min(behind) - 1 if behind else len(self.copy.rows), ours, now_s))
            case ReadLog() as read:
                rows: list[LogRow] = []
                size = 0
                up_to = len(self.copy.rows)
                for row in self.copy.rows[read.after :]:
                    if row.run.last <= read.covered.get(row.run.origin, 0):
                        continue
                    size += row.run.size_bytes
                    if rows and size > read.max_bytes:
                        up_to = rows[-1].position
                        break
                    rows.append(row)
                self.perform(session.log_read(rows, up_to, ours, now_s, express=read.express))
            case ApplyRuns(announcements, runs, size_bytes):
                self.copy.take(announcements, runs)
                self.perform(session.applied(size_bytes, self.copy.ours()))
            case WantTurn():
                self.perform(session.want(ours))
            case Wake(at_s):
                self.wakes.append(at_s)

    def _fork(self, positions: Sequence[tuple[bytes, int, bytes]]) -> tuple[bytes, int] | None:
        for origin, seq, hash8 in positions:
            ours = self.copy.disk.hashes.get((origin, seq))
            if ours is not None and ours != hash8:
                return origin, seq
        return None

    def release(self, count: int = 1 << 30) -> None:
        """Do what was held back."""
        for _ in range(min(count, len(self.held))):
            self.do(self.held.popleft())

    def all_of(self, kind: type[Effect]) -> list[Effect]:
        return [effect for effect in self.effects if isinstance(effect, kind)]


class Wire:
    """Between two copies. Each direction keeps its order; control goes before bulk, as on a link."""

    def __init__(self, one: Copy, other: Copy) -> None:
        self.now_s = 0.0
        self.one, self.other = Side(one, self), Side(other, self)
        one.sessions[other.name] = self.one
        other.sessions[one.name] = self.other

    def open(self) -> None:
        for side in (self.one, self.other):
            side.perform(side.session.opened(side.copy.ours()))

    def deliver(self, to: Side) -> SessionMessage | None:
        """The next message to one side: control first."""
        sender = self.other if to is self.one else self.one
        if not sender.sent:
            return None
        control = next((message for message in sender.sent if not message.bulk), None)
        message = control if control is not None else sender.sent[0]
        sender.sent.remove(message)
        to.perform(to.session.received(message, to.copy.ours(), self.now_s))
        return message

    def settle(self) -> None:
        """Until nothing is under way; timers fire."""
        for _ in range(100_000):
            if self.deliver(self.one) or self.deliver(self.other):
                continue
            due = [side for side in (self.one, self.other) if side.wakes]
            if not due:
                return
            for side in due:
                self.now_s = max(self.now_s, side.wakes.pop(0))
                side.perform(side.session.woken(self.now_s))
        raise AssertionError("the sessions never come to rest")


def linked(one: Copy, other: Copy) -> Wire:
    wire = Wire(one, other)
    wire.open()
    wire.settle()
    return wire
