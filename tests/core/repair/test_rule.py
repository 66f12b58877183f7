"""Two copies of a record that differ at equal clocks become one, and nothing good is lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from peerd.core.clocks import Clock, Dot
from peerd.core.entry import Change, Kind
from peerd.core.record import Record, Stamp
from peerd.core.record_form import encode_body, encode_stamps
from peerd.core.repair.evidence import Evidence, Trace, replayed, weigh
from peerd.core.repair.rule import merge
from peerd.core.values import pack

ORIGINS = [b"a" * 16, b"b" * 16, b"c" * 16]
FIELDS = ["x", "y"]
NAME = ("notes", "a")
NOTHING = Evidence(Record(), {})


def form(record: Record) -> Any:
    order, rows = encode_stamps(record.stamps)
    return rows, encode_body(record.births, record.fields, order) if order else b""


def slots(record: Record) -> dict[tuple[str | None, Dot], bytes]:
    found: dict[tuple[str | None, Dot], bytes] = {(None, dot): b"" for dot in record.births}
    for field, siblings in record.fields.items():
        found |= {(field, dot): value for dot, value in siblings.items()}
    return found


def made(found: dict[tuple[str | None, Dot], bytes], stamps: dict[Dot, Stamp]) -> Record:
    record = Record()
    for (field, dot), value in found.items():
        if field is None:
            record.births.add(dot)
        else:
            record.fields.setdefault(field, {})[dot] = value
        record.stamps[dot] = stamps[dot]
    return record


@st.composite
def histories(draw: st.DrawFn) -> list[Trace]:
    """Transactions on one record by authors who see some of each other, in an order in which all can be applied."""
    traces: list[Trace] = []
    seen: dict[bytes, Clock] = {origin: {} for origin in ORIGINS}
    for number in range(draw(st.integers(1, 8))):
        origin = draw(st.sampled_from(ORIGINS))
        for other in ORIGINS:
            if draw(st.booleans()):
                known = seen[other]
                seen[origin] = {one: max(seen[origin].get(one, 0), known.get(one, 0)) for one in ORIGINS}
        kind = draw(st.sampled_from([Kind.PUT, Kind.PATCH, Kind.PATCH, Kind.DELETE]))
        named = draw(st.lists(st.sampled_from(FIELDS), unique=True)) if kind != Kind.DELETE else []
        set_ = {field: Raw(pack(number)) for field in named}
        drop = tuple(field for field in FIELDS if field not in set_ and draw(st.booleans())) if kind == 2 else ()
        dot = Dot(origin, seen[origin].get(origin, 0) + 1)
        context = {**seen[origin], origin: dot.seq - 1}
        traces.append(Trace(dot, context, Change(kind, *NAME, set_, drop), Stamp(1000 + number, 2)))
        seen[origin] = {**context, origin: dot.seq}
    return traces


Damage = Callable[[st.DrawFn, Record], Record]


def lose_all(_: st.DrawFn, record: Record) -> Record:
    del record
    return Record()


def lose_some(draw: st.DrawFn, record: Record) -> Record:
    found = {slot: value for slot, value in slots(record).items() if draw(st.booleans())}
    return made(found, record.stamps)


def flip_value(draw: st.DrawFn, record: Record) -> Record:
    found = slots(record)
    values = [slot for slot in found if slot[0] is not None]
    if values:
        found[draw(st.sampled_from(values))] = pack("rotten")
    return made(found, record.stamps)


def flip_stamps(draw: st.DrawFn, record: Record) -> Record:
    stamps = {
        dot: Stamp(draw(st.integers(0, 9999)), draw(st.integers(0, 2)), draw(st.booleans())) for dot in record.stamps
    }
    return made(slots(record), stamps)


def add_birth(draw: st.DrawFn, record: Record) -> Record:
    dot = Dot(draw(st.sampled_from(ORIGINS)), draw(st.integers(1, 3)))
    return made({**slots(record), (None, dot): b""}, {dot: Stamp(5, 1), **record.stamps})


DAMAGES: list[Damage] = [lose_all, lose_some, flip_value, flip_stamps, add_birth]


@st.composite
def damaged(draw: st.DrawFn) -> tuple[list[Trace], Record, Record]:
    traces = draw(histories())
    good = replayed(traces)
    return traces, good, draw(st.sampled_from(DAMAGES))(draw, replayed(traces))


def settle(one: Record, other: Record, proofs: list[Evidence], first: int = 0) -> tuple[Record, Record, list[Any]]:
    """Both sides repair themselves, one after the other, the second from what the first has become."""
    if first:
        right = merge(other, one, proofs)
        left = merge(one, right.record, proofs)
    else:
        left = merge(one, other, proofs)
        right = merge(other, left.record, proofs)
    return left.record, right.record, [*left.again, *right.again]


@given(damaged(), st.integers(0, 1))
def test_with_the_whole_log_both_are_what_it_says(story: tuple[list[Trace], Record, Record], first: int) -> None:
    traces, good, bad = story
    proofs = [weigh(traces, [], whole=True), NOTHING]
    left, right, again = settle(good, bad, proofs, first)
    assert form(left) == form(right) == form(good)
    assert not again


@given(damaged(), st.integers(0, 8), st.integers(0, 1))
def test_with_a_trimmed_log_nothing_good_is_lost(
    story: tuple[list[Trace], Record, Record], trimmed: int, first: int
) -> None:
    """Both end alike; what the good side held stands, or is written again; what the log shows as removed is not back,
    and where the log still has the entry, its value is the one that stands.
    """
    traces, good, bad = story
    proof = weigh(traces[trimmed:], [], whole=False)
    left, right, again = settle(good, bad, [proof], first)
    assert form(left) == form(right)
    ended = slots(left)
    for slot, value in slots(good).items():
        assert slot in ended
        assert ended[slot] == value or (slot[0], value) in again
    assert not ended.keys() & proof.gone.keys()
    for slot, value in slots(proof.record).items():
        if slot in ended:
            assert ended[slot] == value
            assert left.stamps[slot[1]] == proof.record.stamps[slot[1]]


@given(damaged(), st.integers(0, 8), st.integers(0, 8))
def test_both_come_to_the_same_at_the_same_time(
    story: tuple[list[Trace], Record, Record], ours: int, theirs: int
) -> None:
    """Each from what the other was before, with logs that were trimmed differently, whoever asks; and once more it
    changes nothing.
    """
    traces, good, bad = story
    one, other = weigh(traces[ours:], [], whole=False), weigh(traces[theirs:], [], whole=False)
    left, right = merge(good, bad, [one, other]).record, merge(bad, good, [other, one]).record
    assert form(left) == form(right)
    assert form(merge(left, right, [one, other]).record) == form(left)


@given(damaged(), st.integers(0, 8))
def test_the_side_that_is_known_to_be_damaged_takes_what_the_other_has(
    story: tuple[list[Trace], Record, Record], trimmed: int
) -> None:
    traces, good, bad = story
    merged = merge(bad, good, [weigh(traces[trimmed:], [], whole=False)], trust=True)
    assert form(merged.record) == form(good)
    assert not merged.again
    kept = slots(merged.record)
    gone = {slot for slot, value in slots(bad).items() if kept.get(slot) != value}
    told: set[tuple[str | None, Dot]] = {(None, dot) for dropped, _ in merged.dropped for dot in dropped.births}
    told |= {(field, dot) for dropped, _ in merged.dropped for field, some in dropped.fields.items() for dot in some}
    assert told == gone


def test_two_values_under_one_dot_without_a_log_are_both_kept() -> None:
    dot = Dot(ORIGINS[0], 1)
    stamps = {dot: Stamp(1, 2)}
    one = made({(None, dot): b"", ("x", dot): pack("good")}, stamps)
    other = made({(None, dot): b"", ("x", dot): pack("hood")}, stamps)
    left, right = merge(one, other, []), merge(other, one, [])
    assert form(left.record) == form(right.record)
    assert [*left.again, *right.again] == [("x", pack("good"))]
    assert merge(one, other, [], trust=True).record.fields == other.fields


def test_the_side_that_stands_gives_its_values_and_drops_nothing_of_the_other() -> None:
    """Both sides come to the same, and nothing is written again."""
    dot, more = Dot(ORIGINS[0], 1), Dot(ORIGINS[0], 2)
    odd = made(
        {(None, dot): b"", ("x", dot): pack("zzzz"), ("y", more): pack(1)}, {dot: Stamp(9, 2), more: Stamp(2, 2)}
    )
    right = made({(None, dot): b"", ("x", dot): pack("good")}, {dot: Stamp(1, 2)})
    one, other = merge(odd, right, [], stands="theirs"), merge(right, odd, [], stands="ours")
    assert form(one.record) == form(other.record)
    assert one.again == other.again == []
    assert one.record.fields == {"x": {dot: pack("good")}, "y": {more: pack(1)}}
    assert one.record.stamps == {dot: Stamp(1, 2), more: Stamp(2, 2)}


def test_a_birth_that_nobody_wrote_goes() -> None:
    """The log has the entry whose dot it bears, and that says nothing of this record."""
    dot, bogus = Dot(ORIGINS[0], 1), Dot(ORIGINS[1], 1)
    stamps = {dot: Stamp(1, 2), bogus: Stamp(1, 2)}
    good = made({(None, dot): b"", ("x", dot): pack(1)}, stamps)
    bad = made({**slots(good), (None, bogus): b""}, stamps)
    known = weigh([], [bogus], whole=False)
    assert form(merge(bad, good, [known]).record) == form(good)
    assert form(merge(good, bad, []).record) == form(bad)  # without the log it is not known to be wrong
