"""What devices leave for each other on a relay, before it is sealed: heads, segments, and the manifest of a snapshot.

    head       one per device, written again and again: where its stream of segments stands, what its copy has applied,
               what it cannot get, and the roster. Signed by the device
    segment    runs, of any origin, in an order in which they can be applied; or a piece of a run that is too large
    snapshot   parts, whose number, size and clock its maker's head says

Bodies are maps with short keys; keys that a reader does not know are ignored. PROTOCOL.md, "Relays".
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Annotated, TypeAlias, TypeVar

import msgspec
from msgspec import Meta, Struct, field

from peerd.core.chain import Run
from peerd.core.clocks import Clock
from peerd.core.origin import Announcement, Id16, Id32
from peerd.core.roster.statements import SignedStatement
from peerd.errors import RemoteProtocolError
from peerd.protocol.messages import Position, RunEndTold, Seq, WireClock

OBJECT_BYTES = 512 << 10  # sealed; what the smallest relay takes in one piece
SEGMENT_BYTES = 400 << 10  # of runs in one segment, before compression
PIECE_BYTES = 400 << 10  # of a run that is larger
TALKS = 8
TALK_ENDS = 200
INTERVALS = 8  # per origin in a head; claiming less than there is costs an upload, never data

T = TypeVar("T")

_CHAIN_TAG = b"peerd/1 relay chain\0"
_HEAD_TAG = b"peerd/1 relay head\0"

Interval: TypeAlias = tuple[Seq, Seq]
Covers: TypeAlias = Annotated[
    dict[Id16, Annotated[list[Interval], Meta(max_length=INTERVALS)]], Meta(max_length=10_000)
]


class RelayObject(Struct, frozen=True):
    """What a relay holds under a name. `tag` changes with every write; `data` is None if it was not asked for."""

    tag: str
    data: bytes | None = None


class Manifest(Struct, frozen=True, omit_defaults=True):
    """A snapshot: `parts` objects named by (id, 0...), `size_bytes` in all; `digest` is the chain over the sealed parts
    in order, see `part_chain`. Whoever takes it in stands at `clock`.
    """

    id: Id16
    parts: Annotated[int, Meta(ge=1, le=1 << 20)] = field(name="n")
    size_bytes: Seq = field(name="b")
    digest: Id32 = field(name="d")
    clock: WireClock = field(name="c")
    made_ms: Seq = field(name="t", default=0)
    records: Seq = field(name="r", default=0)


class Talk(Struct, frozen=True, array_like=True):
    """To `peer`, whose head tells of another history of `origin`: ends of our runs behind `after`, a place that both
    share as far as we know; all of them if `whole`. See `core.forks.Told`.
    """

    peer: Id32
    origin: Id16
    after: Seq
    ends: Annotated[list[RunEndTold], Meta(max_length=TALK_ENDS)]
    whole: bool


class Spent(Struct, frozen=True, array_like=True):
    """Nobody comes by this ticket any more: `why` is "used" or "withdrawn"."""

    ticket: Id16
    why: Annotated[str, Meta(max_length=16)]


class Head(Struct, frozen=True, omit_defaults=True):
    """`counter` grows with every head that the device writes. Its segments are `oldest` to `next` - 1 of `stream`,
    with `sizes`; `chain` is their chained hash. `positions` are what its copy has applied, and so what it acknowledges.
    `lost` names segments of others (device, stream, number) that it can neither get nor open. `apart` are ends of runs
    in its history where the head of somebody else tells another one: whoever is behind that end, or far past it, could
    not find that out from `positions`. `talk` is for those, to find out where the two part.

    The roster comes along, as statements or, if it is too large, as objects (id, key).
    """

    counter: Seq = field(name="n")
    t_ms: Seq = field(name="t")
    stream: Id16 = field(name="s")
    next: Annotated[int, Meta(ge=1)] = field(name="e")
    chain: Id32 = field(name="h")
    oldest: Annotated[int, Meta(ge=1)] = field(name="o", default=1)
    sizes: Annotated[list[Seq], Meta(max_length=100_000)] = field(name="z", default_factory=list)
    covers: Covers = field(name="v", default_factory=dict)
    positions: Annotated[list[Position], Meta(max_length=10_000)] = field(name="p", default_factory=list)
    snapshot: Manifest | None = field(name="m", default=None)
    lost: Annotated[list[tuple[Id32, Id16, Seq]], Meta(max_length=1_000)] = field(name="l", default_factory=list)
    statements: Annotated[list[SignedStatement], Meta(max_length=10_000)] = field(name="r", default_factory=list)
    roster_parts: Annotated[list[tuple[Id16, Id32]], Meta(max_length=1_000)] = field(name="rp", default_factory=list)

    apart: Annotated[list[Position], Meta(max_length=1_000)] = field(name="f", default_factory=list)
    talk: Annotated[list[Talk], Meta(max_length=TALKS)] = field(name="k", default_factory=list)

    @property
    def clock(self) -> Clock:
        return {origin: seq for origin, seq, _ in self.positions}


class Piece(Struct, frozen=True, array_like=True):
    """A part of an encoded run: `number` of `count`, from 0."""

    number: Annotated[int, Meta(ge=0, le=1 << 10)]
    count: Annotated[int, Meta(ge=2, le=1 << 10)]
    data: bytes


class SpentHead(Head, frozen=True, omit_defaults=True):
    """The answer to a petition, where it is that nobody comes by its ticket any more."""

    spent: Spent | None = field(name="w", default=None)


class Segment(Struct, frozen=True, omit_defaults=True):
    """`previous` is the chain before this segment. Either runs, or a piece of one."""

    previous: Id32 = field(name="h")
    origins: Annotated[list[Announcement], Meta(max_length=10_000)] = field(name="o", default_factory=list)
    runs: Annotated[list[Run], Meta(max_length=10_000)] = field(name="r", default_factory=list)
    piece: Piece | None = field(name="p", default=None)


class SignedHead(Struct, frozen=True, array_like=True):
    device: Id32
    signature: Annotated[bytes, Meta(min_length=64, max_length=64)]
    data: bytes


H = TypeVar("H", bound=Head)

_encoder = msgspec.msgpack.Encoder()
_heads = msgspec.msgpack.Decoder(Head)
_answers = msgspec.msgpack.Decoder(SpentHead)
_signed_heads = msgspec.msgpack.Decoder(SignedHead)
_segments = msgspec.msgpack.Decoder(Segment)
_runs = msgspec.msgpack.Decoder(Run)


def encode(body: Head | Segment | SignedHead) -> bytes:
    return _encoder.encode(body)


def _consistent(head: H) -> H:
    if head.oldest > head.next or len(head.sizes) != head.next - head.oldest:
        raise RemoteProtocolError("a head contradicts itself", code="malformed")
    return head


def decode_head(data: bytes) -> Head:
    """Raises RemoteProtocolError for anything that is no head."""
    return _consistent(_decode(_heads, data))


def decode_answer(data: bytes) -> SpentHead:
    """A head in the place of an answer. Raises RemoteProtocolError for anything that is no head."""
    return _consistent(_decode(_answers, data))


def decode_signed_head(data: bytes) -> SignedHead:
    """Whose head it claims to be; its signature is yet to be looked at. Raises RemoteProtocolError."""
    return _decode(_signed_heads, data)


def decode_segment(data: bytes) -> Segment:
    """Raises RemoteProtocolError for anything that is no segment."""
    segment = _decode(_segments, data)
    if bool(segment.runs) == (segment.piece is not None):
        raise RemoteProtocolError("a segment has either runs or a piece", code="malformed")
    return segment


def cut(run: Run) -> list[Piece]:
    """The pieces of a run that does not fit into a segment."""
    data = _encoder.encode(run)
    parts = [data[at : at + PIECE_BYTES] for at in range(0, len(data), PIECE_BYTES)]
    return [Piece(number, len(parts), part) for number, part in enumerate(parts)]


def join_pieces(pieces: Sequence[Piece]) -> Run:
    """The run that was cut. Raises RemoteProtocolError."""
    return _decode(_runs, b"".join(piece.data for piece in pieces))


def next_chain(previous: bytes, sealed: bytes) -> bytes:
    """The chain of a stream after a segment with these sealed bytes."""
    return blake2b(_CHAIN_TAG + previous + blake2b(sealed, digest_size=32).digest(), digest_size=32).digest()


def first_chain(stream: bytes) -> bytes:
    """The chain of a stream that has no segment yet."""
    return blake2b(_CHAIN_TAG + stream, digest_size=32).digest()


def head_signing_input(space: bytes, device: bytes, data: bytes) -> bytes:
    """What a device signs of its head."""
    return _HEAD_TAG + space + device + data


def _decode(decoder: msgspec.msgpack.Decoder[T], data: bytes) -> T:
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as problem:
        raise RemoteProtocolError(f"an object of a relay cannot be decoded: {problem}", code="malformed") from None
