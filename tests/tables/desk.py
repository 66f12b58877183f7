"""Two machines with a note each in files that are bound to one space; the application reads rows into forms and saves
forms as a whole. Spaces, commits, runners and files are the real ones, without threads.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from peerd.core.tables.cells import unpack_cell
from peerd.core.tables.plans import KeyClass, TablePlan
from peerd.engine.conflicts import Conflicts
from tests.engine.conftest import Wire
from tests.network_simulation.disk import scratch
from tests.tables import two_copies
from tests.tables.random_apps import RandomApp, RandomTable
from tests.tables.two_copies import Copy

NOTES = "CREATE TABLE note(id INTEGER PRIMARY KEY, title TEXT, body TEXT, done INT, url TEXT UNIQUE)"
PLAN = TablePlan(0, "note", "app.note", KeyClass.SURROGATE)
Form = dict[str, Any]


class Desk:
    """Two machines with one note."""

    def __init__(self, near: Copy, far: Copy) -> None:
        self.near, self.far = near, far

    async def exchange(self) -> None:
        assert await two_copies._exchange([self.near, self.far])

    def read(self, copy: Copy, identity: int = 1) -> Form:
        cursor = copy.connection.execute("SELECT * FROM note WHERE id = ?", (identity,))
        return dict(zip([name for name, _ in cursor.get_description()], next(cursor), strict=True))

    def save(self, copy: Copy, form: Form) -> None:
        copy.connection.execute(
            "UPDATE note SET title = :title, body = :body, done = :done, url = :url WHERE id = :id", form
        )

    async def far_writes(self, sql: str) -> None:
        """And it has reached the near file."""
        self.far.connection.execute(sql)
        await self.exchange()

    async def conflicts(self) -> dict[str, set[Any]]:
        """The values that stand against each other, by field; the same on both machines."""
        found = []
        for copy in (self.near, self.far):
            listed = await Conflicts(copy.device.space).list(collection=None, key=None, limit=100, cursor=None)
            named = [(one.key or "", one.field or "") for one in listed.conflicts]
            found.append({field: await self._values(copy, key, field) for key, field in named})
        assert found[0] == found[1]
        assert self.read(self.near) == self.read(self.far)
        return found[0]

    async def _values(self, copy: Copy, key: str, field: str) -> set[Any]:
        name = PLAN.collection, key
        stored = await copy.device.space.store.read(lambda transaction: transaction.records([name]))
        return {unpack_cell(value) for value in stored[name].record.fields[field].values()}


def on_a_desk(
    story: Callable[[Desk], Awaitable[None]], statement: str = NOTES, others: Mapping[str, RandomTable] | None = None
) -> None:
    """`others` are more tables of the application."""

    async def run(folder: Path) -> None:
        app = RandomApp({"note": RandomTable(PLAN, [statement], {}, "id"), **(others or {})})
        chance = random.Random(7)
        wire = Wire()
        devices = [two_copies._device(name, folder, wire, chance) for name in ("near", "far")]
        await devices[0].spaces.found("home")
        await devices[0].admit(devices[1])
        near, far = (Copy(device, app, folder / f"{device.name}.db", chance, []) for device in devices)
        try:
            near.connection.execute("INSERT INTO note VALUES(1, 'Milk', 'two litres', 0, 'a')")
            for copy in (near, far):
                await copy.bind(merging=False)
            desk = Desk(near, far)
            await desk.exchange()
            await story(desk)
        finally:
            await near.close()
            await far.close()

    with scratch() as folder:
        asyncio.run(run(folder))
