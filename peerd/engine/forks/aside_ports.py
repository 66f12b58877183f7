"""What the engine needs of copies of a space that were set aside."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from peerd.core.clocks import Clock, ReadClock
from peerd.core.roster.acceptance import ClosedFork
from peerd.core.stored import Aside, AsideCursor, AsidePage, LogSlice


class Beside(Protocol):
    """A copy that was set aside, open for reading beside the one that took its place. Reading raises StoreError."""

    async def look(self) -> Aside: ...
    async def shared(self, forks: Sequence[ClosedFork], *, forked: bool) -> Clock:
        """How far both hold the same history of each origin, as far as hashes are kept. Of `forks` the copy here holds
        what stands; but with `forked` nothing is taken for the same that no hash shows to be.
        """
        ...

    async def page(self, after: AsideCursor) -> AsidePage:
        """Records after `after` that are not the same in both; ("", "") is before the first."""
        ...

    async def runs_after(self, position: int, max_bytes: int, max_runs: int, covered: ReadClock) -> LogSlice:
        """Of its log what `covered` does not cover. See `SpaceStore.runs_after`."""
        ...

    async def close(self) -> None: ...


class Asides(Protocol):
    """The copies of a space that were set aside."""

    def offered(self) -> Sequence[Path]:
        """Those that nobody took in yet, the oldest first. Raises StoreError."""
        ...

    def path_of(self, name: str) -> Path:
        """By a path, a file's name, or "latest". Raises UserError "no-aside"."""
        ...

    async def open(self, path: Path) -> Beside:
        """Raises UserError "no-aside" if it is of another space; StoreError."""
        ...

    async def make(self) -> Path:
        """Set the database aside as it is, durably, and go on with it: where it will be once it is kept. Nobody may be
        writing. Raises StoreError.
        """
        ...

    def keep(self, path: Path) -> None:
        """Another copy took the place of the one that was set aside so. Raises StoreError."""
        ...

    def forget_unkept(self, copy_id: bytes) -> None:
        """No other copy took the place of this one: those that were made of it and not kept go. Raises OSError."""
        ...

    def settle(self, path: Path) -> Path:
        """It was taken in, and is not offered any more: where it is now. Raises StoreError."""
        ...
