"""The emulator refuses what CloudKit refuses, in its words: addresses, signatures, shapes and limits of requests."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from tests.relay.emulator.conftest import Clock
from tests.relay.emulator.hand import Hand, by_name, create, delete, path_of
from tests.relay.emulator.server import Emulator

LOOKUP = {"records": [{"recordName": "k1"}]}
SIGNATURE = "X-Apple-CloudKit-Request-SignatureV1"
DATE = "X-Apple-CloudKit-Request-ISO8601Date"
KEY = "X-Apple-CloudKit-Request-KeyID"


async def test_a_lookup_of_nothing_says_so_inside_a_200(hand: Hand) -> None:
    said = await hand.post("records/lookup", LOOKUP)
    assert said.status == 200
    assert said.json["records"] == [{"recordName": "k1", "reason": "Record not found", "serverErrorCode": "NOT_FOUND"}]


@pytest.mark.parametrize("at_s", [-601, 601])
async def test_a_signature_of_another_time_is_refused(hand: Hand, emulator: Emulator, at_s: int) -> None:
    data = json.dumps(LOOKUP).encode()
    path = path_of("records/lookup")
    said = await hand.send(path, data, hand.headers(path, data, emulator.clock() + at_s))
    assert (said.status, said.code, said.json["reason"]) == (401, "AUTHENTICATION_FAILED", "Authentication failed")
    said = await hand.send(path, data, hand.headers(path, data, emulator.clock() + at_s * 0.99))
    assert said.status == 200


@pytest.mark.parametrize("wrong", ["body", "path", "key", "raw", "unhashed", "fraction", "missing", "base64", "query"])
async def test_every_mistake_in_a_signature_gets_the_same_answer(hand: Hand, wrong: str) -> None:
    data, path = json.dumps(LOOKUP).encode(), path_of("records/lookup")
    headers = hand.headers(path, data)
    if wrong == "body":
        data += b" "
    elif wrong == "path":
        headers = hand.headers(path_of("records/query"), data)
    elif wrong == "key":
        headers[KEY] = "0" * 64
    elif wrong == "raw":  # r and s, 32 bytes each, instead of DER
        message = f"{headers[DATE]}:{b64encode(data).decode()}:{path}".encode()
        r, s = decode_dss_signature(hand.key.sign(message, ECDSA(SHA256())))
        headers[SIGNATURE] = b64encode(r.to_bytes(32, "big") + s.to_bytes(32, "big")).decode()
    elif wrong == "unhashed":  # the body itself in the message
        message = f"{headers[DATE]}:{b64encode(data).decode()}:{path}".encode()
        headers[SIGNATURE] = b64encode(hand.key.sign(message, ECDSA(SHA256()))).decode()
    elif wrong == "fraction":
        headers[DATE] = headers[DATE].replace("Z", ".000Z")
    elif wrong == "missing":
        del headers[SIGNATURE]
    elif wrong == "base64":
        headers[SIGNATURE] = "=" + headers[SIGNATURE]
    elif wrong == "query":
        headers = hand.headers(path + "?ckAPIToken=1", data)
    said = await hand.send(path, data, headers)
    assert (said.status, said.code, said.json["reason"]) == (401, "AUTHENTICATION_FAILED", "Authentication failed")


async def test_a_key_reaches_the_public_database_alone(hand: Hand) -> None:
    for more in ({"database": "private"}, {"database": "shared"}, {"container": "iCloud.of.somebody.else"}):
        assert (await hand.post("records/lookup", LOOKUP, **more)).status == 401
    assert (await hand.post("users/discover", {})).status == 401
    assert (await hand.send(path_of("records/lookup"), b"{}", {})).status == 400


async def test_an_address_that_is_none(hand: Hand) -> None:
    assert (await hand.send("/database/1/x", b"{}", {})).status == 404
    assert (await hand.post("records/everything", {})).status == 404
    assert (await hand.post("records/lookup", LOOKUP, environment="Production")).status == 404
    assert (await hand.post("records/lookup", LOOKUP, method="GET")).status == 405
    assert (await hand.post("zones/list", {}, method="GET")).json["zones"][0]["zoneID"]["zoneName"] == "_defaultZone"


@pytest.mark.parametrize(
    ("operation", "reason"),
    [
        ("records/changes", "cannot get changes in default zone"),
        ("changes/zone", "cannot get changes in default zone"),
        ("zones/modify", "not supported in the public database, or not emulated"),
    ],
)
async def test_what_the_public_database_does_not_have(hand: Hand, operation: str, reason: str) -> None:
    said = await hand.post(operation, {"zones": []})
    assert (said.status, said.code, said.json["reason"]) == (400, "BAD_REQUEST", reason)


@pytest.mark.parametrize(
    "body",
    [
        {"operations": [create("k1")], "atomic": True},
        {"operations": [create(f"k{number}") for number in range(201)]},
        {"operations": [create("k1"), create("k1")]},
        {"operations": [create("k1"), create("k2", operation="replace")]},
        {"operations": [create("k1"), delete("k2", "delete")]},
        {"operations": [create("k1"), create("k2", operation="upsert")]},
        {"operations": [create("k1"), {"operationType": "create"}]},
        {"operations": []},
        {"operations": create("k1")},
        {},
        [],
    ],
)
async def test_a_request_that_is_wrong_somewhere_does_nothing_at_all(hand: Hand, body: Any) -> None:
    said = await hand.post("records/modify", {"atomic": False, **body} if isinstance(body, dict) else body)
    assert (said.status, said.code) == (400, "BAD_REQUEST")
    assert by_name(await hand.lookup("k1"))["k1"]["serverErrorCode"] == "NOT_FOUND"


async def test_a_lookup_has_limits_and_takes_one_record_in_place_of_a_list(hand: Hand) -> None:
    assert (await hand.lookup(*(f"k{number}" for number in range(201)))).status == 400
    assert (await hand.lookup(*(f"k{number}" for number in range(200)))).status == 200
    one = await hand.post("records/lookup", {"records": {"recordName": "k1"}})
    assert one.json["records"][0]["serverErrorCode"] == "NOT_FOUND"
    assert (await hand.post("records/lookup", {"records": [{}]})).status == 400


async def test_another_zone_and_a_body_that_is_no_json(hand: Hand) -> None:
    said = await hand.modify(create("k1"), zoneID={"zoneName": "mine"})
    assert (said.status, said.code) == (404, "ZONE_NOT_FOUND")
    path = path_of("records/lookup")
    assert (await hand.send(path, b"{", hand.headers(path, b"{"))).status == 400


async def test_a_body_that_is_too_large(hand: Hand, emulator: Emulator) -> None:
    emulator.request_bytes = 1000
    assert (await hand.modify(create("k1", bytes(1000)))).status == 413


async def test_a_throttle_has_apples_shape_and_counts_who_does_not_wait(
    hand: Hand, emulator: Emulator, clock: Clock
) -> None:
    emulator.faults.add("throttle", retry_after=110207)
    said = await hand.post("records/lookup", LOOKUP)
    assert (said.status, said.code, said.json["retryAfter"]) == (429, "THROTTLED", 110207)
    assert said.json["error_code"] == "THROTTLED"
    clock.now += 110_000
    assert (await hand.post("records/lookup", LOOKUP)).json["retryAfter"] == pytest.approx(207)
    assert emulator.early == 1
    clock.now += 208
    assert (await hand.post("records/lookup", LOOKUP)).status == 200
    emulator.faults.add("throttle", "records/query", retry_after=30)
    assert (await hand.post("records/query", {"query": {"recordType": "Blob"}})).status == 429
    assert (await hand.post("records/query", {"query": {"recordType": "Blob"}})).status == 429
    assert (await hand.post("records/lookup", LOOKUP)).status == 200
    clock.now += 31
    emulator.requests_per_s = 3
    assert [(await hand.post("records/lookup", LOOKUP)).status for _ in range(4)] == [200, 200, 200, 429]


async def test_what_each_client_costs_is_counted(emulator: Emulator, hand: Hand) -> None:
    other = Hand(emulator)
    await hand.modify(create("k1", bytes(1000)))
    await other.lookup("k1")
    await other.close()
    written, read = emulator.seen
    assert (written.client, read.client) == (hand.key_id, other.key_id)
    assert len(written.body) > 1333
    assert written.answer_bytes > 1333
    assert read.body_bytes == len(read.body) + read.answer_bytes > 1333 > len(read.body)
