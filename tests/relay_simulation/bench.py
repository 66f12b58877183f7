"""A few devices and a relay in virtual time, without chaos: for stories of one rule each."""

from __future__ import annotations

from random import Random
from typing import Any, TypeVar

from peerd.core.clocks import Clock
from peerd.protocol.relay import names as relay_names
from peerd.protocol.relay.courier_settings import CourierSettings
from peerd.protocol.relay.courier_steps import Sleep, Step
from peerd.protocol.relay.objects import Head
from tests.relay_simulation.copies import Copy, Truth
from tests.relay_simulation.device import KEY, Along, Device, head_there
from tests.relay_simulation.storage import Storage

S = TypeVar("S", bound=Step)


class Bench:
    """`devices` devices that have met the roster and nothing else. Time is virtual: `run` lets it pass."""

    def __init__(self, devices: int = 2, **settings: Any) -> None:
        self.now_s = 0.0
        self.storage = Storage()
        self.truth = Truth()
        self.members: set[bytes] = set()
        self.active: set[bytes] = set()
        self.settings = CourierSettings(**{"max_bytes": None, **settings})
        self.devices = [self.join() for _ in range(devices)]

    def join(self) -> Device:
        id_ = bytes([len(self.members) + 1]) * 32
        self.members.add(id_)
        self.active.add(id_)
        device = Device(
            id_, Random(id_), self.truth, self.storage, self.settings, self.members, self.active, Copy(self.truth)
        )
        device.journal = []
        device.wake_s = self.now_s
        if hasattr(self, "devices"):
            self.devices.append(device)
        return device

    def run(self, for_s: float) -> None:
        end_s = self.now_s + for_s
        while (device := min(self.devices, key=lambda device: device.wake_s)).wake_s <= end_s:
            self.now_s = max(self.now_s, device.wake_s)
            device.wake_s = max(device.step(self.now_s), self.now_s + 0.01)
        self.now_s = end_s

    def write(self, device: Device, size: int = 100, count: int = 1) -> None:
        device.write(count, size, self.now_s)

    def link(self, *devices: Device) -> None:
        """They meet, and know what they have; nobody else is linked."""
        for one in devices:
            for other in devices:
                one.copy.meet(other.copy, one.removed)
        for device in self.devices:
            device.linked = dict(device.copy.clock) if device in devices else {}

    # ---- what was done

    def steps(self, device: Device, kind: type[S], since_s: float = 0.0) -> list[S]:
        return [step for at_s, step in device.journal or [] if isinstance(step, kind) and at_s >= since_s]

    def times(self, device: Device, kind: type[S], since_s: float = 0.0) -> list[float]:
        return [at_s for at_s, step in device.journal or [] if isinstance(step, kind) and at_s >= since_s]

    def requests(self, device: Device, since_s: float) -> list[Step]:
        journal = device.journal or []
        return [step for at_s, step in journal if at_s >= since_s and not isinstance(step, Sleep | Along)]

    # ---- what is there

    def head(self, device: Device) -> Head:
        head = head_there(self.storage, device.id)
        assert head is not None
        return head

    def segments(self, device: Device) -> dict[int, str]:
        """The names of this device's segments that are there."""
        head = self.head(device)
        names = {n: relay_names.segment_name(KEY, head.stream, n) for n in range(1, head.next + 1)}
        return {n: name for n, name in names.items() if name in self.storage.objects}

    def agree(self) -> bool:
        clocks: list[Clock] = [device.copy.clock for device in self.devices]
        return all(clock == clocks[0] for clock in clocks)

    def reports(self, device: Device) -> set[tuple[str, bytes]]:
        status = device.courier.status(device.standing(), device.moment(self.now_s))
        return {(report.code, report.device) for report in status.reports}
