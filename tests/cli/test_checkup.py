"""What `doctor` finds, with a machine made of files."""

from __future__ import annotations

import json
from typing import Any

import pytest

from peerd import __version__

PLACE = {"name": "nas", "device": "N", "state": "in sync", "reason": "", "next_step": ""}
STATUS: dict[str, Any] = {
    "version": __version__,
    "device": {"id": "K", "name": "kitchen", "state": "running", "reason": "", "next_step": ""},
    "machine": {"listen": ["0.0.0.0:7337"], "mdns": "running", "state_dir": "/state", "free_bytes": 5 << 30},
    "spaces": [{**PLACE, "name": "home", "conflicts": 0, "peers": [PLACE]}],
}
UDP = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   1: 00000000:14E9 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 17 2 0 0
   2: 0100007F:14E9 00000000:0000 07 00000000:00000000 00:00000000 00000000 54321        0 18 2 0 0
   3: 00000000:0044 00000000:0000 07 00000000:00000000 00:00000000 00000000    99        0 19 2 0 0
"""


def test_a_healthy_machine_has_nothing_to_look_at(daemon: Any, peerctl: Any, machine: Any) -> None:
    daemon.on("GET", "/v1/status", STATUS)
    daemon.on("GET", "/v1/health/ready", {"live": True, "ready": True})
    daemon.on("GET", "/v1/relays", {"relays": []})
    got = peerctl("doctor")
    assert got.code == 0
    assert [line.split("\t")[:2] for line in got.out.splitlines()] == [
        ["ok", "socket"],
        ["ok", "version"],
        ["ok", "device"],
        ["ok", "ready"],
        ["ok", "port"],
        ["ok", "disk"],
        ["ok", "space home"],
        ["ok", "home: nas"],
        ["ok", "clock"],
        ["ok", "multicast"],
    ]
    findings = json.loads(peerctl("doctor", "--json").out)["findings"]
    assert findings[0] == {"state": "ok", "check": "socket", "detail": daemon.socket, "next_step": "", "affects": []}


def test_without_a_daemon_the_rest_is_examined_all_the_same(peerctl: Any, machine: Any) -> None:
    got = peerctl("doctor", "--socket", "/nowhere/s")
    assert got.code == 3
    assert [line.split("\t")[:2] for line in got.out.splitlines()] == [
        ["problem", "socket"],
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
    assert lines["home: nas"] == ["problem", "home: nas", "refused: version 2", "upgrade"]
    assert lines["ready"][:3] == ["problem", "ready", "opening home"]
    assert "the daemon is 0.0" in lines["version"][2]
    shown = on_terminal("doctor", "--no-color").out
    assert "problem  home: nas     refused: version 2\n         next: upgrade\n" in shown


def test_what_may_be_meant_so_is_a_note_and_no_failure(
    daemon: Any, peerctl: Any, machine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A peer that is switched off, a clock that nobody keeps, mDNS switched off, a pause, links not taken."""
    monkeypatch.setattr("peerd.clock.kernel_is_synchronised", lambda: False)
    machine("proc/net/igmp", "")
    away = {**PLACE, "state": "offline", "reason": "not found", "next_step": "is it on?"}
    paused = {**STATUS["device"], "state": "paused", "reason": "links are paused", "next_step": "peerctl resume"}
    footing = {**STATUS["machine"], "listen": [], "mdns": "off", "free_bytes": 500 << 20}
    spaces = [{**STATUS["spaces"][0], "peers": [away]}]
    daemon.on("GET", "/v1/status", {**STATUS, "device": paused, "machine": footing, "spaces": spaces})
    daemon.on("GET", "/v1/health/ready", {"live": True, "ready": True})
    daemon.on("GET", "/v1/relays", {"relays": []})
    got = peerctl("doctor")
    assert got.code == 0
    notes = [line.split("\t")[1] for line in got.out.splitlines() if line.startswith("note\t")]
    assert notes == ["device", "port", "disk", "home: nas", "clock", "multicast"]


def test_a_join_that_waits_to_be_answered_is_a_note_with_its_next_step(daemon: Any, peerctl: Any, machine: Any) -> None:
    """It may take days, and ends by itself when the invitation expires. Once, though its relay says the same."""
    waits = {"state": "waiting", "reason": "no member has answered yet", "next_step": "wait"}
    spaces = [{**STATUS["spaces"][0], **waits, "peers": []}]
    daemon.on("GET", "/v1/status", {**STATUS, "spaces": spaces})
    daemon.on("GET", "/v1/health/ready", {"live": True, "ready": True})
    daemon.on("GET", "/v1/relays", {"relays": [{"relay": "folder", "space": "home", **waits}]})
    got = peerctl("doctor")
    assert got.code == 0
    told = [line.split("\t") for line in got.out.splitlines() if "no member has answered" in line]
    assert [one[:4] for one in told] == [["note", "space home", "waiting: no member has answered yet", "wait"]]


@pytest.mark.parametrize(
    ("free_bytes", "state"), [(None, "problem"), (10 << 20, "problem"), (500 << 20, "note"), (2 << 30, "ok")]
)
def test_the_disk_is_looked_at(daemon: Any, peerctl: Any, machine: Any, free_bytes: int | None, state: str) -> None:
    daemon.on("GET", "/v1/status", {**STATUS, "machine": {**STATUS["machine"], "free_bytes": free_bytes}})
    daemon.on("GET", "/v1/health/ready", {"live": True, "ready": True})
    daemon.on("GET", "/v1/relays", {"relays": []})
    got = peerctl("doctor")
    (disk,) = [line.split("\t") for line in got.out.splitlines() if "\tdisk\t" in line]
    assert (disk[0], bool(disk[3]), got.code) == (state, state != "ok", 4 if state == "problem" else 0)
    assert "/state" in disk[2]


@pytest.mark.parametrize(
    ("listen", "state", "says"),
    [
        (["0.0.0.0:7337", "[::]:7337"], "ok", "firewall must let TCP in"),
        (["127.0.0.1:7337", "[::1]:7337"], "note", "only this machine"),
        ([], "note", "as configured"),
    ],
)
def test_the_bound_port_is_named(
    daemon: Any, peerctl: Any, machine: Any, listen: list[str], state: str, says: str
) -> None:
    daemon.on("GET", "/v1/status", {**STATUS, "machine": {**STATUS["machine"], "listen": listen}})
    daemon.on("GET", "/v1/health/ready", {"live": True, "ready": True})
    daemon.on("GET", "/v1/relays", {"relays": []})
    (port,) = [line.split("\t") for line in peerctl("doctor").out.splitlines() if "\tport\t" in line]
    assert port[0] == state
    assert all(address in port[2] for address in listen)
    assert says in port[2]


def test_who_has_the_port_of_mdns_is_named_when_it_failed(daemon: Any, peerctl: Any, machine: Any) -> None:
    """By the user of the socket: whose process it is, only root may see."""
    status = {**STATUS, "machine": {**STATUS["machine"], "mdns": "failed"}}
    daemon.on("GET", "/v1/status", status)
    daemon.on("GET", "/v1/health/ready", {"live": True, "ready": True})
    daemon.on("GET", "/v1/relays", {"relays": []})
    machine("proc/net/udp", UDP)
    got = peerctl("doctor")
    assert got.code == 4
    (port,) = [line.split("\t") for line in got.out.splitlines() if "\tmdns port\t" in line]
    assert port[0] == "problem"
    assert "UDP port 5353 is in use by a program of root, uid 54321" in port[2]
    assert "ss -ulpn" in port[3]


def test_a_configured_address_that_leads_to_nobody_is_a_note(daemon: Any, peerctl: Any, machine: Any) -> None:
    """Of a laptop that is away none may."""
    daemon.on("GET", "/v1/status", STATUS)
    daemon.on("GET", "/v1/health/ready", {"live": True, "ready": True})
    daemon.on("GET", "/v1/relays", {"relays": []})
    astray = {"address": "nas:7337", "reason": "There is no address for nas:7337.", "next_step": "Check the name."}
    daemon.on("GET", "/v1/peers", {"peers": [], "astray": [astray]})
    got = peerctl("doctor")
    assert got.code == 0
    said = "nas:7337 leads to no member: There is no address for nas:7337."
    assert f"note\tnetwork.peers\t{said}\tCheck the name." in got.out.splitlines()


def test_relays_are_looked_at(daemon: Any, peerctl: Any, machine: Any) -> None:
    """What is on its way, or passes by itself, is noted; what a person has to see to is a problem."""
    relayed = {**PLACE, "state": "relayed", "reason": "on its way", "next_step": "Nothing."}
    daemon.on("GET", "/v1/status", {**STATUS, "spaces": [{**PLACE, "name": "home", "peers": [relayed]}]})
    daemon.on("GET", "/v1/health/ready", {"live": True, "ready": True})
    folder = {"relay": "folder", "space": "home", "state": "waiting", "reason": "not there", "next_step": "Plug it in."}
    damaged = {**folder, "state": "idle", "reason": "", "findings": [{"name": "nas", "text": "is cut", "code": "x"}]}
    daemon.on("GET", "/v1/relays", {"relays": [folder, damaged, {**damaged, "findings": []}]})
    got = peerctl("doctor")
    assert got.code == 0
    lines = [line.split("\t") for line in got.out.splitlines()]
    assert [line[0] for line in lines if line[1] == "home: nas"] == ["note"]
    assert [(line[0], line[2], line[3]) for line in lines if line[1] == "folder relay: home"] == [
        ("note", "waiting: not there", "Plug it in."),
        ("note", "nas: is cut", "`peerctl relay status` shows all of it"),
        ("ok", "idle", ""),
    ]
    daemon.on("GET", "/v1/relays", {"relays": [{**folder, "state": "trouble"}]})
    assert peerctl("doctor").code == 4


def test_a_clock_that_others_call_wrong(daemon: Any, peerctl: Any, machine: Any) -> None:
    """Only where there is somebody to compare with."""
    daemon.on("GET", "/v1/health/ready", {"live": True, "ready": True})
    daemon.on("GET", "/v1/relays", {"relays": []})
    linked = {**STATUS, "spaces": [{**STATUS["spaces"][0], "peers": [{**PLACE, "clock_off_ms": 40}]}]}
    daemon.on("GET", "/v1/status", linked)
    assert ["ok", "clocks"] in [line.split("\t")[:2] for line in peerctl("doctor").out.splitlines()]
    for off_ms, words in ((86_400_000, "1 d ahead of"), (-90_000_000, "1 d 1 h behind")):
        daemon.on("GET", "/v1/status", {**linked, "device": {**STATUS["device"], "clock_off_ms": off_ms}})
        got = peerctl("doctor")
        assert got.code == 4
        (line,) = [line for line in got.out.splitlines() if line.startswith("problem\tclocks")]
        assert words in line
        assert "timedatectl" in line
