"""What the control socket asks for, handed on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TYPE_CHECKING

import pytest

from peerd.control.service import Service as Contract
from peerd.core.device_id import format_device_id, short_id
from peerd.core.roster import room
from peerd.errors import UserError
from peerd.protocol.control.messages import ChangeRequest, CollectionChange, LogFilter, Resolution
from peerd.protocol.control.reports import NewJoin, Reloaded

if TYPE_CHECKING:
    from peerd.core.stored import Address
    from tests.engine.conftest import Device, Hands, MakeDevice, Until, Wire


async def refusal(of: Awaitable[object]) -> tuple[str, int]:
    with pytest.raises(UserError) as refused:
        await of
    return refused.value.code, refused.value.status


async def test_it_is_what_the_socket_wants(desk: Device) -> None:
    """The type checker compares the two here."""
    service: Contract = desk.service
    wanted = {name for name in vars(Contract) if not name.startswith("_")}
    assert {name for name in wanted if not callable(getattr(service, name, None))} == set()


async def test_an_unknown_space_is_a_404_wherever_it_is_named(desk: Device) -> None:
    service = desk.service
    for work in (
        service.space("away"),
        service.collections("away"),
        service.set_collection("away", "notes", CollectionChange()),
        service.read_record("away", "notes", "a"),
        service.list_records("away", "notes", "", 10, None),
        service.write("away", []),
        service.write_each("away", []),
        service.changes("away", None, follow=False),
        service.log("away", LogFilter(), 10, None),
        service.conflicts("away", collection=None, key=None, limit=10, cursor=None),
        service.resolve("away", "x", Resolution(choose=0)),
        service.invite("away", assume_yes=True),
        service.members("away"),
        service.admit("away", format_device_id(bytes(32)), "admin"),
        service.remove("away", format_device_id(bytes(32))),
    ):
        assert await refusal(work) == ("space-not-found", 404)


async def test_spaces_are_created_once(desk: Device) -> None:
    view = await desk.service.create_space("work")
    assert (view.name, view.state) == ("work", "alone")
    assert await refusal(desk.service.create_space("work")) == ("space-exists", 409)
    assert await refusal(desk.service.create_space("../work")) == ("bad-name", 400)
    assert [one.name for one in (await desk.service.spaces()).spaces] == ["home", "work"]
    assert (await desk.service.space("work")).id == view.id


async def test_a_record_goes_through_it(desk: Device) -> None:
    service = desk.service
    await service.write("home", [ChangeRequest(kind="put", collection="notes", key="a", value={"x": 1})])
    assert (await service.read_record("home", "notes", "a")).value == {"x": 1}
    assert [one.key for one in (await service.list_records("home", "notes", "", 10, None)).records] == ["a"]
    (collection,) = (await service.collections("home")).collections
    assert (collection.name, collection.records) == ("notes", 1)
    assert (await service.set_collection("home", "notes", CollectionChange(policy="max"))).policy == "max"
    events = [event async for batch in await service.changes("home", None, follow=False) for event in batch]
    assert [event.kind for event in events] == ["reset", "put", "current"]
    assert (await service.conflicts("home", collection=None, key=None, limit=10, cursor=None)).conflicts == []
    assert await refusal(service.resolve("home", "none", Resolution(choose=0))) == ("conflict-not-found", 404)


async def test_the_log_is_filtered_by_device_in_every_form_of_its_name(two: tuple[Device, Device]) -> None:
    desk, laptop = two
    await desk.put("a", {})
    await laptop.put("b", {})
    await laptop.tell(desk)
    whole = format_device_id(laptop.id)
    for word in ("laptop", short_id(laptop.id), short_id(laptop.id).lower(), whole, whole.lower().replace("-", "")):
        page = await desk.service.log("home", LogFilter(device=word), 10, None)
        assert [one.changes[0].key for one in page.transactions] == ["b"]
    work = desk.service.log("home", LogFilter(device="nobody"), 10, None)
    with pytest.raises(UserError, match="no member of home is called 'nobody'") as refused:
        await work
    assert (refused.value.code, refused.value.status) == ("bad-device-id", 400)


async def test_health_waits_for_nobody(desk: Device) -> None:
    """A supervisor asks often: no store, no peer."""
    work = desk.service.health()
    with pytest.raises(StopIteration) as answered:
        work.send(None)
    assert answered.value.value.live


async def test_status_metrics_and_peers(two: tuple[Device, Device]) -> None:
    desk, laptop = two
    assert (await desk.service.status()).device.name == "desk"
    assert "peerd_links 0" in await desk.service.metrics()
    assert [one.device for one in (await desk.service.peers()).peers] == [format_device_id(laptop.id)]


async def test_a_reload_is_the_daemons(desk: Device) -> None:
    async def reload() -> Reloaded:
        return Reloaded(changed=["log.level"], needs_restart=[])

    desk.service.reload_settings = reload
    assert (await desk.service.reload()).changed == ["log.level"]


async def test_paused_and_resumed(two: tuple[Device, Device], wire: Wire, until: Until) -> None:
    """Nobody is dialled meanwhile; afterwards at once."""
    desk, laptop = two
    desk.dialing.sighted(laptop.id, [laptop.address])
    desk.dialing.refresh()
    await until(lambda: laptop.id in desk.switchboard.links)
    await desk.service.pause()
    await until(lambda: not desk.switchboard.links)
    dialled = len(wire.dialled)
    desk.dialing.nudge_all()
    await asyncio.sleep(0.05)
    assert len(wire.dialled) == dialled
    assert desk.switchboard.links == {}
    await desk.put("a", {})
    await desk.service.resume()
    await until(lambda: laptop.id in desk.switchboard.links)


async def test_a_device_is_let_in_by_code(desk: Device, make: MakeDevice) -> None:
    laptop = make("laptop")
    hosts: list[str] = []

    async def parse(text: str) -> tuple[Address, ...]:
        hosts.append(text)
        return (desk.address,)

    laptop.service.hosts = parse
    events = await desk.service.invite("home", assume_yes=False)
    code = (await anext(events)).code
    joining = asyncio.create_task(laptop.service.join(NewJoin(code=code, host="desk:7337", name="mine")))
    asking = await anext(events)
    await desk.service.confirm_invitation(asking.id, admit=True)
    assert (await anext(events)).admitted is not None
    assert (await joining).space == "mine"
    assert hosts == ["desk:7337"]
    await events.aclose()


async def test_an_invitation_is_cancelled(desk: Device) -> None:
    events = await desk.service.invite("home", assume_yes=True)
    first = await anext(events)
    await desk.service.cancel_invitation(first.id)
    assert await refusal(anext(events)) == ("cancelled", 409)
    assert await refusal(desk.service.cancel_invitation(first.id)) == ("invitation-not-found", 404)
    assert await refusal(desk.service.confirm_invitation(first.id, admit=True)) == ("invitation-not-found", 404)


async def test_a_device_is_let_in_by_name(desk: Device, make: MakeDevice, until: Until) -> None:
    laptop = make("laptop")

    async def parse(_: str) -> tuple[Address, ...]:
        return (desk.address,)

    laptop.service.hosts = parse
    view = await desk.service.admit("home", format_device_id(laptop.id), "member")
    assert (view.device, view.role, view.state) == (format_device_id(laptop.id), "member", "awaited")
    joined = await laptop.service.join(NewJoin(device=format_device_id(desk.id), host="desk"))
    assert joined.device == format_device_id(desk.id)
    await until(lambda: desk.space.presence.was_here(laptop.id))
    assert await refusal(desk.service.admit("home", format_device_id(laptop.id), "member")) == ("already-member", 409)
    assert await refusal(desk.service.admit("home", "AAAA", "member")) == ("bad-device-id", 400)


async def test_who_is_awaited_is_listed_and_may_be_awaited_no_more(
    desk: Device, make: MakeDevice, clock: Hands
) -> None:
    """The door is closed at once, and stays so after a restart. Who was removed before is listed once."""
    laptop, tablet = make("laptop"), make("tablet")
    await desk.admit(tablet)
    await desk.service.remove("home", "tablet")
    for one in (laptop, tablet):
        await desk.service.admit("home", format_device_id(one.id), "member")

    async def awaited() -> set[tuple[str, str, str]]:
        views = (await desk.service.members("home")).members
        assert len({view.device for view in views}) == len(views) == 3
        return {(view.name, view.role, view.state) for view in views if not view.own}

    assert await awaited() == {("", "member", "awaited"), ("tablet", "member", "awaited")}
    await desk.service.remove("home", "tablet")
    assert await awaited() == {("", "member", "awaited"), ("tablet", "", "removed")}
    await desk.service.remove("home", short_id(laptop.id))
    assert not desk.inviting.is_expected(laptop.id)
    assert await refusal(desk.service.remove("home", format_device_id(laptop.id))) == ("not-member", 404)
    again = await desk.reopen()
    assert not again.inviting.is_expected(laptop.id)
    await again.service.admit("home", format_device_id(laptop.id), "member")
    clock.pass_s(7 * 86_400 + 1)
    assert {view.state for view in (await again.service.members("home")).members} == {"this device", "removed"}


async def test_a_join_has_a_code_or_a_device(desk: Device) -> None:
    both = NewJoin(code="12345678", device=format_device_id(desk.id))
    for wish in (NewJoin(), both):
        assert await refusal(desk.service.join(wish)) == ("bad-body", 400)


async def test_members_are_removed_by_any_of_their_names(desk: Device, make: MakeDevice) -> None:
    laptop, tablet = make("laptop"), make("tablet")
    await desk.admit(laptop, tablet)
    await desk.service.remove("home", "laptop")
    await desk.service.remove("home", format_device_id(tablet.id))
    views = (await desk.service.members("home")).members
    assert {view.name: view.state for view in views} == {
        "desk": "this device", "laptop": "removed", "tablet": "removed",
    }  # fmt: skip
    assert await refusal(desk.service.remove("home", "laptop")) == ("not-member", 404)
    with pytest.raises(UserError, match="laptop was removed from home already"):
        await desk.service.remove("home", "laptop")
    assert await refusal(laptop.service.remove("home", "nobody")) == ("bad-device-id", 400)


async def test_the_only_member_stays(desk: Device) -> None:
    """Nobody could let it in again. Its copy can be forgotten."""
    with pytest.raises(UserError) as refused:
        await desk.service.remove("home", format_device_id(desk.id))
    assert refused.value.code == "only-member"
    assert "space forget home" in refused.value.next_step
    await desk.put("a", {"x": 1})


async def test_the_only_admin_stays_while_others_do(desk: Device, make: MakeDevice) -> None:
    """Nobody could let a device in or remove one any more, nor change the secret. When there is another it may go."""
    laptop, attic = make("laptop"), make("attic")
    await desk.spaces.admit(desk.space, laptop.spaces.card(), "member")
    await laptop.spaces.adopt(desk.space.id, "home", desk.space.roster.statements)
    assert await refusal(desk.service.remove("home", "desk")) == ("only-admin", 409)
    assert await refusal(laptop.service.remove("home", "desk")) == ("not-admin", 403)
    await desk.admit(attic)
    await desk.service.remove("home", "desk")
    assert desk.space.roster.members.keys() == {laptop.id, attic.id}


async def test_what_there_is_no_room_for_in_the_roster_is_refused(
    two: tuple[Device, Device], make: MakeDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is told that a device was removed, or let in, who was not."""
    desk, laptop = two
    monkeypatch.setattr(room, "OF_AN_ADMIN", room.Room(len(desk.space.roster), 8 << 20))
    assert await refusal(desk.service.remove("home", "laptop")) == ("roster-full", 409)
    with pytest.raises(UserError, match="that no more of it is kept"):
        await desk.spaces.admit(desk.space, make("attic").spaces.card())
    assert desk.space.roster.members.keys() == {desk.id, laptop.id}


async def test_two_members_of_one_name_have_to_be_told_apart(desk: Device, make: MakeDevice) -> None:
    one, other = make("laptop"), make("other")
    other.name = "laptop"
    await desk.admit(one, other)
    assert await refusal(desk.service.remove("home", "laptop")) == ("bad-device-id", 400)
    assert len(desk.space.roster.members) == 3


async def test_a_space_is_forgotten(desk: Device) -> None:
    """The copy is set aside, nobody is let in any more, and the name is free."""
    await desk.put("a", {})
    space_id = desk.space.id
    await desk.service.admit("home", "".join(format_device_id(b"x" * 32)), "admin")
    gone = await desk.service.forget_space("home", delete=False)
    assert gone.id == space_id.hex()
    assert gone.set_aside in {str(path) for path in (desk.folder / "set-aside").iterdir()}
    assert not desk.inviting.is_expected(b"x" * 32)
    assert (await desk.service.spaces()).spaces == []
    assert await refusal(desk.service.forget_space("home", delete=False)) == ("space-not-found", 404)
    await desk.service.create_space("home")
    assert (await desk.service.forget_space("home", delete=True)).set_aside == ""
    assert list((desk.folder / "spaces").iterdir()) == []
