"""Which rows stand in the way of another one, whatever the constraint: UNIQUE, composite, partial, of an expression.

Where all that is unique are plain columns, rows with the same values are looked up. Else SQLite is asked: in a
savepoint that is taken back, the row is inserted with OR REPLACE, and a temporary trigger notes which rows that
removes. Temporary triggers run although the application's are switched off; deletes by REPLACE fire triggers only with
recursive_triggers on. This is slower, by a hundred microseconds or two.
"""

from __future__ import annotations

import apsw

from peerd.tables import exact
from peerd.tables.bound_table import BoundTable, Cells
from peerd.tables.exact import Row
from peerd.tables.progress import Unplaceable
from peerd.tables.triggers import quoted

_UNIQUE = frozenset({apsw.SQLITE_CONSTRAINT_UNIQUE, apsw.SQLITE_CONSTRAINT_PRIMARYKEY, apsw.SQLITE_CONSTRAINT_ROWID})
_CODES = {apsw.SQLITE_CONSTRAINT_NOTNULL: "not-null", apsw.SQLITE_CONSTRAINT_DATATYPE: "datatype"}
_SENTENCES = {
    "not-null": "A column that must have a value here has none in the record",
    "datatype": "A column here cannot hold this kind of value",
    "check": "A rule of the table refuses it",
}


def extended_code(error: apsw.Error) -> int:
    """SQLite's extended result code."""
    return int(getattr(error, "extendedresult", 0))


def is_collision(error: apsw.ConstraintError) -> bool:
    """Does another row stand in the way?"""
    return extended_code(error) in _UNIQUE


def refusal(error: apsw.ConstraintError) -> Unplaceable:
    """Why a row cannot be in its table, in a sentence with SQLite's words in it."""
    code = _CODES.get(extended_code(error), "check")
    return Unplaceable(code, f"{_SENTENCES[code]} ({error}).")


class Collisions:
    """Finds what stands in the way, within one transaction; `close` leaves nothing on the connection."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._ready: set[str] = set()
        self._made: set[str] = set()

    def of(self, table: BoundTable, cells: Cells, key: Row) -> list[Row]:
        """The keys of the rows that this one, which is not in the table, collides with."""
        found = table.look_up(cells, key)
        return found or self._ask(table, cells, key)

    def _ask(self, table: BoundTable, cells: Cells, key: Row) -> list[Row]:
        places = [f"k{place}" for place in range(len(table.key))]
        log = f"_peerd_way{table.plan.number}"
        if log not in self._ready:
            self._watch(table, log, places)
        self._connection.execute("SAVEPOINT _peerd_way")
        try:
            self._connection.execute(f"DELETE FROM temp.{log}")  # plain deletes are noted, too
            table.insert(cells, key, replace=True)
            return exact.rows(self._connection, places, f"FROM temp.{log}")
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK TO _peerd_way")
                self._connection.execute("RELEASE _peerd_way")

    def close(self) -> None:
        """Take the watching triggers away, whether the transaction is over or not."""
        for log in sorted(self._made):
            self._connection.execute(f"DROP TRIGGER IF EXISTS temp.{log}x")
            self._connection.execute(f"DROP TABLE IF EXISTS temp.{log}")
        self._made.clear()
        self._ready.clear()

    def look_again(self) -> None:
        """A savepoint was taken back: what was made since may be gone."""
        self._ready.clear()

    def _watch(self, table: BoundTable, log: str, places: list[str]) -> None:
        gone = ", ".join(f"OLD.{quoted(name)}" for name in table.key)
        self._connection.execute("PRAGMA recursive_triggers = ON")
        self._connection.execute(f"CREATE TEMP TABLE IF NOT EXISTS {log}({', '.join(places)})")
        self._connection.execute(
            f"CREATE TEMP TRIGGER IF NOT EXISTS {log}x AFTER DELETE ON {table.sql_name} "
            f"BEGIN INSERT INTO {log} VALUES({gone}); END"
        )
        self._ready.add(log)
        self._made.add(log)
