"""The statements of the roster, kept in the order in which they came."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from peerd.core.roster.statements import SignedStatement, statement_id


def add(connection: sqlite3.Connection, statements: Sequence[SignedStatement]) -> None:
    """Add those that are new; the same bytes are one statement, whatever their signature."""
    connection.executemany(
        "INSERT OR IGNORE INTO statement (id, bytes, signature) VALUES (?, ?, ?)",
        ((statement_id(statement.data), statement.data, statement.signature) for statement in statements),
    )


def load(connection: sqlite3.Connection) -> tuple[SignedStatement, ...]:
    rows = connection.execute("SELECT bytes, signature FROM statement ORDER BY number")
    return tuple(SignedStatement(data, signature) for data, signature in rows)
