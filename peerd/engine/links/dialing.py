"""Carries out who to dial: a task per wanted device, and one per static address, each with its own back-off.

Whoever both sides want is dialled by both; the switchboard lets one link stay. A device is tried at all its addresses,
the most promising first. Every nudge (a sighting, a network change, a wake-up) ends the waiting.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress

from peerd.core.backoff import FRESH_S, delay_s
from peerd.core.device_id import short_id
from peerd.core.links import chosen
from peerd.core.stored import Address
from peerd.engine.links.introductions import Introductions
from peerd.engine.links.peer_book import AWAY, NOT_FOUND, SHORT_LINK_S, UNHEARD, PeerBook, Trouble
from peerd.engine.links.switchboard import Switchboard
from peerd.engine.ports import Dialer, Keys, Link, Times
from peerd.engine.space import Space
from peerd.errors import LinkLost
from peerd.logs import get
from peerd.protocol.messages import SUBPROTOCOL

log = get(__name__)

DIAL_S = 4.0
REFUSALS = frozenset({"unknown-device", "removed", "version", "wrong-device"})
ELSEWHERE = frozenset({"wrong-device", "two-machines"})  # the one that we want is not there
LAST_WORDS = UNHEARD | {"paused"}
STRANGER = "Is it the right address? A device that is new, or was set up anew, has to be paired."
_SPREAD_S = 0.2  # so that two devices that see each other rarely dial in the same instant


class Dialing:
    def __init__(
        self,
        spaces: dict[bytes, Space],
        switchboard: Switchboard,
        book: PeerBook,
        dialer: Dialer,
        keys: Keys,
        times: Times,
    ) -> None:
        self.introductions = Introductions(book, switchboard, times)
        self._spaces = spaces
        self._switchboard = switchboard
        self._book = book
        self._dialer = dialer
        self._keys = keys
        self._times = times
        self._tasks: dict[bytes | Address, asyncio.Task[None]] = {}
        self._nudges: dict[bytes | Address, asyncio.Event] = {}
        self._let_in_by: set[bytes] = set()  # just now
        self._static: dict[Address, bytes | None] = {}  # address -> the device that answered there
        self._astray: dict[Address, Trouble] = {}  # of them, those where no member answers, and why
        self._random_ranks: dict[bytes, float] = {}
        self._admissions: dict[bytes, bytes] = {}  # space -> the admission by which we belong to it
        self._stopping = False

    # ---- what is wanted

    def set_static(self, addresses: Iterable[Address]) -> None:
        """The addresses of network.peers, resolved."""
        self._static = {address: self._static.get(address) for address in addresses}
        self._astray = {address: why for address, why in self._astray.items() if address in self._static}
        self.refresh()

    def astray(self) -> list[tuple[Address, Trouble]]:
        """The addresses of network.peers at which no member answered when last tried, and why."""
        return sorted(self._astray.items())

    def refresh(self) -> None:
        """Match the tasks to the members and the static addresses."""
        if self._stopping:
            return
        self._note_admissions()
        self._let_go_of_strangers()
        wanted: set[bytes | Address] = {*self._wanted_devices(), *self._static}
        for target in [one for one in self._tasks if one not in wanted]:
            self._tasks.pop(target).cancel()
            self._nudges.pop(target, None)
        for target in sorted(wanted, key=repr):  # in one order, so that chance alone decides who is first
            if target not in self._tasks:
                self._nudges[target] = asyncio.Event()
                coroutine = self._pursue(target) if isinstance(target, bytes) else self._pursue_address(target)
                self._tasks[target] = asyncio.create_task(coroutine, name="dial")

    def _wanted_devices(self) -> set[bytes]:
        wanted: set[bytes] = set()
        for space in self._spaces.values():
            members = space.roster.members
            if self._keys.device not in members:
                continue
            for member in members.values():
                if member.device != self._keys.device:
                    note = self._book.note(member.device)
                    note.name = note.name or member.name
            for device in members:
                self._random_ranks.setdefault(device, self._times.uniform(0, 1))
            wanted |= chosen(self._keys.device, members.keys(), self._random_ranks, self._book.away())
            wanted |= members.keys() & {device for device in self._static.values() if device is not None}
        return wanted - {self._keys.device}

    def _note_admissions(self) -> None:
        """Where we were let in (again), everybody is asked anew who refused us before."""
        for space in self._spaces.values():
            us = space.roster.members.get(self._keys.device)
            if us is None or self._admissions.get(space.id) == us.admission:
                continue
            self._admissions[space.id] = us.admission
            for device in space.roster.members:
                self._book.readmitted(device)
                self.introductions.let_in_again(device)
                self.nudge(device)

    def _let_go_of_strangers(self) -> None:
        """Where a device answered that is no member any more, another may answer now: a machine set up anew."""
        for address, device in self._static.items():
            if device is not None and not self._switchboard.shared_with(device):
                self._static[address] = None
                self.nudge(address)

    def sighted(self, device: bytes, addresses: Iterable[Address]) -> None:
        """Discovery saw a member there."""
        addresses = tuple(addresses)
        was_away = device in self._book.away()
        self._book.sighted(device, addresses)
        self._switchboard.sighted(device, addresses)
        if was_away:
            self.refresh()
        self.nudge(device)

    def let_in_by(self, device: bytes, addresses: Iterable[Address]) -> None:
        """A member has let us in there. It may not know yet where we listen, so nobody else dials at this moment."""
        self._let_in_by.add(device)
        self.sighted(device, addresses)

    def nudge(self, target: bytes | Address) -> None:
        event = self._nudges.get(target)
        if event is not None:
            event.set()

    def nudge_all(self) -> None:
        for note in self._book.notes.values():
            note.attempts = note.short_links = 0
        for event in self._nudges.values():
            event.set()

    async def stop(self) -> None:
        self._stopping = True
        await self.introductions.stop()
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # ---- one device

    async def _pursue(self, device: bytes) -> None:
        nudge = self._nudges[device]
        await self._spread(device, nudge)
        while True:
            nudge.clear()
            note = self._book.note(device)
            before = note.attempts
            if device not in self._switchboard.links and not self._switchboard.paused:
                for address in note.addresses:
                    if await self._dial(device, address):
                        break
                else:
                    # One that paused its links, or dials us and will not have us, is not hidden: the last thing that
                    # it said holds until it says another.
                    if not note.addresses and (note.trouble is None or note.trouble.code not in LAST_WORDS):
                        self._book.failed(device, NOT_FOUND, refused=False)
                if before < AWAY <= note.attempts:
                    self.refresh()  # others are to be tried, too
            await self._wait(nudge, device)

    async def _spread(self, device: bytes, nudge: asyncio.Event) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._times.uniform(0, _SPREAD_S)):
                while device not in self._let_in_by:
                    await nudge.wait()
                    nudge.clear()
        self._let_in_by.discard(device)

    async def _dial(self, device: bytes, address: Address, *, introduced: bool = False) -> bool:
        """True if there is nothing more to try: a link, or an answer that is final for now."""
        try:
            link = await self._dialer.dial(address, SUBPROTOCOL, device, DIAL_S)
        except LinkLost as problem:
            if device in self._switchboard.links:
                return True
            log.debug("dial failed", device=short_id(device), address=f"{address[0]} {address[1]}", code=problem.code)
            if problem.code in ELSEWHERE:
                if problem.code == "two-machines":
                    self._book.clones.answered_as_us(address)
                self._reconsider(device, address)
                return False
            if problem.code in UNHEARD and not introduced and await self.introductions.refused(device, address):
                return await self._dial(device, address, introduced=True)
            refused = problem.code in REFUSALS
            self._book.failed(device, Trouble(problem.code, str(problem), problem.next_step), refused=refused)
            return refused
        self._book.worked(device, address)
        await self._run(link, self._nudges[device])
        return True

    async def _run(self, link: Link, nudge: asyncio.Event) -> None:
        """Its end is a nudge to dial again at once, unless it came too soon: then the back-off counts."""
        started_s = self._times.monotonic_s()
        await self._switchboard.run_link(link)
        if self._times.monotonic_s() - started_s < SHORT_LINK_S:
            nudge.clear()
            self._book.note(link.theirs).attempts += 1

    def _reconsider(self, device: bytes, address: Address) -> None:
        """Another device lives there now."""
        note = self._book.note(device)
        note.addresses = tuple(one for one in note.addresses if one != address)
        if address in self._static:
            self._static[address] = None
            self.nudge(address)

    async def _wait(self, nudge: asyncio.Event, device: bytes) -> None:
        """Until it is time to try again: at once when the link is lost, else after the back-off or a nudge. A refusal
        does not pass by itself, however lately the device was seen, nor does what ends one link after the other;
        whatever changes that is a nudge.
        """
        note = self._book.note(device)
        if device in self._switchboard.links:
            await nudge.wait()
            if device in self._switchboard.links or not note.short_links:
                return
            nudge.clear()
        away_s = FRESH_S
        if note.sighted_s is not None and note.state != "refused" and not note.short_links:
            away_s = self._times.monotonic_s() - note.sighted_s
        attempts = max(1, note.attempts, note.short_links)
        try:
            async with asyncio.timeout(delay_s(attempts, away_s, self._times.uniform)):
                await nudge.wait()
        except TimeoutError:
            pass

    # ---- one static address

    async def _pursue_address(self, address: Address) -> None:
        """Find out who answers at an address of the configuration; from then on that device is pursued there."""
        nudge = self._nudges[address]
        attempt = 0
        while True:
            nudge.clear()
            if self._static.get(address) is None and not self._switchboard.paused:
                attempt += 1
                if await self._identify(address):
                    attempt = 0
                    self.refresh()  # whoever lives there is pursued from now on
            if self._static.get(address) is not None:
                await nudge.wait()
                continue
            try:
                async with asyncio.timeout(delay_s(max(1, attempt), FRESH_S, self._times.uniform)):
                    await nudge.wait()
            except TimeoutError:
                pass

    def _refused_by_member(self, device: bytes, address: Address) -> bool:
        """A member lives there and will not have us: it is pursued like any other, so that its reason is told."""
        if not self._switchboard.shared_with(device):
            return False
        self._static[address] = device
        self._book.worked(device, address)
        self.nudge(device)
        return True

    async def _identify(self, address: Address) -> bool:
        try:
            link = await self._dialer.dial(address, SUBPROTOCOL, None, DIAL_S)
        except LinkLost as problem:
            log.debug("dial failed", address=f"{address[0]} {address[1]}", code=problem.code)
            if problem.code == "two-machines":
                self._book.clones.answered_as_us(address)
            if problem.theirs is not None and self._refused_by_member(problem.theirs, address):
                self._astray.pop(address, None)
                return True
            if problem.theirs == self._keys.device:
                return False  # one list of addresses for all devices names each of them, too
            step = problem.next_step or (STRANGER if problem.code in UNHEARD else "")
            self._astray[address] = Trouble(problem.code, str(problem), step)
            return False
        if not self._switchboard.shared_with(link.theirs):
            await link.close(*self._switchboard.turned_away(link.theirs))
            text = f"the device {short_id(link.theirs)} answers there, which is no member of any space here"
            self._astray[address] = Trouble("unknown-device", text, STRANGER)
            return False
        self._astray.pop(address, None)
        self._static[address] = link.theirs
        self._book.worked(link.theirs, address)
        self._book.note(link.theirs).sighted_s = self._times.monotonic_s()
        await self._run(link, asyncio.Event())
        self.nudge(link.theirs)
        return True
