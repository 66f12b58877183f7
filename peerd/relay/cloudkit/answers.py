"""What CloudKit Web Services answer, as values, whatever it is: JSON of any shape, a page of HTML, nothing.

A failure of one record stands inside an answer with status 200, in the place of that record; a record that the answer
leaves out counts as failed. Elements are matched by name, never by order.
"""

from __future__ import annotations

import binascii
import math
from base64 import b64decode
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET, Struct, UnsetType

from peerd.relay.cloudkit.requests import ASSET_FIELD, INLINE_FIELD

T = TypeVar("T")

_SHOWN_CHARS = 200


class Garbled(Exception):
    """It is no answer of the service. The sentence says what is wrong with it."""


class Refused(Struct, frozen=True):
    """Something was not done. `code` is the service's ("" without one), `status` that of HTTP (200: one record of
    several), `wait_s` how long it wants us to stay away.
    """

    code: str
    status: int = 200
    reason: str = ""
    wait_s: float | None = None
    failure: str = ""


class Asset(Struct, frozen=True):
    size_bytes: int
    url: str


class Stored(Struct, frozen=True):
    """A record that is there. Its bytes are in `data` or at `asset`; neither, if they were not asked for."""

    tag: str
    data: bytes | None = None
    asset: Asset | None = None


class Gone(Struct, frozen=True):
    """The record was deleted by this request, or is not there."""


Outcome = Stored | Gone | Refused


class _Field(Struct):
    value: Any = None


class _Record(Struct, rename="camel"):
    record_name: str | None = None
    record_change_tag: str | None = None
    fields: dict[str, _Field] | None = None
    deleted: bool = False
    server_error_code: str | None = None
    reason: str | None = None
    retry_after: Any = None
    uuid: Any = None


class _Answer(Struct, rename="camel"):
    records: list[_Record] | UnsetType = UNSET
    tokens: list[_Ticket] | UnsetType = UNSET
    server_error_code: str | None = None
    reason: str | None = None
    retry_after: Any = None
    uuid: Any = None


class _Ticket(Struct, rename="camel"):
    record_name: str | None = None
    url: str | None = None


class _Receipt(Struct, rename="camel"):
    single_file: dict[str, Any]


def refusal(status: int, headers: Mapping[str, str], body: bytes) -> Refused | None:
    """What the whole answer refuses; None if it is one that `records` can read."""
    try:
        answer = _decode(body, _Answer)
    except Garbled:
        answer = None
    code = (answer.server_error_code or "") if answer is not None else ""
    if 200 <= status < 300 and not code:
        return None
    wait_s = _later(_seconds(answer.retry_after) if answer is not None else None, _header_s(headers))
    reason = answer.reason if answer is not None else None
    return Refused(code[:64], status, shown(reason), wait_s, shown(answer.uuid) if answer is not None else "")


def outcomes(body: bytes, names: Sequence[str]) -> dict[str, Outcome]:
    """What became of each of these records; one that the answer leaves out is left out. Raises Garbled."""
    answer = _decode(body, _Answer)
    if answer.records is UNSET:
        raise Garbled("it has no records")
    wanted = set(names)
    found: dict[str, Outcome] = {}
    for record in answer.records:
        name = record.record_name
        if name in wanted and not isinstance(found.get(name), Refused):
            found[name] = _outcome(record)
    return found


def tickets(body: bytes, names: Sequence[str]) -> dict[str, str]:
    """Where each asset may be uploaded. Raises Garbled, also if one is missing."""
    answer = _decode(body, _Answer)
    given = {} if answer.tokens is UNSET else {one.record_name: one.url for one in answer.tokens}
    found = {name: url for name in names if (url := given.get(name))}
    if len(found) < len(set(names)):
        raise Garbled("it has no place for an asset")
    return found


def receipt(body: bytes, size_bytes: int) -> Mapping[str, Any]:
    """What an upload is proved with. Raises Garbled, also if another number of bytes arrived."""
    given = _decode(body, _Receipt).single_file
    if not isinstance(given.get("receipt"), str) or not isinstance(given.get("fileChecksum"), str):
        raise Garbled("it has no receipt")
    if given.get("size") != size_bytes:
        raise Garbled("another number of bytes arrived than was sent")
    return given


def server_ms(headers: Mapping[str, str]) -> int | None:
    """The service's clock, by the header `Date`."""
    moment = _moment(headers.get("Date", ""))
    return None if moment is None else int(moment.timestamp() * 1000)


def shown(text: object) -> str:
    """What somebody else said, fit for a sentence."""
    if not isinstance(text, str):
        return ""
    return "".join(c if c.isprintable() else " " for c in text[:_SHOWN_CHARS]).strip()


def _outcome(record: _Record) -> Outcome:
    if record.server_error_code == "NOT_FOUND":
        return Gone()
    if record.server_error_code is not None:
        wait_s = _seconds(record.retry_after)
        return Refused(record.server_error_code[:64], 200, shown(record.reason), wait_s, shown(record.uuid))
    if record.deleted:
        return Gone()
    if not record.record_change_tag:
        raise Garbled("a record has no tag")
    fields = record.fields or {}
    return Stored(record.record_change_tag, _bytes(fields.get(INLINE_FIELD)), _asset(fields.get(ASSET_FIELD)))


def _bytes(field: _Field | None) -> bytes | None:
    if field is None or field.value is None:
        return None
    if not isinstance(field.value, str):
        raise Garbled("bytes of a record are none")
    try:
        return b64decode(field.value, validate=True)
    except (binascii.Error, ValueError):
        raise Garbled("bytes of a record are not in base64") from None


def _asset(field: _Field | None) -> Asset | None:
    if field is None or field.value is None:
        return None
    try:
        given = msgspec.convert(field.value, _Download)
    except msgspec.ValidationError:
        raise Garbled("an asset of a record is none") from None
    return Asset(given.size, given.download_url)


class _Download(Struct, rename={"download_url": "downloadURL"}):
    size: int
    download_url: str


def _decode(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as problem:
        raise Garbled(f"it cannot be decoded ({problem})") from None


def _seconds(value: object) -> float | None:
    """Of `retryAfter`, whose unit Apple gives as seconds."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        seconds = float(value)
    except OverflowError:
        return math.inf
    return seconds if seconds >= 0 else None


def _header_s(headers: Mapping[str, str]) -> float | None:
    """Of `Retry-After`: seconds, or a date, which counts from the answer's own."""
    text = headers.get("Retry-After", "")
    seconds = _seconds(text) if text else None
    if seconds is not None or not text:
        return seconds
    until, now = _moment(text), _moment(headers.get("Date", ""))
    return max(0.0, (until - now).total_seconds()) if until is not None and now is not None else None


def _later(one: float | None, other: float | None) -> float | None:
    return max((wait for wait in (one, other) if wait is not None), default=None)


def _moment(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text)
        return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
