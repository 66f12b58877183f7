"""Two devices that use two relays at once and are linked now and then; and what is said of a relay in each phase."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from peerd.engine.relay.relaying import RelayPlan
from peerd.engine.status import metrics
from peerd.errors import RelayTrouble
from peerd.protocol.control.relays import RelaySync, RelayView
from peerd.protocol.relay.coverage import Coverage, union
from tests.engine.relay.test_relaying import are_equal, arrives
from tests.engine.relay_scene import QUICK, Relayed, Stumbling
from tests.engine.status.test_metrics import parsed

if TYPE_CHECKING:
    from tests.engine.conftest import Device, Until, Wire

NAMES = ("folder", "cloud")
OWN_ONLY = replace(QUICK, foreign_s=(3600.0, 3600.0), lan_s=(3600.0, 3600.0))  # else the two leave the same by chance
WELL = {"idle", "working"}  # it looks again so soon that either may be met
WRITES = ("create", "replace", "delete")


class TwoRelays:
    """What one device has to do with two of them."""

    def __init__(self, device: Device, folder: Path) -> None:
        self.device = device
        self.relayed = Relayed(device, folder)
        self.stores = {name: Stumbling(folder / name) for name in NAMES}
        self.plans = [self._plan(name) for name in NAMES]

    def _plan(self, name: str) -> RelayPlan:
        store = self.stores[name]
        return RelayPlan(name, name, name, ("*",), OWN_ONLY, lambda _: store)

    @property
    def calls(self) -> list[str]:
        return [call for store in self.stores.values() for call in store.calls]


Begin = Callable[["Device"], Awaitable[TwoRelays]]


@pytest.fixture
async def begin(tmp_path: Path) -> AsyncIterator[Begin]:
    for name in NAMES:
        (tmp_path / "both" / name).mkdir(parents=True)
    begun: list[TwoRelays] = []

    async def begin(device: Device) -> TwoRelays:
        begun.append(TwoRelays(device, tmp_path / "both"))
        await begun[-1].relayed.relays.follow(begun[-1].plans)
        return begun[-1]

    yield begin
    for one in begun:
        await one.relayed.stop()


async def runs_of(device: Device) -> list[tuple[bytes, int]]:
    found = await device.space.store.runs_after(0, 1 << 30)
    return [(row.run.origin, row.run.last) for row in found.rows]


async def test_two_relays_and_links_now_and_then_are_quiet_and_exact(
    two: tuple[Device, Device], wire: Wire, until: Until, begin: Begin
) -> None:
    """Every transaction is applied once and left once on each relay, by its author; afterwards there are looks only."""
    desk, laptop = two
    both = [await begin(desk), await begin(laptop)]
    await desk.put("shared", {})
    await arrives(laptop, "shared")
    for turn in range(9):
        if turn % 3 == 1:
            wire.connect(desk, laptop)
            await until(lambda: laptop.id in desk.switchboard.links)
        for device in two:
            await device.put(f"{device.name}{turn}", {"n": turn})
            await device.patch("shared", set={f"{device.name}{turn % 2}": turn})
        if turn % 3 == 2:
            for link in list(desk.switchboard.links.values()):
                await link.leave("test")
            await until(lambda: not desk.switchboard.links and not laptop.switchboard.links)
    for device in two:
        await device.put(f"last of {device.name}", {})
    await are_equal(desk, laptop)
    assert desk.space.copy.digest == laptop.space.copy.digest
    for device in two:
        runs = await runs_of(device)
        assert len(runs) == len(set(runs))
    runners = [runner for one in both for runner in one.relayed.relays._runners.values()]

    def covers() -> list[Coverage]:
        """What the other one's head claims, on each relay, as each device sees it."""
        return [union([head.covers]) for runner in runners for head in runner.heads().values()]

    await until(lambda: len(covers()) == 4 and all(covers()))
    assert all(len(found) == 1 for found in covers()), "each left its own"
    made = sum(one.calls.count("create") for one in both)
    assert made <= 2 * 2 * (9 * 2 + 2), "a change is left once on each relay"
    for one in both:
        for store in one.stores.values():
            store.calls.clear()
    await until(lambda: all(store.calls.count("lookup") >= 8 for one in both for store in one.stores.values()))
    written = [call for one in both for call in one.calls if call in WRITES]
    assert len(written) <= 2 * 2, "the last acknowledgements, and nothing else"


async def told(relayed: Relayed) -> tuple[RelayView, dict[str, float]]:
    """What people are told, and what is measured."""
    (view,) = relayed.relays.views().relays
    device = relayed.device
    text = await metrics.render(device.spaces, device.switchboard, device.statuses, [view])
    samples: dict[Any, float] = parsed(text)
    return view, {name: value for (name, _), value in samples.items() if name.startswith("peerd_relay_")}


async def test_each_phase_of_a_relay_reads_truly(
    two: tuple[Device, Device], tmp_path: Path, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing, waiting, throttled, full, lost, healed."""
    desk, laptop = two
    folder = tmp_path / "stick"
    folder.mkdir()
    ours, theirs = await Relayed(desk, folder).start(), await Relayed(laptop, folder).start()

    async def sync() -> tuple[RelayView, dict[str, float]]:
        await ours.relays.sync(RelaySync())
        return await told(ours)

    async def fails(trouble: RelayTrouble) -> tuple[RelayView, dict[str, float]]:
        async def refuse(*_: object, **__: object) -> None:
            raise trouble

        with monkeypatch.context() as broken:
            broken.setattr(ours.store, "_do", refuse)
            return await sync()

    view, measured = await sync()
    assert (view.code, view.to_send, view.to_fetch, view.findings) == ("", 0, 0, [])
    assert view.state in WELL
    assert measured["peerd_relay_trouble"] == measured["peerd_relay_to_leave_transactions"] == 0

    await desk.put("milk", {"n": 1})
    view, measured = await fails(RelayTrouble("nobody answers", code="relay-unreachable"))
    assert (view.state, view.code, view.to_send) == ("waiting", "relay-unreachable", 1)
    assert measured["peerd_relay_to_leave_transactions"] == 1
    assert measured["peerd_relay_trouble"] == 0

    view, _ = await fails(RelayTrouble("it asks for quiet", code="relay-throttled", retry_s=3600.0))
    assert (view.state, view.code, view.to_send) == ("waiting", "relay-throttled", 1)
    until_ms = view.waits_until_ms or 0
    assert until_ms - desk.clock.wall_ms() > 3_500_000
    view, _ = await sync()
    assert view.code == "relay-throttled"
    assert abs((view.waits_until_ms or 0) - until_ms) < 1_000, "a person does not break it either"
    await ours.stop()
    await theirs.stop()

    ours, theirs = Relayed(desk, tmp_path / "other"), Relayed(laptop, tmp_path / "other")
    (tmp_path / "other").mkdir()
    for one in (ours, theirs):
        one.plan = RelayPlan("folder", "another place", "another", ("*",), QUICK, one._open)
        await one.start()
    await arrives(laptop, "milk")
    view, _ = await sync()
    assert view.code == ""
    assert view.state in WELL

    async def full(_: object) -> None:
        raise RelayTrouble("no room", code="relay-full", next_step="Make room.", lasting=True)

    await desk.put("bread", {"n": 1})
    with monkeypatch.context() as broken:
        broken.setattr(ours.store.folder, "create", full)
        view, measured = await sync()
        assert (view.state, view.code, view.to_send) == ("trouble", "relay-full", 1)
        assert measured["peerd_relay_trouble"] == measured["peerd_relay_to_leave_transactions"] == 1
        await laptop.put("butter", {"n": 1})
        await arrives(desk, "butter")
    view, measured = await sync()
    await arrives(laptop, "bread")
    assert (await told(ours))[0].code == ""

    for path in (tmp_path / "other").iterdir():
        if path.is_dir():
            shutil.rmtree(path)
    view, measured = await sync()
    assert {finding.code for finding in view.findings} == {"relay-rolled-back"}
    assert all(finding.next_step.startswith("Nothing") for finding in view.findings)
    assert measured["peerd_relay_findings"] == len(view.findings)
    await desk.put("jam", {"n": 1})
    await arrives(laptop, "jam")
    await are_equal(desk, laptop)
    view, measured = await sync()
    assert (view.code, view.to_send, view.to_fetch) == ("", 0, 0)
    assert view.state in WELL
    assert measured["peerd_relay_held_bytes"] > 0
    await ours.stop()
    await theirs.stop()
