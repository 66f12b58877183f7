"""The watcher of the network: real kernels' events, bursts, lost events, and life without netlink."""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from typing import TYPE_CHECKING, Any

import pytest

from peerd.discovery import network_changes as module
from peerd.discovery.network_changes import NetworkChanges

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.support.namespaces import Network

WAIT_S = 10.0
QUIET_S = 0.05
NEWLINK, DONE, UP = 16, 3, 0x1 | 0x40 | 0x10000


def link(index: int, flags: int = UP) -> bytes:
    body = struct.pack("=BBHiII", 0, 0, 1, index, flags, 0)
    return struct.pack("=IHHII", 16 + len(body), NEWLINK, 0, 0, 0) + body


class Kernel:
    """The kernel's end of a socket, and a watcher at the other."""

    def __init__(self, **settings: Any) -> None:
        self.ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.ours.setblocking(False)
        self.calls = 0
        self.called = asyncio.Event()
        self.watcher = NetworkChanges(self._on_change, open_socket=lambda: self.ours, **settings)

    def _on_change(self) -> None:
        self.calls += 1
        self.called.set()

    async def wait(self) -> None:
        await asyncio.wait_for(self.called.wait(), WAIT_S)
        self.called.clear()

    def close(self) -> None:
        self.watcher.stop()
        self.ours.close()
        self.theirs.close()


@pytest.fixture
async def kernel(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Kernel]:
    monkeypatch.setattr(module, "QUIET_S", QUIET_S)
    made = Kernel()
    made.watcher.start()
    yield made
    made.close()


async def test_a_burst_is_told_once(kernel: Kernel) -> None:
    """A cable that is plugged in makes a dozen events and one call; the next change makes another."""
    for n in range(12):
        kernel.theirs.send(link(n))
    await kernel.wait()
    assert kernel.calls == 1
    kernel.theirs.send(link(0, 0))
    await kernel.wait()
    assert kernel.calls == 2


async def test_events_without_end_are_told_all_the_same(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Quiet is not waited for longer than the limit."""
    monkeypatch.setattr(module, "QUIET_S", 5.0)
    monkeypatch.setattr(module, "LATEST_S", 0.2)
    async with asyncio.timeout(WAIT_S):
        while not kernel.calls:
            kernel.theirs.send(link(2, UP))
            kernel.theirs.send(link(2, 0))
            await asyncio.sleep(0.01)


async def test_noise_is_not_told(kernel: Kernel) -> None:
    """Repetitions and garbage are read and forgotten; what follows them is still heard."""
    kernel.theirs.send(link(2))
    await kernel.wait()
    for noise in (link(2), b"", b"\xff" * 40, link(2)[:20], link(2)):
        kernel.theirs.send(noise)
    await asyncio.sleep(4 * QUIET_S)
    assert kernel.calls == 1
    kernel.theirs.send(link(2, 0))
    await kernel.wait()


async def test_what_is_asked_at_the_start_is_no_change(kernel: Kernel) -> None:
    """Links are asked for, then addresses, one dump after the other."""
    kinds = []
    for _ in range(2):
        request = kernel.theirs.recv(100)
        kinds.append(struct.unpack_from("=H", request, 4)[0])
        listed = bytearray(link(2))
        listed[6] = 2  # part of a dump
        kernel.theirs.send(bytes(listed) + struct.pack("=IHHIIi", 20, DONE, 2, 0, 0, 0))
        await asyncio.sleep(0.05)
    assert kinds == [18, 22]
    await asyncio.sleep(4 * QUIET_S)
    assert kernel.calls == 0


async def test_events_that_were_lost_count_as_a_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel drops events for a slow reader and says so: everything is asked again, and the change is told."""
    monkeypatch.setattr(module, "QUIET_S", QUIET_S)

    class Overrun:
        """A socket whose first reading fails."""

        def __init__(self, real: socket.socket) -> None:
            self.real = real
            self.failed = False

        def __getattr__(self, name: str) -> Any:
            return getattr(self.real, name)

        def recv(self, size: int) -> bytes:
            if not self.failed:
                self.failed = True
                raise OSError(errno.ENOBUFS, "No buffer space available")
            return self.real.recv(size)

    kernel = Kernel()
    kernel.watcher._open_socket = lambda: Overrun(kernel.ours)  # type: ignore[assignment,return-value] # a stand-in
    kernel.watcher.start()
    kernel.theirs.recv(100)
    kernel.theirs.send(link(2))
    await kernel.wait()
    assert kernel.watcher.way == "netlink"
    assert struct.unpack_from("=H", kernel.theirs.recv(100), 4)[0] == 18
    kernel.close()


async def test_nothing_is_told_after_the_end(kernel: Kernel) -> None:
    """Also what was already waiting for quiet."""
    kernel.theirs.send(link(2))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    kernel.watcher.stop()
    await asyncio.sleep(4 * QUIET_S)
    assert kernel.calls == 0
    assert kernel.watcher.way == "off"


async def test_without_netlink_interfaces_are_compared(
    monkeypatch: pytest.MonkeyPatch, log_events: Callable[[], list[dict[str, Any]]]
) -> None:
    """A sandbox that forbids AF_NETLINK gets the slow way, and the log says what to allow."""
    monkeypatch.setattr(module, "QUIET_S", QUIET_S)
    monkeypatch.setattr(module, "POLL_S", QUIET_S)

    def refuse() -> socket.socket:
        raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")

    called = asyncio.Event()
    interfaces: list[Any] = []
    watcher = NetworkChanges(called.set, open_socket=refuse, read=lambda: list(interfaces))
    watcher.start()
    assert watcher.way == "polling"
    await asyncio.sleep(4 * QUIET_S)
    assert not called.is_set()
    interfaces.append("eth0")
    await asyncio.wait_for(called.wait(), WAIT_S)
    watcher.stop()
    (said,) = [event for event in log_events() if event["event"] == "network changes polled"]
    assert "AF_NETLINK" in said["cause"]
    assert "RestrictAddressFamilies" in said["hint"]


@pytest.mark.namespaces
async def test_a_real_kernel_tells(network: Network) -> None:
    """An address that comes, a cable that is pulled and put back: each is told; renewing an address is not."""
    called = asyncio.Event()
    machine = network.machine("here")
    with machine.entered():
        watcher = NetworkChanges(called.set)
        watcher.start()
    assert watcher.way == "netlink"
    await asyncio.sleep(1.5)  # eth0's own address detection is over
    called.clear()

    async def told() -> None:
        await asyncio.wait_for(called.wait(), WAIT_S)
        await asyncio.sleep(1.2)  # a burst is over
        called.clear()

    machine.run("ip", "address", "add", "10.7.7.7/24", "dev", "eth0")
    await told()
    machine.run(
        "ip", "address", "change", machine.ipv4 + "/24", "dev", "eth0", "valid_lft", "1000", "preferred_lft", "900"
    )
    await asyncio.sleep(0.5)
    assert not called.is_set()
    network.cut(machine)
    await told()
    network.mend(machine)
    await told()
    watcher.stop()
