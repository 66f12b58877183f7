"""One link at work: what is greeted, what is refused, and what a bulk must not delay."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from peerd.core.links import LinkFacts
from peerd.engine.links.link_runner import greet
from peerd.errors import LinkLost, RemoteProtocolError
from peerd.protocol import codec
from peerd.protocol.control.messages import ChangeRequest
from peerd.protocol.messages import Bye, Credit, Entries, Hello, Message, Part, Ping, Want, Welcome
from tests.network_simulation.joining import let_in
from tests.network_simulation.network import SimLink
from tests.network_simulation.parts import SimTimes, WallClock
from tests.network_simulation.scene import Scene
from tests.network_simulation.virtual_loop import in_virtual_time


def decoded(link: SimLink) -> list[Message]:
    return [message for frame in link.frames_sent if (message := codec.decode(frame)) is not None]


def link_from(scene: Scene, device: int, to: int) -> SimLink:
    link = scene.devices[device].running.switchboard.links[scene.devices[to].id].link
    assert isinstance(link, SimLink)
    return link


async def with_a_bulk(scene: Scene) -> SimLink:
    """Device 0 has some megabytes for device 1, over a slow link that has just opened."""
    for number in range(30):
        change = ChangeRequest(kind="put", collection="bulk", key=f"{number}", value={"text": noise(scene, 400_000)})
        await scene.write(0, change)
    scene.network.keeps_frames = True
    scene.network.weather.bytes_per_s = 200e3
    scene.network.weather.delay_s = 0.001
    await scene.link_all()
    link = link_from(scene, 0, 1)
    await scene.until(lambda: sum(message.bulk for message in decoded(link)) >= 3)
    return link


def noise(scene: Scene, size_bytes: int) -> str:
    """Text that does not shrink to nothing on the way."""
    return scene.world.chance.randbytes(size_bytes // 2).hex()


def bulk_since(link: SimLink, count: int) -> int:
    return sum(len(frame) for frame in link.frames_sent[count:])


@in_virtual_time
async def test_a_control_message_waits_behind_two_bulk_frames_at_most() -> None:
    async with Scene(2) as scene:
        link = await with_a_bulk(scene)
        before = len(link.frames_sent)
        scene.devices[0].running.switchboard.links[scene.devices[1].id].ping()
        await scene.until(lambda: any(isinstance(message, Ping) for message in decoded(link)[before:]))
        between = decoded(link)[before:]
        assert [type(message) for message in between if not isinstance(message, Ping)].count(Part) <= 2
        assert len(between) <= 3


@in_virtual_time
async def test_the_other_direction_goes_on_beside_a_bulk() -> None:
    async with Scene(2) as scene:
        link = await with_a_bulk(scene)
        before = len(link.frames_sent)
        await scene.put(1, "back", a=1)
        await scene.until(lambda: "back" in keys_of(scene, 0))
        assert bulk_since(link, before) < 1 << 20


@in_virtual_time
async def test_another_space_goes_on_beside_a_bulk() -> None:
    async with Scene(2) as scene:
        await scene.found("work", scene.devices)
        link = await with_a_bulk(scene)
        before = len(link.frames_sent)
        await scene.put(0, "small", space="work", a=1)
        work = scene.space(1, "work")
        await scene.until(lambda: bool(work.copy.clock()))
        assert bulk_since(link, before) < 2 << 20
        assert scene.space(1).copy.visible < 30


@in_virtual_time
async def test_transactions_that_do_not_depend_on_a_bulk_go_past_it() -> None:
    """Device 2 writes; device 0, which is sending thousands of another device's transactions on, forwards it first."""
    async with Scene(3, outside=[2]) as scene:
        one, two, _ = scene.devices
        for first in range(0, 600, 50):
            await asyncio.gather(
                *(scene.put(0, f"{number}", text=noise(scene, 20_000)) for number in range(first, first + 50))
            )
        await let_in(scene.home, one, scene.devices[2])
        scene.network.weather.bytes_per_s = 400e3
        scene.network.keeps_frames = True
        one.running.dialing.sighted(two.id, [two.address])
        await scene.until(lambda: two.id in one.running.switchboard.links)
        link = link_from(scene, 0, 1)
        await scene.until(lambda: sum(message.bulk for message in decoded(link)) >= 3)
        await scene.put(2, "urgent", a=1)
        one.running.dialing.sighted(scene.devices[2].id, [scene.devices[2].address])
        await scene.until(lambda: "urgent" in keys_of(scene, 0))
        before = len(link.frames_sent)
        await scene.until(lambda: "urgent" in keys_of(scene, 1), 600)
        assert bulk_since(link, before) < 3 << 20
        assert scene.space(1).copy.visible < 500


def keys_of(scene: Scene, device: int) -> set[str]:
    """Keys in a copy, read past its process."""
    store = scene.space(device).store
    writer = store._database._writer._inner  # type: ignore[attr-defined] # the simulated disk
    return {key for (key,) in writer._connection.execute("SELECT key FROM record")}


@in_virtual_time
async def test_large_entries_travel_in_parts_and_arrive_whole() -> None:
    async with Scene(2) as scene:
        change = ChangeRequest(kind="put", collection="notes", key="large", value={"text": "y" * (3 << 20)})
        await scene.write(0, change)
        scene.network.keeps_frames = True
        await scene.link_all()
        await scene.until(scene.clocks_equal)
        assert (await scene.read(1, "large")).value == {"text": "y" * (3 << 20)}
        assert sum(isinstance(message, Part) for message in decoded(link_from(scene, 0, 1))) == 7
        assert not any(isinstance(message, Entries) for message in decoded(link_from(scene, 0, 1)))


# ---- greeting


class Wire:
    """Two ends of a link, outside of any device."""

    def __init__(self, scene: Scene) -> None:
        network, (one, two) = scene.network, scene.devices
        self.ours = SimLink(network, one.id, two.id, ("sim", 1), dialed=True)
        self.theirs = SimLink(network, two.id, one.id, ("sim", 2), dialed=False)
        self.ours.other, self.theirs.other = self.theirs, self.ours
        self.times = SimTimes(WallClock(), scene.world.chance)


def hello(counter: int = 1) -> Hello:
    return Hello([1, 0], b"bootboot", counter, 1_750_000_000_000, 2, [codec.ZSTD], "peerd test", "name")


@in_virtual_time
async def test_both_sides_number_a_link_by_the_one_that_dialled() -> None:
    async with Scene(2) as scene:
        wire = Wire(scene)
        dialled, called = await asyncio.gather(
            greet(wire.ours, hello(7), wire.times), greet(wire.theirs, hello(99), wire.times)
        )
        assert dialled.facts == LinkFacts(dialed=True, their_boot=b"bootboot", counter=7)
        assert called.facts == LinkFacts(dialed=False, their_boot=b"bootboot", counter=7)
        assert dialled.compress


@in_virtual_time
async def test_whoever_says_nothing_is_given_up_after_five_seconds() -> None:
    async with Scene(2) as scene:
        wire = Wire(scene)
        with pytest.raises(LinkLost) as lost:
            await greet(wire.ours, hello(), wire.times)
        assert lost.value.code == "timeout"
        assert wire.ours._closed


@in_virtual_time
async def test_whoever_does_not_begin_with_hello_is_refused() -> None:
    async with Scene(2) as scene:
        wire = Wire(scene)
        await wire.theirs.send(codec.encode(Welcome([])))
        with pytest.raises(RemoteProtocolError):
            await greet(wire.ours, hello(), wire.times)


# ---- what ends a link


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (lambda _: codec.encode(hello()), "order"),
        (lambda _: b"\x00", "malformed"),
        (lambda _: b"\x93\x63\x00\x80", "unsupported"),
        (lambda _: codec.encode(Bye("done")), "bye"),
        (lambda _: codec.encode(Bye("duplicate")), "duplicate"),
        (lambda space: codec.encode(Entries(space, [], [])), None),
        (lambda space: codec.encode(Credit(space, 5)), None),
        (lambda _: codec.encode(Want(b"another space...", {}, 5)), None),
    ],
    ids=[
        "a second hello",
        "garbage",
        "an unknown type",
        "goodbye",
        "two links",
        "no entries",
        "credit",
        "of no session",
    ],
)
@in_virtual_time
async def test_what_they_may_not_say_ends_the_link_and_what_they_may_does_not(
    frame: Callable[[bytes], bytes], code: str | None
) -> None:
    async with Scene(2) as scene:
        await scene.link_all()
        link = link_from(scene, 1, 0)
        board = scene.devices[0].running.switchboard
        mine = next(iter(board.links.values()))
        await link.send(frame(scene.home.id))
        await asyncio.sleep(0.2)
        if code is None:
            assert next(iter(board.links.values())) is mine
            return
        assert mine not in board.links.values()
        await scene.link_all()
        assert board.links, "it is dialled again"
        assert not mine.sessions


@in_virtual_time
async def test_an_unknown_type_that_is_optional_is_ignored() -> None:
    async with Scene(2) as scene:
        await scene.link_all()
        mine = next(iter(scene.devices[0].running.switchboard.links.values()))
        await link_from(scene, 1, 0).send(b"\x93\xcc\xc8\x00\x81\xa1x\x01")
        await asyncio.sleep(0.2)
        assert next(iter(scene.devices[0].running.switchboard.links.values())) is mine


@in_virtual_time
async def test_a_space_that_two_devices_come_to_share_while_linked_is_exchanged_on_that_link() -> None:
    async with Scene(2) as scene:
        await scene.link_all()
        links = list(scene.network.links)
        work = await scene.found("work", [scene.devices[0]])
        await scene.put(0, "one", space="work", a=1)
        await let_in(work, scene.devices[0], scene.devices[1])
        await asyncio.sleep(5)
        assert (await scene.read(1, "one", "work")).value == {"a": 1}
        assert list(scene.network.links) == links
