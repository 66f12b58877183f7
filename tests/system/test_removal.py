"""`remove`: a device that was removed is out, whether it hears of it at once or is away at the time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from peerd.control.client import Problem
from tests.support.daemons import Device, House, pair, wait_for


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """Three members that all know where the others are."""
    with House(tmp_path) as house:
        kitchen, study, lost = (house.device(name, mdns=False) for name in ("kitchen", "study", "lost"))
        for device in house.devices:
            device.peers = [other.address for other in house.devices if other is not device]
            device.start()
        kitchen.create("home")
        pair(kitchen, study, "home")
        pair(kitchen, lost, "home")
        lost.put("home", "notes", "before", {"by": "lost"})
        house.agree("home")
        wait_for(lambda: all(map(is_settled, house.devices)), "all are linked, and know each other", house.devices)
        yield house


def is_settled(device: Device) -> bool:
    """Two links on which both sides have told all that they know."""
    states = [one["state"] for one in device.space("home")["peers"]]
    return len(device.linked()) == 2 and states == ["in sync", "in sync"]


def write_is_refused(device: Device) -> bool:
    try:
        device.put("home", "notes", "late", {"by": device.name})
    except Problem as problem:
        return problem.status == 403
    return False


def offered(device: Device) -> list[int | None]:
    """How many records of each old copy differ, as status says."""
    return [one["differing"] for one in device.space("home")["asides"]]


def names(device: Device) -> set[str]:
    """The members it knows of."""
    listed = device.call("GET", "spaces", "home", "members")["members"]
    return {one["name"] for one in listed if one["state"] != "removed"}


def test_removed_while_linked(house: House) -> None:
    """It is told: its writes are refused from then on, its status says why, and no link to it stays."""
    kitchen, study, lost = house.devices
    kitchen.ctl("remove", "home", "lost", "--yes")
    lost.wait(lambda: write_is_refused(lost), "it knows that it is out")
    wait_for(lambda: not any("lost" in one.linked() for one in (kitchen, study)), "the links are gone", house.devices)
    assert names(kitchen) == names(study) == {"kitchen", "study"}
    view = lost.space("home")
    assert view["state"] == "removed"
    assert view["reason"]
    assert view["next_step"]
    kitchen.put("home", "notes", "after", {"by": "kitchen"})
    export = house.agree("home", [kitchen, study])
    assert set(export["notes"]) == {"before", "after"}
    assert lost.get("home", "notes", "after") is None


def test_removed_while_away(house: House) -> None:
    """What it writes in the meantime and after reaches nobody; everybody refuses it, and says "removed"."""
    kitchen, study, lost = house.devices
    lost.call("POST", "pause")
    lost.wait(lambda: not lost.linked(), "it is cut off")
    lost.put("home", "notes", "meanwhile", {"by": "lost"})
    kitchen.ctl("remove", "home", "lost", "--yes")
    house.agree("home", [kitchen, study])
    kitchen.stop()  # the word of the removal has travelled: study alone refuses it
    lost.call("POST", "resume")
    lost.wait(lambda: lost.peer("home", study).get("state") == "refused", "it is refused")
    assert "removed" in lost.peer("home", study)["reason"]
    lost.patch("home", "notes", "meanwhile", text="still here")
    kitchen.start()
    lost.wait(lambda: lost.peer("home", kitchen).get("state") == "refused", "the other refuses it as well")
    kitchen.put("home", "notes", "after", {"by": "kitchen"})
    export = house.agree("home", [kitchen, study])
    assert set(export["notes"]) == {"before", "after"}
    assert lost.get("home", "notes", "after") is None


def test_let_in_again(house: House) -> None:
    """A new invitation gives an empty copy, which fills; the old one is set aside, not deleted; both can write."""
    kitchen, study, lost = house.devices
    lost.call("POST", "pause")
    lost.put("home", "notes", "only here", {"by": "lost"})
    kitchen.ctl("remove", "home", "lost", "--yes")
    house.agree("home", [kitchen, study])
    lost.call("POST", "resume")
    databases = set((lost.state_dir / "spaces").glob("*.db"))
    pair(study, lost, "home")
    export = house.agree("home")
    assert set(export["notes"]) == {"before"}
    assert list((lost.state_dir / "spaces").glob("*.aside-1"))
    assert set((lost.state_dir / "spaces").glob("*.db")) == databases
    lost.put("home", "notes", "again", {"by": "lost"})
    kitchen.put("home", "notes", "welcome", {"by": "kitchen"})
    assert set(house.agree("home")["notes"]) == {"before", "again", "welcome"}
    assert names(kitchen) == names(lost) == {"kitchen", "study", "lost"}
    assert [lost.stop(), kitchen.stop()] == [0, 0]
    lost.start()
    kitchen.start()
    assert set(house.agree("home")["notes"]) == {"before", "again", "welcome"}


def test_what_only_it_had_is_taken_in_after_a_new_invitation(house: House) -> None:
    """Written while it was away and removed: refused by everybody, offered when it is back, and taken in by one
    command. A field that both changed is a conflict; the old copy stays readable meanwhile and after.
    """
    kitchen, study, lost = house.devices
    lost.call("POST", "pause")
    lost.wait(lambda: not lost.linked(), "it is cut off")
    lost.put("home", "notes", "only here", {"by": "lost"})
    lost.patch("home", "notes", "before", by="lost, later")
    kitchen.ctl("remove", "home", "lost", "--yes")
    kitchen.patch("home", "notes", "before", by="kitchen")
    house.agree("home", [kitchen, study])
    lost.call("POST", "resume")
    lost.wait(lambda: lost.peer("home", study).get("state") == "refused", "it is refused")
    assert lost.get("home", "notes", "only here") == {"by": "lost"}
    joined = pair(study, lost, "home")
    assert joined["aside"].endswith(".aside-1")
    house.agree("home")
    lost.wait(lambda: offered(lost) == [2], "it says what the old copy has")
    assert lost.ctl("recopy", "home", "--aside", "latest")["records"] == 2
    export = house.agree("home")
    assert export["notes"]["only here"] == {"by": "lost"}
    for device in house.devices:
        (conflict,) = device.call("GET", "spaces", "home", "conflicts")["conflicts"]
        assert {one["value"] for one in conflict["values"]} == {"lost, later", "kitchen"}
    assert offered(lost) == []
    assert [path.suffix for path in (lost.state_dir / "set-aside").iterdir()] == [".db"]


def test_forgotten_after_a_removal(house: House) -> None:
    """Refused, it says by whom; then it is rid of the copy, which stays aside, and can be let in under its name."""
    kitchen, study, lost = house.devices
    lost.call("POST", "pause")
    lost.wait(lambda: not lost.linked(), "it is cut off")
    kitchen.ctl("remove", "home", "lost", "--yes")
    house.agree("home", [kitchen, study])
    lost.call("POST", "resume")
    said = "study says that this device was removed"
    lost.wait(lambda: lost.peer("home", study).get("reason") == said, "it says who says so")
    assert "peerctl space forget home" in lost.peer("home", study)["next_step"]
    gone = lost.ctl("space", "forget", "home", "--yes")
    assert Path(gone["set_aside"]).exists()
    assert lost.spaces() == set()
    assert [lost.stop(), lost.start().spaces()] == [0, set()]
    pair(study, lost, "home")
    assert set(house.agree("home")["notes"]) == {"before"}


def cut_off(device: Device) -> None:
    device.call("POST", "pause")
    device.wait(lambda: not device.linked(), f"{device} is cut off")


def test_a_third_that_had_not_heard_passes_on_what_it_took(house: House) -> None:
    """What a member applied before it heard of the removal stays, for everybody: it vouches for it. What comes after,
    through whomever, is refused by all, also when the third has it forwarded in good faith.
    """
    kitchen, study, lost = house.devices
    cut_off(kitchen)
    kitchen.ctl("remove", "home", "lost", "--yes")
    lost.put("home", "notes", "in between", {"by": "lost"})
    study.wait(lambda: study.get("home", "notes", "in between"), "the third takes it: it has not heard")
    cut_off(lost)
    lost.put("home", "notes", "unsent", {"by": "lost"})
    kitchen.call("POST", "resume")
    export = house.agree("home", [kitchen, study])
    assert set(export["notes"]) == {"before", "in between"}
    assert names(kitchen) == names(study) == {"kitchen", "study"}
    lost.call("POST", "resume")
    lost.wait(lambda: lost.peer("home", study).get("state") == "refused", "it is refused by the third as well")
    kitchen.put("home", "notes", "after", {"by": "kitchen"})
    assert set(house.agree("home", [kitchen, study])["notes"]) == {"before", "in between", "after"}
    assert lost.get("home", "notes", "unsent") == {"by": "lost"}
    assert lost.get("home", "notes", "after") is None


def test_of_two_that_remove_each_other_the_one_admitted_earlier_stays(house: House) -> None:
    """A stolen device that removes everybody while it is being removed ends nothing, whoever hears of which first."""
    kitchen, study, lost = house.devices
    cut_off(kitchen)
    kitchen.ctl("remove", "home", "lost", "--yes")
    for name in ("kitchen", "study"):
        lost.ctl("remove", "home", name, "--yes")
    study.wait(lambda: study.space("home")["state"] == "removed", "the third hears of the thief's first")
    assert study.get("home", "notes", "before") == {"by": "lost"}
    kitchen.call("POST", "resume")
    wait_for(lambda: names(kitchen) == names(study) == {"kitchen", "study"}, "both stay", house.devices)
    for number, device in enumerate((kitchen, study)):
        device.put("home", "notes", f"goes on {number}", {"by": device.name})
    assert set(house.agree("home", [kitchen, study])["notes"]) == {"before", "goes on 0", "goes on 1"}
    assert {device.stop() for device in (kitchen, study)} == {0}
    kitchen.start()
    study.start()
    assert names(kitchen) == names(study) == {"kitchen", "study"}
    assert lost.get("home", "notes", "goes on 0") is None
