"""The route of backups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from peerd.control.bodies import decode_as
from peerd.control.messages import Request, Stream
from peerd.control.problems import refusal
from peerd.control.router import Route
from peerd.protocol.control.backups import BackupEvent, NewBackup

if TYPE_CHECKING:
    from peerd.control.service import Service

_PATH_BYTES: Final = 4096


async def back_up(service: Service, request: Request) -> Stream:
    wish = decode_as(request.body, NewBackup, 1)
    if not wish.path.startswith("/") or "\0" in wish.path or len(wish.path.encode()) > _PATH_BYTES:
        raise refusal("bad-body", "`path` is no absolute path", "Send the path of a folder that is to be made.")
    events = await service.back_up(wish.path, keys=wish.keys)
    return Stream(([event] async for event in events), source=events)


ROUTES: Final = (
    Route(
        method="POST",
        pattern="/v1/backups",
        handler=back_up,
        about="Make a backup as a folder on the daemon's machine: how far it is, and in the last line `made`. Hanging "
        "up ends it, and nothing stays.",
        body=NewBackup,
        answer=BackupEvent,
        stream=True,
        refusals=("backup-exists", "backup-refused", "backup-running", "disk-full"),
    ),
)
