"""May a snapshot that is whole be merged into our copy? Not if both hold two histories of an origin, or may do so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from peerd.core.batch import Doubt, Fork
from peerd.core.roster.acceptance import ClosedFork
from peerd.core.snapshots.intake import Standing
from peerd.engine.snapshots.ports import SnapshotStore
from peerd.engine.store_ports import Transaction
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


async def check_ours(space: Space, store: SnapshotStore, standing: Standing) -> None:
    """Raises Fork if our copy holds what does not stand, and the snapshot goes on with something else: both cannot be
    merged. Where ours does not go on, it may hold what falls: whoever has no other way to them goes over with them.
    """
    await space.forks.look()
    for fork in space.roster.closed_forks:
        at, side = standing.origins.get(fork.origin), space.forks.sides[fork.origin]
        if side.falls and at is not None and at.seq > fork.seq and not await _are_alike(space, store, fork):
            raise Fork(fork.origin, fork.seq)


async def _are_alike(space: Space, store: SnapshotStore, fork: ClosedFork) -> bool:
    """Do both hold the same variant that a close names?"""
    theirs = await store.hashes([(fork.origin, end.seq) for end in fork.falls])

    def comparing(transaction: Transaction) -> bool:
        history = transaction.history_of(fork.origin)
        ours = (history.hash8(end.seq) for end in fork.falls)
        return any(here == there == end.hash for end, here, there in zip(fork.falls, ours, theirs, strict=True))

    return await space.store.read(comparing)


def is_further(space: Space, standing: Standing, fork: Fork) -> bool:
    """Is there only doubt, and does the snapshot have more of that origin than we? Then it is for us to go over."""
    return isinstance(fork, Doubt) and standing.clock.get(fork.origin, 0) > space.copy.seq(fork.origin)
