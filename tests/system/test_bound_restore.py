"""Bound tables when their space goes back in time, or begins anew."""

from __future__ import annotations

from collections.abc import Iterator
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


@pytest.mark.parametrize("running", [True, False])
def test_a_space_that_was_rebuilt_goes_on_with_its_file(house: House, apps: list[App], *, running: bool) -> None:
    """What was written meanwhile is there, once; nothing is taken out of the file because the copy is empty."""
    kitchen, study = house.devices
    bound(house, apps)
    study.stop()
    if not running:
        kitchen.stop()
        spoil(database(kitchen, SPACE), 0, 1)
        kitchen.start()
    apps[0].do("INSERT INTO notes (title) VALUES ('meanwhile')")
    kitchen.ctl("space", "rebuild", SPACE, "--yes")
    apps[0].do("INSERT INTO notes (title) VALUES ('later')")

    def waits() -> bool:
        return [one["code"] for one in kitchen.space(SPACE)["tables"]] == ["copy-filling"]

    until(house, waits, "it waits for a member")
    assert apps[0].titles == ["early", "later", "meanwhile"]
    study.start()
    until(house, lambda: len(apps[1].titles) == 3, "the other file shows all")
    in_step(house)
    assert apps[0].titles == apps[1].titles == ["early", "later", "meanwhile"]
    apps[1].do("INSERT INTO notes (title) VALUES ('new')")
    until(house, lambda: "new" in apps[0].titles, "it is bound as before")


def test_a_device_that_is_invited_again_goes_on_with_its_file(house: House, apps: list[App]) -> None:
    kitchen, study = house.devices
    bound(house, apps)
    kitchen.ctl("remove", SPACE, "study", "--yes")
    until(house, lambda: "removed" in study.space(SPACE)["reason"], "it knows, or is told, that it was removed")
    apps[1].do("INSERT INTO notes (title) VALUES ('while outside')")
    pair(kitchen, study, SPACE)
    until(house, lambda: apps[0].titles == ["early", "while outside"], "what was written meanwhile is everywhere")
    in_step(house)
    assert apps[1].titles == ["early", "while outside"]
