"""The parser of a connection: what becomes a request, and what is refused before it is one."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerd.control.intake import Intake
from peerd.control.lobby import Limits, Lobby
from peerd.control.messages import Answer, Request
from peerd.control.permissions import Caller
from peerd.control.problems import refusal
from peerd.control.router import Route
from peerd.control.service import Service

NOBODY = Caller(1000, 1000, 1, frozenset())


async def handler(_service: Service, _request: Request) -> Answer:
    return Answer()


READ = Route(method="GET", pattern="/", handler=handler, about="")
WRITE = Route(method="PUT", pattern="/", handler=handler, about="", body=dict, limit_bytes=1_000)


def intake(**limits: Any) -> tuple[Intake, Lobby]:
    lobby = Lobby(Limits(**limits))

    def begin(request: Request) -> None:
        if request.target == b"/no":
            raise refusal("no-such-path", "no", "elsewhere")
        request.route = READ if request.method == "GET" else WRITE

    return Intake(NOBODY, lobby, begin), lobby


def fed(*pieces: bytes, **limits: Any) -> tuple[Intake, Lobby]:
    parser, lobby = intake(**limits)
    for piece in pieces:
        parser.feed(piece)
    return parser, lobby


def code(raw: bytes, **limits: Any) -> str | None:
    """Why the one request in `raw` is refused."""
    parser, _ = fed(raw, **limits)
    (request,) = parser.ready
    return request.refusal.code if request.refusal else None


PUT = b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"


@given(st.lists(st.integers(0, 200), max_size=6), st.booleans())
def test_requests_are_the_same_however_they_are_cut(cuts: list[int], chunked: bool) -> None:  # noqa: FBT001 - drawn
    """Two of them in one piece, or byte for byte."""
    one = b"PUT /a?b HTTP/1.1\r\nX: 1\r\nx: 2\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n"
    raw = (one if chunked else PUT.replace(b"/", b"/a?b", 1).replace(b"Host: x", b"X: 1\r\nx: 2")) * 2
    edges = sorted({0, len(raw), *(cut for cut in cuts if cut < len(raw))})
    parser, lobby = fed(*(raw[start:end] for start, end in itertools.pairwise(edges)))
    assert len(parser.ready) == 2
    for request in parser.ready:
        assert (request.method, request.target, request.body) == ("PUT", b"/a?b", b"{}")
        assert request.headers[b"x"] == b"1, 2"
        assert request.refusal is None
        assert not request.close
    assert lobby.held_bytes == 4
    assert not parser.partial


@pytest.mark.parametrize(
    "raw",
    [
        b"hello\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"GET / HTTP/1.1\r\nA B: c\r\n\r\n",
        b"GET / HTTP/1.1\r\n: c\r\n\r\n",
        b"get / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: \x00\r\n\r\n",
        b"PUT / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"PUT / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"PUT / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\n\r\n",
        b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET / HTTP/1.1\nHost\r\n\r\n",
        b"PUT / HTTP/1.1\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"BREW / HTTP/1.1\r\n\r\n",
    ],
)
def test_what_is_no_request_is_refused_once(raw: bytes) -> None:
    """One refusal that ends the connection; nothing after it is read."""
    parser, _ = fed(raw)
    parser.feed(PUT)
    (request,) = parser.ready
    assert request.refusal is not None
    assert request.refusal.code == "malformed-request"
    assert request.close
    assert request.unread
    assert parser.broken


@pytest.mark.parametrize("version", [b"HTTP/2.0", b"HTTP/0.9", b"HTTP/3.1"])
def test_other_versions_are_refused(version: bytes) -> None:
    """By name, also the one that begins with a preface."""
    assert code(b"GET / " + version + b"\r\n\r\n") == "version-unsupported"


def test_http_1_0_closes_unless_asked() -> None:
    (request,) = fed(b"GET / HTTP/1.0\r\n\r\n")[0].ready
    assert request.http_1_0
    assert request.close
    (request,) = fed(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")[0].ready
    assert not request.close


def test_a_refused_head_without_a_body_leaves_the_connection_whole() -> None:
    """A 404 is no reason to hang up."""
    parser, _ = fed(b"GET /no HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n")
    assert [request.refusal.code if request.refusal else "" for request in parser.ready] == ["no-such-path", ""]
    assert not parser.broken


def test_a_refused_head_with_a_body_ends_the_connection() -> None:
    """Its body is never read, so nothing can follow it."""
    parser, lobby = fed(b"PUT /no HTTP/1.1\r\nContent-Length: 500\r\n\r\n")
    (request,) = parser.ready
    assert request.refusal is not None
    assert request.unread
    assert parser.broken
    assert lobby.held_bytes == 0


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"PUT / HTTP/1.1\r\nContent-Length: 1001\r\n\r\n", "too-large"),
        (b"PUT / HTTP/1.1\r\n\r\n", "length-required"),
        (b"PUT / HTTP/1.1\r\nContent-Length: 2\r\nContent-Type: text/plain\r\n\r\n", "not-json"),
        (b"PUT / HTTP/1.1\r\nContent-Length: 2\r\nContent-Type: \xff\r\n\r\n", "not-json"),
        (b"GET / HTTP/1.1\r\nContent-Length: 2\r\n\r\n", "bad-body"),
        (b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", "bad-body"),
        (b"PUT /" + b"x" * 8200 + b" HTTP/1.1\r\n\r\n", "address-too-long"),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 3 + b"B: c\r\n\r\n", None),
        (b"GET / HTTP/1.1\r\nA: " + b"x" * 40_000 + b"\r\n\r\n", "headers-too-large"),
        (b"GET / HTTP/1.1\r\n" + b"".join(b"A%d: b\r\n" % n for n in range(101)) + b"\r\n", "headers-too-large"),
        (b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n" + b"x" * 1001 + b"\r\n0\r\n\r\n", "too-large"),
    ],
)
def test_heads_are_judged_before_bodies_are_read(head: bytes, expected: str | None) -> None:
    """Too long, too many, of no known length, of another type, or where none belongs."""
    assert code(head) == expected


@pytest.mark.parametrize(
    "kind", [b"application/json", b"application/json; charset=utf-8", b"Application/merge-patch+JSON"]
)
def test_json_goes_by_several_names(kind: bytes) -> None:
    assert code(PUT.replace(b"Host: x", b"Content-Type: " + kind)) is None


def test_a_head_that_never_ends_is_cut_off() -> None:
    """The parser keeps what it has of a header; it may not keep it for ever."""
    parser, _ = intake(head_bytes=1_000)
    parser.feed(b"GET / HTTP/1.1\r\nA: ")
    pieces = 0
    while not parser.broken:
        parser.feed(b"x" * 100)
        pieces += 1
        assert pieces < 20
    assert parser.ready[0].refusal is not None
    assert parser.ready[0].refusal.code == "headers-too-large"


def test_all_bodies_together_are_bounded() -> None:
    """One may always be read, but not all at once."""
    lobby = Lobby(Limits(bodies_bytes=1_500))
    parsers = []
    for _ in range(3):
        parser = Intake(NOBODY, lobby, lambda request: setattr(request, "route", WRITE))
        parser.feed(b"PUT / HTTP/1.1\r\nContent-Length: 600\r\n\r\n")
        parsers.append(parser)
    assert [len(parser.ready) for parser in parsers] == [0, 0, 1]
    assert parsers[2].ready[0].refusal is not None
    assert parsers[2].ready[0].refusal.code == "too-busy"
    parsers[0].drop()
    assert lobby.held_bytes == 600


def test_a_chunked_body_is_counted_as_it_comes() -> None:
    lobby = Lobby(Limits(bodies_bytes=700))
    first, second = (Intake(NOBODY, lobby, lambda request: setattr(request, "route", WRITE)) for _ in range(2))
    for parser in (first, second):
        parser.feed(b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n190\r\n" + b"x" * 400 + b"\r\n")
    assert lobby.held_bytes == 400
    assert second.broken
    assert not first.broken


def test_a_client_may_ask_before_it_sends() -> None:
    """Expect: 100-continue is told to the connection only if the body is welcome."""
    head = b"PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
    assert fed(head % 10)[0].expects_continue
    assert not fed(head % 5000)[0].expects_continue


def test_an_upgrade_is_answered_and_ends_the_connection() -> None:
    """Curl --http2 asks so; it gets HTTP/1.1."""
    parser, _ = fed(b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    parser.feed(PUT)
    (request,) = parser.ready
    assert request.refusal is None
    assert request.close
    assert parser.broken


def test_nothing_is_kept_of_a_sender_who_left() -> None:
    parser, lobby = fed(b"PUT / HTTP/1.1\r\nContent-Length: 600\r\n\r\nxx")
    assert parser.partial
    parser.drop()
    assert lobby.held_bytes == 0
    assert not parser.partial
    parser.feed(b"x" * 598)
    assert not parser.ready


def test_random_bytes_end_in_at_most_one_refusal() -> None:
    """Whatever it is, it is refused once, and no exception gets out."""
    chance = random.Random(2)
    for _ in range(3_000):
        raw = bytearray(PUT)
        for _ in range(chance.randrange(1, 6)):
            raw[chance.randrange(len(raw))] = chance.randrange(256)
        noise = chance.randbytes(chance.randrange(1, 200))
        parser, lobby = fed(bytes(raw) if chance.random() < 0.7 else noise, noise)
        refused = [request for request in parser.ready if request.refusal and request.unread]
        assert len(refused) <= 1
        assert parser.broken == bool(refused) or parser.ready
        for request in parser.ready:
            lobby.release(request.reserved_bytes)
        parser.drop()
        assert lobby.held_bytes == 0
