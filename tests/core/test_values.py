"""Values: JSON to packed bytes and back without losing a bit; what peers may send; the order for max and min."""

from __future__ import annotations

import base64
import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerd.core.limits import INT64_MAX, INT64_MIN, VALUE_DEPTH
from peerd.core.values import TEXT_EXTENSION, check_packed, pack, rank, same, unpack
from peerd.errors import UserError

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(INT64_MIN, INT64_MAX)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
)
RESERVED = (
    st.binary(max_size=20).map(lambda data: {"$bytes": base64.b64encode(data).decode()})
    | st.binary(max_size=20).map(lambda data: {"$text": base64.b64encode(data).decode()})
    | st.sampled_from([{"$float": "inf"}, {"$float": "-inf"}])
)


def _escaped(value: dict[str, Any]) -> dict[str, Any]:
    """An object as JSON must name it: one member whose name begins with $ is written inside {"$object": ...}."""
    return {"$object": value} if len(value) == 1 and next(iter(value)).startswith("$") else value


NAMES = TEXTS | st.sampled_from(["$", "$bytes", "$object", "$float", "$text", "$new"])
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS | RESERVED,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4).map(_escaped),
    max_leaves=8,
)


def exactly(value: Any) -> Any:
    """A form in which 1, 1.0 and true differ, and 0.0 and -0.0 too."""
    if isinstance(value, dict):
        return {name: exactly(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [exactly(inner) for inner in value]
    return type(value), repr(value)


@given(VALUES)
def test_every_json_value_comes_back_exactly(value: Any) -> None:
    packed = pack(value)
    check_packed(packed)
    assert exactly(unpack(packed)) == exactly(value)


@given(VALUES)
def test_a_value_is_packed_the_same_way_each_time_it_goes_round(value: Any) -> None:
    packed = pack(value)
    assert pack(unpack(packed)) == packed


@pytest.mark.parametrize("value", [INT64_MIN, INT64_MAX, -0.0, 5e-324, 1.7976931348623157e308, "\0", "é\U0010ffff"])
def test_edges_come_back_exactly(value: Any) -> None:
    assert exactly(unpack(pack(value))) == exactly(value)


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth - 1):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (INT64_MAX + 1, "number-too-large"),
        (INT64_MIN - 1, "number-too-large"),
        (math.inf, "number-too-large"),
        (math.nan, "number-too-large"),
        (nested(VALUE_DEPTH + 1), "too-deep"),
        ({"$new": 1}, "bad-value"),
        ({"$bytes": "no base64!"}, "bad-value"),
        ({"$bytes": 7}, "bad-value"),
        ({"$text": "\u00e9"}, "bad-value"),
        ({"$float": "nan"}, "bad-value"),
        ({"$float": []}, "bad-value"),
        ({"$object": 1}, "bad-value"),
        ((1, 2), "bad-value"),
        ("\ud800", "bad-value"),
        ({"\ud800": 1}, "bad-value"),
        ([{"a": "\udfff"}], "bad-value"),
    ],
)
def test_what_is_outside_the_model_is_refused_with_a_sentence(value: Any, code: str) -> None:
    with pytest.raises(UserError) as refusal:
        pack(value)
    assert refusal.value.code == code


def test_the_deepest_value_that_is_packed_is_accepted_from_a_peer() -> None:
    check_packed(pack(nested(VALUE_DEPTH)))
    with pytest.raises(ValueError, match="deep"):
        check_packed(msgspec.msgpack.encode(nested(VALUE_DEPTH + 1)))


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"\xa1\xff",  # text that is not UTF-8 must come as the extension
        b"\xd9\x01\xff",
        b"\x91\xa1\xff",
        b"\xcf" + b"\xff" * 8,  # 2**64 - 1
        b"\x91\xcf" + b"\xff" * 8,
        b"\xca\x7f\xc0\x00\x00",  # NaN
        b"\xcb\x7f\xf8" + bytes(6),
        b"\x81\x01\x02",  # a key that is no string
        b"\x81\x91\x01\x02",
        b"\x81\xc4\x01a\x02",
        b"\xd4\x02a",  # an unknown extension
        b"\xd6\xff\x00\x00\x00\x00",  # a timestamp
        b"\x91" * 100 + b"\x01",
        b"\xdd\xff\xff\xff\xff",  # an array that claims four billion items
        b"\xdf\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\xa3a",  # cut short
        b"\x01\x02",  # two values
        b"\xa1ab",
        b"\xc1",
    ],
)
def test_a_peer_s_value_outside_the_model_is_refused(packed: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        check_packed(packed)


@given(st.binary(min_size=1, max_size=40))
def test_what_passes_the_check_can_be_shown_and_ordered(packed: bytes) -> None:
    try:
        check_packed(packed)
    except ValueError:
        return
    shown = unpack(packed)
    assert exactly(unpack(pack(shown))) == exactly(shown)
    rank(packed)
    assert same(packed, packed)


@given(VALUES, VALUES, VALUES)
def test_the_order_of_values_is_total(one: Any, two: Any, three: Any) -> None:
    first, second, third = sorted(rank(pack(value)) for value in (one, two, three))
    assert first <= second <= third
    assert first <= third


def test_values_are_ordered_by_type_then_by_value() -> None:
    ladder: list[Any] = [
        None, False, True, {"$float": "-inf"}, INT64_MIN, -1.5, 0, 0.5, 1, 2**53, 2**53 + 1, INT64_MAX,
        {"$float": "inf"}, "", "A", "a", "é", {"$text": "/w=="}, {"$bytes": ""}, {"$bytes": "AA=="}, [], {},
    ]  # fmt: skip
    ranks = [rank(pack(value)) for value in ladder]
    assert ranks == sorted(ranks)
    assert len(set(ranks)) == len(ladder)


@given(VALUES, VALUES)
def test_same_means_the_same_value_of_the_same_type(one: Any, two: Any) -> None:
    assert same(pack(one), pack(two)) == (exactly(one) == exactly(two))


@pytest.mark.parametrize(
    ("one", "other"),
    [([1], [1.0]), ([1], [True]), ({"a": 0}, {"a": False}), (0.0, -0.0), ([0.0], [-0.0]), (1, 1.0), ("1", 1)],
)
def test_values_that_python_takes_for_equal_are_not_the_same(one: Any, other: Any) -> None:
    assert not same(pack(one), pack(other))


def test_the_order_of_members_does_not_make_another_value() -> None:
    assert same(pack({"a": 1, "b": {"c": [1], "d": 2}}), pack({"b": {"d": 2, "c": [1]}, "a": 1}))


def test_another_width_of_the_same_number_is_the_same_value() -> None:
    assert same(b"\x01", b"\xcc\x01")


def test_text_that_is_not_utf8_is_neither_a_string_nor_a_binary() -> None:
    text = pack({"$text": "/w=="})
    assert msgspec.msgpack.decode(text) == msgspec.msgpack.Ext(TEXT_EXTENSION, b"\xff")
    assert not same(text, pack({"$bytes": "/w=="}))


def test_what_rotted_on_a_disk_is_no_other_value() -> None:
    for rotten in (b"\xa2\xff\xff", b"\xc1", b"\x92\x01"):
        assert not same(rotten, pack("ok"))
        assert not same(pack("ok"), rotten)
        assert same(rotten, rotten)
