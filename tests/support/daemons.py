"""Real daemons as processes, each with a folder, a key, a port and a socket of its own.

    with House(tmp_path) as house:
        kitchen, study = house.start("kitchen", "study")
        kitchen.create("home")
        pair(kitchen, study, "home")
        kitchen.put("home", "notes", "a", {"text": "hello"})
        house.agree("home")                       # waits, then compares digests and whole exports
        study.kill(); study.start()
        study.pause(); study.resume()             # SIGSTOP, SIGCONT

A device can live on a machine of `tests.support.namespaces`; its socket is reached from outside all the same. What
is waited for is a condition; when it does not come true, the error holds the logs of all daemons.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from peerd.control.client import Answer, Client, Problem, path
from peerd.errors import PeerdError

if TYPE_CHECKING:
    from tests.support.namespaces import Machine

PATIENCE_S = 60.0
STOP_S = 20.0
LOG_TAIL_BYTES = 4000
BIN = Path(sys.executable).parent
Export = dict[str, dict[str, Any]]


class NeverCame(AssertionError):
    """A condition did not come true in time."""


_PORTS = range(20_000, 32_000)  # below those that the kernel gives to connections by itself
_WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_OURS = _PORTS[int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) :: _WORKERS]
_turns = itertools.count(random.randrange(len(_OURS)))


def free_port() -> int:
    """A port that nobody uses. No other test is given it, also while its device is down and it looks free."""
    for turn in itertools.islice(_turns, len(_OURS)):
        port = _OURS[turn % len(_OURS)]
        with socket.socket() as tried:
            try:
                tried.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError(f"every port of {_OURS} is in use")


class Device:
    """One daemon. Settings are attributes: change them and call `write_config` before a start or a reload."""

    def __init__(self, folder: Path, name: str, machine: Machine | None = None) -> None:
        self.name = name
        self.folder = folder / name
        self.folder.mkdir(parents=True)
        self.socket = self.folder / "s"
        self.config = self.folder / "peerd.toml"
        self.log = self.folder / "log"
        self.state_dir = self.folder / "state"
        self.machine = machine
        self.port = free_port() if machine is None else 7337
        self.listen = [f"127.0.0.1:{self.port}"] if machine is None else ["0.0.0.0:7337", "[::]:7337"]
        self.interfaces = ["lo"] if machine is None else ["*", "!lo"]
        self.mdns = True
        self.peers: list[str] = []
        self.log_level = "info"
        self.more = ""  # further TOML
        self.meddle = ""  # Python to run first, in the daemon's process: to shorten what takes minutes
        self.process: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        return f"<{self.name}>"

    @property
    def address(self) -> str:
        """Where others on this machine reach it."""
        return f"127.0.0.1:{self.port}" if self.machine is None else f"{self.machine.ipv4}:{self.port}"

    def write_config(self) -> None:
        self.config.write_text(
            f"[device]\nname = {json.dumps(self.name)}\nstate_dir = {json.dumps(str(self.state_dir))}\n"
            f"[network]\nlisten = {json.dumps(self.listen)}\ninterfaces = {json.dumps(self.interfaces)}\n"
            f"mdns = {json.dumps(self.mdns)}\npeers = {json.dumps(self.peers)}\n"
            f"[control]\nsocket = {json.dumps(str(self.socket))}\n"
            f'[log]\nlevel = "{self.log_level}"\nformat = "json"\n{self.more}'
        )

    # ---- the process

    def launch(self) -> subprocess.Popen[bytes]:
        """Start it and do not wait."""
        self.write_config()
        program = f"{self.meddle}\nimport sys; from peerd.__main__ import main; sys.exit(main())"
        command = [sys.executable, "-c", program, "--config", str(self.config)]
        environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        with self.log.open("ab") as log:
            if self.machine is not None:
                self.process = self.machine.popen(command, stdout=log, stderr=log, env=environ)
            else:
                self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environ)
        return self.process

    def start(self) -> Self:
        """Start it and wait until it answers."""
        self.launch()
        self.wait(self.is_up, "it answers")
        return self

    def is_up(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise NeverCame(f"{self.name} ended with {self.process.returncode}\n{self.said()}")
        try:
            self.call("GET", "health", "live")
        except PeerdError:
            return False
        return True

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def stop(self) -> int:
        """SIGTERM, and its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_S)

    def kill(self) -> None:
        """SIGKILL."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(STOP_S)

    def pause(self) -> None:
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.signal(signal.SIGCONT)

    def end(self) -> None:
        """Whatever it is doing, it ends."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def rss_mib(self) -> float:
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        raise NeverCame(f"{self.name} is no process any more")

    # ---- what it says

    def logged(self) -> list[dict[str, Any]]:
        """Its log so far; what is no JSON stands under `text`."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return [_line(line) for line in lines]

    def events(self, event: str) -> list[dict[str, Any]]:
        """The lines of one event."""
        return [line for line in self.logged() if line.get("event") == event]

    def said(self) -> str:
        """The end of its log, for the report of a failure."""
        text = self.log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace") if self.log.exists() else ""
        return f"--- {self.name}\n{text}"

    def wait(self, condition: Callable[[], Any], what: str, patience_s: float = PATIENCE_S) -> float:
        """Wait until something is so; gives the seconds it took."""
        return wait_for(condition, f"{self.name}: {what}", [self], patience_s)

    # ---- its socket

    def client(self, timeout_s: float = 30.0) -> Client:
        return Client(str(self.socket), timeout_s=timeout_s)

    def ask(self, method: str, *parts: str, body: Any = None, **query: str) -> Answer:
        with self.client() as client:
            return client.call(method, path(*parts), body=body, query=query or None)

    def call(self, method: str, *parts: str, body: Any = None, **query: str) -> Any:
        return self.ask(method, *parts, body=body, **query).body

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`peerctl` with these arguments."""
        command = [sys.executable, "-m", "peerd.cli.main", "--socket", str(self.socket), *arguments]
        environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environ, timeout=180)

    def ctl(self, *arguments: str) -> Any:
        """`peerctl ... --json`, which must not fail, and the last document it prints."""
        done = self.run(*arguments, "--json")
        assert done.returncode in {0, 4, 5}, f"{self.name}: peerctl {' '.join(arguments)}: {done.stderr}"
        return json.loads(done.stdout.splitlines()[-1]) if done.stdout.strip() else None

    # ---- what people do with it

    @property
    def id(self) -> str:
        return str(self.call("GET", "status")["device"]["id"])

    def create(self, space: str) -> None:
        self.call("POST", "spaces", body={"name": space})

    def put(self, space: str, collection: str, key: str, value: Mapping[str, Any]) -> None:
        self.call("PUT", "spaces", space, "records", collection, key, body=value)

    def patch(self, space: str, collection: str, key: str, **fields: Any) -> None:
        self.call("PATCH", "spaces", space, "records", collection, key, body={"set": fields})

    def delete(self, space: str, collection: str, key: str) -> None:
        self.call("DELETE", "spaces", space, "records", collection, key)

    def get(self, space: str, collection: str, key: str) -> dict[str, Any] | None:
        """The record's value, None if there is none."""
        try:
            value: dict[str, Any] = self.call("GET", "spaces", space, "records", collection, key)["value"]
        except Problem as problem:
            if problem.status == 404:
                return None
            raise
        return value

    def space(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.call("GET", "spaces", name)
        return found

    def spaces(self) -> set[str]:
        return {one["name"] for one in self.call("GET", "spaces")["spaces"]}

    def peer(self, space: str, other: Device) -> dict[str, Any]:
        """What it says of another member of a space; {} if that is none."""
        return next((one for one in self.space(space)["peers"] if one["name"] == other.name), {})

    def linked(self) -> set[str]:
        """Names of the devices it has a link with."""
        return {one["name"] for one in self.call("GET", "peers")["peers"] if one["state"] == "linked"}

    def export(self, space: str) -> Export:
        """Every record as it is shown here."""
        with self.client() as client:
            listed = client.call("GET", path("spaces", space, "collections")).body["collections"]
            return {
                one["name"]: {
                    record["key"]: record["value"]
                    for record in client.pages(path("spaces", space, "records", one["name"]), "records")
                }
                for one in listed
                if one["records"]
            }

    def conflicts(self, space: str) -> list[dict[str, Any]]:
        with self.client() as client:
            return list(client.pages(path("spaces", space, "conflicts"), "conflicts"))

    def transactions(self, space: str) -> list[dict[str, Any]]:
        """Its whole log, newest first."""
        with self.client() as client:
            return list(client.pages(path("spaces", space, "log"), "transactions"))


class House:
    """All devices of a test. They are killed when the block ends, whatever happened in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.devices: list[Device] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for device in self.devices:
            device.end()

    def device(self, name: str, machine: Machine | None = None, **settings: Any) -> Device:
        """A device that is not started yet."""
        device = Device(self.folder, name, machine)
        for key, value in settings.items():
            assert hasattr(device, key), key
            setattr(device, key, value)
        self.devices.append(device)
        return device

    def start(self, *names: str, **settings: Any) -> list[Device]:
        """Devices that answer."""
        made = [self.device(name, **settings) for name in names]
        start_all(made)
        return made

    def agree(self, space: str, devices: Sequence[Device] | None = None, patience_s: float = PATIENCE_S) -> Export:
        """Wait until they say that they have the same, and see that they really do; gives what they have."""
        return agree(space, self.devices if devices is None else devices, patience_s)


def start_all(devices: Iterable[Device]) -> None:
    devices = list(devices)
    for device in devices:
        device.launch()
    for device in devices:
        device.wait(device.is_up, "it answers")


def wait_for(
    condition: Callable[[], Any], what: str, devices: Iterable[Device] = (), patience_s: float = PATIENCE_S
) -> float:
    """Wait until `condition()` is true; gives the seconds it took. A daemon that does not answer is no error yet."""
    started_s = time.monotonic()
    trouble = ""
    while True:
        try:
            if condition():
                return time.monotonic() - started_s
            trouble = ""
        except PeerdError as problem:
            trouble = f" ({problem})"
        if time.monotonic() - started_s > patience_s:
            said = "\n".join(device.said() for device in devices)
            raise NeverCame(f"in vain for {patience_s:.0f} s: {what}{trouble}\n{said}")
        time.sleep(0.05)


def in_sync(space: str, devices: Sequence[Device]) -> bool:
    """Do all say that they have the same as all the others they are linked with, and is it the same?"""
    views = [device.space(space) for device in devices]
    return (
        len({view["digest"] for view in views}) == 1
        and len({json.dumps(view["clock"]) for view in views}) == 1
        and all(one["state"] == "in sync" for view in views for one in view["peers"] if one["behind"] is not None)
    )


def agree(space: str, devices: Sequence[Device], patience_s: float = PATIENCE_S) -> Export:
    """See `House.agree`."""
    digests: list[str] = []
    exports: list[Export] = []
    conflicts: list[list[dict[str, Any]]] = []
    while not digests or digests != [device.space(space)["digest"] for device in devices]:  # else all moved meanwhile
        wait_for(lambda: in_sync(space, devices), f"{devices} agree on {space}", devices, patience_s)
        digests = [device.space(space)["digest"] for device in devices]
        exports = [device.export(space) for device in devices]
        conflicts = [sorted(device.conflicts(space), key=lambda one: str(one["id"])) for device in devices]
    for device, export in zip(devices, exports, strict=True):
        assert export == exports[0], f"{device} has other data than {devices[0]}, with equal digests"
    for device, listed in zip(devices, conflicts, strict=True):
        assert _bare(listed) == _bare(conflicts[0]), f"{device} lists other conflicts than {devices[0]}"
    return exports[0]


def _bare(conflicts: Iterable[Mapping[str, Any]]) -> list[tuple[str, str, list[tuple[str, str]]]]:
    """What of a conflict must be the same everywhere."""
    return [
        (one["id"], one["etag"], sorted((value["dot"], json.dumps(value["value"])) for value in one["values"]))
        for one in conflicts
    ]


class Invitation:
    """An open invitation as a stream, read by a thread of its own. `events` grows; `error` is how it failed."""

    def __init__(self, device: Device, space: str, *, yes: bool) -> None:
        self.device = device
        self.events: list[dict[str, Any]] = []
        self._error: PeerdError | None = None
        self._news = threading.Condition()
        self._body = {"space": space, "yes": yes}
        self._ended = False
        self._thread = threading.Thread(target=self._read, name="invitation")
        self._thread.start()

    def _read(self) -> None:
        try:
            for event in self.device.client().stream("POST", path("invitations"), body=self._body):
                with self._news:
                    self.events.append(event)
                    self._news.notify_all()
        except PeerdError as problem:
            self._error = problem
        finally:
            with self._news:
                self._ended = True
                self._news.notify_all()

    def until(self, member: str) -> Any:
        """The value of the first event that has `member`."""
        with self._news:
            self._news.wait_for(lambda: self._ended or self._find(member) is not None, PATIENCE_S)
        found = self._find(member)
        assert found is not None, f"no {member!r} came: {self.events} {self._error}\n{self.device.said()}"
        return found

    def _find(self, member: str) -> Any:
        return next((event[member] for event in self.events if member in event), None)

    @property
    def code(self) -> str:
        return str(self.until("code"))

    @property
    def number(self) -> str:
        self.until("code")
        return str(self.events[0]["id"])

    def confirm(self, *, admit: bool) -> None:
        self.device.call("POST", "invitations", self.number, body={"admit": admit})

    def cancel(self) -> None:
        with contextlib.suppress(Problem):
            self.device.call("DELETE", "invitations", self.number)

    def close(self) -> None:
        """It is over, one way or the other."""
        if not self._ended:
            self.cancel()
        self._thread.join(PATIENCE_S)


@contextlib.contextmanager
def invited(device: Device, space: str, *, yes: bool = True) -> Iterator[Invitation]:
    """An open invitation."""
    invitation = Invitation(device, space, yes=yes)
    try:
        yield invitation
    finally:
        invitation.close()


def pair(inviter: Device, joiner: Device, space: str, *, by_address: bool = True) -> dict[str, Any]:
    """Let a device in by code; with `by_address` its address is given, else discovery has to find it. Gives what the
    joiner was told.
    """
    with invited(inviter, space) as invitation:
        body = {"code": invitation.code, "yes": True}
        told = joiner.call("POST", "joins", body={**body, "host": inviter.address} if by_address else body)
        invitation.until("admitted")
        return dict(told)


def _line(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {"text": text}
    return found if isinstance(found, dict) else {"text": text}
