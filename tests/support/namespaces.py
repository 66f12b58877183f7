"""Several machines on one switch, made of network namespaces.

    with Network() as network:
        kitchen = network.machine("kitchen")            # 10.77.0.1/24, fd77::1/64 and a link-local address on eth0
        study = network.machine("study")
        kitchen.run("ping", "-c1", study.ipv4)
        process = kitchen.popen([sys.executable, "-m", "peerd"], ...)
        with kitchen.entered():                         # this thread is in the namespace: open sockets here
            ...
        network.netem(study, "delay 50ms 20ms loss 2%")
        network.cut(study); network.mend(study)         # the cable: carrier lost
    network.lose(study); network.find(study)        # packets vanish, nobody is told

One bridge in a namespace of its own, so that nothing of the host is touched; a veth per machine. Everything that was
made goes when the block ends, whatever happened in it; processes started with `popen` are killed first. Needs root
and iproute2: `missing()` says what is lacking.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

_CLONE_NEWNET = 0x40000000
_numbers = itertools.count(1)


def missing() -> str | None:
    """What is lacking to make namespaces here, in a sentence, or None."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "network namespaces need the ip command (iproute2)"
    name = f"peerd-try-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        return f"this system makes no network namespaces: {made.stderr.strip()}"
    subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)
    return None


def netem_missing() -> str | None:
    """Why delays, loss and rates cannot be had here, in a sentence, or None. Call it where `missing` is None."""
    if shutil.which("tc") is None:
        return "shaping traffic needs the tc command (iproute2)"
    with Network() as network:
        try:
            network.netem(network.machine("tried"), "delay 1ms")
        except RuntimeError as error:
            return f"this kernel has no netem: {error}"
    return None


class Machine:
    """One namespace with `eth0` on the bridge and a loopback."""

    def __init__(self, network: Network, name: str, number: int) -> None:
        self.name = name
        self.namespace = f"{network.prefix}-{number}"
        self.port = f"port{number}"  # the bridge's end of its cable
        self.ipv4 = f"10.77.0.{number}"
        self.ipv6 = f"fd77::{number:x}"
        self.processes: list[subprocess.Popen[Any]] = []

    def run(self, *command: str, timeout_s: float = 20.0) -> str:
        """Run a command in the namespace and give what it wrote; a failure raises with its own words."""
        return _run("ip", "netns", "exec", self.namespace, *command, timeout_s=timeout_s)

    def popen(self, command: list[str], **settings: Any) -> subprocess.Popen[Any]:
        """Start a process in the namespace. It is killed with the network if it still runs."""
        process = subprocess.Popen(
            ["ip", "netns", "exec", self.namespace, *command], start_new_session=True, **settings
        )
        self.processes.append(process)
        return process

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """This thread is in the namespace; a socket stays where it was opened."""
        with Path("/proc/thread-self/ns/net").open() as before:
            with Path(f"/run/netns/{self.namespace}").open() as inside:
                _setns(inside.fileno())
            try:
                yield
            finally:
                _setns(before.fileno())

    def link(self, *words: str) -> None:
        """`ip link set eth0 ...` in the namespace."""
        self.run("ip", "link", "set", "eth0", *words)


class Network:
    """A bridge and its machines, as a context manager."""

    def __init__(self) -> None:
        self.prefix = f"peerd{os.getpid()}-{next(_numbers)}"
        self._switch = f"{self.prefix}-switch"
        self._machines: list[Machine] = []

    def __enter__(self) -> Self:
        try:
            _run("ip", "netns", "add", self._switch)
            self._on_switch("ip", "link", "add", "bridge", "type", "bridge", "mcast_snooping", "0")
            self._on_switch("ip", "link", "set", "bridge", "up")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def machine(self, name: str, *, up: bool = True) -> Machine:
        """Another machine on the switch. Without `up` its eth0 is there, but down and without addresses."""
        machine = Machine(self, name, len(self._machines) + 1)
        _run("ip", "netns", "add", machine.namespace)
        self._machines.append(machine)
        # No waiting for duplicate address detection: the addresses are given out here.
        machine.run("sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0", "net.ipv6.conf.all.accept_dad=0")
        machine.run("ip", "link", "set", "lo", "up")
        self._on_switch(
            "ip", "link", "add", machine.port, "type", "veth", "peer", "name", "eth0", "netns", machine.namespace
        )
        self._on_switch("ip", "link", "set", machine.port, "master", "bridge", "up")
        if up:
            self.plug_in(machine)
        return machine

    def plug_in(self, machine: Machine) -> None:
        """Give its eth0 the addresses and put it up."""
        machine.run("ip", "address", "add", f"{machine.ipv4}/24", "brd", "+", "dev", "eth0")
        machine.run("ip", "address", "add", f"{machine.ipv6}/64", "dev", "eth0", "nodad")
        machine.link("up")

    def cut(self, machine: Machine) -> None:
        """Pull the cable at the switch: no carrier on the machine."""
        self._on_switch("ip", "link", "set", machine.port, "down")

    def mend(self, machine: Machine) -> None:
        """Put it in again."""
        self._on_switch("ip", "link", "set", machine.port, "up")

    def lose(self, machine: Machine) -> None:
        """Lose every packet from and to the machine without anybody being told: the carrier stays."""
        self._on_switch("ip", "link", "set", machine.port, "nomaster")

    def find(self, machine: Machine) -> None:
        """Undo `lose`."""
        self._on_switch("ip", "link", "set", machine.port, "master", "bridge")

    def netem(self, machine: Machine, what: str) -> None:
        """Shape both directions, e.g. "delay 100ms 50ms loss 5% rate 1mbit" (tc-netem(8)); "" makes it good again.

        Not every kernel can: ask `netem_missing` first.
        """
        _tc(f"ip netns exec {self._switch}".split(), machine.port, what)
        _tc(f"ip netns exec {machine.namespace}".split(), "eth0", what)

    def close(self) -> None:
        """Kill what was started here and delete every namespace; with them go bridge and cables."""
        for process in (process for machine in self._machines for process in machine.processes):
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        for name in [*(machine.namespace for machine in self._machines), self._switch]:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)
        self._machines.clear()

    def _on_switch(self, *command: str) -> None:
        _run("ip", "netns", "exec", self._switch, *command)


def _tc(where: list[str], device: str, what: str) -> None:
    subprocess.run([*where, "tc", "qdisc", "del", "dev", device, "root"], capture_output=True, check=False)
    if what:
        _run(*where, "tc", "qdisc", "add", "dev", device, "root", "netem", *what.split())


def _run(*command: str, timeout_s: float = 20.0) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout_s)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def _setns(handle: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(handle, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
