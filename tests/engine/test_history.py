"""The log for people: newest first, in pages that neither skip nor repeat."""

from __future__ import annotations

from typing import TYPE_CHECKING

from peerd.engine.history import History

if TYPE_CHECKING:
    from tests.engine.conftest import Device


async def test_the_newest_comes_first(desk: Device) -> None:
    await desk.put("a", {"n": 1})
    await desk.put("b", {"n": 2})
    page = await History(desk.space).page(device=None, collection=None, key=None, limit=10, cursor=None)
    assert [one.changes[0].key for one in page.transactions] == ["b", "a"]
