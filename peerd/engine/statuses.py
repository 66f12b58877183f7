"""The state of everything, in words: every state has a cause, a culprit and a next step."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from peerd.core import digest
from peerd.core.clocks import join, lacking
from peerd.core.device_id import format_device_id
from peerd.core.names import RESERVED_PREFIX
from peerd.core.stored import Address, StoredPeer
from peerd.engine.conflicts import Conflicts
from peerd.engine.links.clocks import Clocks
from peerd.engine.links.peer_book import DIALS_US, NEVER_SEEN, NOT_FOUND, TWO_MACHINES, PeerBook, PeerNote, Trouble
from peerd.engine.links.session_status import STEPS, describe_session
from peerd.engine.links.switchboard import Switchboard
from peerd.engine.ports import Keys, Times
from peerd.engine.relay.relays import Relays
from peerd.engine.relay.status import RELAYED, describe_relayed, is_behind_on_relay, petition_state
from peerd.engine.repair.scrub_status import describe_scrub
from peerd.engine.snapshots.status import snapshot_view, taken_view
from peerd.engine.space import Space
from peerd.engine.spaces import Spaces
from peerd.engine.tables.notices import asks_for_nobody, in_words
from peerd.engine.upkeep.growth import Growth
from peerd.errors import PeerdError, StoreError
from peerd.protocol.control.reports import (
    DeviceStatus,
    Health,
    MachineStatus,
    MemberList,
    MemberView,
    PeerList,
    PeerStatus,
    PeerView,
    SpaceView,
    Status,
    TableNotice,
)

PAUSED = Trouble("paused", "links with other devices are paused here", "`peerctl resume` ends that; so does a restart.")
DIALLING = "dialling it"
TROUBLED = frozenset({"blocked", "refused", "diverged"})  # a peer in one of these is a trouble of the space
DIALLED_S = 10.0  # after a sighting; one that leads nowhere is known by then


def _shown(address: Address) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _says_removed(called: str) -> str:
    return f"{called} says that this device was removed"


def _removed_step(space: Space) -> str:
    return STEPS["removed"].replace("NAME", space.name)


async def _no_tables(_: Space) -> Sequence[TableNotice]:
    return []


class Statuses:
    """`problems()` gives what the edges say is wrong with the daemon as a whole: (cause, next step); `tables(space)`
    what there is to say of what is bound to a space, the worst first; `machine()` what it has of its machine; `relays`
    are asked who was seen on them.
    """

    def __init__(
        self,
        spaces: Spaces,
        switchboard: Switchboard,
        book: PeerBook,
        keys: Keys,
        times: Times,
        *,
        version: str,
        device_name: Callable[[], str],
    ) -> None:
        self.problems: Callable[[], list[tuple[str, str]]] = list
        self.machine: Callable[[], MachineStatus | None] = lambda: None
        self.growth = Growth()
        self.restart_needed: list[str] = []
        self.tables: Callable[[Space], Awaitable[Sequence[TableNotice]]] = _no_tables
        self.relays: Relays | None = None
        self._spaces = spaces
        self._switchboard = switchboard
        self._book = book
        self._keys = keys
        self._times = times
        self._version = version
        self._device_name = device_name
        self._since_ms = times.wall_ms()
        self.clocks = Clocks(switchboard.links, times)

    async def status(self) -> Status:
        views = [await self.space(space) for space in self._sorted()]
        views += [self._failed(name, failure) for name, failure in sorted(self._spaces.failed.items())]
        return Status(
            version=self._version,
            device=self._device(views),
            machine=self.machine(),
            spaces=views,
            since_ms=self._since_ms,
        )

    def _sorted(self) -> list[Space]:
        return sorted(self._spaces.by_id.values(), key=lambda space: space.name)

    def _device(self, views: list[SpaceView]) -> DeviceStatus:
        problems = [*self.problems(), *self.clocks.problems()]
        elsewhere = self._book.clones.elsewhere
        if elsewhere is not None:
            cause = (
                f"another machine answers with this device's own key at {_shown(elsewhere)}: one is a copy of the other"
            )
            problems = [(cause, TWO_MACHINES.next_step), *problems]
        if self.restart_needed:
            problems = [*problems, ("settings wait for a restart: " + ", ".join(self.restart_needed), "Restart peerd.")]
        if self._switchboard.paused:
            return DeviceStatus(
                id=format_device_id(self._keys.device),
                name=self._device_name(),
                state="paused",
                reason="links with other devices are paused",
                next_step=PAUSED.next_step,
            )
        degraded = problems or any(view.reason for view in views)
        reason, step = problems[0] if problems else ("", "")
        if degraded and not problems:
            troubled = next(view for view in views if view.reason)
            reason, step = f"{troubled.name}: {troubled.reason}", troubled.next_step
        return DeviceStatus(
            id=format_device_id(self._keys.device),
            name=self._device_name(),
            state="degraded" if degraded else "running",
            reason=reason,
            next_step=step,
            clock_off_ms=self.clocks.judgement().ours,
        )

    def _failed(self, name: str, failure: Exception) -> SpaceView:
        step = failure.next_step.replace("NAME", name) if isinstance(failure, PeerdError) else ""
        return SpaceView(
            name=name, id="", state="failed", records=0, conflicts=0, clock={}, digest="", peers=[],
            reason=str(failure), next_step=step,
        )  # fmt: skip

    # ---- one space

    async def space(self, space: Space) -> SpaceView:
        try:
            return await self._view(space)
        except StoreError as problem:
            failed = self._failed(space.name, space.store.failure or problem)
            failed.id, failed.peers = space.id.hex(), self.peers_of(space)
            return failed

    async def _view(self, space: Space) -> SpaceView:
        counts, parked = await Conflicts(space).counts()
        peers = self.peers_of(space)
        notices = await self.tables(space)
        state, reason, step = self._space_state(space, peers, notices)
        return SpaceView(
            name=space.name,
            id=space.id.hex(),
            state=state,
            records=sum(
                one.records for one in await space.store.collections() if not one.name.startswith(RESERVED_PREFIX)
            ),
            conflicts=sum(counts.values()),
            parked=parked,
            clock={origin.hex(): seq for origin, seq in sorted(space.copy.clock().items())},
            digest=digest.summary(space.copy.digest).hex(),
            peers=peers,
            reason=reason,
            next_step=step,
            tables=list(notices),
            snapshot=snapshot_view(space, self._times.monotonic_s()),
            taken=taken_view(space),
            scrub=describe_scrub(space),
            asides=list(space.recopying.notices()),
            sizes=await self.growth.sizes(space),
            forks=space.forks.views(),
        )

    def _space_state(
        self, space: Space, peers: list[PeerStatus], notices: Sequence[TableNotice]
    ) -> tuple[str, str, str]:
        if (stopped := _stopped(space)) is not None:
            return stopped
        if not space.roster.is_member(self._keys.device):
            return self._outside(space)
        if (trouble := self._local_trouble(space, notices)) is not None:
            return "degraded", *trouble
        if not peers:
            return "alone", "", "Invite another device with `peerctl invite`."
        troubled = [peer for peer in peers if peer.state in TROUBLED]
        if troubled:
            called = troubled[0].name or troubled[0].device
            reason = troubled[0].reason
            text = reason if reason == _says_removed(called) else f"{called}: {reason}"
            return "degraded", text, troubled[0].next_step
        if space.snapshots.coming is not None:
            return "receiving", "", ""
        if all(peer.state == "offline" for peer in peers):
            return "offline", "", ""
        if any(peer.state in {"syncing", "connecting"} or is_behind_on_relay(peer) for peer in peers):
            return "syncing", "", ""
        return "in sync", "", ""

    def _local_trouble(self, space: Space, notices: Sequence[TableNotice]) -> tuple[str, str] | None:
        """What is wrong on this device, whatever others do: reason and next step."""
        if (scrub := describe_scrub(space)).reason:
            return scrub.reason, scrub.next_step
        worst = next((one for one in notices if not asks_for_nobody(one)), None)
        if worst is not None:
            return in_words(worst), worst.next_step
        return None if self.relays is None else self.relays.trouble_of(space)

    def _outside(self, space: Space) -> tuple[str, str, str]:
        """Of a space of which this device is no member: not yet, or not any more."""
        if space.petition is not None:
            return petition_state(space.petition, self._times.wall_ms(), self._relay_names(space))
        removal = space.roster.removed.get(self._keys.device)
        if removal is None:
            return "removed", f"this device is no member of {space.name}; its copy can be read", _removed_step(space)
        by = space.name_of(removal.by) if removal else ""
        text = (
            f"this device was removed from {space.name}{' by ' + by if by else ''}; "
            "its copy can be read but not written"
        )
        return "removed", text, _removed_step(space)

    def _relay_names(self, space: Space) -> list[str]:
        return [] if self.relays is None else self.relays.names_of(space)

    def peers_of(self, space: Space) -> list[PeerStatus]:
        others = [member for member in space.roster.members.values() if member.device != self._keys.device]
        return [self._peer(space, member.device, member.name) for member in sorted(others, key=lambda one: one.name)]

    def _peer(self, space: Space, device: bytes, name: str) -> PeerStatus:
        status = self._link_status(space, device, name)
        if self._book.clones.is_two(device) and status.state not in TROUBLED:
            status.state, status.reason, status.next_step = "blocked", TWO_MACHINES.text, TWO_MACHINES.next_step
        return status

    def _link_status(self, space: Space, device: bytes, name: str) -> PeerStatus:
        note = self._book.note(device)
        link = self._switchboard.links.get(device)
        known = space.peers.get(device, StoredPeer(device))
        status = PeerStatus(device=format_device_id(device), name=note.name or name, state="offline")
        status.since_ms = note.since_ms or None
        if link is None:
            self._offline(status, space, note, known)
            if not space.roster.is_member(self._keys.device) and space.petition is not None:
                status.reason = status.next_step = ""  # the space says what we wait for
            elif self.relays is not None:
                seen, hindrance = self.relays.last_seen(space, device), self.relays.hindrance(space, device)
                describe_relayed(status, space.copy.clock(), seen, hindrance, space.forks.on_relay(device))
            return status
        status.since_ms = link.opened_ms
        session = link.sessions.get(space.id)
        if session is None:
            status.state = "connecting"
            status.reason = "linked, but that device has not said that it shares this space"
            status.next_step = "It may not have heard of the last change of members yet; another member will tell it."
            return status
        status.since_ms = session.since_ms
        describe_session(status, space, session, self.clocks.of(device), self._times.monotonic_s())
        return status

    def _offline(self, status: PeerStatus, space: Space, note: PeerNote, known: StoredPeer) -> None:
        status.state = "refused" if note.state == "refused" else "offline"
        trouble = self._trouble(note, [space])
        if trouble is None:
            status.state, status.reason = "connecting", DIALLING
        elif trouble.code == "removed" and note.state == "refused":
            status.reason, status.next_step = _says_removed(status.name or status.device), _removed_step(space)
        else:
            status.reason, status.next_step = trouble.text, trouble.next_step
        if known.acks:
            origins = space.copy.origins.items()
            written = {origin: at.seq for origin, at in origins if at.announcement.device == known.device}
            status.ahead = lacking(join(known.acks, written), space.copy.clock())

    def _trouble(self, note: PeerNote, shared: list[Space]) -> Trouble | None:
        """Why there is no link with a device; None if it was just sighted, and is being dialled."""
        if self._switchboard.paused:
            return PAUSED
        if note.trouble is not None and note.trouble != NOT_FOUND:
            return note.trouble
        seen_s = note.sighted_s
        if note.addresses and seen_s is not None and self._times.monotonic_s() - seen_s < DIALLED_S:
            return None
        if not any(space.was_here(note.device) for space in shared):
            return NEVER_SEEN
        met = any(space.peers[note.device].seen_ms for space in shared if note.device in space.peers)
        return DIALS_US if met and not note.addresses else NOT_FOUND

    # ---- devices

    def peers(self) -> PeerList:
        devices = {
            device
            for space in self._spaces.by_id.values()
            for device in space.roster.members
            if device != self._keys.device
        }
        return PeerList(peers=[self._device_view(device) for device in sorted(devices)])

    def _device_view(self, device: bytes) -> PeerView:
        note = self._book.note(device)
        link = self._switchboard.links.get(device)
        shared = [one for one in self._sorted() if one.roster.is_member(device)]
        trouble = (
            TWO_MACHINES
            if self._book.clones.is_two(device)
            else None
            if link
            else self._trouble(note, shared) or Trouble("dialling", DIALLING)
        )
        return PeerView(
            device=format_device_id(device),
            name=note.name,
            state="linked" if link else note.state,
            reason=trouble.text if trouble else "",
            next_step=trouble.next_step if trouble else "",
            addresses=[_shown(address) for address in note.addresses],
            spaces=[space.name for space in shared],
            version=note.version,
            since_ms=link.opened_ms if link else note.since_ms or None,
        )

    async def members(self, space: Space) -> MemberList:
        ours = self._keys.device
        holding, relays = await self.growth.holding(space)
        views = [
            MemberView(
                device=format_device_id(member.device),
                name=member.name,
                role=member.role,
                state="this device" if member.device == ours else self._member_state(space, member.device, member.name),
                own=member.device == ours,
                seen_ms=None if member.device == ours else _seen_ms(space, member.device),
                holding=holding.get(member.device),
            )
            for member in sorted(space.roster.members.values(), key=lambda one: (one.depth, one.name))
        ]
        views += [
            MemberView(device=format_device_id(device), name=removal.name, role="", state="removed", own=device == ours)
            for device, removal in space.roster.removed.items()
        ]
        return MemberList(members=views, relays=relays)

    def _member_state(self, space: Space, device: bytes, name: str) -> str:
        state = self._peer(space, device, name).state
        return NEVER_SEEN.text if state == "offline" and not space.was_here(device) else state

    # ---- for supervisors

    def health(self) -> Health:
        waiting = self._unconverged()
        ready = not self._spaces.failed
        return Health(live=True, ready=ready, converged=ready and not waiting, reason=waiting)

    def _unconverged(self) -> str:
        for name, failure in self._spaces.failed.items():
            return f"{name}: {failure}"
        for space in self._sorted():
            peers = self.peers_of(space)
            state, reason, _ = self._space_state(space, peers, ())
            if state in {"failed", "stopped", "removed"}:
                return f"{space.name}: {reason}"
            for peer in peers:
                if peer.state != "in sync" and (peer.state != RELAYED or is_behind_on_relay(peer)):
                    return f"{space.name}: {peer.name or peer.device} is {peer.state}"
        return ""

    def line(self) -> str:
        """One line for the service manager."""
        linked = len(self._switchboard.links)
        spaces = len(self._spaces.by_id)
        return f"{spaces} space{'s' * (spaces != 1)}, {linked} peer{'s' * (linked != 1)} linked"


def _seen_ms(space: Space, device: bytes) -> int | None:
    return space.peers[device].seen_ms or None if device in space.peers else None


def _stopped(space: Space) -> tuple[str, str, str] | None:
    """State, reason and next step of a space that this device cannot go on with as it is."""
    if (failure := space.store.failure) is not None:
        state = "failed" if space.is_damaged else "stopped"
        return state, str(failure), failure.next_step.replace("NAME", space.name)
    if space.trouble is not None:
        code, text = space.trouble
        return "stopped", text, STEPS.get(code, "")
    return None
