"""What is said on the control socket about what was: the versions of a record, what it was at a time, and undoing.

The same rules as in `messages`. `arrived_ms` and times that are asked for are by this device's wall clock, and
mean what was applied here by then; `time_ms` is its author's.
"""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

from peerd.protocol.control.messages import Beginning, Request


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


class Revert(Request):
    """What is to be undone: `transaction` (ORIGIN:SEQ, of the origin the first 4 digits at least); or all that arrived
    here since `since_ms`, of `device` alone if one is named, and then until `until_ms`. `collection` and `key` narrow
    it. `preview`: only say what would be done. `anyway`: also put back what was changed since. `cursor` goes on.
    """

    transaction: str | None = None
    device: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None
    collection: str | None = None
    key: str | None = None
    preview: bool = False
    anyway: bool = False
    cursor: str | None = None


class Reverted(Struct, kw_only=True):
    """What is done to one record, or would be; None: nothing. `left` names fields that somebody has changed since and
    that stay as they are, "(deleted)" among them if it is because of others that there is such a record, or none.
    `conflicts` names fields that are in conflict and are touched. `reason`: why nothing can be done, where that is so.
    """

    collection: str
    key: str
    done: Literal["created", "changed", "deleted"] | None
    set: dict[str, Any] = {}
    drop: list[str] = []
    left: list[str] = []
    conflicts: list[str] = []
    reason: str = ""


class RevertResult(Struct, kw_only=True):
    """One portion: a transaction of its own, `dot`, if anything was written. With a cursor there is more to do."""

    dot: str | None
    preview: bool
    records: list[Reverted]
    cursor: str | None = None
