"""Names on relays: the same for every member, of no meaning to anybody else, and never the same for two things."""

from __future__ import annotations

from peerd.protocol.relay import names as relay_names

KEY = b"k" * 32


def names(key: bytes) -> list[str]:
    owner = b"o" * 16
    return [
        relay_names.head_name(key, owner * 2),
        relay_names.segment_name(key, owner, 0),
        relay_names.segment_name(key, owner, 1),
        relay_names.segment_name(key, b"p" * 16, 1),
        relay_names.part_name(key, owner, 0),
        relay_names.part_name(key, owner, 1),
        relay_names.roster_name(key, owner),
        relay_names.ticket_name(key, owner),
    ]


def test_no_two_things_have_one_name() -> None:
    assert len({*names(KEY), *names(b"l" * 32)}) == 16


def test_a_name_is_64_hexadecimal_digits() -> None:
    for name in names(KEY):
        assert len(bytes.fromhex(name)) == 32
        assert name == name.lower()


def test_a_name_stays_what_it_is() -> None:
    assert names(KEY) == names(KEY)
    assert relay_names.segment_name(KEY, b"o" * 16, 1) == (
        "ffb53267dac321149fca77b6294d3da977f37983ec9305b9362b16941d8a5b74"
    )
