"""What is said on the control socket about what was: the versions of a record, and what it was at a time.

The same rules as in `control_messages`. `arrived_ms` and times that are asked for are by this device's wall clock, and
mean what was applied here by then; `time_ms` is its author's.
"""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

from peerd.protocol.control_messages import Beginning


class RecordVersion(Struct, kw_only=True):
    """What one transaction made of a record. `value` is what it showed then, None if there was none; `set` and `drop`
    are the fields that changed. `conflicts` names those that had several values. `time_ms` and `arrived_ms` are None
    where nobody knows any more; `dot` is None for what a snapshot took away.
    """

    dot: str | None
    device: str | None
    device_name: str
    time_ms: int | None
    arrived_ms: int | None
    kind: Literal["created", "changed", "deleted", "restored"]
    set: dict[str, Any]
    drop: list[str]
    value: dict[str, Any] | None
    conflicts: list[str]


class RecordHistory(Struct, kw_only=True):
    """Newest first, in the order in which this device applied them. `begins`: older versions are not known here."""

    versions: list[RecordVersion]
    cursor: str | None = None
    begins: Beginning | None = None


class PastValue(Struct, kw_only=True):
    """One of several values that a field had at once; `shown` marks the one that readers saw."""

    value: Any
    device: str | None
    device_name: str
    time_ms: int
    dot: str
    shown: bool


class RecordThen(Struct, kw_only=True):
    """What this device showed of a record at a time: `value`, None if there was no such record. `values` has all values
    of the fields that were in conflict. `estimated`: when some of it came here is not known any more, and its author's
    clock was believed.
    """

    collection: str
    key: str
    at_ms: int
    value: dict[str, Any] | None
    values: dict[str, list[PastValue]] = {}
    estimated: bool = False
