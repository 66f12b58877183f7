"""The client end of the socket, against peers that answer byte for byte what a test says."""

from __future__ import annotations

import json
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

from peerd.control.client import BadAnswer, Client, NotAllowed, NotRunning, Problem, default_socket, path
from peerd.errors import PeerdError

Serve = Callable[..., "Canned"]


class Canned:
    """Listens on a socket, reads one request per answer given, and says the answer as it stands.

    For the answer None it waits for the end of the connection; `rudely` answers before the body was read.
    """

    def __init__(self, socket_path: str, connections: tuple[tuple[bytes | None, ...], ...], *, rudely: bool) -> None:
        self.socket = socket_path
        self.requests: list[bytes] = []
        self._connections = connections
        self._rudely = rudely
        self.ended = threading.Event()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(socket_path)
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        for answers in self._connections:
            try:
                link, _ = self._listener.accept()
            except OSError:
                return
            with link, link.makefile("rb") as reader:
                for answer in answers:
                    if answer is None:
                        assert reader.read() == b""
                        self.ended.set()
                        break
                    self.requests.append(_read_request(reader, with_body=not self._rudely))
                    link.sendall(answer)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()


def _read_request(reader: IO[bytes], *, with_body: bool) -> bytes:
    head = b""
    while (line := reader.readline()) not in {b"\r\n", b""}:
        head += line
    length = 0
    for line in head.splitlines():
        if with_body and line.lower().startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    return head + b"\r\n" + reader.read(length)


def answer(body: bytes, status: int = 200, *, kind: str = "application/json", more: str = "") -> bytes:
    head = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{more}\r\n"
    return head.encode() + body


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + end


@pytest.fixture
def folder() -> Iterator[Path]:
    made = tempfile.mkdtemp(prefix="peerd-", dir="/tmp")
    yield Path(made)
    shutil.rmtree(made)


@pytest.fixture
def serve(folder: Path) -> Iterator[Serve]:
    running: list[Canned] = []

    def start(*connections: tuple[bytes | None, ...], rudely: bool = False) -> Canned:
        running.append(Canned(str(folder / "s"), connections, rudely=rudely))
        return running[-1]

    yield start
    for canned in running:
        canned.close()


def test_a_call_sends_json_and_decodes_the_answer(serve: Serve) -> None:
    """Method, address with query, headers and body arrive; status, headers and document come back."""
    there = serve((answer(b'{"a": [1, 2.5, null]}', 201, more='ETag: "x1"\r\n'),))
    with Client(there.socket) as client:
        got = client.call("PUT", path("a", "ö/b"), query={"q": "1 2"}, body={"t": "ü"}, headers={"If-Match": '"e"'})
    assert (got.status, got.body, got.headers["etag"]) == (201, {"a": [1, 2.5, None]}, '"x1"')
    head, _, body = there.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"PUT /v1/a/%C3%B6%2Fb?q=1+2 HTTP/1.1\r\n")
    assert b'If-Match: "e"' in head
    assert b"Content-Type: application/json" in head
    assert json.loads(body) == {"t": "ü"}


def test_calls_share_a_connection(serve: Serve) -> None:
    """The second call does not connect again: one connection has both requests."""
    there = serve((answer(b"1"), answer(b"2")))
    with Client(there.socket) as client:
        assert [client.call("GET", path("x")).body for _ in range(2)] == [1, 2]


def test_an_answer_without_body_is_none(serve: Serve) -> None:
    there = serve((b"HTTP/1.1 204 No Content\r\n\r\n",))
    with Client(there.socket) as client:
        assert client.call("DELETE", path("x")).body is None


def test_a_problem_document_becomes_an_error_with_its_code_and_next_step(serve: Serve) -> None:
    document = {"code": "precondition-failed", "detail": "it changed", "next_step": "read again", "etag": "e2"}
    there = serve((answer(json.dumps(document).encode(), 412, kind="application/problem+json"),))
    with Client(there.socket) as client, pytest.raises(Problem, match="it changed") as caught:
        client.call("PUT", path("x"), body={})
    problem = caught.value
    assert (problem.code, problem.next_step, problem.status) == ("precondition-failed", "read again", 412)
    assert problem.document["etag"] == "e2"


@pytest.mark.parametrize(
    ("status", "exit_code"), [(400, 2), (404, 1), (500, 1), (507, 1), (403, 6), (409, 6), (412, 6)]
)
def test_the_exit_code_tells_misuse_and_refusal_from_failure(serve: Serve, status: int, exit_code: int) -> None:
    there = serve((answer(b"{}", status),))
    with Client(there.socket) as client, pytest.raises(Problem) as caught:
        client.call("GET", path("x"))
    assert caught.value.exit_code == exit_code


def test_a_problem_that_is_not_json_is_still_a_problem(serve: Serve) -> None:
    there = serve((answer(b"<html>no", 502, kind="text/html"),))
    with Client(there.socket) as client, pytest.raises(Problem, match="<html>no"):
        client.call("GET", path("x"))


def test_nobody_at_the_socket_means_not_running(folder: Path) -> None:
    """Neither a missing socket nor one that a dead daemon left behind is anything but "not running"."""
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(folder / "stale"))
    stale.close()
    for name in ("absent", "stale"):
        with Client(str(folder / name)) as client, pytest.raises(NotRunning, match="not running") as caught:
            client.call("GET", path("status"))
        assert caught.value.exit_code == 3
        assert "`systemctl --user start peerd`" in caught.value.next_step


def test_at_the_systems_socket_the_system_service_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peerd.control.client._SYSTEM_SOCKET", str(folder / "absent"))
    with Client(str(folder / "absent")) as client, pytest.raises(NotRunning) as caught:
        client.call("GET", path("status"))
    assert "`systemctl start peerd`" in caught.value.next_step


def test_a_socket_path_that_cannot_exist_is_explained(folder: Path) -> None:
    with Client(str(folder / ("x" * 200))) as client, pytest.raises(NotRunning, match="too long"):
        client.call("GET", path("status"))


def test_a_socket_that_may_not_be_opened_is_a_refusal(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may open anything, so the system's refusal is played."""

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("peerd.control.exchange.socket.socket.connect", refuse)
    with Client(str(folder / "s")) as client, pytest.raises(NotAllowed, match="may not open") as caught:
        client.call("GET", path("status"))
    assert caught.value.exit_code == 6
    assert "group" in caught.value.next_step


def test_an_answer_that_breaks_off_is_told_apart_from_not_running(serve: Serve) -> None:
    """Before the first byte or within the body: whether a write was done is not known, and it says so."""
    there = serve((b"",), (answer(b"12345")[:-2],))
    for _ in range(2):
        with Client(there.socket) as client, pytest.raises(NotRunning, match="went away") as caught:
            client.call("PUT", path("x"), body={})
        assert caught.value.code == "connection-lost"
        assert "may or may not" in caught.value.next_step


def test_after_an_error_the_next_call_connects_again(serve: Serve) -> None:
    there = serve((b"",), (answer(b"2"),))
    with Client(there.socket) as client:
        with pytest.raises(NotRunning):
            client.call("GET", path("x"))
        assert client.call("GET", path("x")).body == 2


def test_what_does_not_speak_http_is_said_to_do_so(serve: Serve) -> None:
    there = serve((b"220 mail.example ESMTP\r\n",))
    with Client(there.socket) as client, pytest.raises(BadAnswer, match="does not speak HTTP"):
        client.call("GET", path("x"))


def test_a_document_that_is_not_json_is_a_bad_answer(serve: Serve) -> None:
    there = serve((answer(b'{"a":'),))
    with Client(there.socket) as client, pytest.raises(BadAnswer, match="not JSON"):
        client.call("GET", path("x"))


def test_a_daemon_that_does_not_answer_is_given_up(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "s"))
        listener.listen()
        with Client(str(folder / "s"), timeout_s=0.05) as client, pytest.raises(PeerdError, match=r"within 0\.05 s"):
            client.call("GET", path("x"))


def test_an_answer_given_before_the_body_was_read_is_read(serve: Serve) -> None:
    """A body that is too long is refused at once, and the connection closed while we are still sending."""
    there = serve((answer(b'{"code": "too-large", "detail": "too long"}', 413),), rudely=True)
    with Client(there.socket) as client, pytest.raises(Problem) as caught:
        client.call("PUT", path("x"), body={"a": "b" * 10_000_000})
    assert caught.value.code == "too-large"


def test_a_stream_gives_each_line_as_it_comes(serve: Serve) -> None:
    """Lines may be cut anywhere by the chunks, share one, be empty, and the last need no line break."""
    there = serve((chunked(b'{"n": 1}\n{"n"', b': 2}\n\n{"n": 3', b'}\n{"n": 4}'),))
    with Client(there.socket) as client:
        assert [line["n"] for line in client.stream("GET", path("x"))] == [1, 2, 3, 4]


def test_a_stream_that_breaks_off_is_an_error_not_an_end(serve: Serve) -> None:
    there = serve((chunked(b'{"n": 1}\n', end=b""),))
    lines = Client(there.socket).stream("GET", path("x"))
    assert next(lines) == {"n": 1}
    with pytest.raises(NotRunning, match="went away"):
        next(lines)


def test_a_stream_that_is_refused_raises_the_problem(serve: Serve) -> None:
    there = serve((answer(b'{"code": "invitation-open", "detail": "one at a time"}', 409),))
    with Client(there.socket) as client, pytest.raises(Problem, match="one at a time"):
        list(client.stream("POST", path("invitations"), body={"space": "home"}))


def test_leaving_a_stream_closes_its_connection(serve: Serve) -> None:
    """The daemon learns from it that nobody reads any more; an invitation ends so."""
    there = serve((chunked(b'{"n": 1}\n', end=b""), None))
    with Client(there.socket) as client:
        lines = client.stream("GET", path("x"))
        assert next(lines) == {"n": 1}
        lines.close()  # type: ignore[attr-defined] # it is a generator
        assert there.ended.wait(5)


def test_pages_are_read_until_the_cursor_ends(serve: Serve) -> None:
    first, second = b'{"records": [{"n": 1}], "cursor": "c1"}', b'{"records": [{"n": 2}], "cursor": null}'
    there = serve((answer(first), answer(second)))
    with Client(there.socket) as client:
        assert list(client.pages(path("x"), "records", query={"prefix": "a"})) == [{"n": 1}, {"n": 2}]
    assert there.requests[1].startswith(b"GET /v1/x?limit=1000&prefix=a&cursor=c1 ")


@pytest.mark.parametrize(
    ("part", "quoted"), [("a/b", "a%2Fb"), ("..", "%2E%2E"), (".", "%2E"), ("a?b#c", "a%3Fb%23c"), ("\0", "%00")]
)
def test_a_name_stays_one_part_of_the_address(part: str, quoted: str) -> None:
    assert path("spaces", part) == f"/v1/spaces/{quoted}"


def test_a_name_that_is_not_unicode_is_refused_here() -> None:
    with pytest.raises(PeerdError, match="UTF-8"):
        path("spaces", "a\udcff")


def test_half_a_surrogate_pair_travels_as_an_escape(serve: Serve) -> None:
    there = serve((answer(b"{}"),))
    with Client(there.socket) as client:
        client.call("PUT", path("x"), body={"a": "\ud800"})
    assert there.requests[0].endswith(b'{"a": "\\ud800"}')


@pytest.mark.parametrize(
    ("environ", "present", "expected"),
    [
        ({"PEERD_SOCKET": "/a/s", "XDG_RUNTIME_DIR": "/r"}, "/r/peerd/peerd.sock", "/a/s"),
        ({"XDG_RUNTIME_DIR": "/r", "HOME": "/h"}, "/r/peerd/peerd.sock", "/r/peerd/peerd.sock"),
        ({"XDG_RUNTIME_DIR": "/r", "HOME": "/h"}, "/run/peerd/peerd.sock", "/run/peerd/peerd.sock"),
        (
            {"XDG_RUNTIME_DIR": "/r", "HOME": "/h"},
            "/h/.local/state/peerd/peerd.sock",
            "/h/.local/state/peerd/peerd.sock",
        ),
        ({"HOME": "/h", "XDG_STATE_HOME": "/st"}, "/st/peerd/peerd.sock", "/st/peerd/peerd.sock"),
    ],
)
def test_the_socket_is_looked_for_where_the_daemon_puts_it(
    environ: dict[str, str], present: str, expected: str
) -> None:
    assert default_socket(environ, exists=present.__eq__) == expected


@pytest.mark.parametrize(("uid", "expected"), [(0, "/run/peerd/peerd.sock"), (1000, "/r/peerd/peerd.sock")])
def test_without_any_socket_the_message_names_where_the_users_daemon_would_listen(
    monkeypatch: pytest.MonkeyPatch, uid: int, expected: str
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: uid)
    assert default_socket({"XDG_RUNTIME_DIR": "/r", "HOME": "/h"}, exists=lambda _: False) == expected
