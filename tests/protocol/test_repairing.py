"""The machine that finds out where two copies differ: one question at a time, of one clock, and it ends."""

from __future__ import annotations

from typing import Any

import pytest

from peerd.core import digest
from peerd.core.repair.form import pack_answer, whole_mark
from peerd.errors import RemoteProtocolError
from peerd.protocol.messages import RECORDS_PER_MEND, Locate, Located, Mend, Mended, RecordName
from peerd.protocol.repairing import (
    ANSWER_S,
    LARGEST_BYTES,
    LONGEST_CALM_S,
    NAMES,
    PIECES,
    Agreed,
    Ask,
    CompareShares,
    LookAtOurs,
    Merge,
    ReadRecords,
    Repairing,
    Stage,
    Standing,
    WakeRepair,
)

SPACE = b"S" * 16
CLOCK = b"C" * 16
LATER = b"L" * 16
OURS = Standing(CLOCK, digest.EMPTY)
THEIR_SUMS = digest.moved(digest.EMPTY, [(3, 7), (200, 1)])


def located(**more: Any) -> Located:
    return Located(SPACE, more.pop("clock", CLOCK), bytes(16), **more)


def mended(*names: RecordName, clock: bytes = CLOCK) -> Mended:
    return Mended(SPACE, clock, [(*name, b"", b"", False) for name in names])


def asked(effects: list[Any]) -> Any:
    (found,) = [one.message for one in effects if isinstance(one, Ask)]
    return found


def wakes(effects: list[Any]) -> float:
    (found,) = [one.at_s for one in effects if isinstance(one, WakeRepair)]
    return float(found)


def at_shares() -> Repairing:
    machine = Repairing(SPACE)
    machine.differ(0.0, 5.0)
    machine.woken(5.0, OURS)
    machine.located(located(sums=THEIR_SUMS), OURS, 5.0)
    assert machine.stage is Stage.SHARES
    return machine


def at_records(*names: RecordName) -> Repairing:
    machine = at_shares()
    machine.compared(list(names), None, OURS, 5.0)
    assert machine.stage is Stage.RECORDS
    return machine


def test_it_waits_before_it_asks() -> None:
    machine = Repairing(SPACE)
    assert wakes(machine.differ(10.0, 5.0)) == 15.0
    assert machine.differ(11.0, 5.0) == []  # the first wish stands
    assert wakes(machine.differ(11.0, 0.5)) == 11.5  # unless it is for sooner
    assert machine.woken(11.2, OURS) == [WakeRepair(11.5)]
    assert asked(machine.woken(11.5, OURS)) == Locate(SPACE, CLOCK, OURS.digest)
    assert machine.stage is Stage.SUMS


def test_it_may_pass_by_itself() -> None:
    machine = Repairing(SPACE)
    machine.differ(0.0, 5.0)
    machine.agree()
    assert machine.stage is Stage.IDLE
    assert machine.woken(5.0, OURS) == []


def test_from_buckets_to_records_to_the_next_look() -> None:
    machine = Repairing(SPACE)
    machine.differ(0.0, 5.0)
    machine.woken(5.0, OURS)
    question = asked(machine.located(located(sums=THEIR_SUMS), OURS, 5.0))
    assert (question.buckets, question.after) == ([3, 200], None)
    page = located(up_to=("a", "m"))
    effects = machine.located(page, OURS, 6.0)
    assert CompareShares([3, 200], None, page) in effects
    question = asked(machine.compared([("a", "b")], ("a", "m"), OURS, 6.0))
    assert question.after == ("a", "m")
    machine.located(located(), OURS, 7.0)
    assert ReadRecords([("a", "b"), ("a", "x")]) in machine.compared([("a", "x")], None, OURS, 7.0)
    records = [("a", "b", b"one"), ("a", "x", b"")]
    assert asked(machine.read(records, OURS, 8.0)) == Mend(SPACE, CLOCK, records)
    answer = mended(("a", "b"), ("a", "x"))
    assert Merge(answer, THEIR_SUMS) in machine.mended(answer, OURS, 9.0)
    again = machine.merged([("a", "b"), ("a", "x")], 2, Standing(CLOCK, THEIR_SUMS), 9.0)
    assert isinstance(asked(again), Locate)
    assert machine.located(located(sums=THEIR_SUMS), Standing(CLOCK, THEIR_SUMS), 9.0) == [Agreed()]
    assert machine.stage is Stage.IDLE


def test_if_no_record_differs_the_sums_are_wrong() -> None:
    """On one side or the other: nobody but the scrub of that copy can tell."""
    machine = at_shares()
    assert LookAtOurs() not in machine.compared([], ("a", "x"), OURS, 5.0)  # that was a page
    assert LookAtOurs() in machine.compared([], None, OURS, 5.0)
    assert machine.stage is Stage.CALM


def test_what_does_not_fit_is_asked_for_next() -> None:
    machine = at_records(("a", "b"), ("a", "c"), ("a", "d"))
    machine.read([("a", "b", b"x"), ("a", "c", b"x")], OURS, 6.0)
    machine.mended(mended(("a", "b")), OURS, 6.0)
    assert ReadRecords([("a", "c"), ("a", "d")]) in machine.merged([("a", "b")], 1, OURS, 6.0)
    machine.read([("a", "c", b"x")], OURS, 6.0)
    assert ReadRecords([("a", "d")]) in machine.mended(mended(), OURS, 6.0)  # fits no frame: it is passed over


def test_it_holds_so_many_names_and_no_more() -> None:
    machine = at_shares()
    names = [("a", f"{number:04}") for number in range(1_000)]
    effects = machine.compared(names, ("a", "0999"), OURS, 6.0)
    assert ReadRecords(names[:RECORDS_PER_MEND]) in effects
    assert machine.stage is Stage.RECORDS
    count = RECORDS_PER_MEND
    while machine.stage is Stage.RECORDS:
        machine.read([("a", "x", b"")], OURS, 6.0)
        effects = machine.merged(names[:count], 1, OURS, 6.0)
        count += RECORDS_PER_MEND
    assert count == NAMES + RECORDS_PER_MEND


@pytest.mark.parametrize("stage", ["sums", "shares", "records"])
def test_a_clock_that_moved_ends_the_attempt(stage: str) -> None:
    """Theirs or ours: what was said of the one before means nothing any more."""
    for ours, theirs in ((OURS, LATER), (Standing(LATER, digest.EMPTY), CLOCK)):
        machine = Repairing(SPACE)
        machine.differ(0.0, 5.0)
        machine.woken(5.0, OURS)
        if stage != "sums":
            machine = at_shares() if stage == "shares" else at_records(("a", "b"))
        if stage == "records":
            effects = machine.mended(mended(("a", "b"), clock=theirs), ours, 6.0)
        else:
            effects = machine.located(located(clock=theirs, sums=THEIR_SUMS), ours, 6.0)
        assert machine.stage is Stage.CALM
        assert wakes(effects) == 11.0


def test_no_answer_ends_it_and_the_next_attempt_comes_later_each_time() -> None:
    machine, now_s, calm = Repairing(SPACE), 0.0, []
    machine.differ(now_s, 5.0)
    now_s = 5.0
    for _ in range(20):
        machine.woken(now_s, OURS)
        assert machine.stage is Stage.SUMS
        now_s += ANSWER_S
        until_s = wakes(machine.woken(now_s, OURS))
        calm.append(until_s - now_s)
        now_s = until_s
    assert calm[0] == 5.0
    assert calm == sorted(calm)
    assert calm[-1] == LONGEST_CALM_S


def test_nothing_that_was_not_asked_for_does_anything() -> None:
    machine = Repairing(SPACE)
    for _ in range(2):
        assert machine.located(located(sums=THEIR_SUMS), OURS, 1.0) == []
        assert machine.mended(mended(("a", "b")), OURS, 1.0) == []
        assert machine.compared([("a", "b")], None, OURS, 1.0) == []
        assert machine.read([("a", "b", b"")], OURS, 1.0) == []
        assert machine.merged([("a", "b")], 1, OURS, 1.0) == []
        machine.differ(0.0, 5.0)


def test_sums_that_are_none_end_the_attempt() -> None:
    machine = Repairing(SPACE)
    machine.differ(0.0, 5.0)
    machine.woken(5.0, OURS)
    machine.located(located(sums=b"short"), OURS, 5.0)
    assert machine.stage is Stage.CALM


# ---- a record that fits no frame

BIG = ("notes", "big", b"record" * 100, b"evidence", False)
WHOLE = pack_answer(BIG)


def piece(after: int, size: int = 200, data: bytes = WHOLE, **more: Any) -> Mended:
    mark = more.pop("whole", whole_mark(data))
    return Mended(SPACE, CLOCK, [], [], more.pop("total_bytes", len(data)), data[after : after + size], mark)


def test_a_large_record_comes_in_pieces() -> None:
    machine = at_records(("notes", "big"), ("notes", "small"))
    for after in range(200, len(WHOLE), 200):
        effects = machine.mended(piece(after - 200), OURS, 6.0)
        assert asked(effects) == Mend(SPACE, CLOCK, [("notes", "big", b"")], after=after)
        assert wakes(effects) == 6.0 + ANSWER_S
        assert machine.is_collecting
    merging, _ = machine.mended(piece(after), OURS, 6.0)
    assert merging == Merge(Mended(SPACE, CLOCK, [BIG]), THEIR_SUMS)
    assert not machine.is_collecting
    following, _ = machine.merged([("notes", "big")], 1, OURS, 6.0)
    assert following == ReadRecords([("notes", "small")])


def test_one_that_changes_between_two_pieces_ends_the_attempt() -> None:
    machine = at_records(("notes", "big"))
    machine.mended(piece(0, 400), OURS, 6.0)
    other = pack_answer(("notes", "big", b"another" * 86, b"evidence", False))[: len(WHOLE)]
    machine.mended(piece(400, 400, other), OURS, 6.0)
    assert machine.stage is Stage.CALM
    assert not machine.is_collecting


def test_what_no_record_could_need_is_not_collected() -> None:
    machine = at_records(("notes", "big"), ("notes", "small"))
    following, _ = machine.mended(piece(0, total_bytes=LARGEST_BYTES + 1), OURS, 6.0)
    assert following == ReadRecords([("notes", "small")])
    machine = at_records(("notes", "big"))
    for _ in range(PIECES):
        assert machine.stage is Stage.RECORDS
        machine.mended(piece(0, 1, total_bytes=LARGEST_BYTES), OURS, 6.0)
    assert machine.stage is Stage.CALM


def test_while_another_one_is_collected_it_is_left_for_another_time() -> None:
    machine = at_records(("notes", "big"), ("notes", "small"))
    following, _ = machine.mended(piece(0), OURS, 6.0, may_collect=False)
    assert following == ReadRecords([("notes", "small")])
    assert not machine.is_collecting


def test_what_is_no_record_when_it_is_whole_ends_the_link() -> None:
    machine = at_records(("notes", "big"))
    with pytest.raises(RemoteProtocolError):
        machine.mended(piece(0, 1000, b"\xc1"), OURS, 6.0)
