"""Files of one random schema on two or three devices, bound to copies of one space: whatever happens to them, and in
whatever order, in the end they show the same.

    python -m tests.tables.two_copies --runs 1000           exit 1 on any difference
    python -m tests.tables.two_copies --seed 42 --runs 1    one history again

Spaces, commits, runners and files are the real ones, without threads. A history is random: SQL of the application,
also between the steps of a harvest or projection; looks at the file, which may crash at each step; exchange in one
direction; a file that goes back to an older state. Then everything is exchanged until nothing moves, and `checks`
looks at what is there.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import traceback
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from unittest.mock import patch

import apsw
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from peerd.core.stored import StoredBinding
from peerd.core.tables.cells import unpack_cell
from peerd.core.tables.changes import Applied, Brake, Harvest, Projection, RowImage
from peerd.core.tables.plans import BindingPlan
from peerd.core.tables.settings import BindingSettings, encode_settings
from peerd.engine.tables.runner import BindingRunner
from peerd.identity import Identity
from peerd.tables import bound_file, install
from peerd.tables.bound_file import BoundFile
from peerd.tables.harvest import harvest
from peerd.tables.reading import read_schema
from tests.engine.conftest import Device, Hands, Wire
from tests.network_simulation.disk import scratch
from tests.tables import two_copies_checks as checks
from tests.tables.random_apps import RandomApp, random_app

EVENTS = 40
ROUNDS = 20
T = TypeVar("T")


class Crash(Exception):
    """The process is gone at this point."""


class Inline:
    """Satisfies `peerd.tables.worker.Worker` without a thread."""

    async def run(self, function: Callable[[], T]) -> T:
        return function()

    def close(self) -> None:
        pass


class ShakyFile(BoundFile):
    """Between its steps the application writes, or the process crashes. `meanwhile` is called before, `maybe_crash`
    before and after what changes something.
    """

    meanwhile: Callable[[], None]
    maybe_crash: Callable[[str], None]
    show: Callable[[Sequence[RowImage]], Awaitable[None]]

    async def harvest(self, now_ms: int) -> Harvest | None:
        found = await super().harvest(now_ms)
        self.maybe_crash("harvested")
        return found

    async def settle(self, note: bytes, dot: Any, *, late: bool = False) -> None:
        self.meanwhile()
        self.maybe_crash("committed, not settled")
        await super().settle(note, dot, late=late)
        self.maybe_crash("settled")

    async def shows(self, images: Sequence[RowImage]) -> bool:
        self.meanwhile()
        return await super().shows(images)

    async def project(self, images: Sequence[RowImage], applied: Applied, now_ms: int) -> Projection:
        self.meanwhile()
        await self.show(images)
        done = await super().project(images, applied, now_ms)
        self.maybe_crash("projected")
        return done


class ShakyFiles:
    """As much of `engine.tables.ports.TableFiles` as a runner needs that is never started."""

    def __init__(self, copy: Copy) -> None:
        self._copy = copy

    async def open(self, database: Path, binding: bytes, plan: BindingPlan, brake: Brake) -> ShakyFile:
        opened = bound_file._Opened(database, binding, plan, brake, self._copy.device.name)
        file = ShakyFile(opened, Inline())  # type: ignore[arg-type]  # it has no thread
        file.meanwhile, file.maybe_crash = self._copy.meanwhile, self._copy.maybe_crash
        file.show = self._copy.note_conflicts
        return file


class Clock(Hands):
    """Chance comes from the seed, and every device has its own idea of the time."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self._chance = chance
        self.pass_s(chance.choice((0, 0, 0.05, 3600)))

    def random_bytes(self, count: int) -> bytes:
        return self._chance.randbytes(count)


class Copy:
    """One device, its file, and the application that writes to it."""

    def __init__(self, device: Device, app: RandomApp, path: Path, chance: random.Random, story: list[str]) -> None:
        self.device, self.app, self.path = device, app, path
        self.is_shaky = False
        self.written: set[str] = set()  # tokens that the application committed here
        self.superseded: set[str] = set()  # tokens that it took away again, having seen them
        self.in_conflict: set[str] = set()  # tokens that a conflict listed when the file came to show the record
        self._chance, self._story = chance, story
        self._files = ShakyFiles(self)
        self._kept: tuple[bytes, set[str]] | None = None  # an older state of the file
        self.connection = self._connect()
        for statement in app.statements:
            self.connection.execute(statement)
        self.runner: BindingRunner | None = None

    def _connect(self) -> apsw.Connection:
        connection = apsw.Connection(str(self.path))
        connection.execute("PRAGMA foreign_keys = ON")
        if self.app.indexed:  # or SQLite itself lets a REPLACE go past the triggers that keep the index
            connection.execute("PRAGMA recursive_triggers = ON")
        return connection

    def tell(self, what: str) -> None:
        self._story.append(f"{self.device.name}: {what}")

    # ---- the application

    def write(self) -> None:
        """One transaction of random statements, or one that fails."""
        self.device.clock.pass_s(0.001)
        before = self.tokens()
        done: list[str] = []
        try:
            with self.connection:
                for _ in range(self._chance.choice((1, 1, 1, 2, 4))):
                    sql = self.app.statement(self._chance, self.device.name)
                    self.connection.execute(sql)
                    done.append(sql)
        except (apsw.ConstraintError, apsw.MismatchError) as problem:
            self.tell(f"fails ({problem})")
            return
        finally:
            after = self.tokens()
            self.superseded |= before - after
            self.written |= after - before
        self.tell("; ".join(done))

    def tokens(self) -> set[str]:
        return {str(note) for one in self.app.tables for (note,) in self.connection.execute(f"SELECT note FROM {one}")}

    def meanwhile(self) -> None:
        if self.is_shaky and self._chance.random() < 0.2:
            self.write()

    def maybe_crash(self, point: str) -> None:
        if self.is_shaky and self._chance.random() < 0.08:
            raise Crash(point)

    async def note_conflicts(self, images: Sequence[RowImage]) -> None:
        """What the application writes next to these rows settles their conflicts."""
        names = [(one.collection, one.key) for one in images]
        for record in (await checks.records(self, names)).values():
            if len(values := record.fields.get("note", {})) > 1:
                self.in_conflict |= {str(unpack_cell(value)) for value in values.values()}

    # ---- the binding

    async def bind(self, *, merging: bool) -> None:
        binding = self._chance.randbytes(16)
        schema = read_schema(self.connection)
        install.install(self.connection, schema, self.app.plan, binding)
        settings = encode_settings(BindingSettings(merging=merging))
        stored = StoredBinding(binding, "app", str(self.path), self.app.plan, settings)
        await self.device.space.store.bindings.save(stored)
        self.tell("bound")

    async def look(self) -> None:
        """Do all that there is to do, or crash."""
        if self.runner is None:
            (stored,) = await self.device.space.store.bindings.load()
            self.runner = BindingRunner(self.device.space, stored, self._files, self.device.clock)  # type: ignore[arg-type]  # it is never started
            works = [self.runner._catch_up]
        else:
            works = self._chance.choice(([self.runner._harvest], [self.runner._harvest, self.runner._project]))
            works = works if self.is_shaky else [self.runner._catch_up]
        try:
            for work in works:
                await work()
            self.tell("looked")
        except Crash as point:
            self.tell(f"crashed: {point}")
            await self.end()

    async def end(self) -> None:
        if self.runner is not None:
            await self.runner._close_file()
            self.runner = None

    async def go_back(self) -> None:
        """Keep the file as it is, or put back what was kept: what no harvest took is lost with the file."""
        await self.end()
        self.connection.close()
        if self._kept is None or self._chance.random() < 0.5:
            connection = self._connect()
            self._kept = self.path.read_bytes(), self.tokens_of(connection)
            connection.close()
            self.tell("kept the file")
        else:
            data, before = self._kept
            connection = self._connect()
            self.superseded |= self.tokens_of(connection) - before
            connection.close()
            self.path.write_bytes(data)
            self.tell("put back the older file")
        self.connection = self._connect()

    def tokens_of(self, connection: apsw.Connection) -> set[str]:
        return {str(note) for one in self.app.tables for (note,) in connection.execute(f"SELECT note FROM {one}")}

    async def close(self) -> None:
        await self.end()
        self.connection.close()
        await self.device.close()


class History(NamedTuple):
    """What a seed leads to."""

    story: list[str]
    problems: list[str]


def _device(name: str, folder: Path, wire: Wire, chance: random.Random) -> Device:
    identity = Identity(
        Ed25519PrivateKey.from_private_bytes(chance.randbytes(32)),
        X25519PrivateKey.from_private_bytes(chance.randbytes(32)),
    )
    (folder / name).mkdir()
    with patch.object(Identity, "load_or_create", lambda _: identity):
        return Device(name, folder / name, wire, Clock(random.Random(chance.random())), threaded=False)


async def _copies(folder: Path, chance: random.Random, story: list[str]) -> list[Copy]:
    wire, app = Wire(), random_app(chance)
    story += app.statements
    devices = [_device(name, folder, wire, chance) for name in ("one", "two", "three")[: chance.choice((2, 2, 3))]]
    await devices[0].spaces.found("home")
    await devices[0].admit(*devices[1:])
    return [Copy(device, app, folder / f"{device.name}.db", chance, story) for device in devices]


async def _live(copies: Sequence[Copy], chance: random.Random) -> None:
    """Bind, and then whatever comes."""
    for copy in copies:
        for _ in range(chance.choice((0, 0, 3))):
            copy.write()
        await copy.bind(merging=copy is not copies[0] and chance.random() < 0.5)
    for copy in copies:
        copy.is_shaky = True
    for _ in range(EVENTS):
        copy = chance.choice(copies)
        event = chance.random()
        if event < 0.5:
            copy.write()
        elif event < 0.8:
            await copy.look()
        elif event < 0.97:
            other = chance.choice([one for one in copies if one is not copy])
            await copy.device.tell(other.device)
            copy.tell(f"told {other.device.name}")
        else:
            await copy.go_back()
    for copy in copies:
        copy.is_shaky = False


async def _exchange(copies: Sequence[Copy]) -> bool:
    """Until nothing moves; False if it goes on for ever."""
    for _ in range(ROUNDS):
        before = [copy.device.clock_now() for copy in copies]
        for copy in copies:
            await copy.look()
            await copy.device.tell(*(one.device for one in copies if one is not copy))
            copy.device.clock.pass_s(0.01)
        now = [copy.device.clock_now() for copy in copies]
        if now == before and all(one == now[0] for one in now):
            return True
    return False


async def _history(folder: Path, seed: int) -> History:
    chance = random.Random(seed)
    story: list[str] = []
    problems: list[str] = []
    drawn = partial(harvest, draw=chance.randbytes)
    with patch.object(bound_file, "harvest", drawn):
        copies = await _copies(folder, chance, story)
        try:
            await _live(copies, chance)
            story.append("---- everything is exchanged")
            if not await _exchange(copies):
                problems.append("it never comes to rest")
            problems += await checks.problems(copies)
        except Exception:  # noqa: BLE001 - a finding like any other, told with its history
            problems.append(traceback.format_exc())
        finally:
            for copy in copies:
                await copy.close()
    return History(story, problems)


def run(seed: int) -> History:
    """The history of a seed, from nothing to the end."""
    with scratch() as folder:
        return asyncio.run(_history(folder, seed))


def failures(seeds: Sequence[int]) -> Iterator[str]:
    """What went wrong, a text for each seed."""
    for seed in seeds:
        history = run(seed)
        if history.problems:
            yield "\n".join([f"seed {seed}", *history.story, *(f"PROBLEM: {one}" for one in history.problems)])


def main() -> int:
    parser = argparse.ArgumentParser(description="Files on several devices show the same in the end.")
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--keep-going", action="store_true", help="do not stop at the first failure")
    given = parser.parse_args()
    failed = 0
    for failure in failures(range(given.seed, given.seed + given.runs)):
        sys.stdout.write(f"{failure}\n\n")
        sys.stdout.flush()
        failed += 1
        if not given.keep_going:
            break
    sys.stdout.write(f"{failed} failed\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
