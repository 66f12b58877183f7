"""What a courier must remember over restarts: where its own stream stands, and how far it has read those of others.

It is stored in the space's database, so it goes back in time when the copy does; `copy_id` tells.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta, Struct, field

from peerd.core.clocks import Clock
from peerd.protocol.relay.courier_steps import SegmentName
from peerd.protocol.relay.coverage import Coverage
from peerd.protocol.relay.objects import Manifest, Talk

LITTER = 1_000  # entries
PUTTING = 8
HEARD = 64  # complaints of others that outlive a restart: about others, and likewise about us
SNAPSHOT_PARTS = 1_024  # of one that was begun and never finished, at most

_FORMAT = 1


class Kept(Struct, array_like=True):
    """A segment of ours that is on the relay. `more`: a piece of a run, and not the last one."""

    size_bytes: int
    coverage: Coverage
    more: bool = False
    hash8: bytes = b""  # of its sealed bytes


class HeadMark(Struct, array_like=True):
    """A head of ours that was written, or was about to be."""

    counter: int
    t_ms: int
    stream: bytes
    next: int
    oldest: int
    chain: bytes
    roster_digest: bytes
    snapshot: bytes
    lost: list[SegmentName]
    clock: Clock
    tag: str = ""
    apart: list[tuple[bytes, int, bytes]] = field(default_factory=list)
    talk: list[Talk] = field(default_factory=list)


class Litter(Struct, array_like=True):
    """Objects of no use any more: numbers `first` to `last` under `id`. They may go at `from_ms` (wall clock), once
    our head number `counter` stands.
    """

    kind: str  # "segment", "part", "head"
    id: bytes
    first: int
    last: int
    from_ms: int = 0
    counter: int = 0


class Known(Struct, array_like=True):
    """Another device's head as we know it: never forgotten while it is a member, so that going back is noticed.
    Everything below `position` of its stream is in our copy; `absent` numbers were not there or of no use, since when
    on the scale of `running_time`. `chain` is that before `position`, b"" if it is not known. `missing` parts of its
    roster are likewise not to be had, by id. `counter`, `gone_ms` and `told` are of its membership by this `admission`.
    """

    counter: int
    stream: bytes
    position: int = 1
    next: int = 1
    oldest: int = 1
    snapshot: bytes = b""
    parts: int = 0
    gone_ms: int = 0  # when it was first seen to be no member, by wall clock
    absent: dict[int, int] = field(default_factory=dict)
    chain: bytes = b""
    missing: dict[bytes, int] = field(default_factory=dict)
    told: bool = False  # no member any more, and it finds that there
    admission: bytes = b""  # b"": not known yet


class Heard(Struct, array_like=True):
    """What `accuser` complains of: since when, and since when the head of whom it is about has had this counter; on the
    scale of `running_time`.
    """

    accuser: bytes
    about: SegmentName
    since_s: int
    counter: int
    counter_since_s: int


class Told(Struct, array_like=True):
    """What `accuser` complains of that is ours: numbers of one stream (or a snapshot, number 0), and when one of those
    that it missed arrived there, on the scale of `running_time`.
    """

    accuser: bytes
    id: bytes
    numbers: list[int]
    arrived_s: int | None = None


class Memory(Struct, omit_defaults=True):
    format: int = _FORMAT
    copy_id: bytes = b""
    counter: int = 0
    stream: bytes = b""
    next: Annotated[int, Meta(ge=1)] = 1
    oldest: Annotated[int, Meta(ge=1)] = 1
    chain: bytes = b""
    segments: list[Kept] = field(default_factory=list)  # `oldest` to `next` - 1
    in_flight: Kept | None = None  # number `next`
    put: HeadMark | None = None
    putting: list[HeadMark] = field(default_factory=list)  # may have arrived; the latest is the last
    renewals: int = 0
    renewed_ms: int = 0
    known: dict[bytes, Known] = field(default_factory=dict)
    snapshot: Manifest | None = None
    making: bytes = b""
    made_ms: int = 0
    marks_of: bytes = b""  # the snapshot of the marks
    marks: dict[bytes, int] = field(default_factory=dict)  # stream: its `next` when that snapshot was first seen
    litter: list[Litter] = field(default_factory=list)
    lost: list[SegmentName] = field(default_factory=list)
    heard: list[Heard] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    in_order: dict[bytes, dict[int, int]] = field(default_factory=dict)  # of these, by id and number: since when
    taking_of: bytes = b""  # a snapshot that is being taken in, see `part_chain`
    taking: dict[int, bytes] = field(default_factory=dict)
    paused_until_ms: int = 0
    success_ms: int = 0
    ran_s: int = 0  # see `running_time`
    failing_s: int | None = None  # since when nothing works, on that scale
    removed: dict[bytes, int] = field(default_factory=dict)  # when these were first seen to be removed, likewise


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Memory)


def encode(memory: Memory) -> bytes:
    return _encoder.encode(memory)


def decode(data: bytes | None) -> Memory:
    """An empty memory if there is none, or it makes no sense."""
    if not data:
        return Memory()
    try:
        memory = _decoder.decode(data)
    except (msgspec.MsgspecError, RecursionError):
        return Memory()
    if memory.format != _FORMAT or len(memory.segments) != memory.next - memory.oldest:
        return Memory()
    return memory


def throw_away(memory: Memory, litter: Litter) -> None:
    """Remember to remove it. Beyond the bound the oldest entry is forgotten: it costs room on the relay, no data."""
    if litter.first <= litter.last:
        memory.litter.append(litter)
        del memory.litter[:-LITTER]
