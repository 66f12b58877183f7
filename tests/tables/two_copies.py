"""Files of one random schema on two or three devices, bound to copies of one space: whatever happens to them, and in
whatever order, in the end they show the same.

    python -m tests.tables.two_copies --runs 1000           exit 1 on any difference
    python -m tests.tables.two_copies --seed 42 --runs 1    one history again; --log shows what the devices say

Spaces, commits, runners and files are the real ones, without threads. A history is random: SQL of the application,
also between the steps of a harvest or projection; looks at the file, which may crash at each step; exchange in one
direction; a file that goes back to an older state; and in some of them much of what `acts` has. Then everything is
exchanged until nothing moves, and `checks` looks at what is there.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import apsw
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from peerd import logs
from peerd.core.stored import StoredBinding
from peerd.core.tables.cells import unpack_cell
from peerd.core.tables.changes import Brake, RowImage
from peerd.core.tables.settings import BindingSettings, encode_settings
from peerd.engine.tables.runner import BindingRunner
from peerd.errors import TableTrouble
from peerd.identity import Identity
from peerd.tables import bound_file, install
from peerd.tables.harvest import harvest
from peerd.tables.reading import read_schema
from tests.engine.conftest import Device, Hands, Wire
from tests.network_simulation.disk import scratch
from tests.tables import two_copies_acts as acts
from tests.tables import two_copies_checks as checks
from tests.tables.random_apps import RandomApp, random_app
from tests.tables.two_copies_files import Clock, Crash, ShakyFiles

EVENTS = 40
ROUNDS = 20


class Copy:
    """One device, its file, and the application that writes to it."""

    def __init__(self, device: Device, app: RandomApp, path: Path, chance: random.Random, story: list[str]) -> None:
        self.device, self.app, self.path = device, app, path
        self.is_shaky = False
        self.written: set[str] = set()  # tokens that the application committed here
        self.superseded: set[str] = set()  # tokens that it took away again, having seen them
        self.in_conflict: set[str] = set()  # tokens that a conflict listed when the file came to show the record
        self.brake = Brake(1, 20) if chance.random() < 0.3 else Brake()
        self._chance, self._story = chance, story
        self._files = ShakyFiles(self)
        self.all: Sequence[Copy] = ()
        self.kept_space: Path | None = None  # an older state of the database of its space,
        self.kept_binding = b""  # in which this was bound
        self.away: list[str] = []  # tables that have another name now
        self._kept: tuple[bytes, set[str], list[str]] | None = None  # an older state of the file
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
        except (apsw.ConstraintError, apsw.MismatchError, apsw.SQLError) as problem:
            self.tell(f"fails ({problem})")
            return
        finally:
            after = self.tokens()
            self.superseded |= before - after
            self.written |= after - before
        self.tell("; ".join(done))

    def do(self, sql: str) -> None:
        """What concerns no row."""
        self.tell(sql)
        self.connection.execute(sql)

    def tokens(self) -> set[str]:
        return self.tokens_of(self.connection)

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

    async def bind(self, *, merging: bool, place: Path | None = None) -> None:
        """`place` has what the file was known by."""
        binding = self._chance.randbytes(16)
        known = await acts.alive(self)
        with closing(apsw.Connection(str(self.path))) as connection:
            install.install(connection, read_schema(connection), self.app.plan, binding)
            if place is not None:
                acts.meet(place, self, connection, known)
        settings = encode_settings(BindingSettings(brake=self.brake, merging=merging))
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
        except (Crash, TableTrouble) as point:
            if isinstance(point, TableTrouble) and point.code not in {"table-failed", "copy-filling"}:
                raise
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
            self._kept = self.path.read_bytes(), self.tokens_of(connection), list(self.away)
            connection.close()
            self.tell("kept the file")
        else:
            data, before, away = self._kept
            connection = self._connect()
            self.superseded |= self.tokens_of(connection) - before
            connection.close()
            self.away = list(away)
            self.path.write_bytes(data)
            self.tell("put back the older file")
        self.connection = self._connect()

    def forget_kept(self) -> None:
        """No older state is put back any more: it would be one of another binding."""
        self._kept = None

    def tokens_of(self, connection: apsw.Connection) -> set[str]:
        tables = [f"away_{one}" if one in self.away else one for one in self.app.tables]
        return {str(note) for one in tables for (note,) in connection.execute(f"SELECT note FROM {one}")}

    @property
    def space_path(self) -> Path:
        """The database of its space."""
        return self.device.folder / "spaces" / f"{self.device.space.id.hex()}.db"

    async def reopen(self) -> None:
        """The same device after a start."""
        before = self.device
        self.device = _opened(before.name, before.folder, before.wire, before.clock, before.keys)
        await self.device.spaces.open_all()

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
    return _opened(name, folder / name, wire, Clock(random.Random(chance.random())), identity)


def _opened(name: str, folder: Path, wire: Wire, clock: Hands, identity: Identity) -> Device:
    with patch.object(Identity, "load_or_create", lambda _: identity):
        return Device(name, folder, wire, clock, threaded=False)


async def _copies(folder: Path, chance: random.Random, story: list[str]) -> list[Copy]:
    wire, app = Wire(), random_app(chance)
    story += app.statements
    devices = [_device(name, folder, wire, chance) for name in ("one", "two", "three")[: chance.choice((2, 2, 3))]]
    await devices[0].spaces.found("home")
    await devices[0].admit(*devices[1:])
    copies = [Copy(device, app, folder / f"{device.name}.db", chance, story) for device in devices]
    for copy in copies:
        copy.all = copies
    return copies


async def _live(copies: Sequence[Copy], chance: random.Random) -> None:
    """Bind, and then whatever comes."""
    for copy in copies:
        for _ in range(chance.choice((0, 0, 3))):
            copy.write()
        await copy.bind(merging=copy is not copies[0] and chance.random() < 0.5)
    for copy in copies:
        copy.is_shaky = True
    acts_share = chance.choice((0.03, 0.1, 0.3))
    for _ in range(EVENTS):
        copy = chance.choice(copies)
        if chance.random() < acts_share:
            await acts.any_of(copy, chance)
            continue
        event = chance.random()
        if event < 0.5:
            copy.write()
        elif event < 0.8:
            await copy.look()
        elif event < 0.97:
            other = chance.choice([one for one in copies if one is not copy])
            await copy.device.tell(other.device)
            other.device.space.is_filled = True  # it has been in step with a member
            copy.tell(f"told {other.device.name}")
        else:
            await copy.go_back()
    for copy in copies:
        copy.is_shaky = False
        await acts.put_back(copy)
        await acts.update(copy)


async def _exchange(copies: Sequence[Copy], chance: random.Random | None = None) -> bool:
    """Until nothing moves; False if it goes on for ever."""
    for _ in range(ROUNDS):
        before = [copy.device.clock_now() for copy in copies]
        for copy in copies:
            await copy.look()
            await acts.decide(copy, chance or random.Random(0))
            await copy.device.tell(*(one.device for one in copies if one is not copy))
            for one in copies:
                one.device.space.is_filled |= one is not copy
            copy.device.clock.pass_s(0.01)
        now = [copy.device.clock_now() for copy in copies]
        has_looked = all(copy.runner is not None for copy in copies)
        if has_looked and now == before and all(one == now[0] for one in now):
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
            if not await _exchange(copies, chance):
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
    parser.add_argument("--log", action="store_true", help="show what the devices log")
    given = parser.parse_args()
    logs.configure("debug" if given.log else "critical", "console", stream=sys.stderr)
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
