"""An application that writes with hardly a rest: folders with unique names, notes in them, tags known by their names.

python -m tests.system.manners.program DATABASE SEED SECONDS

It has the busy timeout that most programs have. One of ten transactions reads before it writes, as those do that let
their library begin a transaction. Prints a JSON map: made, refused (by SQLite's name for it), longest_ms.
"""

from __future__ import annotations

import json
import random
import sqlite3
import sys
import time
from collections import Counter
from pathlib import Path

TIMEOUT_S = 5.0
NAMES, TAGS, NOTES = 30, 60, 500
SCHEMA = """
CREATE TABLE IF NOT EXISTS folders (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS notes (
    id INTEGER PRIMARY KEY, folder_id INTEGER REFERENCES folders (id), title TEXT NOT NULL, size INT
);
CREATE TABLE IF NOT EXISTS tags (name TEXT NOT NULL PRIMARY KEY, colour TEXT) WITHOUT ROWID;
"""
INSERT = """
INSERT INTO notes (title, size, folder_id) SELECT ?, ?, id FROM folders
WHERE (SELECT count(*) FROM notes) < ? AND name = ?
"""
UPDATE = "UPDATE notes SET size = size + 1 WHERE id = (SELECT id FROM notes ORDER BY id LIMIT 1 OFFSET ?)"
DELETE = "DELETE FROM notes WHERE id = (SELECT id FROM notes ORDER BY id LIMIT 1 OFFSET ?)"
KEYS = ("folders=surrogate", "notes=surrogate", "tags=natural")
SHOWN = (
    "SELECT title, folders.name, size FROM notes LEFT JOIN folders ON folder_id = folders.id ORDER BY 1, 2, 3",
    "SELECT name FROM folders ORDER BY 1",
    "SELECT name, colour FROM tags ORDER BY 1",
)


def prepare(path: Path, journal: str) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(f"PRAGMA journal_mode = {journal}")
    connection.executescript(SCHEMA)
    connection.close()


def shown(path: Path) -> list[list[tuple[object, ...]]]:
    """What a person sees: no integers that an application gave."""
    connection = sqlite3.connect(path, timeout=20)
    try:
        return [connection.execute(sql).fetchall() for sql in SHOWN]
    finally:
        connection.close()


def damage(path: Path) -> list[str]:
    """What SQLite finds wrong with the file."""
    connection = sqlite3.connect(path, timeout=20)
    try:
        found = connection.execute("PRAGMA integrity_check").fetchall()
        loose = connection.execute("PRAGMA foreign_key_check").fetchall()
    finally:
        connection.close()
    return [str(one) for (one,) in found if one != "ok"] + [str(one) for one in loose]


def write(connection: sqlite3.Connection, chance: random.Random) -> None:
    dice, name = chance.random(), f"folder {chance.randrange(NAMES)}"
    if dice < 0.15:
        connection.execute("INSERT OR IGNORE INTO folders (name) VALUES (?)", (name,))
    elif dice < 0.20:
        connection.execute("UPDATE OR IGNORE folders SET name = ? WHERE id % 7 = 1", (name,))
    elif dice < 0.50:
        connection.execute(INSERT, (f"note {chance.random()}", chance.randrange(9), NOTES, name))
    elif dice < 0.75:
        connection.execute(UPDATE, (chance.randrange(NOTES),))
    elif dice < 0.77:  # so few that the brake does not take them for an accident
        connection.execute(DELETE, (chance.randrange(NOTES),))
    else:
        tag = (f"tag {chance.randrange(TAGS)}", chance.choice(("red", "blue", "green")))
        connection.execute("INSERT OR REPLACE INTO tags VALUES (?, ?)", tag)


def transact(connection: sqlite3.Connection, chance: random.Random) -> None:
    reads_first = chance.random() < 0.1
    connection.execute("BEGIN" if reads_first else "BEGIN IMMEDIATE")
    if reads_first:
        connection.execute("SELECT count(*) FROM notes").fetchone()
    for _ in range(chance.randint(1, 4)):
        write(connection, chance)
    connection.execute("COMMIT")


def run(path: str, seed: int, seconds: float) -> dict[str, object]:
    chance, refused = random.Random(seed), Counter[str]()
    made, longest_s, end_s = 0, 0.0, time.monotonic() + seconds
    connection = sqlite3.connect(path, isolation_level=None, timeout=TIMEOUT_S)
    while time.monotonic() < end_s:
        before_s = time.monotonic()
        try:
            transact(connection, chance)
            made += 1
        except sqlite3.Error as problem:
            refused[problem.sqlite_errorname] += 1
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        longest_s = max(longest_s, time.monotonic() - before_s)
        time.sleep(chance.random() * 0.01)
    connection.close()
    return {"made": made, "refused": refused, "longest_ms": round(longest_s * 1000, 1)}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(run(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))))
