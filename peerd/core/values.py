"""Field values: how JSON becomes the bytes that travel, and back, without losing a bit.

A value is stored and forwarded as the MessagePack bytes that its author encoded. It is one of: nil, boolean, int64,
float64, string, binary, array, map with string keys; and two things only a database knows: text that is not UTF-8
(extension type 1) and floats that JSON cannot write.

JSON has no form for some of these, so an object with exactly one member whose name begins with `$` is reserved:

    {"$bytes": "aGk="}      binary, base64 with padding (RFC 4648 section 4)
    {"$text": "//4="}       text that is not UTF-8, its bytes in base64
    {"$float": "inf"}       inf, -inf
    {"$object": {...}}      the object itself, if it really has one member with such a name
"""

from __future__ import annotations

import base64
import binascii
import math
import sys
from typing import Annotated, Any, TypeAlias

import msgspec
from msgspec import Meta

from peerd.core.limits import INT64_MAX, INT64_MIN, VALUE_DEPTH
from peerd.errors import UserError

TEXT_EXTENSION = 1
_FLOATS = {"inf": math.inf, "-inf": -math.inf}
_LARGEST = sys.float_info.max

_encoder = msgspec.msgpack.Encoder()
_canonical_encoder = msgspec.msgpack.Encoder(order="deterministic")
_decoder = msgspec.msgpack.Decoder(Any)
_AS_THEY_ARE = frozenset({str, bool, type(None)})

# What nearly every value is, in a form that a decoder can check while it decodes: neither NaN nor an infinity, which
# fall outside of the bound. What is not among these may be a value all the same, and `check_packed` has to say.
_Integer: TypeAlias = Annotated[int, Meta(ge=INT64_MIN, le=INT64_MAX)]
_Finite: TypeAlias = Annotated[float, Meta(ge=-_LARGEST, le=_LARGEST)]
_Scalar: TypeAlias = bool | _Integer | _Finite | str | None
Plain: TypeAlias = _Scalar | list[_Scalar] | dict[str, _Scalar]


def pack(value: Any) -> bytes:
    """The bytes of a JSON value (as decoded from JSON: dict, list, str, int, float, bool, None).

    Raises:
        UserError: the value is outside the model; the sentence names what and where.
    """
    kind = type(value)
    is_plain = kind in _AS_THEY_ARE or (kind is int and INT64_MIN <= value <= INT64_MAX)
    try:
        return _encoder.encode(value if is_plain else _inward(value, 1))
    except UnicodeEncodeError:
        raise UserError("a string holds half a surrogate pair, which is no text", code="bad-value") from None


def unpack(packed: bytes | msgspec.Raw) -> Any:
    """The JSON form of a packed value."""
    return _outward(_decoder.decode(packed))


def _inward(value: Any, depth: int) -> Any:
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int):
        if INT64_MIN <= value <= INT64_MAX:
            return value
        raise UserError(f"{value} does not fit 64 bits", code="number-too-large", next_step="Send it as a string.")
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        raise UserError("a number must be finite", code="number-too-large")
    if depth >= VALUE_DEPTH:
        raise UserError(f"the value is nested deeper than {VALUE_DEPTH} levels", code="too-deep")
    if isinstance(value, list):
        return [_inward(item, depth + 1) for item in value]
    if not isinstance(value, dict):
        raise UserError(f"{type(value).__name__} is not a JSON value", code="bad-value")
    name = next(iter(value)) if len(value) == 1 else ""
    if name.startswith("$"):
        return _reserved_inward(name, value[name], depth)
    return {name: _inward(item, depth + 1) for name, item in value.items()}


def _reserved_inward(name: str, inner: Any, depth: int) -> Any:
    if name == "$object" and isinstance(inner, dict):
        return {name: _inward(item, depth + 1) for name, item in inner.items()}
    if name == "$float" and isinstance(inner, str) and inner in _FLOATS:
        return _FLOATS[inner]
    if name in {"$bytes", "$text"} and isinstance(inner, str):
        try:
            data = base64.b64decode(inner, validate=True)
        except (binascii.Error, ValueError):
            raise UserError(f"{name} does not hold base64", code="bad-value") from None
        return data if name == "$bytes" else msgspec.msgpack.Ext(TEXT_EXTENSION, data)
    raise UserError(
        f"an object with the one member {name!r} is reserved",
        code="bad-value",
        next_step='Write it as {"$object": {...}}; see "values" in docs/concepts.md.',
    )


def _outward(value: Any) -> Any:
    if isinstance(value, dict):
        inner = {name: _outward(item) for name, item in value.items()}
        if len(inner) == 1 and next(iter(inner)).startswith("$"):
            return {"$object": inner}
        return inner
    if isinstance(value, list):
        return [_outward(item) for item in value]
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, msgspec.msgpack.Ext):
        return {"$text": base64.b64encode(value.data).decode()}
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": "inf" if value > 0 else "-inf"}
    return value


def check_packed(packed: bytes | msgspec.Raw) -> None:
    """Refuse a value of a peer that is outside the model.

    Raises:
        ValueError: with the reason.
    """
    try:
        value = _decoder.decode(packed)  # also finds text that is not UTF-8, which skipping over a value does not
    except RecursionError:
        raise ValueError("a value is nested too deeply") from None
    if not isinstance(value, str):
        _check_model(value, 1)


def _check_model(value: Any, depth: int) -> None:
    if isinstance(value, int):  # booleans among them
        if not INT64_MIN <= value <= INT64_MAX:
            raise ValueError("an integer does not fit int64")
    elif isinstance(value, float):
        if math.isnan(value):
            raise ValueError("NaN is no value")
    elif isinstance(value, list | dict):
        if depth >= VALUE_DEPTH:
            raise ValueError("a value is nested too deeply")
        if isinstance(value, dict) and not all(isinstance(name, str) for name in value):
            raise ValueError("a map has a key that is no string")
        for item in value.values() if isinstance(value, dict) else value:
            _check_model(item, depth + 1)
    elif isinstance(value, msgspec.msgpack.Ext):
        if value.code != TEXT_EXTENSION:
            raise ValueError("an unknown extension type")
    elif value is not None and not isinstance(value, str | bytes):
        raise ValueError(f"{type(value).__name__} is no value")


def rank(packed: bytes) -> tuple[int, Any]:
    """The order of values for the policies `max` and `min`: by type, then by value.

    nil < booleans < numbers < strings < text that is not UTF-8 < binaries < arrays < maps. Arrays and maps are
    ordered by their bytes, which is arbitrary and the same everywhere.
    """
    value = _decoder.decode(packed)
    if value is None:
        return 0, 0
    if isinstance(value, bool):
        return 1, value
    if isinstance(value, int | float):
        return 2, value
    if isinstance(value, str):
        return 3, value
    if isinstance(value, msgspec.msgpack.Ext):
        return 4, value.data
    if isinstance(value, bytes):
        return 5, value
    return (6, packed) if isinstance(value, list) else (7, packed)


def same(one: bytes, other: bytes) -> bool:
    """Do two packed values mean the same? 1, 1.0 and true are three values; the order of an object's members and the
    width of a number mean nothing. What does not read as a value any more means nothing that another one does.
    """
    if one == other:
        return True
    try:
        return _canonical(one) == _canonical(other)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):  # it rotted on a disk
        return False


def _canonical(packed: bytes) -> bytes:
    return _canonical_encoder.encode(_decoder.decode(packed))
