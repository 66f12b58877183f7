"""Being let in: by code or by name, from discovery or from a given host."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import TYPE_CHECKING

import pytest

from peerd.core.device_id import format_device_id
from peerd.engine.members import joining
from peerd.errors import DiskFull, LinkLost, UserError
from peerd.protocol.pairing.messages import Done

if TYPE_CHECKING:
    from peerd.core.stored import Address
    from tests.engine.conftest import Device, MakeDevice, Until, Wire

AWAY: Address = ("192.0.2.9", 1)


async def refusal(of: Awaitable[object]) -> UserError:
    with pytest.raises(UserError) as refused:
        await of
    return refused.value


@pytest.fixture
def laptop(make: MakeDevice) -> Device:
    return make("laptop")


async def window(device: Device) -> str:
    """An open invitation of a device; its code. Its stream ends with the test."""
    events = await device.inviting.invite(device.space, assume_yes=True)
    device.streams.append(events)
    code = (await anext(events)).code
    assert code is not None
    return code


def in_sight(device: Device, *groups: tuple[Address, ...]) -> None:
    """Discovery shows these, one after the other."""

    async def candidates() -> AsyncIterator[tuple[Address, ...]]:
        for group in groups:
            yield group

    device.joining.candidates = device.joining.everywhere = candidates


# --- by code --------------------------------------------------------------------------------------------


async def test_the_first_window_with_this_code_lets_us_in(
    desk: Device, laptop: Device, make: MakeDevice, wire: Wire
) -> None:
    """Others cost one try each; those that are not there, nothing."""
    attic = make("attic")
    await attic.spaces.found("attic")
    other = await window(attic)
    code = await window(desk)
    assert other != code
    in_sight(laptop, (AWAY,), (attic.address,), (AWAY, desk.address), (("never", 1),))
    reached: list[tuple[bytes, tuple[Address, ...]]] = []
    laptop.joining.reached = lambda device, addresses: reached.append((device, addresses))
    joined = await laptop.joining.join(code, None, None, None)
    assert joined.device_name == "desk"
    assert reached == [(desk.id, (desk.address,))]
    assert wire.dialled == [AWAY, attic.address, AWAY, desk.address]
    assert attic.inviting.open is not None
    assert attic.inviting.open.window.tries_left == 2


async def test_a_wrong_code_everywhere_is_told_as_such(desk: Device, laptop: Device) -> None:
    """Whatever else failed after it."""
    code = await window(desk)
    in_sight(laptop, (desk.address,), (AWAY,))
    problem = await refusal(laptop.joining.join(f"{(int(code) + 1) % 10**8:08}", None, None, None))
    assert (problem.code, problem.status, problem.extra["reason"]) == ("join-failed", 409, "wrong-code")
    assert problem.next_step


async def test_a_code_is_tried_at_few(desk: Device, laptop: Device, wire: Wire) -> None:
    """A mistyped one costs everybody a try."""
    in_sight(laptop, *[((f"h{number}", 1),) for number in range(20)])
    problem = await refusal(laptop.joining.join("12345678", None, None, None))
    assert problem.code == "unreachable"
    assert len(wire.dialled) == joining.CANDIDATES


@pytest.mark.parametrize("code", ["", "1234567", "123456789", "1234567x", "١٢٣٤٥٦٧٨"])
async def test_what_is_no_code_is_tried_nowhere(desk: Device, laptop: Device, wire: Wire, code: str) -> None:
    in_sight(laptop, (desk.address,))
    await window(desk)
    assert (await refusal(laptop.joining.join(code, None, None, None))).code == "bad-code"
    assert wire.dialled == []


async def test_a_code_may_be_typed_as_it_is_shown(desk: Device, laptop: Device) -> None:
    code = await window(desk)
    in_sight(laptop, (desk.address,))
    assert (await laptop.joining.join(f" {code[:4]}-{code[4:]} ", None, None, None)).space == "home"


async def test_with_nobody_in_sight_it_says_what_to_do(laptop: Device) -> None:
    in_sight(laptop)
    problem = await refusal(laptop.joining.join("12345678", None, None, None))
    assert (problem.code, problem.status) == ("join-failed", 409)
    assert "--host" in problem.next_step


async def test_a_device_that_refuses_us_for_its_version_ends_no_search(
    desk: Device, laptop: Device, wire: Wire
) -> None:
    code = await window(desk)
    old = ("old", 7337)
    wire.refusals[old] = LinkLost("it speaks peerd.pair.0", code="version", next_step="Update the older one.")
    in_sight(laptop, (old,), (desk.address,))
    assert (await laptop.joining.join(code, None, None, None)).device_name == "desk"


async def test_a_refusal_for_the_version_is_told(laptop: Device, wire: Wire) -> None:
    old = ("old", 7337)
    wire.refusals[old] = LinkLost("it speaks peerd.pair.0", code="version", next_step="Update the older one.")
    problem = await refusal(laptop.joining.join("12345678", None, [(old,)], None))
    assert (problem.code, problem.extra["reason"]) == ("join-failed", "version")
    assert (str(problem), problem.next_step) == ("it speaks peerd.pair.0", "Update the older one.")


async def test_a_person_who_declines_ends_the_search(desk: Device, laptop: Device, wire: Wire) -> None:
    events = await desk.inviting.invite(desk.space, assume_yes=False)
    code = (await anext(events)).code
    in_sight(laptop, (desk.address,), (AWAY,))
    task = asyncio.create_task(laptop.joining.join(code, None, None, None))
    desk.inviting.confirm((await anext(events)).id, admit=False)
    assert (await refusal(task)).extra["reason"] == "declined"
    assert wire.dialled == [desk.address]
    await events.aclose()


# --- with a host ----------------------------------------------------------------------------------------


async def test_a_given_host_is_the_only_one_tried(desk: Device, laptop: Device, wire: Wire) -> None:
    code = await window(desk)
    in_sight(laptop, (AWAY,))
    assert (await laptop.joining.join(code, None, [(desk.address,)], None)).space == "home"
    assert wire.dialled == [desk.address]


async def test_a_host_that_does_not_answer_is_named_unreachable(desk: Device) -> None:
    problem = await refusal(desk.joining.join("12345678", None, [(AWAY,)], None))
    assert (problem.code, problem.status) == ("unreachable", 504)
    assert str(problem) == "no route to host"
    assert problem.next_step


async def test_a_host_without_an_invitation_says_so(desk: Device, laptop: Device) -> None:
    problem = await refusal(laptop.joining.join("12345678", None, [(desk.address,)], None))
    assert (problem.code, problem.extra["reason"]) == ("join-failed", "no-window")
    assert "no open invitation" in str(problem)
    assert "Is the invitation still open" in problem.next_step


@pytest.mark.parametrize("by_code", [True, False])
async def test_a_device_that_was_removed_is_told_how_it_is_let_in_again(
    desk: Device,
    laptop: Device,
    wire: Wire,
    by_code: bool,  # noqa: FBT001 - a parameter
) -> None:
    wire.refusals[desk.address] = LinkLost("this device was removed", code="removed")
    code, named = ("12345678", None) if by_code else (None, desk.id)
    problem = await refusal(laptop.joining.join(code, named, [(desk.address,)], None))
    assert (problem.code, problem.extra["reason"]) == ("join-failed", "removed")
    assert str(problem) == "it says that this device was removed from its space"
    assert f"`peerctl admit SPACE {format_device_id(laptop.id)}`" in problem.next_step


async def test_a_name_that_is_taken_here_is_refused_before_anybody_is_asked(
    desk: Device, laptop: Device, wire: Wire
) -> None:
    """Nobody who asks for a name gets another one, and the invitation is still good."""
    await laptop.spaces.found("garden")
    code = await window(desk)
    problem = await refusal(laptop.joining.join(code, None, [(desk.address,)], "garden"))
    assert (problem.code, problem.status, wire.dialled) == ("space-exists", 409, [])
    assert (await laptop.joining.join(code, None, [(desk.address,)], "yard")).space == "yard"


# --- by name --------------------------------------------------------------------------------------------


async def test_a_named_device_is_found_among_many(desk: Device, laptop: Device, make: MakeDevice) -> None:
    """It costs nobody anything to be asked who they are."""
    others = [make(f"d{number}") for number in range(joining.CANDIDATES + 4)]
    await desk.inviting.await_device(desk.space, laptop.id, "admin")
    in_sight(laptop, *[(one.address,) for one in others], (desk.address,))
    assert (await laptop.joining.join(None, desk.id, None, None)).device_name == "desk"


async def test_a_named_device_that_is_not_there_is_missed(laptop: Device, make: MakeDevice) -> None:
    others = [make(f"d{number}") for number in range(3)]
    in_sight(laptop, *[(one.address,) for one in others])
    problem = await refusal(laptop.joining.join(None, bytes(32), None, None))
    assert problem.code == "join-failed"
    assert str(problem) == "the device with that id is not in sight"
    assert "invite" not in problem.next_step


async def test_another_device_at_the_host_is_told(desk: Device, laptop: Device) -> None:
    problem = await refusal(laptop.joining.join(None, bytes(32), [(desk.address,)], None))
    assert (problem.code, problem.extra["reason"]) == ("join-failed", "wrong-device")


# --- what is kept ---------------------------------------------------------------------------------------


async def test_a_space_may_have_another_name_here(desk: Device, laptop: Device) -> None:
    code = await window(desk)
    joined = await laptop.joining.join(code, None, [(desk.address,)], "desk-home")
    assert (joined.space, laptop.space.name, laptop.space.roster.name) == ("desk-home", "desk-home", "home")


async def test_a_name_that_is_taken_gets_a_number(desk: Device, laptop: Device) -> None:
    await laptop.spaces.found("home")
    code = await window(desk)
    joined = await laptop.joining.join(code, None, [(desk.address,)], None)
    assert (joined.space, joined.called) == ("home-2", "home")


@pytest.mark.parametrize(
    ("theirs", "ours"), [("Küche & Bad", "K-che---Bad"), ("../etc", "etc"), ("日本", "space"), ("x" * 64, "x" * 64)]
)
async def test_a_name_that_no_command_could_say_is_made_plain(
    desk: Device, laptop: Device, monkeypatch: pytest.MonkeyPatch, theirs: str, ours: str
) -> None:
    """Another implementation may call its space what it likes."""
    monkeypatch.setattr("peerd.engine.spaces.check_space_name", lambda _: None)
    await desk.spaces.found(theirs)
    space = desk.spaces.named(theirs)
    events = await desk.inviting.invite(space, assume_yes=True)
    code = (await anext(events)).code
    assert (await laptop.joining.join(code, None, [(desk.address,)], None)).space == ours
    await events.aclose()


async def test_the_copy_is_durable_before_the_inviter_hears_of_it(
    desk: Device, laptop: Device, wire: Wire, until: Until
) -> None:
    code = await window(desk)
    wire.stop_at = Done
    task = asyncio.create_task(laptop.joining.join(code, None, [(desk.address,)], None))
    await until(lambda: wire.pipes and not wire.pipes[0].flowing.is_set())
    assert laptop.space.id == desk.space.id
    assert list((laptop.folder / "spaces").glob("*.db"))
    wire.pipes[0].go_on()
    assert (await task).space == "home"


async def test_without_a_copy_nobody_says_done(
    desk: Device, laptop: Device, monkeypatch: pytest.MonkeyPatch, until: Until, wire: Wire
) -> None:
    code = await window(desk)

    async def full(*_: object) -> None:
        raise DiskFull("no space left", next_step="Make room.")

    monkeypatch.setattr(laptop.spaces, "adopt", full)
    problem = await refusal(laptop.joining.join(code, None, [(desk.address,)], None))
    assert problem.code == "join-failed"
    assert str(problem) == "this device was admitted and could not keep the space: no space left"
    assert problem.next_step == "Make room. Then join again with a new invitation."
    await until(lambda: not wire.tasks)
    (stream,) = desk.streams
    admitted = (await anext(stream)).admitted
    assert admitted is not None, "it is a member, and may come again"
    assert admitted["confirmed"] is False
    assert [one.state for one in (await desk.statuses.spaces.members(desk.space)).members] == [
        "this device",
        "admitted, never seen",
    ]
    statements = desk.space.roster.statements
    monkeypatch.undo()
    again = await window(desk)
    assert (await laptop.joining.join(again, None, [(desk.address,)], None)).space == "home"
    admitted = (await anext(desk.streams[-1])).admitted
    assert admitted is not None
    assert admitted["confirmed"] is True
    assert desk.space.roster.statements == laptop.space.roster.statements == statements, "one member, admitted once"


async def test_a_link_that_breaks_after_the_copy_is_kept_is_no_failure(
    desk: Device, laptop: Device, wire: Wire, until: Until
) -> None:
    code = await window(desk)
    wire.stop_at = Done
    task = asyncio.create_task(laptop.joining.join(code, None, [(desk.address,)], None))
    await until(lambda: wire.pipes and not wire.pipes[0].flowing.is_set())
    await wire.pipes[0].close(1006, "cut")
    assert (await task).space == "home"
    (stream,) = desk.streams
    assert (await anext(stream)).admitted is not None


async def test_every_link_is_closed_in_the_end(desk: Device, laptop: Device, wire: Wire) -> None:
    code = await window(desk)
    for given in ("00000000", "bad", code):
        try:
            await laptop.joining.join(given, None, [(desk.address,)], None)
        except UserError:
            continue
    assert wire.pipes
    assert all(pipe.closed is not None for pipe in wire.pipes)
