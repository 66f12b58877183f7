"""Speaking to an emulator without any code of peerd's: what a client does by hand, right or wrong."""

from __future__ import annotations

import json
import time
from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from io import BytesIO
from typing import Any, NamedTuple

import aiohttp
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from yarl import URL

from tests.relay.emulator.server import CONTAINER, Emulator


class Said(NamedTuple):
    status: int
    json: Any

    @property
    def code(self) -> str:
        return str(self.json.get("serverErrorCode", ""))


class Hand:
    """One key, and requests as they are asked for. Close it."""

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        self.key_id, pem = emulator.new_key()
        key = load_pem_private_key(pem, None)
        assert isinstance(key, EllipticCurvePrivateKey)
        self.key = key
        self.session = aiohttp.ClientSession()

    async def close(self) -> None:
        await self.session.close()

    def headers(self, path: str, body: bytes, at: float | None = None) -> dict[str, str]:
        moment = self.emulator.clock() if at is None else at
        date = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))
        message = f"{date}:{b64encode(sha256(body).digest()).decode()}:{path}".encode()
        return {
            "X-Apple-CloudKit-Request-KeyID": self.key_id,
            "X-Apple-CloudKit-Request-ISO8601Date": date,
            "X-Apple-CloudKit-Request-SignatureV1": b64encode(self.key.sign(message, ECDSA(SHA256()))).decode(),
        }

    async def post(self, operation: str, body: object, **more: str) -> Said:
        """Signed as it must be. `more`: environment, database, container, method."""
        path = path_of(operation, **{key: value for key, value in more.items() if key != "method"})
        data = json.dumps(body).encode()
        return await self.send(path, data, self.headers(path, data), more.get("method", "POST"))

    async def send(self, path: str, data: bytes, headers: Mapping[str, str], method: str = "POST") -> Said:
        url = URL(self.emulator.base_url + path, encoded=True)
        async with self.session.request(method, url, data=BytesIO(data), headers=headers) as response:
            text = await response.text()
            return Said(response.status, json.loads(text) if text.startswith("{") else {"text": text})

    async def modify(self, *operations: Mapping[str, Any], **keys: Any) -> Said:
        return await self.post("records/modify", {"atomic": False, "operations": operations, **keys})

    async def lookup(self, *names: str, **keys: Any) -> Said:
        return await self.post("records/lookup", {"records": [{"recordName": name} for name in names], **keys})


def path_of(
    operation: str, container: str = CONTAINER, environment: str = "production", database: str = "public"
) -> str:
    return f"/database/1/{container}/{environment}/{database}/{operation}"


def blob(data: bytes, kind: str | None = "BYTES") -> dict[str, Any]:
    value: dict[str, Any] = {"value": b64encode(data).decode()}
    return value if kind is None else {**value, "type": kind}


def create(name: str, data: bytes = b"x", operation: str = "create", **more: Any) -> dict[str, Any]:
    record = {"recordType": "Blob", "recordName": name, "fields": {"d": blob(data)}, **more}
    return {"operationType": operation, "record": record}


def delete(name: str, operation: str = "forceDelete", **more: Any) -> dict[str, Any]:
    return {"operationType": operation, "record": {"recordName": name, **more}}


def by_name(said: Said) -> dict[str, Any]:
    return {one["recordName"]: one for one in said.json["records"]}
