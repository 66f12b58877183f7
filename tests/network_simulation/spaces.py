"""A space as a history knows it, and what was acknowledged in it."""

from __future__ import annotations

from dataclasses import dataclass, field

from peerd.protocol.control.messages import ChangeRequest
from tests.network_simulation.device import Device


@dataclass(frozen=True)
class Acknowledged:
    space: bytes
    origin: bytes
    seq: int
    changes: tuple[ChangeRequest, ...]
    end: bytes  # the hash at the end of the run that it is in


@dataclass
class SimSpace:
    """A space and the devices that were let in. `losses`: acknowledged writes that no surviving copy had when copies
    were put back or devices removed; `lost`: likewise, all runs, by the hash at their end. `removed`: who was removed,
    and not let in again since; `ended`: the admissions that ended so.
    """

    id: bytes
    name: str
    devices: list[Device]
    losses: set[tuple[bytes, int]] = field(default_factory=set)
    removed: list[Device] = field(default_factory=list)
    lost: set[bytes] = field(default_factory=set)
    ended: set[bytes] = field(default_factory=set)

    @property
    def inside(self) -> list[Device]:
        return [device for device in self.devices if device not in self.removed]
