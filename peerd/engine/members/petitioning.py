"""Petitions on a relay: leaving ours until we are let in, and letting in those whom a ticket entitles.

    newcomer    the petition lies on the relay, and where it may be answered is looked at, in the heads of the members
                too: the first that opens was written after an admin has let us in, and its roster says so
    admin       as long as there is an open ticket, where its petition would lie is looked at; whoever asks in the right
                way is admitted, and in the place of the petition lies an answer, a head that tells the roster alone.
                Less and less often also for a ticket that is used or was withdrawn, as long as it would be good: who
                came by it may not have heard so, as the admin that let it in may have died before it said it, and
                whoever else asks with it is told that nobody comes by it any more
    outsider    a device that was removed looks less and less often into the heads of the others: whoever removed it may
                have been removed itself, and then the removal is void (`core.roster.removal`), and their heads are
                sealed for this device, too

All of them only look while there is something to look for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from msgspec.structs import replace

from peerd.core.backoff import doubling_s
from peerd.core.device_id import short_id
from peerd.core.roster import compose, epochs, tickets
from peerd.core.roster.lineage import Entry
from peerd.core.roster.roster import Roster
from peerd.core.roster.statements import Ticket
from peerd.core.roster.tickets import Petition, Used
from peerd.core.stored import USED, StoredPetition
from peerd.engine.ports import Keys, Times
from peerd.engine.relay.keys import SpaceKeys
from peerd.engine.relay.ports import RelayStore, Sealing
from peerd.engine.relay.sealed_relay import LOOKUP_NAMES, SealedRelay
from peerd.engine.space import Space
from peerd.engine.spaces import Spaces
from peerd.errors import PeerdError, RelayTrouble, RemoteProtocolError, StoreError, UserError
from peerd.logs import get
from peerd.protocol.relay import names as relay_names
from peerd.protocol.relay import objects as relay_objects
from peerd.protocol.relay import spent
from peerd.protocol.relay.courier_steps import HEEDED
from peerd.protocol.relay.head_signatures import is_signed
from peerd.protocol.relay.objects import Head, SignedHead

log = get(__name__)

LOOK_S = (20.0, 40.0)
LONGEST_S = 3600.0  # for whom somebody else has let in, and of one that was removed


class Petitioning:
    """Of one space on one relay. `admitted` is called when we have been let in, or turn out to be in."""

    def __init__(
        self,
        space: Space,
        spaces: Spaces,
        store: RelayStore,
        sealing: Sealing,
        keys: Keys,
        times: Times,
        admitted: Callable[[], None],
    ) -> None:
        self.trouble: RelayTrouble | None = None
        self.space = space
        self._spaces = spaces
        self._store = store
        self._sealing = sealing
        self._keys = keys
        self._times = times
        self._admitted = admitted
        self._space_keys = SpaceKeys(space, spaces)
        self._sealed = SealedRelay(space, spaces, store, sealing, keys)
        self._tags: dict[bytes, str] = {}  # of heads that tell us nothing more
        self._look = asyncio.Event()
        self._logged = ""
        self._looks = 0  # in a row for those alone who were let in and may not have heard of it, or as an outsider
        self._answered: set[bytes] = set()  # tickets; what was left for them is yet to be cleared away
        self.settled = asyncio.Event()  # nothing is being done at the moment
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self.space.on_roster.append(self._on_roster)
        self._task = asyncio.create_task(self._run(), name=f"petitions {self.space.name}")

    async def stop(self) -> None:
        if self._task is None:
            return
        self.space.on_roster.remove(self._on_roster)
        self._task.cancel()
        await asyncio.wait([self._task])
        self._task = None

    def look(self) -> None:
        """Look now, if there is something to look for."""
        self.settled.clear()
        self._look.set()

    def _on_roster(self, _before: Roster) -> None:
        self._looks = 0
        self._look.set()

    async def _run(self) -> None:
        while True:
            self._look.clear()
            try:
                pause_s = await self._turn()
                self.trouble, self._logged = None, ""
            except (RelayTrouble, StoreError, UserError) as trouble:
                self._log(trouble)
                self.trouble = trouble if isinstance(trouble, RelayTrouble) else None
                pause_s = self._times.uniform(*LOOK_S)
            if not self._look.is_set():
                self.settled.set()
            try:
                async with asyncio.timeout(pause_s):
                    await self._look.wait()
            except TimeoutError:
                continue

    def _log(self, trouble: PeerdError) -> None:
        """Once, as long as it is the same."""
        level = log.debug if trouble.code == self._logged else log.warning
        level("petitions not seen to", space=self.space.name, code=trouble.code, cause=str(trouble))
        self._logged = trouble.code

    async def _turn(self) -> float | None:
        """Do what there is to do. Gives when to look again, None if there is nothing to look for."""
        petition, ours = self.space.petition, self._keys.device
        if petition is not None and not self.space.roster.is_member(ours):
            return await self._ask(petition)
        if petition is not None:
            await self.space.ask(None)
        if ours in self.space.roster.removed:
            return None if await self._is_in_after_all() else self._less_and_less()
        if not self.space.roster.is_admin(ours):
            return None
        now_ms = self._times.wall_ms()
        open_ones = tickets.open_tickets(self.space.roster, now_ms)
        used = tickets.used_tickets(self.space.roster, now_ms)
        withdrawn = tickets.withdrawn_tickets(self.space.roster, now_ms)
        await self._clear({one for one in self._answered if one not in used or self._have_come(used[one])})
        entitling = open_ones | {one: gone.ticket for one, gone in (used | withdrawn).items()}
        if not entitling:
            return None
        await self._answer(entitling)
        return self._times.uniform(*LOOK_S) if open_ones else self._less_and_less()

    def _less_and_less(self) -> float:
        self._looks += 1
        return doubling_s(self._times.uniform(*LOOK_S), LONGEST_S, self._looks)

    def _have_come(self, used: Used) -> bool:
        return all(map(self._has_come, used.admissions))

    def _has_come(self, admission: Entry) -> bool:
        """Does a device that was let in know so? Of one that had been here before only what it wrote since tells."""
        space, device = self.space, admission.device
        before = any(one.device == device and one is not admission for one in space.roster.entries())
        announced = (origin.announcement for origin in space.copy.origins.values())
        wrote = any(one.admission == admission.id for one in announced)
        return wrote or not space.roster.is_member(device) or (not before and space.presence.was_here(device))

    # ---- the newcomer

    async def _ask(self, petition: StoredPetition) -> float | None:
        await self._store.prepare()
        if await self._hear(petition):  # perhaps it was in time
            return None
        still = self.space.petition
        if still is None or still.is_spent or still.expires_ms <= self._times.wall_ms():
            return self._less_and_less()  # it may be the clock that is wrong
        # Only now: a petition that is left again after it was answered is answered again.
        await self._put(petition.name, petition.sealed)
        return self._times.uniform(*LOOK_S)

    async def _hear(self, petition: StoredPetition) -> bool:
        """Have we been let in? That may be said also where it was said that nobody comes by the file any more."""
        found = await self._store.lookup(petition.answers, contents=True)
        for name, one in found.items():
            try:
                signed = self._sealing.open_head(name, one.data or b"", self.space.id, [])
                head = relay_objects.decode_answer(signed.data)
            except RemoteProtocolError:
                continue  # of a time before we were let in
            larger, _ = self.space.roster.with_statements(head.statements)
            by_a_member = larger.is_member(signed.device) and is_signed(signed, larger, self._spaces.verify)
            if by_a_member and larger.is_member(self._keys.device):
                await self.space.learn(head.statements, signed.device)
                await self.space.ask(None)
                # The petition too: it may have been left again after it was answered.
                await self._store.delete([petition.name, *petition.answers[:1]])
                log.info("space joined", space=self.space.name, device=short_id(signed.device))
                self._admitted()
                return True
            why = spent.told(signed, head, self.space.roster, petition.expires_ms, self._spaces.verify)
            if why is not None:
                await self.space.ask(replace(petition, expires_ms=why))
                await self._store.delete([petition.name, *petition.answers[:1]])
                cause = "used" if why == USED else "withdrawn"
                log.warning("invitation good no more", space=self.space.name, cause=cause)
        return False

    # ---- the outsider

    async def _is_in_after_all(self) -> bool:
        """Learn what the heads of the others say that have changed since. Does our removal not stand?"""
        space, ours = self.space, self._keys.device
        others = [*space.roster.members, *(one for one in space.roster.removed_last(HEEDED) if one != ours)]
        await self._store.prepare()
        for start in range(0, len(others), LOOKUP_NAMES):
            there = await self._sealed.tags(others[start : start + LOOKUP_NAMES])
            changed = [device for device, tag in there.items() if self._tags.get(device) != tag]
            for device, seen in (await self._sealed.heads(changed) if changed else {}).items():
                if not seen.missing:
                    self._tags[device] = seen.tag
        if not space.roster.is_member(ours):
            return False
        log.info("removal does not stand", space=space.name)
        self._admitted()
        return True

    # ---- the admin

    async def _answer(self, entitling: dict[bytes, Ticket]) -> None:
        """See to the petitions of whoever asks with one of these tickets."""
        space, names_key = self.space, self._space_keys.names()
        names = {relay_names.ticket_name(names_key, one): one for one in entitling}
        found = await self._store.lookup(list(names), contents=True)
        over = []
        for name, one in found.items():
            which, ticket = names[name], entitling[names[name]]
            secret = tickets.petition_secret(space.id, names_key, ticket.key)
            try:
                data = self._sealing.open_object(name, one.data or b"", [epochs.relay_keys(space.id, secret)])
                asked = tickets.read_petition(data, space.id, {which: ticket}, self._spaces.verify)
            except RemoteProtocolError as problem:
                log.warning("petition refused", space=space.name, cause=str(problem))
                over.append(name)
                continue
            try:
                is_over = await self._see_to(which, ticket, asked)
            except UserError as problem:  # others are let in all the same
                log.warning("petition refused", space=space.name, code=problem.code, cause=str(problem))
                is_over = True
            if is_over:
                over.append(name)
        await self._store.delete(over)

    async def _see_to(self, which: bytes, ticket: Ticket, asked: Petition) -> bool:
        """By a ticket that is used or withdrawn nobody is let in any more: who was is told so, if whoever let it in
        could not, and anybody else why it is not. False: by whom it would believe that is to do it.
        """
        space, place = self.space, relay_names.answer_name(self._space_keys.names(), which)
        card, ended = asked.card, asked.ended
        if compose.needs_admission(space.roster, card, ended):
            # It may have been used or withdrawn just now.
            if which not in tickets.open_tickets(space.roster, self._times.wall_ms()):
                why = spent.answer(space.roster, self._keys.device, which, self._times.wall_ms())
                if why is not None:
                    await self._leave_answer(place, why, [card.sealing_key])
                    self._answered.discard(which)  # what lies there now is for whoever asked last
                return why is not None
            await self._spaces.admit(space, card, ticket.role, which, ended)
        used = tickets.used_tickets(space.roster, self._times.wall_ms()).get(which)
        if used is None or card.device in {admission.device for admission in used.admissions}:
            head = Head(0, self._times.wall_ms(), bytes(16), 1, bytes(32), statements=list(space.roster.statements))
            await self._leave_answer(place, head, [member.sealing_key for member in space.roster.members.values()])
            self._answered.add(which)
        return True

    async def _clear(self, answered: set[bytes]) -> None:
        """Who came by these tickets knows it. It clears away itself, but we may have answered it once more since."""
        if answered:
            names_key = self._space_keys.names()
            await self._store.delete([relay_names.answer_name(names_key, one) for one in answered])
            self._answered -= answered

    async def _leave_answer(self, name: str, head: Head, readers: Sequence[bytes]) -> None:
        """In the place of any other: what another admin said is the same, or was said before it heard what we have."""
        space, ours = self.space, self._keys.device
        data = relay_objects.encode(head)
        signature = self._keys.sign(relay_objects.head_signing_input(space.id, ours, data))
        signed, like = SignedHead(ours, signature, data), len(space.roster.members)
        sealed = self._sealing.seal_head(name, signed, space.id, self._space_keys.sealing(), readers, like)
        await self._put(name, sealed)

    async def _put(self, name: str, sealed: bytes) -> None:
        """In the place of what is there; if that changes meanwhile, it stays until the next look."""
        if await self._store.create({name: sealed}):
            before = await self._store.lookup([name], contents=False)
            await self._store.replace(name, sealed, before[name].tag if before else None)
