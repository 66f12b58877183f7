"""One bound file, kept alike with its space: what the application does goes out, what the space has comes in.

    harvest   the file says which rows differ from what it showed; that becomes one transaction; when it is durable the
              file is told (settled). The note for that is stored with the transaction, so a crash in between is
              finished at the next start.
    project   the log after the file's position says which records changed; what they show is written, with the new
              position, in one transaction of the file. A file that finds rows of its own waiting is harvested first.

Trouble with the file stops this binding alone, is shown, and is tried again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from msgspec.structs import replace

from peerd.core.stored import StoredBinding
from peerd.core.tables.changes import Parked, TableCount
from peerd.core.tables.schedule import Schedule, Step
from peerd.core.tables.settings import BindingSettings, decode_settings, encode_settings
from peerd.engine.commits import Commit
from peerd.engine.ports import Times
from peerd.engine.space import Space
from peerd.engine.tables import renewed
from peerd.engine.tables.harvesting import Harvesting
from peerd.engine.tables.ports import FileWatch, TableFile, TableFiles
from peerd.engine.tables.projecting import UNFINISHED, Projecting
from peerd.errors import StoreClosed, StoreError, TableTrouble
from peerd.logs import get

log = get(__name__)

_MAY_COME_BACK = frozenset({"file-missing", "file-replaced"})


class BindingRunner:
    """`trouble` is what stops it, or None; `settled` is set whenever there is nothing left to do."""

    def __init__(self, space: Space, binding: StoredBinding, files: TableFiles, times: Times) -> None:
        self.binding = binding
        self.settings: BindingSettings = decode_settings(binding.settings)
        self.trouble: StoreError | None = None
        self.settled = asyncio.Event()
        self._space = space
        self._files = files
        self._times = times
        self._schedule = Schedule()
        self.harvesting = Harvesting(space, binding, self._schedule, times, self._rest)
        self.projecting = Projecting(space, binding, self._schedule, times, self._harvest, self._rest)
        self.harvesting.went_back = self.projecting.went_back
        self._file: TableFile | None = None
        self._watch: FileWatch | None = None
        self._is_told = False  # does the file, as it is open, know what was harvested of it last?
        self._in_the_way_s = 0.0  # of what the file told of that
        self._wake = asyncio.Event()
        self._turn = asyncio.Lock()  # of whoever uses the file for more than one question
        self._task: asyncio.Task[None] | None = None

    # ---- from start to end

    def start(self) -> None:
        self._space.on_commit.append(self._on_commit)
        self._schedule.try_at_once(self._times.monotonic_s())
        self._task = asyncio.create_task(self._run(), name=f"binding {self.binding.name}")

    async def stop(self) -> None:
        """What is being written to the file is written to its end."""
        if self._task is None:
            return
        self._space.on_commit.remove(self._on_commit)
        self._task.cancel()
        await asyncio.wait([self._task])
        self._task = None
        async with self._turn:
            await self._close_file()
        if self._watch is not None:
            await self._watch.close()
            self._watch = None

    def _on_commit(self, _: Commit) -> None:
        self.settled.clear()
        self._schedule.space_moved(self._times.monotonic_s())
        if self.trouble is not None and self.trouble.code == renewed.WAITS:
            self._schedule.try_now(self._times.monotonic_s())
        self._wake.set()

    def _on_file(self) -> None:
        now_s = self._times.monotonic_s()
        self.settled.clear()
        self._schedule.file_changed(now_s)
        if self.trouble is not None and self.trouble.code in _MAY_COME_BACK:
            self._schedule.try_now(now_s)
        self._wake.set()

    async def _run(self) -> None:
        self._watch = await self._files.watch(Path(self.binding.database), self._on_file)
        work: dict[Step, Callable[[], Awaitable[None]]] = {
            Step.HARVEST: self._harvest,
            Step.PROJECT: self._project,
            Step.KEEP: self._keep,
            Step.RETRY: self._catch_up,
        }
        while True:
            step = self._schedule.step(self._times.monotonic_s(), self._is_read, self._is_written)
            if step is Step.SLEEP:
                await self._sleep()
                continue
            async with self._turn:
                await self._try(work[step])
                self._account()

    def _is_read(self) -> bool:
        return self._file is not None and self._file.is_read()

    def _is_written(self) -> bool:
        return self._file is not None and self._file.is_written()

    def _account(self) -> float:
        """Tell the schedule how long we were in the way of others since the last time; gives that."""
        if self._file is None:
            return 0.0
        told_s, self._in_the_way_s = self._in_the_way_s, self._file.in_the_way_s()
        held_s = self._in_the_way_s - told_s
        self._schedule.was_in_the_way(self._times.monotonic_s(), held_s)
        return held_s

    async def _rest(self) -> None:
        """Between parts of much work: let others use the file for as long as they could not."""
        await asyncio.sleep(self._account())

    async def _sleep(self) -> None:
        wake_s = self._schedule.wake_s()
        if not self._schedule.is_busy and self.trouble is None:
            self.settled.set()
        wait_s = None if wake_s is None else max(0.0, wake_s - self._times.monotonic_s())
        try:
            async with asyncio.timeout(wait_s):
                await self._wake.wait()
        except TimeoutError:
            return
        self._wake.clear()

    async def _try(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except StoreError as problem:
            await self._failed(problem)
        except Exception as problem:
            log.error("binding failed", space=self._space.name, path=self.binding.database, exc_info=problem)
            step = "It is tried again. This is a bug of peerd: please report it with the log."
            await self._failed(
                TableTrouble(f"peerd failed with {self.binding.database}", code="internal", next_step=step)
            )
        else:
            if self.trouble is not None:
                log.info("binding goes on", space=self._space.name, path=self.binding.database)
            self.trouble = None
            self._schedule.succeeded()

    async def _failed(self, problem: StoreError) -> None:
        was = None if self.trouble is None else self.trouble.code
        if problem.code != was and not isinstance(problem, StoreClosed):
            log.warning(
                "binding stopped",
                space=self._space.name, path=self.binding.database, code=problem.code, cause=str(problem),
            )  # fmt: skip
        self.trouble = problem
        self._schedule.failed(self._times.monotonic_s())
        await self._close_file()

    # ---- the file

    async def _opened(self) -> TableFile:
        if self._file is None:
            binding = self.binding
            self._file = await self._files.open(Path(binding.database), binding.id, binding.plan, self.settings.brake)
            self._in_the_way_s, self._is_told = 0.0, False
            self.projecting.opened()
            self._schedule.reading_disturbs = self._file.reading_disturbs()
        return self._file

    async def _close_file(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            try:
                await file.close()
            except StoreError as problem:
                log.warning("file not closed", path=self.binding.database, code=problem.code, cause=str(problem))

    async def _catch_up(self) -> None:
        """Everything there may be to do after a start or after trouble."""
        renewed.check_filled(self._space, self.settings)
        file = await self._opened()
        await file.check()
        await self._tell_last(file)
        if self.settings.renewed:
            await renewed.say_what_was_lost(self._space, file, self.binding.plan)
        await self._harvest()
        await self._project()
        self.harvesting.held_now = await file.held()
        self.harvesting.not_captured = self.harvesting.not_captured or await file.not_captured()
        self.projecting.parked_now = await file.parked()
        if self.settings.merging or self.settings.renewed:
            await self._have_met()

    async def _tell_last(self, file: TableFile) -> None:
        """Finish a harvest that is in the space and not settled: what comes before would harvest the same again."""
        if not self._is_told:
            for stored in await self._space.store.bindings.load():
                if stored.id == self.binding.id and stored.note is not None:
                    await file.settle(stored.note, stored.dot, late=True)
            self._is_told = True

    async def _have_met(self) -> None:
        self.settings = replace(self.settings, merging=False, renewed=False)
        self.binding = replace(self.binding, settings=encode_settings(self.settings))
        await self._space.store.bindings.save(self.binding)

    async def _harvest(self) -> None:
        file = await self._opened()
        if not renewed.waits(self._space, self.settings):
            await self._tell_last(file)
            await self.harvesting.harvest(file, self.settings)

    async def _project(self) -> None:
        file = await self._opened()
        if self._space.recopying.pending is not None or renewed.waits(self._space, self.settings):
            return  # what only we had comes back in a moment; until then the file shows it
        await self.projecting.project(file)

    async def _keep(self) -> None:
        file = await self._opened()
        await self._project()
        await self.projecting.keep(file)

    # ---- what people ask

    async def _for_people(self, work: Callable[[], Awaitable[None]]) -> None:
        """What meets trouble stops the binding as any other work: what was harvested may be in the space, and the file
        does not know. Raises StoreError.
        """
        async with self._turn:
            try:
                if not renewed.waits(self._space, self.settings):
                    await self._tell_last(await self._opened())
                await work()
            except StoreError as problem:
                await self._failed(problem)
                self._wake.set()
                raise

    async def take_the_last(self) -> None:
        """Harvest what the application did until now, if that can be."""
        try:
            await self._for_people(self._harvest)
        except StoreError as problem:
            log.warning("last changes not harvested", path=self.binding.database, code=problem.code)

    async def counts(self) -> dict[str, TableCount]:
        """By table; raises StoreError if the file cannot be asked."""
        async with self._turn:
            return dict(await (await self._opened()).counts())

    async def parked(self) -> Sequence[Parked]:
        async with self._turn:
            self.projecting.parked_now = await (await self._opened()).parked()
            return self.projecting.parked_now

    async def held(self) -> dict[str, int]:
        async with self._turn:
            self.harvesting.held_now = await (await self._opened()).held()
            return dict(self.harvesting.held_now)

    async def approve(self, table: str) -> None:
        """Let the held deletes of a table go on."""

        async def approving() -> None:
            await (await self._opened()).approve(table)
            await self._harvest()

        await self._for_people(approving)

    async def restore(self, table: str) -> None:
        """Undo the held deletes of a table."""

        async def restoring() -> None:
            file = await self._opened()
            applied = await file.applied() or UNFINISHED
            await self.projecting.show(file, list(await file.restore(table)), applied)

        await self._for_people(restoring)
