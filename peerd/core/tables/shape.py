"""What an application's database looks like, as read from its schema: facts only, no decisions."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

ROWID = "rowid"


class Column(Struct, frozen=True):
    """`default` is SQL text; `key_place` counts from 1 within the declared primary key, 0 outside of it. A generated
    column is computed by SQLite and never written.
    """

    name: str
    declared: str
    not_null: bool = False
    default: str | None = None
    key_place: int = 0
    generated: bool = False
    collation: str = "BINARY"


class Reference(Struct, frozen=True):
    """A declared foreign key. `actions` are (ON DELETE, ON UPDATE), in capitals."""

    columns: tuple[str, ...]
    parent: str
    parent_columns: tuple[str, ...]
    actions: tuple[str, str] = ("NO ACTION", "NO ACTION")
    deferred: bool = False


class Unique(Struct, frozen=True):
    """A UNIQUE constraint or index besides the capture key. An expression stands as None among the columns."""

    name: str
    columns: tuple[str | None, ...]
    collations: tuple[str, ...]
    partial: bool = False


class Trigger(Struct, frozen=True):
    """A trigger of the application. `writes` are the tables that its body writes, as far as they can be told from its
    text; None among them: it cannot be told.
    """

    name: str
    table: str
    sql: str
    writes: frozenset[str | None]


class Table(Struct, frozen=True):
    """An ordinary table. `key` are the columns by which one row is found for as long as it lives: the INTEGER PRIMARY
    KEY; else the declared key if no part of it can be NULL; else (ROWID,).
    """

    name: str
    sql: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    is_rowid_alias: bool = False  # `key` is an INTEGER PRIMARY KEY
    autoincrement: bool = False
    without_rowid: bool = False
    strict: bool = False
    uniques: tuple[Unique, ...] = ()
    references: tuple[Reference, ...] = ()
    triggers: tuple[Trigger, ...] = ()
    checks: tuple[str, ...] = ()  # the SQL text of each CHECK

    @property
    def stored(self) -> tuple[Column, ...]:
        """The columns that have a value of their own."""
        return tuple(column for column in self.columns if not column.generated)

    @property
    def may_vanish_silently(self) -> bool:
        """Can REPLACE take a row of it away without any trigger?"""
        return bool(self.uniques)


class Schema(Struct, frozen=True):
    """A database file. `virtual` and `views` are names; `version` is SQLite's schema_version."""

    tables: Mapping[str, Table]
    virtual: frozenset[str]
    views: frozenset[str]
    journal_mode: str
    version: int
