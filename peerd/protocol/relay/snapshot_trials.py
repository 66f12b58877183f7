"""Snapshots of others that could not be had: when one is tried again, and when its maker hears of it.

| what came of it                | tried again         | its maker hears of it            |
|--------------------------------|---------------------|----------------------------------|
| parts of it are not there      | less and less often | when that has lasted COMPLAIN_S  |
| it was refused                 | by another copy     | at once                          |

Something else may carry a relay's objects, late and in any order: what is not there is not gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct

from peerd.core.backoff import doubling_s
from peerd.protocol.relay.courier_steps import SegmentName
from peerd.protocol.relay.objects import Head
from peerd.protocol.relay.stream_reader import COMPLAIN_S

_RETRY_S = (20.0, 1800.0)


class _Absent(Struct):
    since_s: float
    until_s: float  # not tried again before
    times: int = 0


class SnapshotTrials:
    """Snapshots are named by id. `complained_of`: what our last head says; why it was said is not known any more, so
    each of these is tried once more.
    """

    def __init__(self, complained_of: Iterable[SegmentName]) -> None:
        never_s = float("-inf")
        self._absent = {one: _Absent(never_s, never_s) for _, one, number in complained_of if number == 0}
        self._refused: set[bytes] = set()

    def absent(self, snapshot: bytes, now_s: float) -> None:
        """Parts of it were looked for, and are not there."""
        one = self._absent.setdefault(snapshot, _Absent(now_s, now_s))
        one.until_s = now_s + doubling_s(*_RETRY_S, one.times)
        one.times += 1

    def refused(self, snapshot: bytes) -> None:
        """All of it came, and it is of no use to our copy."""
        self._absent.pop(snapshot, None)
        self._refused.add(snapshot)

    def came(self, snapshot: bytes) -> None:
        """All parts are there."""
        self._absent.pop(snapshot, None)

    def may_try(self, snapshot: bytes, now_s: float) -> bool:
        absent = self._absent.get(snapshot)
        return snapshot not in self._refused and (absent is None or absent.until_s <= now_s)

    def retry_now(self) -> None:
        """They may be there now."""
        for one in self._absent.values():
            one.until_s = float("-inf")

    def next_s(self, now_s: float) -> float | None:
        """When one is to be tried again that waits for that."""
        return min((one.until_s for one in self._absent.values() if one.until_s > now_s), default=None)

    def forget(self) -> None:
        """Our copy is another one: it may take what the one before could not."""
        self._absent.clear()
        self._refused.clear()

    def complaints(self, heads: Mapping[bytes, Head], now_s: float) -> list[SegmentName]:
        """For our head, about snapshots that `heads` name; what none of them names any more is forgotten."""
        made = {head.snapshot.id: device for device, head in heads.items() if head.snapshot is not None}
        if heads:
            self._refused &= made.keys()
            self._absent = {one: absent for one, absent in self._absent.items() if one in made}
        long = {one for one, absent in self._absent.items() if now_s - absent.since_s >= COMPLAIN_S}
        return [(device, one, 0) for one, device in made.items() if one in self._refused or one in long]
