"""Whoever writes to a database is heard, with real files and real SQLite."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import asyncinotify
import pytest

from peerd.tables import watch as watching
from peerd.tables.watch import FileWatch

PATIENCE_S = 10.0


class Ear:
    def __init__(self, database: Path) -> None:
        self.heard = asyncio.Event()
        self.watch = FileWatch.start(database, self.heard.set)

    async def hears(self, act: Callable[[], object]) -> None:
        await asyncio.sleep(0)
        self.heard.clear()
        act()
        async with asyncio.timeout(PATIENCE_S):
            await self.heard.wait()


Listen = Callable[[Path], Ear]


@pytest.fixture
async def listen() -> AsyncIterator[Listen]:
    ears: list[Ear] = []

    def listen(database: Path) -> Ear:
        ears.append(Ear(database))
        return ears[-1]

    yield listen
    for ear in ears:
        await ear.watch.close()


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "app" / "todo.db"


def make(database: Path, journal_mode: str) -> sqlite3.Connection:
    database.parent.mkdir(exist_ok=True)
    connection = sqlite3.connect(database, isolation_level=None)
    connection.execute(f"PRAGMA journal_mode = {journal_mode}")
    connection.execute("CREATE TABLE IF NOT EXISTS t (a)")
    return connection


@pytest.mark.parametrize("journal_mode", ["wal", "delete", "truncate", "persist", "memory"])
async def test_a_commit_is_heard_in_every_journal_mode(database: Path, listen: Listen, journal_mode: str) -> None:
    connection = make(database, journal_mode)
    ear = listen(database)
    await ear.hears(lambda: connection.execute("INSERT INTO t VALUES (1)"))
    connection.close()


async def test_another_file_beside_it_is_not(database: Path, listen: Listen) -> None:
    """Events come in their order: what is ours and written later is heard first."""
    connection = make(database, "wal")
    heard: list[int] = []
    other = FileWatch.start(database.with_name("other.db"), lambda: heard.append(1))
    ear = listen(database)
    await ear.hears(lambda: connection.execute("INSERT INTO t VALUES (1)"))
    await ear.hears(lambda: connection.execute("INSERT INTO t VALUES (2)"))
    assert heard == []
    await other.close()
    connection.close()


async def test_a_file_that_is_replaced_deleted_and_made_again_is_heard(database: Path, listen: Listen) -> None:
    make(database, "wal").close()
    ear = listen(database)
    fresh = database.with_name("fresh.db")
    make(fresh, "delete").close()
    await ear.hears(lambda: fresh.replace(database))
    await ear.hears(database.unlink)
    await ear.hears(lambda: make(database, "delete").close())


async def test_a_link_leads_to_the_file_it_names(database: Path, tmp_path: Path, listen: Listen) -> None:
    connection = make(database, "wal")
    link = tmp_path / "link.db"
    link.symlink_to(database)
    ear = listen(link)
    await ear.hears(lambda: connection.execute("INSERT INTO t VALUES (1)"))
    connection.close()


async def test_a_directory_that_is_gone_is_polled_until_it_is_back(
    database: Path, listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "POLL_S", 0.01)
    ear = listen(database)
    assert ear.watch.polls
    await ear.hears(lambda: None)
    connection = make(database, "wal")
    async with asyncio.timeout(PATIENCE_S):
        while ear.watch.polls:
            await ear.hears(lambda: None)
    await ear.hears(lambda: connection.execute("INSERT INTO t VALUES (1)"))
    connection.close()


async def test_a_directory_that_is_replaced_is_watched_anew(
    database: Path, listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "POLL_S", 0.01)
    make(database, "delete").close()
    ear = listen(database)
    await ear.hears(lambda: database.parent.rename(database.parent.with_name("old")))
    connection = make(database, "wal")
    async with asyncio.timeout(PATIENCE_S):
        while ear.watch.polls:
            await ear.hears(lambda: None)
    await ear.hears(lambda: connection.execute("INSERT INTO t VALUES (1)"))
    connection.close()


async def test_without_inotify_somebody_looks_once_a_second(
    database: Path, listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_more(*_: object, **__: object) -> asyncinotify.Inotify:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(watching, "POLL_S", 0.01)
    monkeypatch.setattr(watching, "Inotify", no_more)
    make(database, "wal").close()
    ear = listen(database)
    assert ear.watch.polls
    await ear.hears(lambda: None)
    await ear.hears(lambda: None)
