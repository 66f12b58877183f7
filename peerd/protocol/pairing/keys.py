"""The secrets of one pairing: SPAKE2 over the code, proofs over the whole conversation, boxes for what follows.

SPAKE2 (RFC 9382 in the form of the `spake2` library: Ed25519 group, SHA-256) turns the code into a key that both share
only if both used the same code *and* the same two device ids, as TLS showed them; an eavesdropper or a man in the
middle can test one code per conversation and no more. Everything else hangs on

    transcript = BLAKE2b-256(tag, joiner id, inviter id, HELLO, HELLO, SPAKE, SPAKE)     each preceded by its length

with the frames as they went over the wire, the joiner's before the inviter's: nonces, names and versions are proven
with the code. From (SPAKE2 key, transcript) HKDF-SHA256 (RFC 5869) derives one key per purpose and direction: two for
the proofs (HMAC-SHA256 of the transcript), two for the boxes (ChaCha20-Poly1305, nonce = a counter per direction,
associated data = the message type). So nothing can be replayed, reordered, reflected or moved to another message.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from hmac import compare_digest, digest

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from spake2 import SPAKE2_A, SPAKE2_B, SPAKEError
from spake2.ed25519_basic import NotOnCurve

from peerd.protocol.pairing.messages import bad_message

Entropy = Callable[[int], bytes]

_TRANSCRIPT_TAG = b"peerd/1 pairing\0"
_JOINER_TAG = b"peerd/1 pair join\0"
_INVITER_TAG = b"peerd/1 pair invite\0"


class Exchange:
    """One side of SPAKE2. `outbound` is to be sent; `key` takes what came, once."""

    def __init__(self, *, joins: bool, code: str, joiner: bytes, inviter: bytes, entropy: Entropy) -> None:
        side = SPAKE2_A if joins else SPAKE2_B
        self._spake = side(
            code.encode("ascii"), idA=_JOINER_TAG + joiner, idB=_INVITER_TAG + inviter, entropy_f=entropy
        )
        self.outbound: bytes = self._spake.start()

    def key(self, inbound: bytes) -> bytes:
        """The key that both sides have if they used the same code and ids.

        Raises:
            RemoteProtocolError: "bad-message" if this is no message of the other side.
        """
        try:
            key: bytes = self._spake.finish(inbound)
        except (SPAKEError, NotOnCurve, ValueError) as error:
            raise bad_message("it is no SPAKE2 message of the other side") from error
        return key


class Secrets:
    """What follows from the key of the exchange and the conversation so far."""

    def __init__(self, key: bytes, *said: bytes) -> None:
        parts = b"".join(len(part).to_bytes(4, "big") + part for part in said)
        self.transcript = blake2b(_TRANSCRIPT_TAG + parts, digest_size=32).digest()
        self._key = key

    def proof(self, *, joins: bool) -> bytes:
        """What the joiner, or the inviter, sends as CONFIRM."""
        return digest(self._derive(b"confirm", joins=joins), self.transcript, "sha256")

    def proves(self, mac: bytes, *, joins: bool) -> bool:
        return compare_digest(mac, self.proof(joins=joins))

    def box(self, *, joins: bool) -> Box:
        """The sealing of what the joiner, or the inviter, sends after the proofs."""
        return Box(self._derive(b"seal", joins=joins))

    def _derive(self, purpose: bytes, *, joins: bool) -> bytes:
        info = b"peerd/1 pair " + purpose + (b" join" if joins else b" invite")
        return HKDF(SHA256(), 32, self.transcript, info).derive(self._key)


class Box:
    """One direction of sealed messages. Without a key (devices that named each other) TLS alone protects them."""

    def __init__(self, key: bytes | None = None) -> None:
        self._cipher = ChaCha20Poly1305(key) if key else None
        self._count = 0

    def seal(self, kind: int, plain: bytes) -> bytes:
        if self._cipher is None:
            return plain
        return self._cipher.encrypt(self._nonce(), plain, bytes([kind]))

    def open(self, kind: int, sealed: bytes) -> bytes:
        """What was sealed as the next message of this kind.

        Raises:
            RemoteProtocolError: "bad-message" if it was not.
        """
        if self._cipher is None:
            return sealed
        try:
            return self._cipher.decrypt(self._nonce(), sealed, bytes([kind]))
        except InvalidTag as error:
            raise bad_message("a sealed part does not open") from error

    def _nonce(self) -> bytes:
        self._count += 1
        return (self._count - 1).to_bytes(12, "big")
