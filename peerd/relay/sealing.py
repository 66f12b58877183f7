"""Segments, parts of snapshots and parts of rosters as a relay holds them: sealed under a secret of the space.

    [format 1] [hint 8] [nonce 24] [ciphertext, with its tag]

The hint is a keyed hash of the object's name under the secret: a reader finds the secret by it, while two objects of
one secret have nothing in common. Name, format and hint are authenticated, so that no object passes for another. What
is inside: `packing`. Heads, which must also be read by members who lack the secret: `heads`. PROTOCOL.md, "Sealing".
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

from peerd.core.roster.epochs import RelayKeys
from peerd.errors import RemoteProtocolError
from peerd.protocol.relay.objects import OBJECT_BYTES
from peerd.relay import xaes
from peerd.relay.packing import pack, unpack

FORMAT = 1
HINT_BYTES = 8

_OBJECT_TAG = b"peerd/1 relay object\0"
_PREFIX_BYTES = 1 + HINT_BYTES
_CIPHERTEXT_AT = _PREFIX_BYTES + xaes.NONCE_BYTES
_AROUND_BYTES = _CIPHERTEXT_AT + xaes.TAG_BYTES


def seal_object(name: str, plaintext: bytes, keys: RelayKeys, nonce: bytes) -> bytes:
    """The object as it is created under this name. `nonce` is 24 random bytes, never used before.

    Raises LocalProtocolError "too-large" if it would not fit into an object.
    """
    prefix = bytes([FORMAT]) + hint(keys, name)
    packed = pack(plaintext, _AROUND_BYTES)
    return prefix + nonce + xaes.encrypt(keys.objects, nonce, packed, _associated(prefix, name))


def open_object(name: str, data: bytes, keys: Iterable[RelayKeys]) -> bytes:
    """The plaintext of what a relay holds under this name, with the keys of every secret that we have.

    Raises:
        RemoteProtocolError: "relay-unknown-key" if no secret of ours has its hint: it was sealed under one that we
            lack, or it is another object; "relay-unreadable" if it is damaged; "malformed" if it opens and makes no
            sense.
    """
    check_envelope(data, _AROUND_BYTES)
    prefix, nonce = data[:_PREFIX_BYTES], data[_PREFIX_BYTES:_CIPHERTEXT_AT]
    fitting = [one for one in keys if hint(one, name) == prefix[1:]]
    if not fitting:
        raise RemoteProtocolError(
            "An object of a relay is sealed under a key of the space that this device does not have.",
            code="relay-unknown-key",
        )
    for one in fitting:
        packed = xaes.decrypt(one.objects, nonce, data[_CIPHERTEXT_AT:], _associated(prefix, name))
        if packed is not None:
            return unpack(packed)
    raise unreadable("it is not what was sealed")


def hint(keys: RelayKeys, name: str) -> bytes:
    """By which a reader finds the secret of the object with this name."""
    return blake2b(bytes.fromhex(name), key=keys.hints, digest_size=32).digest()[:HINT_BYTES]


def check_envelope(data: bytes, least_bytes: int) -> None:
    """Could it be an object at all? Raises RemoteProtocolError "relay-unreadable"."""
    if not least_bytes < len(data) <= OBJECT_BYTES:
        raise unreadable(f"it has {len(data)} bytes")
    if data[0] != FORMAT:
        raise unreadable(f"it is of format {data[0]}, and this version knows format {FORMAT}")


def unreadable(why: str) -> RemoteProtocolError:
    return RemoteProtocolError(f"An object of a relay cannot be opened: {why}.", code="relay-unreadable")


def _associated(prefix: bytes, name: str) -> bytes:
    return _OBJECT_TAG + prefix + bytes.fromhex(name)
