"""Announce this device on the local network and see the others (mDNS, RFC 6762 and 6763).

One `Station` per chosen interface does the talking; this module decides what is said when.

    start                 open a station on every chosen interface, ask who is there
    announce(...)         new identity: nonce, and per interface an instance and a host name; then as refresh
    refresh()             after a network change or a resume: read the interfaces again, withdraw everything (goodbye),
                          open new stations, announce under a new identity, ask again; who has not answered
                          `SWEEP_S` later is gone
    every 24 h            as refresh
    every 15 min          ask again
    something failed      every minute the missing stations are tried again
    stop                  goodbyes

The identity changes as a whole: nonce, instance names, host names and tags together, so that nothing on the air links
what a device says today with what it says tomorrow. The address and the MAC of the machine are another matter.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import deque
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from peerd import logs
from peerd.core.tags import MAX_TAGS, NONCE_BYTES, Announcement
from peerd.discovery.candidates import Candidates
from peerd.discovery.interfaces import choose, read_interfaces
from peerd.discovery.station import Station, StationError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from peerd.discovery.interfaces import Interface
    from peerd.discovery.sightings import Address, Sighting

MAX_INTERFACES: Final = 16
RENEWAL_S: Final = 24 * 3600.0
ASK_AT_S: Final = (0.05, 1.0, 4.0, 12.0)  # after a start or refresh
ASK_AGAIN_S: Final = 900.0  # below the time for which an announcement stands
SWEEP_S: Final = 20.0
RETRY_S: Final = 60.0
REFRESHES_IN_A_ROW: Final = 3  # in any
ROW_S: Final = 3.0
_STOP_S: Final = 3.0
_OWN_REMEMBERED: Final = 8

log = logs.get(__name__)


class _Identity(msgspec.Struct, frozen=True):
    announcement: Announcement
    names: dict[int, tuple[str, str]]  # interface index: instance and host name


class Mdns:
    """mDNS on the chosen interfaces.

    `port` is where this device listens. `interfaces` are names or globs, with "!" in front to exclude
    (`interfaces.choose`). `on_sighting` is told what is new or changed and, after a refresh, everything that answers;
    it may return True to say that the sender is known to it, which protects the sighting from a flood of others.
    `on_gone` gets the `instance` of a sighting that no longer stands. Both are called from the loop and must not
    block. `random_bytes(count)` must be fit for nonces. No method raises for what the network does: see `state` and
    `problem`.
    """

    def __init__(
        self,
        *,
        port: int,
        interfaces: Sequence[str],
        on_sighting: Callable[[Sighting], object],
        on_gone: Callable[[str], object],
        random_bytes: Callable[[int], bytes],
        read: Callable[[], list[Interface]] = read_interfaces,
    ) -> None:
        self._port = port
        self._patterns = tuple(interfaces)
        self._on_sighting = on_sighting
        self._on_gone = on_gone
        self._random_bytes = random_bytes
        self._read = read
        self._stations: dict[int, Station] = {}
        self._failed: dict[str, str] = {}  # interface: sentence
        self._nothing_to_use: str | None = None
        self._wanted: tuple[Callable[[bytes], list[bytes]], str | None] | None = None
        self._identity: _Identity | None = None
        self._own: deque[bytes] = deque(maxlen=_OWN_REMEMBERED)
        self._candidates = Candidates()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._lock = asyncio.Lock()
        self._queued: asyncio.Task[None] | None = None
        self._refreshed_s: deque[float] = deque(maxlen=REFRESHES_IN_A_ROW)
        self._on = False
        self._stopping = asyncio.Event()
        self._said: str | None = None

    # --- for the status command -------------------------------------------------------------------

    @property
    def state(self) -> Literal["off", "running", "failed"]:
        """Failed means that on no chosen interface anything can be sent and heard; `problem` says why."""
        if not self._on:
            return "off"
        return "running" if any(each.trouble is None for each in self._stations.values()) else "failed"

    @property
    def problem(self) -> str | None:
        """What a person should know, in a sentence; there may be one although the state is "running"."""
        if not self._on:
            return None
        troubles = [each.trouble for each in self._stations.values() if each.trouble is not None]
        sentences = [*self._failed.values(), *troubles]
        return "; ".join(sentences) or self._nothing_to_use

    @property
    def interfaces(self) -> tuple[str, ...]:
        """The names of the interfaces in use."""
        return tuple(each.interface.name for each in self._stations.values())

    @property
    def candidates(self) -> int:
        """How many announcements of others stand."""
        return len(self._candidates)

    # --- what it does -----------------------------------------------------------------------------

    async def start(self) -> None:
        """Listen and ask. Nothing is announced before `announce`."""
        self._on = True
        self._stopping.clear()
        await self.refresh()

    async def announce(self, tags_for: Callable[[bytes], list[bytes]], pairing_name: str | None) -> None:
        """Say from now on who we are to those who can read it.

        `tags_for(nonce)` is asked with every new nonce and gives at most 8 tags, the most important first (later
        ones are left out). `pairing_name` is shown to everybody; None outside a pairing window.
        """
        self._wanted = (tags_for, pairing_name)
        await asyncio.shield(self._spawn(self._begin_anew()))

    async def refresh(self) -> None:
        """Begin anew, now: the network changed or the machine slept.

        Calls that come while one is waiting for its turn are answered by that one; a network that flaps gets
        `REFRESHES_IN_A_ROW` in `ROW_S`.
        """
        if not self._on:
            return
        if self._queued is None or self._queued.done():
            self._queued = self._spawn(self._refresh_in_turn())
        await asyncio.shield(self._queued)

    async def stop(self) -> None:
        """Withdraw what is announced and let go of the network."""
        self._on = False
        self._stopping.set()
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        async with self._lock:
            self._retire_all()
            self._stations = {}
            self._identity = None
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=_STOP_S)
            for task in late:
                task.cancel()
        for instance in self._candidates.clear():
            self._on_gone(instance)

    # --- the turn ---------------------------------------------------------------------------------

    async def _refresh_in_turn(self) -> None:
        now_s = asyncio.get_running_loop().time
        if len(self._refreshed_s) == REFRESHES_IN_A_ROW:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), self._refreshed_s[0] + ROW_S - now_s())
        self._queued = None
        self._refreshed_s.append(now_s())
        await self._begin_anew()

    async def _begin_anew(self) -> None:
        async with self._lock:
            if not self._on:
                return
            chosen = self._choose()
            identity = self._new_identity(chosen)
            self._retire_all()
            self._candidates.renew()
            self._identity = identity
            self._failed.clear()
            self._stations = await self._open(chosen)
            self._set_timer("sweep", SWEEP_S, self._sweep)
            self._set_timer("renewal", RENEWAL_S, lambda: self._spawn(self.refresh()))
            self._ask(0)
            self._report()

    def _choose(self) -> list[Interface]:
        self._nothing_to_use = None
        try:
            chosen = choose(self._read(), self._patterns)
        except OSError as error:
            self._nothing_to_use = f"the network interfaces cannot be read: {os.strerror(error.errno or 0)}"
            return []
        if not chosen:
            meant = ", ".join(self._patterns)
            self._nothing_to_use = f"no interface with multicast is up among those chosen ({meant})"
        elif all(each.loopback for each in chosen) and "lo" not in self._patterns:
            self._nothing_to_use = "no network is up: only daemons on this machine can be found"
        elif len(chosen) > MAX_INTERFACES:
            self._nothing_to_use = (
                f"{len(chosen)} interfaces are chosen and only {MAX_INTERFACES} are used; "
                "name the ones that matter in network.interfaces"
            )
        return chosen[:MAX_INTERFACES]

    def _new_identity(self, chosen: list[Interface]) -> _Identity | None:
        if self._wanted is None:
            return None
        tags_for, pairing_name = self._wanted
        nonce = self._random_bytes(NONCE_BYTES)
        self._own.append(nonce)
        return _Identity(
            Announcement(nonce, tuple(tags_for(nonce)[:MAX_TAGS]), pairing_name),
            {each.index: (self._random_bytes(16).hex(), self._random_bytes(16).hex()) for each in chosen},
        )

    async def _open(self, chosen: list[Interface]) -> dict[int, Station]:
        """Stations on those of `chosen` where it works; `_failed` says why on the others it does not."""
        opened: dict[int, Station] = {}
        for interface in chosen:
            station = Station(interface, self._hears_on(interface.index))
            try:
                await station.open()
            except StationError as error:
                self._failed[interface.name] = str(error)
                continue
            self._failed.pop(interface.name, None)
            opened[interface.index] = station
            if self._identity is not None and interface.index in self._identity.names:
                instance, host = self._identity.names[interface.index]
                station.announce(self._port, instance, host, self._identity.announcement)
        if self._failed:
            self._set_timer("retry", RETRY_S, lambda: self._spawn(self._retry()))
        return opened

    async def _retry(self) -> None:
        async with self._lock:
            if self._on and self._failed:
                self._stations |= await self._open([each for each in self._choose() if each.name in self._failed])
                self._ask(0)
                self._report()

    def _retire_all(self) -> None:
        for station in self._stations.values():
            station.deafen()
            self._spawn(station.close())

    # --- asking and hearing -----------------------------------------------------------------------

    def _ask(self, turn: int) -> None:
        if turn:
            for station in self._stations.values():
                station.ask()
        if turn < len(ASK_AT_S):
            delay_s = ASK_AT_S[turn] - (ASK_AT_S[turn - 1] if turn else 0)
        else:
            delay_s = ASK_AGAIN_S + self._random_bytes(1)[0] / 2  # not everybody in the same second
        self._set_timer("ask", delay_s, lambda: self._ask(turn + 1))

    def _hears_on(self, index: int) -> Callable[[str, Announcement | None, tuple[Address, ...]], None]:
        def heard(name: str, announcement: Announcement | None, addresses: tuple[Address, ...]) -> None:
            entry = (index, name)
            if announcement is None:
                sighting, gone = None, self._candidates.lost(entry)
            elif announcement.nonce in self._own:
                return
            else:
                sighting, gone = self._candidates.seen(entry, announcement, addresses)
            for instance in gone:
                self._on_gone(instance)
            if sighting is not None and self._on_sighting(sighting) is True:
                self._candidates.recognised(sighting.instance)

        return heard

    def _sweep(self) -> None:
        for instance in self._candidates.sweep():
            self._on_gone(instance)

    # --- small things -----------------------------------------------------------------------------

    def _set_timer(self, name: str, delay_s: float, act: Callable[[], object]) -> None:
        if name in self._timers:
            self._timers[name].cancel()
        self._timers[name] = asyncio.get_running_loop().call_later(delay_s, act)

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _report(self) -> None:
        """Log a change of the situation, not every refresh."""
        says = f"{self.state} {self.interfaces} {self.problem}"
        if says == self._said:
            return
        self._said = says
        if self.state == "failed":
            log.warning("mdns cannot be used", cause=self.problem, hint="static peers in network.peers still work")
        else:
            log.info("mdns listening", interface=", ".join(self.interfaces), cause=self.problem or "")
