"""Field values as they come and go. An untagged value is taken for what JSON says, not for what the schema wants."""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any

from tests.relay.emulator.database import AssetRef, FieldType, Kind
from tests.relay.emulator.refused import bad

INT64 = range(-(1 << 63), 1 << 63)


def stored_value(type_name: str, name: str, kind: FieldType | None, given: object) -> Any:
    """What is kept of a value that was given; None unsets. Raises Refused. Assets come out as their dictionary."""
    if kind is None:
        raise bad(f"Field '{name}' not found in {type_name}")
    if kind.encrypted:
        raise bad("encrypted fields are not supported in the public database")
    if not isinstance(given, dict) or "value" not in given:
        raise bad(f"Invalid value, expected an object with a value for field '{name}'")
    value = given["value"]
    if value is None:
        return None
    tag = given.get("type")
    if tag is None:
        tag = _guessed(value)
    if tag != kind.kind:
        raise bad(f"Invalid value, expected type {kind.kind} for field '{name}', got {tag}")
    return _checked(name, kind.kind, value)


def shown_value(value: Any, kind: Kind, download_url: str = "") -> dict[str, Any]:
    if isinstance(value, bytes):
        value = b64encode(value).decode()
    elif isinstance(value, AssetRef):
        value = {"fileChecksum": value.checksum, "size": value.size_bytes, "downloadURL": download_url}
    return {"value": value, "type": kind}


def _guessed(value: object) -> str:
    if isinstance(value, bool):
        return "BOOLEAN"
    if isinstance(value, int):
        return "INT64"
    if isinstance(value, float):
        return "DOUBLE"
    if isinstance(value, dict):
        return "ASSETID"
    return "STRING"


def _checked(name: str, kind: Kind, value: object) -> Any:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind == "BYTES" and isinstance(value, str):
        try:
            return b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            raise bad(f"Invalid value, field '{name}' is not base64") from None
    if kind == "STRING" and isinstance(value, str):
        return value
    if kind == "DOUBLE" and number:
        return float(str(value))
    if kind in {"INT64", "TIMESTAMP"} and number and isinstance(value, int) and value in INT64:
        return value
    if kind == "ASSETID" and isinstance(value, Mapping):
        return value
    raise bad(f"Invalid value, expected type {kind} for field '{name}'")
