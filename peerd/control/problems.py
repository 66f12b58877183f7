"""Every refusal of the socket: its code, status and title, and the document that says so (RFC 9457).

Whoever refuses raises `UserError` with a code of this table; the title is the table's, the sentence and the
next step come from where the error was raised. A status that an error names itself goes before the table's.
"""

from __future__ import annotations

import errno
from http import HTTPStatus
from typing import Final, NamedTuple

import msgspec

from peerd.errors import (
    MORE_FILES,
    ConfigError,
    DiskFull,
    PeerdError,
    RelayTrouble,
    StoreBusy,
    StoreError,
    TableTrouble,
    TooManyFiles,
    UserError,
)

CONTENT_TYPE: Final = "application/problem+json"
_TYPE_PREFIX: Final = "urn:peerd:error:"
_SHOWN_CHARS: Final = 2_000


class Code(NamedTuple):
    status: int
    title: str


CODES: Final[dict[str, Code]] = {
    # what was sent
    "malformed-request": Code(400, "Not a well-formed HTTP request"),
    "malformed-json": Code(400, "The body is not JSON"),
    "duplicate-key": Code(400, "An object names a member twice"),
    "number-too-large": Code(400, "A number does not fit 64 bits"),
    "too-deep": Code(400, "The value is nested too deeply"),
    "bad-body": Code(400, "The body is not what this request takes"),
    "bad-value": Code(400, "A value outside the data model"),
    "bad-name": Code(400, "A name that is not allowed"),
    "bad-query": Code(400, "The query is not what this request takes"),
    "bad-header": Code(400, "A header is not what this request takes"),
    "bad-cursor": Code(400, "A cursor or token that is not of this list"),
    "bad-choice": Code(400, "The conflict has no such value"),
    "bad-device-id": Code(400, "Not a device id"),
    "bad-code": Code(400, "Not a code that opens this"),
    "bad-invitation": Code(400, "Not an invitation that can be used"),
    "request-timeout": Code(408, "The request did not arrive in time"),
    "length-required": Code(411, "The request needs a body"),
    "too-large": Code(413, "Larger than what may be written at once"),
    "address-too-long": Code(414, "The address is too long"),
    "not-json": Code(415, "The body is declared as something other than JSON"),
    "headers-too-large": Code(431, "The headers are too large"),
    "version-unsupported": Code(505, "This version of HTTP is not spoken here"),
    # what it was sent to
    "no-such-path": Code(404, "There is nothing at this address"),
    "method-not-allowed": Code(405, "The address does not take this method"),
    "space-not-found": Code(404, "There is no such space on this device"),
    "record-not-found": Code(404, "There is no such record"),
    "collection-not-found": Code(404, "There is no such collection"),
    "conflict-not-found": Code(404, "There is no such conflict, or it is settled"),
    "binding-not-found": Code(404, "There is no such binding on this device"),
    "relay-not-found": Code(404, "There is no such relay on this device"),
    "invitation-not-found": Code(404, "There is no such invitation"),
    "not-member": Code(404, "There is no such member"),
    "not-invited": Code(404, "There is no such open invitation"),
    "not-found": Code(404, "There is no such thing"),
    # who sent it
    "read-only": Code(403, "You may read here, not write"),
    "not-admin": Code(403, "This device may not do that in this space"),
    "not-admitted": Code(403, "This device is no member of the space yet"),
    "removed": Code(403, "This device is no member of the space any more"),
    # when it was sent
    "precondition-failed": Code(412, "It has changed in the meantime"),
    "not-linked": Code(409, "There is no link with that device"),
    "recopy-failed": Code(409, "A member's copy could not be taken in"),
    "no-aside": Code(404, "There is no such old copy of the space"),
    "recopy-running": Code(409, "An old copy is being taken in"),
    "space-exists": Code(409, "There is a space of this name already"),
    "transaction-not-found": Code(404, "There is no such transaction in the log of this device"),
    "before-history": Code(409, "This device does not know that far back"),
    "merge-fixed": Code(409, "How a collection merges is fixed when it is created"),
    "invitation-open": Code(409, "There is an open invitation already"),
    "expired": Code(409, "Nobody came in time"),
    "cancelled": Code(409, "It was cancelled"),
    "already-member": Code(409, "The device is a member already"),
    "roster-too-large": Code(409, "Too many members for an invitation by file"),
    "nobody-asks": Code(409, "Nobody asks to be admitted"),
    "join-failed": Code(409, "The other device did not let this one in"),
    "unreachable": Code(504, "No address of the other device could be reached"),
    "bad-config": Code(422, "The configuration has problems; the one before stays"),
    "binding-exists": Code(409, "There is a binding of this name, or of this file, already"),
    "both-have-data": Code(409, "The file and the space both have data"),
    "tied-conflict": Code(409, "The conflict can only be settled together with others"),
    "tables-undecided": Code(409, "The schema leaves something open that a person has to decide"),
    "tables-refused": Code(409, "This database cannot be bound"),
    "key-mismatch": Code(422, "The key of a row is made of its columns"),
    "tables-unknown": Code(409, "The database has no table or column of that name"),
    "backup-exists": Code(409, "There is something at that place already"),
    "backup-refused": Code(409, "The daemon cannot write a backup there"),
    "backup-running": Code(409, "Another backup is being made"),
    "needs-newer-peerd": Code(409, "The space needs a newer peerd"),
    "too-many-connections": Code(503, "Too many connections"),
    "too-busy": Code(503, "Too much is being written at this moment"),
    "stopping": Code(503, "The daemon is stopping"),
    # what we could not do
    "disk-full": Code(507, "The disk is full"),
    "store-busy": Code(503, "Another process holds the database"),
    "too-many-files": Code(503, "No file descriptors are left"),
    "store-failed": Code(503, "The disk takes no writes at the moment"),
    "store-damaged": Code(500, "The database is damaged"),
    "store-missing": Code(500, "The database is not there"),
    "store-newer": Code(500, "A later version wrote the database"),
    "not-rebuilt": Code(409, "What is left of the space does not make this device a member"),
    "only-copy": Code(409, "No other device has a copy"),
    "only-member": Code(409, "No other device is a member"),
    "only-admin": Code(409, "No other device is an admin"),
    "roster-full": Code(409, "No more is kept about the members"),
    "copy-filling": Code(409, "The new copy of the space is not filled yet"),
    "file-missing": Code(409, "The application's file is not there"),
    "file-replaced": Code(409, "The application's file was replaced by another"),
    "file-unknown": Code(409, "The application's file is not the one that was bound"),
    "file-bound": Code(409, "The application's file is bound already"),
    "file-locked": Code(409, "The application keeps its file locked"),
    "file-corrupt": Code(409, "The application's file is damaged"),
    "file-read-only": Code(409, "The application's file cannot be written"),
    "file-not-owned": Code(409, "The application's file belongs to another user"),
    "table-failed": Code(409, "The application's file cannot be used at the moment"),
    "internal": Code(500, "A fault of peerd"),
}


def refusal(code: str, detail: str, next_step: str = "", **extra: object) -> UserError:
    """An error of this table, with its status."""
    return UserError(detail, code=code, status=CODES[code].status, next_step=next_step, **extra)


def status_of(error: BaseException) -> int:
    """The status with which an error is answered."""
    if isinstance(error, UserError):
        return error.status if 400 <= error.status <= 599 else 500
    if isinstance(error, DiskFull):
        return 507
    if isinstance(error, StoreBusy | TooManyFiles) or (isinstance(error, StoreError) and error.code == "store-failed"):
        return 503
    if isinstance(error, ConfigError):
        return 422
    if isinstance(error, TableTrouble | RelayTrouble):
        return 409
    return 500


def understood(error: Exception) -> Exception:
    """A failure that is no bug of peerd's, whatever it met in; else the error as it is."""
    if isinstance(error, OSError) and error.errno in {errno.EMFILE, errno.ENFILE}:
        return TooManyFiles("no file descriptors are left", next_step=MORE_FILES)
    return error


def document(error: BaseException, space: str = "") -> dict[str, object]:
    """The problem document of any error, at a request for a `space`. What is not meant for the caller is not told."""
    status = status_of(error)
    if isinstance(error, PeerdError):
        code, detail, next_step = error.code, str(error)[:_SHOWN_CHARS], error.next_step
        if isinstance(error, StoreError) and space:
            next_step = error.step_in(space)
    else:
        code, detail = "internal", "peerd failed at this request"
        next_step = "Look into the log of the daemon; please report it."
    known = CODES.get(code)
    base: dict[str, object] = {
        "type": _TYPE_PREFIX + code,
        "title": known.title if known else HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
        "next_step": next_step,
    }
    if isinstance(error, UserError):
        base |= {name: value for name, value in error.extra.items() if name not in base}
    if isinstance(error, ConfigError):
        base["problems"] = error.problems
    return base


def encode(error: BaseException, space: str = "") -> bytes:
    """The document as JSON, whatever the error carries."""
    try:
        return msgspec.json.encode(document(error, space))
    except (TypeError, UnicodeEncodeError):
        plain = UserError(ascii(str(error))[:_SHOWN_CHARS], code=ascii(getattr(error, "code", "internal"))[1:-1])
        plain.status = status_of(error)
        return msgspec.json.encode(document(plain))
