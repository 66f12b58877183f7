"""The OpenAPI 3.1 description, made from the table of routes.

    python -m peerd.control.openapi > peerd/control/openapi.json

The committed file is what is served; a test holds it equal to the table.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from typing import TYPE_CHECKING, Any, Final

import msgspec

from peerd.control import messages, problems
from peerd.control.routes import ROUTES
from peerd.core.limits import KEY_BYTES
from peerd.core.names import COLLECTION_NAME_BYTES
from peerd.protocol.control.messages import Problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from peerd.control.router import Parameter, Route

_REFERENCE: Final = "#/components/schemas/{name}"
_NAMES: Final = {
    "time_ms": "A time, in milliseconds since 1970-01-01 UTC.",
    "space": "The space's name on this device: 1 to 64 of A-Z a-z 0-9 . _ - with a letter or digit first.",
    "collection": f"1 to {COLLECTION_NAME_BYTES} bytes: letters and digits of any script, . _ and -.",
    "key": f"1 to {KEY_BYTES:,} bytes of UTF-8, percent-encoded as one segment: a slash is %2F.",
    "conflict": "The id of a conflict, the same on every device.",
    "device": "A device id in its text form.",
    "invitation": "The id of an invitation.",
    "ticket": "The id of an invitation file.",
    "binding": "The name of a binding on this device.",
}
_ABOUT: Final = (
    "The control socket of peerd: HTTP/1.1 and JSON over a Unix socket. Whoever may connect may read; writing needs "
    "root, the user of peerd, or membership in control.write_group. An acknowledged write is durable."
)


def describe(routes: Sequence[Route] = ROUTES) -> dict[str, Any]:
    """The whole document, as plain JSON values in a fixed order."""
    kinds = [Problem]
    kinds += [kind for route in routes for kind in (route.body, route.answer) if _is_own(kind)]
    _, schemas = msgspec.json.schema_components(kinds, ref_template=_REFERENCE)
    for schema in schemas.values():
        if "description" in schema:  # a docstring: not every version of msgspec takes its indentation off
            schema["description"] = inspect.cleandoc(schema["description"])
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.pattern, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "peerd", "version": "1", "description": _ABOUT},
        "servers": [{"url": "http://localhost", "description": "any host name; the socket is what matters"}],
        "paths": paths,
        "components": {"schemas": dict(sorted(schemas.items()))},
    }


def render() -> str:
    """The text of the committed file."""
    return json.dumps(describe(), indent=1, ensure_ascii=False) + "\n"


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {"operationId": _name(route), "summary": route.about}
    parameters = [_path_parameter(name) for name in route.names]
    parameters += [_parameter(parameter, "query") for parameter in route.query]
    parameters += [_parameter(parameter, "header") for parameter in route.headers]
    if parameters:
        operation["parameters"] = parameters
    if route.body is not None:
        operation["requestBody"] = {
            "required": True,
            "description": f"At most {route.limit_bytes:,} bytes.",
            "content": {messages.JSON: {"schema": _schema(route.body)}},
        }
    operation["responses"] = _responses(route)
    return operation


def _responses(route: Route) -> dict[str, Any]:
    done: dict[str, Any] = {"description": "Done."}
    if route.answer is not None:
        kind = messages.NDJSON if route.stream else messages.JSON
        done["content"] = {kind: {"schema": _schema(route.answer)}}
    elif route.status == 200:
        done["content"] = {"text/plain": {"schema": {"type": "string"}}}
    responses = {str(route.status): done}
    for status, about in route.other_statuses.items():
        responses[str(status)] = {"description": about}
        if status != 304:
            responses[str(status)] |= {key: value for key, value in done.items() if key == "content"}
    codes: dict[int, list[str]] = {}
    for code in [*route.refusals, *_general(route)]:
        codes.setdefault(problems.CODES[code].status, []).append(code)
    for status, names in sorted(codes.items()):
        responses.setdefault(str(status), _refusal(", ".join(sorted(set(names)))))
    responses["default"] = _refusal("Any other refusal; see `code`.")
    return responses


def _general(route: Route) -> list[str]:
    codes = ["space-not-found"] if "space" in route.names else []
    if route.names:
        codes.append("bad-name")
    if route.query:
        codes.append("bad-query")
    if route.writes:
        codes.append("read-only")
    if route.body is not None:
        codes += ["malformed-json", "duplicate-key", "number-too-large", "bad-body", "too-large", "not-json"]
        codes.append("length-required")
    return codes


def _refusal(about: str) -> dict[str, Any]:
    return {"description": about, "content": {problems.CONTENT_TYPE: {"schema": _schema(Problem)}}}


def _path_parameter(name: str) -> dict[str, Any]:
    schema = {"type": "string"}
    return {"name": name, "in": "path", "required": True, "description": _NAMES[name], "schema": schema}


def _parameter(parameter: Parameter, place: str) -> dict[str, Any]:
    schema = {"type": parameter.kind}
    return {"name": parameter.name, "in": place, "description": parameter.about, "schema": schema}


def _schema(kind: Any) -> dict[str, Any]:
    (found,), _ = msgspec.json.schema_components([kind], ref_template=_REFERENCE)
    return found


def _is_own(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _name(route: Route) -> str:
    words = [word for word in re.split(r"[^a-z]+", route.pattern.removeprefix("/v1")) if word]
    return "_".join([route.method.lower(), *words])


if __name__ == "__main__":
    sys.stdout.write(render())
