"""The routes of copies that were set aside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from peerd.control.bodies import decode_as
from peerd.control.messages import Answer, Request
from peerd.control.problems import refusal
from peerd.control.router import Route
from peerd.protocol.control_recopy import AsideList, NewRecopy, Recopied

if TYPE_CHECKING:
    from peerd.control.service import Service

_encode: Final = msgspec.json.Encoder().encode
_PATH_CHARS: Final = 4_096


async def list_asides(service: Service, request: Request) -> Answer:
    return Answer(_encode(await service.asides(request.names["space"])))


async def recopy(service: Service, request: Request) -> Answer:
    wish = decode_as(request.body, NewRecopy, 1)
    if not 0 < len(wish.aside) <= _PATH_CHARS or "\0" in wish.aside:
        raise refusal("bad-value", "`aside` is no name of a file", 'Send the name of a file, or "latest".')
    return Answer(_encode(await service.recopy(request.names["space"], wish.aside)))


ROUTES: Final = (
    Route(
        method="GET",
        pattern="/v1/spaces/{space}/asides",
        handler=list_asides,
        about="Copies of the space that were set aside and not taken in yet, compared with the one in their place.",
        answer=AsideList,
    ),
    Route(
        method="POST",
        pattern="/v1/spaces/{space}/recopy",
        handler=recopy,
        about="Take in a copy that was set aside: what it has and this one lacks is written again, by this device.",
        body=NewRecopy,
        answer=Recopied,
        refusals=("bad-value", "no-aside", "recopy-running", "removed", "disk-full"),
    ),
)
