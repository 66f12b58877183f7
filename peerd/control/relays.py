"""The routes of relays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from peerd.control.bodies import decode_as
from peerd.control.messages import Answer, Request
from peerd.control.router import Route
from peerd.protocol.control.relays import RelayCheckList, RelayList, RelaySync

if TYPE_CHECKING:
    from peerd.control.service import Service

_encode: Final = msgspec.json.Encoder().encode


async def list_relays(service: Service, _request: Request) -> Answer:
    return Answer(_encode(await service.relays()))


async def sync_relays(service: Service, request: Request) -> Answer:
    return Answer(_encode(await service.sync_relays(decode_as(request.body, RelaySync, 1))))


async def check_relays(service: Service, request: Request) -> Answer:
    wish = decode_as(request.body, RelaySync, 1)
    return Answer(_encode(await service.check_relays(wish.relay)))


ROUTES: Final = (
    Route(
        method="GET",
        pattern="/v1/relays",
        handler=list_relays,
        about="The relays of this device, and what is on its way through each of them.",
        answer=RelayList,
    ),
    Route(
        method="POST",
        pattern="/v1/relays/sync",
        handler=sync_relays,
        about="Look at the relays now, leave what they lack. Answers when that is done or has failed, or after 45 s: "
        "then one is `working`.",
        body=RelaySync,
        answer=RelayList,
        refusals=("relay-not-found", "space-not-found"),
    ),
    Route(
        method="POST",
        pattern="/v1/relays/check",
        handler=check_relays,
        about="Try on each relay what peerd needs of it, and clean up after that.",
        body=RelaySync,
        answer=RelayCheckList,
        refusals=("relay-not-found",),
    ),
)
