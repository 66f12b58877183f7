"""The commonest entry, kept as it is: it makes the very record that taking it apart would make."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw
from msgspec.structs import replace

from peerd.core import chain, entry
from peerd.core.batch import Batch, Stored, Verdict
from peerd.core.chain import Run
from peerd.core.copy import CopyState
from peerd.core.entry import FORMAT, Change, Entry, Head, Kind
from peerd.core.origin import Announcement, origin_of
from peerd.core.plain_put import PlainPut, read
from peerd.core.record import Record
from peerd.core.record_form import decode_record
from peerd.core.values import pack
from peerd.core.writes import Writes, finish

SPACE = b"S" * 16
ANNOUNCEMENT = Announcement(b"d" * 32, b"a" * 16, b"n" * 16)
ORIGIN = origin_of(SPACE, ANNOUNCEMENT)
VALUES = st.sampled_from([None, True, 1, -(2**63), 1.5, "text", [1, "a"], {"a": 1}, [[1]], {"$bytes": "aGk="}])
FIELDS = st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=2), VALUES, max_size=4)


def put(fields: dict[str, bytes], key: str = "one", **parts: Any) -> Change:
    return replace(Change(Kind.PUT, "notes", key, {name: Raw(value) for name, value in fields.items()}), **parts)


def entry_of(*changes: Change, delta: tuple[Head, ...] = ()) -> bytes:
    return entry.encode(Entry(FORMAT, 1_000, 2, delta, None, changes))


def packed(**fields: object) -> dict[str, bytes]:
    return {name: pack(value) for name, value in fields.items()}


def written(stored: dict[tuple[str, str], Stored], *entries: Entry | PlainPut) -> Writes:
    """What a run of these leaves to be written."""
    reader = Mock()
    reader.records.return_value = stored
    batch = Batch(CopyState(SPACE).with_origin(ORIGIN, ANNOUNCEMENT), reader, lambda *_: None, lambda *_: True)
    run = Run(ORIGIN, 1, tuple(b"" for _ in entries), bytes(64))
    assert batch.take(run, entries) is Verdict.APPLIED
    assert batch.state.origins[ORIGIN].head == chain.hash_after(
        chain.first_hash(SPACE, ANNOUNCEMENT.device, ORIGIN), run.entries
    )
    return finish(batch)


def test_a_plain_put_is_kept_as_it_is() -> None:
    data = entry_of(put(packed(a=1, b="x")))
    plain = read(data)
    assert isinstance(plain, PlainPut)
    assert (plain.t_ms, plain.tq, plain.record, plain.delta) == (1_000, 2, ("notes", "one"), ())
    assert list(plain.records) == list(entry.decode(data).records)
    assert plain.changes == entry.decode(data).changes


@given(FIELDS)
def test_it_makes_the_record_that_its_parts_would_make(fields: dict[str, Any]) -> None:
    data = entry_of(put({name: pack(value) for name, value in fields.items()}))
    quick, slow = written({}, read(data)), written({}, entry.decode(data))
    assert quick == slow
    (row,) = quick.rows
    assert decode_record(row.stamps, row.body).winners() == {name: pack(value) for name, value in fields.items()}


@given(FIELDS, FIELDS)
def test_where_the_record_exists_it_is_a_change_like_any_other(before: dict[str, Any], after: dict[str, Any]) -> None:
    """Here by the entry before it in the same run, or in the store."""
    first = entry_of(put({name: pack(value) for name, value in before.items()}))
    second = entry_of(put({name: pack(value) for name, value in after.items()}))
    assert written({}, read(first), read(second)) == written({}, entry.decode(first), entry.decode(second))

    def stored() -> dict[tuple[str, str], Stored]:
        return {("notes", "one"): Stored(Record(), 0, counted=False)}

    assert written(stored(), read(second)) == written(stored(), entry.decode(second))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(entry_of(put({"b": b"\x01", "a": b"\x01"})), id="names out of order"),
        pytest.param(entry_of(put({"a": b"\xd1\x00\x01"})), id="a number in a longer form"),
        pytest.param(entry_of(put({"a": b"\xca\x3f\xc0\x00\x00"})), id="a float in a shorter form"),
        pytest.param(entry_of(put({"a": b"\xd9\x01x"})), id="a string in a longer form"),
        pytest.param(entry_of(put(packed(a=1)))[:-4] + b"\x82\xa1a\x02\xa1a\x01", id="a name twice"),
        pytest.param(entry_of(put(packed(a=1)))[:-4] + b"\xde\x00\x01\xa1a\x01", id="a map in a longer form"),
        pytest.param(entry_of(put(packed(a=1)), put(packed(a=1), "two")), id="two records"),
        pytest.param(entry_of(put(packed(a=1), kind=Kind.PATCH)), id="a patch"),
        pytest.param(entry_of(put({}, kind=Kind.DELETE)), id="a delete"),
        pytest.param(entry_of(put(packed(a=1)), delta=(Head(b"o" * 16, 1, b"8" * 8),)), id="a context"),
        pytest.param(entry_of(put(packed(a="x" * 70_000))), id="large"),
    ],
)
def test_whatever_is_unusual_is_taken_apart(data: bytes) -> None:
    """Values stay in the very form in which their author wrote them."""
    assert read(data) == entry.decode(data)
    assert isinstance(read(data), Entry)


@given(st.binary(max_size=40) | FIELDS.map(lambda fields: entry_of(put({n: pack(v) for n, v in fields.items()}))[:-1]))
def test_what_is_refused_is_refused_with_the_same_error(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w") as expected:
        entry.decode(data)
    with pytest.raises(ValueError, match=r"\w") as refused:
        read(data)
    assert (type(refused.value), str(refused.value)) == (type(expected.value), str(expected.value))


def test_a_value_outside_the_model_is_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        read(entry_of(put({"a": msgspec.msgpack.encode(float("nan"))})))
