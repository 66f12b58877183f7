"""A process of an application that writes with hardly a rest until its standard input ends.

python -m tests.tables.race DATABASE SEED      prints how many transactions it made, and how many were refused
"""

from __future__ import annotations

import random
import select
import sqlite3
import sys
import time
from contextlib import closing

KEYS = 40
BUSY_TIMEOUT_S = 30.0
SCHEMA = """
    CREATE TABLE person(id INTEGER PRIMARY KEY, email TEXT UNIQUE, n, m);
    CREATE TABLE pet(id INTEGER PRIMARY KEY, person INT REFERENCES person(id), name);
"""


def application(path: str, seed: int) -> tuple[int, int]:
    """An ordinary program: short transactions, REPLACE, UPDATE OR IGNORE, DELETE."""
    chance, made, refused = random.Random(seed), 0, 0
    with closing(sqlite3.connect(path, isolation_level=None, timeout=BUSY_TIMEOUT_S)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        while not select.select([sys.stdin], [], [], 0)[0]:
            made += 1
            try:
                connection.execute("BEGIN IMMEDIATE")
                for _ in range(chance.randint(1, 4)):
                    _write(connection, chance)
                connection.execute("COMMIT")
            except sqlite3.OperationalError:
                refused += 1
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            if chance.random() < 0.2:
                time.sleep(0.002)  # who never rests lets nobody else write: SQLite's locks are not fair
    return made, refused


def _write(connection: sqlite3.Connection, chance: random.Random) -> None:
    key, email, dice = chance.randrange(KEYS), f"e{chance.randrange(KEYS)}", chance.random()
    if dice < 0.4:
        row = (key, email, chance.randrange(9), chance.randrange(9))
        connection.execute("INSERT OR REPLACE INTO person VALUES(?, ?, ?, ?)", row)
    elif dice < 0.6:
        connection.execute("UPDATE OR IGNORE person SET n = n + 1, email = ? WHERE id = ?", (email, key))
    elif dice < 0.8:
        connection.execute("INSERT OR REPLACE INTO pet VALUES(?, ?, ?)", (chance.randrange(KEYS), key, email))
    else:
        connection.execute(f"DELETE FROM {'person' if dice < 0.9 else 'pet'} WHERE id = ?", (key,))


if __name__ == "__main__":
    sys.stdout.write(str(application(sys.argv[1], int(sys.argv[2]))))
