"""The routes of copies that were set aside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from peerd.control.bodies import decode_as
from peerd.control.messages import Answer, Request
from peerd.control.problems import refusal
from peerd.control.router import Route
from peerd.control.spaces import check_text
from peerd.protocol.control.recopy import AsideList, NewRecopy, Recopied

if TYPE_CHECKING:
    from peerd.control.service import Service

_encode: Final = msgspec.json.Encoder().encode
_PATH_CHARS: Final = 4_096


async def list_asides(service: Service, request: Request) -> Answer:
    return Answer(_encode(await service.asides(request.names["space"])))


async def recopy(service: Service, request: Request) -> Answer:
    wish = decode_as(request.body, NewRecopy, 1)
    if (wish.aside is None) == (wish.device is None):
        raise refusal(
            "bad-body", "a recopy has either `aside` or `device`", 'Send {"aside": "latest"} for an old copy.'
        )
    if wish.device is not None:
        check_text(wish.device)
        return Answer(_encode(await service.recopy_from(request.names["space"], wish.device)))
    if wish.aside is None or not 0 < len(wish.aside) <= _PATH_CHARS or "\0" in wish.aside:
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
        about="Take in a copy that was set aside, or a member's copy in place of this one: what the old one has and "
        "the new one lacks is written again, by this device.",
        body=NewRecopy,
        answer=Recopied,
        refusals=(
            "bad-value",
            "bad-device-id",
            "no-aside",
            "not-linked",
            "recopy-failed",
            "recopy-running",
            "not-admitted",
            "removed",
            "disk-full",
        ),
    ),
)
