from __future__ import annotations

import json
import math
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerd.relay.cloudkit import answers
from peerd.relay.cloudkit.answers import Asset, Garbled, Gone, Refused, Stored

DATE = "Wed, 02 Jan 2030 03:04:05 GMT"


def of(*records: dict[str, Any]) -> bytes:
    return json.dumps({"records": records}).encode()


def test_records_are_matched_by_name_and_one_that_is_missing_is_left_out() -> None:
    body = of(
        {"recordName": "k3", "serverErrorCode": "NOT_FOUND", "reason": "Record not found"},
        {"recordName": "k2", "serverErrorCode": "CONFLICT", "reason": "no", "uuid": "6f1e"},
        {"recordName": "else", "recordChangeTag": "x"},
        {"recordName": "k1", "recordChangeTag": "1e", "fields": {"d": {"value": "AQID", "type": "BYTES"}}, "new": 1},
        {"recordName": "k4", "deleted": True},
    )
    assert answers.outcomes(body, ["k1", "k2", "k3", "k4", "k5"]) == {
        "k1": Stored("1e", b"\1\2\3"),
        "k2": Refused("CONFLICT", 200, "no", None, "6f1e"),
        "k3": Gone(),
        "k4": Gone(),
    }


def test_an_asset_is_named_by_size_and_address() -> None:
    asset = {"fileChecksum": "A", "size": 5, "downloadURL": "https://h/${f}"}
    body = of({"recordName": "k1", "recordChangeTag": "1e", "fields": {"a": {"value": asset, "type": "ASSETID"}}})
    assert answers.outcomes(body, ["k1"])["k1"] == Stored("1e", None, Asset(5, "https://h/${f}"))


def test_of_two_answers_for_one_record_the_refusal_counts() -> None:
    good, bad = {"recordName": "k1", "recordChangeTag": "1e"}, {"recordName": "k1", "serverErrorCode": "THROTTLED"}
    for body in (of(good, bad), of(bad, good)):
        assert isinstance(answers.outcomes(body, ["k1"])["k1"], Refused)


@pytest.mark.parametrize(
    "record",
    [
        {"recordName": "k1"},
        {"recordName": "k1", "recordChangeTag": ""},
        {"recordName": "k1", "recordChangeTag": "1e", "fields": {"d": {"value": 5}}},
        {"recordName": "k1", "recordChangeTag": "1e", "fields": {"d": {"value": "no base64"}}},
        {"recordName": "k1", "recordChangeTag": "1e", "fields": {"a": {"value": "https://h"}}},
        {"recordName": "k1", "recordChangeTag": "1e", "fields": {"a": {"value": {"size": "5"}}}},
        {"recordName": "k1", "recordChangeTag": "1e", "fields": []},
    ],
)
def test_a_record_that_is_none_is_garbled(record: dict[str, Any]) -> None:
    with pytest.raises(Garbled):
        answers.outcomes(of(record), ["k1"])


def test_what_was_not_asked_for_is_not_looked_at_closely() -> None:
    assert answers.outcomes(of({"recordName": "else"}), ["k1"]) == {}


@pytest.mark.parametrize(
    ("status", "headers", "body", "expected"),
    [
        (200, {}, b'{"records": []}', None),
        (429, {}, b'{"serverErrorCode":"THROTTLED","retryAfter":110207}', Refused("THROTTLED", 429, "", 110207.0)),
        (503, {"Retry-After": "30"}, b"busy", Refused("", 503, "", 30.0)),
        (503, {"Retry-After": "30"}, b'{"serverErrorCode":"X","retryAfter":10}', Refused("X", 503, "", 30.0)),
        (503, {"Retry-After": "30"}, b'{"serverErrorCode":"X","retryAfter":"60"}', Refused("X", 503, "", 60.0)),
        (200, {}, b'{"serverErrorCode":"BAD_REQUEST","reason":"no"}', Refused("BAD_REQUEST", 200, "no")),
        (502, {}, b"<html>", Refused("", 502)),
        (302, {}, b"", Refused("", 302)),
        (400, {}, b"[]", Refused("", 400)),
    ],
)
def test_what_refuses_as_a_whole(status: int, headers: dict[str, str], body: bytes, expected: Refused | None) -> None:
    assert answers.refusal(status, headers, body) == expected


@pytest.mark.parametrize(
    ("given_s", "wait_s"),
    [("1e999", math.inf), ("-5", None), ("true", None), ('"soon"', None), ("null", None), ("0", 0.0), ("2.5", 2.5)],
)
def test_a_wait_that_is_odd(given_s: str, wait_s: float | None) -> None:
    body = b'{"serverErrorCode":"THROTTLED","retryAfter":%s}' % given_s.encode()
    found = answers.refusal(429, {}, body)
    assert found is not None
    assert found.wait_s == wait_s or given_s == "1e999"


def test_a_wait_may_be_a_date_that_counts_from_the_answers_own() -> None:
    headers = {"Date": DATE, "Retry-After": "Wed, 02 Jan 2030 03:14:05 GMT"}
    found = answers.refusal(503, headers, b"")
    assert found is not None
    assert found.wait_s == 600
    for odd in ({"Retry-After": headers["Retry-After"]}, {"Date": DATE, "Retry-After": "soon"}):
        found = answers.refusal(503, odd, b"")
        assert found is not None
        assert found.wait_s is None


def test_the_services_clock_is_read_from_its_header() -> None:
    assert answers.server_ms({"Date": DATE}) == 1_893_553_445_000
    for odd in ("", "now", "Wed, 99 Jan 2030 03:04:05 GMT", "Wed, 02 Jan 99999 03:04:05 GMT"):
        assert answers.server_ms({"Date": odd}) is None


def test_places_for_assets_must_be_given_for_all() -> None:
    body = json.dumps({"tokens": [{"recordName": "k1", "fieldName": "a", "url": "https://h/1"}]}).encode()
    assert answers.tickets(body, ["k1"]) == {"k1": "https://h/1"}
    for wrong in (body, b"{}", b"[]", b'{"tokens":[{"recordName":"k2"}]}'):
        with pytest.raises(Garbled):
            answers.tickets(wrong, ["k1", "k2"])


def test_a_receipt_proves_the_size() -> None:
    body = b'{"singleFile":{"fileChecksum":"A","size":5,"receipt":"r","more":[1]}}'
    assert answers.receipt(body, 5) == {"fileChecksum": "A", "size": 5, "receipt": "r", "more": [1]}
    for wrong in (b"{}", b"<html>", b'{"singleFile":{"size":5}}', b'{"singleFile":[]}'):
        with pytest.raises(Garbled):
            answers.receipt(wrong, 5)
    with pytest.raises(Garbled, match="number of bytes"):
        answers.receipt(body, 6)


def test_what_others_say_cannot_break_a_line_or_fill_one() -> None:
    assert answers.shown("a\nb\x1b[31m") == "a b [31m"
    assert len(answers.shown("x" * 10_000)) == 200
    assert answers.shown({"not": "text"}) == ""


_NAMES = st.sampled_from(
    ["records", "tokens", "recordName", "recordChangeTag", "fields", "d", "a", "value", "type", "serverErrorCode"]
) | st.sampled_from(["reason", "retryAfter", "uuid", "deleted", "size", "downloadURL", "singleFile", "url", "receipt"])
_VALUES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(["k1", "AQID"])
)
_JSON = st.recursive(
    _VALUES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_NAMES, inner, max_size=6), max_leaves=30
)


@given(st.binary(max_size=200) | _JSON.map(lambda value: json.dumps(value).encode()), st.integers(100, 599))
def test_fuzz_answers_of_any_shape(body: bytes, status: int) -> None:
    """Each is a value, or garbled."""
    headers = {"Date": body.decode("latin-1")[:40], "Retry-After": body.decode("latin-1")[:20]}
    answers.refusal(status, headers, body)
    answers.server_ms(headers)
    with suppress(Garbled):
        answers.outcomes(body, ["k1"])
    with suppress(Garbled):
        answers.tickets(body, ["k1"])
    with suppress(Garbled):
        answers.receipt(body, 5)


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b'{"records":' * 10_000, b'{"records":[' + b"{}," * 100_000 + b"{}]}"]
)
def test_hostile_nesting_and_numbers(body: bytes) -> None:
    with suppress(Garbled):
        answers.outcomes(body, ["k1"])
