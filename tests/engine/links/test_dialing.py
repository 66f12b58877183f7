"""Both dial: however their dials meet, one link stays, and everybody who should be linked is."""

from __future__ import annotations

import asyncio
import random
from functools import partial

import pytest

from peerd.core.clocks import ReadClock
from peerd.core.links import CHOSEN_LINKS, RANDOM_LINKS, _weight
from peerd.core.roster.statements import DeviceCard
from peerd.engine.links.dialing import Dialing
from peerd.engine.space import Space
from peerd.errors import PAUSED, StoreError
from tests.network_simulation.network import SimLink
from tests.network_simulation.scene import Scene
from tests.network_simulation.virtual_loop import in_virtual_time


def is_settled(scene: Scene) -> bool:
    boards = [device.running.switchboard for device in scene.devices]
    return len(live_links(scene)) == 2 and all(len(board.links) == 1 for board in boards)


def live_links(scene: Scene) -> list[SimLink]:
    return [link for link in scene.network.links if not link._is_over()]


@pytest.mark.parametrize("first", range(0, 300, 50))
@in_virtual_time
async def test_dials_that_meet_end_with_exactly_one_link(first: int) -> None:
    """Fifty meetings: both dial at nearly the same moment, some twice, and some links die with their first frame."""
    for seed in range(first, first + 50):
        chance = random.Random(seed)
        async with Scene(2, seed=seed) as scene:
            weather = scene.network.weather
            weather.delay_s, weather.jitter_s = chance.choice(((0.001, 0.0), (0.001, 0.05), (0.2, 0.2)))
            weather.dropped_hellos = chance.choice((0.0, 0.0, 0.5))
            for device in chance.sample(scene.devices, 2):
                other = scene.devices[1 - device.number]
                device.running.dialing.sighted(other.id, [other.address])
                await asyncio.sleep(chance.choice((0.0, 0.0, 0.001, 0.3)))
            for _ in range(chance.choice((0, 0, 3))):
                chance.choice(scene.devices).running.dialing.nudge_all()
                await asyncio.sleep(chance.random() * 0.1)
            weather.dropped_hellos = 0.0
            boards = [device.running.switchboard for device in scene.devices]
            await scene.until(partial(is_settled, scene))
            await asyncio.sleep(120)
            ours, theirs = (next(iter(board.links.values())).link for board in boards)
            assert isinstance(ours, SimLink)
            assert ours.other is theirs, "both mean the same link"
            assert len(live_links(scene)) == 2, f"seed {seed}"
            dials = scene.network.dials
            await asyncio.sleep(600)
            assert scene.network.dials == dials, "whoever is linked is not dialled"
            await scene.put(0, "after", a=1)
            await asyncio.sleep(2)
            assert scene.clocks_equal()


@in_virtual_time
async def test_the_link_that_the_smaller_device_dialled_stays() -> None:
    met = 0
    for seed in range(20):
        async with Scene(2, seed=seed) as scene:
            scene.network.weather.delay_s = 0.2  # so that both dial before either is called
            await scene.link_all()
            smaller = min(scene.devices, key=lambda device: device.id)
            board = smaller.running.switchboard
            await scene.until(lambda board=board: len(live_links(scene)) == 2 and len(board.links) == 1)  # type: ignore[misc] # bound now
            (kept,) = board.links.values()
            met += scene.network.dials > 1
            if scene.network.dials > 1:
                assert kept.link.dialed
    assert met > 10


@in_virtual_time
async def test_a_restarted_device_replaces_the_link_of_its_earlier_life() -> None:
    """The other side may not have noticed yet that the old one is dead: its counter and boot say which is newer."""
    async with Scene(2) as scene:
        await scene.link_all()
        scene.network.part({scene.devices[0].id: 1})
        await scene.devices[0].crash()
        scene.network.group_of = {}
        await scene.devices[0].start()
        await scene.link_all()
        await scene.put(0, "new life", a=1)
        await asyncio.sleep(2)
        assert scene.clocks_equal()
        assert len(live_links(scene)) == 2


@in_virtual_time
async def test_who_has_let_us_in_is_dialled_at_once() -> None:
    """Others wait for a random moment, since both may begin to dial."""
    at_once = {"sighted": 0, "let_in_by": 0}
    for seed in range(20):
        for how in at_once:
            async with Scene(2, seed=seed) as scene:
                device, other = scene.devices
                assert scene.network.dials == 0
                getattr(device.running.dialing, how)(other.id, [other.address])
                await asyncio.sleep(0.001)
                at_once[how] += scene.network.dials
    assert at_once["let_in_by"] == 20
    assert at_once["sighted"] < 3


@in_virtual_time
async def test_a_lost_link_is_dialled_again_within_seconds() -> None:
    async with Scene(2) as scene:
        await scene.link_all()
        for _ in range(10):
            scene.network.cut_all_of(scene.devices[0].id)
            await asyncio.sleep(6)
            assert len(live_links(scene)) == 2


@in_virtual_time
async def test_links_of_which_each_ends_at_once_are_dialled_less_and_less() -> None:
    """By neither side: what the other dialled in vain is no news. One that lasts starts over."""
    async with Scene(2) as scene:
        await scene.put(0, "one", a=1)
        failing = [True]

        def break_off(space: Space) -> None:
            where = space.store.position_before

            async def position_before(clock: ReadClock) -> int:
                if failing:
                    raise StoreError("it cannot be read", code="store-failed")
                return await where(clock)

            space.store.position_before = position_before  # type: ignore[method-assign] # the disk fails

        break_off(scene.space(0))
        await scene.link_all()
        before = scene.network.dials
        await asyncio.sleep(60)
        assert 2 <= scene.network.dials - before < 20
        assert not live_links(scene)
        scene.world.air.refresh()
        await asyncio.sleep(1)
        before = scene.network.dials
        await asyncio.sleep(60)
        assert scene.network.dials - before < 20, "a sighting is news once"
        failing.clear()
        await scene.until(lambda: len(live_links(scene)) == 2, within_s=300)
        await asyncio.sleep(10)
        assert scene.clocks_equal()
        scene.network.cut_all_of(scene.devices[0].id)
        await asyncio.sleep(3)
        assert len(live_links(scene)) == 2


@in_virtual_time
async def test_a_device_that_is_away_is_dialled_less_and_less_and_at_once_when_sighted() -> None:
    async with Scene(2) as scene:
        await scene.link_all()
        away = scene.devices[1]
        await away.stop()
        await asyncio.sleep(3_600)
        before = scene.network.dials
        await asyncio.sleep(6 * 3_600)
        assert scene.network.dials - before < 6 * 3_600 / 60
        await away.start()
        scene.world.air.refresh()
        await asyncio.sleep(3)
        assert len(live_links(scene)) == 2


@in_virtual_time
async def test_who_is_refused_in_sight_dials_less_and_less_and_at_once_when_something_changes() -> None:
    """Unlike one that is only about to come back: what it says does not pass by itself."""
    async with Scene(2) as scene:
        await scene.link_all()
        here, gone = scene.devices
        await gone.stop()
        await scene.do(0, partial(here.running.spaces.remove, scene.space(0), gone.id))
        await gone.start()
        scene.world.air.refresh()
        await asyncio.sleep(10)
        note = gone.running.book.note(here.id)
        assert note.trouble is not None
        assert (note.state, note.trouble.code) == ("refused", "removed")
        before = scene.network.dials
        await asyncio.sleep(290)
        assert scene.network.dials - before < 15
        before = scene.network.dials
        scene.world.air.refresh()
        await asyncio.sleep(1)
        assert scene.network.dials > before, "it shows itself anew"
        await scene.do(0, lambda: here.running.spaces.admit(scene.space(0), gone.running.spaces.card()))
        assert len(live_links(scene)) == 0
        await scene.do(1, lambda: scene.space(1).learn(scene.space(0).roster.statements))
        await scene.until(lambda: len(live_links(scene)) == 2, within_s=2)


@in_virtual_time
async def test_who_missed_two_changes_of_the_secret_finds_whoever_dialled_it() -> None:
    """They recognise each other's announcements no more, and where it is now nobody knows."""
    async with Scene(4) as scene:
        away, other, *rest = scene.devices
        other.running.dialing.sighted(away.id, [away.address])
        await scene.until(lambda: other.id in away.running.switchboard.links)
        assert scene.space(0).presence.peers[other.id].addresses == ()
        scene.world.air.refresh()
        await asyncio.sleep(5)
        await away.stop()
        for one in rest:
            await one.stop()
            await scene.do(1, partial(other.running.spaces.remove, scene.space(1), one.id))
        away.address = ("elsewhere", 7337)
        await away.start()
        scene.world.air.refresh()
        await scene.until(lambda: scene.space(0).roster == scene.space(1).roster, within_s=600)


async def among_many_that_are_gone(scene: Scene) -> None:
    """Of a large space a device dials only some. All that the two would choose have not been there for ages."""
    here, other = scene.devices
    weight = _weight(here.id, other.id)
    for device in scene.devices:
        device.running.dialing._random_ranks[scene.devices[1 - device.number].id] = -1.0
    gone: list[DeviceCard] = []
    while len(gone) < 2 * CHOSEN_LINKS + RANDOM_LINKS:
        card = DeviceCard(scene.world.chance.randbytes(32), scene.world.chance.randbytes(32), "gone")
        whose = scene.devices[len(gone) % 2]
        if _weight(whose.id, card.device) > weight:
            gone.append(card)
    for card in gone:
        await scene.do(0, partial(here.running.spaces.admit, scene.space(0), card))
    await scene.do(1, lambda: scene.space(1).learn(scene.space(0).roster.statements))
    for device in scene.devices:
        device.running.dialing.refresh()
        assert scene.devices[1 - device.number].id not in device.running.dialing._tasks


@in_virtual_time
async def test_members_that_are_long_gone_keep_nobody_from_those_in_sight() -> None:
    async with Scene(2) as scene:
        await among_many_that_are_gone(scene)
        scene.world.air.refresh()
        await scene.until(lambda: len(live_links(scene)) == 2, within_s=300)
        assert all(len(device.running.dialing._tasks) <= 3 * (CHOSEN_LINKS + RANDOM_LINKS) for device in scene.devices)


@in_virtual_time
async def test_a_static_peer_is_dialled_again_however_large_the_space_is() -> None:
    async with Scene(2) as scene:
        scene.world.air.loss = 1.0
        await among_many_that_are_gone(scene)
        device = scene.devices[0]
        await device.do(lambda: at_once(device.running.dialing, scene))
        await scene.until(lambda: len(live_links(scene)) == 2, within_s=5)
        scene.network.cut_all_of(device.id)
        await scene.until(lambda: len(live_links(scene)) == 2, within_s=5)


@in_virtual_time
async def test_a_static_peer_is_found_without_discovery() -> None:
    async with Scene(2) as scene:
        scene.world.air.loss = 1.0
        device = scene.devices[0]
        await device.do(lambda: at_once(device.running.dialing, scene))
        await asyncio.sleep(10)
        assert len(live_links(scene)) == 2
        await scene.devices[1].crash()
        await asyncio.sleep(20)
        await scene.devices[1].start()
        await asyncio.sleep(20)
        assert len(live_links(scene)) == 2


@in_virtual_time
async def test_it_is_known_which_static_address_leads_to_no_member_and_why() -> None:
    """A stranger, or nobody; until a member answers there, or it is asked for no more."""
    async with Scene(3, outside=[2]) as scene:
        scene.world.air.loss = 1.0
        here, other, stranger = scene.devices
        dialing, nobody = here.running.dialing, ("192.0.2.99", 7337)
        await other.stop()

        async def both() -> None:
            dialing.set_static([other.address, stranger.address, nobody])

        await here.do(both)
        await scene.until(lambda: len(dialing.astray()) == 3)
        astray = dict(dialing.astray())
        assert astray[stranger.address].code == "unknown-device"
        assert "has to be paired" in astray[stranger.address].next_step
        assert astray[nobody].text
        await other.start()
        await scene.until(lambda: set(dict(dialing.astray())) == {stranger.address, nobody})

        async def one() -> None:
            dialing.set_static([other.address, nobody])

        await here.do(one)
        assert [address for address, _ in dialing.astray()] == [nobody]
        assert [one.address for one in (await here.running.service.peers()).astray] == ["192.0.2.99:7337"]


async def at_once(dialing: Dialing, scene: Scene) -> None:
    dialing.set_static([scene.devices[1].address])


@in_virtual_time
async def test_another_device_at_a_known_address_is_not_taken_for_the_one_that_was_there() -> None:
    async with Scene(3, outside=[2]) as scene:
        await scene.link_all()
        moved, stranger = scene.devices[1], scene.devices[2]
        await moved.stop()
        stranger.address, moved.address = moved.address, stranger.address
        await stranger.stop()
        await stranger.start()
        await asyncio.sleep(30)
        assert not scene.devices[0].running.switchboard.links
        note = scene.devices[0].running.book.note(moved.id)
        assert note.state == "offline"
        await moved.start()
        await scene.link_all()
        assert len(scene.devices[0].running.switchboard.links) == 1


@in_virtual_time
async def test_a_static_address_is_asked_again_when_who_answered_there_is_no_member_any_more() -> None:
    """The machine was set up anew, with new keys, and let in by somebody else."""
    async with Scene(3, outside=[2]) as scene:
        scene.world.air.loss = 1.0
        here, old, new = scene.devices
        await here.do(lambda: at_once(here.running.dialing, scene))
        await asyncio.sleep(10)
        assert set(here.running.switchboard.links) == {old.id}
        space = here.running.spaces.named("home")
        await here.do(lambda: here.running.spaces.remove(space, old.id))
        await old.stop()
        new.address, old.address = old.address, new.address
        await new.stop()
        await new.start()
        await here.do(lambda: here.running.spaces.admit(space, new.running.spaces.card()))
        await new.do(lambda: new.running.spaces.adopt(space.id, "home", space.roster.statements))
        await scene.until(lambda: set(here.running.switchboard.links) == {new.id})


@in_virtual_time
async def test_pausing_ends_all_links_and_resuming_brings_them_back() -> None:
    async with Scene(2) as scene:
        await scene.link_all()
        service = scene.devices[0].running.service
        await scene.do(0, service.pause)
        await asyncio.sleep(60)
        assert live_links(scene) == []
        await scene.do(0, service.resume)
        await asyncio.sleep(10)
        assert len(live_links(scene)) == 2


@in_virtual_time
async def test_a_paused_device_without_an_address_is_not_called_missing() -> None:
    """Whoever was only ever dialled by it has nowhere to dial, and knows all the same why it is away."""
    async with Scene(2) as scene:
        await scene.link_all()
        here, away = scene.devices
        book = here.running.book
        scene.world.air.loss = 1.0
        await away.do(away.running.switchboard.pause)
        book.note(away.id).addresses = ()
        here.running.dialing.nudge_all()
        await asyncio.sleep(120)
        trouble = book.note(away.id).trouble
        assert trouble is not None
        assert (trouble.code, trouble.text) == ("paused", PAUSED)
