"""What an announcement on the local network says, and who can read it.

An announcement is a hint that somebody may be reached at some addresses. It names nobody: it carries a random
nonce and, for each space its sender is a member of, a tag

    tag = first 8 bytes of HMAC-SHA256(discovery key of the space, nonce || device id)        (RFC 2104)

A member of the space holds the key, knows the device ids of the roster and finds the sender by computing; a
stranger sees random bytes that change with the nonce. A tag is no proof: anyone may repeat one while it is on the
air. Who answers at the address is settled by the handshake.

It travels as a TXT record (RFC 6763 section 6):

    v=1                the version
    n=<32 hex>         the nonce
    t=<16 hex each>    the tags without separators, in the order of their bytes; absent if there are none
    p=<name>           only while its owner has opened a pairing window: what to show to the other person

Keys a reader does not know are ignored. Everything else it does not understand makes the record worthless.
"""

from __future__ import annotations

import hmac
import unicodedata
from binascii import Error as NotHexError
from binascii import unhexlify
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

NONCE_BYTES = 16
TAG_BYTES = 8
MAX_TAGS = 8
MAX_NAME_BYTES = 63

_VERSION = b"1"


class Announcement(msgspec.Struct, frozen=True):
    """What a device says about itself: `pairing_name` is None unless it is waiting for somebody to pair."""

    nonce: bytes
    tags: tuple[bytes, ...] = ()
    pairing_name: str | None = None


def make_tag(discovery_key: bytes, nonce: bytes, device: bytes) -> bytes:
    """The 8 bytes by which a member of the space recognises `device` under `nonce`."""
    return hmac.digest(discovery_key, nonce + device, "sha256")[:TAG_BYTES]


def recognise(
    announcement: Announcement, candidates: Iterable[tuple[bytes, bytes, bytes]]
) -> list[tuple[bytes, bytes]]:
    """Who may have sent it: the (device, space) of every candidate (device, space, discovery key) with a tag in it.

    A space has a candidate per key, so that the previous key counts after a rotation; each pair is named once.
    """
    tags = frozenset(announcement.tags)
    if not tags:
        return []
    known = {
        (device, space): None for device, space, key in candidates if make_tag(key, announcement.nonce, device) in tags
    }
    return list(known)


def encode_txt(announcement: Announcement) -> dict[bytes, bytes]:
    """The entries of the TXT record.

    Raises:
        ValueError: the nonce or a tag has the wrong size, or there are more than `MAX_TAGS`: a bug of the caller.
    """
    tags = announcement.tags
    if len(announcement.nonce) != NONCE_BYTES or len(tags) > MAX_TAGS or any(len(tag) != TAG_BYTES for tag in tags):
        raise ValueError(f"an announcement has {NONCE_BYTES} bytes of nonce and at most {MAX_TAGS} tags")
    entries = {b"v": _VERSION, b"n": announcement.nonce.hex().encode()}
    if tags:
        # Sorted, so that the position of a tag does not say which of a device's spaces it belongs to.
        entries[b"t"] = b"".join(sorted(tags)).hex().encode()
    if announcement.pairing_name is not None:
        entries[b"p"] = clean_name(announcement.pairing_name).encode()
    return entries


def parse_txt(entries: Mapping[bytes, bytes | None]) -> Announcement | None:
    """The announcement in the entries of a stranger's TXT record, or None if it is not one of ours."""
    if entries.get(b"v") != _VERSION:
        return None
    nonce = _unhex(entries.get(b"n"), NONCE_BYTES, NONCE_BYTES)
    tags = _unhex(entries[b"t"], TAG_BYTES, TAG_BYTES * MAX_TAGS) if b"t" in entries else b""
    if nonce is None or tags is None:
        return None
    name: str | None = None
    if b"p" in entries:
        raw = entries[b"p"] or b""
        if len(raw) > MAX_NAME_BYTES:
            return None
        try:
            name = clean_name(raw.decode())
        except UnicodeDecodeError:
            return None
    return Announcement(
        nonce, tuple(tags[i : i + TAG_BYTES] for i in range(0, len(tags), TAG_BYTES)), pairing_name=name
    )


def clean_name(name: str) -> str:
    """A name that is safe to show: no control, format or private characters, at most `MAX_NAME_BYTES` as UTF-8."""
    spaced = "".join(" " if unicodedata.category(c)[0] == "Z" or c in "\t\r\n" else c for c in name)
    shown = "".join(c for c in spaced if unicodedata.category(c)[0] != "C")
    cut = " ".join(shown.split()).encode()[:MAX_NAME_BYTES]
    return cut.decode(errors="ignore").strip()


def _unhex(text: bytes | None, least: int, most: int) -> bytes | None:
    """The bytes of a hex string whose length is a multiple of `least` and at most `most`; None for anything else."""
    if text is None or not 0 < len(text) <= 2 * most or len(text) % (2 * least):
        return None
    try:
        return unhexlify(text)
    except NotHexError:
        return None
