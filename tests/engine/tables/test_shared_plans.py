"""What all devices must agree on about a bound table."""

from __future__ import annotations

import pytest

from peerd.core.entry import Kind
from peerd.core.intents import Intent
from peerd.core.tables.plans import BindingPlan, KeyClass, TablePlan
from peerd.core.tables.proposals import Choices
from peerd.core.tables.shared import TABLES, SharedPlan
from peerd.core.values import pack
from peerd.engine.tables import shared_plans
from peerd.errors import UserError
from tests.engine.conftest import Device
from tests.support.proposed import schema_of

TAGS = TablePlan(1, "tags", "todo.tags", KeyClass.CONTENT, ("name",))
TASKS = TablePlan(2, "tasks", "todo.tasks", KeyClass.SURROGATE, references={"tag": "tags"})
SCHEMA = schema_of(
    "tags(id INTEGER PRIMARY KEY, name NOT NULL UNIQUE COLLATE NOCASE)",
    "tasks(id INTEGER PRIMARY KEY, tag REFERENCES tags, lo, hi CHECK(hi > lo), CHECK(id > 0))",
)
KNOWN = {
    "tags": SharedPlan("content", ("name",), {}, "todo.tags", (), ("NOCASE",)),
    "tasks": SharedPlan("surrogate", (), {"tag": "tags"}, "todo.tasks", (("hi", "lo"),)),
}


async def test_what_the_first_device_states_the_others_read(desk: Device) -> None:
    await shared_plans.share(desk.space, BindingPlan("todo", (TAGS, TASKS)), SCHEMA, {})
    assert await shared_plans.load(desk.space, "todo") == KNOWN
    assert await shared_plans.load(desk.space, "tod") == {}
    clock = desk.clock_now()
    await shared_plans.share(desk.space, BindingPlan("todo", (TAGS, TASKS)), SCHEMA, KNOWN)
    assert desk.clock_now() == clock


async def test_what_a_later_version_states_is_left_alone(desk: Device) -> None:
    await shared_plans.share(desk.space, BindingPlan("todo", (TAGS,)), SCHEMA, {})
    await desk.space.commits.write([Intent(Kind.PATCH, TABLES, "todo.tags", {"key": pack(7)})])
    assert await shared_plans.load(desk.space, "todo") == {}


def test_choices_follow_what_is_known() -> None:
    choices = shared_plans.taken_over(Choices(triggers={"tasks": "run"}), KNOWN)
    assert choices == Choices(
        keys={"tags": "content", "tasks": "surrogate"},
        match={"tags": ("name",)},
        references={"tasks.tag": "tags"},
        triggers={"tasks": "run"},
    )


@pytest.mark.parametrize(
    "choices",
    [
        Choices(keys={"tags": "natural"}),
        Choices(keys={"tags": "content"}, match={"tags": ("title",)}),
        Choices(references={"tasks.tag": "lists"}),
    ],
)
def test_a_choice_against_it_is_refused(choices: Choices) -> None:
    with pytest.raises(UserError) as refused:
        shared_plans.taken_over(choices, KNOWN)
    assert refused.value.code == "tables-refused"


async def test_a_reference_that_came_later_is_stated_and_none_is_forgotten(desk: Device) -> None:
    await shared_plans.share(desk.space, BindingPlan("todo", (TAGS, TASKS)), SCHEMA, {})
    known = await shared_plans.load(desk.space, "todo")
    more = TablePlan(2, "tasks", "todo.tasks", KeyClass.SURROGATE, references={"list": "lists"})
    await shared_plans.share(desk.space, BindingPlan("todo", (TAGS, more)), SCHEMA, known)
    found = await shared_plans.load(desk.space, "todo")
    assert found["tasks"].references == {"tag": "tags", "list": "lists"}
