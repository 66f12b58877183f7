"""Somebody deletes everything on one machine, and it is put back from another: records, and rows of two applications.

Real daemons, `peerctl` as people run it, and files that other processes write.
"""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemons import Device, House, pair, start_all
from tests.system.test_tables import SPACE, App, bind, in_step, until

RECORDS = 3_000  # more than one transaction puts back
NOTES = 30


def now(house: House) -> str:
    """A time that everything before it precedes, for --since."""
    at_s = time.time()
    until(house, lambda: time.time() > at_s + 0.002, "the clock has gone on")
    return datetime.fromtimestamp(at_s + 0.001, UTC).isoformat()


def write(device: Device, kind: str, keys: list[str], collection: str = "recipes") -> None:
    for first in range(0, len(keys), 500):
        changes: list[dict[str, Any]] = [
            {"kind": kind, "collection": collection, "key": key} for key in keys[first : first + 500]
        ]
        if kind == "put":
            changes = [{**change, "value": {"n": change["key"], "text": "x" * 50}} for change in changes]
        device.call("POST", "spaces", SPACE, "transactions", body={"changes": changes})


def filled(app: App) -> None:
    for name in ("soups", "cakes"):
        folder = app.do("INSERT INTO folders (name) VALUES (?)", name)
        for number in range(NOTES // 2):
            app.do("INSERT INTO notes (folder_id, title, size) VALUES (?, ?, ?)", folder, f"{name} {number}", number)


def everything(app: App) -> list[tuple[Any, ...]]:
    """With the keys that this application knows its rows by."""
    return [*app.ask("SELECT * FROM folders ORDER BY id"), *app.ask("SELECT * FROM notes ORDER BY id")]


@pytest.fixture
def apps(tmp_path: Path) -> Any:
    apps = [App(tmp_path / name) for name in ("app-kitchen", "app-study")]
    yield apps
    for app in apps:
        app.close()


def test_a_mass_delete_is_undone_from_another_machine(tmp_path: Path, apps: list[App]) -> None:
    """The rows come back under their own keys in both files, the records on all three devices; and what somebody wrote
    meanwhile stays.
    """
    one, two = apps
    with House(tmp_path / "house") as house:
        kitchen, study, attic = (house.device(name) for name in ("kitchen", "study", "attic"))
        start_all(house.devices)
        kitchen.create(SPACE)
        pair(kitchen, study, SPACE)
        pair(kitchen, attic, SPACE)
        filled(one)
        bind(kitchen, one)
        house.agree(SPACE)
        bind(study, two)
        keys = [f"{number:05}" for number in range(RECORDS)]
        write(kitchen, "put", keys)
        house.agree(SPACE)
        until(house, lambda: one.notes == two.notes and len(one.notes) == NOTES, "the rows are there")
        before, rows = house.agree(SPACE), (everything(one), everything(two))
        since = now(house)

        one.do("DELETE FROM notes WHERE title LIKE 'soups%'")
        one.do("DELETE FROM folders WHERE name = 'soups'")
        until(house, lambda: len(two.notes) == NOTES // 2, "what the application deleted is gone")
        write(kitchen, "delete", keys)
        write(kitchen, "delete", list(study.export(SPACE)["app.notes"]), "app.notes")
        until(house, lambda: two.notes == set(), "everything is gone")
        house.agree(SPACE)
        study.put(SPACE, "recipes", "new", {"by": "somebody"})
        study.put(SPACE, "recipes", keys[0], {"n": "written again"})

        planned = study.ctl("revert", SPACE, "--device", "kitchen", "--since", since, "--dry-run")
        assert len(planned["records"]) == RECORDS + NOTES + 1
        done = study.ctl("revert", SPACE, "--device", "kitchen", "--since", since, "--yes")
        assert done["records"] == planned["records"]
        assert len(done["transactions"]) > 1
        (left,) = [record for record in done["records"] if record["done"] is None]
        assert (left["key"], left["left"]) == (keys[0], ["(deleted)"])

        until(house, lambda: (everything(one), everything(two)) == rows, "the rows are back, under their keys")
        in_step_of_two(house)
        after = house.agree(SPACE)
        recipes = {**before["recipes"], "new": {"by": "somebody"}, keys[0]: {"n": "written again"}}
        assert after == {**before, "recipes": recipes}
        assert kitchen.conflicts(SPACE) == []

        again = json.loads(
            attic.run("revert", SPACE, "--device", "kitchen", "--since", since, "--yes", "--json").stdout
        )
        assert [(record["key"], record["done"]) for record in again["records"]] == [(keys[0], None)]
        assert attic.get(SPACE, "recipes", keys[1]) == before["recipes"][keys[1]]


def in_step_of_two(house: House) -> None:
    """As `in_step`, where the third has no file."""
    *bound, without = house.devices
    house.devices = bound
    in_step(house)
    house.devices = [*bound, without]


def test_an_edit_of_an_application_is_undone_in_its_file(tmp_path: Path, apps: list[App]) -> None:
    """One transaction, by the name that the log prints; what it was is shown, and the undoing is undone."""
    one, two = apps
    with House(tmp_path / "house") as house:
        kitchen, study = house.start("kitchen", "study")
        kitchen.create(SPACE)
        pair(kitchen, study, SPACE)
        one.do("INSERT INTO notes (title, size) VALUES ('first', 1)")
        bind(kitchen, one)
        house.agree(SPACE)
        bind(study, two)
        until(house, lambda: two.titles == ["first"], "the row is there")
        in_step(house)
        (key,) = study.export(SPACE)["app.notes"]
        since = now(house)
        one.do("UPDATE notes SET title = 'nonsense', size = 9")
        until(house, lambda: two.titles == ["nonsense"], "the edit is there")
        (bad,) = study.ctl("log", SPACE, "--since", since, "--collection", "app.notes", "--key", key)["transactions"]
        assert (bad["device_name"], bad["changes"][0]["set"]) == ("kitchen", {"title": "nonsense", "size": 9.0})
        assert study.ctl("show", SPACE, "app.notes", key, "--at", since)["value"]["title"] == "first"

        origin, _, seq = bad["dot"].partition(":")
        done = study.ctl("revert", SPACE, f"{origin[:8]}:{seq}", "--yes")
        until(house, lambda: one.notes == two.notes == {("first", None, 1.0, None)}, "it is undone in both files")
        kitchen.ctl("revert", SPACE, done["transactions"][0], "--yes")
        until(house, lambda: one.notes == two.notes == {("nonsense", None, 9.0, None)}, "and that is undone, too")
        kinds = [version["kind"] for version in kitchen.ctl("show", SPACE, "app.notes", key)["versions"]]
        assert kinds == ["changed", "changed", "changed", "created"]
        in_step(house)
