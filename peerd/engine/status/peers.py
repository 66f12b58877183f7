"""How each other device stands to this one: linked, on its way, out of reach, and why."""

from __future__ import annotations

from collections.abc import Callable

from peerd.core.clocks import join, lacking
from peerd.core.device_id import format_device_id
from peerd.core.stored import Address, StoredPeer
from peerd.engine.links.clocks import Clocks
from peerd.engine.links.peer_book import (
    DIALS_US,
    NEVER_SEEN,
    NEVER_SEEN_HERE,
    NOT_FOUND,
    TWO_MACHINES,
    PeerBook,
    PeerNote,
    Trouble,
)
from peerd.engine.links.session_status import STEPS, describe_session
from peerd.engine.links.switchboard import Switchboard
from peerd.engine.ports import Keys, Times
from peerd.engine.relay.relays import Relays
from peerd.engine.relay.status import describe_relayed
from peerd.engine.space import Space
from peerd.engine.spaces import Spaces
from peerd.protocol.control.reports import PeerList, PeerStatus, PeerView

PAUSED = Trouble("paused", "links with other devices are paused here", "`peerctl resume` ends that; so does a restart.")
DIALLING = "dialling it"
ANSWER_IT = (
    " If it knows only of a removal that does not stand, name its address under network.peers: then this device shows "
    "it what it has not heard."
)
UNKNOWN_THERE = (
    "`peerctl status` there says more: it may not have heard of this device yet, have lost its copy of the space, or "
    "have forgotten it."
)
UNSHARED_THERE = (
    "It may not have heard of the last change of members yet; another member will tell it. If it stays so, `peerctl "
    "status` there says whether its copy failed. If it was forgotten there: invite it again, or `peerctl remove` it."
)
OTHER_KEYS = "If it was one, its keys were changed: put `identity/` of the state directory back from a backup."
_LIVELY = frozenset({"in sync", "syncing", "connecting"})
TROUBLED = frozenset({"blocked", "refused", "diverged"})  # a peer in one of these is a trouble of the space
DIALLED_S = 10.0  # after a sighting; one that leads nowhere is known by then


def shown(address: Address) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def says_removed(called: str) -> str:
    return f"{called} says that this device was removed"


def removed_step(space: Space) -> str:
    return STEPS["removed"].replace("NAME", space.name)


class PeerStates:
    """`relays` gives those of this device, once there are any: they are asked who was seen on them."""

    def __init__(
        self,
        spaces: Spaces,
        switchboard: Switchboard,
        book: PeerBook,
        keys: Keys,
        times: Times,
        clocks: Clocks,
        relays: Callable[[], Relays | None],
    ) -> None:
        self._spaces = spaces
        self._switchboard = switchboard
        self._book = book
        self._keys = keys
        self._times = times
        self._clocks = clocks
        self._relays = relays

    # ---- in one space

    def of(self, space: Space) -> list[PeerStatus]:
        others = [member for member in space.roster.members.values() if member.device != self._keys.device]
        return [self.peer(space, member.device, member.name) for member in sorted(others, key=lambda one: one.name)]

    def peer(self, space: Space, device: bytes, name: str) -> PeerStatus:
        status = self._link_status(space, device, name)
        if self._book.clones.is_two(device) and status.state not in TROUBLED:
            status.state, status.reason, status.next_step = "blocked", TWO_MACHINES.text, TWO_MACHINES.next_step
        elif space.is_damaged and status.state in _LIVELY:  # their link may not have ended yet
            failure = space.store.failure
            step = failure.step_in(space.name) if failure is not None else ""
            status.state, status.reason, status.next_step = "blocked", "our own copy is damaged", step
            status.behind = status.ahead = None
        return status

    def _link_status(self, space: Space, device: bytes, name: str) -> PeerStatus:
        note = self._book.note(device)
        link = self._switchboard.links.get(device)
        known = space.presence.peers.get(device, StoredPeer(device))
        relays = self._relays()
        status = PeerStatus(device=format_device_id(device), name=note.name or name, state="offline")
        status.since_ms = note.since_ms or None
        if link is None:
            self._offline(status, space, note, known)
            if not space.roster.is_member(self._keys.device):
                status.reason = status.next_step = ""  # the space says why, or what we wait for
            elif relays is not None:
                seen, hindrance = relays.last_seen(space, device), relays.hindrance(space, device)
                describe_relayed(status, space.copy.clock(), seen, hindrance, space.forks.on_relay(device))
            return status
        status.since_ms = link.opened_ms
        session = link.sessions.get(space.id)
        if session is None and not space.roster.is_member(self._keys.device):
            return status  # linked for another space's sake; this one says why it is not for its own
        if session is None and space.id in link.says_removed:
            status.state = "refused"
            status.reason, status.next_step = says_removed(status.name or status.device), removed_step(space)
            return status
        if session is None:
            status.state = "connecting"
            status.reason = "linked, but that device has not said that it shares this space"
            status.next_step = UNSHARED_THERE
            return status
        status.since_ms = session.since_ms
        describe_session(status, space, session, self._clocks.of(device), self._times.monotonic_s())
        return status

    def _offline(self, status: PeerStatus, space: Space, note: PeerNote, known: StoredPeer) -> None:
        status.state = "refused" if note.state == "refused" else "offline"
        trouble = self._trouble(note, [space])
        if trouble is None:
            status.state, status.reason = "connecting", DIALLING
        elif trouble.code == "removed" and note.state == "refused":
            status.reason, status.next_step = says_removed(status.name or status.device), removed_step(space)
            if not note.addresses:
                status.next_step += ANSWER_IT
        else:
            status.reason, status.next_step = trouble.text, trouble.next_step
            if trouble.code == "unknown-device":
                status.next_step = status.next_step or UNKNOWN_THERE
        if known.acks or known.seen_ms:  # who was linked while nothing was written acknowledged just that
            origins = space.copy.origins.items()
            written = {origin: at.seq for origin, at in origins if at.announcement.device == known.device}
            status.ahead = lacking(join(known.acks, written), space.copy.clock())

    def never_seen(self, space: Space, device: bytes) -> Trouble | None:
        """What to say of a member of whom there is no sign that it ever had a copy: who let it in would know. None if
        there is one.
        """
        if space.presence.was_here(device):
            return None
        member = space.roster.members.get(device)
        return NEVER_SEEN if member is None or member.admitted_by == self._keys.device else NEVER_SEEN_HERE

    def _trouble(self, note: PeerNote, shared: list[Space]) -> Trouble | None:
        """Why there is no link with a device; None if it was just sighted, and is being dialled."""
        if self._switchboard.paused:
            return PAUSED
        if note.trouble is not None and note.trouble != NOT_FOUND:
            return note.trouble
        seen_s = note.sighted_s
        if note.addresses and seen_s is not None and self._times.monotonic_s() - seen_s < DIALLED_S:
            return None
        never_seen = [self.never_seen(space, note.device) for space in shared]
        if all(never_seen):
            return NEVER_SEEN if NEVER_SEEN in never_seen else NEVER_SEEN_HERE
        met = any(space.presence.peers[note.device].seen_ms for space in shared if note.device in space.presence.peers)
        return DIALS_US if met and not note.addresses else NOT_FOUND

    # ---- wherever we know them from

    def everybody(self) -> PeerList:
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
        shared = sorted(
            (one for one in self._spaces.by_id.values() if one.roster.is_member(device)), key=lambda space: space.name
        )
        trouble = (
            TWO_MACHINES
            if self._book.clones.is_two(device)
            else None
            if link or not any(space.roster.is_member(self._keys.device) for space in shared)  # then nobody dials it
            else self._trouble(note, shared) or Trouble("dialling", DIALLING)
        )
        return PeerView(
            device=format_device_id(device),
            name=note.name,
            state="linked" if link else note.state,
            reason=trouble.text if trouble else "",
            next_step=trouble.next_step if trouble else "",
            addresses=[shown(address) for address in note.addresses],
            spaces=[space.name for space in shared],
            version=note.version,
            since_ms=link.opened_ms if link else note.since_ms or None,
        )
