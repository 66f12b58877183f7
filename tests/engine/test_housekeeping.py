"""What is done now and then: history is forgotten by daemon time, secrets change with the members."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.engine.conftest import Device


async def test_without_a_peer_our_clock_has_no_witness(desk: Device) -> None:
    said: list[bool] = []
    desk.housekeeping.set_agreed = said.append
    desk.housekeeping.judge_clock()
    assert said == [False]
