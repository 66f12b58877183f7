"""The control socket: assembled, started and stopped here."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING, Any

from peerd import logs
from peerd.control import listening, messages, problems, write_access
from peerd.control.http import Connection
from peerd.control.lobby import Limits, Lobby
from peerd.control.permissions import Permissions
from peerd.control.problems import refusal
from peerd.control.router import Router
from peerd.control.routes import ROUTES
from peerd.errors import PeerdError

if TYPE_CHECKING:
    from peerd.control.messages import Answer, Request, Stream
    from peerd.control.service import Service

_log = logs.get(__name__)
_CONDITIONS = ((b"if-match", "If-Match"), (b"peerd-seen", "Peerd-Seen"))
# Since 3.13 a server removes the file of its socket; whether it is ours to remove is for `listening.Place` to know.
_KEEPS_ITS_FILE: dict[str, Any] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}


class ControlServer:
    """HTTP/1.1 and JSON over a Unix socket, in front of a `Service`."""

    def __init__(
        self,
        service: Service,
        socket_path: str | os.PathLike[str],
        write_group: str = "",
        inherited_fd: int | None = None,
        limits: Limits | None = None,
    ) -> None:
        """`inherited_fd` is a listening socket of a supervisor; `socket_path` is then not touched."""
        self._service = service
        self._socket_path = socket_path
        self._inherited_fd = inherited_fd
        self.obstacle: write_access.Obstacle | None = None  # why the write group cannot connect
        self._write_group = write_group
        self._permissions = Permissions(write_group, _now_s)
        self._router = Router(ROUTES)
        self._lobby = Lobby(limits or Limits())
        self._place: listening.Place | None = None
        self._server: asyncio.Server | None = None

    @property
    def connections(self) -> int:
        return len(self._lobby)

    async def start(self) -> None:
        """Listen.

        Raises:
            AlreadyRunning: another daemon answers at the socket.
            ConfigError: the place cannot be had.
        """
        if self._inherited_fd is not None:
            place = listening.adopt(self._inherited_fd)
        else:
            place = await listening.take(self._socket_path)
        loop = asyncio.get_running_loop()
        self._place = place
        self._server = await loop.create_unix_server(
            lambda: Connection(self, self._lobby), sock=place.socket, **_KEEPS_ITS_FILE
        )
        _log.info("control socket opened", path=os.fspath(self._socket_path))
        if self._write_group:
            self._let_in_writers()

    async def stop(self) -> None:
        """Take no more, end streams, finish the requests in hand; done within a second.

        May be called twice.
        """
        server, self._server = self._server, None
        place, self._place = self._place, None
        if place is not None:
            place.give_up()
        if server is None:
            return
        server.close()
        await self._lobby.stop()
        _log.info("control socket closed", path=os.fspath(self._socket_path))

    def set_write_group(self, write_group: str) -> None:
        """Take over a changed setting; open connections feel it with their next request."""
        if write_group == self._write_group:
            return
        self._write_group = write_group
        self._permissions = Permissions(write_group, _now_s)
        self._let_in_writers()

    def _let_in_writers(self) -> None:
        """A socket of a supervisor is the supervisor's to open."""
        if self._place is None or self._place.path is None:
            return
        try:
            self.obstacle = write_access.give(self._place.path, self._write_group)
        except OSError as error:
            self.obstacle = write_access.Obstacle(
                f"the socket could not be given to the group {self._write_group}: {error}", "Check control.socket."
            )
        if self.obstacle is not None:
            path = os.fspath(self._socket_path)
            _log.warning("write group kept out", path=path, cause=self.obstacle.cause, hint=self.obstacle.next_step)

    # --- the application behind the connections ---

    def begin(self, request: Request) -> None:
        self._router.find(request)
        route = request.route
        if route is None or not route.writes:
            return
        self._permissions.check_write(request.caller)
        for header, name in _CONDITIONS:
            # A condition that is not looked at would be one that is silently taken to hold.
            if header in request.headers and name not in {parameter.name for parameter in route.headers}:
                raise refusal("bad-header", f"this address does not take {name}", "Leave it out.")

    async def answer(self, request: Request) -> Answer | Stream:
        route = request.route
        if route is None or self._lobby.stopping:
            return messages.problem(refusal("stopping", "the daemon is stopping", "Try again when it is back."))
        try:
            return await route.handler(self._service, request)
        except Exception as caught:  # noqa: BLE001 - whatever happened, the caller gets an answer
            error = problems.understood(caught)
            self.failed(error)
            return messages.problem(error, request.names.get("space", ""))

    def failed(self, error: Exception) -> None:
        if problems.status_of(error) < 500:
            return
        if isinstance(error, PeerdError):
            _log.warning("request failed", code=error.code, cause=str(error))
        else:
            _log.error("request failed", cause=repr(error), exc_info=error)


def _now_s() -> float:
    return asyncio.get_running_loop().time()
