"""What snapshots need of the database of a space."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

from peerd.core.batch import Fork, Reader
from peerd.core.snapshots.choice import Gap
from peerd.core.snapshots.doubt import Doubts
from peerd.core.snapshots.intake import SideWrites, Standing
from peerd.core.snapshots.stored import Incoming, RowCursor, SnapshotRows, SnapshotStart, Switched
from peerd.core.stored import Recopy


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
