"""The routes of invitations by file."""

from __future__ import annotations

from base64 import b64decode, b64encode
from binascii import Error as BinasciiError
from typing import TYPE_CHECKING, Final

import msgspec

from peerd.control.bodies import decode_as
from peerd.control.messages import Answer, Request
from peerd.control.problems import refusal
from peerd.control.router import Route
from peerd.core import names
from peerd.protocol.control.tickets import NewPetition, NewTicket, Petitioned, TicketFile

if TYPE_CHECKING:
    from peerd.control.service import Service

_encode: Final = msgspec.json.Encoder().encode
_DAYS: Final = 365
_PETITION_BODY_BYTES: Final = 2 << 20


async def make_ticket(service: Service, request: Request) -> Answer:
    wish = decode_as(request.body, NewTicket, 1)
    if not 1 <= wish.days <= _DAYS:
        raise refusal("bad-value", f"`days` is not 1 to {_DAYS}", "Leave it out for 7 days.")
    file, code, expires_ms = await service.invite_by_file(request.names["space"], wish.days, wish.role)
    return Answer(_encode(TicketFile(code=code, file=b64encode(file).decode(), expires_ms=expires_ms)))


async def withdraw(service: Service, request: Request) -> Answer:
    await service.withdraw_file(request.names["space"], request.names["ticket"])
    return Answer(status=204)


async def petition(service: Service, request: Request) -> Answer:
    wish = decode_as(request.body, NewPetition, 1)
    if wish.name is not None:
        names.check_space_name(wish.name)
    try:
        file = b64decode(wish.file, validate=True)
    except (BinasciiError, ValueError):
        raise refusal("bad-value", "`file` is not base64", "Send the bytes of the file in base64.") from None
    return Answer(_encode(await service.join_by_file(file, wish.code, wish.name)))


ROUTES: Final = (
    Route(
        method="POST",
        pattern="/v1/spaces/{space}/tickets",
        handler=make_ticket,
        about="Make an invitation as a file, for a device that no member meets; it is let in through a relay.",
        body=NewTicket,
        answer=TicketFile,
        refusals=("bad-value", "not-admin", "roster-too-large", "roster-full"),
    ),
    Route(
        method="DELETE",
        pattern="/v1/spaces/{space}/tickets/{ticket}",
        handler=withdraw,
        about="Let nobody in any more by an invitation file; `ticket` is its id, as the list of members has it.",
        status=204,
        refusals=("not-invited", "not-admin", "roster-full"),
    ),
    Route(
        method="POST",
        pattern="/v1/petitions",
        handler=petition,
        about="Ask to be let in with an invitation file; the answer comes through a relay.",
        body=NewPetition,
        answer=Petitioned,
        limit_bytes=_PETITION_BODY_BYTES,
        refusals=("bad-value", "bad-code", "bad-invitation", "expired", "space-exists", "already-member"),
    ),
)
