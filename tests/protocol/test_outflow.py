"""The sending half of a session: the walk of the log, express, hold, credit and parts."""

from __future__ import annotations

import pytest

from peerd.core.chain import Run
from peerd.core.copy import CopyState
from peerd.protocol import outflow as module
from peerd.protocol.effects import ApplyRuns, FindPosition, ReadLog, Send, Wake, WantTurn
from peerd.protocol.messages import CREDIT_BYTES, Entries, Part, SessionMessage
from peerd.protocol.outflow import HOLD_S, Outflow
from tests.protocol.wire_sessions import Copy, Side, Wire, linked


def test_nothing_is_read_before_they_want_it() -> None:
    outflow = Outflow(b"s" * 16)
    assert outflow.committed(10, 0.0, own=True) == []
    assert outflow.credited(1 << 20, 0.0) == []
    assert outflow.wanted({}, 1 << 20) == [FindPosition({})]


def bulk(side: Side) -> list[SessionMessage]:
    """The bulk frames that this side has sent, in order."""
    return [effect.message for effect in side.effects if isinstance(effect, Send) and effect.message.bulk]


def runs(side: Side) -> list[Run]:
    return [run for message in bulk(side) if isinstance(message, Entries) for run in message.runs]


def test_a_large_log_travels_in_frames_of_half_a_mebibyte_within_the_credit() -> None:
    one, other = Copy("one"), Copy("other")
    for number in range(60):
        one.write(f"{number}", 200_000)
    wire = Wire(one, other)
    wire.other.holds = (ApplyRuns,)
    wire.open()
    wire.settle()
    sent = sum(run.size_bytes for run in runs(wire.one))
    assert CREDIT_BYTES - (1 << 20) < sent < CREDIT_BYTES + (1 << 20)
    assert all(
        sum(run.size_bytes for run in message.runs) <= 512 << 10
        for message in bulk(wire.one)
        if isinstance(message, Entries)
    )
    wire.other.holds = ()
    wire.other.release()
    wire.settle()
    assert other.keys == one.keys


def test_one_run_that_is_larger_than_the_credit_left_does_not_stop_a_session() -> None:
    one, other = Copy("one"), Copy("other")
    for number in range(30):
        one.write(f"{number}", 890_000)
    linked(one, other)
    assert len(other.keys) == 30


def test_an_entry_of_many_mebibytes_travels_in_parts_within_the_credit() -> None:
    one, other = Copy("one"), Copy("other")
    one.write("small")
    one.write("large", 20 << 20)
    one.write("after")
    wire = Wire(one, other)
    wire.other.holds = (ApplyRuns,)
    wire.open()
    wire.settle()
    wire.other.holds = ()
    wire.other.release()
    wire.settle()
    parts = [message for message in bulk(wire.one) if isinstance(message, Part)]
    assert len(parts) == 41
    assert all(len(part.data) <= 512 << 10 for part in parts)
    assert other.disk.state.digest == one.disk.state.digest


def test_at_most_two_frames_are_in_the_send_buffer() -> None:
    one, other = Copy("one"), Copy("other")
    for number in range(20):
        one.write(f"{number}", 400_000)
    wire = Wire(one, other)
    wire.one.auto_sent = False
    wire.open()
    wire.settle()
    assert len(bulk(wire.one)) == 2
    wire.one.perform(wire.one.session.sent(0.0))
    wire.settle()
    assert len(bulk(wire.one)) == 3


def behind_a_bulk() -> tuple[Copy, Copy, Copy, Wire]:
    """`middle` has much of `source` to send to `other`, whose reading stands still."""
    source, middle, other = Copy("source"), Copy("middle"), Copy("other")
    for number in range(400):
        source.write(f"{number}", 20_000)
    linked(source, middle)
    wire = Wire(middle, other)
    wire.one.auto_sent = False
    wire.open()
    wire.settle()
    assert len(bulk(wire.one)) == 2
    return source, middle, other, wire


def let_pass(wire: Wire) -> None:
    """One more frame leaves the buffer."""
    wire.one.perform(wire.one.session.sent(wire.now_s))
    wire.settle()


def test_what_does_not_depend_on_a_bulk_overtakes_it() -> None:
    _, middle, other, wire = behind_a_bulk()
    third = Copy("third")
    third.write("urgent")
    middle.take([third.author.announcement], [row.run for row in third.rows])
    let_pass(wire)
    let_pass(wire)
    assert "urgent" in other.keys
    assert len(other.keys) < 300


def test_what_depends_on_a_bulk_does_not_overtake_it() -> None:
    source, middle, other, wire = behind_a_bulk()
    source.write("last of the bulk")
    middle.write("seen the bulk")
    for _ in range(10):
        let_pass(wire)
        assert "seen the bulk" not in other.keys
        assert not other.waiting
    while len(other.keys) < 401:
        let_pass(wire)
    assert "seen the bulk" in other.keys


def test_steady_writing_does_not_starve_the_bulk() -> None:
    """Each new transaction is worth a look past the bulk; the bulk goes on all the same."""
    outflow = Outflow(b"s" * 16)
    outflow.wanted({}, CREDIT_BYTES)
    last = 1_000
    (read,) = outflow.positioned(0, last, 0.0)
    asked: list[bool] = []
    for _ in range(60):
        assert isinstance(read, ReadLog)
        asked.append(read.express)
        up_to = last if read.express else read.after + 1
        last += 1
        assert outflow.committed(last, 0.0, own=True) == [], "one is being read"
        (read,) = outflow.log_read([], up_to, CopyState(b"s" * 16), 0.0, express=read.express)
    assert asked.count(True) == asked.count(False)


def test_what_another_device_wrote_waits_a_moment_for_it_to_bring_it_itself() -> None:
    author, forwarder, hearer = Copy("author"), Copy("forwarder"), Copy("hearer")
    wire = linked(forwarder, hearer)
    author.write("news")
    forwarder.take([author.author.announcement], [row.run for row in author.rows])
    assert bulk(wire.one) == []
    assert wire.one.wakes == [pytest.approx(HOLD_S)]
    hearer.take([author.author.announcement], [row.run for row in author.rows])  # from the author
    wire.settle()
    assert bulk(wire.one) == []
    assert wire.one.session.ahead(forwarder.ours()) == 0


def test_what_nobody_else_brought_is_sent_after_the_moment() -> None:
    author, forwarder, hearer = Copy("author"), Copy("forwarder"), Copy("hearer")
    wire = linked(forwarder, hearer)
    author.write("news")
    forwarder.take([author.author.announcement], [row.run for row in author.rows])
    wire.settle()
    assert wire.now_s >= HOLD_S
    assert hearer.keys == {"news"}


def test_our_own_is_never_held() -> None:
    author, forwarder, hearer = Copy("author"), Copy("forwarder"), Copy("hearer")
    wire = linked(forwarder, hearer)
    author.write("news")
    forwarder.take([author.author.announcement], [row.run for row in author.rows])
    forwarder.write("ours, having seen it")
    assert len(runs(wire.one)) == 2
    assert [effect for effect in wire.one.effects if isinstance(effect, Wake)]


def test_what_they_have_from_elsewhere_is_not_sent() -> None:
    author, one, other = Copy("author"), Copy("one"), Copy("other")
    for number in range(5):
        author.write(f"{number}")
    linked(author, one)
    linked(author, other)
    wire = linked(one, other)
    assert bulk(wire.one) == bulk(wire.other) == []


def test_an_origin_is_introduced_once_and_before_its_first_run() -> None:
    author, one, other = Copy("author"), Copy("one"), Copy("other")
    author.write("a")
    linked(author, one)
    wire = linked(one, other)
    author.write("b")
    linked(author, one)
    wire.settle()
    introduced = [message.origins for message in bulk(wire.one) if isinstance(message, Entries)]
    assert introduced == [[author.author.announcement], []]


def test_a_later_want_begins_anew_and_grants_nothing_twice() -> None:
    one, other = Copy("one"), Copy("other")
    one.write("a")
    wire = linked(one, other)
    before = wire.one.session._outflow.credit_bytes
    effects = wire.one.session._outflow.wanted({}, 0)
    assert effects == [FindPosition({})]
    assert wire.one.session._outflow.credit_bytes == before
    wire.one.perform(effects)
    assert len(runs(wire.one)) == 2
    assert runs(wire.one)[0] == runs(wire.one)[1]


def test_nothing_is_wanted_before_it_is_our_turn() -> None:
    one, other = Copy("one"), Copy("other")
    one.write("a")
    wire = Wire(one, other)
    wire.other.holds = (WantTurn,)
    wire.open()
    wire.settle()
    assert bulk(wire.one) == []
    assert module.EXPRESS_LAG < 400
