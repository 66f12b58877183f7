"""Reading what can be read of a copy that was set aside and is damaged."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from peerd.core.stored import AsidePair
from peerd.errors import StoreDamaged
from peerd.store.asides import Beside
from tests.store.copies import Copy, put, write_number
from tests.store.test_asides import set_aside

RECORDS = 2_000


@pytest.fixture
async def aside(copy: Copy) -> Path:
    """A copy with as many records, and one in its place that has none of them. Written key by key in no order, so that
    rows that are neighbours by id are none by key.
    """
    names = [f"{number * 7919 % RECORDS:05}" for number in range(RECORDS)]
    for at in range(0, RECORDS, 100):
        await copy.write([put("todo", name, text=f"{name} " * 40) for name in names[at : at + 100]])
    path = await set_aside(copy)
    await copy.store.close()
    with closing(sqlite3.connect(copy.path)) as live, live:
        live.execute("DELETE FROM record")
    await copy.open()
    return path


def pages(path: Path, name: str, kind: str) -> list[int]:
    with closing(apsw.Connection(str(path))) as connection:
        found = connection.execute(
            "SELECT pageno FROM dbstat WHERE name = ? AND pagetype = ? ORDER BY path", (name, kind)
        )
        return [int(number) for (number,) in found]


def scribble(path: Path, *numbers: int) -> None:
    with path.open("r+b") as file:
        for number in numbers:
            file.seek((number - 1) * 4096)
            file.write(b"\xa5" * 4096)


async def all_of(beside: Beside) -> tuple[list[AsidePair], int]:
    pairs: list[AsidePair] = []
    unreadable = 0
    cursor: tuple[str, str] | None = ("", "")
    while cursor is not None:
        page = await beside.page(cursor)
        pairs += page.pairs
        unreadable += page.unreadable
        cursor = page.cursor
    return pairs, unreadable


async def read(copy: Copy, path: Path, *, is_whole: bool = False) -> tuple[list[AsidePair], int]:
    beside = await copy.store.asides.open(path)
    try:
        assert (await beside.look()).is_whole == is_whole
        return await all_of(beside)
    finally:
        await beside.close()


@pytest.mark.parametrize("which", [slice(1), slice(40, 41), slice(-1, None), slice(10, 60, 2), slice(20, 24)])
async def test_rows_on_pages_beside_damaged_ones_are_read(copy: Copy, aside: Path, which: slice) -> None:
    """The first, one in the middle, the last, every other one, and several in a row."""
    leaves = pages(aside, "record", "leaf")
    damaged = leaves[which]
    assert 0 < len(damaged) < len(leaves) > 100
    scribble(aside, *damaged)
    pairs, unreadable = await read(copy, aside)
    names = [pair.name[1] for pair in pairs]
    assert names == sorted(set(names))
    assert len(pairs) + unreadable == RECORDS
    assert 0 < unreadable <= len(damaged) * 20
    for pair in pairs:
        assert pair.aside is not None
        assert pair.aside.visible


async def test_where_no_record_can_be_read_that_is_said(copy: Copy, aside: Path) -> None:
    """Here the page over all others is damaged."""
    (*_, top) = pages(aside, "record", "internal")
    scribble(aside, top)
    with pytest.raises(StoreDamaged, match="none of its records"):
        await read(copy, aside)


async def test_an_index_that_is_damaged_costs_nothing(copy: Copy, aside: Path) -> None:
    scribble(aside, *pages(aside, "record_by_key", "leaf")[3:9])
    pairs, unreadable = await read(copy, aside, is_whole=True)
    assert (len(pairs), unreadable) == (RECORDS, 0)


async def test_rows_are_read_though_the_log_is_damaged(copy: Copy, aside: Path) -> None:
    scribble(aside, *pages(aside, "run", "leaf"), *pages(aside, "run", "overflow"))
    beside = await copy.store.asides.open(aside)
    try:
        assert await beside.shared([], forked=False) == copy.state.clock()
        assert set(await beside.shared([], forked=True)) <= {*copy.state.clock()}
        pairs, unreadable = await all_of(beside)
    finally:
        await beside.close()
    assert (len(pairs), unreadable) == (RECORDS, 0)


async def test_a_file_of_which_no_page_can_be_read_is_refused(copy: Copy) -> None:
    await write_number(copy, 1)
    path = await set_aside(copy)
    path.write_bytes(b"\xa5" * 40_000)
    with pytest.raises(StoreDamaged):
        await copy.store.asides.open(path)
