"""Opening an application's file: whose it must be, and SQLite's errors in our words."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import apsw
import pytest

from peerd.errors import DiskFull, StoreError, TableTrouble
from peerd.tables.opening import Identity, connect, translated


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "todo.db"
    connection = sqlite3.connect(path)
    connection.executescript("PRAGMA journal_mode = delete; PRAGMA user_version = 7; CREATE TABLE t (a)")
    connection.close()
    return path


def code_of(path: Path) -> str:
    with pytest.raises(TableTrouble) as refused:
        connect(path)
    assert refused.value.next_step
    return refused.value.code


def test_our_connection_is_durable_and_changes_nothing(path: Path) -> None:
    before = path.read_bytes()
    connection = connect(path)
    assert connection.pragma("synchronous") == 2
    assert connection.pragma("foreign_keys") == 0
    assert connection.pragma("journal_mode") == "delete"
    connection.close()
    assert path.read_bytes() == before


def test_a_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    assert code_of(tmp_path / "no.db") == "file-missing"
    assert not (tmp_path / "no.db").exists()
    assert code_of(tmp_path) == "file-missing"


def test_a_file_that_is_no_database_is_said_to_be_so(path: Path) -> None:
    path.write_bytes(b"no database" * 100)
    assert code_of(path) == "file-corrupt"


def test_another_users_file_is_left_alone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What we would make beside it, its owner could not open."""
    other = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: other)
    assert code_of(path) == "file-not-owned"


def test_a_folder_that_cannot_be_written_is_said_to_be_so(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda place, _: Path(place) != path.parent)
    assert code_of(path) == "file-read-only"


def test_a_file_that_is_replaced_or_gone_is_noticed(path: Path) -> None:
    identity = Identity(path)
    identity.check()
    other = path.with_name("other.db")
    other.write_bytes(path.read_bytes())
    other.replace(path)
    with pytest.raises(TableTrouble) as refused:
        identity.check()
    assert refused.value.code == "file-replaced"
    path.unlink()
    with pytest.raises(TableTrouble) as refused:
        identity.check()
    assert refused.value.code == "file-missing"


@pytest.mark.parametrize(
    ("problem", "code"),
    [
        (apsw.BusyError("busy"), "file-locked"),
        (apsw.LockedError("locked"), "file-locked"),
        (apsw.CorruptError("malformed"), "file-corrupt"),
        (apsw.NotADBError("no database"), "file-corrupt"),
        (apsw.ReadOnlyError("readonly"), "file-read-only"),
        (apsw.CantOpenError("unable to open"), "file-read-only"),
        (apsw.FullError("full"), "disk-full"),
        (apsw.IOError("disk I/O error"), "table-failed"),
        (apsw.SQLError("no such table"), "table-failed"),
    ],
)
def test_what_sqlite_says_has_a_code_and_a_next_step(path: Path, problem: apsw.Error, code: str) -> None:
    with pytest.raises(StoreError) as refused, translated(path):
        raise problem
    assert refused.value.code == code
    assert refused.value.next_step
    assert isinstance(refused.value, DiskFull) == (code == "disk-full")
    assert str(path) in str(refused.value)
