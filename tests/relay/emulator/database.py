"""The public database of one environment of a container: its schema, its records, and who may do what."""

from __future__ import annotations

import random
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.relay.emulator.refused import Refused

Kind = Literal["BYTES", "STRING", "INT64", "DOUBLE", "TIMESTAMP", "ASSETID"]
Right = Literal["READ", "CREATE", "WRITE"]


@dataclass(frozen=True)
class FieldType:
    kind: Kind
    queryable: bool = False
    sortable: bool = False
    encrypted: bool = False


@dataclass
class RecordType:
    """`grants`: which roles have which rights. Without indexes nothing can be queried."""

    fields: dict[str, FieldType]
    grants: dict[str, frozenset[Right]]
    system_indexes: frozenset[str] = frozenset()

    @property
    def indexed(self) -> bool:
        return bool(self.system_indexes) or any(one.queryable or one.sortable for one in self.fields.values())


@dataclass
class Record:
    name: str
    type: str
    fields: dict[str, Any]
    tag: str
    creator: str
    created_ms: int
    modified_ms: int
    modifier: str
    indexed_at: float = 0.0  # from when on a query finds it

    def size_bytes(self) -> int:
        """As the record limit counts: decoded, without assets."""
        return sum(len(value) if isinstance(value, bytes | str) else 8 for value in self.fields.values())


@dataclass(frozen=True)
class AssetRef:
    """What a record holds of an asset."""

    checksum: str
    size_bytes: int
    id: str


def recommended_schema() -> dict[str, RecordType]:
    """The one that docs/cloudkit.md lets people make."""
    return {
        "Blob": RecordType(
            {"d": FieldType("BYTES"), "a": FieldType("ASSETID")},
            {"_creator": frozenset({"READ", "CREATE", "WRITE"}), "_icloud": frozenset({"CREATE"})},
        )
    }


@dataclass
class Database:
    """Records by name. `users` gives who a key acts as."""

    now: Callable[[], float]
    chance: random.Random
    schema: dict[str, RecordType] = field(default_factory=recommended_schema)
    records: dict[str, Record] = field(default_factory=dict)
    assets: dict[str, bytes] = field(default_factory=dict)
    quota_bytes: int = 100 << 20
    index_lag_s: float = 3.0
    _writes: int = 0

    def type_of(self, name: object) -> RecordType:
        if not isinstance(name, str) or name not in self.schema:
            raise Refused("BAD_REQUEST", f"Did not find record type: {name}")
        return self.schema[name]

    def require(self, right: Right, kind: RecordType, user: str, record: Record | None = None) -> None:
        """A key is signed in, so it has what `_icloud` has, and with its own records what `_creator` has."""
        roles = ["_world", "_icloud"]
        if record is not None and record.creator == user:
            roles.append("_creator")
        allowed = any(right in kind.grants.get(role, frozenset()) for role in roles)
        if right == "CREATE":  # reported to need both
            allowed = allowed and right in kind.grants.get("_creator", frozenset())
        if not allowed:
            raise Refused("ACCESS_DENIED", f"{right} operation not permitted", 403)

    def put(self, name: str, type_name: str, fields: Mapping[str, Any], user: str) -> Record:
        """Write it, whatever was there, with a new tag."""
        used = sum(one.size_bytes() for one in self.records.values() if one.name != name)
        old = self.records.get(name)
        moment_ms = int(self.now() * 1000)
        record = Record(
            name=name,
            type=type_name,
            fields=dict(fields),
            tag=self._new_tag(),
            creator=old.creator if old else user,
            created_ms=old.created_ms if old else moment_ms,
            modified_ms=moment_ms,
            modifier=user,
            indexed_at=self.now() + self.chance.uniform(0, 2 * self.index_lag_s),
        )
        if used + record.size_bytes() > self.quota_bytes:
            raise Refused("QUOTA_EXCEEDED", "Quota exceeded", 413)
        self.records[name] = record
        self.collect_assets()
        return record

    def remove(self, name: str) -> None:
        del self.records[name]
        self.collect_assets()

    def collect_assets(self) -> None:
        """An asset that no record names vanishes."""
        named = {
            value.id
            for record in self.records.values()
            for value in record.fields.values()
            if isinstance(value, AssetRef)
        }
        self.assets = {name: data for name, data in self.assets.items() if name in named}

    def _new_tag(self) -> str:
        self._writes += self.chance.randrange(1, 40)
        number, text = self._writes, ""
        while number:
            number, digit = divmod(number, 36)
            text = (string.digits + string.ascii_lowercase)[digit] + text
        return text
