"""The commonest entry of all: one record is put, with nothing unusual about it.

Of a bulk nearly every entry is like that, and then the bytes of its fields are those of the record that it makes. So
they are looked at once and kept as they are; nobody takes them apart unless that record turns out to exist.
"""

from __future__ import annotations

from msgspec import Struct

from peerd.core.entry import NOT_ORDINARY, Change, Entry, Head, Kind, changes_of, decode, decode_ordinary
from peerd.core.record_form import encode_lone

_LARGE_BYTES = 64 << 10  # from there on, looking twice is more than it may save


class PlainPut(Struct, frozen=True, gc=False):
    """Such an entry, checked. `body` is the record in its stored form, if there was none before."""

    data: bytes
    t_ms: int
    tq: int
    record: tuple[str, str]
    body: bytes

    @property
    def delta(self) -> tuple[Head, ...]:
        return ()

    @property
    def records(self) -> tuple[tuple[str, str], ...]:
        return (self.record,)

    @property
    def changes(self) -> tuple[Change, ...]:
        return changes_of(self.data)


def read(data: bytes) -> Entry | PlainPut:
    """As `entry.decode`, with the same errors."""
    if len(data) < _LARGE_BYTES:
        try:
            plain = _plain_put(data)
        except NOT_ORDINARY:
            plain = None
        if plain is not None:
            return plain
    return decode(data)


def _plain_put(data: bytes) -> PlainPut | None:
    ordinary = decode_ordinary(data)
    change = ordinary.changes[0]
    if len(ordinary.changes) > 1 or change.kind != Kind.PUT:
        return None
    body = encode_lone(change.fields())
    if body[2:] != bytes(change.set):  # names out of order, or a value in a longer form than it needs: it is kept so
        return None
    return PlainPut(data, ordinary.t_ms, ordinary.tq, (change.collection, change.key), body)
