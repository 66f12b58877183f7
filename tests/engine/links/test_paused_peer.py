"""What is said of a member whose user has paused its links: it is away, and nobody is to blame."""

from __future__ import annotations

from typing import TYPE_CHECKING

from peerd.core.device_id import format_device_id
from peerd.errors import PAUSED, RESUME_THERE, LinkLost
from peerd.protocol.control.reports import PeerStatus

if TYPE_CHECKING:
    from tests.engine.conftest import Device, Until, Wire

Two = tuple["Device", "Device"]


def peer(of: Device, who: Device) -> PeerStatus:
    return next(one for one in of.statuses.peers.of(of.space) if one.device == format_device_id(who.id))


async def test_a_paused_member_is_offline_with_a_reason_and_nothing_is_degraded(two: Two, wire: Wire) -> None:
    desk, laptop = two
    wire.refusals[laptop.address] = LinkLost(PAUSED, code="paused", next_step=RESUME_THERE)
    await desk.dialing._dial(laptop.id, laptop.address)
    status = peer(desk, laptop)
    assert (status.state, status.reason, status.next_step) == ("offline", PAUSED, RESUME_THERE)
    assert (await desk.statuses.status()).device.state == "running"


async def test_its_goodbye_says_the_same(two: Two, wire: Wire, until: Until) -> None:
    desk, laptop = two
    wire.connect(desk, laptop)
    await until(lambda: peer(desk, laptop).state == peer(laptop, desk).state == "in sync")
    await desk.service.pause()
    await until(lambda: not laptop.switchboard.links and not desk.switchboard.links)
    status = peer(laptop, desk)
    assert (status.state, status.reason, status.next_step) == ("offline", PAUSED, RESUME_THERE)
