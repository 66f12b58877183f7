"""A copy that went back in time, in each way in which copies do: it takes a new origin before it writes, what others
have of it comes back, and no number is given twice.

What one layer cannot see the next one does: a database without its mark; a mark that does not fit; and where both went
back together, a peer that knows more of this device than it does itself.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.daemons import Device, House, pair

Story = Callable[[House, Path], None]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """Two members; the kitchen has written before anything is saved."""
    with House(tmp_path) as house:
        kitchen, study = (house.device(name, mdns=False) for name in ("kitchen", "study"))
        kitchen.peers, study.peers = [study.address], [kitchen.address]
        kitchen.start()
        study.start()
        kitchen.create("home")
        pair(kitchen, study, "home")
        kitchen.put("home", "notes", "early", {"by": "kitchen"})
        house.agree("home")
        yield house


def files(device: Device) -> list[Path]:
    """The database of its one space and its mark, where there are no others."""
    state = device.state_dir
    return [path for folder in ("spaces", "marks") for path in (state / folder).iterdir() if path.is_file()]


def write_and_stop(house: House, *keys: str) -> None:
    """What the kitchen writes after it was saved, and the others receive."""
    kitchen = house.devices[0]
    for key in keys:
        kitchen.put("home", "notes", key, {"by": "kitchen"})
    house.agree("home")
    kitchen.stop()


def back_in_place(house: House, tmp_path: Path) -> None:
    """A backup of the databases was put back, over a mark that stayed."""
    kitchen = house.devices[0]
    kitchen.stop()
    shutil.copytree(kitchen.state_dir / "spaces", tmp_path / "saved")
    kitchen.start()
    write_and_stop(house, "late")
    shutil.rmtree(kitchen.state_dir / "spaces")
    shutil.copytree(tmp_path / "saved", kitchen.state_dir / "spaces")


def whole_machine(house: House, _: Path) -> None:
    """A snapshot of a virtual machine: every file is as it was, under its old inode, and the mark with it."""
    kitchen = house.devices[0]
    kitchen.stop()
    saved = {path: path.read_bytes() for path in files(kitchen)}
    kitchen.start()
    write_and_stop(house, "late")
    for path in files(kitchen):
        if path in saved:
            with path.open("r+b") as file:  # not replaced: the inode stays
                file.write(saved[path])
                file.truncate()
        else:
            path.unlink()


def without_its_mark(house: House, _: Path) -> None:
    """Backups leave it out, and so may a clean-up."""
    write_and_stop(house, "late")
    shutil.rmtree(house.devices[0].state_dir / "marks")


def without_its_wal(house: House, _: Path) -> None:
    """Somebody copied or kept the .db alone, after the daemon had been killed."""
    kitchen = house.devices[0]
    kitchen.stop()
    kitchen.start()
    kitchen.put("home", "notes", "late", {"by": "kitchen"})
    house.agree("home")
    kitchen.kill()
    walls = [path for path in files(kitchen) if path.name.endswith(("-wal", "-shm"))]
    assert walls
    for path in walls:
        path.unlink()


@pytest.mark.parametrize("story", [back_in_place, whole_machine, without_its_mark, without_its_wal])
def test_it_goes_on_as_somebody_new(house: House, tmp_path: Path, story: Story) -> None:
    """Under the same device; and its own lost transactions are there again."""
    kitchen, study = house.devices
    kitchen_id = kitchen.id
    story(house, tmp_path)
    known = {one["dot"] for one in study.transactions("home")}
    kitchen.start()
    kitchen.wait(lambda: kitchen.peer("home", study)["state"] == "in sync", "it has met the other")
    kitchen.put("home", "notes", "new", {"by": "kitchen again"})
    kitchen.patch("home", "notes", "early", by="kitchen again")
    shown = house.agree("home")["notes"]
    assert shown["late"] == {"by": "kitchen"}
    assert shown["early"] == shown["new"] == {"by": "kitchen again"}
    fresh = {one["dot"]: one["device"] for one in study.transactions("home") if one["dot"] not in known}
    assert set(fresh.values()) == {kitchen_id}
    assert {dot.split(":")[0] for dot in fresh}.isdisjoint(dot.split(":")[0] for dot in known)
    assert kitchen.conflicts("home") == []


def test_copied_to_another_machine(house: House, tmp_path: Path) -> None:
    """The old one is gone for good; its copy is the same device, under a new origin, with marks and all."""
    kitchen, study = house.devices
    write_and_stop(house, "late")
    known = {one["dot"].split(":")[0] for one in study.transactions("home")}
    laptop = house.device("laptop", mdns=False, peers=[study.address])
    shutil.copytree(kitchen.state_dir, laptop.state_dir)
    laptop.start()
    laptop.put("home", "notes", "new", {"by": "laptop"})
    house.agree("home", [laptop, study])
    (written,) = (one for one in study.transactions("home") if one["dot"].split(":")[0] not in known)
    assert written["device"] == laptop.id


def test_everything_lost_but_the_keys(house: House) -> None:
    """It is invited again, stays the member it was, and gets all it ever wrote from the others."""
    kitchen, study = house.devices
    write_and_stop(house, "late")
    known = {one["dot"].split(":")[0] for one in study.transactions("home")}
    for folder in ("spaces", "marks"):
        shutil.rmtree(kitchen.state_dir / folder)
    kitchen.start()
    pair(study, kitchen, "home")
    kitchen.put("home", "notes", "new", {"by": "kitchen"})
    assert set(house.agree("home")["notes"]) == {"early", "late", "new"}
    assert len(study.call("GET", "spaces", "home", "members")["members"]) == 2
    (written,) = (one for one in study.transactions("home") if one["dot"].split(":")[0] not in known)
    assert written["device"] == kitchen.id
