"""The rows of records: many read in few statements, many written in three."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from peerd.core.batch import Name
from peerd.core.record import Record
from peerd.core.record_form import decode_record
from peerd.core.stored import CollectionCount, RecordPage
from peerd.core.writes import PARKED, RecordRow
from peerd.store.failures import damaged
from peerd.store.refs import Refs

# A list of parameters is compiled once per length and cached; SQLite sorts it, so that keys are met in the order of
# the index. At 125 a key costs 0.9 µs where it is missing and 3.2 µs where it is found; one statement each, 5 and 7.
_LENGTHS = (1, 8, 125)
_PAGE_BYTES = 8 << 20

Row = tuple[int, str, int, int, bytes, bytes]  # id, key, flags, share, stamps, body


def rows_of(connection: sqlite3.Connection, number: int, keys: Sequence[str]) -> Iterator[Row]:
    """The rows of a collection that have these keys."""
    at = 0
    while at < len(keys):
        left = len(keys) - at
        length = next((length for length in _LENGTHS if left <= length), _LENGTHS[-1])
        chunk = keys[at : at + length]
        at += length
        places = ", ".join("?" * length)
        yield from connection.execute(
            f"SELECT id, key, flags, share, stamps, body FROM record WHERE collection = ? AND key IN ({places})",  # noqa: S608 - question marks only
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
    refs: Refs,
    ref_of: Mapping[bytes, int],
    number_of: Mapping[str, int],
) -> None:
    """Write `rows` and remove `gone`. `known` holds (id, flags) of every record that existed before, as the same
    transaction read it: those are updated in place and the rest are plain inserts.
    """
    new: list[RecordRow] = []
    changed: list[tuple[RecordRow, int]] = []
    for row in rows:
        before = known.get(row.name)
        if before is None:
            new.append(row)
        else:
            changed.append((row, before[0]))
    if new:
        connection.executemany(
            "INSERT INTO record (collection, key, flags, share, stamps, body) VALUES (?, ?, ?, ?, ?, ?)",
            (
                (number_of[row.name[0]], row.name[1], row.flags, signed(row.share),
                 refs.encode_stamps(row.stamps, ref_of), row.body)
                for row in new
            ),
        )  # fmt: skip
    if changed:
        connection.executemany(
            "UPDATE record SET flags = ?, share = ?, stamps = ?, body = ? WHERE id = ?",
            (
                (row.flags, signed(row.share), refs.encode_stamps(row.stamps, ref_of), row.body, number)
                for row, number in changed
            ),
        )
    connection.executemany("DELETE FROM record WHERE id = ?", ((known[name][0],) for name in gone))


def visible_steps(
    rows: Iterable[RecordRow], gone: Iterable[Name], known: Mapping[Name, tuple[int, int]]
) -> dict[str, int]:
    """By how much the count of visible records of each collection changes."""
    steps: dict[str, int] = {}
    for row in rows:
        before = known.get(row.name)
        step = (not row.flags & PARKED) - (before is not None and not before[1] & PARKED)
        if step:
            steps[row.name[0]] = steps.get(row.name[0], 0) + step
    for name in gone:
        if not known[name][1] & PARKED:
            steps[name[0]] = steps.get(name[0], 0) - 1
    return steps


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


def signed(share: int) -> int:
    """64 unsigned bits as SQLite's signed integer."""
    return share - (1 << 64) if share >> 63 else share


def unsigned(share: int) -> int:
    return share & 0xFFFF_FFFF_FFFF_FFFF
