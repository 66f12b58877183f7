"""Daemons as processes on one machine: they find each other, pair, and keep the same records.

The devices of this file are shared by its tests; each test has spaces of its own.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.daemons import Device, House, invited, pair, wait_for

pytestmark = pytest.mark.usefixtures("house")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with House(tmp_path_factory.mktemp("house")) as house:
        house.start("kitchen", "study", "attic")
        yield house


@pytest.fixture
def kitchen(house: House) -> Device:
    return house.devices[0]


@pytest.fixture
def study(house: House) -> Device:
    return house.devices[1]


@pytest.fixture
def attic(house: House) -> Device:
    return house.devices[2]


def test_paired_by_code_found_by_mdns(kitchen: Device, study: Device, house: House) -> None:
    """The code is all that a person carries; a record goes each way, and a transaction of many arrives whole."""
    kitchen.create("home")
    with invited(kitchen, "home") as invitation:
        joined = study.ctl("join", invitation.code, "--yes")
        assert invitation.until("admitted")["device"] == study.id
    assert joined["space"] == "home"
    assert joined["device_name"] == "kitchen"
    kitchen.put("home", "notes", "a", {"text": "from the kitchen", "n": 2**63 - 1})
    study.put("home", "notes", "b", {"text": "from the study", "deep": [{"x": None}, 1.5, True, "é"]})
    study.wait(lambda: study.get("home", "notes", "a"), "the kitchen's note is here")
    kitchen.wait(lambda: kitchen.get("home", "notes", "b"), "the study's note is here")
    changes = [
        {"kind": "put", "collection": "many", "key": f"{number:05}", "value": {"n": number}} for number in range(2_000)
    ]
    kitchen.call("POST", "spaces", "home", "transactions", body={"changes": changes})
    export = house.agree("home", [kitchen, study])
    assert len(export["many"]) == 2_000
    assert export["notes"]["b"]["deep"] == [{"x": None}, 1.5, True, "é"]
    assert export["notes"]["a"]["n"] == 2**63 - 1


def test_a_conflict_is_the_same_on_both_and_its_resolution_travels(
    kitchen: Device, study: Device, house: House
) -> None:
    """Two edits of a field that had not seen each other: both listed, under one id; settled on one, settled on both."""
    kitchen.create("meet")
    pair(kitchen, study, "meet")
    kitchen.put("meet", "notes", "a", {"text": "first", "other": 1})
    house.agree("meet", [kitchen, study])
    study.call("POST", "pause")
    kitchen.patch("meet", "notes", "a", text="kitchen")
    study.patch("meet", "notes", "a", text="study")
    study.call("POST", "resume")
    house.agree("meet", [kitchen, study])
    (conflict,) = kitchen.conflicts("meet")
    assert [one["id"] for one in study.conflicts("meet")] == [conflict["id"]]
    assert sorted(value["value"] for value in conflict["values"]) == ["kitchen", "study"]
    assert {value["device_name"] for value in conflict["values"]} == {"kitchen", "study"}
    assert study.run("conflicts", "meet").returncode == 5
    study.ctl("resolve", "meet", conflict["id"], "--value", '"both"')
    export = house.agree("meet", [kitchen, study])
    assert export["notes"]["a"] == {"text": "both", "other": 1}
    assert kitchen.conflicts("meet") == study.conflicts("meet") == []


@pytest.mark.parametrize("admit", [False, True])
def test_a_person_confirms_the_device_that_asks(kitchen: Device, attic: Device, *, admit: bool) -> None:
    """Without --yes the inviter is shown who knows the code; refused, it is no member; confirmed, it is one."""
    space = f"asked-{admit}"
    kitchen.create(space)
    done: list[int] = []

    def join() -> None:
        done.append(attic.run("join", invitation.code, "--yes", "--host", kitchen.address).returncode)

    with invited(kitchen, space, yes=False) as invitation:
        joining = threading.Thread(target=join)
        joining.start()
        asking = invitation.until("asking")
        assert (asking["device"], asking["name"]) == (attic.id, "attic")
        invitation.confirm(admit=admit)
        joining.join()
    assert done == [0 if admit else 6]
    assert (space in attic.spaces()) is admit
    members = kitchen.call("GET", "spaces", space, "members")["members"]
    assert ("attic" in {one["name"] for one in members}) is admit


def test_spaces_with_different_members_do_not_mix(kitchen: Device, study: Device, attic: Device, house: House) -> None:
    """Three spaces over the same links: everybody has those it belongs to, and nothing of the others."""
    members = {"all": [kitchen, study, attic], "ks": [kitchen, study], "sa": [study, attic]}
    for space, (founder, *others) in members.items():
        founder.create(space)
        for other in others:
            pair(founder, other, space)
    for space, who in members.items():
        for device in who:
            device.put(space, "notes", device.name, {"space": space, "by": device.name})
    for space, who in members.items():
        export = house.agree(space, who)
        assert export == {"notes": {one.name: {"space": space, "by": one.name} for one in who}}
    assert "ks" not in attic.spaces()
    assert "sa" not in kitchen.spaces()
    for device, space in ((attic, "ks"), (kitchen, "sa")):
        assert device.run("get", space, "notes", "study", "--json").returncode == 1
        space_id = bytes.fromhex(study.space(space)["id"])
        assert not [path for path in _files(device.state_dir) if space_id in path.read_bytes()]
    assert [path for path in _files(study.state_dir) if bytes.fromhex(study.space("ks")["id"]) in path.read_bytes()]


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_admitted_by_id(kitchen: Device, attic: Device, house: House) -> None:
    """For fleets: `admit` on one side, `join --from` on the other; no code, and nobody else gets in by it."""
    kitchen.create("fleet")
    refused = attic.run("join", "--from", kitchen.id, "--host", kitchen.address, "--yes", "--json")
    assert refused.returncode == 6, refused.stderr
    kitchen.ctl("admit", "fleet", attic.id)
    joined = attic.ctl("join", "--from", kitchen.id, "--yes")
    assert joined["space"] == "fleet"
    kitchen.put("fleet", "notes", "a", {"x": 1})
    assert house.agree("fleet", [kitchen, attic]) == {"notes": {"a": {"x": 1}}}


@pytest.mark.parametrize("by_address", [True, False])
def test_a_failed_join_leaves_the_link_alone(kitchen: Device, study: Device, house: House, *, by_address: bool) -> None:
    """Two devices that are linked, and one of them mistypes a code for another space: their link lives on."""
    space, further = f"linked-{by_address}", f"further-{by_address}"
    kitchen.create(space)
    pair(kitchen, study, space)
    house.agree(space, [kitchen, study])
    study.wait(lambda: "kitchen" in study.linked(), "it is linked")
    kitchen.create(further)
    before = [_links(device) for device in (kitchen, study)]
    with invited(kitchen, further) as invitation:
        where = ["--host", kitchen.address] if by_address else []
        assert study.run("join", _wrong(invitation.code), "--yes", *where).returncode == 6
    kitchen.put(space, "notes", "after", {"x": 1})
    house.agree(space, [kitchen, study])
    assert [_links(device) for device in (kitchen, study)] == before


def _links(device: Device) -> list[str]:
    return [line["event"] for line in device.logged() if line.get("event") in {"link opened", "link closed"}]


def _wrong(code: str) -> str:
    """Another code of eight digits."""
    return "".join("1" if digit == "2" else "2" for digit in code)


def test_one_link_between_two_devices(kitchen: Device, study: Device, attic: Device) -> None:
    """Both dial, whenever one is lost; what stays is one link, the same for both."""
    kitchen.create("dials")
    pair(kitchen, study, "dials")
    pair(kitchen, attic, "dials")
    devices = [kitchen, study, attic]
    for _ in range(5):
        for device in devices:
            device.call("POST", "pause")
        for device in devices:
            device.call("POST", "resume")
        wait_for(lambda: all(len(one.linked()) == 2 for one in devices), "all are linked with both others", devices)
    wait_for(lambda: all(_connections(one.pid) == 2 for one in devices), "one connection per other device", devices)


def _connections(pid: int) -> int:
    """Established TCP connections of a process."""
    inodes = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(link.readlink())
        except FileNotFoundError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[3] == "01" and row[9] in inodes for row in rows)


def test_a_restart_keeps_everything(kitchen: Device, study: Device, house: House) -> None:
    """Stopped and started, both: the same data, the same log, the same members, and the link comes back."""
    kitchen.create("kept")
    pair(kitchen, study, "kept")
    kitchen.put("kept", "notes", "a", {"x": 1})
    study.put("kept", "notes", "b", {"x": 2})
    before = house.agree("kept", [kitchen, study])
    logs = [[one["dot"] for one in device.transactions("kept")] for device in (kitchen, study)]
    assert [kitchen.stop(), study.stop()] == [0, 0]
    kitchen.start()
    study.start()
    assert house.agree("kept", [kitchen, study]) == before
    assert [[one["dot"] for one in device.transactions("kept")] for device in (kitchen, study)] == logs
    study.put("kept", "notes", "c", {"x": 3})
    assert house.agree("kept", [kitchen, study])["notes"]["c"] == {"x": 3}


def test_a_crash_forgets_no_address(tmp_path: Path) -> None:
    """Discovery off and no static peer: what the join was told is all there is, and both are killed soon after."""
    with House(tmp_path) as house:
        west, east = house.start("west", "east", mdns=False)
        west.create("home")
        pair(west, east, "home")
        east.put("home", "notes", "a", {"n": 1})
        house.agree("home", [west, east])
        east.wait(lambda: saved_peers(east), "the address is kept")
        east.kill()
        west.kill()
        west.start()
        east.start()
        west.put("home", "notes", "b", {"n": 2})
        assert set(house.agree("home", [west, east])["notes"]) == {"a", "b"}


def saved_peers(device: Device) -> int:
    (path,) = (device.folder / "state" / "spaces").glob("*.db")
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        (count,) = connection.execute("SELECT count(*) FROM peer").fetchone()
    return int(count)


def test_without_discovery_through_static_peers(tmp_path: Path) -> None:
    """Discovery off and a chain of static addresses: the third device gets everything through the second only."""
    with House(tmp_path) as house:
        west, middle, east = house.start("west", "middle", "east", mdns=False)
        west.create("home")
        pair(west, middle, "home")
        for device in (west, east):
            assert device.peers == []
        # east is let in by middle, and west, which is stopped, meets it never.
        west.put("home", "notes", "w", {"by": "west"})
        house.agree("home", [west, middle])
        assert west.stop() == 0
        pair(middle, east, "home")
        assert house.agree("home", [middle, east]) == {"notes": {"w": {"by": "west"}}}
        east.put("home", "notes", "e", {"by": "east"})
        house.agree("home", [middle, east])
        assert east.stop() == 0
        west.peers = [middle.address]
        west.start()
        assert house.agree("home", [west, middle]) == {"notes": {"w": {"by": "west"}, "e": {"by": "east"}}}
        # And now all at once, east and west still knowing only middle's address by configuration.
        east.peers = [middle.address]
        east.start()
        west.put("home", "notes", "w2", {"by": "west"})
        east.put("home", "notes", "e2", {"by": "east"})
        assert set(house.agree("home")["notes"]) == {"w", "e", "w2", "e2"}
