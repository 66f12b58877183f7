"""Letting devices in: one invitation at a time, and devices that were named."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.engine.conftest import Device


async def test_an_invitation_begins_with_its_code(desk: Device) -> None:
    events = await desk.inviting.invite(desk.space, assume_yes=True)
    first = await anext(events)
    await events.aclose()
    assert first.code is not None
    assert len(first.code) == 8
    assert first.expires_in_s == 120
