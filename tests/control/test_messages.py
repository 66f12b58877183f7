"""Answers as bytes."""

from __future__ import annotations

import pytest

from peerd.control.messages import Answer, Request, problem, render, render_chunk, render_stream_head
from peerd.control.permissions import Caller
from peerd.errors import UserError


def request(method: str = "GET", *, close: bool = False, http_1_0: bool = False) -> Request:
    made = Request(Caller(0, 0, 0, frozenset()))
    made.method = method
    made.close = close
    made.http_1_0 = http_1_0
    return made


def test_an_answer_has_its_length() -> None:
    raw = render(Answer(b"{}", headers=[("etag", '"e"')]), request())
    assert raw == b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\netag: "e"\r\ncontent-length: 2\r\n\r\n{}'


@pytest.mark.parametrize("status", [204, 304])
def test_some_answers_have_no_body(status: int) -> None:
    """And no length: a client that read one would wait for ever."""
    raw = render(Answer(b"", status=status), request())
    assert raw.endswith(b"\r\n\r\n")
    assert b"content-" not in raw


def test_head_has_the_length_only() -> None:
    assert render(Answer(b"{}"), request("HEAD")).endswith(b"content-length: 2\r\n\r\n")


def test_what_becomes_of_the_connection_is_said() -> None:
    """Where it is not what the version implies."""
    assert b"connection: close\r\n" in render(Answer(), request(close=True))
    assert b"connection: keep-alive\r\n" in render(Answer(), request(http_1_0=True))
    assert b"connection" not in render(Answer(), request())


@pytest.mark.parametrize("value", ["a\r\nset-cookie: b", "a\nb", "é", "\x00"])
def test_a_header_is_one_line(value: str) -> None:
    """Whatever the service calls an etag."""
    raw = render(Answer(b"", headers=[("etag", value)]), request())
    assert b"etag" not in raw
    assert b"cookie" not in raw


def test_streams_have_chunks_unless_the_version_has_none() -> None:
    assert b"transfer-encoding: chunked" in render_stream_head(request())
    assert render_chunk(b"x" * 17, request()) == b"11\r\n" + b"x" * 17 + b"\r\n"
    assert b"transfer-encoding" not in render_stream_head(request(http_1_0=True))
    assert render_chunk(b"x", request(http_1_0=True)) == b"x"


def test_a_problem_is_an_answer() -> None:
    answer = problem(UserError("no", code="method-not-allowed", status=405, allow=["GET", "HEAD"]))
    assert (answer.status, answer.content_type) == (405, "application/problem+json")
    assert answer.headers == [("allow", "GET, HEAD")]


def test_an_unusual_status_is_still_an_answer() -> None:
    """The service may know one that the library does not."""
    assert render(Answer(b"", status=599), request()).startswith(b"HTTP/1.1 599 Unknown\r\n")
