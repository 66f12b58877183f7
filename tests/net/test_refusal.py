from __future__ import annotations

import json
from http import HTTPStatus

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from peerd.net.refusal import Refusal, offered, read_refusal, refuse, refuse_version

CODES = {"unknown-device", "removed", "busy", "version", "not-websocket"}


def request(*headers: str) -> Request:
    return Request("/", Headers([("Sec-WebSocket-Protocol", header) for header in headers]))


def answer(status: int, body: bytes) -> Response:
    return Response(status, "", Headers(), body)


def test_what_is_offered_is_read_from_all_headers_and_bounded() -> None:
    """Several headers are one list; nonsense is an empty one; a long list is cut to eight."""
    assert offered(request("a, b", "c")) == ["a", "b", "c"]
    assert offered(request()) == []
    assert offered(request("a b", "c")) == []
    assert offered(request(", ".join(f"p{number}" for number in range(100)))) == [f"p{number}" for number in range(8)]


@pytest.mark.parametrize("code", ["unknown-device", "removed"])
def test_a_refusal_arrives_as_it_was_meant(code: str) -> None:
    """What one side writes the other reads."""
    refusal = Refusal(code, "Because.")
    assert read_refusal(refuse(refusal)) == refusal


def test_busy_arrives() -> None:
    """503 is "busy", whatever the body says."""
    response = refuse(Refusal("busy", "Later."), HTTPStatus.SERVICE_UNAVAILABLE)
    assert read_refusal(response) == Refusal("busy", "Later.")
    assert read_refusal(answer(503, b"<html>")) == Refusal("busy", "")


def test_a_version_refusal_names_both() -> None:
    """Ours and theirs stand in the body and in the sentence; long names are cut; the header is what HTTP asks for."""
    response = refuse_version(["peerd.sync.7", "x" * 500])
    body = json.loads(response.body)
    assert response.status_code == 426
    assert response.headers["Upgrade"] == "websocket"
    assert body["ours"] == ["peerd.sync.1", "peerd.pair.1"]
    assert body["theirs"] == ["peerd.sync.7", "x" * 40]
    read = read_refusal(response)
    assert read.code == "version"
    assert "peerd.sync.1" in read.detail
    assert "peerd.sync.7" in read.detail
    assert len(response.body) < 1000


def test_the_sentence_of_a_stranger_is_cut_and_cleaned() -> None:
    """It may be printed on a terminal: no control characters, not more than 200 characters."""
    body = json.dumps({"code": "removed", "detail": "\x1b[31m\n" + "a" * 1000}).encode()
    read = read_refusal(answer(403, body))
    assert read == Refusal("removed", ("[31m" + "a" * 1000)[:200])


@pytest.mark.parametrize("code", ["timeout", "", 7, None, ["removed"], {"a": 1}])
def test_an_unknown_code_with_403_is_an_unknown_device(code: object) -> None:
    """Only codes that a refusal can have are believed."""
    assert read_refusal(answer(403, json.dumps({"code": code}).encode())) == Refusal("unknown-device", "")


@given(
    st.sampled_from([200, 204, 302, 400, 403, 426, 500, 503]),
    st.one_of(
        st.binary(max_size=100),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=8),
            lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["code", "detail", "x"]), inner),
        ).map(lambda value: json.dumps(value).encode()),
        st.just(b"[" * 4000),
        st.just(b'{"code": "removed", "detail": "' + b"a" * 5000 + b'"}'),
    ),
)
def test_any_answer_is_read(status: int, body: bytes) -> None:
    """Whatever a stranger answers, it becomes one of the known codes and a short, printable sentence."""
    read = read_refusal(answer(status, body))
    assert read.code in CODES
    assert len(read.detail) <= 200
    assert read.detail.isprintable()
