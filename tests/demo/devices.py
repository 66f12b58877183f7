"""The devices of the demo: a daemon each, with everything of its own, and a to-do program beside it."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

BIN = Path(sys.executable).parent
TODO = Path(__file__).with_name("todo.py")
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
        self.database = self.folder / "todo.db"
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

    def todo(self, *arguments: str) -> str:
        """Run the to-do program on this device's file; what it prints."""
        command = [sys.executable, str(TODO), str(self.database), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise DemoFailed(f"{self.name}: todo {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def broken_references(self) -> int:
        """How many rows of the to-do file refer to nothing, as SQLite counts them."""
        with closing(sqlite3.connect(self.database)) as database:
            return len(database.execute("PRAGMA foreign_key_check").fetchall())

    def space(self) -> dict[str, Any]:
        found: dict[str, Any] = self.ctl("status")["spaces"][0]
        return found

    def address(self) -> str:
        """Where it listens, from the kernel: for when discovery cannot tell."""
        assert self.process is not None
        inodes = set()
        for link in Path(f"/proc/{self.process.pid}/fd").iterdir():
            try:
                target = str(link.readlink())
            except FileNotFoundError:  # it was closed meanwhile
                continue
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


def indented(text: str) -> str:
    return "\n".join("         " + line for line in text.rstrip().splitlines())
