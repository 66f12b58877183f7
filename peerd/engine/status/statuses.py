"""The state of everything, in words: every state has a cause, a culprit and a next step."""

from __future__ import annotations

from collections.abc import Callable

from peerd.core.device_id import format_device_id
from peerd.engine.links.clocks import Clocks
from peerd.engine.links.peer_book import TWO_MACHINES, PeerBook
from peerd.engine.links.switchboard import Switchboard
from peerd.engine.ports import Keys, Times
from peerd.engine.relay.relays import Relays
from peerd.engine.relay.status import RELAYED, is_behind_on_relay
from peerd.engine.space import Space
from peerd.engine.spaces import Spaces
from peerd.engine.status.peers import PAUSED, PeerStates, shown
from peerd.engine.status.spaces import SpaceStates
from peerd.protocol.control.reports import DeviceStatus, FurtherReason, Health, MachineStatus, SpaceView, Status

REFUSED_STEP = "Put it right, then `peerctl reload`; `peerd check-config` tells before whether it is."


class Statuses:
    """`problems()` gives what the edges say is wrong with the daemon as a whole: (cause, next step); `machine()` what
    it has of its machine; `relays` are asked who was seen on them.
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
        self.restart_needed: list[str] = []
        self.refused_settings: list[str] = []  # of the configuration that was read last, if it was not taken over
        self.relays: Relays | None = None
        self.clocks = Clocks(switchboard.links, times)
        self.peers = PeerStates(spaces, switchboard, book, keys, times, self.clocks, lambda: self.relays)
        self.spaces = SpaceStates(self.peers, keys, times, lambda: self.relays)
        self._spaces = spaces
        self._switchboard = switchboard
        self._book = book
        self._keys = keys
        self._version = version
        self._device_name = device_name
        self._since_ms = times.wall_ms()

    async def status(self) -> Status:
        views = [await self.spaces.view(space) for space in self._sorted()]
        views += [self.spaces.failed(name, failure) for name, failure in sorted(self._spaces.failed.items())]
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
                f"another machine answers with this device's own key at {shown(elsewhere)}: one is a copy of the other"
            )
            problems = [(cause, TWO_MACHINES.next_step), *problems]
        elif self._book.clones.is_another:
            cause = "another machine runs with this device's own key, and the others take now one, now the other"
            problems = [(cause, TWO_MACHINES.next_step), *problems]
        refused = "the new configuration was refused, and the one before stays"
        problems = [*problems, *((f"{refused}: {one}", REFUSED_STEP) for one in self.refused_settings)]
        if self.restart_needed:
            problems = [*problems, ("settings wait for a restart: " + ", ".join(self.restart_needed), "Restart peerd.")]
        if self._switchboard.paused:
            return DeviceStatus(
                id=format_device_id(self._keys.device),
                name=self._device_name(),
                state="paused",
                reason=PAUSED.text,
                next_step=PAUSED.next_step,
                further=_further(problems),
            )
        # Whoever waits to be let in may do so for days, and nothing is wrong with that: the space alone says so.
        troubled = next((view for view in views if view.reason and view.state != "waiting"), None)
        degraded = problems or troubled is not None
        reason, step = problems[0] if problems else ("", "")
        if troubled is not None and not problems:
            reason, step = f"{troubled.name}: {troubled.reason}", troubled.next_step
        return DeviceStatus(
            id=format_device_id(self._keys.device),
            name=self._device_name(),
            state="degraded" if degraded else "running",
            reason=reason,
            next_step=step,
            clock_off_ms=self.clocks.judgement().ours,
            further=_further(problems[1:]),
        )

    # ---- for supervisors

    def health(self) -> Health:
        waiting = self._unconverged()
        ready = not self._spaces.failed
        return Health(live=True, ready=ready, converged=ready and not waiting, reason=waiting)

    def _unconverged(self) -> str:
        for name, failure in self._spaces.failed.items():
            return f"{name}: {failure}"
        for space in self._sorted():
            peers = self.peers.of(space)
            state, reason, _ = self.spaces.state_of(space, peers, ())
            if state in {"failed", "stopped", "removed", "waiting"}:
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


def _further(problems: list[tuple[str, str]]) -> list[FurtherReason]:
    return [FurtherReason(reason=cause, next_step=step) for cause, step in problems]
