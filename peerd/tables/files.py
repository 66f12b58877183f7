"""Applications' files before they are bound and when they are opened: the way into this folder."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeVar

import apsw

from peerd.core.tables.changes import Brake, SaidAgain
from peerd.core.tables.plans import BindingPlan
from peerd.core.tables.shape import Schema
from peerd.errors import TableTrouble
from peerd.logs import get
from peerd.tables import install, shadow
from peerd.tables.bound_file import BoundFile
from peerd.tables.extend import extend
from peerd.tables.opening import connect, translated
from peerd.tables.reading import read_schema
from peerd.tables.remembered import Alive, recognise, recognised, remember
from peerd.tables.triggers import quoted
from peerd.tables.watch import FileWatch
from peerd.tables.worker import Worker

log = get(__name__)

T = TypeVar("T")

_BACKUP_PAGES = 1_000


class Files:
    """Satisfies `peerd.engine.tables.ports.TableFiles`. `device` is the text of this device's id."""

    def __init__(self, device: str) -> None:
        self._device = device

    async def read_schema(self, database: Path) -> Schema:
        return await _once(database, _schema)

    async def count_rows(self, database: Path, tables: Sequence[str]) -> Mapping[str, int]:
        return await _once(database, lambda connection: _counted(connection, tables))

    async def back_up(self, database: Path, target: Path) -> None:
        await _once(database, lambda connection: _back_up(connection, target))

    async def carried(self, database: Path) -> bytes | None:
        return await _once(database, shadow.carried)

    async def bind(
        self,
        database: Path,
        binding: bytes,
        plan: BindingPlan,
        *,
        empty: bool,
        remembered: tuple[Path, Alive] | None = None,
    ) -> None:
        def work(connection: apsw.Connection) -> None:
            rows: Literal["empty", "mark"] = "empty" if empty else "mark"
            schema = _schema(connection)
            install.install(connection, schema, plan, binding, rows=rows, instead=True)
            if remembered is not None and not empty:
                recognise(connection, schema, plan, *remembered)

        await _once(database, work)

    async def extend(
        self, database: Path, binding: bytes, plan: BindingPlan, new: Collection[int], again: SaidAgain, *, empty: bool
    ) -> None:
        await _once(database, lambda connection: extend(connection, plan, binding, new, again, empty=empty))

    async def recognised(self, database: Path, plan: BindingPlan, remembered: tuple[Path, Alive]) -> Mapping[str, int]:
        return await _once(database, lambda connection: recognised(connection, _schema(connection), plan, *remembered))

    async def unbind(self, database: Path, binding: bytes | None, keep: Path | None = None) -> bool:
        def work(connection: apsw.Connection) -> bool:
            if keep is not None and shadow.carried(connection) == binding:
                try:
                    remember(connection, keep)
                except (apsw.Error, OSError) as problem:
                    log.warning("rows not remembered", path=str(database), cause=str(problem))
            return install.uninstall(connection, binding)

        return await _once(database, work)

    async def forget(self, folder: Path, begins: str, before_ms: int | None) -> None:
        def work() -> None:
            for path in folder.glob("*.db*"):
                is_old = before_ms is None or path.stat().st_mtime * 1000 < before_ms
                if path.name.startswith(begins) and is_old:
                    path.unlink(missing_ok=True)

        worker = Worker("forget")
        try:
            await worker.run(work)
        finally:
            worker.close()

    async def open(self, database: Path, binding: bytes, plan: BindingPlan, brake: Brake) -> BoundFile:
        return await BoundFile.open(database, binding, plan, brake, self._device)

    async def watch(self, database: Path, changed: Callable[[], None]) -> FileWatch:
        return FileWatch.start(database, changed)


async def _once(database: Path, work: Callable[[apsw.Connection], T]) -> T:
    """Run `work` over a connection of its own, in a thread. Raises TableTrouble, DiskFull."""

    def done() -> T:
        connection = connect(database)
        try:
            with translated(database):
                return work(connection)
        finally:
            connection.close()

    worker = Worker(f"look at {database.name}")
    try:
        return await worker.run(done)
    finally:
        worker.close()


def _schema(connection: apsw.Connection) -> Schema:
    try:
        return read_schema(connection)
    except UnicodeDecodeError as problem:
        raise TableTrouble(
            "a table or column has a name that is not UTF-8",
            code="tables-refused",
            next_step="Such a database cannot be bound.",
        ) from problem


def _counted(connection: apsw.Connection, tables: Iterable[str]) -> dict[str, int]:
    counts = {}
    for table in tables:
        ((rows,),) = connection.execute(f"SELECT count(*) FROM main.{quoted(table)}").fetchall()
        counts[table] = int(str(rows))
    return counts


def _back_up(connection: apsw.Connection, target: Path) -> None:
    """A whole copy at one moment, readable by us alone."""
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    copy = apsw.Connection(str(target))
    try:
        target.chmod(0o600)
        with copy.backup("main", connection, "main") as backup:
            while not backup.done:
                backup.step(_BACKUP_PAGES)
    finally:
        copy.close()
