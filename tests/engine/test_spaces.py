"""Spaces: founded, joined, left; who belongs to them, and the secrets that the members share."""

from __future__ import annotations

import asyncio

import pytest

from peerd import identity
from peerd.core.roster import compose, epochs, room, tickets
from peerd.core.roster.statements import DeviceCard, SignedStatement
from peerd.errors import DiskFull, UserError
from peerd.identity import Identity
from tests.engine.conftest import Device, MakeDevice
from tests.network_simulation.joining import let_in, pair
from tests.network_simulation.scene import Scene
from tests.network_simulation.virtual_loop import in_virtual_time


@in_virtual_time
async def test_founding_on_a_full_disk_leaves_nothing_behind() -> None:
    """When there is room again, the same name is free and the same files can be opened."""
    async with Scene(1) as scene:
        device = scene.devices[0]
        device.fault_now = lambda: DiskFull("no space left")
        with pytest.raises(DiskFull):
            await device.do(lambda: device.running.spaces.found("work"))
        device.fault_now = lambda: None
        assert [one.name for one in device.running.spaces.by_id.values()] == ["home"]
        assert len(list((device.state / "spaces").glob("*.db"))) == 1
        await device.do(lambda: device.running.spaces.found("work"))
        await scene.put(0, "one", space="work", a=1)


@in_virtual_time
async def test_a_full_disk_does_not_keep_the_daemon_from_closing_its_spaces() -> None:
    """What is known of peers is not worth a database that stays open."""
    async with Scene(2) as scene:
        await scene.found("work", [scene.devices[0]])
        await scene.link_all()
        device = scene.devices[0]
        device.fault_now = lambda: DiskFull("no space left")
        await device.stop()
        device.fault_now = lambda: None
        await device.start()
        assert len(device.running.spaces.by_id) == 2


# ---- members


async def remove(scene: Scene, remover: int, removed: int) -> None:
    spaces, space = scene.devices[remover].running.spaces, scene.space(remover)
    await scene.do(remover, lambda: spaces.remove(space, scene.devices[removed].id))


@in_virtual_time
async def test_a_linked_member_learns_of_its_removal_and_by_whom() -> None:
    async with Scene(3) as scene:
        await scene.put(0, "one", a=1)
        await scene.link_all()
        await remove(scene, 1, 0)
        await asyncio.sleep(30)
        view = await scene.view(0)
        assert view.state == "removed"
        assert "removed from home by device-1" in view.reason
        assert view.next_step
        assert (await scene.read(0, "one")).value == {"a": 1}, "its copy can still be read"
        with pytest.raises(UserError) as refused:
            await scene.put(0, "two", a=1)
        assert refused.value.code == "removed"
        await scene.put(1, "after", a=1)
        await asyncio.sleep(30)
        assert scene.clocks_equal(1, 2)
        assert not scene.devices[0].running.switchboard.links
        for device in (1, 2):
            assert scene.devices[0].id not in scene.devices[device].running.switchboard.links
            assert (await scene.view(device)).state == "in sync"


@in_virtual_time
async def test_a_member_that_was_away_is_told_that_it_was_removed() -> None:
    async with Scene(2) as scene:
        await scene.link_all()
        await scene.devices[1].stop()
        await remove(scene, 0, 1)
        await scene.devices[1].start()
        await scene.link_all()
        (peer,) = (await scene.view(1)).peers
        assert peer.state == "refused"
        assert "removed" in peer.reason


@in_virtual_time
async def test_what_the_removed_wrote_stays_as_far_as_anybody_has_it() -> None:
    """The remover has none of it; another member has, vouches, and everybody gets it."""
    async with Scene(3) as scene:
        await scene.link_all()
        scene.network.part({scene.devices[2].id: 1})
        await asyncio.sleep(60)
        scene.network.part({scene.devices[0].id: 1, scene.devices[1].id: 1})
        scene.network.group_of = {scene.devices[2].id: 1}
        await scene.put(0, "mine", a=1)
        await asyncio.sleep(5)
        await remove(scene, 2, 0)
        scene.network.heal()
        await asyncio.sleep(60)
        await scene.link_all()
        assert (await scene.read(1, "mine")).value == {"a": 1}
        assert (await scene.read(2, "mine")).value == {"a": 1}
        assert scene.clocks_equal(1, 2)


@in_virtual_time
async def test_a_removed_device_that_is_let_in_again_begins_with_an_empty_copy_and_an_origin_of_its_own() -> None:
    async with Scene(3) as scene:
        await scene.put(0, "theirs", a=1)
        await scene.put(1, "mine", a=1)
        await scene.link_all()
        before = scene.space(1).commits.own_origin
        await remove(scene, 0, 1)
        await asyncio.sleep(30)
        scene.home.devices.remove(scene.devices[1])
        assert await pair(scene.world, scene.home, scene.devices[0], scene.devices[1])
        await scene.link_all()
        await asyncio.sleep(10)
        assert (await scene.read(1, "theirs")).value == {"a": 1}
        assert (await scene.read(1, "mine")).value == {"a": 1}, "what was accepted of its earlier life"
        await scene.put(1, "again", a=1)
        assert scene.space(1).commits.own_origin != before
        await asyncio.sleep(10)
        assert scene.clocks_equal()
        assert [(await scene.view(device)).state for device in range(3)] == ["in sync"] * 3
        assert list((scene.devices[1].state / "spaces").glob("*.aside-1")), "the old copy is kept"


@in_virtual_time
async def test_a_remover_that_is_cut_off_at_once_leaves_the_new_secret_to_another_admin() -> None:
    """Whoever was removed knows the old one; some admin makes another, whoever that is."""
    async with Scene(3) as scene:
        await scene.link_all()
        old = epochs.current(scene.space(0).roster)
        assert old is not None
        remover, space = scene.devices[0].running.spaces, scene.space(0)
        statement = compose.remove(space.roster, scene.devices[0].id, scene.devices[2].id, {})
        await scene.do(0, lambda: space.learn([compose.signed(statement, scene.devices[0].keys.sign)]))
        await asyncio.sleep(0.5)
        assert epochs.current(scene.space(1).roster) is None
        await scene.devices[0].crash()
        await asyncio.sleep(60)
        new = epochs.current(scene.space(1).roster)
        assert new is not None
        assert new.number == old.number + 1
        assert new.recipients == {scene.devices[0].id, scene.devices[1].id}
        assert remover is not None


@in_virtual_time
async def test_a_member_that_was_admitted_while_a_new_secret_was_made_gets_it_too() -> None:
    async with Scene(4, outside=[3]) as scene:
        await scene.link_all()
        scene.network.part({scene.devices[1].id: 1, scene.devices[3].id: 1})
        await asyncio.sleep(60)
        await remove(scene, 0, 2)
        await let_in(scene.home, scene.devices[1], scene.devices[3])
        await asyncio.sleep(60)
        scene.network.heal()
        await scene.link_all()
        await asyncio.sleep(120)
        roster = scene.space(3).roster
        assert roster == scene.space(0).roster == scene.space(1).roster
        epoch = epochs.current(roster)
        assert epoch is not None
        assert epoch.recipients == {scene.devices[number].id for number in (0, 1, 3)}
        assert epoch.id in scene.devices[3].running.spaces.secrets(scene.space(3))


@in_virtual_time
async def test_spaces_of_the_same_devices_do_not_mix() -> None:
    """Three spaces, of all three, of two, and of two others, over the same links."""
    async with Scene(3) as scene:
        one, two, three = scene.devices
        await scene.found("left", [one, two])
        await scene.found("right", [three, two])
        await scene.link_all()
        for name, device in (("home", 0), ("left", 0), ("right", 2)):
            for number in range(20):
                await scene.put(device, f"{name}{number}", space=name, a=number)
        await asyncio.sleep(20)
        found = {
            (device, space.name): {record.key for record in (await scene.list(device, space.name)).records}
            for device in range(3)
            for space in scene.devices[device].running.spaces.by_id.values()
        }
        keys = {name: {f"{name}{number}" for number in range(20)} for name in ("home", "left", "right")}
        assert found == {
            (0, "home"): keys["home"], (1, "home"): keys["home"], (2, "home"): keys["home"],
            (0, "left"): keys["left"], (1, "left"): keys["left"],
            (1, "right"): keys["right"], (2, "right"): keys["right"],
        }  # fmt: skip
        assert len(scene.network.links) == 6, "one link for each pair, whatever they share"


async def test_however_many_secrets_a_member_states_others_can_be_let_in(two: tuple[Device, Device]) -> None:
    """More than an admission has room for, by an admin that is removed then: they count, as all had seen them."""
    desk, laptop = two
    roster, stated = laptop.space.roster, list[SignedStatement]()
    for number in range(2, 700):
        secret = number.to_bytes(32, "big")
        one = epochs.epoch_id(roster.space, secret)
        wraps = {
            desk.id: identity.seal(desk.keys.sealing_public_key, secret, epochs.wrap_info(roster.space, one, desk.id))
        }
        stated.append(compose.signed(compose.new_epoch(roster, laptop.id, number, one, wraps), laptop.keys.sign))
        roster, _ = roster.with_statements(stated[-1:])
    await desk.space.learn(stated)
    await desk.spaces.remove(desk.space, laptop.id)
    assert len(desk.spaces.secrets(desk.space)) == 700
    other = Identity.load_or_create(desk.folder / "other")
    attic = DeviceCard(other.public_key, other.sealing_public_key, "attic")
    await desk.spaces.admit(desk.space, attic)
    assert desk.space.roster.is_member(attic.device)
    handed = {one for one, _ in epochs.wraps_to(desk.space.roster, attic.device)}
    first, now = epochs.first(desk.space.roster), epochs.current(desk.space.roster)
    assert first is not None
    assert now is not None
    assert {first.id, now.id} <= handed


async def test_spaces_that_are_made_at_the_same_time_have_names_of_their_own(desk: Device, make: MakeDevice) -> None:
    """Of two of one name only one could ever be named."""
    attic, cellar = make("attic", threaded=True), make("cellar")
    other = await cellar.spaces.found("home")
    made = await asyncio.gather(*(attic.spaces.found("mine") for _ in range(2)), return_exceptions=True)
    assert [getattr(one, "code", "") for one in made] == ["", "space-exists"]
    for space, by in ((desk.space, desk), (other, cellar)):
        await by.spaces.admit(space, attic.spaces.card())
    adopted = (attic.spaces.adopt(one.id, "home", one.roster.statements) for one in (desk.space, other))
    assert [one.name for one in await asyncio.gather(*adopted)] == ["home", "home-2"]


async def test_however_many_invitations_a_device_has_made_it_can_be_removed(
    two: tuple[Device, Device], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And whoever removes it has room left to remove others. Those that it made first are withdrawn besides."""
    desk, laptop = two
    monkeypatch.setattr(room, "OF_AN_ADMIN", room.Room(200, 8 << 20))
    roster = laptop.space.roster
    for number in range(199):
        ticket = compose.ticket(roster, laptop.id, number.to_bytes(32), desk.clock.wall_ms() + 1)
        roster, _ = roster.with_statements([compose.signed(ticket, laptop.keys.sign)])
    await desk.space.learn(roster.statements)
    made = list(tickets.open_tickets(desk.space.roster, 0))
    before = len(desk.space.roster)
    await desk.spaces.remove(desk.space, laptop.id)
    assert desk.space.roster.members.keys() == {desk.id}
    assert not tickets.open_tickets(desk.space.roster, 0)
    assert len(desk.space.roster) - before < 50
    assert list(tickets.withdrawn_tickets(desk.space.roster, 0)) == made[:32]


async def test_a_new_secret_reaches_however_many_members_a_few_at_a_time(
    desk: Device, make: MakeDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A statement has room for so many; whoever makes it is among the first, and goes on."""
    others = [make("laptop"), make("attic"), make("cellar"), make("shed")]
    await desk.admit(*others)
    monkeypatch.setattr(epochs, "WRAPS_AT_ONCE", 2)
    await desk.spaces.remove(desk.space, others[0].id)
    now = epochs.current(desk.space.roster)
    assert now is not None
    assert len(now.recipients) == 2
    assert now.id in desk.spaces.secrets(desk.space)
    await desk.spaces.renew_epoch(desk.space)
    now = epochs.current(desk.space.roster)
    assert now is not None
    assert now.recipients == desk.space.roster.members.keys()
