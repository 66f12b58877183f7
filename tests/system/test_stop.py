"""Stopping, reloading, and starting where something is in the way: a daemon says what is wrong and loses nothing."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from peerd.control.client import Client, Problem, path
from peerd.errors import PeerdError
from tests.support.daemons import PATIENCE_S, Device, House, pair, wait_for

STOP_S = 5.0


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with House(tmp_path) as house:
        yield house


@pytest.fixture
def linked(house: House) -> list[Device]:
    """Two members of `home` that find each other by address."""
    devices = [house.device(name, mdns=False) for name in ("kitchen", "study")]
    for device, other in zip(devices, reversed(devices), strict=True):
        device.peers = [other.address]
        device.start()
    devices[0].create("home")
    pair(devices[0], devices[1], "home")
    house.agree("home")
    return devices


def ended(device: Device) -> tuple[int, str]:
    """The exit code of a daemon that cannot start, and what it said."""
    process = device.launch()
    code = process.wait(PATIENCE_S)
    return code, device.log.read_text()


# ---- stopping


def test_a_log_that_cannot_be_written_holds_nothing_up(house: House) -> None:
    """Its file is on a disk that is full, the terminal was closed: requests are answered, and a stop ends it."""
    kitchen = house.device("kitchen", mdns=False)
    kitchen.log = Path("/dev/full")
    kitchen.start()
    kitchen.create("home")
    with Client(str(kitchen.socket)) as client:
        for number in range(3):
            at = path("spaces", "home", "records", "notes", str(number))
            assert client.call("PUT", at, body={"x": 1}).status == 201
        client.call("POST", path("reload"))  # each of these has a line for the log, too
        client.call("POST", path("spaces"), body={"name": "work"})
    assert kitchen.process is not None
    kitchen.process.send_signal(signal.SIGTERM)
    assert kitchen.process.wait(STOP_S) in {0, 120}  # 120: Python could not flush stderr at the very end


def test_stopped_under_load(house: House, linked: list[Device]) -> None:
    """SIGTERM: goodbye to the peer, exit 0 within 5 s, and whatever was acknowledged is there afterwards."""
    kitchen, study = linked
    wait_for(lambda: all(one.linked() for one in linked), "they are linked", linked)
    acknowledged: set[str] = set()
    refused: set[str] = set()

    def write(name: str) -> None:
        number = 0
        with Client(str(kitchen.socket)) as client:
            while True:
                number += 1
                key = f"{name}-{number}"
                try:
                    client.call("PUT", path("spaces", "home", "records", "notes", key), body={"text": "x" * 200})
                except Problem as problem:
                    refused.add(problem.code)
                    return
                except PeerdError:
                    return
                acknowledged.add(key)

    writers = [threading.Thread(target=write, args=(f"w{one}",)) for one in range(4)]
    for writer in writers:
        writer.start()
    wait_for(lambda: len(acknowledged) > 200, "the load is on", linked)
    started_s = time.monotonic()
    assert kitchen.stop() == 0
    took_s = time.monotonic() - started_s
    print(f"stopped within {took_s:.2f} s after {len(acknowledged)} writes")  # noqa: T201 - a measurement
    for writer in writers:
        writer.join()
    assert took_s < STOP_S
    assert refused <= {"stopping"}
    # In its log, because its status soon says what a new dial met. A link that is opened at that very moment is closed
    # with a code instead.
    told = ("said goodbye", "closed by them")
    study.wait(lambda: any(words in study.said() for words in told), "it was told so")
    assert not kitchen.socket.exists()
    kitchen.start()
    assert set(house.agree("home")["notes"]) >= acknowledged


def test_stopped_by_the_keyboard(house: House) -> None:
    """SIGINT in the foreground is a stop like any other; a second one changes nothing."""
    (kitchen,) = house.start("kitchen")
    kitchen.signal(signal.SIGINT)
    kitchen.signal(signal.SIGINT)
    assert kitchen.process is not None
    assert kitchen.process.wait(PATIENCE_S) == 0
    assert "Traceback" not in kitchen.log.read_text()


# ---- reloading


def test_a_good_file_is_taken_up(house: House) -> None:
    """SIGHUP: what can change at once does; what cannot is named where people look."""
    kitchen, study = house.start("kitchen", "study", mdns=False)
    kitchen.create("home")
    pair(kitchen, study, "home")
    study.call("POST", "pause")  # from here on only the reload brings them together
    study.log_level = "debug"
    study.peers = [kitchen.address]
    study.listen = ["127.0.0.1:0"]
    study.write_config()
    study.signal(signal.SIGHUP)
    study.wait(lambda: study.events("settings reloaded"), "it was reloaded")
    view = study.call("GET", "status")["device"]
    study.call("POST", "resume")
    assert view["state"] in {"degraded", "paused"}
    study.wait(lambda: "network.listen" in study.call("GET", "status")["device"]["reason"], "the key is named")
    kitchen.put("home", "notes", "a", {"x": 1})
    house.agree("home")
    answer = study.ctl("reload")
    assert answer["needs_restart"] in (["network.listen"], [])
    assert study.stop() == 0
    study.start()
    assert "network.listen" not in study.call("GET", "status")["device"]["reason"]


def test_a_bad_file_keeps_the_running_one(house: House) -> None:
    """Every problem is reported with its file and key; the daemon goes on as it was."""
    (kitchen,) = house.start("kitchen", mdns=False)
    kitchen.create("home")
    kitchen.more = 'colour = "blue"\n[spaces.home]\nhistory_days = "many"\n'
    kitchen.write_config()
    kitchen.signal(signal.SIGHUP)
    kitchen.wait(lambda: len(kitchen.events("setting refused")) == 2, "both problems are reported")
    causes = [line["cause"] for line in kitchen.events("setting refused")]
    assert all(str(kitchen.config) in cause for cause in causes)
    assert any("log.colour" in cause for cause in causes)
    assert any("spaces.home.history_days" in cause for cause in causes)
    with pytest.raises(Problem) as refused:
        kitchen.call("POST", "reload")
    assert refused.value.status == 422
    assert len(refused.value.document["problems"]) == 2
    kitchen.put("home", "notes", "a", {"x": 1})
    assert kitchen.get("home", "notes", "a") == {"x": 1}


# ---- starting where somebody is already


@pytest.mark.parametrize("spaces", [0, 1])
def test_a_second_daemon_on_the_same_state(house: House, spaces: int) -> None:
    """It says who has the state directory and ends; the first one notices nothing."""
    (first,) = house.start("first", mdns=False)
    for number in range(spaces):
        first.create(f"space-{number}")
    second = house.device("second", mdns=False)
    second.state_dir = first.state_dir
    code, said = ended(second)
    assert code == 1
    assert "Traceback" not in said
    assert str(first.pid) in said
    assert "state" in said
    first.create("after")
    first.put("after", "notes", "a", {"x": 1})


def test_a_second_daemon_on_the_same_socket(house: House) -> None:
    """The socket of a daemon that answers is not taken from it."""
    (first,) = house.start("first", mdns=False)
    second = house.device("second", mdns=False)
    second.socket = first.socket
    code, said = ended(second)
    assert code == 1
    assert "Traceback" not in said
    assert str(first.socket) in said
    assert first.is_up()


def test_a_file_where_the_socket_should_be(house: House) -> None:
    """It may be somebody's: it stays, and control.socket is named."""
    kitchen = house.device("kitchen", mdns=False)
    kitchen.socket.write_text("mine")
    code, said = ended(kitchen)
    assert code == 2
    assert "control.socket" in said
    assert str(kitchen.socket) in said
    assert kitchen.socket.read_text() == "mine"


def test_an_occupied_port(house: House) -> None:
    """network.listen is named with the address; nothing half started stays."""
    kitchen = house.device("kitchen", mdns=False)
    with socket.create_server(("127.0.0.1", kitchen.port)):
        code, said = ended(kitchen)
    assert code == 1, "another start may find it free, so systemd tries again"
    assert "network.listen" in said
    assert str(kitchen.port) in said
    assert "Traceback" not in said
    assert not kitchen.socket.exists()
    kitchen.start()


# ---- starting with damage, and with no room


def test_a_damaged_database(house: House, linked: list[Device]) -> None:
    """One space's file is no database any more: the others go on, and status says which, why and what to do."""
    kitchen, study = linked
    kitchen.create("work")
    pair(kitchen, study, "work")
    kitchen.put("home", "notes", "a", {"x": 1})
    house.agree("home")
    broken = kitchen.state_dir / "spaces" / f"{kitchen.space('home')['id']}.db"
    kitchen.stop()
    broken.write_bytes(b"this is no database" * 1000)
    for leftover in broken.parent.glob(f"{broken.name}-*"):
        leftover.unlink()
    kitchen.start()
    status = kitchen.call("GET", "status")
    failed = [one for one in status["spaces"] if one["state"] == "failed"]
    assert len(failed) == 1
    assert broken.name in failed[0]["reason"]
    assert failed[0]["next_step"]
    assert status["device"]["state"] == "degraded"
    assert kitchen.run("status").returncode == 4
    kitchen.put("work", "notes", "b", {"x": 2})
    assert house.agree("work") == {"notes": {"b": {"x": 2}}}
    assert broken.read_bytes().startswith(b"this is no database"), "what is damaged is kept as it is"


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "none", str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        reason = f"a small file system needs the right to mount one: {done.stderr.strip()}"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(client: Client, prefix: str, count: int = 2_000) -> tuple[set[str], Problem | None]:
    """Write until it is refused: the keys that were acknowledged, and the refusal."""
    written: set[str] = set()
    for number in range(count):
        key = f"{prefix}-{number:05}"
        try:
            client.call("PUT", path("spaces", "home", "records", "notes", key), body={"text": os.urandom(8000).hex()})
        except Problem as problem:
            return written, problem
        written.add(key)
    return written, None


def test_a_full_disk(house: House, small: Path) -> None:
    """A write that finds no room is answered 507 and is not there; reading goes on, and so does writing once there is
    room. A full disk on one device loses nothing on the other.
    """
    kitchen, study = (house.device(name, mdns=False) for name in ("kitchen", "study"))
    kitchen.state_dir = small / "state"
    kitchen.peers, study.peers = [study.address], [kitchen.address]
    kitchen.start()
    study.start()
    kitchen.create("home")
    pair(kitchen, study, "home")
    kitchen.put("home", "notes", "first", {"x": 1})
    house.agree("home")
    ballast = small / "ballast"
    ballast.write_bytes(bytes(10 << 20))
    with kitchen.client() as client:
        written, problem = fill(client, "k")
        assert problem is not None
        assert (problem.status, problem.code) == (507, "disk-full")
        assert problem.next_step
        assert kitchen.get("home", "notes", "first") == {"x": 1}
        clock = kitchen.space("home")["clock"]
        for _ in range(3):
            with pytest.raises(Problem):
                client.call(
                    "PUT", path("spaces", "home", "records", "notes", "no"), body={"text": os.urandom(400_000).hex()}
                )
        assert kitchen.space("home")["clock"] == clock
    study.put("home", "notes", "from the study", {"text": os.urandom(100_000).hex()})
    study.wait(lambda: study.get("home", "notes", max(written)), "the study has all that was written")
    ballast.unlink()
    kitchen.put("home", "notes", "room again", {"x": 2})
    export: dict[str, Any] = house.agree("home")["notes"]
    assert set(export) == {"first", "room again", "from the study", *written}
    assert kitchen.stop() == 0
    kitchen.start()
    assert house.agree("home")["notes"] == export


def test_started_on_a_full_disk(house: House, small: Path) -> None:
    """It may not be able to start, but says so plainly; with room it starts, and everything is there."""
    kitchen = house.device("kitchen", mdns=False)
    kitchen.state_dir = small / "state"
    kitchen.start()
    kitchen.create("home")
    kitchen.put("home", "notes", "a", {"x": 1})
    assert kitchen.stop() == 0
    ballast = small / "ballast"
    room = os.statvfs(small)
    ballast.write_bytes(bytes(room.f_bavail * room.f_frsize))
    process = kitchen.launch()
    wait_for(lambda: process.poll() is not None or _answers(kitchen), "it has started or ended", [kitchen])
    assert "Traceback" not in kitchen.log.read_text()
    assert "no space left" in kitchen.log.read_text().lower()
    if process.poll() is None:
        status = kitchen.call("GET", "status")
        assert [one["state"] for one in status["spaces"]] == ["failed"]
        assert "Free some space" in status["spaces"][0]["next_step"]
        ballast.unlink()
        kitchen.wait(lambda: kitchen.space("home")["state"] != "failed", "with room, the space opens by itself")
    else:
        ballast.unlink()
        kitchen.start()
    assert kitchen.get("home", "notes", "a") == {"x": 1}


def _answers(device: Device) -> bool:
    try:
        return device.is_up()
    except AssertionError:
        return False
