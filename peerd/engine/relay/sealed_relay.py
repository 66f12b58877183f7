"""A relay as a courier speaks of it: devices, streams and numbers on this side, names and sealed bytes on the other.

What is fetched is opened here. Nothing of a head is learnt before its signature was looked at, though its author may be
somebody of whom only the roster in it tells: whoever was removed still knows names, and to which keys heads are sealed.
What does not open, or says nonsense, is told as damage: it harms nothing, and the courier reports it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

from msgspec.structs import replace

from peerd.core.roster.statements import SignedStatement, statement_id
from peerd.core.stored import SegmentId
from peerd.engine.ports import Keys
from peerd.engine.relay.keys import SpaceKeys
from peerd.engine.relay.ports import RelayStore, Sealing
from peerd.engine.relay.sealed_roster import SealedRoster
from peerd.engine.space import Space
from peerd.engine.spaces import Spaces
from peerd.errors import RelayTrouble, RemoteProtocolError
from peerd.protocol.pairing.introduction import Shown, convinces
from peerd.protocol.relay import names as relay_names
from peerd.protocol.relay import objects as relay_objects
from peerd.protocol.relay.courier_steps import Damage, Delete, SeenHead, SeenSegment, SegmentName
from peerd.protocol.relay.damage import damage_of
from peerd.protocol.relay.head_signatures import is_of_before, is_signed, roster_that_knows
from peerd.protocol.relay.objects import Head, RelayObject, Segment, SignedHead

LOOKUP_NAMES = 200


class SealedRelay:
    """Every method raises RelayTrouble: of the relay, or "relay-no-key" while nothing may be sealed."""

    def __init__(self, space: Space, spaces: Spaces, store: RelayStore, sealing: Sealing, keys: Keys) -> None:
        self._space = space
        self._spaces = spaces
        self._store = store
        self._sealing = sealing
        self._keys = keys
        self._space_keys = SpaceKeys(space, spaces)
        self._roster = SealedRoster(space, self._space_keys, store, sealing, keys)
        self._tag: str | None = None  # of the head that we left last

    # ---- heads

    async def tags(self, devices: Sequence[bytes]) -> dict[bytes, str]:
        """The tags of the heads that are there."""
        names = {self._head_name(device): device for device in devices}
        found = await self._store.lookup(list(names), contents=False)
        return {device: found[name].tag for name, device in names.items() if name in found}

    async def heads(self, devices: Sequence[bytes]) -> dict[bytes, SeenHead]:
        """The heads that are there, opened; what their rosters say is learnt."""
        found, _ = await self.heads_and_segments(devices, ())
        return found

    async def heads_and_segments(
        self, devices: Sequence[bytes], ahead: Sequence[SegmentName]
    ) -> tuple[dict[bytes, SeenHead], dict[SegmentName, SeenSegment]]:
        """The same, and in one request with them those of these segments that are there."""
        names = {self._head_name(device): device for device in devices}
        segments = {self._segment_name(stream, number): (device, stream, number) for device, stream, number in ahead}
        found = await self._store.lookup([*names, *segments], contents=True)
        heads = {
            device: await self._open_head(device, name, found[name]) for name, device in names.items() if name in found
        }
        return heads, {
            one: self._open_segment(name, found[name].data or b"") for name, one in segments.items() if name in found
        }

    async def put_head(self, head: Head, tag: str | None) -> str | None:
        """Write our head, with the roster as it is now. None: another one than that with this tag is there."""
        name, sealed = await self._sealed_head(head, tag)
        return self._left_head(await self._store.replace(name, sealed, tag))

    async def put_segment_and_head(
        self, stream: bytes, number: int, sealed: bytes, head: Head, tag: str | None
    ) -> tuple[bool, str | None]:
        """`put_segment` and then `put_head`, at once where the relay can. If other bytes are there in the place of the
        segment, there may be no head.
        """
        name, sealed_head = await self._sealed_head(head, tag)
        segment = {self._segment_name(stream, number): sealed}
        different, written = await self._store.leave(segment, name, sealed_head, tag)
        return not different, self._left_head(written)

    def _left_head(self, tag: str | None) -> str | None:
        self._tag = tag or self._tag
        return tag

    async def _sealed_head(self, head: Head, tag: str | None) -> tuple[str, bytes]:
        """Its name and its bytes, to be left in the place of the one with this tag."""
        if tag is None or tag != self._tag:
            self._roster.forget()
        readers = [member.sealing_key for member in self._space.roster.members.values()]
        name = self._head_name(self._keys.device)
        return name, self._seal(name, await self._roster.put_into(head), readers)

    def _seal(self, name: str, head: Head, readers: Sequence[bytes]) -> bytes:
        space, ours = self._space, self._keys.device
        data = relay_objects.encode(head)
        signed = SignedHead(ours, self._keys.sign(relay_objects.head_signing_input(space.id, ours, data)), data)
        keys = self._space_keys.sealing()
        return self._sealing.seal_head(name, signed, space.id, keys, readers, len(space.roster.members))

    async def leave_farewell(self, device: bytes, now_ms: int) -> bool:
        """Tell a device that was removed that it was: in the place of its head, which nobody listens to any more, lies
        one of ours for its eyes only, with the removal and all that its author knew. To the relay it is a head like
        others. False: somebody wrote there meanwhile.
        """
        name = self._head_name(device)
        there = (await self._store.lookup([name], contents=True)).get(name)
        if there is not None and await self._is_farewell(device, name, there):
            return True
        roster = self._space.roster
        removal = roster.removed.get(device)
        admission = roster.entry(removal.admission) if removal else None
        if removal is None or admission is None or admission.card is None:
            return True
        told = Head(0, now_ms, bytes(16), 1, bytes(32))
        told = await self._roster.put_part_into(told, roster.up_to(removal.statement))
        sealed = self._seal(name, told, [admission.card.sealing_key])
        return await self._store.replace(name, sealed, there.tag if there else None) is not None

    async def _is_farewell(self, device: bytes, name: str, there: RelayObject) -> bool:
        """Does it tell of how the last membership ended? If it is a head of its own, perhaps it says that it has been
        let in again.
        """
        try:
            signed = self._sealing.open_head(name, there.data or b"", self._space.id, self._space_keys.opening())
            statements, missing = await self._roster.read(signed.device, relay_objects.decode_head(signed.data))
        except RemoteProtocolError:
            return False
        await self._space.learn(self._news(device, statements), device)
        removal = self._space.roster.removed.get(device)
        told = {statement_id(one.data) for one in statements}
        is_of_last = missing or removal is None or removal.statement in told or removal.admission in told
        return signed.device != device and bool(is_of_last)

    def _news(self, device: bytes, statements: Sequence[SignedStatement]) -> Sequence[SignedStatement]:
        """What the head of this device tells: all of it, but of one that was removed only what makes it a member."""
        if not self._is_former(device):
            return statements
        return convinces(self._space.roster, Shown(self._space.id, tuple(statements)), device, device)

    def _is_former(self, device: bytes) -> bool:
        return device in self._space.roster.removed and device != self._keys.device

    async def _open_head(self, device: bytes, name: str, found: RelayObject) -> SeenHead:
        """Whatever is wrong with that of a removed device, it is no damage: others write there, too."""
        seen = await self._opened_head(device, name, found)
        if seen.head is None and self._is_former(device):
            return SeenHead(found.tag, None, Damage.REMOVED, seen.missing)
        return seen

    async def _opened_head(self, device: bytes, name: str, found: RelayObject) -> SeenHead:
        try:
            signed = self._sealing.open_head(name, found.data or b"", self._space.id, self._space_keys.opening())
            head = relay_objects.decode_head(signed.data)
            statements, missing = await self._roster.read(signed.device, head)
        except RemoteProtocolError as problem:
            return SeenHead(found.tag, None, damage_of(problem))
        if signed.device != device and device == self._keys.device:
            return await self._farewell(found, signed, statements)
        if signed.device != device:
            return SeenHead(found.tag, None, self._whose(device, signed))
        if self._is_former(device):
            await self._space.learn(self._news(device, statements), device)
        if self._is_former(device):
            return SeenHead(found.tag, None, Damage.REMOVED, missing)
        larger = roster_that_knows(device, self._space.roster, statements)
        if larger.public_key(device) is None and missing:  # they may tell whose head it is
            return SeenHead(found.tag, None, Damage.INCOMPLETE, missing)
        if not larger.is_member(device) or not is_signed(signed, larger, self._spaces.verify):
            return SeenHead(found.tag, None, Damage.FORGED)
        await self._space.learn(statements, device)
        if self._is_former(device):
            return SeenHead(found.tag, None, Damage.REMOVED, missing)
        if device != self._keys.device and is_of_before(device, self._space.roster, statements):
            return SeenHead(found.tag, None, Damage.INCOMPLETE if missing else Damage.BEFORE, missing)
        self._space.presence.note_seen_on_relay(device, head.t_ms)
        return SeenHead(found.tag, replace(head, statements=[], roster_parts=[]), missing=missing)

    def _whose(self, device: bytes, signed: SignedHead) -> Damage:
        """Where its head should be somebody else wrote: before it was let in again, and it has not been there since?"""
        roster = self._space.roster
        is_farewell = roster.was_removed(device) and is_signed(signed, roster, self._spaces.verify)
        return Damage.FAREWELL if is_farewell else Damage.FORGED

    async def _farewell(
        self, found: RelayObject, signed: SignedHead, statements: Sequence[SignedStatement]
    ) -> SeenHead:
        """Under our own name: does it tell that we were removed? Or is it at least a member that says otherwise?"""
        larger, _ = self._space.roster.with_statements(statements)
        if not larger.is_member(self._keys.device) or (
            larger.is_member(signed.device) and is_signed(signed, larger, self._spaces.verify)
        ):
            await self._space.learn(statements, signed.device)
        return SeenHead(found.tag, None, Damage.FAREWELL)

    async def mend_roster(self) -> None:
        """Somebody misses a part of the roster that our head names: leave it again if it is true."""
        await self._roster.mend()

    # ---- segments

    async def segments(self, wanted: Sequence[SegmentName]) -> dict[SegmentName, SeenSegment]:
        """Those of these segments that are there, opened."""
        names = {self._segment_name(stream, number): (device, stream, number) for device, stream, number in wanted}
        found = await self._store.lookup(list(names), contents=True)
        return {one: self._open_segment(name, found[name].data or b"") for name, one in names.items() if name in found}

    async def segments_there(self, stream: bytes, numbers: Sequence[int]) -> list[int]:
        """Those of these segments that are there."""
        names = {self._segment_name(stream, number): number for number in numbers}
        found = await self._store.lookup(list(names), contents=False)
        return sorted(number for name, number in names.items() if name in found)

    def seal_segment(self, stream: bytes, number: int, segment: Segment) -> bytes:
        name = self._segment_name(stream, number)
        return self._sealing.seal_object(name, relay_objects.encode(segment), self._space_keys.sealing())

    async def put_segment(self, stream: bytes, number: int, sealed: bytes) -> bool:
        """Is it there now, with these bytes? False: there are others under its name."""
        return not await self._store.create({self._segment_name(stream, number): sealed})

    def _open_segment(self, name: str, data: bytes) -> SeenSegment:
        try:
            plain = self._sealing.open_object(name, data, self._space_keys.opening())
            return SeenSegment(relay_objects.decode_segment(plain), data)
        except RemoteProtocolError as problem:
            return SeenSegment(None, data, damage_of(problem))

    # ---- parts of snapshots

    async def put_parts(self, parts: Mapping[SegmentId, bytes]) -> list[bytes]:
        """Seal and leave parts of a snapshot, named by (snapshot, number). Gives their sealed bytes."""
        sealed = {
            name: self._sealing.seal_object(name, data, self._space_keys.sealing())
            for one, data in parts.items()
            for name in [self._part_name(*one)]
        }
        if await self._store.create(sealed):
            raise RelayTrouble("a part of a snapshot is there already with other bytes", code="relay-damaged")
        return list(sealed.values())

    async def parts(self, snapshot: bytes, numbers: Sequence[int]) -> dict[int, tuple[bytes, bytes]]:
        """Those of these parts that are there and open: opened, and as they were sealed."""
        names = {self._part_name(snapshot, number): number for number in numbers}
        found = await self._store.lookup(list(names), contents=True)
        opened: dict[int, tuple[bytes, bytes]] = {}
        for name, number in names.items():
            data = found[name].data if name in found else None
            if data is None:
                continue
            with suppress(RemoteProtocolError):
                opened[number] = self._sealing.open_object(name, data, self._space_keys.opening()), data
        return opened

    async def parts_there(self, snapshot: bytes, count: int) -> bool:
        """Are all parts there?"""
        for start in range(0, count, LOOKUP_NAMES):
            names = [self._part_name(snapshot, number) for number in range(start, min(count, start + LOOKUP_NAMES))]
            if len(await self._store.lookup(names, contents=False)) < len(names):
                return False
        return True

    # ---- all of them

    async def delete(self, step: Delete) -> None:
        names = [self._segment_name(stream, number) for stream, number in step.segments]
        names += [self._part_name(snapshot, number) for snapshot, number in step.parts]
        names += [self._head_name(device) for device in step.heads]
        await self._store.delete(names)

    def _head_name(self, device: bytes) -> str:
        return relay_names.head_name(self._space_keys.names(), device)

    def _segment_name(self, stream: bytes, number: int) -> str:
        return relay_names.segment_name(self._space_keys.names(), stream, number)

    def _part_name(self, snapshot: bytes, number: int) -> str:
        return relay_names.part_name(self._space_keys.names(), snapshot, number)
