"""What a listener says to a device that gets no link, and how a dialer reads it: HTTP before the upgrade.

    403  code "unknown-device", "removed" or "paused", or another that `authorise` gave
    426  code "version": they speak another major version; both are named in "ours" and "theirs"
    503  code "busy": too many links of this device

The body is a JSON object of `code` and `detail`. A stranger learns nothing but the 403: not whether the version
would have fitted, not what this device is called.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from websockets.datastructures import Headers
from websockets.exceptions import InvalidHeader
from websockets.headers import parse_subprotocol
from websockets.http11 import Request, Response

from peerd.net.link import INTRODUCE, PAIR, SYNC

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SUBPROTOCOLS = (SYNC, PAIR)
SPOKEN = (*SUBPROTOCOLS, INTRODUCE)  # the last is no use to somebody of another version
MAX_DETAIL_CHARS = 200
_MAX_BODY_BYTES = 4096
_MAX_OFFERED = 8
_MAX_NAME_CHARS = 40
_SAID_WITH_403 = ("unknown-device", "removed", "paused", "busy", "version")


@dataclass(frozen=True)
class Refusal:
    """Why a device gets no link. `code` is stable, `detail` a sentence for people, told to the other side."""

    code: str
    detail: str


def offered(request: Request) -> list[str]:
    """The subprotocols a request offers, at most eight; none if the header cannot be read."""
    names: list[str] = []
    try:
        for header in request.headers.get_all("Sec-WebSocket-Protocol"):
            names += parse_subprotocol(header)
    except InvalidHeader:
        return []
    return names[:_MAX_OFFERED]


def refuse(refusal: Refusal, status: HTTPStatus = HTTPStatus.FORBIDDEN) -> Response:
    return _response(status, {"code": refusal.code, "detail": refusal.detail})


def refuse_version(theirs: Sequence[str]) -> Response:
    """The answer to a member that offers only subprotocols we do not know."""
    known, named = ", ".join(SUBPROTOCOLS), [name[:_MAX_NAME_CHARS] for name in theirs]
    detail = f"This device speaks {known}, you offered {', '.join(named) or 'nothing'}; update the older one."
    body = {"code": "version", "detail": detail, "ours": list(SUBPROTOCOLS), "theirs": named}
    response = _response(HTTPStatus.UPGRADE_REQUIRED, body)
    response.headers["Upgrade"] = "websocket"
    return response


def read_refusal(response: Response) -> Refusal:
    """What the other side answered instead of an upgrade, with a code of `DialFailed`. Nothing in it is
    trusted: it is cut, and only printable text is kept.
    """
    body = _body(response)
    detail = body.get("detail")
    said = "".join(c for c in detail if c.isprintable())[:MAX_DETAIL_CHARS] if isinstance(detail, str) else ""
    if response.status_code == HTTPStatus.FORBIDDEN and body:
        code = body.get("code")
        return Refusal(code if code in _SAID_WITH_403 else "unknown-device", said)
    if response.status_code == HTTPStatus.UPGRADE_REQUIRED and body.get("code") == "version":
        return Refusal("version", said)
    if response.status_code == HTTPStatus.SERVICE_UNAVAILABLE:
        return Refusal("busy", said)
    return Refusal("not-websocket", f"it answered HTTP {response.status_code}")


def _body(response: Response) -> dict[str, object]:
    if len(response.body) > _MAX_BODY_BYTES:
        return {}
    try:
        body = json.loads(response.body)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def _response(status: HTTPStatus, body: Mapping[str, object]) -> Response:
    encoded = json.dumps(body).encode()
    headers = Headers(
        {
            "Connection": "close",
            "Content-Length": str(len(encoded)),
            "Content-Type": "application/json",
        }
    )
    return Response(status.value, status.phrase, headers, encoded)
