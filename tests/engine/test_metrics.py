"""Metrics that a Prometheus server can read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from peerd.engine import metrics

if TYPE_CHECKING:
    from tests.engine.conftest import Device


async def test_visible_records_are_counted(desk: Device) -> None:
    await desk.put("a", {"n": 1})
    text = await metrics.render(desk.spaces, desk.switchboard, desk.statuses)
    assert 'peerd_records{space="home"} 1\n' in text
