"""What each message does in each phase, and what a session says in return."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from peerd.core import digest
from peerd.core.clocks import Clock
from peerd.core.roster import compose
from peerd.core.roster.statements import SignedStatement
from peerd.core.snapshots.choice import LEAST_LOG_BYTES, Gap
from peerd.errors import RemoteProtocolError
from peerd.protocol import codec, messages, roster_exchange
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
    WantSnapshot,
    WantTurn,
)
from peerd.protocol.messages import (
    Ack,
    Bye,
    Credit,
    Entries,
    Error,
    Lacking,
    Notice,
    Part,
    RosterMessage,
    SnapshotChunk,
    SnapshotOffer,
    SnapshotRefuse,
    SnapshotWant,
    Summary,
    Want,
)
from peerd.protocol.session import Phase

if TYPE_CHECKING:
    from collections.abc import Callable

Factory = Any  # the fixtures of conftest

PHASES = list(Phase)
FORGET = (WantTurn, CaughtUp, Acked)


class Here:
    """One end whose other side is played by the test. `in_phase` brings it there."""

    def __init__(self, copies: Factory, wire: Factory) -> None:
        self.copy, self.other = copies("desk", "laptop")
        self.end = wire(self.copy, self.other).ends[0]
        self.copy.on_commit.clear()  # the test tells the session what happens, and when
        self.copy.on_roster.clear()
        self.session = self.end.session
        self.space: bytes = self.copy.roster.space

    @property
    def ours(self) -> Any:
        return self.copy.ours()

    def at(self) -> Phase:
        found: Phase = self.session.phase
        return found

    def hear(self, message: Any) -> list[Effect]:
        return list(self.session.received(message, self.ours, 0.0))

    def roster(self) -> RosterMessage:
        return RosterMessage(self.space, self.copy.roster.digest())

    def summary(self, positions: list[tuple[bytes, int, bytes]] | None = None, **more: Any) -> Summary:
        shown = self.copy.state.positions() if positions is None else positions
        return Summary(self.space, shown, digest.summary(self.copy.state.digest), **more)

    def in_phase(self, phase: Phase) -> Here:
        self.session.opened(self.ours)
        if phase is Phase.BLOCKED:
            self.session.refuse("fork", "two histories")
        if phase in {Phase.COMPARING, Phase.BEHIND, Phase.READY, Phase.STREAMING}:
            self.hear(self.roster())
        if phase is Phase.BEHIND:
            self.hear(self.summary(horizon={b"never heard of  ": 1}))
        if phase in {Phase.READY, Phase.STREAMING}:
            self.hear(self.summary())
            self.session.positions_checked(None, self.ours)
        if phase is Phase.STREAMING:
            self.session.want(self.ours)
        assert self.session.phase is phase
        return self

    def say(self, statement: bytes) -> SignedStatement:
        signed: SignedStatement = compose.signed(statement, self.other.device.key.sign)
        return signed


@pytest.fixture
def here(copies: Factory, wire: Factory) -> Here:
    return Here(copies, wire)


def sends(effects: list[Effect], kind: type) -> list[Any]:
    return [one.message for one in effects if isinstance(one, Send) and isinstance(one.message, kind)]


# --- order ------------------------------------------------------------------------------------------------

MADE: dict[str, Callable[[Here], Any]] = {
    "ROSTER": Here.roster,
    "SUMMARY": Here.summary,
    "WANT": lambda here: Want(here.space, {}, 1_000),
    "ENTRIES": lambda here: Entries(here.space, [here.other.write("a")]),
    "PART": lambda here: Part(here.space, here.other.origin, 1, 0, 2, b"half"),
    "ACK": lambda here: Ack(here.space, {}, bytes(16)),
    "CREDIT": lambda here: Credit(here.space, 1),
    "SNAPSHOTWANT": lambda here: SnapshotWant(here.space, bytes(16), 0, 4),
    "SNAPSHOTOFFER": lambda here: SnapshotOffer(here.space, 7, 1_000),
    "LACKING": lambda here: Lacking(here.space, [("notes", "a")]),
    "NOTICE": lambda here: Notice(here.space, "disk-full", "its disk is full"),
    "ERROR": lambda here: Error("fork", "two histories", here.space),
}
FROM = {  # the first phase in which it may come
    "ROSTER": 0, "SUMMARY": 0, "LACKING": 0, "NOTICE": 0, "ERROR": 0,
    "WANT": 1, "ACK": 1, "CREDIT": 1, "SNAPSHOTWANT": 1, "SNAPSHOTOFFER": 1,
    "ENTRIES": 4, "PART": 4,
}  # fmt: skip


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("phase", PHASES, ids=lambda phase: phase.value)
def test_each_message_has_its_phases(here: Here, phase: Phase, name: str) -> None:
    """As the table of the specification says; what comes elsewhere is the peer's mistake, except when blocked."""
    here.in_phase(phase)
    message = MADE[name](here)
    seen_summary = name == "SUMMARY" and phase in {Phase.BEHIND, Phase.READY, Phase.STREAMING}
    if phase is Phase.BLOCKED:
        assert here.hear(message) == []
        assert here.session.blocked == Blocked("fork", "two histories", ours=True)
        assert here.session.notice is None
    elif FROM[name] > PHASES.index(phase) or seen_summary:
        with pytest.raises(RemoteProtocolError) as refused:
            here.hear(message)
        assert refused.value.code == "order"
    else:
        here.hear(message)


@pytest.mark.parametrize("phase", [Phase.SETTLING, Phase.COMPARING, Phase.STREAMING], ids=lambda phase: phase.value)
def test_a_message_of_the_link_is_none_of_a_session(here: Here, phase: Phase) -> None:
    here.in_phase(phase)
    bye: Any = Bye("stopping")
    with pytest.raises(RemoteProtocolError) as refused:
        here.hear(bye)
    assert refused.value.code == "order"


def test_a_summary_is_said_once_even_while_settling(here: Here) -> None:
    """Each one costs a look at up to ten thousand positions."""
    here.in_phase(Phase.SETTLING)
    assert here.hear(here.summary()) == []
    with pytest.raises(RemoteProtocolError) as refused:
        here.hear(here.summary())
    assert refused.value.code == "order"


def test_answers_that_come_too_late_do_nothing(here: Here) -> None:
    here.in_phase(Phase.BLOCKED)
    origin = here.copy.origin
    assert here.session.positions_checked((origin, 1), here.ours) == []
    assert here.session.want(here.ours) == []
    assert here.session.roster_changed(here.ours) == []
    assert here.session.committed(here.ours, 0.0, own=True, foreign=True) == []
    assert here.session.refuse("needs-newer", "something else") == []
    assert here.session.blocked is not None
    assert here.session.blocked.code == "fork"


# --- the table --------------------------------------------------------------------------------------------


def test_settling_ends_when_the_digests_of_the_rosters_are_equal(here: Here) -> None:
    assert here.session.opened(here.ours) == [Send(here.roster())]
    assert here.hear(RosterMessage(here.space, bytes(16))) != []
    assert here.at() is Phase.SETTLING
    assert here.hear(here.roster()) == [Send(here.summary())]
    assert here.at() is Phase.COMPARING


def test_a_summary_that_came_while_settling_is_used_afterwards(here: Here) -> None:
    here.in_phase(Phase.SETTLING)
    here.hear(here.summary([]))
    effects = here.hear(here.roster())
    assert effects[0] == Send(here.summary())
    assert CheckPositions([]) in effects


def test_comparing_ends_when_no_fork_is_found(here: Here) -> None:
    here.in_phase(Phase.COMPARING)
    here.hear(here.summary([(b"z" * 16, 7, bytes(8))]))
    assert here.at() is Phase.COMPARING
    assert here.session.positions_checked(None, here.ours) == [WantTurn(7)]
    assert here.at() is Phase.READY


def test_a_fork_blocks_and_says_so(here: Here) -> None:
    here.in_phase(Phase.COMPARING)
    here.hear(here.summary())
    origin = here.copy.origin
    blocked, said = here.session.positions_checked((origin, 3), here.ours)
    assert isinstance(blocked, Blocked)
    assert (blocked.code, blocked.ours) == ("fork", True)
    assert origin.hex() in blocked.text
    assert said == Send(Error("fork", blocked.text, here.space))
    assert here.session.phase is Phase.BLOCKED


def test_our_turn_is_what_is_wanted_from_where_we_stand(here: Here) -> None:
    here.copy.write("a", "b")
    here.in_phase(Phase.READY)
    effects = here.session.want(here.ours)
    assert effects == [Send(Want(here.space, {here.copy.origin: 2}, messages.CREDIT_BYTES, either=True)), CaughtUp()]
    assert here.session.phase is Phase.STREAMING
    assert here.session.want(here.ours) == [], "once"


@pytest.mark.parametrize("phase", PHASES[:5], ids=lambda phase: phase.value)
def test_an_error_of_theirs_blocks_in_every_phase(here: Here, phase: Phase) -> None:
    here.in_phase(phase)
    blocked = Blocked("needs-newer", "an entry of format 9", ours=False)
    assert here.hear(Error("needs-newer", "an entry of format 9", here.space)) == [blocked]
    assert here.session.blocked == blocked
    assert here.session.phase is Phase.BLOCKED


def test_a_blocked_session_sends_nothing_of_what_was_being_read(here: Here) -> None:
    here.copy.write("a")
    here.in_phase(Phase.STREAMING)
    here.hear(Want(here.space, {}, 1_000))
    (read,) = here.session.positioned(0, here.ours, 0.0)
    assert isinstance(read, ReadLog)
    here.hear(Error("fork", "two histories", here.space))
    found = here.copy.runs_after(0, 1_000, {})
    assert here.session.log_read(found.rows, found.read_up_to, here.ours, 0.0, express=False) == []
    assert here.session.woken(1.0) == []


def test_a_fork_between_two_stops_both(copies: Factory, wire: Factory, put: Factory) -> None:
    """Whichever finds it; the other hears of it."""
    one, other, third = copies("desk", "laptop", "phone")
    third.write("a")
    one.runs_of(third)
    before = third.disk.backup()
    third.write(put("b", "mine"))
    one.runs_of(third)
    third.disk = before
    third.write(put("b", "yours"))
    other.runs_of(third)
    third.write("c")
    other.runs_of(third)
    met = wire(one, other)
    met.open()
    met.run()
    assert [end.session.phase for end in met.ends] == [Phase.BLOCKED] * 2
    assert {end.session.blocked.code for end in met.ends} == {"fork"}
    assert not any(message.bulk for end in met.ends for message in end.said if not isinstance(message, Error))
    assert one.state.clock()[third.origin] == 2


# --- statements -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", PHASES[:5], ids=lambda phase: phase.value)
def test_statements_of_theirs_are_learned_in_every_phase(here: Here, phase: Phase, device: Factory) -> None:
    here.in_phase(phase)
    here.other.admit(device("tablet"))
    new = here.other.roster.statements[-1]
    told = RosterMessage(here.space, here.other.roster.digest(), [new])
    assert here.hear(told) == [LearnStatements([new])]
    before = here.session.phase
    here.copy.learn([new])
    effects = here.session.roster_changed(here.ours)
    assert sends(effects, RosterMessage) == [here.roster()], "our digest, and not their own statement"
    assert sends(effects, Summary) == ([here.summary()] if before is Phase.SETTLING else [])
    assert here.session.roster_changed(here.ours) == [], "nothing new to say"


@pytest.mark.parametrize("phase", PHASES[1:5], ids=lambda phase: phase.value)
def test_statements_of_ours_are_told_in_every_phase(here: Here, phase: Phase, device: Factory) -> None:
    here.in_phase(phase)
    here.copy.admit(device("tablet"))
    (told,) = sends(here.session.roster_changed(here.ours), RosterMessage)
    assert told.digest == here.copy.roster.digest()
    assert here.copy.roster.statements[-1] in told.statements


def test_a_roster_that_they_lack_is_told_causes_first_and_once(here: Here, device: Factory) -> None:
    for name in "abc":
        here.copy.admit(device(name))
    here.in_phase(Phase.SETTLING)
    (told,) = sends(here.hear(RosterMessage(here.space, bytes(16))), RosterMessage)
    assert tuple(told.statements) == here.copy.roster.statements
    assert sends(here.hear(RosterMessage(here.space, b"\1" * 16)), RosterMessage) == []


def test_of_statements_that_are_made_up_nothing_is_remembered_for_long(
    here: Here, device: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only as many as a roster may have; what they have told of ours they are not told again."""
    monkeypatch.setattr(roster_exchange, "_TOLD", 100)
    here.copy.admit(device("a"))
    here.in_phase(Phase.SETTLING)
    exchange = here.session._rosters
    here.hear(RosterMessage(here.space, bytes(16), list(here.copy.roster.statements)))
    for number in range(1_000):
        here.hear(RosterMessage(here.space, bytes(16), [SignedStatement(b"%d" % number, bytes(64))]))
    assert len(exchange._told) <= 102
    assert sends(here.hear(RosterMessage(here.space, b"\1" * 16)), RosterMessage) == []


@pytest.mark.parametrize(("size", "count"), [(60_000, 40), (100, 5_000), (1, 1)])
def test_any_number_of_statements_fits_frames_that_a_receiver_takes(size: int, count: int) -> None:
    """Neither more bytes nor more statements than a frame may have, in their order."""
    statements = [SignedStatement(number.to_bytes(4, "big") * (size // 4 + 1), bytes(64)) for number in range(count)]
    frames = roster_exchange._frames(statements)
    assert [one for frame in frames for one in frame] == statements
    for frame in frames:
        encoded = codec.encode(RosterMessage(b"s" * 16, bytes(16), frame))
        assert len(encoded) <= messages.FRAME_BYTES // 2
        assert codec.decode(encoded) == RosterMessage(b"s" * 16, bytes(16), frame)


# --- what the clocks say ----------------------------------------------------------------------------------


def test_equal_clocks_are_compared_by_their_digests(here: Here) -> None:
    here.copy.write("a")
    here.in_phase(Phase.COMPARING)
    assert Compared(equal=True) in here.hear(here.summary())


def test_equal_clocks_with_other_digests_are_damage_and_the_session_goes_on(here: Here) -> None:
    here.copy.write("a")
    here.in_phase(Phase.COMPARING)
    damaged = Summary(here.space, here.copy.state.positions(), bytes(16))
    assert Compared(equal=False) in here.hear(damaged)
    assert here.session.phase is Phase.COMPARING


def test_other_clocks_are_not_compared(here: Here) -> None:
    here.copy.write("a")
    here.in_phase(Phase.COMPARING)
    assert not any(isinstance(one, Compared) for one in here.hear(Summary(here.space, [], bytes(16))))


def test_an_acknowledgement_that_makes_the_clocks_equal_is_compared(here: Here) -> None:
    here.copy.write("a")
    here.in_phase(Phase.COMPARING)
    here.hear(Summary(here.space, [], bytes(16)))
    clock: Clock = {here.copy.origin: 1}
    good = digest.summary(here.copy.state.digest)
    assert here.hear(Ack(here.space, clock, good)) == [Acked(clock), Compared(equal=True)]
    assert here.hear(Ack(here.space, clock, bytes(16))) == [Acked(clock), Compared(equal=False)]
    here.copy.write("b")
    assert here.hear(Ack(here.space, clock, bytes(16))) == [Acked(clock)]


def test_behind_a_log_that_does_not_reach_back_to_us_we_say_so_and_wait(here: Here) -> None:
    """They may still have what we wrote; and we go on when what is missing came from elsewhere."""
    here.in_phase(Phase.COMPARING)
    origin = here.other.origin
    here.copy.write("a")
    effects = here.hear(here.summary([(origin, 1, bytes(8))], horizon={origin: 1}))
    assert here.at() is Phase.BEHIND
    assert here.session.blocked is None
    assert [notice.code for notice in sends(effects, Notice)] == ["horizon"]
    assert WantSnapshot() not in effects, "what it holds may be another history"
    assert CheckPositions([]) in effects
    assert here.session.positions_checked(None, here.ours) == [WantSnapshot()]
    effects = here.hear(Want(here.space, {}, 1 << 20))
    assert any(isinstance(one, FindPosition) for one in effects)
    effects = here.session.committed(here.copy.ours(), 0.0, own=True, foreign=False)
    assert here.at() is Phase.BEHIND
    here.other.write("b")
    here.copy.take([here.other.author.announcement], [applied.run for applied in here.other.disk.log])
    effects = here.session.committed(here.copy.ours(), 0.0, own=False, foreign=True)
    assert here.at() is Phase.COMPARING
    assert [notice.code for notice in sends(effects, Notice)] == [""]
    assert any(isinstance(one, CheckPositions) for one in effects)


@pytest.mark.parametrize("phase", PHASES[:5], ids=lambda phase: phase.value)
def test_parts_of_a_snapshot_come_only_to_who_was_behind(here: Here, phase: Phase) -> None:
    here.in_phase(phase)
    for message in (SnapshotChunk(here.space, bytes(16), 0, b"part"), SnapshotRefuse(here.space, "store-damaged")):
        if phase is Phase.BEHIND:
            assert here.hear(message) == [SnapshotCame(message)]
            continue
        with pytest.raises(RemoteProtocolError) as refused:
            here.hear(message)
        assert refused.value.code == "order"


def test_who_is_behind_asks_for_a_snapshot_and_knows_then_what_they_have(here: Here) -> None:
    here.in_phase(Phase.COMPARING)
    here.hear(here.summary(horizon={here.other.origin: 1}))
    assert here.session.positions_checked(None, here.ours) == [WantSnapshot()]
    here.session.snapshot_stands({here.other.origin: 7})
    assert here.session.their_copy.clock[here.other.origin] == 7
    want = SnapshotWant(here.space, bytes(16), 0, 4)
    assert here.hear(want) == [ServeSnapshot(want)]


def test_who_is_behind_another_history_asks_for_no_snapshot(here: Here) -> None:
    """It would be merged into a copy in which the same dots mean something else."""
    here.in_phase(Phase.COMPARING)
    here.copy.write("a")
    origin = here.copy.origin
    effects = here.hear(here.summary([(origin, 1, bytes(8))], horizon={here.other.origin: 1}))
    assert CheckPositions([(origin, 1, bytes(8))]) in effects
    assert WantSnapshot() not in effects
    effects = here.session.positions_checked((origin, 1), here.ours)
    assert [error.code for error in sends(effects, Error)] == ["fork"]
    assert here.at() is Phase.BLOCKED
    assert here.session.positions_checked((origin, 1), here.ours) == []


# --- a snapshot instead of the log ------------------------------------------------------------------------

MUCH = Gap(1, 1, LEAST_LOG_BYTES, 1_000, LEAST_LOG_BYTES)


def read_log(effects: list[Effect]) -> bool:
    return any(isinstance(one, ReadLog) for one in effects)


def test_who_lacks_much_is_offered_a_snapshot_and_nothing_else_until_it_wants_something_anew(here: Here) -> None:
    here.copy.write("a")
    here.in_phase(Phase.READY)
    effects = here.hear(Want(here.space, {}, 1 << 20, either=True))
    assert FindPosition({}, measured=True) in effects
    effects = here.session.positioned(0, here.ours, 0.0, MUCH)
    assert sends(effects, SnapshotOffer) == [SnapshotOffer(here.space, 1_000, LEAST_LOG_BYTES)]
    here.copy.write("b")
    effects += here.session.committed(here.ours, 0.0, own=True, foreign=False)
    assert not read_log(effects + here.hear(Credit(here.space, 1_000)))
    assert FindPosition({}) in here.hear(Want(here.space, {}, 0)), "they do without"
    assert read_log(here.session.positioned(0, here.ours, 0.0))


def test_who_lacks_little_gets_the_log(here: Here) -> None:
    here.copy.write("a")
    here.in_phase(Phase.READY)
    here.hear(Want(here.space, {}, 1 << 20, either=True))
    effects = here.session.positioned(0, here.ours, 0.0, replace(MUCH, log_bytes=LEAST_LOG_BYTES - 1))
    assert not sends(effects, SnapshotOffer)
    assert read_log(effects)


def test_an_earlier_version_gets_the_log_however_much_it_is(here: Here) -> None:
    here.copy.write("a")
    here.in_phase(Phase.READY)
    assert FindPosition({}) in here.hear(Want(here.space, {}, 1 << 20))
    assert read_log(here.session.positioned(0, here.ours, 0.0))


def test_an_offer_answers_the_last_want_only(here: Here) -> None:
    here.copy.write("a")
    here.in_phase(Phase.READY)
    here.hear(Want(here.space, {}, 1 << 20, either=True))
    here.hear(Want(here.space, {here.copy.origin: 1}, 0, either=True))
    assert here.session.positioned(0, here.ours, 0.0, MUCH) == []
    assert not sends(here.session.positioned(1, here.ours, 0.0, Gap(1, 0, 0, 1, 1)), SnapshotOffer)


def test_what_is_offered_is_fetched_and_then_the_log_goes_on(here: Here) -> None:
    here.in_phase(Phase.STREAMING)
    assert here.hear(SnapshotOffer(here.space, 7, 1_000)) == [WantSnapshot()]
    assert here.at() is Phase.BEHIND
    here.session.snapshot_stands({here.other.origin: 1})
    here.copy.write("own")
    here.session.committed(here.ours, 0.0, own=True, foreign=False)
    assert here.at() is Phase.BEHIND
    here.other.write("theirs")
    here.copy.runs_of(here.other)
    effects = here.session.committed(here.ours, 0.0, own=False, foreign=True, switched=True)
    assert any(isinstance(one, CheckPositions) for one in effects)
    here.session.positions_checked(None, here.ours)
    (want,) = sends(here.session.want(here.ours), Want)
    assert (want.clock, want.credit_bytes, want.either) == (here.copy.state.clock(), 0, True), "there is credit already"


def test_what_others_have_is_wanted_again_when_a_snapshot_took_the_place_of_our_copy(here: Here) -> None:
    """What waited here for what it brought may have been given up."""
    here.in_phase(Phase.STREAMING)
    assert not sends(here.session.committed(here.ours, 0.0, own=False, foreign=True, switched=True), Want)
    here.other.write("a")
    here.hear(Ack(here.space, here.other.state.clock(), bytes(16)))
    assert not sends(here.session.committed(here.ours, 0.0, own=False, foreign=True), Want)
    (want,) = sends(here.session.committed(here.ours, 0.0, own=False, foreign=True, switched=True), Want)
    assert want.clock == here.copy.state.clock()


def test_what_we_lacked_may_come_from_elsewhere_first(here: Here) -> None:
    here.in_phase(Phase.STREAMING)
    here.other.write("a")
    here.other.write("b")
    here.hear(Ack(here.space, here.other.state.clock(), bytes(16)))
    here.hear(SnapshotOffer(here.space, 7, 1_000))
    here.copy.take([here.other.author.announcement], [here.other.disk.log[0].run])
    here.session.committed(here.ours, 0.0, own=False, foreign=True)
    assert here.at() is Phase.BEHIND
    here.copy.take([], [here.other.disk.log[1].run])
    here.session.committed(here.ours, 0.0, own=False, foreign=True)
    assert here.at() is Phase.COMPARING


def test_without_a_snapshot_the_log_is_wanted_and_no_offer(here: Here) -> None:
    here.in_phase(Phase.STREAMING)
    assert here.session.without_snapshot(here.ours) == []
    here.hear(SnapshotOffer(here.space, 7, 1_000))
    assert here.session.without_snapshot(here.ours) == [Send(Want(here.space, {}, 0))]
    assert here.at() is Phase.STREAMING


def test_who_is_behind_the_log_cannot_do_without(here: Here) -> None:
    here.in_phase(Phase.BEHIND)
    assert here.session.without_snapshot(here.ours) == []
    assert here.hear(SnapshotOffer(here.space, 7, 1_000)) == []
    assert here.at() is Phase.BEHIND


def test_who_wants_what_our_log_no_longer_has_is_refused(here: Here) -> None:
    """It should know better: our SUMMARY said where our log begins."""
    here.copy.write("a")
    at = here.copy.state.origins[here.copy.origin]
    origins = {here.copy.origin: replace(at, horizon=1)}
    here.copy.disk.state = replace(here.copy.state, origins=origins)
    here.in_phase(Phase.READY)
    effects = here.hear(Want(here.space, {here.copy.origin: 1}, 1 << 20))
    assert any(isinstance(one, FindPosition) for one in effects)
    effects = here.hear(Want(here.space, {}, 1 << 20))
    assert here.session.blocked is not None
    assert [error.code for error in sends(effects, Error)] == ["horizon"]


def test_our_summary_says_where_our_log_begins(here: Here) -> None:
    here.copy.write("a")
    at = here.copy.state.origins[here.copy.origin]
    here.copy.disk.state = replace(here.copy.state, origins={here.copy.origin: replace(at, horizon=1)})
    effects = here.session.opened(here.copy.ours())
    effects += here.hear(RosterMessage(here.space, here.copy.ours().roster.digest()))
    (summary,) = sends(effects, Summary)
    assert summary.horizon == {here.copy.origin: 1}


def test_a_log_that_begins_where_we_stand_will_do(here: Here) -> None:
    here.copy.write("a")
    here.in_phase(Phase.COMPARING)
    effects = here.hear(here.summary([(here.copy.origin, 1, bytes(8))], horizon={here.copy.origin: 1}))
    assert any(isinstance(one, CheckPositions) for one in effects)


def test_they_hold_more_of_our_origin_than_we_do(here: Here) -> None:
    """Our copy went back in time; what is lost comes back from them like anyone's."""
    here.in_phase(Phase.COMPARING)
    effects = here.hear(here.summary([(here.copy.origin, 4, bytes(8))]))
    assert RolledBack(here.copy.origin) in effects
    assert here.session.positions_checked(None, here.ours) == [WantTurn(4)]


def test_the_side_that_is_further_looks_up_the_position_of_the_other(here: Here) -> None:
    here.copy.write("a")
    here.copy.write("b")
    here.in_phase(Phase.COMPARING)
    ahead, behind = (here.other.origin, 5, b"their....8"[:8]), (here.copy.origin, 1, b"hashhash")
    assert CheckPositions([behind]) in here.hear(here.summary([ahead, behind]))


# --- streaming --------------------------------------------------------------------------------------------


def test_what_they_want_is_found_before_our_own_turn(here: Here) -> None:
    here.copy.write("a")
    here.in_phase(Phase.COMPARING)
    assert here.hear(Want(here.space, {}, 1_000)) == [Acked({}), FindPosition({})]
    (read,) = here.session.positioned(0, here.ours, 0.0)
    found = here.copy.runs_after(0, read.max_bytes, read.covered)
    effects = here.session.log_read(found.rows, found.read_up_to, here.ours, 0.0, express=False)
    (entries,) = sends(effects, Entries)
    assert entries.runs == [found.rows[0].run]
    assert entries.origins == [here.copy.author.announcement]


def test_runs_are_applied_and_their_bytes_given_back(here: Here) -> None:
    here.in_phase(Phase.STREAMING)
    run = here.other.write("a")
    announced = [here.other.author.announcement]
    assert here.hear(Entries(here.space, [run], announced)) == [ApplyRuns(announced, [run], run.size_bytes)]
    assert here.session.their_copy.clock == {run.origin: 1}
    assert here.session.behind(here.ours) == 1
    here.copy.take(announced, [run])
    assert here.session.applied(run.size_bytes, here.ours) == [Send(Credit(here.space, run.size_bytes))]
    assert here.session.behind(here.ours) == here.session.ahead(here.ours) == 0


def test_an_acknowledgement_names_all_that_moved_since_the_last_one(here: Here) -> None:
    """Own transactions too, which are not acknowledged by themselves; so their clock of us is always whole."""
    here.in_phase(Phase.STREAMING)
    here.copy.write("a")
    assert here.session.committed(here.ours, 0.0, own=True, foreign=False) == []
    run = here.other.write("b")
    here.copy.take([here.other.author.announcement], [run])
    effects = here.session.committed(here.ours, 0.0, own=False, foreign=True)
    (ack,) = sends(effects, Ack)
    assert ack.clock == {here.copy.origin: 1, here.other.origin: 1}
    assert ack.digest == digest.summary(here.copy.state.digest)
    assert sends(here.session.committed(here.ours, 0.0, own=False, foreign=True), Ack) == []


def test_a_notice_is_shown_until_it_is_taken_back(here: Here) -> None:
    here.in_phase(Phase.STREAMING)
    notice = Notice(here.space, "disk-full", "its disk is full")
    assert here.hear(notice) == []
    assert here.session.notice == notice
    assert here.hear(Notice(here.space)) == []
    assert here.session.notice is None


@pytest.mark.parametrize("phase", PHASES[:5], ids=lambda phase: phase.value)
def test_what_they_lack_is_learned_in_every_phase(here: Here, phase: Phase) -> None:
    here.in_phase(phase)
    assert here.hear(Lacking(here.space, [("notes", "a")])) == [LearnLacking([("notes", "a")])]
