"""What a peer says of members: just before its goodbye it is taken in, however slow our disk is, and never piles up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from peerd.core.device_id import short_id
from peerd.core.roster.statements import SignedStatement
from peerd.engine.links import inbound
from peerd.errors import DiskFull
from peerd.protocol import codec
from peerd.protocol.messages import RosterMessage
from peerd.protocol.session import Phase


def _streaming(device: Any) -> bool:
    sessions = device.switchboard.sessions(device.space)
    return bool(sessions) and all(one.machine.phase is Phase.STREAMING for one in sessions)


@pytest.mark.parametrize("slow", ["learning", "waiting", "applying"])
async def test_a_removal_with_a_goodbye_right_behind_it(
    make: Any,
    wire: Any,
    until: Callable[[Callable[[], object]], Awaitable[None]],
    slow: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The removed device learns that it is out, and all who have to hear of it do, though the link is gone by then."""
    desk, laptop = make("desk", threaded=True), make("laptop", threaded=True)
    await desk.spaces.found("home")
    await desk.admit(laptop)
    near, _far = wire.connect(desk, laptop)
    await until(lambda: _streaming(desk) and _streaming(laptop))
    told: list[object] = []
    laptop.space.on_roster.append(told.append)
    gate = asyncio.Event()
    space = laptop.space
    keep = space.store.add_statements

    async def slowly(statements: Any) -> None:
        await gate.wait()
        await keep(statements)

    space.store.add_statements = slowly
    if slow == "waiting":  # behind other statements that they sent
        await desk.spaces.admit(desk.space, make("phone").spaces.card())
    if slow == "applying":  # behind what they wrote

        async def forever(_: object) -> None:
            await asyncio.Event().wait()

        monkeypatch.setattr(inbound, "_end_of", forever)
    await desk.spaces.remove(desk.space, laptop.id)
    await until(lambda: near.closed is not None)
    await until(lambda: not laptop.switchboard.links)
    gate.set()
    await until(lambda: not space.roster.is_member(laptop.id))
    await until(lambda: told)


async def test_while_our_disk_is_full_what_is_said_of_members_waits_and_the_link_stays(
    two: tuple[Any, Any],
    wire: Any,
    make: Any,
    until: Callable[[Callable[[], object]], Awaitable[None]],
    monkeypatch: pytest.MonkeyPatch,
    log_events: Callable[[], list[dict[str, Any]]],
) -> None:
    monkeypatch.setattr(inbound, "FULL_DISK_S", 0.01)
    desk, laptop = two
    wire.connect(desk, laptop)
    await until(lambda: _streaming(desk) and _streaming(laptop))
    (session,) = desk.switchboard.sessions(desk.space)
    keep, tries = laptop.space.store.add_statements, []

    async def full(_statements: Any) -> None:
        tries.append(1)
        raise DiskFull("no space left")

    laptop.space.store.add_statements = full
    await desk.spaces.admit(desk.space, make("phone").spaces.card())
    await until(lambda: len(tries) > 2)
    assert desk.switchboard.sessions(desk.space) == [session]
    assert session.machine.notice.code == "disk-full"
    (line,) = [one for one in log_events() if one["event"] == "session stalled"]
    assert (line["device"], line["cause"]) == (short_id(desk.id), "no space left"), "each session says so, of whom"
    laptop.space.store.add_statements = keep
    await until(lambda: laptop.space.roster == desk.space.roster)
    await until(lambda: session.machine.notice is None)
    assert desk.switchboard.sessions(desk.space) == [session]


async def test_while_more_is_said_than_is_learnt_nothing_more_is_read(
    two: tuple[Any, Any], wire: Any, until: Callable[[Callable[[], object]], Awaitable[None]]
) -> None:
    """Or whoever says it without end fills our memory. When there is room again, the rest is read."""
    desk, laptop = two
    _near, far = wire.connect(desk, laptop)
    await until(lambda: _streaming(desk) and _streaming(laptop))
    (session,) = laptop.switchboard.sessions(laptop.space)
    gate, learn = asyncio.Event(), laptop.space.learn

    async def slowly(statements: Any, bringer: bytes) -> bool:
        await gate.wait()
        return bool(await learn(statements, bringer))

    laptop.space.learn = slowly
    garbage = codec.encode(RosterMessage(desk.space.id, bytes(16), [SignedStatement(b"garbage", bytes(64))]))
    for _ in range(3 * inbound.STATEMENTS_WAITING):
        far._arrived.put_nowait(garbage)
    await until(lambda: len(session.inbound._waiting) >= inbound.STATEMENTS_WAITING)
    for _ in range(100):
        await asyncio.sleep(0)
    assert len(session.inbound._waiting) == inbound.STATEMENTS_WAITING
    assert far._arrived.qsize() > inbound.STATEMENTS_WAITING
    gate.set()
    await until(far._arrived.empty)
    await desk.put("one", {"n": 1})
    await until(lambda: laptop.space.copy.clock() == desk.space.copy.clock())
