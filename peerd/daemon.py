"""The life of the daemon.

Start: identity, spaces, control socket, listener, discovery; then "ready". Stop, in reverse: no more announcements and
dials, goodbye to peers, the commit in progress is finished, the databases are closed.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, MutableMapping
from contextlib import AsyncExitStack
from typing import Any

from peerd import __version__, declared, logs, notify
from peerd.assembly import Parts
from peerd.config import Settings
from peerd.core.device_id import short_id
from peerd.discovery.interfaces import named
from peerd.discovery.mdns import Mdns
from peerd.discovery.network_changes import NetworkChanges
from peerd.discovery.wakeups import watch_wakeups
from peerd.engine.repair.scrub_rounds import scrub_now_and_then
from peerd.engine.status.statuses import REFUSED_STEP
from peerd.errors import ConfigError, PeerdError
from peerd.live_settings import LiveSettings
from peerd.protocol.control.reports import Reloaded

log = logs.get(__name__)

STATUS_LINE_S = 30.0
GOODBYE_S = 3.0  # with the tasks before and the databases after it, a stop has to be over in 5 s


class Daemon:
    """One peerd. `read_settings` reads the configuration again, for a reload."""

    def __init__(
        self, settings: Settings, read_settings: Callable[[], Settings], environ: MutableMapping[str, str]
    ) -> None:
        self._live = LiveSettings(settings, read_settings)
        self._notifier = notify.Notifier(environ)
        self._watchdog_s = notify.watchdog_interval_s(environ)
        self.parts = Parts(self._live, environ)
        self.parts.service.reload_settings = self.reload
        self._ready = False
        self._spawned: set[asyncio.Task[None]] = set()
        interfaces = settings.network.interfaces
        self._changes = NetworkChanges(self._on_network_change, wanted=lambda name: named(name, interfaces))

    # ---- from start to end

    async def run(self) -> None:
        """Until SIGTERM or SIGINT. Raises PeerdError if it cannot start or an essential part fails."""
        parts, loop = self.parts, asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, parts.supervisor.stop)
        loop.add_signal_handler(signal.SIGCONT, parts.strain.continued)
        loop.add_signal_handler(signal.SIGHUP, lambda: self._spawn(self._reload_quietly()))
        try:
            await self._start()
            self._supervise()
            self._notifier.ready(parts.statuses.line())
            where = ", ".join(parts.machine.listens())
            log.info("daemon ready", device=short_id(parts.device), address=where, version=__version__)
            self._ready = True
            await parts.supervisor.run()
        finally:
            await self._stop()

    def _supervise(self) -> None:
        """What goes on for as long as the daemon does."""
        parts, add = self.parts, self.parts.supervisor.add
        add("housekeeping", parts.housekeeping.run)
        add("scrub", lambda: scrub_now_and_then(parts.spaces.scrubs, parts.clock))
        add("clocks", parts.statuses.clocks.watch)
        add("failed disks", parts.reopening.run)
        add("secrets", parts.housekeeping.tend_secrets)
        add("peers", parts.housekeeping.save_peers)
        add("wakeups", lambda: watch_wakeups(parts.clock, self._on_wake))
        add("strain", parts.strain.watch)
        add("status line", self._tell_status)
        if self._watchdog_s is not None:
            interval_s = self._watchdog_s
            add("watchdog", lambda: notify.feed_watchdog(self._notifier, interval_s))

    async def _start(self) -> None:
        parts, settings = self.parts, self._live.at_start
        parts.shelf.prepare()
        await parts.spaces.open_all()
        parts.dialing.set_static(settings.network.peers)
        await parts.relays.follow(declared.relays(settings))
        await parts.control.start()
        await parts.listener.start()
        if settings.network.mdns and parts.listener.addresses:
            parts.mdns = Mdns(
                port=parts.listener.addresses[0][1],
                interfaces=settings.network.interfaces,
                on_sighting=parts.lookout.on_sighting,
                on_gone=parts.lookout.on_gone,
                random_bytes=parts.clock.random_bytes,
            )
            await parts.mdns.start()
            parts.lookout.announce = parts.mdns.announce
            parts.lookout.show()
        self._changes.start()

    async def _stop(self) -> None:
        parts = self.parts
        self._notifier.stopping("saying goodbye")
        self._changes.stop()
        for task in self._spawned:
            task.cancel()
        async with AsyncExitStack() as last:  # whatever fails: a thread that is left would keep the process
            last.callback(parts.lock.release)
            last.push_async_callback(parts.spaces.close)
            last.push_async_callback(parts.housekeeping.note_time)
            last.push_async_callback(parts.relays.stop)
            last.push_async_callback(parts.bindings.stop)
            last.push_async_callback(self._say_goodbye)
            await parts.lookout.stop()
        if self._ready:  # else it never ran, and why is said by whoever started it
            log.info("daemon stopped")

    async def _say_goodbye(self) -> None:
        parts = self.parts
        try:
            async with asyncio.timeout(GOODBYE_S), asyncio.TaskGroup() as beside:
                beside.create_task(parts.relays.leave_now())
                await parts.dialing.stop()
                await parts.switchboard.stop()
                await parts.control.stop()
                await parts.listener.stop()
                if parts.mdns is not None:
                    await parts.mdns.stop()
        except TimeoutError:
            log.warning("stop took too long")

    async def _tell_status(self) -> None:
        while True:
            self._notifier.status(self.parts.statuses.line())
            await asyncio.sleep(STATUS_LINE_S)

    # ---- the network, and sleep

    def _on_network_change(self) -> None:
        self._look_around("network changed")

    def _on_wake(self, gap_s: float) -> None:
        log.info("woke up", took_ms=round(gap_s * 1000))
        self.parts.relays.woke()
        self._look_around("woke up")

    def _look_around(self, cause: str) -> None:
        """Addresses and links may be void: announce anew, ask anew, probe what is linked, dial what is not."""
        log.info("looking around", cause=cause)
        self.parts.dialing.nudge_all()
        self._spawn(self.parts.switchboard.probe())
        if self.parts.mdns is not None:
            self._spawn(self.parts.mdns.refresh())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._spawned.add(task)
        task.add_done_callback(self._spawned.discard)

    # ---- reload

    async def _reload_quietly(self) -> None:
        self._notifier.reloading()
        try:
            await self.reload()
        except ConfigError:
            pass  # told in the log, and by `status` until a good one is read
        except PeerdError as problem:
            log.error("reload failed", cause=str(problem))
        finally:
            self._notifier.ready(self.parts.statuses.line())

    async def reload(self) -> Reloaded:
        """Read the configuration again and apply what can be applied now.

        Raises:
            ConfigError: it has problems; the running one stays.
        """
        parts = self.parts
        try:
            changes = self._live.read_again()
        except ConfigError as problem:
            for one in problem.problems:
                log.error("setting refused", cause=one)
            parts.statuses.refused_settings, problem.next_step = problem.problems, REFUSED_STEP
            raise
        parts.statuses.refused_settings = []
        fresh = self._live.now
        logs.configure(fresh.log.level, fresh.log.format)
        parts.control.set_write_group(fresh.control.write_group)
        parts.dialing.set_static(fresh.network.peers)
        parts.bindings.settings_changed(list(parts.spaces.by_id.values()))
        await parts.relays.follow(declared.relays(fresh))
        parts.housekeeping.soon()
        parts.statuses.restart_needed = sorted(self._live.needs_restart)
        log.info("settings reloaded", count=len(changes.live))
        return Reloaded(changed=list(changes.live), needs_restart=self._live.needs_restart)
