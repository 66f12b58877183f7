"""Copies of databases that are in use."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from peerd.errors import StoreDamaged, StoreError
from peerd.store import copying
from peerd.store.copying import copy_database
from tests.store.copies import Copy, MakeCopy, put, write_number


def beside(path: Path) -> list[Path]:
    """It and what belongs to it, as far as that is there."""
    return sorted(path.parent.glob(f"{path.name}*"))


def keys(path: Path) -> set[str]:
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
        return {key for (key,) in connection.execute("SELECT key FROM record")}


async def test_a_copy_is_of_one_moment_while_it_is_written_to(
    make_copy: MakeCopy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer commits between the steps; what it writes is not in the copy, and the copy is not begun anew."""
    copy = await make_copy()
    await copy.write([put("notes", f"{n:04}", text="x" * 2000) for n in range(500)])
    monkeypatch.setattr(copying, "STEP_PAGES", 16)
    loop = asyncio.get_running_loop()
    steps: list[int] = []

    def moved(done: int, _all: int) -> None:
        steps.append(done)
        if len(steps) % 5 == 1:
            asyncio.run_coroutine_threadsafe(write_number(copy, len(steps)), loop).result(10)

    target = tmp_path / "copy.db"
    await copy.store.back_up(target, moved)
    assert len(steps) > 10
    assert steps == sorted(steps)
    assert keys(target) == {f"{n:04}" for n in range(500)}
    assert copy.state.visible > 501
    assert beside(target) == [target]
    await copy.store.close()


async def test_it_opens_as_a_copy_of_the_space(copy: Copy, tmp_path: Path) -> None:
    """With all that was committed, in the WAL too; and not as the one whose origin goes on."""
    await write_number(copy, 7)
    other = Copy(tmp_path / "other", threaded=copy.threaded)
    other.path.parent.mkdir()
    await copy.store.back_up(other.path, lambda *_: None)
    await other.open()
    assert other.state.clock() == copy.state.clock()
    assert other.store.opened.own_origin is None
    await other.store.close()


async def test_a_damaged_page_is_found(copy: Copy, tmp_path: Path) -> None:
    """No copy stays that nobody could restore."""
    await copy.write([put("notes", f"{n:04}", text="x" * 2000) for n in range(200)])
    await copy.store.close()
    content = bytearray(copy.path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 4096] = b"\xff" * 4096
    copy.path.write_bytes(content)
    target = tmp_path / "copy.db"
    with pytest.raises(StoreDamaged, match=str(copy.path)):
        copy_database(copy.path, target)
    assert beside(target) == []
    await copy.open()


async def test_one_that_is_ended_leaves_nothing(copy: Copy, tmp_path: Path) -> None:
    """Nor is anything overwritten."""

    def ended(_done: int, _all: int) -> None:
        raise StoreError("nobody waits", code="cancelled")

    target = tmp_path / "copy.db"
    with pytest.raises(StoreError, match="nobody waits"):
        copy_database(copy.path, target, ended)
    assert not target.exists()
    target.write_text("mine")
    with pytest.raises(StoreError, match="File exists"):
        copy_database(copy.path, target)
    assert target.read_text() == "mine"


async def test_after_a_damaged_page_nothing_is_written_any_more(copy: Copy) -> None:
    """Not even where all is well: what is written would rest on pages that lie. Reading elsewhere goes on."""
    await copy.write([put("notes", f"{n:04}", text="x" * 2000) for n in range(200)])
    await copy.write([put("todo", "a", n=1)])
    await copy.store.close()
    content = bytearray(copy.path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 4096] = b"\xff" * 4096
    copy.path.write_bytes(content)
    await copy.open()
    await copy.store.probe()
    assert copy.store.failure is None
    with pytest.raises(StoreDamaged):
        await copy.store.page("notes", "", None, 1000)
    with pytest.raises(StoreDamaged):
        await copy.store.probe()
    assert isinstance(copy.store.failure, StoreDamaged)
    assert await copy.record("todo", "a") is not None
