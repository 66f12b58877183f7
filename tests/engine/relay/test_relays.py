"""Which couriers there are: as the plans say, for the spaces that are open here."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from peerd.engine.relay.relays import Holding
from peerd.errors import RelayTrouble, UserError
from peerd.protocol.control.relays import RelayFinding, RelaySync, RelayView
from tests.engine.conftest import Device, Until
from tests.engine.relay_scene import Relayed, new_stick


@pytest.fixture
async def ours(two: tuple[Device, Device], tmp_path: Path) -> AsyncIterator[Relayed]:
    folder = new_stick(tmp_path)
    one = Relayed(two[0], folder, spaces=("home", "work"))
    yield one
    await one.stop()


async def test_which_spaces_go_through_a_relay_is_the_plans(ours: Relayed) -> None:
    """A space that is not named stays out; a name without a space is told; taken out, the relay stops."""
    await ours.device.spaces.found("private")
    await ours.start()
    views = ours.relays.views().relays
    assert [(view.space, view.state == "trouble") for view in views] == [("home", False), ("work", True)]
    assert "no space 'work'" in views[1].reason
    await ours.relays.follow([replace(ours.plan, spaces=("*",), settings="all")])
    assert [view.space for view in ours.relays.views().relays] == ["home", "private"]
    await ours.relays.follow([])
    assert ours.relays.views().relays == []


async def test_a_space_that_opens_and_closes_takes_its_courier_along(ours: Relayed) -> None:
    await ours.start()
    await ours.device.spaces.found("work")
    await ours.relays.look_again()
    assert all(view.code != "space-not-found" for view in ours.relays.views().relays)
    await ours.device.spaces.forget("work", delete=True)
    await ours.relays.look_again()
    assert [view.code for view in ours.relays.views().relays] == ["", "space-not-found"]


async def test_a_device_that_is_no_member_any_more_leaves_nothing(ours: Relayed, two: tuple[Device, Device]) -> None:
    desk, laptop = two
    await ours.start()
    await laptop.spaces.remove(laptop.space, desk.id)
    await laptop.tell(desk)
    await ours.relays.look_again()
    views = ours.relays.views().relays
    assert [view.code for view in views] == ["removed", "space-not-found"]
    assert views[0].reason == "this device was removed from the space by laptop"
    assert await _nothing_is_written(ours)


async def _nothing_is_written(ours: Relayed) -> bool:
    ours.store.calls.clear()
    await ours.relays.sync(RelaySync())
    return not {"create", "replace", "delete"} & set(ours.store.calls)


async def test_trouble_that_a_person_must_see_to_is_the_spaces(ours: Relayed, until: Until) -> None:
    """What passes by itself is not."""
    await ours.start()
    assert ours.relays.trouble_of(ours.device.space) is None
    ours.folder.chmod(0o500)
    away = ours.folder.with_name("away")
    ours.folder.rename(away)
    await ours.device.put("milk", {"n": 1})
    await until(lambda: ours.relays.views().relays[0].reason)
    view = ours.relays.views().relays[0]
    expected = (f"folder relay: {view.reason}", view.next_step) if view.state == "trouble" else None
    assert ours.relays.trouble_of(ours.device.space) == expected
    away.rename(ours.folder)
    ours.folder.chmod(0o700)


async def test_sync_answers_when_it_is_done_and_check_tries_everything(ours: Relayed) -> None:
    await ours.start()
    await ours.device.put("milk", {"n": 1})
    view = (await ours.relays.sync(RelaySync(relay="folder", space="home"))).relays[0]
    assert (view.state, view.to_send) == ("idle", 0)
    (checked,) = (await ours.relays.check(None)).relays
    assert [(one.check, one.ok) for one in checked.probes] == [
        ("folder", True), ("read", True), ("write", True), ("replace", True), ("remove", True),
    ]  # fmt: skip
    for ask in (ours.relays.sync(RelaySync(relay="cloud")), ours.relays.check("cloud")):
        with pytest.raises(UserError, match="no relay 'cloud'"):
            await ask


@pytest.mark.parametrize("code", ["relay-full", "relay-unreachable"])
async def test_a_relay_that_takes_nothing_is_trouble_until_it_takes_something(
    code: str,
    ours: Relayed,
    until: Until,
    monkeypatch: pytest.MonkeyPatch,
    log_events: Callable[[], list[dict[str, Any]]],
) -> None:
    """That it can be looked at meanwhile is no reason to fall silent."""

    def told() -> list[str]:
        return [event["event"] for event in log_events() if event["event"] in {"relay failed", "relay works again"}]

    async def full(_: object) -> None:
        raise RelayTrouble("no room", code=code, next_step="Make room.")

    await ours.start()
    await ours.relays.sync(RelaySync())
    with monkeypatch.context() as broken:
        broken.setattr(ours.store.folder, "create", full)
        await ours.device.put("milk", {"n": 1})
        await until(lambda: bool(told()))
        ours.store.calls.clear()
        await until(lambda: ours.store.calls.count("lookup") > 5)
        view = ours.relays.views().relays[0]
        assert (view.state, view.code, view.to_send) == ("trouble", code, 1)
        assert told() == ["relay failed"]
    await ours.relays.sync(RelaySync())
    await until(lambda: ours.relays.views().relays[0].to_send == 0)
    assert ours.relays.views().relays[0].code == ""
    assert told() == ["relay failed", "relay works again"]


async def test_a_folder_that_went_back_twice_says_when_all_is_left_anew(
    ours: Relayed, tmp_path: Path, until: Until
) -> None:
    """The second new stream waits; meanwhile nothing is left there, and that is not called idle."""
    await ours.start()
    await ours.relays.sync(RelaySync())
    shutil.copytree(ours.folder, tmp_path / "saved")
    for turn in range(2):
        await ours.device.put("milk", {"n": turn})
        await until(lambda: (ours.relays.views().relays[0].state, ours.relays.views().relays[0].to_send) == ("idle", 0))
        shutil.rmtree(ours.folder)
        shutil.copytree(tmp_path / "saved", ours.folder)
        if not turn:
            await ours.relays.sync(RelaySync())
            assert ours.relays.views().relays[0].code == ""
    await until(lambda: ours.relays.views().relays[0].code)
    view = ours.relays.views().relays[0]
    assert (view.state, view.code) == ("waiting", "relay-rolled-back")
    assert view.waits_until_ms is not None
    assert "left anew" in view.reason
    assert view.next_step
    assert ours.relays.trouble_of(ours.device.space) is None
    await ours.relays.sync(RelaySync())
    view = ours.relays.views().relays[0]
    assert (view.state, view.code, view.to_send) == ("idle", "", 0)


async def test_a_copy_that_writes_as_this_device_is_the_spaces_trouble(
    ours: Relayed, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ours.start()
    await ours.relays.sync(RelaySync())
    found = RelayFinding(code="relay-cloned", text="somebody else writes heads as this device")
    view = RelayView(relay="folder", space="home", state="idle", findings=[found])
    monkeypatch.setattr("peerd.engine.relay.relays.view_of", lambda _: view)
    cause, step = ours.relays.trouble_of(ours.device.space) or ("", "")
    assert "somebody else writes" in cause
    assert "A cloned machine" in step


async def test_a_sync_answers_of_what_it_was_asked_for(ours: Relayed) -> None:
    await ours.start()
    views = (await ours.relays.sync(RelaySync(relay="folder", space="home"))).relays
    assert [view.space for view in views] == ["home"]
    assert len((await ours.relays.sync(RelaySync())).relays) == 2


async def test_what_every_relay_of_a_space_holds_is_told_with_how_long_it_fails(ours: Relayed, until: Until) -> None:
    desk = ours.device
    assert ours.relays.holdings(desk.space) == []
    await ours.start()
    await desk.put("milk", {"n": 1})
    await ours.relays.sync(RelaySync())
    assert ours.relays.holdings(desk.space) == [Holding("folder", desk.clock_now(), 0.0)]
    ours.store.mishaps = [("lookup", False)] * 1000
    await until(lambda: ours.relays.holdings(desk.space)[0].failing_s > 0)
    await desk.spaces.found("private")
    (private,) = (space for space in desk.spaces.by_id.values() if space.name == "private")
    assert ours.relays.holdings(private) == []
