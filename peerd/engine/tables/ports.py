"""What the engine needs of applications' files, and of the database of a space for what is bound to it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from peerd.core.clocks import Dot, ReadClock
from peerd.core.stored import StoredBinding
from peerd.core.tables.changes import Applied, Brake, Harvest, Parked, Projection, RowImage, SaidAgain, TableCount
from peerd.core.tables.plans import BindingPlan
from peerd.core.tables.shape import Schema


class TableFile(Protocol):
    """An application's database with the tables of one binding. Whatever writes is durable when it returns, and whole
    whenever its caller is cancelled. Everything raises TableTrouble or DiskFull. `now_ms` is the wall clock.
    """

    async def harvest(self, now_ms: int) -> Harvest | None:
        """What the application did since the last harvest was settled; None: nothing."""
        ...

    async def settle(self, note: bytes, dot: Dot | None, *, late: bool = False) -> None:
        """The transaction of a harvest is durable in the space. Again, it does nothing. `late`: the file was closed
        since the harvest, and may have gone back to before it.
        """
        ...

    async def project(self, images: Sequence[RowImage], applied: Applied, now_ms: int) -> Projection: ...
    async def shows(self, images: Sequence[RowImage]) -> bool:
        """Would projecting these change nothing that anybody sees, nor what rows have seen? Only reads."""
        ...

    async def applied(self) -> Applied | None: ...
    async def parked(self) -> Sequence[Parked]: ...
    async def held(self) -> Mapping[str, int]:
        """Rows whose deletes the brake holds back, by table."""
        ...

    async def approve(self, table: str) -> None:
        """Let the deletes that are held go on: the next harvest has them."""
        ...

    async def restore(self, table: str) -> Sequence[tuple[str, str]]:
        """Undo the deletes that are held. Gives the names of the records to project again."""
        ...

    async def schema(self) -> Schema:
        """As the last harvest read it; the same object until it changes."""
        ...

    async def counts(self) -> Mapping[str, TableCount]: ...
    async def not_captured(self) -> Sequence[tuple[str, str, str]]:
        """Rows that earlier harvests could not take, as in `Harvest.troubles`."""
        ...

    async def keys(self, collection: str) -> Sequence[str]:
        """Of the records that the file shows."""
        ...

    async def beyond(self, collection: str, clock: ReadClock) -> Mapping[str, frozenset[Dot]]:
        """The records whose rows show a transaction that `clock` does not cover, each with all that its row shows."""
        ...

    async def say_again(self, collection: str, whole: Collection[str], cells: Mapping[str, Collection[str]]) -> None:
        """The next harvest says these records, though nobody wrote to their rows: `whole` as new ones, of `cells` all
        but the columns that are named, as far as they differ from what the space has. Rows that are gone are left
        alone.
        """
        ...

    async def check(self) -> None:
        """Is it still the file that was bound, and can it be used? Raises TableTrouble."""
        ...

    def is_read(self) -> bool:
        """Is another process reading it at this moment?"""
        ...

    def is_written(self) -> bool:
        """Is another process writing to it at this moment? What it wrote may be heard of, and not be seen yet."""
        ...

    def reading_disturbs(self) -> bool:
        """Is a harvest in the way of those who write, as it is without a WAL?"""
        ...

    def in_the_way_s(self) -> float:
        """For how many seconds, in all since it was opened, others could not use it because of us."""
        ...

    async def close(self) -> None: ...


class FileWatch(Protocol):
    async def close(self) -> None: ...


class Remembered(NamedTuple):
    """What an unbound file is known by: where that is kept, and the records that the space has, by table."""

    place: Path
    alive: Mapping[str, Collection[str]]


class TableFiles(Protocol):
    """Applications' databases, before and after they are bound. Everything raises TableTrouble or DiskFull."""

    async def read_schema(self, database: Path) -> Schema: ...
    async def count_rows(self, database: Path, tables: Sequence[str]) -> Mapping[str, int]: ...
    async def back_up(self, database: Path, target: Path) -> None: ...
    async def carried(self, database: Path) -> bytes | None:
        """The binding whose marks the file carries, if any: it may be a copy of a bound one."""
        ...

    async def bind(
        self,
        database: Path,
        binding: bytes,
        plan: BindingPlan,
        *,
        empty: bool,
        remembered: Remembered | None = None,
    ) -> None:
        """Install what the binding needs in the file, instead of what an earlier one left. Every row counts as new
        then, but for those that are `remembered`; or, with `empty`, the rows of the bound tables are taken out.
        """
        ...

    async def recognised(self, database: Path, plan: BindingPlan, remembered: Remembered) -> Mapping[str, int]:
        """How many rows of each table `bind` would recognise."""
        ...

    async def forget(self, folder: Path, begins: str, before_ms: int | None) -> None:
        """Delete what was kept in `folder` under names that begin so, if it is older."""
        ...

    async def extend(
        self, database: Path, binding: bytes, plan: BindingPlan, new: Collection[int], again: SaidAgain, *, empty: bool
    ) -> None:
        """`plan` takes the place of the binding's plan; `new` are the numbers of tables that it did not have. Their
        rows count as new, or, with `empty`, are taken out. The next harvest says the cells in `again` anew. Everything
        is projected again.
        """
        ...

    async def unbind(self, database: Path, binding: bytes | None, keep: Path | None = None) -> bool:
        """Remove every trace of this binding, or, with None, of whichever it carries. False if there was none. What
        its rows are known by is kept at `keep`, if there is room.
        """
        ...

    async def open(self, database: Path, binding: bytes, plan: BindingPlan, brake: Brake) -> TableFile: ...
    async def watch(self, database: Path, changed: Callable[[], None]) -> FileWatch:
        """`changed` is called, in the event loop, when somebody may have written to the file, and when it comes and
        goes; once a second where the system does not tell.
        """
        ...


class BindingStore(Protocol):
    """The bindings of a space, in its database. Every method that writes is durable when it returns."""

    async def load(self) -> Sequence[StoredBinding]:
        """All of them, by name. Raises StoreDamaged."""
        ...

    async def save(self, binding: StoredBinding) -> None:
        """Keep name, database, plan and settings; the note is left as it is."""
        ...

    async def forget(self, binding: bytes) -> None: ...
