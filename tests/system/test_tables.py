"""Two daemons and two files of one application that knows nothing of them: plain `sqlite3` writes and reads.

The application has folders, notes that refer to them by integer, and tags that are known by their name.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemons import Device, House, pair, wait_for

SCHEMA = """
CREATE TABLE folders (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE notes (
    id INTEGER PRIMARY KEY, folder_id INTEGER REFERENCES folders (id), title TEXT NOT NULL, size REAL, body BLOB
);
CREATE TABLE tags (name TEXT NOT NULL PRIMARY KEY, colour TEXT) WITHOUT ROWID;
"""
SPACE = "home"


class App:
    """An application: one connection in WAL mode, as most have."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.path = folder / "app.db"
        self._connection = sqlite3.connect(self.path, isolation_level=None, timeout=20)
        self._connection.execute("PRAGMA journal_mode = wal")
        self._connection.executescript(SCHEMA)

    def do(self, sql: str, *values: Any) -> int | None:
        return self._connection.execute(sql, values).lastrowid

    def ask(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql, values).fetchall()

    @property
    def notes(self) -> set[tuple[Any, ...]]:
        """What a person sees: no integers."""
        return set(
            self.ask(
                "SELECT notes.title, folders.name, size, body FROM notes LEFT JOIN folders ON folder_id = folders.id"
            )
        )

    @property
    def titles(self) -> list[str]:
        return sorted(title for (title,) in self.ask("SELECT title FROM notes"))

    @property
    def schema(self) -> list[tuple[Any, ...]]:
        return self.ask("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY 1, 2")

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with House(tmp_path / "house") as house:
        kitchen, study = house.start("kitchen", "study")
        kitchen.create(SPACE)
        pair(kitchen, study, SPACE)
        yield house


@pytest.fixture
def apps(tmp_path: Path) -> Iterator[list[App]]:
    apps = [App(tmp_path / name) for name in ("app-kitchen", "app-study")]
    yield apps
    for app in apps:
        app.close()


def bind(device: Device, app: App, *more: str) -> dict[str, Any]:
    report: dict[str, Any] = device.ctl(
        "tables", "bind", SPACE, str(app.path), "--name", "app", "--key", "folders=surrogate", "--key",
        "notes=surrogate", "--key", "tags=natural", "--yes", *more,
    )  # fmt: skip
    assert report["bound"]
    device.wait(partial(is_in_step, device), "its first harvest is done")
    return report


def binding(device: Device) -> dict[str, Any]:
    found: dict[str, Any] = device.call("GET", "spaces", SPACE, "bindings")["bindings"][0]
    return found


def is_in_step(device: Device) -> bool:
    return bool(binding(device)["state"] == "in step")


def longer(rows: list[str], than: int) -> bool:
    return len(rows) > than


def in_step(house: House) -> None:
    """Both daemons have the same, and both files show it."""
    house.agree(SPACE)
    for device in house.devices:
        device.wait(partial(is_in_step, device), "its file is in step")


def until(house: House, condition: Any, what: str) -> None:
    wait_for(condition, what, house.devices)


def test_rows_written_on_one_machine_appear_on_the_other(house: House, apps: list[App]) -> None:
    """Existing rows, new ones, changes and deletes, with every type of value; both ways, while both run."""
    kitchen, study = house.devices
    one, two = apps
    folder = one.do("INSERT INTO folders (name) VALUES ('recipes')")
    one.do("INSERT INTO notes (folder_id, title, size, body) VALUES (?, 'soup', 1.0, ?)", folder, b"\0\xff")
    one.do("INSERT INTO tags VALUES ('old', 'grey')")
    assert bind(kitchen, one)["first"] == "harvest"
    in_folder = {("soup", "recipes", 1.0, b"\0\xff")}
    kitchen.wait(lambda: kitchen.export(SPACE).get("app.notes"), "its rows are records")
    house.agree(SPACE)
    assert bind(study, two)["first"] == "project"
    until(house, lambda: two.notes == in_folder, "the rows are there")
    assert two.ask("SELECT * FROM tags") == [("old", "grey")]

    two.do("INSERT INTO notes (folder_id, title) SELECT id, 'bread' FROM folders")
    two.do("UPDATE notes SET size = 2.5 WHERE title = 'soup'")
    two.do("DELETE FROM tags")
    both = {("soup", "recipes", 2.5, b"\0\xff"), ("bread", "recipes", None, None)}
    until(house, lambda: one.notes == both and one.ask("SELECT * FROM tags") == [], "the study's edits are here")
    one.do("DELETE FROM notes WHERE title = 'soup'")
    until(house, lambda: two.titles == ["bread"], "the delete is there")
    in_step(house)
    assert two.ask("PRAGMA foreign_key_check") == one.ask("PRAGMA foreign_key_check") == []


def test_the_same_integer_on_two_machines_that_were_apart_is_two_rows(house: House, apps: list[App]) -> None:
    """Each keeps its own, and references follow."""
    kitchen, study = house.devices
    one, two = apps
    bind(kitchen, one)
    house.agree(SPACE)
    bind(study, two)
    in_step(house)
    study.call("POST", "pause")
    for app, name in ((one, "kitchen"), (two, "study")):
        app.do("INSERT INTO folders (id, name) VALUES (7, ?)", name)
        app.do("INSERT INTO notes (id, folder_id, title) VALUES (7, 7, ?)", f"of the {name}")
    study.call("POST", "resume")
    expected = {("of the kitchen", "kitchen", None, None), ("of the study", "study", None, None)}
    until(house, lambda: one.notes == two.notes == expected, "all four rows are on both")
    assert one.ask("SELECT title FROM notes WHERE id = 7") == [("of the kitchen",)]
    assert two.ask("SELECT title FROM notes WHERE id = 7") == [("of the study",)]
    in_step(house)
    assert kitchen.conflicts(SPACE) == []


def test_two_edits_of_one_cell_are_a_conflict_and_of_two_cells_are_not(house: House, apps: list[App]) -> None:
    kitchen, study = house.devices
    one, two = apps
    one.do("INSERT INTO notes (title, size) VALUES ('first', 1)")
    bind(kitchen, one)
    house.agree(SPACE)
    bind(study, two)
    until(house, lambda: two.titles == ["first"], "the row is there")
    in_step(house)
    study.call("POST", "pause")
    one.do("UPDATE notes SET title = 'kitchen', body = x'01'")
    two.do("UPDATE notes SET title = 'study', size = 2")
    study.call("POST", "resume")
    until(house, lambda: kitchen.conflicts(SPACE) and study.conflicts(SPACE), "both list it")
    until(house, lambda: one.notes == two.notes, "both show the same")
    ((title, _, size, body),) = one.notes
    assert title in {"kitchen", "study"}
    assert (size, body) == (2.0, b"\x01")
    (conflict,) = kitchen.conflicts(SPACE)
    assert {value["value"] for value in conflict["values"]} == {"kitchen", "study"}
    kitchen.ctl("resolve", SPACE, conflict["id"], "--value", '"both"')
    until(house, lambda: one.titles == two.titles == ["both"], "the resolution is in both files")


def test_an_edit_wins_against_a_delete_that_had_not_seen_it(house: House, apps: list[App]) -> None:
    kitchen, study = house.devices
    one, two = apps
    one.do("INSERT INTO notes (title, size) VALUES ('kept', 1)")
    bind(kitchen, one)
    house.agree(SPACE)
    bind(study, two)
    until(house, lambda: two.titles == ["kept"], "the row is there")
    in_step(house)
    study.call("POST", "pause")
    one.do("DELETE FROM notes")
    two.do("UPDATE notes SET size = 2")
    kitchen.wait(lambda: not kitchen.export(SPACE).get("app.notes"), "it is deleted")
    study.call("POST", "resume")
    until(house, lambda: one.notes == two.notes == {("kept", None, 2.0, None)}, "it is back on both")


def test_edits_that_a_check_ties_do_not_mix(house: House, apps: list[App]) -> None:
    """Each is allowed by itself; one of them is shown whole, and the other is listed."""
    kitchen, study = house.devices
    one, two = apps
    for app in apps:
        app.do("CREATE TABLE spans (code TEXT NOT NULL PRIMARY KEY, lo INT, hi INT, CHECK (lo <= hi))")
    one.do("INSERT INTO spans VALUES ('a', 1, 9)")
    bind(kitchen, one)
    bind(study, two)
    until(house, lambda: two.ask("SELECT * FROM spans") == [("a", 1, 9)], "the row is there")
    in_step(house)
    study.call("POST", "pause")
    one.do("UPDATE spans SET lo = 8")
    two.do("UPDATE spans SET hi = 2")
    study.call("POST", "resume")
    until(house, lambda: len(kitchen.conflicts(SPACE)) == 2, "both columns are in conflict")
    in_step(house)
    (row,) = one.ask("SELECT lo, hi FROM spans")
    assert two.ask("SELECT lo, hi FROM spans") == [row]
    assert row in {(8, 9), (1, 2)}
    conflict = next(one for one in study.conflicts(SPACE) if one["field"] == "lo")
    number, value = next((one["n"], one["value"]) for one in conflict["values"] if one["value"] != row[0])
    study.ctl("resolve", SPACE, conflict["id"], "--choose", str(number))
    other = {8: (8, 9), 1: (1, 2)}[value]
    until(house, lambda: one.ask("SELECT lo, hi FROM spans") == two.ask("SELECT lo, hi FROM spans") == [other], "both")
    assert kitchen.conflicts(SPACE) == [], "what is tied was settled with it"


def test_a_killed_daemon_makes_no_row_twice_and_loses_none(house: House, apps: list[App]) -> None:
    """The application goes on writing while its daemon dies in the middle, again and again."""
    kitchen, study = house.devices
    one, two = apps
    bind(kitchen, one)
    house.agree(SPACE)
    bind(study, two)
    in_step(house)
    stop = threading.Event()
    written: list[str] = []

    def write() -> None:
        connection = sqlite3.connect(one.path, isolation_level=None, timeout=20)
        while not stop.is_set():
            title = f"note {len(written):05}"
            connection.execute("INSERT INTO notes (title) VALUES (?)", (title,))
            written.append(title)
            stop.wait(0.002)
        connection.close()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for number in range(8):
            goal = len(written) + 20 + 13 * number
            wait_for(partial(longer, written, goal), "rows are written", house.devices)
            kitchen.kill()
            kitchen.start()
    finally:
        stop.set()
        thread.join()
    until(house, lambda: two.titles == one.titles == written, "every row is there once")
    in_step(house)
    assert len(kitchen.export(SPACE)["app.notes"]) == len(written)


def test_unbinding_leaves_no_trace_and_binding_again_loses_nothing(house: House, apps: list[App]) -> None:
    kitchen, study = house.devices
    one, two = apps
    before = one.schema
    one.do("INSERT INTO notes (title) VALUES ('a')")
    bind(kitchen, one)
    house.agree(SPACE)
    bind(study, two)
    until(house, lambda: two.titles == ["a"], "the row is there")
    kitchen.ctl("tables", "unbind", SPACE, "app")
    assert one.schema == before
    assert one.titles == ["a"]
    assert kitchen.call("GET", "spaces", SPACE, "bindings")["bindings"] == []
    one.do("INSERT INTO tags VALUES ('while unbound', 'red')")
    two.do("INSERT INTO tags VALUES ('meanwhile', 'blue')")
    study.wait(lambda: study.get(SPACE, "app.tags", "meanwhile"), "it is a record")
    house.agree(SPACE)
    refused = kitchen.run("tables", "bind", SPACE, str(one.path), "--name", "app", "--yes")
    assert (refused.returncode, "[both-have-data]" in refused.stderr) == (6, True)
    assert one.schema == before
    report = bind(kitchen, one, "--adopt")
    assert (report["first"], Path(report["backup"]).exists()) == ("adopt", True)
    until(house, lambda: one.ask("SELECT * FROM tags") == [("meanwhile", "blue")], "the space's rows are here")
    with sqlite3.connect(report["backup"]) as backup:
        assert backup.execute("SELECT name FROM tags").fetchall() == [("while unbound",)]
    backup.close()
    in_step(house)


def test_many_deletes_at_once_wait_for_a_person(house: House, apps: list[App]) -> None:
    kitchen, study = house.devices
    one, two = apps
    for number in range(300):
        one.do("INSERT INTO tags VALUES (?, 'red')", f"tag {number:03}")
    bind(kitchen, one)
    house.agree(SPACE)
    bind(study, two)
    until(house, lambda: len(two.ask("SELECT * FROM tags")) == 300, "the rows are there")
    in_step(house)
    one.do("DELETE FROM tags WHERE name < 'tag 200'")
    one.do("UPDATE tags SET colour = 'blue' WHERE name = 'tag 250'")
    until(house, lambda: ("tag 250", "blue") in two.ask("SELECT * FROM tags"), "other edits go on")
    kitchen.wait(lambda: kitchen.space(SPACE)["state"] == "degraded", "it says so")
    assert "200 deleted rows of tags are held" in kitchen.space(SPACE)["reason"]
    assert kitchen.run("status").returncode == 4
    assert kitchen.ctl("tables", "held", SPACE, "app") == {"held": [{"table": "tags", "rows": 200}]}
    assert len(two.ask("SELECT * FROM tags")) == 300
    kitchen.ctl("tables", "held", SPACE, "app", "--restore")
    until(house, lambda: len(one.ask("SELECT * FROM tags")) == 300, "the rows are back")
    one.do("DELETE FROM tags WHERE name < 'tag 200'")
    kitchen.wait(lambda: kitchen.ctl("tables", "held", SPACE, "app")["held"], "held again")
    kitchen.ctl("tables", "held", SPACE, "app", "--approve", "tags")
    until(house, lambda: len(two.ask("SELECT * FROM tags")) == 100, "deleted everywhere")
    in_step(house)


def test_trouble_is_named_and_ends_by_itself(house: House, apps: list[App]) -> None:
    """A file that is moved away, and back."""
    kitchen, _ = house.devices
    one, _ = apps
    bind(kitchen, one)
    kitchen.wait(lambda: binding(kitchen)["state"] == "in step", "it is in step")
    one.close()
    away = one.path.with_name("away.db")
    one.path.rename(away)
    kitchen.wait(lambda: kitchen.space(SPACE)["state"] == "degraded", "it says so")
    found = binding(kitchen)
    assert (found["state"], "there is no file" in found["reason"]) == ("trouble", True)
    listed = kitchen.run("tables", "list")
    assert (listed.returncode, "next:" in listed.stderr) == (4, True)
    away.rename(one.path)
    kitchen.wait(lambda: binding(kitchen)["state"] == "in step", "it goes on")


def test_what_the_configuration_names_is_bound_when_the_file_appears(tmp_path: Path) -> None:
    with House(tmp_path / "house") as house:
        path = tmp_path / "app" / "app.db"
        kitchen = house.device("kitchen", more=f'[[spaces.{SPACE}.tables]]\ndatabase = "{path}"\n')
        kitchen.meddle = "from peerd.engine.tables import bindings; bindings.DECLARED_AGAIN_S = 0.1"
        kitchen.start()
        kitchen.create(SPACE)
        kitchen.wait(lambda: "there is no file" in kitchen.space(SPACE)["reason"], "it says what is missing")
        app = App(path.parent)
        app.do("INSERT INTO tags VALUES ('a', 'red')")
        kitchen.wait(lambda: kitchen.get(SPACE, "app.tags", "a"), "its rows are records")
        app.close()
