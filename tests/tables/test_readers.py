"""Others who are reading a database, as the kernel tells it."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from peerd.tables.readers import Readers

OTHER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN" if sys.argv[2] != "write" else "BEGIN IMMEDIATE")
if sys.argv[2] != "idle":
    connection.execute("SELECT count(*) FROM t").fetchall()
else:
    connection.execute("COMMIT")
print("ready", flush=True)
sys.stdin.readline()
"""

ALONE = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
for sql in ("PRAGMA locking_mode = EXCLUSIVE", "PRAGMA journal_mode = WAL", "CREATE TABLE t (a)"):
    connection.execute(sql).fetchall()
print("ready", flush=True)
sys.stdin.readline()
"""


@pytest.fixture(params=["wal", "delete"])
def database(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    path = tmp_path / "todo.db"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(f"PRAGMA journal_mode = {request.param}")
    connection.execute("CREATE TABLE t (a)")
    connection.execute("SELECT count(*) FROM t").fetchall()
    yield path
    connection.close()


@pytest.fixture
def other(database: Path) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Another process that has the file open and does this until it is told to end."""
    started: list[subprocess.Popen[str]] = []

    def begin(what: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", OTHER, str(database), what]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    yield begin
    for process in started:
        if process.poll() is None:
            process.communicate("\n")


def end(process: subprocess.Popen[str]) -> None:
    process.communicate("\n")


@pytest.mark.parametrize("what", ["read", "write"])
def test_a_transaction_of_another_process_is_seen_while_it_lasts(
    database: Path, other: Callable[[str], subprocess.Popen[str]], what: str
) -> None:
    readers = Readers(database)
    assert not readers.any()
    process = other(what)
    assert readers.any()
    end(process)
    assert not readers.any()


def test_who_writes_is_told_from_who_reads(database: Path, other: Callable[[str], subprocess.Popen[str]]) -> None:
    readers = Readers(database)
    reader = other("read")
    assert not readers.is_writer_among_them()
    end(reader)
    writer = other("write")
    assert readers.is_writer_among_them()
    end(writer)
    assert not readers.is_writer_among_them()


def test_a_connection_that_does_nothing_is_no_reader(
    database: Path, other: Callable[[str], subprocess.Popen[str]]
) -> None:
    other("idle")
    assert not Readers(database).any()


def test_our_own_reading_does_not_count(database: Path) -> None:
    connection = sqlite3.connect(database, isolation_level=None)
    connection.execute("BEGIN")
    connection.execute("SELECT count(*) FROM t").fetchall()
    assert not Readers(database).any()
    connection.close()


def test_a_system_that_does_not_tell_has_no_readers(database: Path, tmp_path: Path) -> None:
    assert not Readers(database, tmp_path / "no locks").any()
    assert not Readers(tmp_path / "no.db").any()


def test_an_application_that_has_the_file_for_itself_alone_is_seen(tmp_path: Path) -> None:
    """In WAL mode it makes no `-shm` then."""
    command = [sys.executable, "-c", ALONE, str(tmp_path / "todo.db")]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    readers = Readers(tmp_path / "todo.db")
    assert not (tmp_path / "todo.db-shm").exists()
    assert readers.any()
    assert readers.is_writer_among_them()
    end(process)
    assert not readers.any()


@pytest.mark.parametrize("database", ["wal"], indirect=True)
@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("1: POSIX  ADVISORY  READ {pid} 08:02:{inode} 123 123", True),
        ("1: POSIX  ADVISORY  READ 0 08:02:{inode} 124 124", True),
        ("1: POSIX  ADVISORY  WRITE {pid} 08:02:{inode} 120 EOF", True),
        ("1: POSIX  ADVISORY  READ {pid} 08:02:{inode} 128 128", False),
        ("1: POSIX  ADVISORY  READ {pid} 08:02:1{inode} 123 123", False),
        ("1: FLOCK  ADVISORY  READ {pid} 08:02:{inode} 0 EOF", False),
        ("1: -> POSIX  ADVISORY  READ {pid} 08:02:{inode} 123 123", False),
        ("", False),
    ],
)
def test_only_marks_of_others_on_this_file_count(database: Path, tmp_path: Path, line: str, *, found: bool) -> None:
    inode = Path(f"{database}-shm").stat().st_ino
    locks = tmp_path / "locks"
    locks.write_text(line.format(pid=os.getppid(), inode=inode) + "\n")
    assert Readers(database, locks).any() is found


@pytest.mark.parametrize("database", ["delete"], indirect=True)
@pytest.mark.parametrize(
    ("places", "any_", "writes"),
    [
        ("1073741826 1073742335", True, False),  # a reader
        ("1073741825 1073741825", True, True),  # who will write
        ("1073741824 1073742335", True, True),  # who writes
        ("1073742336 1073742336", False, False),
        ("124 124", False, False),
    ],
)
def test_without_a_wal_the_locks_of_the_database_count(
    database: Path, tmp_path: Path, places: str, *, any_: bool, writes: bool
) -> None:
    locks = tmp_path / "locks"
    locks.write_text(f"1: POSIX  ADVISORY  READ {os.getppid()} 08:02:{database.stat().st_ino} {places}\n")
    readers = Readers(database, locks)
    assert (readers.any(), readers.is_writer_among_them()) == (any_, writes)
