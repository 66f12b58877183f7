"""Two devices that pair over a wire that can be cut, recorded and changed; copies whose sessions meet over a wire."""

from __future__ import annotations

from collections import deque
from hashlib import blake2b, shake_256
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from msgspec import Raw

from peerd.core import chain, entry, writes
from peerd.core.batch import Author, Batch, Fork, Verdict
from peerd.core.chain import Run
from peerd.core.copy import CopyState
from peerd.core.entry import Change, Kind
from peerd.core.origin import Announcement, origin_of
from peerd.core.roster import compose, epochs
from peerd.core.roster.acceptance import vouches_due
from peerd.core.roster.roster import Roster
from peerd.core.roster.statements import DeviceCard, Final, SignedStatement, decode_statement
from peerd.core.stored import LogRow, LogSlice
from peerd.core.values import pack
from peerd.protocol import codec
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
from peerd.protocol.messages import Entries, Message, Part
from peerd.protocol.pairing import pairing
from peerd.protocol.pairing.inviter import Inviter
from peerd.protocol.pairing.joiner import Joiner
from peerd.protocol.pairing.messages import GrantBody
from peerd.protocol.pairing.window import InvitationWindow
from peerd.protocol.session import Ours, Session
from tests.simulation.memory import Disk, MemoryReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

CODE = "48219073"


def verify(public_key: bytes, signature: bytes, data: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, data)
    except InvalidSignature:
        return False
    return True


class Device:
    """A key pair made from a name, and chance that is the same in every run."""

    def __init__(self, name: str) -> None:
        self.key = Ed25519PrivateKey.from_private_bytes(shake_256(name.encode()).digest(32))
        self.card = DeviceCard(
            self.key.public_key().public_bytes_raw(), shake_256(b"x" + name.encode()).digest(32), name
        )
        self.id = self.card.device
        self._name = name
        self._drawn = 0

    def entropy(self, count: int) -> bytes:
        self._drawn += 1
        return shake_256(f"{self._name} {self._drawn}".encode()).digest(count)

    def say(self, roster: Roster, data: bytes) -> Roster:
        larger, added = roster.with_statements([compose.signed(data, self.key.sign)])
        assert added, larger.refused
        return larger

    def founded(self, name: str = "home") -> Roster:
        data = compose.found_space(name, self.card, self.entropy(16))
        return self.say(Roster(decode_statement(data).space, verify), data)


class Meeting:
    """An inviter and a joiner on one link. `run` delivers frames until nobody says anything more; what the machines
    want from the engine is done here, durably and at once.
    """

    def __init__(self, **changed: Any) -> None:
        self.inviting, self.joining = Device("desk"), Device("laptop")
        self.now_s = 1000.0
        self.roster = self.inviting.founded()
        self.window: InvitationWindow | None = InvitationWindow(CODE, self.now_s)
        self.effects: dict[str, list[pairing.Effect]] = {"inviter": [], "joiner": []}
        self.frames: dict[str, list[bytes]] = {"inviter": [], "joiner": []}
        self.answer = True  # of the persons
        self.joined: Roster | None = None
        self.inviter = self.new_inviter(**changed.get("inviter", {}))
        self.joiner = self.new_joiner(**changed.get("joiner", {}))

    def new_inviter(self, **changed: Any) -> Inviter:
        wanted: dict[str, Any] = {
            "ours": self.inviting.id,
            "name": "desk",
            "theirs": self.joining.id,
            "window": self.window,
            "named": False,
            "ask": False,
            "entropy": self.inviting.entropy,
            "now_s": self.now_s,
        }
        return Inviter(**{**wanted, **changed})

    def new_joiner(self, **changed: Any) -> Joiner:
        wanted: dict[str, Any] = {
            "card": self.joining.card,
            "theirs": self.inviting.id,
            "code": CODE,
            "entropy": self.joining.entropy,
            "verify": verify,
            "now_s": self.now_s,
        }
        return Joiner(**{**wanted, **changed})

    def run(self, change: Callable[[str, bytes], list[bytes]] | None = None) -> None:
        """`change(sender, frame)` gives the frames that arrive in the place of one that was sent."""
        wire = self._do("joiner", self.joiner.start(self.now_s))
        while wire:
            sender, frame = wire.pop(0)
            for arriving in [frame] if change is None else change(sender, frame):
                if sender == "joiner":
                    wire += self._do("inviter", self.inviter.receive(arriving, self.now_s))
                else:
                    wire += self._do("joiner", self.joiner.receive(arriving, self.now_s))

    def failure(self, who: str) -> pairing.Failed:
        (found,) = [one for one in self.effects[who] if isinstance(one, pairing.Failed)]
        return found

    def finished(self, who: str) -> bool:
        return any(isinstance(one, pairing.Finished) for one in self.effects[who])

    def _do(self, who: str, effects: list[pairing.Effect]) -> list[tuple[str, bytes]]:
        sent: list[tuple[str, bytes]] = []
        for effect in effects:
            self.effects[who].append(effect)
            match effect:
                case pairing.Send(frame=frame):
                    self.frames[who].append(frame)
                    sent.append((who, frame))
                case pairing.AskPerson():
                    machine = self.inviter if who == "inviter" else self.joiner
                    sent += self._do(who, machine.confirmed(self.answer, self.now_s))
                case pairing.Admit(card=card):
                    sent += self._do(who, self._admit(card))
                case pairing.Store(grant=grant):
                    self.joined, _ = Roster(grant.space, verify).with_statements(grant.statements)
                    sent += self._do(who, self.joiner.stored(self.now_s))
        return sent

    def _admit(self, card: DeviceCard) -> list[pairing.Effect]:
        wraps = {one.id: b"sealed" for one in epochs.epochs(self.roster)}
        data = compose.admit(self.roster, self.inviting.id, card, wraps=wraps)
        self.roster = self.inviting.say(self.roster, data)
        grant = GrantBody(self.roster.space, self.roster.name, self.roster.statements)
        return self.inviter.granted(grant, self.now_s)


@pytest.fixture(scope="session")
def meeting() -> type[Meeting]:
    return Meeting


@pytest.fixture(scope="session")
def device() -> type[Device]:
    return Device


# --- copies and their sessions ----------------------------------------------------------------------------


def _cheap_signature(device: bytes, data: bytes) -> bytes:
    """Of runs: histories are many."""
    return blake2b(data, key=device, digest_size=64).digest()


def _put(key: str, value: object = 1) -> Change:
    return Change(Kind.PUT, "notes", key, {"a": Raw(pack(value))})


class Copy:
    """What the engine has of one space, in memory: a log, a roster, a door for commits that rings its sessions."""

    def __init__(self, device: Device, roster: Roster, nonce: bytes = b"n" * 16) -> None:
        self.device = device
        self.roster = roster
        self.disk = Disk(CopyState(roster.space))
        self.staged: list[Run] = []
        self.refused = 0
        self.on_commit: list[Callable[[bool, bool], None]] = []
        self.on_roster: list[Callable[[], None]] = []
        self.forgotten: set[tuple[bytes, int]] = set()  # run ends whose hash is not kept any more
        self.take_new_origin(nonce)

    def take_new_origin(self, nonce: bytes) -> None:
        member = self.roster.members[self.device.id]
        announcement = Announcement(self.device.id, member.admission, nonce)
        self.origin = origin_of(self.roster.space, announcement)
        self.author = Author(self.origin, announcement, lambda data: _cheap_signature(self.device.id, data))

    @property
    def state(self) -> CopyState:
        return self.disk.state

    def ours(self) -> Ours:
        return Ours(self.state, self.roster, self.origin, len(self.disk.log), self.refused)

    # ---- commits

    def _batch(self) -> Batch:
        return Batch(self.state, MemoryReader(self.disk), self._limit_of, self._verify)

    def _limit_of(self, origin: bytes, announcement: Announcement) -> int | None:
        return self.roster.limit_of(origin, announcement)

    def _verify(self, device: bytes, signature: bytes, data: bytes) -> bool:
        return self.roster.public_key(device) is not None and signature == _cheap_signature(device, data)

    def _commit(self, batch: Batch) -> list[Run]:
        done = writes.finish(batch)
        self.disk.commit(done)
        runs = [applied.run for applied in done.runs]
        if runs:
            own = any(run.origin == self.origin for run in runs)
            foreign = any(run.origin != self.origin for run in runs)
            for listener in self.on_commit:
                listener(own, foreign)
        return runs

    def write(self, *changes: Change | str) -> Run:
        """One group commit of as many transactions as there are changes (a text puts the record of that key)."""
        batch = self._batch()
        for one in changes:
            change = _put(one) if isinstance(one, str) else one
            batch.load([change.record])
            batch.write(self.author, [change], 1_000, 2)
        return self._commit(batch)[0]

    def take(self, announcements: Iterable[Announcement], runs: Iterable[Run]) -> None:
        """Runs of others through the door; what must wait is tried again after every commit."""
        batch = self._batch()
        for announcement in announcements:
            admission = self.roster.entry(announcement.admission)
            assert admission is not None, "a run came before the statement that admits its author"
            assert admission.device == announcement.device
            batch.state = batch.state.with_origin(origin_of(self.roster.space, announcement), announcement)
        waiting = [run for run in runs if self._try(batch, run) is Verdict.WAITING]
        self.staged += waiting
        before = len(self.staged) + 1
        while len(self.staged) < before:
            before = len(self.staged)
            self.staged = [run for run in self.staged if self._try(batch, run) is Verdict.WAITING]
        self._commit(batch)

    def _try(self, batch: Batch, run: Run) -> Verdict:
        verdict = batch.take(run, [entry.decode(data) for data in run.entries])
        assert verdict is not Verdict.UNKNOWN_ORIGIN
        self.refused += verdict is Verdict.REFUSED
        return verdict

    def runs_of(self, *others: Copy) -> None:
        """Take over everything that others have, in the order in which they applied it."""
        for other in others:
            runs = [one.run for one in other.disk.log]
            self.take([other.state.origins[run.origin].announcement for run in runs], runs)

    # ---- the log

    def position_before(self, clock: dict[bytes, int]) -> int:
        lacking = (at for at, one in enumerate(self.disk.log) if one.run.last > clock.get(one.run.origin, 0))
        return next(lacking, len(self.disk.log))

    def runs_after(self, after: int, max_bytes: int, covered: dict[bytes, int]) -> LogSlice:
        rows: list[LogRow] = []
        size = 0
        for position, applied in enumerate(self.disk.log[after:], after + 1):
            if applied.run.last <= covered.get(applied.run.origin, 0):
                continue
            size += applied.run.size_bytes
            if rows and size > max_bytes:
                return LogSlice(rows, rows[-1].position)
            rows.append(LogRow(position, applied.run, 0))
        return LogSlice(rows, max(after, len(self.disk.log)))

    def find_fork(self, positions: Sequence[tuple[bytes, int, bytes]]) -> tuple[bytes, int] | None:
        for origin, seq, hash8 in positions:
            ours = self.disk.hashes.get((origin, seq))
            if (origin, seq) not in self.forgotten and ours is not None and ours != hash8:
                return origin, seq
        return None

    def sign_anew(self, run: Run) -> Run:
        """The run with the signature of this copy's device, whatever is in it."""
        at = self.state.origins[run.origin]
        head = chain.hash_after(at.head, run.entries)
        data = chain.signed_bytes(self.roster.space, run.origin, run.last, head)
        return Run(run.origin, run.first, run.entries, _cheap_signature(self.device.id, data))

    # ---- the roster

    def learn(self, statements: Iterable[SignedStatement]) -> None:
        """Learning of a removal and vouching for what was applied is one step."""
        larger, _ = self.roster.with_statements(statements)
        applied = {origin: (at.seq, at.head[:8]) for origin, at in self.state.origins.items()}
        announced = {origin: at.announcement for origin, at in self.state.origins.items()}
        due = vouches_due(larger, self.device.id, applied, announced)
        if due:
            larger = self.device.say(larger, compose.vouch(larger, self.device.id, due))
        grew = larger != self.roster
        self.roster = larger
        if grew:
            for listener in self.on_roster:
                listener()

    def say(self, data: bytes) -> None:
        """Say something of the members."""
        self.learn([compose.signed(data, self.device.key.sign)])

    def admit(self, device: Device) -> None:
        self.say(compose.admit(self.roster, self.device.id, device.card))

    def remove(self, device: Device) -> None:
        """With what was applied here of its origins."""
        finals = {
            origin: Final(at.seq, at.head[:8])
            for origin, at in self.state.origins.items()
            if at.announcement.device == device.id and at.seq
        }
        self.say(compose.remove(self.roster, self.device.id, device.id, finals))


class End:
    """One end of a link: a session of a copy, and the effects that wait to be performed. Two workers take theirs in
    turn, as `effects` has it; control goes before bulk.
    """

    def __init__(self, copy: Copy) -> None:
        self.copy = copy
        self.session = Session(copy.roster.space)
        self.inbound: deque[LearnStatements | ApplyRuns] = deque()
        self.outbound: deque[ReadLog | FindPosition | CheckPositions] = deque()
        self.control: deque[Message] = deque()
        self.bulk: deque[Message] = deque()
        self.wakes: list[float] = []
        self.turns = 0  # WantTurns that were not answered yet
        self.noted: list[Effect] = []
        self.said: list[Message] = []  # everything, in the order of the wire
        self.frames: deque[bytes] = deque()  # on their way here
        self.now_s = 0.0
        self.peer: End
        copy.on_commit.append(self._committed)
        copy.on_roster.append(lambda: self.perform(self.session.roster_changed(copy.ours())))

    def _committed(self, own: bool, foreign: bool) -> None:  # noqa: FBT001 - a listener
        self.perform(self.session.committed(self.copy.ours(), self.now_s, own=own, foreign=foreign))

    def open(self) -> None:
        self.perform(self.session.opened(self.copy.ours()))

    def perform(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send(message=message):
                    (self.bulk if message.bulk else self.control).append(message)
                case LearnStatements() | ApplyRuns():
                    self.inbound.append(effect)
                case ReadLog() | FindPosition() | CheckPositions():
                    self.outbound.append(effect)
                case Wake(at_s=at_s):
                    self.wakes.append(at_s)
                case WantTurn():
                    self.turns += 1
                    self.noted.append(effect)
                case _:
                    self.noted.append(effect)

    def of_kind(self, kind: type) -> list[Any]:
        return [one for one in self.noted if isinstance(one, kind)]

    # ---- what can happen next: each does one thing and says whether there was any

    def write_frame(self) -> bool:
        if not self.control and not self.bulk:
            return False
        message = self.control.popleft() if self.control else self.bulk.popleft()
        self.said.append(message)
        self.peer.frames.append(codec.encode(message))
        if message.bulk:
            self.perform(self.session.sent(self.now_s))
        return True

    def read_frame(self) -> bool:
        if not self.frames:
            return False
        message: Any = codec.decode(self.frames.popleft())
        self.perform(self.session.received(message, self.copy.ours(), self.now_s))
        return True

    def work_in(self) -> bool:
        """The next that came in; runs that piled up behind each other go into one commit."""
        if not self.inbound:
            return False
        effect = self.inbound.popleft()
        if isinstance(effect, LearnStatements):
            self.copy.learn(effect.statements)
            self.perform(self.session.roster_changed(self.copy.ours()))
            return True
        group = [effect]
        while self.inbound and isinstance(self.inbound[0], ApplyRuns):
            group.append(self.inbound.popleft())  # type: ignore[arg-type] # looked at just now
        announcements = [one for effect in group for one in effect.announcements]
        try:
            self.copy.take(announcements, [run for effect in group for run in effect.runs])
        except Fork as fork:
            self.perform(self.session.refuse("fork", str(fork)))
        else:
            self.perform(self.session.applied(sum(one.size_bytes for one in group), self.copy.ours()))
        return True

    def work_out(self) -> bool:
        if not self.outbound:
            return False
        match self.outbound.popleft():
            case FindPosition(clock=clock):
                position = self.copy.position_before(clock)
                self.perform(self.session.positioned(position, self.copy.ours(), self.now_s))
            case CheckPositions(positions=positions):
                self.perform(self.session.positions_checked(self.copy.find_fork(positions), self.copy.ours()))
            case ReadLog() as read:
                found = self.copy.runs_after(read.after, read.max_bytes, read.covered)
                self.perform(
                    self.session.log_read(
                        found.rows, found.read_up_to, self.copy.ours(), self.now_s, express=read.express
                    )
                )
        return True

    def take_turn(self) -> bool:
        if not self.turns:
            return False
        self.turns -= 1
        self.perform(self.session.want(self.copy.ours()))
        return True

    def wake(self) -> bool:
        due = [at_s for at_s in self.wakes if at_s <= self.now_s]
        if not due:
            return False
        self.wakes.remove(due[0])
        self.perform(self.session.woken(self.now_s))
        return True

    @property
    def sent_runs(self) -> list[tuple[bytes, int]]:
        """(origin, first) of every run that was begun on the wire, from here."""
        sent: list[tuple[bytes, int]] = []
        for message in self.said:
            if isinstance(message, Entries):
                sent += [(run.origin, run.first) for run in message.runs]
            elif isinstance(message, Part) and message.number == 0:
                sent.append((message.origin, message.seq))
        return sent


class Wire:
    """Two ends, and a clock that they share."""

    STEPS = (End.write_frame, End.read_frame, End.work_in, End.work_out, End.take_turn, End.wake)

    def __init__(self, one: Copy, other: Copy) -> None:
        self.ends = End(one), End(other)
        self.ends[0].peer, self.ends[1].peer = self.ends[1], self.ends[0]

    def open(self) -> None:
        for end in self.ends:
            end.open()

    @property
    def now_s(self) -> float:
        return self.ends[0].now_s

    def pass_time(self, seconds: float) -> None:
        for end in self.ends:
            end.now_s += seconds

    def possible(self) -> list[tuple[Callable[[End], bool], End]]:
        """Every step that would do something now."""
        found: list[tuple[Callable[[End], bool], End]] = []
        for end in self.ends:
            waits = (
                end.control or end.bulk, end.frames, end.inbound, end.outbound, end.turns,
                any(at_s <= end.now_s for at_s in end.wakes),
            )  # fmt: skip
            found += [(step, end) for step, is_waiting in zip(self.STEPS, waits, strict=True) if is_waiting]
        return found

    def run(self, choose: Callable[[Sequence[Any]], Any] = lambda steps: steps[0], *, most: int = 100_000) -> None:
        """Until nothing is left to do, not even later."""
        for _ in range(most):
            steps = self.possible()
            if steps:
                step, end = choose(steps)
                step(end)
            elif any(end.wakes for end in self.ends):
                self.pass_time(0.01)
            else:
                return
        raise AssertionError("the two never come to rest")


def _copies(*names: str) -> list[Copy]:
    """Devices with an empty copy each and the same roster: the first founded the space and admitted the others."""
    devices = [Device(name) for name in names]
    founder = devices[0]
    roster = founder.founded()
    for other in devices[1:]:
        roster = founder.say(roster, compose.admit(roster, founder.id, other.card))
    return [Copy(device, roster) for device in devices]


@pytest.fixture(scope="session")
def copies() -> Callable[..., list[Copy]]:
    return _copies


@pytest.fixture(scope="session")
def wire() -> type[Wire]:
    return Wire


@pytest.fixture(scope="session")
def put() -> Callable[..., Change]:
    return _put
