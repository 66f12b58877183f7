"""Reading a copy that was set aside beside the one in its place."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from peerd.core.stored import AsidePair, Recopy
from peerd.errors import UserError
from peerd.store import asides
from tests.store.copies import Copy, delete, patch, put, write_number


async def set_aside(copy: Copy, number: int = 1) -> Path:
    """What the copy is now, as a copy that was set aside."""
    aside = copy.path.with_name(f"{copy.path.stem}.aside-{number}")
    await copy.store.close()
    shutil.copy(copy.path, aside)
    await copy.open()
    return aside


async def test_one_that_was_made_for_nothing_goes_and_no_other(copy: Copy) -> None:
    """It goes while the copy that it was made of is the one that is here; else it may hold what only it has."""
    await write_number(copy, 0)
    await copy.store.close()
    opened = await copy.open()
    made = copy.path.with_name(f"{(await copy.store.asides.make()).name}.new")
    assert copy.store.asides.offered() == []
    copy.store.asides.forget_unkept(b"another copy")
    assert made.exists()
    copy.store.asides.forget_unkept(opened.copy_id)
    assert not made.exists()
    path = await copy.store.asides.make()
    copy.store.asides.keep(path)
    assert copy.store.asides.offered() == [path]


async def everything(copy: Copy, path: Path) -> list[AsidePair]:
    beside = await copy.store.asides.open(path)
    try:
        found: list[AsidePair] = []
        cursor: tuple[str, str] | None = ("", "")
        while cursor is not None:
            page = await beside.page(cursor)
            found += page.pairs
            cursor = page.cursor
        return found
    finally:
        await beside.close()


async def test_only_what_differs_is_told(copy: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all collections, in the order of names and keys, whatever the size of a page."""
    await copy.write([put("todo", key, n=1) for key in ("a", "b", "c", "\u00e9")], [put("books", "x", n=1)])
    path = await set_aside(copy)
    await copy.write([patch("todo", "b", n=2)], [delete("todo", "c")], [put("todo", "d", n=1), put("films", "y", n=1)])
    for rows in (1_000, 1, 2):
        monkeypatch.setattr(asides, "ROWS_AT_ONCE", rows)
        found = await everything(copy, path)
        told = {pair.name: (pair.aside is not None, pair.here is not None) for pair in found}
        assert list(told) == [("films", "y"), ("todo", "b"), ("todo", "c"), ("todo", "d")]
        assert list(told.values()) == [(False, True), (True, True), (True, False), (False, True)]


async def test_a_copy_is_found_by_name_and_settled(copy: Copy) -> None:
    """The oldest first; what was taken in is not offered again, and keeps its place in the order of those before."""
    await write_number(copy, 1)
    assert copy.store.asides.offered() == []
    with pytest.raises(UserError, match="no old copy of this space to take in"):
        copy.store.asides.path_of("latest")
    paths = [await set_aside(copy, number) for number in (2, 10)]
    assert copy.store.asides.offered() == paths
    assert copy.store.asides.path_of("latest") == paths[1]
    assert copy.store.asides.path_of(paths[0].name) == copy.store.asides.path_of(str(paths[0])) == paths[0]
    kept = copy.store.asides.settle(paths[1])
    assert (kept.exists(), kept.parent.name, paths[1].exists()) == (True, "set-aside", False)
    assert copy.store.asides.offered() == paths[:1]
    assert copy.store.asides.path_of(kept.name) == kept
    assert copy.store.asides.settle(kept) == kept


async def test_a_copy_that_counts_otherwise_than_it_holds_is_damaged(copy: Copy) -> None:
    await write_number(copy, 1)
    path = await set_aside(copy)
    beside = await copy.store.asides.open(path)
    assert (await beside.look()).is_whole
    await beside.close()


async def test_what_is_being_taken_in_survives_a_restart(copy: Copy) -> None:
    assert (await copy.reopen()).recopy is None
    await copy.store.save_recopy(Recopy("a", removes=False))
    await copy.store.save_recopy(Recopy("b", removes=True, forked=True, cursor=("todo", "k")))
    assert (await copy.reopen()).recopy == Recopy("b", removes=True, forked=True, cursor=("todo", "k"))
    await copy.store.save_recopy(None)
    assert (await copy.reopen()).recopy is None
