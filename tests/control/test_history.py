"""What was, over the socket."""

from __future__ import annotations

from typing import Any

import pytest

from peerd.protocol.control.history import Revert
from peerd.protocol.control.messages import LogFilter


async def test_the_log_is_filtered(talk: Any, service: Any) -> None:
    query = "device=D&collection=_settings&key=a%2Fb&since_ms=5&until_ms=1750000000000&limit=5&cursor=c"
    reply = await talk.ask("GET", f"/v1/spaces/home/log?{query}")
    assert reply.json["transactions"][0]["changes"] == [
        {"kind": "put", "collection": "todo", "key": "1", "set": {"title": "milk"}}
    ]
    wanted = LogFilter(device="D", collection="_settings", key="a/b", since_ms=5, until_ms=1_750_000_000_000)
    assert service.calls == [("log", "home", wanted, 5, "c")]


async def test_without_a_filter_everything_is_wanted(talk: Any, service: Any) -> None:
    await talk.ask("GET", "/v1/spaces/home/log")
    assert service.calls == [("log", "home", LogFilter(), 100, None)]


@pytest.mark.parametrize("time", ["-1", "1.5", "yesterday", "", "9" * 19, "%C2%B2"])
@pytest.mark.parametrize("name", ["since_ms", "until_ms"])
async def test_what_is_no_time_is_refused(talk: Any, service: Any, name: str, time: str) -> None:
    (await talk.ask("GET", f"/v1/spaces/home/log?{name}={time}")).problem(400, "bad-query")
    assert service.calls == []


async def test_versions_of_a_record_are_listed(talk: Any, service: Any) -> None:
    reply = await talk.ask("GET", "/v1/spaces/home/records/todo/a%2Fb/history?limit=7&cursor=c")
    assert reply.json["versions"][0]["value"] == {"title": "milk"}
    await talk.ask("GET", "/v1/spaces/home/records/_settings/todo/history")
    assert service.calls == [
        ("versions", "home", "todo", "a/b", 7, "c"),
        ("versions", "home", "_settings", "todo", 100, None),
    ]


async def test_a_record_is_shown_as_it_was(talk: Any, service: Any) -> None:
    reply = await talk.ask("GET", "/v1/spaces/home/records/todo/a/history/1750000000000")
    assert (reply.json["value"], reply.json["at_ms"]) == ({"title": "milk"}, 1_750_000_000_000)
    assert service.calls == [("record_then", "home", "todo", "a", 1_750_000_000_000)]
    (await talk.ask("GET", "/v1/spaces/home/records/todo/a/history/yesterday")).problem(400, "bad-query")


@pytest.mark.parametrize(
    "body",
    [
        {"transaction": "aabb:1", "collection": "todo", "key": "1", "preview": True},
        {"device": "D", "since_ms": 5, "until_ms": 9, "anyway": True, "cursor": "c"},
        {"since_ms": 0},
    ],
)
async def test_what_is_to_be_undone_is_passed_on(talk: Any, service: Any, body: dict[str, Any]) -> None:
    reply = await talk.ask("POST", "/v1/spaces/home/revert", body)
    assert reply.json["records"][0]["done"] == "created"
    assert service.calls == [("revert", "home", Revert(**body))]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"device": "D"},
        {"transaction": "aabb:1", "since_ms": 5},
        {"transaction": "aabb:1", "device": "D"},
        {"since_ms": 5, "until_ms": 9},
        {"since_ms": -1},
        {"since_ms": 5, "key": "1"},
        {"since_ms": 5, "everything": True},
    ],
)
async def test_a_revert_that_contradicts_itself_is_refused(talk: Any, service: Any, body: dict[str, Any]) -> None:
    (await talk.ask("POST", "/v1/spaces/home/revert", body)).problem(400, "bad-body")
    (await talk.ask("POST", "/v1/spaces/home/revert", {"since_ms": 1, "collection": "_x"})).problem(400, "bad-name")
    assert service.calls == []
