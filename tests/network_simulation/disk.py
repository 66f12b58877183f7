"""The disk of a simulated device: real SQLite files, a thread that is a task, and faults.

Like the real thread, the task does what was called even if nobody waits for it any more, one thing after the other.
When the life of the process ends, what had not begun never happens; what was committed stays.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import sqlite3
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from peerd.core.roster.statements import SignedStatement
from peerd.core.stored import Opened
from peerd.store.machine import Machine
from peerd.store.migrate import build
from peerd.store.runners import Runner
from peerd.store.shelf import Shelf
from peerd.store.space import SpaceStore

if TYPE_CHECKING:
    from tests.network_simulation.device import Device

T = TypeVar("T")
Fault = Callable[[], Exception | None]


_MEMORY = Path("/dev/shm")  # noqa: S108 - a disk that syncs at once, where there is one


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder for the disks of a simulation, in memory if possible: what syncing costs is not what is asked here."""
    with tempfile.TemporaryDirectory(prefix="peerd-simulated-", dir=_MEMORY if _MEMORY.is_dir() else None) as name:
        yield Path(name)


class TaskRunner:
    """Satisfies `store.runners.Runner`. `fault()` gives what the disk says instead of doing it, if anything."""

    def __init__(self, inner: Runner, chance: random.Random, fault: Fault) -> None:
        self.latency_s = 0.001
        self._inner = inner
        self._chance = chance
        self._fault = fault
        self._queue: deque[tuple[Callable[[sqlite3.Connection], Any], asyncio.Future[Any]]] = deque()
        self._task: asyncio.Task[None] | None = None

    async def run(self, function: Callable[[sqlite3.Connection], T]) -> T:
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._queue.append((function, answer))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work(), name="disk")
        return await answer

    async def _work(self) -> None:
        while self._queue:
            await asyncio.sleep(self._chance.random() * self.latency_s)
            function, answer = self._queue.popleft()
            result = problem = None
            try:
                problem = self._fault()
                result = None if problem else await self._inner.run(function)
            except Exception as caught:  # noqa: BLE001 - whoever asked gets it
                problem = caught
            if self._chance.random() < 0.3:
                await asyncio.sleep(self._chance.random() * self.latency_s)
            if answer.done():
                continue
            if problem is not None:
                answer.set_exception(problem)
            else:
                answer.set_result(result)

    async def close(self) -> None:
        if self._task is not None and not self._task.done():
            await asyncio.wait([self._task])
        await self._inner.close()


@cache
def _new_database() -> bytes:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        build(connection)
        return connection.serialize()


def build_from_template(connection: sqlite3.Connection) -> None:
    """What `store.migrate.build` does: statement by statement for each device and space, it is a tenth of all work."""
    connection.execute("ROLLBACK")
    with closing(sqlite3.connect(":memory:")) as template:
        template.deserialize(_new_database())
        template.backup(connection)
    connection.execute("BEGIN IMMEDIATE")


class SimShelf(Shelf):
    """The real shelf, on databases without threads, with a machine that can be started again. `made_way` gets the old
    copies of those who are let in again.
    """

    def __init__(
        self,
        folder: Path,
        device: bytes,
        chance: random.Random,
        wall_ms: Callable[[], int],
        machine: Machine,
        fault: Fault,
        made_way: set[Path],
    ) -> None:
        super().__init__(folder, device, chance.randbytes, wall_ms, threaded=False)
        self._made_way = made_way
        self.stores: list[SpaceStore] = []
        self._chance = chance
        self._machine = machine
        self._fault = fault

    async def create(self, space: bytes, name: str, statements: Sequence[SignedStatement]) -> tuple[Opened, SpaceStore]:
        if (problem := self._fault()) is not None:
            raise problem
        return await super().create(space, name, statements)

    async def _open(self, path: Path) -> SpaceStore:
        store = await SpaceStore.open(
            path, self._device, self._marks / f"{path.stem}.mark", self._random_bytes, self._wall_ms,
            threaded=False, machine=self._machine,
        )  # fmt: skip
        database = store._database
        database._writer = TaskRunner(database._writer, self._chance, self._fault)
        database._reader = TaskRunner(database._reader, self._chance, lambda: None)
        self.stores.append(store)
        return store

    def _set_aside(self, path: Path) -> Path:
        before = set(path.parent.iterdir())
        aside = super()._set_aside(path)
        self._made_way.update(set(path.parent.iterdir()) - before)
        return aside

    async def abandon(self) -> None:
        """The process is gone: let go of the files without a word."""
        for store in self.stores:
            for name in ("_writer", "_reader"):
                runner = getattr(store._database, name)
                setattr(store._database, name, runner._inner)
            if store._lock._descriptor >= 0:
                store._closing = None  # one that was cut short, as everything else
                await store.abandon()


def damage(device: Device, space: bytes, chance: random.Random) -> tuple[str, str] | None:
    """Change or remove a record behind the daemon's back; gives which. None if there is none."""
    (path,) = (one for one in (device.state / "spaces").glob("*.db") if space.hex() in one.name)
    with closing(sqlite3.connect(path)) as connection, connection:
        rows = connection.execute("SELECT collection, key, body FROM record ORDER BY collection, key").fetchall()
        if not rows:
            return None
        collection, key, body = chance.choice(rows)
        if chance.random() < 0.3 or not body:
            connection.execute("DELETE FROM record WHERE collection = ? AND key = ?", (collection, key))
        else:
            at = chance.randrange(len(body))
            other = body[:at] + bytes([body[at] ^ (1 << chance.randrange(8))]) + body[at + 1 :]
            connection.execute("UPDATE record SET body = ? WHERE collection = ? AND key = ?", (other, collection, key))
        (name,) = connection.execute("SELECT name FROM collection WHERE number = ?", (collection,)).fetchone()
    return name, key


def being_taken_in(state: Path) -> set[Path]:
    """The copies that a fork set aside and that are not taken in yet, as the databases know them."""
    found: set[Path] = set()
    for path in (state / "spaces").glob("*.db"):
        with closing(sqlite3.connect(path)) as connection:
            found.update(Path(name) for (name,) in connection.execute("SELECT name FROM recopy"))
    return found


class Backups:
    """Older copies of a device's databases. The mark is left out, as it should be, or not, as of a virtual machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kept: Path | None = None

    def take(self, state: Path) -> None:
        """While the device is stopped."""
        shutil.rmtree(self.folder / "backup", ignore_errors=True)
        self.kept = self.folder / "backup"
        shutil.copytree(state, self.kept)

    def put_back(self, state: Path, *, whole_machine: bool = False) -> None:
        """A restored file is another file; a machine that was set back has the same ones with older content."""
        assert self.kept is not None
        if not whole_machine:
            for path in (self.kept / "spaces").iterdir():
                for suffix in ("", "-wal", "-shm"):
                    (state / "spaces" / (path.name + suffix)).unlink(missing_ok=True)
        parts = ("spaces", "marks") if whole_machine else ("spaces",)
        for part in parts:
            kept = {path.name for path in (self.kept / part).iterdir()}
            for path in (state / part).iterdir() if whole_machine else ():
                if path.name not in kept:  # a log of the database, or a copy that was set aside since
                    path.unlink()
            for path in (self.kept / part).iterdir():
                target = state / part / path.name
                if whole_machine and target.exists():
                    target.write_bytes(path.read_bytes())
                else:
                    shutil.copy(path, target)
