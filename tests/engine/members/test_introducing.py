"""A newcomer and a member who has not heard of it, while whoever admitted it is gone."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from peerd.core.stored import Address
from peerd.engine.links import introductions
from peerd.engine.members import introducing
from peerd.engine.members.introducing import IN_A_ROW
from peerd.errors import LinkLost
from peerd.net.link import INTRODUCE
from peerd.protocol.pairing.introduction import Shown, introduction
from tests.engine.conftest import Pipe

if TYPE_CHECKING:
    from tests.engine.conftest import Device, Hands, MakeDevice, Until, Wire


@pytest.fixture
async def three(two: tuple[Device, Device], make: MakeDevice) -> tuple[Device, Device, Device]:
    """The desk has let the phone in; the laptop has not heard of that, and the desk is gone."""
    desk, laptop = two
    phone = make("phone")
    await desk.admit(phone)
    await phone.tell(phone)  # it has what it was given
    return desk, laptop, phone


async def show(newcomer: Device, member: Device) -> bool:
    return await newcomer.introducing.introduce(member.id, member.address)


async def test_a_newcomer_is_let_in_by_a_member_that_had_not_heard_of_it(
    three: tuple[Device, Device, Device], until: Until
) -> None:
    _desk, laptop, phone = three
    assert phone.id not in laptop.space.roster.members
    await phone.put("from", {"by": "phone"})
    phone.dialing.sighted(laptop.id, [laptop.address])
    phone.dialing.refresh()
    phone.dialing.sighted(laptop.id, [laptop.address])
    await until(lambda: phone.id in laptop.space.roster.members)
    await until(lambda: laptop.id in phone.switchboard.links)
    await until(lambda: laptop.clock_now() == phone.clock_now())
    assert await laptop.value("from") == {"by": "phone"}


@pytest.mark.parametrize("before", ["linked", "apart"])
@pytest.mark.parametrize("lost", [0, 2])
async def test_a_link_that_stands_already_does_not_keep_the_newcomer_out_of_another_space(
    two: tuple[Device, Device],
    make: MakeDevice,
    wire: Wire,
    until: Until,
    monkeypatch: pytest.MonkeyPatch,
    before: str,
    lost: int,
) -> None:
    """They share a space and are linked; of the second one only the desk, which is gone, has told the phone. The first
    introductions may be lost.
    """
    monkeypatch.setattr(introductions, "GRACE_S", 0.01)
    monkeypatch.setattr(introductions, "AGAIN_S", 0.1)
    desk, laptop = two
    phone = make("phone")
    await desk.admit(phone)
    await desk.tell(laptop)
    work = await desk.spaces.found("work")
    phone.book.sighted(laptop.id, [laptop.address])
    tried = 0

    async def introduce(device: bytes, address: Address) -> bool:
        nonlocal tried
        tried += 1
        if tried > lost:
            return await phone.introducing.introduce(device, address)
        phone.clock.pass_s(introductions.AGAIN_S)
        return False

    phone.dialing.introductions.introduce = introduce
    if before == "linked":
        wire.connect(phone, laptop)
        await until(
            lambda: phone.id in laptop.switchboard.links and len(laptop.switchboard.links[phone.id].sessions) == 1
        )
    for other in (laptop, phone):
        await desk.spaces.admit(work, other.spaces.card())
        await other.spaces.adopt(work.id, "work", work.roster.statements)
    if before == "apart":
        wire.connect(phone, laptop)
    await until(lambda: phone.id in laptop.spaces.named("work").roster.members)
    await until(lambda: len(laptop.switchboard.links[phone.id].sessions) == 2)
    phone.dialing.introductions.unshared(laptop.id)
    await asyncio.sleep(0.05)
    assert tried == lost + 1, "not again so soon"


async def test_a_stranger_leaves_no_trace(three: tuple[Device, Device, Device], make: MakeDevice, wire: Wire) -> None:
    """Not even one that knows the id of the space and every statement of it."""
    desk, laptop, phone = three
    stranger = make("stranger")
    before = laptop.space.roster
    for space_id in (desk.space.id, bytes(16)):
        (frame,) = introduction([Shown(space_id, phone.space.roster.statements)])
        link = await wire.dial(stranger.id, laptop.address, INTRODUCE, laptop.id)
        await link.send(frame)
        with pytest.raises(LinkLost):
            await link.receive()
        assert link.closed == (1000, "done")
    assert laptop.space.roster is before
    assert laptop.space.roster.pending == ()


async def test_a_removed_device_does_not_come_back_with_its_old_admission(
    three: tuple[Device, Device, Device],
) -> None:
    desk, laptop, phone = three
    await laptop.space.learn(desk.space.roster.statements)
    await laptop.spaces.remove(laptop.space, phone.id)
    before = laptop.space.roster
    assert await show(phone, laptop)
    assert laptop.space.roster is before
    assert phone.id not in laptop.space.roster.members


async def test_who_was_let_in_again_shows_that(three: tuple[Device, Device, Device]) -> None:
    """The laptop knows the removal only, and would say "removed" for ever."""
    desk, laptop, phone = three
    await desk.spaces.remove(desk.space, phone.id)
    await laptop.space.learn(desk.space.roster.statements)
    await desk.admit(phone)
    assert phone.id in laptop.space.roster.removed
    assert await show(phone, laptop)
    assert phone.id in laptop.space.roster.members


async def test_who_was_let_in_again_shows_that_at_once(three: tuple[Device, Device, Device], until: Until) -> None:
    """Though it showed its old admission just now, in vain."""
    desk, laptop, phone = three
    await desk.spaces.remove(desk.space, phone.id)
    await laptop.space.learn(desk.space.roster.statements)
    phone.dialing.refresh()
    phone.dialing.sighted(laptop.id, [laptop.address])
    await until(lambda: phone.book.note(laptop.id).state == "refused")
    await desk.admit(phone)
    phone.dialing.refresh()
    await until(lambda: phone.id in laptop.space.roster.members)


async def test_what_a_removed_sponsor_vouched_for_late_counts_nothing(
    two: tuple[Device, Device], make: MakeDevice
) -> None:
    desk, laptop = two
    phone = make("phone")
    await desk.spaces.remove(desk.space, laptop.id)
    await laptop.admit(phone)  # has not heard of its own removal
    before = desk.space.roster
    assert await show(phone, desk)
    assert desk.space.roster is before
    assert phone.id not in desk.space.roster.members


async def test_who_does_not_listen_is_no_harm(three: tuple[Device, Device, Device], wire: Wire) -> None:
    _desk, laptop, phone = three
    wire.refusals[laptop.address] = LinkLost("an older peerd", code="unknown-device")
    assert not await show(phone, laptop)


async def test_nothing_is_shown_to_whom_no_space_is_shared_with(three: tuple[Device, Device, Device]) -> None:
    _desk, laptop, phone = three
    dialled = list(phone.wire.dialled)
    assert not await phone.introducing.introduce(b"x" * 32, laptop.address)
    assert phone.wire.dialled == dialled


async def test_introductions_are_judged_a_few_at_a_time(three: tuple[Device, Device, Device], clock: Hands) -> None:
    """Each may cost hundreds of signatures: whoever brings more of them waits."""
    _desk, laptop, phone = three
    before = laptop.space.roster
    for _ in range(IN_A_ROW):
        await laptop.introducing.run_link(await heard(phone, laptop, bytes(16)))
    assert await show(phone, laptop)
    assert laptop.space.roster is before
    clock.pass_s(1.0)
    assert await show(phone, laptop)
    assert phone.id in laptop.space.roster.members


async def heard(phone: Device, laptop: Device, space: bytes) -> Pipe:
    """The listener's end of a link on which everything has been said."""
    near, far = Pipe.pair(phone.id, laptop.id, laptop.address, INTRODUCE)
    for frame in introduction([Shown(space, phone.space.roster.statements)]):
        await near.send(frame)
    return far


@pytest.mark.parametrize("frame", [b"", b"\xc1", b"\x93\x60\x00\x80", b"x" * 20_000, b"\x93\x01\x00\x80"])
async def test_nonsense_ends_the_hearing(three: tuple[Device, Device, Device], frame: bytes) -> None:
    _desk, laptop, phone = three
    near, far = Pipe.pair(phone.id, laptop.id, laptop.address, INTRODUCE)
    await near.send(frame)
    await laptop.introducing.run_link(far)
    assert near.closed == (4400, "bad-message")


async def test_silence_ends_it_too(three: tuple[Device, Device, Device], monkeypatch: pytest.MonkeyPatch) -> None:
    _desk, laptop, phone = three
    monkeypatch.setattr(introducing, "HEARING_S", 0.01)
    near, far = Pipe.pair(phone.id, laptop.id, laptop.address, INTRODUCE)
    await laptop.introducing.run_link(far)
    assert near.closed == (1000, "done")
