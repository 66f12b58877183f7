"""A copy was set back, its mark with it, and wrote before it looked at the relay: found and named there, and healed as
soon as there is a link.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.engine.forks.test_forks import check_values, forked, heal, keys, peer
from tests.engine.relay.test_relaying import are_equal, arrives
from tests.engine.relay_scene import Relayed, new_stick

if TYPE_CHECKING:
    from tests.engine.conftest import Device, Until, Wire

Begin = Callable[["Device"], Awaitable[Relayed]]


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in `test_forks`."""
    monkeypatch.setattr("peerd.engine.forks.fork_talk.AGAIN_S", 0.2)


@pytest.fixture
async def relay(tmp_path: Path) -> AsyncIterator[Begin]:
    """Call it with a device: from then on it uses the folder, and says so in its status."""
    folder, begun = new_stick(tmp_path), []

    async def begin(device: Device) -> Relayed:
        begun.append(await Relayed(device, folder).start())
        device.statuses.relays = begun[-1].relays
        return begun[-1]

    yield begin
    for one in begun:
        await one.stop()


async def parted(desk: Device, until: Until) -> None:
    for link in list(desk.switchboard.links.values()):
        await link.leave("test")
    await until(lambda: not desk.switchboard.links)


async def test_it_is_found_and_named_on_a_relay_and_healed_over_a_link(
    two: tuple[Device, Device], wire: Wire, until: Until, relay: Begin
) -> None:
    """Until then either keeps what it has, and afterwards the relay goes on."""
    desk, laptop = two
    laptop = await forked(desk, laptop)
    ours, theirs = await keys(desk), await keys(laptop)
    relays = [await relay(desk), await relay(laptop)]
    await until(lambda: desk.space.forks.views() and laptop.space.forks.views())
    (view,), (other,) = desk.space.forks.views(), laptop.space.forks.views()
    assert (view.device_name, view.peer_name, other.peer_name) == ("laptop", "laptop", "desk")
    assert (view.origin, view.seq) == (other.origin, other.seq)
    assert "" not in {view.ours, view.theirs}
    await desk.put("milk", {"n": 1})
    for one, name, device in ((desk, "laptop", laptop), (laptop, "desk", desk)):
        status = peer(one, device)
        assert status.state == "blocked"
        assert "two histories of laptop at" in status.reason
        assert "one network" in status.next_step
        space = await one.statuses.spaces.view(one.space)
        assert (space.state, space.next_step) == ("degraded", status.next_step)
        (relayed,) = relays[one is laptop].relays.views().relays
        assert [(finding.code, finding.name) for finding in relayed.findings] == [("fork", name)]
    assert await keys(desk) == {*ours, "milk"}
    assert await keys(laptop) == theirs
    await heal(until, wire, desk, laptop)
    await check_values(desk, laptop, still={"milk"})
    await parted(desk, until)
    await desk.put("bread", {"n": 2})
    await laptop.put("butter", {"n": 3})
    await arrives(desk, "butter")
    await are_equal(desk, laptop)
    assert "bread" in await keys(laptop)
    await until(lambda: not desk.space.forks.views() and not laptop.space.forks.views())
    for one, device in ((desk, laptop), (laptop, desk)):
        assert peer(one, device).state == "relayed"
        assert (await one.statuses.spaces.view(one.space)).state in {"in sync", "syncing"}
    for relayed_device in relays:
        (relayed,) = relayed_device.relays.views().relays
        assert relayed.findings == []
