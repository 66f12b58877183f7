"""How eagerly a courier works. The defaults are made for a relay that counts requests; a folder is asked more often."""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

Range: TypeAlias = tuple[float, float]  # seconds; something between the two is drawn

MINUTE_S = 60.0
HOUR_S = 3600.0
DAY_S = 86400.0


class CourierSettings(Struct, frozen=True):
    """`poll_min_s` is the pause between two looks after activity, `poll_max_s` after long quiet, each +-20 %.

    Our own transactions are left after `quiet_s`; while they keep coming, longer and longer, at most `gather_s` after
    the first of those that wait. Those of others are left after `foreign_s` in which nobody else did, what all
    active members have by links after `lan_s`. A head that acknowledges and says nothing else comes `acknowledge_s[0]`
    after the one before, and while there is more and more to acknowledge up to `acknowledge_s[1]`.

    `max_bytes`: what the relay may hold before old segments are given up for a snapshot (None: no such limit).
    `snapshots`: may we make one, other than to settle a fork? From `snapshot_from_bytes` of segments on one is worth
    it.
    """

    poll_min_s: float = 25.0
    poll_max_s: float = 600.0
    quiet_s: Range = (5.0, 30.0)
    gather_s: float = 5 * MINUTE_S
    foreign_s: Range = (5 * MINUTE_S, 15 * MINUTE_S)
    lan_s: Range = (30 * MINUTE_S, 90 * MINUTE_S)
    acknowledge_s: Range = (MINUTE_S, 8 * MINUTE_S)
    max_bytes: int | None = 50_000_000
    snapshots: bool = False
    snapshot_from_bytes: int = 4 << 20
