"""Our transactions beside those of an application that sets no busy timeout."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from peerd.tables import manners as module
from peerd.tables.manners import Manners
from peerd.tables.readers import Readers

OTHER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
for line in sys.stdin:
    connection.execute(line).fetchall()
    print("done", flush=True)
"""


class Other:
    """Another process that has the file open: locks of one's own process are not seen."""

    def __init__(self, path: Path) -> None:
        command = [sys.executable, "-c", OTHER, str(path)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def do(self, sql: str) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{sql}\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "done\n"

    def end(self) -> None:
        self._process.communicate()


@pytest.fixture(params=["wal", "delete"])
def connection(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[apsw.Connection]:
    connection = apsw.Connection(str(tmp_path / "app.db"))
    connection.set_busy_timeout(2_000)
    connection.execute(f"PRAGMA journal_mode = {request.param}; CREATE TABLE t (a)").fetchall()
    yield connection
    connection.close()


@pytest.fixture
def other(connection: apsw.Connection) -> Iterator[Other]:
    other = Other(Path(connection.filename))
    yield other
    other.end()


class Told(Readers):
    """Somebody is at the file for the first looks; then this is done."""

    def __init__(self, path: str, looks: int, then: object = None) -> None:
        super().__init__(Path(path))
        self.looks, self.then = looks, then

    def any(self) -> bool:
        self.looks -= 1
        if self.looks == 0 and callable(self.then):
            self.then()
        return self.looks > 0


def insert(connection: apsw.Connection) -> int:
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute("INSERT INTO t VALUES (1)")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    return int(connection.changes())


def test_a_transaction_of_others_is_waited_for_before_any_lock_is_taken(
    connection: apsw.Connection, other: Other
) -> None:
    """In WAL mode a commit of ours between its reading and its writing would refuse it at once."""
    other.do("BEGIN")
    other.do("SELECT count(*) FROM t")

    def write_and_end() -> None:
        other.do("INSERT INTO t VALUES (2)")
        other.do("COMMIT")

    readers = Told(connection.filename, 5, write_and_end)
    assert Readers(Path(connection.filename)).any()
    assert Manners(connection, readers).run(lambda: insert(connection)) == 1
    assert readers.looks <= 0
    assert connection.execute("SELECT count(*) FROM t").fetchall() == [(2,)]


def test_who_never_ends_is_not_waited_for_long(connection: apsw.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAIT_S", 0.01)
    readers = Told(connection.filename, 1_000_000)
    assert Manners(connection, readers).run(lambda: insert(connection)) == 1


def test_what_meets_a_lock_is_tried_again_from_its_beginning(
    connection: apsw.Connection, other: Other, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HOLD_MS", 1)
    other.do("BEGIN IMMEDIATE")
    tries = []

    def work() -> int:
        tries.append(1)
        if len(tries) == 3:
            other.do("COMMIT")
        return insert(connection)

    assert Manners(connection, Told(connection.filename, 0)).run(work) == 1
    assert len(tries) == 3


def test_a_commit_that_waits_for_readers_is_taken_back_soon(
    connection: apsw.Connection, other: Other, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a WAL, everybody else would be held off as long as it waits."""
    if connection.pragma("journal_mode") == "wal":
        pytest.skip("readers are in nobody's way in WAL mode")
    monkeypatch.setattr(module, "HOLD_MS", 1)
    monkeypatch.setattr(module, "PATIENCE_S", 0.0)
    other.do("BEGIN")
    other.do("SELECT count(*) FROM t")
    manners = Manners(connection, Told(connection.filename, 0))
    with pytest.raises(apsw.BusyError):
        manners.run(lambda: insert(connection))
    assert not connection.in_transaction
    third = Other(Path(connection.filename))
    third.do("SELECT count(*) FROM t")  # nobody is held off
    third.end()


def test_only_others_who_stay_are_told_of(connection: apsw.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE_S", 0.02)
    tries = []

    def work() -> None:
        tries.append(1)
        raise apsw.BusyError

    with pytest.raises(apsw.BusyError):
        Manners(connection, Told(connection.filename, 0)).run(work)
    assert len(tries) > 1
    with pytest.raises(apsw.FullError):
        Manners(connection, Told(connection.filename, 0)).run(fail)


def fail() -> None:
    raise apsw.FullError


def test_the_time_in_the_way_of_others_is_summed_up_without_what_was_waited_for(
    connection: apsw.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = [10.0]
    monkeypatch.setattr("peerd.tables.manners.time.monotonic", lambda: now_s[0])
    manners = Manners(connection, Told(connection.filename, 0))

    def work(*, let_go: bool) -> None:
        now_s[0] += 8.0
        manners.take()
        now_s[0] += 0.25
        if let_go:
            manners.let_go()
        now_s[0] += 0.5

    manners.run(lambda: work(let_go=False))
    assert manners.held_s == 0.75
    manners.run(lambda: work(let_go=True))
    assert manners.held_s == 1.0


def test_plain_reading_waits_as_long_as_before(connection: apsw.Connection) -> None:
    """It holds nothing while it waits."""
    manners = Manners(connection, Told(connection.filename, 0))
    timeouts = []
    manners.run(lambda: timeouts.append(connection.pragma("busy_timeout")))
    timeouts.append(connection.pragma("busy_timeout"))
    assert timeouts == [module.HOLD_MS, 2_000]
