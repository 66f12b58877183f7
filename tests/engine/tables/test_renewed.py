"""A space whose copy is a new one goes on with the files that were bound to the old one: real files, real databases."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import apsw
import msgspec
import pytest

from peerd.core.device_id import format_device_id
from peerd.core.tables.proposals import propose
from peerd.engine.tables import renewed
from peerd.engine.tables.bindings import Bindings
from peerd.engine.tables.runner import BindingRunner
from peerd.errors import TableTrouble
from peerd.protocol.control.tables import NewBinding
from peerd.tables.files import Files
from tests.engine.conftest import PATIENCE_S, Device, RunningHands, Until, Wire

NOTES = "app.notes"


class App:
    """An application that numbers its rows itself."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.connection = apsw.Connection(str(path))
        self.connection.set_busy_timeout(5_000)
        self.do("CREATE TABLE notes (id INTEGER PRIMARY KEY AUTOINCREMENT, title TEXT, mark TEXT DEFAULT '')")

    def do(self, sql: str, *values: str) -> None:
        self.connection.execute(sql, values)

    @property
    def rows(self) -> list[tuple[str, str]]:
        found = self.connection.execute("SELECT title, mark FROM notes ORDER BY title")
        return [(str(title), str(mark)) for title, mark in found]


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    app = App(tmp_path / "app.db")
    yield app
    app.connection.close()


async def with_files(desk: Device) -> None:
    """It can bind real files."""
    desk.bindings = Bindings(Files(format_device_id(desk.id)), RunningHands(), propose, desk.folder / "backups")
    desk.bindings.add_space(desk.space)
    await asyncio.sleep(0)  # it looks for bindings first


def new_file(path: Path, sql: str) -> apsw.Connection:
    """An application's."""
    connection = apsw.Connection(str(path))
    connection.set_busy_timeout(5_000)
    connection.execute(sql)
    return connection


@pytest.fixture
async def bound(two: tuple[Device, Device], app: App) -> tuple[Device, Device]:
    """Two members; the first has the file, and both have its rows."""
    desk, laptop = two
    await with_files(desk)
    for title in ("early", "edited", "gone there", "gone here"):
        app.do("INSERT INTO notes (title) VALUES (?)", title)
    await desk.bindings.bind(desk.space, NewBinding(database=str(app.path), name="app"))
    await alike(desk, app)
    await desk.tell(laptop)
    return desk, laptop


def runner_of(device: Device) -> BindingRunner | None:
    return device.bindings._runners[device.space.id].get("app")


async def alike(device: Device, app: App) -> None:
    """What the file has, the space has."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            runner = runner_of(device)
            if runner is not None and runner.settled.is_set() and await titles(device) == app.rows:
                return
            await asyncio.sleep(0.005)


async def titles(device: Device) -> list[tuple[str, str]]:
    page = await device.records.list(NOTES, "", 100, None)
    return sorted((one.value["title"], one.value.get("mark", "")) for one in page.records)


def code_of(device: Device) -> str:
    runner = runner_of(device)
    return runner.trouble.code if runner is not None and runner.trouble is not None else ""


async def test_a_rebuilt_space_goes_on_with_its_file(
    bound: tuple[Device, Device], app: App, wire: Wire, until: Until
) -> None:
    desk, laptop = bound
    gone = next(
        one.key
        for one in (await laptop.records.list(NOTES, "", 100, None)).records
        if one.value["title"] == "gone there"
    )
    await laptop.delete(gone, NOTES)
    # What nobody else hears of, because the copy is damaged before it is told.
    app.do("INSERT INTO notes (title) VALUES ('only here')")
    app.do("UPDATE notes SET title = 'edited here' WHERE title = 'edited'")
    await alike(desk, app)
    await until(lambda: ("edited here", "") in app.rows)

    await desk.spaces.rebuild("home")
    assert [one.name for one in (await desk.bindings.list(desk.space)).bindings] == ["app"]
    await until(lambda: code_of(desk) == "copy-filling")
    (notice,) = await desk.bindings.notices_of(desk.space)
    assert notice.reason.endswith("since then laptop was not met")
    app.do("INSERT INTO notes (title) VALUES ('meanwhile')")
    app.do("UPDATE notes SET mark = '!' WHERE title = 'early'")
    app.do("DELETE FROM notes WHERE title = 'gone here'")
    before = app.rows
    await desk.bindings.notices_of(desk.space)
    assert await titles(desk) == []
    assert app.rows == before, "nothing is taken out because the copy is empty"

    wire.connect(desk, laptop)
    wanted = [("early", "!"), ("edited here", ""), ("meanwhile", ""), ("only here", "")]
    await until(lambda: app.rows == wanted)
    await alike(desk, app)
    assert await titles(desk) == wanted
    await until(lambda: laptop.clock_now() == desk.clock_now())
    assert await titles(laptop) == wanted
    (stored,) = await desk.space.store.bindings.load()
    await desk.bindings.stop()
    assert b"renewed\xc2" in stored.settings


async def test_what_others_have_written_stands_beside_what_nobody_else_has(
    bound: tuple[Device, Device], app: App, wire: Wire, until: Until
) -> None:
    desk, laptop = bound
    (key,) = [
        one.key for one in (await laptop.records.list(NOTES, "", 9, None)).records if one.value["title"] == "edited"
    ]
    await laptop.patch(key, NOTES, set={"title": "edited there"})
    app.do("UPDATE notes SET mark = 'lost' WHERE title = 'edited'")
    await alike(desk, app)
    await desk.spaces.rebuild("home")
    wire.connect(desk, laptop)
    await until(lambda: ("edited there", "lost") in app.rows)
    await until(lambda: laptop.clock_now() == desk.clock_now())
    view = await laptop.records.read(NOTES, key)
    assert (view.value["title"], view.value["mark"]) == ("edited there", "lost")
    assert view.conflicts == []


async def test_a_row_that_nobody_else_knows_meets_another_one_of_its_name(
    two: tuple[Device, Device], tmp_path: Path, wire: Wire, until: Until
) -> None:
    """It was new in the old copy; the others have made one with the same key meanwhile."""
    desk, laptop = two
    path = tmp_path / "words.db"
    connection = new_file(path, "CREATE TABLE words (word TEXT NOT NULL PRIMARY KEY, meaning TEXT)")
    await with_files(desk)
    await desk.bindings.bind(desk.space, NewBinding(database=str(path), name="app"))
    await desk.tell(laptop)
    connection.execute("INSERT INTO words VALUES ('key', 'for a door')")
    await until(lambda: desk.clock_now() != laptop.clock_now())
    await laptop.put("key", {"word": "key", "meaning": "of a piano"}, "app.words")
    await desk.spaces.rebuild("home")
    wire.connect(desk, laptop)
    await until(lambda: len(laptop.clock_now()) == 3)  # two origins of the desk, since its copy is another one now
    assert (await laptop.records.read("app.words", "key")).conflicts == ["meaning"]
    connection.close()


async def test_rows_that_were_numbered_anew_meanwhile_are_still_known(
    two: tuple[Device, Device], tmp_path: Path, wire: Wire, until: Until
) -> None:
    """VACUUM gives other numbers to rows that have no key of their own."""
    desk, laptop = two
    path = tmp_path / "lines.db"
    connection = new_file(path, "CREATE TABLE lines (text TEXT); INSERT INTO lines VALUES ('first'), ('second')")
    await with_files(desk)
    wish = NewBinding(database=str(path), name="app", keys={"lines": "surrogate"})
    await desk.bindings.bind(desk.space, wish)

    async def has(device: Device, *lines: str) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                page = await device.records.list("app.lines", "", 9, None)
                if sorted(one.value["text"] for one in page.records) == [*lines]:
                    return
                await asyncio.sleep(0.005)

    await has(desk, "first", "second")
    await desk.tell(laptop)
    connection.execute("INSERT INTO lines VALUES ('third')")
    await has(desk, "first", "second", "third")
    await desk.spaces.rebuild("home")
    await until(lambda: code_of(desk) == "copy-filling")
    connection.execute("DELETE FROM lines WHERE text = 'first'; VACUUM")
    wire.connect(desk, laptop)
    await until(lambda: not code_of(desk))
    await has(laptop, "second", "third")
    assert sorted(connection.execute("SELECT text FROM lines")) == [("second",), ("third",)]
    connection.close()


@pytest.mark.parametrize("lost", ["database", "table"])
async def test_bindings_are_found_whatever_is_left_of_the_database(
    bound: tuple[Device, Device], app: App, until: Until, lost: str
) -> None:
    desk, _ = bound
    path = desk.folder / "spaces" / f"{desk.space.id.hex()}.db"
    await desk.close()
    if lost == "database":
        path.unlink()
    else:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("UPDATE binding SET plan = x'c1'")
    again = await reopened(desk)
    await again.spaces.rebuild("home")
    await until(lambda: code_of(again) == "copy-filling")
    assert len(app.rows) == 4


async def test_a_file_of_a_copy_that_nobody_fills_says_so(bound: tuple[Device, Device], until: Until) -> None:
    """As of a backup of another device: to wait for members that are met would be in vain."""
    desk, laptop = bound
    await laptop.spaces.remove(laptop.space, desk.id)
    await desk.space.learn(laptop.space.roster.statements)
    runner = runner_of(desk)
    assert runner is not None
    runner.settings = msgspec.structs.replace(runner.settings, renewed=True)
    desk.space.is_filled = False
    with pytest.raises(TableTrouble, match="no member of home") as waiting:
        renewed.check_filled(desk.space, runner.settings)
    assert waiting.value.code == "copy-filling"
    assert "invited this device" in waiting.value.next_step


async def reopened(device: Device) -> Device:
    again = Device(device.name, device.folder, device.wire, device.clock, threaded=False)
    again.bindings = Bindings(Files(format_device_id(again.id)), RunningHands(), propose, again.folder / "backups")
    await again.spaces.open_all()
    return again


async def test_a_space_that_was_forgotten_takes_its_bindings_along(bound: tuple[Device, Device]) -> None:
    desk, laptop = bound
    beside = desk.folder / "spaces" / f"{desk.space.id.hex()}.bindings"
    assert beside.exists()
    await desk.spaces.forget("home", delete=False)
    assert not beside.exists()
    await desk.spaces.adopt(laptop.space.id, "home", laptop.space.roster.statements)
    assert await desk.space.store.bindings.load() == []
