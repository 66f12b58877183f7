"""The routes of spaces: what they are, who is in them, what happened in them, and what is in dispute."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import msgspec

from peerd.control.bodies import decode_as
from peerd.control.messages import Answer, Request, Stream
from peerd.control.problems import refusal
from peerd.control.records import COLLECTION, CURSOR, KEY, LIMIT, key_of, limit_of, parsed
from peerd.control.router import RECORD_BODY_BYTES, Parameter, Route
from peerd.core import names
from peerd.core.limits import VALUE_DEPTH
from peerd.protocol.control.messages import ConflictList, Resolution, WriteResult
from peerd.protocol.control.reports import (
    Admission,
    Forgotten,
    InvitationAnswer,
    InvitationEvent,
    Joined,
    MemberList,
    MemberView,
    NewInvitation,
    NewJoin,
    NewSpace,
    ScrubView,
    SpaceCheck,
    SpaceList,
    SpaceView,
)

if TYPE_CHECKING:
    from peerd.control.service import Service

_encode: Final = msgspec.json.Encoder().encode
_TEXT_CHARS: Final = 256


async def list_spaces(service: Service, _request: Request) -> Answer:
    return Answer(_encode(await service.spaces()))


async def create_space(service: Service, request: Request) -> Answer:
    name = decode_as(request.body, NewSpace, 1).name
    names.check_space_name(name)
    view = await service.create_space(name)
    return Answer(_encode(view), status=201, headers=[("location", f"/v1/spaces/{quote(name, safe='')}")])


async def read_space(service: Service, request: Request) -> Answer:
    return Answer(_encode(await service.space(request.names["space"])))


async def scrub_space(service: Service, request: Request) -> Answer:
    return Answer(_encode(await service.scrub_space(request.names["space"])))


async def forget_space(service: Service, request: Request) -> Answer:
    copy = request.query.get("copy", "set-aside")
    if copy not in {"set-aside", "delete"}:
        raise refusal("bad-query", "copy is neither set-aside nor delete", "Give copy=set-aside to keep the database.")
    return Answer(_encode(await service.forget_space(request.names["space"], delete=copy == "delete")))


async def rebuild_space(service: Service, request: Request) -> Answer:
    return Answer(_encode(await service.rebuild_space(request.names["space"])))


async def look_through(service: Service, _request: Request) -> Stream:
    checks = await service.look_through()
    return Stream(([check] async for check in checks), source=checks)


async def list_conflicts(service: Service, request: Request) -> Answer:
    query = request.query
    found = await service.conflicts(
        request.names["space"],
        collection=query.get("collection"),
        key=key_of(request),
        limit=limit_of(request),
        cursor=query.get("cursor"),
    )
    return Answer(_encode(found))


async def resolve(service: Service, request: Request) -> Answer:
    resolution = await parsed(decode_as, request.body, Resolution, VALUE_DEPTH + 1)
    ways = (resolution.choose is not None) + (resolution.value is not msgspec.UNSET) + resolution.drop
    if ways != 1:
        raise refusal(
            "bad-body",
            "a resolution is exactly one of `choose`, `value` and `drop`",
            'Send {"choose": N} with the number of a value.',
        )
    if resolution.etag is not None:
        resolution.etag = resolution.etag.strip('"')
    result = await service.resolve(request.names["space"], request.names["conflict"], resolution)
    return Answer(_encode(result))


# --- members --------------------------------------------------------------------------------------


async def invite(service: Service, request: Request) -> Stream:
    wish = decode_as(request.body, NewInvitation, 1)
    names.check_space_name(wish.space)
    events = await service.invite(wish.space, assume_yes=wish.yes)
    return Stream(([event] async for event in events), source=events)


async def answer_invitation(service: Service, request: Request) -> Answer:
    answer = decode_as(request.body, InvitationAnswer, 1)
    await service.confirm_invitation(request.names["invitation"], admit=answer.admit)
    return Answer(status=204)


async def cancel_invitation(service: Service, request: Request) -> Answer:
    await service.cancel_invitation(request.names["invitation"])
    return Answer(status=204)


async def join(service: Service, request: Request) -> Answer:
    wish = decode_as(request.body, NewJoin, 1)
    if (wish.code is None) == (wish.device is None):
        raise refusal("bad-body", "a join has either `code` or `device`", "Send the code of the invitation.")
    if wish.name is not None:
        names.check_space_name(wish.name)
    for member in (wish.code, wish.device, wish.host):
        check_text(member)
    return Answer(_encode(await service.join(wish)))


async def list_members(service: Service, request: Request) -> Answer:
    return Answer(_encode(await service.members(request.names["space"])))


async def admit(service: Service, request: Request) -> Answer:
    wish = decode_as(request.body, Admission, 1)
    check_text(wish.device)
    member = await service.admit(request.names["space"], wish.device, wish.role)
    return Answer(_encode(member), status=201)


async def remove(service: Service, request: Request) -> Answer:
    await service.remove(request.names["space"], request.names["device"])
    return Answer(status=204)


def check_text(text: str | None) -> None:
    """Raises UserError "bad-value" if it can be no code, device id or host."""
    if text is not None and not (0 < len(text) <= _TEXT_CHARS and text.isascii() and text.isprintable()):
        raise refusal(
            "bad-value",
            f"{text[:40]!a} is no code, device id or host",
            f"Send 1 to {_TEXT_CHARS} printable ASCII characters.",
        )


_BASE: Final = "/v1/spaces/{space}"

ROUTES: Final = (
    Route(
        method="GET", pattern="/v1/spaces", handler=list_spaces, about="The spaces of this device.", answer=SpaceList
    ),
    Route(
        method="POST",
        pattern="/v1/spaces",
        handler=create_space,
        about="Create a space with this device as its only member.",
        body=NewSpace,
        answer=SpaceView,
        status=201,
        refusals=("space-exists",),
    ),
    Route(method="GET", pattern=_BASE, handler=read_space, about="One space and its peers.", answer=SpaceView),
    Route(
        method="DELETE",
        pattern=_BASE,
        handler=forget_space,
        about="Be rid of this device's copy of the space. Nobody is told; the other members keep theirs.",
        query=(
            Parameter(name="copy", about="set-aside (the default): the database is moved away; delete: it is gone."),
        ),
        answer=Forgotten,
        refusals=("bad-query",),
    ),
    Route(
        method="POST",
        pattern=_BASE + "/scrub",
        handler=scrub_space,
        about="Look now at all of this device's copy: is every record and every run what was written? Answers when "
        "that is done, or after some seconds, with `running`.",
        answer=ScrubView,
        refusals=("store-damaged",),
    ),
    Route(
        method="POST",
        pattern=_BASE + "/rebuild",
        handler=rebuild_space,
        about="Set aside this device's copy, damaged or missing, and get a new one from the other members.",
        answer=SpaceView,
        refusals=("not-rebuilt", "only-copy", "disk-full"),
    ),
    Route(
        method="POST",
        pattern="/v1/checks",
        handler=look_through,
        about="Read every page of every space's database, one space after the other, and say what is damaged.",
        answer=SpaceCheck,
        stream=True,
    ),
    Route(
        method="GET",
        pattern=_BASE + "/conflicts",
        handler=list_conflicts,
        about="What is in dispute, with all values.",
        query=(COLLECTION, KEY, LIMIT, CURSOR),
        answer=ConflictList,
        refusals=("bad-cursor",),
    ),
    Route(
        method="POST",
        pattern=_BASE + "/conflicts/{conflict}",
        handler=resolve,
        about="Settle a conflict: choose one of its values, give another, or drop it.",
        body=Resolution,
        answer=WriteResult,
        limit_bytes=RECORD_BODY_BYTES,
        refusals=(
            "conflict-not-found",
            "precondition-failed",
            "bad-choice",
            "bad-value",
            "tied-conflict",
            "key-mismatch",
            "disk-full",
        ),
    ),
    Route(
        method="GET",
        pattern=_BASE + "/members",
        handler=list_members,
        about="Who is in the space, and who was.",
        answer=MemberList,
    ),
    Route(
        method="POST",
        pattern=_BASE + "/members",
        handler=admit,
        about="Admit a device by its id; it joins by naming ours.",
        body=Admission,
        answer=MemberView,
        status=201,
        refusals=("bad-device-id", "not-admin", "already-member"),
    ),
    Route(
        method="DELETE",
        pattern=_BASE + "/members/{device}",
        handler=remove,
        about="Remove a device from the space, for good.",
        status=204,
        refusals=("bad-device-id", "not-member", "not-admin", "only-member", "only-admin", "roster-full"),
    ),
    Route(
        method="POST",
        pattern="/v1/invitations",
        handler=invite,
        about="Invite a device: the code at once, then what comes of it. Hanging up cancels the invitation.",
        body=NewInvitation,
        answer=InvitationEvent,
        stream=True,
        refusals=("invitation-open", "not-admin"),
    ),
    Route(
        method="POST",
        pattern="/v1/invitations/{invitation}",
        handler=answer_invitation,
        about="Answer the device that asks to be admitted.",
        body=InvitationAnswer,
        status=204,
        refusals=("invitation-not-found", "nobody-asks"),
    ),
    Route(
        method="DELETE",
        pattern="/v1/invitations/{invitation}",
        handler=cancel_invitation,
        about="Cancel an invitation.",
        status=204,
        refusals=("invitation-not-found",),
    ),
    Route(
        method="POST",
        pattern="/v1/joins",
        handler=join,
        about="Join a space by the code of an invitation, or as a device that was admitted by its id.",
        body=NewJoin,
        answer=Joined,
        interruptible=True,
        refusals=("join-failed", "unreachable", "bad-device-id", "space-exists"),
    ),
)
