"""Runs of our log that are damaged, from another device that has them whole. A run proves itself, whoever brings it."""

from __future__ import annotations

from collections.abc import Sequence

from peerd.core.chain import Run
from peerd.core.repair.scrub import FROM_PEER, LOG
from peerd.engine.space import Space
from peerd.protocol.messages import RUNS_PER_MEND

RUNS_BYTES = 700 << 10


def wanted(space: Space) -> list[tuple[bytes, int]]:
    """Origin and first number of damaged runs, of as many as are asked for at a time."""
    keys = [one.key.split() for one in space.damage.findings.open if one.found == LOG]
    return [(bytes.fromhex(origin), int(first)) for origin, first in keys[:RUNS_PER_MEND]]


async def ours(space: Space, asked: Sequence[tuple[bytes, int]]) -> list[Run]:
    """Those that we have, as many as fit into a frame."""
    found: list[Run] = []
    size_bytes = 0
    for origin, first in asked:
        run = await space.store.scrubs.run(origin, first)
        if run is not None and size_bytes + run.size_bytes <= RUNS_BYTES:
            size_bytes += run.size_bytes
            found.append(run)
    return found


async def take(space: Space, runs: Sequence[Run], theirs: bytes) -> None:
    """Put those that hold in the place of the damaged ones."""
    damaged = {one.name: one for one in space.damage.findings.open if one.found == LOG}
    for run in runs:
        name = "", f"{run.origin.hex()} {run.first}"
        if name in damaged and await space.store.scrubs.replace_run(run, space.commits.verify):
            await space.damage.findings.put_right({name}, FROM_PEER, theirs)
