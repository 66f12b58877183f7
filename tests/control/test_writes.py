"""Transactions: every change is looked at before any reaches the service."""

from __future__ import annotations

import json
from typing import Any

import pytest

from peerd.core.limits import CHANGES_PER_TRANSACTION
from peerd.protocol.control.messages import ChangeRequest, ChangeResult, WriteResult

TARGET = "/v1/spaces/home/transactions"
PUT = {"kind": "put", "collection": "todo", "key": "1", "value": {"a": 1}}


async def test_changes_reach_the_service_in_order(talk: Any, service: Any) -> None:
    """With their conditions; the answer has a result for each."""
    service.written = WriteResult(
        dot="aa:9",
        changed=True,
        results=[
            ChangeResult(collection="todo", key="1", etag="e1", created=True),
            ChangeResult(collection="todo", key="2", etag=None, changed=False),
        ],
    )
    body = {
        "changes": [
            {**PUT, "if_none_match": True},
            {"kind": "patch", "collection": "todo", "key": "2", "set": {"b": [1]}, "drop": ["c"], "if_match": '"e0"'},
            {"kind": "delete", "collection": "todo", "key": "3", "seen": "e5"},
        ]
    }
    reply = await talk.ask("POST", TARGET, body)
    assert reply.json == {
        "dot": "aa:9",
        "changed": True,
        "results": [
            {"collection": "todo", "key": "1", "etag": "e1", "changed": True, "created": True},
            {"collection": "todo", "key": "2", "etag": None, "changed": False, "created": False},
        ],
    }
    assert service.calls == [
        (
            "write",
            "home",
            [
                ChangeRequest(kind="put", collection="todo", key="1", value={"a": 1}, if_none_match=True),
                ChangeRequest(kind="patch", collection="todo", key="2", set={"b": [1]}, drop=["c"], if_match="e0"),
                ChangeRequest(kind="delete", collection="todo", key="3", seen="e5"),
            ],
        )
    ]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({**PUT, "kind": "restore"}, "bad-body"),
        ({**PUT, "kind": None}, "bad-body"),
        ({key: PUT[key] for key in ("kind", "collection", "key")}, "bad-body"),
        ({**PUT, "value": [1]}, "bad-body"),
        ({**PUT, "set": {"a": 1}}, "bad-body"),
        ({**PUT, "drop": ["a"]}, "bad-body"),
        ({**PUT, "kind": "patch"}, "bad-body"),
        ({**PUT, "kind": "delete"}, "bad-body"),
        ({**PUT, "keys": 1}, "bad-body"),
        ({**PUT, "key": 1}, "bad-body"),
        ({"kind": "patch", "collection": "c", "key": "k"}, "bad-body"),
        ({"kind": "patch", "collection": "c", "key": "k", "set": {"a": 1}, "drop": ["a"]}, "bad-body"),
        ({"kind": "patch", "collection": "c", "key": "k", "set": {"a": 1}, "if_none_match": True}, "bad-body"),
        ({"kind": "delete", "collection": "c", "key": "k", "set": {"a": 1}}, "bad-body"),
        ({**PUT, "key": ""}, "bad-name"),
        ({**PUT, "key": "a\u0000"}, "bad-name"),
        ({**PUT, "key": "x" * 10_000}, "bad-name"),
        ({**PUT, "key": "\u202eabc"}, "bad-name"),
        ({**PUT, "collection": "../x"}, "bad-name"),
        ({**PUT, "collection": "_settings"}, "bad-name"),
        ({**PUT, "value": {"\u0007": 1}}, "bad-name"),
        ({"kind": "patch", "collection": "c", "key": "k", "drop": [""]}, "bad-name"),
        ({**PUT, "value": {"a": 2**63}}, "number-too-large"),
        ({**PUT, "if_match": '"a", "b"'}, "bad-header"),
        ({**PUT, "seen": "a b"}, "bad-header"),
        ({**PUT, "value": {f"f{n}": n for n in range(4_097)}}, "too-large"),
    ],
)
async def test_one_bad_change_refuses_them_all(talk: Any, service: Any, change: dict[str, Any], code: str) -> None:
    """Whatever is wrong with it, nothing of the transaction reaches the service."""
    reply = await talk.ask("POST", TARGET, {"changes": [PUT, change]})
    assert reply.json["code"] == code, reply.body
    assert reply.status == (413 if code == "too-large" else 400)
    assert service.calls == []


async def test_the_bad_change_is_named(talk: Any) -> None:
    """By its place, so that a program can find it among thousands."""
    reply = await talk.ask("POST", TARGET, {"changes": [PUT] * 7 + [{**PUT, "key": ""}]})
    document = reply.problem(400, "bad-name")
    assert document["index"] == 7
    assert document["detail"].startswith("change 7: ")


@pytest.mark.parametrize("body", [{}, {"changes": []}, {"changes": {}}, {"changes": [1]}, {"change": [PUT]}, []])
async def test_a_transaction_has_changes(talk: Any, service: Any, body: Any) -> None:
    (await talk.ask("POST", TARGET, body)).problem(400, "bad-body")
    assert service.calls == []


async def test_a_transaction_has_an_end(talk: Any, service: Any) -> None:
    """One more than any receiver would take."""
    change = b'{"kind":"delete","collection":"c","key":"k"}'
    body = b'{"changes":[%b]}' % b",".join([change] * (CHANGES_PER_TRANSACTION + 1))
    (await talk.ask("POST", TARGET, body)).problem(413, "too-large")
    assert service.calls == []


async def test_a_large_transaction_is_read_beside_the_loop(talk: Any, service: Any) -> None:
    """And comes through whole."""
    changes = [{**PUT, "key": str(n), "value": {"a": "x" * 200}} for n in range(5_000)]
    assert (await talk.ask("POST", TARGET, json.dumps({"changes": changes}).encode())).status == 200
    assert [change.key for change in service.calls[0][2]] == [str(n) for n in range(5_000)]
