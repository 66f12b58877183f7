"""XAES-256-GCM (C2SP, XAES-256-GCM.md): AES-256-GCM with a nonce of 24 bytes, so that every object takes a random one.

A message key comes from the first 12 bytes of the nonce, by CMAC in counter mode (NIST SP 800-108); the other 12 are
the nonce of GCM. Random nonces are safe for 2^80 messages under one key, so there is no counter that a restored backup
could repeat.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.cmac import CMAC

KEY_BYTES = 32
NONCE_BYTES = 24
TAG_BYTES = 16
_DERIVING_BYTES = 12


def encrypt(key: bytes, nonce: bytes, plaintext: bytes, associated: bytes) -> bytes:
    """The ciphertext, with its tag of 16 bytes at the end. ValueError for a key or nonce of another size."""
    return _message_cipher(key, nonce).encrypt(nonce[_DERIVING_BYTES:], plaintext, associated)


def decrypt(key: bytes, nonce: bytes, ciphertext: bytes, associated: bytes) -> bytes | None:
    """The plaintext; None if any of the four is not what it was. ValueError for a key or nonce of another size."""
    try:
        return _message_cipher(key, nonce).decrypt(nonce[_DERIVING_BYTES:], ciphertext, associated)
    except InvalidTag:
        return None


def _message_cipher(key: bytes, nonce: bytes) -> AESGCM:
    if len(key) != KEY_BYTES or len(nonce) != NONCE_BYTES:
        raise ValueError(f"a key has {KEY_BYTES} bytes and a nonce {NONCE_BYTES}")
    halves = []
    for counter in (1, 2):
        mac = CMAC(AES256(key))
        mac.update(counter.to_bytes(2, "big") + b"X\0" + nonce[:_DERIVING_BYTES])
        halves.append(mac.finalize())
    return AESGCM(b"".join(halves))
