"""Numbered SQL files bring a database to the form this version knows, one transaction each.

`PRAGMA user_version` is the number of the last file that was applied, `application_id` says whose database it is.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from functools import cache
from importlib import resources
from pathlib import Path

from peerd.errors import StoreError
from peerd.store.failures import damaged

APPLICATION_ID = 0x70656572  # "peer"


@cache
def migrations() -> tuple[tuple[int, str], ...]:
    """(number, SQL) of every file in the schema folder, in order."""
    files = (file for file in resources.files(__package__).joinpath("schema").iterdir() if file.name.endswith(".sql"))
    return tuple(sorted((int(file.name.split("_")[0]), file.read_text("utf-8")) for file in files))


def migrate(connection: sqlite3.Connection, path: Path, known: tuple[tuple[int, str], ...] | None = None) -> list[int]:
    """Apply the files that the database lacks; gives their numbers. `known` stands in for the folder in tests.

    Raises:
        StoreError: code "store-newer", the database was written by a later version.
        StoreDamaged: it is somebody else's database.
        sqlite3.Error: a file could not be applied; the database is as it was before that file.
    """
    known = migrations() if known is None else known
    version = _number(connection, "user_version")
    newest = known[-1][0]
    if version and _number(connection, "application_id") != APPLICATION_ID:
        raise damaged(path, "it is the database of another program")
    if version > newest:
        raise newer(path, version, newest)
    applied = [(number, text) for number, text in known if number > version]
    for number, text in applied:
        connection.execute("BEGIN IMMEDIATE")
        try:
            _apply(connection, number, text)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    return [number for number, _ in applied]


def build(connection: sqlite3.Connection) -> None:
    """Bring an empty database to the form this version knows, in the transaction that the caller has begun. Raises
    sqlite3.Error.
    """
    for number, text in migrations():
        _apply(connection, number, text)


def _apply(connection: sqlite3.Connection, number: int, text: str) -> None:
    for statement in statements(text):
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {number}")


def newer(path: Path, version: int, newest: int | None = None) -> StoreError:
    """A later version wrote the database at `path`."""
    return StoreError(
        f"{path} has format {version}; this peerd knows formats up to {newest or migrations()[-1][0]}.",
        code="store-newer",
        next_step='Start the newer peerd that wrote it. To go on with this one: docs/recovery.md, "Back to an earlier '
        'version of peerd".',
    )


def statements(text: str) -> Iterator[str]:
    """The statements of a file: `executescript` would commit the transaction they belong to."""
    collected = ""
    for line in text.splitlines(keepends=True):
        collected += line
        if sqlite3.complete_statement(collected):
            yield collected
            collected = ""
    if "".join(line for line in collected.splitlines() if not line.startswith("--")).strip():
        raise ValueError("a migration ends inside a statement")


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    return int(connection.execute(f"PRAGMA {pragma}").fetchone()[0])
