"""XAES-256-GCM against the vectors of its specification (C2SP, XAES-256-GCM.md)."""

from __future__ import annotations

from hashlib import shake_128

import pytest

from peerd.relay import xaes

NONCE = b"ABCDEFGHIJKLMNOPQRSTUVWX"
PUBLISHED = [
    (b"\1" * 32, b"", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"),
    (b"\3" * 32, b"c2sp.org/XAES-256-GCM", "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"),
]
ACCUMULATED_10_000 = "e6b9edf2df6cec60c8cbd864e2211b597fb69a529160cd040d56c0c210081939"


@pytest.mark.parametrize(("key", "associated", "ciphertext"), PUBLISHED)
def test_the_published_vectors_match(key: bytes, associated: bytes, ciphertext: str) -> None:
    assert xaes.encrypt(key, NONCE, b"XAES-256-GCM", associated).hex() == ciphertext
    assert xaes.decrypt(key, NONCE, bytes.fromhex(ciphertext), associated) == b"XAES-256-GCM"


def test_ten_thousand_random_messages_match() -> None:
    """The specification's accumulated test: inputs from one SHAKE-128 stream, ciphertexts into another."""
    rounds = 10_000
    stream = memoryview(shake_128(b"").digest(rounds * (32 + 24 + 2 * 256)))
    at = 0

    def take(count: int) -> bytes:
        nonlocal at
        at += count
        return bytes(stream[at - count : at])

    ciphertexts = shake_128()
    for _ in range(rounds):
        key, nonce = take(32), take(24)
        plaintext = take(take(1)[0])
        associated = take(take(1)[0])
        sealed = xaes.encrypt(key, nonce, plaintext, associated)
        assert xaes.decrypt(key, nonce, sealed, associated) == plaintext
        ciphertexts.update(sealed)
    assert ciphertexts.hexdigest(32) == ACCUMULATED_10_000


def test_whatever_is_changed_does_not_open() -> None:
    key = b"k" * 32
    sealed = xaes.encrypt(key, NONCE, b"letter", b"name")
    assert xaes.decrypt(b"K" + key[1:], NONCE, sealed, b"name") is None
    assert xaes.decrypt(key, b"a" + NONCE[1:], sealed, b"name") is None
    assert xaes.decrypt(key, NONCE[:-1] + b"x", sealed, b"name") is None
    assert xaes.decrypt(key, NONCE, sealed, b"other") is None
    assert xaes.decrypt(key, NONCE, sealed[:-1], b"name") is None
    assert xaes.decrypt(key, NONCE, b"", b"name") is None


@pytest.mark.parametrize(("key_bytes", "nonce_bytes"), [(16, 24), (32, 12)])
def test_a_key_or_nonce_of_another_size_is_a_mistake_of_ours(key_bytes: int, nonce_bytes: int) -> None:
    with pytest.raises(ValueError, match="a key has 32 bytes and a nonce 24"):
        xaes.encrypt(bytes(key_bytes), bytes(nonce_bytes), b"", b"")
