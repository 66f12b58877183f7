"""Who holds the log back, and who does not count any more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from peerd.core.trimming import ACTIVE_MS
from peerd.engine.relay.relays import Holding, SeenThere
from peerd.engine.upkeep.holding import Holder, Holders

if TYPE_CHECKING:
    from tests.engine.conftest import Device, MakeDevice

DAY_MS = 24 * 3600 * 1000
Two = tuple["Device", "Device"]
ORIGIN = b"o" * 16


async def test_alone_nobody_does(desk: Device) -> None:
    assert Holders().of(desk.space) == []


async def test_a_member_counts_until_it_was_silent_for_sixty_days(two: Two) -> None:
    desk, laptop = two
    await desk.put("a", {})
    acks = desk.clock_now()
    desk.space.presence.note_acks(laptop.id, acks)
    assert Holders().of(desk.space) == [Holder(laptop.id, "", acks, counts=True, silent_ms=0)]
    await desk.housekeeping.tidy(ACTIVE_MS)
    assert Holders().of(desk.space) == [Holder(laptop.id, "", acks, counts=False, silent_ms=ACTIVE_MS)]
    desk.space.presence.note_seen(laptop.id)
    assert Holders().of(desk.space)[0].counts


async def test_a_member_that_is_admitted_again_has_acknowledged_nothing(two: Two) -> None:
    """It comes with an empty copy, and counts from then on."""
    desk, laptop = two
    await desk.put("a", {})
    desk.space.presence.note_acks(laptop.id, desk.clock_now())
    await desk.housekeeping.tidy(ACTIVE_MS)
    await desk.spaces.remove(desk.space, laptop.id)
    assert Holders().of(desk.space) == []
    await desk.spaces.admit(desk.space, laptop.spaces.card())
    assert Holders().of(desk.space) == [Holder(laptop.id, "", {}, counts=True, silent_ms=0)]


async def test_a_member_whose_removal_and_return_are_heard_of_at_once_has_acknowledged_nothing(
    desk: Device, make: MakeDevice
) -> None:
    """As after a while without links; who stayed all the time has what it had."""
    laptop, attic = make("laptop"), make("attic")
    await desk.put("a", {})
    await desk.admit(laptop, attic)
    acks, presence = desk.clock_now(), attic.space.presence
    for device in (desk, laptop):
        presence.note_acks(device.id, acks)
    await desk.spaces.remove(desk.space, laptop.id)
    await desk.spaces.admit(desk.space, laptop.spaces.card())
    await attic.space.learn(desk.space.roster.statements)
    assert (presence.peers[laptop.id].acks, presence.peers[desk.id].acks) == ({}, acks)


async def test_a_member_has_what_it_said_anywhere(two: Two) -> None:
    desk, laptop = two
    await desk.put("a", {})
    (origin,) = desk.clock_now()
    await desk.put("b", {})
    desk.space.presence.note_acks(laptop.id, {origin: 1})
    holders = Holders()
    holders.seen = lambda _space, _device: SeenThere("nas", 1, {origin: 2})
    assert holders.of(desk.space)[0].clock == {origin: 2}


async def test_a_relay_counts_until_it_failed_for_sixty_days(desk: Device) -> None:
    holders = Holders()
    for failing_s, counts in ((0.0, True), (60 * 24 * 3600.0 - 1, True), (60 * 24 * 3600.0, False)):
        held = [Holding("nas", {ORIGIN: 3}, failing_s)]
        holders.holdings = lambda _, held=held: held  # type: ignore[misc] # mypy cannot infer it
        assert holders.of(desk.space) == [Holder(None, "nas", {ORIGIN: 3}, counts, int(failing_s * 1000))]
