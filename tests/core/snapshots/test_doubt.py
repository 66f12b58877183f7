"""Merging with a copy that is known to be damaged: what it lost stays, what it removed goes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerd.core import digest
from peerd.core.batch import Name, Stored
from peerd.core.clocks import Clock, Dot
from peerd.core.record import Record, Stamp
from peerd.core.record_form import bucket_of, decode_record, digest_of, encode_body, encode_stamps
from peerd.core.snapshots.doubt import ALL_OF, THREE_OF, Doubts, keeping, making_up
from peerd.core.snapshots.merge import NO_DOUBTS, Merged, Pair, all_plain, merge, merge_all
from peerd.core.values import pack

A, B = b"a" * 16, b"b" * 16
THEN: Clock = {A: 10}  # what both have
NOW: Clock = {A: 20}  # what they have


def record(born: int | None = None, restored: int | None = None, **fields: int) -> Record:
    """Fields and births by the number of the transaction of A that wrote them; negative: of B."""
    made = Record()
    for name, seq in fields.items():
        made.fields[name] = {dot(seq): pack(f"{name} {seq}")}
    made.births = {dot(one) for one in (born, restored) if one is not None}
    for one in made.births.union(*made.fields.values()):
        made.stamps[one] = Stamp(one.seq, 2, restored=restored is not None and one == dot(restored))
    return made


def dot(seq: int) -> Dot:
    return Dot(A, seq) if seq > 0 else Dot(B, -seq)


def share(name: Name, one: Record | None) -> int:
    if one is None:
        return 0
    order, stamps = encode_stamps(one.stamps)
    return digest_of(*name, stamps, encode_body(one.births, one.fields, order))[1]


def stored(name: Name, one: Record | None) -> Stored | None:
    return None if one is None else Stored(one, share(name, one), one.visible)


def form(one: Record | None) -> Any:
    return one and (one.births, one.fields, one.stamps)


def kept(ours: Record | None, theirs: Record | None) -> Record | None:
    return keeping(ours, theirs, merge(theirs, ours, NOW, THEN), THEN)


# ---- one record


@pytest.mark.parametrize(
    ("theirs", "outcome"),
    [
        (None, record(1, x=1, y=2)),  # lost, or deleted
        (record(1, x=1), record(1, x=1, y=2)),  # so of one field
        (record(None, x=15), record(1, x=15, y=2)),  # lost, and written to since
        (record(1, x=15, y=2), record(1, x=15, y=2)),  # written to
        (record(15, x=15), record(15, x=15)),  # written anew: whoever did that has seen it
        (record(None, 15, x=15), record(None, 15, x=15, y=2)),  # a restore removes nothing
    ],
)
def test_nothing_goes_but_for_what_stands_for_it(theirs: Record | None, outcome: Record) -> None:
    assert form(kept(record(1, x=1, y=2), theirs)) == form(outcome)


def test_of_one_value_that_both_have_ours_stays() -> None:
    theirs = record(1, x=1)
    theirs.fields["x"][dot(1)] = pack("rotten")
    assert form(kept(record(1, x=1), theirs)) == form(record(1, x=1))
    assert form(merge(theirs, record(1, x=1), NOW, THEN)) == form(theirs)


def test_what_we_removed_does_not_come_back() -> None:
    assert kept(None, record(1, x=1)) is None
    assert form(kept(record(1, y=2), record(1, x=1, y=2))) == form(record(1, y=2))


def test_what_they_never_saw_stays_in_any_case() -> None:
    assert form(kept(record(1, x=-3), record(1, x=15))) == form(merge(record(1, x=-3), record(1, x=15), THEN, NOW))


# ---- which of them make it up


def of(*values: int) -> dict[Name, int]:
    return {("notes", f"{number}"): value for number, value in enumerate(values)}


def chosen(values: dict[Name, int], owed: int) -> list[str] | None:
    found = making_up(values, owed % digest.MODULUS)
    return None if found is None else sorted(key for _, key in found)


def test_those_are_found_that_make_it_up() -> None:
    values = of(*(7**number for number in range(20)))
    assert chosen(of(), 0) == []
    assert chosen(values, 0) == []
    assert chosen(values, sum(values.values())) == sorted(key for _, key in values)
    assert chosen(values, 7**4) == ["4"]
    assert chosen(values, 7**4 + 7**19) == ["19", "4"]
    assert chosen(values, 1 + 7 + 7**5) == ["0", "1", "5"]
    assert chosen(values, 1 + 7 + 49 + 7**5) is None  # any four of so many are too many to try
    assert chosen(of(5, -9), -9) == ["1"]


def test_of_few_any_number_is_tried() -> None:
    values = [3**number for number in range(ALL_OF)]
    assert chosen(of(*values), sum(values[:9])) == sorted(f"{number}" for number in range(9))
    assert chosen(of(*values), 2) is None


def test_of_very_many_two_are_tried() -> None:
    values = of(*(number * number * 977 for number in range(1, THREE_OF + 3)))
    wanted = [values["notes", key] for key in ("7", "99")]
    assert chosen(values, sum(wanted)) == ["7", "99"]
    assert chosen(of(*[*values.values(), 5]), 5) == [f"{len(values)}"]


# ---- many records

NAMES = [("notes", key) for key in map(str, range(3_000)) if bucket_of("notes", key) == bucket_of("notes", "0")][:6]


def merged(ours: dict[Name, Record], theirs: dict[Name, Record], doubts: Doubts) -> tuple[dict[Name, Record], int]:
    """What both become, as the store does it, and what the bucket owes then."""
    pairs = {name: Pair(name, stored(name, ours.get(name)), stored(name, theirs.get(name))) for name in NAMES}
    done = merge_all(pairs.values(), THEN, NOW, doubts)
    found = {**theirs, **taken(done)}
    differing = {name: one.difference for name, one in done.doubtful.items() if one is not None}
    owed = digest.at(doubts.there, bucket_of(*NAMES[0]))
    lost = making_up(differing, owed)
    if lost is None:
        return {name: one for name, one in found.items() if one is not None}, (owed - sum(differing.values())) % 2**64
    plain = {name: merge(theirs.get(name), ours.get(name), NOW, THEN) for name in differing if name not in lost}
    again = [pairs[name]._replace(theirs=stored(name, found.get(name)), plain=(plain[name],)) for name in plain]
    found |= taken(all_plain(again))
    return {name: one for name, one in found.items() if one is not None}, 0


def taken(done: Merged) -> dict[Name, Record | None]:
    return {row.name: decode_record(row.stamps, row.body) for row in done.rows} | dict.fromkeys(done.gone)


WHAT = ("same", "deleted", "edited", "rewritten", "new")


@given(st.lists(st.sampled_from(WHAT), min_size=6, max_size=6), st.sets(st.sampled_from(range(6)), max_size=3))
def test_what_was_lost_stays_and_what_was_removed_goes(what: list[str], lost: set[int]) -> None:
    """Whatever else happened to the records beside it: the outcome is the copy that theirs would be, had it lost
    nothing that we have.
    """
    after = {
        "same": record(1, x=1, y=2), "edited": record(1, x=12, y=2), "rewritten": record(15, x=15),
        "new": record(16, x=16), "deleted": None,
    }  # fmt: skip
    ours = {name: record(1, x=1, y=2) for name, one in zip(NAMES, what, strict=True) if one != "new"}
    good = {name: after[one] for name, one in zip(NAMES, what, strict=True)}
    gone = {NAMES[number] for number in lost if what[number] == "same"}
    theirs = {name: one for name, one in good.items() if one is not None and name not in gone}
    bucket = bucket_of(*NAMES[0])
    owed = sum(share(name, good[name]) for name in gone)
    doubts = Doubts(there=digest.moved(digest.EMPTY, [(bucket, owed)])) if gone else NO_DOUBTS
    found, left = merged(ours, theirs, doubts)
    assert {name: form(one) for name, one in found.items()} == {
        name: form(one) for name, one in good.items() if one is not None
    }
    assert left == 0


def test_if_nothing_makes_it_up_nothing_goes_and_the_rest_is_owed() -> None:
    ours = {name: record(1, x=1, y=2) for name in NAMES[:3]}
    theirs = {NAMES[0]: record(1, x=1, y=2), NAMES[4]: record(16, x=16)}
    owed = sum(share(name, record(1, x=1, y=2)) for name in NAMES[1:3]) + share(NAMES[5], record(17, z=17))
    doubts = Doubts(there=digest.moved(digest.EMPTY, [(bucket_of(*NAMES[0]), owed)]))
    found, left = merged(ours, theirs, doubts)
    assert found.keys() == {*NAMES[:3], NAMES[4]}
    assert left == share(NAMES[5], record(17, z=17))


def test_what_our_own_copy_lost_is_not_taken_for_removed() -> None:
    doubts = Doubts(here=digest.moved(digest.EMPTY, [(bucket_of(*NAMES[0]), 5)]))
    theirs = {name: record(1, x=1) for name in NAMES}
    assert merged({}, theirs, NO_DOUBTS)[0] == {}
    assert merged({}, theirs, doubts)[0].keys() == theirs.keys()


def test_a_row_of_ours_that_is_known_to_be_bad_gives_way() -> None:
    ours = {NAMES[0]: record(1, x=1, garbled=1)}
    theirs = {NAMES[0]: record(1, x=1)}
    there = digest.moved(digest.EMPTY, [(bucket_of(*NAMES[0]), 5)])
    for suspects, fields in ((frozenset(), {"x", "garbled"}), (frozenset(NAMES[:1]), {"x"})):
        found, _ = merged(ours, theirs, Doubts(there, there, suspects))
        assert found[NAMES[0]].fields.keys() == fields


def test_merging_again_what_was_merged_changes_nothing() -> None:
    """A doubtful one is merged with what theirs makes of it, and not with what it has become."""
    doubts = Doubts(there=digest.moved(digest.EMPTY, [(bucket_of(*NAMES[0]), 99)]))
    name, ours = NAMES[0], record(1, x=1)
    first = merge_all([Pair(name, stored(name, ours), None)], THEN, NOW, doubts)
    (row,) = first.rows
    assert plain_of(first) is None
    written = stored(name, record(1, x=-3))
    again = merge_all([Pair(name, written, Stored(ours, row.share, counted=True), (None,))], THEN, NOW, doubts)
    assert form(taken(again)[name]) == form(record(1, x=-3))
    assert form(plain_of(again)) == form(record(None, x=-3))


def plain_of(done: Merged) -> Record | None:
    (one,) = done.doubtful.values()
    assert one is not None
    return decode_record(one.plain.stamps, one.plain.body) if one.plain is not None else None
