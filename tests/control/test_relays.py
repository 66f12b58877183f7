"""Relays over the socket."""

from __future__ import annotations

from typing import Any

import pytest

from peerd.errors import UserError
from peerd.protocol.control.relays import RelaySync


async def test_relays_are_listed_with_what_is_on_its_way(talk: Any) -> None:
    (only,) = (await talk.ask("GET", "/v1/relays")).json["relays"]
    assert (only["relay"], only["space"], only["state"], only["to_send"]) == ("folder", "home", "idle", 0)


async def test_a_look_at_the_relays_can_be_asked_for(talk: Any, service: Any) -> None:
    """Of all of them, or of what is named."""
    await talk.ask("POST", "/v1/relays/sync", {})
    await talk.ask("POST", "/v1/relays/sync", {"relay": "folder", "space": "home"})
    assert service.calls == [("sync_relays", RelaySync()), ("sync_relays", RelaySync(relay="folder", space="home"))]


@pytest.mark.parametrize("path", ["/v1/relays/sync", "/v1/relays/check"])
async def test_a_relay_that_is_not_there_is_named(talk: Any, service: Any, path: str) -> None:
    service.failure = UserError("no relay 'x'", code="relay-not-found", status=404)
    (await talk.ask("POST", path, {"relay": "x"})).problem(404, "relay-not-found")
    (await talk.ask("POST", path, {"which": "x"})).problem(400, "bad-body")
