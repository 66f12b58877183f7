"""Copies that were set aside, over the socket."""

from __future__ import annotations

from typing import Any

import pytest

from peerd.errors import UserError

RECOPY = "/v1/spaces/home/recopy"


async def test_old_copies_are_listed(talk: Any) -> None:
    (one,) = (await talk.ask("GET", "/v1/spaces/home/asides")).json["asides"]
    assert (one["name"], one["differing"], one["damaged"]) == ("00ff.aside-1", 3, False)


async def test_one_is_taken_in(talk: Any, service: Any) -> None:
    done = (await talk.ask("POST", RECOPY, {"aside": "latest"})).json
    assert done == {"space": "home", "records": 3, "unreadable": 0, "aside": "/state/set-aside/00ff-1.db", "device": ""}
    assert service.calls == [("recopy", "home", "latest")]


async def test_a_members_copy_takes_the_place_of_ours(talk: Any, service: Any) -> None:
    done = (await talk.ask("POST", RECOPY, {"device": "kitchen"})).json
    assert (done["device"], done["records"]) == ("D", 1)
    assert service.calls == [("recopy_from", "home", "kitchen")]


@pytest.mark.parametrize(
    ("wish", "code"),
    [
        ({}, "bad-body"),
        ({"aside": "latest", "device": "kitchen"}, "bad-body"),
        ({"aside": ""}, "bad-value"),
        ({"aside": "a\0b"}, "bad-value"),
    ],
)
async def test_what_names_no_file_is_refused(talk: Any, service: Any, wish: dict[str, Any], code: str) -> None:
    (await talk.ask("POST", RECOPY, wish)).problem(400, code)
    assert service.calls == []


async def test_a_refusal_has_its_status(talk: Any, service: Any) -> None:
    service.failure = UserError("there is none", code="no-aside", status=404)
    (await talk.ask("POST", RECOPY, {"aside": "x"})).problem(404, "no-aside")
