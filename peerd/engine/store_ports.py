"""What the engine needs of the databases of the spaces. What single rooms of it need beside that stands in their
`ports`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from peerd.core.batch import Name, Reader
from peerd.core.chain import Run
from peerd.core.clocks import Dot
from peerd.core.copy import CopyState
from peerd.core.forks import History
from peerd.core.record import Record
from peerd.core.repair.scrub import ScrubState
from peerd.core.roster.statements import SignedStatement
from peerd.core.slowness import Slowness
from peerd.core.stored import (
    ArrivalPage,
    Awaited,
    CollectionCount,
    LogSlice,
    Note,
    Opened,
    Recopy,
    RecordPage,
    StagedRun,
    StoredPeer,
    StoredPetition,
)
from peerd.core.writes import Writes
from peerd.engine.forks.aside_ports import Asides
from peerd.engine.past.ports import Lookback
from peerd.engine.relay.ports import CourierStore
from peerd.engine.repair.ports import ScrubStore
from peerd.engine.snapshots.ports import SnapshotStore
from peerd.engine.tables.ports import BindingStore
from peerd.engine.upkeep.ports import UpkeepStore
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
    @property
    def bindings(self) -> BindingStore: ...
    @property
    def relays(self) -> CourierStore: ...
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
