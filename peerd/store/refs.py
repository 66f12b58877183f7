"""Small numbers for origins and collections: what stands in the rows instead of 16 bytes and a name."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

_encode = msgspec.msgpack.Encoder().encode
_decode_stamps = msgspec.msgpack.Decoder(list[list[Any]]).decode
_decode_flat = msgspec.msgpack.Decoder(list[Any]).decode


class Refs:
    """The numbers that are given. A transaction gives new ones to itself and publishes them when it has committed.

    `origin_of` is the exception: it learns a number when it is given. That is safe, since nobody can read a row with
    that number before the commit, and a number whose transaction fails is given again and overwritten.
    """

    def __init__(self) -> None:
        self.origin_of: dict[int, bytes] = {}
        self.ref_of: dict[bytes, int] = {}
        self.number_of: dict[str, int] = {}
        self.lead_of: dict[bytes, bytes] = {}  # as `row_shares` has met them

    def load(self, connection: sqlite3.Connection) -> None:
        self.origin_of = dict(connection.execute("SELECT ref, id FROM origin"))
        self.ref_of = {origin: ref for ref, origin in self.origin_of.items()}
        self.number_of = dict(connection.execute("SELECT name, number FROM collection"))
        self.lead_of = {}

    def decode_stamps(self, data: bytes) -> list[list[Any]]:
        """The inverse.

        Raises:
            ValueError, LookupError, TypeError: the bytes are damaged.
        """
        rows = _decode_stamps(data)
        origin_of = self.origin_of
        for row in rows:
            row[0] = origin_of[row[0]]
            if len(row) > 4 and isinstance(row[4][0], int):
                row[4][0] = origin_of[row[4][0]]
        return rows

    def encode_clock(self, clock: Mapping[bytes, int], ref_of: Mapping[bytes, int]) -> bytes:
        """A clock as [ref, seq, ref, seq, ...]."""
        flat: list[Any] = []
        for origin, seq in clock.items():
            flat += (ref_of.get(origin, origin), seq)
        return _encode(flat)

    def decode_clock(self, data: bytes) -> dict[bytes, int]:
        """The inverse, with the same errors as `decode_stamps`."""
        flat = _decode_flat(data)
        return {
            self.origin_of[ref] if isinstance(ref, int) else ref: seq
            for ref, seq in zip(flat[::2], flat[1::2], strict=True)
        }


def stamps_encoder(ref_of: Mapping[bytes, int]) -> Callable[[list[list[Any]]], bytes]:
    """A function that gives the stored form of stamps as `record_form` makes them. It does not change them: the digest
    is made of the same lists.
    """

    def encode(rows: list[list[Any]]) -> bytes:
        if len(rows) == 1 and len(rows[0]) == 4:
            origin, seq, t_ms, tq = rows[0]
            return _encode(((ref_of[origin], seq, t_ms, tq),))
        return _encode([_with_refs(row, ref_of) for row in rows])

    return encode


def _with_refs(row: list[Any], ref_of: Mapping[bytes, int]) -> list[Any]:
    stored = [ref_of[row[0]], *row[1:4]]
    if len(row) > 4:
        # A restore may name the delete of an origin that never reached us: that one keeps its 16 bytes.
        origin, seq = row[4]
        stored.append([ref_of.get(origin, origin), seq])
    return stored
