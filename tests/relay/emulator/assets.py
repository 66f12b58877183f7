"""The second host: addresses to bring bytes to, once and for 15 minutes, receipts, and addresses to fetch from.

It is a content network: no signatures, no JSON in its errors.
"""

from __future__ import annotations

import secrets
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha1
from typing import Any

from aiohttp import web

from tests.relay.emulator.database import AssetRef, Database
from tests.relay.emulator.refused import bad

MAX_TOKENS = 200
ADDRESS_S = 900.0


@dataclass
class _Ticket:
    database: Database
    record: str
    field: str
    until: float


@dataclass
class _Brought:
    ticket: _Ticket
    checksum: str
    data: bytes


@dataclass
class AssetHost:
    """`corrupt`: the bytes come back changed. `max_bytes` is the smaller of the two limits that Apple states."""

    now: Callable[[], float]
    base_url: str = ""
    max_bytes: int = 15 << 20
    address_s: float = ADDRESS_S
    corrupt: bool = False
    _tickets: dict[str, _Ticket] = field(default_factory=dict)
    _brought: dict[str, _Brought] = field(default_factory=dict)
    _stored: dict[str, Database] = field(default_factory=dict)

    def tokens(self, database: Database, body: Mapping[str, Any]) -> list[dict[str, Any]]:
        """assets/upload."""
        wanted = body.get("tokens")
        if not isinstance(wanted, list) or not 1 <= len(wanted) <= MAX_TOKENS:
            raise bad("Unexpected input: tokens")
        return [self._ticket(database, one) for one in wanted]

    def attach(self, database: Database, record: str, name: str, given: Mapping[str, Any]) -> AssetRef:
        """What a record is given: it must be what an upload for this field of this record gave."""
        brought = self._brought.get(str(given.get("receipt")))
        if brought is None or (brought.ticket.record, brought.ticket.field) != (record, name):
            raise bad(f"Invalid asset receipt for field '{name}'")
        if given.get("fileChecksum") != brought.checksum or given.get("size") != len(brought.data):
            raise bad(f"Invalid asset for field '{name}'")
        number = secrets.token_urlsafe(12)
        database.assets[number] = brought.data
        self._stored[number] = database
        return AssetRef(brought.checksum, len(brought.data), number)

    def download_url(self, asset: AssetRef) -> str:
        until = int(self.now() + self.address_s)
        return f"{self.base_url}/B/{asset.id}/${{f}}?o=Ao%2Bq&v=1&e={until}&k=_%2F%7E%3D"

    def expire(self) -> None:
        """Every address that was given has expired."""
        for ticket in self._tickets.values():
            ticket.until = 0.0

    async def upload(self, request: web.Request) -> web.StreamResponse:
        ticket = self._tickets.pop(request.match_info["token"], None)
        if ticket is None or ticket.until < self.now():
            return web.Response(status=403)
        data = await request.read()
        if len(data) > self.max_bytes:
            return web.Response(status=413)
        checksum = b64encode(b"\x01" + sha1(data, usedforsecurity=False).digest()).decode()
        receipt = secrets.token_urlsafe(24)
        self._brought[receipt] = _Brought(ticket, checksum, data)
        return web.json_response({"singleFile": {"fileChecksum": checksum, "size": len(data), "receipt": receipt}})

    async def download(self, request: web.Request) -> web.StreamResponse:
        number = request.match_info["number"]
        # A client that writes the address in its own way breaks its signature.
        if not request.raw_path.endswith("&k=_%2F%7E%3D"):
            return web.Response(status=400, text="<html>Bad Request</html>", content_type="text/html")
        if int(request.query.get("e", "0")) < self.now():
            return web.Response(status=410)
        database = self._stored.get(number)
        data = database.assets.get(number) if database is not None else None
        if data is None:
            return web.Response(status=404)
        return web.Response(body=data[::-1] if self.corrupt else data)

    def _ticket(self, database: Database, one: object) -> dict[str, Any]:
        if not isinstance(one, dict):
            raise bad("Unexpected input: token")
        kind = database.type_of(one.get("recordType"))
        name = str(one.get("fieldName"))
        if name not in kind.fields or kind.fields[name].kind != "ASSETID":
            raise bad(f"Field '{name}' is not an asset of {one.get('recordType')}")
        record = str(one.get("recordName") or secrets.token_hex(16))
        token = secrets.token_urlsafe(24)
        self._tickets[token] = _Ticket(database, record, name, self.now() + self.address_s)
        return {"recordName": record, "fieldName": name, "url": f"{self.base_url}/upload/{token}?s=%2Bx%3D"}
