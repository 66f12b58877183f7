"""The other end of the control socket: HTTP/1.1 with JSON over a Unix socket, blocking.

Standard library only, because `peerctl` has to start in a fifth of a second. Nothing here knows a command:
it carries a request, reads a document or a stream of lines, and turns whatever goes wrong into an error
that says whose fault it is and what to do next.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self
from urllib.parse import quote, urlencode

from peerd.control.exchange import Connection, Head, NotHttp, request
from peerd.errors import PeerdError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

ANSWER_TIMEOUT_S: Final = 60.0
# The daemon may close a connection that was idle; a request on such a one would be lost without an answer.
IDLE_LIMIT_S: Final = 2.0
PAGE: Final = 1000
_SYSTEM_SOCKET: Final = "/run/peerd/peerd.sock"
_REFUSALS: Final = frozenset({401, 403, 409, 412, 428})
_MISUSE: Final = 400


class NotRunning(PeerdError):
    """Nobody answers at the socket, or whoever did is gone."""

    code = "not-running"
    exit_code = 3


class NotAllowed(PeerdError):
    """The socket is there and its mode keeps us out."""

    code = "socket-forbidden"
    exit_code = 6


class BadAnswer(PeerdError):
    """Something answered, but not as peerd does."""

    code = "bad-answer"


class Problem(PeerdError):
    """The daemon's problem document, or one that a stream ended with. `document` is all of it."""

    def __init__(self, status: int, document: Mapping[str, Any]) -> None:
        said = (document.get(name) for name in ("detail", "reason", "title"))
        super().__init__(
            str(next(filter(None, said), f"the daemon answered {status}")),
            code=_code_of(document),
            next_step=str(document.get("next_step") or ""),
        )
        self.status = status
        self.document = dict(document)
        self.exit_code = 6 if status in _REFUSALS else 2 if status == _MISUSE else 1


class Answer(NamedTuple):
    """`body` is the decoded document, None if there was none; header names are lower case."""

    status: int
    headers: dict[str, str]
    body: Any

    @property
    def etag(self) -> str:
        return self.headers.get("etag", "")


def default_socket(environ: Mapping[str, str] = os.environ, *, exists: Callable[[str], bool] = os.path.exists) -> str:
    """Where the daemon listens when nobody says otherwise.

    `PEERD_SOCKET` wins; else the first of the runtime directory, `/run` and the state directory that has
    a socket; else the place where a daemon of this user would put it.
    """
    if named := environ.get("PEERD_SOCKET"):
        return named
    state = environ.get("XDG_STATE_HOME") or f"{environ.get('HOME', '')}/.local/state"
    own = [f"{base}/peerd/peerd.sock" for base in (environ.get("XDG_RUNTIME_DIR"), state) if base]
    found = next((place for place in (*own[:-1], _SYSTEM_SOCKET, own[-1]) if exists(place)), "")
    return found or (_SYSTEM_SOCKET if os.geteuid() == 0 else own[0])


def path(*parts: str) -> str:
    """Join the parts of a resource's address, each quoted whole: a slash in a key stays inside the key."""
    try:
        return "/v1/" + "/".join(_quoted(part) for part in parts)
    except UnicodeEncodeError:
        raise PeerdError("a name is not valid UTF-8", code="bad-name", next_step="give names as UTF-8 text") from None


def _quoted(part: str) -> str:
    # A part of dots only would be read as "here" or "one up" by anything that tidies addresses.
    return part.replace(".", "%2E") if part in {".", ".."} else quote(part, safe="")


class Client:
    """One connection to the daemon, made when needed and kept; not for use by two threads at once.

    `timeout_s` is how long an answer may take, None for as long as it does.

    Every method raises `NotRunning`, `NotAllowed`, `BadAnswer` or, for an answer of 400 and above, `Problem`.
    """

    def __init__(self, socket_path: str, *, timeout_s: float | None = ANSWER_TIMEOUT_S) -> None:
        self.socket_path = socket_path
        self._timeout_s = timeout_s
        self._connection: Connection | None = None
        self._used_at_s = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def call(
        self,
        method: str,
        address: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Ask and wait for the whole answer. `address` comes from `path`."""
        self.send(method, address, query=query, body=body, headers=headers)
        return self.receive()

    def send(
        self,
        method: str,
        address: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Ask, and leave the answer to `receive`, which must be called before the next request."""
        data = _request(method, address, query=query, body=body, headers=headers)
        if time.monotonic() - self._used_at_s > IDLE_LIMIT_S:
            self.close()
        with self._closing_on_error():
            if self._connection is None:
                self._connection = Connection(self.socket_path, self._timeout_s)
            self._connection.send(data)

    def receive(self) -> Answer:
        """Wait for the whole answer to what was sent."""
        connection = self._connection
        if connection is None:
            raise PeerdError("nothing was asked")
        with self._closing_on_error():
            head = connection.read_head()
            raw = b"".join(connection.body(head))
        self._used_at_s = time.monotonic()
        if not head.keeps_open:
            self.close()
        return Answer(head.status, head.headers, _document(head, raw))

    @contextmanager
    def _closing_on_error(self) -> Iterator[None]:
        try:
            with _explained(self.socket_path, self._timeout_s):
                yield
        except BaseException:
            self.close()
            raise

    def stream(
        self,
        method: str,
        address: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
    ) -> Iterator[dict[str, Any]]:
        """Yield the documents of an NDJSON answer as they come, on a connection of their own, untimed.

        A stream that the daemon ends ends the iterator; one that breaks off raises `NotRunning`.
        """
        with _explained(self.socket_path, None):
            connection = Connection(self.socket_path, None)
        try:
            with _explained(self.socket_path, None):
                connection.send(_request(method, address, query=query, body=body, headers=None))
                head = connection.read_head()
                failed = b"".join(connection.body(head)) if head.status >= 400 else b""
            if head.status >= 400:
                _document(head, failed)
            for line in self._lines(connection.body(head)):
                yield _decoded(line)
        finally:
            connection.close()

    def pages(self, address: str, member: str, *, query: Mapping[str, str] | None = None) -> Iterator[dict[str, Any]]:
        """Yield the items of a list that comes in pages; `member` is the name under which a page has them."""
        asked = {"limit": str(PAGE), **(query or {})}
        while True:
            page = self.call("GET", address, query=asked).body
            yield from page[member]
            if not page.get("cursor"):
                return
            asked["cursor"] = page["cursor"]

    def _lines(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        pending: list[bytes] = []
        while True:
            with _explained(self.socket_path, None):
                piece = next(pieces, b"")
            if not piece:
                break
            first, *more = piece.split(b"\n")
            pending.append(first)
            for start in more:
                if line := b"".join(pending).strip():
                    yield line
                pending = [start]
        if line := b"".join(pending).strip():
            yield line


def _request(
    method: str,
    address: str,
    *,
    query: Mapping[str, str] | None,
    body: Any,
    headers: Mapping[str, str] | None,
) -> bytes:
    sent = {"Accept": "application/json", **(headers or {})}
    raw = None
    if body is not None:
        raw = _encoded(body)
        sent["Content-Type"] = "application/json"
    return request(method, f"{address}?{urlencode(query)}" if query else address, sent, raw)


_compact: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
_escaped: Final = json.JSONEncoder(allow_nan=False).encode


def _encoded(body: Any) -> bytes:
    try:
        return _compact(body).encode()
    except UnicodeEncodeError:
        # Half a surrogate pair has no UTF-8; its escape has, and the daemon says what it thinks of it.
        return _escaped(body).encode()


def _document(head: Head, raw: bytes) -> Any:
    """The body decoded; raises `Problem` if it is one."""
    if head.status >= 400:
        try:
            document = json.loads(raw) if raw else {}
        except ValueError:
            document = {"detail": raw[:500].decode(errors="replace")}
        raise Problem(head.status, document if isinstance(document, dict) else {})
    return _decoded(raw) if raw else None


def _decoded(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        raise BadAnswer(
            "the answer is not JSON",
            next_step="check that the socket belongs to peerd and that both have the same version",
        ) from None


def _code_of(document: Mapping[str, Any]) -> str:
    if isinstance(code := document.get("code"), str):
        return code
    return str(document.get("type") or "internal").rpartition("/")[2].rpartition("#")[2]


@contextmanager
def _explained(socket_path: str, timeout_s: float | None) -> Iterator[None]:
    """Turn what the operating system says about the socket into our errors."""
    user = "" if socket_path == _SYSTEM_SOCKET else " --user"
    start = f"start it with `systemctl{user} start peerd` or `peerd`, or name its socket with --socket"
    try:
        yield
    except FileNotFoundError:
        raise NotRunning(f"peerd is not running: there is no socket at {socket_path}", next_step=start) from None
    except ConnectionRefusedError:
        raise NotRunning(f"peerd is not running: nobody listens at {socket_path}", next_step=start) from None
    except PermissionError:
        raise NotAllowed(
            f"you may not open {socket_path}",
            next_step="join the group that owns the socket, or run this as the user that peerd runs as",
        ) from None
    except TimeoutError:
        raise PeerdError(
            f"peerd did not answer within {timeout_s or 0:g} s",
            code="no-answer",
            next_step="look at its log; a request that writes may still have been done",
        ) from None
    except ConnectionError:
        raise NotRunning(
            "peerd went away before it had answered",
            code="connection-lost",
            next_step="look at its log; a request that writes may or may not have been done",
        ) from None
    except NotHttp:
        raise BadAnswer(
            f"what answers at {socket_path} does not speak HTTP",
            next_step="name peerd's socket with --socket",
        ) from None
    except OSError as error:
        raise NotRunning(f"cannot use the socket {socket_path}: {error.strerror or error}", next_step=start) from None
