"""What a record was, from what it is and what was dropped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hypothesis import given

from peerd.core.clocks import Dot
from peerd.core.past import Place, Removal, at, before, events
from peerd.core.record import Record, Stamp
from tests.core.pasts import ORIGINS, Steps, same, steps


class Applied:
    def __init__(self, dots: Sequence[Dot]) -> None:
        self._dots = set(dots)

    def begun(self, dot: Dot, _t_ms: int) -> bool:
        return dot in self._dots

    def over(self, removal: Removal) -> bool:
        return removal.by in self._dots


@given(steps())
def test_every_moment_can_be_had_again(made: Steps) -> None:
    """With all its siblings, whoever had seen what."""
    for number, state in enumerate(made.states):
        applied = Applied(made.dots[:number])
        then = at(made.record, made.newest_first, applied.begun, applied.over)
        assert same(then, state), number


@given(steps())
def test_walking_back_passes_every_moment(made: Steps) -> None:
    """From the newest to the beginning; transactions that changed nothing are not stopped at."""
    record = made.record
    stops = [
        state for number, state in enumerate(made.states) if number == 0 or not same(state, made.states[number - 1])
    ]
    found = list(events(made.record, made.newest_first, made.place))
    assert [one.place for one in found] == sorted((one.place for one in found), reverse=True)
    assert len(found) == len(stops) - 1
    for event, expected in zip(found, reversed(stops), strict=False):
        assert same(record, expected)
        record = before(record, event)
    assert record.empty


def test_history_is_read_only_as_far_as_one_goes() -> None:
    """A record may have millions of versions."""

    def endless() -> Iterator[Removal]:
        number = 1_000_000
        while True:
            old = Record()
            old.stamps[Dot(ORIGINS[0], number - 1)] = Stamp(number - 1, 2)
            old.fields["n"] = {Dot(ORIGINS[0], number - 1): b"\x01"}
            yield Removal(Dot(ORIGINS[0], number), number, old)
            number -= 1

    stream = events(None, endless(), lambda dot, _ms: Place(dot.seq, 0, dot.seq))
    assert [next(stream).dot.seq for _ in range(3)] == [1_000_000, 999_999, 999_998]
    then = at(None, endless(), lambda dot, _ms: dot.seq <= 999_000, lambda one: one.by.seq <= 999_000)
    assert then.dots() == {Dot(ORIGINS[0], 999_000)}


def test_what_the_log_has_not_comes_before_what_it_has() -> None:
    """In the order of what is known of its time; a birth that nobody dropped included."""
    log_begins = Dot(ORIGINS[1], 5)
    old = Record()
    old.stamps[Dot(ORIGINS[0], 1)] = Stamp(70, 2)
    old.fields["x"] = {Dot(ORIGINS[0], 1): b"\x01"}
    now = Record()
    now.stamps = {Dot(ORIGINS[0], 2): Stamp(60, 2), log_begins: Stamp(1, 2)}
    now.births = {Dot(ORIGINS[0], 2)}
    now.fields["x"] = {log_begins: b"\x02"}

    def place(dot: Dot, ms: int) -> Place:
        return Place(9, 0, dot.seq) if dot == log_begins else Place(0, ms, dot.seq)

    found = list(events(now, [Removal(log_begins, 5_000, old)], place))
    assert [event.dot for event in found] == [log_begins, Dot(ORIGINS[0], 1), Dot(ORIGINS[0], 2)]


def test_what_a_snapshot_took_away_may_be_kept_later_than_it_happened() -> None:
    """So what stands behind it may be younger than it."""
    births, change = Record(), Record()
    births.stamps = change.stamps = {Dot(ORIGINS[0], 1): Stamp(1, 2)}
    births.births = {Dot(ORIGINS[0], 1)}
    change.fields["x"] = {Dot(ORIGINS[0], 1): b"\x01"}
    removals = [Removal(Dot(bytes(16), 0), 5, change), Removal(Dot(ORIGINS[0], 2), 9, births)]
    then = at(None, removals, lambda *_: True, lambda one: one.arrived_ms <= 7)
    assert (then.births, then.fields) == ({Dot(ORIGINS[0], 1)}, {})
