"""One pairing machine on one link, driven to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from peerd.engine.members import pairing_link
from peerd.engine.members.pairing_link import drive
from peerd.errors import DiskFull, RemoteProtocolError
from peerd.protocol.pairing.inviter import Inviter
from peerd.protocol.pairing.joiner import Joiner
from peerd.protocol.pairing.messages import GrantBody, Refuse, decode
from peerd.protocol.pairing.pairing import STEP_S, Admit, AskPerson, Effect, Failed, Finished, Store
from peerd.protocol.pairing.window import InvitationWindow

if TYPE_CHECKING:
    from tests.engine.conftest import Device, MakeDevice, Pipe

CODE = "48219073"
Pipes = Callable[[], tuple["Pipe", "Pipe"]]


class Two:
    """An inviter and a joiner, each at one end of a link."""

    def __init__(self, desk: Device, laptop: Device, link: tuple[Pipe, Pipe], code: str = CODE) -> None:
        self.desk, self.laptop = desk, laptop
        self.near, self.far = link
        self.did: list[str] = []
        self.window = InvitationWindow(CODE, desk.clock.boottime_s())
        self.joiner = Joiner(
            card=laptop.spaces.card(), theirs=desk.id, code=code, entropy=laptop.clock.random_bytes,
            verify=lambda *_: True, now_s=laptop.clock.boottime_s(),
        )  # fmt: skip
        self.inviter = Inviter(
            ours=desk.id, name="desk", theirs=laptop.id, window=self.window, named=False, ask=True,
            entropy=desk.clock.random_bytes, now_s=desk.clock.boottime_s(),
        )  # fmt: skip

    async def run(self) -> tuple[Finished | Failed, Finished | Failed]:
        joiner = drive(self.joiner, self.near, self.laptop.clock, self.join)
        inviter = drive(self.inviter, self.far, self.desk.clock, self.invite)
        return await asyncio.gather(joiner, inviter)

    async def join(self, effect: AskPerson | Admit | Store) -> list[Effect]:
        assert isinstance(effect, Store)
        self.did.append("store")
        return self.joiner.stored(self.laptop.clock.boottime_s())

    async def invite(self, effect: AskPerson | Admit | Store) -> list[Effect]:
        self.did.append(type(effect).__name__)
        if isinstance(effect, AskPerson):
            return self.inviter.confirmed(yes=True, now_s=self.desk.clock.boottime_s())
        assert isinstance(effect, Admit)
        await self.desk.spaces.admit(self.desk.space, effect.card)
        roster = self.desk.space.roster
        return self.inviter.granted(
            GrantBody(roster.space, roster.name, roster.statements), self.desk.clock.boottime_s()
        )


@pytest.fixture
def pair(desk: Device, make: MakeDevice, pipe_between: Callable[[Device, Device], tuple[Pipe, Pipe]]) -> Two:
    laptop = make("laptop")
    return Two(desk, laptop, pipe_between(laptop, desk))


async def test_both_come_to_the_end(pair: Two) -> None:
    joined, invited = await pair.run()
    assert isinstance(joined, Finished)
    assert isinstance(invited, Finished)
    assert (joined.name, invited.name) == ("desk", "laptop")
    assert pair.did == ["AskPerson", "Admit", "store"]
    assert pair.near.closed is not None


async def test_what_is_refused_is_heard_before_the_link_ends(pair: Two) -> None:
    pair.joiner = Joiner(
        card=pair.laptop.spaces.card(), theirs=pair.desk.id, code="00000000",
        entropy=pair.laptop.clock.random_bytes, verify=lambda *_: True, now_s=pair.laptop.clock.boottime_s(),
    )  # fmt: skip
    joined, invited = await pair.run()
    assert isinstance(joined, Failed)
    assert isinstance(invited, Failed)
    assert (joined.code, joined.theirs, invited.code, invited.theirs) == ("wrong-code", True, "wrong-code", False)
    assert pair.did == []


async def test_a_lost_link_ends_the_attempt(pair: Two) -> None:
    await pair.far.close(1000, "gone")
    end = await drive(pair.joiner, pair.near, pair.laptop.clock, pair.join)
    assert isinstance(end, Failed)
    assert end.code == "link-lost"


async def test_a_link_that_breaks_while_it_is_heard_ends_it_too(pair: Two) -> None:
    task = asyncio.create_task(drive(pair.inviter, pair.far, pair.desk.clock, pair.invite))
    await asyncio.sleep(0)
    await pair.near.close(1006, "gone")
    end = await task
    assert isinstance(end, Failed)
    assert end.code == "link-lost"
    assert pair.window.state(pair.desk.clock.boottime_s()).value == "open"


async def test_a_frame_that_the_link_refuses_ends_it(pair: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    async def too_big() -> bytes:
        raise RemoteProtocolError("a frame that is too big")

    monkeypatch.setattr(pair.far, "receive", too_big)
    end = await drive(pair.inviter, pair.far, pair.desk.clock, pair.invite)
    assert isinstance(end, Failed)


async def test_whoever_says_nothing_is_refused_in_time(pair: Two) -> None:
    """The time limit is the machine's; the link only waits for it."""
    pair.desk.clock.pass_s(STEP_S)
    end = await drive(pair.inviter, pair.far, pair.desk.clock, pair.invite)
    assert isinstance(end, Failed)
    assert end.code == "timeout"
    message = decode(await pair.near.receive())
    assert isinstance(message, Refuse)
    assert message.code == "timeout"


async def test_a_failure_of_ours_is_told_to_the_other_side(pair: Two) -> None:
    async def full(_: AskPerson | Admit | Store) -> list[Effect]:
        raise DiskFull("no space left")

    joiner = drive(pair.joiner, pair.near, pair.laptop.clock, full)
    inviter = drive(pair.inviter, pair.far, pair.desk.clock, pair.invite)
    joined, invited = await asyncio.gather(joiner, inviter)
    assert isinstance(joined, Failed)
    assert isinstance(invited, Failed)
    assert (joined.code, joined.theirs) == ("failed", False)
    assert invited.code == "not-confirmed", "it has admitted the device, and says so"
    assert pair.did == ["AskPerson", "Admit"]


async def test_a_link_that_breaks_after_the_last_word_is_no_failure(pair: Two) -> None:
    async def stored(effect: AskPerson | Admit | Store) -> list[Effect]:
        await pair.near.close(1006, "cut")
        return await pair.join(effect)

    joiner = drive(pair.joiner, pair.near, pair.laptop.clock, stored)
    inviter = drive(pair.inviter, pair.far, pair.desk.clock, pair.invite)
    joined, invited = await asyncio.gather(joiner, inviter)
    assert isinstance(joined, Finished)
    assert isinstance(invited, Failed)
    assert invited.code == "not-confirmed"


async def test_a_link_that_will_not_close_is_left(pair: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairing_link, "_LAST_WORD_S", 0.01)

    async def never(_code: int, _reason: str) -> None:
        await asyncio.Event().wait()

    close = pair.near.close
    monkeypatch.setattr(pair.near, "close", never)
    await pair.far.close(1000, "gone")
    assert isinstance(await drive(pair.joiner, pair.near, pair.laptop.clock, pair.join), Failed)
    await close(1000, "done")


async def test_whoever_is_stopped_closes_its_link(pair: Two) -> None:
    task = asyncio.create_task(drive(pair.inviter, pair.far, pair.desk.clock, pair.invite))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert pair.far.closed is not None
