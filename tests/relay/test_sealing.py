"""Segments, snapshot parts and roster parts on a relay: who opens them, and what is noticed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerd.core.chain import Run
from peerd.core.padding import padded_size
from peerd.core.roster import epochs
from peerd.core.roster.statements import SignedStatement
from peerd.errors import LocalProtocolError, RemoteProtocolError
from peerd.protocol.relay import names as relay_names
from peerd.protocol.relay import objects as relay_objects
from peerd.protocol.relay import roster as relay_roster
from peerd.protocol.relay.courier_steps import Damage
from peerd.protocol.relay.damage import damage_of
from peerd.protocol.relay.objects import OBJECT_BYTES, Segment
from peerd.relay import sealing
from peerd.relay.packing import PLAIN_BYTES
from peerd.relay.sealing import open_object, seal_object
from tests.relay.scene import FIRST, FIRST_SECRET, NAMES_KEY, SECOND, SECOND_SECRET, SPACE, noise, segment_name

NAME = segment_name(1)
NONCE = noise(24, "nonce")


def sealed(plaintext: bytes = b"plain", name: str = NAME) -> bytes:
    return seal_object(name, plaintext, FIRST, NONCE)


def damage(data: bytes, name: str = NAME, keys: tuple[epochs.RelayKeys, ...] = (FIRST, SECOND)) -> Damage:
    with pytest.raises(RemoteProtocolError) as refused:
        open_object(name, data, keys)
    return damage_of(refused.value)


@given(st.binary(max_size=20_000), st.binary(min_size=24, max_size=24), st.sampled_from([FIRST, SECOND]))
def test_it_comes_out_as_it_went_in(plaintext: bytes, nonce: bytes, keys: epochs.RelayKeys) -> None:
    data = seal_object(NAME, plaintext, keys, nonce)
    assert open_object(NAME, data, [SECOND, FIRST]) == plaintext
    assert len(data) == padded_size(len(data))


def test_every_byte_counts() -> None:
    """A changed hint looks like a secret that we lack; nobody can tell the two apart. The rest does not open."""
    data = sealed()
    found = [damage(data[:at] + bytes([data[at] ^ 0x40]) + data[at + 1 :]) for at in range(len(data))]
    assert found == [Damage.UNREADABLE] + 8 * [Damage.UNKNOWN_KEY] + (len(data) - 9) * [Damage.UNREADABLE]


def test_a_copy_that_is_not_complete_is_noticed() -> None:
    data = sealed()
    for kept in (0, 1, 8, 9, 32, 33, 48, 49, 50, 1_000, len(data) - 1):
        assert damage(data[:kept]) is Damage.UNREADABLE
        filled = data[:kept].ljust(len(data), b"\0")
        assert damage(filled) is (Damage.UNREADABLE if not 0 < kept < 9 else Damage.UNKNOWN_KEY)
    assert damage(data + b"\0") is Damage.UNREADABLE


def test_no_object_passes_for_another() -> None:
    """The next of the stream, a part of a snapshot, the same of another space; even if its hint is made to fit."""
    data, other = sealed(), segment_name(2)
    assert damage(data, other) is Damage.UNKNOWN_KEY
    assert damage(data, relay_names.part_name(NAMES_KEY, bytes(16), 1)) is Damage.UNKNOWN_KEY
    fitting = data[:1] + sealed(name=other)[1:9] + data[9:]
    assert damage(fitting, other) is Damage.UNREADABLE


def test_a_name_is_authenticated_whatever_its_hint_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """A member could look for two names of one hint."""
    monkeypatch.setattr(sealing, "hint", lambda _keys, _name: b"the same")
    data = sealed()
    assert open_object(NAME, data, [FIRST]) == b"plain"
    assert damage(data, segment_name(2)) is Damage.UNREADABLE


def test_an_object_of_another_space_does_not_open() -> None:
    """Even if two spaces had one secret."""
    elsewhere = epochs.relay_keys(b"another space!!!", FIRST_SECRET)
    assert damage(seal_object(NAME, b"plain", elsewhere, NONCE)) is Damage.UNKNOWN_KEY


def test_without_the_newer_secret_it_is_said_which_one_is_missing() -> None:
    data = seal_object(NAME, b"plain", SECOND, NONCE)
    assert damage(data, keys=(FIRST,)) is Damage.UNKNOWN_KEY
    assert damage(data, keys=()) is Damage.UNKNOWN_KEY
    assert open_object(NAME, data, (FIRST, SECOND)) == b"plain"


def test_each_use_of_a_secret_has_a_key_of_its_own() -> None:
    keys = [
        *FIRST,
        *SECOND,
        NAMES_KEY,
        epochs.discovery_key(SPACE, FIRST_SECRET),
        epochs.roster_part_secret(SPACE, FIRST_SECRET, bytes(16)),
        epochs.roster_part_secret(SPACE, FIRST_SECRET, b"1" * 16),
        epochs.roster_part_secret(SPACE, SECOND_SECRET, bytes(16)),
    ]
    assert len(set(keys)) == len(keys)
    assert {len(key) for key in keys} == {32}


def test_nothing_of_two_objects_is_alike_but_their_format_and_size() -> None:
    one, two = sealed(), seal_object(segment_name(2), b"plain", FIRST, noise(24, "another"))
    assert len(one) == len(two)
    assert one[0] == two[0]
    assert one[1:9] != two[1:9]
    assert sum(a == b for a, b in zip(one, two, strict=True)) < 100


def test_a_part_of_a_roster_is_opened_by_what_a_head_says() -> None:
    """Its secret comes from the epoch, which a member that reads the head may lack."""
    statements = [SignedStatement(b"said", bytes(64))]
    (part,) = relay_roster.split(statements)
    one = relay_roster.part_id(bytes(32), part)
    name, secret = relay_names.roster_name(NAMES_KEY, one), epochs.roster_part_secret(SPACE, SECOND_SECRET, one)
    keys = epochs.relay_keys(SPACE, secret)
    data = seal_object(name, part, keys, NONCE)
    assert relay_roster.join([open_object(name, data, [keys])]) == statements
    assert damage(data, name) is Damage.UNKNOWN_KEY


def test_no_word_of_it_can_be_seen() -> None:
    """Collections, keys, fields and values; not compressed either."""
    words = [b"canary-collection", b"canary-key", b"canary-field", b"canary-value"]
    run = Run(b"o" * 16, 1, tuple(words), b"s" * 64)
    plaintext = relay_objects.encode(Segment(previous=bytes(32), runs=[run]))
    data = sealed(plaintext)
    assert all(word in plaintext for word in words)
    assert not any(word[at : at + 6] in data for word in words for at in range(len(word) - 5))
    assert bytes(16) not in data


@pytest.mark.parametrize("plaintext", [noise(OBJECT_BYTES), bytes(PLAIN_BYTES + 1)])
def test_what_is_too_large_is_not_sealed(plaintext: bytes) -> None:
    with pytest.raises(LocalProtocolError) as refused:
        sealed(plaintext)
    assert refused.value.code == "too-large"


def test_what_is_larger_than_an_object_is_not_looked_at() -> None:
    assert damage(bytes(OBJECT_BYTES + 1)) is Damage.UNREADABLE


@given(st.binary(max_size=400))
def test_fuzz_of_random_bytes(data: bytes) -> None:
    assert damage(b"\1" + data) in {Damage.UNREADABLE, Damage.UNKNOWN_KEY}


@given(st.data())
def test_fuzz_of_changed_bytes(data: st.DataObject) -> None:
    whole = sealed(noise(200))
    at = data.draw(st.integers(0, len(whole) - 1))
    end = data.draw(st.integers(at, len(whole)))
    changed = whole[:at] + data.draw(st.binary(max_size=100)) + whole[end:]
    if changed != whole:
        assert damage(changed) in {Damage.UNREADABLE, Damage.UNKNOWN_KEY}
