"""Looking back: the log by time and by author, and what a record was. See the port `Lookback`.

A time finds its place in the order of the log by when transactions arrived here. A wall clock that was set back makes
times that occur twice; then the first counts, so that "since" leaves nothing out.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from peerd.core.batch import Name
from peerd.core.chain import Run
from peerd.core.clocks import Dot
from peerd.core.past import Place, Removal
from peerd.core.record import Record
from peerd.core.stored import NEVER_MS, LogBack, LogRow, LogWish, Reach
from peerd.store import history, log, records
from peerd.store.database import Database
from peerd.store.meta import Meta
from peerd.store.refs import Refs

T = TypeVar("T")

_LATEST = NEVER_MS


class PastReader:
    """Reads over one connection, in one transaction. It remembers where transactions stand."""

    def __init__(self, connection: sqlite3.Connection, refs: Refs, path: Path, horizon: Mapping[bytes, int]) -> None:
        self._connection = connection
        self._refs = refs
        self._path = path
        self._horizon = horizon
        self._positions: dict[Dot, int] = {}
        self._arrivals: dict[int, int] = {}

    def record(self, name: Name) -> Record | None:
        number = self._refs.number_of.get(name[0])
        if number is None:
            return None
        for _, _, _, _, stamps, body in records.rows_of(self._connection, number, [name[1]]):
            return records.decode(self._refs, self._path, stamps, body)
        return None

    def removals(self, name: Name, below: int = _LATEST) -> Iterator[Removal]:
        number = self._refs.number_of.get(name[0])
        if number is not None:
            yield from history.removals(self._connection, self._refs, self._path, number, name[1], below)

    def position(self, dot: Dot) -> int:
        """Of the run that holds it; 0 if the log has it not, or not any more."""
        found = self._positions.get(dot)
        if found is None:
            ref = self._refs.ref_of.get(dot.origin)
            is_told = ref is not None and dot.seq > self._horizon.get(dot.origin, 0)
            found = self._positions[dot] = log.position_of(self._connection, ref, dot.seq) if is_told and ref else 0
        return found

    def leapt_ms(self, dot: Dot) -> int | None:
        """When the snapshot came that brought it, if one did."""
        row = self._connection.execute(
            "SELECT first, arrived_ms FROM leap WHERE origin = ? AND last >= ? ORDER BY last LIMIT 1",
            (self._refs.ref_of.get(dot.origin), dot.seq),
        ).fetchone()
        return row[1] if row is not None and row[0] <= dot.seq else None

    def place(self, dot: Dot, known_ms: int) -> Place:
        position = self.position(dot)
        if position:
            return Place(position, 0, dot.seq)
        leapt_ms = self.leapt_ms(dot)
        return Place(0, known_ms if leapt_ms is None else leapt_ms, dot.seq)

    def position_at(self, ms: int) -> int:
        """The last position before the wall clock first passed `ms`."""
        return position_at(self._connection, ms)

    def arrived_ms(self, position: int) -> int:
        """Of the run there; 0 if there is none."""
        found = self._arrivals.get(position)
        if found is None:
            row = self._connection.execute("SELECT arrived_ms FROM run WHERE position = ?", (position,)).fetchone()
            found = self._arrivals[position] = row[0] if row is not None else 0
        return found

    def rows_back(self, wish: LogWish) -> LogBack:
        return rows_back(self._connection, self._refs, self._horizon, wish)

    def row(self, position: int) -> LogRow | None:
        query = f"SELECT {_ROW} FROM run WHERE position = ?"  # noqa: S608 - a constant
        found = self._connection.execute(query, (position,)).fetchone()
        return None if found is None else _row(self._refs, found)


_ROW = "position, origin, first, signature, arrived_ms, entries"


def _row(refs: Refs, found: tuple[int, int, int, bytes, int, bytes]) -> LogRow:
    position, ref, first, signature, arrived_ms, entries = found
    run = Run(refs.origin_of[ref], first, log.decode_entries(entries), signature)
    return LogRow(position, run, arrived_ms)


def position_at(connection: sqlite3.Connection, ms: int) -> int:
    (first,) = connection.execute("SELECT min(+position) FROM run WHERE arrived_ms > ?", (min(ms, _LATEST),)).fetchone()
    return int(first) - 1 if first is not None else log.last_position(connection)


class Lookback:
    """Reads only."""

    def __init__(self, database: Database, refs: Refs, meta: Meta) -> None:
        self._database = database
        self._refs = refs
        self._meta = meta

    async def read(self, reading: Callable[[PastReader], T]) -> T:
        """Run `reading` in one read transaction."""
        refs, path = self._refs, self._database.path
        return await self._database.read(
            lambda connection: reading(PastReader(connection, refs, path, self._meta.horizon))
        )

    async def reach(self) -> Reach:
        """How far back this copy knows what was."""
        return await self._database.read(reach)

    async def rows_back(self, wish: LogWish) -> LogBack:
        """Runs that fit, the newest first: at least one if there is any, else up to `max_bytes` and `max_runs`."""
        refs, horizon = self._refs, self._meta.horizon
        return await self._database.read(lambda connection: rows_back(connection, refs, horizon, wish))


def rows_back(connection: sqlite3.Connection, refs: Refs, horizon: Mapping[bytes, int], wish: LogWish) -> LogBack:
    low, high = _between(connection, wish)
    by_author = ""
    if wish.origins is not None:
        known = [str(refs.ref_of[origin]) for origin in wish.origins if origin in refs.ref_of]
        by_author = f" AND origin IN ({', '.join(known)})"
    query = (
        f"SELECT {_ROW}, size_bytes FROM run{' INDEXED BY run_by_origin' if by_author else ''}"  # noqa: S608 - integers
        f" WHERE position BETWEEN ? AND ? AND +arrived_ms BETWEEN ? AND ?{by_author}{log.beyond(refs, horizon)}"
        " ORDER BY position DESC LIMIT ?"
    )
    rows: list[LogRow] = []
    size_bytes = 0
    bounds = (low, high, wish.since_ms, min(wish.until_ms, _LATEST), wish.max_runs)
    for *found, run_bytes in connection.execute(query, bounds):
        size_bytes += run_bytes
        if rows and size_bytes > wish.max_bytes:
            break
        rows.append(_row(refs, tuple(found)))
    else:
        if len(rows) < wish.max_runs:
            return LogBack(rows, 0)
    return LogBack(rows, rows[-1].position - 1)


def _between(connection: sqlite3.Connection, wish: LogWish) -> tuple[int, int]:
    """Positions outside of which nothing has such a time: so that the rest of the log is not read. A plain min or max
    of positions would walk through the rows instead of the index.
    """
    low, high = 1, min(wish.position, _LATEST)
    if wish.since_ms > 0:
        query = "SELECT min(+position) FROM run WHERE arrived_ms >= ?"
        (low,) = connection.execute(query, (min(wish.since_ms, _LATEST),)).fetchone()
    if wish.until_ms < _LATEST:
        query = "SELECT max(+position) FROM run WHERE arrived_ms <= ?"
        (last,) = connection.execute(query, (wish.until_ms,)).fetchone()
        high = min(high, last or 0)
    return (low, high) if low is not None else (1, 0)


# An origin whose log does not begin where a snapshot brought it to.
_TRIMMED = (
    "SELECT 1 FROM origin WHERE horizon > 0"
    " AND NOT EXISTS (SELECT 1 FROM leap WHERE leap.origin = origin.ref AND leap.last = origin.horizon) LIMIT 1"
)
_FIRST = "SELECT arrived_ms FROM run WHERE position > (SELECT trimmed FROM space) ORDER BY position LIMIT 1"


def reach(connection: sqlite3.Connection) -> Reach:
    """See `Reach`."""
    (snapshot_ms,) = connection.execute("SELECT max(arrived_ms) FROM leap").fetchone()
    trimmed_ms, forgotten_ms = connection.execute("SELECT trimmed_ms, forgotten_ms FROM space").fetchone()
    log_ms = snapshot_ms
    if connection.execute(_TRIMMED).fetchone() is not None:
        first = connection.execute(_FIRST).fetchone() if trimmed_ms is None else None
        log_ms = max(first[0] if first else trimmed_ms or 0, snapshot_ms or 0)
    return Reach(log_ms, forgotten_ms, snapshot_ms)
