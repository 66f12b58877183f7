"""The note of a harvest: what the file is told when the harvest is durable in the space.

It is kept with the transaction in the space's database, so its form is one that every later version reads.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec
from msgspec import Struct
from msgspec.msgpack import Ext

from peerd.core.clocks import Dot
from peerd.core.tables.cells import BadText
from peerd.core.values import TEXT_EXTENSION
from peerd.tables.exact import Row

PackedKey: TypeAlias = "tuple[Any, ...]"  # its cells as msgpack has them: see `core.tables.cells`

_encode = msgspec.msgpack.Encoder().encode
_decode_seen = msgspec.msgpack.Decoder(list[tuple[Any, ...]]).decode


class Shadowed(Struct, array_like=True, frozen=True, gc=False):
    """A shadow row to write; its key is packed. `seen` are the dots that its record showed before this harvest.
    `writes`: what of the record the harvest wrote: None nothing, () all of it, else the numbers of these columns.
    `earlier`: the versions that are remembered of it.
    """

    record: str
    key: PackedKey
    base: bytes
    seen: bytes
    rank: bytes | None
    flags: int
    writes: tuple[int, ...] | None = None
    earlier: bytes = b""


class TableNote(Struct, array_like=True):
    """What changes in the shadow of one table, and the marks (key, count) that were read. `flags` of records are
    set; `detached` are records whose key belongs to another one now. `touch` are keys to mark, `follow` are
    (column, its number, integers): rows with these are to be marked because what they refer to is another record.
    """

    number: int
    marks: list[tuple[PackedKey, int]] = []
    removed: list[str] = []
    detached: list[tuple[str, int]] = []
    written: list[Shadowed] = []
    flags: list[tuple[str, int]] = []
    touch: list[PackedKey] = []
    follow: list[tuple[str, int, list[int]]] = []


class Note(Struct, array_like=True):
    """`counter` is that of the file when it was harvested. `dangling` are the numbers of tables of which a row may
    refer to a row that is not there.
    """

    counter: int
    tables: list[TableNote]
    dangling: list[int] = []


_decode_note = msgspec.msgpack.Decoder(Note).decode


def encode_note(note: Note) -> bytes:
    return _encode(note)


def decode_note(data: bytes) -> Note:
    """Raises msgspec.MsgspecError: it is no note of ours."""
    return _decode_note(data)


def pack_key(key: Row) -> PackedKey:
    if BadText not in map(type, key):
        return key
    return tuple(Ext(TEXT_EXTENSION, cell.data) if isinstance(cell, BadText) else cell for cell in key)


def unpack_key(key: PackedKey) -> Row:
    if Ext not in map(type, key):
        return key
    return tuple(BadText(bytes(cell.data)) if isinstance(cell, Ext) else cell for cell in key)


def seen_dots(seen: bytes) -> frozenset[Dot]:
    """The dots in a shadow row's `d`."""
    return frozenset(Dot(one[0], one[1]) for one in _decode_seen(seen)) if seen else frozenset()


def seen_after(seen: bytes, dot: Dot, writes: tuple[int, ...] | None) -> bytes:
    """What a row has seen when `dot` wrote these columns of its record (see `Shadowed`).

    A dot of ours keeps the numbers of its columns as a third part. Once later ones wrote all of these it shows
    nothing any more and is left out, so that a row that is edited for ever has no more dots than columns.
    """
    if writes is None:
        return seen
    if not writes:
        return _encode([tuple(dot)])
    kept = []
    for one in _decode_seen(seen) if seen else []:
        left = tuple(number for number in one[2] if number not in writes) if len(one) > 2 else ()
        if len(one) <= 2 or left:
            kept.append((one[0], one[1], left) if left else (one[0], one[1]))
    kept.append((dot.origin, dot.seq, writes))
    return _encode(kept)
