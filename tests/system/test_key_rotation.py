"""A removal changes the secret of the space. The daemon dies at every step of that, and the next start ends it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from peerd.core.roster import epochs
from peerd.core.roster.roster import Roster
from peerd.store import roster_copy
from tests.support.daemons import Device, House, pair, wait_for

SOON = "import peerd.engine.upkeep.housekeeping as h; h.LOOK_S = 0.5"
DYING = """
import os, peerd.engine.spaces as s
state, renew_epoch = s.Spaces._state, s.Spaces.renew_epoch

async def dying_state(self, *arguments):
    if {point!r} == "before the removal":
        os._exit(9)
    await state(self, *arguments)
    if {point!r} == "before the secret":
        os._exit(9)

async def dying_renew(self, space):
    before = len(space.roster.statements)
    await renew_epoch(self, space)
    if len(space.roster.statements) != before:
        os._exit(9)

s.Spaces._state, s.Spaces.renew_epoch = dying_state, dying_renew
"""


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with House(tmp_path) as house:
        kitchen, study, lost = (house.device(name, mdns=False) for name in ("kitchen", "study", "lost"))
        for device in house.devices:
            device.peers = [other.address for other in house.devices if other is not device]
            device.start()
        kitchen.create("home")
        pair(kitchen, study, "home")
        pair(kitchen, lost, "home")
        house.agree("home")
        yield house


def roster(device: Device) -> Roster:
    """As it stands on the disk."""
    (database,) = (device.state_dir / "spaces").glob("*.db")
    nobody = Roster(bytes.fromhex(database.stem), lambda *_: True)
    return nobody.with_statements(roster_copy.salvage(database))[0]


def named(device: Device) -> set[str]:
    return {member.name for member in roster(device).members.values()}


@pytest.mark.parametrize("point", ["before the removal", "before the secret", "after the secret"])
def test_killed_at_each_step_of_a_removal(house: House, point: str) -> None:
    """Before it is durable nothing was removed, and nobody was told so. After it, whoever is out knows no secret that
    is in use, and the members have one that all of them know.
    """
    kitchen, study, lost = house.devices
    before = epochs.current(roster(kitchen))
    assert before is not None
    kitchen.stop()
    kitchen.meddle = DYING.format(point=point)
    kitchen.start()
    assert kitchen.run("remove", "home", "lost", "--yes").returncode != 0
    assert kitchen.process is not None
    assert kitchen.process.wait(30) == 9
    kitchen.meddle = SOON
    kitchen.start()
    if point == "before the removal":
        assert "lost" in named(kitchen)
        assert epochs.current(roster(kitchen)) == before
        kitchen.ctl("remove", "home", "lost", "--yes")
    wait_for(lambda: epochs.current(roster(kitchen)), "there is a secret that only members know", house.devices)
    wait_for(lambda: epochs.current(roster(study)), "the other member has it too", house.devices)
    assert named(kitchen) == named(study) == {"kitchen", "study"}
    after = epochs.current(roster(kitchen))
    assert after is not None
    assert after.id != before.id
    assert epochs.without_wrap(roster(kitchen), after) == []
    kitchen.put("home", "notes", "after", {"by": "kitchen"})
    house.agree("home", [kitchen, study])
    lost.wait(lambda: lost.space("home")["state"] == "removed", "it knows that it is out")
