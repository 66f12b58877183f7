"""One space on one link: every phase, every message in it, and two sessions that meet over a wire of any order."""

from __future__ import annotations

import random

import pytest

from peerd.errors import RemoteProtocolError
from peerd.protocol.effects import (
    Acked,
    ApplyRuns,
    CaughtUp,
    CheckPositions,
    Compared,
    LearnLacking,
    ReadLog,
    RolledBack,
    Send,
    WantTurn,
)
from peerd.protocol.messages import (
    Ack,
    Credit,
    Entries,
    Error,
    Lacking,
    Part,
    RosterMessage,
    SessionMessage,
    Summary,
    Want,
)
from peerd.protocol.session import Phase, Session
from tests.protocol.wire_sessions import SPACE, Copy, Side, Wire, linked, statement


def pair() -> tuple[Copy, Copy]:
    return Copy("one"), Copy("other")


def test_a_session_begins_settling_with_nothing_known() -> None:
    session = Session(b"s" * 16)
    assert session.phase is Phase.SETTLING
    assert session.blocked is None
    assert session.their_copy.clock == {}


def test_a_refusal_blocks_for_good() -> None:
    session = Session(b"s" * 16)
    session.refuse("fork", "two histories")
    assert session.phase is Phase.BLOCKED
    assert session.blocked is not None
    with pytest.raises(AttributeError):
        session.blocked.code = "other"  # type: ignore[misc] # that is the point


# ---- two of them


def test_two_copies_become_equal() -> None:
    one, other = pair()
    for number in range(20):
        one.write(f"a{number}")
        other.write(f"b{number}")
    wire = linked(one, other)
    assert one.disk.state.clock() == other.disk.state.clock()
    assert one.disk.state.digest == other.disk.state.digest
    assert one.disk.rows == other.disk.rows
    for side in (wire.one, wire.other):
        assert side.session.phase is Phase.STREAMING
        assert side.session.behind(side.copy.ours()) == 0
        assert side.session.ahead(side.copy.ours()) == 0
        assert Compared(equal=False) not in side.effects
    assert any(Compared(equal=True) in side.effects for side in (wire.one, wire.other))


def test_what_is_written_while_linked_travels_at_once() -> None:
    one, other = pair()
    wire = linked(one, other)
    one.write("late")
    other.write("later")
    wire.settle()
    assert one.keys == other.keys == {"late", "later"}


def test_statements_reach_the_other_side_before_anything_else() -> None:
    one, other = pair()
    one.roster.add([statement("admit"), statement("epoch")])
    other.roster.add([statement("remove")])
    linked(one, other)
    assert one.roster.statements.keys() == other.roster.statements.keys()
    assert len(one.roster.statements) == 4


def test_more_statements_than_a_frame_holds_travel_in_several() -> None:
    one, other = pair()
    one.roster.add([statement(f"{number}" + "x" * 40_000) for number in range(12)])
    wire = linked(one, other)
    assert one.roster.digest() == other.roster.digest()
    frames = [e.message for e in wire.one.all_of(Send) if isinstance(e, Send) and isinstance(e.message, RosterMessage)]
    assert max(sum(len(signed.data) for signed in frame.statements) for frame in frames) <= 256 << 10


@pytest.mark.parametrize("streaming", [False, True])
def test_statements_are_exchanged_in_every_phase(streaming: bool) -> None:  # noqa: FBT001 - the two cases
    one, other = pair()
    wire = Wire(one, other)
    if not streaming:
        wire.one.holds = wire.other.holds = (WantTurn,)
    wire.open()
    wire.settle()
    assert wire.one.session.phase is (Phase.STREAMING if streaming else Phase.READY)
    one.roster.add([statement("late")])
    wire.one.perform(wire.one.session.roster_changed(one.ours()))
    wire.settle()
    assert other.roster.digest() == one.roster.digest()


@pytest.mark.parametrize("seed", range(150))
def test_any_interleaving_of_messages_answers_and_writes_ends_equal(seed: int) -> None:
    """Nothing that one side does at any moment is the other side's mistake."""
    chance = random.Random(seed)
    copies = [Copy(f"c{number}") for number in range(chance.choice((2, 3)))]
    wires = [Wire(a, b) for index, a in enumerate(copies) for b in copies[:index]]
    sides = [side for wire in wires for side in (wire.one, wire.other)]
    for side in sides:
        side.holds = (CheckPositions, ReadLog, ApplyRuns, WantTurn)
    for wire in wires:
        wire.open()
    for step in range(150):
        dice = chance.random()
        wire = chance.choice(wires)
        if dice < 0.2:
            chance.choice(copies).write(f"{step}", chance.choice((10, 100, 5_000)))
        elif dice < 0.24:
            copy = chance.choice(copies)
            copy.roster.add([statement(f"{step}")])
            for side in copy.sessions.values():
                side.perform(side.session.roster_changed(copy.ours()))
        elif dice < 0.6:
            wire.deliver(chance.choice((wire.one, wire.other)))
        else:
            chance.choice(sides).release(1)
    for side in sides:
        side.holds = ()
    for _ in range(20):
        for side in sides:
            side.release()
        for wire in wires:
            wire.settle()
    assert all(copy.disk.state.clock() == copies[0].disk.state.clock() for copy in copies)
    assert all(copy.disk.rows == copies[0].disk.rows for copy in copies)
    assert not any(copy.waiting for copy in copies)
    assert not any(Compared(equal=False) in side.effects for side in sides)


# ---- what stops a session


def test_two_histories_of_one_origin_block_both_sides() -> None:
    one, other = pair()
    one.write("mine")
    twin = Copy("one")
    twin.name = "twin"
    twin.write("yours", 20)
    wire = linked(other, one)
    assert wire.one.session.phase is Phase.STREAMING
    wire = linked(twin, other)
    assert [side.session.phase for side in (wire.one, wire.other)] == [Phase.BLOCKED, Phase.BLOCKED]
    assert {side.session.blocked.code for side in (wire.one, wire.other) if side.session.blocked} == {"fork"}
    assert all(side.session.blocked.ours for side in (wire.one, wire.other) if side.session.blocked), "both found it"
    assert other.keys == {"mine"}


def test_a_peer_that_holds_more_of_our_origin_than_we_do_tells_us_that_we_went_back() -> None:
    one, other = pair()
    one.write("kept")
    linked(one, other)
    again = Copy("one")
    wire = linked(again, other)
    assert RolledBack(one.author.origin) in wire.one.effects
    assert again.keys == {"kept"}


def test_behind_a_log_that_no_longer_reaches_back_nothing_is_wanted_until_it_came_from_elsewhere() -> None:
    one, _ = pair()
    side = Wire(one, Copy("other")).one
    side.perform(side.session.opened(one.ours()))
    side.perform(side.session.received(RosterMessage(SPACE, one.roster.digest()), one.ours(), 0.0))
    trimmed = Summary(SPACE, [(b"o" * 16, 9, bytes(8))], bytes(16), horizon={b"o" * 16: 5})
    side.perform(side.session.received(trimmed, one.ours(), 0.0))
    assert side.session.phase is Phase.BEHIND


def test_a_blocked_session_hears_nothing_and_says_nothing() -> None:
    one, other = pair()
    one.write("mine")
    wire = linked(one, other)
    wire.one.perform(wire.one.session.refuse("needs-newer", "later"))
    wire.settle()
    assert wire.other.session.blocked is not None
    assert not wire.other.session.blocked.ours
    before = len(wire.one.effects)
    one.write("unheard")
    other.write("unheard too")
    for message in (Ack(SPACE, {}, bytes(16)), Credit(SPACE, 5), Want(SPACE, {}, 5), Entries(SPACE, [])):
        assert wire.one.session.received(message, one.ours(), 0.0) == []
    assert wire.one.session.roster_changed(one.ours()) == []
    assert len(wire.one.effects) == before
    wire.settle()
    assert other.keys == {"mine", "unheard too"}


# ---- order


def settling() -> Side:
    side = Wire(Copy("one"), Copy("other")).one
    side.perform(side.session.opened(side.copy.ours()))
    return side


def ready() -> Side:
    one, other = pair()
    wire = Wire(one, other)
    wire.one.holds = (WantTurn,)
    wire.open()
    wire.settle()
    assert wire.one.session.phase is Phase.READY
    return wire.one


@pytest.mark.parametrize(
    "message",
    [
        Want(SPACE, {}, 1),
        Ack(SPACE, {}, bytes(16)),
        Credit(SPACE, 1),
        Entries(SPACE, []),
        Part(SPACE, bytes(16), 1, 0, 2, b"x"),
    ],
)
def test_before_the_rosters_agree_only_statements_may_come(message: SessionMessage) -> None:
    side = settling()
    with pytest.raises(RemoteProtocolError) as refused:
        side.session.received(message, side.copy.ours(), 0.0)
    assert refused.value.code == "order"


@pytest.mark.parametrize("message", [Entries(SPACE, []), Part(SPACE, bytes(16), 1, 0, 2, b"x")])
def test_entries_that_nobody_wanted_are_refused(message: SessionMessage) -> None:
    side = ready()
    with pytest.raises(RemoteProtocolError) as refused:
        side.session.received(message, side.copy.ours(), 0.0)
    assert refused.value.code == "order"


def test_they_are_served_before_it_is_our_turn_to_receive() -> None:
    side = ready()
    side.copy.write("mine")
    side.wire.settle()
    assert side.wire.other.copy.keys == {"mine"}


def test_what_they_lack_is_heard_in_every_phase() -> None:
    for side in (settling(), ready()):
        effects = side.session.received(Lacking(SPACE, [("notes", "a")]), side.copy.ours(), 0.0)
        assert effects == [LearnLacking([("notes", "a")])]


def test_an_error_of_theirs_blocks_in_any_phase() -> None:
    for side in (settling(), ready()):
        side.session.received(Error("fork", "two histories", SPACE), side.copy.ours(), 0.0)
        assert side.session.phase is Phase.BLOCKED


def test_nobody_acknowledges_to_a_peer_that_is_still_settling() -> None:
    """One side compares while the other, whose roster has just grown, has not agreed yet: an ACK is too early."""
    one, other = pair()
    third = Copy("third")
    third.write("news")
    wire = Wire(one, other)
    wire.open()
    wire.deliver(wire.one)
    assert wire.one.session.phase is Phase.COMPARING
    other.roster.add([statement("just in")])
    wire.other.perform(wire.other.session.roster_changed(other.ours()))
    one.take([third.author.announcement], [row.run for row in third.rows])
    wire.settle()
    assert wire.other.session.their_copy.clock == one.disk.state.clock()
    assert other.keys == {"news"}


# ---- turns and acknowledgements


def test_the_turn_is_given_back_when_others_brought_what_was_missing() -> None:
    """Else nobody would receive after a session whose bulk came another way."""
    source, one, other = Copy("source"), Copy("one"), Copy("other")
    for number in range(600):
        source.write(f"{number}")
    linked(source, other)
    wire = Wire(one, other)
    wire.one.holds = (ApplyRuns,)
    wire.open()
    wire.settle()
    assert CaughtUp() not in wire.one.effects
    linked(source, one)
    assert CaughtUp() in wire.one.effects


def test_an_acknowledgement_names_what_moved_only() -> None:
    one, other = pair()
    one.write("first")
    wire = linked(one, other)
    before = len(wire.other.effects)
    one.write("second")
    wire.settle()
    acks = [e.message for e in wire.other.effects[before:] if isinstance(e, Send) and isinstance(e.message, Ack)]
    assert [ack.clock for ack in acks] == [{one.author.origin: 2}]
    assert Acked({one.author.origin: 2}) in wire.one.effects


def test_who_has_ours_from_somebody_else_hears_that_we_have_it_too() -> None:
    """It came by a third device before we sent it, so we never do; without a word they would think that we lack it."""
    one, other = pair()
    wire = Wire(one, other)
    wire.one.holds = (ReadLog,)
    wire.open()
    wire.settle()
    one.write("mine")
    other.take([one.author.announcement], [row.run for row in one.rows])
    wire.settle()
    wire.one.release()
    wire.settle()
    assert [e for e in wire.one.effects if isinstance(e, Send) and isinstance(e.message, Entries)] == []
    assert wire.other.session.ahead(other.ours()) == 0
    assert wire.one.session.ahead(one.ours()) == 0


def test_what_a_removal_kept_out_is_asked_for_again_when_somebody_vouches_for_it() -> None:
    """It was sent while it was not accepted; nobody sends it twice unasked."""
    one, other = pair()
    removed = Copy("removed")
    removed.write("before")
    wire = linked(one, other)
    one.limits[removed.author.origin] = 0
    other.take([removed.author.announcement], [row.run for row in removed.rows])
    wire.settle()
    assert one.keys == set()
    del one.limits[removed.author.origin]
    one.roster.add([statement("vouch")])
    wire.one.perform(wire.one.session.roster_changed(one.ours()))
    wire.settle()
    assert one.keys == {"before"}
