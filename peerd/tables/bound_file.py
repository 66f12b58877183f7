"""A bound file, for the engine: all of SQLite's waiting happens in one thread of its own."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import apsw
from msgspec.structs import replace

from peerd.core.clocks import Dot, ReadClock
from peerd.core.tables.changes import Applied, Brake, Harvest, Parked, Projection, RowImage, TableCount
from peerd.core.tables.fitting import fitting
from peerd.core.tables.plans import BindingPlan
from peerd.core.tables.shape import Schema
from peerd.errors import TableTrouble
from peerd.logs import get
from peerd.tables import compare, decisions, lost, parking, shadow, standing
from peerd.tables.harvest import HarvestLimits, SchemaMoved, harvest
from peerd.tables.install import immediate
from peerd.tables.manners import Manners
from peerd.tables.opening import Identity, connect, translated
from peerd.tables.project import project
from peerd.tables.readers import Readers
from peerd.tables.reading import read_schema
from peerd.tables.settle import settle
from peerd.tables.showing import shows
from peerd.tables.worker import Worker

log = get(__name__)

T = TypeVar("T")

SHORT_ROWS = 1_000
_LOCKED = frozenset({"settling", "begun"})  # points at which a lock was waited for


class BoundFile:
    """Made by `open`. Satisfies `peerd.engine.tables.ports.TableFile`."""

    def __init__(self, opened: _Opened, worker: Worker) -> None:
        self._opened = opened
        self._worker = worker

    @classmethod
    async def open(cls, database: Path, binding: bytes, plan: BindingPlan, brake: Brake, device: str) -> BoundFile:
        """Raises TableTrouble: also `file-unknown`, if it is not the file of this binding."""
        worker = Worker(f"tables {database.name}")
        try:
            opened = await worker.run(lambda: _Opened(database, binding, plan, brake, device))
        except BaseException:
            worker.close()
            raise
        return cls(opened, worker)

    async def _run(self, work: Callable[[_Opened], T]) -> T:
        opened = self._opened

        def guarded() -> T:
            opened.identity.check()
            with translated(opened.path):
                return work(opened)

        return await self._worker.run(guarded)

    async def harvest(self, now_ms: int) -> Harvest | None:
        return await self._run(lambda opened: opened.harvest(now_ms))

    async def settle(self, note: bytes, dot: Dot | None, *, late: bool = False) -> None:
        await self._run(lambda opened: opened.settle(note, dot, late=late))

    async def project(self, images: Sequence[RowImage], applied: Applied, now_ms: int) -> Projection:
        return await self._run(lambda opened: opened.project(images, applied, now_ms))

    async def shows(self, images: Sequence[RowImage]) -> bool:
        return await self._run(lambda opened: opened.shows(images))

    async def applied(self) -> Applied | None:
        return await self._run(lambda opened: shadow.applied(opened.connection))

    async def parked(self) -> Sequence[Parked]:
        return await self._run(lambda opened: parking.parked(opened.connection))

    async def held(self) -> Mapping[str, int]:
        return await self._run(lambda opened: standing.held(opened.connection, opened.schema, opened.plan))

    async def approve(self, table: str) -> None:
        await self._run(
            lambda opened: opened.manners.run(lambda: decisions.approve(opened.connection, opened.plan, table))
        )

    async def restore(self, table: str) -> Sequence[tuple[str, str]]:
        return await self._run(
            lambda opened: opened.manners.run(lambda: decisions.restore(opened.connection, opened.plan, table))
        )

    async def counts(self) -> Mapping[str, TableCount]:
        return await self._run(lambda opened: standing.counts(opened.connection, opened.schema, opened.plan))

    async def not_captured(self) -> Sequence[tuple[str, str, str]]:
        return await self._run(lambda opened: standing.not_captured(opened.connection, opened.schema, opened.plan))

    async def schema(self) -> Schema:
        return await self._run(lambda opened: opened.schema)

    async def keys(self, collection: str) -> Sequence[str]:
        return await self._run(lambda opened: standing.keys(opened.connection, opened.plan, collection))

    async def beyond(self, collection: str, clock: ReadClock) -> Mapping[str, frozenset[Dot]]:
        return await self._run(lambda opened: opened.beyond(collection, clock))

    async def say_again(self, collection: str, whole: Collection[str], cells: Mapping[str, Collection[str]]) -> None:
        await self._run(
            lambda opened: opened.manners.run(
                lambda: lost.say_again(opened.connection, opened.schema, opened.plan, collection, whole, cells)
            )
        )

    async def check(self) -> None:
        await self._run(lambda _: None)

    def is_read(self) -> bool:
        return self._opened.readers.any()

    def is_written(self) -> bool:
        return self._opened.readers.is_writer_among_them()

    def reading_disturbs(self) -> bool:
        return not self._opened.is_wal

    def in_the_way_s(self) -> float:
        return self._opened.manners.held_s

    async def close(self) -> None:
        """What was called is done first. Idempotent."""
        try:
            await self._worker.run(self._opened.connection.close)
        finally:
            self._worker.close()


class _Opened:
    """The connection and what it is used with, in the worker's thread."""

    def __init__(self, path: Path, binding: bytes, plan: BindingPlan, brake: Brake, device: str) -> None:
        self.path = path
        self.plan = plan
        self.identity = Identity(path)
        self._device = device
        self._limits = HarvestLimits(max_deletes=brake.max_deletes, max_share=brake.max_share)
        self._short = replace(self._limits, rows=SHORT_ROWS)
        self.readers = Readers(path)
        self.connection: apsw.Connection = connect(path)
        self.manners = Manners(self.connection, self.readers)
        try:
            with translated(path):
                self.manners.run(lambda: self._check_binding(binding))
                self.manners.run(self._check_format)
                self.schema: Schema = fitting(self.manners.run(lambda: read_schema(self.connection)), plan)
                self._follow_mode()
        except BaseException:
            self.connection.close()
            raise

    def _check_binding(self, binding: bytes) -> None:
        if shadow.carried(self.connection) != binding:
            raise TableTrouble(
                f"{self.path} is not the file that was bound: it carries no mark of this binding",
                code="file-unknown",
                next_step="Unbind it and bind it again; you are asked what becomes of its rows.",
            )

    def _check_format(self) -> None:
        found = shadow.format_of(self.connection)
        if found > shadow.FORMAT:
            raise TableTrouble(
                f"{self.path} was bound by a newer version of peerd",
                code="file-unknown",
                next_step="Update peerd on this machine.",
            )
        if found < shadow.FORMAT:
            with immediate(self.connection):
                shadow.upgrade(self.connection)

    @property
    def is_wal(self) -> bool:
        return self.schema.journal_mode == "wal"

    def _follow_mode(self) -> None:
        """In WAL mode a commit that a power cut takes back harms nothing: the file is healed from where it is then. So
        nobody has to wait there while it is synced. Without a WAL the file itself would be at risk.
        """
        self.connection.execute(f"PRAGMA synchronous = {'NORMAL' if self.is_wal else 'FULL'}")

    def harvest(self, now_ms: int) -> Harvest | None:
        # Without a WAL, whoever writes waits until we have read.
        limits = self._limits if self.is_wal else self._short
        while True:
            if compare.is_due(self.connection):
                self._renew()
            try:
                return self._harvest(limits, now_ms)
            except SchemaMoved:
                continue

    def beyond(self, collection: str, clock: ReadClock) -> Mapping[str, frozenset[Dot]]:
        if compare.is_due(self.connection):
            self._renew()  # rows may have other numbers than they are known by
        return lost.beyond(self.connection, self.schema, self.plan, collection, clock)

    def _harvest(self, limits: HarvestLimits, now_ms: int) -> Harvest | None:
        def work() -> Harvest | None:
            schema, plan, device = self.schema, self.plan, self._device
            return harvest(self.connection, schema, plan, device, limits, now_ms=now_ms, at=self._at)

        return self._read(work)

    def _at(self, point: str) -> None:
        if point in _LOCKED:
            self.manners.take()
        elif point == "read":
            self.manners.let_go()

    def _read(self, work: Callable[[], T]) -> T:
        return work() if self.is_wal else self.manners.run(work)

    def settle(self, note: bytes, dot: Dot | None, *, late: bool) -> bool:
        return self.manners.run(
            lambda: settle(self.connection, self.schema, self.plan, note, dot, late=late, at=self._at)
        )

    def _renew(self) -> None:
        """The application changed its schema."""
        renewal = self.manners.run(lambda: compare.renew(self.connection, self.plan))
        self.schema = renewal.schema
        self._follow_mode()
        log.info("schema read again", path=str(self.path), count=len(renewal.appeared))

    def project(self, images: Sequence[RowImage], applied: Applied, now_ms: int) -> Projection:
        if compare.is_due(self.connection):
            return Projection(dirty=True)  # a harvest looks at the schema first
        plan, device = self.plan, self._device
        return self.manners.run(
            lambda: project(
                self.connection, self.schema, plan, images, applied, device=device, now_ms=now_ms, at=self._at
            )
        )

    def shows(self, images: Sequence[RowImage]) -> bool:
        if compare.is_due(self.connection):
            return False
        return self._read(lambda: shows(self.connection, self.schema, self.plan, images, device=self._device))
