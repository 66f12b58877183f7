"""Our own head on the relay: what is there in our name, and when another is to be written.

A head in our name that we do not remember comes from another life of this device (a restored or cloned copy, or lost
memory). Before it is overwritten it is read like anyone's (`former`): it may hold the only copy of something. If that
is of another history than our copy (`former_apart`) we cannot take it, and leave it until another device has.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from peerd.core.backoff import doubling_s
from peerd.core.clocks import ReadClock
from peerd.protocol.relay.courier_settings import DAY_S, HOUR_S, CourierSettings
from peerd.protocol.relay.courier_steps import Damage, Moment, PutHead, SeenHead, SegmentName, Standing
from peerd.protocol.relay.coverage import CLAIMS, Coverage, claim, union
from peerd.protocol.relay.memory import PUTTING, HeadMark, Litter, Memory, throw_away
from peerd.protocol.relay.objects import INTERVALS, Head
from peerd.protocol.relay.own_stream import OwnStream, Told

_CONTEST_S = (60.0, HOUR_S)  # between heads when somebody else writes ours too
_REFUSED_S = (2.0, 900.0)  # between heads that are refused one after the other
_FORMER_S = 30 * DAY_S
_COUNTER = (1 << 62) - 1


class OwnHead:
    """`tag` is of the head that is there in our name, None if none is."""

    def __init__(self, memory: Memory, stream: OwnStream, settings: CourierSettings) -> None:
        self.tag: str | None = None
        self.former: Head | None = None
        self.former_apart = False
        self._ours_was_there = False  # since we started
        self._memory = memory
        self._stream = stream
        self._dealt_with = ""  # the tag of a head that we did not write, and know what to do about
        self._written_s = float("-inf")
        self._acknowledge_s = settings.acknowledge_s
        self._pause_s = settings.acknowledge_s[0]
        self._acknowledges = False  # the next head, and nothing else
        self._contests = 0
        self._refusals = 0  # since one was written
        self._not_before_s = float("-inf")
        self._insisted = False  # a person wants to be acknowledged to now

    def insist(self) -> None:
        """The next acknowledgement need not wait."""
        self._insisted = True

    # ---- our head, as the relay shows it

    def polled(self, tag: str | None) -> bool:
        """Our head has this tag (None: it is not there). True: what it says has to be fetched."""
        memory = self._memory
        self.tag = tag
        if tag is None:
            if memory.put is not None:
                self._doubt()
            return False
        if memory.put is not None and memory.put.tag == tag:
            self._ours_was_there = True
            return False
        return tag != self._dealt_with

    def seen(self, seen: SeenHead, moment: Moment) -> str:
        """What is there in our name. Gives the code of a report, or nothing if all is well."""
        memory, head = self._memory, seen.head
        self.tag = seen.tag
        if head is None:
            self._dealt_with = seen.tag
            self._doubt()
            return "" if seen.damage is Damage.FAREWELL else "relay-damaged"  # of an earlier time, if we are still here
        for mark in (*memory.putting, *([memory.put] if memory.put else [])):
            if _is(mark, head):
                memory.put, memory.putting, self._dealt_with = replace(mark, tag=seen.tag), [], ""
                self._ours_was_there = True
                return ""
        before = memory.put
        memory.counter = min(max(memory.counter, head.counter), _COUNTER)
        self._dealt_with = seen.tag
        older = before is not None and head.counter < before.counter
        if head.stream == memory.stream and older:
            self._doubt()
            return "relay-rolled-back"
        self.former, self.former_apart = head, False
        self._contest(moment)
        if head.stream == memory.stream:
            memory.put = None
            self._stream.must_renew()
        elif before is not None:
            self._doubt()
        if before is None:
            return ""
        if older:
            return "relay-rolled-back"
        # At a start it is the machine that was set back; who writes beside us does so again.
        return "relay-cloned" if self._ours_was_there else ""

    def _doubt(self) -> None:
        self._memory.put, self._memory.putting = None, []
        self._stream.doubt()

    def _contest(self, moment: Moment) -> None:
        self._wait(_CONTEST_S, self._contests, moment)
        self._contests += 1

    def refused(self, moment: Moment) -> None:
        """The relay has another head than the one it showed us. The next is written on what it shows then; those after
        that less and less often: it may show for long what was there before.
        """
        self._wait(_REFUSED_S, self._refusals, moment)
        self._refusals += 1

    def _wait(self, pauses_s: tuple[float, float], count: int, moment: Moment) -> None:
        """After the first time not at all."""
        if count:
            self._not_before_s = moment.now_s + doubling_s(*pauses_s, count - 1)

    def former_read(self, moment: Moment, *, whole: bool) -> None:
        """Our copy has what the head of our earlier life held; or (not `whole`) some of it waits for something else, or
        cannot be had. Then its segments are left alone for long.
        """
        former, memory = self.former, self._memory
        self.former, self.former_apart = None, False
        if former is None or former.stream == memory.stream:
            return
        from_ms = moment.wall_ms + int((DAY_S if whole else _FORMER_S) * 1000)
        first = max(former.oldest, former.next - 100_000)
        memory.litter = [litter for litter in memory.litter if litter.id != former.stream]
        throw_away(memory, Litter("segment", former.stream, first, former.next, from_ms, memory.counter + 1))

    def told(self) -> Coverage:
        """What our head tells of, as far as nothing that is known of the relay contradicts it."""
        memory, put = self._memory, self._memory.put
        if put is None or put.stream != memory.stream or not self._stream.sound:
            return {}
        return union(kept.coverage for kept in memory.segments[: max(0, put.next - memory.oldest)] if not kept.more)

    # ---- our head, as we write it

    def due_s(self, standing: Standing, offered: ReadClock, lost: Sequence[SegmentName]) -> float | None:
        """When our head is to be written; None if it says all that there is to say."""
        memory, put = self._memory, self._memory.put
        self._acknowledges = False
        if put is None:
            return self._not_before_s
        snapshot = memory.snapshot.id if memory.snapshot else b""
        said = (put.stream, put.next, put.oldest, put.roster_digest, put.snapshot, put.lost)
        if said != (memory.stream, memory.next, memory.oldest, standing.roster_digest, snapshot, list(lost)):
            return self._not_before_s
        if (put.apart, put.talk) != (standing.apart, standing.talk):
            return self._not_before_s
        if any(min(standing.clock.get(o, 0), seq) > put.clock.get(o, 0) for o, seq in offered.items()):
            self._acknowledges = True
            return self._not_before_s if self._insisted else max(self._written_s + self._pause_s, self._not_before_s)
        return None

    def roster_mended(self) -> None:
        """What our head names of the roster may not be what is there now: it is to be written again."""
        put = self._memory.put
        self._memory.put = replace(put, roster_digest=b"") if put is not None else None

    def may_write(self, moment: Moment) -> bool:
        """Unless somebody else writes it too, and it is our turn to wait."""
        return moment.now_s >= self._not_before_s

    def write(
        self, standing: Standing, lost: Sequence[SegmentName], moment: Moment, told: Told | None = None
    ) -> PutHead:
        """The head as it is to be now; `told`: of a stream that is further by then."""
        memory = self._memory
        stream = told or self._stream.told()
        memory.counter = min(memory.counter + 1, _COUNTER)
        self._insisted = False
        head = Head(
            counter=memory.counter,
            t_ms=max(moment.wall_ms, 0),
            stream=memory.stream,
            next=stream.next,
            chain=stream.chain,
            oldest=memory.oldest,
            sizes=stream.sizes,
            covers=claim(stream.coverage, INTERVALS, CLAIMS),
            positions=standing.positions,
            snapshot=memory.snapshot,
            lost=list(lost),
            apart=standing.apart,
            talk=standing.talk,
        )
        mark = HeadMark(
            head.counter, head.t_ms, head.stream, head.next, head.oldest, head.chain, standing.roster_digest,
            memory.snapshot.id if memory.snapshot else b"", list(lost), standing.clock, apart=standing.apart,
            talk=standing.talk,
        )  # fmt: skip
        memory.putting = [*memory.putting[1 - PUTTING :], mark]
        return PutHead(head, self.tag)

    def written(self, tag: str, moment: Moment) -> None:
        memory = self._memory
        if memory.putting:
            memory.put, memory.putting = replace(memory.putting[-1], tag=tag), []
        self.tag, self._dealt_with, self._ours_was_there = tag, "", True
        self._refusals = 0
        if self._acknowledges:  # each costs its reader a request, too
            first_s, longest_s = self._acknowledge_s
            goes_on = moment.now_s - self._written_s < max(2 * self._pause_s, longest_s)
            self._pause_s = min(longest_s, 2 * self._pause_s) if goes_on else first_s
        self._written_s = moment.now_s
        self._stream.since_head = 0


def _is(mark: HeadMark, head: Head) -> bool:
    return (mark.counter, mark.t_ms, mark.stream, mark.next, mark.chain) == (
        head.counter, head.t_ms, head.stream, head.next, head.chain,
    )  # fmt: skip
