"""Databases that are damaged or gone: said as it is, the other spaces go on, and the peers bring all of it back."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from peerd.control.client import Problem
from tests.support.daemons import Device, House, pair

PAGE_BYTES = 4096


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """Two members of two spaces, one of them with enough records to fill many pages."""
    with House(tmp_path) as house:
        kitchen, study = (house.device(name, mdns=False) for name in ("kitchen", "study"))
        kitchen.peers, study.peers = [study.address], [kitchen.address]
        kitchen.start()
        study.start()
        for space in ("home", "diary"):
            kitchen.create(space)
            pair(kitchen, study, space)
        for number in range(40):
            changes = [
                {"kind": "put", "collection": "notes", "key": f"{number:02}-{n:02}", "value": {"text": "x" * 900}}
                for n in range(10)
            ]
            kitchen.call("POST", "spaces", "home", "transactions", body={"changes": changes})
        house.agree("home")
        yield house


def database(device: Device, space: str) -> Path:
    """Of a space, also of one that cannot be opened."""
    for name in (device.state_dir / "spaces").glob("*.name"):
        if name.read_text().strip() == space:
            return name.with_suffix(".db")
    raise AssertionError(space)


def spoil(path: Path, first: int, last: int | None = None) -> None:
    """Overwrite pages, as a disk does that loses them: the file stays the same file."""
    with path.open("r+b") as file:
        pages = path.stat().st_size // PAGE_BYTES
        for page in range(first, pages if last is None else last):
            file.seek(page * PAGE_BYTES)
            file.write(b"\xa5" * PAGE_BYTES)


def rebuilt(house: House) -> None:
    """One command; then all is as it was, nobody was invited, and the device writes again."""
    kitchen, study = house.devices
    before = study.export("home")
    kitchen.ctl("space", "rebuild", "home", "--yes")
    assert house.agree("home") == before
    kitchen.put("home", "notes", "new", {"by": "kitchen"})
    house.agree("home")
    assert len(study.call("GET", "spaces", "home", "members")["members"]) == 2
    kitchen.wait(lambda: kitchen.space("home")["state"] == "in sync", "its links are there again, and it is well")
    assert kitchen.space("home")["reason"] == ""


def goes_on(house: House, space: str = "diary") -> None:
    """The space that nothing happened to is written, sent and received."""
    kitchen, study = house.devices
    number = str(len(study.export(space).get("days", {})))
    kitchen.put(space, "days", f"k{number}", {"by": "kitchen"})
    study.put(space, "days", f"s{number}", {"by": "study"})
    house.agree(space)


def said(device: Device) -> dict[str, str]:
    """What status says of the damaged space."""
    view = next(one for one in device.call("GET", "status")["spaces"] if one["name"] == "home")
    assert "peerctl space rebuild home" in view["next_step"]
    return {"state": view["state"], "reason": view["reason"]}


@pytest.mark.parametrize("what", ["header", "all of it", "nothing left of it", "gone"])
def test_damaged_while_nobody_looked(house: House, what: str) -> None:
    """At the start. The roster is read from beside the database."""
    kitchen = house.devices[0]
    kitchen.stop()
    path = database(kitchen, "home")
    if what == "gone":
        path.unlink()
    elif what == "nothing left of it":
        path.write_bytes(b"")
    else:
        spoil(path, 0, 1 if what == "header" else None)
    kitchen.start()
    assert said(kitchen)["state"] == "failed"
    assert kitchen.run("status").returncode == 4
    with pytest.raises(Problem) as refused:
        kitchen.put("home", "notes", "x", {})
    assert refused.value.code == ("store-missing" if what == "gone" else "store-damaged")
    goes_on(house)
    rebuilt(house)
    aside = list(path.parent.glob("*.aside-1"))
    assert len(aside) == (what != "gone")


def test_damaged_under_a_running_daemon(house: House) -> None:
    """The first that meets a bad page is refused; from then on nothing is written or exchanged, and it is said."""
    kitchen, study = house.devices
    kitchen.stop()  # and start: nothing of it is in a cache
    kitchen.start()
    goes_on(house)
    spoil(database(kitchen, "home"), 30)
    with pytest.raises(Problem) as refused:
        kitchen.export("home")
    assert refused.value.code == "store-damaged"
    assert said(kitchen)["state"] == "failed"
    with pytest.raises(Problem) as refused:
        kitchen.put("home", "notes", "x", {})
    assert (refused.value.status, refused.value.code) == (500, "store-damaged")
    study.put("home", "notes", "meanwhile", {"by": "study"})
    goes_on(house)
    rebuilt(house)


def test_doctor_looks_deep(house: House) -> None:
    """A bad page that nobody has met yet is found by reading all of them."""
    kitchen = house.devices[0]
    whole = kitchen.run("doctor", "--deep").stdout
    assert "every page is as it was written" in whole
    kitchen.stop()
    spoil(database(kitchen, "home"), 40, 45)
    kitchen.start()
    found = kitchen.run("doctor", "--deep")
    (line,) = (line for line in found.stdout.splitlines() if "\tdatabase home\t" in line)
    assert (found.returncode, line.split("\t")[0]) == (4, "problem")
    assert "peerctl space rebuild home" in line
    assert said(kitchen)["state"] == "failed"


def test_the_only_copy_is_not_given_up(house: House) -> None:
    """Nobody could fill a new one."""
    kitchen = house.devices[0]
    kitchen.create("alone")
    kitchen.put("alone", "notes", "x", {"n": 1})
    kitchen.stop()
    path = database(kitchen, "alone")
    spoil(path, 0, 1)
    content = path.read_bytes()
    kitchen.start()
    done = kitchen.run("space", "rebuild", "alone", "--yes")
    assert (done.returncode, "[only-copy]" in done.stderr) == (6, True)
    assert path.read_bytes() == content


def test_without_any_roster_it_is_invited_again(house: House) -> None:
    """The sentence says so, and it stays the member it was."""
    kitchen, study = house.devices
    kitchen.stop()
    path = database(kitchen, "home")
    spoil(path, 0)
    path.with_suffix(".roster").unlink()
    kitchen.start()
    done = kitchen.run("space", "rebuild", "home", "--yes")
    assert (done.returncode, "[not-rebuilt]" in done.stderr) == (6, True)
    pair(study, kitchen, "home")
    house.agree("home")
    assert len(study.call("GET", "spaces", "home", "members")["members"]) == 2


def test_a_roster_that_is_only_in_the_damaged_file_is_salvaged(house: House) -> None:
    """As of a database that an earlier version left: its first pages are whole, and nothing stands beside it."""
    kitchen = house.devices[0]
    kitchen.stop()
    path = database(kitchen, "home")
    pages = path.stat().st_size // PAGE_BYTES
    spoil(path, pages // 2)
    path.with_suffix(".roster").unlink()
    shutil.rmtree(kitchen.state_dir / "marks")
    kitchen.start()
    rebuilt(house)


def test_a_damaged_space_is_not_in_the_backup_and_the_others_are(house: House, tmp_path: Path) -> None:
    """It is told, with an exit code that a timer can see."""
    kitchen = house.devices[0]
    kitchen.stop()
    kitchen.start()
    spoil(database(kitchen, "home"), 40, 45)
    done = kitchen.run("backup", str(tmp_path / "backup"))
    assert done.returncode == 4
    assert "home is not in it" in done.stderr
    assert "`peerctl space rebuild home`" in done.stderr
    assert len(list((tmp_path / "backup" / "spaces").glob("*.db"))) == 1
