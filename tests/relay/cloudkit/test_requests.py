from __future__ import annotations

import json

from peerd.protocol.relay.objects import OBJECT_BYTES
from peerd.relay.cloudkit import requests
from peerd.relay.cloudkit.requests import BODY_BYTES, Operation


def test_a_lookup_asks_for_tags_alone_or_for_both_fields() -> None:
    assert json.loads(requests.lookup_body(["k1", "k2"], contents=False)) == {
        "records": [{"recordName": "k1"}, {"recordName": "k2"}],
        "desiredKeys": [],
    }
    assert json.loads(requests.lookup_body(["k1"], contents=True))["desiredKeys"] == ["d", "a"]


def test_a_modify_is_never_atomic_and_every_value_has_its_type() -> None:
    asset = {"fileChecksum": "AfQR", "size": 7320, "receipt": "r"}
    body = requests.modify_body(
        [
            Operation("create", "k1", b"\1\2\3"),
            Operation("replace", "k2", tag="lo5d1jwm", asset=asset),
            Operation("forceDelete", "k3"),
        ]
    )
    fields = {"d": {"value": "AQID", "type": "BYTES"}}
    large = {"a": {"value": asset, "type": "ASSETID"}}
    replaced = {"recordName": "k2", "recordType": "Blob", "fields": large, "recordChangeTag": "lo5d1jwm"}
    assert json.loads(body) == {
        "atomic": False,
        "desiredKeys": [],
        "operations": [
            {"operationType": "create", "record": {"recordName": "k1", "recordType": "Blob", "fields": fields}},
            {"operationType": "replace", "record": replaced},
            {"operationType": "forceDelete", "record": {"recordName": "k3"}},
        ],
    }


def test_a_ticket_names_record_type_and_field() -> None:
    assert json.loads(requests.tickets_body(["k1"])) == {
        "tokens": [{"recordName": "k1", "recordType": "Blob", "fieldName": "a"}]
    }


def test_a_batch_has_two_hundred_operations_and_a_million_bytes_at_most() -> None:
    small = [Operation("create", f"k{number}", b"x") for number in range(450)]
    assert [len(batch) for batch in requests.batches(small)] == [200, 200, 50]
    large = [Operation("create", f"k{number}", bytes(100_000)) for number in range(20)]
    batches = list(requests.batches(large))
    assert [one for batch in batches for one in batch] == large
    assert all(len(requests.modify_body(batch)) <= BODY_BYTES for batch in batches)
    assert len(batches) == 3
    assert list(requests.batches([])) == []


def test_the_largest_object_fits_into_a_body_of_its_own() -> None:
    one = Operation("create", "0" * 64, bytes(OBJECT_BYTES))
    assert len(requests.modify_body([one])) <= one.body_bytes + 100 <= BODY_BYTES
