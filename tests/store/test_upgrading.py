"""Databases of every format that there was, opened by this version; a copy of them is kept."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from peerd.core.values import unpack
from peerd.errors import DiskFull
from peerd.store import upgrading
from peerd.store.beside import sync_folder
from peerd.store.migrate import migrations
from tests.store.copies import NOW_MS, Copy, put
from tests.store.formats.__main__ import GENESIS, dump, fill

FORMATS = sorted((Path(__file__).parent / "formats").glob("*.sql"))
NEWEST = migrations()[-1][0]
NEVER_ALONE = {4}  # came with the next one: no version ever left a database of this format
DAY_MS = 24 * 3600 * 1000


def make(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(text)
    return path


def copy_of(folder: Path, number: int) -> Copy:
    """A copy whose database has this format, not opened."""
    make(folder / "space.db", (Path(__file__).parent / "formats" / f"{number:04}.sql").read_text())
    copy = Copy(folder, threaded=False)
    copy.backups = folder / "backups"
    return copy


def version_of(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


async def holds_everything(copy: Copy) -> None:
    """What every format was filled with, and it goes on from there."""
    opened = copy.store.opened
    page = await copy.store.page("todo", "", None, 100)
    assert [key for key, _ in page.records] == [f"{n:02}" for n in range(20) if n not in {5, 6}]
    assert unpack((await copy.record("todo", "last")).record.winner("n")) == 19
    conflicting = (await copy.record("todo", "03")).record
    assert {unpack(one) for one in conflicting.fields["text"].values()} == {"line three", "drei"}
    assert [key for key, _ in (await copy.store.page("books", "", None, 9)).records] == ["a", "b"]
    assert sorted(opened.state.clock().values()) == [2, 42]
    assert opened.statements == (GENESIS,)
    assert len(opened.staged) == 1
    runs = [row.run for row in (await copy.store.runs_after(0, 1 << 20)).rows]
    assert sum(run.last - run.first + 1 for run in runs) == 44
    assert opened.state.visible == 20
    await copy.write([put("todo", "new", n=1)])
    assert await copy.record("todo", "new") is not None


async def test_what_was_staged_before_ages_were_noted_waits_from_now_on(tmp_path: Path) -> None:
    copy = copy_of(tmp_path, 12)
    with closing(sqlite3.connect(tmp_path / "space.db")) as connection, connection:
        connection.execute("UPDATE space SET age_ms = ?", (100 * DAY_MS,))
    await copy.open()
    assert [one.age_ms for one in copy.store.opened.staged] == [100 * DAY_MS]
    await copy.store.close()


def test_there_is_one_of_every_format() -> None:
    """A new file in the schema needs `python -m tests.store.formats`."""
    assert {int(path.stem) for path in FORMATS} | NEVER_ALONE == set(range(1, NEWEST + 1))


@pytest.mark.parametrize("path", FORMATS, ids=lambda path: path.stem)
async def test_a_database_of_each_format_is_opened_with_all_it_held(path: Path, tmp_path: Path) -> None:
    """And a copy of it as it was is kept, which the version before can open."""
    number = int(path.stem)
    copy = copy_of(tmp_path, number)
    await copy.open()
    await holds_everything(copy)
    await copy.store.close()
    assert version_of(copy.path) == NEWEST
    kept = upgrading.copies(copy.path, tmp_path / "backups")
    if number == NEWEST:
        assert kept == []
        return
    assert [one.name for one in kept] == [f"space.format-{number}.db"]
    assert dump(kept[0]) == dump(copy_of(tmp_path / "again", number).path)


async def test_what_is_written_as_the_present_format_is_what_is_kept(tmp_path: Path) -> None:
    """The file of the newest number was not made by hand: the same program makes one of the same tables."""
    fresh = dump(await fill(tmp_path))[1]
    kept = FORMATS[-1].read_text()
    assert {line for line in kept.splitlines() if line.startswith("CREATE")} == {
        line for line in fresh.splitlines() if line.startswith("CREATE")
    }


async def test_killed_before_any_statement_it_is_upgraded_by_the_next_start(tmp_path: Path) -> None:
    """Nothing is lost, whatever was done already, and a whole copy of the old form is there once it is upgraded."""
    script = Path(__file__).with_name("upgrade_crashing.py")
    database = make(tmp_path / "old.db", FORMATS[0].read_text())
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, str(script), str(database), str(tmp_path / "left")]
    done = await asyncio.to_thread(subprocess.run, command, env=environ, capture_output=True, text=True, check=True)
    deaths = int(done.stdout.splitlines()[-1])
    assert deaths > 40
    for number in range(deaths):
        copy = Copy(tmp_path / "left" / str(number), threaded=False)
        copy.backups = copy.path.parent / "backups"
        await copy.open()
        await holds_everything(copy)
        await copy.store.close()
        kept = upgrading.copies(copy.path, copy.backups)
        # Dead between two steps, it was of a form in between; what is kept is the one from before the first. Only one
        # that died at the very end had nothing left to do.
        assert [version_of(one) for one in kept] == [1]


async def test_without_room_for_a_copy_nothing_is_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says how much it takes; with room it goes on."""
    copy = copy_of(tmp_path, 1)
    with monkeypatch.context() as patched:
        patched.setattr(upgrading, "SPARE_BYTES", 1 << 60)
        with pytest.raises(DiskFull, match="no room for a copy") as raised:
            await copy.open()
    assert "Make room" in raised.value.next_step
    assert version_of(copy.path) == 1
    await copy.open()
    await copy.store.close()


async def test_a_copy_goes_after_a_month_or_with_the_next_upgrade(tmp_path: Path) -> None:
    """Not before: somebody may have to go back."""
    copy = copy_of(tmp_path, 1)
    assert copy.backups is not None
    await copy.open()
    (kept,) = upgrading.copies(copy.path, copy.backups)
    for age_days, stays in ((29, True), (31, False)):
        moment_s = (NOW_MS - age_days * DAY_MS) / 1000
        os.utime(kept, (moment_s, moment_s))
        await copy.reopen()
        assert kept.exists() == stays
    await copy.store.close()
    kept.write_bytes(b"")
    copy.path.unlink()
    assert not list(copy.backups.glob("*.upgrading"))
    again = copy_of(tmp_path, 2)
    await again.open()
    assert [one.name for one in upgrading.copies(copy.path, copy.backups)] == ["space.format-2.db"]
    await again.store.close()


async def test_the_copy_has_its_name_durably_before_anything_is_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut leaves no upgraded database without the copy from before."""
    copy = copy_of(tmp_path, 1)
    synced: list[tuple[int, bool]] = []

    def recorded(folder: Path) -> None:
        sync_folder(folder)
        synced.append((version_of(copy.path), bool(upgrading.copies(copy.path, folder))))

    monkeypatch.setattr(upgrading, "sync_folder", recorded)
    await copy.open()
    await copy.store.close()
    assert synced == [(1, True)]
