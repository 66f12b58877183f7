"""Taking in a copy of the space that was set aside: what it has and this one lacks is written again, by this device.

    begin    which copy it is, kept durably; it may be large, and a crash at any moment may come between
    log      what of its log goes on from ours, which is another history (`carrying`)
    go on    some records at a time, each lot in one transaction of SQL; after it, how far that is
    end      the file goes to `set-aside/`, and is not offered any more

What is done again after a crash finds itself done (`core.recopy`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from peerd.core.backoff import doubling_s
from peerd.core.batch import Author, Batch, Name
from peerd.core.clocks import Clock
from peerd.core.device_id import format_device_id
from peerd.core.entry import Change
from peerd.core.intents import plan
from peerd.core.reading import Rules
from peerd.core.recopy import Step, steps
from peerd.core.record import Stamp
from peerd.core.restore import Image
from peerd.core.stored import Aside, AsidePair, Recopy
from peerd.engine.commits import Commit
from peerd.engine.forks.aside_ports import Beside
from peerd.engine.forks.carrying import carry_over
from peerd.engine.ports import Times
from peerd.errors import StoreClosed, StoreDamaged, StoreError, UserError
from peerd.logs import get
from peerd.protocol.control.recopy import AsideView, Recopied
from peerd.protocol.control.reports import AsideNotice

if TYPE_CHECKING:
    from peerd.engine.links.switchboard import Switchboard
    from peerd.engine.space import Space

log = get(__name__)

COUNT_AGAIN_S = 60.0
AGAIN_S = 15.0  # after our disk had no room, or failed; then less and less often
LONGEST_S = 300.0
CHANGES_AT_ONCE = 1_000
BYTES_AT_ONCE = 1 << 20


class Found(Struct, frozen=True):
    """A copy that is offered, and how many of its records have something that this one lacks; or why nothing of it can
    be read.
    """

    aside: Aside
    differing: int = 0
    unreadable: int = 0
    trouble: StoreDamaged | None = None

    def view(self) -> AsideView:
        return AsideView(
            name=self.aside.name,
            records=self.aside.records,
            differing=self.differing,
            unreadable=self.unreadable,
            damaged=not self.aside.is_whole,
            written_ms=self.aside.written_ms,
            cause="" if self.trouble is None else str(self.trouble),
        )


class Recopying:
    """Of `space`, which is open. `pending` is what an earlier life began."""

    def __init__(self, space: Space, pending: Recopy | None, times: Times) -> None:
        self.pending = pending
        self._space = space
        self._times = times
        self._counted: dict[str, Found] = {}  # by file
        self._counted_at: tuple[int, float] | None = None  # position in the log, and when
        self._counting: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._again: asyncio.Task[None] | None = None  # of what our disk had stopped
        self._ending = asyncio.Event()
        self._last: Recopied | None = None
        self._stopped: StoreError | None = None  # what keeps it from going on
        self._closed = False

    def open(self) -> None:
        """Go on with what an earlier life began."""
        if self.pending is not None:
            self._task = asyncio.create_task(self._resume(self.pending), name="recopy")
        else:
            with suppress(OSError):  # they take room, and the next start tries again
                self._space.store.asides.forget_unkept(self._space.copy_id)

    def begin(self, recopy: Recopy) -> None:
        """Our copy was just set aside so, durably, for another one: write again what only it has."""
        self.pending, self._last = recopy, None
        self._task = asyncio.create_task(self._resume(recopy), name="recopy")

    async def close(self) -> None:
        self._closed = True
        self._ending.set()
        tasks = [task for task in (self._task, self._again, self._counting) if task is not None]
        if tasks:
            await asyncio.wait(tasks)

    async def _resume(self, pending: Recopy) -> None:
        try:
            await self._run(pending)
        except (StoreError, UserError) as problem:
            log.warning("recopy stopped", space=self._space.name, code=problem.code, cause=str(problem))

    def _go_on_later(self) -> None:
        if not self._closed and (self._again is None or self._again.done()):
            self._again = asyncio.create_task(self._go_on(), name="recopy again")

    async def _go_on(self) -> None:
        """Until what our disk has stopped is done, or the space is closed: nothing else is taken in before that."""
        times = 0
        while self.pending is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(doubling_s(AGAIN_S, LONGEST_S, times)):
                    await self._ending.wait()
            if self._closed:
                return
            if (pending := self.pending) is not None:
                await self._resume(pending)
            times += 1

    # ---- for people

    def notices(self) -> Sequence[AsideNotice]:
        """What waits to be taken in. How much that is, is found out beside, and not with every question."""
        name = self._space.name
        if self.pending is not None:
            words, step = "an old copy of this space is being taken in", ""
            if self._stopped is not None:
                words, step = f"{words}, and gets no further: {self._stopped}", f"{self._stopped.next_step} "
            step = f"{step}It goes on by itself."
            return [AsideNotice(name=Path(self.pending.name).name, reason=words, next_step=step.strip())]
        found: list[AsideNotice] = []
        try:
            offered = self._space.store.asides.offered()
        except StoreError:
            return []  # no fault of the space: the next question finds them
        for path in offered:
            self._count_soon()
            counted = self._counted.get(path.name)
            if counted is not None and (trouble := counted.trouble) is not None:
                words = f"an old copy of this space was set aside, and cannot be read: {trouble}"
                found.append(AsideNotice(name=path.name, reason=words, next_step=trouble.next_step))
                continue
            differing = None if counted is None else counted.differing
            if differing == 0:
                continue
            what = "records" if differing is None else "1 record" if differing == 1 else f"{differing} records"
            words = f"an old copy of this space was set aside: {what} of it may hold what is missing here"
            step = f"`peerctl recopy {name} --aside {path.name}` takes them in; nothing here is lost by it."
            found.append(AsideNotice(name=path.name, reason=words, next_step=step, differing=differing))
        return found

    def _count_soon(self) -> None:
        position, now_s = self._space.commits.last_position, self._times.monotonic_s()
        before = self._counted_at
        if self._counting is not None and not self._counting.done():
            return
        if before is None or (before[0] != position and now_s - before[1] >= COUNT_AGAIN_S):
            self._counted_at = position, now_s
            self._counting = asyncio.create_task(self._count(), name="compare old copies")

    def count_anew(self) -> None:
        """Our copy is filled: what was found out beside an empty one means nothing."""
        self._counted.clear()
        self._counted_at = None

    async def _count(self) -> None:
        try:
            self._counted = {found.aside.name: found for found in await self.found()}
        except StoreError as problem:
            log.warning("old copy not compared", space=self._space.name, code=problem.code, cause=str(problem))

    async def found(self) -> Sequence[Found]:
        """What there is to take in, the oldest first. Raises StoreError."""
        asides = self._space.store.asides
        return [found for path in asides.offered() if (found := await self._compare(path)) is not None]

    async def _compare(self, path: Path) -> Found | None:
        try:
            return await self._look(path)
        except UserError:
            return None  # of another space
        except StoreDamaged as problem:
            return Found(Aside(path.name, records=0, is_whole=False, written_ms=0), trouble=problem)

    async def _look(self, path: Path) -> Found:
        beside = await self._space.store.asides.open(path)
        try:
            aside, shared = await beside.look(), await beside.shared(self._space.roster.closed_forks, forked=False)
            differing = unreadable = 0
            cursor: tuple[str, str] | None = ("", "")
            while cursor is not None and not self._closed:
                page = await beside.page(cursor)
                differing += sum(bool(_steps(pair, shared, aside.is_whole)) for pair in page.pairs)
                unreadable += page.unreadable
                cursor = page.cursor
        finally:
            await beside.close()
        return Found(aside, differing, unreadable)

    def check_free(self) -> None:
        """Raises UserError "recopy-running"."""
        if self._turn.locked() or self.pending is not None:
            raise UserError(
                "an old copy is being taken in already",
                code="recopy-running",
                status=409,
                next_step="Wait for it; `peerctl status` shows when it is done.",
            )

    async def done(self) -> Recopied:
        """Wait for the end of what was begun. Raises StoreError."""
        if self._task is not None:
            await asyncio.wait([self._task])
        if self._last is None:
            raise StoreError("what only the old copy has is not taken in yet", code="store-failed")
        return self._last

    async def take_in(self, name: str) -> Recopied:
        """Take in the copy that `name` means: a path, a file's name, or "latest".

        Raises:
            UserError: "no-aside"; "recopy-running"; "removed".
            StoreDamaged: it cannot be read to its end; what is done stays done.
            StoreError: what is done stays done, and it goes on by itself, now or after the next start.
        """
        self.check_free()
        store = self._space.store
        path = store.asides.path_of(name)
        await (await store.asides.open(path)).close()  # before anything is begun
        self.pending = Recopy(str(path), removes=True)
        await store.save_recopy(self.pending)
        return await self._run(self.pending)

    async def _run(self, pending: Recopy) -> Recopied:
        self._stopped = None
        try:
            return await self._do(pending)
        except StoreError as problem:
            if self.pending is not None:
                self._stopped = problem
                self._go_on_later()
            raise

    async def _do(self, pending: Recopy) -> Recopied:
        store = self._space.store
        async with self._turn:
            try:
                path, written, unreadable = await self._read_in(pending)
            except (StoreDamaged, UserError) as problem:
                if isinstance(problem, StoreDamaged) or problem.code == "no-aside":  # the next time gets no further
                    await store.save_recopy(None)
                    self.pending = None
                raise
            await store.save_recopy(None)
            self.pending = None
            kept = store.asides.settle(path)
            self._space.commits.ring(Commit(own=False, foreign=True, lacking=[], switched=False))
            log.info("old copy taken in", space=self._space.name, count=written, path=str(kept))
            self._last = Recopied(space=self._space.name, records=written, unreadable=unreadable, aside=str(kept))
            return self._last

    async def _read_in(self, pending: Recopy) -> tuple[Path, int, int]:
        """Where it was, and how many of its records were written and could not be read."""
        asides = self._space.store.asides
        asides.keep(Path(pending.name))
        path = asides.path_of(pending.name)
        beside = await asides.open(path)
        try:
            return path, *await self._write_all(beside, pending)
        finally:
            await beside.close()

    async def _write_all(self, beside: Beside, pending: Recopy) -> tuple[int, int]:
        forks = self._space.roster.closed_forks
        shared = await beside.shared(forks, forked=pending.forked)
        if pending.forked:
            await carry_over(self._space, beside, shared)
            shared = await beside.shared(forks, forked=True)
        removes = pending.removes and (await beside.look()).is_whole
        written = unreadable = 0
        while not self._closed:
            page = await beside.page(pending.cursor)
            unreadable += page.unreadable
            if page.pairs:
                written += await self._write(page.pairs, shared, removes)
            if page.cursor is None:
                return written, unreadable
            self.pending = pending = replace(pending, cursor=page.cursor)
            await self._space.store.save_recopy(pending)
        raise StoreClosed("the space is being closed", code="stopping")

    async def _write(self, pairs: Sequence[AsidePair], shared: Clock, removes: bool) -> int:  # noqa: FBT001 - passed on
        written: set[Name] = set()
        now = Stamp(self._times.wall_ms(), self._times.quality())

        def decide(batch: Batch, author: Author) -> None:
            written.clear()
            batch.load([pair.name for pair in pairs])
            layers: dict[tuple[int, Stamp], list[Step]] = {}
            for pair in pairs:
                here = pair._replace(here=batch.records[pair.name])  # as it is by now
                for number, step in enumerate(_steps(here, shared, removes)):
                    layers.setdefault((number, step.stamp or now), []).append(step)
                    written.add(pair.name)
                if pair.name in written:
                    _remember(batch, here)
            for (_, stamp), some in sorted(layers.items(), key=lambda item: (item[0][0], item[0][1][:2])):
                for changes in _portions(_changes(batch, some)):
                    batch.write(author, changes, stamp.t_ms, stamp.tq)

        await self._space.commits.write_so(decide)
        return len(written)


def _steps(pair: AsidePair, shared: Clock, removes: bool) -> list[Step]:  # noqa: FBT001 - passed on
    return steps(pair.name, pair.aside, pair.here, shared, removes=removes)


def _remember(batch: Batch, pair: AsidePair) -> None:
    """An edit that met a delete is restored like any other: from what the copy set aside showed, if nothing here is."""
    was, here = pair.aside, pair.here
    if was is not None and was.visible and (here is None or not here.visible) and batch.image(pair.name) is None:
        batch.images[pair.name] = Image(was.winners(), None)


def _changes(batch: Batch, some: Iterable[Step]) -> list[Change]:
    intents = [step.intent for step in some]
    planned = [plan(batch.records[one.collection, one.key], one, Rules(), dict) for one in intents]
    return [change for change in planned if change is not None]


def _portions(changes: Iterable[Change]) -> Iterable[list[Change]]:
    """In transactions that no limit refuses."""
    portion: list[Change] = []
    size_bytes = 0
    for change in changes:
        change_bytes = sum(len(bytes(value)) for value in change.set.values())
        if portion and (len(portion) >= CHANGES_AT_ONCE or size_bytes + change_bytes > BYTES_AT_ONCE):
            yield portion
            portion, size_bytes = [], 0
        portion.append(change)
        size_bytes += change_bytes
    if portion:
        yield portion


async def recopy_from(space: Space, device: bytes, switchboard: Switchboard) -> Recopied:
    """Take in a member's copy in place of ours, which is set aside, and then what only ours had.

    Raises:
        UserError: "not-linked", "recopy-running", "recopy-failed". StoreError.
    """
    space.recopying.check_free()
    session = next((one for one in switchboard.sessions(space) if one.theirs == device), None)
    if session is None:
        raise UserError(
            "there is no link with that device at the moment",
            code="not-linked",
            status=409,
            next_step="`peerctl peers` says why.",
        )
    before = space.copy_id
    with suppress(asyncio.CancelledError):  # the link ends when its copy is in place
        await asyncio.shield(session.forks.begin_recopy())
    if space.copy_id == before:
        raise UserError(
            "the copy of that device could not be taken in; this one is as it was",
            code="recopy-failed",
            status=409,
            next_step="The log says why; try again, or with another member.",
        )
    done = await space.recopying.done()
    done.device = format_device_id(device)
    return done
