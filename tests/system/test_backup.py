"""`backup` and `restore` with real daemons: under load, onto the same disk and a new one, with keys and without."""

from __future__ import annotations

import json
import shutil
import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemons import Device, House, pair


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with House(tmp_path) as house:
        kitchen, study = (house.device(name, mdns=False) for name in ("kitchen", "study"))
        kitchen.peers, study.peers = [study.address], [kitchen.address]
        kitchen.start()
        study.start()
        kitchen.create("home")
        pair(kitchen, study, "home")
        kitchen.put("home", "notes", "first", {"by": "kitchen"})
        house.agree("home")
        yield house


@contextmanager
def load_on(device: Device, acknowledged: list[str]) -> Iterator[None]:
    """Somebody who writes as fast as they are answered, for as long as the block lasts."""
    over = threading.Event()

    def write() -> None:
        while not over.is_set():
            key = f"n{len(acknowledged):05}"
            device.put("home", "load", key, {"n": len(acknowledged)})
            acknowledged.append(key)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def own_origins(device: Device) -> set[str]:
    return {one["dot"].split(":")[0] for one in device.transactions("home") if one["device"] == device.id}


def restore(device: Device, backup: Path, *more: str) -> dict[str, Any]:
    done = device.run("restore", str(backup), "--config", str(device.config), "--yes", "--json", *more)
    assert done.returncode == 0, done.stderr
    restored: dict[str, Any] = json.loads(done.stdout)["restored"]
    return restored


def refused(device: Device, backup: Path, *more: str) -> str:
    """The code with which a restore is refused."""
    done = device.run("restore", str(backup), "--config", str(device.config), "--yes", "--json", *more)
    assert done.returncode != 0
    return str(json.loads(done.stdout.splitlines()[-1])["error"]["code"])


def test_made_under_load_and_restored_the_peers_bring_the_rest(house: House, tmp_path: Path) -> None:
    """The backup has all that was acknowledged before it; after the restore nothing acknowledged is lost, the device
    writes under a new origin, and nobody sees a fork.
    """
    kitchen, study = house.devices
    acknowledged: list[str] = []
    backup = tmp_path / "backup"
    with load_on(kitchen, acknowledged):
        kitchen.wait(lambda: len(acknowledged) > 20, "it is written to")
        before = list(acknowledged)
        made = kitchen.ctl("backup", str(backup))["made"]
        kitchen.wait(lambda: len(acknowledged) > len(before) + 20, "it is written to all the while")
    assert [one["name"] for one in made["backup"]["spaces"]] == ["home"]
    with closing(sqlite3.connect(next((backup / "spaces").glob("*.db")))) as copied:
        assert copied.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        held = {key for (key,) in copied.execute("SELECT key FROM record")}
    assert held.issuperset(before)
    assert held.issubset({"first", *acknowledged})
    everything = house.agree("home")
    origins = own_origins(kitchen)
    kitchen.stop()
    restored = restore(kitchen, backup)
    assert restored["set_aside"]
    kitchen.start()
    kitchen.put("home", "notes", "after", {"by": "kitchen"})
    now = house.agree("home")
    assert now["load"] == everything["load"]
    assert set(acknowledged) == set(now["load"])
    assert len(own_origins(kitchen) - origins) == 1
    kitchen.wait(lambda: kitchen.peer("home", study)["state"] == "in sync", "it sees no fork")
    study.wait(lambda: study.peer("home", kitchen)["state"] == "in sync", "nor does the other")


def test_onto_a_new_disk_with_the_keys(house: House, tmp_path: Path) -> None:
    """Configuration and backup are all that is needed. The backup is for its owner alone."""
    kitchen, study = house.devices
    kitchen_id = kitchen.id
    backup = tmp_path / "backup"
    made = kitchen.ctl("backup", str(backup), "--with-keys")["made"]
    assert made["keys"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in backup.rglob("*")} == {0o600, 0o700}
    assert not (backup / "marks").exists()
    assert (backup / "config" / "peerd.toml").read_text() == kitchen.config.read_text()
    study.put("home", "notes", "later", {"by": "study"})
    house.agree("home")
    kitchen.stop()
    shutil.rmtree(kitchen.state_dir)
    restore(kitchen, backup)
    kitchen.start()
    assert kitchen.id == kitchen_id
    kitchen.put("home", "notes", "after", {"by": "kitchen"})
    assert set(house.agree("home")["notes"]) == {"first", "later", "after"}


def test_without_the_keys_it_says_what_that_means(house: House, tmp_path: Path) -> None:
    """Another device may read what the backup holds, and becomes a member by an invitation."""
    kitchen, study = house.devices
    backup = tmp_path / "backup"
    assert not kitchen.ctl("backup", str(backup))["made"]["keys"]
    assert not (backup / "identity").exists()
    kitchen.stop()
    kitchen.state_dir.rename(tmp_path / "lost")
    assert refused(kitchen, backup) == "keys-missing"
    restore(kitchen, backup, "--other-device")
    kitchen.start()
    assert kitchen.get("home", "notes", "first") == {"by": "kitchen"}
    view = kitchen.space("home")
    assert (view["state"], "no member" in view["reason"]) == ("removed", True)
    assert kitchen.run("put", "home", "notes", "x", "{}").returncode == 6
    pair(study, kitchen, "home")
    kitchen.put("home", "notes", "after", {"by": "kitchen"})
    kitchen.wait(lambda: study.get("home", "notes", "after") == {"by": "kitchen"}, "it is a member again")


def test_a_machine_with_keys_of_another_device(house: House, tmp_path: Path) -> None:
    """It becomes the device of the backup if that has its keys; everything it was is set aside whole."""
    kitchen, study = house.devices
    plain, whole = tmp_path / "plain", tmp_path / "whole"
    kitchen.ctl("backup", str(plain))
    kitchen.ctl("backup", str(whole), "--with-keys")
    kitchen_id = kitchen.id
    other = house.device("other", mdns=False, peers=[study.address]).start()
    other.create("diary")
    other.stop()
    assert refused(other, plain) == "other-device"
    kitchen.stop()
    aside = Path(restore(other, whole)["set_aside"])
    assert {path.name for path in aside.iterdir()} == {"identity", "spaces", "marks"}
    other.start()
    assert (other.id, other.spaces()) == (kitchen_id, {"home"})
    other.put("home", "notes", "after", {"by": "other"})
    house.agree("home", [other, study])


def test_who_has_the_keys_of_the_backup_is_no_other_device(house: House, tmp_path: Path) -> None:
    """Two machines with one key would come of it, where somebody asks for the opposite."""
    kitchen, backup = house.devices[0], tmp_path / "backup"
    kitchen.ctl("backup", str(backup), "--with-keys")
    kitchen.stop()
    before = {path: path.read_bytes() for path in kitchen.state_dir.rglob("*") if path.is_file()}
    assert refused(kitchen, backup, "--other-device") == "same-device"
    lock = kitchen.state_dir / "lock"
    after = {path: path.read_bytes() for path in kitchen.state_dir.rglob("*") if path.is_file()}
    assert {**after, lock: b""} == {**before, lock: b""}


def test_spaces_that_the_backup_lacks_stay(house: House, tmp_path: Path) -> None:
    """Of the same device."""
    kitchen = house.devices[0]
    backup = tmp_path / "backup"
    kitchen.ctl("backup", str(backup))
    kitchen.create("diary")
    kitchen.put("diary", "days", "1", {"said": "a day"})
    kitchen.stop()
    restore(kitchen, backup)
    kitchen.start()
    assert kitchen.spaces() == {"home", "diary"}
    assert kitchen.get("diary", "days", "1") == {"said": "a day"}


def test_a_damaged_backup_changes_nothing(house: House, tmp_path: Path) -> None:
    """One byte, a missing file, a cut-off folder, a running daemon: each is refused, and then all is as before."""
    kitchen = house.devices[0]
    backup = tmp_path / "backup"
    kitchen.ctl("backup", str(backup), "--with-keys")
    assert refused(kitchen, backup) == "daemon-running"
    kitchen.stop()
    before = {path: path.read_bytes() for path in kitchen.state_dir.rglob("*") if path.is_file()}
    database = next((backup / "spaces").glob("*.db"))
    content = bytearray(database.read_bytes())
    content[len(content) // 2] ^= 1
    database.write_bytes(content)
    assert refused(kitchen, backup) == "backup-damaged"
    database.unlink()
    assert refused(kitchen, backup) == "backup-damaged"
    (backup / "backup.json").write_text('{"format": 99}')
    assert refused(kitchen, backup) == "backup-newer"
    (backup / "backup.json").unlink()
    assert refused(kitchen, backup) == "backup-not-found"
    after = {path: path.read_bytes() for path in kitchen.state_dir.rglob("*") if path.is_file()}
    lock = kitchen.state_dir / "lock"
    assert {**after, lock: b""} == {**before, lock: b""}


def test_a_backup_is_made_once_and_where_the_daemon_may_write(house: House, tmp_path: Path) -> None:
    """Refused with a sentence, before anything is made."""
    kitchen = house.devices[0]
    backup = tmp_path / "backup"
    kitchen.ctl("backup", str(backup))
    again = kitchen.run("backup", str(backup))
    assert (again.returncode, "[backup-exists]" in again.stderr) == (6, True)
    nowhere = kitchen.run("backup", str(tmp_path / "no" / "such" / "place"))
    assert (nowhere.returncode, "[backup-refused]" in nowhere.stderr) == (6, True)
    assert "next:" in nowhere.stderr
