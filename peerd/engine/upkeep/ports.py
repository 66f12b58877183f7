"""What upkeep needs of the database of a space."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from peerd.core.clocks import ReadClock
from peerd.core.daemon_time import Age
from peerd.core.stored import Sizes
from peerd.core.trimming import HeldBack, Plan, Trimmed


class UpkeepStore(Protocol):
    """What keeps a space's database from growing. Each call but `rest` is one short transaction, durable when it
    returns; `size` says how much it may do, in rows and pages.
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

    async def rest(self) -> None:
        """Nothing is done here for a while: memory that only makes work faster goes back to the system."""
        ...

    async def sizes(self) -> Sizes: ...
