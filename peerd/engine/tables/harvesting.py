"""What the application did to one bound file, taken into the space: committed, and then settled in the file."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from peerd.core.stored import Note, StoredBinding
from peerd.core.tables.changes import Applied, Harvest
from peerd.core.tables.extending import News, news
from peerd.core.tables.intents import intents_of
from peerd.core.tables.proposals import Choices
from peerd.core.tables.schedule import Schedule
from peerd.core.tables.settings import BindingSettings
from peerd.core.tables.shape import Schema
from peerd.engine.ports import Times
from peerd.engine.space import Space
from peerd.engine.tables import shared_plans
from peerd.engine.tables.ports import TableFile
from peerd.engine.tables.projecting import UNFINISHED
from peerd.errors import TableTrouble, UserError


class Harvesting:
    """`schema` is the file's as it was looked at, `missing` are the bound tables that it lacks, and `news` is what it
    has beyond them; `on_news` hears of that. `went_back` says whether a position in the file is that of an older state
    of it. `held_now` are deletes by table that wait for a person, `not_captured` rows that cannot be taken. `rest` lets
    others use the file.
    """

    def __init__(
        self,
        space: Space,
        binding: StoredBinding,
        schedule: Schedule,
        times: Times,
        rest: Callable[[], Awaitable[None]],
    ) -> None:
        self.schema: Schema | None = None
        self.missing: Sequence[str] = []
        self.news = News()
        self.on_news: Callable[[], None] = lambda: None
        self.went_back: Callable[[Applied | None], bool] = lambda _: False
        self.held_now: Mapping[str, int] = {}
        self.not_captured: Sequence[tuple[str, str, str]] = ()
        self._space = space
        self._id = binding.id
        self._plan = binding.plan
        self._schedule = schedule
        self._times = times
        self._rest = rest

    async def harvest(self, file: TableFile, settings: BindingSettings) -> None:
        """All that there is. Raises TableTrouble, StoreError; what is not settled then is harvested again."""
        more = True
        while more:
            harvest = await file.harvest(self._times.wall_ms())
            await self._look_at_tables(file, settings)
            if harvest is None:
                return
            await self._take(file, harvest, merging=settings.merging)
            more = harvest.more
            if more:
                await self._rest()

    async def _look_at_tables(self, file: TableFile, settings: BindingSettings) -> None:
        """A harvest has read the schema again if it moved. What it does to an empty table is no change of a row."""
        schema = await file.schema()
        if schema is not self.schema:
            self.schema = schema
            self.missing = [one.table for one in self._plan.tables if one.table not in schema.tables]
            self.held_now = await file.held()
            await self._look_for_news(schema, settings)
        applied = await file.applied()
        if applied == UNFINISHED or self.went_back(applied):  # with a new column the space may have cells for it
            self._schedule.space_moved(self._times.monotonic_s())

    async def _look_for_news(self, schema: Schema, settings: BindingSettings) -> None:
        known = shared_plans.taken_over(Choices(), await shared_plans.load(self._space, self._plan.name))
        found = news(self._plan, schema, settings, known)
        if found != self.news:
            self.news = found
            self.on_news()

    async def _take(self, file: TableFile, harvest: Harvest, *, merging: bool) -> None:
        """Commit, then settle."""
        others = [one for one in self.not_captured if one[0] not in harvest.looked_at]
        self.not_captured = [*others, *harvest.troubles]
        edits = intents_of(harvest.edits, merging=merging)
        intents = self._space.forks.reread(edits, await file.applied())
        dot = None
        if intents:
            try:
                dot = (await self._space.commits.write(intents, Note(self._id, harvest.note))).dot
            except UserError as refusal:
                raise TableTrouble(str(refusal), code=refusal.code, next_step=refusal.next_step) from refusal
        await file.settle(harvest.note, dot)
        if harvest.held or self.held_now:
            self.held_now = await file.held()
