"""How connections to a database are set up."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from peerd.errors import StoreError
from peerd.store.connecting import check_library, connect_checkpoints, connect_reader, connect_writer, wal_of


def test_what_is_committed_is_synced_and_nothing_is_moved_in_a_commit(tmp_path: Path) -> None:
    path = tmp_path / "space.db"
    path.touch()
    for connect in (connect_checkpoints, lambda path: connect_writer(path, checkpoints=False)):
        with closing(connect(path)) as connection:
            found = [
                connection.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("journal_mode", "synchronous", "wal_autocheckpoint", "auto_vacuum", "trusted_schema")
            ]
            assert found == ["wal", 2, 0, 2, 0]
            connection.execute("CREATE TABLE IF NOT EXISTS t (x)")
            assert wal_of(path).exists()


def test_a_reader_writes_nothing_and_no_file_is_made(tmp_path: Path) -> None:
    path = tmp_path / "space.db"
    with pytest.raises(sqlite3.OperationalError):
        connect_reader(path)
    assert not path.exists()
    path.touch()
    connect_writer(path, checkpoints=True).close()
    with closing(connect_reader(path)) as connection, pytest.raises(sqlite3.OperationalError, match="readonly"):
        connection.execute("CREATE TABLE t (x)")


def test_a_library_that_is_too_old_is_named_before_anything_is_made() -> None:
    """Otherwise the first space would end in a syntax error."""
    check_library((3, 37, 0))
    with pytest.raises(StoreError, match=r"is 3\.34\.1, and .* need 3\.37\.0") as refused:
        check_library((3, 34, 1))
    assert refused.value.code == "sqlite-too-old"
