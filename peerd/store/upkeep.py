"""What keeps the database of a space from growing, each call a short transaction of its own. See the port
`UpkeepStore`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from peerd.core.clocks import ReadClock
from peerd.core.daemon_time import Age
from peerd.core.stored import Sizes
from peerd.core.trimming import HeldBack, Plan, Trimmed
from peerd.store import history, meta, room, trimming
from peerd.store.database import Database, Outcome
from peerd.store.meta import Meta
from peerd.store.refs import Refs


class Upkeep:
    def __init__(self, database: Database, refs: Refs, meta: Meta) -> None:
        self._database = database
        self._refs = refs
        self._meta = meta

    async def note_age(self, age: Age) -> None:
        def work(connection: sqlite3.Connection) -> Outcome[None]:
            meta.write_age(connection, age)

            def publish() -> None:
                self._meta.age = age

            return Outcome(None, published=publish)

        await self._database.write(work)

    async def forget(self, before_ms: int, size: int) -> int:
        return await self._database.write(
            lambda connection: _if_any(history.forget(connection, before_ms, size), pages=size)
        )

    async def trim(self, plan: Plan, size: int) -> Trimmed:
        def work(connection: sqlite3.Connection) -> Outcome[Trimmed]:
            trimmed = trimming.trim(connection, self._refs, plan, size)

            def publish() -> None:
                self._meta.horizon = {**self._meta.horizon, **trimmed.horizon}

            return Outcome(trimmed, keep=trimmed.runs > 0, pages=8 + trimmed.runs, published=publish)

        return await self._database.write(work)

    async def held_back(self, clocks: Sequence[ReadClock], before_ms: int) -> list[HeldBack]:
        def reading(connection: sqlite3.Connection) -> list[HeldBack]:
            return [trimming.held_back(connection, self._refs, clock, before_ms) for clock in clocks]

        return await self._database.read(reading)

    async def give_back(self, pages: int) -> int:
        return await self._database.write(
            lambda connection: _if_any(room.give_back(connection, pages), pages=3 * pages)
        )

    async def rest(self) -> None:
        await self._database.rest()

    async def sizes(self) -> Sizes:
        free_bytes, log_bytes, history_bytes = await self._database.read(room.sizes)
        database_bytes, wal_bytes = self._database.file_sizes()
        return Sizes(database_bytes, free_bytes, wal_bytes, log_bytes, history_bytes, self._database.wal_held)


def _if_any(count: int, *, pages: int) -> Outcome[int]:
    return Outcome(count, keep=count > 0, pages=8 + pages)
