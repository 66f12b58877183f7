"""A relay in a folder that something else carries: a NAS, a folder that is kept the same elsewhere, a stick.

The folder must exist and hold the file `peerd-relay`, which `prepare` makes. That is for a person to ask for (or for
somebody who knows that this device never used the folder): peerd cannot tell a new folder from a mount point with
nothing mounted on it, which it would fill instead, unseen by everybody else. PROTOCOL.md, "Folders".
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from peerd.errors import LocalProtocolError, RelayTrouble
from peerd.protocol.relay.objects import OBJECT_BYTES, RelayObject
from peerd.relay import files
from peerd.relay.files import OBJECT_NAME, Files, tag_of
from peerd.relay.folder_trouble import translated
from peerd.relay.folder_watch import FolderWatch
from peerd.relay.probing import Probe, probe
from peerd.relay.worker import Worker

T = TypeVar("T")

SWEEP_S = 24 * 3600.0
_REMEMBERED = 4_096


class FolderRelay:
    """Satisfies `peerd.engine.ports.RelayStore`. A tag is a hash of the content, so that it says the same to everybody,
    and after a file came back from a backup. Several couriers may use one.
    """

    object_bytes = OBJECT_BYTES

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._worker = Worker(f"The relay's folder {folder}")
        self._watch: FolderWatch | None = None
        self._written: dict[str, None] = {}
        self._swept_s: float | None = None

    def watch(self, changed: Callable[[], None]) -> None:
        """Call `changed`, in this event loop, when somebody else may have written, and when the folder is back."""
        self._watch = FolderWatch.start(self._folder, self._worker, changed, self._written.__contains__)

    async def prepare(self) -> None:
        """Make the folder a relay's, if it exists, and see that it can be written. Raises RelayTrouble."""

        def work() -> None:
            with translated(self._folder):
                files.mark(self._folder)

        await self._worker.run(work)

    async def lookup(self, names: Sequence[str], *, contents: bool) -> Mapping[str, RelayObject]:
        def work(open_files: Files) -> dict[str, RelayObject]:
            found = ((name, open_files.read(name)) for name in names)
            return {
                name: RelayObject(tag_of(data), data if contents else None) for name, data in found if data is not None
            }

        return await self._run(names, work)

    async def create(self, objects: Mapping[str, bytes]) -> Sequence[str]:
        self._remember(objects)
        different = await self._run(
            objects, lambda open_files: [name for name, data in objects.items() if not open_files.create(name, data)]
        )
        await self._sweep()
        return different

    async def replace(self, name: str, data: bytes, tag: str | None) -> str | None:
        def work(open_files: Files) -> str | None:
            there = open_files.read(name)
            if tag is None or there == data:
                return tag_of(data) if open_files.create(name, data) else None
            if there is None or tag_of(there) != tag:
                return None
            open_files.replace(name, data)
            return tag_of(data)

        self._remember([name])
        new_tag = await self._run([name], work)
        await self._sweep()
        return new_tag

    async def leave(
        self, objects: Mapping[str, bytes], name: str, data: bytes, tag: str | None
    ) -> tuple[Sequence[str], str | None]:
        different = await self.create(objects)
        return different, None if different else await self.replace(name, data, tag)

    async def delete(self, names: Sequence[str]) -> None:
        def work(open_files: Files) -> None:
            for name in names:
                open_files.delete(name)

        await self._run(names, work)

    async def check(self, name: str) -> list[Probe]:
        """Make the folder a relay's if it is none yet, and try all that is needed."""
        try:
            await self.prepare()
        except RelayTrouble as trouble:
            return [Probe("folder", ok=False, text=f"{trouble} [{trouble.code}]", next_step=trouble.next_step)]
        return [Probe("folder", ok=True, text=f"{self._folder} is there"), *await probe(self, name)]

    async def close(self) -> None:
        """Idempotent; what was asked for is done."""
        if self._watch is not None:
            await self._watch.close()
        self._worker.close()

    async def _run(self, names: Sequence[str] | Mapping[str, bytes], work: Callable[[Files], T]) -> T:
        for name in names:
            if not OBJECT_NAME.fullmatch(name):
                raise LocalProtocolError(f"{name!r} is no name of an object")

        def done() -> T:
            with translated(self._folder), Files(self._folder, self.object_bytes) as open_files:
                return work(open_files)

        return await self._worker.run(done)

    async def _sweep(self) -> None:
        """Once a day, after something was written: who only reads writes nothing."""
        now_s = asyncio.get_running_loop().time()
        if self._swept_s is None or now_s - self._swept_s > SWEEP_S:
            self._swept_s = now_s
            with suppress(RelayTrouble):  # what was asked for is done; whoever asks next hears of it
                await self._run((), Files.sweep)

    def _remember(self, names: Sequence[str] | Mapping[str, bytes]) -> None:
        """What we write is no news when we hear of it."""
        for name in names:
            self._written[name] = None
        while len(self._written) > _REMEMBERED:
            del self._written[next(iter(self._written))]
