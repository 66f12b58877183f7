"""What happens to some devices over months: people work, devices leave for weeks, are killed, cut off, set back to a
backup. In the end all have the same, and it is what was acknowledged.
"""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.soak.ageing import DAY_S, ageing
from tests.soak.gauges import Reading
from tests.soak.person import SPACE, Person
from tests.support.daemons import Device, House, pair, start_all, wait_for
from tests.support.namespaces import Network

NAMES = ("kitchen", "study", "attic", "cellar")
AWAY_DAYS = 63.0  # longer than a device counts as active
HISTORY_DAYS = 7
MENDED_S = 240.0
Clock = dict[str, int]
NOT_WELL = ("copies diverged", "history forks", "housekeeping failed")


class Life:
    """Of four devices on one switch, for `days` that pass in `real_s` seconds. `tell` gets lines for people."""

    def __init__(
        self, folder: Path, network: Network, *, days: float, real_s: float, seed: int, tell: Callable[[str], None]
    ) -> None:
        self.house = House(folder)
        self.real_s = real_s
        self._network = network
        self._day_s = real_s / days
        self._days = days
        self._chance = random.Random(seed)
        self._tell = tell
        self._backups = folder / "backups"
        self._before: dict[str, Reading] = {}
        self._taken: set[str] = set()  # devices with a backup
        scale = DAY_S / self._day_s
        meddle = ageing(scale, time.time(), every_s=min(2.0, self._day_s))
        more = f"[spaces.{SPACE}]\nhistory_days = {HISTORY_DAYS}\n"
        for name in NAMES:
            self.house.device(name, network.machine(name), meddle=meddle, more=more)
        self.people: list[Person] = []

    @property
    def devices(self) -> list[Device]:
        return self.house.devices

    # ---- from beginning to end

    def live(self, pause_s: float) -> None:
        """All of it, and what must be so in the end; people pause so long between two writes."""
        start_all(self.devices)
        self.devices[0].create(SPACE)
        for other in self.devices[1:]:
            pair(self.devices[0], other, SPACE, by_address=False)
        wait_for(lambda: all(len(one.linked()) == len(NAMES) - 1 for one in self.devices), "all linked", self.devices)
        seed = self._chance.getrandbits(32)
        self.people = [Person(device, seed + number, pause_s) for number, device in enumerate(self.devices)]
        try:
            self._pass_the_days()
        finally:
            for person in self.people:
                person.stop()
        self._check()

    def _pass_the_days(self) -> None:
        """One device is away for most of the time; of the others one after the other meets with something."""
        began_s = time.monotonic()
        traveller, at_home = self.people[-1], self.people[:-1]
        leaves_s = 0.1 * self.real_s
        returns_s = leaves_s + AWAY_DAYS * self._day_s
        away, back = False, False
        troubles = [self._killed, self._cut_off, self._set_back, self._stopped, self._killed]
        while (past_s := time.monotonic() - began_s) < self.real_s:
            if not away and past_s >= leaves_s:
                away = True
                self._leave(traveller)
            if away and not back and past_s >= returns_s and self._is_given_up(traveller):
                back = True
                self._return(traveller)
            trouble, person = self._chance.choice(troubles), self._chance.choice(at_home)
            trouble(person)
            self._wait_days(self._chance.uniform(0.5, 2.5))
            self._report(past_s)
        if away and not back:
            waited_s = wait_for(lambda: self._is_given_up(traveller), "nobody waits for it", self.devices, self.real_s)
            self._tell(f"waited for {waited_s:.1f} s until nobody counted on {traveller.device.name}")
            self._return(traveller)

    def _wait_days(self, days: float) -> None:
        time.sleep(days * self._day_s)

    def _leave(self, person: Person) -> None:
        """With a goodbye; elsewhere somebody works with it for a day, then it is off."""
        person.rest()
        person.device.stop()
        self._network.cut(_machine(person.device))
        person.device.start()
        person.work()
        self._wait_days(1)
        person.rest()
        person.device.stop()
        self._tell(f"{person.device.name} is away")

    def _is_given_up(self, person: Person) -> bool:
        """Does none of the others hold its log back for it any more? Time for which they were off counts less."""
        at_home = [device for device in self.devices if device is not person.device]
        listed = [device.ctl("members", SPACE)["members"] for device in at_home]
        return not any(
            one["holding"]["active"] for members in listed for one in members if one["name"] == person.device.name
        )

    def _return(self, person: Person) -> None:
        self._wait_days(2)  # their log goes without it
        self._network.mend(_machine(person.device))
        person.device.start()
        person.work()
        self._tell(f"{person.device.name} is back")

    # ---- troubles

    def _killed(self, person: Person) -> None:
        person.device.kill()
        person.device.start()

    def _stopped(self, person: Person) -> None:
        person.device.stop()
        self._wait_days(2)
        person.device.start()

    def _cut_off(self, person: Person) -> None:
        self._network.cut(_machine(person.device))
        self._wait_days(3)
        self._network.mend(_machine(person.device))

    def _set_back(self, person: Person) -> None:
        """A backup of the state is taken, or put back. What was written since has to be at another device before."""
        device = person.device
        backup, spaces = self._backups / device.name, device.state_dir / "spaces"
        person.rest()
        others = [one for one in self.devices if one is not device and _runs(one)]
        device.wait(lambda: any(_has_all(device, one) for one in others), "another device has what it has", MENDED_S)
        had: Clock = device.space(SPACE)["clock"]
        device.stop()
        if device.name in self._taken:
            shutil.rmtree(spaces)
            shutil.copytree(backup, spaces)
            self._taken.remove(device.name)
            self._tell(f"{device.name} was set back to its backup")
        else:
            shutil.rmtree(backup, ignore_errors=True)
            shutil.copytree(spaces, backup)
            self._taken.add(device.name)
        device.start()
        person.work(deletes=False)
        device.wait(lambda: _includes(device, had), "it has again what it had", MENDED_S)
        person.work()

    # ---- what is seen

    def _report(self, past_s: float) -> None:
        self._tell(f"day {past_s / self._day_s:.1f} of {self._days:g}")
        for device in self.devices:
            if not _runs(device):
                continue
            reading = Reading.of(device)
            self._tell("  " + reading.line(device.name, self._before.get(device.name)))
            self._before[device.name] = reading

    def _check(self) -> None:
        """All the same, and what was acknowledged; and the log does not hold all that ever happened."""
        assert [failure for person in self.people for failure in person.failures] == []
        export = self.house.agree(SPACE, patience_s=MENDED_S)
        own, shared = export.get("own", {}), export.get("shared", {})
        for person in self.people:
            for key, may_be in person.may_be.items():
                assert own.get(key) in may_be, f"{key} is {own.get(key)}, and was acknowledged as {may_be}"
        said = {word for person in self.people for word in person.said}
        assert {word for value in shared.values() for word in value.values()} <= said
        for device in self.devices:
            wrong = [line["event"] for line in device.logged() if line.get("event") in NOT_WELL]
            assert wrong == [], f"{device.name}: {wrong}"
        written = sum(person.acknowledged for person in self.people)
        kept = [len(device.transactions(SPACE)) for device in self.devices]
        self._tell(f"{written:,} writes were acknowledged; the logs still hold {kept}")
        assert max(kept) < written, "a log was never trimmed"
        assert self.devices[-1].events("snapshot in place"), "whoever was away for so long needs a snapshot"


def _machine(device: Device) -> Any:
    assert device.machine is not None
    return device.machine


def _runs(device: Device) -> bool:
    return device.process is not None and device.process.poll() is None


def _has_all(device: Device, other: Device) -> bool:
    """Has the other what this one has?"""
    return _includes(other, device.space(SPACE)["clock"])


def _includes(device: Device, clock: Clock) -> bool:
    ours: Clock = device.space(SPACE)["clock"]
    return all(ours.get(origin, 0) >= seq for origin, seq in clock.items())
