"""Records over the socket: what reaches the service, and what is answered."""

from __future__ import annotations

import json
from typing import Any

import pytest

from peerd.errors import DiskFull, StoreBusy, UserError
from peerd.protocol.control.messages import ChangeRequest, ChangeResult, CollectionChange, WriteResult

RECORD = "/v1/spaces/home/records/todo/1"


def put(value: dict[str, Any], **more: Any) -> ChangeRequest:
    return ChangeRequest(kind="put", collection="todo", key="1", value=value, **more)


async def test_a_record_is_read_with_its_etag(talk: Any, service: Any) -> None:
    reply = await talk.ask("GET", RECORD)
    assert reply.headers["etag"] == '"e1"'
    assert reply.json == {
        "collection": "todo",
        "key": "1",
        "value": {"title": "milk", "n": 1},
        "etag": "e1",
        "conflicts": ["title"],
    }
    assert service.calls == [("read_record", "home", "todo", "1")]


@pytest.mark.parametrize(
    ("header", "status"), [('"e1"', 304), ('W/"e1"', 304), ('"x", "e1"', 304), ("*", 304), ('"e2"', 200), ('""', 200)]
)
async def test_a_reader_who_has_it_gets_nothing(talk: Any, header: str, status: int) -> None:
    """If-None-Match, weak comparison; the connection goes on after the empty answer."""
    reply = await talk.ask("GET", RECORD, headers={"If-None-Match": header})
    assert (reply.status, reply.headers["etag"]) == (status, '"e1"')
    assert (reply.body == b"") == (status == 304)
    assert (await talk.ask("GET", RECORD)).status == 200


async def test_keys_reach_the_service_as_they_are(talk: Any, service: Any) -> None:
    """A slash, emoji, dots: the key is data."""
    await talk.ask("GET", "/v1/spaces/home/records/%E6%97%A5%E6%9C%AC/..%2F%F0%9F%98%80%2Fa%20b")
    assert service.calls == [("read_record", "home", "日本", "../😀/a b")]


async def test_lists_have_pages(talk: Any, service: Any) -> None:
    reply = await talk.ask("GET", "/v1/spaces/home/records/todo?prefix=a%2F&limit=7&cursor=c1")
    assert reply.json["cursor"] == "c2"
    assert reply.json["records"][0]["value"] == {"title": "milk", "n": 1}
    await talk.ask("GET", "/v1/spaces/home/records/todo")
    assert service.calls == [
        ("list_records", "home", "todo", "a/", 7, "c1"),
        ("list_records", "home", "todo", "", 100, None),
    ]


@pytest.mark.parametrize("limit", ["0", "1001", "-1", "x", "1.5", "99999999999999999999", "%C2%B2", ""])
async def test_a_limit_is_a_number(talk: Any, service: Any, limit: str) -> None:
    (await talk.ask("GET", f"/v1/spaces/home/records/todo?limit={limit}")).problem(400, "bad-query")
    assert service.calls == []


async def test_a_put_reaches_the_service_exactly(talk: Any, service: Any) -> None:
    """Types and all; the answer has the new etag and the dot."""
    raw = b'{"i":9223372036854775807,"f":1.0,"n":null,"b":true,"l":[1,{"x":"\\u00e9"}],"":"","$bytes":"aGk="}'
    refused = await talk.ask("PUT", RECORD, raw)
    refused.problem(400, "bad-name")
    reply = await talk.ask("PUT", RECORD, raw.replace(b'"":"",', b""))
    assert reply.status == 200
    assert reply.headers["etag"] == '"e2"'
    assert reply.json == {
        "collection": "todo", "key": "1", "etag": "e2", "changed": True, "created": False, "dot": "aa:4",
    }  # fmt: skip
    ((_, space, (change,)),) = service.calls
    assert (space, change.kind, change.collection, change.key) == ("home", "put", "todo", "1")
    assert repr(change.value) == repr(
        {"i": 2**63 - 1, "f": 1.0, "n": None, "b": True, "l": [1, {"x": "é"}], "$bytes": "aGk="}
    )


async def test_a_new_record_is_created(talk: Any, service: Any) -> None:
    service.written = WriteResult(
        dot="aa:5", changed=True, results=[ChangeResult(collection="todo", key="1", etag="e3", created=True)]
    )
    assert (await talk.ask("PUT", RECORD, {})).status == 201


async def test_a_delete_has_no_etag_afterwards(talk: Any, service: Any) -> None:
    """And asks that there be something to delete."""
    service.written = WriteResult(
        dot="aa:5", changed=True, results=[ChangeResult(collection="todo", key="1", etag=None)]
    )
    reply = await talk.ask("DELETE", RECORD)
    assert "etag" not in reply.headers
    assert reply.json["etag"] is None
    change = ChangeRequest(kind="delete", collection="todo", key="1", must_exist=True)
    assert service.calls == [("write", "home", [change])]


async def test_a_patch_sets_and_drops(talk: Any, service: Any) -> None:
    assert (await talk.ask("PATCH", RECORD, {"set": {"a": [1]}, "drop": ["b"]})).status == 200
    change = ChangeRequest(kind="patch", collection="todo", key="1", set={"a": [1]}, drop=["b"])
    assert service.calls == [("write", "home", [change])]


@pytest.mark.parametrize(
    ("headers", "query", "expected"),
    [
        ({"If-Match": '"e1"'}, "", {"if_match": "e1"}),
        ({"If-Match": "e1"}, "", {"if_match": "e1"}),
        ({"If-Match": "*"}, "", {"if_match": "*"}),
        ({"If-None-Match": "*"}, "", {"if_none_match": True}),
        ({"Peerd-Seen": '"e1"'}, "", {"seen": "e1"}),
        ({"Peerd-Seen": '""'}, "", {"seen": ""}),
        ({}, "?seen=e1", {"seen": "e1"}),
        ({}, "?seen=%22e1%22", {"seen": "e1"}),
        ({}, "?seen=", {"seen": ""}),
        ({"If-Match": '"e1"', "Peerd-Seen": '"e0"'}, "", {"if_match": "e1", "seen": "e0"}),
        ({"Peerd-Seen": '"e1"'}, "?seen=e1", {"seen": "e1"}),
    ],
)
async def test_conditions_are_passed_on(
    talk: Any, service: Any, headers: dict[str, str], query: str, expected: dict[str, Any]
) -> None:
    """If-Match is strict, Peerd-Seen merges, If-None-Match creates."""
    assert (await talk.ask("PUT", RECORD + query, {"a": 1}, headers)).status == 200
    assert service.calls == [("write", "home", [put({"a": 1}, **expected)])]


@pytest.mark.parametrize(
    ("method", "headers", "query"),
    [
        ("PUT", {"If-Match": '"a", "b"'}, ""),
        ("PUT", {"If-Match": 'W/"a"'}, ""),
        ("PUT", {"If-None-Match": '"a"'}, ""),
        ("PATCH", {"If-None-Match": "*"}, ""),
        ("DELETE", {"If-None-Match": "*"}, ""),
        ("PUT", {"Peerd-Seen": '"a"'}, "?seen=b"),
        ("PUT", {"Peerd-Seen": "a b"}, ""),
        ("PUT", {"If-Match": "\u00e9"}, ""),
    ],
)
async def test_conditions_that_mean_nothing_are_refused(
    talk: Any, service: Any, method: str, headers: dict[str, str], query: str
) -> None:
    """A condition that is misread would be one that is silently broken."""
    body = None if method == "DELETE" else {"a": 1} if method == "PUT" else {"set": {"a": 1}}
    (await talk.ask(method, RECORD + query, body, headers)).problem(400, "bad-header")
    assert service.calls == []


@pytest.mark.parametrize("header", ["If-Match", "Peerd-Seen"])
async def test_conditions_where_none_are_read_are_refused(talk: Any, service: Any, header: str) -> None:
    """A transaction has its conditions in its body."""
    (await talk.ask("DELETE", "/v1/spaces/home/members/D", None, {header: '"a"'})).problem(400, "bad-header")
    assert service.calls == []


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "malformed-json"),
        (b"{", "malformed-json"),
        (b"[]", "bad-body"),
        (b'"x"', "bad-body"),
        (b"null", "bad-body"),
        (b'{"a":1,"a":2}', "duplicate-key"),
        (b'{"a":9223372036854775808}', "number-too-large"),
        (b'{"a":1e400}', "number-too-large"),
        (b'{"a":' * 16 + b"{}" + b"}" * 16, "too-deep"),
        (b"[" * 100_000, "too-deep"),
        (b'{"a":"\xff"}', "malformed-json"),
        (b'{"a":"\\ud800"}', "malformed-json"),
        (b'{"a\\u0000":1}', "bad-name"),
        (b'{"\\u202e":1}', "bad-name"),
        (json.dumps({"x" * 256: 1}).encode(), "bad-name"),
        (json.dumps({"key": "1", "value": {}, "etag": "e"}).encode(), "bad-value"),
    ],
)
async def test_bodies_that_are_no_record_are_refused(talk: Any, service: Any, body: bytes, code: str) -> None:
    """A problem document each, and the service never hears of it; the connection is still good."""
    (await talk.ask("PUT", RECORD, body)).problem(400, code)
    assert service.calls == []
    assert (await talk.ask("GET", RECORD)).status == 200


@pytest.mark.parametrize(
    ("method", "target", "before", "after"),
    [
        ("PUT", RECORD, b'{"a":', b"}"),
        ("PATCH", RECORD, b'{"set":{"a":', b"}}"),
        (
            "POST",
            "/v1/spaces/home/transactions",
            b'{"changes":[{"kind":"put","collection":"c","key":"k","value":{"a":',
            b"}}]}",
        ),
    ],
)
async def test_as_deep_as_may_be(
    talk: Any, service: Any, method: str, target: str, before: bytes, after: bytes
) -> None:
    """The limit is the data model's, whatever the value is wrapped in: fifteen levels in a field."""
    assert (await talk.ask(method, target, before + b"[" * 15 + b"]" * 15 + after)).status == 200
    (await talk.ask(method, target, before + b"[" * 16 + b"]" * 16 + after)).problem(400, "too-deep")
    assert len(service.calls) == 1


async def test_too_many_fields_are_refused(talk: Any, service: Any) -> None:
    (await talk.ask("PUT", RECORD, {f"f{n}": 1 for n in range(4_097)})).problem(413, "too-large")
    assert service.calls == []


async def test_a_large_record_is_taken(talk: Any, service: Any) -> None:
    """Sixteen MiB, parsed beside the loop."""
    value = {"a": "x" * ((16 << 20) - 20)}
    assert (await talk.ask("PUT", RECORD, value)).status == 200
    assert service.calls[0][2][0].value == value


@pytest.mark.parametrize(
    "target",
    [
        "/v1/spaces/..%2F..%2Fetc/records/todo/1",
        "/v1/spaces/home/records/..%2Fx/1",
        "/v1/spaces/home/records/todo/%00",
        "/v1/spaces/home/records/todo/" + "%41" * 1_025,
        "/v1/spaces/home/records/todo/%E2%80%8F",
        "/v1/spaces/home/records/%F0%9F%98%80/1",
        "/v1/spaces/home/records/_settings/1",
        "/v1/spaces/home/records//1",
    ],
)
async def test_hostile_names_are_refused(talk: Any, service: Any, target: str) -> None:
    """Climbing, NUL, too long, right-to-left, emoji where a name is asked for, peerd's own, empty."""
    (await talk.ask("PUT", target, {"a": 1})).problem(400, "bad-name")
    assert service.calls == []


@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [
        (UserError("no such record", code="record-not-found", status=404), 404, "record-not-found"),
        (UserError("changed", code="precondition-failed", status=412), 412, "precondition-failed"),
        (DiskFull("no space left"), 507, "disk-full"),
        (StoreBusy("locked"), 503, "store-busy"),
        (ZeroDivisionError("secret"), 500, "internal"),
    ],
)
async def test_what_the_service_refuses_is_a_problem(
    talk: Any, service: Any, failure: Exception, status: int, code: str
) -> None:
    """With its code and status; a bug is told without its text. The connection goes on."""
    service.failure = failure
    reply = await talk.ask("PUT", RECORD, {"a": 1})
    reply.problem(status, code)
    assert b"secret" not in reply.body
    assert (await talk.ask("PUT", RECORD, {"a": 1})).status == 200


async def test_a_feed_that_cannot_begin_is_a_problem(talk: Any, service: Any) -> None:
    """Before the head is sent, so that the status says it."""
    service.failure = UserError("no", code="bad-cursor", status=400)
    (await talk.ask("GET", "/v1/spaces/home/changes?since=zz")).problem(400, "bad-cursor")
    (await talk.ask("GET", "/v1/spaces/home/changes?follow=yes")).problem(400, "bad-query")


@pytest.mark.parametrize(
    ("query", "since", "follow"),
    [("", None, False), ("?follow=1", None, True), ("?since=now&follow=0", "now", False), ("?since=t:9", "t:9", False)],
)
async def test_a_feed_begins_where_it_is_asked_to(
    talk: Any,
    service: Any,
    query: str,
    since: str | None,
    follow: bool,  # noqa: FBT001 - a column of the table
) -> None:
    service.events.put_nowait([])
    assert (await talk.ask("GET", f"/v1/spaces/home/changes{query}")).status == 200
    assert service.calls == [("changes", "home", since, follow)]


async def test_collections_and_their_settings(talk: Any, service: Any) -> None:
    """What is not named stays; a policy that does not exist is refused here."""
    assert (await talk.ask("GET", "/v1/spaces/home/collections")).json["collections"][0]["name"] == "todo"
    target = "/v1/spaces/home/collections/todo"
    body = {"policy": "newest", "fields": {"n": "max", "x": None}}
    assert (await talk.ask("PATCH", target, body)).json["policy"] == "newest"
    assert service.calls[1:] == [
        ("set_collection", "home", "todo", CollectionChange(policy="newest", fields={"n": "max", "x": None}))
    ]
    for wrong in ({"policy": "best"}, {"merge": "row"}, {"fields": {"a": 1}}, {"delete_win": True}):
        (await talk.ask("PATCH", target, wrong)).problem(400, "bad-body")
    (await talk.ask("PATCH", target, {"fields": {"\u0000": "max"}})).problem(400, "bad-name")
    assert len(service.calls) == 2
