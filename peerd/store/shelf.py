"""Where the databases of the spaces stand: one file per space under `spaces/`, its mark under `marks/`.

`marks/` is to be left out of backups: a database that comes back without its mark is known for a copy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from peerd.core.statements import SignedStatement
from peerd.core.stored import Opened
from peerd.errors import DiskFull, StoreBusy, StoreError
from peerd.logs import get
from peerd.store.space import SpaceStore

log = get(__name__)


class Shelf:
    """`failed` maps the names (or file names) of spaces that could not be opened to why."""

    def __init__(
        self,
        folder: Path,
        device: bytes,
        random_bytes: Callable[[int], bytes],
        wall_ms: Callable[[], int],
        *,
        threaded: bool = True,
    ) -> None:
        self.failed: dict[str, StoreError] = {}
        self._spaces = folder / "spaces"
        self._marks = folder / "marks"
        self._device = device
        self._random_bytes = random_bytes
        self._wall_ms = wall_ms
        self._threaded = threaded

    @staticmethod
    def databases(folder: Path) -> list[Path]:
        """The databases of the state directory `folder`, opened or not."""
        return sorted((folder / "spaces").glob("*.db"))

    def prepare(self) -> None:
        """Make the folders. Raises OSError."""
        for folder in (self._spaces, self._marks):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    async def open_all(self) -> list[tuple[Opened, SpaceStore]]:
        """Every database on the shelf; those that fail are in `failed`, and the others go on.

        Raises:
            StoreBusy: another peerd has this state directory.
        """
        return await self._open_each(sorted(self._spaces.glob("*.db")))

    async def open_again(self) -> list[tuple[Opened, SpaceStore]]:
        """Those that could not be opened for want of room, and now can."""
        full = [self._spaces / f"{stem}.db" for stem, why in self.failed.items() if isinstance(why, DiskFull)]
        return await self._open_each(full)

    async def _open_each(self, paths: Sequence[Path]) -> list[tuple[Opened, SpaceStore]]:
        stores: list[tuple[Opened, SpaceStore]] = []
        for path in paths:
            try:
                store = await self._open(path)
            except StoreBusy:
                for _, opened in stores:
                    await opened.close()
                raise
            except StoreError as problem:
                if path.stem not in self.failed:
                    log.warning("space not opened", path=str(path), code=problem.code, cause=str(problem))
                self.failed[path.stem] = problem
                continue
            self.failed.pop(path.stem, None)
            stores.append((store.opened, store))
        return stores

    async def create(self, space: bytes, name: str, statements: Sequence[SignedStatement]) -> tuple[Opened, SpaceStore]:
        """A new, empty copy, durable with its statements. An old copy of the same space is set aside, not deleted."""
        path = self._spaces / f"{space.hex()}.db"
        if path.exists():
            self._set_aside(path)
        await SpaceStore.create(path, space, name, self._random_bytes, threaded=self._threaded)
        store = await self._open(path)
        try:
            await store.add_statements(statements)
        except BaseException:
            await store.close()
            self._delete(path)  # a copy that does not know its founder is none
            raise
        await store.close()
        store = await self._open(path)
        return store.opened, store

    def _delete(self, path: Path) -> None:
        for suffix in ("-wal", "-shm", ""):
            path.with_name(path.name + suffix).unlink(missing_ok=True)

    async def _open(self, path: Path) -> SpaceStore:
        mark = self._marks / f"{path.stem}.mark"
        return await SpaceStore.open(
            path, self._device, mark, self._random_bytes, self._wall_ms, threaded=self._threaded
        )

    def _set_aside(self, path: Path) -> None:
        number = 1
        while (aside := path.with_name(f"{path.stem}.aside-{number}")).exists():
            number += 1
        for suffix in ("-wal", "-shm", ""):
            part = path.with_name(path.name + suffix)
            if part.exists():
                part.replace(aside.with_name(aside.name + suffix))
        log.info("old copy set aside", path=str(aside))
