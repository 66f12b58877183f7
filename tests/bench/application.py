"""An application of the usual kind: one numbered table in a SQLite file in WAL mode, and no idea of peerd."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

from tests.bench.requests import Data

_TABLE = """
CREATE TABLE IF NOT EXISTS notes (
  id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT, title TEXT,
  done INTEGER, rank INTEGER, price REAL, note TEXT, tag TEXT
)
"""
_INSERT = "INSERT INTO notes (key, title, done, rank, price, note, tag) VALUES (?, ?, ?, ?, ?, ?, ?)"


class Application:
    def __init__(self, path: Path) -> None:
        self.path = path
        self._database = sqlite3.connect(path, isolation_level=None, timeout=30)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute(_TABLE)

    def insert(self, data: Data) -> float:
        """All in one transaction; seconds of it, with its commit."""
        rows = [(key, *value.values()) for key, value in data]
        started = time.perf_counter()
        self._database.execute("BEGIN IMMEDIATE")
        self._database.executemany(_INSERT, rows)
        self._database.execute("COMMIT")
        return time.perf_counter() - started

    def wal_changed_ns(self) -> int:
        """When somebody last wrote to the file: seen without a lock, so that watching disturbs nobody."""
        try:
            return Path(f"{self.path}-wal").stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    def has(self, key: str, after: int) -> bool:
        """Is that key among the rows with larger numbers?"""
        found = self._database.execute("SELECT 1 FROM notes WHERE id > ? AND key = ?", (after, key)).fetchone()
        return found is not None

    def largest(self) -> int:
        """The largest number of a row."""
        return int(self._database.execute("SELECT coalesce(max(id), 0) FROM notes").fetchone()[0])

    def count(self) -> int:
        return int(self._database.execute("SELECT count(*) FROM notes").fetchone()[0])

    def close(self) -> None:
        self._database.close()
