"""The log: runs in the order in which they were applied here."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from peerd.core.batch import AppliedRun
from peerd.core.chain import Run
from peerd.core.forks import RunEnd
from peerd.core.stored import LogRow, LogSlice
from peerd.store.failures import damaged
from peerd.store.refs import Refs

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[bytes, ...]).decode


def encode_entries(run: Run) -> bytes:
    return _encode(run.entries)


def decode_entries(data: bytes) -> tuple[bytes, ...]:
    """Raises ValueError if the bytes are damaged."""
    return _decode(data)


def append(
    connection: sqlite3.Connection,
    runs: Sequence[AppliedRun],
    position: int,
    ref_of: Mapping[bytes, int],
    arrived_ms: int,
    age_ms: int,
) -> int:
    """Add runs after `position`; gives the last position."""
    connection.executemany(
        "INSERT INTO run (position, origin, first, last, size_bytes, arrived_ms, age_ms, head, signature, entries)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            (at, ref_of[run.origin], run.first, run.last, run.size_bytes, arrived_ms, age_ms, applied.head,
             run.signature, encode_entries(run))
            for at, applied in enumerate(runs, position + 1)
            for run in (applied.run,)
        ),
    )  # fmt: skip
    return position + len(runs)


def runs_after(
    connection: sqlite3.Connection,
    refs: Refs,
    path: Path,
    position: int,
    max_bytes: int,
    max_runs: int,
    covered: Mapping[bytes, int],
) -> LogSlice:
    """See the port. What is covered is skipped inside SQLite, before its entries are read. Raises StoreDamaged if the
    first run cannot be read; one further on ends the slice.
    """
    rows: list[LogRow] = []
    size_bytes = 0
    (trimmed,) = connection.execute("SELECT trimmed FROM space").fetchone()
    query = (
        "SELECT position, origin, first, signature, arrived_ms, size_bytes, entries FROM run "  # noqa: S608 - integers
        f"WHERE position > ?{beyond(refs, covered)} ORDER BY position"
    )
    for at, ref, first, signature, arrived_ms, run_bytes, entries in connection.execute(query, (position,)):
        size_bytes += run_bytes
        if rows and (size_bytes > max_bytes or len(rows) >= max_runs):
            return LogSlice(rows, rows[-1].position, trimmed)
        try:
            run = Run(refs.origin_of[ref], first, _decode(entries), signature)
        except ValueError as problem:
            if rows:
                return LogSlice(rows, rows[-1].position, trimmed)
            raise damaged(path, f"a run of the log cannot be read ({problem})") from problem
        rows.append(LogRow(at, run, arrived_ms))
    return LogSlice(rows, max(position, last_position(connection)), trimmed)


def beyond(refs: Refs, covered: Mapping[bytes, int]) -> str:
    """A condition of SQL that leaves out what is covered; "" if nothing is."""
    pairs = [(refs.ref_of.get(origin), seq) for origin, seq in covered.items()]
    cases = "".join(f" WHEN {ref} THEN {int(seq)}" for ref, seq in pairs if ref is not None)
    return f" AND last > CASE origin{cases} ELSE 0 END" if cases else ""


def position_before(connection: sqlite3.Connection, clock: Mapping[bytes, int]) -> int:
    """The position after which every run lies that `clock` does not cover: one look into the index per origin. The
    origins are those of the database: of one that wrote this very moment, nobody else has been told yet.
    """
    firsts: list[int] = []
    for origin, ref in connection.execute("SELECT id, ref FROM origin").fetchall():
        row = connection.execute(
            "SELECT position FROM run WHERE origin = ? AND last > ? ORDER BY last LIMIT 1", (ref, clock.get(origin, 0))
        ).fetchone()
        if row is not None:
            firsts.append(row[0])
    return min(firsts) - 1 if firsts else last_position(connection)


def bytes_after(connection: sqlite3.Connection, refs: Refs, position: int, covered: Mapping[bytes, int]) -> int:
    """How many bytes the runs have after `position` that `covered` does not cover."""
    query = f"SELECT coalesce(sum(size_bytes), 0) FROM run WHERE position > ?{beyond(refs, covered)}"  # noqa: S608 - integers
    return int(connection.execute(query, (position,)).fetchone()[0])


def first_position(connection: sqlite3.Connection) -> int:
    """The position of the first run that is left; behind the last one that was given, if none is."""
    row = connection.execute("SELECT position FROM run ORDER BY position LIMIT 1").fetchone()
    return last_position(connection) + 1 if row is None else int(row[0])


def last_position(connection: sqlite3.Connection) -> int:
    """The last position that was given; its run may be trimmed."""
    return int(connection.execute("SELECT position FROM space").fetchone()[0])


def position_of(connection: sqlite3.Connection, ref: int, seq: int) -> int:
    """The position of the run that holds a transaction; 0 if there is none."""
    row = connection.execute(
        "SELECT position, first FROM run WHERE origin = ? AND last >= ? ORDER BY last LIMIT 1", (ref, seq)
    ).fetchone()
    return int(row[0]) if row is not None and row[1] <= seq else 0


def ends(
    connection: sqlite3.Connection, ref: int, after: int, before: int | None, most: int
) -> tuple[list[RunEnd], bool]:
    """See `core.forks.History`; `most` is at least 2."""
    known = [
        RunEnd(*row)
        for row in connection.execute(
            "SELECT first, last, substr(head, 1, 8) FROM run WHERE origin = :ref AND last > :after"
            " UNION ALL SELECT 0, seq, hash8 FROM run_end WHERE origin = :ref AND seq > :after"
            " AND NOT EXISTS (SELECT 1 FROM run WHERE origin = :ref AND last = seq) ORDER BY 2",
            {"ref": ref, "after": after},
        )
    ]
    if before is not None:
        at = next((number for number, end in enumerate(known) if end.last >= before), len(known) - 1)
        known = known[: at + 1]
    if len(known) <= most:
        return known, True
    step = -(-len(known) // (most - 1))
    chosen = known[::step]
    return chosen if chosen[-1] == known[-1] else [*chosen, known[-1]], False


def passes(connection: sqlite3.Connection, ref: int, seq: int) -> bool:
    """Does a run go on past `seq`, having begun before or at it?"""
    row = connection.execute(
        "SELECT first FROM run WHERE origin = ? AND last > ? ORDER BY last LIMIT 1", (ref, seq)
    ).fetchone()
    return row is not None and row[0] <= seq


def reaches(connection: sqlite3.Connection, ref: int, seq: int) -> bool:
    """Does the log go back to `seq`?"""
    row = connection.execute("SELECT horizon FROM origin WHERE ref = ?", (ref,)).fetchone()
    return row is None or seq >= row[0]


def hash8(connection: sqlite3.Connection, ref: int, seq: int) -> bytes | None:
    """8 bytes of the chain's hash at a run end, if that is kept."""
    row = connection.execute("SELECT head FROM run WHERE origin = ? AND last = ?", (ref, seq)).fetchone()
    if row is None:
        row = connection.execute("SELECT hash8 FROM run_end WHERE origin = ? AND seq = ?", (ref, seq)).fetchone()
    return None if row is None else bytes(row[0][:8])
