"""The table as a whole, asked over a socket."""

from __future__ import annotations

from typing import Any

import pytest

from peerd.control.routes import ROUTES

WITH_BODY = [route for route in ROUTES if route.body is not None]
WITHOUT_BODY = [route for route in ROUTES if route.body is None]
PATTERNS = sorted({route.pattern for route in ROUTES})
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"]


def test_every_documented_address_is_there() -> None:
    """Those of this version: scripts rely on them, so they are listed a second time here."""
    assert {f"{route.method} {route.pattern}" for route in ROUTES} == {
        "GET /v1/status",
        "GET /v1/peers",
        "POST /v1/backups",
        "POST /v1/checks",
        "POST /v1/spaces/{space}/rebuild",
        "GET /v1/spaces",
        "POST /v1/spaces",
        "GET /v1/spaces/{space}",
        "DELETE /v1/spaces/{space}",
        "GET /v1/spaces/{space}/records/{collection}",
        "GET /v1/spaces/{space}/records/{collection}/{key}",
        "PUT /v1/spaces/{space}/records/{collection}/{key}",
        "PATCH /v1/spaces/{space}/records/{collection}/{key}",
        "DELETE /v1/spaces/{space}/records/{collection}/{key}",
        "POST /v1/spaces/{space}/transactions",
        "POST /v1/spaces/{space}/writes",
        "GET /v1/spaces/{space}/changes",
        "GET /v1/spaces/{space}/collections",
        "PATCH /v1/spaces/{space}/collections/{collection}",
        "GET /v1/spaces/{space}/conflicts",
        "POST /v1/spaces/{space}/conflicts/{conflict}",
        "GET /v1/spaces/{space}/log",
        "GET /v1/spaces/{space}/records/{collection}/{key}/history",
        "GET /v1/spaces/{space}/records/{collection}/{key}/history/{time_ms}",
        "POST /v1/spaces/{space}/revert",
        "GET /v1/spaces/{space}/members",
        "POST /v1/spaces/{space}/members",
        "DELETE /v1/spaces/{space}/members/{device}",
        "GET /v1/spaces/{space}/bindings",
        "POST /v1/spaces/{space}/bindings",
        "DELETE /v1/spaces/{space}/bindings/{binding}",
        "GET /v1/spaces/{space}/bindings/{binding}/held",
        "POST /v1/spaces/{space}/bindings/{binding}/held",
        "POST /v1/tables/clean",
        "GET /v1/relays",
        "POST /v1/relays/sync",
        "POST /v1/relays/check",
        "POST /v1/spaces/{space}/scrub",
        "GET /v1/spaces/{space}/asides",
        "POST /v1/spaces/{space}/recopy",
        "POST /v1/spaces/{space}/tickets",
        "DELETE /v1/spaces/{space}/tickets/{ticket}",
        "POST /v1/petitions",
        "POST /v1/invitations",
        "POST /v1/invitations/{invitation}",
        "DELETE /v1/invitations/{invitation}",
        "POST /v1/joins",
        "GET /v1/health/live",
        "GET /v1/health/ready",
        "GET /v1/health/converged",
        "POST /v1/reload",
        "POST /v1/pause",
        "POST /v1/resume",
        "GET /metrics",
        "GET /openapi.json",
    }


@pytest.mark.parametrize("pattern", PATTERNS)
async def test_other_methods_are_refused_with_the_right_ones(talk: Any, service: Any, pattern: str) -> None:
    """405 with Allow, for every method that an address does not take."""
    target = pattern.replace("{", "").replace("}", "")
    takes = {route.method for route in ROUTES if route.pattern == pattern}
    if "GET" in takes:
        takes.add("HEAD")
    for method in METHODS:
        if method not in takes:
            reply = await talk.ask(method, target)
            if method != "HEAD":
                assert reply.problem(405, "method-not-allowed")["allow"] == sorted(takes)
            assert (reply.status, reply.headers["allow"]) == (405, ", ".join(sorted(takes)))
    assert service.calls == []


@pytest.mark.parametrize("route", WITH_BODY, ids=lambda route: route.pattern)
async def test_every_body_is_held_to_its_rules(talk: Any, connect: Any, service: Any, route: Any) -> None:
    """Not JSON, not an object, named twice, a wrong type declared, no length, too large: a problem document
    each.
    """
    target = route.pattern.replace("{", "").replace("}", "")
    for raw, code in (
        (b"{", "malformed-json"),
        (b"[]", "bad-body"),
        (b"7", "bad-body"),
        (b'{"a":1,"a":1}', "duplicate-key"),
        (b'{"a":99999999999999999999}', "number-too-large"),
        (b"[" * 1_000 + b"]" * 1_000, "too-deep"),
    ):
        (await talk.ask(route.method, target, raw)).problem(400, code)
    (await talk.ask(route.method, target)).problem(411, "length-required")
    reply = await talk.ask(route.method, target, b"{}", {"Content-Type": "text/plain"})
    reply.problem(415, "not-json")
    talk = await connect()
    await talk.send(f"{route.method} {target} HTTP/1.1\r\nContent-Length: {route.limit_bytes + 1}\r\n\r\n".encode())
    (await talk.read()).problem(413, "too-large")
    talk = await connect()
    size = route.limit_bytes + 1
    await talk.send(f"{route.method} {target} HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{size:x}\r\n".encode())
    for _ in range(size // 65_536 + 1):
        await talk.send(b" " * min(size, 65_536))
        size -= 65_536
    (await talk.read()).problem(413, "too-large")
    assert service.calls == []


@pytest.mark.parametrize("route", WITHOUT_BODY, ids=lambda route: route.pattern)
async def test_where_no_body_belongs_none_is_taken(talk: Any, service: Any, route: Any) -> None:
    """It would be thrown away, and its sender might think otherwise."""
    target = route.pattern.replace("{", "").replace("}", "")
    (await talk.ask(route.method, target, b"{}")).problem(400, "bad-body")
    assert service.calls == []
