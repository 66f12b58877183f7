"""Edit against delete: whose turn it is to restore, and what a restore writes."""

from __future__ import annotations

import pytest
from msgspec import Raw

from peerd.core.clocks import Dot
from peerd.core.entry import Change, Kind
from peerd.core.record import Record, Stamp, apply_change
from peerd.core.restore import Image, is_ours_to_restore, restore
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
