"""A network segment that delays and loses packets, for kernels without netem: a switch in this process.

    with Network() as network, Air(delay_s=0.05, loss=0.05) as air:
        kitchen = network.machine("kitchen", up=False)      # its own cable stays down
        air.plug(kitchen, "air0", "10.88.0.1")              # a tap device in its namespace, up, with this address
        air.cut(kitchen); air.mend(kitchen)                 # carrier lost, carrier back

Every frame waits `delay_s` and is lost with the probability `loss`, in each direction of each path. Frames to a known
address go to its port, all others to every port but that from which they came.
"""

from __future__ import annotations

import contextlib
import fcntl
import heapq
import itertools
import os
import random
import select
import struct
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from tests.support.namespaces import Machine

_TUNSETIFF = 0x400454CA
_TUNSETCARRIER = 0x400454E2
_IFF_TAP, _IFF_NO_PI = 0x0002, 0x1000
_FRAME_BYTES = 2048
_DEVICE = Path("/dev/net/tun")


def air_missing() -> str | None:
    """What is lacking, in a sentence, or None. Call it where namespaces can be had."""
    try:
        os.close(os.open(_DEVICE, os.O_RDWR))
    except OSError as error:
        return f"a switch of our own needs {_DEVICE}: {error.strerror}"
    return None


class Air:
    def __init__(self, *, delay_s: float, loss: float, seed: int = 1) -> None:
        self.delay_s = delay_s
        self.loss = loss
        self.frames = 0
        self.lost = 0
        self._chance = random.Random(seed)
        self._ports: dict[str, int] = {}  # machine's name -> descriptor
        self._cut: set[int] = set()
        self._known: dict[bytes, int] = {}  # hardware address -> descriptor
        self._waiting: list[tuple[float, int, int, bytes]] = []
        self._numbers = itertools.count()
        self._wake_in, self._wake_out = os.pipe()
        self._ending = False
        self._thread = threading.Thread(target=self._work, name="air")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending = True
        self._wake()
        self._thread.join()
        for descriptor in (*self._ports.values(), self._wake_in, self._wake_out):
            os.close(descriptor)

    def plug(self, machine: Machine, device: str, ipv4: str) -> None:
        """Give a machine a device in this segment."""
        with machine.entered():
            descriptor = os.open(_DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", device.encode(), _IFF_TAP | _IFF_NO_PI))
        machine.run("ip", "address", "add", f"{ipv4}/24", "brd", "+", "dev", device)
        machine.run("ip", "link", "set", device, "up")
        self._ports[machine.name] = descriptor
        self._wake()

    def cut(self, machine: Machine) -> None:
        """No carrier on the machine, and nothing passes."""
        self._carry(machine, on=False)

    def mend(self, machine: Machine) -> None:
        self._carry(machine, on=True)

    def _carry(self, machine: Machine, *, on: bool) -> None:
        descriptor = self._ports[machine.name]
        if on:
            self._cut.discard(descriptor)
        else:
            self._cut.add(descriptor)
        fcntl.ioctl(descriptor, _TUNSETCARRIER, struct.pack("i", on))

    def _wake(self) -> None:
        os.write(self._wake_out, b".")

    def _work(self) -> None:
        while not self._ending:
            now_s = time.monotonic()
            while self._waiting and self._waiting[0][0] <= now_s:
                _, _, port, frame = heapq.heappop(self._waiting)
                if port not in self._cut:
                    with contextlib.suppress(OSError):  # its machine's device is down
                        os.write(port, frame)
            wait_s = self._waiting[0][0] - now_s if self._waiting else None
            ready, _, _ = select.select([self._wake_in, *self._ports.values()], [], [], wait_s)
            for descriptor in ready:
                if descriptor == self._wake_in:
                    os.read(descriptor, 64)
                else:
                    self._read(descriptor)

    def _read(self, port: int) -> None:
        for _ in range(64):
            try:
                frame = os.read(port, _FRAME_BYTES)
            except OSError:
                return
            if port in self._cut:
                continue
            self._known[frame[6:12]] = port
            to = self._known.get(frame[:6])
            for other in [to] if to is not None else [one for one in self._ports.values() if one != port]:
                self._send(other, frame)

    def _send(self, port: int, frame: bytes) -> None:
        self.frames += 1
        if self._chance.random() < self.loss:
            self.lost += 1
            return
        heapq.heappush(self._waiting, (time.monotonic() + self.delay_s, next(self._numbers), port, frame))
