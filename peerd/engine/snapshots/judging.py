"""May a snapshot that is whole be merged into our copy? Not if both hold two histories of an origin, or may do so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from peerd.core.batch import Doubt, Fork
from peerd.core.snapshots.intake import Standing
from peerd.engine.store_ports import SnapshotStore
from peerd.errors import RemoteProtocolError

if TYPE_CHECKING:
    from peerd.engine.space import Space


async def check_variants(space: Space, store: SnapshotStore, standing: Standing) -> None:
    """Raises RemoteProtocolError if it holds what does not stand of an origin that went two ways."""
    forks = [
        fork
        for fork in space.roster.closed_forks
        if (at := standing.origins.get(fork.origin)) is not None and at.seq > fork.seq
    ]
    for fork in forks:
        ends = [fork.stands, *fork.falls]
        hashes = await store.hashes([(fork.origin, end.seq) for end in ends])
        falls = any(hash8 == end.hash for end, hash8 in zip(fork.falls, hashes[1:], strict=True))
        if falls or hashes[0] not in {None, fork.stands.hash}:
            raise RemoteProtocolError(
                "a snapshot is refused: of an origin that went two ways it holds the one that does not stand",
                code="snapshot-refused",
            )


async def check_ours(space: Space, standing: Standing) -> None:
    """Raises Fork if our copy holds what does not stand, and the snapshot goes on: the two cannot be merged."""
    await space.forks.look()
    for fork in space.roster.closed_forks:
        at, side = standing.origins.get(fork.origin), space.forks.sides[fork.origin]
        if side.falls and at is not None and at.seq > fork.seq:
            raise Fork(fork.origin, fork.seq)


def is_further(space: Space, standing: Standing, fork: Fork) -> bool:
    """Is there only doubt, and does the snapshot have more of that origin than we? Then it is for us to go over."""
    return isinstance(fork, Doubt) and standing.clock.get(fork.origin, 0) > space.copy.seq(fork.origin)
