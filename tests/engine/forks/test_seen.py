"""What was seen of the copies of others, and for how long that counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from peerd.engine.forks.forks import ForkSeen
from tests.engine.forks.test_forks import forked, linked_until, meet

if TYPE_CHECKING:
    from tests.engine.conftest import Device, MakeDevice, Until, Wire


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peerd.engine.forks.fork_talk.AGAIN_S", 0.2)


async def test_what_was_seen_of_others_is_not_shown_for_ever(
    desk: Device, make: MakeDevice, wire: Wire, until: Until
) -> None:
    """Not of who was removed, nor of the copy before ours."""
    laptop, third, fourth = (make(name) for name in ("laptop", "third", "fourth"))
    await desk.admit(laptop, third, fourth)
    laptop = await forked(desk, laptop, third, fourth)
    await desk.tell(third)
    await laptop.tell(fourth)
    wire.connect(desk, laptop)
    await until(lambda: desk.space.forks.views() or laptop.space.forks.views())
    holders = (desk, laptop)
    (origin,) = third.clock_now()
    for holder in holders:
        for away in (third, fourth):
            holder.space.forks.saw(ForkSeen(away.id, origin, 4, b"", b"", doubtful=True))
    await linked_until(until, meet(wire, *holders), lambda: any((one.folder / "set-aside").exists() for one in holders))
    await until(lambda: desk.space.recopying.pending is None and laptop.space.recopying.pending is None)
    changed = next(one for one in holders if (one.folder / "set-aside").exists())
    assert {view.peer_name for view in changed.space.forks.views()} <= {"desk", "laptop"}
    kept = next(one for one in holders if one is not changed)
    assert {view.peer_name for view in kept.space.forks.views()} >= {"third", "fourth"}
    await kept.spaces.remove(kept.space, third.id)
    assert "third" not in {view.peer_name for view in kept.space.forks.views()}
    assert "fourth" in {view.peer_name for view in kept.space.forks.views()}
