"""The feed: nothing skipped, nothing told twice, across restarts and slow readers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from peerd.engine.feed import Feed

if TYPE_CHECKING:
    from tests.engine.conftest import Device


async def test_without_a_token_comes_the_state(desk: Device) -> None:
    await desk.put("a", {"n": 1})
    events = [one async for batch in await Feed(desk.space).open(None, follow=False) for one in batch]
    assert [one.kind for one in events] == ["reset", "put", "current"]
