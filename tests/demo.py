"""The demo: three real daemons on this machine meet, share a data set, part, disagree and agree again.

    python tests/demo.py [--keep]

Each daemon has its own folder, identity and port; nothing outside a temporary folder is touched, and nothing leaves
the machine. Every step says in one line what happens; anything unexpected ends the demo with exit code 1.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

RECORDS = 1_200
NAMES = ("kitchen", "office", "laptop")
BIN = Path(sys.executable).parent
PATIENCE_S = 20.0
_STARTED_S = time.monotonic()


class DemoFailed(Exception):
    """Something did not happen that should have."""


def say(text: str) -> None:
    print(f"{time.monotonic() - _STARTED_S:5.1f} s  {text}", flush=True)


class Device:
    """One daemon with everything of its own."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.folder = folder / name
        self.folder.mkdir()
        self.socket = self.folder / "peerd.sock"
        self.config = self.folder / "peerd.toml"
        self.process: subprocess.Popen[bytes] | None = None
        self.write_config([])

    def write_config(self, peers: list[str]) -> None:
        quoted = ", ".join(f'"{peer}"' for peer in peers)
        self.config.write_text(
            f'[device]\nname = "{self.name}"\nstate_dir = "{self.folder / "state"}"\n'
            f'[network]\nlisten = ["127.0.0.1:0"]\ninterfaces = ["lo"]\npeers = [{quoted}]\n'
            f'[control]\nsocket = "{self.socket}"\n'
        )

    def start(self) -> None:
        log = (self.folder / "log").open("ab")
        command = [str(BIN / "peerd"), "--config", str(self.config)]
        self.process = subprocess.Popen(command, stdout=log, stderr=log)
        log.close()
        wait_for(lambda: self.try_ctl("status") is not None, f"{self.name} starts")

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(6)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def run(self, *arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
        command = [str(BIN / "peerctl"), "--socket", str(self.socket), *arguments]
        return subprocess.run(command, capture_output=True, text=True, input=text, check=False)

    def try_ctl(self, *arguments: str) -> Any:
        done = self.run(*arguments, "--json")
        if done.returncode not in {0, 4, 5} or not done.stdout:
            return None
        return json.loads(done.stdout.splitlines()[-1])

    def ctl(self, *arguments: str, text: str | None = None) -> Any:
        done = self.run(*arguments, "--json", text=text)
        if done.returncode not in {0, 4, 5}:
            raise DemoFailed(f"{self.name}: peerctl {' '.join(arguments)}: {done.stderr.strip()}")
        return json.loads(done.stdout.splitlines()[-1]) if done.stdout.strip() else None

    def space(self) -> dict[str, Any]:
        found: dict[str, Any] = self.ctl("status")["spaces"][0]
        return found

    def address(self) -> str:
        """Where it listens, from the kernel: for when discovery cannot tell."""
        assert self.process is not None
        inodes = set()
        for link in Path(f"/proc/{self.process.pid}/fd").iterdir():
            target = str(link.readlink()) if link.is_symlink() else ""
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            parts = line.split()
            if parts[3] == "0A" and parts[9] in inodes:
                return f"127.0.0.1:{int(parts[1].split(':')[1], 16)}"
        raise DemoFailed(f"{self.name} does not listen")


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise DemoFailed(f"this did not happen within {PATIENCE_S:.0f} s: {what}")
        time.sleep(0.1)


def pair(inviter: Device, joiner: Device) -> bool:
    """Pair by code; True if mDNS found the inviter."""
    invite = [str(BIN / "peerctl"), "--socket", str(inviter.socket), "invite", "home", "--yes", "--json"]
    with subprocess.Popen(invite, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as inviting:
        assert inviting.stdout is not None
        code = json.loads(inviting.stdout.readline())["code"]
        found = joiner.run("join", code, "--yes", "--json")
        if found.returncode != 0:
            sys.stderr.write(found.stderr)
            joiner.ctl("join", code, "--yes", "--host", inviter.address())
        say(f"{joiner.name} joins the space with the code {code} that {inviter.name} shows")
        inviting.wait(PATIENCE_S)
    return found.returncode == 0


def in_sync(devices: list[Device]) -> bool:
    spaces = [device.space() for device in devices]
    return len({space["digest"] for space in spaces}) == 1 and all(
        peer["state"] == "in sync" for space in spaces for peer in space["peers"]
    )


def data_set(path: Path) -> None:
    """A library: as large as a real one at home, the same at every run."""
    subjects = ("history", "botany", "cooking", "poetry", "astronomy", "travel")
    with path.open("w") as out:
        for number in range(RECORDS):
            book = {
                "id": f"book-{number:04}",
                "title": f"The {subjects[number % 6].title()} of Room {number // 6 + 1}",
                "subject": subjects[number % 6],
                "shelf": number % 17,
                "lent_to": None,
                "price": 5 + number % 40 + 0.5,
            }
            out.write(json.dumps(book) + "\n")


def meet(devices: list[Device]) -> None:
    kitchen, office, laptop = devices
    for device in devices:
        device.start()
    say("three daemons run: kitchen, office and laptop, each with its own key and folder")
    kitchen.ctl("space", "create", "home")
    found = [pair(kitchen, office), pair(office, laptop)]
    if all(found):
        say("they found each other by mDNS; nobody typed an address")
    else:
        say("multicast is not possible here, so the addresses were given by hand")
        for device in devices:
            device.write_config([other.address() for other in devices if other is not device])
            device.ctl("reload")
    wait_for(
        lambda: all(len(device.space()["peers"]) == 2 for device in devices) and in_sync(devices), "all are linked"
    )
    say("kitchen and laptop were never paired: they know each other through office, and are linked too")


def share(devices: list[Device], folder: Path) -> None:
    kitchen, _, laptop = devices
    books = folder / "books.ndjson"
    data_set(books)
    kitchen.ctl("import", "home", "books", str(books), "--key", "id")
    wait_for(
        lambda: all(device.space()["records"] == RECORDS for device in devices) and in_sync(devices), "all have it"
    )
    say(f"{RECORDS} books were imported on kitchen and are on all three, with equal digests")
    title = laptop.ctl("get", "home", "books", "book-0042")["value"]["title"]
    say(f"laptop reads book-0042: {title}")


def disagree(devices: list[Device]) -> None:
    kitchen, office, laptop = devices
    laptop.ctl("pause")
    wait_for(lambda: not any(peer["state"] == "in sync" for peer in laptop.space()["peers"]), "laptop is cut off")
    say("laptop is cut off from the others")
    kitchen.ctl("patch", "home", "books", "book-0001", '{"shelf": 3}')
    laptop.ctl("patch", "home", "books", "book-0001", '{"price": 99.5}')
    say("book-0001: kitchen moves it to shelf 3 while laptop changes its price (different fields)")
    office.ctl("patch", "home", "books", "book-0002", '{"lent_to": "Ada"}')
    laptop.ctl("patch", "home", "books", "book-0002", '{"lent_to": "Grace"}')
    say("book-0002: office lends it to Ada while laptop lends it to Grace (the same field)")
    kitchen.ctl("delete", "home", "books", "book-0003")
    laptop.ctl("patch", "home", "books", "book-0003", '{"shelf": 9}')
    say("book-0003: kitchen deletes it while laptop moves it to shelf 9")


def agree(devices: list[Device]) -> None:
    kitchen, office, laptop = devices
    laptop.ctl("resume")
    wait_for(lambda: in_sync(devices), "all agree again")
    say("laptop is back, and all three have equal digests again")
    book = office.ctl("get", "home", "books", "book-0001")["value"]
    if (book["shelf"], book["price"]) != (3, 99.5):
        raise DemoFailed(f"an edit of book-0001 was lost: {book}")
    say("book-0001 has both edits: shelf 3 and price 99.5")
    if laptop.ctl("get", "home", "books", "book-0003")["value"]["shelf"] != 9:
        raise DemoFailed("the edit of book-0003 was lost")
    say("book-0003 is back with shelf 9: an edit wins against a delete that had not seen it")
    listed = office.run("conflicts", "home")
    say("both meetings are listed, the same on every device (peerctl conflicts home):")
    print(indented(listed.stdout))
    conflicts = {one["key"]: one for one in office.ctl("conflicts", "home")["conflicts"]}
    if set(conflicts) != {"book-0002", "book-0003"}:
        raise DemoFailed(f"the conflicts are not those that were made: {sorted(conflicts)}")
    office.ctl("resolve", "home", conflicts["book-0002"]["id"], "--value", '"Ada, then Grace"')
    office.ctl("resolve", "home", conflicts["book-0003"]["id"], "--choose", "0")
    wait_for(lambda: in_sync(devices) and not any(device.space()["conflicts"] for device in devices), "settled")
    say("office settles them, and nothing is open anywhere")
    if kitchen.ctl("get", "home", "books", "book-0002")["value"]["lent_to"] != "Ada, then Grace":
        raise DemoFailed("the resolution did not travel")


def indented(text: str) -> str:
    return "\n".join("         " + line for line in text.rstrip().splitlines())


def report(devices: list[Device]) -> None:
    say("at the end:")
    print("         device   state    records  conflicts  digest")
    for device in devices:
        space = device.space()
        counts = f"{space['records']:7}  {space['conflicts']:9}"
        print(f"         {device.name:8} {space['state']:8} {counts}  {space['digest']}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", action="store_true", help="keep the folders and logs")
    keep = parser.parse_args().keep
    folder = Path(tempfile.mkdtemp(prefix="peerd-demo-"))
    devices = [Device(folder, name) for name in NAMES]
    failed = False
    try:
        meet(devices)
        share(devices, folder)
        disagree(devices)
        agree(devices)
        report(devices)
    except (DemoFailed, KeyboardInterrupt) as problem:
        failed = True
        print(f"the demo failed: {problem or 'interrupted'}; logs are in {folder}", file=sys.stderr)
    finally:
        for device in devices:
            device.stop()
        if not keep and not failed:
            shutil.rmtree(folder, ignore_errors=True)
    if not failed:
        say(f"done; {folder} is {'kept' if keep else 'removed'}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
