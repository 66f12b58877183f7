"""A space that its disk stopped goes on by itself, and says until then when it is tried again."""

from __future__ import annotations

import errno
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest

from peerd.engine.commits import Commits
from peerd.engine.upkeep.reopening import Reopening
from peerd.errors import DiskFull, PeerdError, StoreDamaged, StoreError
from peerd.store import database

if TYPE_CHECKING:
    from tests.engine.conftest import Device, Hands, MakeDevice, Until, Wire


def reopening(device: Device) -> Reopening:
    one = Reopening(device.spaces, device.clock)
    device.statuses.spaces.retry = one.view
    return one


async def state(device: Device) -> tuple[str, int | None, float | None]:
    """State of the only space, how often it was tried, and when it is again."""
    (view,) = (await device.statuses.status()).spaces
    return view.state, *((None, None) if view.retry is None else (view.retry.tries, view.retry.in_s))


def failing(*_: object) -> Any:
    problem = sqlite3.OperationalError("disk I/O error")
    problem.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
    raise problem


async def test_a_space_that_found_no_room_is_opened_when_there_is_some(
    desk: Device, clock: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After longer and longer, up to a minute; each time that is due, and only then."""
    again = reopening(desk)
    space = desk.space
    await desk.put("a", {"x": 1})
    await again.look()
    assert await state(desk) == ("alone", None, None)
    await desk.spaces._end(space)
    desk.shelf.lay_down(space.id, "home", DiskFull("no space left"), unsynced=False)

    async def full(*_: object) -> None:
        raise DiskFull("no space left")

    with monkeypatch.context() as patched:
        patched.setattr(desk.shelf, "_open", full)
        for tries, in_s in enumerate((20.0, 40.0, 60.0, 60.0), start=1):
            await again.look()
            await again.look()
            assert await state(desk) == ("failed", tries, in_s)
            clock.pass_s(in_s)
    await again.look()
    assert await state(desk) == ("alone", None, None)
    assert await desk.value("a") == {"x": 1}


async def test_a_space_whose_disk_takes_no_writes_goes_on_when_it_does(
    desk: Device, clock: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stays open, and is read."""
    again = reopening(desk)
    space = desk.space
    await desk.put("a", {"x": 1})

    def full(*_: object) -> Any:
        problem = sqlite3.OperationalError("database or disk is full")
        problem.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise problem

    with monkeypatch.context() as patched:
        patched.setattr(database, "committed", full)
        with pytest.raises(DiskFull):
            await desk.put("b", {"x": 1})
        await again.look()
        assert await state(desk) == ("stopped", 1, 20.0)
        assert await desk.value("a") == {"x": 1}
    clock.pass_s(20)
    await again.look()
    assert await state(desk) == ("alone", None, None)
    assert desk.space is space


@pytest.mark.parametrize("threaded", [True, False])
async def test_a_space_whose_sync_failed_is_opened_anew(
    make: MakeDevice, wire: Wire, clock: Hands, until: Until, monkeypatch: pytest.MonkeyPatch, *, threaded: bool
) -> None:
    """With what was acknowledged, and without what was not; under the same origin, and linked as before."""
    desk, laptop = make("desk", threaded=threaded), make("laptop")
    await desk.spaces.found("home")
    await desk.admit(laptop)
    wire.connect(desk, laptop)
    again = reopening(desk)
    await desk.put("a", {"x": 1})
    await until(lambda: laptop.clock_now() == desk.clock_now())
    before, copy_id, origin = desk.space, desk.space.copy_id, desk.space.commits.own_origin
    with monkeypatch.context() as patched:
        patched.setattr(database, "committed", failing)
        with pytest.raises(StoreError, match="The disk failed"):
            await desk.put("b", {"x": 1})
        await again.look()
        assert await state(desk) == ("stopped", 1, 20.0)
        assert await desk.value("a") == {"x": 1}
    with pytest.raises(StoreError, match="The disk failed"):
        await desk.put("b", {"x": 1})
    clock.pass_s(20)
    await again.look()
    assert desk.space is not before
    await desk.put("c", {"x": 1})
    assert (desk.space.copy_id, desk.space.commits.own_origin) == (copy_id, origin)
    await until(lambda: laptop.clock_now() == desk.clock_now())
    assert await laptop.value("c") == {"x": 1}
    with pytest.raises(PeerdError):
        await laptop.value("b")
    assert (await state(desk))[1:] == (None, None)


async def test_a_space_that_cannot_be_opened_anew_waits(
    desk: Device, clock: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is listed as failed, with the reason, and taken up later."""
    again = reopening(desk)
    await desk.put("a", {"x": 1})
    store: Any = desk.space.store
    store._database._lost(OSError(errno.EIO, "Input/output error"))

    async def broken(*_: object) -> None:
        raise StoreError("The disk failed")

    with monkeypatch.context() as patched:
        patched.setattr(desk.shelf, "_open", broken)
        await again.look()
        assert await state(desk) == ("failed", 1, 20.0)
    clock.pass_s(20)
    await again.look()
    assert await state(desk) == ("alone", None, None)
    assert await desk.value("a") == {"x": 1}


async def test_a_space_that_cannot_be_read_at_the_start_stops_no_other(
    desk: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is listed with the reason, and left to people if it is damaged."""
    await desk.spaces.found("work")
    opened = Commits.open

    async def damaged(commits: Commits) -> None:
        store: Any = commits._store
        if store.opened.name == "work":
            raise StoreDamaged("a page is not what it was")
        await opened(commits)

    with monkeypatch.context() as patched:
        patched.setattr(Commits, "open", damaged)
        again = await desk.reopen()
        assert list(again.spaces.failed) == ["work"]
        await again.put("a", {"x": 1})
        looking = reopening(again)
        await looking.look()
        views = {view.name: (view.state, view.retry) for view in (await again.statuses.status()).spaces}
        assert views == {"home": ("alone", None), "work": ("failed", None)}
    await again.spaces.open_again("work")
    assert {space.name for space in again.spaces.by_id.values()} == {"home", "work"}
