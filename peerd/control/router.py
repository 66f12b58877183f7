"""The table of routes: what there is at which address, and how an address is read.

A pattern is a path with names in braces. A name takes one segment, decoded on its own, so that `%2F` is part
of a key and not a new segment; nothing is normalised, `..` is a name like any other and most names may not
be that.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote_to_bytes

from peerd.control.messages import Answer, Request, Stream
from peerd.control.problems import refusal
from peerd.core import names

if TYPE_CHECKING:
    from peerd.control.service import Service
    from peerd.errors import UserError

MIB: Final = 1 << 20
SMALL_BODY_BYTES: Final = 64 << 10
RECORD_BODY_BYTES: Final = 16 * MIB
TRANSACTION_BODY_BYTES: Final = 64 * MIB
_TOKEN_CHARS: Final = 1_024
_READS: Final = frozenset({"GET", "HEAD"})

Handler = Callable[["Service", Request], Awaitable[Answer | Stream]]


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One parameter of a query, or one header that a route reads."""

    name: str
    about: str
    kind: str = "string"


@dataclass(frozen=True, kw_only=True)
class Route:
    """One method of one address.

    body           what JSON it takes; None: no body
    answer         what JSON (of a stream: what line) it gives; None: no JSON
    stream         the answer goes on for as long as somebody reads it
    interruptible  of no use when the caller is gone
    refusals       codes beside those that any request can get
    """

    method: str
    pattern: str
    handler: Handler
    about: str
    query: Sequence[Parameter] = ()
    headers: Sequence[Parameter] = ()
    body: Any = None
    answer: Any = None
    status: int = 200
    other_statuses: Mapping[int, str] = field(default_factory=dict)
    limit_bytes: int = SMALL_BODY_BYTES
    stream: bool = False
    interruptible: bool = False
    refusals: Sequence[str] = ()

    @property
    def writes(self) -> bool:
        return self.method not in _READS

    @property
    def names(self) -> list[str]:
        return [part[1:-1] for part in self.pattern.split("/") if part.startswith("{")]


class _Node:
    __slots__ = ("literal", "name", "named", "routes")

    def __init__(self) -> None:
        self.literal: dict[str, _Node] = {}
        self.named: _Node | None = None
        self.name = ""
        self.routes: dict[str, Route] = {}


class Router:
    """Finds the route of a request in the table."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self.routes = tuple(routes)
        self._root = _Node()
        for route in routes:
            node = self._root
            for part in route.pattern.split("/")[1:]:
                if part.startswith("{"):
                    node.named = node.named or _Node()
                    node = node.named
                    node.name = part[1:-1]
                else:
                    node = node.literal.setdefault(part, _Node())
            node.routes[route.method] = route

    def find(self, request: Request) -> None:
        """Fill in the request's route, names and query.

        Raises:
            UserError: `no-such-path`, `method-not-allowed`, `bad-name`, `bad-query`, `malformed-request`.
        """
        path, _, query = _plain(request.target).partition("?")
        node, segments = self._walk(path)
        method = "GET" if request.method == "HEAD" else request.method
        route = node.routes.get(method)
        if route is None:
            raise _wrong_method(request.method, node.routes)
        for name, segment in segments:
            request.names[name] = _checked(name, segment, reserved=not route.writes)
        if query:
            request.query = _read_query(query, route)
        request.route = route

    def _walk(self, path: str) -> tuple[_Node, list[tuple[str, str]]]:
        node = self._root
        segments = []
        for part in path.split("/")[1:]:
            below = node.literal.get(part)
            if below is None:
                below = node.named
                if below is None:
                    raise _nowhere()
                segments.append((below.name, part))
            node = below
        if not node.routes:
            raise _nowhere()
        return node, segments


def _plain(target: bytes) -> str:
    try:
        text = target.decode("ascii")
    except UnicodeDecodeError:
        raise refusal("malformed-request", "the address is not ASCII", "Percent-encode it.") from None
    if text.startswith("/"):
        return text
    # The absolute form, as for a proxy (RFC 9112 section 3.2.2).
    _, scheme, rest = text.partition("://")
    return "/" + rest.partition("/")[2] if scheme else text


def decode_segment(segment: str) -> str:
    """Undo percent-encoding, strictly.

    Raises:
        UserError: `bad-name`: a stray percent sign, or bytes that are not UTF-8.
    """
    if "%" not in segment:
        return segment
    raw = unquote_to_bytes(segment)
    if segment.count("%") * 2 != len(segment) - len(raw):
        raise refusal("bad-name", "a percent sign is not followed by two hexadecimal digits", "Write it as %25.")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise refusal("bad-name", "a percent-encoded name is not UTF-8", "Encode it as UTF-8.") from None


def _checked(name: str, segment: str, *, reserved: bool) -> str:
    text = decode_segment(segment)
    if name == "space":
        names.check_space_name(text)
    elif name == "collection":
        names.check_collection_name(text, reserved=reserved)
    elif name == "key":
        names.check_key(text)
    elif not text or len(text) > _TOKEN_CHARS or not (text.isascii() and text.isprintable()):
        raise refusal("bad-name", f"{text[:40]!a} cannot be the {name}", "Take it from an answer of peerd.")
    return text


def _read_query(query: str, route: Route) -> dict[str, str]:
    allowed = {parameter.name: parameter for parameter in route.query}
    found: dict[str, str] = {}
    for pair in query.split("&"):
        if not pair:
            continue
        raw_name, _, raw_value = pair.partition("=")
        name = decode_segment(raw_name)
        if name not in allowed:
            takes = ", ".join(allowed) or "none"
            raise refusal("bad-query", f"there is no parameter {name[:40]!a} here", f"Parameters here: {takes}.")
        if name in found:
            raise refusal("bad-query", f"{name} is given twice", "Give it once.")
        found[name] = _checked_value(name, decode_segment(raw_value.replace("+", "%20")))
    return found


def _checked_value(name: str, text: str) -> str:
    if name == "collection":
        names.check_collection_name(text, reserved=True)
    elif name in {"key", "prefix"}:
        if text:
            names.check_key(text)
    elif len(text) > _TOKEN_CHARS or not (text.isascii() and text.isprintable()):
        raise refusal("bad-query", f"{name} is not what peerd gave", "Take it from an answer of peerd.")
    return text


def _nowhere() -> UserError:
    return refusal("no-such-path", "there is nothing at this address", "See /openapi.json for what there is.")


def _wrong_method(method: str, routes: Mapping[str, Route]) -> UserError:
    allow = sorted({*routes, *({"HEAD"} if "GET" in routes else ())})
    return refusal(
        "method-not-allowed",
        f"this address does not take {method}",
        f"It takes {', '.join(allow)}.",
        allow=allow,
    )
