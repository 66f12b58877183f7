"""Records for applications: what is written comes back, and nothing is overwritten unseen."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.engine.conftest import Device


async def test_what_is_put_comes_back(desk: Device) -> None:
    written = await desk.put("a", {"n": 1})
    assert written.changed
    assert await desk.value("a") == {"n": 1}
