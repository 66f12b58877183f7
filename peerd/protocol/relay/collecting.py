"""What may go from the relay.

    our segments         from the oldest on: what every active member acknowledges and a snapshot that is really there
                         covers; beyond the relay's size limit the snapshot alone is enough
    our snapshot         when another one is better and is really there
    streams given up     after a while, when a head of ours no longer speaks of them
    former members'      segments and snapshot, 30 days after we first saw that they are none; what lies in the place of
                         their head and tells them so, 60 days after

What a head spoke of is removed only after a head that no longer does.
"""

from __future__ import annotations

from collections.abc import Sequence

from peerd.core.clocks import ReadClock, includes
from peerd.protocol.relay.courier_settings import DAY_S, HOUR_S, CourierSettings
from peerd.protocol.relay.courier_steps import DELETE_NAMES, CheckSnapshot, Delete, LeaveFarewell, Moment, Standing
from peerd.protocol.relay.coverage import tops
from peerd.protocol.relay.memory import Litter, Memory, throw_away
from peerd.protocol.relay.objects import Manifest
from peerd.protocol.relay.own_stream import OwnStream
from peerd.protocol.relay.view import Picture

GONE_S = 30 * DAY_S
TOLD_S = 60 * DAY_S
CONFIRMED_S = DAY_S
_TELL_AGAIN_S = 300.0
_GRACE_MS = int(HOUR_S * 1000)  # somebody may be reading it
_GONE_SEGMENTS = 10_000


class Collecting:
    def __init__(self, device: bytes, memory: Memory, stream: OwnStream, settings: CourierSettings) -> None:
        self._us = device
        self._memory = memory
        self._stream = stream
        self._settings = settings
        self._confirmed: tuple[bytes, float] | None = None  # a snapshot whose parts are all there; since when
        self._deleting: list[tuple[int, Litter]] = []  # up to which number of each
        self._tell_from_s = float("-inf")

    # ---- segments and snapshots of ours

    def collect(
        self, picture: Picture, acknowledged: Sequence[ReadClock], moment: Moment, *, may_check: bool
    ) -> CheckSnapshot | None:
        """Give up what nobody needs any more. Before that, and once a day, a look whether the snapshot is there that
        all rests on; not yet (`may_check`) if it was not just now.
        """
        best = picture.best
        if best is None:
            return None
        confirmed = self._confirmed
        if confirmed is None or confirmed[0] != best.manifest.id or moment.now_s - confirmed[1] > CONFIRMED_S:
            return CheckSnapshot(best.device, best.manifest) if may_check else None
        count = self._collectable(picture, best.manifest.clock, acknowledged)
        if count:
            self._stream.drop(count, moment.wall_ms)
        own = self._memory.snapshot
        if own is not None and own.id != best.manifest.id:
            self.drop_snapshot(moment)
        return None

    def _collectable(self, picture: Picture, snapshot: ReadClock, acknowledged: Sequence[ReadClock]) -> int:
        limit_bytes = self._settings.max_bytes
        count = 0
        excess = 0 if limit_bytes is None else picture.held_bytes - limit_bytes
        for kept in self._memory.segments:
            top = tops(kept.coverage)
            if not includes(snapshot, top):
                break
            if not (excess > 0 or all(includes(clock, top) for clock in acknowledged)):
                break
            excess -= kept.size_bytes
            count += 1
        while count and self._memory.segments[count - 1].more:  # a run goes whole
            count -= 1
        return count

    def drop_snapshot(self, moment: Moment) -> None:
        """Our head no longer speaks of it; its parts go a while later."""
        memory, own = self._memory, self._memory.snapshot
        if own is not None:
            from_ms = moment.wall_ms + _GRACE_MS
            throw_away(memory, Litter("part", own.id, 0, own.parts - 1, from_ms, memory.counter + 1))
            memory.snapshot = None

    def adopt(self, snapshot: Manifest | None, moment: Moment) -> None:
        """One that we made in an earlier life goes on being ours, if it is the better one."""
        own = self._memory.snapshot
        if snapshot is None or (own is not None and sum(own.clock.values()) >= sum(snapshot.clock.values())):
            return
        self.drop_snapshot(moment)
        self._memory.snapshot = snapshot

    def confirmed(self, snapshot: bytes, moment: Moment) -> None:
        """All its parts are there."""
        self._confirmed = snapshot, moment.now_s

    def is_confirmed(self, snapshot: bytes) -> bool:
        return self._confirmed is not None and self._confirmed[0] == snapshot

    def doubt(self) -> None:
        """The relay is not as we left it."""
        self._confirmed = None

    # ---- former members

    def update_members(self, standing: Standing, moment: Moment) -> None:
        memory = self._memory
        back = [one for one in memory.litter if one.kind == "head" and one.id in standing.members]
        for litter in back:
            memory.litter.remove(litter)
        for device, known in list(memory.known.items()):
            admission = standing.admissions.get(device, known.admission)
            if known.admission not in {b"", admission}:  # that membership ended, and there was another one
                known.counter, known.gone_ms, known.told = 0, 0, False
                memory.removed.pop(device, None)
            known.admission = admission
            if device in standing.members or device == self._us:
                known.gone_ms, known.told = 0, False
            elif known.gone_ms == 0 or known.gone_ms > moment.wall_ms:
                known.gone_ms = max(moment.wall_ms, 1)
                known.absent.clear()
            elif moment.wall_ms - known.gone_ms >= GONE_S * 1000:
                first = max(known.oldest, known.next - _GONE_SEGMENTS)
                throw_away(memory, Litter("segment", known.stream, first, known.next - 1))
                throw_away(memory, Litter("part", known.snapshot, 0, known.parts - 1))
                throw_away(memory, Litter("head", device, 0, 0, known.gone_ms + int(TOLD_S * 1000)))
                del memory.known[device]

    def farewell(self, standing: Standing, moment: Moment) -> LeaveFarewell | None:
        """Somebody is no member any more and has not been told so; our own head says it already, so that nobody wonders
        what became of the other one.
        """
        put = self._memory.put
        if put is None or put.roster_digest != standing.roster_digest or moment.now_s < self._tell_from_s:
            return None
        for device, known in self._memory.known.items():
            if known.gone_ms and not known.told and device not in standing.members:
                return LeaveFarewell(device)
        return None

    def tell_later(self, moment: Moment) -> None:
        """It goes on writing, or the relay shows what was there before: not again and again."""
        self._tell_from_s = moment.now_s + _TELL_AGAIN_S

    def told(self, device: bytes) -> None:
        """It finds on the relay that it was removed; or we cannot tell it."""
        if device in self._memory.known:
            self._memory.known[device].told = True

    # ---- removing

    def next_delete_ms(self) -> int | None:
        """Wall clock."""
        return min((litter.from_ms for litter in self._ripe()), default=None)

    def _ripe(self) -> list[Litter]:
        put = self._memory.put
        counter = put.counter if put else -1
        return [litter for litter in self._memory.litter if litter.counter <= counter]

    def delete(self, moment: Moment) -> Delete | None:
        """As much as one request takes of what may go."""
        self._deleting = []
        names: dict[str, list[tuple[bytes, int]]] = {"segment": [], "part": [], "head": []}
        room = DELETE_NAMES
        for litter in self._ripe():
            if litter.from_ms <= moment.wall_ms and room:
                last = min(litter.last, litter.first + room - 1)
                self._deleting.append((last, litter))
                names[litter.kind] += [(litter.id, number) for number in range(litter.first, last + 1)]
                room -= last + 1 - litter.first
        if not self._deleting:
            return None
        return Delete(names["segment"], names["part"], [device for device, _ in names["head"]])

    def deleted(self) -> None:
        for last, litter in self._deleting:
            litter.first = last + 1
            if litter.first > litter.last and litter in self._memory.litter:
                self._memory.litter.remove(litter)
        self._deleting = []
