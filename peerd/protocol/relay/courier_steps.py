"""What a courier asks for, one step at a time, and what it is told of it.

`Courier.next` gives one step; whoever performs it tells the courier the outcome and asks again. A step that could not
be done is answered by `Courier.failed`, and nothing else is. Names, sealing and the roster are not the courier's: it
speaks of devices, streams and numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import TypeAlias

from msgspec import Struct

from peerd.core.chain import Run
from peerd.core.clocks import Clock
from peerd.core.origin import Announcement
from peerd.protocol.relay.objects import Head, Manifest, Segment, Talk

SegmentName: TypeAlias = tuple[bytes, bytes, int]  # device, stream, number

DELETE_NAMES = 200
HEEDED = 32  # removed devices whose heads are looked at


class Damage(Enum):
    """Why an object that is there is of no use."""

    UNREADABLE = "it does not open under any key of the space"
    MALFORMED = "it opens and makes no sense"
    FORGED = "it is signed by somebody else"
    UNKNOWN_KEY = "it is sealed under a key that this device does not have, or something else was put there"
    INCOMPLETE = "parts of the roster that it names are missing"
    FAREWELL = "it is written by another member, to tell its device that it was removed"
    BEFORE = "it was left before its device was let in again"
    REMOVED = "it is of a device that was removed, and nothing that it tells undoes that"


class Moment(Struct, frozen=True):
    """When an event happens. `now_s` never goes back and means nothing after a restart, `wall_ms` may jump; `chance` is
    uniform in [0, 1); `entropy` are 32 bytes that nobody drew before.
    """

    now_s: float
    wall_ms: int
    chance: float
    entropy: bytes

    def wall_at(self, at_s: float) -> int:
        """What the wall clock shows at a moment of `now_s`, in ms."""
        return self.wall_ms + int((at_s - self.now_s) * 1000)


class Standing(Struct, frozen=True):
    """What a courier has to know of our side at the moment of an event.

    `clock` and `positions` are of our copy; `members` the devices of the roster without ourselves, `active` those of
    them that count; `linked_clock` what every active member is known, by links, to have (empty if one of them is not
    known to have anything); `roster_digest` changes whenever the roster or the epoch in use does. Below `horizon` our
    log no longer has what our copy has applied. `removed` are the devices that were removed last, at most HEEDED,
    `admissions` the memberships, by id, of all that belong or once did, of each the last; `apart` ends of runs where
    heads that were seen on this relay are of another history, and `talk` what is said about that to those who left
    them, `strangers`.

    `falls`: of these origins our copy has what does not stand, and takes a snapshot that goes so far in place of it.
    `wanted`: it has what stands, and strangers need a snapshot that goes so far.
    """

    clock: Clock
    positions: list[tuple[bytes, int, bytes]]
    own_origins: frozenset[bytes]
    members: frozenset[bytes]
    active: frozenset[bytes]
    linked_clock: Clock
    roster_digest: bytes
    copy_id: bytes
    horizon: Clock = {}
    removed: tuple[bytes, ...] = ()
    apart: list[tuple[bytes, int, bytes]] = []
    talk: list[Talk] = []
    falls: Clock = {}
    wanted: Clock = {}
    strangers: frozenset[bytes] = frozenset()
    admissions: Mapping[bytes, bytes] = {}


# ---- steps


class Sleep(Struct, frozen=True):
    """Nothing to do before `until_s`, or until something happens."""

    until_s: float


class Poll(Struct, frozen=True):
    """Which heads are there, and with which tags? Ours is asked for like the others. Answered by `polled`."""

    devices: list[bytes]


class FetchHeads(Struct, frozen=True):
    """Answered by `heads_fetched`, after what their rosters say has been learnt and their signatures are checked; of a
    removed device's head nothing is taken in but a roster that makes it a member again. With them, in the same request,
    the segments `ahead`: of those that the heads are likely to speak of.
    """

    devices: list[bytes]
    ahead: Sequence[SegmentName] = ()


class FetchSegments(Struct, frozen=True):
    """Answered by `segments_fetched`."""

    names: list[SegmentName]


class Apply(Struct, frozen=True):
    """Through the commit door, durably, whatever each run's verdict is. Answered by `applied`. `devices` left them."""

    origins: list[Announcement]
    runs: list[Run]
    devices: frozenset[bytes] = frozenset()


class ReadLog(Struct, frozen=True):
    """The runs after `position` that `covered` does not cover, up to `max_bytes` (one at least), in local apply order
    (position 0: start at the first one that there is). Answered by `log_read`; nothing after `position` is an answer
    too.
    """

    position: int
    covered: Clock
    max_bytes: int


class PutSegment(Struct, frozen=True):
    """Seal it, keep the sealed bytes and the memory durably and together, then create it. If sealed bytes of this
    stream and number are kept already, it is those that are meant; `segment` is None if we no longer know what it was.
    Answered by `segment_put` or `segment_differs` (also if nothing is known of it any more). From then on the sealed
    bytes need not be kept.

    `with_head`: no more of them follow. `Courier.segment_sealed`, before anything is kept, then gives the head that
    tells of it; both are written in one request, and what became of the head is told after what became of the segment.
    """

    stream: bytes
    number: int
    segment: Segment | None
    with_head: bool = False


class PutHead(Struct, frozen=True):
    """Keep the memory durably, then write our head in the place of the one with this tag; the roster is added on the
    way. Answered by `head_put` or `head_differs`.
    """

    head: Head
    tag: str | None


class CheckSegments(Struct, frozen=True):
    """Which of these segments of ours are there? One lookup without contents. Answered by `segments_checked`."""

    stream: bytes
    numbers: list[int]


class CheckSnapshot(Struct, frozen=True):
    """Are all parts of it there? A lookup without contents, or with (`contents`): are they what was left, too? Answered
    by `snapshot_checked`.
    """

    device: bytes
    manifest: Manifest
    contents: bool = False


class MendRoster(Struct, frozen=True):
    """Look whether the parts of our roster are there, if our head names any, and leave again those that are not.
    Answered by `roster_mended`.
    """


class LeaveFarewell(Struct, frozen=True):
    """In the place of the head of a device that was removed: that it was, for it alone. Answered by `farewell_left`,
    also if that is there already.
    """

    device: bytes


class Delete(Struct, frozen=True):
    """Keep the memory durably, then remove these; at most DELETE_NAMES of them. Answered by `deleted`."""

    segments: list[tuple[bytes, int]]  # stream, number
    parts: list[tuple[bytes, int]]  # snapshot, number
    heads: list[bytes]  # of devices


class MakeSnapshot(Struct, frozen=True):
    """Keep the memory durably, then put all parts of one of our copy as it is now on the relay. Answered by
    `snapshot_made`.
    """

    id: bytes


class TakeSnapshot(Struct, frozen=True):
    """Merge it into our copy, or put it in the place of that (`replaces`). Answered by `snapshot_taken`."""

    device: bytes
    manifest: Manifest
    replaces: bool = False


Step: TypeAlias = (
    Sleep | Poll | FetchHeads | FetchSegments | Apply | ReadLog | PutSegment | PutHead | CheckSegments | CheckSnapshot
    | MendRoster | LeaveFarewell | Delete | MakeSnapshot | TakeSnapshot
)  # fmt: skip


# ---- outcomes


class SeenHead(Struct, frozen=True):
    """A head of another device as it was fetched: what it says, or why it is of no use. `missing` are the ids of
    parts of its roster that could not be had; until they can it is worth fetching again.
    """

    tag: str
    head: Head | None
    damage: Damage | None = None
    missing: Sequence[bytes] = ()


class SeenSegment(Struct, frozen=True):
    """A segment as it was fetched; its sealed bytes are for `relay_objects.next_chain`."""

    segment: Segment | None
    sealed: bytes = b""
    damage: Damage | None = None
