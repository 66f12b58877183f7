"""A device that nobody meets is let in by a file and a code."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from peerd.errors import UserError
from peerd.protocol.control.relays import RelaySync
from tests.engine.conftest import Device, Hands, MakeDevice, Until
from tests.engine.relay.test_relaying import arrives
from tests.engine.relay_scene import Relayed, new_stick


@pytest.fixture
async def inviter(desk: Device, tmp_path: Path) -> AsyncIterator[Relayed]:
    folder = new_stick(tmp_path)
    one = await Relayed(desk, folder).start()
    yield one
    await one.stop()


@pytest.fixture
async def guest(make: MakeDevice, inviter: Relayed) -> AsyncIterator[Relayed]:
    one = await Relayed(make("attic"), inviter.folder).start()
    yield one
    await one.stop()


async def test_a_device_starts_from_the_relay_alone(inviter: Relayed, guest: Relayed, until: Until) -> None:
    """It is empty and closed for writing until it is let in; then it has everything, and writes."""
    desk, attic = inviter.device, guest.device
    await desk.put("milk", {"n": 1})
    file, code, _ = await inviter.files.invite(desk.space, 7, "member")
    space = await guest.files.ask(file, code.lower().replace("-", " "), "mine")
    assert space.name == "mine"
    with pytest.raises(UserError, match="no member of the space yet") as refused:
        await attic.put("early", {"n": 0})
    assert (refused.value.code, refused.value.status) == ("not-admitted", 403)
    await guest.relays.look_again()
    await arrives(attic, "milk")
    assert (space.petition, space.roster.members[attic.id].role) == (None, "member")
    await attic.put("bread", {"n": 2})
    await arrives(desk, "bread")


async def test_it_asks_until_a_member_answers(inviter: Relayed, guest: Relayed, make: MakeDevice, until: Until) -> None:
    """Over restarts too; which admin answers does not matter."""
    desk = inviter.device
    await desk.put("milk", {"n": 1})
    file, code, _ = await inviter.files.invite(desk.space, 7)
    other = make("other")
    await desk.admit(other)
    await inviter.stop()
    await guest.files.ask(file, code, None)
    await guest.relays.look_again()
    await until(lambda: any(inviter.folder.glob("??/*")))
    await guest.stop()
    attic = await guest.device.reopen()
    assert attic.space.petition is not None
    again = await Relayed(attic, inviter.folder).start()
    answering = await Relayed(other, inviter.folder).start()
    await arrives(attic, "milk")
    await again.stop()
    await answering.stop()


async def test_a_ticket_is_good_for_one_device(
    inviter: Relayed, guest: Relayed, make: MakeDevice, until: Until
) -> None:
    desk = inviter.device
    file, code, _ = await inviter.files.invite(desk.space, 7)
    await guest.files.ask(file, code, None)
    await guest.relays.look_again()
    await until(lambda: desk.space.roster.is_member(guest.device.id))
    second = await Relayed(make("second"), inviter.folder).start()
    await second.files.ask(file, code, None)
    await second.relays.look_again()
    await desk.put("milk", {"n": 1})
    await arrives(guest.device, "milk")
    assert not desk.space.roster.is_member(second.device.id)
    assert second.device.space.petition is not None
    await second.stop()


async def test_what_is_wrong_with_file_or_code_is_said(inviter: Relayed, guest: Relayed, clock: Hands) -> None:
    desk = inviter.device
    file, code, _ = await inviter.files.invite(desk.space, 1)
    _, other_code, _ = await inviter.files.invite(desk.space, 1)

    async def refused(file: bytes, code: str, name: str | None = None) -> str:
        with pytest.raises(UserError) as problem:
            await guest.files.ask(file, code, name)
        assert guest.device.spaces.by_id == {}
        return problem.value.code

    assert await refused(file, "12345678") == "bad-code"
    assert await refused(file, code[:-1]) == "bad-code"
    assert await refused(file, other_code) == "bad-invitation"
    assert await refused(file[:-1] + bytes([file[-1] ^ 1]), code) == "bad-invitation"
    assert await refused(b"something else", code) == "bad-invitation"
    assert await refused(file, code, "a b") == "bad-name"
    clock.pass_s(24 * 3600 + 1)
    assert await refused(file, code) == "expired"
    with pytest.raises(UserError, match="by this device's clock the invitation has expired"):
        await guest.files.ask(file, code, None)


async def test_who_was_removed_comes_back_by_a_file_that_is_older_than_that(inviter: Relayed, guest: Relayed) -> None:
    """By the roster in the file it still is a member; but it knows better, and asks."""
    desk, attic = inviter.device, guest.device
    await desk.admit(attic)
    file, code, _ = await inviter.files.invite(desk.space, 7)
    await desk.spaces.remove(desk.space, attic.id)
    await desk.tell(attic)
    space = await guest.files.ask(file, code, None)
    assert space.petition is not None
    assert attic.id in space.roster.removed
    await desk.put("milk", {"n": 1})
    await guest.relays.look_again()
    await arrives(attic, "milk")
    assert desk.space.roster.is_member(attic.id)
    await attic.put("bread", {"n": 2})
    await arrives(desk, "bread")


async def test_who_left_and_told_nobody_comes_back_by_a_file(inviter: Relayed, guest: Relayed) -> None:
    """Everybody takes it for a member; it says itself that it is none any more."""
    desk, attic = inviter.device, guest.device
    await desk.admit(attic)
    await attic.spaces.remove(attic.space, attic.id)
    file, code, _ = await inviter.files.invite(desk.space, 7)
    before = desk.space.roster.open(attic.id)
    await guest.files.ask(file, code, None)
    await desk.put("milk", {"n": 1})
    await guest.relays.look_again()
    await arrives(attic, "milk")
    await attic.put("bread", {"n": 2})
    await arrives(desk, "bread")
    assert desk.space.roster.ended(attic.id) == before
    assert len(desk.space.roster.open(attic.id)) == 1


async def test_open_invitations_are_listed_until_they_are_used(inviter: Relayed, guest: Relayed, until: Until) -> None:
    """Whoever has the file and its code may come; other members see that, too."""
    service = inviter.device.service
    file, code, expires_ms = await inviter.files.invite(inviter.device.space, 7, "member")
    (ticket,) = (await service.members("home")).tickets
    assert (ticket.role, ticket.expires_ms) == ("member", expires_ms)
    await guest.files.ask(file, code, None)
    await guest.relays.look_again()
    await until(lambda: inviter.device.space.roster.is_member(guest.device.id))
    assert (await service.members("home")).tickets == []


async def test_a_file_that_leaked_is_withdrawn(inviter: Relayed, guest: Relayed, make: MakeDevice) -> None:
    """By any admin, and another lets nobody in by it who has heard of that. Of others a device comes still."""
    desk, cellar = inviter.device, make("cellar")
    await desk.admit(cellar)
    leaked, leaked_code, _ = await inviter.files.invite(desk.space, 7)
    other, other_code, _ = await inviter.files.invite(desk.space, 8)
    await desk.tell(cellar)
    (first, second) = (await cellar.service.members("home")).tickets
    assert first.expires_ms < second.expires_ms
    await Relayed(cellar, inviter.folder).files.withdraw(cellar.space, first.id)
    await cellar.tell(desk)
    assert (await desk.service.members("home")).tickets == [second]
    await guest.files.ask(leaked, leaked_code, None)
    await guest.relays.look_again()
    for one in (guest, inviter, guest):
        await one.relays.sync(RelaySync())
    assert not desk.space.roster.is_member(guest.device.id)
    await guest.files.ask(other, other_code, None)
    await guest.relays.look_again()
    for one in (guest, inviter, guest):
        await one.relays.sync(RelaySync())
    assert guest.device.space.roster.is_member(guest.device.id)


async def test_what_nobody_may_come_by_is_not_withdrawn(
    inviter: Relayed, guest: Relayed, make: MakeDevice, clock: Hands
) -> None:
    desk, attic = inviter.device, make("member")

    async def refused(device: Device, ticket: str) -> str:
        with pytest.raises(UserError) as problem:
            await Relayed(device, inviter.folder).files.withdraw(device.space, ticket)
        return problem.value.code

    file, code, _ = await inviter.files.invite(desk.space, 1)
    (one,) = (await desk.service.members("home")).tickets
    assert await refused(desk, "no id") == "not-invited"
    await desk.spaces.admit(desk.space, attic.spaces.card(), "member")
    await attic.spaces.adopt(desk.space.id, "home", desk.space.roster.statements)
    assert await refused(attic, one.id) == "not-admin"
    await guest.files.ask(file, code, None)
    await guest.relays.look_again()
    for relayed in (guest, inviter):
        await relayed.relays.sync(RelaySync())
    assert desk.space.roster.is_member(guest.device.id)
    assert await refused(desk, one.id) == "not-invited"
    await inviter.files.invite(desk.space, 1)
    (one,) = (await desk.service.members("home")).tickets
    clock.pass_s(24 * 3600 + 1)
    assert await refused(desk, one.id) == "not-invited"


async def test_a_member_is_told_that_it_is_one(inviter: Relayed, guest: Relayed) -> None:
    file, code, _ = await inviter.files.invite(inviter.device.space, 1)
    with pytest.raises(UserError) as problem:
        await inviter.files.ask(file, code, None)
    assert problem.value.code == "already-member"


async def test_only_admins_invite(inviter: Relayed, guest: Relayed) -> None:
    desk, attic = inviter.device, guest.device
    await desk.spaces.admit(desk.space, attic.spaces.card(), "member")
    await attic.spaces.adopt(desk.space.id, "home", desk.space.roster.statements)
    with pytest.raises(UserError) as problem:
        await guest.files.invite(attic.space, 7)
    assert problem.value.code == "not-admin"


async def test_the_file_tells_nothing_without_its_code(inviter: Relayed) -> None:
    file, _, _ = await inviter.files.invite(inviter.device.space, 7)
    assert all(word not in file for word in (b"desk", b"home", inviter.device.id, inviter.device.space.id))
