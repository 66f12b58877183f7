"""Why a record is parked, and what to do, with names and commands that are right as they stand."""

from __future__ import annotations

from typing import Any

import pytest

from peerd.core.device_id import format_device_id
from peerd.core.tables.changes import Parked
from peerd.core.tables.plans import BindingPlan, KeyClass, TablePlan
from peerd.engine.tables.parked_advice import parked_rows
from tests.engine.conftest import Device
from tests.support.proposed import schema_of

SCHEMA = schema_of(
    "countries(code TEXT NOT NULL PRIMARY KEY)",
    "folders(id INTEGER PRIMARY KEY, name)",
    "unbound(a PRIMARY KEY)",
    "notes(id INTEGER PRIMARY KEY, folder REFERENCES folders, country REFERENCES countries, other REFERENCES unbound)",
)
PLAN = BindingPlan(
    "app",
    (
        TablePlan(1, "countries", "app.countries", KeyClass.NATURAL, ("code",)),
        TablePlan(2, "folders", "app.folders", KeyClass.SURROGATE),
        TablePlan(3, "notes", "app.notes", KeyClass.SURROGATE, references={"folder": "folders"}),
    ),
)
DELETES = "`peerctl delete home app.notes n` deletes this one."


async def told(device: Device, code: str, fields: dict[str, Any], *others: Parked) -> tuple[str, str]:
    await device.put("n", fields, "app.notes")
    one = Parked("app.notes", "n", code, "What the file says.")
    (row,) = await parked_rows(device.space, PLAN, SCHEMA, [one], [one, *others])
    assert (row.table, row.collection, row.key, row.code) == ("notes", "app.notes", "n", code)
    return row.reason, row.next_step


async def test_a_parent_that_is_deleted_is_named_with_the_way_back(desk: Device) -> None:
    reason, step = await told(desk, "parent", {"folder": "f o"})
    assert reason == ("The row of folders that folder refers to, app.folders/f o, is deleted, or has not come yet.")
    assert step == (
        "`peerctl log home --collection app.folders --key 'f o'` says when it was deleted, "
        f"`peerctl put home app.folders 'f o' JSON` brings it back; {DELETES}"
    )


async def test_a_parent_that_is_parked_itself_comes_first(desk: Device) -> None:
    await desk.put("f", {}, "app.folders")
    reason, step = await told(desk, "parent", {"folder": "f"}, Parked("app.folders", "f", "unique", ""))
    assert reason == "The row of folders that folder refers to, app.folders/f, is parked itself."
    assert step.startswith("See to that one first")


async def test_a_parent_with_a_key_of_its_own_is_named_by_the_schema(desk: Device) -> None:
    await desk.put("f", {}, "app.folders")
    reason, step = await told(desk, "parent", {"folder": "f", "country": "CH", "other": 1})
    assert "country refers to, app.countries/CH, is deleted" in reason
    assert "peerctl put home app.countries CH JSON" in step
    await desk.put("CH", {}, "app.countries")
    reason, step = await told(desk, "parent", {"folder": "f", "country": "CH", "other": 1})
    assert reason == "The row of unbound that other refers to (a = 1) is not there."
    assert step.startswith("Make that row with the application")


async def test_what_cannot_be_named_keeps_the_words_of_the_file(desk: Device) -> None:
    reason, step = await told(desk, "parent", {"folder": None, "country": [1], "other": None})
    assert (reason, step) == ("What the file says.", f"Bring that row back; {DELETES}")


async def test_a_reference_that_only_its_author_knows_names_the_author(desk: Device) -> None:
    here = format_device_id(desk.id)
    _, step = await told(desk, "dangling", {"folder": {"device": here, "integer": 4}})
    assert step == f"Set folder of this row anew with the application on desk; {DELETES}"
    _, step = await told(desk, "dangling", {"folder": {"device": "who", "integer": 4}})
    assert "on who;" in step
    _, step = await told(desk, "dangling", {"folder": 4})
    assert "Bind the file again on the device that wrote it" in step
    _, step = await told(desk, "dangling", {})
    assert step.startswith("Set it anew")


@pytest.mark.parametrize(
    ("code", "begins"),
    [
        ("unique", "`peerctl get home app.notes n` shows it. Change or delete one of the two"),
        ("check", "If the application is older here than elsewhere, update it. Else `peerctl patch home app.notes n"),
        ("not-null", "If the application is older"),
        ("datatype", "If the application is older"),
    ],
)
async def test_each_cause_has_its_way(desk: Device, code: str, begins: str) -> None:
    reason, step = await told(desk, code, {"folder": None})
    assert reason == "What the file says."
    assert step.startswith(begins)
    assert step.endswith(DELETES)
