"""The engine is asked for nothing that no route needs."""

from __future__ import annotations

import inspect
from typing import Any

from peerd.control.routes import ROUTES
from peerd.control.service import Service
from peerd.protocol.control.reports import InvitationEvent

BODIES: dict[tuple[str, str], Any] = {
    ("POST", "/v1/spaces"): {"name": "home"},
    ("POST", "/v1/spaces/{space}/bindings"): {"database": "/home/ann/todo.db"},
    ("POST", "/v1/spaces/{space}/bindings/{binding}/held"): {"action": "approve"},
    ("POST", "/v1/tables/clean"): {"database": "/home/ann/todo.db"},
    ("POST", "/v1/relays/sync"): {"relay": "folder", "space": "home"},
    ("POST", "/v1/relays/check"): {},
    ("POST", "/v1/spaces/{space}/recopy"): {"aside": "latest"},
    ("POST", "/v1/spaces/{space}/tickets"): {},
    ("POST", "/v1/petitions"): {"file": "", "code": "x"},
    ("POST", "/v1/backups"): {"path": "/mnt/backup"},
    ("POST", "/v1/invitations"): {"space": "home"},
    ("POST", "/v1/invitations/{invitation}"): {"admit": True},
    ("POST", "/v1/joins"): {"code": "1"},
    ("POST", "/v1/spaces/{space}/members"): {"device": "D"},
    ("POST", "/v1/spaces/{space}/conflicts/{conflict}"): {"choose": 0},
    ("POST", "/v1/spaces/{space}/transactions"): {"changes": [{"kind": "delete", "collection": "c", "key": "k"}]},
    ("POST", "/v1/spaces/{space}/writes"): {"changes": [{"kind": "delete", "collection": "c", "key": "k"}]},
    ("POST", "/v1/spaces/{space}/revert"): {"transaction": "aaaa:3"},
    ("PUT", "/v1/spaces/{space}/records/{collection}/{key}"): {"a": 1},
    ("PATCH", "/v1/spaces/{space}/records/{collection}/{key}"): {"set": {"a": 1}},
    ("PATCH", "/v1/spaces/{space}/collections/{collection}"): {"policy": "max"},
}


async def test_every_route_works_and_every_method_is_used(talk: Any, service: Any) -> None:
    """One good request to each address; together they reach all of `Service`."""
    service.events.put_nowait([])
    service.invitation.put_nowait(InvitationEvent(id="i1", admitted={"device": "D"}))
    for route in ROUTES:
        target = route.pattern.replace("{time_ms}", "5").replace("{", "").replace("}", "")
        reply = await talk.ask(route.method, target, BODIES.get((route.method, route.pattern)))
        assert reply.status in {route.status, *route.other_statuses}, (target, reply.body)
    assert (await talk.ask("POST", "/v1/spaces/space/recopy", {"device": "D"})).status == 200  # the other kind
    methods = {name for name, _ in inspect.getmembers(Service, inspect.isfunction) if not name.startswith("_")}
    assert {call[0] for call in service.calls} == methods
