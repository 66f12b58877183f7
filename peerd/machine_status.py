"""What the daemon says of itself and its machine in the status, beside spaces and peers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from peerd.control.server import ControlServer
from peerd.core.stored import Address
from peerd.discovery.mdns import Mdns
from peerd.net.listener import Listener
from peerd.protocol.control.reports import MachineStatus
from peerd.strain import Strain
from peerd.supervise import Supervisor

NO_MDNS = "discovery does not work"


class Machine:
    """`mdns()` is None where discovery is switched off."""

    def __init__(
        self,
        state_dir: Path,
        listener: Listener,
        control: ControlServer,
        supervisor: Supervisor,
        mdns: Callable[[], Mdns | None],
        strain: Strain,
    ) -> None:
        self._state_dir = state_dir
        self._listener = listener
        self._control = control
        self._supervisor = supervisor
        self._mdns = mdns
        self._strain = strain

    def problems(self) -> list[tuple[str, str]]:
        """What is wrong, each with what to do."""
        problems = self._strain.problems()
        problems += [(problem, "Check network.listen.") for problem in self._listener.problems]
        mdns = self._mdns()
        if mdns is not None and mdns.state == "failed":
            step = "Peers can be named under network.peers; or set network.mdns = false if that is meant to be so."
            problems.append((f"{NO_MDNS}: {mdns.problem}", step))
        if self._control.obstacle is not None:
            problems.append(self._control.obstacle)
        for name, report in self._supervisor.reports().items():
            if report.cause and report.state.value == "waiting":
                problems.append((f"{name} failed: {report.cause}", "See the log; it is tried again."))
        return problems

    def status(self) -> MachineStatus:
        try:
            room = os.statvfs(self._state_dir)
            free_bytes = room.f_bavail * room.f_frsize
        except OSError:
            free_bytes = None
        mdns = self._mdns()
        files, stalled = self._strain.files(), self._strain.stalled()
        return MachineStatus(
            listen=self.listens(),
            mdns="off" if mdns is None else mdns.state,
            state_dir=str(self._state_dir),
            free_bytes=free_bytes,
            open_files=files.open,
            max_files=files.limit,
            slowest_write_s=round(self._strain.slowest_write_s(), 3),
            stalls=stalled.times,
            longest_stall_s=round(stalled.longest_s, 3),
            mdns_interfaces=[] if mdns is None else list(mdns.interfaces),
        )

    def listens(self) -> list[str]:
        return list(_texts(self._listener.addresses))


def _texts(addresses: Iterable[Address]) -> Iterable[str]:
    return (f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in addresses)
