"""The four operations against the emulator, in good and bad weather."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Awaitable, Callable
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

import pytest

from peerd.errors import RelayTrouble
from peerd.relay.cloudkit.store import CloudKitStore
from tests.relay.cloudkit.backend import NOT_REAL, emulated, has_real_container, real
from tests.relay.cloudkit.conftest import Device, Times
from tests.relay.emulator.server import Emulator

NewDevice = Callable[..., Device]
T = TypeVar("T")
HALF_MIB = 512 << 10


def name(what: object) -> str:
    return sha256(str(what).encode()).hexdigest()


def operations(emulator: Emulator) -> list[str]:
    return [seen.operation for seen in emulator.seen]


async def contents(store: CloudKitStore, *names: str) -> dict[str, bytes | None]:
    return {key: one.data for key, one in (await store.lookup(names, contents=True)).items()}


async def test_what_is_created_is_found_and_nothing_else(store: CloudKitStore, emulator: Emulator) -> None:
    assert await store.create({name(1): b"one", name(2): b""}) == []
    assert await contents(store, name(1), name(2), name(3)) == {name(1): b"one", name(2): b""}
    tags = await store.lookup([name(1), name(1)], contents=False)
    assert tags[name(1)].data is None
    assert json.loads(emulator.seen[-1].body)["desiredKeys"] == []
    assert len(json.loads(emulator.seen[-1].body)["records"]) == 1
    await store.delete([name(1), name(3)])
    assert await contents(store, name(1), name(2)) == {name(2): b""}


async def test_nothing_is_asked_for_nothing(store: CloudKitStore, emulator: Emulator) -> None:
    assert await store.create({}) == []
    assert await store.lookup([], contents=True) == {}
    await store.delete([])
    assert emulator.seen == []


@pytest.mark.parametrize("collision", ["CONFLICT", "EXISTS"])
async def test_there_already_is_success_only_with_our_bytes(
    store: CloudKitStore, emulator: Emulator, collision: str
) -> None:
    emulator.habits.collision = "EXISTS" if collision == "EXISTS" else "CONFLICT"
    await store.create({name(1): b"one", name(2): b"two"})
    given = {name(1): b"one", name(2): b"other", name(3): b"three"}
    assert await store.create(given) == [name(2)]
    assert await contents(store, *given) == {name(1): b"one", name(2): b"two", name(3): b"three"}


async def test_a_lookup_that_lags_is_asked_again_and_believed_then(
    store: CloudKitStore, emulator: Emulator, times: Times
) -> None:
    """Nothing is called ours, or somebody else's, before its bytes were seen."""
    emulator.habits.lookup_lag_s = 5.0
    await store.create({name(1): b"one"})
    with pytest.raises(RelayTrouble, match="exists, and then that it does not") as caught:
        await store.create({name(1): b"one"})
    assert not caught.value.lasting
    times.now_s += 5
    assert await store.create({name(1): b"one"}) == []


async def test_an_answer_that_is_lost_is_made_good_by_asking_again(store: CloudKitStore, emulator: Emulator) -> None:
    emulator.faults.add("lose", "records/modify")
    with pytest.raises(RelayTrouble) as caught:
        await store.create({name(1): b"one"})
    assert caught.value.code == "relay-unreachable"
    assert await store.create({name(1): b"one"}) == []
    tag = (await store.lookup([name(1)], contents=False))[name(1)].tag
    emulator.faults.add("lose", "records/modify")
    with pytest.raises(RelayTrouble):
        await store.replace(name(1), b"two", tag)
    written = await store.replace(name(1), b"two", tag)
    assert written == (await store.lookup([name(1)], contents=False))[name(1)].tag
    emulator.faults.add("lose", "records/modify")
    with pytest.raises(RelayTrouble):
        await store.delete([name(1)])
    await store.delete([name(1)])


@pytest.mark.parametrize("habit", ["success", "NOT_FOUND"])
async def test_what_is_gone_is_deleted(store: CloudKitStore, emulator: Emulator, habit: str) -> None:
    emulator.habits.deleting_nothing = "NOT_FOUND" if habit == "NOT_FOUND" else "success"
    await store.create({name(1): b"one"})
    await store.delete([name(1), name(2)])
    await store.delete([name(1)])


async def test_a_head_is_replaced_by_its_tag_alone(store: CloudKitStore, emulator: Emulator) -> None:
    first = await store.replace(name(1), b"1", None)
    assert first is not None
    assert await store.replace(name(1), b"2", None) is None
    second = await store.replace(name(1), b"2", first)
    assert second not in {None, first}
    assert await store.replace(name(1), b"3", first) is None
    assert await contents(store, name(1)) == {name(1): b"2"}
    await store.delete([name(1)])
    assert await store.replace(name(1), b"3", second) is None
    assert await store.replace(name(1), b"3", None) is not None


# --- limits ---------------------------------------------------------------------------------------------------------


async def test_what_is_left_together_is_one_request(store: CloudKitStore, emulator: Emulator) -> None:
    """The head last, so that nobody reads of what is not there."""
    different, tag = await store.leave({name(1): b"one"}, name(2), b"head", None)
    assert different == []
    assert tag
    assert operations(emulator) == ["records/modify"]
    asked = [one["record"]["recordName"] for one in json.loads(emulator.seen[0].body)["operations"]]
    assert asked == [name(1), name(2)]
    assert await contents(store, name(1), name(2)) == {name(1): b"one", name(2): b"head"}


@pytest.mark.parametrize("collision", ["CONFLICT", "EXISTS"])
async def test_of_what_is_left_together_each_is_looked_at(
    store: CloudKitStore, emulator: Emulator, collision: str
) -> None:
    emulator.habits.collision = "EXISTS" if collision == "EXISTS" else "CONFLICT"
    await store.create({name(1): b"one"})
    different, tag = await store.leave({name(1): b"other"}, name(2), b"head", None)
    assert (different, await contents(store, name(1))) == ([name(1)], {name(1): b"one"})
    assert await store.leave({name(1): b"one", name(3): b"three"}, name(2), b"newer", "no such tag") == ([], None)
    assert await contents(store, name(2), name(3)) == {name(2): b"head", name(3): b"three"}
    assert await store.leave({name(1): b"one"}, name(2), b"head", "no such tag") == ([], tag)


@pytest.mark.parametrize("fault", ["element", "omit"])
async def test_a_failure_of_one_of_both_is_a_failure(
    store: CloudKitStore, emulator: Emulator, times: Times, fault: str
) -> None:
    """Whichever it was: repeating it makes it whole."""
    for number in range(12):
        objects, head = {name(("segment", number)): b"one"}, name(("head", number))
        emulator.faults.add(fault)
        with pytest.raises(RelayTrouble):
            await store.leave(objects, head, b"head", None)
        times.now_s += 1000
        different, tag = await store.leave(objects, head, b"head", None)
        assert different == []
        assert tag
        assert await contents(store, *objects, head) == {**objects, head: b"head"}


async def test_what_does_not_fit_into_one_request_goes_in_several(device: NewDevice, emulator: Emulator) -> None:
    store = device().store
    emulator.request_bytes = 70_000
    objects = {name(1): os.urandom(30_000)}
    head = os.urandom(30_000)
    different, tag = await store.leave(objects, name(2), head, None)
    assert different == []
    assert tag
    assert await contents(store, name(1), name(2)) == {**objects, name(2): head}


async def test_a_large_segment_and_its_head_go_one_after_the_other(store: CloudKitStore, emulator: Emulator) -> None:
    large = os.urandom(HALF_MIB)
    different, tag = await store.leave({name(1): large}, name(2), b"head", None)
    assert different == []
    assert tag
    assert operations(emulator).count("records/modify") == 2
    assert await contents(store, name(1), name(2)) == {name(1): large, name(2): b"head"}


async def test_many_go_in_requests_of_two_hundred(store: CloudKitStore, emulator: Emulator) -> None:
    objects = {name(number): b"%d" % number for number in range(450)}
    await store.create(objects)
    assert operations(emulator) == ["records/modify"] * 3
    assert len(await store.lookup(list(objects), contents=False)) == 450
    assert operations(emulator)[3:] == ["records/lookup"] * 3
    await store.delete(list(objects))
    assert emulator.database().records == {}


async def test_a_request_that_is_too_large_is_halved(device: NewDevice, emulator: Emulator) -> None:
    store = device().store
    emulator.request_bytes = 40_000
    objects = {name(number): os.urandom(5_000) for number in range(20)}
    assert await store.create(objects) == []
    assert await contents(store, *objects) == objects
    emulator.faults.add("toolarge", "records/lookup", times=2)
    assert len(await store.lookup(list(objects), contents=False)) == 20


async def test_one_object_that_is_too_large_says_so(store: CloudKitStore, emulator: Emulator) -> None:
    emulator.request_bytes = 4_000
    with pytest.raises(RelayTrouble) as caught:
        await store.create({name(1): bytes(5_000)})
    assert caught.value.code in {"relay-full", "relay-misconfigured"}
    with pytest.raises(RelayTrouble, match="larger than the 524288"):
        await store.create({name(1): bytes(HALF_MIB + 1)})


async def test_the_largest_object_goes_in_one_piece(device: NewDevice, emulator: Emulator) -> None:
    store = device(inline_bytes=HALF_MIB).store
    objects = {name(number): os.urandom(HALF_MIB) for number in range(3)}
    await store.create(objects)
    assert operations(emulator) == ["records/modify"] * 3
    assert await contents(store, *objects) == objects


# --- one record of many ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["element", "omit"])
async def test_a_failure_inside_a_200_is_a_failure(
    store: CloudKitStore, emulator: Emulator, times: Times, fault: str
) -> None:
    objects = {name(number): b"x" for number in range(10)}
    for operation in (store.create(objects), store.lookup(list(objects), contents=False), store.delete(list(objects))):
        emulator.faults.add(fault)
        with pytest.raises(RelayTrouble) as caught:
            await operation
        assert not caught.value.lasting
        assert caught.value.retry_s is not None
        times.now_s += 1000
    assert await store.create(objects) == []
    for one in (store.replace(name("head"), b"1", None), store.replace(name("head"), b"1", None)):
        emulator.faults.add(fault)
        with pytest.raises(RelayTrouble):
            await one
        times.now_s += 1000
    assert await store.replace(name("head"), b"1", None) is not None


async def test_a_throttle_of_one_record_holds_all_back(store: CloudKitStore, emulator: Emulator) -> None:
    emulator.faults.add("element", code="THROTTLED")
    with pytest.raises(RelayTrouble, match="left alone"):
        await store.create({name(1): b"x"})
    with pytest.raises(RelayTrouble, match="left alone"):
        await store.lookup([name(1)], contents=False)
    assert len(emulator.seen) == 1


async def test_records_that_go_on_failing_are_left_alone_longer_and_longer(
    store: CloudKitStore, emulator: Emulator, times: Times
) -> None:
    emulator.faults.add("element", times=3)
    waits = []
    for _ in range(3):
        with pytest.raises(RelayTrouble) as caught:
            await store.create({name(1): b"x"})
        waits.append(caught.value.retry_s)
        times.now_s += waits[-1] or 0
    assert waits == [2, 4, 8]


@pytest.mark.parametrize(
    ("fault", "code", "lasting"),
    [("ACCESS_DENIED", "relay-denied", True), ("QUOTA_EXCEEDED", "relay-full", True), ("NEW", "relay-failed", True)],
)
async def test_a_refused_record_says_why(
    store: CloudKitStore, emulator: Emulator, fault: str, code: str, *, lasting: bool
) -> None:
    emulator.faults.add("element", code=fault)
    with pytest.raises(RelayTrouble) as caught:
        await store.create({name(1): b"x"})
    assert (caught.value.code, caught.value.lasting) == (code, lasting)


async def test_a_schema_that_lacks_the_field(store: CloudKitStore, emulator: Emulator) -> None:
    del emulator.database().schema["Blob"].fields["d"]
    with pytest.raises(RelayTrouble, match="Field 'd' not found in Blob") as caught:
        await store.create({name(1): b"x"})
    assert (caught.value.code, caught.value.lasting) == ("relay-misconfigured", True)


async def test_a_container_that_is_full_can_still_be_emptied(store: CloudKitStore, emulator: Emulator) -> None:
    emulator.database().quota_bytes = 100
    await store.create({name(1): bytes(80)})
    with pytest.raises(RelayTrouble) as caught:
        await store.create({name(2): bytes(80)})
    assert caught.value.code == "relay-full"
    await store.delete([name(1)])
    assert await store.create({name(2): bytes(80)}) == []


# --- stories --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(12))
async def test_in_bad_weather_everything_arrives_by_repeating(
    device: NewDevice, emulator: Emulator, times: Times, seed: int
) -> None:
    """Two devices write, one of them reads; nothing is lost and nothing is there twice, whatever happens between."""
    chance = random.Random(seed)
    stores = [device("one").store, device("two").store]
    emulator.faults.weather(0.15, seed)
    emulator.habits.collision = chance.choice(("CONFLICT", "EXISTS"))
    emulator.habits.deleting_nothing = chance.choice(("success", "NOT_FOUND"))
    objects = {name(number): chance.randbytes(chance.choice([10, 5_000, 300_000])) for number in range(12)}
    for store in stores:
        await repeated(times, partial(store.create, objects))
    tag: str | None = None
    for turn in range(4):
        tag = await repeated(times, partial(stores[0].replace, name("head"), b"%d" % turn, tag))
        assert tag is not None
    found = await repeated(times, lambda: stores[1].lookup([*objects, name("head")], contents=True))
    assert {key: one.data for key, one in found.items()} == {**objects, name("head"): b"3"}
    assert found[name("head")].tag == tag
    await repeated(times, lambda: stores[1].delete(list(objects)))
    emulator.faults.rate = 0.0
    assert set(emulator.database().records) == {name("head")}
    assert emulator.database().assets == {}


async def repeated(times: Times, work: Callable[[], Awaitable[T]]) -> T:
    """As a courier does it."""
    for _ in range(100):
        try:
            return await work()
        except RelayTrouble as trouble:
            if trouble.lasting:
                raise
            times.now_s += trouble.retry_s or 1.0
    raise AssertionError("it never went through")


@pytest.mark.parametrize(
    "where",
    ["emulated", pytest.param("real", marks=pytest.mark.skipif(not has_real_container(), reason=NOT_REAL))],
)
async def test_a_container_passes_by_hand(where: str, tmp_path: Path) -> None:
    """The whole path in small; a real container is asked if the environment names one. Nothing is left there."""
    run = os.urandom(8).hex()
    objects = {name((run, number)): os.urandom(size) for number, size in enumerate((1, 4_096, 300_000))}
    async with (real if where == "real" else emulated)(tmp_path) as open_one:
        desk, laptop = open_one(), open_one()
        try:
            assert await desk.create(objects) == []
            assert await laptop.create(objects) == []
            assert await contents(laptop, *objects, name((run, "none"))) == objects
            first = await desk.replace(name((run, "head")), b"1", None)
            second = await laptop.replace(name((run, "head")), b"2", first)
            assert await desk.replace(name((run, "head")), b"3", first) is None
            assert (await desk.lookup([name((run, "head"))], contents=False))[name((run, "head"))].tag == second
        finally:
            await desk.delete([*objects, name((run, "head"))])
            left = await laptop.lookup([*objects, name((run, "head"))], contents=False)
            await desk.close()
            await laptop.close()
    assert left == {}
