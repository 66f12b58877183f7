"""What the engine needs of the edges. They satisfy these by shape; the type checker proves it where they meet, in
`peerd.daemon`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

from peerd.core.batch import Name, Reader
from peerd.core.chain import Run
from peerd.core.clocks import Dot
from peerd.core.record import Record
from peerd.core.snapshot_intake import SideWrites, Standing
from peerd.core.snapshot_stored import Incoming, RowCursor, SnapshotRows, SnapshotStart, Switched
from peerd.core.statements import SignedStatement
from peerd.core.stored import (
    Address,
    ArrivalPage,
    Awaited,
    CollectionCount,
    LogSlice,
    Note,
    Opened,
    RecordPage,
    RelayKept,
    SegmentId,
    StagedRun,
    StoredBinding,
    StoredPeer,
    StoredPetition,
)
from peerd.core.tables.changes import Applied, Brake, Harvest, Parked, Projection, RowImage, SaidAgain, TableCount
from peerd.core.tables.plans import BindingPlan
from peerd.core.tables.shape import Schema
from peerd.core.writes import Writes
from peerd.errors import StoreError

T = TypeVar("T")


class Times(Protocol):
    """The only source of time and chance."""

    def wall_ms(self) -> int: ...
    def monotonic_s(self) -> float: ...
    def boottime_s(self) -> float:
        """As `monotonic_s`, and time in suspend counts."""
        ...

    def quality(self) -> int: ...
    def random_bytes(self, count: int) -> bytes: ...
    def uniform(self, low: float, high: float) -> float: ...


class Keys(Protocol):
    """This device's keys."""

    @property
    def device(self) -> bytes: ...
    @property
    def public_key(self) -> bytes: ...
    @property
    def sealing_public_key(self) -> bytes: ...
    def sign(self, data: bytes) -> bytes: ...
    def open(self, sealed: bytes, info: bytes) -> bytes:
        """Raises RemoteProtocolError if it was not sealed to us, or for something else."""
        ...


class Link(Protocol):
    """One connection to one device, whose identity is proven."""

    @property
    def theirs(self) -> bytes: ...
    @property
    def dialed(self) -> bool: ...
    @property
    def address(self) -> Address: ...
    async def send(self, frame: bytes) -> None: ...
    async def receive(self) -> bytes: ...
    async def close(self, code: int, reason: str) -> None: ...


class Dialer(Protocol):
    async def dial(self, address: Address, subprotocol: str, expect: bytes | None, timeout_s: float = 5.0) -> Link: ...


class Transaction(Reader, Protocol):
    """What may be read while a write transaction is open."""

    def past(self, name: Name) -> Mapping[str, Mapping[Dot, bytes]]:
        """Values of a record that were dropped here and are still in the local history: {field: {dot: value}}."""
        ...

    def staged(self) -> Sequence[StagedRun]: ...


class SnapshotStore(Protocol):
    """What a space's database does for snapshots. Every method that writes is durable when it returns."""

    async def start(self) -> SnapshotStart: ...
    async def rows(self, after: RowCursor, max_bytes: int, known: int) -> SnapshotRows:
        """Records after `after` ((0, "") is before the first) in the order of their keys: at least one if there is
        any, else up to `max_bytes`; and the origins with a larger number than `known`. Raises StoreDamaged.
        """
        ...

    async def incoming(self) -> Incoming | None:
        """The snapshot that is kept beside the copy."""
        ...

    async def begin(self, snapshot: bytes) -> None:
        """Keep another one, of which nothing is here yet. There must be none."""
        ...

    async def take(self, standing: Standing, decide: Callable[[Standing, Reader], SideWrites], parts: int) -> Standing:
        """Write what a part brings, in one transaction; `parts` are in then. The reader reads what is beside. If
        `decide` raises, nothing is written.
        """
        ...

    async def merge(self, standing: Standing) -> tuple[Standing, int]:
        """Merge our rows into a whole snapshot, some at a time. Gives the position from which on `switch` has to merge
        what was touched.
        """
        ...

    async def switch(self, standing: Standing, position: int, copy_id: bytes) -> Switched:
        """Put it in the place of our rows, in one transaction. Nobody else may be writing. Raises Fork."""
        ...

    async def give_up(self) -> None:
        """It will not be put in place; if it is already, nothing happens."""
        ...

    async def clear_some(self) -> bool:
        """Clear away some of what is not needed any more; False if nothing is left to do."""
        ...


class SpaceStore(Protocol):
    """The database of one space. Every method that writes is durable when it returns."""

    @property
    def snapshots(self) -> SnapshotStore: ...
    async def transact(
        self,
        decide: Callable[[Transaction], tuple[Writes | None, T]],
        own_origin: Callable[[], bytes | None] = lambda: None,
        unstaged: Callable[[], Iterable[int]] = tuple,
        notes: Callable[[], Iterable[tuple[Note, Dot]]] = tuple,
    ) -> T:
        """Run `decide` inside BEGIN IMMEDIATE, write what it gives, commit with synchronous=FULL, and give its
        result. `own_origin()`, `unstaged()` and `notes()` are asked after `decide`: the origin that writes here now,
        if it is new, the numbers of staged runs that were used up, and notes of bindings with the dots of their
        transactions. Nothing is written if `decide` gives None or raises. Cancelling the caller neither tears nor
        undoes it.

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

    async def unstage(self, numbers: Sequence[int]) -> None: ...
    async def age(self, elapsed_ms: int, history_ms: int) -> int:
        """Let `elapsed_ms` of daemon time pass for this database and forget local history older than `history_ms`
        of it. Gives the number of rows forgotten (at most some thousands a call).
        """
        ...

    async def size_bytes(self) -> int: ...
    def room_bytes(self) -> tuple[int, int]:
        """What is free on the disk, and all of it."""
        ...

    async def close(self) -> None: ...


class TableFile(Protocol):
    """An application's database with the tables of one binding. Whatever writes is durable when it returns, and whole
    whenever its caller is cancelled. Everything raises TableTrouble or DiskFull. `now_ms` is the wall clock.
    """

    async def harvest(self, now_ms: int) -> Harvest | None:
        """What the application did since the last harvest was settled; None: nothing."""
        ...

    async def settle(self, note: bytes, dot: Dot | None, *, late: bool = False) -> None:
        """The transaction of a harvest is durable in the space. Again, it does nothing. `late`: the file was closed
        since the harvest, and may have gone back to before it.
        """
        ...

    async def project(self, images: Sequence[RowImage], applied: Applied, now_ms: int) -> Projection: ...
    async def shows(self, images: Sequence[RowImage]) -> bool:
        """Would projecting these change nothing that anybody sees, nor what rows have seen? Only reads."""
        ...

    async def applied(self) -> Applied | None: ...
    async def parked(self) -> Sequence[Parked]: ...
    async def held(self) -> Mapping[str, int]:
        """Rows whose deletes the brake holds back, by table."""
        ...

    async def approve(self, table: str) -> None:
        """Let the deletes that are held go on: the next harvest has them."""
        ...

    async def restore(self, table: str) -> Sequence[tuple[str, str]]:
        """Undo the deletes that are held. Gives the names of the records to project again."""
        ...

    async def schema(self) -> Schema:
        """As the last harvest read it; the same object until it changes."""
        ...

    async def counts(self) -> Mapping[str, TableCount]: ...
    async def keys(self, collection: str) -> Sequence[str]:
        """Of the records that the file shows."""
        ...

    async def check(self) -> None:
        """Is it still the file that was bound, and can it be used? Raises TableTrouble."""
        ...

    def is_read(self) -> bool:
        """Is another process reading it at this moment?"""
        ...

    def is_written(self) -> bool:
        """Is another process writing to it at this moment? What it wrote may be heard of, and not be seen yet."""
        ...

    def reading_disturbs(self) -> bool:
        """Is a harvest in the way of those who write, as it is without a WAL?"""
        ...

    def in_the_way_s(self) -> float:
        """For how many seconds, in all since it was opened, others could not use it because of us."""
        ...

    async def close(self) -> None: ...


class FileWatch(Protocol):
    async def close(self) -> None: ...


class Remembered(NamedTuple):
    """What an unbound file is known by: where that is kept, and the records that the space has, by table."""

    place: Path
    alive: Mapping[str, Collection[str]]


class TableFiles(Protocol):
    """Applications' databases, before and after they are bound. Everything raises TableTrouble or DiskFull."""

    async def read_schema(self, database: Path) -> Schema: ...
    async def count_rows(self, database: Path, tables: Sequence[str]) -> Mapping[str, int]: ...
    async def back_up(self, database: Path, target: Path) -> None: ...
    async def carried(self, database: Path) -> bytes | None:
        """The binding whose marks the file carries, if any: it may be a copy of a bound one."""
        ...

    async def bind(
        self,
        database: Path,
        binding: bytes,
        plan: BindingPlan,
        *,
        empty: bool,
        remembered: Remembered | None = None,
    ) -> None:
        """Install what the binding needs in the file, instead of what an earlier one left. Every row counts as new
        then, but for those that are `remembered`; or, with `empty`, the rows of the bound tables are taken out.
        """
        ...

    async def recognised(self, database: Path, plan: BindingPlan, remembered: Remembered) -> Mapping[str, int]:
        """How many rows of each table `bind` would recognise."""
        ...

    async def forget(self, folder: Path, begins: str, before_ms: int | None) -> None:
        """Delete what was kept in `folder` under names that begin so, if it is older."""
        ...

    async def extend(
        self, database: Path, binding: bytes, plan: BindingPlan, new: Collection[int], again: SaidAgain, *, empty: bool
    ) -> None:
        """`plan` takes the place of the binding's plan; `new` are the numbers of tables that it did not have. Their
        rows count as new, or, with `empty`, are taken out. The next harvest says the cells in `again` anew. Everything
        is projected again.
        """
        ...

    async def unbind(self, database: Path, binding: bytes | None, keep: Path | None = None) -> bool:
        """Remove every trace of this binding, or, with None, of whichever it carries. False if there was none. What
        its rows are known by is kept at `keep`, if there is room.
        """
        ...

    async def open(self, database: Path, binding: bytes, plan: BindingPlan, brake: Brake) -> TableFile: ...
    async def watch(self, database: Path, changed: Callable[[], None]) -> FileWatch:
        """`changed` is called, in the event loop, when somebody may have written to the file, and when it comes and
        goes; once a second where the system does not tell.
        """
        ...


class Shelf(Protocol):
    """Where the databases of the spaces stand."""

    async def open_all(self) -> Sequence[tuple[Opened, SpaceStore]]:
        """All spaces of this device; one that cannot be opened is in `failed` instead."""
        ...

    async def open_again(self) -> Sequence[tuple[Opened, SpaceStore]]:
        """Those of `failed` that only wanted room on the disk, and have it now."""
        ...

    async def create(self, space: bytes, name: str, statements: Sequence[SignedStatement]) -> tuple[Opened, SpaceStore]:
        """A new, empty copy, durable with its statements; an old one of the same space is set aside."""
        ...

    def forget(self, space: bytes, *, delete: bool) -> Path | None:
        """Be rid of a database that is not open: where it was set aside, None if it was deleted. Raises StoreError."""
        ...

    def failed_space(self, name: str) -> bytes | None:
        """The id of the space that is listed in `failed` by this name."""
        ...

    def failed_name(self, space: bytes) -> str | None: ...

    @property
    def failed(self) -> Mapping[str, StoreError]:
        """Names of spaces whose databases could not be opened, and why."""
        ...


class Crypto(Protocol):
    """What needs keys of others only."""

    def verify(self, public_key: bytes, signature: bytes, data: bytes) -> bool: ...
    def seal(self, recipient: bytes, plaintext: bytes, info: bytes) -> bytes:
        """HPKE to an X25519 key."""
        ...
