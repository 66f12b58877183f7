"""The steps that a courier of one space asks for, performed: through the commit door, on the disk and on the relay.

What the courier must not forget is in the space's database before the relay hears of it; what came from the relay goes
through the same door as what comes over a link.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping

from peerd.core.batch import Fork
from peerd.core.clocks import Clock
from peerd.core.entry import NeedsNewer
from peerd.core.stored import RelayKept
from peerd.engine.decoded import Decoded
from peerd.engine.ports import Times
from peerd.engine.relay.fork_talk import RelayForkTalk
from peerd.engine.relay.sealed_relay import SealedRelay
from peerd.engine.relay.snapshots import RelaySnapshots
from peerd.engine.space import Space
from peerd.errors import LinkLost, RemoteProtocolError
from peerd.logs import get
from peerd.protocol.relay.courier import Courier
from peerd.protocol.relay.courier_steps import (
    Apply,
    CheckSegments,
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
    ReadLog,
    Step,
    TakeSnapshot,
)  # fmt: skip
from peerd.protocol.relay.objects import Head

log = get(__name__)


class RelaySteps:
    """`forks` is of this relay. `kept` is what is stored under `place`; `moment` says when an outcome is told. Every
    step raises RelayTrouble, StoreError, LinkLost.
    """

    def __init__(
        self,
        space: Space,
        forks: RelayForkTalk,
        place: str,
        sealed: SealedRelay,
        times: Times,
        moment: Callable[[], Moment],
        kept: RelayKept,
    ) -> None:
        self._space = space
        self._relay = forks.relay
        self._place = place
        self._sealed = sealed
        self._times = times
        self._moment = moment
        self.snapshots = RelaySnapshots(space, sealed, times)
        self._forks = forks
        self._outbox: dict[tuple[bytes, int], bytes] = dict(kept.outbox)
        self._saved: bytes | None = kept.memory

    async def save(self, courier: Courier) -> None:
        """What the courier remembers, and what is in the outbox, durably."""
        memory = courier.memory()
        if memory != self._saved:
            await self._space.store.relays.save(self._place, memory, self._outbox)
            self._saved = memory

    async def perform(self, courier: Courier, step: Step) -> None:
        match step:
            case Poll():
                courier.polled(await self._sealed.tags(step.devices), self._moment())
            case FetchHeads():
                await self._fetch_heads(courier, step)
            case FetchSegments():
                courier.segments_fetched(await self._sealed.segments(step.names), self._moment())
            case Apply():
                await self._take(courier, step)
            case ReadLog():
                await self._read_log(courier, step)
            case PutSegment():
                await self._put_segment(courier, step)
            case PutHead():
                await self._put_head(courier, step)
            case CheckSegments():
                there = await self._sealed.segments_there(step.stream, step.numbers)
                courier.segments_checked(there, self._moment())
            case MendRoster() | LeaveFarewell() | Delete():
                await self._tidy(courier, step)
            case CheckSnapshot() | MakeSnapshot() | TakeSnapshot():
                await self._snapshot(courier, step)

    async def _fetch_heads(self, courier: Courier, step: FetchHeads) -> None:
        heads, ahead = await self._sealed.heads_and_segments(step.devices, step.ahead)
        courier.heads_fetched(heads, self._moment(), ahead)
        seen = {device: one.head for device, one in heads.items() if one.head is not None}
        self._look_for_our_past(seen.values())
        await self._consider(courier, seen)
        if await self._forks.compare_former(courier.former):
            courier.former_is_apart()

    def _look_for_our_past(self, heads: Iterable[Head]) -> None:
        """Does anybody, an earlier life of ours among them, know more of our own origin than we do? Then our copy went
        back in time, and what we write next needs another one. What was lost comes from the relay like anyone's.
        """
        space = self._space
        own = space.commits.own_origin
        if own is not None and any(head.clock.get(own, 0) > space.copy.seq(own) for head in heads):
            log.warning("copy went back in time", space=space.name, relay=self._relay, origin=own.hex())
            space.went_back()

    async def _take(self, courier: Courier, step: Apply) -> None:
        replaced = self._space.commits.replaced
        decoded = Decoded(await self._known(courier, step.devices), replaced)
        refusal = await self._apply(step, decoded)
        device, former = courier.applied(self._moment(), refusal), courier.former
        if device == self._space.device and former is not None:
            self._forks.former_refused(former)
            courier.former_is_apart()
        if refusal:
            await self._consider(courier, courier.heads())

    async def _consider(self, courier: Courier, heads: Mapping[bytes, Head]) -> None:
        for device in await self._forks.consider(heads):
            courier.agrees(device)

    async def _tidy(self, courier: Courier, step: MendRoster | LeaveFarewell | Delete) -> None:
        match step:
            case MendRoster():
                await self._sealed.mend_roster()
                courier.roster_mended(self._moment())
            case LeaveFarewell():
                there = await self._sealed.leave_farewell(step.device, self._times.wall_ms())
                courier.farewell_left(self._moment(), there=there)
            case Delete():
                await self.save(courier)
                await self._sealed.delete(step)
                courier.deleted(self._moment())

    async def _snapshot(self, courier: Courier, step: CheckSnapshot | MakeSnapshot | TakeSnapshot) -> None:
        match step:
            case CheckSnapshot():
                manifest = step.manifest
                if step.contents:
                    there = await self.snapshots.is_as_left(manifest)
                else:
                    there = await self._sealed.parts_there(manifest.id, manifest.parts)
                courier.snapshot_checked(self._moment(), complete=there)
            case MakeSnapshot():
                await self.save(courier)
                left = await self.snapshots.leave(step.id, _clocks(courier.heads().values()))
                courier.snapshot_made(left, self._moment())
            case TakeSnapshot():
                if step.replaces and not await self._space.forks.look():
                    return  # a link was sooner
                complete = await self.snapshots.take(
                    step.device,
                    step.manifest,
                    courier.part_chain,
                    functools.partial(self.save, courier),
                    replaces=step.replaces,
                )
                courier.snapshot_taken(self._moment(), complete=complete, refused=self.snapshots.was_refused)
                await self._consider(courier, courier.heads())

    async def _read_log(self, courier: Courier, step: ReadLog) -> None:
        store, position = self._space.store, step.position or await self._space.store.position_before(step.covered)
        found = self._space.commits.tail.runs_after(position, step.max_bytes, covered=step.covered)
        if found is None:
            found = await store.runs_after(position, step.max_bytes, covered=step.covered)
        origins = self._space.copy.origins
        announcements = [origins[origin].announcement for origin in {row.run.origin for row in found.rows}]
        courier.log_read(found.rows, found.read_up_to, announcements, self._moment())

    async def _put_segment(self, courier: Courier, step: PutSegment) -> None:
        place = step.stream, step.number
        if place not in self._outbox and step.segment is not None:
            self._outbox = {place: self._sealed.seal_segment(step.stream, step.number, step.segment)}
            self._saved = None
        sealed = self._outbox.get(place)
        head = courier.segment_sealed(sealed, self._moment()) if sealed is not None and step.with_head else None
        await self.save(courier)
        if sealed is None:
            courier.segment_differs(self._moment())
        elif head is not None:
            await self._put_both(courier, step, sealed, head)
        elif await self._sealed.put_segment(step.stream, step.number, sealed):
            courier.segment_put(sealed, self._moment())
        else:
            courier.segment_differs(self._moment())
        self._outbox = {}
        self._saved = None

    async def _put_both(self, courier: Courier, segment: PutSegment, sealed: bytes, head: PutHead) -> None:
        there, tag = await self._sealed.put_segment_and_head(
            segment.stream, segment.number, sealed, head.head, head.tag
        )
        if there:
            courier.segment_put(sealed, self._moment())
        else:
            courier.segment_differs(self._moment())
        if tag is not None:
            self._wrote_head(courier, tag)
        elif there:
            courier.head_differs(self._moment())

    async def _put_head(self, courier: Courier, step: PutHead) -> None:
        await self.save(courier)
        tag = await self._sealed.put_head(step.head, step.tag)
        if tag is None:
            courier.head_differs(self._moment())
        else:
            self._wrote_head(courier, tag)

    def _wrote_head(self, courier: Courier, tag: str) -> None:
        """Nothing of an earlier life is in its place any more."""
        courier.head_put(tag, self._moment())
        self._forks.former_is_gone()

    async def _known(self, courier: Courier, devices: Iterable[bytes]) -> Clock | None:
        """So far all of these are known to hold our history, by their heads."""
        heads, known = courier.heads(), None
        for device in devices:
            head = heads.get(device, courier.former if device == self._space.device else None)
            here = await self._space.forks.known(head.positions if head is not None else ())
            known = here if known is None else {one: min(seq, known[one]) for one, seq in here.items() if one in known}
        return known

    async def _apply(self, step: Apply, decoded: Decoded) -> str:
        """Through the commit door. Gives why none was taken, or nothing."""
        await decoded.decode(step.runs, self._space.copy)
        try:
            await self._space.commits.take(step.origins, step.runs, decoded, step.devices)
        except (RemoteProtocolError, Fork, NeedsNewer) as problem:
            log.warning("run refused", space=self._space.name, relay=self._relay, cause=str(problem))
            return str(problem)
        except LinkLost as full:  # so many runs wait for others that no more can: they are fetched again
            log.warning("runs left out", space=self._space.name, relay=self._relay, cause=str(full))
        return ""


def _clocks(heads: Iterable[Head]) -> list[Clock]:
    return [{origin: seq for origin, seq, _ in head.positions} for head in heads]
