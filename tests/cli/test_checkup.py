"""What `doctor` finds, with a machine made of files."""

from __future__ import annotations

import getpass
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from peerd import __version__
from peerd.cli import checkup

PLACE = {"name": "nas", "device": "N", "state": "in sync", "reason": "", "next_step": ""}
STATUS: dict[str, Any] = {
    "version": __version__,
    "device": {"id": "K", "name": "kitchen", "state": "running", "reason": "", "next_step": ""},
    "spaces": [{**PLACE, "name": "home", "conflicts": 0, "peers": [PLACE]}],
}
IGMP = """Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter
1\tlo        :     1      V3
\t\t\t\t010000E0     1 0:00000000\t\t0
2\teth0      :     2      V3
\t\t\t\tFB0000E0     1 0:00000000\t\t0
"""
IGMP6 = "3    wlan0           ff0200000000000000000000000000fb     1 00000004 0\n"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """Write a file of /proc, /sys or /run; the machine that doctor looks at has only these."""
    monkeypatch.setattr("peerd.cli.checkup.ROOT", tmp_path)
    monkeypatch.setattr("peerd.clock.kernel_is_synchronised", lambda: True)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)

    def write(name: str, text: str = "") -> Path:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    write("sys/class/net/lo/flags", "0x1009\n")
    write("sys/class/net/eth0/flags", "0x1003\n")
    write("sys/class/net/wlan0/flags", "0x1002\n")
    write("proc/net/igmp", IGMP)
    return write


def test_a_healthy_machine_has_nothing_to_look_at(daemon: Any, peerctl: Any, machine: Any) -> None:
    daemon.on("GET", "/v1/status", STATUS)
    daemon.on("GET", "/v1/health/ready", {"live": True, "ready": True})
    got = peerctl("doctor")
    assert got.code == 0
    assert [line.split("\t")[:2] for line in got.out.splitlines()] == [
        ["ok", "socket"],
        ["ok", "version"],
        ["ok", "device"],
        ["ok", "ready"],
        ["ok", "space home"],
        ["ok", "home: nas"],
        ["ok", "clock"],
        ["ok", "multicast"],
    ]
    findings = json.loads(peerctl("doctor", "--json").out)["findings"]
    assert findings[0] == {"state": "ok", "check": "socket", "detail": daemon.socket, "next_step": ""}


def test_without_a_daemon_the_rest_is_examined_all_the_same(peerctl: Any, machine: Any) -> None:
    got = peerctl("doctor", "--socket", "/nowhere/s")
    assert got.code == 3
    assert [line.split("\t")[:2] for line in got.out.splitlines()] == [
        ["bad", "socket"],
        ["ok", "clock"],
        ["ok", "multicast"],
    ]


def test_whatever_is_not_well_is_listed_with_its_next_step(
    daemon: Any, peerctl: Any, machine: Any, on_terminal: Any
) -> None:
    ill = {**PLACE, "state": "refused", "reason": "version 2", "next_step": "upgrade"}
    daemon.on("GET", "/v1/status", {**STATUS, "version": "0.0", "spaces": [{**STATUS["spaces"][0], "peers": [ill]}]})
    daemon.on("GET", "/v1/health/ready", {"live": True, "ready": False, "reason": "opening home"}, status=503)
    got = peerctl("doctor")
    assert got.code == 4
    lines = {line.split("\t")[1]: line.split("\t") for line in got.out.splitlines()}
    assert lines["home: nas"] == ["look", "home: nas", "refused: version 2", "upgrade"]
    assert lines["ready"][:3] == ["bad", "ready", "opening home"]
    assert "the daemon is 0.0" in lines["version"][2]
    shown = on_terminal("doctor", "--no-color").out
    assert "look  home: nas     refused: version 2\n      next: upgrade\n" in shown


def multicast() -> checkup.Finding:
    return next(finding for finding in checkup.of_machine("/s") if finding.check == "multicast")


def test_multicast_counts_only_interfaces_that_are_up_and_able(machine: Any) -> None:
    """The loopback never counts; wlan0 is down until it is up; membership in either group is enough."""
    assert (multicast().state, multicast().detail) == ("ok", "mDNS is listened to on eth0")
    machine("proc/net/igmp6", IGMP6)
    assert multicast().detail == "mDNS is listened to on eth0"
    machine("sys/class/net/wlan0/flags", "0x1003\n")
    assert multicast().detail == "mDNS is listened to on eth0, wlan0"
    machine("proc/net/igmp", "")
    assert multicast().detail == "mDNS is listened to on wlan0"
    machine("proc/net/igmp6", "")
    assert (multicast().state, multicast().detail) == ("look", "nothing listens to mDNS on eth0, wlan0")


def test_a_machine_without_multicast_is_told_about_static_peers(machine: Any) -> None:
    machine("sys/class/net/eth0/flags", "0x1\n")
    assert multicast().state == "look"
    assert "--host" in multicast().next_step


def test_a_clock_that_nobody_keeps_is_worth_a_look(machine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peerd.clock.kernel_is_synchronised", lambda: False)
    clock = next(finding for finding in checkup.of_machine("/s") if finding.check == "clock")
    assert clock.state == "look"
    assert "timedatectl" in clock.next_step


def test_linger_matters_only_to_a_users_daemon_under_systemd(machine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hint names the command; it is gone once the user lingers; a system daemon never gets it."""

    def linger(socket: str) -> checkup.Finding | None:
        return next((finding for finding in checkup.of_machine(socket) if finding.check == "linger"), None)

    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
    assert linger("/run/user/7/peerd/s") is None
    machine("run/systemd/system/x")
    found = linger("/run/user/7/peerd/s")
    assert found is not None
    assert (found.state, found.next_step) == ("look", f"loginctl enable-linger {getpass.getuser()}")
    assert linger("/run/peerd/s") is None
    machine(f"var/lib/systemd/linger/{getpass.getuser()}")
    found = linger("/run/user/7/peerd/s")
    assert found is not None
    assert found.state == "ok"
