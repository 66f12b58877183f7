"""The SQL by which an application's file remembers which rows changed: a table of dirty keys and three triggers.

Pure text. The triggers hold no column but the key, no function, no value, no ON CONFLICT and no condition of ours, so
the application's statements, errors and migrations stay what they were, under any setting and with any SQLite. A unary
plus before a key removes the column's affinity, without which the index of the dirty table is not used.

A mark counts 1; where a key went away or moved it counts `GONE`, so that a deleted and re-used key is a new row.
"""

from __future__ import annotations

from peerd.core.tables.shape import Table

PREFIX = "_peerd_"
GONE = 1 << 32


def quoted(identifier: str) -> str:
    """An identifier in SQL text."""
    return '"' + identifier.replace('"', '""') + '"'


def dirty_table(number: int) -> str:
    """The name of the table of dirty keys of bound table `number`."""
    return f"{PREFIX}d{number}"


def key_places(table: Table) -> str:
    """The columns that hold a key in our tables, as a list in SQL: k0, k1."""
    return ", ".join(f"k{place}" for place in range(len(table.key)))


def create_dirty(number: int, table: Table) -> str:
    """The statement that makes the table of dirty keys: each key once, `v` sums up its marks."""
    places = key_places(table)
    return f"CREATE TABLE {dirty_table(number)}({places}, v INTEGER NOT NULL, PRIMARY KEY({places}))"


def mark_all(number: int, table: Table) -> str:
    """The statement that marks every row of the table that has no mark."""
    names = ", ".join(map(quoted, table.key))
    match = " AND ".join(f"k{place} = +{quoted(table.name)}.{quoted(name)}" for place, name in enumerate(table.key))
    dirty = dirty_table(number)
    return (
        f"INSERT INTO {dirty} SELECT {names}, 1 FROM {quoted(table.name)} "
        f"WHERE NOT EXISTS (SELECT 1 FROM {dirty} WHERE {match})"
    )


def create_triggers(number: int, table: Table) -> dict[str, str]:
    """Name and statement of the three triggers: insert, update, delete."""
    moved = _moved(table)
    bodies = {
        "i": ("INSERT", _mark(number, table, "NEW", "1")),
        "u": ("UPDATE", _mark(number, table, "OLD", moved) + _mark(number, table, "NEW", moved)),
        "x": ("DELETE", _mark(number, table, "OLD", str(GONE))),
    }
    return {
        f"{PREFIX}{letter}{number}": f"CREATE TRIGGER {PREFIX}{letter}{number} AFTER {event} ON {quoted(table.name)} "
        f"BEGIN {body}END"
        for letter, (event, body) in bodies.items()
    }


def _moved(table: Table) -> str:
    """A changed key is a delete and an insert, at its old place and at its new one."""
    changed = " OR ".join(f"+OLD.{quoted(name)} IS NOT +NEW.{quoted(name)} COLLATE BINARY" for name in table.key)
    return f"CASE WHEN {changed} THEN {GONE} ELSE 1 END"


def _mark(number: int, table: Table, which: str, count: str) -> str:
    dirty = dirty_table(number)
    match = " AND ".join(f"k{place} = +{which}.{quoted(name)}" for place, name in enumerate(table.key))
    values = ", ".join(f"{which}.{quoted(name)}" for name in table.key)
    return (
        f"UPDATE {dirty} SET v = v + {count} WHERE {match}; "
        f"INSERT INTO {dirty} SELECT {values}, {count} WHERE NOT EXISTS (SELECT 1 FROM {dirty} WHERE {match}); "
    )
