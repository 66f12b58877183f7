"""The rows of records: many read, and many written, in few statements."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from peerd.core.batch import Name
from peerd.core.record import Record
from peerd.core.record_form import decode_record, lone_lead
from peerd.core.snapshots.rows import PlainRows
from peerd.core.stored import ArrivalPage, CollectionCount, RecordPage
from peerd.core.writes import PARKED, RecordRow
from peerd.store.failures import damaged
from peerd.store.refs import Refs

# A list of parameters is compiled once per length and cached; SQLite sorts it, so that keys are met in the order of
# the index. At 125 a key costs 0.9 µs where it is missing and 3.2 µs where it is found; one statement each, 5 and 7.
_LENGTHS = (1, 8, 125)
_MANY_LENGTHS = (*_LENGTHS, 1000)  # where thousands come while another thread works on the next ones
_PAGE_BYTES = 8 << 20
_STATEMENTS = 16  # of some kilobytes each; parts come collection by collection

# Blobs are bound as `bytearray`: for each `bytes` sqlite3 looks for an adapter, which takes longer than the rest of the
# binding. That is a quarter of what a record costs here.
Table = Literal["record", "incoming_record"]
Row = tuple[int, str, int, int, bytes, bytes]  # id, key, flags, share, stamps, body
NewRow = tuple[int, str, int, int, bytearray, bytearray]  # collection, key, and the rest of the same


def rows_of(connection: sqlite3.Connection, number: int, keys: Sequence[str], table: Table = "record") -> Iterator[Row]:
    """The rows of a collection that have these keys."""
    at = 0
    while at < len(keys):
        left = len(keys) - at
        length = next((length for length in _LENGTHS if left <= length), _LENGTHS[-1])
        chunk = keys[at : at + length]
        at += length
        places = ", ".join("?" * length)
        yield from connection.execute(
            f"SELECT id, key, flags, share, stamps, body FROM {table} WHERE collection = ? AND key IN ({places})",  # noqa: S608 - a known name and question marks
            (number, *chunk, *(chunk[-1],) * (length - len(chunk))),
        )


def decode(refs: Refs, path: Path, stamps: bytes, body: bytes) -> Record:
    """Raises StoreDamaged."""
    try:
        return decode_record(refs.decode_stamps(stamps), body)
    except (ValueError, LookupError, TypeError) as problem:
        raise damaged(path, f"a record cannot be read ({problem})") from problem


def write(
    connection: sqlite3.Connection,
    rows: Iterable[RecordRow],
    gone: Iterable[Name],
    known: Mapping[Name, tuple[int, int]],
    encode_stamps: Callable[[list[list[Any]]], bytes],
    number_of: Mapping[str, int],
    table: Table = "record",
) -> dict[int, int]:
    """Write `rows` and remove `gone`. `known` holds (id, flags) of every record that existed before, as the same
    transaction read it: those are updated in place and the rest are plain inserts. Gives by how much the number of
    visible records of each collection changes.
    """
    new: list[NewRow] = []
    changed: list[tuple[int, int, bytearray, bytearray, int]] = []
    steps: dict[int, int] = {}
    for row in rows:
        collection, key = name = row.name
        number, flags, share = number_of[collection], row.flags, row.share
        step = int(not flags & PARKED)
        if share >> 63:
            share -= 1 << 64
        before = known.get(name)
        if before is None:
            new.append((number, key, flags, share, bytearray(encode_stamps(row.stamps)), bytearray(row.body)))
        else:
            changed.append((flags, share, bytearray(encode_stamps(row.stamps)), bytearray(row.body), before[0]))
            step -= not before[1] & PARKED
        if step:
            steps[number] = steps.get(number, 0) + step
    # In the order of the index: neighbours then share their way down, which is a tenth of a bulk load.
    new.sort()
    _insert(connection, new, table)
    if changed:
        connection.executemany(
            f"UPDATE {table} SET flags = ?, share = ?, stamps = ?, body = ? WHERE id = ?",  # noqa: S608 - a known name
            changed,
        )
    for name in gone:
        number_id, flags = known[name]
        connection.execute(f"DELETE FROM {table} WHERE id = ?", (number_id,))  # noqa: S608 - a known name
        if not flags & PARKED:
            steps[number_of[name[0]]] = steps.get(number_of[name[0]], 0) - 1
    return steps


def append(
    connection: sqlite3.Connection, number: int, rows: PlainRows, ref_of: Mapping[bytes, int], table: Table
) -> None:
    """Write records of a collection that do not exist yet."""
    packed = {stamp: bytearray(lone_lead(ref_of[stamp.origin]) + stamp.rest) for stamp in set(rows.stamps)}
    stamps = [packed[stamp] for stamp in rows.stamps]
    columns = (rows.keys, rows.shares, stamps, rows.bodies)
    width = len(columns)
    for at, length in _pieces(len(rows.keys), _MANY_LENGTHS):
        values: list[Any] = [None] * (width * length)
        for place, column in enumerate(columns):
            values[place::width] = column[at : at + length]
        connection.execute(_appending(length, number, table), values)


def _insert(connection: sqlite3.Connection, new: Sequence[NewRow], table: Table) -> None:
    for at, length in _pieces(len(new), _LENGTHS):
        connection.execute(_insertion(length, table), tuple(chain.from_iterable(new[at : at + length])))


def _pieces(count: int, lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Where each begins and how long it is. Several rows to a statement: each costs a third less, and while SQLite
    works on so many the rest of the daemon runs (Python's lock is let go and taken back for every step of a statement).
    """
    at = 0
    while at < count:
        length = next(length for length in reversed(lengths) if length <= count - at)
        yield at, length
        at += length


@cache
def _insertion(length: int, table: Table) -> str:
    places = ", ".join(["(?, ?, ?, ?, ?, ?)"] * length)
    return f"INSERT INTO {table} (collection, key, flags, share, stamps, body) VALUES {places}"  # noqa: S608 - a known name and question marks


@lru_cache(_STATEMENTS)
def _appending(length: int, number: int, table: Table) -> str:
    """Of one collection, whose number stands in it, without flags: what is the same for all is not bound."""
    places = ", ".join([f"({number:d}, ?, ?, ?, ?)"] * length)
    return f"INSERT INTO {table} (collection, key, share, stamps, body) VALUES {places}"  # noqa: S608 - a known name and question marks


def page(
    connection: sqlite3.Connection, refs: Refs, path: Path, number: int, prefix: str, after: str | None, limit: int
) -> RecordPage:
    """Visible records whose keys begin with `prefix` and come after `after`: at most `limit`, and about 8 MiB."""
    found: list[tuple[str, Record]] = []
    size_bytes = 0
    beyond = after is not None and after >= prefix
    query = (
        "SELECT key, stamps, body FROM record "  # noqa: S608 - constants
        f"WHERE collection = ? AND key {'>' if beyond else '>='} ? AND flags & {PARKED} = 0 ORDER BY key LIMIT ?"
    )
    for key, stamps, body in connection.execute(query, (number, after if beyond else prefix, limit + 1)):
        if not key.startswith(prefix):
            break
        size_bytes += len(body)
        if len(found) == limit or (found and size_bytes > _PAGE_BYTES):
            return RecordPage(found, more=True)
        found.append((key, decode(refs, path, stamps, body)))
    return RecordPage(found, more=False)


def by_arrival(
    connection: sqlite3.Connection, refs: Refs, path: Path, number: int, after: int, limit: int
) -> ArrivalPage:
    """Visible records behind the id `after`, in the order of their ids: at most `limit`, and about 8 MiB."""
    found: list[tuple[str, Record]] = []
    size_bytes, last = 0, after
    query = (
        "SELECT id, key, stamps, body FROM record "  # noqa: S608 - constants
        f"WHERE id > ? AND +collection = ? AND flags & {PARKED} = 0 ORDER BY id LIMIT ?"
    )
    for row_id, key, stamps, body in connection.execute(query, (after, number, limit + 1)):
        size_bytes += len(body)
        if len(found) == limit or (found and size_bytes > _PAGE_BYTES):
            return ArrivalPage(found, last, more=True)
        found.append((key, decode(refs, path, stamps, body)))
        last = row_id
    return ArrivalPage(found, last, more=False)


def collections(connection: sqlite3.Connection) -> list[CollectionCount]:
    """Every collection with a visible record, by name."""
    rows = connection.execute("SELECT name, visible FROM collection WHERE visible > 0 ORDER BY name")
    return [CollectionCount(name, visible) for name, visible in rows]


def flagged(
    connection: sqlite3.Connection, refs: Refs, path: Path, after: Name | None, limit: int
) -> list[tuple[Name, Record]]:
    """Records with flags, after `after` in the order of (collection, key)."""
    found: list[tuple[Name, Record]] = []
    collection, key = after or ("", "")
    for name, number in connection.execute(
        "SELECT name, number FROM collection WHERE name >= ? ORDER BY name", (collection,)
    ).fetchall():
        for row_key, stamps, body in connection.execute(
            "SELECT key, stamps, body FROM record WHERE collection = ? AND key > ? AND flags <> 0 ORDER BY key LIMIT ?",
            (number, key if name == collection else "", limit - len(found)),
        ):
            found.append(((name, row_key), decode(refs, path, stamps, body)))
        if len(found) >= limit:
            break
    return found


def unsigned(share: int) -> int:
    """A share as the digest counts it: SQLite's integers are signed."""
    return share & 0xFFFF_FFFF_FFFF_FFFF
