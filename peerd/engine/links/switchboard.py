"""All live links: which of two stays, and the doorbell to every session of a space."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from typing import Any

from peerd.core.clocks import Clock, includes
from peerd.core.device_id import short_id
from peerd.core.links import newcomer_stays
from peerd.core.stored import Address
from peerd.engine.commits import Commit
from peerd.engine.links.link_runner import DUPLICATE, Greeting, LinkRunner, greet
from peerd.engine.links.peer_book import UNHEARD, PeerBook, Trouble
from peerd.engine.links.session_runner import SessionRunner
from peerd.engine.links.turns import Turns
from peerd.engine.ports import Keys, Link, Times
from peerd.engine.presence import ADDRESSES
from peerd.engine.repair.repairs import CAPABILITY
from peerd.engine.space import Space
from peerd.errors import LinkLost, PeerdError, RemoteProtocolError, StoreClosed, StoreError
from peerd.logs import get
from peerd.protocol import codec
from peerd.protocol.messages import MAJOR, MINOR, Hello

log = get(__name__)

COLLECT_S = 1.0
PROBE_S = 1.0
STOP_S = 3.0


class Switchboard:
    """`spaces` is the daemon's table of open spaces; `name` and `software` are told to peers."""

    def __init__(
        self, spaces: dict[bytes, Space], keys: Keys, times: Times, book: PeerBook, *, name: str, software: str
    ) -> None:
        self.links: dict[bytes, LinkRunner] = {}
        self.name = name
        self.changed: Callable[[bytes], None] = lambda _: None  # a device's link came or went
        self.unshared: Callable[[bytes], None] = lambda _: None  # it does not know that we share a space with it
        self.stopping = False
        self._collecting: asyncio.TimerHandle | None = None
        self.paused = False
        self._spaces = spaces
        self._keys = keys
        self._times = times
        self._book = book
        self._software = software
        self._boot = times.random_bytes(8)
        self._dials = 0
        self.turns = Turns()
        self._leaving: set[asyncio.Task[None]] = set()
        self._doubts: set[asyncio.Task[None]] = set()
        self._serving: set[asyncio.Task[None]] = set()

    # ---- spaces

    def add_space(self, space: Space) -> None:
        """Sessions of this space may begin on every link."""
        space.on_commit.append(lambda commit: self._on_commit(space, commit))
        space.on_roster.append(lambda _: self._on_roster(space))
        space.damage.changed = lambda: self._on_repair(space)
        space.on_switch.append(lambda: self._on_switch(space))
        space.on_trim.append(lambda before: self._on_trim(space, before))
        self.share()

    def remove_space(self, space: Space) -> None:
        """It is no longer open here."""
        self.share()
        self.turns.forget(space.id)

    def share(self) -> None:
        for link in list(self.links.values()):
            link.share()

    def shared_with(self, device: bytes) -> dict[bytes, Space]:
        return {one.id: one for one in self._spaces.values() if one.roster.is_member(device) and self._is_ours(one)}

    def sighted(self, device: bytes, addresses: Iterable[Address]) -> None:
        """Discovery saw it there. Where it is linked from one of these hosts, that one is its own, and the port is the
        one that it listens on: a link that it dialled itself does not tell that.
        """
        runner = self.links.get(device)
        host = runner.link.address[0] if runner is not None else None
        for address in addresses:
            if address[0] == host:
                for space in self.shared_with(device).values():
                    space.presence.note_address(device, address)

    def turned_away(self, device: bytes) -> tuple[int, str]:
        """What is said to a device that we share nothing with at the moment: a member may not be told that it was
        removed because our copy is out of order.
        """
        removed = any(device in space.roster.removed for space in self._spaces.values())
        return (4403, "removed") if removed else (4401, "unknown-device")

    def _is_removed(self, device: bytes, space_id: bytes) -> bool:
        """From a space of which we are a member."""
        space = self._spaces.get(space_id)
        return space is not None and space.roster.is_member(self._keys.device) and device in space.roster.removed

    def _is_ours(self, space: Space) -> bool:
        return space.trouble is None and not space.is_damaged and space.roster.is_member(self._keys.device)

    def sessions(self, space: Space) -> list[SessionRunner]:
        return [one for link in self.links.values() if (one := link.sessions.get(space.id)) is not None]

    def _on_commit(self, space: Space, commit: Commit) -> None:
        for session in self.sessions(space):
            self._guarded(session, partial(session.committed, commit))

    def _on_roster(self, space: Space) -> None:
        for device, link in list(self.links.items()):
            session = link.sessions.get(space.id)
            if session is not None:
                self._guarded(session, session.roster_changed)  # also to those who hear now that they were removed
            if not self.shared_with(device):
                self._drop(link, "removed")
            else:
                link.share()

    def _on_switch(self, space: Space) -> None:
        """Our log begins elsewhere now. Whoever lacks what it begins with has to hear that, in a new session."""
        horizon = space.copy.horizon()
        for session in self.sessions(space):
            if space.was_replaced or not includes(session.machine.their_copy.clock, horizon):
                self._drop(self.links[session.theirs], "snapshot")

    def _on_trim(self, space: Space, before: Clock) -> None:
        """The same, for those who had what it began with before: they were not expected to come on with so little."""
        horizon = space.copy.horizon()
        for session in self.sessions(space):
            clock = session.machine.their_copy.clock
            if includes(clock, before) and not includes(clock, horizon):
                self._drop(self.links[session.theirs], "trimmed")

    def _on_repair(self, space: Space) -> None:
        """Our copy is known to be damaged, or was put right: others have to hear what it is now."""
        for session in self.sessions(space):
            session.repairs.differ()

    def _guarded(self, session: SessionRunner, event: Callable[[], None]) -> None:
        """An event from our side must not fail because of what one peer did."""
        try:
            event()
        except PeerdError as problem:
            log.warning("session failed", device=short_id(session.theirs), cause=str(problem))
            link = self.links.get(session.theirs)
            if link is not None:
                self._drop(link, "internal")

    # ---- links

    async def run_link(self, link: Link) -> None:
        """Own a link from its greeting to its end; never raises what a peer or the weather did. Whoever is cancelled
        here lets go of the link, and it is left with a goodbye all the same.
        """
        task = asyncio.create_task(self._serve(link), name="link")
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.done():
                self._let_go(link)
            raise

    def _let_go(self, link: Link) -> None:
        runner = self.links.get(link.theirs)
        if runner is not None and runner.link is link:
            self._drop(runner, "leaving")
        else:
            self._leave(link.close(1001, "leaving"))

    async def _serve(self, link: Link) -> None:
        try:
            greeting = await greet(link, self._hello(dialed=link.dialed), self._times)
        except (LinkLost, RemoteProtocolError) as problem:
            await link.close(4400, problem.code)
            if link.theirs not in self.links:
                trouble = Trouble(problem.code, str(problem))
                self._book.failed(link.theirs, trouble, refused=problem.code in UNHEARD)
            return
        if not await self._stays(link, greeting):
            return
        runner = LinkRunner(link, greeting, self._times, lambda: self.shared_with(link.theirs))
        runner.on_session = self._on_session
        runner.on_end = self._on_end
        runner.on_unshared = lambda: self.unshared(link.theirs)
        runner.removed_from = lambda space: self._is_removed(link.theirs, space)
        self.links[link.theirs] = runner
        self._book.linked(link.theirs, greeting.theirs.name, greeting.theirs.software)
        log.info("link opened", device=short_id(link.theirs), address=f"{link.address[0]} {link.address[1]}")
        self.changed(link.theirs)
        trouble, close_code = Trouble("link-lost", "the connection was lost"), 1001
        try:
            trouble, close_code = await self._run(runner)
        finally:
            self._ended(runner, trouble)
            # An exception holds the frames it passed, and they hold megabytes of what was sent: not until Python
            # happens to look for cycles. A moment later, when nobody holds the exception any more.
            self._collect_soon()
            await link.close(close_code, trouble.code)

    async def _stays(self, link: Link, greeting: Greeting) -> bool:
        """Of two links with one device one is closed; and nobody stays who shares nothing with us (any more)."""
        self._book.clones.met(link.theirs, greeting.facts.their_boot)
        existing = self.links.get(link.theirs)
        if existing is not None:
            if not newcomer_stays(self._keys.device, link.theirs, existing.greeting.facts, greeting.facts):
                await link.close(DUPLICATE, "duplicate")
                self._doubt(existing)
                return False
            self.links.pop(link.theirs)
            self._drop(existing, "duplicate", DUPLICATE)
        if self.stopping or self.paused or not self.shared_with(link.theirs):
            if self.stopping or self.paused:
                await link.close(4403, "stopping" if self.stopping else "paused")
            else:
                await link.close(*self.turned_away(link.theirs))
            return False
        return True

    async def _run(self, runner: LinkRunner) -> tuple[Trouble, int]:
        """Until the link ends: why, and with which code it is to be closed."""
        device = short_id(runner.theirs)
        try:
            await runner.run()
        except RemoteProtocolError as problem:
            log.warning("peer refused", device=device, code=problem.code, cause=str(problem))
            hint = "That device does not keep the protocol: is its peerd damaged or newer?"
            return Trouble(problem.code, f"refused here: {problem}", hint), problem.close_code
        except StoreClosed as closed:
            return Trouble(closed.code, "a space of both was closed here", "It is dialled again by itself."), 1000
        except StoreError as problem:
            log.warning("link closed by our store", device=device, code=problem.code, cause=str(problem))
            damaged = next((one.name for one in self._spaces.values() if one.is_damaged), None)
            step = problem.next_step if damaged is None else problem.step_in(damaged)
            return Trouble(problem.code, f"our own disk: {problem}", step), 4500
        except LinkLost as problem:
            return Trouble(problem.code, str(problem), problem.next_step), 1000
        return Trouble("link-lost", "the connection was lost"), 1000

    def _collect_soon(self) -> None:
        if self._collecting is None:
            self._collecting = asyncio.get_running_loop().call_later(COLLECT_S, self._collect)

    def _collect(self) -> None:
        self._collecting = None
        gc.collect()

    def _ended(self, runner: LinkRunner, trouble: Trouble) -> None:
        if self.links.get(runner.theirs) is runner:
            del self.links[runner.theirs]
            for space in self.shared_with(runner.theirs).values():
                space.presence.note_seen(runner.theirs)
            self._book.lost(runner.theirs, trouble, self._times.monotonic_s() - runner.opened_s)
            log.info("link closed", device=short_id(runner.theirs), cause=trouble.text)
            self.changed(runner.theirs)
        elif (current := self.links.get(runner.theirs)) is not None:
            for session in current.sessions.values():
                session.forks.outlived()

    def _hello(self, *, dialed: bool) -> Hello:
        self._dials += dialed
        return Hello(
            [MAJOR, MINOR],
            self._boot,
            self._dials,
            self._times.wall_ms(),
            self._times.quality(),
            [codec.ZSTD, CAPABILITY],
            self._software,
            self.name,
        )

    def _drop(self, link: LinkRunner, reason: str, code: int = 1000) -> None:
        self._leave(link.leave(reason, code))

    def _leave(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name="leave link")
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    def _doubt(self, link: LinkRunner) -> None:
        """They dialled although there is a link: perhaps it is dead, and they have given it up already."""
        if not self.stopping:
            task = asyncio.create_task(self._probe([link]), name="probe")
            self._doubts.add(task)
            task.add_done_callback(self._doubts.discard)

    async def probe(self) -> None:
        """After a network change or a sleep: drop every link that does not answer within a second."""
        await self._probe(list(self.links.values()))

    async def _probe(self, links: list[LinkRunner]) -> None:
        for link in links:
            link.ping()
        asked = self._times.monotonic_s()
        await asyncio.sleep(PROBE_S)
        for link in links:
            if self.links.get(link.theirs) is link and not link.answered_since(asked):
                log.info("link silent", device=short_id(link.theirs))
                self._drop(link, "silent")

    async def pause(self) -> None:
        """Say goodbye on every link and take no new one, until `paused` is unset."""
        self.paused = True
        await asyncio.gather(*(link.leave("paused") for link in list(self.links.values())), return_exceptions=True)

    async def stop(self) -> None:
        """Say goodbye on every link, for good."""
        self.stopping = True
        for doubt in self._doubts:
            doubt.cancel()
        await asyncio.gather(*(link.leave("stopping") for link in list(self.links.values())), return_exceptions=True)
        ending = self._leaving | self._serving
        if ending:
            await asyncio.wait(ending, timeout=STOP_S)

    # ---- sessions

    def _on_session(self, session: SessionRunner) -> None:
        session.on_turn = self.turns.wanted
        session.on_caught_up = self.turns.pass_on
        session.repairs.others = partial(self.sessions, session.space)
        device, space = session.theirs, session.space
        space.presence.note_seen(
            device, name=self._book.note(device).name, addresses=self._book.note(device).addresses[:ADDRESSES]
        )

    def _on_end(self, session: SessionRunner) -> None:
        log.info("session closed", space=session.space.name, device=short_id(session.theirs))
        self.turns.pass_on(session)
