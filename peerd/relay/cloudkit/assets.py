"""Large objects, in three steps: ask where, bring the bytes there, name the receipt in the record.

The second host is a content network: it serves exactly the bytes that were brought, its errors are bare HTTP, and its
addresses live for minutes. An asset that no record names vanishes by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from peerd.errors import RelayTrouble
from peerd.relay.cloudkit import answers, requests
from peerd.relay.cloudkit.answers import Asset, Garbled, Refused
from peerd.relay.cloudkit.client import Client

AT_ONCE = 8  # uploads of one round, so that none of their addresses gets old

_RECEIPT_BYTES = 1 << 16
_PLACEHOLDER = "${f}"  # of a file name, in an address to fetch from


async def upload(client: Client, objects: Mapping[str, bytes]) -> dict[str, Mapping[str, Any]]:
    """Bring the bytes of these records. Gives what the field of each must hold. Raises RelayTrouble."""
    names = list(objects)
    answer = await client.call("assets/upload", requests.tickets_body(names))
    try:
        places = answers.tickets(answer, names)
    except Garbled as problem:
        raise client.garbled(problem) from None
    receipts: dict[str, Mapping[str, Any]] = {}
    for name, url in places.items():
        reply = await client.fetch("POST", url, objects[name], _RECEIPT_BYTES)
        if reply.status != 200:
            raise _refused(client, reply.status, "upload")
        try:
            receipts[name] = answers.receipt(reply.body, len(objects[name]))
        except Garbled as problem:
            raise client.garbled(problem) from None
    return receipts


async def download(client: Client, name: str, asset: Asset, max_bytes: int) -> bytes | None:
    """The bytes of an asset; None if its address has expired or it is gone: look the record up again."""
    if asset.size_bytes > max_bytes:
        return b""  # none of ours
    reply = await client.fetch("GET", asset.url.replace(_PLACEHOLDER, name), b"", asset.size_bytes)
    if reply.status in {403, 404, 410}:
        return None
    if reply.status != 200:
        raise _refused(client, reply.status, "download")
    if len(reply.body) != asset.size_bytes:
        raise client.garbled(Garbled("an asset has another size than its record says"))
    return reply.body


def _refused(client: Client, status: int, doing: str) -> RelayTrouble:
    if status == 413:
        return client.refuse(Refused("QUOTA_EXCEEDED", status))
    if status in {429, 503}:
        return client.refuse(Refused("", status))
    # Whatever else a content network says: the next try gets another address.
    return client.refuse(Refused("INTERNAL_ERROR", status, f"HTTP status {status} at the {doing} of an asset"))
