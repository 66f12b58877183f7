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


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "todo.db"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = wal")
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
