"""What one courier is made of, and how the relay looks to it at the moment."""

from __future__ import annotations

from peerd.core.clocks import Clock, includes
from peerd.protocol.relay import memory as relay_memory
from peerd.protocol.relay.collecting import Collecting
from peerd.protocol.relay.complaints import Complaints
from peerd.protocol.relay.courier_settings import CourierSettings
from peerd.protocol.relay.courier_steps import Moment, SegmentName, Standing, Step
from peerd.protocol.relay.coverage import Coverage, extended, union
from peerd.protocol.relay.fetching import Faults, Fetching
from peerd.protocol.relay.former_heads import FormerHeads
from peerd.protocol.relay.health import Health
from peerd.protocol.relay.leaving import Leaving
from peerd.protocol.relay.objects import Head, Manifest
from peerd.protocol.relay.own_head import OwnHead
from peerd.protocol.relay.own_stream import OwnStream
from peerd.protocol.relay.pacing import Polling
from peerd.protocol.relay.reports import Reports
from peerd.protocol.relay.running_time import RunningTime
from peerd.protocol.relay.snapshot_making import SnapshotMaking
from peerd.protocol.relay.snapshot_trials import SnapshotTrials
from peerd.protocol.relay.view import Own, Picture, RelayView

_LOST = 500  # complaints in our head


class Parts:
    """`failed`: the kind of step that failed last, so that others get their turn. `verifying`: a
    segment of ours that we look at because of a complaint. `taken`: the last snapshot that was merged into our copy.
    `behind_ms`: since when the relay has what our copy lacks.
    """

    def __init__(self, device: bytes, settings: CourierSettings, memory: bytes | None) -> None:
        self.us = device
        self.memory = relay_memory.decode(memory)
        self.ran = RunningTime(self.memory)
        self.view = RelayView()
        self.former = FormerHeads(self.memory, self.ran, settings)
        self.stream = OwnStream(self.memory)
        self.head = OwnHead(self.memory, self.stream, settings)
        self.fetching = Fetching(self.memory, self.ran)
        self.complaints = Complaints(device, self.memory, self.ran)
        self.leaving = Leaving(settings)
        self.collecting = Collecting(device, self.memory, self.stream, settings)
        self.making = SnapshotMaking(self.memory, settings)
        self.trials = SnapshotTrials(self.memory.lost)
        self.polling = Polling(settings)
        self.health = Health(self.memory, self.ran)
        self.reports = Reports()
        self.picture = Picture({}, {}, None, {}, 0)
        self.offers: dict[bytes, tuple[Head, Coverage]] = {}  # streams to read
        self.failed: type[Step] | None = None
        self.verifying: SegmentName | None = None
        self.taken = b""
        self.behind_ms: int | None = None

    def look_around(self, standing: Standing, now_s: float, wall_ms: int) -> None:
        """Draw the picture of the relay anew."""
        readable = self.view.readable(standing.members)
        self.offers = {device: (head, seen.coverage) for device, (head, seen) in readable.items()}
        heads = {device: head for device, (head, _) in readable.items()}
        lost = self.fetching.complaints(self.offers, now_s)
        lost += self.trials.complaints(heads, now_s)
        lost += self.fetching.missing_parts(self.view.heads.keys() & standing.members, now_s)
        self.memory.lost = lost = lost[:_LOST]
        self.reports.lost(lost, wall_ms)
        for device in readable:
            if self.fetching.readers[device].at_rest:
                self.reports.clear("relay-damaged", device)
        self.complaints.update(heads, lost, now_s)
        own = Own(self.stream.coverage, self.stream.sizes, self.memory.snapshot)
        distrusted, broken = self.complaints.distrusted, self.complaints.broken
        self.picture = self.view.picture(self.us, own, standing.members - standing.strangers, distrusted, broken)
        if includes(standing.clock, self.picture.offered):
            self.behind_ms = None
        elif self.behind_ms is None:
            self.behind_ms = wall_ms
        if self.head.former is not None:
            self.offers[self.us] = self.head.former, union([self.head.former.covers])

    def begin_anew(self, moment: Moment, *, elsewhere: bool = False) -> None:
        """Our copy is another one: nothing that we left, or read, is known to be in it. `elsewhere`: it is even of
        another history.
        """
        if elsewhere:
            self.collecting.drop_snapshot(moment)
        self.stream.renew(moment, free=True)
        self.leaving.reset(self.stream.promised)
        self.fetching.forget_positions()
        self.trials.forget()
        self.taken = b""

    def held(self, standing: Standing) -> Clock:
        """What is on the relay without a gap, as far as it was seen there: in streams that are believed, in ours as far
        as our head tells of it, and in the best snapshot once all its parts were found.
        """
        own = Own(self.head.told(), [], self.memory.snapshot)
        picture = self.view.picture(
            self.us, own, standing.members - standing.strangers, self.complaints.distrusted, self.complaints.broken
        )
        best = picture.best
        whole = best is not None and self.collecting.is_confirmed(best.manifest.id)
        return extended(best.manifest.clock if best and whole else {}, picture.coverage)

    def others(self) -> dict[bytes, Head]:
        """The heads of other members."""
        return {device: head for device, (head, _) in self.offers.items() if device != self.us}

    def to_be_had(self) -> Coverage:
        """What is in streams, but for those of which our copy refuses what comes: a snapshot may be the way to that."""
        refused = self.fetching.refused
        if not refused:
            return self.picture.coverage
        believed = self.offers.keys() - refused - self.complaints.distrusted
        return union([self.stream.coverage, *(self.offers[device][1] for device in believed)])

    def useless_snapshots(self) -> set[bytes]:
        """Of whomever, by id: those that are not believed to be there, and those of which a member says so."""
        said = (name[1] for head in self.others().values() for name in head.lost if name[2] == 0)
        return {*self.complaints.broken, *said}

    # ---- what was seen there

    def forget_head(self, device: bytes) -> None:
        """Until it is fetched again, this device has none."""
        self.view.forget(device)
        self.offers.pop(device, None)

    def former_is_apart(self) -> None:
        """The head of an earlier life tells of another history: its snapshot is none of ours."""
        former, own = self.head.former, self.memory.snapshot
        self.head.former_apart = former is not None
        if former is not None and former.snapshot is not None and own is not None and own.id == former.snapshot.id:
            self.memory.snapshot = None  # adopted just now: it stays there as long as that head does

    def report(self, code: str, device: bytes, text: str, moment: Moment) -> None:
        """For people."""
        self.reports.add(code, device, text, moment.wall_ms)

    def report_faults(self, faults: Faults, moment: Moment) -> None:
        """What is wrong with a stream that we read."""
        for number, damage in faults.damaged[:1]:
            text = f"segment {number} of its stream is of no use: {damage.value}"
            self.report("relay-damaged", faults.device, text, moment)
        for odd in faults.odd[:1]:
            what = "is not the one that it left there" if odd.false else "does not go with the one before it"
            self.report("relay-swapped", faults.device, f"segment {odd.number} of its stream {what}", moment)

    def is_there(self, device: bytes, manifest: Manifest, moment: Moment) -> None:
        """All parts of a snapshot are."""
        self.collecting.confirmed(manifest.id, moment)
        self.trials.came(manifest.id)
        if device == self.us:
            self.complaints.all_in_order(manifest.id, moment.now_s)

    def is_absent(self, device: bytes, manifest: Manifest, moment: Moment) -> None:
        """Some are not. Of another's that may be no more than late."""
        if device == self.us:
            self.collecting.drop_snapshot(moment)
        else:
            self.trials.absent(manifest.id, moment.now_s)

    def is_refused(self, device: bytes, manifest: Manifest, moment: Moment) -> None:
        """It is of no use to our copy."""
        if device == self.us:
            self.collecting.drop_snapshot(moment)
        else:
            self.trials.refused(manifest.id)
