"""HTTP/1.1 as the client end of the socket needs it: a request in one write, an answer read as it comes.

The standard library's `http.client` would do, at 25 ms of `peerctl`'s start for importing it (with mail headers
and TLS), two writes for each request, of which each wakes the daemon, and twice the processor time: about 95
against 50 microseconds a request. This speaks to one server only, which is in this package.
"""

from __future__ import annotations

import socket
from typing import IO, TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_LINE_BYTES: Final = 65536
_HEADERS: Final = 200
_PIECE_BYTES: Final = 65536
_BODILESS: Final = frozenset({204, 304})


class NotHttp(Exception):
    """What came is not HTTP."""


class Head(NamedTuple):
    """`headers` have lower-case names; of a name that comes twice the last value counts."""

    status: int
    headers: dict[str, str]
    keeps_open: bool

    @property
    def is_chunked(self) -> bool:
        return self.headers.get("transfer-encoding", "").lower() == "chunked"


def request(method: str, target: str, headers: Mapping[str, str], body: bytes | None) -> bytes:
    """The bytes of a request. Raises `ValueError` for a header that would be more than one."""
    lines = [f"{method} {target} HTTP/1.1", "Host: localhost", *(f"{name}: {value}" for name, value in headers.items())]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("a line break in a request's head")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


class Connection:
    """One connection to a Unix socket. Answers are read whole, or piece by piece to their end, before the next.

    Raises `OSError` of any kind, `ConnectionError` also for an answer that breaks off, and `NotHttp`.
    """

    def __init__(self, socket_path: str, timeout_s: float | None) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.settimeout(timeout_s)
            self._socket.connect(socket_path)
        except BaseException:
            self._socket.close()
            raise
        self._reader: IO[bytes] = self._socket.makefile("rb")

    def close(self) -> None:
        self._reader.close()
        self._socket.close()

    def send(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            # A body that is too long is answered before it has been read: the answer may be there all the same.
            return

    def read_head(self) -> Head:
        """The head of the next answer; heads that only announce one are passed over."""
        while True:
            head = self._read_head()
            if head.status >= 200:
                return head

    def _read_head(self) -> Head:
        version, _, rest = self._line().partition(" ")
        if not version.startswith("HTTP/1.") or not rest[:3].isdigit():
            raise NotHttp
        headers: dict[str, str] = {}
        while line := self._line():
            name, colon, value = line.partition(":")
            if not colon or len(headers) == _HEADERS:
                raise NotHttp
            headers[name.strip().lower()] = value.strip()
        closing = version == "HTTP/1.0" or headers.get("connection", "").lower() == "close"
        bounded = {"content-length", "transfer-encoding"} & headers.keys() or int(rest[:3]) in _BODILESS
        return Head(int(rest[:3]), headers, keeps_open=bool(bounded) and not closing)

    def _line(self) -> str:
        line = self._reader.readline(_LINE_BYTES)
        if not line.endswith(b"\n"):
            if len(line) == _LINE_BYTES:
                raise NotHttp
            raise ConnectionResetError
        return line.rstrip(b"\r\n").decode("latin-1")

    def body(self, head: Head) -> Iterator[bytes]:
        """Yield the body in pieces, each as soon as it is there."""
        if head.status in _BODILESS:
            return
        if head.is_chunked:
            yield from self._chunks()
        elif "content-length" in head.headers:
            yield from self._counted(_number(head.headers["content-length"], 10))
        else:
            while piece := self._piece(_PIECE_BYTES):
                yield piece

    def _chunks(self) -> Iterator[bytes]:
        while left := _number(self._line().partition(";")[0], 16):
            yield from self._counted(left)
            if self._line():
                raise NotHttp
        while self._line():
            pass

    def _counted(self, left: int) -> Iterator[bytes]:
        while left:
            piece = self._piece(min(left, _PIECE_BYTES))
            if not piece:
                raise ConnectionResetError
            left -= len(piece)
            yield piece

    def _piece(self, size: int) -> bytes:
        return self._reader.read1(size)  # type: ignore[attr-defined, no-any-return] # makefile("rb") is a BufferedReader


def _number(text: str, base: int) -> int:
    try:
        number = int(text, base)
    except ValueError:
        raise NotHttp from None
    if number < 0:
        raise NotHttp
    return number
