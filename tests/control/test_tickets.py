"""Invitations by file over the socket."""

from __future__ import annotations

from typing import Any

import pytest

TICKETS = "/v1/spaces/home/tickets"


async def test_a_ticket_is_made_for_a_week_unless_said_otherwise(talk: Any, service: Any) -> None:
    made = (await talk.ask("POST", TICKETS, {})).json
    assert made == {"code": "ABCDE-FGHIJ", "file": "dGhlIGZpbGU=", "expires_ms": 7}
    await talk.ask("POST", TICKETS, {"days": 30, "role": "member"})
    assert service.calls == [("invite_by_file", "home", 7, "admin"), ("invite_by_file", "home", 30, "member")]


@pytest.mark.parametrize(
    ("wish", "code"), [({"days": 0}, "bad-value"), ({"days": 366}, "bad-value"), ({"role": "king"}, "bad-body")]
)
async def test_what_no_ticket_can_be_is_refused(talk: Any, service: Any, wish: dict[str, Any], code: str) -> None:
    (await talk.ask("POST", TICKETS, wish)).problem(400, code)
    assert service.calls == []


async def test_a_ticket_is_withdrawn_by_its_id(talk: Any, service: Any) -> None:
    assert (await talk.ask("DELETE", f"{TICKETS}/00ff")).status == 204
    assert service.calls == [("withdraw_file", "home", "00ff")]


async def test_a_petition_is_made_from_file_and_code(talk: Any, service: Any) -> None:
    asked = (await talk.ask("POST", "/v1/petitions", {"file": "dGhlIGZpbGU=", "code": "x", "name": "home"})).json
    assert asked == {"space": "home", "id": "00ff", "expires_ms": 7, "relays": ["folder"]}
    assert service.calls == [("join_by_file", b"the file", "x", "home")]
    (await talk.ask("POST", "/v1/petitions", {"file": "!", "code": "x"})).problem(400, "bad-value")
    (await talk.ask("POST", "/v1/petitions", {"file": "", "code": "x", "name": "a b"})).problem(400, "bad-name")
