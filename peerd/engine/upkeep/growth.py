"""What a space takes on this device, and who keeps its log from being trimmed, for people."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from peerd.core.stored import Sizes
from peerd.core.trimming import HeldBack
from peerd.engine.space import Space
from peerd.engine.upkeep.holding import Holder, Holders
from peerd.protocol.control.growth import HoldingBack, RelayHolding, SpaceSizes

DAY_MS = 24 * 3600 * 1000


class Growth:
    """`history_days(name)` is the setting of a space."""

    def __init__(self) -> None:
        self.holders = Holders()
        self.history_days: Callable[[str], int] = lambda _: 30

    async def sizes(self, space: Space) -> SpaceSizes:
        return _shown(await space.store.upkeep.sizes())

    async def holding(self, space: Space) -> tuple[Mapping[bytes, HoldingBack], list[RelayHolding]]:
        """By member, and for each relay."""
        holders = self.holders.of(space)
        before_ms = space.age.ms - self.history_days(space.name) * DAY_MS
        held = await space.store.upkeep.held_back([one.clock for one in holders if one.counts], before_ms)
        counted = iter(held)
        views = [(one, _view(one, next(counted) if one.counts else HeldBack())) for one in holders]
        return (
            {one.device: view for one, view in views if one.device is not None},
            [RelayHolding(relay=one.relay, holding=view) for one, view in views if one.device is None],
        )


def _view(holder: Holder, held: HeldBack) -> HoldingBack:
    return HoldingBack(
        active=holder.counts,
        silent_days=holder.silent_ms // DAY_MS,
        transactions=held.transactions,
        size_bytes=held.size_bytes,
        since_ms=held.since_ms,
    )


def _shown(sizes: Sizes) -> SpaceSizes:
    return SpaceSizes(
        database_bytes=sizes.database_bytes,
        free_bytes=sizes.free_bytes,
        wal_bytes=sizes.wal_bytes,
        wal_held=sizes.wal_held,
        log_bytes=sizes.log_bytes,
        history_bytes=sizes.history_bytes,
    )
