"""Tags and TXT records: who recognises an announcement, and what of a stranger's record is believed."""

from __future__ import annotations

import hashlib
import hmac
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerd.core.tags import Announcement, clean_name, encode_txt, make_tag, parse_txt, recognise

NONCE = bytes(range(16))
DEVICE, OTHER = b"d" * 32, b"o" * 32
SPACE, WORK = b"s" * 16, b"w" * 16
KEY, OLD_KEY = b"k" * 32, b"p" * 32

announcements = st.builds(
    Announcement,
    nonce=st.binary(min_size=16, max_size=16),
    tags=st.lists(st.binary(min_size=8, max_size=8), max_size=8).map(lambda tags: tuple(sorted(tags))),
    pairing_name=st.none() | st.text(max_size=80).map(clean_name),
)


def test_a_tag_is_the_beginning_of_an_hmac_over_nonce_and_device() -> None:
    """The formula is part of the protocol: another implementation must come to the same bytes."""
    assert make_tag(KEY, NONCE, DEVICE) == hmac.new(KEY, NONCE + DEVICE, hashlib.sha256).digest()[:8]
    assert make_tag(b"Jefe", b"what do ya want ", b"for nothing?").hex() == "5bdcc146bf60754e"  # RFC 4231, case 2


def test_only_who_holds_the_key_recognises_the_device() -> None:
    """With the key the device and its space come out; without it, or with another nonce, nothing does."""
    said = Announcement(NONCE, (make_tag(KEY, NONCE, DEVICE),))
    assert recognise(said, [(OTHER, SPACE, KEY), (DEVICE, SPACE, KEY)]) == [(DEVICE, SPACE)]
    assert recognise(said, [(DEVICE, SPACE, OLD_KEY)]) == []
    assert recognise(Announcement(NONCE[::-1], said.tags), [(DEVICE, SPACE, KEY)]) == []


def test_every_common_space_is_named_once_whatever_its_keys() -> None:
    """The previous key counts beside the current one, and a space found by both is still one space."""
    said = Announcement(NONCE, tuple(make_tag(key, NONCE, DEVICE) for key in (KEY, OLD_KEY)))
    candidates = [(DEVICE, SPACE, KEY), (DEVICE, SPACE, OLD_KEY), (DEVICE, WORK, OLD_KEY), (OTHER, WORK, KEY)]
    assert recognise(said, candidates) == [(DEVICE, SPACE), (DEVICE, WORK)]


@given(announcements)
def test_what_is_encoded_is_read_back(said: Announcement) -> None:
    """The TXT record loses nothing, and each of its entries fits the 255 bytes of a TXT string."""
    entries = encode_txt(said)
    assert parse_txt(entries) == said
    assert all(len(key) + 1 + len(value) <= 255 for key, value in entries.items())


def test_a_full_record_fits_the_bound_of_its_reader() -> None:
    """Eight tags and the longest name stay below 512 bytes on the wire."""
    said = Announcement(NONCE, tuple(bytes([n]) * 8 for n in range(8)), "n" * 63)
    assert sum(len(key) + len(value) + 2 for key, value in encode_txt(said).items()) < 512


def test_the_order_of_tags_does_not_tell_the_order_of_spaces() -> None:
    """The same tags in any order make the same record."""
    tags = [bytes([n]) * 8 for n in (5, 1, 3)]
    assert encode_txt(Announcement(NONCE, tuple(tags))) == encode_txt(Announcement(NONCE, tuple(tags[::-1])))


def test_a_name_is_there_only_in_a_pairing_window() -> None:
    """Outside a window nothing of the record but nonce and tags."""
    assert set(encode_txt(Announcement(NONCE, (b"t" * 8,)))) == {b"v", b"n", b"t"}
    assert encode_txt(Announcement(NONCE, (), "kitchen"))[b"p"] == b"kitchen"


@pytest.mark.parametrize(
    "said",
    [
        Announcement(NONCE[:15]),
        Announcement(NONCE, (b"short",)),
        Announcement(NONCE, tuple(bytes([n]) * 8 for n in range(9))),
    ],
)
def test_a_record_that_no_reader_accepts_is_not_made(said: Announcement) -> None:
    """A wrong size is a bug of the caller and is refused before it is on the air."""
    with pytest.raises(ValueError, match="16 bytes of nonce"):
        encode_txt(said)


GOOD: dict[bytes, bytes | None] = {b"v": b"1", b"n": b"00" * 16, b"t": b"11" * 8}


@pytest.mark.parametrize(
    "entries",
    [
        {},
        {**GOOD, b"v": b"2"},
        {**GOOD, b"v": None},
        {b"v": b"1", b"t": b"11" * 8},
        {**GOOD, b"n": b"00" * 15},
        {**GOOD, b"n": b"00" * 17},
        {**GOOD, b"n": b"zz" * 16},
        {**GOOD, b"n": b" 0" * 16},
        {**GOOD, b"t": b""},
        {**GOOD, b"t": b"1" * 15},
        {**GOOD, b"t": b"11" * 12},
        {**GOOD, b"t": b"11" * 8 * 9},
        {**GOOD, b"t": None},
        {**GOOD, b"p": b"n" * 64},
        {**GOOD, b"p": b"\xff\xfe"},
    ],
)
def test_a_record_that_is_not_exactly_ours_is_worthless(entries: dict[bytes, bytes | None]) -> None:
    """Another version, wrong sizes, too many tags, a name that is no text: None, never a guess."""
    assert parse_txt(GOOD) is not None
    assert parse_txt(entries) is None


def test_unknown_entries_are_ignored() -> None:
    """A later version of the record may say more."""
    assert parse_txt({**GOOD, b"z": b"9", b"flag": None}) == parse_txt(GOOD)


def test_a_strangers_name_cannot_paint_or_turn_the_terminal() -> None:
    """Control characters, escapes, line breaks and bidirectional overrides go; letters of any script stay."""
    raw = "Küche\x1b[31m\u202e\r\n\x00 台所\u200b".encode()
    said = parse_txt({**GOOD, b"p": raw})
    assert said is not None
    assert said.pairing_name == "Küche[31m 台所"


@given(st.text(max_size=200))
def test_a_clean_name_is_short_printable_and_stays_as_it_is(name: str) -> None:
    """Cleaning twice changes nothing, and no character is cut in half."""
    cleaned = clean_name(name)
    assert len(cleaned.encode()) <= 63
    assert cleaned.isprintable()
    assert clean_name(cleaned) == cleaned


def test_mutated_records_never_raise() -> None:
    """Whatever a stranger sends is an announcement or None."""
    chance = random.Random(7)
    whole = encode_txt(Announcement(NONCE, (b"t" * 8,), "kitchen"))
    accepted = 0
    for _ in range(3000):
        entries: dict[bytes, bytes | None] = {}
        for key, value in whole.items():
            mutated = bytearray(value)
            for _ in range(chance.randrange(3)):
                mutated[chance.randrange(len(mutated))] = chance.randrange(256)
            cut = chance.choice((len(mutated), len(mutated), chance.randrange(len(mutated) + 1)))
            entries[key] = bytes(mutated[:cut])
        said = parse_txt(entries)
        if said is not None:
            accepted += 1
            assert len(said.nonce) == 16
            assert all(len(tag) == 8 for tag in said.tags)
    assert 0 < accepted < 3000
