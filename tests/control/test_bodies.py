"""JSON from strangers, kept exactly or refused."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerd.control.bodies import decode, decode_as, decode_object
from peerd.errors import UserError
from peerd.protocol.control.messages import Patch

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4)
    ),
    max_leaves=20,
)


def refused(raw: bytes, depth: int = 16) -> str:
    with pytest.raises(UserError) as caught:
        decode(raw, depth)
    assert caught.value.status == 400
    assert caught.value.next_step
    return caught.value.code


@given(JSON_VALUES, st.sampled_from([None, 1]))
def test_what_is_json_is_kept_exactly(value: Any, indent: int | None) -> None:
    """However it is laid out, and with types: 1 is no 1.0, -0.0 no 0.0."""
    raw = json.dumps(value, indent=indent, ensure_ascii=indent is None).encode()
    assert repr(decode(raw, 64)) == repr(value)


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b'{"a": 9223372036854775807}', 2**63 - 1),
        (b'{"a": -9223372036854775808}', -(2**63)),
        (b'{"a": 1.0}', 1.0),
        (b'{"a": 1e2}', 100.0),
        (b'{"a": 0.1}', 0.1),
        (b'{"a": 5e-324}', 5e-324),
        (b'{"a": 1.7976931348623157e308}', 1.7976931348623157e308),
    ],
)
def test_the_ends_of_the_number_lines(raw: bytes, value: float) -> None:
    """The type counts as well."""
    found = decode(raw, 16)["a"]
    assert (found, type(found)) == (value, type(value))


def test_minus_zero_stays_negative() -> None:
    assert math.copysign(1, decode(b"[-0.0]", 16)[0]) == -1


@pytest.mark.parametrize(
    "number",
    [b"9223372036854775808", b"-9223372036854775809", b"18446744073709551616", b"1" * 400, b"1e999", b"9" * 9000],
)
@pytest.mark.parametrize("shape", [b"%b", b"[%b]", b'{"a":%b}', b'{"a":[{"b":%b}]}'])
def test_numbers_that_do_not_fit_are_refused(number: bytes, shape: bytes) -> None:
    """Another device could not hold them, so none may."""
    assert refused(shape % number) == "number-too-large"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b" ",
        b"{",
        b'{"a":1',
        b'{"a":1}x',
        b"{} {}",
        b"nul",
        b"NaN",
        b"Infinity",
        b"[1,]",
        b"{'a':1}",
        b"01",
        b"+1",
        b".5",
        b"1.",
        b'"a\nb"',
        b'"\\x41"',
        b'"\\ud800"',
        b'"\\udc00"',
        b'"\\ud800\\u0041"',
        b"\xef\xbb\xbf{}",
        b"\xff",
        b'"\xed\xa0\x80"',
        b'"\xc0\x80"',
        b"\x00",
        b"{1:2}",
        b"// x\n{}",
    ],
)
def test_what_is_no_json_is_refused(raw: bytes) -> None:
    """Cut off, decorated, in another encoding, with half a surrogate pair."""
    assert refused(raw) == "malformed-json"


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a":1,"a":1}',
        b'{"a":1,"a":2}',
        b'{"a":{"b":1,"b":2}}',
        b'[{"x":1},{"a":1,"b":2,"a":3}]',
        b'{"a":1,"\\u0061":2}',
        b'{"t":"12:30","a":1,"a":":"}',
        b'{"":1,"":2}',
        b'{"a":[],"b":[],"a":[]}',
    ],
)
def test_a_member_named_twice_is_refused(raw: bytes) -> None:
    """At any depth, also when the names are only equal once unescaped: no parser may choose for the
    caller.
    """
    assert refused(raw) == "duplicate-key"


@pytest.mark.parametrize("raw", [b'{"time":"12:30","a:b":":"}', b'[":"]', b'{"a":{"a":{"a":":"}}}', b'{"\\":":1}'])
def test_colons_in_strings_are_no_members(raw: bytes) -> None:
    assert decode(raw, 16) == json.loads(raw)


@given(st.lists(st.tuples(st.sampled_from(["a", "b", ":", "a:", '"']), st.integers(0, 3)), max_size=5))
def test_duplicates_are_found_exactly(pairs: list[tuple[str, int]]) -> None:
    """Neither missed nor imagined."""
    raw = ("{" + ",".join(f"{json.dumps(name)}:{value}" for name, value in pairs) + "}").encode()
    if len(dict(pairs)) == len(pairs):
        assert decode(raw, 16) == dict(pairs)
    else:
        assert refused(raw) == "duplicate-key"


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_depth_is_counted_exactly(opening: bytes, closing: bytes) -> None:
    """Sixteen levels when sixteen are allowed, and not one more."""
    assert decode(opening * 16 + b"1" + closing * 16, 16)
    assert refused(opening * 17 + b"1" + closing * 17) == "too-deep"


@pytest.mark.parametrize("raw", [b"[" * 100_000, b"[" * 100_000 + b"]" * 100_000, b'{"a":' * 100_000])
def test_a_depth_bomb_is_refused(raw: bytes) -> None:
    """Whether or not it is ever closed."""
    assert refused(raw) in {"too-deep", "malformed-json"}


def test_an_object_is_asked_for() -> None:
    with pytest.raises(UserError) as caught:
        decode_object(b"[1]", 16)
    assert caught.value.code == "bad-body"
    assert decode_object(b"{}", 16) == {}


@pytest.mark.parametrize("raw", [b'{"sett":{}}', b'{"set":1}', b'{"drop":[1]}', b'{"drop":"a"}', b"[]", b"1", b"null"])
def test_a_declared_form_is_held_to(raw: bytes) -> None:
    """A misspelt member is an error: otherwise it would be a wish that nobody hears."""
    with pytest.raises(UserError) as caught:
        decode_as(raw, Patch, 16)
    assert caught.value.code == "bad-body"


def test_a_declared_form_is_filled_in() -> None:
    assert decode_as(b'{"set":{"a":1}}', Patch, 16) == Patch(set={"a": 1})
    assert msgspec.to_builtins(decode_as(b'{"drop":["b"]}', Patch, 16)) == {"drop": ["b"]}
