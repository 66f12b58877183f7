"""One connection of the socket.

Requests are served in the order in which they came, one at a time; what a client sends ahead of its answers
waits in the kernel once a little of it is here. A reader that is slow slows down what it reads: nothing is
taken from a stream while bytes wait to be sent.

A request that is being served goes on when its caller goes away, because a commit cannot be taken back; a
stream and whatever else only the caller waits for ends. Half a request is answered with 408 when its time is
over. A refused sender may finish sending: its bytes are read and dropped for a moment, since closing at once
would take the answer from it.
"""

from __future__ import annotations

import asyncio
import select
from typing import TYPE_CHECKING, Protocol, cast

import msgspec

from peerd.control import messages, problems
from peerd.control.intake import PIECE_BYTES, Intake
from peerd.control.messages import Answer, Request, Stream
from peerd.control.permissions import caller_of
from peerd.control.problems import refusal

if TYPE_CHECKING:
    import socket

    from peerd.control.lobby import Lobby

_lines = msgspec.json.Encoder()


class Application(Protocol):
    """What is behind the connections."""

    def begin(self, request: Request) -> None:
        """Look at a head; fill in `route`, `names` and `query`, or raise `UserError`. Must not block."""

    async def answer(self, request: Request) -> Answer | Stream:
        """Serve a whole request. Gives problems as answers; raises nothing."""

    def failed(self, error: Exception) -> None:
        """Note that an answer could not be finished."""


class Connection(asyncio.Protocol):
    """The asyncio side: reading, writing, deadlines. `Intake` parses, `Application` answers."""

    def __init__(self, application: Application, lobby: Lobby) -> None:
        self._application = application
        self._lobby = lobby
        self._limits = lobby.limits
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._serving: Request | None = None
        self._held = b""
        self._half_closed = False
        self._lost = False
        self._lingering = False
        self._streaming = False
        self._stopping = False
        self._writable: asyncio.Future[None] | None = None
        self._stalled_since_s = 0.0
        self._waiting_since_s = self._loop.time()
        self._wrote_at_s = 0.0

    # --- called by asyncio ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        caller = caller_of(cast("socket.socket", transport.get_extra_info("socket")))
        self._intake = Intake(caller, self._lobby, self._application.begin)
        if not self._lobby.enter(self):
            self._intake.fail(
                refusal(
                    "too-many-connections",
                    f"all {self._limits.connections} connections are in use",
                    "Close one, or keep one and send several requests over it.",
                )
            )
            self._serve_ready()

    def data_received(self, data: bytes) -> None:
        if self._lingering:
            return
        if self._task is not None:
            self._held += data
            self._transport.pause_reading()
            return
        self._take(data)
        self._serve_ready()

    def eof_received(self) -> bool:
        if self._lingering or self._is_gone():
            return False
        self._half_closed = True
        if self._task is not None:
            return True
        if self._intake.partial:
            self._intake.fail(refusal("malformed-request", "the request ended in the middle", "Send the whole of it."))
            self._serve_ready()
            return True
        return False

    def connection_lost(self, _exc: Exception | None) -> None:
        self._lost = True
        self._lobby.leave(self)
        self._intake.drop()
        self.resume_writing()
        if self._task is not None and self._serving is not None and _only_for_caller(self._serving):
            self._task.cancel()

    def pause_writing(self) -> None:
        self._stalled_since_s = self._loop.time()
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None

    # --- called by the lobby ---

    @property
    def idle_since_s(self) -> float | None:
        busy = self._task is not None or self._intake.partial or self._lingering
        return None if busy else self._waiting_since_s

    def tick(self, now_s: float) -> None:
        if self._writable is not None:
            if now_s - self._stalled_since_s > self._limits.stall_s:
                self._transport.abort()
        elif self._lingering:
            if now_s - self._waiting_since_s > self._limits.linger_s:
                self._transport.abort()
        elif self._streaming:
            if now_s - self._wrote_at_s >= self._limits.heartbeat_s:
                self._send_chunk(b"\n")
        elif self._task is None:
            self._check_patience(now_s - self._waiting_since_s)

    def stop(self) -> None:
        self._stopping = True
        if self._task is None:
            self._transport.close()
        elif self._streaming or (self._serving is not None and _only_for_caller(self._serving)):
            self._task.cancel()

    def abort(self) -> None:
        if self._task is not None:
            self._task.cancel()
        self._transport.abort()

    async def ended(self) -> None:
        if self._task is not None:
            await asyncio.wait([self._task])

    # --- reading ---

    def _take(self, data: bytes) -> None:
        """Parse until requests are ready; what is left over is held."""
        was_partial = self._intake.partial
        if len(data) <= PIECE_BYTES:
            self._intake.feed(data)
        else:
            at = 0
            view = memoryview(data)
            while at < len(data) and not self._intake.ready and not self._intake.broken:
                self._intake.feed(view[at : at + PIECE_BYTES])
                at += PIECE_BYTES
            self._held = data[at:] if not self._intake.broken else b""
        if self._intake.partial and not was_partial:
            self._waiting_since_s = self._loop.time()
        if self._intake.expects_continue:
            self._intake.expects_continue = False
            if not self._intake.ready:
                self._transport.write(messages.CONTINUE)

    def _check_patience(self, waited_s: float) -> None:
        if not self._intake.partial:
            if waited_s > self._limits.idle_s:
                self._transport.close()
            return
        patience_s = self._limits.head_s if self._intake.in_head else self._limits.body_s
        if waited_s > patience_s:
            self._intake.fail(
                refusal(
                    "request-timeout",
                    f"the request was not whole after {patience_s:g} s",
                    "Send it in one go.",
                )
            )
            self._serve_ready()

    def _is_gone(self) -> bool:
        # An end of input is all that asyncio tells; whether the other end is closed or only its sending half, the
        # kernel knows. Without asking, nobody would notice the end of a watcher before the next event.
        poll = select.poll()
        try:
            poll.register(self._transport.get_extra_info("socket").fileno(), 0)
        except (OSError, ValueError):
            return True
        return any(happened & (select.POLLHUP | select.POLLERR) for _, happened in poll.poll(0))

    # --- serving ---

    def _serve_ready(self) -> None:
        if self._task is None and self._intake.ready:
            self._task = self._loop.create_task(self._serve())

    async def _serve(self) -> None:
        try:
            while self._intake.ready:
                request = self._serving = self._intake.ready.popleft()
                try:
                    await self._serve_one(request)
                finally:
                    self._serving = None
                    self._lobby.release(request.reserved_bytes)
                if request.close or self._lost or self._stopping:
                    self._finish(lingering=request.unread)
                    return
                while self._held and not self._intake.ready and not self._intake.broken:
                    held, self._held = self._held, b""
                    self._take(held)
            if self._half_closed:
                self._finish(lingering=False)
            else:
                self._waiting_since_s = self._loop.time()
                self._transport.resume_reading()
        finally:
            self._task = None
            if self._lost or self._lingering or self._transport.is_closing():
                for request in self._intake.ready:
                    self._lobby.release(request.reserved_bytes)
                self._intake.ready.clear()

    async def _serve_one(self, request: Request) -> None:
        if request.refusal is not None:
            answer: Answer | Stream = messages.problem(request.refusal)
        else:
            answer = await self._application.answer(request)
        if self._stopping:
            request.close = True
        if isinstance(answer, Stream):
            await self._stream(answer, request)
        elif not self._lost:
            self._transport.write(messages.render(answer, request))
            await self._drained()

    async def _stream(self, stream: Stream, request: Request) -> None:
        request.close = request.close or request.http_1_0
        batches = stream.batches
        try:
            self._transport.write(messages.render_stream_head(request))
            if request.method == "HEAD":
                return
            self._streaming = True
            self._wrote_at_s = self._loop.time()
            async for batch in batches:
                if self._lost:
                    return
                self._send_chunk(_lines.encode_lines(batch))
                await self._drained()
        except asyncio.CancelledError:
            if not self._stopping:
                raise
            request.close = True  # the stream ends here, in good order
        except Exception as error:  # noqa: BLE001 - it becomes the last line
            self._application.failed(error)
            told = problems.document(error, request.names.get("space", ""))
            self._send_chunk(_lines.encode({"error": told}) + b"\n")
        finally:
            self._streaming = False
            await stream.close()
        if not request.http_1_0:
            self._transport.write(messages.LAST_CHUNK)

    def _send_chunk(self, data: bytes) -> None:
        if not self._lost and self._serving is not None:
            self._wrote_at_s = self._loop.time()
            self._transport.write(messages.render_chunk(data, self._serving))

    async def _drained(self) -> None:
        if self._writable is not None:
            await self._writable

    def _finish(self, *, lingering: bool) -> None:
        if self._lost or self._transport.is_closing():
            return
        if not lingering or self._half_closed:
            self._transport.close()
            return
        self._lingering = True
        self._waiting_since_s = self._loop.time()
        self._held = b""
        self._transport.write_eof()
        self._transport.resume_reading()


def _only_for_caller(request: Request) -> bool:
    """Is what is being done of use to nobody but the one who asked?"""
    return request.route is not None and (request.route.stream or request.route.interruptible)
