"""How each space stands, and its members: state, reason and next step."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from peerd.core import digest
from peerd.core.device_id import format_device_id
from peerd.core.names import RESERVED_PREFIX
from peerd.core.roster.tickets import open_tickets
from peerd.engine.conflicts import Conflicts
from peerd.engine.links.session_status import STEPS
from peerd.engine.ports import Keys, Times
from peerd.engine.relay.relays import Relays
from peerd.engine.relay.status import is_behind_on_relay
from peerd.engine.relay.views import petition_state
from peerd.engine.repair.scrub_status import describe_scrub
from peerd.engine.snapshots.status import snapshot_view, taken_view
from peerd.engine.space import Space
from peerd.engine.status.peers import OTHER_KEYS, TROUBLED, PeerStates, removed_step, says_removed
from peerd.engine.tables.notices import asks_for_nobody, in_words
from peerd.engine.upkeep.growth import Growth
from peerd.errors import PeerdError, StoreError
from peerd.protocol.control.reports import (
    MemberList,
    MemberView,
    OpenTicket,
    PeerStatus,
    RetryView,
    SpaceView,
    TableNotice,
)


async def _no_tables(_: Space) -> Sequence[TableNotice]:
    return []


class SpaceStates:
    """`tables(space)` gives what there is to say of what is bound to a space, the worst first; `retry(name)` when one
    that its disk stopped is tried again.
    """

    def __init__(self, peers: PeerStates, keys: Keys, times: Times, relays: Callable[[], Relays | None]) -> None:
        self.growth = Growth()
        self.tables: Callable[[Space], Awaitable[Sequence[TableNotice]]] = _no_tables
        self.retry: Callable[[str], RetryView | None] = lambda _: None
        self._peers = peers
        self._keys = keys
        self._times = times
        self._relays = relays

    async def view(self, space: Space) -> SpaceView:
        try:
            return await self._view(space)
        except StoreError as problem:
            failed = self.failed(space.name, space.store.failure or problem)
            failed.id, failed.peers = space.id.hex(), self._peers.of(space)
            return failed

    async def _view(self, space: Space) -> SpaceView:
        counts, parked = await Conflicts(space).counts()
        peers = self._peers.of(space)
        notices = await self.tables(space)
        state, reason, step = self.state_of(space, peers, notices)
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
            retry=self.retry(space.name),
        )

    def failed(self, name: str, failure: Exception) -> SpaceView:
        """Of one that cannot be read: nothing is known of it, least of all that it is empty."""
        step = failure.step_in(name) if isinstance(failure, PeerdError) else ""
        return SpaceView(
            name=name, id="", state="failed", records=0, conflicts=0, clock={}, digest="", peers=[],
            reason=str(failure), next_step=step, retry=self.retry(name),
        )  # fmt: skip

    def state_of(self, space: Space, peers: list[PeerStatus], notices: Sequence[TableNotice]) -> tuple[str, str, str]:
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
            text = reason if reason == says_removed(called) else f"{called}: {reason}"
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
        relays = self._relays()
        return None if relays is None else relays.trouble_of(space)

    def _outside(self, space: Space) -> tuple[str, str, str]:
        """Of a space of which this device is no member: not yet, or not any more."""
        if space.petition is not None:
            return petition_state(space.petition, self._times.wall_ms(), self._relay_names(space))
        removal = space.roster.removed.get(self._keys.device)
        if removal is None:
            step = f"{removed_step(space)} {OTHER_KEYS}"
            return "removed", f"this device is no member of {space.name}; its copy can be read", step
        by = space.name_of(removal.by)
        what = f"was removed from {space.name}{' by ' + by if by else ''}"
        if removal.by == self._keys.device:
            what = f"has left {space.name}"
        return "removed", f"this device {what}; its copy can be read but not written", removed_step(space)

    def _relay_names(self, space: Space) -> list[str]:
        relays = self._relays()
        return [] if relays is None else relays.names_of(space)

    # ---- members

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
        now_ms, roster = self._times.wall_ms(), space.roster
        awaited = {
            one.device: MemberView(
                device=format_device_id(one.device),
                name=space.name_of(one.device),
                role=one.role,
                state="awaited",
                expires_ms=one.expires_ms,
            )
            for one in space.awaited.values()
            if one.expires_ms > now_ms and not roster.is_member(one.device)
        }
        views += awaited.values()
        views += [
            MemberView(device=format_device_id(device), name=removal.name, role="", state="removed", own=device == ours)
            for device, removal in roster.removed.items()
            if device not in awaited
        ]
        tickets = [
            OpenTicket(id=which.hex(), role=one.role, expires_ms=one.expires_ms)
            for which, one in open_tickets(roster, now_ms).items()
        ]
        return MemberList(members=views, relays=relays, tickets=sorted(tickets, key=lambda one: one.expires_ms))

    def _member_state(self, space: Space, device: bytes, name: str) -> str:
        state = self._peers.peer(space, device, name).state
        never_seen = self._peers.never_seen(space, device) if state == "offline" else None
        return state if never_seen is None else never_seen.text


def _seen_ms(space: Space, device: bytes) -> int | None:
    return space.presence.peers[device].seen_ms or None if device in space.presence.peers else None


def _stopped(space: Space) -> tuple[str, str, str] | None:
    """State, reason and next step of a space that this device cannot go on with as it is."""
    if (failure := space.store.failure) is not None:
        state = "failed" if space.is_damaged else "stopped"
        return state, str(failure), failure.step_in(space.name)
    if space.trouble is not None:
        code, text = space.trouble
        return "stopped", text, STEPS.get(code, "")
    return None
