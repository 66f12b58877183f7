"""The routes of records: reading, writing, transactions, the feed, collections."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from peerd.control.bodies import decode_as, decode_object
from peerd.control.messages import Answer, Request, Stream
from peerd.control.problems import encode as encode_problem
from peerd.control.problems import refusal
from peerd.control.router import RECORD_BODY_BYTES, TRANSACTION_BODY_BYTES, Parameter, Route
from peerd.control.writes import (
    CHANGES_PER_REQUEST,
    check_fields,
    check_names,
    check_patch,
    names_etag,
    read_transaction,
    read_writes,
    set_conditions,
)
from peerd.core.limits import VALUE_DEPTH
from peerd.errors import UserError
from peerd.protocol.control.messages import (
    ChangeEvent,
    ChangeRequest,
    CollectionChange,
    CollectionList,
    CollectionSettings,
    Patch,
    RecordPage,
    RecordView,
    Transaction,
    WriteResult,
    Writes,
    WritesResult,
    Written,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from peerd.control.service import Service

T = TypeVar("T")

LIMIT_MAX: Final = 1_000
LIMIT_DEFAULT: Final = 100
_LARGE_BYTES: Final = 256 << 10  # above that, parsing would hold up everybody else
_encode: Final = msgspec.json.Encoder().encode

LIMIT = Parameter(name="limit", about=f"At most so many, 1 to {LIMIT_MAX}; default {LIMIT_DEFAULT}.", kind="integer")
CURSOR = Parameter(name="cursor", about="Continue a list: the `cursor` of the page before.")
COLLECTION = Parameter(name="collection", about="Only of this collection.")
KEY = Parameter(name="key", about="Only of the record with this key; needs collection.")
_IF_MATCH = Parameter(name="If-Match", about='Only if the record still has this ETag; "*": only if it exists.')
_IF_ABSENT = Parameter(name="If-None-Match", about='"*": only if there is no such record.')
_SEEN = Parameter(name="Peerd-Seen", about="The ETag of what the writer had seen; what came later stays beside it.")
_SEEN_QUERY = Parameter(name="seen", about="The same as Peerd-Seen.")


async def read_record(service: Service, request: Request) -> Answer:
    names_ = request.names
    view = await service.read_record(names_["space"], names_["collection"], names_["key"])
    etag = ("etag", f'"{view.etag}"')
    unless = request.headers.get(b"if-none-match")
    if unless is not None and names_etag(unless, view.etag):
        return Answer(status=304, headers=[etag])
    return Answer(_encode(view), headers=[etag])


async def list_records(service: Service, request: Request) -> Answer:
    query = request.query
    page = await service.list_records(
        request.names["space"],
        request.names["collection"],
        query.get("prefix", ""),
        limit_of(request),
        query.get("cursor"),
    )
    return Answer(_encode(page))


async def put_record(service: Service, request: Request) -> Answer:
    value = await parsed(decode_object, request.body, VALUE_DEPTH)
    check_fields(value)
    if value.keys() >= {"value", "etag"} and value.get("key") == request.names["key"]:
        raise refusal(
            "bad-value",
            "this looks like a whole answer to GET, not like the record in it",
            "Send the member `value` of it.",
        )
    return await _write_one(service, request, ChangeRequest(kind="put", value=value, **_address(request)))


async def patch_record(service: Service, request: Request) -> Answer:
    patch = await parsed(decode_as, request.body, Patch, VALUE_DEPTH + 1)
    change = ChangeRequest(kind="patch", set=patch.set, drop=patch.drop, **_address(request))
    check_patch(change)
    return await _write_one(service, request, change)


async def delete_record(service: Service, request: Request) -> Answer:
    return await _write_one(service, request, ChangeRequest(kind="delete", must_exist=True, **_address(request)))


async def write_transaction(service: Service, request: Request) -> Answer:
    changes = await parsed(read_transaction, request.body)
    return Answer(_encode(await service.write(request.names["space"], changes)))


async def write_each(service: Service, request: Request) -> Answer:
    changes = await parsed(read_writes, request.body)
    accepted = [change for change in changes if isinstance(change, ChangeRequest)]
    written = iter(await service.write_each(request.names["space"], accepted))
    outcomes = [next(written) if isinstance(change, ChangeRequest) else change for change in changes]
    return Answer(_encode({"results": [_outcome(outcome) for outcome in outcomes]}))


def _outcome(outcome: WriteResult | UserError) -> WriteResult | dict[str, msgspec.Raw]:
    return {"error": msgspec.Raw(encode_problem(outcome))} if isinstance(outcome, UserError) else outcome


async def follow_changes(service: Service, request: Request) -> Stream:
    follow = request.query.get("follow", "0")
    if follow not in {"0", "1"}:
        raise refusal("bad-query", "follow is neither 0 nor 1", "Give follow=1 to stay.")
    feed = await service.changes(request.names["space"], request.query.get("since"), follow=follow == "1")
    return Stream(feed)


async def list_collections(service: Service, request: Request) -> Answer:
    return Answer(_encode(await service.collections(request.names["space"])))


async def change_collection(service: Service, request: Request) -> Answer:
    change = decode_as(request.body, CollectionChange, 2)
    check_names(change.fields)
    settings = await service.set_collection(request.names["space"], request.names["collection"], change)
    return Answer(_encode(settings))


def limit_of(request: Request) -> int:
    """The parameter `limit`, or its default.

    Raises:
        UserError: `bad-query`.
    """
    text = request.query.get("limit")
    if text is None:
        return LIMIT_DEFAULT
    if not (text.isdigit() and len(text) <= 4 and 1 <= int(text) <= LIMIT_MAX):
        raise refusal("bad-query", f"limit is not a number from 1 to {LIMIT_MAX}", "Ask for more with the cursor.")
    return int(text)


def key_of(request: Request) -> str | None:
    """The parameter `key`, which needs `collection` beside it.

    Raises:
        UserError: `bad-query`.
    """
    key = request.query.get("key")
    if key is not None and "collection" not in request.query:
        raise refusal("bad-query", "a key is one of a collection", "Give collection=NAME beside it.")
    return key


# --- conditions -----------------------------------------------------------------------------------


async def _write_one(service: Service, request: Request, change: ChangeRequest) -> Answer:
    set_conditions(request, change)
    written = await service.write(request.names["space"], [change])
    result = written.results[0]
    body = Written(
        collection=result.collection,
        key=result.key,
        etag=result.etag,
        changed=result.changed,
        created=result.created,
        dot=written.dot,
    )
    headers = [("etag", f'"{result.etag}"')] if result.etag is not None else []
    return Answer(_encode(body), status=201 if result.created else 200, headers=headers)


async def parsed(parse: Callable[..., T], raw: bytes, *more: object) -> T:
    if len(raw) > _LARGE_BYTES:
        return await asyncio.to_thread(parse, raw, *more)
    return parse(raw, *more)


def _address(request: Request) -> dict[str, Any]:
    return {"collection": request.names["collection"], "key": request.names["key"]}


_BASE: Final = "/v1/spaces/{space}"
_RECORD: Final = _BASE + "/records/{collection}/{key}"
_CREATED: Final = {201: "The record was created."}
_WRITES: Final = (
    "record-not-found",
    "precondition-failed",
    "not-admitted",
    "removed",
    "bad-header",
    "key-mismatch",
    "too-deep",
    "disk-full",
    "store-busy",
)

ROUTES: Final = (
    Route(
        method="GET",
        pattern=_BASE + "/records/{collection}",
        handler=list_records,
        about="List records in the order of their keys.",
        query=(Parameter(name="prefix", about="Only keys that begin with this."), LIMIT, CURSOR),
        answer=RecordPage,
        refusals=("bad-cursor",),
    ),
    Route(
        method="GET",
        pattern=_RECORD,
        handler=read_record,
        about="Read a record. The header ETag names the version, and the set of values where there are several.",
        headers=(Parameter(name="If-None-Match", about="304 if the record still has this ETag."),),
        answer=RecordView,
        other_statuses={304: "The record still has this ETag."},
        refusals=("record-not-found",),
    ),
    Route(
        method="PUT",
        pattern=_RECORD,
        handler=put_record,
        about="Write a record as a whole. Only fields that differ are written; if none does, nothing is.",
        query=(_SEEN_QUERY,),
        headers=(_IF_MATCH, _IF_ABSENT, _SEEN),
        body=dict[str, Any],
        answer=Written,
        other_statuses=_CREATED,
        limit_bytes=RECORD_BODY_BYTES,
        refusals=_WRITES,
    ),
    Route(
        method="PATCH",
        pattern=_RECORD,
        handler=patch_record,
        about="Set and drop single fields of a record that exists.",
        query=(_SEEN_QUERY,),
        headers=(_IF_MATCH, _SEEN),
        body=Patch,
        answer=Written,
        limit_bytes=RECORD_BODY_BYTES,
        refusals=_WRITES,
    ),
    Route(
        method="DELETE",
        pattern=_RECORD,
        handler=delete_record,
        about="Delete a record; one that is absent is refused, so that a typing error is noticed.",
        query=(_SEEN_QUERY,),
        headers=(_IF_MATCH, _SEEN),
        answer=Written,
        refusals=_WRITES,
    ),
    Route(
        method="POST",
        pattern=_BASE + "/transactions",
        handler=write_transaction,
        about="Write several changes, whole or not at all. A delete of what is absent does nothing.",
        body=Transaction,
        answer=WriteResult,
        limit_bytes=TRANSACTION_BODY_BYTES,
        refusals=_WRITES,
    ),
    Route(
        method="POST",
        pattern=_BASE + "/writes",
        handler=write_each,
        about=f"Write 1 to {CHANGES_PER_REQUEST:,} changes, each a transaction of its own, and answer when all are "
        "durable. They are tried in their order, also those of one record, and nothing ties them together: `results` "
        "has for each what /transactions would have answered, or `error` with its problem, beside which the others "
        "are written. A problem of the whole request, such as a full disk, can leave a part of it written; `detail` "
        "says how much.",
        body=Writes,
        answer=WritesResult,
        limit_bytes=TRANSACTION_BODY_BYTES,
        refusals=("not-admitted", "removed", "disk-full", "store-busy", "stopping"),
    ),
    Route(
        method="GET",
        pattern=_BASE + "/changes",
        handler=follow_changes,
        about="The feed, one event to a line; an empty line now and then shows that the daemon is there.",
        query=(
            Parameter(name="since", about="Continue after this token; `now`: no past; absent: the whole state."),
            Parameter(name="follow", about="1: stay and go on; 0: end when everything is told.", kind="integer"),
        ),
        answer=ChangeEvent,
        stream=True,
        refusals=("bad-cursor",),
    ),
    Route(
        method="GET",
        pattern=_BASE + "/collections",
        handler=list_collections,
        about="The collections of a space with their counts and settings.",
        answer=CollectionList,
    ),
    Route(
        method="PATCH",
        pattern=_BASE + "/collections/{collection}",
        handler=change_collection,
        about="Change how a collection is merged and read; creates its settings.",
        body=CollectionChange,
        answer=CollectionSettings,
        refusals=("merge-fixed",),
    ),
)
