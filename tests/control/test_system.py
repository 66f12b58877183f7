"""The daemon's own routes."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import pytest

from peerd.errors import ConfigError


async def test_status_is_the_document_of_the_service(talk: Any, service: Any) -> None:
    """Device, spaces, peers, as declared."""
    reply = await talk.ask("GET", "/v1/status")
    assert reply.status == 200
    assert reply.headers["content-type"] == "application/json"
    assert reply.json["device"] == {
        "id": "D", "name": "kitchen", "state": "ok", "reason": "", "next_step": "", "clock_off_ms": None,
        "further": [],
    }  # fmt: skip
    assert reply.json["spaces"][0]["clock"] == {"aa": 3}
    assert service.calls == [("status",)]


async def test_peers_are_listed(talk: Any, service: Any) -> None:
    reply = await talk.ask("GET", "/v1/peers")
    assert reply.json["peers"][0]["name"] == "attic"
    assert service.calls == [("peers",)]


@pytest.mark.parametrize(("which", "status"), [("live", 200), ("ready", 200), ("converged", 503)])
async def test_health_is_a_status(talk: Any, which: str, status: int) -> None:
    """200 or 503, so that a probe need not read; the body says why."""
    reply = await talk.ask("GET", f"/v1/health/{which}")
    assert reply.status == status
    assert reply.json == {"live": True, "ready": True, "converged": False, "reason": "attic is 3 behind"}


async def test_metrics_are_text(talk: Any) -> None:
    """Prometheus looks at the content type."""
    reply = await talk.ask("GET", "/metrics")
    assert reply.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert reply.body == b"peerd_up 1\n"


async def test_reload_says_what_changed(talk: Any) -> None:
    reply = await talk.ask("POST", "/v1/reload")
    assert reply.json == {"changed": ["log.level"], "needs_restart": []}


async def test_a_bad_configuration_is_answered_with_all_problems(talk: Any, service: Any) -> None:
    """Every problem at once, and no 500: the fault is in the file."""
    service.failure = ConfigError(["a.toml: log.level", "a.toml: network.listen"])
    reply = await talk.ask("POST", "/v1/reload")
    assert reply.problem(422, "bad-config")["problems"] == ["a.toml: log.level", "a.toml: network.listen"]


async def test_the_description_is_served_as_committed(talk: Any) -> None:
    reply = await talk.ask("GET", "/openapi.json")
    assert reply.body == files("peerd.control").joinpath("openapi.json").read_bytes()
