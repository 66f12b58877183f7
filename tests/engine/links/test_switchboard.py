"""Which link stays, who may catch up from whom, and what becomes of a link that ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from peerd.engine.links import switchboard
from peerd.engine.links.switchboard import Switchboard
from peerd.errors import StoreClosed
from peerd.protocol.effects import Blocked
from tests.network_simulation.scene import Scene
from tests.network_simulation.virtual_loop import in_virtual_time

SPACE = b"s" * 16


class Waiting:
    """A session that is `behind` and catches up when it is told to."""

    def __init__(self, board: Switchboard, behind: int) -> None:
        snapshots = SimpleNamespace(is_of=lambda _: False)
        self.space = SimpleNamespace(id=SPACE, ours=lambda: None, name="home", snapshots=snapshots)
        self.behind: int = behind
        self.machine = SimpleNamespace(behind=lambda _: self.behind)
        self.theirs = b"d" * 32
        self.turns = 0
        self._board = board

    def take_turn(self) -> None:
        self.turns += 1

    def catches_up(self) -> None:
        self.behind = 0
        self._board._pass_on(self)  # type: ignore[arg-type] # it has what the switchboard asks of a session


@pytest.fixture
def board() -> Switchboard:
    times: Any = SimpleNamespace(random_bytes=bytes)
    return Switchboard({}, None, times, None, name="", software="")  # type: ignore[arg-type] # only turns are asked for


def turns(board: Switchboard, *behind: int) -> list[Waiting]:
    sessions = [Waiting(board, one) for one in behind]
    for session in sessions:
        board._on_turn(session, session.behind)  # type: ignore[arg-type] # see above
    return sessions


def test_only_one_session_that_is_far_behind_receives_at_a_time(board: Switchboard) -> None:
    first, second, third = turns(board, 9_000, 9_000, 3)
    assert [first.turns, second.turns, third.turns] == [1, 0, 1]
    first.catches_up()
    assert second.turns == 1


def test_whoever_waits_gets_a_turn_even_if_the_one_before_has_nothing_left_to_catch_up(board: Switchboard) -> None:
    """While the first caught up, the second and the third got nearly everything too: both go on at once."""
    first, second, third, fourth = turns(board, 9_000, 9_000, 9_000, 9_000)
    second.behind = 2
    third.behind = 5_000
    first.catches_up()
    assert [second.turns, third.turns, fourth.turns] == [1, 1, 0]
    third.catches_up()
    assert fourth.turns == 1


def test_a_session_that_ends_while_it_waits_is_forgotten(board: Switchboard) -> None:
    first, second, third = turns(board, 9_000, 9_000, 9_000)
    board._on_end(second)  # type: ignore[arg-type] # see above
    first.catches_up()
    assert [second.turns, third.turns] == [0, 1]


def test_a_session_that_ends_while_it_receives_passes_the_turn_on(board: Switchboard) -> None:
    first, second = turns(board, 9_000, 9_000)
    board._on_end(first)  # type: ignore[arg-type] # see above
    assert second.turns == 1


@in_virtual_time
async def test_a_session_that_is_blocked_passes_the_turn_on() -> None:
    """Else nobody would ever receive again while that link lives."""
    async with Scene(3) as scene:
        await scene.link_all()
        board = scene.devices[0].running.switchboard
        one, other = board.sessions(scene.space(0))
        board._receiving[scene.home.id] = one
        board._waiting[scene.home.id] = [other]
        one._note(Blocked("fork", "two histories", ours=True))
        assert board._receiving.get(scene.home.id) is not one
        assert not board._waiting[scene.home.id]


@in_virtual_time
async def test_whoever_stops_says_goodbye_on_the_links_that_it_dialled(
    log_events: Callable[[], list[dict[str, Any]]],
) -> None:
    """A link whose task is cancelled must not stay open on the other side, as if somebody were there."""
    async with Scene(2) as scene:
        await scene.link_all()
        one, other = (device.running.switchboard.links for device in scene.devices)
        assert one
        assert other
        dialer = 0 if next(iter(one.values())).link.dialed else 1
        await scene.devices[dialer].stop()
        await asyncio.sleep(1)
        left = scene.devices[1 - dialer].running
        assert not left.switchboard.links
        (closed,) = [
            event["cause"] for event in log_events() if event["event"] == "link closed" and "goodbye" in event["cause"]
        ]
        assert closed == "they said goodbye: leaving"


@in_virtual_time
async def test_a_device_that_is_no_longer_wanted_is_let_go() -> None:
    """Dialling gives up a device that has left; the link that it held ends on both sides."""
    async with Scene(2) as scene:
        await scene.link_all()
        dialer = next(d for d in scene.devices if next(iter(d.running.switchboard.links.values())).link.dialed)
        other = scene.devices[1 - dialer.number]
        remover, removed = dialer, other
        await remover.do(lambda: remover.running.spaces.remove(scene.space(remover.number), removed.id))
        await asyncio.sleep(10)
        assert not dialer.running.switchboard.links
        assert not other.running.switchboard.links
        assert not scene.network.links
        view = await scene.view(other.number)
        assert view.state == "removed"
        assert remover.name in view.reason


@in_virtual_time
async def test_a_space_that_is_closed_under_a_link_is_no_trouble_of_the_disk(
    monkeypatch: pytest.MonkeyPatch,
    log_events: Callable[[], list[dict[str, Any]]],
) -> None:
    """Somebody has asked for it: the link begins anew, and nobody is warned."""
    async with Scene(2) as scene:
        await scene.link_all()
        commits = scene.space(1).commits
        ends = iter([StoreClosed("the space is being closed", code="stopping")])
        take = commits.take

        async def closing(*what: Any) -> None:
            for end in ends:
                raise end
            await take(*what)

        monkeypatch.setattr(commits, "take", closing)
        before = len(log_events())
        await scene.put(0, "a", text="hello")
        await scene.until(lambda: scene.clocks_equal() and bool(scene.devices[1].running.switchboard.links))
        assert next(ends, None) is None
        assert [event["event"] for event in log_events()[before:] if event["level"] != "info"] == []
        assert "link closed" in [event["event"] for event in log_events()[before:]]


def test_from_here_on_catching_up_takes_turns() -> None:
    """The number that the tests above stay clear of."""
    assert 5 < switchboard.FAR_BEHIND <= 5_000
