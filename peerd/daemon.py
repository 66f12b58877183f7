"""The daemon, assembled: the only place that names concrete parts and introduces them to each other.

Start: identity, spaces, control socket, listener, discovery; then "ready". Stop, in reverse: no more announcements and
dials, goodbye to peers, the commit in progress is finished, the databases are closed.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, MutableMapping
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

from peerd import __version__, declared, identity, logs, notify
from peerd.clock import Clock
from peerd.config import Settings
from peerd.control.server import ControlServer
from peerd.core.device_id import format_device_id, short_id
from peerd.core.stored import Address
from peerd.core.tables.proposals import propose
from peerd.discovery.addresses import parse_address
from peerd.discovery.interfaces import named
from peerd.discovery.mdns import Mdns
from peerd.discovery.network_changes import NetworkChanges
from peerd.discovery.wakeups import watch_wakeups
from peerd.engine.links.dialing import Dialing
from peerd.engine.links.lookout import Lookout
from peerd.engine.links.peer_book import PeerBook
from peerd.engine.links.switchboard import Switchboard
from peerd.engine.members.file_invitations import FileInvitations
from peerd.engine.members.introducing import Introducing
from peerd.engine.members.inviting import Inviting
from peerd.engine.members.joining import Joining
from peerd.engine.ports import Crypto, Link
from peerd.engine.relay.ports import TicketKeys
from peerd.engine.relay.relays import Relays
from peerd.engine.repair.scrub_rounds import scrub_now_and_then
from peerd.engine.service import Service
from peerd.engine.space import Space
from peerd.engine.spaces import Spaces
from peerd.engine.status.statuses import Statuses
from peerd.engine.tables.bindings import Bindings
from peerd.engine.upkeep.backups import Backups
from peerd.engine.upkeep.housekeeping import Housekeeping
from peerd.engine.upkeep.reopening import Reopening
from peerd.errors import ConfigError, PeerdError
from peerd.identity import Identity
from peerd.machine_status import Machine
from peerd.net.dialer import Dialer
from peerd.net.link import INTRODUCE, PAIR, SYNC
from peerd.net.link import Link as NetLink
from peerd.net.listener import Listener
from peerd.net.refusal import Refusal
from peerd.protocol.control.reports import Reloaded
from peerd.relay.sealer import Sealer
from peerd.store.backup_folder import Draft
from peerd.store.lock import Lock
from peerd.store.put_back import check_finished
from peerd.store.shelf import Shelf
from peerd.strain import Strain
from peerd.supervise import Supervisor
from peerd.tables.files import Files

log = logs.get(__name__)

STATUS_LINE_S = 30.0
CONTROL_SOCKET = "peerd.socket"  # the name of the unit, which systemd gives its file descriptor
TASKS_STOP_S = 0.5
GOODBYE_S = 3.0  # with the tasks before and the databases after it, a stop has to be over in 5 s


class _Crypto(Crypto, TicketKeys):
    def verify(self, public_key: bytes, signature: bytes, data: bytes) -> bool:
        return Identity.verify(public_key, signature, data)

    def seal(self, recipient: bytes, plaintext: bytes, info: bytes) -> bytes:
        return identity.seal(recipient, plaintext, info)

    def public_key_of(self, private: bytes) -> bytes:
        return identity.public_key_of(private)

    def sign_with(self, private: bytes, data: bytes) -> bytes:
        return identity.sign_with(private, data)


class Daemon:
    """One peerd. `read_settings` reads the configuration again, for a reload."""

    def __init__(
        self, settings: Settings, read_settings: Callable[[], Settings], environ: MutableMapping[str, str]
    ) -> None:
        self._settings = self._started_with = settings
        self._device_name = settings.device.name  # as the start found it: a new one waits for the next
        self._interfaces = settings.network.interfaces
        self._read_settings = read_settings
        self._clock = Clock()
        self._notifier = notify.Notifier(environ)
        self._watchdog_s = notify.watchdog_interval_s(environ)
        self._inherited = _control_socket(environ)
        self._supervisor = Supervisor(self._clock, stop_within_s=TASKS_STOP_S)
        self._lock = _claim(settings.device.state_dir)
        state_dir = settings.device.state_dir
        check_finished(state_dir)
        keys = Identity.load_or_create(state_dir / "identity", owned=Shelf.databases(state_dir))
        crypto = _Crypto()
        self._shelf = Shelf(settings.device.state_dir, keys.device, self._clock.random_bytes, self._clock.wall_ms)
        self._spaces = Spaces(self._shelf, keys, crypto, self._clock, self._name)
        self._book = PeerBook(self._clock)
        self._switchboard = Switchboard(
            self._spaces.by_id, keys, self._clock, self._book, name=self._name(), software=f"peerd {__version__}"
        )
        dialer = Dialer(keys)
        self._dialing = Dialing(self._spaces.by_id, self._switchboard, self._book, dialer, keys, self._clock)
        self._inviting = Inviting(self._spaces, keys, self._clock, self._name)
        self._joining = Joining(self._spaces, dialer, keys, crypto, self._clock)
        self._introducing = Introducing(self._spaces.by_id, self._switchboard.shared_with, dialer, keys, self._clock)
        self._lookout = Lookout(self._spaces, self._dialing, self._inviting, keys, self._clock, self._name)
        self._statuses = Statuses(
            self._spaces, self._switchboard, self._book, keys, self._clock,
            version=__version__, device_name=self._name,
        )  # fmt: skip
        self._bindings = Bindings(
            Files(format_device_id(keys.device)), self._clock, propose, settings.device.state_dir / "backups"
        )
        sealer = Sealer(crypto.seal, keys.open, self._clock.random_bytes)
        self._relays = Relays(self._spaces, sealer, keys, self._clock)
        self._files = FileInvitations(self._spaces, sealer, keys, crypto, self._clock)
        self._housekeeping = Housekeeping(self._spaces, self._switchboard, self._clock)
        self._reopening = Reopening(self._spaces, self._clock)
        self._service = Service(
            self._spaces, self._switchboard, self._dialing, self._statuses, self._inviting, self._joining,
            self._bindings,
        )  # fmt: skip
        self._control = ControlServer(
            self._service, settings.control.socket, settings.control.write_group, self._inherited
        )
        self._backups = Backups(
            self._spaces, keys, self._clock, Draft.begin, version=__version__, device_name=self._name
        )
        self._listener = Listener(keys, settings.network.listen, self._authorise, self._on_link)
        self._device = keys.device
        self._ready = False
        self._mdns: Mdns | None = None
        self._strain = strain = Strain(self._clock, self._spaces.slowness)
        self._machine = Machine(state_dir, self._listener, self._control, self._supervisor, lambda: self._mdns, strain)
        self._spawned: set[asyncio.Task[None]] = set()
        self._changes = NetworkChanges(self._on_network_change, wanted=lambda name: named(name, self._interfaces))
        self._introduce()

    def _name(self) -> str:
        return self._device_name

    def _introduce(self) -> None:
        self._spaces.opened = self._on_space
        self._spaces.closed = self._on_space_closed
        self._bindings.declared = lambda space: declared.bindings(self._settings, space)
        self._switchboard.changed = self._dialing.nudge
        self._inviting.window_changed = self._lookout.show
        self._dialing.introductions.introduce = self._introducing.introduce
        self._switchboard.unshared = self._dialing.introductions.unshared
        self._joining.candidates = self._lookout.pairing_windows
        self._joining.everywhere = self._lookout.everybody
        self._joining.reached = self._dialing.let_in_by
        self._service.hosts = self._parse_host
        self._service.couriers = self._relays
        self._service.files = self._files
        self._service.backups = self._backups
        self._backups.files = self._files_of_backup
        self._service.reload_settings = self.reload
        self._statuses.problems = self._machine.problems
        self._statuses.machine = self._machine.status
        self._statuses.spaces.tables = self._bindings.notices_of
        self._statuses.relays = self._relays
        self._statuses.spaces.retry = self._reopening.view
        self._housekeeping.history_days = lambda name: self._settings.space(name).history_days
        self._bindings.memory.history_days = self._housekeeping.history_days
        self._housekeeping.holders.holdings = self._relays.holdings
        self._housekeeping.holders.seen = self._relays.last_seen
        self._statuses.spaces.growth.holders = self._housekeeping.holders
        self._statuses.spaces.growth.history_days = self._housekeeping.history_days
        self._housekeeping.set_agreed = self._clock.set_agreed

    # ---- from start to end

    async def run(self) -> None:
        """Until SIGTERM or SIGINT. Raises PeerdError if it cannot start or an essential part fails."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._supervisor.stop)
        loop.add_signal_handler(signal.SIGCONT, self._strain.continued)
        loop.add_signal_handler(signal.SIGHUP, lambda: self._spawn(self._reload_quietly()))
        try:
            await self._start()
            self._supervisor.add("housekeeping", self._housekeeping.run)
            self._supervisor.add("scrub", lambda: scrub_now_and_then(self._spaces.scrubs, self._clock))
            self._supervisor.add("clocks", self._statuses.clocks.watch)
            self._supervisor.add("failed disks", self._reopening.run)
            self._supervisor.add("secrets", self._housekeeping.tend_secrets)
            self._supervisor.add("peers", self._housekeeping.save_peers)
            self._supervisor.add("wakeups", lambda: watch_wakeups(self._clock, self._on_wake))
            self._supervisor.add("strain", self._strain.watch)
            self._supervisor.add("status line", self._tell_status)
            if self._watchdog_s is not None:
                interval_s = self._watchdog_s
                self._supervisor.add("watchdog", lambda: notify.feed_watchdog(self._notifier, interval_s))
            self._notifier.ready(self._statuses.line())
            where = ", ".join(self._machine.listens())
            log.info("daemon ready", device=short_id(self._device), address=where, version=__version__)
            self._ready = True
            await self._supervisor.run()
        finally:
            await self._stop()

    async def _start(self) -> None:
        self._shelf.prepare()
        await self._spaces.open_all()
        self._dialing.set_static(self._settings.network.peers)
        await self._relays.follow(declared.relays(self._settings))
        await self._control.start()
        await self._listener.start()
        if self._settings.network.mdns and self._listener.addresses:
            self._mdns = Mdns(
                port=self._listener.addresses[0][1],
                interfaces=self._interfaces,
                on_sighting=self._lookout.on_sighting,
                on_gone=self._lookout.on_gone,
                random_bytes=self._clock.random_bytes,
            )
            await self._mdns.start()
            self._lookout.announce = self._mdns.announce
            self._lookout.show()
        self._changes.start()

    async def _stop(self) -> None:
        self._notifier.stopping("saying goodbye")
        self._changes.stop()
        for task in self._spawned:
            task.cancel()
        async with AsyncExitStack() as last:  # whatever fails: a thread that is left would keep the process
            last.callback(self._lock.release)
            last.push_async_callback(self._spaces.close)
            last.push_async_callback(self._housekeeping.note_time)
            last.push_async_callback(self._relays.stop)
            last.push_async_callback(self._bindings.stop)
            last.push_async_callback(self._say_goodbye)
            await self._lookout.stop()
        if self._ready:  # else it never ran, and why is said by whoever started it
            log.info("daemon stopped")

    async def _say_goodbye(self) -> None:
        try:
            async with asyncio.timeout(GOODBYE_S), asyncio.TaskGroup() as beside:
                beside.create_task(self._relays.leave_now())
                await self._dialing.stop()
                await self._switchboard.stop()
                await self._control.stop()
                await self._listener.stop()
                if self._mdns is not None:
                    await self._mdns.stop()
        except TimeoutError:
            log.warning("stop took too long")

    async def _tell_status(self) -> None:
        while True:
            self._notifier.status(self._statuses.line())
            await asyncio.sleep(STATUS_LINE_S)

    # ---- what the parts say to each other

    def _on_space(self, space: Space) -> None:
        for peer in space.presence.peers.values():
            self._book.remembered(peer.device, peer.name, peer.addresses)
        space.presence.peer_known = partial(self._housekeeping.peer_known, space)
        self._switchboard.add_space(space)
        space.on_roster.append(lambda _: self._on_roster())
        self._on_roster()
        self._bindings.add_space(space)
        self._relays.look_again_soon()

    def _on_space_closed(self, space: Space) -> None:
        self._switchboard.remove_space(space)
        self._bindings.remove_space(space)
        self._relays.look_again_soon()

    def _on_roster(self) -> None:
        self._dialing.refresh()
        self._housekeeping.roster_changed()
        self._lookout.look_again()
        self._lookout.show()
        self._relays.look_again_soon()

    def _authorise(self, device: bytes, subprotocol: str, _address: Address) -> Refusal | None:
        if subprotocol == SYNC and self._switchboard.shared_with(device):
            return Refusal("paused", "this device takes no links at the moment") if self._switchboard.paused else None
        if subprotocol == PAIR and self._inviting.is_expected(device):
            return None
        if subprotocol == INTRODUCE:
            return None  # anybody may: who it is, is what it is about
        if any(device in space.roster.removed for space in self._spaces.by_id.values()):
            return Refusal("removed", "this device was removed")
        return Refusal("unknown-device", "unknown device")

    async def _on_link(self, link: NetLink) -> None:
        if link.subprotocol == PAIR:
            await self._inviting.run_link(_as_port(link))
        elif link.subprotocol == INTRODUCE:
            await self._introducing.run_link(_as_port(link))
        else:
            await self._switchboard.run_link(_as_port(link))

    def _files_of_backup(self, keys: bool) -> dict[str, Path]:  # noqa: FBT001 - the engine calls it by position
        state_dir = self._started_with.device.state_dir
        found = Identity.files(state_dir / "identity") if keys else {}
        return declared.files(self._settings) | {f"identity/{name}": path for name, path in found.items()}

    def _on_network_change(self) -> None:
        self._look_around("network changed")

    def _on_wake(self, gap_s: float) -> None:
        log.info("woke up", took_ms=round(gap_s * 1000))
        self._relays.woke()
        self._look_around("woke up")

    def _look_around(self, cause: str) -> None:
        """Addresses and links may be void: announce anew, ask anew, probe what is linked, dial what is not."""
        log.info("looking around", cause=cause)
        self._dialing.nudge_all()
        self._spawn(self._switchboard.probe())
        if self._mdns is not None:
            self._spawn(self._mdns.refresh())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._spawned.add(task)
        task.add_done_callback(self._spawned.discard)

    async def _parse_host(self, text: str) -> tuple[Address, ...]:
        return (parse_address(text, "--host"),)

    # ---- reload

    async def _reload_quietly(self) -> None:
        self._notifier.reloading()
        try:
            await self.reload()
        except ConfigError as problem:
            for one in problem.problems:
                log.error("setting refused", cause=one)
        except PeerdError as problem:
            log.error("reload failed", cause=str(problem))
        finally:
            self._notifier.ready(self._statuses.line())

    async def reload(self) -> Reloaded:
        """Read the configuration again and apply what can be applied now.

        Raises:
            ConfigError: it has problems; the running one stays.
        """
        fresh = self._read_settings()
        changes = self._settings.changes(fresh)
        self._settings = fresh
        logs.configure(fresh.log.level, fresh.log.format)
        self._control.set_write_group(fresh.control.write_group)
        self._dialing.set_static(fresh.network.peers)
        self._bindings.settings_changed(list(self._spaces.by_id.values()))
        await self._relays.follow(declared.relays(fresh))
        self._housekeeping.soon()
        waiting = list(self._started_with.changes(fresh).needs_restart)  # also from earlier reloads, if not taken back
        self._statuses.restart_needed = sorted(waiting)
        log.info("settings reloaded", count=len(changes.live))
        return Reloaded(changed=list(changes.live), needs_restart=waiting)


def _claim(state_dir: Path) -> Lock:
    """Nobody else may use this directory while we run. Raises StoreBusy."""
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as problem:
        step = "set it to a directory that peerd's user may make and write in"
        raise ConfigError([f"device.state_dir: {state_dir}: {problem.strerror or problem}; {step}"]) from problem
    return Lock.take(state_dir / "lock")


def _as_port(link: NetLink) -> Link:
    """The type checker compares the edge with the port here."""
    return link


def _control_socket(environ: MutableMapping[str, str]) -> int | None:
    """The socket that systemd holds for us, if there is one; whatever else it passes is closed."""
    inherited = notify.listen_fds(environ)
    ours = inherited.pop(CONTROL_SOCKET, [])
    for other in (*ours[1:], *(one for group in inherited.values() for one in group)):
        other.close()
    return ours[0].detach() if ours else None
