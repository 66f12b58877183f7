"""Backups of this device while it works: a copy of each space, one after the other, each of one moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from peerd.core.device_id import format_device_id
from peerd.engine.ports import Keys, Times
from peerd.engine.space import Space
from peerd.engine.spaces import Spaces
from peerd.errors import PeerdError, StoreDamaged, StoreError, UserError
from peerd.logs import get
from peerd.protocol.control.backups import BackedUp, BackupEvent, BackupMade, BackupOf, NotBackedUp

log = get(__name__)

TOLD_EVERY_S = 0.5


class Draft(Protocol):
    """A backup in the making: `peerd.store.backup_folder` has the contract."""

    def place_of(self, space: bytes) -> Path: ...
    async def finish(self, backup: BackupOf) -> None: ...
    async def give_up(self) -> None: ...


class Backups:
    """`begin(target, files)` makes the folder; `files(keys)` are what goes into it beside the databases, as names in
    the folder and where they are now.
    """

    def __init__(
        self,
        spaces: Spaces,
        keys: Keys,
        times: Times,
        begin: Callable[[Path, Mapping[str, Path]], Draft],
        *,
        version: str,
        device_name: Callable[[], str],
    ) -> None:
        self.files: Callable[[bool], Mapping[str, Path]]
        self._spaces = spaces
        self._keys = keys
        self._times = times
        self._begin = begin
        self._version = version
        self._device_name = device_name
        self._busy = False

    async def make(self, target: Path, *, keys: bool) -> AsyncGenerator[BackupEvent, None]:
        """Check the target, then give what becomes of it; the last event has `made`. A generator that is closed
        before leaves nothing behind.

        Raises:
            UserError: bad-body, backup-exists, backup-refused, backup-running. DiskFull, StoreError.
        """
        if not target.is_absolute():
            raise UserError("the path of a backup is an absolute one", code="bad-body")
        if self._busy:
            raise UserError(
                "another backup is being made at this moment",
                code="backup-running",
                status=409,
                next_step="Wait for its end.",
            )
        draft = await asyncio.to_thread(self._begin, target, self.files(keys))
        return self._making(target, draft, keys=keys)

    async def _making(self, target: Path, draft: Draft, *, keys: bool) -> AsyncGenerator[BackupEvent, None]:
        held: list[BackedUp] = []
        lacking = [_not(name, failure) for name, failure in sorted(self._spaces.failed.items())]
        whole, self._busy = False, True
        try:
            for space in sorted(self._spaces.by_id.values(), key=lambda one: one.name):
                copying = _Copying(space, draft.place_of(space.id))
                async for event in copying.events():
                    yield event
                if copying.failure is None:
                    held.append(BackedUp(name=space.name, id=space.id.hex(), size_bytes=copying.all_bytes))
                else:
                    lacking.append(_not(space.name, copying.failure))
            backup = BackupOf(
                version=self._version,
                device=format_device_id(self._keys.device),
                device_name=self._device_name(),
                made_ms=self._times.wall_ms(),
                spaces=held,
                lacking=lacking,
            )
            await draft.finish(backup)
            whole = True
        finally:
            self._busy = False
            if not whole:
                await draft.give_up()
        log.info("backup made", path=str(target), count=len(held))
        yield BackupEvent(made=BackupMade(path=str(target), keys=keys, backup=backup))


class _Copying:
    """One space's copy. One that is damaged does not stop the backup of the others."""

    def __init__(self, space: Space, target: Path) -> None:
        self.failure: StoreError | None = None
        self.all_bytes = 0
        self._moved = 0
        self._ended = False
        self._space = space
        self._target = target

    def _step(self, moved: int, all_bytes: int) -> None:
        """Called in the thread that copies."""
        if self._ended:
            raise StoreError("nobody waits for this backup any more", code="cancelled")
        self._moved, self.all_bytes = moved, all_bytes

    async def events(self) -> AsyncGenerator[BackupEvent, None]:
        task = asyncio.create_task(self._space.store.back_up(self._target, self._step), name="backup")
        try:
            while not task.done():
                await asyncio.wait([task], timeout=TOLD_EVERY_S)
                yield BackupEvent(space=self._space.name, copied_bytes=self._moved, all_bytes=self.all_bytes)
        finally:
            self._ended = True
            with suppress(StoreError):
                await task
        try:
            task.result()
        except StoreDamaged as problem:
            log.warning("space not backed up", space=self._space.name, code=problem.code, cause=str(problem))
            self.failure = problem


def _not(name: str, failure: Exception) -> NotBackedUp:
    step = failure.step_in(name) if isinstance(failure, PeerdError) else ""
    return NotBackedUp(name=name, reason=str(failure), next_step=step)
