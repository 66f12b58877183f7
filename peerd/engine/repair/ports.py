"""What the scrub and repairs need of the database of a space."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

from peerd.core.batch import Name
from peerd.core.chain import Run
from peerd.core.clocks import Dot
from peerd.core.copy import CopyState
from peerd.core.repair.scrub import Counted, Finding, RowsChecked, RunsChecked, ScrubState, SharesRead


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
