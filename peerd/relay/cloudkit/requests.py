"""The bodies of requests to CloudKit Web Services, and how many operations fit into one.

One record type with two fields, so that a record shows nothing but its size: `d`, the bytes themselves, or `a`, an
asset, for objects that are large (the quota of assets is a hundred times that of records). Names are ASCII, at most
255 characters, without an underscore in front.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import msgspec

RECORD_TYPE = "Blob"
INLINE_FIELD = "d"
ASSET_FIELD = "a"

MAX_OPERATIONS = 200  # "Data Size Limits"
BODY_BYTES = 1_000_000  # the limit of a whole request is not published; halving finds a smaller one
READ_AT_ONCE = 8  # records with contents in one answer, whose limit is not published either
_OPERATION_BYTES = 250  # JSON around the bytes of one operation

Kind = Literal["create", "replace", "forceDelete"]
Call = Literal["records/modify", "records/lookup", "records/query", "assets/upload"]


class Operation(msgspec.Struct, frozen=True):
    """One of a `records/modify`. `tag` is for replace; `asset` is what the upload of a large object gave."""

    kind: Kind
    name: str
    data: bytes = b""
    tag: str | None = None
    asset: Mapping[str, Any] | None = None

    @property
    def body_bytes(self) -> int:
        """What it adds to a body, at most."""
        asset_bytes = len(msgspec.json.encode(self.asset)) if self.asset is not None else 0
        return _OPERATION_BYTES + len(self.name) + (len(self.data) + 2) // 3 * 4 + asset_bytes


def lookup_body(names: Sequence[str], *, contents: bool) -> bytes:
    keys = [INLINE_FIELD, ASSET_FIELD] if contents else []
    return msgspec.json.encode({"records": [{"recordName": name} for name in names], "desiredKeys": keys})


def modify_body(operations: Sequence[Operation]) -> bytes:
    """Never atomic: the default is, and the public database refuses that as a whole."""
    return msgspec.json.encode(
        {
            "atomic": False,
            "desiredKeys": [],
            "operations": [{"operationType": one.kind, "record": _record(one)} for one in operations],
        }
    )


def tickets_body(names: Sequence[str]) -> bytes:
    """Of `assets/upload`: where may the assets of these records be put?"""
    return msgspec.json.encode(
        {"tokens": [{"recordName": name, "recordType": RECORD_TYPE, "fieldName": ASSET_FIELD} for name in names]}
    )


def listing_body() -> bytes:
    """Of `records/query` for everything, which nobody should be able to ask."""
    return msgspec.json.encode({"query": {"recordType": RECORD_TYPE}, "resultsLimit": 1, "desiredKeys": []})


def batches(operations: Sequence[Operation]) -> Iterator[list[Operation]]:
    """In their order, as few requests as the limits allow; an operation is never cut."""
    batch: list[Operation] = []
    size = 0
    for one in operations:
        if batch and (len(batch) == MAX_OPERATIONS or size + one.body_bytes > BODY_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(one)
        size += one.body_bytes
    if batch:
        yield batch


def _record(one: Operation) -> dict[str, Any]:
    if one.kind == "forceDelete":
        return {"recordName": one.name}
    record: dict[str, Any] = {"recordName": one.name, "recordType": RECORD_TYPE, "fields": _fields(one)}
    if one.tag is not None:
        record["recordChangeTag"] = one.tag
    return record


def _fields(one: Operation) -> dict[str, Any]:
    # Untagged bytes are read as a string.
    if one.asset is not None:
        return {ASSET_FIELD: {"value": one.asset, "type": "ASSETID"}}
    return {INLINE_FIELD: {"value": b64encode(one.data).decode(), "type": "BYTES"}}
