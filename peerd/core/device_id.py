"""Who a device is: the SHA-256 of its Ed25519 public key, and how a person writes that down.

The hash is taken over the DER SubjectPublicKeyInfo (RFC 8410), not over a certificate, so that a certificate
can be made anew without changing who the device is.

Text form: base32 (RFC 4648) without padding, 52 characters, in four blocks of 13 that each end in a check
character (Luhn mod N with N = 32), shown as eight groups of seven:

    AAAQEAY-EAUDAO5-CAJBIFQ-YDIOB4X-IBCEQTC-QKRMFYM-YDENBWH-A5DYPQS      (the bytes 0 to 31)

A check character finds every single wrong character of its block and nearly every swap of two neighbours.
"""

from __future__ import annotations

from base64 import b32decode, b32encode
from functools import lru_cache
from hashlib import sha256

from peerd.errors import UserError

PUBLIC_KEY_BYTES = 32
DEVICE_ID_BYTES = 32

_SPKI_PREFIX = bytes.fromhex("302a300506032b6570032100")  # DER of a SubjectPublicKeyInfo with the Ed25519 OID
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_VALUE = {character: value for value, character in enumerate(_ALPHABET)}
_MISREAD = str.maketrans("018", "OIB")
_BLOCK = 13
_GROUP = 7
_CHARACTERS = 56
_SHORT = 8
_WRITTEN = 256  # ids whose text is kept: each event of a feed names its author


def device_id(public_key: bytes) -> bytes:
    """The id (32 bytes) of the device that owns this raw Ed25519 public key (32 bytes); else ValueError."""
    if len(public_key) != PUBLIC_KEY_BYTES:
        raise ValueError(f"an Ed25519 public key has {PUBLIC_KEY_BYTES} bytes, not {len(public_key)}")
    return sha256(_SPKI_PREFIX + public_key).digest()


def format_device_id(device: bytes) -> str:
    """The id as people see it: 56 characters in groups of seven. ValueError unless it has 32 bytes."""
    characters = _checked(device)
    return "-".join(characters[start : start + _GROUP] for start in range(0, _CHARACTERS, _GROUP))


def short_id(device: bytes) -> str:
    """The first eight characters: enough to tell one's own devices apart, never enough to trust one."""
    return _checked(device)[:_SHORT]


def parse_device_id(text: str) -> bytes:
    """The id that a person typed. Case, "-" and spaces do not count, and 0, 1, 8 are read as O, I, B.
    UserError "bad-device-id", which says what is wrong with it, for anything that is not a whole device id.
    """
    characters = "".join(text.split()).replace("-", "").upper().translate(_MISREAD)
    if len(characters) != _CHARACTERS:
        raise _bad(f"a device id has {_CHARACTERS} characters, this has {len(characters)}")
    unknown = sorted(set(characters) - set(_ALPHABET))
    if unknown:
        raise _bad(f"a device id has no character {unknown[0]!r}")
    data = ""
    for start in range(0, _CHARACTERS, _BLOCK + 1):
        block, check = characters[start : start + _BLOCK], characters[start + _BLOCK]
        if _check_character(block) != check:
            groups = f"{start // _GROUP + 1} and {start // _GROUP + 2}"
            raise _bad(f"groups {groups} of the device id do not belong together")
        data += block
    device = b32decode(data + "====")
    if _checked(device) != characters:  # 52 characters hold 260 bits; the four beyond the hash must be zero
        raise _bad("the last characters are not those of a device id")
    return device


@lru_cache(maxsize=_WRITTEN)
def _checked(device: bytes) -> str:
    if len(device) != DEVICE_ID_BYTES:
        raise ValueError(f"a device id has {DEVICE_ID_BYTES} bytes, not {len(device)}")
    data = b32encode(device).decode("ascii").rstrip("=")
    blocks = [data[start : start + _BLOCK] for start in range(0, len(data), _BLOCK)]
    return "".join(block + _check_character(block) for block in blocks)


def _check_character(block: str) -> str:
    """Luhn mod N (ISO/IEC 7812-1 annex B with N = 32): every second value doubled, the last one first."""
    total = 0
    for place, character in enumerate(reversed(block)):
        doubled = _VALUE[character] * (2 - place % 2)
        total += doubled // 32 + doubled % 32
    return _ALPHABET[-total % 32]


def _bad(reason: str) -> UserError:
    return UserError(
        f"Not a device id: {reason}.",
        code="bad-device-id",
        next_step="Copy it from `peerctl device` on that device.",
    )
