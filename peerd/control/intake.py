"""Bytes in, requests out: the HTTP parser and everything that is refused before a request is whole.

No socket here. `feed` takes what arrived; whole requests, and refusals in their place, appear in `ready` in
the order in which they were sent. A refusal whose sender still has a body to send ends the connection:
`broken` is set, and nothing more is read. The sizes of head and body are checked before they are kept, and a
body is refused by its announced length before any of it is read.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

import httptools

from peerd.control.messages import Request
from peerd.control.problems import refusal
from peerd.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

    from peerd.control.lobby import Lobby
    from peerd.control.permissions import Caller

PIECE_BYTES: Final = 16 << 10  # fed at a time, so that a flood of tiny requests stays short of memory


class _Stop(Exception):
    """Raised in a callback of the parser to end its work."""


class Intake:
    """The parser of one connection."""

    def __init__(self, caller: Caller, lobby: Lobby, begin: Callable[[Request], None]) -> None:
        """`begin` looks at a request's head, finds its route, and raises `UserError` to refuse it."""
        self.ready: deque[Request] = deque()
        self.broken = False
        self.in_head = False
        self.expects_continue = False
        self._caller = caller
        self._lobby = lobby
        self._limits = lobby.limits
        self._begin = begin
        self._parser = httptools.HttpRequestParser(self)
        self._request: Request | None = None
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._head_bytes = 0

    @property
    def partial(self) -> bool:
        """Is a request under way that is not whole yet?"""
        return self._request is not None

    def feed(self, piece: bytes | memoryview) -> None:
        """Take at most `PIECE_BYTES`; does nothing once `broken`."""
        if self.broken:
            return
        was_in_head = self.in_head
        try:
            self._parser.feed_data(piece)
        except httptools.HttpParserUpgrade:
            # The request is answered as any other; what would follow is another protocol, which is not spoken.
            self.broken = True
            if self.ready:
                self.ready[-1].close = True
        except httptools.HttpParserCallbackError as error:
            if not isinstance(error.__context__, _Stop):
                raise
        except httptools.HttpParserError as error:
            if "invalid http version" in str(error).lower():
                self.fail(_version_unsupported())
            else:
                self.fail(refusal("malformed-request", f"not a well-formed HTTP request: {error}", "Speak HTTP/1.1."))
        if was_in_head and self.in_head:
            self._head_bytes += len(piece)
            if self._head_bytes > self._limits.head_bytes:
                self.fail(_headers_too_large())

    def fail(self, error: UserError) -> None:
        """Refuse the request under way, or whatever should have come, and read no more."""
        if self.broken:
            return
        request = self._request or Request(self._caller)
        request.refusal = error
        request.close = request.unread = True
        self.broken = True
        self.in_head = False
        self._request = None
        self._body.clear()
        self.ready.append(request)

    def drop(self) -> None:
        """Forget the request under way: its sender is gone."""
        self.broken = True
        if self._request is not None:
            self._lobby.release(self._request.reserved_bytes)
            self._request = None
        self._body.clear()

    # --- called by the parser ---

    def on_message_begin(self) -> None:
        self._request = Request(self._caller)
        self.in_head = True
        self._head_bytes = 0
        self._body_bytes = 0

    def on_url(self, piece: bytes) -> None:
        request = self._current()
        request.target += piece
        if len(request.target) > self._limits.target_bytes:
            self._stop(
                refusal(
                    "address-too-long",
                    f"the address is longer than {self._limits.target_bytes} bytes",
                    "Shorten it; a key has at most 1,024 bytes.",
                )
            )

    def on_header(self, name: bytes, value: bytes) -> None:
        request = self._current()
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > self._limits.head_bytes or len(request.headers) >= self._limits.headers:
            self._stop(_headers_too_large())
        name = name.lower()
        before = request.headers.get(name)
        request.headers[name] = value if before is None else before + b", " + value

    def on_headers_complete(self) -> None:
        request = self._current()
        self.in_head = False
        request.method = self._parser.get_method().decode("ascii")
        request.close = not self._parser.should_keep_alive()
        version = self._parser.get_http_version()
        request.http_1_0 = version == "1.0"
        announced = request.headers.get(b"content-length")
        chunked = b"transfer-encoding" in request.headers
        has_body = chunked or (announced is not None and announced.strip(b"0 ") != b"")
        try:
            if version not in {"1.0", "1.1"}:
                raise _version_unsupported()
            self._begin(request)
            self._check_body(request, announced, chunked=chunked)
        except UserError as error:
            request.refusal = error
            if has_body:
                self._stop(error)
        if has_body and request.headers.get(b"expect", b"").lower() == b"100-continue":
            self.expects_continue = True

    def on_body(self, piece: bytes) -> None:
        request = self._current()
        self._body_bytes += len(piece)
        limit = request.route.limit_bytes if request.route is not None else 0
        if self._body_bytes > limit:
            self._stop(_too_large(limit))
        missing = self._body_bytes - request.reserved_bytes
        if missing > 0 and not self._reserve(request, missing):
            self._stop(_too_busy())
        self._body.append(piece)

    def on_message_complete(self) -> None:
        request = self._current()
        request.body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body.clear()
        self._request = None
        self.ready.append(request)

    # --- the checks ---

    def _check_body(self, request: Request, announced: bytes | None, *, chunked: bool) -> None:
        route = request.route
        size_bytes = int(announced) if announced is not None else 0
        if route is None or route.body is None:
            if chunked or size_bytes:
                raise refusal("bad-body", "this request takes no body", "Send it without one.")
            return
        if not chunked and announced is None:
            raise refusal("length-required", "this request needs a body", "Send a JSON body and its length.")
        if size_bytes > route.limit_bytes:
            raise _too_large(route.limit_bytes)
        kind = request.headers.get(b"content-type", b"application/json").partition(b";")[0].strip().lower()
        if kind != b"application/json" and not kind.endswith(b"+json"):
            raise refusal(
                "not-json",
                f"the body is declared as {kind.decode('latin-1')!a}",
                "Send 'Content-Type: application/json' (curl: --json).",
            )
        if not self._reserve(request, size_bytes):
            raise _too_busy()

    def _reserve(self, request: Request, size_bytes: int) -> bool:
        if not self._lobby.reserve(size_bytes):
            return False
        request.reserved_bytes += size_bytes
        return True

    def _current(self) -> Request:
        if self._request is None or self.broken:
            raise _Stop
        return self._request

    def _stop(self, error: UserError) -> None:
        self.fail(error)
        raise _Stop


def _headers_too_large() -> UserError:
    return refusal("headers-too-large", "the headers are too many or too long", "Send fewer or shorter headers.")


def _too_large(limit_bytes: int) -> UserError:
    return refusal(
        "too-large",
        f"the body is larger than {limit_bytes:,} bytes",
        "Split it into several requests.",
        limit_bytes=limit_bytes,
    )


def _too_busy() -> UserError:
    return refusal("too-busy", "too many large requests at this moment", "Try again in a second.")


def _version_unsupported() -> UserError:
    return refusal("version-unsupported", "this is not HTTP/1.1 or HTTP/1.0", "Speak HTTP/1.1.")
