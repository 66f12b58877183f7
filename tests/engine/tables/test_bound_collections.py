"""What may be written to records that are rows somewhere."""

from __future__ import annotations

import pytest

from peerd.core.entry import Kind
from peerd.core.intents import Intent
from peerd.core.tables.shared import TABLES, SharedPlan, fields_of
from peerd.core.values import pack
from peerd.errors import UserError
from peerd.protocol.control.messages import ChangeRequest
from tests.engine.conftest import Device

TAGS = SharedPlan("content", ("name",), {}, "todo.tags", (), ("NOCASE",))
SPANS = SharedPlan("natural", ("a", "b"), {}, "todo.spans", (("lo", "hi"), ("hi", "top")), ("BINARY", "BINARY"))


async def state(device: Device, name: str, plan: SharedPlan) -> None:
    await device.space.commits.write([Intent(Kind.PUT, TABLES, f"todo.{name}", fields_of(plan))])


async def test_a_key_that_its_columns_do_not_make_is_refused_with_the_right_one(desk: Device) -> None:
    await state(desk, "tags", TAGS)
    with pytest.raises(UserError, match=r"todo\.tags/x is a row that is known by name: these values make the key .gar"):
        await desk.put("x", {"name": "Garden"}, "todo.tags")
    with pytest.raises(UserError, match="name is lacking") as refused:
        await desk.put("garden", {"colour": "green"}, "todo.tags")
    assert (refused.value.code, refused.value.status) == ("key-mismatch", 422)
    with pytest.raises(UserError, match="no column can hold such a value"):
        await desk.put("x", {"name": [1]}, "todo.tags")
    await desk.put("garden", {"name": "Garden"}, "todo.tags")
    await desk.put("x", {"name": "Garden"}, "notes")


async def test_a_patch_may_leave_the_key_alone_but_not_change_it(desk: Device) -> None:
    await state(desk, "spans", SPANS)
    await desk.put("1|2", {"a": 1, "b": 2}, "todo.spans")
    await desk.patch("1|2", "todo.spans", set={"lo": 1})
    await desk.patch("1|2", "todo.spans", set={"a": 1, "b": 2, "lo": 3})
    for changed in ({"set": {"a": 3, "b": 2}}, {"set": {"a": 1}}, {"drop": ["a"], "set": {"b": 2}}):
        with pytest.raises(UserError, match="known by a, b") as refused:
            await desk.patch("1|2", "todo.spans", **changed)
        assert refused.value.next_step.startswith("Leave a, b out")
    await desk.delete("1|2", "todo.spans")


async def test_one_change_of_many_that_is_refused_leaves_the_others_alone(desk: Device) -> None:
    await state(desk, "tags", TAGS)
    changes = [
        ChangeRequest(kind="put", collection="todo.tags", key=key, value={"name": "A"}) for key in ("wrong", "a")
    ]
    first, second = await desk.records.write_each(changes)
    assert isinstance(first, UserError)
    assert not isinstance(second, UserError)


async def test_what_is_said_of_tables_travels_and_is_known_after_a_restart(two: tuple[Device, Device]) -> None:
    desk, laptop = two
    await state(desk, "spans", SPANS)
    await desk.tell(laptop)
    again = await laptop.reopen()
    for device in (desk, again):
        bound = device.space.commits.bound
        assert bound.tied("todo.spans", "lo") == {"hi", "top"}
        assert bound.tied("todo.spans", "a") == bound.tied("todo.tags", "lo") == frozenset()
    await desk.space.commits.write([Intent(Kind.PATCH, TABLES, "todo.spans", {"key": pack(7)})])
    assert desk.space.commits.bound.tied("todo.spans", "lo") == frozenset()
    await state(desk, "spans", SPANS)
    await desk.space.commits.write([Intent(Kind.DELETE, TABLES, "todo.spans")])
    assert desk.space.commits.bound.tied("todo.spans", "lo") == frozenset()
