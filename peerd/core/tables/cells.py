"""Cells: values of SQLite as packed values, without losing a bit, and back.

NULL, int64, float64 and BLOB are msgpack's nil, int, float and bin. TEXT is a string, or, where its bytes are no UTF-8,
the extension type of `core.values`. NaN does not occur: SQLite stores it as NULL.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import TypeAlias

import msgspec

from peerd.core.values import TEXT_EXTENSION

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode

HASH_BYTES = 8
_hash = blake2b(digest_size=HASH_BYTES)

_PLAIN = frozenset({int, float, str, bytes, type(None)})


class BadText(msgspec.Struct, frozen=True):
    """TEXT that is not UTF-8."""

    data: bytes


Cell: TypeAlias = "int | float | str | bytes | BadText | None"


def pack_cell(cell: Cell) -> bytes:
    """The packed value of a cell."""
    return _encode(msgspec.msgpack.Ext(TEXT_EXTENSION, cell.data) if type(cell) is BadText else cell)


def pack_cells(cells: Sequence[Cell]) -> list[bytes]:
    """`pack_cell` of each."""
    return list(map(pack_cell if BadText in map(type, cells) else _encode, cells))


def unpack_cell(packed: bytes) -> Cell:
    """The cell that holds a packed value.

    Raises:
        ValueError: no cell can: it is a boolean, an array or a map.
    """
    value = _decode(packed)
    if type(value) in _PLAIN:
        return value  # type: ignore[no-any-return]  # a cell
    if isinstance(value, msgspec.msgpack.Ext) and value.code == TEXT_EXTENSION:
        return BadText(bytes(value.data))
    raise ValueError(f"{type(value).__name__} is no value of SQLite")


def cell_hash(cell: Cell) -> bytes:
    """8 bytes that tell a cell from another one: 1, 1.0 and '1' differ, and so do 0.0 and -0.0."""
    return packed_hash(pack_cell(cell))


def packed_hash(packed: bytes) -> bytes:
    """`cell_hash` of the cell that was packed."""
    hashed = _hash.copy()  # cheaper than a new one
    hashed.update(packed)
    return hashed.digest()
