from __future__ import annotations

import asyncio
import os
import secrets
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from peerd.notify import Notifier, feed_watchdog, listen_fds, watchdog_interval_s

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[1]


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(str(tmp_path / "notify") if request.param == "path" else "@peerd-test-" + secrets.token_hex(8))
    yield manager
    manager.socket.close()


class Manager:
    """The service manager's end of $NOTIFY_SOCKET."""

    def __init__(self, address: str) -> None:
        self.environ = {"NOTIFY_SOCKET": address}
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.socket.setblocking(False)

    def heard(self) -> list[str]:
        messages = []
        while True:
            try:
                messages.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return messages


def test_each_step_of_a_life_is_told(manager: Manager) -> None:
    notifier = Notifier(manager.environ)
    assert notifier.active
    notifier.ready("2 spaces,\n3 peers")
    notifier.status("in sync")
    notifier.watchdog()
    notifier.stopping()
    assert manager.heard() == ["READY=1\nSTATUS=2 spaces, 3 peers", "STATUS=in sync", "WATCHDOG=1", "STOPPING=1"]


def test_a_reload_says_when_it_began(manager: Manager) -> None:
    Notifier(manager.environ).reloading()
    (message,) = manager.heard()
    state, since = message.splitlines()
    assert state == "RELOADING=1"
    assert int(since.removeprefix("MONOTONIC_USEC=")) > 0


@pytest.mark.parametrize("address", ["", "relative", "@", "vsock:2:1234"])
def test_without_a_manager_nothing_is_said(address: str) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": address})
    assert not notifier.active
    notifier.ready()


def test_a_manager_that_is_gone_harms_nobody(tmp_path: Path, log_events: Callable[[], list[dict[str, Any]]]) -> None:
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "none")}).ready()
    assert [event["event"] for event in log_events()] == ["service manager not reached"]


@pytest.mark.parametrize(
    ("environ", "interval_s"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "-1"}, None),
    ],
)
def test_the_watchdog_is_fed_twice_as_often_as_it_asks(environ: dict[str, str], interval_s: float | None) -> None:
    assert watchdog_interval_s(environ) == interval_s


async def test_the_watchdog_is_fed_from_the_loop_while_all_is_well(manager: Manager) -> None:
    healthy = True
    feeding = asyncio.create_task(feed_watchdog(Notifier(manager.environ), 0.001, lambda: healthy))
    loop = asyncio.get_running_loop()
    for _ in range(3):
        assert await loop.sock_recv(manager.socket, 64) == b"WATCHDOG=1"
    healthy = False
    await asyncio.sleep(0)  # a feed that is already under way ends here
    manager.heard()
    await asyncio.sleep(0.05)
    assert manager.heard() == []
    feeding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await feeding


@pytest.mark.parametrize(("environ", "interval_s"), [({}, 1.0), ({"NOTIFY_SOCKET": "/x"}, None)])
async def test_no_watchdog_no_feeding(environ: dict[str, str], interval_s: float | None) -> None:
    """It returns; with anything to feed it would go on until cancelled."""
    await feed_watchdog(Notifier(environ), interval_s)


def test_without_activation_no_sockets() -> None:
    assert listen_fds({}) == {}
    assert listen_fds({"LISTEN_PID": "1", "LISTEN_FDS": "1"}) == {}
    assert listen_fds({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "x"}) == {}


def test_passed_sockets_are_taken_once_by_name_and_not_handed_on(tmp_path: Path) -> None:
    """In a process of its own, because the descriptors are 3 and 4."""
    path = tmp_path / "s"
    program = (
        "import os, socket\n"
        "from peerd.notify import listen_fds\n"
        "os.environ['LISTEN_PID'] = str(os.getpid())\n"
        "passed = listen_fds()\n"
        "print({name: [(s.fileno(), s.getsockname(), s.get_inheritable()) for s in sockets]"
        " for name, sockets in passed.items()})\n"
        "print(listen_fds(), [name for name in os.environ if name.startswith('LISTEN_')])\n"
        "for sockets in passed.values():\n"
        "    for s in sockets: s.close()\n"
    )
    with socket.socket(socket.AF_UNIX) as one, socket.socket(socket.AF_UNIX) as two:
        one.bind(str(path))
        one.listen()
        two.bind(str(path) + "2")
        two.listen()
        fds = [os.dup(one.fileno()), os.dup(two.fileno())]
        # The shell moves them to 3 and 4, where systemd puts them.
        shell = f'exec {sys.executable} -c "$PROGRAM" 3<&{fds[0]} 4<&{fds[1]}'
        done = subprocess.run(
            ["bash", "-c", shell],
            pass_fds=fds,
            cwd=ROOT,
            env={**os.environ, "PROGRAM": program, "LISTEN_FDS": "2", "LISTEN_FDNAMES": "control"},
            capture_output=True,
            text=True,
            check=False,
        )
        for fd in fds:
            os.close(fd)
    assert done.stdout.splitlines() == [
        f"{{'control': [(3, '{path}', False)], 'unknown': [(4, '{path}2', False)]}}",
        "{} []",
    ], done.stderr
