"""Heads on a relay: every member reads them, whatever it has missed, and nobody else does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from peerd import identity as identities
from peerd.core.padding import padded_size
from peerd.core.roster.epochs import RelayKeys
from peerd.core.roster.statements import SignedStatement
from peerd.errors import LocalProtocolError, RemoteProtocolError
from peerd.identity import Identity
from peerd.protocol.relay import objects as relay_objects
from peerd.protocol.relay.courier_steps import Damage
from peerd.protocol.relay.damage import damage_of
from peerd.protocol.relay.objects import Head, SignedHead
from peerd.relay import heads
from peerd.relay.heads import open_head, seal_head
from tests.relay.scene import FIRST, SECOND, SPACE, STREAM, Chance, a_head, head_name, identity, noise, signed

DESK, LAPTOP, PHONE = (identity(name) for name in ("desk", "laptop", "phone"))
NAME = head_name(DESK)
WRAPS_AT = 1 + 8 + 24 + 48 + 1


def sealed(
    head: Head | None = None,
    keys: RelayKeys = SECOND,
    members: Sequence[Identity] = (DESK, LAPTOP),
    seed: str = "chance",
    like: int = 0,
) -> bytes:
    return seal_head(
        NAME,
        signed(DESK, head or a_head()),
        SPACE,
        keys,
        [one.sealing_public_key for one in members],
        like=like,
        seal=identities.seal,
        chance=Chance(seed),
    )


def opened(
    data: bytes, who: Identity = LAPTOP, keys: Sequence[RelayKeys] = (), name: str = NAME, space: bytes = SPACE
) -> SignedHead:
    return open_head(name, data, space, keys, unseal=who.open)


def damage(data: bytes, **how: Any) -> Damage:
    with pytest.raises(RemoteProtocolError) as refused:
        opened(data, **how)
    return damage_of(refused.value)


def test_who_knows_the_epoch_opens_it_without_a_wrap() -> None:
    data = sealed(members=())
    assert opened(data, PHONE, (FIRST, SECOND)) == signed(DESK, a_head())


@pytest.mark.parametrize("keys", [(), (FIRST,)])
def test_a_member_opens_it_whatever_epochs_it_has_missed(keys: Sequence[RelayKeys]) -> None:
    """So it learns the roster inside, and with that the epoch."""
    assert opened(sealed(), LAPTOP, keys) == signed(DESK, a_head())


def test_its_author_opens_it_too() -> None:
    """A device that lost its memory sees what it wrote."""
    assert opened(sealed(), DESK) == signed(DESK, a_head())


def test_a_removed_device_opens_nothing_that_is_sealed_after() -> None:
    """It has the old epoch and its own key; both are of no use."""
    assert opened(sealed(keys=FIRST, members=(DESK, LAPTOP, PHONE)), PHONE, (FIRST,)) == signed(DESK, a_head())
    assert damage(sealed(), who=PHONE, keys=(FIRST,)) is Damage.UNKNOWN_KEY


def test_what_was_sealed_is_proven_by_its_signature() -> None:
    head = opened(sealed())
    said = relay_objects.head_signing_input(SPACE, head.device, head.data)
    assert Identity.verify(DESK.public_key, head.signature, said)
    assert relay_objects.decode_head(head.data) == a_head()


@pytest.mark.parametrize("members", [0, 1, 7, 8, 9, 16])
def test_the_number_of_wraps_says_little(members: int) -> None:
    data = sealed(members=[identity(str(number)) for number in range(members)])
    count = data[WRAPS_AT - 1] * 8
    assert count == -(-members // 8) * 8
    assert len(data) == padded_size(len(data))
    if members:
        assert opened(data, identity(str(members - 1))) == signed(DESK, a_head())


@pytest.mark.parametrize("like", [1, 8, 9, 20])
def test_one_for_a_single_reader_looks_like_that_of_all_members(like: int) -> None:
    """Its wrap is one among as many to nobody, in an order that says nothing."""
    usual = sealed(members=[identity(str(number)) for number in range(like)])
    data = sealed(members=[PHONE], like=like)
    assert len(data) == len(usual)
    assert data[WRAPS_AT - 1] == usual[WRAPS_AT - 1]
    assert opened(data, PHONE) == signed(DESK, a_head())
    assert damage(data, who=LAPTOP) is Damage.UNKNOWN_KEY


def wraps_of(data: bytes) -> list[bytes]:
    return [data[at : at + 80] for at in range(WRAPS_AT, WRAPS_AT + data[WRAPS_AT - 1] * 640, 80)]


def test_wraps_are_in_an_order_of_no_meaning_and_made_anew_each_time() -> None:
    one, two = wraps_of(sealed()), wraps_of(sealed())
    assert one == sorted(one)
    assert not set(one) & set(two)


def test_a_wrap_to_nobody_looks_like_any_other() -> None:
    """Random bytes would not: those of an X25519 key are a number below 2^255 - 19, and on the curve."""
    for wrap in wraps_of(sealed(members=[DESK])):
        assert len(wrap) == 80
        assert wrap[31] < 0x80
        x = int.from_bytes(wrap[:32], "little")
        prime = (1 << 255) - 19
        assert pow(x**3 + 486_662 * x**2 + x, (prime - 1) // 2, prime) == 1


def test_every_byte_counts() -> None:
    """To members with and without the epoch alike: nobody can take a wrap away without being noticed by the rest."""
    data = sealed()
    for at in [*range(WRAPS_AT + 1), *range(WRAPS_AT + 1, len(data), 29), len(data) - 1]:
        changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        assert damage(changed, keys=(SECOND,)) is Damage.UNREADABLE, at
        assert damage(changed) in {Damage.UNREADABLE, Damage.UNKNOWN_KEY}, at


def test_a_copy_that_is_not_complete_is_noticed() -> None:
    data = sealed()
    for kept in [*range(WRAPS_AT + 2), WRAPS_AT + 640, WRAPS_AT + 640 + 24, WRAPS_AT + 640 + 40, len(data) - 1]:
        assert damage(data[:kept], keys=(SECOND,)) is Damage.UNREADABLE
        filled = data[:kept].ljust(len(data), b"\0" if data[-1] else b"\1")  # never as it was, whatever HPKE drew
        assert damage(filled, keys=(SECOND,)) in {Damage.UNREADABLE, Damage.UNKNOWN_KEY}


def test_no_head_passes_for_that_of_another_device_or_space() -> None:
    data, other = sealed(), head_name(LAPTOP)
    assert damage(data, keys=(SECOND,), name=other) is Damage.UNKNOWN_KEY
    assert damage(data, name=other) is Damage.UNKNOWN_KEY
    assert damage(data, space=b"another space!!!") is Damage.UNKNOWN_KEY


def test_a_name_is_authenticated_whatever_its_hint_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "hint", lambda _keys, _name: b"the same")
    data = sealed()
    assert opened(data, keys=(SECOND,)) == signed(DESK, a_head())
    assert damage(data, keys=(SECOND,), name=head_name(LAPTOP)) is Damage.UNREADABLE


def test_a_wrap_is_of_no_use_in_another_head() -> None:
    """Neither is the key under the epoch."""
    data, other = sealed(), sealed(Head(2, 3, STREAM, 1, bytes(32)), seed="another")
    assert damage(data[:WRAPS_AT] + other[WRAPS_AT:], keys=(SECOND,)) is Damage.UNREADABLE
    assert damage(data[: WRAPS_AT + 640] + other[WRAPS_AT + 640 :]) is Damage.UNREADABLE


def test_what_opens_and_is_no_head_makes_no_sense() -> None:
    """A member can seal what it likes."""
    nonsense: Any = ["no head"]
    data = seal_head(NAME, nonsense, SPACE, SECOND, (), seal=identities.seal, chance=Chance())
    assert damage(data, keys=(SECOND,)) is Damage.MALFORMED


def test_a_wrap_around_something_else_is_no_key() -> None:
    data = sealed()
    wrap = identities.seal(LAPTOP.sealing_public_key, b"short", heads._info(SPACE, NAME)).ljust(80, b"\0")[:80]
    assert damage(data[:WRAPS_AT] + wrap + data[WRAPS_AT + 80 :]) in {Damage.UNREADABLE, Damage.UNKNOWN_KEY}
    with pytest.raises(RemoteProtocolError) as refused:
        open_head(NAME, data, SPACE, (), unseal=lambda _sealed, _info: b"short")
    assert refused.value.code == "relay-unknown-key"


def test_no_word_of_it_can_be_seen() -> None:
    """Device ids and names, public keys, streams, the space."""
    said = SignedStatement(b"canary of a device's name", bytes(64))
    head = Head(1, 2, b"canary of stream", 1, b"canary of a chain".ljust(32), statements=[said])
    data = sealed(head)
    assert opened(data).data.count(b"canary") == 3
    for word in (b"canary", SPACE, DESK.device, LAPTOP.device, DESK.public_key, LAPTOP.sealing_public_key):
        assert word not in data


def test_more_members_than_a_space_can_have_are_refused() -> None:
    with pytest.raises(LocalProtocolError):
        seal_head(
            NAME, signed(DESK, a_head()), SPACE, SECOND, [bytes(32)] * 1_025, seal=identities.seal, chance=Chance()
        )
    many = sealed()[: WRAPS_AT - 1] + b"\xff" + noise(300_000)
    assert damage(many) is Damage.UNREADABLE  # without trying two thousand of them


def test_the_largest_number_of_members_is_read() -> None:
    keys = [X25519PrivateKey.from_private_bytes(noise(32, str(at))).public_key().public_bytes_raw() for at in range(9)]
    members = [keys[at % 9] for at in range(1_024)]
    data = seal_head(NAME, signed(DESK, a_head()), SPACE, SECOND, members, seal=identities.seal, chance=Chance())
    assert opened(data, PHONE, (SECOND,)) == signed(DESK, a_head())


@given(st.binary(max_size=2_000))
def test_fuzz_of_random_bytes(data: bytes) -> None:
    assert damage(b"\1" + data, keys=(FIRST,)) in {Damage.UNREADABLE, Damage.UNKNOWN_KEY}


WHOLE = sealed()


@given(st.data())
def test_fuzz_of_changed_bytes(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(WHOLE) - 1))
    end = data.draw(st.integers(at, len(WHOLE)))
    changed = WHOLE[:at] + data.draw(st.binary(max_size=100)) + WHOLE[end:]
    if changed != WHOLE:
        assert damage(changed, keys=(SECOND,)) in {Damage.UNREADABLE, Damage.UNKNOWN_KEY}
