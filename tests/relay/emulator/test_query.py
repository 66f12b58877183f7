"""Queries run over indexes, late, in pages; without indexes not at all."""

from __future__ import annotations

from typing import Any

import pytest

from tests.relay.emulator.conftest import Clock
from tests.relay.emulator.database import FieldType
from tests.relay.emulator.hand import Hand, Said, create
from tests.relay.emulator.server import Emulator


async def query(hand: Hand, keys: dict[str, Any] | None = None, **asked: Any) -> Said:
    return await hand.post("records/query", {"query": {"recordType": "Blob", **asked}, **(keys or {})})


def newer_than(moment_ms: int) -> dict[str, Any]:
    return {
        "systemFieldName": "modifiedTimestamp",
        "comparator": "GREATER_THAN_OR_EQUALS",
        "fieldValue": {"value": moment_ms, "type": "TIMESTAMP"},
    }


@pytest.fixture
def indexed(emulator: Emulator) -> Emulator:
    kind = emulator.database().schema["Blob"]
    kind.system_indexes = frozenset({"recordName", "modifiedTimestamp"})
    kind.fields["s"] = FieldType("STRING", queryable=True, sortable=True)
    kind.grants["_world"] = frozenset({"READ"})
    return emulator


async def test_without_an_index_nothing_can_be_listed(hand: Hand, emulator: Emulator) -> None:
    said = await query(hand)
    assert (said.status, said.code, said.json["reason"]) == (400, "BAD_REQUEST", "Type is not marked indexable")
    emulator.database().schema["Blob"].system_indexes = frozenset({"modifiedTimestamp"})
    assert (await query(hand)).json["reason"] == "Field 'recordName' is not marked queryable"
    field = {"fieldName": "d", "comparator": "EQUALS", "fieldValue": {"value": "AQID", "type": "BYTES"}}
    assert (await query(hand, filterBy=[field])).json["reason"] == "Field 'd' is not marked queryable"
    field["fieldName"] = "recordName"  # a system field by the wrong key
    assert (await query(hand, filterBy=[field])).status == 400


async def test_an_index_lags_behind_a_lookup(hand: Hand, indexed: Emulator, clock: Clock) -> None:
    await hand.modify(create("k1"))
    assert (await hand.lookup("k1")).json["records"][0]["recordChangeTag"]
    assert (await query(hand)).json["records"] == []
    clock.now += 6
    assert [one["recordName"] for one in (await query(hand)).json["records"]] == ["k1"]


async def test_pages_filters_and_order(hand: Hand, indexed: Emulator, clock: Clock) -> None:
    for number in range(130):
        clock.now += 1
        await hand.modify(
            create(f"k{number:03}", fields={"s": {"value": f"{number % 2}", "type": "STRING"}}), desiredKeys=[]
        )
    clock.now += 10
    newest = [{"systemFieldName": "modifiedTimestamp", "ascending": False}]
    asked: dict[str, Any] = {"filterBy": [newer_than(1_900_000_011_000)], "sortBy": newest}
    indexed.database().schema["Blob"].system_indexes |= {"modifiedTimestamp"}
    first = await query(hand, **asked)
    assert len(first.json["records"]) == 100
    assert first.json["records"][0]["recordName"] == "k129"
    rest = await query(hand, {"continuationMarker": first.json["continuationMarker"]}, **asked)
    assert rest.json["records"][-1]["recordName"] == "k010"
    assert "continuationMarker" not in rest.json
    other = await query(hand, {"continuationMarker": first.json["continuationMarker"]}, sortBy=newest)
    assert other.status == 400
    odd = {"fieldName": "s", "comparator": "EQUALS", "fieldValue": {"value": "1", "type": "STRING"}}
    assert len((await query(hand, filterBy=[odd])).json["records"]) == 65


async def test_a_list_wants_the_tag_of_a_list(hand: Hand, indexed: Emulator) -> None:
    one = {"fieldName": "s", "comparator": "IN", "fieldValue": {"value": ["1"]}}
    assert (await query(hand, filterBy=[one])).json["reason"] == "Unexpected input"
    one["fieldValue"] = {"value": ["1"], "type": "STRING_LIST"}
    assert (await query(hand, filterBy=[one])).status == 200
