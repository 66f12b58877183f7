"""Stored forms: what is stored comes back, one record has one form, and damage is noticed."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from peerd.core.clocks import Dot
from peerd.core.entry import Change, Kind
from peerd.core.record import Lone, Record, Stamp, apply_change
from peerd.core.record_form import (
    decode_record,
    digest_of,
    encode_body,
    encode_dropped,
    encode_lone,
    encode_stamps,
    share_of,
    shares_of,
)
from peerd.core.values import pack

ORIGINS = [bytes([letter]) * 16 for letter in b"abc"]
DOTS = [Dot(origin, seq) for origin in ORIGINS for seq in (1, 2)]
VALUES = st.sampled_from([pack(value) for value in (None, 1, "text", [1, {"a": 2}], {"$text": "/w=="})])
SIBLINGS = st.dictionaries(st.sampled_from(DOTS), VALUES, min_size=1, max_size=3)
STAMPS = st.builds(
    Stamp, st.integers(0, 2**63 - 1), st.integers(0, 2), st.booleans(), st.none() | st.sampled_from(DOTS)
)


@st.composite
def records(draw: st.DrawFn) -> Record:
    record = Record()
    record.births = draw(st.sets(st.sampled_from(DOTS), max_size=2))
    record.fields = draw(st.dictionaries(st.sampled_from(["", "a", "b", "é"]), SIBLINGS, max_size=3))
    dots = record.births.union(*record.fields.values())
    record.stamps = {dot: draw(STAMPS) for dot in dots}
    return record


def stored(record: Record) -> tuple[list[list[Any]], bytes]:
    order, stamps = encode_stamps(record.stamps)
    return stamps, encode_body(record.births, record.fields, order)


def parts(record: Record) -> tuple[Any, ...]:
    return record.stamps, record.births, record.fields


@given(records())
def test_what_is_stored_comes_back(record: Record) -> None:
    stamps, body = stored(record)
    through_the_store = msgspec.msgpack.decode(msgspec.msgpack.encode(stamps))
    assert parts(decode_record(through_the_store, body)) == parts(record)


@given(records(), st.randoms(use_true_random=False))
def test_one_record_has_one_form_whatever_the_order_it_was_made_in(record: Record, chance: Any) -> None:
    def shuffled(items: dict[Any, Any]) -> dict[Any, Any]:
        pairs = list(items.items())
        chance.shuffle(pairs)
        return dict(pairs)

    other = Record()
    other.stamps = shuffled(record.stamps)
    other.births = set(shuffled(dict.fromkeys(record.births)))
    other.fields = {name: shuffled(cells) for name, cells in shuffled(record.fields).items()}
    assert stored(other) == stored(record)


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=3), VALUES, max_size=5))
def test_fields_are_stored_in_the_order_of_their_names(fields: dict[str, bytes]) -> None:
    """By code points, which is the order of their UTF-8 too."""
    _, stored = msgspec.msgpack.decode(encode_lone({name: Raw(value) for name, value in fields.items()}))
    assert list(stored) == sorted(fields)
    assert list(stored) == sorted(fields, key=str.encode)


@given(st.permutations([0, 1, 2, 3]))
def test_concurrent_changes_make_one_form_in_any_order(order: list[int]) -> None:
    changes = [
        (DOTS[0], Change(Kind.PUT, "c", "k", {"a": Raw(pack(1))})),
        (DOTS[2], Change(Kind.PUT, "c", "k", {"a": Raw(pack(2)), "b": Raw(pack(3))})),
        (DOTS[4], Change(Kind.PATCH, "c", "k", {"b": Raw(pack(4))})),
        (DOTS[5], Change(Kind.RESTORE, "c", "k", {"d": Raw(pack(5))}, answers=DOTS[1])),
    ]
    one, other = Record(), Record()
    for number in range(4):
        apply_change(one, changes[number][1], changes[number][0], Stamp(number, 2), {})
        apply_change(other, changes[order[number]][1], changes[order[number]][0], Stamp(order[number], 2), {})
    assert stored(one) == stored(other)


def test_a_plain_record_is_not_taken_apart_before_somebody_asks() -> None:
    """Nearly every record is plain, and nearly nobody asks."""
    dot = Dot(b"o" * 16, 7)
    body = encode_lone({"a": 1, "b": None})
    record = decode_record([[*dot, 99, 2]], body)
    assert record.lone == Lone(dot, Stamp(99, 2), body)
    assert record.winners() == {"a": b"\x01", "b": b"\xc0"}
    for stamps, other in (([[*dot, 99, 2 | 4]], body), ([[*dot, 99, 2]], encode_lone({"a": 1}, born=False))):
        assert decode_record(stamps, other).lone is None


def test_the_form_of_a_plain_record_is_small() -> None:
    record = Record()
    apply_change(record, Change(Kind.PUT, "c", "k", {"b": Raw(pack(2)), "a": Raw(pack(1))}), DOTS[0], Stamp(9, 2), {})
    stamps, body = stored(record)
    assert stamps == [[ORIGINS[0], 1, 9, 2]]
    assert msgspec.msgpack.decode(body) == [1, {"a": 1, "b": 2}]


def test_a_restore_marks_its_stamp_and_names_the_delete() -> None:
    record = Record()
    apply_change(record, Change(Kind.RESTORE, "c", "k", answers=DOTS[3]), DOTS[0], Stamp(9, 1), {})
    assert stored(record)[0] == [[ORIGINS[0], 1, 9, 5, list(DOTS[3])]]


@pytest.mark.parametrize(
    ("stamps", "body"),
    [
        ([], [[0], {}]),  # a birth of no stamp
        ([[b"o" * 16, 1, 2, 2]], [[1], {}]),
        ([[b"o" * 16, 1, 2, 2]], [[-1], {}]),
        ([[b"o" * 16, 1, 2, 2]], [[0], {"a": [-1, 1]}]),
        ([[b"o" * 16, 1, 2, 2]], [[0], {"a": [0]}]),
        ([[b"o" * 16, 1, 2, 2]], [[0], {"a": ["0", 1]}]),
        ([[b"o" * 16, 1, 2, 2]], [[0]]),
        ([[b"o" * 16, 1, 2, 2]], "body"),
        ([[b"o" * 16]], [[0], {}]),
        ([[b"o" * 16, 1, 2, None]], [[0], {}]),
        ([[b"o" * 16, 1, 2, 6, 7]], [[0], {}]),
        ([[b"o" * 16, 1, 2, 2], [b"o" * 16, 1, 2, 2]], [[0], {}]),  # one dot twice
    ],
)
def test_a_damaged_form_is_noticed(stamps: list[list[Any]], body: Any) -> None:
    with pytest.raises(ValueError, match="damaged"):
        decode_record(stamps, msgspec.msgpack.encode(body))


@given(records(), st.integers(0, 10_000), st.integers(1, 255))
def test_a_flipped_byte_of_a_body_raises_nothing_else(record: Record, position: int, flip: int) -> None:
    stamps, body = stored(record)
    broken = bytearray(body)
    broken[position % len(body)] ^= flip
    try:
        decode_record(stamps, bytes(broken))
    except ValueError:
        return
    assert digest_of("c", "k", stamps, bytes(broken)) != digest_of("c", "k", stamps, body)


@given(records(), records())
def test_different_records_have_different_shares(one: Record, other: Record) -> None:
    first, second = (digest_of("c", "k", *stored(record)) for record in (one, other))
    assert (first == second) == (stored(one) == stored(other))


def test_the_share_covers_the_name_and_the_bucket_nothing_else() -> None:
    stamps, body = [[b"o" * 16, 1, 2, 2]], b"\x92\x91\x00\x80"
    bucket, share = digest_of("notes", "one", stamps, body)
    assert digest_of("notes", "one", [], b"")[0] == bucket
    assert digest_of("note", "sone", stamps, body)[1] != share
    assert {digest_of("notes", str(number), stamps, body)[0] for number in range(4_000)} == set(range(256))


def test_what_a_change_removed_is_stored_in_the_same_form() -> None:
    record = Record()
    apply_change(record, Change(Kind.PUT, "c", "k", {"a": Raw(pack(1))}), DOTS[0], Stamp(9, 2), {})
    apply_change(record, Change(Kind.PATCH, "c", "k", {"b": Raw(pack(2))}), DOTS[2], Stamp(8, 0), {})
    dropped = apply_change(record, Change(Kind.DELETE, "c", "k"), DOTS[4], Stamp(7, 1), {ORIGINS[0]: 1})
    gone = decode_record(*encode_dropped(dropped))
    assert gone.births == {DOTS[0]}
    assert gone.fields == {"a": {DOTS[0]: pack(1)}}
    assert gone.stamps == {DOTS[0]: Stamp(9, 2)}


@given(st.lists(st.tuples(st.text(max_size=40), st.binary(max_size=30), st.binary(max_size=300)), max_size=5))
def test_many_shares_at_once_are_the_same(rows: list[tuple[str, bytes, bytes]]) -> None:
    apart = [share_of("notes", *row) for row in rows]
    sums, expected = [7] * 256, [7] * 256
    for bucket, share in apart:
        expected[bucket] += share
    keys, stamps, bodies = [key for key, _, _ in rows], [packed for _, packed, _ in rows], [body for _, _, body in rows]
    assert shares_of("notes", keys, stamps, bodies, sums) == tuple(share for _, share in apart)
    assert sums == expected
