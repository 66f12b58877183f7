"""JSON from strangers: decoded exactly, or refused with the reason.

Numbers keep what was written (1 stays an integer, 1.0 a float); integers are int64. Refused beside malformed
JSON are: a member named twice, of which a parser would silently drop one; more levels than the data model
has; text that is not UTF-8; half a surrogate pair.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final, TypeVar

import msgspec

from peerd.control.problems import refusal
from peerd.core.limits import INT64_MAX, INT64_MIN

T = TypeVar("T")

_decoder: Final = msgspec.json.Decoder()


class _Twice(ValueError):
    """A member was named twice."""


def _refuse_twice(pairs: list[tuple[str, Any]]) -> None:
    if len(dict(pairs)) != len(pairs):
        raise _Twice


_finder: Final = json.JSONDecoder(object_pairs_hook=_refuse_twice)


def decode(raw: bytes, depth: int) -> Any:
    """The value of a JSON text with at most `depth` levels of objects and arrays.

    Raises:
        UserError: `malformed-json`, `duplicate-key`, `number-too-large`, `too-deep`.
    """
    try:
        value = _decoder.decode(raw)
    except UnicodeDecodeError:
        raise refusal("malformed-json", "the body is not UTF-8", "Send JSON encoded as UTF-8.") from None
    except RecursionError:
        raise _too_deep(depth) from None
    except msgspec.ValidationError as error:
        raise _too_large_number() from error
    except msgspec.DecodeError as error:
        raise refusal("malformed-json", f"the body is not JSON: {error}", "Send one JSON value.") from None
    members = _count_members(value, depth)
    # Every member has its colon. As many colons as members: no name can have been given twice. More: some stand
    # in strings, or a name was; only then it is worth asking the parser that shows every member.
    if raw.count(b":") != members:
        try:
            _finder.decode(raw.decode())
        except _Twice:
            raise refusal("duplicate-key", "an object names a member twice", "Give each member once.") from None
    return value


def decode_object(raw: bytes, depth: int) -> dict[str, Any]:
    """As `decode`, for a text that has to be an object.

    Raises:
        UserError: the same, or `bad-body`.
    """
    value = decode(raw, depth)
    if type(value) is not dict:
        raise refusal("bad-body", "the body is not a JSON object", 'Send an object, such as {"title": "milk"}.')
    return value


def decode_as(raw: bytes, kind: type[T], depth: int) -> T:
    """As `decode`, for a text of a declared form.

    Raises:
        UserError: the same, or `bad-body` naming the member at fault.
    """
    value = decode(raw, depth)
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise refusal("bad-body", f"the body does not fit: {error}", "See /openapi.json for its form.") from None


def _count_members(value: Any, depth: int) -> int:
    members = 0
    level = [[value]] if type(value) is not dict else [value]
    levels_left = depth + (type(value) is not dict)
    while level:
        if not levels_left:
            raise _too_deep(depth)
        levels_left -= 1
        below: list[Any] = []
        for container in level:
            items: Iterable[Any] = container
            if type(container) is dict:
                members += len(container)
                items = container.values()
            for item in items:
                kind = type(item)
                if kind is dict or kind is list:
                    below.append(item)
                elif kind is int and not INT64_MIN <= item <= INT64_MAX:
                    raise _too_large_number()
        level = below
    return members


def _too_deep(depth: int) -> Exception:
    return refusal("too-deep", f"the body is nested deeper than {depth} levels", "Flatten it, or use several records.")


def _too_large_number() -> Exception:
    return refusal("number-too-large", "a number does not fit 64 bits", "Send it as a string.")
