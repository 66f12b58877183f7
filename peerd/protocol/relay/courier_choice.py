"""Which step a courier takes next: what has come is applied, then it looks, reads, leaves, says so, and tidies up."""

from __future__ import annotations

from collections.abc import Iterator

from peerd.core.clocks import includes
from peerd.protocol.relay.courier_parts import Parts
from peerd.protocol.relay.courier_steps import (
    Apply,
    CheckSnapshot,
    FetchHeads,
    FetchSegments,
    MendRoster,
    Moment,
    Poll,
    PutHead,
    Sleep,
    Standing,
    Step,
    TakeSnapshot,
)
from peerd.protocol.relay.coverage import adds_to, extended, tops
from peerd.protocol.relay.looking import Looking

_HEADS = 8  # fetched at once
_SEGMENTS_PER_HEAD = 8  # of a long way to leave
_LOADS = 1  # that are kept while it is not known whether more follow
_FRESH_S = 30.0  # a look before others' runs are left is younger
_SHORTEST_S = 0.5  # a sleep


class Choice:
    """`hurry`: a person wants everything left now."""

    def __init__(self, parts: Parts, looking: Looking) -> None:
        self.hurry = False
        self._parts = parts
        self._looking = looking
        self._started = False

    def settle(self, standing: Standing, moment: Moment) -> None:
        """Take in what happened on our side."""
        parts = self._parts
        memory = parts.memory
        counting = memory.failing_s is not None or parts.fetching.misses or memory.heard or memory.told
        if counting or parts.former.devices:
            parts.ran.keep(moment.now_s)
        if not self._started:
            self._started = True
            parts.health.resume(moment)
        if memory.copy_id != standing.copy_id:
            self._be_reborn(standing, moment)
        if parts.stream.renew(moment):
            parts.leaving.reset(parts.stream.promised)
        if self.hurry:
            self.hurry = False
            parts.leaving.hurry(standing.clock)
        parts.collecting.update_members(standing, moment)
        parts.former.update(standing, moment)

    def _be_reborn(self, standing: Standing, moment: Moment) -> None:
        """Our copy is not the one that this memory is of: it is new, restored or cloned."""
        parts = self._parts
        memory = parts.memory
        if memory.copy_id:
            memory.put, memory.putting = None, []
            parts.begin_anew(moment)
            self._looking.looked_s = None
        memory.copy_id = standing.copy_id

    def choose(self, standing: Standing, moment: Moment) -> Step:
        """The step that matters most now."""
        parts = self._parts
        apply = parts.fetching.apply(standing.clock)
        if apply is not None:
            return apply
        if not parts.health.patience.over(moment):
            return Sleep(parts.health.patience.until_s)
        if self._looking.looked_s is None or parts.polling.next_s <= moment.now_s:
            return self._poll(standing)
        readable = {*standing.members, parts.us}
        fetchable = [d for d in self._looking.to_fetch if d in readable or d in parts.former.devices][:_HEADS]
        if fetchable:
            return FetchHeads(fetchable, parts.fetching.likely(d for d in fetchable if d in readable))
        parts.look_around(standing, moment.now_s, moment.wall_ms)
        again: Step | None = None
        for step in self._steps(standing, moment):
            if step is not None and type(step) is not parts.failed:
                parts.failed = None
                return step
            again = again or step
        if again is not None:
            return again
        if self._may_write(moment):
            parts.health.full.succeeded()  # what failed is not wanted any more
        return Sleep(max(self._wake_s(standing, moment), moment.now_s + _SHORTEST_S))

    def _poll(self, standing: Standing) -> Poll:
        return Poll([*sorted(standing.members), self._parts.us, *self._parts.former.devices])

    def _steps(self, standing: Standing, moment: Moment) -> Iterator[Step | None]:
        """In the order of their weight; the first that is one is taken."""
        parts = self._parts
        yield parts.stream.check()
        yield self._hear(moment)
        yield self._take_other_history(standing, moment.now_s)
        yield self._take_snapshot(standing, moment)
        yield self._take_ahead(standing, moment)
        yield parts.fetching.fetch(parts.offers, standing.clock, moment.now_s)
        self._finish_former(standing, moment)
        if self._may_write(moment):
            parts.leaving.update(standing, parts.picture.clock, moment)
            yield self._put_head(standing, moment) if parts.stream.since_head >= _SEGMENTS_PER_HEAD else None
            yield self._leave(standing, moment)
            yield self._put_head(standing, moment)
            acknowledged = parts.view.acknowledged(standing.active - standing.strangers)
            acknowledged += [{} for _ in standing.active & standing.strangers]  # it is of another history
            best = parts.picture.best
            may_check = best is not None and parts.trials.may_try(best.manifest.id, moment.now_s)
            yield parts.collecting.collect(parts.picture, acknowledged, moment, may_check=may_check)
            yield self._put_head(standing, moment)
            yield parts.collecting.farewell(standing, moment)
            yield parts.making.make(standing, parts.picture, parts.others(), moment, parts.useless_snapshots())
        if self._knows_ours():
            yield parts.collecting.delete(moment)

    def _may_write(self, moment: Moment) -> bool:
        parts = self._parts
        return self._knows_ours() and parts.health.full.over(moment)

    def _knows_ours(self) -> bool:
        """Is nothing of ours on the relay that is yet to be looked at?"""
        parts = self._parts
        return parts.stream.sound and parts.head.former is None and not self._looking.unseen

    def _hear(self, moment: Moment) -> Step | None:
        """Somebody complains of what we left: is it true?"""
        parts = self._parts
        memory, complaints, now_s = parts.memory, parts.complaints, moment.now_s
        if memory.snapshot is not None and complaints.unheard(memory.snapshot.id):
            return CheckSnapshot(parts.us, memory.snapshot, contents=True)
        if memory.snapshot is not None and complaints.persistent(memory.snapshot.id, now_s):
            parts.collecting.drop_snapshot(moment)
        name = complaints.unheard(memory.stream)
        if name is None:
            renewals = parts.stream.renewals(moment)
            if complaints.persistent(memory.stream, now_s, renewals) or parts.stream.is_crumbly:
                self._renew_if_allowed(moment)
            snapshot = memory.snapshot.id if memory.snapshot else b""
            return MendRoster() if complaints.of_roster([snapshot], now_s) else None
        if memory.oldest <= name[2] < memory.next:
            parts.verifying = name
            return FetchSegments([name])
        complaints.in_order(name, now_s)
        if name[2] >= memory.next:
            self._renew_if_allowed(moment)
        return None

    def _renew_if_allowed(self, moment: Moment) -> None:
        if moment.wall_ms >= self._parts.stream.renew_at_ms():
            self._parts.stream.must_renew()

    def _take_other_history(self, standing: Standing, now_s: float) -> TakeSnapshot | None:
        """Our copy went a way that does not stand: the one that a stranger's snapshot holds may."""
        if not standing.falls:
            return None
        for device, head in sorted(self._parts.others().items()):
            snapshot = head.snapshot
            if device not in standing.strangers or snapshot is None:
                continue
            if not self._parts.trials.may_try(snapshot.id, now_s):
                continue
            if includes(snapshot.clock, standing.falls):
                return TakeSnapshot(device, snapshot, replaces=True)
        return None

    def _take_snapshot(self, standing: Standing, moment: Moment) -> TakeSnapshot | None:
        """The best of those that hold what is neither in our copy nor to be had from streams."""
        parts = self._parts
        if standing.falls:
            return None
        here = extended(standing.clock, parts.to_be_had())
        there = parts.view.snapshots(parts.us, parts.memory.snapshot, standing.members - standing.strangers)
        for device, manifest in ((one.device, one.manifest) for one in there):
            if includes(here, manifest.clock) or not parts.trials.may_try(manifest.id, moment.now_s):
                continue
            if manifest.id != parts.taken:
                return TakeSnapshot(device, manifest)
            parts.is_refused(device, manifest, moment)  # we lack what it claims to hold
        return None

    def _take_ahead(self, standing: Standing, moment: Moment) -> Apply | None:
        """What came with heads, if they speak of it."""
        parts = self._parts
        for faults in parts.fetching.take_ahead(parts.offers, standing.clock, moment.now_s):
            parts.report_faults(faults, moment)
        return parts.fetching.apply(standing.clock)

    def _finish_former(self, standing: Standing, moment: Moment) -> None:
        """Once what is there from an earlier life of ours has been read, we may write over its head."""
        parts = self._parts
        former = parts.head.former
        if former is None:
            return
        coverage = parts.offers[parts.us][1]
        reader = parts.fetching.readers[parts.us]
        whole = not adds_to(coverage, standing.clock)
        if parts.head.former_apart:
            whole = over = any(includes(head.clock, tops(coverage)) for head in parts.others().values())
        else:
            over = whole or reader.exhausted(former, moment.now_s)
        if over:
            parts.stream.promise(tops(coverage))
            parts.leaving.reset(parts.stream.promised)
            parts.head.former_read(moment, whole=whole)

    def _leave(self, standing: Standing, moment: Moment) -> Step | None:
        parts = self._parts
        leaving = parts.leaving
        again = parts.stream.put_again(leaving.loads[0] if leaving.loads else None)
        if again is not None:
            return again
        more = leaving.walk is not None or len(leaving.loads) > 1
        if leaving.loads and (leaving.walk is None or len(leaving.loads) > _LOADS):
            return parts.stream.put(leaving.loads[0], with_head=not more)
        if leaving.walk is None:
            if leaving.is_shared(standing, moment) and moment.now_s - (self._looking.looked_s or 0.0) > _FRESH_S:
                return self._poll(standing)
            if not leaving.begin(standing, moment):
                return None
        return leaving.read(standing, parts.picture.clock)

    def head_with(self, sealed: bytes, standing: Standing, moment: Moment) -> PutHead | None:
        """The head that tells of the segment that is about to be put; None if it has to be written by itself."""
        parts = self._parts
        told = parts.stream.told_with(sealed)
        if told is None or not parts.head.may_write(moment):
            return None
        return parts.head.write(standing, parts.memory.lost, moment, told)

    def _put_head(self, standing: Standing, moment: Moment) -> PutHead | None:
        parts = self._parts
        lost = parts.memory.lost
        due_s = parts.head.due_s(standing, parts.picture.offered, lost)
        if due_s is None or due_s > moment.now_s:
            return None
        return parts.head.write(standing, lost, moment)

    def _wake_s(self, standing: Standing, moment: Moment) -> float:
        parts = self._parts
        times: list[float | None] = [parts.polling.next_s, parts.fetching.next_try_s(parts.offers)]
        times.append(parts.trials.next_s(moment.now_s))
        walls: list[int | None] = [parts.collecting.next_delete_ms() if self._knows_ours() else None]
        if self._may_write(moment):
            times += [parts.leaving.next_due_s(standing), parts.making.next_s()]
            times.append(parts.head.due_s(standing, parts.picture.offered, parts.memory.lost))
        elif parts.stream.sound:  # else what stands in our name is looked at first, and that has its own time
            times.append(None if parts.health.full.over(moment) else parts.health.full.until_s)
        else:
            walls.append(parts.stream.renew_at_ms())
        times += [moment.now_s + (wall - moment.wall_ms) / 1000 for wall in walls if wall is not None]
        return min(at_s for at_s in times if at_s is not None)
