"""What a space takes, and who keeps it from taking less."""

from __future__ import annotations

from typing import TYPE_CHECKING

from peerd.core.device_id import format_device_id
from peerd.engine.relay.relays import Holding
from peerd.protocol.control.growth import HoldingBack

if TYPE_CHECKING:
    from tests.engine.conftest import Device, Hands

DAY_MS = 24 * 3600 * 1000
Two = tuple["Device", "Device"]


async def held_by(desk: Device, other: Device) -> HoldingBack | None:
    """As `members` says it."""
    views = (await desk.service.members("home")).members
    return next(one.holding for one in views if one.device == format_device_id(other.id))


async def test_sizes_are_part_of_the_status(desk: Device) -> None:
    await desk.put("a", {"x": 1})
    await desk.put("a", {"x": 2})
    (view,) = (await desk.service.status()).spaces
    assert view.sizes is not None
    assert view.sizes.database_bytes + view.sizes.wal_bytes == await desk.space.store.size_bytes()
    assert view.sizes.log_bytes > view.sizes.history_bytes > 0
    assert not view.sizes.wal_held


async def test_a_member_holds_back_what_is_old_and_it_lacks(two: Two, clock: Hands) -> None:
    desk, laptop = two
    await desk.put("a", {"x": 1})
    came_ms = clock.wall_ms()
    clock.pass_s(3600)
    await desk.put("b", {"x": 1})
    desk.space.presence.note_acks(laptop.id, dict.fromkeys(desk.clock_now(), 1))
    assert await held_by(desk, laptop) == HoldingBack(active=True, silent_days=0)
    clock.tq = 0
    await desk.housekeeping.tidy(31 * DAY_MS)
    held = await held_by(desk, laptop)
    assert held is not None
    assert (held.active, held.silent_days, held.transactions) == (True, 31, 1)
    assert held.size_bytes > 0
    assert held.since_ms == came_ms + 3_600_000
    await desk.housekeeping.tidy(29 * DAY_MS)
    assert await held_by(desk, laptop) == HoldingBack(active=False, silent_days=60)
    assert await held_by(desk, desk) is None


async def test_a_relay_is_listed_with_what_it_holds_back(desk: Device) -> None:
    holders = desk.statuses.spaces.growth.holders
    desk.housekeeping.holders.holdings = holders.holdings = lambda _: [Holding("nas", {}, 3 * 24 * 3600.0)]
    desk.statuses.spaces.growth.history_days = lambda _: 10
    await desk.put("a", {"x": 1})
    await desk.housekeeping.tidy(11 * DAY_MS)
    (relay,) = (await desk.service.members("home")).relays
    assert (relay.relay, relay.holding.active, relay.holding.silent_days) == ("nas", True, 3)
    assert relay.holding.transactions == 1
