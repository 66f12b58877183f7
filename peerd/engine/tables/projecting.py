"""What the space has, written to one bound file: what the log tells after the file's position, or everything.

What the file shows already is not worth a transaction of it: it is told of that when there is more to write, or after
a while.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from peerd.core.batch import Name
from peerd.core.stored import StoredBinding
from peerd.core.tables.changes import Applied, Parked, RowImage
from peerd.core.tables.schedule import Schedule
from peerd.engine.ports import Times
from peerd.engine.space import Space
from peerd.engine.tables.images import ROWS_AT_ONCE, TableImages
from peerd.engine.tables.ports import TableFile
from peerd.logs import get

log = get(__name__)

UNFINISHED = Applied(b"", 0)  # continues nothing: a full projection that is cut begins again


class Projecting:
    """`harvest` takes what waits in the file, `rest` lets others use it; `parked_now` are the rows that have no place
    in it.
    """

    def __init__(
        self,
        space: Space,
        binding: StoredBinding,
        schedule: Schedule,
        times: Times,
        harvest: Callable[[], Awaitable[None]],
        rest: Callable[[], Awaitable[None]],
    ) -> None:
        self.parked_now: Sequence[Parked] = ()
        self._space = space
        self._path = binding.database
        self._collections = [table.collection for table in binding.plan.tables]
        self._images = TableImages(space, self._collections)
        self._schedule = schedule
        self._times = times
        self._harvest = harvest
        self._rest = rest
        self._left: Applied | None = None  # the position in the file when we let go of it
        self._behind: Applied | None = None  # the position in the file, as long as
        self._ahead: Applied | None = None  # it shows everything up to here without being told
        self._unkept: dict[Name, None] = {}  # what it shows up to there, and has not been told of

    def opened(self) -> None:
        """The file was opened: what it was not told of before is not known of it now."""
        self._ahead = self._left = None
        self._unkept.clear()

    def went_back(self, applied: Applied | None) -> bool:
        """Did somebody write an older state over the file while we have it open, as SQLite's own backup does? No row of
        it waits then to be harvested.
        """
        left = self._left
        if left is None or applied is None or left == UNFINISHED:
            return False
        return applied.copy_id != left.copy_id or applied.position < left.position

    async def project(self, file: TableFile) -> None:
        """Until the file shows all that the log has."""
        while True:
            stored = self._left = await file.applied()
            # Runs that change nothing in the file are not worth a transaction of it.
            at = self._ahead if self._ahead is not None and stored == self._behind else stored
            changed = None
            if at is not None and at.copy_id == self._space.copy_id:
                changed = await self._images.changed_after(at.position)
            if changed is None:
                await self._project_all(file)
                continue
            if at is not None and changed.position == at.position:
                return
            applied = Applied(self._space.copy_id, changed.position)
            if await self._is_shown(file, changed.names):
                self._behind, self._ahead = stored, applied
            else:
                await self.show(file, [*self._unkept, *changed.names], applied)
                self._are_kept()
                await self._rest()

    async def _is_shown(self, file: TableFile, names: Sequence[Name]) -> bool:
        """Is there nothing to write that cannot wait?"""
        if not names:
            return True
        if len(self._unkept) + len(names) > ROWS_AT_ONCE or not await file.shows(await self._images.images(names)):
            return False
        self._unkept.update(dict.fromkeys(names))
        self._schedule.shown_already(self._times.monotonic_s())
        return True

    async def keep(self, file: TableFile) -> None:
        """Tell the file what it shows."""
        if self._unkept and self._ahead is not None:
            await self.show(file, list(self._unkept), self._ahead)
        self._are_kept()

    def _are_kept(self) -> None:
        self._unkept.clear()
        self._schedule.kept()

    async def show(
        self, file: TableFile, names: Sequence[Name], applied: Applied, images: Sequence[RowImage] | None = None
    ) -> None:
        """Project what these show, after harvests if need be; `images` if they have been read, else they are. Those of
        parked records come along: their time may have come.
        """
        while True:
            parked = [(one.collection, one.key) for one in await file.parked()]
            wanted = list(await self._images.images(names) if images is None else images)
            wanted += await self._images.images([name for name in parked if name not in set(names)])
            projection = await file.project(wanted, applied, self._times.wall_ms())
            if not projection.dirty:
                self._left, self._ahead = applied, None
                if parked or projection.parked:
                    self.parked_now = await file.parked()
                return
            await self._harvest()
            images = None  # the harvest may have changed them

    async def _project_all(self, file: TableFile) -> None:
        """Everything: the file's position is unknown here, or the log no longer goes back so far."""
        self._are_kept()
        log.info("projecting everything", space=self._space.name, path=self._path)
        applied = Applied(self._space.copy_id, self._images.last_position)
        for collection in reversed(self._collections):  # children first: what is gone makes room
            async for gone in self._images.gone(collection, await file.keys(collection)):
                await self.show(file, _names(gone), UNFINISHED, gone)
                await self._rest()
        for collection in self._collections:
            async for page in self._images.pages(collection):
                await self.show(file, _names(page), UNFINISHED, page)
                await self._rest()
        await self.show(file, [], applied)


def _names(images: Sequence[RowImage]) -> list[Name]:
    return [(image.collection, image.key) for image in images]
