"""How an address is read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerd.control.messages import Answer, Request
from peerd.control.permissions import Caller
from peerd.control.router import Parameter, Route, Router, decode_segment
from peerd.control.service import Service
from peerd.errors import UserError


async def handler(_service: Service, _request: Request) -> Answer:
    return Answer()


KEY = "/v1/spaces/{space}/records/{collection}/{key}"
ROUTER = Router(
    [
        Route(method="GET", pattern="/v1/spaces", handler=handler, about=""),
        Route(method="POST", pattern="/v1/spaces", handler=handler, about=""),
        Route(method="GET", pattern=KEY, handler=handler, about="", query=(Parameter(name="prefix", about=""),)),
        Route(method="PUT", pattern=KEY, handler=handler, about="", query=(Parameter(name="since", about=""),)),
        Route(method="GET", pattern="/v1/things/{thing}", handler=handler, about=""),
    ]
)


def found(method: str, target: str | bytes) -> Request:
    request = Request(Caller(0, 0, 0, frozenset()))
    request.method = method
    request.target = target if isinstance(target, bytes) else target.encode()
    ROUTER.find(request)
    return request


def refused(method: str, target: str | bytes) -> UserError:
    with pytest.raises(UserError) as caught:
        found(method, target)
    return caught.value


def test_names_are_decoded_segment_by_segment() -> None:
    """A slash that is encoded belongs to the key."""
    request = found("GET", "/v1/spaces/home/records/caf%C3%A9/a%2Fb%20c%25%F0%9F%98%80")
    assert request.names == {"space": "home", "collection": "café", "key": "a/b c%😀"}


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cf"]), min_size=1, max_size=100))
def test_every_key_finds_its_way(key: str) -> None:
    """Whatever it is made of: encoded it is one segment."""
    encoded = "".join(f"%{byte:02x}" for byte in key.encode())
    assert found("GET", f"/v1/spaces/home/records/todo/{encoded}").names["key"] == key


@pytest.mark.parametrize("key", ["..", ".", "%2e%2E", "v1", "...", "-", "~"])
def test_dots_are_names_like_others(key: str) -> None:
    """Nothing is normalised, so nothing can climb."""
    assert found("GET", f"/v1/spaces/home/records/todo/{key}").names["key"] == decode_segment(key)


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "",
        "/v1",
        "/v1/",
        "/v2/spaces",
        "/v1/spaces/",
        "/v1/spaces/home",
        "/v1//spaces",
        "//v1/spaces",
        "*",
        "v1/spaces",
        "/v1/spaces/home/records/todo/a/b",
        "/v1/spaces/home/records/todo/a/",
        "/V1/spaces",
        "/v1/spaces%2F",
        "/v1/spaces#x",
    ],
)
def test_elsewhere_is_nothing(target: str) -> None:
    assert refused("GET", target).code == "no-such-path"


def test_the_absolute_form_is_understood() -> None:
    """As RFC 9112 asks of every server."""
    assert found("GET", "http://localhost/v1/spaces").route is ROUTER.routes[0]


def test_a_wrong_method_is_told_the_right_ones() -> None:
    error = refused("DELETE", "/v1/spaces")
    assert (error.code, error.status) == ("method-not-allowed", 405)
    assert error.extra["allow"] == ["GET", "HEAD", "POST"]


def test_head_goes_where_get_goes() -> None:
    assert found("HEAD", "/v1/spaces").route is ROUTER.routes[0]


@pytest.mark.parametrize(
    "target",
    [
        "/v1/spaces/../records/todo/a",
        "/v1/spaces/_x/records/todo/a",
        "/v1/spaces/a%00/records/todo/a",
        "/v1/spaces/home/records/../a",
        "/v1/spaces/home/records/a%20b/a",
        "/v1/spaces/home/records//a",
        "/v1/spaces/home/records/todo/",
        "/v1/spaces/home/records/todo/%00",
        "/v1/spaces/home/records/todo/%E2%80%AEx",
        "/v1/spaces/home/records/todo/%0a",
        "/v1/spaces/home/records/todo/" + "x" * 1025,
        "/v1/spaces/home/records/todo/%FF",
        "/v1/spaces/home/records/todo/%",
        "/v1/spaces/home/records/todo/%zz",
        "/v1/spaces/home/records/todo/%4",
        "/v1/spaces/home/records/todo/%ED%A0%80",
        "/v1/things/%C3%A9",
        "/v1/things/" + "x" * 1025,
        "/v1/things/a%0Db",
        "/v1/spaces/home/records/todo/%u0041",
    ],
)
def test_hostile_names_are_refused(target: str) -> None:
    """Climbing, cutting off, turning round, too long, not UTF-8, badly encoded."""
    error = refused("GET", target)
    assert (error.code, error.status) == ("bad-name", 400)


def test_collections_of_peerd_can_be_read_not_written() -> None:
    assert found("GET", "/v1/spaces/home/records/_settings/a").names["collection"] == "_settings"
    assert refused("PUT", "/v1/spaces/home/records/_settings/a").code == "bad-name"


def test_an_address_is_ascii() -> None:
    assert refused("GET", "/v1/spaces/ü").code == "malformed-request"


@pytest.mark.parametrize(
    ("query", "value"),
    [("prefix=a%2Fb", "a/b"), ("prefix=a+b", "a b"), ("prefix=a%2Bb", "a+b"), ("&prefix=x&", "x"), ("prefix=", "")],
)
def test_a_query_is_decoded(query: str, value: str) -> None:
    assert found("GET", f"/v1/spaces/home/records/todo/a?{query}").query == {"prefix": value}


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("perfix=a", "bad-query"),
        ("prefix=a&prefix=b", "bad-query"),
        ("x", "bad-query"),
        ("prefix=%00", "bad-name"),
        ("prefix=%FF", "bad-name"),
        ("since=1", "bad-query"),
    ],
)
def test_a_query_that_nobody_reads_is_refused(query: str, code: str) -> None:
    """A misspelt parameter would otherwise be a wish that is ignored."""
    assert refused("GET", f"/v1/spaces/home/records/todo/a?{query}").code == code


@pytest.mark.parametrize("token", ["%C3%A9", "%00", "x" * 1025])
def test_tokens_are_short_and_plain(token: str) -> None:
    assert refused("PUT", f"/v1/spaces/home/records/todo/a?since={token}").code == "bad-query"
