"""Real daemons for measuring, each a process with a folder of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from peerd.control.client import Client

BIN = Path(sys.executable).parent
CLOCK_TICKS = 100.0
_LOOPBACK = 'listen = ["127.0.0.1:0"]\ninterfaces = ["lo"]'
_NO_NETWORK = "listen = []\nmdns = false"


class Daemon:
    def __init__(self, folder: Path, name: str, relay: str = "", *, log_only: bool = False) -> None:
        """With the configuration of a relay it has no network. `log_only`: it takes no snapshot instead of the log."""
        self.name = name
        self.folder = folder / name
        self.folder.mkdir(parents=True)
        self.socket = self.folder / "s"
        config = self.folder / "peerd.toml"
        config.write_text(
            f'[device]\nname = "{name}"\nstate_dir = "{self.folder / "state"}"\n'
            f"[network]\n{_NO_NETWORK if relay else _LOOPBACK}\n"
            f'[control]\nsocket = "{self.socket}"\n[log]\nformat = "json"\n{relay}'
        )
        with (self.folder / "log").open("ab") as log:
            command = [sys.executable, "-m", "tests.bench.log_only"] if log_only else [BIN / "peerd"]
            self.process = subprocess.Popen([*command, "--config", config], stdout=log, stderr=log)
        wait(lambda: self.socket.exists() and self.answers(), 20)

    def answers(self) -> bool:
        try:
            self.call("GET", "/v1/health/live")
        except Exception:  # noqa: BLE001 - not yet, whatever it is
            return False
        return True

    def client(self) -> Client:
        return Client(str(self.socket))

    def call(self, method: str, target: str, body: Any = None) -> Any:
        with self.client() as client:
            return client.call(method, target, body=body).body

    def ctl(self, *arguments: str) -> str:
        done = subprocess.run(
            [BIN / "peerctl", "--socket", self.socket, *arguments], capture_output=True, text=True, check=False
        )
        if done.returncode not in {0, 4, 5}:
            raise RuntimeError(f"peerctl {' '.join(arguments)}: {done.stderr}")
        return done.stdout

    def space(self) -> dict[str, Any]:
        found: dict[str, Any] = self.call("GET", "/v1/status")["spaces"][0]
        return found

    def rss_mib(self, peak: bool = False) -> float:  # noqa: FBT001, FBT002 - a measuring switch
        key = "VmHWM:" if peak else "VmRSS:"
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(key):
                return int(line.split()[1]) / 1024
        raise RuntimeError(key)

    def cpu_s(self) -> float:
        parts = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(parts[11]) + int(parts[12])) / CLOCK_TICKS

    def exact_cpu_s(self) -> float:
        """Of the threads that are alive: clock ticks say nothing of a daemon that sleeps."""
        tasks = Path(f"/proc/{self.process.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9

    def database_bytes(self) -> int:
        return sum(path.stat().st_size for path in (self.folder / "state" / "spaces").glob("*.db"))

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def wait(condition: Callable[[], bool], seconds: float, every_s: float = 0.02) -> float:
    """Seconds until the condition held."""
    started = time.perf_counter()
    while not condition():
        if time.perf_counter() - started > seconds:
            raise TimeoutError("a condition did not come true")
        time.sleep(every_s)
    return time.perf_counter() - started


def pair(inviter: Daemon, joiner: Daemon) -> None:
    command: list[str | Path] = [BIN / "peerctl", "--socket", inviter.socket, "invite", "home", "--yes", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as inviting:
        assert inviting.stdout is not None
        code = json.loads(inviting.stdout.readline())["code"]
        joiner.ctl("join", code, "--yes", "--json")
        inviting.wait(20)


@contextmanager
def running(folder: Path, *names: str, relay: str = "") -> Iterator[list[Daemon]]:
    daemons: list[Daemon] = []
    try:
        for name in names:
            daemons.append(Daemon(folder, name, relay))  # noqa: PERF401 - those that started must be stopped
        yield daemons
    finally:
        for daemon in daemons:
            daemon.stop()
