"""What the engine needs of a space's database to look back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

from peerd.core.batch import Name
from peerd.core.clocks import Dot
from peerd.core.past import Place, Removal
from peerd.core.record import Record
from peerd.core.stored import NEVER_MS, LogBack, LogRow, LogWish, Reach

T = TypeVar("T")


class PastReader(Protocol):
    """What may be read of the past inside one transaction. Raises StoreDamaged."""

    def record(self, name: Name) -> Record | None: ...
    def removals(self, name: Name, below: int = NEVER_MS) -> Iterator[Removal]:
        """What was dropped of a record and is not forgotten, the last first, of those numbered below `below`; read as
        far as the caller goes.
        """
        ...

    def place(self, dot: Dot, known_ms: int) -> Place:
        """Where a transaction stands; `known_ms` is its time if neither the log nor a snapshot knows better."""
        ...

    def leapt_ms(self, dot: Dot) -> int | None:
        """When the snapshot came that brought a transaction, if one did."""
        ...

    def position_at(self, ms: int) -> int:
        """The last position before the wall clock here first passed `ms`."""
        ...

    def row(self, position: int) -> LogRow | None: ...
    def arrived_ms(self, position: int) -> int:
        """When the run there arrived; 0 if there is none."""
        ...

    def rows_back(self, wish: LogWish) -> LogBack: ...


class Lookback(Protocol):
    """Reading of the past."""

    async def read(self, reading: Callable[[PastReader], T]) -> T:
        """Run `reading` in one read transaction."""
        ...

    async def reach(self) -> Reach: ...
    async def rows_back(self, wish: LogWish) -> LogBack:
        """Runs that fit, the newest first: at least one if there is any, else up to the limits of the wish."""
        ...
