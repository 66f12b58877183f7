"""The relay in memory does the harm that it is told to do."""

from __future__ import annotations

from collections import deque
from hashlib import sha256

import pytest

from peerd.errors import RelayTrouble
from tests.network_simulation.virtual_loop import VirtualLoop
from tests.relay.model import Fault, Faults, ModelRelay, Storage

ONE, TWO = (sha256(what).hexdigest() for what in (b"one", b"two"))


def relay(*faults: Fault | None) -> ModelRelay:
    return ModelRelay(Storage(), Faults(deque(faults)))


async def test_a_refused_operation_does_nothing() -> None:
    desk = relay(Fault.REFUSED)
    with pytest.raises(RelayTrouble):
        await desk.create({ONE: b"1"})
    assert desk.storage.objects == {}
    assert list(await desk.create({ONE: b"1"})) == []


@pytest.mark.parametrize(("fault", "there"), [(Fault.LOST, {ONE, TWO}), (Fault.PARTLY, {ONE})])
async def test_an_answer_is_lost_after_the_effect(fault: Fault, there: set[str]) -> None:
    desk = relay(fault)
    with pytest.raises(RelayTrouble):
        await desk.create({ONE: b"1", TWO: b"2"})
    assert desk.storage.objects.keys() == there
    assert list(await desk.create({ONE: b"1", TWO: b"2"})) == []


async def test_a_replacement_done_twice_says_that_another_one_is_there() -> None:
    desk = relay(None, Fault.TWICE)
    tag = await desk.replace(ONE, b"first", None)
    assert await desk.replace(ONE, b"second", tag) is None
    assert (await desk.lookup([ONE], contents=True))[ONE].data == b"second"


async def test_a_stale_lookup_shows_what_was_before() -> None:
    desk = relay(None, Fault.STALE, None, None, Fault.STALE)
    tag = await desk.replace(ONE, b"first", None)
    assert dict(await desk.lookup([ONE], contents=True)) == {}
    assert (await desk.lookup([ONE], contents=True))[ONE].data == b"first"
    await desk.replace(ONE, b"second", tag)
    assert (await desk.lookup([ONE], contents=True))[ONE].data == b"first"


async def test_storage_goes_back_and_is_lost() -> None:
    desk = relay()
    await desk.create({ONE: b"1"})
    state = desk.storage.copy()
    await desk.create({TWO: b"2"})
    desk.storage.roll_back(state)
    assert desk.storage.objects.keys() == {ONE}
    desk.storage.lose_all()
    assert dict(await desk.lookup([ONE], contents=False)) == {}


async def test_it_fills_up() -> None:
    desk = relay()
    desk.faults.quota_bytes = 10
    await desk.create({ONE: bytes(10)})
    with pytest.raises(RelayTrouble) as refused:
        await desk.replace(TWO, b"1", None)
    assert refused.value.code == "relay-full"


async def test_another_device_hears_of_a_write_and_the_writer_does_not() -> None:
    storage, heard = Storage(), []
    desk, laptop = ModelRelay(storage), ModelRelay(storage)
    desk.changed = lambda: heard.append("desk")
    laptop.changed = lambda: heard.append("laptop")
    await desk.create({ONE: b"1"})
    assert heard == ["laptop"]
    await laptop.close()
    await desk.replace(TWO, b"2", None)
    storage.damage(ONE, b"damaged")
    assert heard == ["laptop", "desk"]


def test_time_is_the_loops() -> None:
    """Delays cost none, and a relay that asks for quiet says how long."""
    loop = VirtualLoop()

    async def story() -> None:
        desk = relay()
        desk.faults.delay_s = lambda: 3_600.0
        desk.faults.throttled_until_s = loop.time() + 5_400
        with pytest.raises(RelayTrouble) as refused:
            await desk.lookup([ONE], contents=False)
        assert refused.value.code == "relay-throttled"
        assert refused.value.retry_s == pytest.approx(1_800, abs=1)
        assert dict(await desk.lookup([ONE], contents=False)) == {}

    try:
        loop.run_until_complete(story())
    finally:
        loop.close()
