"""A snapshot: the state of a copy and the clock that it stands at, in parts of a bounded size.

    Begin      whose space it is, and how much will come
    Origins    where each origin stood when the reading began: announcement, position, hash, signature, context
    Ends       hashes of earlier run ends, so that two copies find out whether they share a history
    Records    in the order of their keys, as they are stored, each as it was when it was read
    Runs       the log from the clock of `Origins` on, as far as the reading of the last record went
    Piece      of one of these, where a single record or run is larger than a part
    End        what stands in the end, for comparison

Records are read while writes go on, so the rows alone are no state. Applying the runs to them makes one: the state at
the clock in which the runs end. A clock from the end of the reading would claim deletes that the first rows miss.

A number stands for an origin; the numbers are the snapshot's own. PROTOCOL.md, "Snapshots".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, TypeAlias, TypeVar

import msgspec
from msgspec import Meta, Struct, field

from peerd.core.chain import Run
from peerd.core.digest import BUCKETS
from peerd.core.limits import CONTEXT_ORIGINS, ENTRY_BYTES, INT64_MAX
from peerd.core.origin import Announcement, Id16, Id32
from peerd.errors import LocalProtocolError, RemoteProtocolError

PART_BYTES = 400 << 10
ITEM_BYTES = 2 * ENTRY_BYTES + (1 << 20)  # what pieces may be put together to
ROW_BYTES = 16  # what a record takes besides its key, stamps and body; never more
ENDS_PER_ORIGIN = 1_000
LEVEL = 2  # of a snapshot that says what its maker's copy owes

T = TypeVar("T")

_PIECE_BYTES = PART_BYTES - 64
_FILL_BYTES = PART_BYTES - (8 << 10)  # of what is counted; the rest is for how it is written

Seq = Annotated[int, Meta(ge=0, le=INT64_MAX)]
Number = Annotated[int, Meta(ge=0, le=1 << 31)]
Bucket = Annotated[int, Meta(ge=0, lt=BUCKETS)]
Hash8 = Annotated[bytes, Meta(min_length=8, max_length=8)]
SnapshotClock: TypeAlias = Annotated[dict[Id16, Seq], Meta(max_length=CONTEXT_ORIGINS)]
if TYPE_CHECKING:
    Body: TypeAlias = bytes | bytearray
else:
    Body = bytearray  # of what comes in: it is bound to statements as it is, see `store.records`
StoredRow: TypeAlias = tuple[str, bytes, Body]  # key; stamps with numbers for origins; body


class Begin(Struct, frozen=True, tag_field="k", tag=0, omit_defaults=True):
    """`records` and `origins` are how many will come, and `record_bytes` what the records take, about; `level` is what
    whoever takes it in has to know.
    """

    space: Id16 = field(name="s")
    level: Annotated[int, Meta(ge=1)] = field(name="l", default=1)
    records: Seq = field(name="n", default=0)
    origins: Annotated[int, Meta(ge=0, le=CONTEXT_ORIGINS)] = field(name="o", default=0)
    record_bytes: Seq = field(name="b", default=0)


class OriginEnd(Struct, frozen=True, array_like=True):
    """Where an origin stood. `signature` is of the run that ended there, empty if it had written nothing."""

    number: Number
    announcement: Announcement
    seq: Seq
    head: Id32
    signature: Annotated[bytes, Meta(max_length=64)]
    context: SnapshotClock


class Origins(Struct, frozen=True, tag_field="k", tag=1):
    origins: Annotated[list[OriginEnd], Meta(max_length=CONTEXT_ORIGINS)] = field(name="o")


class EndsOf(Struct, frozen=True, array_like=True):
    """Positions of runs of one origin that ended before, in rising order, with the first bytes of their hashes."""

    number: Number
    ends: Annotated[list[tuple[Seq, Hash8]], Meta(max_length=ENDS_PER_ORIGIN)]


class Ends(Struct, frozen=True, tag_field="k", tag=2):
    ends: Annotated[list[EndsOf], Meta(max_length=CONTEXT_ORIGINS)] = field(name="e")


class Group(Struct, frozen=True, array_like=True):
    """Records of one collection."""

    collection: str
    rows: list[StoredRow]


class Records(Struct, frozen=True, tag_field="k", tag=3, omit_defaults=True):
    """`origins` are those that these records name and that no part before has."""

    groups: list[Group] = field(name="g")
    origins: Annotated[list[tuple[Number, Announcement]], Meta(max_length=CONTEXT_ORIGINS)] = field(
        name="o", default_factory=list
    )


class Runs(Struct, frozen=True, tag_field="k", tag=4, omit_defaults=True):
    """Runs in an order in which they can be applied."""

    runs: list[Run] = field(name="r")
    origins: Annotated[list[tuple[Number, Announcement]], Meta(max_length=CONTEXT_ORIGINS)] = field(
        name="o", default_factory=list
    )


class Piece(Struct, frozen=True, tag_field="k", tag=5):
    """`number` of `count` pieces, from 0, of one encoded part."""

    number: Annotated[int, Meta(ge=0, le=1 << 10)] = field(name="i")
    count: Annotated[int, Meta(ge=2, le=1 << 10)] = field(name="n")
    data: bytes = field(name="b")


class End(Struct, frozen=True, tag_field="k", tag=6, omit_defaults=True):
    """What whoever took everything in must have: the digest of the space, and how many records. `owed`: by how much the
    maker's copy is known to differ from what was written, for every bucket of the digest in which it does.
    """

    digest: Annotated[bytes, Meta(min_length=16, max_length=16)] = field(name="d")
    records: Seq = field(name="n")
    owed: Annotated[list[tuple[Bucket, Hash8]], Meta(max_length=BUCKETS)] = field(name="u", default_factory=list)


Part: TypeAlias = Begin | Origins | Ends | Records | Runs | End

_encode = msgspec.msgpack.Encoder().encode
_decoder: msgspec.msgpack.Decoder[Part | Piece] = msgspec.msgpack.Decoder(Part | Piece)


def encode(part: Part) -> list[bytes]:
    """The part as it travels: one piece of bytes, or several, each at most PART_BYTES.

    Raises:
        LocalProtocolError: "snapshot-too-large", a record or a run is larger than anybody may take in.
    """
    data = _encode(part)
    if len(data) <= PART_BYTES:
        return [data]
    if len(data) > ITEM_BYTES:
        raise LocalProtocolError(
            f"something in a snapshot takes {len(data) >> 20} MiB; others take up to {ITEM_BYTES >> 20}",
            code="snapshot-too-large",
        )
    cut = [data[at : at + _PIECE_BYTES] for at in range(0, len(data), _PIECE_BYTES)]
    return [_encode(Piece(number, len(cut), piece)) for number, piece in enumerate(cut)]


class Joiner:
    """Puts parts together as they come. `pending` counts the pieces that wait for the rest of theirs."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size_bytes = 0

    @property
    def pending(self) -> int:
        return len(self._pieces)

    def take(self, data: bytes) -> Part | None:
        """The part that is complete with `data`; None if pieces of it are still to come.

        Raises:
            RemoteProtocolError: these bytes are no part, or have no place here.
        """
        if len(data) > PART_BYTES:
            raise RemoteProtocolError("a part of a snapshot is too large", code="too-large", close_code=4413)
        part = _decoded(data)
        if not isinstance(part, Piece):
            if self._pieces:
                raise _malformed("pieces are missing")
            return part
        if part.number != len(self._pieces) or part.number >= part.count:
            raise _malformed("its pieces are out of order")
        self._size_bytes += len(part.data)
        if self._size_bytes > ITEM_BYTES:
            raise RemoteProtocolError("an item of a snapshot is too large", code="too-large", close_code=4413)
        self._pieces.append(part.data)
        if part.number < part.count - 1:
            return None
        whole, self._pieces, self._size_bytes = b"".join(self._pieces), [], 0
        joined = _decoded(whole)
        if isinstance(joined, Piece):
            raise _malformed("a piece holds pieces")
        return joined


def portions(items: Iterable[tuple[int, T]]) -> Iterator[list[T]]:
    """Items with their sizes, in order, as many at a time as fit into a part."""
    filled: list[T] = []
    size_bytes = 0
    for item_bytes, item in items:
        if filled and size_bytes + item_bytes > _FILL_BYTES:
            yield filled
            filled, size_bytes = [], 0
        filled.append(item)
        size_bytes += item_bytes
    if filled:
        yield filled


def row_bytes(key_bytes: int, stamps: bytes, body: bytes) -> int:
    """About what a record takes in a part; never less."""
    return key_bytes + len(stamps) + len(body) + ROW_BYTES


def group_bytes(collection: str) -> int:
    """Likewise, what is there once for the records of a collection."""
    return 4 * len(collection) + 10


def _decoded(data: bytes) -> Part | Piece:
    try:
        return _decoder.decode(data)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as problem:
        raise _malformed(str(problem)) from None


def _malformed(why: str) -> RemoteProtocolError:
    return RemoteProtocolError(f"a snapshot cannot be read: {why}", code="malformed")
