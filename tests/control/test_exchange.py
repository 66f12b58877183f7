"""HTTP/1.1 of the client end, answer by answer."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from peerd.control.exchange import Connection, Head, NotHttp, request

Answering = Callable[[bytes], Connection]


@pytest.fixture
def answering() -> Iterator[Answering]:
    """Connect to something that has said these bytes and hung up."""
    opened: list[Connection] = []
    with tempfile.TemporaryDirectory(prefix="peerd-", dir="/tmp") as folder:

        def connect(said: bytes) -> Connection:
            place = str(Path(folder) / str(len(opened)))
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(place)
                listener.listen()
                opened.append(Connection(place, 5.0))
                with listener.accept()[0] as link:
                    link.sendall(said)
            return opened[-1]

        yield connect
        for connection in opened:
            connection.close()


def whole(connection: Connection) -> tuple[Head, bytes]:
    head = connection.read_head()
    return head, b"".join(connection.body(head))


@pytest.mark.parametrize(
    ("said", "body", "keeps_open"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhirest", b"hi", True),
        (b"HTTP/1.1 200\r\ncontent-length:2\r\n\r\nhi", b"hi", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi", b"hi", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", b"hi", False),
        (b"HTTP/1.1 200 OK\r\n\r\nto the end", b"to the end", False),
        (b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1", b"", True),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", b"", True),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", b"x", True),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nhi\r\nA\r\n0123456789\r\n0\r\n\r\n",
            b"hi0123456789",
            True,
        ),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n1\r\nx\r\n0\r\nTrailer: 1\r\n\r\n", b"x", True),
    ],
)
def test_a_body_ends_where_its_head_says(answering: Answering, said: bytes, body: bytes, keeps_open: bool) -> None:  # noqa: FBT001 - parameter
    head, found = whole(answering(said))
    assert (found, head.keeps_open) == (body, keeps_open)


def test_names_of_headers_are_lower_case(answering: Answering) -> None:
    head, _ = whole(answering(b'HTTP/1.1 412 Precondition Failed\r\nETag:  "e1" \r\nContent-Length: 0\r\n\r\n'))
    assert (head.status, head.headers["etag"]) == (412, '"e1"')


@pytest.mark.parametrize(
    "said",
    [
        b"SSH-2.0-x\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 two OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nnonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxy\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: " + b"x" * 70_000,
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"h%d: x\r\n" % number for number in range(300)),
    ],
)
def test_what_is_not_http_is_told_apart(answering: Answering, said: bytes) -> None:
    with pytest.raises(NotHttp):
        whole(answering(said))


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"HTTP/1.1 200 OK",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhi",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
    ],
)
def test_an_answer_that_breaks_off_is_a_lost_connection(answering: Answering, said: bytes) -> None:
    with pytest.raises(ConnectionError):
        whole(answering(said))


def test_a_request_is_one_piece() -> None:
    made = request("PUT", "/v1/x", {"If-Match": '"e"'}, b"{}")
    assert made == b'PUT /v1/x HTTP/1.1\r\nHost: localhost\r\nIf-Match: "e"\r\nContent-Length: 2\r\n\r\n{}'
    assert request("GET", "/", {}, None) == b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.parametrize(("target", "value"), [("/", "a\r\nB: c"), ("/ HTTP/1.1\r\nA: b", ""), ("/", "\n")])
def test_a_line_break_cannot_smuggle_a_header(target: str, value: str) -> None:
    with pytest.raises(ValueError, match="line break"):
        request("GET", target, {"A": value}, None)
