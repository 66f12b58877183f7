"""Hears when somebody writes to a database: inotify on its directory, for the file, its `-wal` and its `-journal`.

The directory is watched and not the file, so that a file that is replaced, deleted or made again is heard of too, and
a `-wal` that does not exist yet. `-shm` is left out: readers change it as well. Where inotify cannot be had (no more
instances or watches, a directory that is gone), `polls` is true, `changed` is called once a second, and it is
tried again.

What another machine writes to a file on a network file system is not heard; SQLite itself does not work there reliably.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from asyncinotify import Inotify, Mask

from peerd.logs import get

log = get(__name__)

POLL_S = 1.0
_SUFFIXES = ("", "-wal", "-journal")
_MASK = (
    Mask.MODIFY
    | Mask.ATTRIB
    | Mask.CREATE
    | Mask.DELETE
    | Mask.MOVED_FROM
    | Mask.MOVED_TO
    | Mask.DELETE_SELF
    | Mask.MOVE_SELF
)
_DIRECTORY_LEFT = Mask.IGNORED | Mask.UNMOUNT | Mask.MOVE_SELF
_EVENTS_AT_ONCE = 64


class FileWatch:
    """Made by `start`."""

    def __init__(self, database: Path, changed: Callable[[], None]) -> None:
        self.polls = False
        self._database = database
        self._changed = changed
        self._task: asyncio.Task[None] | None = None

    @classmethod
    def start(cls, database: Path, changed: Callable[[], None]) -> FileWatch:
        """`changed` is called in this event loop."""
        watch = cls(database, changed)
        inotify = watch._begin()  # at once: whatever is written from now on is heard
        watch._task = asyncio.create_task(watch._run(inotify), name=f"watch {database.name}")
        return watch

    async def close(self) -> None:
        """Hear nothing more. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self, inotify: Inotify | None) -> None:
        while True:
            if inotify is not None:
                await self._listen(inotify)
            inotify = self._begin()
            self._changed()  # whatever happened while nobody listened
            if inotify is None:
                await asyncio.sleep(POLL_S)

    def _begin(self) -> Inotify | None:
        """Watch the directory as it is now; None if that cannot be."""
        try:
            inotify = Inotify(cache_size=_EVENTS_AT_ONCE)
        except OSError as problem:
            self._without(problem)
            return None
        try:
            inotify.add_watch(self._database.resolve().parent, _MASK | Mask.ONLYDIR)
        except OSError as problem:
            inotify.close()
            self._without(problem)
            return None
        if self.polls:
            log.info("file watched again", path=str(self._database))
        self.polls = False
        return inotify

    def _without(self, problem: OSError) -> None:
        if not self.polls:
            log.warning("file not watched", path=str(self._database), cause=problem.strerror or str(problem))
        self.polls = True

    async def _listen(self, inotify: Inotify) -> None:
        """Until the directory is no longer the one that is watched."""
        with closing(inotify):
            name = self._database.resolve().name
            ours = {Path(name + suffix) for suffix in _SUFFIXES}
            async for event in inotify:
                if event.mask & _DIRECTORY_LEFT:
                    return
                if event.name in ours or event.mask & Mask.Q_OVERFLOW:
                    self._changed()
