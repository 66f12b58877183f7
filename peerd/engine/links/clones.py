"""Recognises two machines that run with one device key, as after a machine was copied with its state directory.

Each process draws a random number when it starts and says it in every HELLO. One that comes back after another one
replaced it belongs to a process that never ended, so two are alive. Machines copied while peerd ran share the number
until one of the two is started anew; until then only the second sign shows it: somebody else answers with our own key.
The two themselves may never meet, and it is on them that something has to be done. Each of them is thrown out by the
same device again and again, for the other one's sake: that is the third sign.
"""

from __future__ import annotations

from collections import deque

from peerd.core.device_id import short_id
from peerd.core.stored import Address
from peerd.engine.ports import Times
from peerd.logs import get

log = get(__name__)

BOOTS = 4  # of one device, the last ones
DEVICES = 1_000
SHOWN_S = 600.0  # after the last sign
THROWN_OUT = 3  # times by the same device, within SHOWN_S; once or twice happens to two that dial each other


class Clones:
    def __init__(self, times: Times) -> None:
        self._times = times
        self._boots: dict[bytes, deque[bytes]] = {}  # per device, the one met last at the end
        self._signs_s: dict[bytes, float] = {}  # device -> when it was last seen to be two
        self._elsewhere: tuple[Address, float] | None = None
        self._thrown_out_s: dict[bytes, deque[float]] = {}  # per device, when it did so
        self._another_s: float | None = None  # when that was a sign

    def met(self, device: bytes, boot: bytes) -> None:
        """It said this number in its HELLO."""
        boots = self._boots.pop(device, None) or deque(maxlen=BOOTS)
        self._boots[device] = boots  # at the end: the one met longest ago is forgotten first
        while len(self._boots) > DEVICES:
            self.forget(next(iter(self._boots)))
        if boots and boots[-1] == boot:
            return
        if boot in boots:
            boots.remove(boot)
            if not self.is_two(device):
                log.warning("two machines with one key", device=short_id(device))
            self._signs_s[device] = self._times.monotonic_s()
        boots.append(boot)

    def forget(self, device: bytes) -> None:
        self._boots.pop(device, None)
        self._signs_s.pop(device, None)
        self._thrown_out_s.pop(device, None)

    def is_two(self, device: bytes) -> bool:
        """Was it seen in the last ten minutes that two machines run with this device's key?"""
        sign_s = self._signs_s.get(device)
        return sign_s is not None and self._times.monotonic_s() - sign_s < SHOWN_S

    def answered_as_us(self, address: Address) -> None:
        """Another machine has our own key."""
        if self.elsewhere is None:
            log.warning("another machine has our key", address=f"{address[0]} {address[1]}")
        self._elsewhere = address, self._times.monotonic_s()

    @property
    def elsewhere(self) -> Address | None:
        """Where another machine answered with our own key in the last ten minutes."""
        if self._elsewhere is None or self._times.monotonic_s() - self._elsewhere[1] >= SHOWN_S:
            return None
        return self._elsewhere[0]

    def thrown_out(self, device: bytes) -> None:
        """It ended our only link with it, as it keeps another one with our key."""
        now_s = self._times.monotonic_s()
        times_s = self._thrown_out_s.setdefault(device, deque(maxlen=THROWN_OUT))
        times_s.append(now_s)
        if len(times_s) == THROWN_OUT and now_s - times_s[0] < SHOWN_S:
            if not self.is_another:
                log.warning("another machine has our key", device=short_id(device))
            self._another_s = now_s

    @property
    def is_another(self) -> bool:
        """Were we thrown out again and again in the last ten minutes, for another machine with our own key?"""
        return self._another_s is not None and self._times.monotonic_s() - self._another_s < SHOWN_S
