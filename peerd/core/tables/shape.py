"""What an application's database looks like, as read from its schema: facts only, no decisions."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

ROWID_NAMES = ("rowid", "_rowid_", "oid")


def folded(name: str) -> str:
    """A name as SQLite compares names: without the case of ASCII letters, and of those alone."""
    return name.encode().lower().decode()


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
    text; None among them: it cannot be told (a view, whose own triggers say where it goes).
    """

    name: str
    table: str
    sql: str
    writes: frozenset[str | None]


class Table(Struct, frozen=True):
    """An ordinary table. `key` are the columns by which one row is found for as long as it lives: the INTEGER PRIMARY
    KEY; else the declared key if no part of it can be NULL; else the rowid, by whichever of its names no column has
    taken; else none. `key_collations` are those by which SQLite keeps the key unique.

    `obstacle` is what this SQLite says when it prepares a write with triggers off, `trigger_obstacle` with triggers
    on: a function, collation or module that only the application has. None: it can be written.
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
    tied: tuple[tuple[str, ...], ...] = ()  # the columns that each CHECK names
    key_collations: tuple[str, ...] = ("BINARY",)
    obstacle: str | None = None
    trigger_obstacle: str | None = None

    @property
    def stored(self) -> tuple[Column, ...]:
        """The columns that have a value of their own."""
        return tuple(column for column in self.columns if not column.generated)

    @property
    def keyed_by_rowid(self) -> bool:
        """Is the key a rowid that no column shows? VACUUM gives such rows other numbers."""
        return len(self.key) == 1 and all(column.name != self.key[0] for column in self.columns)

    @property
    def declared_key(self) -> tuple[str, ...]:
        """The columns of PRIMARY KEY in their order, whether they are the capture key or not."""
        return tuple(c.name for c in sorted(self.columns, key=lambda column: column.key_place) if c.key_place)

    @property
    def may_vanish_silently(self) -> bool:
        """Can REPLACE take a row of it away without any trigger? Yes where something besides the exact key is
        unique: another index, a key that counts 'a' and 'A' as one, the rowid behind a declared key.
        """
        has_hidden_rowid = not (self.without_rowid or self.is_rowid_alias or self.keyed_by_rowid)
        is_exact = all(collation == "BINARY" for collation in self.key_collations)
        return bool(self.uniques) or has_hidden_rowid or not is_exact


class Schema(Struct, frozen=True):
    """A database file. `virtual` and `views` are names; `version` is SQLite's schema_version."""

    tables: Mapping[str, Table]
    virtual: frozenset[str]
    views: frozenset[str]
    journal_mode: str
    version: int
