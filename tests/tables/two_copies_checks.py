"""What must hold of files and copies once everything was exchanged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import apsw
import msgspec

from peerd.core.record import Record
from peerd.core.tables.cells import cell_hash, pack_cell, unpack_cell
from peerd.engine.store_ports import Transaction
from peerd.tables import exact, shadow
from peerd.tables.exact import Row

if TYPE_CHECKING:
    from tests.tables.random_apps import RandomApp, RandomTable
    from tests.tables.two_copies import Copy

Shown = dict[tuple[str, str], dict[str, Any]]  # what a file shows of each record, without integers of its own
Name = tuple[str, str]


async def problems(copies: Sequence[Copy]) -> list[str]:
    """In sentences; none if all is well."""
    found = [f"{copy.device.name}: {one}" for copy in copies for one in _of_file(copy.connection, copy.app)]
    app = copies[0].app
    shown = [shown_by(copy.connection, app) for copy in copies]
    parked = [_parked(copy.connection) for copy in copies]
    kept = [await _all_records(copy) for copy in copies]
    of_all: dict[str, list[dict[Any, Any]]] = {
        "shows": [*shown],
        "has parked": [*parked],
        "has the records": [*kept],
    }
    for what, values in of_all.items():
        for copy, mine in zip(copies, values, strict=True):
            if mine != values[0]:
                found.append(f"{copy.device.name} {what} {_difference(mine, values[0])}")
    found += _against_the_space(shown[0], parked[0], kept[0])
    return found + _lost(copies, kept[0])


def _difference(mine: dict[Any, Any], first: dict[Any, Any]) -> str:
    return "; ".join(
        f"{name}: {mine.get(name)!r}, and not {first.get(name)!r}"
        for name in sorted(mine.keys() | first.keys())
        if mine.get(name) != first.get(name)
    )


def shown_by(connection: apsw.Connection, app: RandomApp) -> Shown:
    """References stand as record keys, integers of rows not at all."""
    records = {name: _records_by_key(connection, one) for name, one in app.tables.items()}
    shown: Shown = {}
    for name, one in app.tables.items():
        for key, row in _rows(connection, name, one):
            row.pop("id", None)
            for column, parent in one.plan.references.items():
                row[column] = records[parent].get((row[column],), row[column])
            shown[one.plan.collection, records[name].get(key, f"no record: {key}")] = row
    return shown


def _records_by_key(connection: apsw.Connection, table: RandomTable) -> dict[Row, str]:
    places = [f"k{place}" for place in range(len(table.found_by))]
    found = exact.rows(connection, [*places, "r"], f"FROM _peerd_s{table.plan.number}")
    return {row[:-1]: str(row[-1]) for row in found}


def _rows(connection: apsw.Connection, name: str, table: RandomTable) -> Iterator[tuple[Row, dict[str, Any]]]:
    """Key and cells of each."""
    width = len(table.found_by)
    for row in exact.rows(connection, [*table.found_by, *table.all_columns], f"FROM {name}"):
        yield row[:width], dict(zip(table.all_columns, row[width:], strict=True))


def _parked(connection: apsw.Connection) -> dict[Name, str]:
    return {(c, r): code for c, r, code in connection.execute("SELECT c, r, code FROM _peerd_p")}


async def records(copy: Copy, names: Sequence[Name]) -> dict[Name, Record]:
    """Those of these that there are, as they compare: their siblings and births."""

    def reading(transaction: Transaction) -> dict[Name, Record]:
        return {name: _Comparable(stored.record) for name, stored in transaction.records(names).items()}

    return await copy.device.space.store.read(reading)


async def _all_records(copy: Copy) -> dict[Name, Record]:
    """Of the bound tables."""
    names: list[Name] = []
    store = copy.device.space.store
    for table in copy.app.tables.values():
        page = await store.page(table.plan.collection, "", None, 1_000)
        names += [(table.plan.collection, key) for key, _ in page.records]
    names += [name for name, _ in await store.flagged(None, 1_000) if name not in set(names)]
    return await records(copy, names)


class _Comparable(Record):
    def __init__(self, record: Record) -> None:
        super().__init__()
        self.births, self.fields, self.stamps = record.births, record.fields, record.stamps

    __hash__ = None  # type: ignore[assignment]  # equal ones may change

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Record) and (self.births, self.fields) == (other.births, other.fields)

    def __repr__(self) -> str:
        return repr({name: sorted(values.values()) for name, values in self.fields.items()})


def _of_file(connection: apsw.Connection, app: RandomApp) -> list[str]:
    found = []
    if (said := list(connection.execute("PRAGMA integrity_check"))) != [("ok",)]:
        found.append(f"integrity: {said}")
    if said := list(connection.execute("PRAGMA foreign_key_check")):
        found.append(f"foreign keys: {said}")
    numbers = shadow.column_numbers(connection)
    for name, one in app.tables.items():
        number = one.plan.number
        if dirty := list(connection.execute(f"SELECT * FROM _peerd_d{number}")):
            found.append(f"{name} is dirty: {dirty}")
        found += _shadow_differs(connection, name, one, numbers[name])
    for name, index in app.indexed.items():
        rows, kept = (sorted(map(str, connection.execute(f"SELECT note FROM {table}"))) for table in (name, index))
        if rows != kept:
            found.append(f"the index of {name} has {kept}, and not {rows}")
    return found


def _shadow_differs(connection: apsw.Connection, name: str, table: RandomTable, numbers: dict[str, int]) -> list[str]:
    rows = dict(_rows(connection, name, table))
    places = [f"k{place}" for place in range(len(table.found_by))]
    shadows = exact.rows(connection, [*places, "h"], f"FROM _peerd_s{table.plan.number}")
    bases = {row[:-1]: row[-1] for row in shadows}
    if rows.keys() != bases.keys():
        return [f"{name} has the keys {sorted(rows, key=str)}, its shadow {sorted(bases, key=str)}"]
    found = []
    for local, cells in rows.items():
        base = msgspec.msgpack.decode(bases[local], type=dict[int, bytes])  # type: ignore[arg-type]  # it is one
        for column, cell in cells.items():
            known = base.get(numbers[column])
            is_default = column == "later" and known is None and cell == "l"  # it came after the row
            if column != "id" and known != cell_hash(cell) and not is_default:
                found.append(f"{name} {local}: the base of {column} is not that of {cell!r}")
    return found


def _against_the_space(shown: Shown, parked: dict[Name, str], records: dict[Name, Record]) -> list[str]:
    """Each visible record has a row or is parked, nothing else is; rows show the winners."""
    visible = {name for name, record in records.items() if record.visible}
    found = []
    if both := shown.keys() & parked.keys():
        found.append(f"shown and parked: {both}")
    if shown.keys() | parked.keys() != visible:
        found.append(f"in the file and not in the space, or not in both: {(shown.keys() | parked.keys()) ^ visible}")
    for name in shown.keys() & visible:
        for column, packed in records[name].winners().items():
            cell = shown[name].get(column)
            if column != "id" and pack_cell(cell) != packed:
                found.append(f"{name} shows {cell!r} as {column}, and not {packed!r}")
    return found


def _lost(copies: Sequence[Copy], records: dict[Name, Record]) -> list[str]:
    """What an application wrote is somewhere, if only in a conflict, unless an application that had seen it took it
    away, or the row that was shown in its stead.
    """
    kept = {unpack_cell(value) for record in records.values() for value in record.fields.get("note", {}).values()}
    gone: set[str] = set().union(*(copy.superseded | copy.in_conflict for copy in copies))
    return [f"{copy.device.name}: {token} is lost" for copy in copies for token in sorted(copy.written - gone - kept)]
