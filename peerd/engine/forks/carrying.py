"""The log of a copy that was set aside, as far as it goes on from the copy in its place.

Whoever made the snapshot had not heard of everything yet that the copy set aside has. What of that is neither of a
history that falls nor was written upon one is applied here, as if it had just come. Otherwise it would come later, and
what had overwritten it in the copy set aside would stand beside it: whoever wrote that again had not seen it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from peerd.core.batch import Author, Batch, Fork, Verdict
from peerd.core.clocks import ReadClock
from peerd.core.entry import NeedsNewer
from peerd.core.stored import LogRow
from peerd.engine.arrival import attempt
from peerd.engine.decoded import Decoded
from peerd.engine.forks.aside_ports import Beside
from peerd.errors import RemoteProtocolError
from peerd.logs import get

if TYPE_CHECKING:
    from peerd.engine.space import Space

log = get(__name__)

RUNS_AT_ONCE = 1_000
BYTES_AT_ONCE = 1 << 20


async def carry_over(space: Space, beside: Beside, shared: ReadClock) -> None:
    """So far as `shared` both hold the same history of each origin. What was done before is passed over. Raises
    StoreError; UserError "removed".
    """
    position = count = 0
    while True:
        some = await beside.runs_after(position, BYTES_AT_ONCE, RUNS_AT_ONCE, space.copy.clock())
        if some.rows:
            count += await _apply(space, some.rows, shared)
        if some.read_up_to <= position:
            break
        position = some.read_up_to
    if count:
        log.info("log carried over", space=space.name, count=count)


async def _apply(space: Space, rows: Sequence[LogRow], shared: ReadClock) -> int:
    decoded = Decoded(shared)
    runs = [row.run for row in rows]
    await decoded.decode(runs, space.copy)
    applied = 0

    def decide(batch: Batch, _: Author) -> None:
        nonlocal applied
        applied = 0
        for run in runs:
            try:
                applied += attempt(batch, run, decoded) is Verdict.APPLIED
            except (RemoteProtocolError, Fork, NeedsNewer):
                continue  # of another history: what it wrote is written again

    await space.commits.write_so(decide)
    return applied
