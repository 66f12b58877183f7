"""Letting devices in: one invitation at a time, and devices that were named."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from peerd.core.device_id import format_device_id, short_id
from peerd.core.roster.statements import DeviceCard
from peerd.engine.members import inviting
from peerd.errors import UserError
from peerd.protocol.pairing.messages import Confirm, Grant, Request

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from peerd.protocol.control.reports import InvitationEvent, Joined
    from tests.engine.conftest import Device, Hands, MakeDevice, Until, Wire


async def invite(device: Device, *, yes: bool = True) -> tuple[AsyncGenerator[InvitationEvent, None], str]:
    """An open invitation and its code."""
    events = await device.inviting.invite(device.space, assume_yes=yes)
    code = (await anext(events)).code
    assert code is not None
    return events, code


def joining(device: Device, at: Device, code: str) -> asyncio.Task[Joined]:
    return asyncio.create_task(device.joining.join(code, None, [(at.address,)], None))


def other_than(code: str) -> str:
    return f"{(int(code) + 1) % 10**8:08}"


async def refusal(of: Any) -> UserError:
    with pytest.raises(UserError) as refused:
        await of
    return refused.value


@pytest.fixture
def laptop(make: MakeDevice) -> Device:
    return make("laptop")


# --- by code --------------------------------------------------------------------------------------------


async def test_an_invitation_begins_with_its_code(desk: Device) -> None:
    events = await desk.inviting.invite(desk.space, assume_yes=True)
    first = await anext(events)
    await events.aclose()
    assert first.code is not None
    assert len(first.code) == 8
    assert first.expires_in_s == 120


async def test_whoever_knows_the_code_is_admitted(desk: Device, laptop: Device) -> None:
    events, code = await invite(desk)
    task = joining(laptop, desk, code)
    (event,) = [event async for event in events]
    assert event.admitted == {
        "device": format_device_id(laptop.id),
        "name": "laptop",
        "space": "home",
        "confirmed": True,
    }
    joined = await task
    assert (joined.space, joined.id) == ("home", desk.space.id.hex())
    assert (joined.device, joined.device_name) == (format_device_id(desk.id), "desk")
    assert laptop.space.roster.members.keys() == {desk.id, laptop.id}
    assert laptop.spaces.secrets(laptop.space).keys() == desk.spaces.secrets(desk.space).keys() != set()
    assert desk.space.roster.members[laptop.id].role == "admin"
    assert desk.space.presence.was_here(laptop.id), "it has said that it keeps a copy"
    assert desk.inviting.open is None


async def test_a_person_is_asked_and_agrees(desk: Device, laptop: Device) -> None:
    events, code = await invite(desk, yes=False)
    task = joining(laptop, desk, code)
    asking = await anext(events)
    assert asking.asking == {"device": format_device_id(laptop.id), "name": "laptop", "short_id": short_id(laptop.id)}
    assert laptop.id not in desk.space.roster.members
    desk.inviting.confirm(asking.id, admit=True)
    assert (await anext(events)).admitted is not None
    assert (await task).space == "home"


async def test_a_person_is_asked_and_declines(desk: Device, laptop: Device) -> None:
    events, code = await invite(desk, yes=False)
    task = joining(laptop, desk, code)
    asking = await anext(events)
    desk.inviting.confirm(asking.id, admit=False)
    assert (await refusal(anext(events))).code == "declined"
    problem = await refusal(task)
    assert (problem.code, problem.extra["reason"]) == ("join-failed", "declined")
    assert desk.space.roster.members.keys() == {desk.id}
    assert laptop.spaces.by_id == {}
    assert desk.inviting.open is None


async def test_nobody_can_be_answered_who_does_not_ask(desk: Device, laptop: Device) -> None:
    events, code = await invite(desk, yes=False)
    number = desk.inviting.open.number if desk.inviting.open else ""
    with pytest.raises(UserError) as refused:
        desk.inviting.confirm(number, admit=True)
    assert (refused.value.code, refused.value.status) == ("nobody-asks", 409)
    task = joining(laptop, desk, code)
    await anext(events)
    desk.inviting.confirm(number, admit=True)
    with pytest.raises(UserError, match="nobody asks"):
        desk.inviting.confirm(number, admit=False)
    assert (await anext(events)).admitted is not None
    await task
    with pytest.raises(UserError) as refused:
        desk.inviting.confirm("none", admit=True)
    assert (refused.value.code, refused.value.status) == ("invitation-not-found", 404)


async def test_one_invitation_at_a_time(desk: Device) -> None:
    events, _ = await invite(desk)
    problem = await refusal(desk.inviting.invite(desk.space, assume_yes=True))
    assert (problem.code, problem.status) == ("invitation-open", 409)
    await events.aclose()
    events, _ = await invite(desk)
    await events.aclose()


async def test_only_an_admin_invites(desk: Device, laptop: Device) -> None:
    await desk.spaces.admit(desk.space, laptop.spaces.card(), "member")
    await laptop.spaces.adopt(desk.space.id, "home", desk.space.roster.statements)
    problem = await refusal(laptop.inviting.invite(laptop.space, assume_yes=True))
    assert (problem.code, problem.status) == ("not-admin", 403)
    assert "shows as admin" in problem.next_step
    with pytest.raises(UserError) as refused:
        await laptop.inviting.await_device(laptop.space, bytes(32), "admin")
    assert (refused.value.code, refused.value.status) == ("not-admin", 403)
    assert "shows as admin" in refused.value.next_step


# --- how an invitation ends -----------------------------------------------------------------------------


async def test_a_stream_that_is_closed_ends_its_invitation(desk: Device, laptop: Device) -> None:
    changes: list[bool] = []
    desk.inviting.window_changed = lambda: changes.append(desk.inviting.open is not None)
    events, code = await invite(desk)
    await events.aclose()
    assert changes == [True, False]
    problem = await refusal(joining(laptop, desk, code))
    assert problem.extra["reason"] == "no-window"
    assert not desk.inviting.is_expected(laptop.id)


async def test_a_stream_that_nobody_read_ends_it_too(desk: Device) -> None:
    """Whoever asked hung up before the first line."""
    events = await desk.inviting.invite(desk.space, assume_yes=True)
    await events.aclose()
    assert desk.inviting.open is None


async def test_a_cancelled_invitation_says_so(desk: Device) -> None:
    events, _ = await invite(desk)
    number = desk.inviting.open.number if desk.inviting.open else ""
    waiting = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0)
    desk.inviting.cancel(number)
    assert (await refusal(waiting)).code == "cancelled"
    assert desk.inviting.open is None
    with pytest.raises(UserError, match="no such invitation"):
        desk.inviting.cancel(number)


async def test_cancelling_while_a_person_is_asked_declines(desk: Device, laptop: Device) -> None:
    events, code = await invite(desk, yes=False)
    task = joining(laptop, desk, code)
    asking = await anext(events)
    desk.inviting.cancel(asking.id)
    assert (await refusal(anext(events))).code == "cancelled"
    assert (await refusal(task)).code == "join-failed"
    assert desk.space.roster.members.keys() == {desk.id}


@pytest.mark.parametrize("how", ["cancel", "close"])
@pytest.mark.parametrize("yes", [True, False])
async def test_an_attempt_that_was_under_way_is_not_admitted(
    desk: Device, laptop: Device, wire: Wire, until: Until, how: str, *, yes: bool
) -> None:
    """The invitation ended while the joiner was proving the code."""
    events, code = await invite(desk, yes=yes)
    wire.stop_at = Request
    task = joining(laptop, desk, code)
    await until(lambda: wire.pipes and not wire.pipes[0].flowing.is_set())
    if how == "cancel":
        desk.inviting.cancel(desk.inviting.open.number if desk.inviting.open else "")
    else:
        await events.aclose()
    wire.pipes[0].go_on()
    problem = await refusal(task)
    assert problem.code == "join-failed"
    assert desk.space.roster.members.keys() == {desk.id}
    await events.aclose()


async def test_a_code_expires(desk: Device, laptop: Device, clock: Hands) -> None:
    events, code = await invite(desk)
    clock.pass_s(121)
    problem = await refusal(joining(laptop, desk, code))
    assert problem.extra["reason"] == "expired"
    assert (await refusal(anext(events))).code == "expired"
    assert desk.inviting.open is None


async def test_time_in_suspend_counts(desk: Device, clock: Hands) -> None:
    events, _ = await invite(desk)
    clock.slept_s += 121
    assert (await refusal(anext(events))).code == "expired"


async def test_an_answer_in_progress_may_end_late(desk: Device, laptop: Device, clock: Hands) -> None:
    """The code was proven in time; the person took a while."""
    events, code = await invite(desk, yes=False)
    task = joining(laptop, desk, code)
    asking = await anext(events)
    ending = asyncio.ensure_future(anext(events))
    clock.pass_s(100)
    await asyncio.sleep(0)
    desk.inviting.confirm(asking.id, admit=True)
    assert (await ending).admitted is not None
    await task


async def test_after_a_lost_attempt_the_time_still_runs_out(
    desk: Device, laptop: Device, wire: Wire, clock: Hands, until: Until
) -> None:
    """Somebody came and went without a guess; the one who invites is not left waiting for ever."""
    events, code = await invite(desk)
    wire.stop_at = Confirm
    task = joining(laptop, desk, code)
    await until(lambda: wire.pipes and not wire.pipes[0].flowing.is_set())
    clock.pass_s(119.5)
    waiting = asyncio.ensure_future(anext(events))  # while the attempt is at the window
    await asyncio.sleep(0)
    await wire.pipes[0].close(1006, "gone")
    assert (await refusal(task)).extra["reason"] == "link-lost"
    assert not waiting.done()
    clock.pass_s(1)
    assert (await refusal(waiting)).code == "expired"


# --- wrong codes ----------------------------------------------------------------------------------------


async def test_a_wrong_code_costs_a_try_and_the_third_the_invitation(desk: Device, laptop: Device) -> None:
    events, code = await invite(desk)
    for reason in ("wrong-code", "wrong-code", "too-many-tries"):
        problem = await refusal(joining(laptop, desk, other_than(code)))
        assert (problem.code, problem.extra["reason"]) == ("join-failed", reason)
    for left in (2, 1):
        assert (await anext(events)).wrong_code == {"device": format_device_id(laptop.id), "tries_left": left}
    assert (await refusal(anext(events))).code == "too-many-tries"
    assert (await refusal(joining(laptop, desk, code))).extra["reason"] == "no-window"
    assert desk.space.roster.members.keys() == {desk.id}


async def test_after_a_wrong_code_the_right_one_still_works(desk: Device, laptop: Device) -> None:
    events, code = await invite(desk)
    for _ in range(2):
        await refusal(joining(laptop, desk, other_than(code)))
        assert (await anext(events)).wrong_code is not None
    task = joining(laptop, desk, code)
    assert (await anext(events)).admitted is not None
    assert (await task).space == "home"


async def test_a_second_device_does_not_disturb_the_first(desk: Device, laptop: Device, make: MakeDevice) -> None:
    """Neither while a person is asked about the first, nor afterwards."""
    tablet = make("tablet")
    events, code = await invite(desk, yes=False)
    first = joining(laptop, desk, code)
    asking = await anext(events)
    assert (await refusal(joining(tablet, desk, code))).extra["reason"] in {"busy", "no-window"}
    assert (await refusal(joining(tablet, desk, other_than(code)))).extra["reason"] in {"busy", "no-window"}
    desk.inviting.confirm(asking.id, admit=True)
    event = await anext(events)
    assert event.admitted is not None
    assert event.admitted["name"] == "laptop"
    await first
    assert tablet.id not in desk.space.roster.members


async def test_a_device_that_comes_while_another_proves_itself_is_told_busy(
    desk: Device, laptop: Device, make: MakeDevice, wire: Wire, until: Until
) -> None:
    tablet = make("tablet")
    events, code = await invite(desk)
    wire.stop_at = Confirm
    first = joining(laptop, desk, code)
    await until(lambda: wire.pipes and not wire.pipes[0].flowing.is_set())
    wire.stop_at = None
    assert (await refusal(joining(tablet, desk, code))).extra["reason"] == "busy"
    wire.pipes[0].go_on()
    event = await anext(events)
    assert event.admitted is not None
    assert event.admitted["name"] == "laptop"
    await first


@pytest.mark.parametrize("said", [Confirm, Request])
async def test_an_attempt_that_came_to_nothing_ends_nothing_for_the_next(
    desk: Device, laptop: Device, wire: Wire, until: Until, monkeypatch: pytest.MonkeyPatch, said: type[object]
) -> None:
    """Its link takes a second or two to close; the next attempt has begun by then, or has proven the code."""
    events, code = await invite(desk)
    wire.stop_at = Confirm
    first = joining(laptop, desk, code)
    await until(lambda: wire.pipes and not wire.pipes[0].flowing.is_set())
    far, gone = wire.pipes[0].other, asyncio.Event()
    assert far is not None
    monkeypatch.setattr(far, "close", lambda _code, _reason: gone.wait())
    await wire.pipes[0].close(1006, "gone")
    assert (await refusal(first)).extra["reason"] == "link-lost"
    wire.stop_at = said
    second = joining(laptop, desk, code)
    await until(lambda: len(wire.pipes) > 1 and not wire.pipes[1].flowing.is_set())
    ending = len(wire.tasks)
    gone.set()
    await until(lambda: len(wire.tasks) < ending)
    wire.pipes[1].go_on()
    assert (await anext(events)).admitted is not None
    assert (await second).space == "home"


# --- coming again ---------------------------------------------------------------------------------------


async def test_a_member_that_joins_again_gets_the_same_grant_and_keeps_its_copy(desk: Device, laptop: Device) -> None:
    for _ in range(2):
        events, code = await invite(desk)
        task = joining(laptop, desk, code)
        assert (await anext(events)).admitted is not None
        await task
        if sum(laptop.clock_now().values()) == 0:
            await laptop.put("a", {"x": 1})
            statements = desk.space.roster.statements
    assert desk.space.roster.statements == statements
    assert await laptop.value("a") == {"x": 1}
    assert not list((laptop.folder / "spaces").glob("*aside*"))


async def test_a_device_that_was_removed_begins_with_an_empty_copy(desk: Device, laptop: Device) -> None:
    events, code = await invite(desk)
    task = joining(laptop, desk, code)
    await anext(events)
    await task
    await laptop.put("a", {"x": 1})
    await desk.spaces.remove(desk.space, laptop.id)
    events, code = await invite(desk)
    task = joining(laptop, desk, code)
    assert (await anext(events)).admitted is not None
    assert (await task).space == "home"
    assert laptop.space.copy.visible == 0
    assert desk.space.roster.is_member(laptop.id)
    assert list((laptop.folder / "spaces").glob("*.aside-1")), "the old copy is set aside, not lost"
    await laptop.put("b", {"x": 1})
    await laptop.tell(desk)
    assert await desk.value("b") == {"x": 1}


async def test_who_is_let_in_twice_keeps_its_copy(desk: Device, laptop: Device, make: MakeDevice) -> None:
    """By one member, and by another that has not heard of that, and is nearer to the founder."""
    attic = make("attic")
    await desk.admit(laptop)
    await laptop.admit(attic)
    await attic.put("a", {"x": 1})
    events, code = await invite(desk)
    task = joining(attic, desk, code)
    assert (await anext(events)).admitted is not None
    await task
    assert attic.space.roster.members[attic.id].depth == 1
    assert await attic.value("a") == {"x": 1}
    assert not list((attic.folder / "spaces").glob("*aside*"))
    await attic.put("b", {"x": 2})
    await attic.tell(desk)
    assert [await desk.value(key) for key in "ab"] == [{"x": 1}, {"x": 2}]


async def test_who_comes_back_still_knows_who_was_removed(desk: Device, laptop: Device, make: MakeDevice) -> None:
    """Whoever lets it in has not heard of that."""
    tablet, attic = make("tablet"), make("attic")
    await desk.admit(laptop, tablet, attic)
    await desk.tell(laptop)
    await desk.spaces.remove(desk.space, attic.id)
    await desk.tell(laptop, attic)
    await desk.spaces.remove(desk.space, tablet.id)
    await desk.tell(attic)
    events, code = await invite(laptop)
    task = joining(attic, laptop, code)
    assert (await anext(events)).admitted is not None
    await task
    assert attic.space.roster.members.keys() == {desk.id, laptop.id, attic.id}


@pytest.mark.parametrize("by_name", [False, True])
async def test_who_was_removed_comes_back_by_one_that_has_not_heard_of_that(
    desk: Device, laptop: Device, make: MakeDevice, *, by_name: bool
) -> None:
    """And stays in when that one hears of it, as what it takes it for."""
    attic = make("attic")
    await desk.spaces.admit(desk.space, attic.spaces.card(), "member")
    await attic.spaces.adopt(desk.space.id, "home", desk.space.roster.statements)
    await desk.admit(laptop)
    await desk.spaces.remove(desk.space, attic.id)
    await desk.tell(attic)
    if by_name:
        await laptop.inviting.await_device(laptop.space, attic.id, "member")
        await attic.joining.join(None, laptop.id, [(laptop.address,)], None)
    else:
        events, code = await invite(laptop)
        task = joining(attic, laptop, code)
        assert (await anext(events)).admitted is not None
        await task
    await desk.tell(laptop)
    await laptop.tell(desk, attic)
    for device in (desk, laptop, attic):
        assert device.space.roster.members.keys() == {desk.id, laptop.id, attic.id}
        assert device.space.roster.members[attic.id].role == "member"
    await attic.put("a", {"x": 1})
    await attic.tell(desk)
    assert await desk.value("a") == {"x": 1}


# --- by name --------------------------------------------------------------------------------------------


async def test_a_named_device_is_admitted_without_a_code_or_a_question(desk: Device, laptop: Device) -> None:
    await desk.inviting.await_device(desk.space, laptop.id, "member")
    assert desk.inviting.is_expected(laptop.id)
    joined = await laptop.joining.join(None, desk.id, [(desk.address,)], None)
    assert joined.space == "home"
    assert desk.space.roster.members[laptop.id].role == "member"
    await asyncio.sleep(0)
    assert not desk.inviting.is_expected(laptop.id)


async def test_nobody_else_gets_in_by_name(desk: Device, laptop: Device, make: MakeDevice) -> None:
    tablet = make("tablet")
    await desk.inviting.await_device(desk.space, laptop.id, "admin")
    problem = await refusal(tablet.joining.join(None, desk.id, [(desk.address,)], None))
    assert problem.extra["reason"] == "no-window"
    assert not desk.inviting.is_expected(tablet.id)


async def test_an_open_invitation_lets_nobody_in_by_name(desk: Device, laptop: Device) -> None:
    events, _ = await invite(desk)
    problem = await refusal(laptop.joining.join(None, desk.id, [(desk.address,)], None))
    assert problem.extra["reason"] == "not-named"
    await events.aclose()


async def test_a_named_device_disturbs_no_invitation(desk: Device, laptop: Device, make: MakeDevice) -> None:
    tablet = make("tablet")
    events, code = await invite(desk, yes=False)
    await desk.inviting.await_device(desk.space, tablet.id, "admin")
    await tablet.joining.join(None, desk.id, [(desk.address,)], None)
    task = joining(laptop, desk, code)
    asking = await anext(events)
    assert asking.asking is not None
    assert asking.asking["name"] == "laptop"
    desk.inviting.confirm(asking.id, admit=True)
    await task
    await events.aclose()


async def test_a_named_device_whose_link_broke_may_come_again(
    desk: Device, laptop: Device, wire: Wire, until: Until
) -> None:
    """It is admitted and has not got the grant; it cannot be named a second time."""
    await desk.inviting.await_device(desk.space, laptop.id, "admin")
    wire.stop_at_far = Grant
    task = asyncio.create_task(laptop.joining.join(None, desk.id, [(desk.address,)], None))
    await until(lambda: wire.pipes and wire.pipes[0].other is not None and not wire.pipes[0].other.flowing.is_set())
    await wire.pipes[0].close(1006, "gone")
    await refusal(task)
    assert desk.space.roster.is_member(laptop.id)
    wire.stop_at_far = None
    await until(lambda: not wire.tasks)
    assert (await laptop.joining.join(None, desk.id, [(desk.address,)], None)).space == "home"


async def test_a_named_device_is_awaited_across_restarts_and_used_once(
    desk: Device, laptop: Device, wire: Wire, until: Until
) -> None:
    awaited = await desk.inviting.await_device(desk.space, laptop.id, "member")
    again = await desk.reopen()
    assert again.space.awaited == {laptop.id: awaited}
    assert again.inviting.is_expected(laptop.id)
    assert (await laptop.joining.join(None, desk.id, [(desk.address,)], None)).space == "home"
    assert again.space.roster.members[laptop.id].role == "member"
    await until(lambda: not wire.tasks)
    assert again.space.awaited == {}
    last = await again.reopen()
    assert last.space.awaited == {}
    assert not last.inviting.is_expected(laptop.id)


async def test_a_named_device_is_awaited_for_seven_days(
    desk: Device, laptop: Device, clock: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is late makes room for others."""
    monkeypatch.setattr(inviting, "NAMED", 1)
    await desk.inviting.await_device(desk.space, laptop.id, "admin")
    clock.pass_s(7 * 86_400 - 1)
    assert desk.inviting.is_expected(laptop.id)
    clock.pass_s(1)
    assert not desk.inviting.is_expected(laptop.id)
    other = await desk.inviting.await_device(desk.space, b"o" * 32, "admin")
    assert (await desk.reopen()).space.awaited == {b"o" * 32: other}


async def test_a_removal_ends_the_waiting_for_that_device(two: tuple[Device, Device]) -> None:
    """That was named, and never came."""
    desk, laptop = two
    await desk.inviting.await_device(desk.space, laptop.id, "admin")
    kept = await desk.inviting.await_device(desk.space, b"o" * 32, "admin")
    await desk.spaces.remove(desk.space, laptop.id)
    assert desk.space.awaited == {b"o" * 32: kept}
    assert (await desk.reopen()).space.awaited == {b"o" * 32: kept}


async def test_who_comes_by_another_member_is_awaited_no_more(two: tuple[Device, Device], make: MakeDevice) -> None:
    """Else it could come back by that when it has been removed there."""
    desk, laptop = two
    attic = make("attic")
    for device in two:
        await device.inviting.await_device(device.space, attic.id, "admin")
    await desk.spaces.admit(desk.space, attic.spaces.card())
    assert desk.inviting.is_expected(attic.id), "it has not confirmed"
    await laptop.space.learn(desk.space.roster.statements)
    assert not laptop.inviting.is_expected(attic.id)


async def test_a_second_removal_ends_it_too(desk: Device, laptop: Device, make: MakeDevice) -> None:
    """Of a device that another member let in meanwhile, and both are heard of at once."""
    attic = make("attic")
    await desk.admit(laptop, attic)
    await desk.spaces.remove(desk.space, attic.id)
    await desk.tell(laptop)
    await desk.inviting.await_device(desk.space, attic.id, "admin")
    await desk.space.learn(laptop.space.roster.statements)
    assert desk.inviting.is_expected(attic.id)
    await laptop.spaces.admit(laptop.space, attic.spaces.card())
    await laptop.spaces.remove(laptop.space, attic.id)
    await desk.space.learn(laptop.space.roster.statements)
    assert not desk.inviting.is_expected(attic.id)


async def test_who_is_no_admin_any_more_awaits_nobody(two: tuple[Device, Device]) -> None:
    desk, laptop = two
    await laptop.inviting.await_device(laptop.space, b"o" * 32, "admin")
    await desk.spaces.remove(desk.space, laptop.id)
    await laptop.space.learn(desk.space.roster.statements)
    assert not laptop.inviting.is_expected(b"o" * 32)
    assert laptop.space.awaited == {}
    assert (await laptop.reopen()).space.awaited == {}


async def test_naming_a_member_is_refused(two: tuple[Device, Device]) -> None:
    """Unless it has never been here: its join may have failed."""
    desk, laptop = two
    await desk.inviting.await_device(desk.space, laptop.id, "admin")
    desk.space.presence.note_seen(laptop.id)
    with pytest.raises(UserError) as refused:
        await desk.inviting.await_device(desk.space, laptop.id, "admin")
    assert (refused.value.code, refused.value.status) == ("already-member", 409)


async def test_a_member_that_was_let_in_again_may_be_named_until_it_is_here(two: tuple[Device, Device]) -> None:
    """What it did before it was removed is no sign that it has got to know."""
    desk, laptop = two
    await laptop.put("a", {"x": 1})
    await laptop.spaces.admit(laptop.space, DeviceCard(b"p" * 32, b"s" * 32, "attic"))
    await laptop.tell(desk)
    desk.space.presence.note_seen(laptop.id)
    await desk.spaces.remove(desk.space, laptop.id)
    await desk.spaces.admit(desk.space, laptop.spaces.card())
    views = {one.name: one for one in (await desk.service.members("home")).members}
    assert (views["laptop"].state, views["laptop"].seen_ms) == ("admitted, never seen", None)
    await desk.inviting.await_device(desk.space, laptop.id, "admin")
    joined = await laptop.joining.join(None, desk.id, [(desk.address,)], None)
    assert joined.space == "home"
    await laptop.put("b", {"x": 2})
    await laptop.tell(desk)
    with pytest.raises(UserError, match="a member of home already"):
        await desk.inviting.await_device(desk.space, laptop.id, "admin")


async def test_named_devices_are_bounded(desk: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inviting, "NAMED", 2)
    for number in range(2):
        await desk.inviting.await_device(desk.space, bytes([number]) * 32, "admin")
    await desk.inviting.await_device(desk.space, bytes([1]) * 32, "member")
    with pytest.raises(UserError) as refused:
        await desk.inviting.await_device(desk.space, bytes([2]) * 32, "admin")
    assert (refused.value.code, refused.value.status) == ("too-busy", 503)


async def test_codes_are_in_no_log(desk: Device, laptop: Device, log_lines: Any) -> None:
    events, code = await invite(desk)
    task = joining(laptop, desk, code)
    await anext(events)
    await task
    await refusal(joining(laptop, desk, "11112222"))
    text = log_lines.getvalue()
    assert "member admitted" in text
    assert code not in text
    assert "11112222" not in text
