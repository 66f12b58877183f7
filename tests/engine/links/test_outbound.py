"""What one side looks up for the other: no more questions wait than are answered."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from peerd.engine.links import outbound
from peerd.protocol import codec
from peerd.protocol.messages import Want
from peerd.protocol.session import Phase


async def test_while_more_is_asked_than_is_looked_up_nothing_more_is_read(
    two: tuple[Any, Any], wire: Any, until: Callable[[Callable[[], object]], Awaitable[None]]
) -> None:
    """Each question may hold a clock of megabytes. When there is room again, the rest is read."""
    desk, laptop = two
    _near, far = wire.connect(desk, laptop)
    await until(lambda: all(one.switchboard.sessions(one.space) for one in (desk, laptop)))
    (session,) = laptop.switchboard.sessions(laptop.space)
    await until(lambda: session.machine.phase is Phase.STREAMING)
    gate, position_before = asyncio.Event(), laptop.space.store.position_before

    async def slowly(clock: Any) -> int:
        await gate.wait()
        return int(await position_before(clock))

    laptop.space.store.position_before = slowly
    for _ in range(3 * outbound.LOOKS_WAITING):
        far._arrived.put_nowait(codec.encode(Want(desk.space.id, {}, 1)))
    await until(lambda: len(session._outbound._waiting) >= outbound.LOOKS_WAITING)
    for _ in range(100):
        await asyncio.sleep(0)
    assert len(session._outbound._waiting) == outbound.LOOKS_WAITING
    assert far._arrived.qsize() > outbound.LOOKS_WAITING
    gate.set()
    await until(far._arrived.empty)
    await laptop.put("one", {"n": 1})
    await until(lambda: laptop.space.copy.clock() == desk.space.copy.clock())
