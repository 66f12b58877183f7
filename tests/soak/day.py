"""A day in real time: two devices, busy for ten minutes of every hour and idle for the rest."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from tests.soak.gauges import Reading
from tests.soak.person import SPACE, Person
from tests.support.daemons import House, pair

NAMES = ("kitchen", "study")
ROUND_S = 3600.0
BUSY_SHARE = 1 / 6
GROWTH = 1.5  # of memory and descriptors between the first round and the last
SLACK_MIB = 20.0
SLACK_DESCRIPTORS = 10


def live(folder: Path, real_s: float, seed: int, tell: Callable[[str], None], pause_s: float = 0.05) -> None:
    """Raises AssertionError if what they use grows from round to round, or if they differ in the end."""
    round_s = min(ROUND_S, real_s / 3)
    with House(folder) as house:
        kitchen, study = house.start(*NAMES)
        kitchen.create(SPACE)
        pair(kitchen, study, SPACE)
        house.agree(SPACE)
        people = [Person(device, seed + number, pause_s) for number, device in enumerate(house.devices)]
        after: list[list[Reading]] = []
        try:
            ends_s = time.monotonic() + real_s
            while time.monotonic() < ends_s:
                for person in people:
                    person.work()
                time.sleep(round_s * BUSY_SHARE)
                for person in people:
                    person.rest()
                house.agree(SPACE)
                before = [Reading.of(device) for device in house.devices]
                time.sleep(round_s * (1 - BUSY_SHARE))
                after.append([Reading.of(device) for device in house.devices])
                for name, was, reading in zip(NAMES, before, after[-1], strict=True):
                    tell(reading.line(name, was))
        finally:
            for person in people:
                person.stop()
        assert [failure for person in people for failure in person.failures] == []
        house.agree(SPACE)
        for name, first, last in zip(NAMES, after[0], after[-1], strict=True):
            assert last.rss_mib < first.rss_mib * GROWTH + SLACK_MIB, f"{name}: memory grows"
            assert last.descriptors < first.descriptors * GROWTH + SLACK_DESCRIPTORS, f"{name}: descriptors leak"
