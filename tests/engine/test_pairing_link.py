"""One pairing machine on one link, driven to its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from peerd.engine.pairing_link import drive
from peerd.protocol.pairing import Failed
from peerd.protocol.pairing_joiner import Joiner

if TYPE_CHECKING:
    from collections.abc import Callable

    from peerd.protocol.pairing import Admit, AskPerson, Effect, Store
    from tests.engine.conftest import Device, Pipe


async def test_a_lost_link_ends_the_attempt(desk: Device, pipes: Callable[[], tuple[Pipe, Pipe]]) -> None:
    near, far = pipes()
    machine = Joiner(
        card=desk.spaces.card(), theirs=near.theirs, code="12345678", named=None,
        entropy=desk.clock.random_bytes, verify=lambda *_: True, now_s=desk.clock.boottime_s(),
    )  # fmt: skip
    await far.close(1000, "gone")

    async def never(_: AskPerson | Admit | Store) -> list[Effect]:
        raise AssertionError

    end = await drive(machine, near, desk.clock, never)
    assert isinstance(end, Failed)
