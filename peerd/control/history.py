"""The routes of what was: the log, what a record was, and putting it back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from peerd.control.bodies import decode_as
from peerd.control.messages import Answer, Request
from peerd.control.problems import refusal
from peerd.control.records import COLLECTION, CURSOR, KEY, LIMIT, key_of, limit_of
from peerd.control.router import Parameter, Route
from peerd.core import names
from peerd.core.limits import INT64_MAX
from peerd.protocol.control.history import RecordHistory, RecordThen, Revert, RevertResult
from peerd.protocol.control.messages import LogFilter, LogPage

if TYPE_CHECKING:
    from peerd.control.service import Service

_encode: Final = msgspec.json.Encoder().encode
_DIGITS: Final = 18  # that many always fit


async def read_log(service: Service, request: Request) -> Answer:
    query = request.query
    wanted = LogFilter(
        device=query.get("device"),
        collection=query.get("collection"),
        key=key_of(request),
        since_ms=_time_of(request, "since_ms", 0),
        until_ms=_time_of(request, "until_ms", INT64_MAX),
    )
    return Answer(_encode(await service.log(request.names["space"], wanted, limit_of(request), query.get("cursor"))))


async def read_versions(service: Service, request: Request) -> Answer:
    place = request.names
    found = await service.versions(
        place["space"], place["collection"], place["key"], limit_of(request), request.query.get("cursor")
    )
    return Answer(_encode(found))


async def read_then(service: Service, request: Request) -> Answer:
    place = request.names
    at_ms = _milliseconds("the time", place["time_ms"])
    return Answer(_encode(await service.record_then(place["space"], place["collection"], place["key"], at_ms)))


async def revert(service: Service, request: Request) -> Answer:
    wish = decode_as(request.body, Revert, 1)
    if wish.collection is not None:
        names.check_collection_name(wish.collection)
    if wish.key is not None:
        names.check_key(wish.key)
    problem = _contradiction(wish)
    if problem:
        raise refusal("bad-body", problem, "Send `transaction`, or `since_ms`; `device` and `until_ms` go with that.")
    return Answer(_encode(await service.revert(request.names["space"], wish)))


def _contradiction(wish: Revert) -> str:
    """What is wrong with it, if anything is."""
    if (wish.transaction is None) == (wish.since_ms is None):
        return "a revert is of one transaction, or of what came since a time"
    if wish.transaction is not None and (wish.device is not None or wish.until_ms is not None):
        return "a transaction is named alone"
    if wish.until_ms is not None and wish.device is None:
        return "an end of the span needs a device"
    if any(time is not None and not 0 <= time <= INT64_MAX for time in (wish.since_ms, wish.until_ms)):
        return "this is no time"
    if wish.key is not None and wish.collection is None:
        return "a key is one of a collection"
    return ""


def _time_of(request: Request, name: str, default: int) -> int:
    text = request.query.get(name)
    return default if text is None else _milliseconds(name, text)


def _milliseconds(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS):
        raise refusal("bad-query", f"{name} is no time", "Give it in milliseconds since 1970-01-01 UTC.")
    return int(text)


_BASE: Final = "/v1/spaces/{space}"

ROUTES: Final = (
    Route(
        method="GET",
        pattern=_BASE + "/log",
        handler=read_log,
        about="The transactions that this device has, newest first, in the order in which they arrived here.",
        query=(
            Parameter(name="device", about="Only what this device wrote (its id)."),
            COLLECTION,
            KEY,
            Parameter(name="since_ms", about="Only what arrived here at this time or later.", kind="integer"),
            Parameter(name="until_ms", about="Only what arrived here at this time or before.", kind="integer"),
            LIMIT,
            CURSOR,
        ),
        answer=LogPage,
        refusals=("bad-cursor", "bad-device-id"),
    ),
    Route(
        method="GET",
        pattern=_BASE + "/records/{collection}/{key}/history",
        handler=read_versions,
        about="What a record was: its versions, newest first, with who made them and when. Also of one that is gone.",
        query=(LIMIT, CURSOR),
        answer=RecordHistory,
        refusals=("bad-cursor",),
    ),
    Route(
        method="GET",
        pattern=_BASE + "/records/{collection}/{key}/history/{time_ms}",
        handler=read_then,
        about="What this device showed of a record at a time (milliseconds since 1970-01-01 UTC, by its wall clock): "
        "what had been applied here by then.",
        answer=RecordThen,
        refusals=("before-history",),
    ),
    Route(
        method="POST",
        pattern=_BASE + "/revert",
        handler=revert,
        about="Undo transactions by new changes: a portion, which is one transaction; with the cursor of the answer "
        "the next one. What somebody has changed since is left alone and named.",
        body=Revert,
        answer=RevertResult,
        refusals=(
            "transaction-not-found",
            "before-history",
            "bad-cursor",
            "bad-device-id",
            "precondition-failed",
            "not-admitted",
            "removed",
            "disk-full",
            "store-busy",
        ),
    ),
)
