"""One link: whole binary frames between this device and another one, over WebSocket and TLS.

The library has its own limits on both sides of a frame. Here they are set so that a fast sender waits and a slow
reader holds little: `send` returns when what it wrote has left for the kernel, so that behind a receiver that
takes nothing at most two frames wait (one in TCP's buffer, one in TLS's), and the library stops reading when
a few frames are not yet fetched. Reading is also what hears pings and goodbyes: whoever owns a link keeps
calling `receive`, else either side takes the link for dead after 15 to 40 s.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from websockets.exceptions import ConnectionClosed

from peerd.errors import LinkLost, LocalProtocolError, RemoteProtocolError
from peerd.net.limits import MAX_FRAME_BYTES, MAX_PAIRING_FRAME_BYTES

if TYPE_CHECKING:
    from websockets.asyncio.connection import Connection

    from peerd.net.sockets import Address

SYNC = "peerd.sync.1"
PAIR = "peerd.pair.1"
INTRODUCE = "peerd.introduce.1"

PING_INTERVAL_S = 20.0
PING_TIMEOUT_S = 20.0
CLOSE_TIMEOUT_S = 1.5
TLS_SHUTDOWN_S = 1.0
FRAMES_WAITING = (3, 1)  # the library stops reading above the first number and goes on at the second
WRITE_LIMIT_BYTES = 64 << 10

ABNORMAL = 1006
TEXT_FRAME = 4400
_TURNED_AWAY = {
    "removed": "It ended the link: this device was removed there.",
    "unknown-device": "It ended the link: it does not know this device.",
}
_THEIR_FAULT = {1002: "protocol", 1007: "protocol", 1009: "too-big"}
_MAX_REASON_BYTES = 123

# At level debug the library writes every frame into the log, which is no place for people's records.
frames_log = logging.getLogger("peerd.net.frames")
frames_log.setLevel(logging.WARNING)


class LinkClosed(LinkLost):
    """The link is gone. `close_code` and `reason` are what was said, by us if `ours`; 1006 if nothing was. Who dialled
    us and then will not have us says so by the reason: that is its `code`, as of a dial that is refused.
    """

    def __init__(self, message: str, *, close_code: int = ABNORMAL, reason: str = "", ours: bool = False) -> None:
        super().__init__(message, code=None if ours or reason not in _TURNED_AWAY else reason)
        self.close_code = close_code
        self.reason = reason
        self.ours = ours


def max_frame_bytes(subprotocol: str) -> int:
    """The largest frame of a link: a device that pairs or introduces itself is not authenticated yet."""
    return MAX_FRAME_BYTES if subprotocol == SYNC else MAX_PAIRING_FRAME_BYTES


async def drop(connection: Connection) -> None:
    """Abort a connection and see it gone, even if the caller is being cancelled."""
    connection.transport.abort()
    with suppress(asyncio.CancelledError):
        await connection.wait_closed()


class Link:
    """An open connection to the device `theirs`, whose key was proven by TLS.

    `dialed`: we dialled. `address`: theirs. `subprotocol`: what both agreed to speak. `send` may be called by
    several tasks, `receive` by one.
    """

    def __init__(self, connection: Connection, *, theirs: bytes, dialed: bool, address: Address) -> None:
        self.theirs = theirs
        self.dialed = dialed
        self.address = address
        self.subprotocol = str(connection.subprotocol)
        self._connection = connection
        self._max_frame_bytes = max_frame_bytes(self.subprotocol)
        self._turn = asyncio.Lock()

    async def send(self, frame: bytes) -> None:
        """Send one frame, after those that other tasks are sending, and wait until it is on its way.
        A send that is cancelled while it waits may still arrive, whole. LinkLost if the link is gone,
        LocalProtocolError for a frame that the other side would refuse.
        """
        if len(frame) > self._max_frame_bytes:
            raise LocalProtocolError(f"a frame of {len(frame)} bytes; {self._max_frame_bytes} are allowed")
        async with self._turn:
            try:
                await self._connection.send(frame, text=False)
            except ConnectionClosed as closed:
                raise _lost(closed) from closed

    async def receive(self) -> bytes:
        """The next frame. LinkLost with `close_code` and `reason` when the link has ended;
        RemoteProtocolError, and the link is closed, for a text frame or one the library refuses.
        """
        try:
            frame = await self._connection.recv()
        except ConnectionClosed as closed:
            raise _blame(closed) from closed
        if isinstance(frame, str):
            await self.close(TEXT_FRAME, "text frame")
            raise RemoteProtocolError("They sent a text frame; frames are binary.", close_code=TEXT_FRAME)
        return frame

    async def close(self, code: int, reason: str) -> None:
        """Say goodbye with a code and a reason (cut to 123 bytes) and wait, a second or two, until they have
        answered; then the link is gone. Nothing happens if it is gone already.
        """
        try:
            # The library's own time limit does not cover its wait for a buffer that nobody empties.
            async with asyncio.timeout(CLOSE_TIMEOUT_S + TLS_SHUTDOWN_S):
                await self._connection.close(code, _cut(reason))
        except TimeoutError:
            self.abort()
        except asyncio.CancelledError:
            self.abort()
            raise
        await self._connection.wait_closed()

    def abort(self) -> None:
        """Drop the link without a word."""
        self._connection.transport.abort()


def _blame(closed: ConnectionClosed) -> LinkClosed | RemoteProtocolError:
    lost = _lost(closed)
    if lost.ours and lost.close_code in _THEIR_FAULT:
        return RemoteProtocolError(
            f"They broke the rules of the link: {lost.reason or lost.close_code}.",
            code=_THEIR_FAULT[lost.close_code],
            close_code=lost.close_code,
        )
    return lost


def _lost(closed: ConnectionClosed) -> LinkClosed:
    ours = closed.sent is not None and not closed.rcvd_then_sent
    said = closed.sent if ours else closed.rcvd
    if said is None:
        cause = closed.__cause__
        return LinkClosed("The link broke" + (f": {cause}." if cause and str(cause) else "."))
    who = "us" if ours else "them"
    told = None if ours else _TURNED_AWAY.get(said.reason)
    return LinkClosed(
        told or f"The link was closed by {who}: {said.code} {said.reason}".rstrip() + ".",
        close_code=said.code,
        reason=said.reason,
        ours=ours,
    )


def _cut(reason: str) -> str:
    return reason.encode()[:_MAX_REASON_BYTES].decode(errors="ignore")
