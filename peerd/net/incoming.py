"""One accepted connection until it is a link: TLS, the request, the answer.

The library's own server counts nothing before TLS is finished and lets a request be followed by frames that
nobody asked for. So its connection is used without its server: the listener accepts, and this is the rest.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, cast

from websockets.asyncio.connection import Connection
from websockets.asyncio.server import Server, ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State
from websockets.server import ServerProtocol

from peerd.net import link as links
from peerd.net.limits import MAX_PAIRING_FRAME_BYTES, MAX_REQUEST_BYTES
from peerd.net.refusal import SPOKEN, Refusal, offered, refuse, refuse_version

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from websockets.http11 import Request, Response
    from websockets.typing import Subprotocol

_END_OF_REQUEST = b"\r\n\r\n"


class _NoServer:
    """All that a connection asks of the library's server once somebody else runs it."""

    def is_serving(self) -> bool:
        return True


class Incoming(ServerConnection):
    """The server's end of a connection. `judge(subprotocol)` is asked, once, whether the device at the other
    end, known by then, may have this subprotocol, and gives the refusal with its HTTP status if not.
    """

    def __init__(self, judge: Callable[[str], tuple[Refusal, HTTPStatus] | None]) -> None:
        protocol = ServerProtocol(
            select_subprotocol=lambda _protocol, _offered: cast("Subprotocol", self._chosen),
            max_size=MAX_PAIRING_FRAME_BYTES,
            logger=links.frames_log,
        )
        super().__init__(
            protocol,
            cast("Server", _NoServer()),
            ping_interval=links.PING_INTERVAL_S,
            ping_timeout=links.PING_TIMEOUT_S,
            close_timeout=links.CLOSE_TIMEOUT_S,
            max_queue=links.FRAMES_WAITING,
            write_limit=links.WRITE_LIMIT_BYTES,
        )
        self.answer: Response | None = None
        self._judge = judge
        self._chosen = ""
        self._request = bytearray()

    async def upgrade(self) -> bool:
        """Wait for the request and answer it. Whether there is a link now; if not, the connection is gone."""
        try:
            await self.handshake(self._process, server_header=None)
        except ConnectionClosed:  # they read our refusal too slowly
            return False
        self._request.clear()
        if self.state is State.OPEN:
            self.protocol.max_message_size = links.max_frame_bytes(self._chosen)
            self.start_keepalive()
            return True
        await self.wait_closed()
        return False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # ServerConnection would start the handler of the library's server here
        Connection.connection_made(self, transport)

    def data_received(self, data: bytes) -> None:
        if self.state is State.CONNECTING and not self._is_request(data):
            self.transport.abort()
            return
        super().data_received(data)

    def _is_request(self, data: bytes) -> bool:
        """Whether all that came so far is the beginning of one request of a decent size."""
        self._request += data
        end = self._request.find(_END_OF_REQUEST)
        whole = len(self._request) - len(_END_OF_REQUEST)
        return len(self._request) <= MAX_REQUEST_BYTES and end in (-1, whole)

    def _process(self, _connection: ServerConnection, request: Request) -> Response | None:
        theirs = offered(request)
        known = next((name for name in theirs if name in SPOKEN), None)
        refused = self._judge(known or _kin(theirs))
        if refused is not None:
            self.answer = refuse(*refused)
        elif known is None:
            self.answer = refuse_version(theirs)
        else:
            self._chosen = known
        return self.answer


def _kin(theirs: Sequence[str]) -> str:
    """The subprotocol of ours that another version of it must be judged as: who is a stranger to this one
    learns nothing about versions.
    """
    family = links.PAIR.rpartition(".")[0] + "."
    return links.PAIR if any(name.startswith(family) for name in theirs) else links.SYNC
