"""Cells as packed values: nothing is lost, and what differs in storage differs here."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerd.core.tables.cells import (
    HASH_BYTES,
    BadText,
    Cell,
    cell_hash,
    pack_cell,
    pack_cells,
    packed_hash,
    unpack_cell,
)
from peerd.core.values import pack

CELLS = st.one_of(
    st.none(),
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.floats(allow_nan=False),
    st.text(),
    st.binary(),
    st.binary(min_size=1).map(lambda data: BadText(b"\xff" + data)),
)


@given(CELLS)
def test_a_cell_comes_back_as_it_went(cell: Cell) -> None:
    back = unpack_cell(pack_cell(cell))
    assert (type(back), back) == (type(cell), cell)
    if isinstance(cell, float) and isinstance(back, float):
        assert math.copysign(1, back) == math.copysign(1, cell)


@pytest.mark.parametrize(
    ("one", "other"),
    [(1, 1.0), (1, "1"), (0.0, -0.0), ("a", b"a"), ("", b""), (None, ""), (BadText(b"\xff"), b"\xff")],
)
def test_cells_that_python_or_sqlite_call_equal_are_told_apart(one: Cell, other: Cell) -> None:
    assert cell_hash(one) != cell_hash(other)


@given(CELLS)
def test_a_hash_is_short_and_the_same_for_what_is_packed(cell: Cell) -> None:
    assert len(cell_hash(cell)) == HASH_BYTES
    assert packed_hash(pack_cell(cell)) == cell_hash(cell)


@given(st.lists(CELLS))
def test_many_are_packed_as_each(cells: list[Cell]) -> None:
    assert pack_cells(cells) == list(map(pack_cell, cells))


@pytest.mark.parametrize("value", [True, False, [1], {"a": 1}])
def test_what_a_record_can_hold_and_a_cell_cannot_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="no value of SQLite"):
        unpack_cell(pack(value))
