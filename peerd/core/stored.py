"""What a store gives back: values only, so that the engine and the store need not know each other."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from msgspec import Struct

from peerd.core.chain import Run
from peerd.core.clocks import Clock, Dot
from peerd.core.copy import CopyState
from peerd.core.daemon_time import Age
from peerd.core.record import Record
from peerd.core.roster.statements import SignedStatement
from peerd.core.snapshots.stored import Taken
from peerd.core.tables.plans import BindingPlan

Address: TypeAlias = tuple[str, int]
SegmentId: TypeAlias = tuple[bytes, int]  # stream, number


class LogRow(Struct, frozen=True):
    """One run in local apply order. Positions grow by one; `arrived_ms` is wall time, for people."""

    position: int
    run: Run
    arrived_ms: int


class LogSlice(Struct, frozen=True):
    """Rows after a position; `read_up_to` is the last position that was looked at, chosen or left out. Of the runs up
    to position `trimmed` some are not in the log any more: whoever reads all of it, from before that, missed them.
    """

    rows: list[LogRow]
    read_up_to: int
    trimmed: int = 0


NEVER_MS = (1 << 63) - 1


class LogWish(Struct, frozen=True):
    """Which runs are wanted, from `position` backwards: by these origins (None: any), that arrived between these times
    by the wall clock here, both included.
    """

    position: int
    origins: frozenset[bytes] | None = None
    since_ms: int = 0
    until_ms: int = NEVER_MS
    max_runs: int = 200
    max_bytes: int = 4 << 20


class LogBack(Struct, frozen=True):
    """Runs, the newest first; `position` is where to go on, 0 if there are no more."""

    rows: list[LogRow]
    position: int


class Reach(Struct, frozen=True):
    """How far back a copy knows what was, by its own wall clock; None: to its beginning. `log_ms`: it has every
    transaction that arrived later. `history_ms`: it has everything that was dropped later. `snapshot_ms`: when a
    snapshot last brought what others had done before.
    """

    log_ms: int | None
    history_ms: int | None
    snapshot_ms: int | None


class StagedRun(Struct, frozen=True):
    """A run that waits for what it depends on: durable, bounded, not part of the clock. `age_ms`: how old the database
    was when it came.
    """

    number: int
    run: Run
    age_ms: int


class StoredPeer(Struct, frozen=True):
    """What is remembered of another device between two starts. `seen_ms`: wall clock when it was last seen;
    `heard_ms`: how old our database was then, or when we heard of its admission.
    """

    device: bytes
    name: str = ""
    addresses: tuple[Address, ...] = ()
    seen_ms: int = 0
    acks: Clock = {}
    heard_ms: int = 0


class Awaited(Struct, frozen=True):
    """A device that was named by its id and may join with this role. `expires_ms`: wall clock, until when."""

    device: bytes
    role: str
    expires_ms: int


WITHDRAWN, USED = 0, -1  # times that no ticket has


class StoredPetition(Struct, frozen=True):
    """That this device asks to be let in by a file: a sealed object for the relays, under this name; the answer stands
    under one of `answers`. `expires_ms`: wall clock, until when it is worth asking; WITHDRAWN or USED once it is known
    that nobody comes by the file any more, and why.
    """

    name: str
    sealed: bytes
    answers: tuple[str, ...]
    expires_ms: int

    @property
    def is_spent(self) -> bool:
        return self.expires_ms in {WITHDRAWN, USED}


AsideCursor: TypeAlias = tuple[str, str]  # collection, key


class Aside(Struct, frozen=True):
    """A copy of the space that was set aside. `records` are visible ones; not `is_whole`: it is damaged, and may have
    lost some. `written_ms`: wall clock, when its file was last written.
    """

    name: str
    records: int
    is_whole: bool
    written_ms: int


class AsidePair(NamedTuple):
    """A record as it stands in a copy that was set aside, and here; None where it does not exist."""

    name: tuple[str, str]
    aside: Record | None
    here: Record | None


class AsidePage(Struct, frozen=True):
    """Records that are not the same in both, in order; `cursor` is None after the last. `unreadable` are left out."""

    pairs: list[AsidePair]
    cursor: AsideCursor | None
    unreadable: int


class Recopy(Struct, frozen=True):
    """That the copy set aside as `name` is being taken in, and how far that is. Not `removes`: it may have lost
    records, so what it lacks is no delete. `forked`: it holds another history than the copy in its place.
    """

    name: str
    removes: bool
    forked: bool = False
    cursor: AsideCursor = ("", "")


class Opened(Struct, frozen=True):
    """Everything about a space that is in its database but not in its tables of records.

    `name` is the local one. `copy_id` is drawn anew whenever positions of this copy lose their meaning, and is part of
    every feed token. `own_origin` is None if there is none yet, or one that may not go on, because the database is
    new, restored or cloned; `origin_note` says which, in a sentence.
    """

    space: bytes
    name: str
    copy_id: bytes
    state: CopyState
    own_origin: bytes | None
    origin_note: str
    statements: tuple[SignedStatement, ...]
    peers: tuple[StoredPeer, ...]
    staged: tuple[StagedRun, ...]
    awaited: tuple[Awaited, ...] = ()
    petition: StoredPetition | None = None
    age: Age = Age()
    recopy: Recopy | None = None
    taken: Taken | None = None


class RecordPage(Struct, frozen=True):
    """Visible records of a collection in the order of their keys (by UTF-8 bytes)."""

    records: list[tuple[str, Record]]
    more: bool


class ArrivalPage(Struct, frozen=True):
    """Visible records of a collection in the order in which they came here first; `last` is the place of the last
    one that was looked at.
    """

    records: list[tuple[str, Record]]
    last: int
    more: bool


class CollectionCount(Struct, frozen=True):
    name: str
    records: int


class Note(Struct, frozen=True):
    """What a binding needs to know of a transaction that it caused, kept with it: see `peerd.core.tables.changes`."""

    binding: bytes
    data: bytes


class StoredBinding(Struct, frozen=True):
    """A binding of this device, as its space keeps it; `id` are 16 random bytes that stand in the file too. `settings`
    is opaque here. `note` and `dot` are of the last transaction that it caused.
    """

    id: bytes
    name: str
    database: str
    plan: BindingPlan
    settings: bytes = b""
    note: bytes | None = None
    dot: Dot | None = None


class Sizes(Struct, frozen=True):
    """What the database of a space takes: its file, of which `free_bytes` hold nothing, and its WAL; and how much in
    the file are transactions of the log and values of the local history. `wal_held` if somebody's reading keeps the WAL
    from being emptied.
    """

    database_bytes: int
    free_bytes: int
    wal_bytes: int
    log_bytes: int
    history_bytes: int
    wal_held: bool = False


class RelayKept(Struct, frozen=True):
    """What a copy remembers of one relay: the courier's memory, and sealed segments on their way there."""

    memory: bytes | None = None
    outbox: dict[SegmentId, bytes] = {}
