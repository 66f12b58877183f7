"""Merging the state of another copy: one record, and many; by hand, and against the definition."""

from __future__ import annotations

from collections.abc import Collection

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerd.core import digest
from peerd.core.batch import Stored
from peerd.core.clocks import Clock, Dot, covers, join
from peerd.core.copy import OriginState
from peerd.core.origin import Announcement
from peerd.core.record import Record, Stamp
from peerd.core.record_form import decode_record, digest_of, encode_body, encode_stamps
from peerd.core.restore import Image
from peerd.core.snapshots.merge import IN_A_SNAPSHOT, Pair, ahead, horizon_after, lost, merge, merge_all

P, Q = b"p" * 16, b"q" * 16
NAME = ("notes", "one")


def record(births: set[Dot], **fields: dict[Dot, bytes]) -> Record:
    made = Record()
    made.births, made.fields = births, fields
    made.stamps = {dot: Stamp(dot.seq, 2) for dot in births.union(*fields.values())}
    return made


def stored(made: Record) -> Stored:
    order, stamps = encode_stamps(made.stamps)
    _, share = digest_of(*NAME, stamps, encode_body(made.births, made.fields, order))
    return Stored(made, share, made.visible)


def parts(made: Record | None) -> tuple[set[Dot], dict[str, dict[Dot, bytes]]]:
    return (set(), {}) if made is None else (set(made.births), made.fields)


P1, P2, Q1 = Dot(P, 1), Dot(P, 2), Dot(Q, 1)


@pytest.mark.parametrize(
    ("ours", "theirs", "our_clock", "their_clock", "merged"),
    [
        (None, {P1}, {}, {P: 1}, {P1}),  # new to us
        (None, {P1}, {P: 1}, {P: 1}, set()),  # we deleted it
        ({P1}, None, {P: 1}, {P: 1}, set()),  # they deleted it
        ({P1}, None, {P: 1}, {}, {P1}),  # unsent
        ({P1}, {P1}, {P: 1}, {P: 1}, {P1}),
        ({Q1}, {P2}, {P: 1, Q: 1}, {P: 2}, {P2, Q1}),  # concurrent
        ({P1}, {P2}, {P: 1}, {P: 2}, {P2}),  # replaced
    ],
)
def test_a_birth_stays_or_goes(
    ours: set[Dot] | None, theirs: set[Dot] | None, our_clock: Clock, their_clock: Clock, merged: set[Dot]
) -> None:
    one = None if ours is None else record(ours)
    other = None if theirs is None else record(theirs)
    assert parts(merge(one, other, our_clock, their_clock))[0] == merged
    assert parts(merge(other, one, their_clock, our_clock))[0] == merged


def test_fields_are_merged_one_by_one() -> None:
    """Ours: b was edited and not sent. Theirs: a was replaced, c dropped."""
    ours = record({P1}, a={P1: b"\x01"}, b={Q1: b"\x05"}, c={P1: b"\x03"})
    theirs = record({P1}, a={P2: b"\x04"}, b={P1: b"\x02"})
    merged = merge(ours, theirs, {P: 1, Q: 1}, {P: 2})
    assert parts(merged) == ({P1}, {"a": {P2: b"\x04"}, "b": {Q1: b"\x05"}})
    assert merged is not None
    assert set(merged.stamps) == {P1, P2, Q1}
    dropped = lost(ours, merged)
    assert (dropped.births, dropped.fields) == ((), {"a": {P1: b"\x01"}, "c": {P1: b"\x03"}})
    assert set(dropped.stamps) == {P1}
    assert parts(ours)[1]["a"] == {P1: b"\x01"}, "what was given is not changed"


def test_an_edit_of_ours_that_met_their_delete_is_parked_and_has_an_image() -> None:
    ours = record({P1}, a={P1: b"\x01"}, b={Q1: b"\x02"})
    done = merge_all([Pair(NAME, stored(ours), None)], {P: 1, Q: 1}, {P: 2})
    (row,) = done.rows
    assert parts(decode_record(row.stamps, row.body)) == (set(), {"b": {Q1: b"\x02"}})
    assert done.images == {NAME: Image({"a": b"\x01", "b": b"\x02"}, None)}
    (history,) = done.history
    assert (history.name, history.by) == (NAME, IN_A_SNAPSHOT)
    assert parts(decode_record(history.stamps, history.body)) == ({P1}, {"a": {P1: b"\x01"}})
    assert (done.records, done.visible) == (1, {})


def test_what_is_the_same_on_both_sides_is_not_written() -> None:
    both = record({P1}, a={P1: b"\x01"})
    newer = record({P2}, a={P2: b"\x01"})
    done = merge_all([Pair(NAME, stored(both), stored(both)), Pair(NAME, stored(both), stored(newer))], {P: 1}, {P: 2})
    assert (done.rows, done.gone, done.steps, done.records) == ([], [], [], 0)
    assert len(done.history) == 1
    assert not done.images


def test_what_we_deleted_goes_from_theirs() -> None:
    theirs = stored(record({P1}, a={P1: b"\x01"}))
    done = merge_all([Pair(NAME, None, theirs)], {P: 2}, {P: 1})
    assert (done.gone, done.rows, done.records, done.visible) == ([NAME], [], -1, {"notes": -1})
    bucket, _ = digest_of(*NAME, [], b"")
    assert done.steps == [(bucket, -theirs.share)]
    assert merge_all([Pair(NAME, theirs, None)], {P: 1}, {P: 2}).records == 0


def test_a_copy_moves_to_the_further_position_of_each_origin() -> None:
    announcement = Announcement(b"d" * 32, b"a" * 16, b"n" * 16)

    def at(seq: int) -> OriginState:
        return OriginState(announcement, seq, bytes(32), {})

    moved = ahead({P: at(3), Q: at(1)}, {P: at(2), Q: at(4), b"r" * 16: at(5), b"s" * 16: at(0)})
    assert moved == {Q: at(4), b"r" * 16: at(5)}
    assert horizon_after({P: 1, Q: 1}, moved) == {P: 1, Q: 4, b"r" * 16: 5}


# ---- against the definition

ORIGINS = (P, Q)
CLOCKS = st.fixed_dictionaries({origin: st.integers(0, 4) for origin in ORIGINS})
DOTS = st.builds(Dot, st.sampled_from(ORIGINS), st.integers(1, 4))
Drawn = tuple[Clock, frozenset[Dot], dict[str, frozenset[Dot]]]
SIDES = st.tuples(CLOCKS, st.frozensets(DOTS), st.dictionaries(st.sampled_from("ab"), st.frozensets(DOTS)))


def side(drawn: Drawn) -> tuple[Record | None, Clock]:
    """A record of dots that its clock covers. Values follow from dots, as they do where nobody lies."""
    clock, births, fields = drawn
    made = record(
        {dot for dot in births if covers(clock, dot)},
        **{
            name: {dot: name.encode() + bytes([dot.seq]) + dot.origin for dot in dots if covers(clock, dot)}
            for name, dots in fields.items()
            if any(covers(clock, dot) for dot in dots)
        },
    )
    return (None if made.empty else made), clock


def merged_of(one: tuple[Record | None, Clock], other: tuple[Record | None, Clock]) -> tuple[Record | None, Clock]:
    return merge(one[0], other[0], one[1], other[1]), join(one[1], other[1])


@given(SIDES, SIDES)
def test_a_dot_stays_where_no_side_says_that_it_went(one: Drawn, other: Drawn) -> None:
    (ours, our_clock), (theirs, their_clock) = side(one), side(other)
    births, fields = parts(merge(ours, theirs, our_clock, their_clock))

    def stays(dot: Dot, mine: Collection[Dot], others: Collection[Dot]) -> bool:
        return (dot in mine and dot in others) or not covers(their_clock if dot in mine else our_clock, dot)

    mine, others = parts(ours), parts(theirs)
    assert births == {dot for dot in mine[0] | others[0] if stays(dot, mine[0], others[0])}
    for name in "ab":
        left, right = mine[1].get(name, {}), others[1].get(name, {})
        expected = {dot for dot in left.keys() | right.keys() if stays(dot, left, right)}
        assert set(fields.get(name, {})) == expected


@given(SIDES, SIDES)
def test_merging_is_the_same_from_both_sides_and_again(one: Drawn, other: Drawn) -> None:
    left, right = side(one), side(other)
    merged = merged_of(left, right)
    assert parts(merged[0]) == parts(merged_of(right, left)[0])
    assert parts(merged_of(left, left)[0]) == parts(left[0])
    assert parts(merged_of(merged, right)[0]) == parts(merged[0])


@given(SIDES, SIDES)
def test_what_is_kept_and_what_is_lost_is_what_there_was(one: Drawn, other: Drawn) -> None:
    (ours, our_clock), (theirs, their_clock) = side(one), side(other)
    if ours is None:
        return
    merged = merge(ours, theirs, our_clock, their_clock)
    dropped, (births, fields) = lost(ours, merged), parts(merged)
    assert set(dropped.births) == ours.births - births
    for name, siblings in ours.fields.items():
        assert set(dropped.fields.get(name, {})) == set(siblings) - set(fields.get(name, {}))


@given(SIDES, SIDES)
def test_the_digest_moves_with_the_rows(one: Drawn, other: Drawn) -> None:
    (ours, our_clock), (theirs, their_clock) = side(one), side(other)
    pair = Pair(NAME, None if ours is None else stored(ours), None if theirs is None else stored(theirs))
    bucket, _ = digest_of(*NAME, [], b"")
    before = digest.moved(digest.EMPTY, [(bucket, pair.theirs.share)]) if pair.theirs else digest.EMPTY
    done = merge_all([pair], our_clock, their_clock)
    merged = merge(ours, theirs, our_clock, their_clock)
    expected = digest.moved(digest.EMPTY, [(bucket, stored(merged).share)]) if merged else digest.EMPTY
    assert digest.moved(before, done.steps) == expected
    visible = int(merged is not None and merged.visible) - int(theirs is not None and theirs.visible)
    assert done.visible.get("notes", 0) == visible
    assert done.records == int(merged is not None) - int(theirs is not None)
