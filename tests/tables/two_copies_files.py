"""Bound files for `two_copies`, whose application writes between their steps, and whose process may be gone at each."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from peerd.core.tables.changes import Applied, Brake, Harvest, Projection, RowImage
from peerd.core.tables.plans import BindingPlan
from peerd.tables import bound_file
from peerd.tables.bound_file import BoundFile
from tests.engine.conftest import Hands

if TYPE_CHECKING:
    from tests.tables.two_copies import Copy

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
