"""Where the databases of the spaces stand: one file per space under `spaces/`, its mark under `marks/`.

Beside each database stands its space's name, for when the database cannot be read. `set-aside/` takes copies of spaces
that were forgotten.

`marks/` is to be left out of backups: a database that comes back without its mark is known for a copy.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from peerd.core.names import check_space_name
from peerd.core.roster.statements import SignedStatement
from peerd.core.stored import Opened
from peerd.errors import StoreBusy, StoreDamaged, StoreError, UserError
from peerd.logs import get
from peerd.store import binding_copy, founding, roster_copy, upgrading
from peerd.store.connecting import check_library
from peerd.store.failures import translate
from peerd.store.opening import lock_of
from peerd.store.space import SpaceStore

log = get(__name__)

_ID = re.compile("[0-9a-f]{32}")
_NAME_BYTES = 256
_TRACES = frozenset({".name", ".roster", ".bindings", ".mark"})
_LASTING = frozenset({"store-newer", "store-missing"})  # no waiting helps


class Shelf:
    """`failed` maps the names of spaces that could not be opened (the id, where no name is known) to why."""

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
        self._aside = folder / "set-aside"
        self._backups = folder / "backups"
        self._stems: dict[str, str] = {}  # name in `failed` -> the file's name without its end
        self._unsynced: set[str] = set()  # of these, by the same, a sync failed (see `unsynced`)
        self._device = device
        self._random_bytes = random_bytes
        self._wall_ms = wall_ms
        self._threaded = threaded

    @staticmethod
    def databases(folder: Path) -> list[Path]:
        """The databases of the state directory `folder`, opened or not."""
        return sorted((folder / "spaces").glob("*.db"))

    def prepare(self) -> None:
        """Make the folders. Raises OSError, and StoreError if no database can be made or read with this Python."""
        check_library()
        for folder in (self._spaces, self._marks):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    async def open_all(self) -> list[tuple[Opened, SpaceStore]]:
        """Every database on the shelf; those that fail are in `failed`, and the others go on.

        Raises:
            StoreBusy: another peerd has this state directory.
        """
        for stem in self._remembered():
            database = self._spaces / f"{stem}.db"
            if not database.exists():
                self._fail(database, _missing(database))
        return await self._open_each(sorted(self._spaces.glob("*.db")))

    def _remembered(self) -> list[str]:
        """The ids of the spaces of which anything says that they are on this device."""
        traces = [*self._spaces.iterdir(), *self._marks.iterdir()]
        found = {one.stem for one in traces if one.suffix in _TRACES}
        return sorted(stem for stem in found if _ID.fullmatch(stem))

    def passing(self) -> list[str]:
        """The names of those that could not be opened for a reason that may have passed: a full disk, one that could
        not be read or written.
        """
        return [
            name for name, why in self.failed.items() if not isinstance(why, StoreDamaged) and why.code not in _LASTING
        ]

    async def open_again(self, name: str) -> list[tuple[Opened, SpaceStore]]:
        """One of `failed`, if it can be opened now."""
        return await self._open_each([self._spaces / f"{self._stems[name]}.db"] if name in self._stems else [])

    def lay_down(self, space: bytes, name: str, why: StoreError, *, unsynced: bool) -> None:
        """It was open, was closed, and is to be opened again. `unsynced`: a sync of it failed."""
        self.failed[name], self._stems[name] = why, space.hex()
        if unsynced:
            self._unsynced.add(space.hex())

    def salvage(self, space: bytes) -> list[SignedStatement]:
        """The roster of a space that cannot be opened, as far as it can be read; unverified."""
        return roster_copy.salvage(self._spaces / f"{space.hex()}.db")

    def _fail(self, path: Path, problem: StoreError) -> None:
        known = self._give_up(path.stem)
        if known is None:
            log.warning("space not opened", path=str(path), code=problem.code, cause=str(problem))
        name = known or self._name_beside(path)
        self.failed[name], self._stems[name] = problem, path.stem

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
                self._fail(path, problem)
                continue
            self._give_up(path.stem)
            self._write_name(path, store.opened.name)
            stores.append((store.opened, store))
        return stores

    async def create(self, space: bytes, name: str, statements: Sequence[SignedStatement]) -> tuple[Opened, SpaceStore]:
        """A new, empty copy, durable with its statements; it is there whole or not at all. An old copy of the same
        space is set aside, not deleted; what was bound to it is bound to the new one. After a failure it stands where
        it stood, and is in `failed` if it was.
        """
        path = self._spaces / f"{space.hex()}.db"
        bound = binding_copy.salvage(path)
        before = {one for one in self._traces(path) if one.exists()}
        aside = self._set_aside(path) if path.exists() else None
        try:
            await founding.create(path, space, name, self._random_bytes, statements, bound, threaded=self._threaded)
            store = await self._open(path)
        except BaseException:
            self._delete(path)  # whoever asked is told that there is none
            for trace in self._traces(path):
                if trace not in before:
                    trace.unlink(missing_ok=True)  # else it would be missed at the next start
            if aside is not None:
                _move(aside, path)
            raise
        self._give_up(path.stem)
        self._write_name(path, name)
        return store.opened, store

    def forget(self, space: bytes, *, delete: bool) -> Path | None:
        """Be rid of a database that is not open: where it was set aside, None if it was deleted. Raises StoreError."""
        path = self._spaces / f"{space.hex()}.db"
        try:
            aside = None if delete else self._move_aside(path)
            self._delete(path)
            older = upgrading.copies(path, self._backups) if delete else []
            for beside in (*self._traces(path), lock_of(path), *older):
                beside.unlink(missing_ok=True)
        except OSError as problem:
            raise translate(problem, path) from problem
        self._give_up(path.stem)
        return aside

    def failed_space(self, name: str) -> bytes | None:
        """The id of the space that is listed in `failed` by this name."""
        stem = self._stems.get(name, "")
        return bytes.fromhex(stem) if _ID.fullmatch(stem) else None

    def failed_name(self, space: bytes) -> str | None:
        """The other way round."""
        return next((name for name, stem in self._stems.items() if stem == space.hex()), None)

    def _traces(self, path: Path) -> tuple[Path, ...]:
        """The small files that tell of a database."""
        return (
            path.with_suffix(".name"),
            roster_copy.place(path),
            binding_copy.place(path),
            self._mark(path),
        )

    def _mark(self, path: Path) -> Path:
        return self._marks / f"{path.stem}.mark"

    def _give_up(self, stem: str) -> str | None:
        """It is in `failed` no longer: the name by which it was."""
        name = next((name for name, one in self._stems.items() if one == stem), None)
        if name is not None:
            del self.failed[name], self._stems[name]
        return name

    def _name_beside(self, path: Path) -> str:
        """What the space is called here, as far as that stands beside its database and is nobody else's."""
        try:
            name = path.with_suffix(".name").read_bytes()[:_NAME_BYTES].decode().strip()
            check_space_name(name)
        except (OSError, UnicodeDecodeError, UserError):
            return path.stem
        return path.stem if name in self.failed else name

    def _write_name(self, path: Path, name: str) -> None:
        """For people only: a failure does no harm."""
        beside = path.with_suffix(".name")
        try:
            if not beside.exists() or beside.read_text(encoding="utf-8") != name + "\n":
                beside.write_text(name + "\n", encoding="utf-8")
        except (OSError, UnicodeDecodeError) as problem:
            log.warning("name not written", path=str(beside), cause=str(problem))

    def _move_aside(self, path: Path) -> Path:
        self._aside.mkdir(mode=0o700, exist_ok=True)
        number = 1
        while (aside := self._aside / f"{path.stem}-{number}.db").exists():
            number += 1
        _move(path, aside)
        return aside

    def _delete(self, path: Path) -> None:
        for suffix in ("-wal", "-shm", ""):
            path.with_name(path.name + suffix).unlink(missing_ok=True)

    async def _open(self, path: Path) -> SpaceStore:
        store = await SpaceStore.open(
            path, self._device, self._mark(path), self._random_bytes, self._wall_ms,
            threaded=self._threaded, backups=self._backups, alone=path.stem in self._unsynced,
        )  # fmt: skip
        self._unsynced.discard(path.stem)
        return store

    def _set_aside(self, path: Path) -> Path:
        number = 1
        while (aside := path.with_name(f"{path.stem}.aside-{number}")).exists():
            number += 1
        _move(path, aside)
        log.info("old copy set aside", path=str(aside))
        return aside


def _move(path: Path, to: Path) -> None:
    """A database that is not open, with what belongs to it."""
    for suffix in ("-wal", "-shm", ""):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.replace(to.with_name(to.name + suffix))


def _missing(path: Path) -> StoreError:
    return StoreError(
        f"{path} is not there, and the space was on this device.",
        code="store-missing",
        next_step="Put the file back and start the daemon again; or `peerctl space rebuild NAME` gets a new copy from "
        "the other members; or `peerctl space forget NAME`.",
    )
