"""A space in memory and files that show it, with no engine between; and greedy placement done anew by brute force."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw
import msgspec

from peerd.core.clocks import Dot
from peerd.core.tables.cells import Cell, pack_cell
from peerd.core.tables.changes import Applied, Projection, Rank, RowImage
from peerd.core.tables.plans import BindingPlan, KeyClass, TablePlan
from peerd.tables import install
from peerd.tables.parking import parked
from peerd.tables.project import project
from peerd.tables.reading import read_schema

ORIGIN = b"o" * 16
NOW_MS = 1_750_000_000_000


def table(number: int, name: str, key_class: str = "surrogate", **settings: Any) -> TablePlan:
    return TablePlan(number, name, name, KeyClass(key_class), **settings)


def image(
    collection: str, key: str, fields: Mapping[str, Cell] | None, *, born: int = 1, seq: int = 0, dots: int = 1
) -> RowImage:
    """`dots` counts the changes of the record."""
    packed = None if fields is None else {name: pack_cell(cell) for name, cell in fields.items()}
    return RowImage(
        collection, key, packed, frozenset(Dot(ORIGIN, number + 1) for number in range(dots)), (born, ORIGIN, seq)
    )


@dataclass
class BoundFile:
    """A file of an application, bound, with nothing of the space in it yet."""

    path: Path
    statements: Sequence[str]
    plan: BindingPlan
    device: str = "us"
    position: int = 0
    now_ms: int = NOW_MS
    images: dict[tuple[str, str], RowImage] = field(default_factory=dict)  # the newest of each record

    def __post_init__(self) -> None:
        self.connection = apsw.Connection(str(self.path))
        for statement in self.statements:
            self.connection.execute(statement)
        schema = read_schema(self.connection)
        install.install(self.connection, schema, self.plan, b"b" * 16, rows="leave")
        self.schema = read_schema(self.connection)

    def show(self, *images: RowImage, check: bool = True, **more: Any) -> Projection:
        """Project these, and what is parked."""
        for one in images:
            self.images[one.collection, one.key] = one
        given = {(one.collection, one.key): one for one in images}
        for waiting in parked(self.connection):
            place = (waiting.collection, waiting.key)
            given.setdefault(place, self.images[place])
        self.position += 1
        applied = Applied(b"c" * 16, self.position)
        done = project(
            self.connection, self.schema, self.plan, list(given.values()), applied, device=self.device,
            now_ms=self.now_ms, **more
        )  # fmt: skip
        if check:
            assert not done.dirty
            self.check()
        return done

    def check(self) -> None:
        """What must hold after every projection."""
        assert self.rows("PRAGMA foreign_key_check") == []
        assert self.rows("PRAGMA integrity_check") == [("ok",)]
        for one in self.plan.tables:
            assert self.rows(f"SELECT * FROM _peerd_d{one.number}") == [], one.table
            name = self.schema.tables[one.table].key
            keys = ", ".join(f'"{part}"' for part in name)
            places = ", ".join(f"k{place}" for place in range(len(name)))
            assert self.rows(f'SELECT {keys} FROM "{one.table}" ORDER BY {keys}') == self.rows(
                f"SELECT {places} FROM _peerd_s{one.number} ORDER BY {places}"
            ), one.table

    def rows(self, sql: str, *values: Any) -> list[Any]:
        return list(self.connection.execute(sql, values))

    def row(self, sql: str, *values: Any) -> Any:
        (found,) = self.rows(sql, *values)
        return found

    def parked(self) -> dict[tuple[str, str], str]:
        """(collection, key) -> code."""
        return {(one.collection, one.key): one.code for one in parked(self.connection)}

    def shown(self) -> dict[str, set[str]]:
        """The records that have rows, by table."""
        return {
            one.table: {record for (record,) in self.rows(f"SELECT r FROM _peerd_s{one.number}")}
            for one in self.plan.tables
        }

    def local(self, number: int, record: str) -> Any:
        """The local key of a record."""
        return self.row(f"SELECT k0 FROM _peerd_s{number} WHERE r = ?", record)[0]


@dataclass
class Oracle:
    """Greedy placement of everything at once, into an empty database, one INSERT after the other. `parents`: table ->
    {column: parent table} for references, within a table or to an earlier one; `natural` are tables whose parents are
    named by record keys that are their values. Each record has one integer, the same for whoever refers to it.
    """

    statements: Sequence[str]
    tables: Sequence[str]
    integer_keys: Mapping[str, str]
    parents: Mapping[str, Mapping[str, str]]

    def shown(self, images: Iterable[RowImage]) -> dict[str, set[str]]:
        connection = apsw.Connection(":memory:")
        for statement in self.statements:
            connection.execute(statement)
        alive = {(one.collection, one.key): one for one in images if one.fields is not None}
        integers = {place: number for number, place in enumerate(sorted(alive), 1)}
        shown: dict[str, set[str]] = {name: set() for name in self.tables}
        for name in self.tables:
            mine = {key: one for (collection, key), one in alive.items() if collection == name}
            for circle in self._circles(name, mine):
                self._place(connection, name, circle, integers, shown)
        connection.close()
        return shown

    def _up(self, name: str, one: RowImage, mine: Mapping[str, RowImage]) -> set[str]:
        """The records of the same table that it needs."""
        fields = {column: msgspec.msgpack.decode(packed) for column, packed in (one.fields or {}).items()}
        wanted = {fields.get(column) for column, parent in self.parents.get(name, {}).items() if parent == name}
        return {key for key in mine if key in wanted}

    def _circles(self, name: str, mine: Mapping[str, RowImage]) -> list[list[RowImage]]:
        up = {key: self._up(name, one, mine) for key, one in mine.items()}
        above: dict[str, set[str]] = {key: set() for key in mine}
        for key in mine:
            new = set(up[key])
            while new:
                above[key] |= new
                new = {far for near in new for far in up[near]} - above[key]
        circles = {frozenset({key} | {o for o in above[key] if key in above[o]}) for key in mine}

        def depth(circle: frozenset[str]) -> int:
            outside = {key for member in circle for key in up[member]} - circle
            return max((1 + depth(next(c for c in circles if key in c)) for key in outside), default=0)

        def place(circle: frozenset[str]) -> tuple[int, Rank, str]:
            return depth(circle), *min((mine[key].rank, key) for key in circle)

        return [[mine[key] for key in sorted(circle)] for circle in sorted(circles, key=place)]

    def _place(
        self,
        connection: apsw.Connection,
        name: str,
        circle: Sequence[RowImage],
        integers: Mapping[tuple[str, str], int],
        shown: Mapping[str, set[str]],
    ) -> None:
        together = {one.key for one in circle}
        connection.execute("SAVEPOINT circle")
        try:
            for one in circle:
                cells = {column: msgspec.msgpack.decode(packed) for column, packed in (one.fields or {}).items()}
                if name in self.integer_keys:
                    cells[self.integer_keys[name]] = integers[name, one.key]
                for column, parent in self.parents.get(name, {}).items():
                    key = cells.get(column)
                    if key is None:
                        continue
                    here = {*shown[parent], *(together if parent == name else ())}
                    found = {one: integers[parent, one] for one in here}[key]
                    cells[column] = found if parent in self.integer_keys else key
                columns, marks = ", ".join(cells), ", ".join("?" * len(cells))
                connection.execute(f"INSERT OR ABORT INTO {name}({columns}) VALUES({marks})", tuple(cells.values()))
        except (apsw.ConstraintError, KeyError):
            connection.execute("ROLLBACK TO circle")
        else:
            shown[name].update(together)
        connection.execute("RELEASE circle")
