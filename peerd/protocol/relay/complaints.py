"""What members say they cannot get (`lost` in their heads): whom not to believe any more, and what to look into.

A complaint about a stream that goes on standing though its writer had time to answer is believed: what the stream
claims to hold counts as not there. Its writer looks itself: what is really gone it leaves again in a new stream. A
complaint about number 0 is about a snapshot or a part of a roster, by its id, one about a head's `next` says that the
stream holds less than claimed.

What its writer finds in order is perhaps still on its way to whoever complains: what a folder is synced with may need
days. As long as ever more of it arrives there, to leave all of it anew would only make that longer; but one segment for
which somebody waits so long will not come. For how long is counted over restarts: a machine that is switched off every
evening would leave nothing anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from peerd.core.backoff import doubling_s
from peerd.protocol.relay.courier_settings import DAY_S, HOUR_S
from peerd.protocol.relay.courier_steps import SegmentName
from peerd.protocol.relay.memory import HEARD, Heard, Memory, Told
from peerd.protocol.relay.objects import Head
from peerd.protocol.relay.running_time import RunningTime

_PATIENCE_S = (DAY_S, 4 * DAY_S)  # while nothing arrives: at first, and after ever more streams that were new
_LONGEST_S = 14 * DAY_S  # for one segment, while others arrive
_TRACKED = 1_000
_PER_HEAD = 100


class Complaints:
    def __init__(self, device: bytes, memory: Memory, ran: RunningTime) -> None:
        self.about_us: list[SegmentName] = []
        self._us = device
        self._memory = memory
        self._ran = ran
        self._tracked = {(one.accuser, one.about): one for one in memory.heard}
        self._told = {(one.accuser, one.id): one for one in memory.told}
        self._looked_into: set[SegmentName] = set()  # since we started
        self._in_order = memory.in_order  # of what is told, by id and number: since when we know
        self._mended_s = float("-inf")
        self.distrusted: frozenset[bytes] = frozenset()
        self.broken: frozenset[bytes] = frozenset()

    def update(self, heads: Mapping[bytes, Head], ours: Iterable[SegmentName], now_s: float) -> None:
        """`heads` of members as they are; `ours` are the complaints that we make."""
        believed = set(ours)
        at_s = int(self._ran.at(now_s))
        before, self._tracked = self._tracked, {}
        about_us: dict[SegmentName, None] = {}
        for accuser, head in heads.items():
            for name in head.lost[:_PER_HEAD]:
                if name[0] == self._us:
                    about_us[name] = None
                elif name[0] in heads and len(self._tracked) < _TRACKED:
                    counter = heads[name[0]].counter
                    complaint = before.get((accuser, name)) or Heard(accuser, name, at_s, counter, at_s)
                    if complaint.counter != counter:  # its writer is there
                        complaint.counter, complaint.counter_since_s = counter, at_s
                    self._tracked[accuser, name] = complaint
                    if at_s - complaint.counter_since_s >= HOUR_S or at_s - complaint.since_s >= DAY_S:
                        believed.add(name)
        self._memory.heard = list(self._tracked.values())[:HEARD]
        self.about_us = list(about_us)
        self._note_told(heads, at_s)
        self._looked_into &= about_us.keys()
        self.distrusted = frozenset(
            device for device, stream, number in believed
            if number > 0 and device in heads and heads[device].stream == stream
        )  # fmt: skip
        self.broken = frozenset(stream for _, stream, number in believed if number == 0)

    def _note_told(self, heads: Mapping[bytes, Head], at_s: int) -> None:
        """Of the segments of ours that a member missed, does it miss some no more?"""
        before, self._told = self._told, {}
        for accuser, head in heads.items():
            for _, id_, number in (name for name in head.lost[:_PER_HEAD] if name[0] == self._us):
                self._told.setdefault((accuser, id_), Told(accuser, id_, [])).numbers.append(number)
        for key, told in self._told.items():
            known = before.get(key) or told
            has_arrived = any(number > 0 for number in set(known.numbers).difference(told.numbers))
            told.arrived_s = at_s if has_arrived else known.arrived_s
        in_order, self._in_order = self._in_order, {}
        for told in self._told.values():
            since = in_order.get(told.id, {})
            still = {number: since[number] for number in told.numbers if number in since}
            self._in_order.setdefault(told.id, {}).update(still)
        memory = self._memory
        lasting = {memory.stream, memory.snapshot.id if memory.snapshot else b""}
        memory.told = [one for one in self._told.values() if one.id in lasting][:HEARD]
        memory.in_order = {one.id: self._in_order[one.id] for one in memory.told}

    def in_order(self, name: SegmentName, now_s: float) -> None:
        """We looked: it is there and opens."""
        self._looked_into.add(name)
        self._in_order.setdefault(name[1], {}).setdefault(name[2], int(self._ran.at(now_s)))

    def all_in_order(self, stream: bytes, now_s: float) -> None:
        """Likewise, whatever of this stream (or snapshot) is complained of."""
        for name in self.about_us:
            if name[1] == stream:
                self.in_order(name, now_s)

    def unheard(self, stream: bytes) -> SegmentName | None:
        """A complaint about this stream (or snapshot) of ours that is yet to be looked into."""
        for name in self.about_us:
            if name[1] == stream and name not in self._looked_into:
                return name
        return None

    def of_roster(self, ours: Iterable[bytes], now_s: float) -> bool:
        """Does somebody miss something whose id is none of our snapshots' (`ours`): a part of our roster? Not again and
        again, whatever members say.
        """
        known = set(ours)
        missed = any(name[2] == 0 and name[1] not in known and name not in self._looked_into for name in self.about_us)
        return missed and now_s >= self._mended_s + HOUR_S

    def roster_mended(self, now_s: float) -> None:
        """What of it was missing is there."""
        self._mended_s = now_s
        for name in self.about_us:
            if name[2] == 0:
                self.in_order(name, now_s)

    def persistent(self, id_: bytes, now_s: float, renewals: int = 0) -> bool:
        """Does somebody go on complaining of this stream or snapshot though we found everything in order, and nothing
        of it has arrived there for a day? After so many `renewals` for several.
        """
        patience_s, at_s = doubling_s(*_PATIENCE_S, renewals), self._ran.at(now_s)
        in_order = self._in_order.get(id_, {})
        for told in (one for one in self._told.values() if one.id == id_):
            waits_s = at_s - min((in_order[number] for number in told.numbers if number in in_order), default=at_s)
            idle_s = waits_s if told.arrived_s is None else at_s - told.arrived_s
            if min(waits_s, idle_s) >= patience_s or waits_s >= _LONGEST_S:
                return True
        return False
