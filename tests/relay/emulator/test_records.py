"""What the emulator does with records: operations, tags, values, rights, quotas, and what it answers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.relay.emulator.conftest import Clock
from tests.relay.emulator.database import FieldType
from tests.relay.emulator.hand import Hand, blob, by_name, create, delete
from tests.relay.emulator.server import Emulator


async def one(hand: Hand, operation: dict[str, Any], **keys: Any) -> dict[str, Any]:
    said = await hand.modify(operation, **keys)
    assert said.status == 200
    (record,) = said.json["records"]
    return dict(record)


async def test_a_record_comes_back_as_apple_shows_it(hand: Hand) -> None:
    made = await one(hand, create("k1", b"\1\2\3"), desiredKeys=[])
    assert made["fields"] == {}
    found = by_name(await hand.lookup("k1"))["k1"]
    assert found["fields"] == {"d": {"value": "AQID", "type": "BYTES"}}
    assert found["recordChangeTag"] == made["recordChangeTag"]
    assert (found["pluginFields"], found["deleted"], found["recordType"]) == ({}, False, "Blob")
    assert found["created"] == {
        "timestamp": 1_900_000_000_000,
        "userRecordName": "_aca0" + "0" * 28,
        "deviceID": "2",
    }
    assert by_name(await hand.lookup("k1", desiredKeys=[]))["k1"]["fields"] == {}
    assert by_name(await hand.lookup("k1", desiredKeys=["a"]))["k1"]["fields"] == {}


async def test_operations_are_done_one_by_one_and_fail_one_by_one(hand: Hand) -> None:
    await hand.modify(create("k1", b"first"))
    said = await hand.modify(create("k1", b"second"), create("k2"), delete("k3"))
    assert said.status == 200
    results = by_name(said)
    assert results["k1"]["serverErrorCode"] == "CONFLICT"
    assert results["k1"]["reason"] == "record to insert already exists"
    assert "recordChangeTag" in results["k2"]
    assert results["k3"] == {"recordName": "k3", "deleted": True}


async def test_results_come_in_any_order(hand: Hand) -> None:
    names = [f"k{number}" for number in range(50)]
    said = await hand.modify(*(create(name) for name in names))
    assert [record["recordName"] for record in said.json["records"]] != names
    assert sorted(by_name(said)) == sorted(names)


async def test_the_habits_that_are_not_known(hand: Hand, emulator: Emulator) -> None:
    emulator.habits.collision = "EXISTS"
    emulator.habits.deleting_nothing = "NOT_FOUND"
    emulator.habits.omitted_atomic = False
    await hand.modify(create("k1"))
    assert (await one(hand, create("k1")))["serverErrorCode"] == "EXISTS"
    assert (await one(hand, delete("k2")))["serverErrorCode"] == "NOT_FOUND"
    assert (await hand.post("records/modify", {"operations": [create("k2")]})).status == 400


async def test_a_lookup_may_lag_behind(hand: Hand, emulator: Emulator, clock: Clock) -> None:
    emulator.habits.lookup_lag_s = 5.0
    await hand.modify(create("k1"))
    assert by_name(await hand.lookup("k1"))["k1"]["serverErrorCode"] == "NOT_FOUND"
    clock.now += 5
    assert "recordChangeTag" in by_name(await hand.lookup("k1"))["k1"]


async def test_tags_guard_and_change_with_every_write(hand: Hand) -> None:
    first = (await one(hand, create("k1", b"1")))["recordChangeTag"]
    second = (await one(hand, create("k1", b"2", "replace", recordChangeTag=first)))["recordChangeTag"]
    assert first != second
    stale = await one(hand, create("k1", b"3", "replace", recordChangeTag=first))
    assert (stale["serverErrorCode"], stale["reason"]) == ("CONFLICT", "client oplock error updating record")
    assert (await one(hand, delete("k1", "delete", recordChangeTag=first)))["serverErrorCode"] == "CONFLICT"
    assert (await one(hand, delete("k1", "delete", recordChangeTag=second)))["deleted"] is True
    gone = await one(hand, create("k1", b"3", "replace", recordChangeTag=second))
    assert gone["reason"] == "recordChangeTag specified, but record not found"


async def test_replacing_unsets_and_updating_keeps(hand: Hand, emulator: Emulator) -> None:
    emulator.database().schema["Blob"].fields["n"] = FieldType("INT64")
    await one(hand, create("k1"))
    number = {"n": {"value": 5, "type": "INT64"}}
    await one(hand, create("k1", operation="forceUpdate", fields=number))
    assert set(by_name(await hand.lookup("k1"))["k1"]["fields"]) == {"d", "n"}
    await one(hand, create("k1", operation="forceReplace", fields=number))
    assert set(by_name(await hand.lookup("k1"))["k1"]["fields"]) == {"n"}
    await one(hand, create("k9", operation="forceReplace"))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("d", blob(b"x", None)),  # an untagged value is a string
        ("d", blob(b"x", "STRING")),
        ("d", {"value": "no base64", "type": "BYTES"}),
        ("d", {"value": 5, "type": "BYTES"}),
        ("d", "AQID"),
        ("t", {"value": 5}),  # an untagged whole number is an INT64
        ("t", {"value": 5.5, "type": "TIMESTAMP"}),
        ("f", {"value": 5}),
        ("i", {"value": True, "type": "INT64"}),
        ("i", {"value": 1 << 63, "type": "INT64"}),
        ("x", blob(b"x")),  # not in the schema
        ("e", blob(b"x")),  # encrypted fields are for private databases
        ("a", {"value": {"fileChecksum": "x", "size": 1, "receipt": "y"}, "type": "ASSETID"}),
    ],
)
async def test_a_value_of_another_kind_is_refused(hand: Hand, emulator: Emulator, field: str, value: Any) -> None:
    fields = emulator.database().schema["Blob"].fields
    fields.update(t=FieldType("TIMESTAMP"), f=FieldType("DOUBLE"), i=FieldType("INT64"))
    fields["e"] = FieldType("BYTES", encrypted=True)
    said = await one(hand, create("k1", fields={field: value}))
    assert said["serverErrorCode"] == "BAD_REQUEST"
    assert not emulator.database().records


async def test_values_of_the_right_kind_are_taken(hand: Hand, emulator: Emulator) -> None:
    fields = emulator.database().schema["Blob"].fields
    fields.update(t=FieldType("TIMESTAMP"), f=FieldType("DOUBLE"), s=FieldType("STRING"))
    given = {
        "t": {"value": 5, "type": "TIMESTAMP"},
        "f": {"value": 5, "type": "DOUBLE"},
        "s": {"value": "x"},
        "d": {"value": None},
    }
    await one(hand, create("k1", fields=given))
    assert set(by_name(await hand.lookup("k1"))["k1"]["fields"]) == {"t", "f", "s"}


@pytest.mark.parametrize("name", ["_k", "", "k" * 256, "k 1", "ä"])
async def test_a_name_that_is_none(hand: Hand, name: str) -> None:
    assert (await one(hand, create(name)))["serverErrorCode"] == "BAD_REQUEST"


async def test_an_unknown_type_and_a_record_that_is_too_large(hand: Hand) -> None:
    said = await one(hand, create("k1", recordType="Note"))
    assert said["reason"] == "Did not find record type: Note"
    assert (await one(hand, create("k1", bytes(1_000_001))))["serverErrorCode"] == "BAD_REQUEST"
    assert "recordChangeTag" in await one(hand, create("k1", bytes(1_000_000)))


async def test_rights_go_by_role(hand: Hand, emulator: Emulator) -> None:
    kind = emulator.database().schema["Blob"]
    await one(hand, create("k1"))
    emulator.separate_creators = True
    said = by_name(await hand.lookup("k1"))["k1"]
    assert (said["serverErrorCode"], said["reason"]) == ("ACCESS_DENIED", "READ operation not permitted")
    assert (await one(hand, delete("k1")))["reason"] == "WRITE operation not permitted"
    kind.grants["_icloud"] = frozenset({"READ"})
    assert "recordChangeTag" in by_name(await hand.lookup("k1"))["k1"]
    assert (await one(hand, create("k2")))["reason"] == "CREATE operation not permitted"


async def test_a_container_that_is_full(hand: Hand, emulator: Emulator) -> None:
    emulator.database().quota_bytes = 1000
    await one(hand, create("k1", bytes(600)))
    assert (await one(hand, create("k2", bytes(600))))["serverErrorCode"] == "QUOTA_EXCEEDED"
    await one(hand, create("k1", bytes(900), "forceReplace"))


async def test_environments_share_nothing(hand: Hand) -> None:
    await one(hand, create("k1"))
    said = await hand.post("records/lookup", {"records": [{"recordName": "k1"}]}, environment="development")
    assert said.json["records"][0]["serverErrorCode"] == "NOT_FOUND"


async def test_a_schema_is_of_its_own_database(emulator: Emulator) -> None:
    fields = emulator.database("development").schema["Blob"].fields
    fields["d"] = replace(fields["d"], queryable=True)
    assert not emulator.database().schema["Blob"].indexed
