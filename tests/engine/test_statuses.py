"""Every state has a cause, a culprit and a next step."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.engine.conftest import Device


async def test_a_space_without_other_members_is_alone(desk: Device) -> None:
    view = await desk.statuses.space(desk.space)
    assert view.state == "alone"
    assert "peerctl invite" in view.next_step
