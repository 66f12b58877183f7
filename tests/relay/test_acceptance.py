"""What a courier relies on, of every back end alike. `backends.py` lists them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path

import pytest

from peerd.engine.relay.ports import RelayStore
from tests.relay.backends import BACKENDS, Open
from tests.relay.scene import noise

MANY = 450  # more than any relay takes in one request


class Bench:
    """Ways to one relay, closed at the end."""

    def __init__(self, open_one: Open) -> None:
        self._open = open_one
        self.opened: list[RelayStore] = []

    def open(self) -> RelayStore:
        self.opened.append(self._open())
        return self.opened[-1]


@pytest.fixture(params=BACKENDS)
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    async with BACKENDS[request.param](tmp_path) as open_one:
        bench = Bench(open_one)
        yield bench
        for one in bench.opened:
            await one.close()


@pytest.fixture
def desk(bench: Bench) -> RelayStore:
    return bench.open()


@pytest.fixture
def laptop(bench: Bench) -> RelayStore:
    return bench.open()


def name(what: object) -> str:
    return sha256(str(what).encode()).hexdigest()


async def data_of(relay: RelayStore, what: str) -> bytes | None:
    found = await relay.lookup([what], contents=True)
    return found[what].data if what in found else None


async def tag_of(relay: RelayStore, what: str) -> str:
    return (await relay.lookup([what], contents=False))[what].tag


async def test_nothing_is_there_at_first(desk: RelayStore) -> None:
    assert dict(await desk.lookup([name(1), name(2)], contents=True)) == {}
    assert dict(await desk.lookup([], contents=True)) == {}


async def test_what_one_device_creates_another_finds(desk: RelayStore, laptop: RelayStore) -> None:
    assert list(await desk.create({name(1): b"one", name(2): b"two"})) == []
    found = await laptop.lookup([name(1), name(2), name(3)], contents=True)
    assert {key: one.data for key, one in found.items()} == {name(1): b"one", name(2): b"two"}


async def test_without_contents_only_tags_come(desk: RelayStore, laptop: RelayStore) -> None:
    await desk.create({name(1): b"one"})
    tags = await laptop.lookup([name(1)], contents=False)
    assert tags[name(1)].data is None
    assert tags[name(1)].tag == (await desk.lookup([name(1)], contents=True))[name(1)].tag


async def test_creating_the_same_again_is_as_good_as_done(desk: RelayStore, laptop: RelayStore) -> None:
    await desk.create({name(1): b"one"})
    tag = await tag_of(desk, name(1))
    assert list(await desk.create({name(1): b"one"})) == []
    assert list(await laptop.create({name(1): b"one", name(2): b"two"})) == []
    assert await tag_of(desk, name(1)) == tag


async def test_what_is_there_with_other_bytes_is_told_and_left(desk: RelayStore, laptop: RelayStore) -> None:
    """The others of the same request are made."""
    await desk.create({name(1): b"one"})
    assert list(await laptop.create({name(0): b"zero", name(1): b"other", name(2): b"two"})) == [name(1)]
    assert await data_of(desk, name(1)) == b"one"
    assert await data_of(desk, name(0)) == b"zero"
    assert await data_of(desk, name(2)) == b"two"


async def test_of_two_who_create_at_once_one_is_told(
    desk: RelayStore, laptop: RelayStore, request: pytest.FixtureRequest
) -> None:
    if "exFAT" in request.node.name:
        pytest.skip("in FUSE it has neither links nor a rename that never replaces: both may succeed, as files.py says")
    for turn in range(20):
        one, two = await asyncio.gather(desk.create({name(turn): b"desk"}), laptop.create({name(turn): b"laptop"}))
        assert (list(one), list(two)) in [([], [name(turn)]), ([name(turn)], [])]
        assert await data_of(desk, name(turn)) == (b"laptop" if one else b"desk")


async def test_a_head_is_written_again_and_again(desk: RelayStore, laptop: RelayStore) -> None:
    tag = await desk.replace(name(1), b"first", None)
    assert tag is not None
    assert tag == await tag_of(laptop, name(1))
    for turn in range(3):
        before, tag = tag, await desk.replace(name(1), b"%d" % turn, tag)
        assert tag not in {None, before}
        assert tag == await tag_of(laptop, name(1))
        assert await data_of(laptop, name(1)) == b"%d" % turn


async def test_nothing_is_replaced_that_is_another_one(desk: RelayStore, laptop: RelayStore) -> None:
    """Neither with a tag of before, nor by who thinks that there is none, nor where there is none."""
    first = await desk.replace(name(1), b"first", None)
    assert first is not None
    await laptop.replace(name(1), b"second", first)
    assert await desk.replace(name(1), b"third", first) is None
    assert await desk.replace(name(1), b"third", None) is None
    assert await desk.replace(name(2), b"third", first) is None
    assert await data_of(desk, name(1)) == b"second"
    assert await data_of(desk, name(2)) is None


async def test_a_replacement_whose_answer_was_lost_may_be_repeated(desk: RelayStore) -> None:
    """It says either that it is done or that another one is there, which then has the bytes that were wanted."""
    first = await desk.replace(name(1), b"first", None)
    await desk.replace(name(1), b"second", first)
    again = await desk.replace(name(1), b"second", first)
    assert again in {None, await tag_of(desk, name(1))}
    assert await data_of(desk, name(1)) == b"second"


async def test_of_several_replacements_of_one_state_one_is_done(desk: RelayStore) -> None:
    first = await desk.replace(name(1), b"first", None)
    tags = await asyncio.gather(*(desk.replace(name(1), b"%d" % turn, first) for turn in range(5)))
    done = [(turn, tag) for turn, tag in enumerate(tags) if tag is not None]
    assert len(done) == 1
    assert await data_of(desk, name(1)) == b"%d" % done[0][0]
    assert await tag_of(desk, name(1)) == done[0][1]


async def test_objects_and_a_head_are_left_together(desk: RelayStore, laptop: RelayStore) -> None:
    """As `create` and `replace` would one after the other; repeating it is as good."""
    objects = {name(1): b"one", name(2): b"two"}
    different, written = await desk.leave(objects, name("head"), b"v1", None)
    assert (different, written) == ([], await tag_of(laptop, name("head")))
    different, again = await desk.leave(objects, name("head"), b"v1", None)
    assert different == []
    assert again in {None, written}
    different, second = await desk.leave({name(3): b"three"}, name("head"), b"v2", written)
    assert (different, second) == ([], await tag_of(laptop, name("head")))
    assert await data_of(laptop, name("head")) == b"v2"
    assert await data_of(laptop, name(3)) == b"three"
    assert await desk.leave({name(4): b"four"}, name("head"), b"v3", written) == ([], None)
    assert await data_of(laptop, name("head")) == b"v2"


async def test_of_objects_that_are_others_nothing_is_overwritten(desk: RelayStore) -> None:
    """The head may be there or not, and whoever is told a tag knows that it is."""
    await desk.create({name(1): b"one"})
    different, tag = await desk.leave({name(1): b"other", name(2): b"two"}, name("head"), b"v1", None)
    assert different == [name(1)]
    assert await data_of(desk, name(1)) == b"one"
    there = await data_of(desk, name("head"))
    assert (there, tag) in {(None, None), (b"v1", await tag_of(desk, name("head")) if there else None)}


async def test_what_is_deleted_is_gone_and_may_come_again(desk: RelayStore, laptop: RelayStore) -> None:
    await desk.create({name(1): b"one", name(2): b"two"})
    await laptop.delete([name(1), name(3)])
    await laptop.delete([name(1)])
    await laptop.delete([])
    assert list(await desk.lookup([name(1), name(2)], contents=False)) == [name(2)]
    assert list(await desk.create({name(1): b"other"})) == []
    assert await data_of(laptop, name(1)) == b"other"


async def test_a_deleted_head_is_not_replaced(desk: RelayStore, laptop: RelayStore) -> None:
    tag = await desk.replace(name(1), b"first", None)
    await laptop.delete([name(1)])
    assert await desk.replace(name(1), b"second", tag) is None
    assert await desk.replace(name(1), b"second", None) is not None


async def test_bytes_come_back_as_they_were(desk: RelayStore, laptop: RelayStore) -> None:
    objects = {
        name("least"): b"\0",
        name("each"): bytes(range(256)) * 3,
        name("zeros"): bytes(5_000),
        name("largest"): noise(desk.object_bytes),
    }
    assert list(await desk.create(objects)) == []
    found = await laptop.lookup(list(objects), contents=True)
    assert {key: one.data for key, one in found.items()} == objects


async def test_many_at_once_are_as_good_as_one_by_one(desk: RelayStore, laptop: RelayStore) -> None:
    objects = {name(number): b"%d" % number for number in range(MANY)}
    assert list(await desk.create(objects)) == []
    found = await laptop.lookup([*objects, name("none")], contents=True)
    assert {key: one.data for key, one in found.items()} == objects
    await laptop.delete(list(objects)[1:])
    assert list(await desk.lookup(list(objects), contents=False)) == [name(0)]


async def test_asking_twice_for_one_name_is_no_mistake(desk: RelayStore) -> None:
    await desk.create({name(1): b"one"})
    assert list(await desk.lookup([name(1), name(1)], contents=True)) == [name(1)]
    await desk.delete([name(1), name(1)])
    assert await data_of(desk, name(1)) is None


async def test_closing_twice_is_closing(desk: RelayStore) -> None:
    await desk.lookup([name(1)], contents=False)
    await desk.close()
    await desk.close()
