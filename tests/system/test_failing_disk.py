"""A disk that fails under a running daemon: what is wrong is said, reading goes on, and so does all the rest once the
disk works again. What is full is in test_stop.py; each single write and sync in tests/store/test_failing_disk.py.
"""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from peerd.control.client import Client, Problem, path
from tests.support.daemons import Device, House, pair, wait_for

SOON = """
import peerd.engine.links.inbound as i, peerd.engine.upkeep.reopening as r
r.LOOK_S = i.FULL_DISK_S = 0.5
"""
LOST = """
import os, sqlite3, peerd.store.database as d
done = d.committed
def committed(connection, *rest):
    if os.path.exists({flag!r}):
        problem = sqlite3.OperationalError("disk I/O error")
        problem.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
        raise problem
    return done(connection, *rest)
d.committed = committed
"""
LIMIT_BYTES = 300_000


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with House(tmp_path) as house:
        kitchen, study = (house.device(name, mdns=False, meddle=SOON) for name in ("kitchen", "study"))
        kitchen.peers, study.peers = [study.address], [kitchen.address]
        yield house


def begun(house: House) -> tuple[Device, Device]:
    kitchen, study = house.devices
    kitchen.start()
    study.start()
    kitchen.create("home")
    pair(kitchen, study, "home")
    kitchen.put("home", "notes", "first", {"x": 1})
    house.agree("home")
    return kitchen, study


def attached(image: Path) -> bool:
    """Does a loop device still hold it? One that does is mounted again as it was."""
    done = subprocess.run(["losetup", "--associated", str(image)], capture_output=True, text=True, check=True)
    return bool(done.stdout.strip())


def write_until_refused(client: Client) -> tuple[list[str], Problem]:
    written: list[str] = []
    for number in range(1_000):
        key = f"{number:04}"
        try:
            client.call("PUT", path("spaces", "home", "records", "notes", key), body={"text": os.urandom(4000).hex()})
        except Problem as problem:
            return written, problem
        written.append(key)
    raise AssertionError("nothing was refused")


def stopped(device: Device) -> bool:
    view = device.space("home")
    return view["state"] == "stopped" and bool(view["reason"]) and bool(view["next_step"])


def test_writes_that_fail(house: House) -> None:
    """Beyond a size of files that is allowed, as on a disk with bad blocks there: refused with 503, told here and
    there, and over when it is allowed again, without anybody's help.
    """
    kitchen, study = begun(house)
    resource.prlimit(kitchen.pid, resource.RLIMIT_FSIZE, (LIMIT_BYTES, resource.RLIM_INFINITY))
    with kitchen.client() as client:
        written, problem = write_until_refused(client)
    assert (problem.status, problem.code) == (503, "store-failed")
    assert stopped(kitchen)
    assert kitchen.get("home", "notes", "first") == {"x": 1}
    clock = kitchen.space("home")["clock"]
    study.put("home", "notes", "from the study", {"text": os.urandom(50_000).hex()})
    study.wait(lambda: "takes no writes" in study.peer("home", kitchen)["reason"], "it hears why nothing is taken in")
    assert kitchen.space("home")["clock"] == clock
    resource.prlimit(kitchen.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    kitchen.wait(lambda: not kitchen.space("home")["reason"], "it goes on by itself")
    assert set(house.agree("home")["notes"]) == {"first", "from the study", *written}


def test_syncs_that_fail(house: House, tmp_path: Path) -> None:
    """The kernel lost what it was given: that database is taken up again from what is on the disk, and all the rest
    notices nothing; also when the daemon is stopped meanwhile.
    """
    kitchen, study = house.devices
    flag = tmp_path / "lost"
    kitchen.meddle += LOST.format(flag=str(flag))
    begun(house)
    kitchen.create("other")
    for number in range(2):
        flag.touch()
        with pytest.raises(Problem) as refused:
            kitchen.put("home", "notes", "refused", {"n": number})
        assert (refused.value.status, refused.value.code) == (503, "store-failed")
        assert stopped(kitchen)
        assert kitchen.get("home", "notes", "first") == {"x": 1}
        kitchen.wait(lambda: kitchen.space("home")["retry"], "it says how often it has tried")
        flag.unlink()
        if number:
            kitchen.stop()
            kitchen.start()
        kitchen.wait(lambda: not kitchen.space("home")["reason"], "it goes on by itself")
        kitchen.put("other", "notes", f"{number}", {"n": number})
        kitchen.put("home", "notes", f"{number}", {"n": number})
        study.put("home", "notes", f"study {number}", {"n": number})
    assert set(house.agree("home")["notes"]) == {"first", "0", "1", "study 0", "study 1"}


def test_no_file_descriptors_left(house: House) -> None:
    """Whoever is connected is served, and so is whoever asks what is wrong, again and again; others are when there are
    descriptors again.
    """
    kitchen, study = begun(house)
    with kitchen.client() as client:
        client.call("GET", path("status"))
        open_now = len(list(Path(f"/proc/{kitchen.pid}/fd").iterdir()))
        hard = resource.prlimit(kitchen.pid, resource.RLIMIT_NOFILE)[1]
        resource.prlimit(kitchen.pid, resource.RLIMIT_NOFILE, (open_now, hard))
        for number in range(20):
            client.call("PUT", path("spaces", "home", "records", "notes", f"{number}"), body={"n": number})
        for _ in range(10):
            with kitchen.client() as other:
                status = other.call("GET", path("status")).body
            assert "no file descriptors are left" in status["device"]["reason"]
            assert status["machine"]["open_files"] in {None, open_now}
        assert kitchen.get("home", "notes", "19") == {"n": 19}
        kitchen.put("home", "notes", "while none are left", {"n": 20})
        study.put("home", "notes", "from the study", {"x": 1})
        study.wait(lambda: study.get("home", "notes", "19") == {"n": 19}, "links go on")
        resource.prlimit(kitchen.pid, resource.RLIMIT_NOFILE, (hard, hard))
    kitchen.wait(lambda: kitchen.get("home", "notes", "from the study") == {"x": 1}, "others are served again")
    house.agree("home")


@pytest.fixture
def ext4(tmp_path: Path) -> Iterator[Path]:
    """A file system that the kernel may give up, as it does with a disk that fails."""
    image, place = tmp_path / "image", tmp_path / "ext4"
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(64 << 20)
    for command in (["mkfs.ext4", "-q", str(image)], ["mount", "-o", "loop", str(image), str(place)]):
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            pytest.skip(f"needs {command[0]}")
        if done.returncode:
            pytest.skip(f"a file system cannot be made here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_file_system_that_was_given_up(house: House, ext4: Path, tmp_path: Path) -> None:
    """The kernel makes it read-only under the running daemon. After a repair and a new start all that was acknowledged
    is there, and the others bring the rest.
    """
    kitchen, study = house.devices
    kitchen.state_dir = ext4 / "state"
    begun(house)
    kitchen.put("home", "notes", "last", {"x": 2})
    house.agree("home")
    done = subprocess.run(["mount", "-o", "remount,abort", str(ext4)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this kernel cannot give up a file system for a test: {done.stderr.strip()}")
    with pytest.raises(Problem) as refused:
        kitchen.put("home", "notes", "x", {})
    assert refused.value.code in {"store-failed", "disk-full"}
    assert refused.value.document["next_step"]
    assert stopped(kitchen)
    assert kitchen.get("home", "notes", "last") == {"x": 2}
    study.put("home", "notes", "meanwhile", {"x": 3})
    kitchen.kill()
    subprocess.run(["umount", str(ext4)], check=True)
    wait_for(lambda: not attached(tmp_path / "image"), "the kernel has let go of the image")
    subprocess.run(["fsck.ext4", "-fy", str(tmp_path / "image")], check=False, capture_output=True)
    subprocess.run(["mount", "-o", "loop,rw", str(tmp_path / "image"), str(ext4)], check=True)
    kitchen.start()
    assert set(house.agree("home")["notes"]) == {"first", "last", "meanwhile"}
