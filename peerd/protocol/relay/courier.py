"""One space on one relay: what to fetch, what to leave, what to collect. A pure machine.

`next` gives one step; whoever performs it tells the outcome and asks again. One step at a time is under way. Steps are
found anew from what is known, so an outcome that got lost (a crash, a cancelled request) costs a repetition and no
more: every step may be repeated. A step that could not be done is answered by `failed`, whatever it was.

    events      polled, heads_fetched, segments_fetched, applied, log_read, segment_sealed, segment_put,
                segment_differs, head_put, head_differs, segments_checked, snapshot_checked, roster_mended,
                farewell_left, deleted, snapshot_made, snapshot_taken, failed
    hints       noticed, committed, roster_changed, agrees, sync_now: `next` is worth asking again before the sleep is
                over
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from peerd.core.clocks import Clock, covers
from peerd.core.origin import Announcement, origin_of
from peerd.core.stored import LogRow
from peerd.protocol.relay import memory as relay_memory
from peerd.protocol.relay.courier_choice import Choice
from peerd.protocol.relay.courier_parts import Parts
from peerd.protocol.relay.courier_settings import CourierSettings
from peerd.protocol.relay.courier_status import CourierStatus, reports_of, status_of
from peerd.protocol.relay.courier_steps import (
    CheckSnapshot,
    Delete,
    FetchHeads,
    FetchSegments,
    LeaveFarewell,
    MakeSnapshot,
    MendRoster,
    Moment,
    Poll,
    PutHead,
    PutSegment,
    SeenHead,
    SeenSegment,
    SegmentName,
    Standing,
    Step,
    TakeSnapshot,
)
from peerd.protocol.relay.looking import Looking
from peerd.protocol.relay.objects import Head, Manifest
from peerd.protocol.relay.part_chain import PartChain
from peerd.protocol.relay.reports import Report

# Once failed, they let others go first.
_WAY_GIVING = (FetchSegments, TakeSnapshot, CheckSnapshot, MakeSnapshot, MendRoster, LeaveFarewell, Delete)
# Once failed, they are tried again less and less often, however well all looks go meanwhile.
_LEAVING = (PutSegment, PutHead, MakeSnapshot)


class Courier:
    """`space` and `device` (ourselves) are ids; `memory` is what `memory()` gave last, None if there is none (any
    more). Memory that cannot be read counts as none.
    """

    def __init__(self, space: bytes, device: bytes, settings: CourierSettings, memory: bytes | None) -> None:
        self._space = space
        self._us = device
        self._parts = Parts(device, settings, memory)
        self._looking = Looking(self._parts)
        self._choice = Choice(self._parts, self._looking)
        self.part_chain = PartChain(self._parts.memory)  # for whoever takes a snapshot in
        self._step: Step | None = None
        self._standing: Standing | None = None  # when the step was chosen

    def next(self, standing: Standing, moment: Moment) -> Step:
        """What to do now. Asked again before its outcome was told, it counts the step as not done."""
        self._step = self._parts.verifying = None
        self._choice.settle(standing, moment)
        self._step, self._standing = self._choice.choose(standing, moment), standing
        return self._step

    def memory(self) -> bytes:
        """What must be durable before a PutSegment, PutHead, Delete or MakeSnapshot that `next` gave is performed, and
        should be soon after an outcome that changed it (compare with the bytes stored last).
        """
        return relay_memory.encode(self._parts.memory)

    def status(self, standing: Standing, moment: Moment) -> CourierStatus:
        """How it stands, for people."""
        return status_of(self._parts, standing, moment, has_looked=self._looking.looked_s is not None)

    def reports(self, standing: Standing) -> tuple[Report, ...]:
        """What a person should know of what members left."""
        return reports_of(self._parts, standing)

    @property
    def trouble(self) -> str:
        """The code of a failure that stands: the last step's, or why nothing can be left."""
        return self._parts.health.trouble

    def has_to_leave(self, standing: Standing) -> bool:
        """Does the relay lack something that some active member is not known to have by a link?"""
        there = self._parts.picture.clock
        lacks = [dot for dot in standing.clock.items() if not covers(there, dot)]
        return self._looking.looked_s is not None and any(not covers(standing.linked_clock, dot) for dot in lacks)

    def heads(self) -> dict[bytes, Head]:
        """The heads of other members that can be read, as they were fetched last."""
        return self._parts.others()

    def held(self, standing: Standing) -> Clock:
        """What the relay holds without a gap, in segments and a snapshot, as far as this courier saw it there."""
        return self._parts.held(standing)

    def failing_s(self, moment: Moment) -> float:
        """For how long nothing has worked, or nothing could be left: of the time for which this device ran."""
        return self._parts.health.failing_s(moment)

    # ---- hints

    def noticed(self, moment: Moment) -> None:
        """Somebody may have written to the relay."""
        self._parts.polling.soon(moment)
        self._parts.fetching.retry_now()
        self._parts.view.retry_now()
        self._parts.trials.retry_now()

    def committed(self, moment: Moment, *, own: bool, size_bytes: int = 0) -> None:
        """Our copy moved: by transactions of our own, or by those of others, from wherever they came."""
        if own:
            self._parts.leaving.committed(moment, size_bytes)
            if not self._parts.leaving.is_trickling:  # else when it is left: before, nobody can answer to it
                self._parts.polling.lively(moment)

    def roster_changed(self, moment: Moment, ended: Collection[bytes] = ()) -> None:
        """The roster grew, or another epoch is in use. What is known of the heads of devices whose membership `ended`
        is of that membership, whether they were let in again or not.
        """
        parts = self._parts
        for device in ended:
            parts.forget_head(device)
            parts.fetching.membership_ended(device)
        parts.polling.soon(moment)
        parts.fetching.fetch_again()
        parts.view.try_again()

    def agrees(self, device: bytes) -> None:
        """Nothing differs with it any more, nor is in doubt: what it left and was refused is worth another try."""
        self._parts.fetching.fetch_again(device)

    def copy_switched(self, copy_id: bytes, moment: Moment, *, replaced: bool = False) -> None:
        """A snapshot took the place of our copy: positions in its log mean something else, and it is the same copy. Or
        (`replaced`) nothing of ours was merged into it: what we left is of a history that does not stand.
        """
        self._parts.memory.copy_id = copy_id
        self._parts.leaving.walk = None
        if replaced:
            self._parts.begin_anew(moment, elsewhere=True)
            self._looking.looked_s = None

    def sync_now(self, moment: Moment) -> None:
        """A person wants it now: look at once, try again what was refused, leave what the relay lacks, and acknowledge
        what was there.
        """
        parts = self._parts
        self._choice.hurry = True
        parts.polling.now(moment)
        parts.health.insist()
        parts.fetching.retry_now()
        parts.fetching.fetch_again()
        parts.view.retry_now()
        parts.trials.retry_now()
        parts.former.look_now()
        parts.head.insist()
        parts.stream.insist()
        parts.making.insist()

    # ---- outcomes

    def polled(self, tags: Mapping[bytes, str], moment: Moment) -> None:
        """`tags` of the heads that are there, by device."""
        self._went_well(moment)
        asked = self._step.devices if isinstance(self._step, Poll) else []
        self._step = None
        self._looking.polled(asked, tags, moment)

    def heads_fetched(
        self,
        heads: Mapping[bytes, SeenHead],
        moment: Moment,
        ahead: Mapping[SegmentName, SeenSegment] | None = None,
    ) -> None:
        """By device; one that is left out is not there any more. `ahead`: segments that came with them."""
        self._went_well(moment)
        asked = self._step.devices if isinstance(self._step, FetchHeads) else list(heads)
        self._step = None
        self._looking.fetched(asked, heads, moment)
        self._parts.fetching.came_ahead(ahead or {})

    @property
    def former(self) -> Head | None:
        """What an earlier life of ours left in our name, until it is read."""
        return self._parts.head.former

    def former_is_apart(self) -> None:
        """It goes on from another history than our copy: only somebody else can take what it tells of."""
        self._parts.former_is_apart()

    def segments_fetched(self, segments: Mapping[SegmentName, SeenSegment], moment: Moment) -> None:
        """Those that are there."""
        parts = self._parts
        self._went_well(moment)
        self._step = None
        name, parts.verifying = parts.verifying, None
        if name is None:
            faults = parts.fetching.fetched(segments, moment.now_s)
            if faults is not None:
                parts.report_faults(faults, moment)
            return
        found = segments.get(name)
        if found is not None and found.segment is not None and parts.stream.left(name[2], found.sealed):
            parts.complaints.in_order(name, moment.now_s)
        elif name[1] == parts.memory.stream:
            parts.stream.must_renew()

    def applied(self, moment: Moment, refusal: str = "") -> bytes | None:
        """The runs went through the door. `refusal`: the door took none of them, because one is forged, malformed or
        of another history; a sentence for people. Gives the device that left those, once that is known.
        """
        self._step = None
        parts = self._parts
        device = parts.fetching.applied(refusal)
        if device is not None:
            parts.report("relay-damaged", device, f"what it left was refused: {refusal}", moment)
            parts.head.insist()  # if it is of another history, whoever left it finds that out by how far we are
        return device

    def log_read(
        self, rows: Sequence[LogRow], read_up_to: int, origins: Sequence[Announcement], moment: Moment
    ) -> None:
        """As asked for by ReadLog; `read_up_to` is the last position that was looked at (the position asked for, if
        nothing lies after it), `origins` the announcements of all origins in `rows`.
        """
        self._step = None
        announced = {origin_of(self._space, announcement): announcement for announcement in origins}
        self._parts.leaving.log_read(rows, read_up_to, announced, self._parts.picture.coverage, moment)

    def segment_sealed(self, sealed: bytes, moment: Moment) -> PutHead | None:
        """Of a PutSegment `with_head`, before it is performed: the head to write with it, None if it is to go alone."""
        return None if self._standing is None else self._choice.head_with(sealed, self._standing, moment)

    def segment_put(self, sealed: bytes, moment: Moment) -> None:
        """It is there, with these sealed bytes."""
        self._went_well(moment, durable=True)
        self._step = None
        self._parts.polling.lively(moment)
        if self._parts.stream.segment_put(sealed):
            self._parts.leaving.loads.popleft()

    def segment_differs(self, moment: Moment) -> None:
        """Other bytes are there under its name, or nothing is known any more of what they were."""
        self._went_well(moment)
        self._step = None
        self._parts.stream.must_renew()

    def head_put(self, tag: str, moment: Moment) -> None:
        """Our head is there, under this tag."""
        self._went_well(moment, durable=True)
        self._step = None
        self._parts.head.written(tag, moment)
        self._parts.reports.clear("relay-damaged", self._parts.us)

    def head_differs(self, moment: Moment) -> None:
        """Not the head that had the tag is there, but another, or none."""
        self._went_well(moment)
        self._step = None
        self._parts.head.refused(moment)
        self._parts.polling.now(moment)

    def segments_checked(self, there: Sequence[int], moment: Moment) -> None:
        """The numbers of those that are there."""
        self._went_well(moment)
        self._step = None
        self._parts.stream.checked(there)

    def snapshot_checked(self, moment: Moment, *, complete: bool) -> None:
        """All parts are there, or not."""
        self._went_well(moment)
        step, self._step = self._step, None
        if isinstance(step, CheckSnapshot):
            found = self._parts.is_there if complete else self._parts.is_absent
            found(step.device, step.manifest, moment)

    def roster_mended(self, moment: Moment) -> None:
        """All parts of our roster are there."""
        self._went_well(moment)
        self._step = None
        self._parts.complaints.roster_mended(moment.now_s)
        self._parts.head.roster_mended()

    def farewell_left(self, moment: Moment, *, there: bool) -> None:
        """Where the head of a removed device was it finds that it was removed; or not (`there`), because somebody wrote
        there meanwhile.
        """
        self._went_well(moment)
        step, self._step = self._step, None
        if isinstance(step, LeaveFarewell) and there:
            self._parts.collecting.told(step.device)
        elif isinstance(step, LeaveFarewell):
            self._parts.collecting.tell_later(moment)

    def deleted(self, moment: Moment) -> None:
        """What was to be removed is."""
        self._went_well(moment)
        self._step = None
        self._parts.collecting.deleted()

    def snapshot_made(self, manifest: Manifest | None, moment: Moment) -> None:
        """All its parts are on the relay; None if our copy cannot make one at the moment."""
        self._went_well(moment, durable=True)
        self._step = None
        if manifest is not None:
            self._parts.collecting.drop_snapshot(moment)
        self._parts.making.made(manifest, moment)

    def snapshot_taken(self, moment: Moment, *, complete: bool, refused: bool = False) -> None:
        """It was merged into our copy; or not, because parts are missing, or (`refused`) it is of no use to that."""
        parts = self._parts
        self._went_well(moment)
        step, self._step = self._step, None
        if not isinstance(step, TakeSnapshot):
            return
        if complete:
            parts.taken = b"" if step.replaces else step.manifest.id
            self.part_chain.forget()
            parts.fetching.fetch_again()  # what waited for this may go on
            parts.is_there(step.device, step.manifest, moment)
        elif refused:
            parts.is_refused(step.device, step.manifest, moment)
        else:
            parts.is_absent(step.device, step.manifest, moment)

    def failed(self, trouble_code: str, retry_s: float | None, moment: Moment, *, lasting: bool = False) -> None:
        """The step could not be done, as RelayTrouble says (its code, `retry_s`, `lasting`)."""
        parts = self._parts
        step, self._step = self._step, None
        parts.failed = type(step) if isinstance(step, _WAY_GIVING) else None
        if isinstance(step, FetchHeads):
            self._looking.put_off(step.devices)
        if isinstance(step, PutHead) or (isinstance(step, PutSegment) and step.with_head):
            parts.polling.now(moment)  # our head may have arrived all the same
        if isinstance(step, LeaveFarewell) and lasting:
            parts.collecting.told(step.device)  # its object may be nobody's but its own to write
        if isinstance(step, MakeSnapshot):
            parts.making.failed(moment)
        is_full = trouble_code == "relay-full"
        is_of_step = is_full or not (lasting or retry_s or isinstance(step, MakeSnapshot))
        adding = isinstance(step, _LEAVING) and is_of_step
        parts.health.failed(trouble_code, moment, retry_s, lasting=lasting, adding=adding)

    def _went_well(self, moment: Moment, *, durable: bool = False) -> None:
        self._parts.health.went_well(moment, durable=durable)
