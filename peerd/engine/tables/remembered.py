"""Files that were bound and may be bound again: where what they are known by is kept, and for how long."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from peerd.core.tables.plans import BindingPlan, KeyClass
from peerd.engine.ports import Times
from peerd.engine.space import Space
from peerd.engine.tables.images import TableImages
from peerd.engine.tables.ports import Remembered, TableFiles
from peerd.protocol.control.tables import BindingReport

_DAY_MS: Final = 24 * 3600 * 1000


class Memory:
    """One file for each binding that ended, in `folder`. `history_days(space)` is how long it is kept."""

    def __init__(self, folder: Path, files: TableFiles, times: Times) -> None:
        self.history_days: Callable[[str], int] = lambda _: 30
        self._folder, self._files, self._times = folder, files, times

    def place(self, space: Space, name: str) -> Path:
        """Where it is kept for a binding."""
        return self._folder / f"{space.id.hex()}.{name}.db"

    async def recognise(self, space: Space, plan: BindingPlan, report: BindingReport) -> Remembered:
        """What rows of a file that is to be bound may be recognised by. How many are is put into the report."""
        await self.tidy(space)
        numbered = [one for one in plan.tables if one.key_class is KeyClass.SURROGATE]
        images = TableImages(space, [one.collection for one in numbered])
        alive: dict[str, set[str]] = {one.table: set() for one in numbered}
        for one in numbered:
            async for page in images.pages(one.collection):
                alive[one.table].update(image.key for image in page if image.fields is not None)
        remembered = Remembered(self.place(space, plan.name), alive)
        found = await self._files.recognised(Path(report.database), plan, remembered)
        for table in report.tables:
            table.known = found.get(table.table, 0)
        return remembered

    async def tidy(self, space: Space) -> None:
        """Forget what is older than the history of the space."""
        before_ms = self._times.wall_ms() - self.history_days(space.name) * _DAY_MS
        await self._files.forget(self._folder, space.id.hex(), before_ms)

    async def forget(self, space: Space, name: str = "") -> None:
        """All of a space, or of one binding."""
        begins = f"{space.id.hex()}.{name}." if name else f"{space.id.hex()}."
        await self._files.forget(self._folder, begins, None)
