"""Sealing as the engine asks for it: with this device's key to open what was sealed to it, and chance for nonces."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from peerd.core.roster.epochs import RelayKeys
from peerd.protocol.relay.objects import SignedHead
from peerd.relay import heads, sealing
from peerd.relay.heads import Chance, Open, Seal
from peerd.relay.xaes import NONCE_BYTES


class Sealer:
    """`seal` is HPKE to anybody, `unseal` opens what was sealed to us, `chance` gives random bytes."""

    def __init__(self, seal: Seal, unseal: Open, chance: Chance) -> None:
        self._seal = seal
        self._unseal = unseal
        self._chance = chance

    def seal_object(self, name: str, plaintext: bytes, keys: RelayKeys) -> bytes:
        return sealing.seal_object(name, plaintext, keys, self._chance(NONCE_BYTES))

    def open_object(self, name: str, data: bytes, keys: Iterable[RelayKeys]) -> bytes:
        return sealing.open_object(name, data, keys)

    def seal_head(
        self, name: str, head: SignedHead, space: bytes, keys: RelayKeys, readers: Sequence[bytes], like: int = 0
    ) -> bytes:
        return heads.seal_head(name, head, space, keys, readers, like=like, seal=self._seal, chance=self._chance)

    def open_head(self, name: str, data: bytes, space: bytes, keys: Iterable[RelayKeys]) -> SignedHead:
        return heads.open_head(name, data, space, keys, unseal=self._unseal)
