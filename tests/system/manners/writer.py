"""An application as a process of its own: it writes at random moments and sets no busy timeout, and counts refusals.

python -m tests.system.manners.writer DATABASE RATE SECONDS KIND TIMEOUT_S

KIND is `write`, one statement in a transaction of its own; `start`, the same by a program that opens the file anew for
it, as one that is started again and again; or `deferred`, a transaction that reads, thinks for two milliseconds, and
writes. Prints a JSON map: tried, refused (by SQLite's name for it), longest_ms.
"""

from __future__ import annotations

import contextlib
import json
import random
import sqlite3
import sys
import time
from collections import Counter

THINKS_S = 0.002
ROWS = 200
SCHEMA = "CREATE TABLE IF NOT EXISTS notes (id INTEGER PRIMARY KEY, title TEXT, size INT)"


def prepare(path: str, journal: str) -> None:
    """The file as the application makes it at its first start."""
    connection = sqlite3.connect(path, isolation_level=None, timeout=20)
    connection.execute(f"PRAGMA journal_mode = {journal}")
    connection.execute(SCHEMA)
    connection.close()


def write(connection: sqlite3.Connection, number: int, chance: random.Random) -> None:
    if number <= ROWS:
        connection.execute("INSERT INTO notes (title, size) VALUES (?, ?)", (f"note {chance.random()}", number))
    else:
        values = (number, chance.randrange(ROWS))
        connection.execute("UPDATE notes SET size = ? WHERE id = (SELECT id FROM notes LIMIT 1 OFFSET ?)", values)


def start_and_write(connection: sqlite3.Connection, number: int, chance: random.Random) -> None:
    (path,) = connection.execute("SELECT file FROM pragma_database_list").fetchone()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as fresh:
        fresh.execute(SCHEMA)
        write(fresh, number, chance)


def write_what_was_read(connection: sqlite3.Connection, number: int, chance: random.Random) -> None:
    connection.execute("BEGIN")
    connection.execute("SELECT count(*) FROM notes").fetchone()
    time.sleep(THINKS_S)
    write(connection, number, chance)
    connection.execute("COMMIT")


KINDS = {"write": write, "start": start_and_write, "deferred": write_what_was_read}


def run(path: str, rate: float, seconds: float, kind: str, timeout_s: float) -> dict[str, object]:
    """Moments like those of independent people: the gaps between them are distributed exponentially."""
    chance = random.Random()
    work = KINDS[kind]
    connection = sqlite3.connect(path, isolation_level=None, timeout=timeout_s)
    refused: Counter[str] = Counter()
    tried, longest_s, start_s = 0, 0.0, time.monotonic()
    due_s = start_s
    while (due_s := due_s + chance.expovariate(rate)) < start_s + seconds:
        time.sleep(max(0.0, due_s - time.monotonic()))
        tried += 1
        before_s = time.monotonic()
        try:
            work(connection, tried, chance)
        except sqlite3.OperationalError as problem:
            refused[problem.sqlite_errorname] += 1
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        longest_s = max(longest_s, time.monotonic() - before_s)
    connection.close()
    return {"tried": tried, "refused": refused, "longest_ms": round(longest_s * 1000, 1)}


if __name__ == "__main__":
    _, path, rate, seconds, kind, timeout_s = sys.argv
    sys.stdout.write(json.dumps(run(path, float(rate), float(seconds), kind, float(timeout_s))))
