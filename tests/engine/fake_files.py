"""Applications' files that are dictionaries: what the engine may expect of a bound file, in a few lines."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from peerd.core.clocks import Dot, ReadClock
from peerd.core.tables.changes import (
    Applied,
    Brake,
    Harvest,
    Parked,
    Projection,
    RowEdit,
    RowImage,
    SaidAgain,
    TableCount,
)
from peerd.core.tables.classify import Question
from peerd.core.tables.plans import BindingPlan, KeyClass, TablePlan
from peerd.core.tables.proposals import Choices, Proposal
from peerd.core.tables.shape import Column, Schema, Table
from peerd.core.values import pack, unpack
from peerd.engine.tables.ports import Remembered
from peerd.errors import StoreError

Name = tuple[str, str]
PLAN = BindingPlan("todo", (TablePlan(1, "tasks", "todo.tasks", KeyClass.NATURAL, ("id",)),))


class FakeDatabase:
    """Rows by (collection, key), and what was shown of them. Set `trouble`, and everything meets it."""

    def __init__(self) -> None:
        self.rows: dict[Name, dict[str, bytes]] = {}
        self.shown: dict[Name, tuple[dict[str, bytes], frozenset[Dot]]] = {}
        self.binding: bytes | None = None
        self.counter = 0
        self.applied: Applied | None = None
        self.parked: dict[Name, Parked] = {}
        self.blocked: set[str] = set()  # keys that cannot be shown
        self.held: dict[str, int] = {}
        self.trouble: Exception | None = None
        self.trouble_at = ""  # at this call alone
        self.at_once = 1000
        self.read = False
        self.asked_read = 0
        self.reading_disturbs = False
        self.in_the_way_s = 0.0
        self.changed: list[Callable[[], None]] = []
        self.projected: list[tuple[tuple[Name, ...], Applied]] = []
        self.before_project: Callable[[], None] = lambda: None
        self.before_settle: Callable[[], None] = lambda: None

    # ---- the application

    def put(self, key: str, collection: str = "todo.tasks", **fields: Any) -> None:
        self.rows[collection, key] = {name: pack(value) for name, value in fields.items()}
        self.tell()

    def delete(self, key: str, collection: str = "todo.tasks") -> None:
        del self.rows[collection, key]
        self.tell()

    def tell(self) -> None:
        for changed in self.changed:
            changed()

    @property
    def plain(self) -> dict[str, dict[str, Any]]:
        return {key: {name: unpack(cell) for name, cell in row.items()} for (_, key), row in self.rows.items()}

    @property
    def dirty(self) -> list[Name]:
        return [
            name
            for name in sorted({*self.rows, *self.shown})
            if self.rows.get(name) != (self.shown[name][0] if name in self.shown else None)
        ]


class FakeFile:
    def __init__(self, database: FakeDatabase, files: FakeFiles) -> None:
        self.database = database
        self.files = files

    def _meet(self, call: str) -> None:
        here = self.database
        if here.trouble is not None and here.trouble_at in {"", call}:
            raise here.trouble

    async def harvest(self, now_ms: int) -> Harvest | None:  # noqa: ARG002 - it thinks of no earlier versions
        self._meet("harvest")
        here = self.database
        dirty = here.dirty
        if not dirty:
            return None
        here.counter += 1
        edits = [self._edit(name) for name in dirty[: here.at_once]]
        rows = [(name, here.rows.get(name)) for name in dirty[: here.at_once]]
        note = msgspec.msgpack.encode([here.counter, rows])
        return Harvest(tuple(edits), note, more=len(dirty) > here.at_once)

    def _edit(self, name: Name) -> RowEdit:
        row = self.database.rows.get(name)
        if name not in self.database.shown:
            return RowEdit("put", *name, row or {})
        cells, dots = self.database.shown[name]
        if row is None:
            return RowEdit("delete", *name, seen=dots)
        return RowEdit("patch", *name, {one: cell for one, cell in row.items() if cells.get(one) != cell}, dots)

    async def settle(self, note: bytes, dot: Dot | None, *, late: bool = False) -> None:
        del late
        self._meet("settle")
        here = self.database
        here.before_settle()
        counter, rows = msgspec.msgpack.decode(note, type=tuple[int, list[tuple[Name, dict[str, bytes] | None]]])
        if counter != here.counter:
            return
        here.counter += 1
        for name, row in rows:
            if row is None:
                here.shown.pop(name, None)
                continue
            dots = here.shown[name][1] if name in here.shown else frozenset()
            here.shown[name] = row, dots | ({dot} if dot else set())

    async def project(self, images: Sequence[RowImage], applied: Applied, now_ms: int) -> Projection:  # noqa: ARG002 - as above
        self._meet("project")
        here = self.database
        here.before_project()
        if here.dirty:
            return Projection(dirty=True)
        new = []
        here.projected.append((tuple((image.collection, image.key) for image in images), applied))
        for image in images:
            name = image.collection, image.key
            here.rows.pop(name, None)
            here.shown.pop(name, None)
            here.parked.pop(name, None)
            if image.fields is not None and image.key in here.blocked:
                here.parked[name] = Parked(*name, "unique", "another row has its value")
                new.append(here.parked[name])
            elif image.fields is not None:
                here.rows[name] = image.fields
                here.shown[name] = image.fields, image.dots
        here.applied = applied
        return Projection(parked=tuple(new))

    async def shows(self, images: Sequence[RowImage]) -> bool:
        self._meet("shows")
        shown = self.database.shown
        return not self.database.parked and all(
            shown.get((image.collection, image.key)) == (None if image.fields is None else (image.fields, image.dots))
            for image in images
        )

    async def applied(self) -> Applied | None:
        self._meet("applied")
        return self.database.applied

    async def parked(self) -> Sequence[Parked]:
        self._meet("parked")
        return list(self.database.parked.values())

    async def held(self) -> Mapping[str, int]:
        return self.database.held

    async def approve(self, table: str) -> None:
        self.database.held.pop(table)

    async def restore(self, table: str) -> Sequence[Name]:
        self.database.held.pop(table)
        return [name for name in self.database.shown if name not in self.database.rows]

    async def not_captured(self) -> Sequence[tuple[str, str, str]]:
        return ()

    async def schema(self) -> Schema:
        return self.files.schema

    async def counts(self) -> Mapping[str, TableCount]:
        self._meet("counts")
        return {"tasks": TableCount(rows=len(self.database.rows), parked=len(self.database.parked))}

    async def keys(self, collection: str) -> Sequence[str]:
        return [key for found, key in self.database.shown if found == collection]

    async def beyond(self, collection: str, clock: ReadClock) -> Mapping[str, frozenset[Dot]]:
        return {
            key: dots
            for (found, key), (_, dots) in self.database.shown.items()
            if found == collection and any(dot.seq > clock.get(dot.origin, 0) for dot in dots)
        }

    async def say_again(self, collection: str, whole: Collection[str], cells: Mapping[str, Collection[str]]) -> None:
        shown = self.database.shown
        for key in whole:
            shown.pop((collection, key))
        for key, others in cells.items():
            row, dots = shown[collection, key]
            shown[collection, key] = {name: cell for name, cell in row.items() if name in others}, dots

    async def check(self) -> None:
        self._meet("check")

    def is_read(self) -> bool:
        self.database.asked_read += 1
        return self.database.read

    def is_written(self) -> bool:
        return False

    def reading_disturbs(self) -> bool:
        return self.database.reading_disturbs

    def in_the_way_s(self) -> float:
        return self.database.in_the_way_s

    async def close(self) -> None:
        return


class FakeWatch:
    def __init__(self, database: FakeDatabase, changed: Callable[[], None]) -> None:
        self._database = database
        self._changed = changed
        database.changed.append(changed)

    async def close(self) -> None:
        self._database.changed.remove(self._changed)


class FakeFiles:
    """Databases by path. `schema` is what each looks like."""

    def __init__(self) -> None:
        self.databases: dict[Path, FakeDatabase] = {}
        self.backups: list[tuple[Path, Path]] = []
        self.kept: list[Path] = []
        self.forgotten: list[tuple[str, str, int | None]] = []
        self.alive: Mapping[str, Collection[str]] = {}
        self.remembered: Remembered | None = None
        self.extended: list[tuple[BindingPlan, set[int], SaidAgain, bool]] = []
        columns = (Column("id", "TEXT", not_null=True, key_place=1), Column("title", "TEXT"))
        tasks = Table("tasks", "CREATE TABLE tasks (id TEXT PRIMARY KEY NOT NULL, title TEXT)", columns, ("id",))
        self.schema = Schema({"tasks": tasks}, frozenset(), frozenset(), "wal", 1)

    def at(self, path: Path | str) -> FakeDatabase:
        return self.databases.setdefault(Path(path), FakeDatabase())

    async def read_schema(self, database: Path) -> Schema:
        if database not in self.databases:
            raise StoreError(f"there is no file {database}", code="file-missing")
        return self.schema

    async def count_rows(self, database: Path, tables: Sequence[str]) -> Mapping[str, int]:
        found = [collection.rpartition(".")[2] for collection, _ in self.at(database).rows]
        return {table: found.count(table) for table in tables}

    async def back_up(self, database: Path, target: Path) -> None:
        self.backups.append((database, target))

    async def carried(self, database: Path) -> bytes | None:
        return self.databases[database].binding if database in self.databases else None

    async def bind(
        self,
        database: Path,
        binding: bytes,
        plan: BindingPlan,
        *,
        empty: bool,
        remembered: Remembered | None = None,
    ) -> None:
        del plan
        self.remembered = remembered
        here = self.at(database)
        here.binding = binding
        here.shown.clear()
        if empty:
            here.rows.clear()

    async def extend(
        self, database: Path, binding: bytes, plan: BindingPlan, new: Collection[int], again: SaidAgain, *, empty: bool
    ) -> None:
        here = self.at(database)
        assert here.binding == binding
        self.extended.append((plan, set(new), again, empty))
        here.applied = Applied(b"", 0)

    async def recognised(self, database: Path, plan: BindingPlan, remembered: Remembered) -> Mapping[str, int]:
        del plan
        self.alive = remembered.alive
        return {"tasks": 1} if remembered.place in self.kept and database in self.databases else {}

    async def forget(self, folder: Path, begins: str, before_ms: int | None) -> None:
        self.forgotten.append((folder.name, begins, before_ms))

    async def unbind(self, database: Path, binding: bytes | None, keep: Path | None = None) -> bool:
        here = self.at(database)
        if keep is not None:
            self.kept.append(keep)
        if here.binding is None or binding not in {None, here.binding}:
            return False
        here.binding = here.applied = None
        here.shown.clear()
        return True

    async def open(self, database: Path, binding: bytes, plan: BindingPlan, brake: Brake) -> FakeFile:
        del plan, brake
        here = self.at(database)
        if here.trouble is not None and here.trouble_at in {"", "open"}:
            raise here.trouble
        assert here.binding == binding
        return FakeFile(here, self)

    async def watch(self, database: Path, changed: Callable[[], None]) -> FakeWatch:
        return FakeWatch(self.at(database), changed)


def propose(schema: Schema, name: str, choices: Choices) -> Proposal:
    """Every table by its own key; of a table without one the class is asked for."""
    tables, questions, left_out = [], [], {}
    for number, table in enumerate(schema.tables.values(), 1):
        if table.name in choices.exclude:
            left_out[table.name] = "it is excluded"
            continue
        if choices.include and table.name not in choices.include:
            left_out[table.name] = "it was left out by choice"
            continue
        given = choices.keys.get(table.name)
        if table.key == ("rowid",) and given is None:
            questions.append(Question(table.name, "keys", "which rows are the same?", ("surrogate", "content")))
        identity = choices.match.get(table.name, ())  # the rows of these files have no column for their key
        named = [(place.partition("."), parent) for place, parent in choices.references.items()]
        references = {column: parent for (owner, _, column), parent in named if owner == table.name}
        tables.append(
            TablePlan(
                number, table.name, f"{name}.{table.name}", KeyClass(given or "natural"), tuple(identity), references
            )
        )
    return Proposal(tuple(tables), left_out=left_out, questions=tuple(questions))
