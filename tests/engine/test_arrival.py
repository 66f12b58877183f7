"""How many origins a copy takes in: none can make it grow without end, nor one beyond what the others can follow."""

from __future__ import annotations

from typing import Any

import pytest

from peerd.core import chain
from peerd.core.chain import Run
from peerd.core.origin import Announcement, origin_of
from peerd.core.roster.statements import FINALS
from peerd.engine import arrival, staging
from peerd.errors import LinkLost
from tests.engine.conftest import MakeDevice
from tests.engine.test_staging import announced, runs_of


async def _lives(device: Any, count: int, *, first: int = 1) -> list[tuple[Announcement, Run]]:
    """What the device wrote in so many lives of its copy: the same each time."""
    (old,) = await runs_of(device)
    space = device.space
    found = []
    for number in range(count):
        life = Announcement(device.id, space.roster.members[device.id].admission, (number + 1).to_bytes(16, "big"))
        origin = origin_of(space.id, life)
        head = chain.hash_after(chain.first_hash(space.id, device.id, origin), old.entries)
        signature = device.keys.sign(chain.signed_bytes(space.id, origin, first, head))
        found.append((life, Run(origin, first, old.entries, signature)))
    return found


async def _bring(to: Any, lives: list[tuple[Announcement, Run]], *bringers: bytes) -> None:
    for life, run in lives:
        await to.space.commits.take([life], [run], None, bringers)


async def test_a_device_hands_on_so_many_origins_of_its_own(
    two: Any, make: MakeDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one copy has taken in of it all others take from that one: else they could not follow it."""
    desk, laptop = two
    attic = make("attic")
    await desk.admit(attic)
    await desk.put("one", {"n": 1})
    lives = await _lives(desk, 4)
    monkeypatch.setattr(arrival, "ORIGINS_BROUGHT", 2)
    await _bring(laptop, lives, desk.id)
    assert [laptop.space.copy.seq(run.origin) for _, run in lives] == [1, 1, 0, 0]
    await _bring(attic, lives[2:], desk.id)
    await _bring(attic, lives[:2], laptop.id)
    assert [attic.space.copy.seq(run.origin) for _, run in lives] == [1, 1, 1, 1]
    await _bring(laptop, lives[2:], attic.id)
    assert laptop.space.copy.clock() == attic.space.copy.clock()


async def test_no_space_has_more_origins_than_a_clock(two: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever brings them: nobody could say any more where it stands. The others go on."""
    desk, laptop = two
    await desk.put("one", {"n": 1})
    lives = await _lives(desk, 3)
    monkeypatch.setattr(arrival, "CONTEXT_ORIGINS", 2)
    await _bring(laptop, lives, laptop.id)
    assert [laptop.space.copy.seq(run.origin) for _, run in lives] == [1, 1, 0]


async def test_a_run_that_waited_is_no_way_round(two: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have come by its author."""
    desk, laptop = two
    await desk.put("one", {"n": 1})
    lives = await _lives(desk, 2)
    ((life, begins), *_) = lives
    later = chain.hash_after(chain.first_hash(desk.space.id, desk.id, begins.origin), begins.entries * 2)
    signature = desk.keys.sign(chain.signed_bytes(desk.space.id, begins.origin, 2, later))
    await laptop.space.commits.take([life], [Run(begins.origin, 2, begins.entries, signature)], None, (desk.id,))
    assert len(laptop.space.commits.staging) == 1
    await _bring(laptop, lives[1:], desk.id)
    monkeypatch.setattr(arrival, "ORIGINS_BROUGHT", 1)
    await _bring(laptop, lives[:1], desk.id)
    assert laptop.space.copy.seq(begins.origin) == 0


async def test_of_new_origins_that_wait_so_many_are_remembered(two: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anybody can make them up, for any member. The link ends, and what can be applied was."""
    desk, laptop = two
    await desk.put("one", {"n": 1})
    waiting = await _lives(desk, 3, first=7)
    monkeypatch.setattr(arrival, "ORIGINS_WAITING", 2)
    everything = [*announced(desk), *(life for life, _ in waiting)]
    with pytest.raises(LinkLost) as lost:
        await laptop.space.commits.take(everything, [*(run for _, run in waiting), *await runs_of(desk)])
    assert lost.value.code == "staging-full"
    assert laptop.space.copy.clock() == desk.space.copy.clock()
    laptop = await laptop.reopen()
    assert len(laptop.space.copy.origins) == 3
    assert len(laptop.space.commits.staging) == 2


async def test_so_many_runs_wait(two: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """However small they are."""
    desk, laptop = two
    for number in range(4):
        await desk.put(f"note {number}", {})
    _, *later = await runs_of(desk)
    monkeypatch.setattr(staging, "STAGING_RUNS", 2)
    with pytest.raises(LinkLost):
        await laptop.space.commits.take(announced(desk), later)
    assert len(laptop.space.commits.staging) == 2


async def test_however_many_origins_a_device_has_it_can_be_removed(two: Any) -> None:
    """Also more than a statement can name: the remover vouches for what it has of the others, in the same step."""
    desk, laptop = two
    await desk.put("one", {"n": 1})
    lives = await _lives(desk, FINALS + 6)
    await laptop.space.commits.take([life for life, _ in lives], [run for _, run in lives], None, (laptop.id,))
    await laptop.spaces.remove(laptop.space, desk.id)
    roster = laptop.space.roster
    assert not roster.is_member(desk.id)
    assert {roster.limit(life) for life, _ in lives} == {1}
