"""What is said on the control socket: the bodies of requests and answers, as JSON.

Pure types; the socket (`peerd/control/`) decodes and encodes them, the engine makes and takes them. Answers
may gain members in later versions, requests with members unknown here are refused. Times are `_ms` since the
Unix epoch by the clock of whoever stated them, and null where nobody did. A device is named by its id in
text form, a dot is written `origin:seq` with the origin in hexadecimal.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType


class Request(Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of all request bodies: a misspelt member is an error, not a wish that is ignored."""


# --- records --------------------------------------------------------------------------------------


class ChangeRequest(Request):
    """One change of a write.

    kind            `put` needs `value`; `patch` needs `set` or `drop`; `delete` needs neither
    if_match        the write happens only if the record's etag is this one now (412); `*`: only if it exists
    if_none_match   the write happens only if there is no such record (412)
    seen            the etag of what the writer had seen; what came later is not overwritten, both stay as
                    siblings. Empty: the writer had seen no record. None: it has seen what is here now
    must_exist      a delete of what is absent is refused (404) instead of doing nothing
    """

    kind: Literal["put", "patch", "delete"]
    collection: str
    key: str
    value: dict[str, Any] | None = None
    set: dict[str, Any] = {}
    drop: list[str] = []
    if_match: str | None = None
    if_none_match: bool = False
    seen: str | None = None
    must_exist: bool = False


class Transaction(Request):
    """Several changes, applied whole or not at all, here and on every other device."""

    changes: list[ChangeRequest]


class Writes(Request):
    """Many changes, each a transaction of its own: one that is refused leaves the others alone."""

    changes: list[ChangeRequest]


class Patch(Request):
    """The body of a PATCH: fields to set, and names of fields to drop."""

    set: dict[str, Any] = {}
    drop: list[str] = []


class ChangeResult(Struct, kw_only=True):
    """The record after the write.

    `etag` is None if there is none; `changed` is False if the write said nothing new.
    """

    collection: str
    key: str
    etag: str | None
    changed: bool = True
    created: bool = False


class WriteResult(Struct, kw_only=True):
    """A durable write.

    `dot` is None and `changed` False if nothing differed; `results` in the order of the changes.
    """

    dot: str | None
    changed: bool
    results: list[ChangeResult]


class Written(ChangeResult, kw_only=True):
    """What a write of one record is answered with: the result of its change, and the dot of the
    transaction.
    """

    dot: str | None


class RecordView(Struct, kw_only=True):
    """A record as shown. `conflicts` names the fields that have more than one different value."""

    collection: str
    key: str
    value: dict[str, Any]
    etag: str
    conflicts: list[str] = []


class RecordPage(Struct, kw_only=True):
    """Records in the order of their keys (by UTF-8 bytes). `cursor` continues the list; None at its end."""

    records: list[RecordView]
    cursor: str | None = None


class ChangeEvent(Struct, kw_only=True, omit_defaults=True):
    """One line of the feed. `token` resumes after this line.

    put       the record is now `value`; `conflicts` names its fields with several values
    delete    the record is gone (or parked)
    reset     forget what you know: the whole state follows as puts
    current   everything up to here has been sent; what follows happens from now on
    """

    kind: Literal["put", "delete", "reset", "current"]
    token: str
    collection: str | None = None
    key: str | None = None
    value: dict[str, Any] | None = None
    etag: str | None = None
    conflicts: list[str] = []
    dot: str | None = None
    device: str | None = None
    time_ms: int | None = None


# --- collections ----------------------------------------------------------------------------------

PolicyName = Literal["keep", "newest", "max", "min"]


class CollectionSettings(Struct, kw_only=True):
    """How a collection is read and merged: the policy of all fields, those of single fields, and of deletes.

    `merge` is fixed when the collection is created: `record` keeps the whole object as one value.
    """

    policy: PolicyName = "keep"
    fields: dict[str, PolicyName] = {}
    delete_wins: bool = False
    merge: Literal["field", "record"] = "field"


class CollectionChange(Request):
    """What to change of the settings; what is not named stays.

    A field's policy null: back to the collection's.
    """

    policy: PolicyName | None = None
    fields: dict[str, PolicyName | None] = {}
    delete_wins: bool | None = None
    merge: Literal["field", "record"] | None = None


class CollectionView(Struct, kw_only=True):
    name: str
    records: int
    conflicts: int
    settings: CollectionSettings


class CollectionList(Struct, kw_only=True):
    collections: list[CollectionView]


# --- conflicts ------------------------------------------------------------------------------------


class ConflictValue(Struct, kw_only=True):
    """One sibling. `n` is what `choose` takes; `shown` marks the winner that readers see meanwhile."""

    n: int
    value: Any
    device: str | None
    device_name: str
    time_ms: int
    dot: str
    shown: bool


class ConflictView(Struct, kw_only=True):
    """A conflict; `id` is the same on every device, `etag` names the set of values that it has now.

    kind `field`: several values of `field`. kind `restored`: an edit met a delete and won; `field` is None
    and the values are whole records; `deleted_by` is the device whose delete it was, where that is known. kind
    `parked`: an edit met a delete and the record is not shown yet.
    """

    id: str
    kind: Literal["field", "restored", "parked"]
    collection: str
    key: str
    field: str | None
    etag: str
    values: list[ConflictValue]
    deleted_by: str | None = None
    deleted_by_name: str = ""


class ConflictList(Struct, kw_only=True):
    conflicts: list[ConflictView]
    cursor: str | None = None


class Resolution(Request):
    """Exactly one of: a value's number, a value of one's own, or `drop` (the field, or the restored record).

    `etag` is the conflict's when it was looked at; if it has other values by now, nothing happens (412).
    """

    choose: int | None = None
    value: Any | UnsetType = UNSET
    drop: bool = False
    etag: str | None = None


# --- the log --------------------------------------------------------------------------------------


class LogChange(Struct, kw_only=True, omit_defaults=True):
    kind: Literal["put", "patch", "delete", "restore"]
    collection: str
    key: str
    set: dict[str, Any] = {}
    drop: list[str] = []


class LogEntry(Struct, kw_only=True):
    """One transaction. `time_ms` by its author's clock, `arrived_ms` by ours."""

    dot: str
    device: str | None
    device_name: str
    time_ms: int
    arrived_ms: int | None
    changes: list[LogChange]


class Beginning(Struct, kw_only=True):
    """Since when this copy knows what was; before that it had not begun, or knows it no more.

    cause `trimmed`: older transactions are not kept. `snapshot`: what others had done before came all at once, as it
    stood then. `forgotten`: what was dropped before is older than the setting `history_days`.
    `cut`: a record has more versions than are listed.
    """

    time_ms: int
    cause: Literal["trimmed", "snapshot", "forgotten", "cut"]


class LogFilter(Struct, kw_only=True, frozen=True):
    """Which transactions of a log are wanted. Times are when they arrived here, both included."""

    device: str | None = None
    collection: str | None = None
    key: str | None = None
    since_ms: int = 0
    until_ms: int = (1 << 63) - 1


class LogPage(Struct, kw_only=True):
    """Newest first, in the order in which this device applied them. `begins`: where the log begins here, None if with
    the space. A page may be empty and still have a cursor: it takes only so long.
    """

    transactions: list[LogEntry]
    cursor: str | None = None
    begins: Beginning | None = None


class Problem(msgspec.Struct, kw_only=True):
    """RFC 9457. `code` is stable; `next_step` says what to do. Some codes add members of their own."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    next_step: str = ""


class WritesOutcome(Struct, kw_only=True):
    """What became of one of many changes: `error` if it was refused, else the members of a WriteResult."""

    dot: str | UnsetType | None = UNSET
    changed: bool | UnsetType = UNSET
    results: list[ChangeResult] | UnsetType = UNSET
    error: Problem | UnsetType = UNSET


class WritesResult(Struct, kw_only=True):
    """In the order of the changes."""

    results: list[WritesOutcome]
