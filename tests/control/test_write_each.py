"""Many small transactions in one request: what is wrong with one change is answered in its place."""

from __future__ import annotations

import json
from typing import Any

import pytest

from peerd.control.writes import CHANGES_PER_REQUEST
from peerd.errors import DiskFull, UserError
from peerd.protocol.control.messages import ChangeRequest

TARGET = "/v1/spaces/home/writes"
PUT = {"kind": "put", "collection": "todo", "key": "1", "value": {"a": 1}}
RAW = b'{"kind":"put","collection":"todo","key":"1","value":{"a":1}}'
WRITTEN = {
    "dot": "aa:4",
    "changed": True,
    "results": [{"collection": "todo", "key": "1", "etag": "e2", "changed": True, "created": False}],
}


async def test_changes_reach_the_service_together_and_in_order(talk: Any, service: Any) -> None:
    """With their conditions, also two of one record; each has the result that it would have had alone."""
    changes = [
        {**PUT, "if_none_match": True},
        {"kind": "patch", "collection": "todo", "key": "1", "set": {"b": [1]}, "drop": ["c"], "if_match": '"e0"'},
        {"kind": "delete", "collection": "todo", "key": "3", "seen": "e5", "must_exist": True},
    ]
    reply = await talk.ask("POST", TARGET, {"changes": changes})
    assert (reply.status, reply.json) == (200, {"results": [WRITTEN] * 3})
    asked = [
        ChangeRequest(kind="put", collection="todo", key="1", value={"a": 1}, if_none_match=True),
        ChangeRequest(kind="patch", collection="todo", key="1", set={"b": [1]}, drop=["c"], if_match="e0"),
        ChangeRequest(kind="delete", collection="todo", key="3", seen="e5", must_exist=True),
    ]
    assert service.calls == [("write_each", "home", asked)]


async def test_what_the_service_refuses_of_one_is_its_problem_document(talk: Any, service: Any) -> None:
    """Whole, with the members of its own; the others are answered as if nothing had been beside them."""
    service.refused["2"] = UserError("no", code="precondition-failed", status=412, next_step="Read.", etag="e7")
    reply = await talk.ask("POST", TARGET, {"changes": [PUT, {**PUT, "key": "2"}, PUT]})
    first, second, third = reply.json["results"]
    assert (reply.status, first, third) == (200, WRITTEN, WRITTEN)
    assert second == {
        "error": {
            "type": "urn:peerd:error:precondition-failed",
            "title": "It has changed in the meantime",
            "status": 412,
            "detail": "no",
            "code": "precondition-failed",
            "next_step": "Read.",
            "etag": "e7",
        }
    }


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"1", "bad-body"),
        (b"null", "bad-body"),
        (b"{}", "bad-body"),
        (RAW.replace(b"put", b"restore"), "bad-body"),
        (RAW.replace(b"value", b"valeu"), "bad-body"),
        (RAW.replace(b'"1"', b"1"), "bad-body"),
        (RAW.replace(b"put", b"delete"), "bad-body"),
        (RAW.replace(b'"1"', b'""'), "bad-name"),
        (RAW.replace(b"todo", b"../x"), "bad-name"),
        (RAW.replace(b'"a"', b'"\\u0007"'), "bad-name"),
        (RAW.replace(b"{", b'{"seen":"a b",', 1), "bad-header"),
        (RAW.replace(b'"a":1', b'"a":1,"a":2'), "duplicate-key"),
        (RAW.replace(b'"a":1', b'"a":9223372036854775808'), "number-too-large"),
        (RAW.replace(b'"a":1', b'"a":"\xff"'), "malformed-json"),
        (RAW.replace(b'"a":1', b'"a":' + b"[" * 16 + b"]" * 16), "too-deep"),
        (RAW.replace(b'"a":1', json.dumps({f"f{n}": n for n in range(4_097)}).encode()[1:-1]), "too-large"),
    ],
)
async def test_a_bad_change_is_refused_alone(talk: Any, service: Any, raw: bytes, code: str) -> None:
    """Whatever is wrong with it, those beside it reach the service."""
    reply = await talk.ask("POST", TARGET, b'{ "changes" : [ %b , %b,%b ] }' % (RAW, raw, RAW))
    assert reply.status == 200, reply.body
    first, second, third = reply.json["results"]
    assert (first, second["error"]["code"], third) == (WRITTEN, code, WRITTEN)
    assert second["error"]["status"] == (413 if code == "too-large" else 400)
    ((_, _, asked),) = service.calls
    assert len(asked) == 2


async def test_a_value_may_be_as_deep_as_in_any_other_write(talk: Any, service: Any) -> None:
    """Fifteen levels in a field; colons in strings are no members."""
    raw = RAW.replace(b'"a":1', b'"a:b":' + b"[" * 15 + b'"::"' + b"]" * 15)
    reply = await talk.ask("POST", TARGET, b'{"changes":[%b]}' % raw)
    assert reply.json == {"results": [WRITTEN]}


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"{}", "bad-body"),
        (b'{"changes":[]}', "bad-body"),
        (b'{"changes":{}}', "bad-body"),
        (b'{"change":[%b]}' % RAW, "bad-body"),
        (b'{"changes":[%b],"atomic":true}' % RAW, "bad-body"),
        (b'{"changes":[%b],"changes":[%b]}' % (RAW, RAW), "duplicate-key"),
        (b'{"changes":[%b,]}' % RAW, "malformed-json"),
        (b'{"changes":[%b}' % RAW[:-1], "malformed-json"),
        (b'{"changes":[%b]}}' % RAW, "malformed-json"),
        (b'{"changes":[%b]}' % RAW.replace(b'"a":1', b'"a":"\\ud800"'), "malformed-json"),
        (b'{"changes":[' + b"[" * 100_000, "too-deep"),
    ],
)
async def test_what_is_wrong_around_the_changes_refuses_the_request(
    talk: Any, service: Any, raw: bytes, code: str
) -> None:
    """And what is no JSON at all: then nobody can say where a change ends."""
    (await talk.ask("POST", TARGET, raw)).problem(400, code)
    assert service.calls == []


async def test_a_request_has_an_end(talk: Any, service: Any) -> None:
    """Ten thousand, and not one more."""
    body = b'{"changes":[%b]}'
    reply = await talk.ask("POST", TARGET, body % b",".join([RAW] * (CHANGES_PER_REQUEST + 1)))
    reply.problem(413, "too-large")
    assert service.calls == []
    reply = await talk.ask("POST", TARGET, body % b",".join([RAW] * CHANGES_PER_REQUEST))
    assert len(reply.json["results"]) == CHANGES_PER_REQUEST


async def test_a_failure_of_the_store_is_the_problem_of_the_request(talk: Any, service: Any) -> None:
    service.failure = DiskFull("2,000 of 3,000 changes are written; the others met this: no space left")
    assert (await talk.ask("POST", TARGET, {"changes": [PUT]})).problem(507, "disk-full")["detail"].startswith("2,000")


async def test_the_space_has_to_exist_even_if_no_change_is_good(talk: Any, service: Any) -> None:
    """So the service is asked although there is nothing left to write."""
    service.failure = UserError("none", code="space-not-found", status=404)
    (await talk.ask("POST", TARGET, {"changes": [1]})).problem(404, "space-not-found")
    assert service.calls == [("write_each", "home", [])]
