"""Hears when another device, or whatever carries the folder, changes a relay's folder: inotify on its shelves.

What another machine writes to a network file system is not heard; a courier polls anyway. The folder may come and go:
while it is not there, or has no mark, it is looked for every few seconds, and `changed` is called when it is back.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

from asyncinotify import Event, Inotify, Mask

from peerd.errors import RelayTrouble
from peerd.logs import get
from peerd.relay.files import OBJECT_NAME, SHELF_NAME
from peerd.relay.folder_trouble import MARK
from peerd.relay.worker import Worker

log = get(__name__)

SEARCH_S = 5.0
CHECK_S = 60.0  # for what inotify does not tell: something mounted over the folder, or a parent that was moved

_FILES = Mask.CREATE | Mask.CLOSE_WRITE | Mask.MOVED_TO | Mask.ONLYDIR
_ROOT = Mask.CREATE | Mask.MOVED_TO | Mask.DELETE | Mask.DELETE_SELF | Mask.MOVE_SELF | Mask.ONLYDIR
_LEFT = Mask.IGNORED | Mask.UNMOUNT | Mask.DELETE_SELF | Mask.MOVE_SELF
_EVENTS_AT_ONCE = 64


class FolderWatch:
    """Made and started by `start`."""

    def __init__(self, folder: Path, worker: Worker, changed: Callable[[], None], ours: Callable[[str], bool]) -> None:
        self._folder = folder
        self._worker = worker
        self._changed = changed
        self._ours = ours
        self._task: asyncio.Task[None] | None = None
        self._root = -1  # number of the watch on the folder itself
        self._identity = (0, 0)
        self._failed = False

    @classmethod
    def start(
        cls, folder: Path, worker: Worker, changed: Callable[[], None], ours: Callable[[str], bool]
    ) -> FolderWatch:
        """`changed` is called in this event loop, also when watching has begun; not for names that are `ours`."""
        watch = cls(folder, worker, changed, ours)
        watch._task = asyncio.create_task(watch._run(), name=f"watch {folder.name}")
        return watch

    async def close(self) -> None:
        """Hear nothing more. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        while True:
            inotify = None
            with suppress(RelayTrouble, OSError):  # it does not answer, or forbids to look: as good as not there
                inotify = await self._worker.run(self._begin)
            if inotify is None:
                await asyncio.sleep(SEARCH_S)
                continue
            with closing(inotify):
                self._changed()
                await self._listen(inotify)

    def _begin(self) -> Inotify | None:
        """Watch the folder as it is now; None if it is not there or cannot be watched."""
        if not (self._folder / MARK).is_file():
            return None
        try:
            inotify = Inotify(cache_size=_EVENTS_AT_ONCE)
        except OSError as problem:
            self._without(problem)
            return None
        try:
            self._root = inotify.add_watch(self._folder, _ROOT).wd
            self._identity = self._identity_now()
            for entry in os.scandir(self._folder):
                if SHELF_NAME.fullmatch(entry.name):
                    inotify.add_watch(self._folder / entry.name, _FILES)
        except OSError as problem:
            inotify.close()
            self._without(problem)
            return None
        self._failed = False
        return inotify

    async def _listen(self, inotify: Inotify) -> None:
        """Until the folder is no longer the one that is watched."""
        while True:
            getting = asyncio.ensure_future(inotify.get())
            try:
                while not getting.done():
                    await asyncio.wait([getting], timeout=CHECK_S)
                    if not getting.done() and not await self._is_same():
                        return
            finally:
                getting.cancel()
                await asyncio.wait([getting])
            if not await self._heard(inotify, getting.result()):
                return

    async def _heard(self, inotify: Inotify, event: Event) -> bool:
        """False when the watch must begin anew."""
        if event.mask & Mask.Q_OVERFLOW:
            return False
        name = str(event.name)
        if event.watch is None or event.watch.wd != self._root:
            if OBJECT_NAME.fullmatch(name) and not self._ours(name):
                self._changed()
            return True
        if event.mask & _LEFT or (name == MARK and event.mask & Mask.DELETE):
            return False
        if SHELF_NAME.fullmatch(name) and not event.mask & Mask.DELETE:
            with suppress(RelayTrouble, OSError):
                await self._worker.run(lambda: inotify.add_watch(self._folder / name, _FILES))
            self._changed()  # files may have come before the watch
        return True

    async def _is_same(self) -> bool:
        try:
            return await self._worker.run(self._identity_now) == self._identity
        except (RelayTrouble, OSError):
            return False

    def _identity_now(self) -> tuple[int, int]:
        found = self._folder.stat()
        return found.st_dev, found.st_ino

    def _without(self, problem: OSError) -> None:
        if not self._failed:
            log.warning("folder not watched", path=str(self._folder), cause=problem.strerror or str(problem))
        self._failed = True
