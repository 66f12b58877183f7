"""What `doctor` sees of a machine that is made of files."""

from __future__ import annotations

import getpass
from typing import Any

import pytest

from peerd.cli import machine as examined
from peerd.cli.machine import Finding

IGMP6 = "3    wlan0           ff0200000000000000000000000000fb     1 00000004 0\n"


def multicast(mdns: str | None = "running") -> Finding:
    return next(finding for finding in examined.of_machine("/s", mdns) if finding.check == "multicast")


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
    assert (multicast().state, multicast().detail) == ("problem", "nothing listens to mDNS on eth0, wlan0")


def test_without_a_daemon_nobody_need_listen(machine: Any) -> None:
    machine("proc/net/igmp", "")
    assert multicast(None) == Finding(
        "note", "multicast", "eth0 can do it; whether peerd listens there shows while it runs"
    )
    assert multicast("off").detail.startswith("mDNS is off, as configured")


def test_a_machine_without_multicast_is_told_about_static_peers(machine: Any) -> None:
    machine("sys/class/net/eth0/flags", "0x1\n")
    assert multicast().state == "note"
    assert "--host" in multicast().next_step


def test_a_clock_that_nobody_keeps_is_worth_a_look(machine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peerd.clock.kernel_is_synchronised", lambda: False)
    clock = next(finding for finding in examined.of_machine("/s", None) if finding.check == "clock")
    assert clock.state == "note"
    assert "timedatectl" in clock.next_step


def test_linger_matters_only_to_a_users_daemon_under_systemd(machine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hint names the command; it is gone once the user lingers; a system daemon never gets it."""

    def linger(socket: str) -> Finding | None:
        return next((finding for finding in examined.of_machine(socket, None) if finding.check == "linger"), None)

    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
    assert linger("/run/user/7/peerd/s") is None
    machine("run/systemd/system/x")
    found = linger("/run/user/7/peerd/s")
    assert found is not None
    assert (found.state, found.next_step) == ("note", f"loginctl enable-linger {getpass.getuser()}")
    assert linger("/run/peerd/s") is None
    machine(f"var/lib/systemd/linger/{getpass.getuser()}")
    found = linger("/run/user/7/peerd/s")
    assert found is not None
    assert found.state == "ok"


def test_a_network_without_a_cable_is_no_network(machine: Any) -> None:
    """One that says nothing of it counts as up, and so does the loopback never."""

    def networks() -> list[str]:
        return [finding.detail for finding in examined.of_machine("/s", None) if finding.check == "network"]

    assert networks() == []
    machine("sys/class/net/eth0/operstate", "up\n")
    assert networks() == []
    machine("sys/class/net/eth0/operstate", "down\n")
    assert networks() == ["no network is up: no other machine can be reached"]


def test_mdns_on_the_loopback_alone_may_be_meant_so(machine: Any) -> None:
    """And then nobody need listen elsewhere."""
    machine("proc/net/igmp", "")
    (alone,) = [one for one in examined.of_machine("/s", "running", ["lo"]) if one.check == "multicast"]
    assert (alone.state, "eth0" in alone.next_step) == ("note", True)
    (deaf,) = [one for one in examined.of_machine("/s", "running", ["eth0"]) if one.check == "multicast"]
    assert deaf.state == "problem"
