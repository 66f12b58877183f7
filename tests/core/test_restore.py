"""Edit against delete: whose turn it is to restore, and what a restore writes."""

from __future__ import annotations

import pytest
from msgspec import Raw

from peerd.core.clocks import Dot
from peerd.core.entry import FORMAT, Change, Entry, Kind, check
from peerd.core.limits import FIELDS_PER_RECORD
from peerd.core.record import Record, Stamp, apply_change
from peerd.core.restore import PORTION_BYTES, PORTION_CHANGES, Image, is_ours_to_restore, portions, restore
from peerd.core.values import pack

ONE, TWO, THREE = (bytes([number]) * 32 for number in (1, 2, 3))
DEVICES = {b"first life of 2!": TWO, b"second life of 2": TWO, b"one and only of3": THREE}


def parked(*origins: bytes) -> Record:
    record = Record()
    for origin in origins:
        change = Change(Kind.PATCH, "notes", "one", {"a": Raw(pack(1))})
        apply_change(record, change, Dot(origin, 1), Stamp(0, 2), {})
    return record


@pytest.mark.parametrize(
    ("us", "origins", "active", "without_image", "ours"),
    [
        pytest.param(TWO, [b"second life of 2"], {ONE, TWO}, set(), True, id="the author restores"),
        pytest.param(TWO, [b"first life of 2!"], {ONE, TWO}, set(), True, id="in a later life too"),
        pytest.param(ONE, [b"second life of 2"], {ONE, TWO}, set(), False, id="nobody else while it is active"),
        pytest.param(ONE, [b"second life of 2"], {ONE, THREE}, set(), True, id="the smallest if it is away"),
        pytest.param(THREE, [b"second life of 2"], {ONE, THREE}, set(), False, id="not another one"),
        pytest.param(ONE, [b"second life of 2"], {ONE, TWO}, {TWO}, True, id="an author without image is away"),
        pytest.param(THREE, [b"second life of 2"], {ONE, THREE}, {ONE}, True, id="a holder, not the smallest"),
        pytest.param(THREE, [b"nobody knows who"], {THREE}, set(), True, id="an origin that nobody knows"),
        pytest.param(ONE, [b"second life of 2", b"one and only of3"], {ONE, THREE}, set(), False, id="any author"),
        pytest.param(ONE, [b"second life of 2"], set(), set(), True, id="alone, whatever we believe of ourselves"),
    ],
)
def test_whose_turn_it_is(
    us: bytes, origins: list[bytes], active: set[bytes], without_image: set[bytes], *, ours: bool
) -> None:
    assert is_ours_to_restore(parked(*origins), us, DEVICES.get, active, without_image) is ours


def test_a_restore_writes_only_what_has_no_value_left() -> None:
    image = Image({"a": pack("old"), "b": pack(2), "c": pack(3)}, Dot(b"d" * 16, 4))
    change = restore(parked(b"second life of 2"), ("notes", "one"), image)
    raw = {"b": Raw(pack(2)), "c": Raw(pack(3))}
    assert change == Change(Kind.RESTORE, "notes", "one", raw, answers=Dot(b"d" * 16, 4))


def test_a_delete_that_came_in_a_snapshot_has_no_name() -> None:
    assert restore(parked(b"second life of 2"), ("notes", "one"), Image({}, None)).answers is None


def restore_of(key: str, fields: dict[str, object]) -> Change:
    image = Image({name: pack(value) for name, value in fields.items()}, Dot(b"d" * 16, 4))
    return restore(Record(), ("notes", key), image)


def test_restores_go_into_one_transaction() -> None:
    changes = [restore_of(str(number), {"a": number}) for number in range(PORTION_CHANGES)]
    assert list(portions(changes)) == [changes]
    assert list(portions([])) == []
    assert list(portions([restore_of("empty", {})])) == [[restore_of("empty", {})]]


def test_many_restores_or_large_ones_go_into_several() -> None:
    many = [restore_of(str(number), {}) for number in range(PORTION_CHANGES + 1)]
    assert [len(portion) for portion in portions(many)] == [PORTION_CHANGES, 1]
    large = [restore_of(str(number), {"a": "x" * (PORTION_BYTES // 2)}) for number in range(3)]
    assert [len(portion) for portion in portions(large)] == [1, 1, 1]


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({str(number): number for number in range(FIELDS_PER_RECORD * 2 + 1)}, id="more fields"),
        pytest.param({str(number): "x" * (PORTION_BYTES // 3) for number in range(7)}, id="more bytes"),
    ],
)
def test_a_record_that_outgrew_one_transaction_is_restored_in_pieces(fields: dict[str, object]) -> None:
    """Patches may bring a record beyond what one change can name; a refused restore would stop what parks it."""
    whole = restore_of("one", fields)
    parts = list(portions([restore_of("before", {}), whole, restore_of("after", {})]))
    assert len(parts) > 2
    for part in parts:
        check(Entry(FORMAT, 0, 2, (), None, tuple(part)))
    pieces = [change for part in parts for change in part if change.key == "one"]
    assert {name: value for piece in pieces for name, value in piece.set.items()} == whole.set
    assert all(piece.answers == whole.answers for piece in pieces)
