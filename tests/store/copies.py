"""A copy of a space on a real disk, written to through the same batches as the engine's."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from msgspec import Raw

from peerd.core.batch import Author, Batch
from peerd.core.chain import Run
from peerd.core.copy import CopyState
from peerd.core.entry import Change, Kind, decode
from peerd.core.origin import Announcement, origin_of
from peerd.core.stored import Opened
from peerd.core.values import pack
from peerd.core.writes import finish
from peerd.store import founding
from peerd.store.machine import Machine
from peerd.store.space import SpaceStore
from peerd.store.transaction import OpenTransaction

SPACE = b"S" * 16
DEVICE = b"D" * 32
ADMISSION = b"A" * 16
MACHINE = Machine("this machine", "first boot")
NOW_MS = 1_750_000_000_000


def put(collection: str, key: str, **fields: Any) -> Change:
    return Change(Kind.PUT, collection, key, {name: Raw(pack(value)) for name, value in fields.items()})


def patch(collection: str, key: str, **fields: Any) -> Change:
    return Change(Kind.PATCH, collection, key, {name: Raw(pack(value)) for name, value in fields.items()})


def delete(collection: str, key: str) -> Change:
    return Change(Kind.DELETE, collection, key)


class Copy:
    """A device's copy: the engine's part in a few lines. Signatures are constant here; nothing checks them."""

    def __init__(self, folder: Path, *, threaded: bool, device: bytes = DEVICE) -> None:
        self.path = folder / "space.db"
        self.mark_path = folder / "marks" / "space.mark"
        self.device = device
        self.machine = MACHINE
        self.threaded = threaded
        self.backups: Path | None = None
        self.alone = False
        self.chance = random.Random(1)
        self.store: SpaceStore
        self.state: CopyState
        self.origin: Any = None  # of 16 bytes once something was written

    async def create(self) -> Copy:
        await founding.create(self.path, SPACE, "home", self.chance.randbytes, threaded=self.threaded)
        return self

    async def open(self) -> Opened:
        self.store = await SpaceStore.open(
            self.path, self.device, self.mark_path, self.chance.randbytes, lambda: NOW_MS,
            threaded=self.threaded, machine=self.machine, backups=self.backups, alone=self.alone,
        )  # fmt: skip
        self.state, self.origin = self.store.opened.state, self.store.opened.own_origin
        return self.store.opened

    async def reopen(self) -> Opened:
        await self.store.close()
        return await self.open()

    def author(self) -> Author:
        if self.origin is None or self.origin not in self.state.origins:
            announcement = Announcement(self.device, ADMISSION, self.chance.randbytes(16))
            self.origin = origin_of(SPACE, announcement)
        else:
            announcement = self.state.origins[self.origin].announcement
        return Author(self.origin, announcement, lambda _: b"s" * 64)

    async def write(self, *transactions: Sequence[Change], t_ms: int = 1000) -> None:
        """Each argument is a transaction; all are one commit."""
        author = self.author()

        def inside(transaction: OpenTransaction) -> Any:
            batch = Batch(self.state, transaction, lambda *_: None, lambda *_: True)
            batch.load([change.record for changes in transactions for change in changes])
            for changes in transactions:
                batch.write(author, changes, t_ms, 2)
            writes = finish(batch)
            return writes, writes.state

        self.state = await self.store.transact(inside, own_origin=lambda: self.origin)

    async def take(self, announcement: Announcement, *runs: Run, unstaged: Sequence[int] = ()) -> list[Any]:
        """Runs of another device, in one commit."""

        def inside(transaction: OpenTransaction) -> Any:
            batch = Batch(self.state, transaction, lambda *_: None, lambda *_: True)
            batch.state = batch.state.with_origin(origin_of(SPACE, announcement), announcement)
            verdicts = [batch.take(run, [decode(data) for data in run.entries]) for run in runs]
            writes = finish(batch)
            return writes, (writes.state, verdicts)

        verdicts: list[Any]
        self.state, verdicts = await self.store.transact(inside, unstaged=lambda: unstaged)
        return verdicts

    async def record(self, collection: str, key: str) -> Any:
        found = await self.store.read(lambda transaction: transaction.records([(collection, key)]))
        return found.get((collection, key))


async def write_number(copy: Copy, number: int) -> None:
    """One transaction of a series: a record of its own, and one field that all of them change."""
    await copy.write([put("todo", f"{number:05}", n=number), patch("todo", "last", n=number)])


MakeCopy = Callable[..., Awaitable[Copy]]
LogEvents = Callable[[], list[dict[str, Any]]]
