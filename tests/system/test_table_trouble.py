"""What can happen to a bound file: it is named with a next step, loses nothing, stops nothing else, and goes on.

One daemon holds several bindings; each test has a file of its own, while that of a bystander goes on all the time.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemons import Device, House, pair

SPACE = "home"
SCHEMA = "CREATE TABLE notes (id INTEGER PRIMARY KEY, title TEXT NOT NULL, size INT)"
DIE = """
import os
from peerd.tables import bound_file
real = bound_file.settle
def settle(*rest, **more):
    if os.path.exists(os.environ["PEERD_TEST_DIE"]):
        os._exit(9)
    return real(*rest, **more)
bound_file.settle = settle
"""


class App:
    """An application and its file, bound under a name of its own."""

    numbers = itertools.count()

    def __init__(self, device: Device, folder: Path, *, journal: str = "wal") -> None:
        self.device = device
        self.name = f"app{next(self.numbers)}"
        self.folder = folder / self.name
        self.folder.mkdir()
        self.path = self.folder / "app.db"
        self.open()
        self.do(f"PRAGMA journal_mode = {journal}")
        self.do(SCHEMA)

    def do(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        return self.connection.execute(sql, values).fetchall()

    def add(self, title: str) -> None:
        self.do("INSERT INTO notes (title) VALUES (?)", title)

    @property
    def titles(self) -> list[str]:
        return sorted(title for (title,) in self.do("SELECT title FROM notes"))

    @property
    def records(self) -> list[str]:
        return sorted(one["title"] for one in self.device.export(SPACE).get(f"{self.name}.notes", {}).values())

    def bind(self, *more: str) -> None:
        arguments = (SPACE, str(self.path), "--name", self.name, "--key", "notes=surrogate", "--yes", *more)
        assert self.device.ctl("tables", "bind", *arguments)["bound"]
        self.goes_on()

    @property
    def view(self) -> dict[str, Any]:
        listed = self.device.call("GET", "spaces", SPACE, "bindings")["bindings"]
        found: dict[str, Any] = next(one for one in listed if one["name"] == self.name)
        return found

    def goes_on(self) -> None:
        self.device.wait(lambda: self.view["state"] == "in step", f"{self.name} is in step")

    def captures(self, title: str) -> None:
        """What the application writes goes out."""
        self.add(title)
        self.device.wait(lambda: title in self.records, f"{title} is a record")

    def is_in_trouble(self, words: str) -> bool:
        view = self.view
        return view["state"] == "trouble" and words in view["reason"] and bool(view["next_step"])

    def close(self) -> None:
        self.connection.close()

    def replace(self, other: Path) -> None:
        """Put another file in its place, as somebody does who restores a backup while the application is closed."""
        self.close()
        for suffix in ("-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        other.replace(self.path)

    def open(self) -> None:
        self.connection = sqlite3.connect(self.path, isolation_level=None, timeout=20)

    def back_up(self) -> Path:
        target = self.folder / "backup.db"
        copy = sqlite3.connect(target)
        self.connection.backup(copy)
        copy.close()
        return target


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("trouble")
    os.environ["PEERD_TEST_DIE"] = str(folder / "die")
    with House(folder / "house") as house:
        kitchen, study = house.start("kitchen", "study", meddle=DIE)
        kitchen.create(SPACE)
        pair(kitchen, study, SPACE)
        yield house


@pytest.fixture(scope="module")
def bystander(house: House, tmp_path_factory: pytest.TempPathFactory) -> App:
    app = App(house.devices[0], tmp_path_factory.mktemp("bystander"))
    app.bind()
    return app


@pytest.fixture
def app(house: House, tmp_path: Path) -> Iterator[App]:
    """Bound, with one row that is a record."""
    app = App(house.devices[0], tmp_path)
    app.bind()
    app.captures("first")
    yield app
    app.close()
    if any(one["name"] == app.name for one in app.device.call("GET", "spaces", SPACE, "bindings")["bindings"]):
        app.device.run("tables", "unbind", SPACE, app.name)


def named(app: App, words: str, bystander: App) -> None:
    """It says what is wrong and what to do, everywhere, and everything else goes on."""
    app.device.wait(lambda: words in app.device.space(SPACE)["reason"], f"the space says {words}")
    app.device.wait(partial(app.is_in_trouble, words), f"{app.name} says {words}")
    status = app.device.run("status")
    assert (status.returncode, words in status.stdout + status.stderr) == (4, True), status.stdout
    listed = app.device.run("tables", "list")
    assert (listed.returncode, "next:" in listed.stderr) == (4, True)
    bystander.captures(f"beside {app.name}")
    app.device.put(SPACE, "other", app.name, {"n": 1})


def test_an_older_file_of_ours_is_brought_forward(app: App) -> None:
    older = app.back_up()
    app.captures("second")
    app.do("UPDATE notes SET title = 'first, changed' WHERE title = 'first'")
    app.device.wait(lambda: "first, changed" in app.records, "it is a record")
    app.replace(older)
    app.open()
    app.device.wait(lambda: app.titles == ["first, changed", "second"], "the older file shows what the space has")
    app.goes_on()
    app.captures("third")
    assert app.records == ["first, changed", "second", "third"]


def test_an_older_state_that_is_written_over_the_open_file_is_brought_forward(app: App) -> None:
    """As `.restore` of the sqlite3 shell does it: the file stays the same, nobody changes a row, nothing else comes."""
    position = "SELECT v FROM _peerd_meta WHERE k = 'applied'"
    backup, before = app.back_up(), app.do(position)
    app.captures("second")
    app.device.wait(lambda: app.do(position) != before, "the file knows that it shows it")
    with contextlib.closing(sqlite3.connect(backup)) as older:
        older.backup(app.connection)
    app.device.wait(lambda: app.titles == ["first", "second"], "it shows what the space has")
    assert app.records == ["first", "second"]


def test_a_file_from_before_the_binding_is_not_taken_for_ours(house: House, tmp_path: Path, bystander: App) -> None:
    app = App(house.devices[0], tmp_path)
    app.add("first")
    before = app.back_up()
    app.bind()
    app.captures("second")
    app.replace(before)
    named(app, "is not the file that was bound", bystander)
    app.open()
    assert app.records == ["first", "second"]
    app.device.ctl("tables", "unbind", SPACE, app.name)
    app.bind("--adopt")
    app.device.wait(lambda: app.titles == ["first", "second"], "the space's rows are in it")
    app.close()
    app.device.ctl("tables", "unbind", SPACE, app.name)


def test_a_copy_of_a_bound_file_is_not_bound_beside_it(app: App) -> None:
    copy = app.folder / "copy.db"
    app.back_up().rename(copy)
    refused = app.device.run("tables", "bind", SPACE, str(copy), "--name", "copy", "--yes")
    assert (refused.returncode, "[file-bound]" in refused.stderr) == (6, True), refused.stderr
    app.captures("second")
    app.device.ctl("tables", "unbind", SPACE, app.name)
    app.path.unlink()
    report = app.device.ctl("tables", "bind", SPACE, str(copy), "--name", app.name, "--adopt", "--yes")
    assert report["bound"]  # a file that was moved is no copy


def test_a_deleted_file_can_be_unbound_and_its_records_stay(app: App, bystander: App) -> None:
    app.close()
    for path in app.folder.iterdir():
        path.unlink()
    named(app, "there is no file", bystander)
    refused = app.device.run("tables", "unbind", SPACE, app.name)
    assert (refused.returncode, "[file-missing]" in refused.stderr, "--force" in refused.stderr) == (6, True, True)
    answer = app.device.ctl("tables", "unbind", SPACE, app.name, "--force")
    assert (answer["cleaned"], "there is no file" in answer["left"]) == (False, True)
    assert app.records == ["first"]


def test_a_file_that_was_away_when_it_was_unbound_can_be_cleaned(app: App, bystander: App) -> None:
    app.close()
    for path in list(app.folder.iterdir()):
        path.rename(app.folder.parent / f"moved-{path.name}")
    moved = app.folder.parent / f"moved-{app.path.name}"
    named(app, "there is no file", bystander)
    refused = app.device.run("tables", "unbind", "--file", str(moved))
    assert (refused.returncode, "[file-bound]" in refused.stderr) == (6, True), refused.stderr
    app.device.ctl("tables", "unbind", SPACE, app.name, "--force")
    assert app.device.ctl("tables", "unbind", "--file", str(moved))["cleaned"]
    with contextlib.closing(sqlite3.connect(moved)) as connection:
        assert connection.execute("SELECT count(*) FROM sqlite_schema WHERE name LIKE '%peerd%'").fetchall() == [(0,)]
        assert connection.execute("SELECT title FROM notes").fetchall() == [("first",)]


def test_a_locked_file_goes_on_when_it_is_let_go(house: House, tmp_path: Path, bystander: App) -> None:
    app = App(house.devices[0], tmp_path, journal="delete")
    app.bind()
    app.captures("first")
    app.do("PRAGMA locking_mode = EXCLUSIVE")
    app.do("BEGIN EXCLUSIVE")
    app.add("while locked")
    named(app, "locked", bystander)
    assert "locking_mode = EXCLUSIVE" in app.view["next_step"]
    app.do("COMMIT")  # the lock stays
    app.close()
    app.open()
    app.goes_on()
    app.device.wait(lambda: app.records == ["first", "while locked"], "it is a record")
    app.close()
    app.device.ctl("tables", "unbind", SPACE, app.name)


def test_a_file_that_an_application_has_for_itself_alone_goes_on_when_it_ends(app: App, bystander: App) -> None:
    """In WAL mode too: nobody else can read it then."""
    app.device.stop()
    app.close()
    app.open()
    app.do("PRAGMA locking_mode = EXCLUSIVE")
    app.add("alone")
    assert not app.path.with_name("app.db-shm").exists()
    app.device.start()
    named(app, "locked", bystander)
    assert "locking_mode = EXCLUSIVE" in app.view["next_step"]
    app.add("still alone")
    app.close()
    app.goes_on()
    app.open()
    app.device.wait(lambda: app.records == ["alone", "first", "still alone"], "all are records")
    app.captures("together")


def test_an_application_does_not_get_a_bound_file_for_itself_alone(app: App) -> None:
    """In WAL mode it is told so, and goes on as before when it no longer asks for it."""
    other = sqlite3.connect(app.path, isolation_level=None, timeout=0.1)
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        other.execute("INSERT INTO notes (title) VALUES ('refused')")
    other.close()
    app.captures("second")
    assert app.records == ["first", "second"]


def test_a_corrupt_file_is_left_alone_until_it_is_restored(house: House, tmp_path: Path, bystander: App) -> None:
    app = App(house.devices[0], tmp_path, journal="delete")
    app.bind()
    app.captures("first")
    good = app.back_up()
    app.close()
    with app.path.open("r+b") as file:
        file.write(b"\xa5" * 4096)
    app.path.touch()
    named(app, "is damaged", bystander)
    assert app.path.read_bytes()[:4096] == b"\xa5" * 4096
    app.replace(good)
    app.open()
    app.goes_on()
    app.captures("second")
    app.close()
    app.device.ctl("tables", "unbind", SPACE, app.name)


def test_a_folder_that_is_moved_away_goes_on_when_it_is_back(app: App, bystander: App) -> None:
    app.close()
    away = app.folder.with_name("away")
    app.folder.rename(away)
    named(app, "there is no file", bystander)
    away.rename(app.folder)
    app.open()
    app.add("second")
    app.goes_on()
    app.device.wait(lambda: app.records == ["first", "second"], "it is a record")
    app.captures("third")


def test_an_application_that_is_removed_and_installed_again_is_bound_anew(app: App, bystander: App) -> None:
    """Its records stay, and are in its new file."""
    app.close()
    shutil.rmtree(app.folder)
    named(app, "there is no file", bystander)
    app.folder.mkdir()
    app.open()
    app.do("PRAGMA journal_mode = wal")
    app.do(SCHEMA)
    named(app, "is not the file that was bound", bystander)
    assert app.records == ["first"]
    app.device.ctl("tables", "unbind", SPACE, app.name)
    app.bind("--adopt")
    app.device.wait(lambda: app.titles == ["first"], "the space's rows are in it")
    app.captures("second")


def mount(*arguments: str | Path) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip("this system mounts nothing for it")


@pytest.mark.parametrize("what", ["file", "folder"])
def test_what_cannot_be_written_is_left_alone_until_it_can(app: App, bystander: App, what: str) -> None:
    """Neither is harvested, since that could not be settled, and nothing is lost."""
    app.device.stop()
    app.add("second")
    app.close()
    place = app.path if what == "file" else app.folder
    mount("--bind", place, place)
    try:
        mount("-o", "remount,bind,ro", place)
        app.device.start()
        named(app, "cannot be written", bystander)
        assert app.records == ["first"]
        key = next(iter(app.device.export(SPACE)[f"{app.name}.notes"]))
        app.device.patch(SPACE, f"{app.name}.notes", key, size=5)
    finally:
        subprocess.run(["umount", place], check=True)
    app.goes_on()
    app.open()
    app.device.wait(lambda: app.records == ["first", "second"], "it is a record")
    app.device.wait(lambda: app.do("SELECT size FROM notes WHERE title = 'first'") == [(5,)], "it is shown")


def test_what_is_ours_in_the_file_is_made_again(app: App) -> None:
    (number,) = app.do("SELECT substr(name, 9) FROM sqlite_schema WHERE name LIKE '\\_peerd\\_d%' ESCAPE '\\'")[0]
    app.do(f"DROP TRIGGER _peerd_i{number}")
    app.do("INSERT INTO notes (title) VALUES ('unseen')")
    app.device.wait(lambda: app.records == ["first", "unseen"], "compared")
    app.connection.executescript(f"BEGIN; DROP TABLE _peerd_d{number}; DROP TRIGGER _peerd_u{number}; COMMIT")
    app.device.wait(
        lambda: app.do("SELECT 1 FROM sqlite_schema WHERE name = ?", f"_peerd_d{number}"), "the marks are there again"
    )
    app.do("UPDATE notes SET title = 'again' WHERE title = 'unseen'")
    app.device.wait(lambda: app.records == ["again", "first"], "captured")
    app.goes_on()


def test_a_daemon_killed_between_the_two_databases_makes_no_row_twice(app: App) -> None:
    die = Path(os.environ["PEERD_TEST_DIE"])
    die.touch()
    app.add("once")
    assert app.device.process is not None
    assert app.device.process.wait(20) == 9
    die.unlink()
    app.do("UPDATE notes SET size = 7 WHERE title = 'once'")
    app.device.start()
    app.device.wait(lambda: app.records == ["first", "once"], "it is a record, once")
    app.goes_on()
    (found,) = [one for one in app.device.export(SPACE)[f"{app.name}.notes"].values() if one["title"] == "once"]
    assert found["size"] == 7


def test_a_dropped_table_deletes_nothing(app: App, bystander: App) -> None:
    app.do("ALTER TABLE notes RENAME TO away")
    app.device.wait(lambda: "notes" in app.device.space(SPACE)["reason"], "it says so")
    assert app.device.run("status").returncode == 4
    bystander.captures("beside a dropped table")
    app.do("DROP TABLE away")
    app.do(SCHEMA)
    app.device.wait(lambda: app.view["state"] == "held", "the rows of the new, empty table are not deleted")
    assert app.records == ["first"]
    app.device.ctl("tables", "held", SPACE, app.name, "--restore")
    app.device.wait(lambda: app.titles == ["first"], "the row is back")
    app.goes_on()


def test_two_schemas_keep_what_the_other_has(house: House, app: App, tmp_path: Path) -> None:
    """A new column, a renamed one, a dropped one and a new table on one device only."""
    study = house.devices[1]
    (tmp_path / "study").mkdir()
    other = App(study, tmp_path / "study")
    other.name = app.name
    house.agree(SPACE)
    other.bind()
    app.do("ALTER TABLE notes ADD COLUMN colour TEXT")
    app.do("UPDATE notes SET colour = 'red', size = 3")
    app.do("CREATE TABLE more (x)")
    other.device.wait(lambda: other.do("SELECT title, size FROM notes") == [("first", 3)], "what both have is there")
    other.do("UPDATE notes SET size = 4")
    app.device.wait(lambda: app.do("SELECT size, colour FROM notes") == [(4, "red")], "and back")
    app.do("ALTER TABLE notes DROP COLUMN size")
    app.do("UPDATE notes SET colour = 'blue'")
    other.captures("from the study")
    app.device.wait(lambda: app.titles == ["first", "from the study"], "rows go on")
    other.do("ALTER TABLE notes ADD COLUMN colour TEXT")
    other.device.wait(lambda: ("first", 4, "blue") in other.do("SELECT title, size, colour FROM notes"), "kept for it")
    app.do("ALTER TABLE notes RENAME COLUMN colour TO paint")
    app.do("UPDATE notes SET paint = 'green' WHERE title = 'first'")
    other.do("UPDATE notes SET size = 5 WHERE title = 'first'")
    other.device.wait(lambda: other.view["state"] == "in step", "in step")
    app.goes_on()
    assert other.do("SELECT colour FROM notes WHERE title = 'first'") == [("blue",)]
    assert app.do("SELECT paint FROM notes WHERE title = 'first'") == [("green",)]
    other.close()
    study.ctl("tables", "unbind", SPACE, other.name)


def fill(path: Path) -> None:
    """Take all the room there is."""
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_a_full_disk_is_tried_again(house: House, tmp_path: Path, bystander: App, journal: str) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount("-t", "tmpfs", "-o", "size=1M", "none", disk)
    try:
        app = App(house.devices[0], disk, journal=journal)
        app.bind()
        app.captures("first")
        fill(disk / "filler")
        key = next(iter(app.device.export(SPACE)[f"{app.name}.notes"]))
        app.device.patch(SPACE, f"{app.name}.notes", key, title="long " * 10_000)
        named(app, "is full", bystander)
        (disk / "filler").unlink()
        app.goes_on()
        assert app.titles == ["long " * 10_000]
        app.device.ctl("tables", "unbind", SPACE, app.name)
        app.close()
    finally:
        subprocess.run(["umount", disk], check=True)
