"""What else happens to a bound file, besides what its application writes: the application is updated, tables are made
anew or are away for a while, the file is let go and bound again, held deletes are decided, records are written over the
socket.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import apsw

from peerd.core.entry import Kind
from peerd.core.intents import Intent
from peerd.core.tables.cells import pack_cell, unpack_cell
from peerd.core.tables.plans import KeyClass
from peerd.engine.tables.images import TableImages
from peerd.tables import install, remembered
from peerd.tables.reading import read_schema
from tests.tables.random_apps import MORE
from tests.tables.two_copies_files import Crash

if TYPE_CHECKING:
    from tests.tables.two_copies import Copy

Act = Callable[["Copy", random.Random], Awaitable[None]]


# ---- the application


async def update(copy: Copy, chance: random.Random | None = None) -> None:
    """A new version of the application, which makes its columns when it starts."""
    del chance
    for name, table in copy.app.tables.items():
        here = {str(row[1]) for row in copy.connection.execute(f"PRAGMA table_info({name})")}
        if table.more and here and "later" not in here:
            copy.do(f"ALTER TABLE {name} ADD COLUMN {MORE}")


async def vacuum(copy: Copy, chance: random.Random) -> None:
    """It numbers rows anew that have no integer of their own: an index by that would be wrong without us, too."""
    del chance
    if all("id" in copy.app.tables[name].columns for name in copy.app.indexed):
        copy.do("VACUUM")


async def rebuild(copy: Copy, chance: random.Random) -> None:
    """As SQLite's documentation says that other changes of a schema are to be made."""
    free = [name for name, one in copy.app.tables.items() if "id" in one.columns or name not in copy.app.indexed]
    if not free:
        return
    name = chance.choice(free)
    triggers = "SELECT sql FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = ? AND name NOT GLOB '_peerd_*'"
    sql = copy.connection.execute("SELECT sql FROM sqlite_schema WHERE name = ?", (name,)).fetchall()
    again = [str(row[0]) for row in copy.connection.execute(triggers, (name,))]
    kept = [str(row[1]) for row in copy.connection.execute(f"PRAGMA table_info({name})")]
    if not sql:
        return
    columns = ", ".join(kept)
    create = str(sql[0][0]).replace(f"{name}", "made_anew", 1)
    copy.connection.execute("PRAGMA foreign_keys = OFF; PRAGMA legacy_alter_table = ON")
    copy.do(
        f"BEGIN IMMEDIATE; {create}; INSERT INTO made_anew({columns}) SELECT {columns} FROM {name}; DROP TABLE {name}; "
        f"ALTER TABLE made_anew RENAME TO {name}; {'; '.join(again)}; COMMIT"
    )
    copy.connection.execute("PRAGMA foreign_keys = ON; PRAGMA legacy_alter_table = OFF")


async def put_away(copy: Copy, chance: random.Random) -> None:
    """A table that nobody refers to has another name for a while, or is back."""
    for name in copy.away:
        copy.do(f"ALTER TABLE away_{name} RENAME TO {name}")
    if copy.away:
        copy.away.clear()
        return
    parents = {parent for one in copy.app.tables.values() for parent in one.parents}
    free = [name for name in copy.app.tables if name not in parents and name not in copy.app.indexed]
    if free:
        name = chance.choice(free)
        copy.do(f"ALTER TABLE {name} RENAME TO away_{name}")
        copy.away.append(name)


# ---- people


async def bind_again(copy: Copy, chance: random.Random) -> None:
    """Let go of the file, and bind it again after a while in which the application goes on."""
    was_shaky, copy.is_shaky = copy.is_shaky, False
    await _bind_again(copy, chance)
    copy.is_shaky = was_shaky


async def _bind_again(copy: Copy, chance: random.Random) -> None:
    await copy.look()
    if copy.runner is None:
        return
    await copy.runner.take_the_last()
    await copy.end()
    (stored,) = await copy.device.space.store.bindings.load()
    place = copy.path.with_suffix(".unbound")
    with closing(apsw.Connection(str(copy.path))) as connection:
        remembered.remember(connection, place)
        install.uninstall(connection, stored.id)
    await copy.device.space.store.bindings.forget(stored.id)
    copy.tell("unbound")
    if chance.random() < 0.5:
        copy.write()
    copy.forget_kept()
    await put_back(copy)
    await copy.bind(merging=True, place=place)


async def put_back(copy: Copy) -> None:
    """Nothing is bound that is not there."""
    for name in copy.away:
        copy.do(f"ALTER TABLE away_{name} RENAME TO {name}")
    copy.away.clear()


async def alive(copy: Copy) -> dict[str, set[str]]:
    """The records that rows of an unbound file may be."""
    plans = [one.plan for one in copy.app.tables.values() if one.plan.key_class is KeyClass.SURROGATE]
    images = TableImages(copy.device.space, [one.collection for one in plans])
    found: dict[str, set[str]] = {one.table: set() for one in plans}
    for one in plans:
        async for page in images.pages(one.collection):
            found[one.table].update(image.key for image in page if image.fields is not None)
    return found


async def decide(copy: Copy, chance: random.Random) -> None:
    """Held deletes were meant, or not."""
    if copy.runner is None or copy.away:
        return
    for table in await copy.runner.held():
        is_meant = chance.random() < 0.5
        copy.tell(f"{'approved' if is_meant else 'restored'} {table}")
        try:
            await (copy.runner.approve(table) if is_meant else copy.runner.restore(table))
        except Crash as point:
            copy.tell(f"crashed: {point}")
            await copy.end()
            return


async def write_record(copy: Copy, chance: random.Random) -> None:
    """A program changes a record, having seen all of it, or deletes it."""
    table = chance.choice(list(copy.app.tables.values()))
    page = await copy.device.space.store.page(table.plan.collection, "", None, 10)
    if not page.records:
        return
    key, record = chance.choice(page.records)
    tokens = {str(unpack_cell(value)) for value in record.fields.get("note", {}).values()}
    copy.superseded |= tokens
    copy.device.clock.pass_s(0.001)
    if chance.random() < 0.3:
        copy.tell(f"a program deletes {table.plan.collection}/{key}")
        intent = Intent(Kind.DELETE, table.plan.collection, key)
    else:
        token = copy.app.token(copy.device.name)
        copy.written.add(token)
        copy.tell(f"a program writes {token} to {table.plan.collection}/{key}")
        intent = Intent(Kind.PATCH, table.plan.collection, key, {"note": pack_cell(token), "v": pack_cell(1)})
    await copy.device.space.commits.write([intent])


# ---- the space


async def set_space_back(copy: Copy, chance: random.Random) -> None:
    """Keep the database of the space, or put back what was kept, as a backup would be: what only the newer one had is
    in the file, or lost.
    """
    if copy.away:
        return
    if copy.kept_space is None or chance.random() < 0.3:
        copy.kept_space = copy.space_path.with_suffix(".kept")
        copy.kept_space.unlink(missing_ok=True)
        with closing(sqlite3.connect(copy.space_path)) as connection:  # the SQLite that has it open
            connection.execute("VACUUM INTO ?", (str(copy.kept_space),))
        copy.kept_binding = (await copy.device.space.store.bindings.load())[0].id
        copy.tell("kept the space")
        return
    if copy.kept_binding != (await copy.device.space.store.bindings.load())[0].id:
        return  # the file is bound by another one since
    await copy.end()
    shown = copy.tokens()
    copy.superseded |= set().union(*(one.written for one in copy.all)) - shown
    path, mark = copy.space_path, copy.device.folder / "marks" / f"{copy.space_path.stem}.mark"
    await copy.device.close()
    _replace(path, copy.kept_space, mark)
    copy.tell("put back the older space")
    await copy.reopen()


def _replace(path: Path, kept: Path, mark: Path) -> None:
    for end in ("", "-wal", "-shm"):
        Path(f"{path}{end}").unlink(missing_ok=True)
    path.write_bytes(kept.read_bytes())
    mark.unlink()


ACTS: Sequence[tuple[Act, float]] = (
    (update, 2),
    (vacuum, 1),
    (rebuild, 1),
    (put_away, 1),
    (bind_again, 1),
    (decide, 3),
    (write_record, 4),
    (set_space_back, 4),
)


async def any_of(copy: Copy, chance: random.Random) -> None:
    (act,) = chance.choices([act for act, _ in ACTS], [weight for _, weight in ACTS])
    await act(copy, chance)


def meet(path: Path, copy: Copy, connection: apsw.Connection, known: dict[str, set[str]]) -> None:
    """Let the rows of a file that was just bound be the records that they were."""
    if path.exists():
        remembered.recognise(connection, read_schema(connection), copy.app.plan, path, known)
