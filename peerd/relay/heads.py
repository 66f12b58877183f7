"""Heads as a relay holds them: readable by every member, whatever keys it has missed, and by nobody else.

    [format 1] [hint 8] [nonce 24] [content key under the epoch 48]
    [n, 1 byte] [8 n wraps of 80 bytes each] [nonce 24] [ciphertext, with its tag]

A head has a content key of its own. Who knows the epoch opens that by it; who does not finds it in one of the wraps,
HPKE to the sealing key of each member: it learns the roster inside, and so the new epoch. A wrap names nobody. Their
number is a multiple of eight, of which some may be sealed to a key that nobody has, since random bytes could be told
from a point of the curve; their order is that of their bytes, which are random. All of it is authenticated with the
contents.
PROTOCOL.md, "Sealing".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import TypeAlias

from peerd.core.roster.epochs import RelayKeys
from peerd.errors import LocalProtocolError, RemoteProtocolError
from peerd.protocol.relay.objects import SignedHead, decode_signed_head, encode
from peerd.relay import xaes
from peerd.relay.packing import pack, unpack
from peerd.relay.sealing import FORMAT, HINT_BYTES, check_envelope, hint, unreadable

Seal: TypeAlias = Callable[[bytes, bytes, bytes], bytes]  # (X25519 key, plaintext, info)
Open: TypeAlias = Callable[[bytes, bytes], bytes]  # (sealed, info); raises RemoteProtocolError
Chance: TypeAlias = Callable[[int], bytes]  # so many random bytes

WRAP_BYTES = 80
WRAPS_STEP = 8
MOST_MEMBERS = 1_024

_KEY_TAG = b"peerd/1 relay head key\0"
_BODY_TAG = b"peerd/1 relay head body\0"
_WRAP_TAG = b"peerd/1 relay head wrap\0"
_KEY_AT = 1 + HINT_BYTES + xaes.NONCE_BYTES
_WRAPS_AT = _KEY_AT + xaes.KEY_BYTES + xaes.TAG_BYTES + 1


def seal_head(
    name: str,
    head: SignedHead,
    space: bytes,
    keys: RelayKeys,
    readers: Sequence[bytes],
    *,
    like: int = 0,
    seal: Seal,
    chance: Chance,
) -> bytes:
    """The head as it is written under this name. `readers` are the X25519 keys of everybody on the roster; if they are
    others, it is to look like one for `like` members.

    Raises LocalProtocolError "too-large" if it would not fit into an object.
    """
    if len(readers) > MOST_MEMBERS:
        raise LocalProtocolError(f"a head for {len(readers)} members", code="too-large")
    content_key, key_nonce, nonce = chance(xaes.KEY_BYTES), chance(xaes.NONCE_BYTES), chance(xaes.NONCE_BYTES)
    prefix = bytes([FORMAT]) + hint(keys, name)
    under_epoch = xaes.encrypt(keys.heads, key_nonce, content_key, _associated(_KEY_TAG, prefix, name))
    wraps = sorted(_wraps(content_key, readers, like, _info(space, name), seal, chance))
    outer = prefix + key_nonce + under_epoch + bytes([len(wraps) // WRAPS_STEP]) + b"".join(wraps)
    packed = pack(encode(head), len(outer) + xaes.NONCE_BYTES + xaes.TAG_BYTES)
    return outer + nonce + xaes.encrypt(content_key, nonce, packed, _associated(_BODY_TAG, outer, name))


def open_head(name: str, data: bytes, space: bytes, keys: Iterable[RelayKeys], *, unseal: Open) -> SignedHead:
    """Whose head it claims to be, and its bytes; the signature is yet to be looked at, with the roster inside.

    `keys` are those of every secret that we have; `unseal` opens what was sealed to our own X25519 key.

    Raises:
        RemoteProtocolError: "relay-unknown-key" if it was sealed neither under a secret of ours nor to us;
            "relay-unreadable" if it is damaged; "malformed" if it opens and makes no sense.
    """
    check_envelope(data, _WRAPS_AT)
    count = data[_WRAPS_AT - 1] * WRAPS_STEP
    nonce_at = _WRAPS_AT + count * WRAP_BYTES
    outer, nonce = data[:nonce_at], data[nonce_at : nonce_at + xaes.NONCE_BYTES]
    ciphertext = data[nonce_at + xaes.NONCE_BYTES :]
    if count > MOST_MEMBERS or len(ciphertext) <= xaes.TAG_BYTES:
        raise unreadable("it is shorter than it says")
    fitting = [one for one in keys if hint(one, name) == data[1 : 1 + HINT_BYTES]]
    content_key = _under_epoch(name, outer, fitting) if fitting else _sealed_to_us(outer, _info(space, name), unseal)
    packed = xaes.decrypt(content_key, nonce, ciphertext, _associated(_BODY_TAG, outer, name)) if content_key else None
    if packed is not None:
        return decode_signed_head(unpack(packed))
    if content_key is None and not fitting:
        raise RemoteProtocolError("A head on a relay is sealed to others.", code="relay-unknown-key")
    raise unreadable("it is not what was sealed")


def _wraps(
    content_key: bytes, readers: Sequence[bytes], like: int, info: bytes, seal: Seal, chance: Chance
) -> Iterator[bytes]:
    """One for each reader, and for nobody up to a multiple of eight."""
    for reader in readers:
        yield seal(reader, content_key, info)
    count = max(len(readers), like)
    for _ in range(count + -count % WRAPS_STEP - len(readers)):
        yield seal(chance(32), content_key, info)  # any 32 bytes are a key of X25519; this one has no owner


def _under_epoch(name: str, outer: bytes, fitting: Iterable[RelayKeys]) -> bytes | None:
    prefix, key_nonce = outer[: 1 + HINT_BYTES], outer[1 + HINT_BYTES : _KEY_AT]
    sealed, associated = outer[_KEY_AT : _WRAPS_AT - 1], _associated(_KEY_TAG, prefix, name)
    opened = (xaes.decrypt(one.heads, key_nonce, sealed, associated) for one in fitting)
    return next((one for one in opened if one is not None), None)


def _sealed_to_us(outer: bytes, info: bytes, unseal: Open) -> bytes | None:
    for at in range(_WRAPS_AT, len(outer), WRAP_BYTES):
        with suppress(RemoteProtocolError):  # somebody else's
            content_key = unseal(outer[at : at + WRAP_BYTES], info)
            return content_key if len(content_key) == xaes.KEY_BYTES else None
    return None


def _info(space: bytes, name: str) -> bytes:
    return _WRAP_TAG + space + bytes.fromhex(name)


def _associated(tag: bytes, outer: bytes, name: str) -> bytes:
    return tag + bytes.fromhex(name) + outer
