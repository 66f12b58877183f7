"""Who may catch up from whom, and for how long."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from peerd.engine.links import turns
from peerd.engine.links.turns import Turns
from peerd.protocol.effects import Blocked
from tests.network_simulation.scene import Scene
from tests.network_simulation.virtual_loop import in_virtual_time

SPACE = b"s" * 16


class Waiting:
    """A session that is `behind` and catches up when it is told to."""

    def __init__(self, board: Turns, behind: int) -> None:
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
        self._board.pass_on(self)  # type: ignore[arg-type] # it has what the switchboard asks of a session


@pytest.fixture
def board() -> Turns:
    return Turns()


def sessions(board: Turns, *behind: int) -> list[Waiting]:
    made = [Waiting(board, one) for one in behind]
    for session in made:
        board.wanted(session, session.behind)  # type: ignore[arg-type] # see above
    return made


async def test_only_one_session_that_is_far_behind_receives_at_a_time(board: Turns) -> None:
    first, second, third = sessions(board, 9_000, 9_000, 3)
    assert [first.turns, second.turns, third.turns] == [1, 0, 1]
    first.catches_up()
    assert second.turns == 1


async def test_whoever_waits_gets_a_turn_even_if_the_one_before_has_nothing_left_to_catch_up(board: Turns) -> None:
    """While the first caught up, the second and the third got nearly everything too: both go on at once."""
    first, second, third, fourth = sessions(board, 9_000, 9_000, 9_000, 9_000)
    second.behind = 2
    third.behind = 5_000
    first.catches_up()
    assert [second.turns, third.turns, fourth.turns] == [1, 1, 0]
    third.catches_up()
    assert fourth.turns == 1


async def test_a_session_that_ends_while_it_waits_is_forgotten(board: Turns) -> None:
    first, second, third = sessions(board, 9_000, 9_000, 9_000)
    board.pass_on(second)  # type: ignore[arg-type] # see above
    first.catches_up()
    assert [second.turns, third.turns] == [0, 1]


async def test_a_session_that_ends_while_it_receives_passes_the_turn_on(board: Turns) -> None:
    first, second = sessions(board, 9_000, 9_000)
    board.pass_on(first)  # type: ignore[arg-type] # see above
    assert second.turns == 1


@in_virtual_time
async def test_a_session_that_is_blocked_passes_the_turn_on() -> None:
    """Else nobody would ever receive again while that link lives."""
    async with Scene(3) as scene:
        await scene.link_all()
        board = scene.devices[0].running.switchboard.turns
        one, other = scene.devices[0].running.switchboard.sessions(scene.space(0))
        board.receiving[scene.home.id] = one
        board.waiting[scene.home.id] = [other]
        one._note(Blocked("fork", "two histories", ours=True))
        assert board.receiving.get(scene.home.id) is not one
        assert not board.waiting[scene.home.id]


@in_virtual_time
async def test_who_brings_nothing_keeps_the_others_waiting_for_some_minutes_only() -> None:
    """How far we are behind is what the other side says. With nobody waiting it goes on."""
    board = Turns()
    (first,) = sessions(board, 1 << 60)
    await asyncio.sleep(1.5 * turns.TURN_S)
    second, third = sessions(board, 9_000, 9_000)
    assert [first.turns, second.turns, third.turns] == [1, 0, 0]
    await asyncio.sleep(turns.TURN_S)
    assert [first.turns, second.turns, third.turns] == [1, 1, 0]
    await asyncio.sleep(turns.TURN_S)
    assert [first.turns, second.turns, third.turns] == [1, 1, 1]
    board.forget(SPACE)
    assert (board.receiving, board.waiting) == ({}, {})


@in_virtual_time
async def test_a_turn_that_is_taken_twice_ends_once() -> None:
    """Else the end of an earlier one would take who waits for another one out of the row."""
    board = Turns()
    (first,) = sessions(board, 9_000)
    await asyncio.sleep(0.5 * turns.TURN_S)
    board.wanted(first, first.behind)  # type: ignore[arg-type] # see above
    board.pass_on(first)  # type: ignore[arg-type] # see above
    (second,) = sessions(board, 9_000)
    board.wanted(first, first.behind)  # type: ignore[arg-type] # see above
    assert [first.turns, second.turns] == [2, 1]
    await asyncio.sleep(0.75 * turns.TURN_S)
    assert board.waiting[SPACE] == [first]  # type: ignore[comparison-overlap] # see above
    await asyncio.sleep(0.5 * turns.TURN_S)
    assert first.turns == 3
    board.forget(SPACE)
