"""A roster that does not fit into a head: in parts that come out as they went in."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerd.core.roster.room import IN_ALL
from peerd.core.roster.statements import STATEMENT_BYTES, SignedStatement
from peerd.errors import RemoteProtocolError
from peerd.protocol.relay import roster as relay_roster
from peerd.protocol.relay.objects import OBJECT_BYTES
from peerd.protocol.relay.roster import fits, join, part_id, split


def statement(size_bytes: int, fill: int = 7) -> SignedStatement:
    return SignedStatement(bytes([fill]) * size_bytes, bytes(64))


def test_the_largest_roster_that_there_may_be_has_no_more_parts_than_are_read() -> None:
    """In statements of the most unlucky size: three fit into a part, and a fourth would but for a little."""
    one = statement(STATEMENT_BYTES)
    assert len(split([one] * (IN_ALL.size_bytes // STATEMENT_BYTES))) <= relay_roster.PARTS


@given(st.lists(st.integers(1, STATEMENT_BYTES), max_size=30))
def test_it_comes_out_as_it_went_in(sizes: list[int]) -> None:
    statements = [statement(size, at) for at, size in enumerate(sizes)]
    parts = split(statements)
    assert join(parts) == statements
    assert all(len(part) <= relay_roster.PART_BYTES + 9 for part in parts)
    assert len(parts) <= 1 + 2 * sum(sizes) // (relay_roster.PART_BYTES - STATEMENT_BYTES)


def test_a_part_fits_into_an_object() -> None:
    assert relay_roster.PART_BYTES + STATEMENT_BYTES < OBJECT_BYTES


def test_a_small_roster_stays_in_the_head() -> None:
    assert fits([])
    assert fits([statement(1_000)] * 100)
    assert not fits([statement(1_000)] * 200)
    assert split([]) == []


def test_an_id_belongs_to_a_device_and_to_what_is_in_the_part() -> None:
    ids = {part_id(device, part) for device in (b"d" * 32, b"e" * 32) for part in (b"one", b"two")}
    assert len(ids) == 4
    assert {len(one) for one in ids} == {16}
    assert part_id(b"d" * 32, b"one") in ids


@given(st.binary(max_size=300))
def test_fuzz_of_a_part(data: bytes) -> None:
    """Joined, or refused: any other error fails the test."""
    with suppress(RemoteProtocolError):
        join([data])


def test_a_part_that_is_none_is_refused() -> None:
    for data in (b"", b"\xc0", b"\x91\x92\xc4\x00\xc4\x00", b"\x91" * 100_000):
        with pytest.raises(RemoteProtocolError) as refused:
            join([data])
        assert refused.value.code == "malformed"
