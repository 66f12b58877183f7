"""Copies of this space that were set aside: which there are, and reading one beside the copy that took its place.

`spaces/ID.aside-N` are offered: nobody has taken them in yet. What was taken in goes to `set-aside/`. One that is made
because another copy is to take its place is `ID.aside-N.new` until that one has: after a crash before, it is of no use.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

from peerd.core import digest
from peerd.core.batch import Name
from peerd.core.clocks import Clock, ReadClock
from peerd.core.record import Record
from peerd.core.record_form import digest_of
from peerd.core.roster.acceptance import ClosedFork
from peerd.core.stored import Aside, AsideCursor, AsidePage, AsidePair, LogSlice, Recopy
from peerd.errors import StoreDamaged, StoreError, UserError
from peerd.store import log, records, runners, shared_history
from peerd.store.beside import sync_folder
from peerd.store.connecting import connect_reader
from peerd.store.copying import copy_database, copy_id_of
from peerd.store.failures import translate
from peerd.store.refs import Refs
from peerd.store.runners import Runner
from peerd.store.salvage import salvage

T = TypeVar("T")

ROWS_AT_ONCE = 1_000
_TABLES = frozenset({"space", "origin", "collection", "record", "run", "run_end"})
FOLDER = "set-aside"
_LISTED = "`peerctl recopy SPACE --list` shows those there are."


class Asides:
    """Of the database at `path`, which is open."""

    def __init__(self, path: Path, space: bytes, *, threaded: bool) -> None:
        self._path = path
        self._space = space
        self._threaded = threaded

    def offered(self) -> list[Path]:
        """Those that were not taken in, the oldest first. Raises StoreError: the folder cannot be read."""
        try:
            found = [one for one in self._path.parent.glob(f"{self._path.stem}.aside-*") if _number(one)]
        except OSError as problem:
            raise translate(problem, self._path.parent) from problem
        return sorted(found, key=_number)

    def path_of(self, name: str) -> Path:
        """The file that a person means: the whole path, its name, or "latest".

        Raises:
            UserError: "no-aside", there is none.
        """
        if name == "latest":
            offered = self.offered()
            if offered:
                return offered[-1]
        else:
            for path in (self._path.parent / name, self._path.parent.parent / FOLDER / name):
                if path.is_file():
                    return path
        raise UserError(
            "there is no old copy of this space to take in" if name == "latest" else f"there is no old copy {name!r}",
            code="no-aside",
            status=404,
            next_step=_LISTED,
        )

    async def open(self, path: Path) -> Beside:
        """Raises UserError "no-aside" if it holds another space, or StoreError."""
        refs = Refs()

        def connect() -> sqlite3.Connection:
            connection = connect_reader(path)
            connection.execute("ATTACH DATABASE ? AS live", (f"{self._path.absolute().as_uri()}?mode=rw",))
            return connection

        try:
            runner = await runners.start(connect, threaded=self._threaded)
        except (sqlite3.Error, OSError) as problem:
            raise _trouble(problem, path) from problem
        beside = Beside(path, refs, runner)
        is_ours = False
        try:
            is_ours = await beside.load() == self._space
        finally:
            if not is_ours:
                await beside.close()
        if not is_ours:
            raise UserError(f"{path} is no copy of this space", code="no-aside", status=404, next_step=_LISTED)
        return beside

    async def make(self) -> Path:
        """Set a copy aside as it is, durably, while nobody commits: where it is once it is kept. Raises StoreError."""
        number = max((_number(one) for one in self.offered()), default=0) + 1
        path = self._path.with_name(f"{self._path.stem}.aside-{number}")
        beside = _made(path)

        def copy() -> None:
            beside.unlink(missing_ok=True)
            copy_database(self._path, beside)
            sync_folder(path.parent)

        try:
            if self._threaded:
                await asyncio.to_thread(copy)
            else:
                copy()
        except OSError as problem:
            raise translate(problem, path) from problem
        return path

    def keep(self, path: Path) -> None:
        """Another copy has taken the place of the one that `make` set aside so. Raises StoreError."""
        try:
            if _made(path).exists() and not path.exists():
                _made(path).replace(path)
                sync_folder(path.parent)
        except OSError as problem:
            raise translate(problem, path) from problem

    def forget_unkept(self, copy_id: bytes) -> None:
        """Those that were made and not kept go if they are of the copy that is here still. Raises OSError."""
        made = self._path.parent.glob(f"{self._path.stem}.aside-*.new")
        for path in (one for one in made if copy_id_of(one) == copy_id):
            path.unlink(missing_ok=True)

    def settle(self, path: Path) -> Path:
        """It was taken in: where it is now. Raises StoreError."""
        if path.parent != self._path.parent:
            return path
        folder = self._path.parent.parent / FOLDER
        number = 1
        while (kept := folder / f"{self._path.stem}-{number}.db").exists():
            number += 1
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            for suffix in ("-wal", "-shm", ""):
                part = path.with_name(path.name + suffix)
                if part.exists():
                    part.replace(kept.with_name(kept.name + suffix))
        except OSError as problem:
            raise translate(problem, kept) from problem
        return kept


def _trouble(problem: sqlite3.Error | OSError, path: Path) -> StoreError:
    found = translate(problem, path)
    if not isinstance(found, StoreDamaged):
        return found
    return _damaged(str(found))


def _damaged(words: str) -> StoreDamaged:
    step = "Keep it: `sqlite3 FILE .recover` may get records out of it. Moved elsewhere, it is not offered any more."
    return StoreDamaged(words, next_step=step)


def _made(path: Path) -> Path:
    return path.with_name(f"{path.name}.new")


def _number(path: Path) -> int:
    digits = path.suffix.removeprefix(".aside-")
    return int(digits) if digits.isdecimal() else 0


class _Row(NamedTuple):
    key: str
    share: int
    stamps: bytes
    body: bytes


class Beside:
    """A copy that was set aside, open for reading; `main` is that copy here, `live` the one in its place."""

    def __init__(self, path: Path, refs: Refs, runner: Runner) -> None:
        self.path = path
        self._refs = refs
        self._runner = runner
        self._salvaged: sqlite3.Connection | None = None  # what could be read, if not all can
        self._lost = 0  # records that could not be, and are yet to be told of

    async def close(self) -> None:
        if self._salvaged is not None:
            self._salvaged.close()
        await self._runner.close()

    async def _read(self, reading: Callable[[sqlite3.Connection], T]) -> T:
        def inside(connection: sqlite3.Connection) -> T:
            connection.execute("BEGIN")
            try:
                return reading(connection)
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

        try:
            return await self._runner.run(inside)
        except sqlite3.Error as problem:
            raise _trouble(problem, self.path) from problem

    async def load(self) -> bytes:
        """The space that it holds; nothing if it is no database of a space."""

        def work(connection: sqlite3.Connection) -> bytes:
            names = connection.execute("SELECT name FROM main.sqlite_schema WHERE type = 'table'")
            if not {name for (name,) in names} >= _TABLES:  # SQLite would look for them in the live one
                return b""
            self._refs.load(connection)
            row = connection.execute("SELECT id FROM main.space").fetchone()
            return bytes(row[0]) if row else b""

        return await self._read(work)

    async def look(self) -> Aside:
        """What it is, and whether its records are those that it counted: one that is damaged may have lost some."""
        return await self._read(self._look)

    def _look(self, connection: sqlite3.Connection) -> Aside:
        (count, kept) = connection.execute("SELECT visible, digest FROM main.space").fetchone()
        names = {number: name for name, number in self._refs.number_of.items()}
        is_whole = digest.moved(digest.EMPTY, self._shares(connection, names)) == kept
        return Aside(self.path.name, count, is_whole, round(self.path.stat().st_mtime * 1000))

    def _shares(self, connection: sqlite3.Connection, names: dict[int, str]) -> Iterator[tuple[int, int]]:
        try:
            rows = connection.execute("SELECT collection, key, stamps, body FROM main.record")
            for number, key, stamps, body in rows:
                yield digest_of(names[number], key, self._refs.decode_stamps(stamps), body)
        except (ValueError, LookupError, TypeError, sqlite3.DatabaseError):
            return  # the sums will not be equal then

    async def shared(self, forks: Sequence[ClosedFork], *, forked: bool) -> Clock:
        """How far both copies hold the same history of each origin: to where the one that is less far stands, unless
        two hashes differ, or `forked` says that they may; then to the last end of a run before that at which both have
        the same hash, or which a run that both have had seen. Where no hash is asked for, the copy in place holds of
        `forks` the variant that stands.
        """
        found, perhaps = await self._read(lambda connection: shared_history.shared(connection, assume=not forked))
        if perhaps:
            found = await self._read(
                lambda connection: shared_history.vouched_for(connection, self._refs, found, perhaps)
            )
        for fork in () if forked else forks:
            other = await self._read(
                partial(shared_history.end, refs=self._refs, origin=fork.origin, seq=fork.stands.seq)
            )
            if other != fork.stands.hash and found.get(fork.origin, 0) > fork.seq:
                found[fork.origin] = fork.seq
        return {origin: seq for origin, seq in found.items() if seq}

    async def runs_after(self, position: int, max_bytes: int, max_runs: int, covered: ReadClock) -> LogSlice:
        return await self._read(
            lambda connection: log.runs_after(connection, self._refs, self.path, position, max_bytes, max_runs, covered)
        )

    async def page(self, after: AsideCursor) -> AsidePage:
        """Records after `after` that are not the same in both, some thousand rows of each looked at. Where some cannot
        be read, those that can.
        """
        try:
            return await self._read(lambda connection: self._page(connection, after))
        except StoreDamaged:
            if self._salvaged is not None:
                raise
            await self._salvage()
        return await self._read(lambda connection: self._page(connection, after))

    async def _salvage(self) -> None:
        def work(connection: sqlite3.Connection) -> None:
            (counted,) = connection.execute("SELECT visible FROM main.space").fetchone()
            salvaged, found = salvage(connection)
            if counted and not found:
                salvaged.close()
                raise _damaged(f"{self.path} is damaged: none of its records can be read.")
            self._salvaged, self._lost = salvaged, max(0, counted - found)

        await self._read(work)

    def _page(self, connection: sqlite3.Connection, after: AsideCursor) -> AsidePage:
        collection, key = after
        here = dict(connection.execute("SELECT name, number FROM live.collection"))
        names = sorted(name for name in {*self._refs.number_of, *here} if name >= collection)
        if not names:
            return AsidePage([], None, 0)
        name = names[0]
        beyond = key if name == collection else ""
        was = _rows(self._salvaged or connection, "main", self._refs.number_of.get(name), beyond)
        now = _rows(connection, "live", here.get(name), beyond)
        full = [rows[-1].key for rows in (was, now) if len(rows) == ROWS_AT_ONCE]
        bound = min(full, key=str.encode) if full else None
        live = Refs()
        live.origin_of = dict(connection.execute("SELECT ref, id FROM live.origin"))
        pairs, unreadable = self._pairs(name, _by_key(was, bound), _by_key(now, bound), live)
        following = (name, bound) if bound is not None else (names[1], "") if len(names) > 1 else None
        unreadable, self._lost = unreadable + self._lost, 0
        return AsidePage(pairs, following, unreadable)

    def _pairs(
        self, collection: str, was: dict[str, _Row], now: dict[str, _Row], live: Refs
    ) -> tuple[list[AsidePair], int]:
        """Those that differ; and how many of the old ones cannot be read, about which nothing is said."""
        pairs: list[AsidePair] = []
        unreadable = 0
        for key in sorted(was.keys() | now.keys(), key=str.encode):
            mine, other = was.get(key), now.get(key)
            if mine is not None and other is not None and mine.share == other.share:
                continue
            try:
                aside = None if mine is None else self._decode((collection, key), mine)
            except StoreDamaged:
                unreadable += 1
                continue
            here = None if other is None else records.decode(live, self.path, other.stamps, other.body)
            pairs.append(AsidePair((collection, key), aside, here))
        return pairs, unreadable

    def _decode(self, name: Name, row: _Row) -> Record:
        """Raises StoreDamaged, also if it is not what was written."""
        record = records.decode(self._refs, self.path, row.stamps, row.body)
        if digest_of(*name, self._refs.decode_stamps(row.stamps), row.body)[1] != records.unsigned(row.share):
            raise StoreDamaged("a record is not what was written")
        return record


# ---- what is being taken in


def save(connection: sqlite3.Connection, recopy: Recopy | None) -> None:
    """Keep that this one is being taken in; None: nothing is."""
    connection.execute("DELETE FROM recopy")
    if recopy is not None:
        connection.execute(
            "INSERT INTO recopy (one, name, removes, forked, collection, key) VALUES (1, ?, ?, ?, ?, ?)",
            (recopy.name, recopy.removes, recopy.forked, *recopy.cursor),
        )


def load(connection: sqlite3.Connection) -> Recopy | None:
    row = connection.execute("SELECT name, removes, forked, collection, key FROM recopy").fetchone()
    return None if row is None else Recopy(row[0], bool(row[1]), bool(row[2]), (row[3], row[4]))


# ---- rows


def _by_key(rows: Iterable[_Row], bound: str | None) -> dict[str, _Row]:
    return {row.key: row for row in rows if bound is None or row.key.encode() <= bound.encode()}


def _rows(connection: sqlite3.Connection, schema: str, number: int | None, after: str) -> list[_Row]:
    """In the order of SQLite's keys, which is that of their UTF-8 bytes."""
    if number is None:
        return []
    query = (
        f"SELECT key, share, stamps, body FROM {schema}.record WHERE collection = ? AND key > ?"  # noqa: S608 - one of two names
        " ORDER BY key LIMIT ?"
    )
    return [_Row(*row) for row in connection.execute(query, (number, after, ROWS_AT_ONCE))]
