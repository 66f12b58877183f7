"""What a store gives back of snapshots: values only, as in `stored`."""

from __future__ import annotations

from enum import IntEnum

from msgspec import Struct

from peerd.core.clocks import Clock
from peerd.core.copy import CopyState
from peerd.core.origin import Announcement
from peerd.core.repair.scrub import ScrubState
from peerd.core.snapshots.intake import Standing
from peerd.core.snapshots.parts import EndsOf, Group, OriginEnd

RowCursor = tuple[int, str]  # number of a collection, key


class SnapshotStart(Struct, frozen=True):
    """Where a copy stands at the moment in which its reading begins, in one read of the store."""

    copy_id: bytes
    position: int
    clock: Clock
    origins: list[OriginEnd]
    ends: list[EndsOf]
    records: int
    record_bytes: int = 0


class SnapshotRows(Struct, frozen=True):
    """`count` records in the order of their keys, which fit into a part unless it is a single one; and the origins that
    became known after number `known`. `cursor` is None after the last record. `copy_id`, `position`, `digest` and
    `records` are those of the moment of this read; `shares` are the sums of the digest, by bucket, over these rows.
    """

    copy_id: bytes
    groups: list[Group]
    count: int
    cursor: RowCursor | None
    origins: list[tuple[int, Announcement]]
    position: int
    digest: bytes
    records: int
    shares: list[int]


class Phase(IntEnum):
    FILLING = 0
    MERGING = 1
    CLEARING = 2  # it is in place
    GIVEN_UP = 3


class Incoming(Struct, frozen=True):
    """A snapshot that is kept beside the copy. `age_ms` is when its last part came, by the store's own clock, and
    `now_ms` what that says now. `device` made it, if that is known.
    """

    id: bytes
    phase: Phase
    parts: int
    standing: Standing
    age_ms: int
    now_ms: int
    device: bytes | None = None


class Taken(Struct, frozen=True):
    """Whose snapshot took the place of a copy, and when, by the wall clock. `agreed`: its digest has been that of
    another member since.
    """

    device: bytes
    taken_ms: int
    agreed: bool = False


class Switched(Struct, frozen=True):
    """The copy after a snapshot took its place. `own_origin_ended`: the snapshot knows more of it than we did, or, with
    `replaced`, nothing of our copy was merged into it. `scrub` is how the scrub of the new copy stands, and what that
    owes.
    """

    copy_id: bytes
    state: CopyState
    own_origin_ended: bool
    scrub: ScrubState
    taken: Taken | None = None
    replaced: bool = False
