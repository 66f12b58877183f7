"""Which couriers there are: as the plans say, for the spaces that are open here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from peerd.errors import UserError
from peerd.protocol.control_relays import RelaySync
from tests.engine.conftest import Device, Until
from tests.engine.relay_scene import Relayed


@pytest.fixture
async def ours(two: tuple[Device, Device], tmp_path: Path) -> AsyncIterator[Relayed]:
    folder = tmp_path / "stick"
    folder.mkdir()
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
    assert [view.code for view in ours.relays.views().relays] == ["removed", "space-not-found"]
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
