"""Spaces, members, conflicts and the log over the socket."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import UNSET

from peerd.errors import StoreDamaged
from peerd.protocol.control.messages import Resolution
from peerd.protocol.control.reports import NewJoin


async def test_spaces_are_listed_and_read(talk: Any, service: Any) -> None:
    assert (await talk.ask("GET", "/v1/spaces")).json["spaces"][0]["name"] == "home"
    assert (await talk.ask("GET", "/v1/spaces/home")).json["peers"][0]["behind"] == 0
    assert service.calls == [("spaces",), ("space", "home")]


async def test_a_space_is_created(talk: Any, service: Any) -> None:
    reply = await talk.ask("POST", "/v1/spaces", {"name": "home"})
    assert (reply.status, reply.headers["location"]) == (201, "/v1/spaces/home")
    assert service.calls == [("create_space", "home")]


async def test_what_to_do_about_a_damaged_space_names_it(talk: Any, service: Any) -> None:
    """So that it can be done as it is written; also in the last line of a stream."""
    step = "`peerctl space rebuild NAME` gets a new copy."
    for address in ("/v1/spaces/home/members", "/v1/spaces/home/changes?since=now&follow=1"):
        service.failure = StoreDamaged("it is damaged", next_step=step)
        told = await talk.ask("GET", address)
        assert told.problem(500, "store-damaged")["next_step"] == "`peerctl space rebuild home` gets a new copy."


async def test_a_space_is_forgotten(talk: Any, service: Any) -> None:
    """Its database is kept unless the caller says otherwise."""
    assert (await talk.ask("DELETE", "/v1/spaces/home")).json["set_aside"] == "/x/ab-1.db"
    assert (await talk.ask("DELETE", "/v1/spaces/home?copy=delete")).json["set_aside"] == ""
    (await talk.ask("DELETE", "/v1/spaces/home?copy=all")).problem(400, "bad-query")
    assert service.calls == [("forget_space", "home", False), ("forget_space", "home", True)]


@pytest.mark.parametrize("name", ["../x", "", "a b", "x" * 65, "a\u0000", "😀", "\u202eabc", "_x"])
async def test_a_space_has_a_plain_name(talk: Any, service: Any, name: str) -> None:
    (await talk.ask("POST", "/v1/spaces", {"name": name})).problem(400, "bad-name")
    (await talk.ask("POST", "/v1/invitations", {"space": name})).problem(400, "bad-name")
    (await talk.ask("POST", "/v1/joins", {"code": "1", "name": name})).problem(400, "bad-name")
    assert service.calls == []


@pytest.mark.parametrize("listed", ["log", "conflicts"])
async def test_a_key_without_a_collection_names_no_record(talk: Any, service: Any, listed: str) -> None:
    (await talk.ask("GET", f"/v1/spaces/home/{listed}?key=a")).problem(400, "bad-query")
    (await talk.ask("GET", f"/v1/spaces/home/{listed}?key=")).problem(400, "bad-query")
    assert service.calls == []


async def test_conflicts_are_listed(talk: Any, service: Any) -> None:
    reply = await talk.ask("GET", "/v1/spaces/home/conflicts?collection=todo")
    assert reply.json["conflicts"][0]["values"][0]["shown"] is True
    assert service.calls == [("conflicts", "home", "todo", None, 100, None)]


@pytest.mark.parametrize(
    ("body", "resolution"),
    [
        ({"choose": 0}, Resolution(choose=0)),
        ({"value": None}, Resolution(value=None)),
        ({"value": {"a": [1]}, "etag": '"e1"'}, Resolution(value={"a": [1]}, etag="e1")),
        ({"drop": True, "etag": "e1"}, Resolution(drop=True, etag="e1")),
    ],
)
async def test_a_conflict_is_settled(talk: Any, service: Any, body: Any, resolution: Resolution) -> None:
    """Null is a value; absent is none."""
    assert (await talk.ask("POST", "/v1/spaces/home/conflicts/cc", body)).json["dot"] == "aa:4"
    assert service.calls == [("resolve", "home", "cc", resolution)]
    assert (service.calls[0][3].value is UNSET) == ("value" not in body)


@pytest.mark.parametrize("body", [{}, {"choose": 0, "drop": True}, {"choose": 0, "value": 1}, {"drop": False}])
async def test_a_conflict_is_settled_one_way(talk: Any, service: Any, body: Any) -> None:
    (await talk.ask("POST", "/v1/spaces/home/conflicts/cc", body)).problem(400, "bad-body")
    assert service.calls == []


async def test_an_invitation_is_answered_and_cancelled(talk: Any, service: Any) -> None:
    assert (await talk.ask("POST", "/v1/invitations/i1", {"admit": True})).status == 204
    assert (await talk.ask("POST", "/v1/invitations/i1", {"admit": False})).status == 204
    assert (await talk.ask("DELETE", "/v1/invitations/i1")).status == 204
    (await talk.ask("POST", "/v1/invitations/i1", {})).problem(400, "bad-body")
    (await talk.ask("POST", "/v1/invitations/i1", {"admit": 1})).problem(400, "bad-body")
    assert service.calls == [
        ("confirm_invitation", "i1", True),
        ("confirm_invitation", "i1", False),
        ("cancel_invitation", "i1"),
    ]


async def test_a_space_is_joined(talk: Any, service: Any) -> None:
    """By the code, or as a device that was admitted by its id."""
    assert (await talk.ask("POST", "/v1/joins", {"code": "48219073", "yes": True})).json["space"] == "home"
    await talk.ask("POST", "/v1/joins", {"device": "ABC-DEF", "host": "10.0.0.2:7337", "name": "attic"})
    assert service.calls == [
        ("join", NewJoin(code="48219073", yes=True)),
        ("join", NewJoin(device="ABC-DEF", host="10.0.0.2:7337", name="attic")),
    ]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "bad-body"),
        ({"code": "1", "device": "D"}, "bad-body"),
        ({"code": 48219073}, "bad-body"),
        ({"code": ""}, "bad-value"),
        ({"code": "x" * 257}, "bad-value"),
        ({"code": "1", "host": "a\r\nb"}, "bad-value"),
        ({"device": "é"}, "bad-value"),
    ],
)
async def test_a_join_is_one_of_two(talk: Any, service: Any, body: Any, code: str) -> None:
    (await talk.ask("POST", "/v1/joins", body)).problem(400, code)
    assert service.calls == []


async def test_members_come_and_go(talk: Any, service: Any) -> None:
    assert (await talk.ask("GET", "/v1/spaces/home/members")).json["members"][0]["role"] == "admin"
    assert (await talk.ask("POST", "/v1/spaces/home/members", {"device": "ABC"})).status == 201
    await talk.ask("POST", "/v1/spaces/home/members", {"device": "ABC", "role": "member"})
    assert (await talk.ask("DELETE", "/v1/spaces/home/members/ABC-DEF")).status == 204
    (await talk.ask("POST", "/v1/spaces/home/members", {"device": "ABC", "role": "king"})).problem(400, "bad-body")
    (await talk.ask("POST", "/v1/spaces/home/members", {"device": ""})).problem(400, "bad-value")
    assert service.calls == [
        ("members", "home"),
        ("admit", "home", "ABC", "admin"),
        ("admit", "home", "ABC", "member"),
        ("remove", "home", "ABC-DEF"),
    ]


async def test_a_copy_is_scrubbed_at_once(talk: Any, service: Any) -> None:
    answer = await talk.ask("POST", "/v1/spaces/home/scrub")
    assert (answer.status, answer.json["records"], answer.json["running"]) == (200, 3, False)
    assert service.calls == [("scrub_space", "home")]
