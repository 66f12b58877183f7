"""Entries: what is written comes back, what breaks the format or a limit is refused, and nothing else is raised."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import Raw
from msgspec.structs import replace

from peerd.core import entry as entry_module
from peerd.core import limits
from peerd.core.clocks import Dot
from peerd.core.entry import FORMAT, Change, Entry, Head, Kind, NeedsNewer, check, decode, delta_of, encode
from peerd.core.values import pack

ORIGINS = st.binary(min_size=16, max_size=16)
SEQS = st.integers(1, limits.INT64_MAX)
DOTS = st.builds(Dot, ORIGINS, SEQS)
HEADS = st.builds(Head, ORIGINS, SEQS, st.binary(min_size=8, max_size=8))
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
FIELDS = st.dictionaries(TEXTS, st.integers(-3, 3).map(pack).map(Raw), max_size=3)


@st.composite
def changes(draw: st.DrawFn) -> Change:
    kind = draw(st.sampled_from(Kind))
    set_ = draw(FIELDS) if kind != Kind.DELETE else {}
    drop = tuple(draw(st.sets(TEXTS, max_size=2)) - set_.keys()) if kind == Kind.PATCH else ()
    keep = tuple(draw(st.lists(DOTS, max_size=2))) if kind != Kind.RESTORE else ()
    answers = draw(st.none() | DOTS) if kind == Kind.RESTORE else None
    return Change(kind, draw(TEXTS), draw(TEXTS), set_, drop, keep, answers)


ENTRIES = st.builds(
    Entry,
    st.just(FORMAT),
    st.integers(0, limits.INT64_MAX),
    st.integers(0, 2),
    st.lists(HEADS, max_size=3, unique_by=lambda head: head.origin).map(tuple),
    st.none() | st.binary(max_size=8),
    st.lists(changes(), min_size=1, max_size=3, unique_by=lambda change: change.record).map(tuple),
)


def entry_of(*changes: Change, delta: tuple[Head, ...] = ()) -> Entry:
    return Entry(FORMAT, 1_000, 2, delta, None, changes)


def put(**parts: Any) -> Change:
    return replace(Change(Kind.PUT, "notes", "one", {"a": Raw(pack(1))}), **parts)


def dot(seq: int = 1, size: int = 16) -> Dot:
    return Dot(b"o" * size, seq)


@given(ENTRIES)
def test_what_is_encoded_comes_back(written: Entry) -> None:
    assert decode(encode(written)) == written
    assert delta_of(encode(written)) == written.delta


@given(ENTRIES)
def test_an_entry_has_one_encoding(written: Entry) -> None:
    data = encode(written)
    assert encode(decode(data)) == data


def test_trailing_empty_parts_of_a_change_are_left_out() -> None:
    raw = msgspec.msgpack.decode(encode(entry_of(Change(Kind.DELETE, "notes", "one"))))
    assert raw == [1, 1000, 2, [], None, [[3, "notes", "one"]]]


BREAKS: list[tuple[str, Entry]] = [
    ("no change", entry_of()),
    ("a record twice", entry_of(put(), put(kind=Kind.DELETE, set={}))),
    ("a negative time", replace(entry_of(put()), t_ms=-1)),
    ("a time beyond int64", replace(entry_of(put()), t_ms=limits.INT64_MAX + 1)),
    ("a quality of time that is none", replace(entry_of(put()), tq=3)),
    ("format zero", replace(entry_of(put()), format=0)),
    ("kind zero", entry_of(put(kind=0))),
    ("an empty key", entry_of(put(key=""))),
    ("a long key", entry_of(put(key="é" * 513))),
    ("an empty collection", entry_of(put(collection=""))),
    ("a long collection", entry_of(put(collection="c" * 256))),
    ("a long field", entry_of(put(set={"é" * 128: Raw(pack(1))}))),
    ("a long dropped field", entry_of(put(kind=Kind.PATCH, drop=("f" * 256,)))),
    ("too many fields", entry_of(put(set={str(number): Raw(b"\x01") for number in range(4097)}))),
    ("a field set and dropped", entry_of(put(kind=Kind.PATCH, drop=("a",)))),
    ("a put that drops", entry_of(put(drop=("b",)))),
    ("a delete that sets", entry_of(put(kind=Kind.DELETE))),
    ("a put that answers", entry_of(put(answers=dot()))),
    ("a restore that keeps", entry_of(put(kind=Kind.RESTORE, keep=(dot(),)))),
    ("a restore that answers no dot", entry_of(put(kind=Kind.RESTORE, answers=dot(size=15)))),
    ("a restore that answers seq zero", entry_of(put(kind=Kind.RESTORE, answers=dot(0)))),
    ("a keep that is no dot", entry_of(put(keep=(dot(size=17),)))),
    ("a keep of seq zero", entry_of(put(keep=(dot(0),)))),
    ("a value outside the model", entry_of(put(set={"a": Raw(b"\xa1\xff")}))),
    ("a head without an origin", entry_of(put(), delta=(Head(b"", 1, b"8" * 8),))),
    ("a head at zero", entry_of(put(), delta=(Head(b"o" * 16, 0, b"8" * 8),))),
    ("a head beyond int64", entry_of(put(), delta=(Head(b"o" * 16, limits.INT64_MAX + 1, b"8" * 8),))),
    ("a head with a short hash", entry_of(put(), delta=(Head(b"o" * 16, 1, b"7" * 7),))),
    ("an origin twice", entry_of(put(), delta=(Head(b"o" * 16, 1, b"8" * 8), Head(b"o" * 16, 2, b"8" * 8)))),
]


@pytest.mark.parametrize("broken", [pytest.param(broken, id=name) for name, broken in BREAKS])
def test_a_broken_limit_stops_author_and_receiver_alike(broken: Entry) -> None:
    with pytest.raises(ValueError, match=r"\w") as at_the_author:
        check(broken)
    assert not isinstance(at_the_author.value, NeedsNewer)
    with pytest.raises(ValueError, match=r"\w") as at_the_receiver:
        decode(encode(broken))
    assert not isinstance(at_the_receiver.value, NeedsNewer)


VALUES: list[object] = [
    1, -1, 2**63 - 1, -(2**63), 1.5, -0.0, float("inf"), True, None, "é", b"bytes", [1, "a"], {"a": 1}, [[1]],
    {"a": {"b": 1}}, {1: 2}, 2**64 - 1, float("nan"), [float("nan")], [2**64 - 1], {"a": float("nan")},
]  # fmt: skip
ODD_BYTES = [b"\xa1\xff", b"\xd4\x01a", b"\xd4\x02a", b"\xd9\x01a", b"\xd2\0\0\0\1", b"\x91" * 20 + b"\x01"]
PACKED = st.sampled_from([*map(msgspec.msgpack.encode, VALUES), *ODD_BYTES])
SIZES = st.sampled_from([0, 1, 62, 63, 64, 127, 128, 255, 256, 512, 513])


@given(
    st.lists(PACKED, max_size=3),
    st.sampled_from(["a", "é"]),
    st.tuples(SIZES, SIZES, SIZES),
    st.sampled_from([0, 1, 2, 3, 4, 5]),
    st.sampled_from([(1, 1, 2), (0, 1, 2), (2, 1, 2), (1, -1, 2), (1, 2**63, 0), (1, 2**63 - 1, 3)]),
)
def test_what_is_checked_at_once_is_what_is_checked_part_by_part(
    values: list[bytes], letter: str, sizes: tuple[int, int, int], kind: int, head: tuple[int, int, int]
) -> None:
    """The quick look at the bytes of an ordinary entry lets nothing pass that the long one refuses."""
    names = [str(number) + letter * (sizes[2] - 1) for number in range(len(values))]
    fields = {name: Raw(value) for name, value in zip(names, values, strict=True)}
    change = Change(kind, letter * sizes[0], letter * sizes[1], fields)
    entry = Entry(*head, (), None, (change,))
    assert refusal(entry, encode(entry)) == refusal(entry)


def refusal(entry: Entry, *encoded: bytes) -> type[Exception] | None:
    try:
        check(entry, *encoded)
    except ValueError as problem:
        return type(problem)
    return None


def test_an_ordinary_entry_is_not_looked_at_part_by_part() -> None:
    values = [pack(value) for value in (None, True, 1, 1.5, "text", [1, "a"], {"a": 1})]
    ordinary = entry_of(put(set={str(number): Raw(value) for number, value in enumerate(values)}))
    with patch.object(entry_module, "check_packed", side_effect=AssertionError):
        decode(encode(ordinary))


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param(put(key="é" * 512), id="key"),
        pytest.param(put(collection="c" * 255), id="collection"),
        pytest.param(put(set={"é" * 127: Raw(b"\x01")}), id="field"),
        pytest.param(put(set={str(number): Raw(b"\x01") for number in range(4096)}), id="fields"),
    ],
)
def test_limits_include_their_edge(changed: Change) -> None:
    decode(encode(entry_of(changed)))


def test_an_entry_beyond_64_mib_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(ValueError, match="64 MiB"):
        decode(bytes(limits.ENTRY_BYTES + 1))


@pytest.mark.parametrize(
    "later",
    [
        [2, "whatever"],
        [2, 1_000, 2, [], None, [[1, "notes", "one"]]],
        [1, 1_000, 2, [], None, [[5, "notes", "one", {"a": 1}]]],
        [1, 1_000, 2, [], None, [[5, {"another": "shape"}]]],
        [1, 1_000, 2, [], None, [[1, "notes", "one"], [6]]],
    ],
)
def test_what_a_later_version_wrote_is_told_apart(later: Any) -> None:
    with pytest.raises(NeedsNewer):
        decode(msgspec.msgpack.encode(later))


@given(ENTRIES, st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_flipped_byte_is_decoded_or_refused(written: Entry, flips: list[tuple[int, int]]) -> None:
    data = bytearray(encode(written))
    for position, byte in flips:
        data[position % len(data)] = byte
    decoded_or_refused(bytes(data))


@given(ENTRIES, st.integers(0, 10_000), st.integers(0, 10_000), st.binary(max_size=12))
def test_a_replaced_stretch_is_decoded_or_refused(written: Entry, start: int, length: int, other: bytes) -> None:
    data = encode(written)
    begin = start % len(data)
    decoded_or_refused(data[:begin] + other + data[begin + length % 20 :])


@given(st.binary(max_size=200))
@example(b"")
@example(b"\x90")
@example(b"\xdd\xff\xff\xff\xff")
@example(b"\xdf\xff\xff\xff\xff")
@example(b"\x91" * 5_000)
@example(b"\x96\x01\x01\x01\x90\xc0\xdd\xff\xff\xff\xff")
@example(b"\x96\x01\x01\x01\x90\xc0\x91\x94\x01\xa1c\xa1k\x81\xa1a" + b"\x91" * 100_000)
@example(b"\x96\x01\x01\x01\x90\xc0\x91\x94\x01\xa1c\xa1k\xdf\xff\xff\xff\xff")
def test_any_bytes_are_decoded_or_refused(data: bytes) -> None:
    decoded_or_refused(data)


def decoded_or_refused(data: bytes) -> None:
    try:
        entry = decode(data)
    except ValueError:  # NeedsNewer is one
        return
    check(entry)
