"""What a daemon uses, read from outside."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.support.daemons import Device


@dataclass(frozen=True)
class Reading:
    """Of one daemon at one moment. `wakeups` and `cpu_s` count since it started."""

    at_s: float
    rss_mib: float
    descriptors: int
    database_kib: int
    wal_kib: int
    wakeups: int
    cpu_s: float

    @classmethod
    def of(cls, device: Device) -> Self:
        process = Path(f"/proc/{device.pid}")
        tasks = [task for task in (process / "task").iterdir() if (task / "status").exists()]
        spaces = device.state_dir / "spaces"
        return cls(
            at_s=time.monotonic(),
            rss_mib=device.rss_mib(),
            descriptors=len(list((process / "fd").iterdir())),
            database_kib=_kib(spaces, "*.db"),
            wal_kib=_kib(spaces, "*.db-wal"),
            wakeups=sum(_switches(task / "status") for task in tasks),
            cpu_s=sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9,
        )

    def line(self, name: str, before: Reading | None) -> str:
        """For people. With an earlier reading of the same process, rates since then."""
        text = (
            f"{name:8} {self.rss_mib:6.1f} MiB  {self.descriptors:3} descriptors  "
            f"database {self.database_kib:7,} KiB  WAL {self.wal_kib:6,} KiB"
        )
        if before is not None and before.wakeups <= self.wakeups and self.at_s > before.at_s:
            past_s = self.at_s - before.at_s
            woken = (self.wakeups - before.wakeups) / past_s
            text += f"  {woken:6.1f} wake-ups/s  {100 * (self.cpu_s - before.cpu_s) / past_s:6.3f} % of a core"
        return text


def _kib(folder: Path, pattern: str) -> int:
    sizes = 0
    for path in folder.glob(pattern):
        try:
            sizes += path.stat().st_size
        except FileNotFoundError:
            continue
    return sizes // 1024


def _switches(status: Path) -> int:
    """How often a thread went to sleep by itself: each time something woke it again."""
    for line in status.read_text().splitlines():
        if line.startswith("voluntary_ctxt_switches:"):
            return int(line.split()[1])
    return 0
