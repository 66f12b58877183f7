"""Assets in their three steps, on a host of their own whose addresses expire."""

from __future__ import annotations

from typing import Any

import pytest
from yarl import URL

from tests.relay.emulator.conftest import Clock
from tests.relay.emulator.hand import Hand, by_name, create, delete
from tests.relay.emulator.server import Emulator

TOKEN = {"recordType": "Blob", "recordName": "k1", "fieldName": "a"}


async def ticket(hand: Hand) -> str:
    said = await hand.post("assets/upload", {"tokens": [TOKEN]})
    (token,) = said.json["tokens"]
    assert (token["recordName"], token["fieldName"]) == ("k1", "a")
    return str(token["url"])


async def bring(hand: Hand, url: str, data: bytes) -> tuple[int, Any]:
    async with hand.session.post(URL(url, encoded=True), data=data) as response:
        return response.status, await response.json() if response.status == 200 else None


async def fetch(hand: Hand, url: str) -> tuple[int, bytes]:
    async with hand.session.get(URL(url, encoded=True)) as response:
        return response.status, await response.read()


async def attach(hand: Hand, name: str, asset: Any) -> Any:
    said = await hand.modify(create(name, fields={"a": {"value": asset, "type": "ASSETID"}}))
    return by_name(said)[name]


async def test_three_steps_and_back(hand: Hand, emulator: Emulator, clock: Clock) -> None:
    status, brought = await bring(hand, await ticket(hand), b"large")
    assert status == 200
    assert set(brought["singleFile"]) == {"fileChecksum", "size", "receipt"}
    assert "recordChangeTag" in await attach(hand, "k1", brought["singleFile"])
    value = by_name(await hand.lookup("k1"))["k1"]["fields"]["a"]
    assert (value["type"], value["value"]["size"]) == ("ASSETID", 5)
    assert "receipt" not in value["value"]
    url = value["value"]["downloadURL"]
    assert "${f}" in url
    assert await fetch(hand, url.replace("${f}", "k1")) == (200, b"large")
    assert (await fetch(hand, url))[0] == 404
    assert (await fetch(hand, str(URL(url.replace("${f}", "k1")))))[0] == 400  # as a library would write it
    clock.now += 901
    assert (await fetch(hand, url.replace("${f}", "k1")))[0] == 410
    assert not emulator.database().records["k1"].fields.get("d")


async def test_an_address_is_for_one_upload_in_time(hand: Hand, clock: Clock) -> None:
    url = await ticket(hand)
    assert (await bring(hand, url, b"x"))[0] == 200
    assert (await bring(hand, url, b"x"))[0] == 403
    url = await ticket(hand)
    clock.now += 901
    assert (await bring(hand, url, b"x"))[0] == 403


async def test_a_receipt_is_for_one_record_and_one_field(hand: Hand) -> None:
    _, brought = await bring(hand, await ticket(hand), b"large")
    good = brought["singleFile"]
    for wrong in ({**good, "size": 4}, {**good, "fileChecksum": "x"}, {**good, "receipt": "x"}):
        assert (await attach(hand, "k1", wrong))["serverErrorCode"] == "BAD_REQUEST"
    assert (await attach(hand, "k2", good))["serverErrorCode"] == "BAD_REQUEST"
    assert "recordChangeTag" in await attach(hand, "k1", good)
    read = by_name(await hand.lookup("k1"))["k1"]["fields"]["a"]["value"]
    assert (await attach(hand, "k2", read))["serverErrorCode"] == "BAD_REQUEST"  # what is read cannot be attached


async def test_what_no_record_names_vanishes(hand: Hand, emulator: Emulator) -> None:
    _, brought = await bring(hand, await ticket(hand), b"large")
    await attach(hand, "k1", brought["singleFile"])
    url = by_name(await hand.lookup("k1"))["k1"]["fields"]["a"]["value"]["downloadURL"].replace("${f}", "k1")
    await hand.modify(delete("k1"))
    assert emulator.database().assets == {}
    assert (await fetch(hand, url))[0] == 404


async def test_limits(hand: Hand, emulator: Emulator) -> None:
    emulator.assets.max_bytes = 10
    assert (await bring(hand, await ticket(hand), bytes(11)))[0] == 413
    assert (await hand.post("assets/upload", {"tokens": [TOKEN] * 201})).status == 400
    wrong = await hand.post("assets/upload", {"tokens": [{**TOKEN, "fieldName": "d"}]})
    assert (wrong.status, wrong.code) == (400, "BAD_REQUEST")


@pytest.mark.parametrize("fault", ["later", "internal", "misdirected", "quota"])
async def test_its_errors_are_bare(hand: Hand, emulator: Emulator, fault: str) -> None:
    url = await ticket(hand)
    emulator.faults.add(fault, "cdn/upload")
    assert (await bring(hand, url, b"x"))[0] in {503, 500, 421, 413}
