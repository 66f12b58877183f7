"""Conflicts for people: shown with all there is to know, the same everywhere, and settled by an ordinary change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from peerd.engine.conflicts import Conflicts

if TYPE_CHECKING:
    from tests.engine.conftest import Device


async def test_no_conflict_without_two_writers(desk: Device) -> None:
    await desk.put("a", {"n": 1})
    await desk.put("a", {"n": 2})
    assert (await Conflicts(desk.space).list(collection=None, key=None, limit=10, cursor=None)).conflicts == []
