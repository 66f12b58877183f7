"""The bound files of this device: which there are, how they came to be, and how they stand.

Binding, once everything is decided: what the binding needs is installed in the file, then what all devices must agree
on is stated in the space, then the binding is kept, then its runner begins. A crash in between leaves marks in the file
that nobody reads; the next attempt takes them away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from peerd.core.names import binding_name
from peerd.core.stored import StoredBinding
from peerd.core.tables.changes import Brake
from peerd.core.tables.plans import BindingPlan
from peerd.core.tables.proposals import Choices, Proposal
from peerd.core.tables.settings import BindingSettings, encode_settings
from peerd.core.tables.shape import Schema
from peerd.engine.ports import Times
from peerd.engine.space import Space
from peerd.engine.tables import notices as binding_notices
from peerd.engine.tables import shared_plans
from peerd.engine.tables.growth import growth_of
from peerd.engine.tables.images import said_here
from peerd.engine.tables.ports import TableFiles
from peerd.engine.tables.remembered import Memory
from peerd.engine.tables.reports import count, first_step, held_view, report_of, view_of
from peerd.engine.tables.runner import BindingRunner
from peerd.engine.tables.wishes import check_decided, check_names, choices_of, exists, known_file, still_bound, unbound
from peerd.errors import PeerdError, StoreError, UserError
from peerd.logs import get
from peerd.protocol.control.reports import TableNotice
from peerd.protocol.control.tables import (
    BindingList,
    BindingReport,
    CleanedFile,
    HeldAnswer,
    HeldList,
    NewBinding,
    Unbound,
)

log = get(__name__)

DECLARED_AGAIN_S = 30.0

Propose = Callable[[Schema, str, Choices], Proposal]
Declared = tuple[NewBinding, Brake]


class Bindings:
    """`declared(space)` gives what the configuration names; `backups` is the folder for what `adopt` replaces; beside
    it is one for what unbound files are known by.
    """

    def __init__(self, files: TableFiles, times: Times, propose: Propose, backups: Path) -> None:
        self.declared: Callable[[str], Sequence[Declared]] = lambda _: ()
        self._files = files
        self._times = times
        self._propose = propose
        self._backups = backups
        self.memory = Memory(backups.with_name("unbound"), files, times)
        self._runners: dict[bytes, dict[str, BindingRunner]] = {}
        self._spaces: dict[bytes, Space] = {}
        self._opening: dict[bytes, asyncio.Task[Any]] = {}  # reads what is bound
        self._undone: dict[bytes, dict[str, PeerdError]] = {}  # declared, and why not bound yet
        self._unread: dict[bytes, StoreError] = {}  # spaces whose bindings cannot be read
        self._turn = asyncio.Lock()  # one binding begins or ends at a time
        self._works: set[asyncio.Task[object]] = set()

    # ---- spaces come and go

    def add_space(self, space: Space) -> None:
        """Begin with the bindings of a space that has become live."""
        self._runners[space.id], self._spaces[space.id] = {}, space
        self._opening[space.id] = self._spawn(self._open(space), f"bindings of {space.name}")

    def remove_space(self, space: Space) -> None:
        """The space ends before the daemon does, or another copy takes its place, which goes on with its bindings."""
        if not space.makes_way:
            self._spawn(self.memory.forget(space), f"what was bound to {space.name}")
        for kept in (self._spaces, self._unread, self._undone):  # what was wrong with this copy is not of the next
            kept.pop(space.id, None)
        self._spawn(self._end(self._runners.pop(space.id, {}).values()), f"end of the bindings of {space.name}")

    async def _end(self, runners: Iterable[BindingRunner]) -> None:
        """In turn: nobody else opens their files before."""
        async with self._turn:
            for runner in runners:
                await runner.stop()

    async def stop(self) -> None:
        """What is being written is written to its end."""
        for work in self._works:
            work.cancel()
        if self._works:
            await asyncio.wait(self._works)
        runners = [runner for named in self._runners.values() for runner in named.values()]
        await asyncio.gather(*(runner.stop() for runner in runners))
        self._runners.clear()

    def _spawn(self, work: Coroutine[Any, Any, object], name: str) -> asyncio.Task[Any]:
        task = asyncio.create_task(work, name=name)
        self._works.add(task)
        task.add_done_callback(self._works.discard)
        return task

    async def _open(self, space: Space) -> None:
        async with self._turn:
            try:
                for stored in await space.store.bindings.load():
                    self._start(space, stored)
            except StoreError as problem:
                log.error("bindings not read", space=space.name, code=problem.code, cause=str(problem))
                self._unread[space.id] = problem
                return
        self._spawn(self._declare_all(space), f"declared bindings of {space.name}")

    async def _known(self, space: Space) -> None:
        """Wait until it has been read what is bound to a space."""
        if (opening := self._opening.get(space.id)) is not None:
            await asyncio.wait([opening])

    def _start(self, space: Space, stored: StoredBinding) -> None:
        runner = BindingRunner(space, stored, self._files, self._times)
        runner.harvesting.on_news = lambda: self.settings_changed([space])
        self._runners[space.id][stored.name] = runner
        runner.start()

    # ---- the configuration

    def settings_changed(self, spaces: Sequence[Space]) -> None:
        """Bind what is declared and not bound yet."""
        for space in spaces:
            self._spawn(self._declare(space), f"declared bindings of {space.name}")

    async def _declare_all(self, space: Space) -> None:
        while self._spaces.get(space.id) is space and await self._declare(space):  # noqa: ASYNC110 - nothing tells us
            await asyncio.sleep(DECLARED_AGAIN_S)

    async def _declare(self, space: Space) -> bool:
        """True if something declared could not be bound."""
        undone: dict[str, PeerdError] = {}
        for wish, brake in self.declared(space.name):
            name = wish.name or binding_name(Path(wish.database).name)
            try:
                await self._declared(space, name, wish, brake)
            except PeerdError as problem:
                undone[name] = problem
        self._undone[space.id] = undone
        return bool(undone)

    async def _declared(self, space: Space, name: str, wish: NewBinding, brake: Brake) -> None:
        runner = self._runners.get(space.id, {}).get(name)
        if runner is None:
            await self.bind(space, wish, brake, declared=True)
            return
        if Path(runner.binding.database) != Path(wish.database):
            raise UserError(
                f"{name} is bound to {runner.binding.database}, and the configuration names {wish.database}",
                code="binding-exists",
                status=409,
                next_step=f"If the file was moved: peerctl tables unbind {space.name} {name} --force, then reload.",
            )
        exclude = tuple(dict.fromkeys((*runner.settings.exclude, *wish.exclude)))
        settings = msgspec.structs.replace(runner.settings, brake=brake, exclude=exclude)
        if runner.settings != settings:
            async with self._turn:
                await self._change_in_turn(space, runner, settings)
        await self._declared_more(space, runner, wish, brake)

    async def _declared_more(self, space: Space, runner: BindingRunner, wish: NewBinding, brake: Brake) -> None:
        """The configuration means all tables if it names none. What leaves something open a person has to take in."""
        found = runner.harvesting.news
        undoubted = [table for table in found.tables if table not in {*found.doubtful, *wish.exclude}]
        if undoubted and not wish.include:
            more = msgspec.structs.replace(wish, include=undoubted, suggested=False)
            await self.bind(space, more, brake, declared=True)

    async def _change_in_turn(self, space: Space, runner: BindingRunner, settings: BindingSettings) -> None:
        await runner.stop()
        stored = msgspec.structs.replace(runner.binding, settings=encode_settings(settings))
        await space.store.bindings.save(stored)
        self._start(space, stored)

    # ---- bind

    async def bind(
        self, space: Space, wish: NewBinding, brake: Brake | None = None, *, declared: bool = False
    ) -> BindingReport:
        """See `peerd.control.service.Service.bind`. `declared`: the configuration wants it."""
        async with self._turn:
            return await self._bind(space, wish, brake or self._brake_of(space, wish), declared=declared)

    async def _bind(self, space: Space, wish: NewBinding, brake: Brake, *, declared: bool) -> BindingReport:
        name = wish.name or binding_name(Path(wish.database).name)
        database = Path(wish.database)
        bound = self._bound_here(space, wish.name, database)
        if bound is not None:
            return await self._extend(space, bound, wish, declared=declared)
        self._check_free(space, name, database)
        await self._check_no_copy(database)
        schema = await self._files.read_schema(database)
        known = await shared_plans.load(space, name)
        check_names(schema, choices_of(wish), database, declared=declared)
        choices = shared_plans.taken_over(choices_of(wish), known)
        proposal = self._propose(schema, name, choices)
        if wish.suggested:
            proposal = self._propose(schema, name, proposal.suggested(choices))
        counts = await count(space, self._files, database, proposal.tables)
        first = first_step(counts, merge=wish.merge, adopt=wish.adopt)
        report = report_of(name, str(database), proposal, counts, first)
        plan = BindingPlan(name, proposal.tables)
        remembered = await self.memory.recognise(space, plan, report) if first in {"undecided", "merge"} else None
        if wish.dry_run:
            return report
        check_decided(report, database)
        if wish.adopt and first == "adopt":
            report.backup = str(await self._back_up(name, database))
        settings = BindingSettings(tuple(wish.include), tuple(wish.exclude), brake, merging=first == "merge")
        stored = StoredBinding(self._times.random_bytes(16), name, str(database), plan, encode_settings(settings))
        await self._files.bind(database, stored.id, plan, empty=first == "adopt", remembered=remembered)
        await shared_plans.share(space, plan, schema, known)
        await space.store.bindings.save(stored)
        await self.memory.forget(space, name)
        self._start(space, stored)
        log.info("tables bound", space=space.name, path=str(database), count=len(plan.tables))
        report.bound = True
        return report

    def _brake_of(self, space: Space, wish: NewBinding) -> Brake:
        """What the configuration says for this name, or the default."""
        named = {one.name: brake for one, brake in self.declared(space.name)}
        return named.get(wish.name or binding_name(Path(wish.database).name), Brake())

    def _check_free(self, space: Space, name: str, database: Path) -> None:
        for runners in self._runners.values():
            for runner in runners.values():
                if _is_at(runner, database):
                    raise exists(f"{database} is bound already, as {runner.binding.name}")
        if name in self._runners.get(space.id, {}):
            raise exists(f"there is a binding {name} already")

    async def _check_no_copy(self, database: Path) -> None:
        """Rows that the application numbers itself would be in the space twice."""
        carried = await self._files.carried(database)
        for runners in self._runners.values():
            for runner in runners.values():
                if runner.binding.id == carried:
                    raise UserError(
                        f"{database} is a copy of {runner.binding.database}, which is bound as {runner.binding.name}",
                        code="file-bound",
                        status=409,
                        next_step="If it is to take its place, unbind that one first.",
                    )

    async def _back_up(self, name: str, database: Path) -> Path:
        target = self._backups / f"{name}-{self._times.wall_ms()}.db"
        await self._files.back_up(database, target)
        log.info("file backed up", path=str(target))
        return target

    # ---- more of a file that is bound

    def _bound_here(self, space: Space, name: str | None, database: Path) -> BindingRunner | None:
        for runner in self._of(space).values():
            if name in {None, runner.binding.name} and _is_at(runner, database):
                return runner
        return None

    async def _extend(self, space: Space, runner: BindingRunner, wish: NewBinding, *, declared: bool) -> BindingReport:
        """Bind the tables that it did not have yet; those that are bound stay as they are."""
        growth = await growth_of(space, runner, wish, self._files, self._propose, declared=declared)
        extension, report, database = growth.extension, growth.report, Path(runner.binding.database)
        if wish.dry_run:
            return report
        if extension.is_empty:
            if growth.settings != runner.settings:
                await self._change_in_turn(space, runner, growth.settings)
            report.bound = True
            return report
        check_decided(report, database)
        if report.first == "adopt":
            report.backup = str(await self._back_up(report.name, database))
        await runner.take_the_last()
        await runner.stop()
        merging = report.first == "merge" or runner.settings.merging
        settings = msgspec.structs.replace(growth.settings, merging=merging)
        stored = msgspec.structs.replace(runner.binding, plan=extension.plan, settings=encode_settings(settings))
        try:
            again = await said_here(space, extension)
            new = [one.number for one in extension.new]
            await self._files.extend(database, stored.id, stored.plan, new, again, empty=report.first == "adopt")
            await shared_plans.share(space, stored.plan, growth.schema, growth.known)
            await space.store.bindings.save(stored)
        except PeerdError:
            runner.start()
            raise
        self._start(space, stored)
        log.info("more tables bound", space=space.name, path=str(database), count=len(extension.new))
        report.bound = True
        return report

    # ---- unbind

    async def unbind(self, space: Space, name: str, *, force: bool = False) -> Unbound:
        """Take over what the application did last, then remove every trace. With `force` the binding is forgotten also
        if the file cannot be cleaned; the answer says so.

        Raises:
            UserError: binding-not-found.
            StoreError: the file cannot be cleaned, and stays bound.
        """
        await self._known(space)
        async with self._turn:
            runner = await self._runner(space, name)
            database = Path(runner.binding.database)
            await runner.take_the_last()
            await runner.stop()
            try:
                cleaned = await self._files.unbind(database, runner.binding.id, self.memory.place(space, name))
                answer = unbound(name, database, cleaned=cleaned)
            except StoreError as problem:
                if not force:
                    runner.start()
                    raise still_bound(space.name, name, problem) from problem
                answer = unbound(name, database, cleaned=False, why=str(problem))
            await space.store.bindings.forget(runner.binding.id)
            del self._runners[space.id][name]
            log.info("tables unbound", space=space.name, path=runner.binding.database)
            return answer

    async def clean(self, database: Path) -> CleanedFile:
        """Remove every trace from a file that no binding here knows any more.

        Raises:
            UserError: file-bound, one knows it.
            StoreError: it cannot be written.
        """
        async with self._turn:
            carried = await self._files.carried(database)
            for space, runners in self._runners.items():
                for name, runner in runners.items():
                    has_moved = runner.binding.id == carried and runner.trouble is not None
                    if has_moved or _is_at(runner, database):
                        raise known_file(database, name, self._spaces[space].name)
            return CleanedFile(database=str(database), cleaned=await self._files.unbind(database, None))

    # ---- how they stand

    async def _runner(self, space: Space, name: str) -> BindingRunner:
        await self._known(space)
        runner = self._runners.get(space.id, {}).get(name)
        if runner is None:
            raise UserError(
                f"no database is bound as {name!r} to {space.name} here",
                code="binding-not-found",
                status=404,
                next_step="`peerctl tables list` shows those there are.",
            )
        return runner

    async def list(self, space: Space) -> BindingList:
        await self._known(space)
        return BindingList(bindings=[await view_of(space, runner) for _, runner in sorted(self._of(space).items())])

    def _of(self, space: Space) -> Mapping[str, BindingRunner]:
        return self._runners.get(space.id, {})

    async def held(self, space: Space, name: str) -> HeldList:
        return await held_view(await self._runner(space, name))

    async def answer_held(self, space: Space, name: str, answer: HeldAnswer) -> HeldList:
        """Approve or restore, of one table or of all."""
        runner = await self._runner(space, name)
        held = await runner.held()
        for table in held if answer.table is None else [answer.table]:
            if table in held:
                await (runner.approve(table) if answer.action == "approve" else runner.restore(table))
        return await held_view(runner)

    def troubles_of(self, space: Space) -> Sequence[TableNotice]:
        """What keeps tables of this space from being in step, the worst first."""
        undone = self._undone.get(space.id, {})
        return [*binding_notices.troubles(space, self._of(space), undone, self._unread.get(space.id))]

    async def notices_of(self, space: Space) -> Sequence[TableNotice]:
        """All that there is to say of the tables of this space; what keeps none from being in step comes last."""
        return [*self.troubles_of(space), *await binding_notices.parked(space, self._of(space))]


def _is_at(runner: BindingRunner, database: Path) -> bool:
    return Path(runner.binding.database).resolve() == database.resolve()
