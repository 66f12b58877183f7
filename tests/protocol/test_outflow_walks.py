"""The sending half, one event at a time: small credits, walks that end early, logs that grow while they are read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from msgspec import Raw

from peerd.core import entry
from peerd.core.chain import Run
from peerd.core.copy import CopyState
from peerd.core.entry import Change, Entry, Head, Kind
from peerd.core.origin import Announcement
from peerd.core.stored import LogRow
from peerd.core.values import pack
from peerd.protocol.effects import Effect, FindPosition, ReadLog, Send, Wake
from peerd.protocol.messages import CREDIT_BYTES, PART_BYTES, Entries, Part
from peerd.protocol.outflow import EXPRESS_LAG, EXPRESS_RESERVE_BYTES, FRAMES_AHEAD, HOLD_S, WHOLE_RUN_BYTES, Outflow

if TYPE_CHECKING:
    from collections.abc import Sequence

SPACE = b"s" * 16
M, P, Q = b"m" * 16, b"p" * 16, b"q" * 16
HEAD = bytes(8)


def copy(*origins: bytes) -> CopyState:
    state = CopyState(SPACE)
    for origin in origins:
        state = state.with_origin(origin, Announcement(origin * 2, b"a" * 16, b"n" * 16))
    return state


BOTH = copy(M, P)


def run(origin: bytes, seq: int, size: int = 10, seen: dict[bytes, int] | None = None) -> Run:
    """One entry that saw these positions for the first time."""
    delta = tuple(Head(other, at, HEAD) for other, at in (seen or {}).items())
    put = Change(Kind.PUT, "notes", "k", {"a": Raw(pack("x" * size))})
    return Run(origin, seq, (entry.encode(Entry(1, 0, 0, delta, None, (put,))),), b"g" * 64)


class Log:
    """A log, and the outflow that reads it: what it asks for is answered when `step` says so."""

    def __init__(self, *runs: Run, credit_bytes: int = CREDIT_BYTES) -> None:
        self.rows = [LogRow(position, one, 0) for position, one in enumerate(runs, 1)]
        self.flow = Outflow(SPACE)
        self.asked: list[FindPosition | ReadLog] = []
        self.wakes: list[float] = []
        self.frames: list[Entries | Part] = []  # handed to the link and not sent yet
        self.sent: list[Entries | Part] = []
        self.now_s = 0.0
        self.perform(self.flow.wanted({}, credit_bytes))

    def perform(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send(message=Entries() | Part() as message):
                    self.frames.append(message)
                case FindPosition() | ReadLog():
                    self.asked.append(effect)
                case Wake(at_s=at_s):
                    self.wakes.append(at_s)

    def commit(self, one: Run, *, own: bool = False) -> None:
        self.rows.append(LogRow(len(self.rows) + 1, one, 0))
        self.perform(self.flow.committed(len(self.rows), self.now_s, own=own))

    def answer(self, known: CopyState = BOTH) -> None:
        """The first thing that was asked for."""
        match self.asked.pop(0):
            case FindPosition(clock=clock):
                lacking = [row.position for row in self.rows if row.run.last > clock.get(row.run.origin, 0)]
                position = lacking[0] - 1 if lacking else len(self.rows)
                self.perform(self.flow.positioned(position, len(self.rows), self.now_s))
            case ReadLog() as read:
                rows: list[LogRow] = []
                for row in self.rows[read.after :]:
                    if row.run.last <= read.covered.get(row.run.origin, 0):
                        continue
                    if rows and sum(one.run.size_bytes for one in [*rows, row]) > read.max_bytes:
                        break
                    rows.append(row)
                whole = not rows or rows[-1] is self.rows[-1]
                up_to = len(self.rows) if whole else rows[-1].position
                self.perform(self.flow.log_read(rows, up_to, known, self.now_s, express=read.express))

    def leave(self) -> None:
        """One frame leaves."""
        self.sent.append(self.frames.pop(0))
        self.perform(self.flow.sent(self.now_s))

    def go_on(self) -> None:
        while self.asked or self.frames:
            if self.asked:
                self.answer()
            else:
                self.leave()

    @property
    def order(self) -> list[tuple[bytes, int]]:
        """What was sent, parts by their first."""
        order: list[tuple[bytes, int]] = []
        for message in self.sent:
            if isinstance(message, Entries):
                order += [(one.origin, one.first) for one in message.runs]
            elif message.number == 0:
                order.append((message.origin, message.seq))
        return order


# --- credit -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("credit_bytes", [1, 100, EXPRESS_RESERVE_BYTES, EXPRESS_RESERVE_BYTES + 1])
def test_any_credit_above_nought_lets_the_walk_begin(credit_bytes: int) -> None:
    """What is left to express is a share of what they gave: a small credit is not all of it."""
    log = Log(run(M, 1, 2_000), run(M, 2, 2_000), credit_bytes=credit_bytes)
    log.go_on()
    assert log.order[:1] == [(M, 1)]


def test_without_credit_nothing_is_sent_and_credit_wakes_it() -> None:
    log = Log(run(M, 1, 5_000), run(M, 2, 5_000), credit_bytes=1)
    log.go_on()
    assert log.order == [(M, 1)]
    assert log.flow.credit_bytes < 0
    log.perform(log.flow.credited(5_000, 0.0))
    log.go_on()
    assert log.order == [(M, 1)], "nought is not above nought"
    log.perform(log.flow.credited(5_000, 0.0))
    log.go_on()
    assert log.order == [(M, 1), (M, 2)]


def test_a_run_larger_than_the_credit_starts_and_its_parts_follow_each_credit() -> None:
    log = Log(run(M, 1, 3 << 20), credit_bytes=2)
    for number in range(7):
        log.go_on()
        assert [part.number for part in log.sent if isinstance(part, Part)] == list(range(number + 1))
        last = log.sent[-1]
        assert isinstance(last, Part)
        log.perform(log.flow.credited(len(last.data), 0.0))
    assert log.flow.caught_up
    assert log.flow.credit_bytes == 2


def test_a_64_mebibyte_entry_goes_in_order_in_pieces_of_half_a_mebibyte() -> None:
    whole = run(M, 1, (64 << 20) - 200)
    log = Log(whole, run(M, 2), credit_bytes=CREDIT_BYTES)
    while log.asked or log.frames:
        if log.asked:
            log.answer()
            continue
        assert len(log.frames) <= FRAMES_AHEAD
        log.leave()
        last = log.sent[-1]
        if isinstance(last, Part):
            log.perform(log.flow.credited(len(last.data), 0.0))
    parts = [part for part in log.sent if isinstance(part, Part)]
    assert [part.number for part in parts] == list(range(128))
    assert {part.count for part in parts} == {128}
    assert max(len(part.data) for part in parts) <= PART_BYTES
    assert b"".join(part.data for part in parts) == whole.entries[0]
    assert [part.signature for part in parts] == [b""] * 127 + [whole.signature]
    assert [bool(part.origins) for part in parts] == [True] + [False] * 127
    assert log.order == [(M, 1), (M, 2)], "what follows of one origin stays behind it"


def test_a_whole_run_after_one_in_parts_keeps_the_order() -> None:
    log = Log(run(M, 1), run(P, 1, WHOLE_RUN_BYTES), run(M, 2), run(P, 2, WHOLE_RUN_BYTES - 5_000), run(M, 3))
    log.go_on()
    assert log.order == [(M, 1), (P, 1), (M, 2), (P, 2), (M, 3)]
    kinds = [type(message).__name__ for message in log.sent]
    assert kinds[:3] == ["Entries", "Part", "Part"]
    assert "Part" not in kinds[3:], "what fits a frame is whole"


def test_no_more_than_two_frames_wait_in_the_link() -> None:
    log = Log(*[run(M, seq, 300_000) for seq in range(1, 9)])
    for _ in range(20):
        while log.asked:
            log.answer()
        assert len(log.frames) <= FRAMES_AHEAD
        if log.frames:
            log.leave()
    assert log.order == [(M, seq) for seq in range(1, 9)]


# --- a walk that ends early -------------------------------------------------------------------------------


def test_an_origin_is_announced_again_when_its_announcement_was_dropped_with_the_walk() -> None:
    """A WANT clears what was to be sent, and with it perhaps the only announcement."""
    log = Log(run(M, 1, 2_000), run(M, 2, 2_000_000), credit_bytes=1)
    log.answer()
    log.answer()
    assert log.frames
    assert log.flow.credit_bytes <= 0
    log = Log(run(P, 1, 2_000), run(M, 1, 2_000_000), run(M, 2), credit_bytes=600_000)
    log.go_on()
    assert log.flow._queue, "the parts wait for credit"
    log.perform(log.flow.wanted({P: 1}, CREDIT_BYTES))
    before = len(log.sent)
    log.go_on()
    first = log.sent[before]
    assert isinstance(first, Part)
    assert [one.device for one in first.origins] == [M * 2]


def test_two_wants_in_a_row_leave_out_nothing() -> None:
    """The answer to the first one is not the beginning of the second walk."""
    log = Log(run(M, 1), run(M, 2), run(P, 1))
    log.go_on()
    log.perform(log.flow.wanted({M: 2}, 0))
    log.perform(log.flow.wanted({}, 0))
    log.sent.clear()
    log.go_on()
    assert log.order == [(M, 1), (M, 2), (P, 1)]


def test_what_was_read_for_a_walk_that_has_ended_does_not_move_the_next_one() -> None:
    """Even if it is read only after the next walk has begun."""
    log = Log(run(M, 1, 300_000), run(M, 2, 300_000), run(M, 3, 300_000))
    log.answer()
    log.answer()  # the first run
    (read,) = log.asked
    log.perform(log.flow.wanted({}, 0))
    log.asked.pop(0)
    log.answer()  # the position
    log.asked.append(read)
    log.answer()  # what follows the first run
    log.go_on()
    assert log.order == [(M, 1), (M, 1), (M, 2), (M, 3)]


def test_a_stopped_outflow_says_nothing_more() -> None:
    log = Log(*[run(M, seq, 300_000) for seq in range(1, 9)])
    log.answer()
    log.answer()
    log.flow.stop()
    while log.frames:
        log.leave()
    log.commit(run(P, 1), own=True)
    log.perform(log.flow.credited(1 << 20, 0.0))
    assert len(log.sent) <= FRAMES_AHEAD
    assert not log.frames


# --- a log that grows meanwhile ---------------------------------------------------------------------------


BULK = EXPRESS_LAG + 60


def far_behind() -> Log:
    """The walk is at its beginning, and is not read yet."""
    log = Log(*[run(M, seq, 20_000) for seq in range(1, BULK + 1)])
    log.answer()
    return log


def test_what_the_copy_does_not_know_yet_is_left_for_later() -> None:
    """A reader may see a commit before the engine has heard of it; its origin cannot be announced then."""
    log = far_behind()
    log.commit(run(P, 1), own=True)
    log.rows.append(LogRow(len(log.rows) + 1, run(Q, 1), 0))  # committed, and not told yet
    while not any(isinstance(one, ReadLog) and one.express for one in log.asked):
        log.answer() if log.asked else log.leave()
    log.answer()
    while log.frames:
        log.leave()
    assert (P, 1) in log.order
    assert (Q, 1) not in log.order
    log.perform(log.flow.committed(len(log.rows), 0.0, own=False))
    log.now_s = 1.0
    while log.asked or log.frames:
        log.answer(copy(M, P, Q)) if log.asked else log.leave()
    assert (Q, 1) in log.order


def test_nothing_overtakes_its_own_origin_or_what_it_has_seen() -> None:
    log = far_behind()
    log.commit(run(M, len(log.rows) + 1), own=True)  # of the bulk's own origin
    log.commit(run(P, 1, seen={M: 90}), own=True)  # has seen some of the bulk
    log.commit(run(P, 2), own=True)  # follows that
    log.commit(run(Q, 1), own=True)  # has seen nothing
    while log.asked or log.frames:
        log.answer(copy(M, P, Q)) if log.asked else log.leave()
    place = {one: at for at, one in enumerate(log.order)}
    assert place[Q, 1] < place[M, 80]
    assert place[M, BULK + 1] > place[M, BULK]
    assert place[M, 90] < place[P, 1] < place[P, 2]
    assert len(place) == len(log.order) == len(log.rows)


def test_a_few_runs_are_no_bulk_to_overtake() -> None:
    log = Log(*[run(M, seq, 20_000) for seq in range(1, EXPRESS_LAG)])
    log.answer()
    log.commit(run(P, 1), own=True)
    log.go_on()
    assert log.order[-1] == (P, 1)


def test_what_is_held_is_forgotten_when_its_time_has_come_even_if_nobody_wants_anything() -> None:
    """A session that waits for its turn for hours must not remember every commit."""
    flow = Outflow(SPACE)
    for position in range(1, 10_000):
        flow.committed(position, position * HOLD_S / 4, own=False)
    assert len(flow._fresh) <= 5


def test_a_foreign_run_is_sent_when_its_moment_is_over_and_only_then() -> None:
    log = Log(run(M, 1))
    log.go_on()
    log.commit(run(P, 1))
    assert log.asked == []
    assert log.wakes == [HOLD_S]
    log.now_s = HOLD_S / 2
    log.perform(log.flow.pump(log.now_s))
    assert log.asked == []
    log.now_s = HOLD_S
    log.perform(log.flow.pump(log.now_s))
    log.go_on()
    assert log.order == [(M, 1), (P, 1)]


def test_what_they_acknowledged_meanwhile_is_not_sent() -> None:
    log = Log(run(M, 1))
    log.go_on()
    log.commit(run(P, 1))
    log.flow.learn({P: 1})
    log.now_s = HOLD_S
    log.perform(log.flow.pump(log.now_s))
    log.go_on()
    assert log.order == [(M, 1)]
    assert log.flow.caught_up


def test_our_own_commit_takes_what_is_held_with_it() -> None:
    """It has seen the foreign run, so both go at once and in order."""
    log = Log(run(M, 1))
    log.go_on()
    log.commit(run(P, 1))
    log.commit(run(M, 2, seen={P: 1}), own=True)
    log.go_on()
    assert log.order == [(M, 1), (P, 1), (M, 2)]
