"""Large objects go by way of the second host, behind the same four operations."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from peerd.errors import RelayTrouble
from peerd.relay.cloudkit.store import INLINE_BYTES, CloudKitStore
from tests.relay.cloudkit.conftest import Device, Times
from tests.relay.cloudkit.test_store import contents, name, operations
from tests.relay.emulator.database import AssetRef
from tests.relay.emulator.server import Emulator

LARGE = os.urandom(INLINE_BYTES + 1)


async def test_an_object_becomes_an_asset_when_it_is_large(store: CloudKitStore, emulator: Emulator) -> None:
    objects = {name(1): LARGE, name(2): LARGE[1:], name(3): b"small"}
    assert await store.create(objects) == []
    assert operations(emulator) == ["records/modify", "records/lookup", "assets/upload", "cdn/upload", "records/modify"]
    assert isinstance(emulator.database().records[name(1)].fields["a"], AssetRef)
    assert set(emulator.database().records[name(2)].fields) == {"d"}
    assert await contents(store, *objects) == objects
    assert (await store.lookup([name(1)], contents=False))[name(1)].data is None


async def test_creating_and_replacing_are_safe_to_repeat(store: CloudKitStore, emulator: Emulator) -> None:
    emulator.faults.add("lose", "records/modify")
    with pytest.raises(RelayTrouble):
        await store.create({name(1): LARGE})
    assert await store.create({name(1): LARGE}) == []
    assert await store.create({name(1): LARGE[::-1]}) == [name(1)]
    assert await store.create({name(1): b"small"}) == [name(1)]
    tag = (await store.lookup([name(1)], contents=False))[name(1)].tag
    tag = await store.replace(name(1), b"small", tag) or ""
    assert set(emulator.database().records[name(1)].fields) == {"d"}
    assert await store.replace(name(1), LARGE, tag) is not None
    assert await store.replace(name(1), LARGE[::-1], tag) is None
    assert await contents(store, name(1)) == {name(1): LARGE}
    await store.delete([name(1)])
    assert emulator.database().assets == {}


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("later", "relay-throttled"),
        ("internal", "relay-failed"),
        ("misdirected", "relay-failed"),
        ("quota", "relay-full"),
        ("drop", "relay-unreachable"),
        ("lose", "relay-unreachable"),
    ],
)
async def test_the_second_host_fails_in_its_own_way(
    store: CloudKitStore, emulator: Emulator, times: Times, fault: str, code: str
) -> None:
    emulator.faults.add(fault, "cdn/upload")
    with pytest.raises(RelayTrouble) as caught:
        await store.create({name(1): LARGE})
    assert caught.value.code == code
    assert emulator.database().records == {}
    times.now_s += 10
    assert await store.create({name(1): LARGE}) == []


@pytest.mark.parametrize(
    ("fault", "code"),
    [("later", "relay-throttled"), ("internal", "relay-failed"), ("drop", "relay-unreachable")],
)
async def test_what_cannot_be_fetched_is_fetched_later(
    store: CloudKitStore, emulator: Emulator, times: Times, fault: str, code: str
) -> None:
    await store.create({name(1): LARGE})
    emulator.faults.add(fault, "cdn/download", times=2 if fault == "drop" else 1)  # a GET is tried again at once
    with pytest.raises(RelayTrouble) as caught:
        await contents(store, name(1))
    assert caught.value.code == code
    times.now_s += 10
    assert await contents(store, name(1)) == {name(1): LARGE}


async def test_what_is_there_is_not_brought_again(store: CloudKitStore, emulator: Emulator) -> None:
    await store.create({name(1): LARGE})
    before = operations(emulator)
    assert await store.create({name(1): LARGE}) == []
    assert operations(emulator)[len(before) :] == ["records/lookup", "records/lookup", "cdn/download"]


async def test_an_address_that_has_expired_is_asked_for_again(
    device: Callable[..., Device], emulator: Emulator
) -> None:
    store = device().store
    await store.create({name(1): LARGE})
    emulator.assets.address_s = -1.0
    with pytest.raises(RelayTrouble, match="there is nothing"):
        await contents(store, name(1))
    assert operations(emulator)[-4:] == ["records/lookup", "cdn/download"] * 2
    emulator.assets.address_s = 900.0
    assert await contents(store, name(1)) == {name(1): LARGE}


async def test_an_upload_whose_address_expired_is_told(store: CloudKitStore, emulator: Emulator) -> None:
    emulator.assets.address_s = -1.0
    with pytest.raises(RelayTrouble) as caught:
        await store.create({name(1): LARGE})
    assert (caught.value.code, caught.value.lasting) == ("relay-failed", False)


async def test_bytes_that_come_back_changed_are_given_as_they_came(store: CloudKitStore, emulator: Emulator) -> None:
    """Whether they open is for the seal to say."""
    await store.create({name(1): LARGE})
    emulator.assets.corrupt = True
    assert await contents(store, name(1)) == {name(1): LARGE[::-1]}
    assert await store.create({name(1): LARGE}) == [name(1)]


async def test_an_asset_that_is_none_of_ours_is_not_fetched(store: CloudKitStore, emulator: Emulator) -> None:
    await store.create({name(1): LARGE})
    record = emulator.database().records[name(1)]
    record.fields["a"] = AssetRef("x", 1 << 40, "y")
    assert await contents(store, name(1)) == {name(1): b""}
    assert operations(emulator)[-1] == "records/lookup"


@pytest.mark.parametrize("more", [-1, 1])
async def test_an_asset_has_the_size_that_its_record_says(store: CloudKitStore, emulator: Emulator, more: int) -> None:
    await store.create({name(1): LARGE})
    (kept,) = emulator.database().assets
    emulator.database().records[name(1)].fields["a"] = AssetRef("x", len(LARGE) + more, kept)
    with pytest.raises(RelayTrouble):
        await contents(store, name(1))
