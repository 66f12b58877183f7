"""Bound tables when their space goes back in time, or begins anew."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.daemons import House, pair
from tests.system.test_damaged import database, spoil
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
    made = [App(tmp_path / name) for name in ("one", "two")]
    yield made
    for app in made:
        app.close()


def bound(house: House, apps: list[App]) -> None:
    for device, app in zip(house.devices, apps, strict=True):
        bind(device, app)
    apps[0].do("INSERT INTO notes (title) VALUES ('early')")
    in_step(house)


def test_a_space_that_was_restored_meets_its_file_as_it_is(house: House, apps: list[App], tmp_path: Path) -> None:
    """The file is ahead of the space by a row that others have and one that nobody has: both are there, once each."""
    kitchen, _ = house.devices
    bound(house, apps)
    kitchen.ctl("backup", str(tmp_path / "backup"))
    apps[0].do("INSERT INTO notes (title) VALUES ('late')")
    in_step(house)
    kitchen.stop()
    apps[0].do("INSERT INTO notes (title) VALUES ('while stopped')")
    done = kitchen.run("restore", str(tmp_path / "backup"), "--config", str(kitchen.config), "--yes")
    assert done.returncode == 0, done.stderr
    kitchen.start()
    until(house, lambda: all(len(app.titles) == 3 for app in apps), "both files show all")
    in_step(house)
    assert apps[0].titles == apps[1].titles == ["early", "late", "while stopped"]


def test_a_space_that_was_rebuilt_is_bound_again(house: House, apps: list[App], tmp_path: Path) -> None:
    """With `--adopt` the file shows what the space has; what only the file had is in the backup of it."""
    kitchen, _ = house.devices
    bound(house, apps)
    kitchen.stop()
    spoil(database(kitchen, SPACE), 0, 1)
    kitchen.start()
    apps[0].do("INSERT INTO notes (title) VALUES ('meanwhile')")
    kitchen.ctl("space", "rebuild", SPACE, "--yes")
    house.agree(SPACE)
    report = bind(kitchen, apps[0], "--adopt")
    until(house, lambda: apps[0].titles == ["early"], "it shows what the space has")
    in_step(house)
    with closing(sqlite3.connect(report["backup"])) as backup:
        assert backup.execute("SELECT title FROM notes ORDER BY 1").fetchall() == [("early",), ("meanwhile",)]
    apps[0].do("INSERT INTO notes (title) VALUES ('new')")
    until(house, lambda: apps[1].titles == ["early", "new"], "it is bound as before")
