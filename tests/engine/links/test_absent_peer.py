"""How much a member lacks while it is away: never what it wrote or passed on itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import pytest

from peerd.core.device_id import format_device_id
from peerd.protocol import codec
from peerd.protocol.control.reports import PeerStatus
from peerd.protocol.messages import Ack

if TYPE_CHECKING:
    from tests.engine.conftest import Device, MakeDevice, Until, Wire

Two = tuple["Device", "Device"]


def peer(of: Device, who: Device) -> PeerStatus:
    return next(one for one in of.statuses.peers.of(of.space) if one.device == format_device_id(who.id))


def without(kind: type[object], send: Callable[[bytes], Awaitable[None]]) -> Callable[[bytes], Awaitable[None]]:
    """A way to send that loses one kind of message."""

    async def sieve(frame: bytes) -> None:
        if not isinstance(codec.decode(frame), kind):
            await send(frame)

    return sieve


async def cut(device: Device, until: Until) -> None:
    await device.switchboard.stop()
    await until(lambda: not device.switchboard.links)


async def test_it_has_what_it_wrote_itself(two: Two, wire: Wire, until: Until) -> None:
    """However it came to us: here through a third hand."""
    desk, laptop = two
    wire.connect(desk, laptop)
    await desk.put("a", {})
    await until(
        lambda: desk.space.presence.peers.get(laptop.id) is not None and desk.space.presence.peers[laptop.id].acks
    )
    await cut(desk, until)
    await laptop.put("b", {})
    await laptop.tell(desk)
    assert peer(desk, laptop).ahead == 0


async def test_it_has_what_it_passed_on(
    desk: Device, make: MakeDevice, wire: Wire, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run of somebody else that it sent counts as acknowledged by it, at once and after a restart."""
    laptop, phone = make("laptop"), make("phone")
    await desk.admit(laptop, phone)
    await phone.put("a", {})
    await phone.tell(laptop)
    _near, far = wire.connect(desk, laptop)
    await until(lambda: peer(desk, laptop).state == "in sync")
    monkeypatch.setattr(far, "send", without(Ack, far.send))
    await phone.put("b", {})
    await phone.tell(laptop)
    desk.clock.pass_s(1)  # what is passed on waits a moment for more
    await until(lambda: desk.clock_now() == phone.clock_now())
    await cut(desk, until)
    assert peer(desk, laptop).ahead == 0
    again = await desk.reopen()
    assert peer(again, laptop).ahead == 0
