"""Syncing what an application committed: the right files, without a lock, and without losing those of SQLite."""

from __future__ import annotations

import errno
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from peerd.tables import durable

TRY_TO_WRITE = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=0)
try:
    connection.execute("BEGIN IMMEDIATE")
except sqlite3.OperationalError:
    print("refused")
else:
    print("let in")
"""


@pytest.fixture(params=["wal", "delete", "persist"])
def connection(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[apsw.Connection]:
    connection = apsw.Connection(str(tmp_path / "app.db"))
    connection.execute(
        f"PRAGMA journal_mode = {request.param}; CREATE TABLE t (a); INSERT INTO t VALUES (1)"
    ).fetchall()
    yield connection
    connection.close()


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of what is synced."""
    names: list[str] = []
    for call in ("fsync", "fdatasync"):
        real = getattr(os, call)

        def sync(descriptor: int, real: object = real) -> None:
            names.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
            assert callable(real)
            real(descriptor)

        monkeypatch.setattr(os, call, sync)
    return names


def test_all_that_holds_a_commit_is_synced(connection: apsw.Connection, tmp_path: Path, synced: list[str]) -> None:
    assert durable.sync(tmp_path / "app.db")
    beside = {"wal": ["app.db-wal"], "persist": ["app.db-journal"]}.get(str(connection.pragma("journal_mode")), [])
    assert sorted(synced) == sorted(["app.db", tmp_path.name, *beside])


def test_it_takes_no_lock_and_drops_none(connection: apsw.Connection, tmp_path: Path) -> None:
    command = [sys.executable, "-c", TRY_TO_WRITE, connection.filename]

    def tried() -> str:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    assert durable.sync(tmp_path / "app.db")
    assert tried() == "let in"
    connection.execute("BEGIN IMMEDIATE")
    assert durable.sync(tmp_path / "app.db")
    assert tried() == "refused"


def test_another_connection_that_writes_is_not_waited_for(connection: apsw.Connection, tmp_path: Path) -> None:
    other = apsw.Connection(connection.filename)
    other.execute("BEGIN IMMEDIATE; INSERT INTO t VALUES (2)").fetchall()
    assert durable.sync(tmp_path / "app.db")
    other.execute("COMMIT")
    other.close()


def test_a_file_that_is_not_open_here_cannot_be_synced(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    sqlite3.connect(path).close()
    path.touch()
    assert not durable.sync(path)


def test_a_wal_that_is_not_ours_cannot_be_synced(connection: apsw.Connection, tmp_path: Path) -> None:
    wal = tmp_path / "app.db-wal"
    wal.unlink(missing_ok=True)
    wal.touch()
    assert not durable.sync(tmp_path / "app.db")


def test_a_system_without_a_list_of_descriptors_says_so(
    connection: apsw.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del connection
    monkeypatch.setattr(durable, "_DESCRIPTORS", tmp_path / "none")
    assert not durable.sync(tmp_path / "app.db")


@pytest.mark.parametrize(("number", "says"), [(errno.EBADF, False), (errno.EIO, None)])
def test_a_disk_that_fails_is_an_error_and_a_file_that_was_closed_is_not(
    connection: apsw.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, number: int, says: bool | None
) -> None:
    del connection

    def fail(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fdatasync", fail)
    if says is None:
        with pytest.raises(OSError, match="Input/output"):
            durable.sync(tmp_path / "app.db")
    else:
        assert durable.sync(tmp_path / "app.db") is says
