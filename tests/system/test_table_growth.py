"""An application is updated on one machine after the other, and its new table is taken in."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemons import Device, House, pair
from tests.system.test_tables import SPACE, App, bind, in_step, until


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


def update(app: App) -> None:
    app.do("CREATE TABLE authors (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL)")
    app.do("ALTER TABLE notes ADD COLUMN author_id INTEGER REFERENCES authors (id)")


def authored(app: App) -> set[tuple[Any, ...]]:
    return set(app.ask("SELECT title, name FROM notes LEFT JOIN authors ON author_id = authors.id"))


def named(device: Device) -> bool:
    return "not bound yet: authors" in str(device.space(SPACE).get("reason"))


def test_a_table_that_an_update_adds_is_taken_in_with_what_refers_to_it(house: House, apps: list[App]) -> None:
    kitchen, study = house.devices
    one, two = apps
    for app, first in ((one, 1), (two, 40)):
        app.do("INSERT INTO notes (id, title) VALUES (?, ?)", first, f"note {first}")
    bind(kitchen, one)
    house.agree(SPACE)
    bind(study, two, "--merge")
    until(house, lambda: one.titles == two.titles == ["note 1", "note 40"], "both have both")
    for app in apps:
        update(app)
    one.do("INSERT INTO authors (name) VALUES ('Ann'), ('Bea')")
    two.do("INSERT INTO authors (name) VALUES ('Cid')")
    one.do("UPDATE notes SET author_id = 2 WHERE title = 'note 1'")
    two.do("UPDATE notes SET author_id = 1 WHERE title = 'note 40'")
    until(house, lambda: named(kitchen) and named(study), "both say what is not bound")

    report = kitchen.ctl("tables", "bind", SPACE, str(one.path), "--yes")
    assert [table["table"] for table in report["tables"]] == ["authors"]
    assert report["changes"] == ["notes.author_id means rows of authors from now on"]
    kitchen.wait(lambda: len(kitchen.export(SPACE).get("app.authors", {})) == 2, "its authors are records")
    house.agree(SPACE)
    assert named(study)
    study.ctl("tables", "bind", SPACE, str(two.path), "--merge", "--yes")
    everything = {("note 1", "Bea"), ("note 40", "Cid")}
    until(house, lambda: authored(one) == authored(two) == everything, "each note has the author that was meant")
    in_step(house)
    assert one.ask("PRAGMA foreign_key_check") == two.ask("PRAGMA foreign_key_check") == []
    assert len(kitchen.export(SPACE)["app.notes"]) == 2, "no row became another record"
    again = kitchen.ctl("tables", "bind", SPACE, str(one.path), "--yes")
    assert (again["bound"], again["tables"], again["changes"]) == (True, [], [])
    two.do("INSERT INTO authors (name) VALUES ('Dee')")
    until(house, lambda: one.ask("SELECT 1 FROM authors WHERE name = 'Dee'") == [(1,)], "new rows travel")
    study.wait(partial(_is_well, study), "and nothing is left to say")


def test_a_file_that_is_bound_again_meets_its_own_rows(house: House, apps: list[App]) -> None:
    """Unbound for a while, with changes on both sides: nothing is there twice but what was changed here."""
    kitchen, study = house.devices
    one, two = apps
    for number in range(1, 6):
        one.do("INSERT INTO notes (title) VALUES (?)", f"note {number}")
    bind(kitchen, one)
    house.agree(SPACE)
    bind(study, two)
    until(house, lambda: len(two.titles) == 5, "the rows are there")
    in_step(house)
    kitchen.ctl("tables", "unbind", SPACE, "app")
    one.do("INSERT INTO notes (title) VALUES ('made in the kitchen')")
    two.do("UPDATE notes SET title = 'changed in the study' WHERE title = 'note 2'")
    two.do("INSERT INTO notes (title) VALUES ('made in the study')")
    until(house, lambda: "app.notes" in kitchen.export(SPACE) and len(kitchen.export(SPACE)["app.notes"]) == 6, "come")
    house.agree(SPACE)
    report = kitchen.ctl("tables", "bind", SPACE, str(one.path), "--name", "app", "--merge", "--yes")
    assert {table["table"]: table["known"] for table in report["tables"]} == {"folders": 0, "notes": 5, "tags": 0}
    everything = sorted(
        ["note 1", "changed in the study", "note 3", "note 4", "note 5", "made in the kitchen", "made in the study"]
    )
    until(house, lambda: one.titles == two.titles == everything, "each is there once")
    in_step(house)
    assert not list(kitchen.state_dir.glob("unbound/*.db"))


def _is_well(device: Device) -> bool:
    return not device.space(SPACE).get("reason")
