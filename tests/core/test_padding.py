"""Padmé: what is added is little, and what is seen of a size is less."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerd.core.padding import LEAST_BYTES, padded_size

sizes = st.integers(min_value=0, max_value=1 << 40)


@pytest.mark.parametrize(
    ("size_bytes", "padded_bytes"),
    [
        (0, 4096),
        (4096, 4096),
        (4097, 4352),
        (4352, 4352),
        (4353, 4608),
        (100_000, 100_352),
        (400 << 10, 400 << 10),
        ((400 << 10) + 1, 417_792),
        (512 << 10, 512 << 10),
        ((1 << 20) + 1, (1 << 20) + (1 << 15)),
    ],
)
def test_sizes_are_as_the_formula_gives_them(size_bytes: int, padded_bytes: int) -> None:
    assert padded_size(size_bytes) == padded_bytes


@given(sizes)
def test_nothing_shrinks_and_little_is_added(size_bytes: int) -> None:
    """Less than one in log2 of the size, at most 12 %; above 4 KiB it is 6.25 %."""
    padded = padded_size(size_bytes)
    assert padded >= max(size_bytes, LEAST_BYTES)
    if size_bytes > LEAST_BYTES:
        assert padded - size_bytes <= size_bytes / (size_bytes.bit_length() - 1)
        assert padded - size_bytes < 0.0625 * size_bytes


@given(sizes)
def test_what_is_padded_stays_as_it_is(size_bytes: int) -> None:
    assert padded_size(padded_size(size_bytes)) == padded_size(size_bytes)


@given(sizes, sizes)
def test_a_larger_size_is_never_padded_to_less(one: int, two: int) -> None:
    assert (padded_size(min(one, two)), padded_size(max(one, two))) == tuple(
        sorted((padded_size(one), padded_size(two)))
    )


@given(st.integers(min_value=13, max_value=40))
def test_few_sizes_remain_between_two_powers_of_two(exponent: int) -> None:
    """As many as the mantissa has values, which is at most twice the exponent."""
    at, seen = 1 << exponent, 0
    while at < 1 << exponent + 1:
        at = padded_size(at + 1)
        seen += 1
    assert seen == 1 << exponent.bit_length()
    assert seen <= 2 * exponent
