"""What is wrong with what lies on a relay, for people."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from peerd.protocol.relay.courier_settings import DAY_S
from peerd.protocol.relay.courier_steps import SegmentName

REPORTS = 200
_PASSING = ("relay-rolled-back", "relay-cloned", "relay-swapped")


class Report(Struct, frozen=True):
    """Something about a device's objects on the relay that a person should know. `code`: `relay-damaged` (an object
    does not open or makes no sense), `relay-rolled-back` (the relay went back to an earlier state), `relay-lost` (what
    a head promises cannot be had), `relay-unknown-key` (a head is sealed for others than us), `relay-cloned` (somebody
    else writes as this device), `relay-swapped` (a segment is not the one that was left in its place).
    """

    code: str
    device: bytes
    text: str
    since_ms: int  # wall clock


class Reports:
    """What is wrong at the moment, one report of a kind per device."""

    def __init__(self) -> None:
        self._standing: dict[tuple[str, bytes], Report] = {}

    def add(self, code: str, device: bytes, text: str, wall_ms: int) -> None:
        """It is wrong, whether it was before or not."""
        if len(self._standing) < REPORTS:
            self._standing.setdefault((code, device), Report(code, device, text, wall_ms))

    def clear(self, code: str, device: bytes) -> None:
        self._standing.pop((code, device), None)

    def expire(self, wall_ms: int) -> None:
        """What may not be seen again is told for a day."""
        for key, report in list(self._standing.items()):
            if key[0] in _PASSING and wall_ms - report.since_ms > DAY_S * 1000:
                del self._standing[key]

    def lost(self, names: Sequence[SegmentName], wall_ms: int) -> None:
        """What cannot be had now; nothing else of the kind is wrong any more."""
        devices = {device for device, _, _ in names}
        for code, device in list(self._standing):
            if code == "relay-lost" and device not in devices:
                self.clear(code, device)
        for device in sorted(devices):
            self.add("relay-lost", device, "something that its head promises cannot be had, and is left again", wall_ms)

    def all(self) -> tuple[Report, ...]:
        return tuple(self._standing[key] for key in sorted(self._standing))
