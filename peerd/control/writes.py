"""What is checked of a write before the engine hears of it: its conditions, its form, its names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from peerd.control.bodies import decode_as
from peerd.control.problems import refusal
from peerd.core import names
from peerd.core.limits import CHANGES_PER_TRANSACTION, FIELDS_PER_RECORD, VALUE_DEPTH
from peerd.errors import UserError
from peerd.protocol.control.messages import ChangeRequest, Transaction

if TYPE_CHECKING:
    from collections.abc import Iterable

    from peerd.control.messages import Request


CHANGES_PER_REQUEST: Final = 10_000


class _Unread(msgspec.Struct, forbid_unknown_fields=True):
    """Changes that are still JSON, so that whatever is wrong with one is its own affair."""

    changes: list[msgspec.Raw]


class _Form(msgspec.Struct, forbid_unknown_fields=True):
    changes: list[Any]


_unread_decoder: Final = msgspec.json.Decoder(_Unread)


def set_conditions(request: Request, change: ChangeRequest) -> None:
    """Take If-Match, If-None-Match and Peerd-Seen (or `?seen=`) over into the change.

    Raises:
        UserError: `bad-header`.
    """
    headers = request.headers
    if b"if-match" in headers:
        change.if_match = _one_etag("If-Match", _header(headers[b"if-match"]))
    if b"if-none-match" in headers:
        if headers[b"if-none-match"].strip() != b"*" or change.kind != "put":
            raise refusal("bad-header", "If-None-Match of a write can only be *, and only of a PUT", "Use If-Match.")
        change.if_none_match = True
    seen = headers.get(b"peerd-seen")
    if seen is not None:
        change.seen = _one_etag("Peerd-Seen", _header(seen))
    if "seen" in request.query:
        also = _one_etag("seen", request.query["seen"])
        if change.seen not in {None, also}:
            raise refusal("bad-header", "Peerd-Seen and ?seen= name different ETags", "Give one of them.")
        change.seen = also


def _header(value: bytes) -> str:
    try:
        return value.decode("ascii").strip()
    except UnicodeDecodeError:
        raise refusal("bad-header", "a header is not ASCII", "ETags of peerd are.") from None


def _one_etag(where: str, text: str) -> str:
    bare = text[1:-1] if len(text) >= 2 and text[0] == text[-1] == '"' else text
    if '"' in bare or "," in bare or " " in bare:
        raise refusal("bad-header", f"{where} does not hold one strong ETag", 'Write it as "ETAG".')
    return bare


def names_etag(raw: bytes, etag: str) -> bool:
    """Is `etag` among those of a header If-None-Match? Weak ones count (RFC 9110 section 13.1.2)."""
    header = _header(raw)
    if header == "*":
        return True
    return any(part.strip().removeprefix("W/").strip('"') == etag for part in header.split(","))


def read_transaction(raw: bytes) -> list[ChangeRequest]:
    """The changes of a transaction's body, each well formed.

    Raises:
        UserError: what `decode_as` raises, or the refusal of one change, which it names by its index.
    """
    changes = decode_as(raw, Transaction, VALUE_DEPTH + 3).changes
    if not 1 <= len(changes) <= CHANGES_PER_TRANSACTION:
        raise refusal(
            "too-large" if changes else "bad-body",
            f"a transaction has 1 to {CHANGES_PER_TRANSACTION:,} changes, not {len(changes):,}",
            "Split it into several.",
        )
    for index, change in enumerate(changes):
        try:
            _check_change(change)
        except UserError as error:
            raise refusal(error.code, f"change {index}: {error}", error.next_step, index=index) from None
    return changes


def read_writes(raw: bytes) -> list[ChangeRequest | UserError]:
    """The changes of a body of many small transactions; in the place of one that is not well formed, its refusal.

    Raises:
        UserError: what `decode_as` raises, if the whole is no JSON or no list of changes; `too-large`.
    """
    try:
        changes = _unread_decoder.decode(raw).changes
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        decode_as(raw, _Form, VALUE_DEPTH + 3)
        raise refusal("malformed-json", "the body is not JSON", "Send one JSON object.") from None
    # The one member has the one colon outside of the changes.
    if raw.count(b":") - sum(bytes(change).count(b":") for change in changes) > 1:
        raise refusal("duplicate-key", "an object names a member twice", "Give each member once.")
    if not 1 <= len(changes) <= CHANGES_PER_REQUEST:
        raise refusal(
            "too-large" if changes else "bad-body",
            f"a request has 1 to {CHANGES_PER_REQUEST:,} changes, not {len(changes):,}",
            "Split it into several.",
        )
    return [_read_change(bytes(change)) for change in changes]


def _read_change(raw: bytes) -> ChangeRequest | UserError:
    try:
        change = decode_as(raw, ChangeRequest, VALUE_DEPTH + 1)
        _check_change(change)
    except UserError as error:
        return error
    return change


def _check_change(change: ChangeRequest) -> None:
    names.check_collection_name(change.collection)
    names.check_key(change.key)
    if change.kind == "put":
        if change.value is None or change.set or change.drop:
            raise refusal("bad-body", "a put has `value`, neither `set` nor `drop`", "See /openapi.json.")
        check_fields(change.value)
    elif change.value is not None or change.if_none_match:
        raise refusal("bad-body", "`value` and `if_none_match` belong to a put", "See /openapi.json.")
    elif change.kind == "patch":
        check_patch(change)
    elif change.set or change.drop:
        raise refusal("bad-body", "a delete has neither `set` nor `drop`", "See /openapi.json.")
    if change.if_match is not None:
        change.if_match = _one_etag("if_match", change.if_match)
    if change.seen is not None:
        change.seen = _one_etag("seen", change.seen)


def check_patch(change: ChangeRequest) -> None:
    """Refuse a patch that does nothing or contradicts itself.

    Raises:
        UserError: `bad-body`, `bad-name`, `too-large`.
    """
    if not change.set and not change.drop:
        raise refusal("bad-body", "a patch has `set`, `drop` or both", 'Send {"set": {"field": value}}.')
    if not change.set.keys().isdisjoint(change.drop):
        raise refusal("bad-body", "a patch sets and drops the same field", "Do one of the two.")
    check_fields(change.set)
    check_names(change.drop)


def check_fields(value: dict[str, object]) -> None:
    """Refuse what cannot be the fields of a record: too many, or with names that no field may have.

    Raises:
        UserError: `too-large`, `bad-name`.
    """
    if len(value) > FIELDS_PER_RECORD:
        raise refusal(
            "too-large", f"a record has at most {FIELDS_PER_RECORD:,} fields", "Nest them, or use several records."
        )
    check_names(value)


def check_names(fields: Iterable[str]) -> None:
    for name in fields:
        names.check_field_name(name)
