"""Between discovery and the rest: members are recognised, strangers learn nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING, NamedTuple

import pytest

from peerd.core.tags import MAX_TAGS, make_tag
from peerd.engine.links import lookout
from peerd.engine.presence import ADDRESSES

if TYPE_CHECKING:
    from peerd.core.stored import Address
    from tests.engine.conftest import Device, Hands, MakeDevice, Until, Wire

NONCE = b"a nonce of 16 b."


class Seen(NamedTuple):
    """What discovery says."""

    instance: str
    addresses: tuple[Address, ...] = (("192.0.2.7", 7337),)
    nonce: bytes = NONCE
    tags: tuple[bytes, ...] = ()
    pairing_name: str | None = None


def of(device: Device, instance: str = "i", nonce: bytes = NONCE) -> Seen:
    """The announcement of a device as it is."""
    return Seen(instance, (device.address,), nonce, tuple(device.lookout._tags_for(nonce)))


async def taken(stream: AsyncGenerator[tuple[Address, ...], None]) -> list[Address]:
    return [addresses[0] async for addresses in stream]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for more."""
    monkeypatch.setattr(lookout, "LOOK_S", 0.0)


# --- what we see ----------------------------------------------------------------------------------------


async def test_a_member_is_recognised_and_dialled_there(two: tuple[Device, Device]) -> None:
    desk, laptop = two
    assert desk.lookout.on_sighting(of(laptop))
    assert desk.book.note(laptop.id).addresses[0] == laptop.address
    assert desk.book.note(laptop.id).sighted_s == desk.clock.monotonic_s()


async def test_where_a_linked_member_listens_is_kept(two: tuple[Device, Device], wire: Wire, until: Until) -> None:
    """It dialled us, so its link shows its host alone; an announcement that names others may be anybody's."""
    desk, laptop = two
    _, far = wire.connect(laptop, desk)
    await until(lambda: laptop.id in desk.switchboard.links and desk.switchboard.links[laptop.id].sessions != {})
    presence, news = desk.space.presence, list[bytes]()
    presence.peer_known = news.append
    host, here = far.address[0], of(laptop)
    desk.lookout.on_sighting(here._replace(addresses=(("192.0.2.66", 7337),)))
    assert presence.peers[laptop.id].addresses == ()
    for _ in range(2):
        desk.lookout.on_sighting(here._replace(addresses=(("192.0.2.66", 7337), (host, 7338))))
    assert presence.peers[laptop.id].addresses == ((host, 7338),)
    assert news == [laptop.id], "what is known already is not written again"
    for port in range(8000, 8020):
        desk.lookout.on_sighting(here._replace(addresses=((host, port),)))
    kept = presence.peers[laptop.id].addresses
    assert (kept[0], len(kept)) == ((host, 8019), ADDRESSES)
    again = await desk.reopen()
    assert again.space.presence.peers[laptop.id].addresses == kept


async def test_a_stranger_is_not(two: tuple[Device, Device], make: MakeDevice) -> None:
    """Nor whoever repeats a tag under another nonce, nor our own announcement."""
    desk, laptop = two
    stranger = make("stranger")
    await stranger.spaces.found("home")
    before = dict(desk.book.notes)
    assert not desk.lookout.on_sighting(of(stranger))
    assert not desk.lookout.on_sighting(Seen("none"))
    assert not desk.lookout.on_sighting(of(laptop)._replace(nonce=b"another nonce 16"))
    assert not desk.lookout.on_sighting(of(desk))
    assert desk.book.notes == before


async def test_both_secrets_are_understood_while_they_change(two: tuple[Device, Device], make: MakeDevice) -> None:
    """Who has not heard of a removal goes on being recognised, and recognises."""
    desk, laptop = two
    gone = make("gone")
    await desk.admit(gone)
    await desk.tell(laptop)
    late = of(laptop, "late")
    removed = of(gone, "removed")
    await desk.spaces.remove(desk.space, gone.id)
    assert desk.lookout.on_sighting(late)
    assert laptop.lookout.on_sighting(of(desk, "new"))
    assert not desk.lookout.on_sighting(removed)
    await desk.tell(laptop)
    assert desk.lookout.on_sighting(of(laptop, "told"))
    keys = desk.spaces.discovery_keys(desk.space)
    assert len(keys) == 2
    assert of(laptop).tags[0] == make_tag(keys[0], NONCE, laptop.id)


async def test_who_has_not_heard_of_a_removal_is_recognised_where_two_made_a_secret_at_once(
    two: tuple[Device, Device], make: MakeDevice
) -> None:
    """And recognises; so does the one that they removed, which removed one of them: it may be the one that stays."""
    desk, laptop = two
    away, gone = make("away"), make("gone")
    for one in (away, gone):
        await desk.admit(one)
        await desk.tell(laptop)
    await desk.tell(away)
    before = len(desk.space.roster.statements)
    await desk.spaces.remove(desk.space, gone.id)
    await laptop.space.learn(desk.space.roster.statements[: before + 1])  # the removal, and not yet the secret
    await laptop.spaces.renew_epoch(laptop.space)
    await laptop.tell(desk)
    await desk.tell(laptop)
    await gone.spaces.remove(gone.space, desk.id)
    assert desk.space.roster.digest() == laptop.space.roster.digest()
    assert desk.lookout.on_sighting(of(away, "late"))
    assert away.lookout.on_sighting(of(desk, "new"))
    assert gone.lookout.on_sighting(of(laptop, "new"))


async def test_who_becomes_a_member_is_recognised_without_a_new_sighting(desk: Device, make: MakeDevice) -> None:
    laptop = make("laptop")
    await desk.spaces.admit(desk.space, laptop.spaces.card())
    await laptop.spaces.adopt(desk.space.id, "home", desk.space.roster.statements)
    tablet = make("tablet")
    await laptop.admit(tablet)
    assert not desk.lookout.on_sighting(of(tablet))
    await desk.space.learn(laptop.space.roster.statements)
    desk.lookout.look_again()
    assert desk.book.note(tablet.id).addresses == (tablet.address,)


async def test_sightings_are_bounded(desk: Device, impatient: None) -> None:
    for number in range(lookout.SIGHTINGS + 10):
        desk.lookout.on_sighting(Seen(f"i{number}", ((f"h{number}", 1),), number.to_bytes(16, "big")))
    desk.lookout.on_sighting(Seen("i20", (("h20", 1),), b"a fresh nonce 16"))
    for number in range(lookout.SIGHTINGS - 5):
        desk.lookout.on_sighting(Seen(f"j{number}", ((f"k{number}", 1),), (1000 + number).to_bytes(16, "big")))
    found = await taken(desk.lookout.everybody())
    assert len(found) == lookout.SIGHTINGS
    assert ("h20", 1) in found, "what was seen last is kept"


# --- who may let us in ----------------------------------------------------------------------------------


async def test_open_windows_come_one_by_one(desk: Device, impatient: None) -> None:
    desk.lookout.on_sighting(Seen("a", (("a", 1), ("a6", 1)), b"a" * 16, pairing_name="kitchen"))
    desk.lookout.on_sighting(Seen("b", (("b", 1),), b"b" * 16))
    desk.lookout.on_sighting(Seen("c", (("c", 1),), b"c" * 16, pairing_name="attic"))
    assert [one async for one in desk.lookout.pairing_windows()] == [(("a", 1), ("a6", 1)), (("c", 1),)]
    assert await taken(desk.lookout.everybody()) == [("a", 1), ("b", 1), ("c", 1)]


async def test_what_is_gone_is_forgotten(desk: Device, impatient: None) -> None:
    desk.lookout.on_sighting(Seen("a", pairing_name="kitchen"))
    desk.lookout.on_gone("a")
    desk.lookout.on_gone("never there")
    assert await taken(desk.lookout.everybody()) == []


async def test_one_that_appears_while_somebody_waits_is_given(desk: Device) -> None:
    stream = desk.lookout.pairing_windows()
    first = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    desk.lookout.on_sighting(Seen("b"))
    await asyncio.sleep(0)
    assert not first.done()
    desk.lookout.on_sighting(Seen("a", pairing_name="kitchen"))
    assert await first == (("192.0.2.7", 7337),)
    second = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    desk.lookout.on_sighting(Seen("a", pairing_name="kitchen"))  # the same once more
    desk.lookout.on_sighting(Seen("c", (("c", 1),), b"c" * 16, pairing_name="attic"))
    assert await second == (("c", 1),)
    await stream.aclose()


async def test_the_wait_ends(desk: Device, clock: Hands) -> None:
    stream = desk.lookout.pairing_windows()
    desk.lookout.on_sighting(Seen("a", pairing_name="kitchen"))
    await anext(stream)
    clock.pass_s(lookout.LOOK_S + 1)
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


# --- what others see ------------------------------------------------------------------------------------


class Air:
    """Keeps what was announced."""

    def __init__(self, device: Device) -> None:
        self.said: list[tuple[list[bytes], str | None]] = []
        self.wait = asyncio.Event()
        self.wait.set()
        device.lookout.announce = self.announce

    async def announce(self, tags_for: Callable[[bytes], list[bytes]], name: str | None) -> None:
        await self.wait.wait()
        self.said.append((tags_for(NONCE), name))


async def test_a_device_without_spaces_shows_no_tag(make: MakeDevice) -> None:
    device = make("laptop")
    assert device.lookout._tags_for(bytes(16)) == []


async def test_a_tag_per_space_under_the_secret_in_use(desk: Device) -> None:
    work = await desk.spaces.found("work")
    (key,) = desk.spaces.discovery_keys(work)
    tags = desk.lookout._tags_for(NONCE)
    assert len(tags) == 2
    assert make_tag(key, NONCE, desk.id) in tags
    assert not set(tags) & set(desk.lookout._tags_for(b"another nonce 16"))


async def test_the_previous_secret_is_shown_too_but_last(two: tuple[Device, Device]) -> None:
    desk, laptop = two
    (before,) = desk.spaces.discovery_keys(desk.space)
    await desk.spaces.remove(desk.space, laptop.id)
    tags = desk.lookout._tags_for(NONCE)
    assert len(tags) == 2
    assert tags[1] == make_tag(before, NONCE, desk.id)


async def test_there_are_never_more_tags_than_fit(desk: Device) -> None:
    """The secret in use of every space goes before any older one."""
    spaces = [desk.space, *[await desk.spaces.found(f"s{number}") for number in range(MAX_TAGS)]]
    tags = desk.lookout._tags_for(NONCE)
    assert len(tags) == MAX_TAGS
    assert {make_tag(desk.spaces.discovery_keys(space)[0], NONCE, desk.id) for space in spaces} >= set(tags)


async def test_a_space_that_we_were_removed_from_is_not_shown(two: tuple[Device, Device]) -> None:
    desk, laptop = two
    await desk.spaces.remove(desk.space, laptop.id)
    await desk.tell(laptop)
    assert laptop.lookout._tags_for(NONCE) == []


async def test_our_name_is_shown_only_while_a_window_is_open(desk: Device, until: Until) -> None:
    air = Air(desk)
    desk.inviting.window_changed = desk.lookout.show
    desk.lookout.show()
    await until(lambda: air.said)
    assert air.said[-1][1] is None
    events = await desk.inviting.invite(desk.space, assume_yes=True)
    await anext(events)
    await until(lambda: air.said[-1][1] == "desk")
    await events.aclose()
    await until(lambda: air.said[-1][1] is None)
    before = len(air.said)
    await desk.inviting.await_device(desk.space, bytes(32), "admin")
    await until(lambda: len(air.said) > before)
    assert air.said[-1][1] is None, "who is awaited knows our id already"


async def test_changes_in_quick_succession_become_one(desk: Device, until: Until) -> None:
    """And the last of them is never the one that is left out."""
    air = Air(desk)
    air.wait.clear()
    for _ in range(5):
        desk.lookout.show()
    await asyncio.sleep(0)
    work = await desk.spaces.found("work")
    for _ in range(5):
        desk.lookout.show()
    air.wait.set()
    await until(lambda: desk.lookout._task is not None and desk.lookout._task.done())
    assert 1 <= len(air.said) <= 2
    assert make_tag(desk.spaces.discovery_keys(work)[0], NONCE, desk.id) in air.said[-1][0]


async def test_without_discovery_nothing_is_announced(desk: Device, until: Until) -> None:
    desk.lookout.show()
    await until(lambda: desk.lookout._task is not None and desk.lookout._task.done())
    desk.lookout._task = None
    await desk.lookout.stop()


async def test_a_stop_ends_an_announcement(desk: Device) -> None:
    air = Air(desk)
    air.wait.clear()
    desk.lookout.show()
    await asyncio.sleep(0)
    await desk.lookout.stop()
    assert air.said == []
