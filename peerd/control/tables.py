"""The routes of bound tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from peerd.control.bodies import decode_as
from peerd.control.messages import Answer, Request
from peerd.control.problems import refusal
from peerd.control.router import Parameter, Route
from peerd.core import names
from peerd.protocol.control.tables import (
    BindingList,
    BindingReport,
    CleanedFile,
    HeldAnswer,
    HeldList,
    NewBinding,
    Unbound,
    UnboundFile,
)

if TYPE_CHECKING:
    from peerd.control.service import Service

_encode: Final = msgspec.json.Encoder().encode
_PATH_CHARS: Final = 4_096


async def bind(service: Service, request: Request) -> Answer:
    wish = decode_as(request.body, NewBinding, 3)
    if wish.name is not None:
        names.check_binding_name(wish.name)
    _check_path(wish.database)
    if wish.merge and wish.adopt:
        raise refusal("bad-body", "`merge` and `adopt` exclude each other", "Send one of them.")
    return Answer(_encode(await service.bind(request.names["space"], wish)))


def _check_path(database: str) -> None:
    if not database.startswith("/") or "\0" in database or len(database) > _PATH_CHARS:
        raise refusal("bad-value", "`database` is no absolute path", "Send the full path of the file.")


async def list_bindings(service: Service, request: Request) -> Answer:
    return Answer(_encode(await service.bindings(request.names["space"])))


async def unbind(service: Service, request: Request) -> Answer:
    force = request.query.get("force", "no")
    if force not in {"yes", "no"}:
        raise refusal("bad-query", "force is neither yes nor no", "Give force=yes to forget the binding in any case.")
    return Answer(_encode(await service.unbind(request.names["space"], request.names["binding"], force=force == "yes")))


async def clean_file(service: Service, request: Request) -> Answer:
    body = decode_as(request.body, UnboundFile, 1)
    _check_path(body.database)
    return Answer(_encode(await service.clean_file(body.database)))


async def list_held(service: Service, request: Request) -> Answer:
    return Answer(_encode(await service.held(request.names["space"], request.names["binding"])))


async def answer_held(service: Service, request: Request) -> Answer:
    answer = decode_as(request.body, HeldAnswer, 1)
    return Answer(_encode(await service.answer_held(request.names["space"], request.names["binding"], answer)))


_BASE: Final = "/v1/spaces/{space}/bindings"
_OF_THE_FILE: Final = (
    "file-missing", "file-replaced", "file-unknown", "file-locked", "file-corrupt", "file-read-only", "file-not-owned",
    "disk-full",
)  # fmt: skip

ROUTES: Final = (
    Route(
        method="GET",
        pattern=_BASE,
        handler=list_bindings,
        about="The databases that are bound to the space here, and how they stand.",
        answer=BindingList,
    ),
    Route(
        method="POST",
        pattern=_BASE,
        handler=bind,
        about="Bind the tables of an application's database, or report what that would do.",
        body=NewBinding,
        answer=BindingReport,
        refusals=(
            "bad-value", "binding-exists", "tables-undecided", "tables-refused", "tables-unknown", "both-have-data",
            *_OF_THE_FILE,
        ),
    ),
    Route(
        method="DELETE",
        pattern=_BASE + "/{binding}",
        handler=unbind,
        about="Unbind a database: every trace of peerd in it is removed, rows and records stay.",
        query=(
            Parameter(name="force", about="yes: forget the binding also if the file cannot be cleaned. Default: no."),
        ),
        answer=Unbound,
        refusals=("bad-query", "binding-not-found", *_OF_THE_FILE),
    ),
    Route(
        method="POST",
        pattern="/v1/tables/clean",
        handler=clean_file,
        about="Remove what peerd kept in a file that no binding knows any more.",
        body=UnboundFile,
        answer=CleanedFile,
        refusals=("bad-value", "file-bound", *_OF_THE_FILE),
    ),
    Route(
        method="GET",
        pattern=_BASE + "/{binding}/held",
        handler=list_held,
        about="Deletes that are held, because too many rows were deleted at once.",
        answer=HeldList,
        refusals=("binding-not-found", *_OF_THE_FILE),
    ),
    Route(
        method="POST",
        pattern=_BASE + "/{binding}/held",
        handler=answer_held,
        about="Approve deletes that are held, or restore the rows.",
        body=HeldAnswer,
        answer=HeldList,
        refusals=("binding-not-found", *_OF_THE_FILE),
    ),
)  # fmt: skip
