"""What the engine needs of the databases of the spaces."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from peerd.core.batch import Fork, Name, Reader
from peerd.core.chain import Run
from peerd.core.clocks import Dot, ReadClock
from peerd.core.copy import CopyState
from peerd.core.daemon_time import Age
from peerd.core.forks import History
from peerd.core.record import Record
from peerd.core.repair.scrub import Counted, Finding, RowsChecked, RunsChecked, ScrubState, SharesRead
from peerd.core.roster.statements import SignedStatement
from peerd.core.slowness import Slowness
from peerd.core.snapshots.choice import Gap
from peerd.core.snapshots.doubt import Doubts
from peerd.core.snapshots.intake import SideWrites, Standing
from peerd.core.snapshots.stored import Incoming, RowCursor, SnapshotRows, SnapshotStart, Switched
from peerd.core.stored import (
    ArrivalPage,
    Awaited,
    CollectionCount,
    LogSlice,
    Note,
    Opened,
    Recopy,
    RecordPage,
    RelayKept,
    SegmentId,
    Sizes,
    StagedRun,
    StoredBinding,
    StoredPeer,
    StoredPetition,
)
from peerd.core.trimming import HeldBack, Plan, Trimmed
from peerd.core.writes import Writes
from peerd.engine.forks.aside_ports import Asides
from peerd.engine.past.ports import Lookback
from peerd.errors import StoreError

T = TypeVar("T")


class Transaction(Reader, Protocol):
    """What may be read while a write transaction is open."""

    def history_of(self, origin: bytes) -> History:
        """What is kept of the runs of an origin."""
        ...

    def past(self, name: Name) -> Mapping[str, Mapping[Dot, bytes]]:
        """Values of a record that were dropped here and are still in the local history: {field: {dot: value}}."""
        ...

    def staged(self) -> Sequence[StagedRun]: ...


class SnapshotStore(Protocol):
    """What a space's database does for snapshots. Every method that writes is durable when it returns."""

    async def gap(self, clock: Mapping[bytes, int], position: int) -> Gap:
        """What a copy at `clock` lacks of the log, all of it behind `position`, beside the records."""
        ...

    async def start(self, standing: Mapping[bytes, Collection[int]]) -> SnapshotStart:
        """Of many ends of runs that are kept, those at the positions `standing` are told in any case."""
        ...

    async def rows(self, after: RowCursor, max_bytes: int, known: int) -> SnapshotRows:
        """Records after `after` ((0, "") is before the first) in the order of their keys: at least one if there is
        any, else up to `max_bytes`; and the origins with a larger number than `known`. Raises StoreDamaged.
        """
        ...

    async def incoming(self) -> Incoming | None:
        """The snapshot that is kept beside the copy."""
        ...

    async def begin(self, snapshot: bytes, maker: bytes) -> None:
        """Keep another one, of which nothing is here yet. There must be none. `maker` is the device that made it."""
        ...

    async def take(self, standing: Standing, decide: Callable[[Standing, Reader], SideWrites], parts: int) -> Standing:
        """Write what a part brings, in one transaction; `parts` are in then. The reader reads what is beside. If
        `decide` raises, nothing is written.
        """
        ...

    async def merge(self, standing: Standing, doubts: Doubts) -> tuple[Standing, int]:
        """Merge our rows into a whole snapshot, some at a time. Gives the position from which on `switch` has to merge
        what was touched. `doubts` says which of the two copies is known to be damaged, and where.
        """
        ...

    async def switch(self, standing: Standing, position: int, copy_id: bytes, doubts: Doubts) -> Switched:
        """Put it in the place of our rows, in one transaction. Nobody else may be writing. Raises Fork."""
        ...

    async def hashes(self, ends: Sequence[tuple[bytes, int]]) -> Sequence[bytes | None]:
        """8 bytes of what it says is the hash at these ends of runs (origin, seq); None where it does not say."""
        ...

    async def fork(self) -> Fork | None:
        """Where it holds another history of an origin than our copy; a Doubt where nothing tells whether it does."""
        ...

    async def replace(
        self, standing: Standing, copy_id: bytes, limits: Mapping[bytes, int], recopy: Recopy
    ) -> Switched:
        """Put it in the place of our rows and of our history, without merging, and keep what follows. `limits` are the
        seqs after which origins went two ways. Nobody else may be writing.
        """
        ...

    async def agreed(self) -> None:
        """The copy whose place a snapshot took has had the same digest as that of another member than its maker."""
        ...

    async def give_up(self) -> None:
        """It will not be put in place; if it is already, nothing happens."""
        ...

    async def clear_some(self, size: int) -> bool:
        """Clear away some rows of what is not needed any more; False if nothing is left to do."""
        ...


class ScrubStore(Protocol):
    """What a space's database does for its scrub. Every method that writes is durable when it returns; those that take
    the state of the copy give what it is afterwards, and nothing else may be writing meanwhile.
    """

    async def rows(self, after: int, max_rows: int, max_bytes: int) -> RowsChecked:
        """Records behind the place `after`, which is 0 at the beginning: at least one if there is any."""
        ...

    async def runs(self, after: int, max_bytes: int, verify: Callable[[bytes, bytes, bytes], bool]) -> RunsChecked:
        """Runs of the log behind the position `after`: at least one if there is any. `verify(device, signature,
        data)` is called in another thread.
        """
        ...

    async def shares(
        self, buckets: Collection[int], after: Name | None, up_to: Name | None, max_shares: int, max_rows: int
    ) -> SharesRead:
        """Records of some buckets of the digest, behind `after`, in the order of their names (by UTF-8 bytes) and up to
        `up_to`: at most so many of them, and of those that have to be looked at.
        """
        ...

    async def count(self, *, at_once: bool) -> Counted:
        """Add up all records, beside whoever reads and writes; with hardly a pause if `at_once`."""
        ...

    async def run(self, origin: bytes, first: int) -> Run | None:
        """The run of the log that begins there, if it can be read."""
        ...

    async def replace_run(self, run: Run, verify: Callable[[bytes, bytes, bytes], bool]) -> bool:
        """Put a run in the place of the damaged one that begins and ends where it does. False if there is none, or if
        chain or signature do not hold.
        """
        ...

    async def seeds(self) -> Mapping[Dot, bytes]:
        """The hash at the end of each run whose predecessor is not in the log any more, by where it ends."""
        ...

    async def load(self) -> tuple[ScrubState, list[Finding]]: ...
    async def save(self, state: ScrubState) -> None: ...
    async def note(self, findings: Sequence[Finding], *, keep_rows: bool = False) -> None:
        """Keep findings, instead of those with their ids. With `keep_rows`, also the rows as they are now."""
        ...

    async def forget(self, older_than_ms: int) -> int:
        """Those findings that are older, in daemon time, and those that are too many. Gives the smallest id left."""
        ...

    async def begin_anew(self, copy_id: bytes, scrub: ScrubState) -> None:
        """Call the copy by another id, so that positions in it mean nothing any more, and keep `scrub`."""
        ...

    async def set_aside(
        self, findings: Sequence[Finding], state: CopyState, owing: Callable[[CopyState], ScrubState]
    ) -> CopyState:
        """Take records that cannot be read out of the copy; their rows are kept with the findings, and what `owing`
        makes of the copy as it is then.
        """
        ...

    async def settle(self, counted: Counted, state: CopyState, scrub: ScrubState) -> CopyState:
        """Let digest and counts say what the rows say, and keep `scrub`. Writes since it was counted have moved both
        alike.
        """
        ...


class UpkeepStore(Protocol):
    """What keeps a space's database from growing. Each call is one short transaction, durable when it returns; `size`
    says how much it may do, in rows and pages.
    """

    async def note_age(self, age: Age) -> None:
        """The database is so old now: what is written from now on has that age. See `core.daemon_time`."""
        ...

    async def forget(self, before_ms: int, size: int) -> int:
        """Forget local history from before that age. Gives how many rows went."""
        ...

    async def trim(self, plan: Plan, size: int) -> Trimmed:
        """Let runs go that the plan allows to: of each origin the oldest. Nobody else may be writing."""
        ...

    async def held_back(self, clocks: Sequence[ReadClock], before_ms: int) -> Sequence[HeldBack]:
        """What is older than that and lacking at each of these clocks."""
        ...

    async def give_back(self, pages: int) -> int:
        """Make the file smaller by so many pages that hold nothing, if it has many. Gives how many went."""
        ...

    async def sizes(self) -> Sizes: ...


class SpaceStore(Protocol):
    """The database of one space. Every method that writes is durable when it returns."""

    @property
    def snapshots(self) -> SnapshotStore: ...
    @property
    def scrubs(self) -> ScrubStore: ...
    def on_unreadable(self, alarm: Callable[[], None]) -> None:
        """Have `alarm` called whenever a row cannot be read, though the file is sound."""
        ...

    @property
    def upkeep(self) -> UpkeepStore: ...
    @property
    def asides(self) -> Asides: ...
    @property
    def lookback(self) -> Lookback: ...
    async def transact(
        self,
        decide: Callable[[Transaction], tuple[Writes | None, T]],
        own_origin: Callable[[], bytes | None] = lambda: None,
        unstaged: Callable[[], Iterable[int]] = tuple,
        notes: Callable[[], Iterable[tuple[Note, Dot]]] = tuple,
        scrub: Callable[[CopyState], ScrubState | None] | None = None,
    ) -> T:
        """Run `decide` inside BEGIN IMMEDIATE, write what it gives, commit with synchronous=FULL, and give its
        result. `own_origin()`, `unstaged()` and `notes()` are asked after `decide`: the origin that writes here now,
        if it is new, the numbers of staged runs that were used up, and notes of bindings with the dots of their
        transactions; `scrub`, if it is given, makes of the copy as it is then what is kept of its scrub. Nothing is
        written if `decide` gives None or raises. Cancelling the caller neither tears nor undoes it.

        Raises:
            DiskFull, StoreBusy, StoreDamaged, StoreError.
        """
        ...

    async def read(self, reading: Callable[[Transaction], T]) -> T:
        """Run `reading` in one read transaction of another connection."""
        ...

    async def page(self, collection: str, prefix: str, after: str | None, limit: int) -> RecordPage: ...
    async def by_arrival(self, collection: str, after: int, limit: int) -> ArrivalPage:
        """Visible records behind the place `after`, which is 0 at the beginning, in the order in which they came. All
        records of the space are looked at on the way.
        """
        ...

    async def collections(self) -> list[CollectionCount]: ...
    async def flagged(self, after: Name | None, limit: int) -> list[tuple[Name, Record]]:
        """Records whose flags are not 0, in order of (collection, key)."""
        ...

    async def runs_after(
        self, position: int, max_bytes: int, max_runs: int = 1000, covered: Mapping[bytes, int] | None = None
    ) -> LogSlice:
        """Runs in local apply order after `position`, at least one if there is any, else up to `max_bytes`; those
        that the clock `covered` covers are left out (their positions are skipped).
        """
        ...

    async def position_before(self, clock: Mapping[bytes, int]) -> int:
        """The position after which every run lies that `clock` does not cover."""
        ...

    async def first_position(self) -> int:
        """Of what the log has; behind the last position, if it has nothing."""
        ...

    async def last_position(self) -> int: ...
    async def add_statements(self, statements: Sequence[SignedStatement]) -> None: ...
    async def save_peer(self, peer: StoredPeer) -> None: ...
    async def save_awaited(self, one: Awaited) -> None: ...
    async def drop_awaited(self, devices: Sequence[bytes]) -> None: ...
    async def save_petition(self, petition: StoredPetition | None) -> None: ...
    async def bindings(self) -> Sequence[StoredBinding]: ...
    async def save_binding(self, binding: StoredBinding) -> None:
        """Keep name, database, plan and settings; the note is left as it is."""
        ...

    async def forget_binding(self, binding: bytes) -> None: ...
    async def relay(self, relay: str) -> RelayKept: ...
    async def save_relay(self, relay: str, memory: bytes, outbox: Mapping[SegmentId, bytes]) -> None:
        """Keep what is remembered of a relay, and these sealed segments instead of those before, in one step."""
        ...

    async def forget_relay(self, relay: str) -> None: ...
    async def stage(self, runs: Sequence[Run], max_bytes: int) -> list[StagedRun]:
        """Keep runs durably until they can be applied; those beyond `max_bytes` in all are left out."""
        ...

    async def save_recopy(self, recopy: Recopy | None) -> None:
        """Keep which copy that was set aside is being taken in; None: none is."""
        ...

    async def unstage(self, numbers: Sequence[int]) -> None: ...
    async def end_own_origin(self) -> None: ...  # what is written next belongs to a new one, in whatever life
    @property
    def slowness(self) -> Slowness:
        """How long its commits take, if that is too long."""
        ...

    @property
    def failure(self) -> StoreError | None:
        """Why it does not take writes at the moment, as far as is known; StoreDamaged for good."""
        ...

    @property
    def is_unsynced(self) -> bool: ...  # a sync failed: once `probe` succeeds, it goes on when it was opened again

    async def probe(self) -> None:
        """See whether it can be written. Raises StoreError."""
        ...

    async def look_through(self) -> None:
        """Read all of it. Raises StoreDamaged, which is its `failure` from then on; StoreError."""
        ...

    async def size_bytes(self) -> int: ...
    def room_bytes(self) -> tuple[int, int]:
        """What is free on the disk, and all of it."""
        ...

    async def back_up(self, target: Path, moved: Callable[[int, int], None]) -> None:
        """Copy the database as it stands to the new file `target`. `moved` hears, in another thread, how many bytes of
        how many are there, and ends it by raising. Raises StoreDamaged, DiskFull, StoreError.
        """
        ...

    async def close(self) -> None: ...


class Shelf(Protocol):
    """Where the databases of the spaces stand."""

    async def open_all(self) -> Sequence[tuple[Opened, SpaceStore]]:
        """All spaces of this device; one that cannot be opened is in `failed` instead."""
        ...

    def passing(self) -> Sequence[str]: ...  # those of `failed` whose reason may pass by itself
    async def open_again(self, name: str) -> Sequence[tuple[Opened, SpaceStore]]:
        """That one of them, if its reason has passed; else nothing."""
        ...

    async def create(self, space: bytes, name: str, statements: Sequence[SignedStatement]) -> tuple[Opened, SpaceStore]:
        """A new, empty copy, durable with its statements; an old one of the same space is set aside."""
        ...

    def forget(self, space: bytes, *, delete: bool) -> Path | None:
        """Be rid of a database that is not open: where it was set aside, None if it was deleted. Raises StoreError."""
        ...

    def lay_down(self, space: bytes, name: str, why: StoreError, *, unsynced: bool) -> None:
        """A space that was open and is closed now: `open_again` takes it up. `unsynced`: its store was."""
        ...

    def failed_space(self, name: str) -> bytes | None:
        """The id of the space that is listed in `failed` by this name."""
        ...

    def salvage(self, space: bytes) -> Sequence[SignedStatement]:
        """The roster of a space that cannot be opened, as far as it can be read; unverified."""
        ...

    def failed_name(self, space: bytes) -> str | None: ...

    @property
    def failed(self) -> Mapping[str, StoreError]:
        """Names of spaces whose databases could not be opened, and why."""
        ...
