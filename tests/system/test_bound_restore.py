"""Bound tables when their space goes back in time, or begins anew."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.support.daemons import Device, House, pair
from tests.system.test_damaged import database, spoil
from tests.system.test_tables import SPACE, App, bind, in_step, is_in_step, until


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


def waits(device: Device) -> bool:
    return [one["code"] for one in device.space(SPACE)["tables"]] == ["copy-filling"]


@pytest.mark.parametrize("way", ["met", "removed"])
def test_what_only_the_file_of_a_restored_space_has_is_kept(
    house: House, apps: list[App], tmp_path: Path, way: str
) -> None:
    """What was written after the backup, and nobody has heard of; what others have changed since stands."""
    kitchen, study = house.devices
    bound(house, apps)
    apps[0].do("INSERT INTO notes (title) VALUES ('changed there')")
    in_step(house)
    kitchen.ctl("backup", str(tmp_path / "backup"))
    apps[0].do("UPDATE notes SET title = 'changed here' WHERE title = 'changed there'")
    in_step(house)
    kitchen.stop()
    apps[1].do("UPDATE notes SET title = 'changed again' WHERE title = 'changed here'")
    study.wait(lambda: "changed again" in str(study.export(SPACE)), "it is a change")
    study.stop()
    kitchen.start()
    apps[0].do("INSERT INTO notes (title) VALUES ('only here')")
    apps[0].do("UPDATE notes SET title = 'early, edited' WHERE title = 'early'")
    kitchen.wait(lambda: all(one in str(kitchen.export(SPACE)) for one in ("only here", "early, edited")), "as records")
    kitchen.stop()
    done = kitchen.run("restore", str(tmp_path / "backup"), "--config", str(kitchen.config), "--yes")
    assert done.returncode == 0, done.stderr
    kitchen.start()
    kitchen.wait(lambda: waits(kitchen), "it waits for a member")
    (notice,) = kitchen.space(SPACE)["tables"]
    assert "study" in notice["reason"]
    assert "peerctl remove" in notice["next_step"]
    before = apps[0].titles
    assert before == ["changed here", "early, edited", "only here"]
    apps[0].do("INSERT INTO notes (title) VALUES ('while it waits')")
    if way == "met":
        study.start()
        expected = ["changed again", "early, edited", "only here", "while it waits"]
        until(house, lambda: apps[1].titles == expected, "the other file shows all")
        in_step(house)
        assert kitchen.ctl("conflicts", SPACE)["conflicts"] == []
    else:
        kitchen.ctl("remove", SPACE, "study", "--yes")
        expected = [*before, "while it waits"]
        kitchen.wait(lambda: "while it waits" in str(kitchen.export(SPACE)), "it goes on")
        kitchen.wait(partial(is_in_step, kitchen), "its file is in step")
        assert {one["title"] for one in kitchen.export(SPACE)["app.notes"].values()} == set(expected)
    assert apps[0].titles == expected


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
    until(house, lambda: waits(kitchen), "it waits for a member")
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
