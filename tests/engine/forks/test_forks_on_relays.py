"""A copy was set back, its mark with it. What it lost comes back from the relay; if it wrote before it looked there,
that is found, named and healed, with a link or without one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from peerd.engine.forks.forks import ForkSeen
from peerd.engine.relay.fork_talk import RelayForkTalk
from peerd.engine.relay.sealed_relay import SealedRelay
from peerd.protocol.control.relays import RelaySync
from peerd.protocol.relay.courier_settings import CourierSettings
from peerd.protocol.relay.objects import Head
from tests.engine.forks.test_forks import (
    check_values,
    forget,
    forked,
    goes_on_until_healed,
    heal,
    keys,
    past_of,
    peer,
    set_back,
)
from tests.engine.forks.test_old_partings import trim
from tests.engine.relay.test_relaying import are_equal, arrives
from tests.engine.relay_scene import QUICK, Relayed, new_stick

if TYPE_CHECKING:
    from tests.engine.conftest import Device, MakeDevice, Until, Wire

Begin = Callable[..., Awaitable[Relayed]]
SELDOM = replace(QUICK, foreign_s=(3600.0, 3600.0))  # no snapshot is left so soon


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in `test_forks`."""
    monkeypatch.setattr("peerd.engine.forks.fork_talk.AGAIN_S", 0.2)


@pytest.fixture
async def relay(tmp_path: Path) -> AsyncIterator[Begin]:
    """Call it with a device: from then on it uses the folder, and says so in its status."""
    folder, begun = new_stick(tmp_path), []

    async def begin(device: Device, courier: CourierSettings = QUICK) -> Relayed:
        begun.append(await Relayed(device, folder, courier=courier).start())
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
    relays = [await relay(desk, SELDOM), await relay(laptop, SELDOM)]
    await until(lambda: desk.space.forks.views() and laptop.space.forks.views())
    (view,), (other,) = desk.space.forks.views(), laptop.space.forks.views()
    assert (view.device_name, view.peer_name, other.peer_name) == ("laptop", "laptop", "desk")
    assert view.origin == other.origin
    assert "" not in {view.ours, view.theirs}
    await desk.put("milk", {"n": 1})
    for one, name, device in ((desk, "laptop", laptop), (laptop, "desk", desk)):
        status = peer(one, device)
        assert status.state == "blocked"
        assert "two histories of laptop a" in status.reason  # at the one that was seen, or after the last common one
        assert "settles it by itself" in status.next_step
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


async def test_a_relay_alone_heals_it(
    two: tuple[Device, Device], until: Until, relay: Begin, log_events: Callable[[], list[dict[str, Any]]]
) -> None:
    """The other one has taken the first life. Each value of either side is there, and it goes on."""
    desk, laptop = two
    relays = [await relay(desk)]
    laptop = await forked(desk, laptop)
    relays.append(await relay(laptop))
    await goes_on_until_healed(desk, laptop)
    await check_values(desk, laptop)
    said = [event["event"] for event in log_events()]
    assert {"fork found", "fork closed", "copy set aside", "old copy taken in"} <= set(said)
    assert said.count("copy set aside") == 1
    await laptop.put("later", {"text": "goes on"})
    await arrives(desk, "later")
    await desk.put("bread", {"n": 2})
    await arrives(laptop, "bread")
    (fork,) = desk.space.roster.closed_forks
    assert laptop.space.commits.own_origin != fork.origin
    for one in relays:
        (view,) = one.relays.views().relays
        assert view.findings == []


async def test_everybody_converges_whichever_side_they_hold(desk: Device, make: MakeDevice, relay: Begin) -> None:
    """A third and a fourth that hold one variant each, and wrote on it; and a fifth that has neither."""
    laptop, third, fourth, fifth = (make(name) for name in ("laptop", "third", "fourth", "fifth"))
    await desk.admit(laptop, third, fourth, fifth)
    laptop = await forked(desk, laptop, third, fourth, fifth)
    await desk.tell(third)
    await laptop.tell(fourth)
    await third.put("by the third", {"n": 3})
    await fourth.put("by the fourth", {"n": 4})
    await fourth.patch("second", set={"more": 4})
    everybody = (desk, laptop, third, fourth, fifth)
    for one in everybody:
        await relay(one)
    await goes_on_until_healed(*everybody)
    await check_values(*everybody, still={"by the third", "by the fourth"})
    for device in everybody:
        assert (await device.value("second"))["more"] == 4


async def test_what_a_copy_lost_comes_back_and_is_written_to_under_another_origin(
    two: tuple[Device, Device], until: Until, relay: Begin
) -> None:
    """It was set back and wrote nothing before it looked; nobody but the relay has what it lost."""
    desk, laptop = two
    await laptop.put("common", {"n": 0})
    await laptop.tell(desk)
    past, laptop = await past_of(laptop)
    first = await relay(laptop)
    for number in range(3):
        await laptop.put(f"lost{number}", {"n": number})
    await first.relays.sync(RelaySync())
    before = laptop.space.commits.own_origin
    await first.stop()
    laptop = await set_back(laptop, past)
    assert await keys(laptop) == {"common"}
    await relay(laptop)
    await arrives(laptop, "lost2")
    await laptop.put("after", {"n": 1})
    assert laptop.space.commits.own_origin != before
    await relay(desk)
    await arrives(desk, "after")
    await are_equal(desk, laptop)
    assert await keys(desk) == {"common", "lost0", "lost1", "lost2", "after"}
    assert not desk.space.roster.closed_forks


async def test_what_a_link_found_and_left_open_a_relay_settles(two: tuple[Device, Device], relay: Begin) -> None:
    """It ended too soon. The side that stands hears from the other one's head alone that it is over."""
    desk, laptop = two
    laptop = await forked(desk, laptop)
    (origin,) = desk.clock_now()
    for one, other in ((desk, laptop), (laptop, desk)):
        one.space.forks.saw(ForkSeen(other.id, origin, one.clock_now()[origin], b"", b""))
    relays = [await relay(desk), await relay(laptop)]
    await goes_on_until_healed(desk, laptop)
    await check_values(desk, laptop)
    for relayed in relays:
        (view,) = relayed.relays.views().relays
        assert view.findings == []


@pytest.mark.parametrize("doubtful", [False, True])
async def test_a_head_of_before_does_not_speak_against_what_a_link_found(
    two: tuple[Device, Device], *, doubtful: bool
) -> None:
    """It may be of a copy that was set back since. One of afterwards tells that it is over."""
    desk, laptop = two
    await desk.put("common", {"n": 0})
    (origin,) = desk.clock_now()
    talk = RelayForkTalk(desk.space, "stick")
    head = Head(7, 0, bytes(16), 1, bytes(32), positions=desk.space.copy.positions())
    await talk.consider({laptop.id: head})
    desk.space.forks.saw(ForkSeen(laptop.id, origin, 1, b"ours", b"theirs", doubtful=doubtful))
    for again, there in ((head, True), (replace(head, counter=8), False)):
        await talk.consider({laptop.id: again})
        assert bool(desk.space.forks.seen()) is there


@pytest.mark.parametrize("sides", [1, 2], ids=["on one side", "on either side"])
async def test_whoever_is_away_keeps_nobody_from_settling_it(
    desk: Device, make: MakeDevice, relay: Begin, monkeypatch: pytest.MonkeyPatch, sides: int
) -> None:
    """More hold the other history than can be talked to at once, and all but one left their heads and are gone."""
    monkeypatch.setattr("peerd.engine.relay.fork_talk.TALKS", 2)
    one_side = sorted([desk, *(make(f"a{number}") for number in range(2))], key=lambda device: device.id)
    laptop, *other_side = (make(name) for name in ("laptop", "b0", "b1")[: 1 + 2 * (sides - 1)])
    away, here = [*one_side[:-1], *other_side], one_side[-1]  # the heads of those away come first
    await desk.admit(*(device for device in (*one_side, laptop, *other_side) if device is not desk))
    laptop = await forked(desk, laptop)
    for device in away:
        await (laptop if device in other_side else desk).tell(device)
    await desk.tell(here)
    for device in away:
        begun = await relay(device)
        await begun.relays.sync(RelaySync())
        await begun.stop()
    await relay(here)
    await relay(laptop)
    await goes_on_until_healed(here, laptop)
    await check_values(here, laptop)


@pytest.mark.parametrize(("first", "second"), [(4, 2), (2, 4), (3, 3)])
async def test_what_an_earlier_life_left_stays_until_somebody_has_it(
    two: tuple[Device, Device], until: Until, relay: Begin, first: int, second: int
) -> None:
    """It left something that nobody took, was set back, and wrote before it looked: what it left is not written over,
    and a person is told what is missing. When the other one comes, both have all of it.
    """
    desk, laptop = two
    await laptop.put("common", {"n": 0})
    await laptop.tell(desk)
    past, laptop = await past_of(laptop)
    earlier = await relay(laptop)
    for number in range(first):
        await laptop.put(f"first{number}", {"n": number})
    await earlier.relays.sync(RelaySync())
    await earlier.stop()
    laptop = await set_back(laptop, past)
    for number in range(second):
        await laptop.put(f"second{number}", {"n": number})
    later = await relay(laptop)

    def waits() -> bool:
        (view,) = later.relays.views().relays
        return (view.state, view.code) == ("trouble", "fork")

    await until(waits)
    await later.relays.sync(RelaySync())
    (view,) = later.relays.views().relays
    assert "was set back" in view.reason
    assert "another device" in view.next_step
    assert [(finding.code, finding.name) for finding in view.findings] == [("fork", "laptop")]
    assert (await laptop.statuses.spaces.view(laptop.space)).state == "degraded"
    await relay(desk)
    await goes_on_until_healed(desk, laptop)
    names = {f"first{number}" for number in range(first)} | {f"second{number}" for number in range(second)}
    for device in (desk, laptop):
        assert await keys(device) == {"common", *names}
    (view,) = later.relays.views().relays
    assert (view.code, view.findings) == ("", [])
    assert (await laptop.statuses.spaces.view(laptop.space)).state in {"in sync", "syncing"}


async def test_where_the_log_is_gone_it_says_that_a_link_is_needed(
    two: tuple[Device, Device], until: Until, relay: Begin
) -> None:
    """Both have said all that they know, and that does not tell where the two part."""
    desk, laptop = two
    laptop = await forked(desk, laptop)
    for device in (desk, laptop):
        forget(device)
    for device in (desk, laptop):
        await relay(device)
    await until(lambda: all("one network" in peer(*pair).next_step for pair in ((desk, laptop), (laptop, desk))))
    assert not desk.space.roster.closed_forks


async def test_doubt_ends_by_a_relay_alone(two: tuple[Device, Device], until: Until, relay: Begin) -> None:
    """The desk cannot tell whose history the laptop had seen, and the laptop has nothing to go on with. A person need
    not wait until it goes over by itself.
    """
    desk, laptop = two
    for number in range(3):
        await desk.put(f"note {number}", {"n": number})
    await desk.tell(laptop)
    await desk.put("more", {"n": 4})
    await laptop.patch("note 1", set={"n": 11})
    await trim(desk)
    settings = replace(QUICK, snapshots=True)
    relays = [await relay(desk, settings), await relay(laptop, settings)]
    await until(lambda: peer(desk, laptop).state == "blocked")
    status = peer(desk, laptop)
    assert "perhaps two histories of desk" in status.reason
    assert "settles it by itself" in status.next_step
    assert "relay sync" in status.next_step
    for one in relays:
        await one.relays.sync(RelaySync())
    await goes_on_until_healed(desk, laptop)
    for device in (desk, laptop):
        assert await keys(device) == {"note 0", "note 1", "note 2", "more"}
        assert await device.value("note 1") in ({"n": 1}, {"n": 11})
    assert peer(desk, laptop).state == "relayed"


async def test_what_was_refused_in_doubt_is_taken_as_soon_as_that_ends(
    two: tuple[Device, Device], until: Until, relay: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The laptop left something before it took what lies there of the desk, and the log of that time is gone."""
    desk, laptop = two
    for number in range(3):
        await desk.put(f"note {number}", {"n": number})
    await desk.tell(laptop)
    await desk.put("more", {"n": 4})
    await laptop.patch("note 1", set={"n": 11})
    for device in (desk, laptop):
        begun = await relay(device)
        with monkeypatch.context() as patched:
            patched.setattr(SealedRelay, "segments", nothing)
            await begun.relays.sync(RelaySync())
            await begun.stop()
    await trim(desk)
    relayed = await relay(desk)
    await until(lambda: "perhaps" in peer(desk, laptop).reason and relayed.relays.views().relays[0].findings)
    await relay(laptop)
    await goes_on_until_healed(desk, laptop)
    assert await desk.value("note 1") == {"n": 11}
    assert "more" in await keys(laptop)


async def nothing(*_: object) -> dict[object, object]:
    return {}


@pytest.mark.parametrize("left", [None, 0, 1], ids=["nothing", "the log of who stays", "the log of who goes"])
async def test_of_two_that_are_each_in_doubt_about_the_other_one_goes_over(
    two: tuple[Device, Device],
    until: Until,
    relay: Begin,
    log_events: Callable[[], list[dict[str, Any]]],
    left: int | None,
) -> None:
    """Each is further in its own origin, and goes over for the smaller one. Neither waits for the other, nor do both
    go; also if one of them had left on the relay what its log has no more, which the other refuses. When all is well
    nothing else is said.
    """
    desk, laptop = two
    settings = replace(QUICK, snapshots=True)
    for number in range(3):
        await desk.put(f"desk {number}", {"n": number})
        await laptop.put(f"laptop {number}", {"n": number})
    await desk.tell(laptop)
    await laptop.tell(desk)
    for one, name, other in ((desk, "desk", "laptop"), (laptop, "laptop", "desk")):
        await one.put(f"{name} more", {"n": 4})
        await one.patch(f"{other} 1", set={"m": 5})
    in_order = sorted(two, key=lambda one: one.space.commits.own_origin or b"")
    for one in () if left is None else (in_order[left],):
        before = await relay(one, settings)
        await before.relays.sync(RelaySync())
        await before.stop()
    for one in two:
        await trim(one)
    relays = [await relay(desk, settings), await relay(laptop, settings)]
    await until(lambda: "perhaps" in peer(desk, laptop).reason and "perhaps" in peer(laptop, desk).reason)
    for relayed in (*relays, *relays):
        await relayed.relays.sync(RelaySync())
    await goes_on_until_healed(desk, laptop)
    for one in two:
        assert await keys(one) == {f"{name} {what}" for name in ("desk", "laptop") for what in (0, 1, 2, "more")}
        assert [await one.value(f"{name} 1") for name in ("desk", "laptop")] == [{"n": 1, "m": 5}] * 2
    assert [event["event"] for event in log_events()].count("copy set aside") == 1
    for relayed in relays:
        await relayed.relays.sync(RelaySync())
    for relayed in relays:
        (view,) = relayed.relays.views().relays
        assert (view.state, view.code) == ("idle", "")
