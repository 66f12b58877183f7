"""A request as it came and an answer as it goes: HTTP/1.1 (RFC 9112) without the connection."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from peerd.control import problems
from peerd.errors import UserError

if TYPE_CHECKING:
    from peerd.control.permissions import Caller
    from peerd.control.router import Route

JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"
TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"

LAST_CHUNK: Final = b"0\r\n\r\n"
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

_BODILESS: Final = frozenset({204, 304})


class Request:
    """One request. Names of headers are lower case; repeated ones are joined with a comma.

    `route`, `names` and `query` are filled in when the head has arrived. `refusal` is why it will not be
    served; `close` says that no other request follows on this connection, `unread` that its sender may still
    be sending.
    """

    __slots__ = (
        "body",
        "caller",
        "close",
        "headers",
        "http_1_0",
        "method",
        "names",
        "query",
        "refusal",
        "reserved_bytes",
        "route",
        "target",
        "unread",
    )

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self.method = ""
        self.target = b""
        self.headers: dict[bytes, bytes] = {}
        self.body = b""
        self.http_1_0 = False
        self.close = False
        self.unread = False
        self.refusal: UserError | None = None
        self.route: Route | None = None
        self.names: dict[str, str] = {}
        self.query: dict[str, str] = {}
        self.reserved_bytes = 0


class Answer:
    """A whole answer."""

    __slots__ = ("body", "content_type", "headers", "status")

    def __init__(
        self,
        body: bytes = b"",
        *,
        status: int = 200,
        content_type: str = JSON,
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        self.body = body
        self.status = status
        self.content_type = content_type
        self.headers = headers


class Stream:
    """An answer that goes on: batches of documents, one to a line. `source` is what is closed at its end."""

    __slots__ = ("batches", "source")

    def __init__(
        self, batches: AsyncGenerator[Sequence[Any], None], source: AsyncGenerator[Any, None] | None = None
    ) -> None:
        self.batches = batches
        self.source = source

    async def close(self) -> None:
        """Tell whoever produces the stream that nobody reads it any more."""
        await self.batches.aclose()
        if self.source is not None:
            await self.source.aclose()


def problem(error: BaseException, space: str = "") -> Answer:
    """The answer that says why there is no other."""
    headers = []
    if isinstance(error, UserError) and error.status == 405:
        headers.append(("allow", ", ".join(str(method) for method in _listed(error.extra.get("allow")))))
    return Answer(
        problems.encode(error, space),
        status=problems.status_of(error),
        content_type=problems.CONTENT_TYPE,
        headers=headers,
    )


def _listed(value: object) -> list[object]:
    return list(value) if isinstance(value, list | tuple) else []


_heads: dict[tuple[int, str], bytes] = {}


def render(answer: Answer, request: Request) -> bytes:
    """The bytes of a whole answer."""
    head = _head(answer.status, answer.content_type) + _lines(answer.headers) + _connection(request)
    if answer.status in _BODILESS:
        return head + b"\r\n"
    head += b"content-length: %d\r\n\r\n" % len(answer.body)
    return head if request.method == "HEAD" else head + answer.body


def render_stream_head(request: Request) -> bytes:
    """The head of a stream; without chunks (HTTP/1.0) the end of the connection is the end of the answer."""
    framing = b"" if request.http_1_0 else b"transfer-encoding: chunked\r\n"
    return _head(200, NDJSON) + b"cache-control: no-store\r\n" + framing + _connection(request) + b"\r\n"


def render_chunk(data: bytes, request: Request) -> bytes:
    return data if request.http_1_0 else b"%x\r\n%b\r\n" % (len(data), data)


def _head(status: int, content_type: str) -> bytes:
    found = _heads.get((status, content_type))
    if found is None:
        try:
            phrase = HTTPStatus(status).phrase
        except ValueError:
            phrase = "Unknown"
        typed = "" if status in _BODILESS else f"content-type: {content_type}\r\n"
        found = _heads[status, content_type] = f"HTTP/1.1 {status} {phrase}\r\n{typed}".encode("ascii")
    return found


def _lines(headers: Sequence[tuple[str, str]]) -> bytes:
    # A value with a line break would be the start of another header, or of another answer.
    return b"".join(
        f"{name}: {value}\r\n".encode("ascii") for name, value in headers if value.isascii() and value.isprintable()
    )


def _connection(request: Request) -> bytes:
    if request.close:
        return b"connection: close\r\n"
    return b"connection: keep-alive\r\n" if request.http_1_0 else b""
