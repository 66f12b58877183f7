"""What an unbound file is known by: kept for a while, used once."""

from __future__ import annotations

from tests.engine.conftest import START_MS, Device, Until
from tests.engine.tables.test_bindings import TASKS, at_rest, bind, file_of

DAY_MS = 24 * 3600 * 1000


async def test_an_unbound_file_is_remembered_until_it_is_bound_again(desk: Device) -> None:
    file_of(desk)
    await bind(desk, keys={"tasks": "surrogate"})
    await desk.put("a", {"title": "Milk"}, TASKS)
    await at_rest(desk)
    await desk.bindings.unbind(desk.space, "todo")
    name = f"{desk.space.id.hex()}.todo.db"
    assert [(kept.parent.name, kept.name) for kept in desk.files.kept] == [("unbound", name)]
    desk.bindings.memory.history_days = {"home": 7}.__getitem__
    report = await bind(desk, keys={"tasks": "surrogate"}, dry_run=True)
    assert (report.first, report.tables[0].known) == ("undecided", 1)
    assert desk.files.forgotten[-1] == ("unbound", desk.space.id.hex(), START_MS - 7 * DAY_MS)
    assert desk.files.alive == {"tasks": {"a"}}
    assert (await bind(desk, merge=True)).tables[0].known == 1
    assert desk.files.remembered is not None
    forgotten = list(desk.files.forgotten)
    assert forgotten[-1] == ("unbound", f"{desk.space.id.hex()}.todo.", None)


async def test_what_gives_way_is_not_recognised(desk: Device) -> None:
    await desk.put("a", {"title": "Milk"}, TASKS)
    file_of(desk).put("b", title="Salt")
    await bind(desk, adopt=True)
    assert desk.files.remembered is None


async def test_with_a_space_what_was_bound_to_it_is_forgotten(desk: Device, until: Until) -> None:
    desk.bindings.remove_space(desk.space)
    await until(lambda: desk.files.forgotten)
    assert desk.files.forgotten == [("unbound", f"{desk.space.id.hex()}.", None)]
