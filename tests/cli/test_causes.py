"""`doctor` tells a cause once, with what it affects: with the words that the daemon has for it in each place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from peerd import machine_status
from peerd.cli import causes, machine
from peerd.engine.links.clocks import OURS
from peerd.engine.links.peer_book import NEVER_SEEN
from peerd.engine.status.peers import says_removed
from peerd.store.failures import disk_full
from tests.cli.test_checkup import PLACE, STATUS

GONE = "The relay's folder /mnt/usb is not there."
MOUNT = "Mount it or plug it in."
DAMAGED = "/state/spaces/a1.db is damaged: file is not a database."
REBUILD = "`peerctl space rebuild home` sets the file aside."
NOT_FOUND = {**PLACE, "state": "offline", "reason": "not found on this network", "next_step": "Is it switched on?"}


@pytest.fixture
def found(daemon: Any, peerctl: Any, machine: Any) -> Any:
    """What doctor finds that is not ok, and the exit code."""
    daemon.on("GET", "/v1/health/ready", {"live": True, "ready": True})
    daemon.on("GET", "/v1/relays", {"relays": []})

    def found(status: dict[str, Any], *arguments: str) -> tuple[list[dict[str, Any]], int]:
        daemon.on("GET", "/v1/status", status)
        got = peerctl("doctor", "--json", *arguments)
        return [one for one in json.loads(got.out)["findings"] if one["state"] != "ok"], got.code

    return found


def place(name: str, reason: str, step: str, state: str = "degraded") -> dict[str, Any]:
    return {**PLACE, "name": name, "state": state, "reason": reason, "next_step": step}


def space(
    name: str, *peers: dict[str, Any], reason: str = "", step: str = "", state: str = "in sync"
) -> dict[str, Any]:
    return {**place(name, reason, step, state), "conflicts": 0, "peers": list(peers)}


def status(*spaces: dict[str, Any], device: dict[str, Any] | None = None, **footing: Any) -> dict[str, Any]:
    return {
        **STATUS,
        "device": {**STATUS["device"], **(device or {})},
        "machine": {**STATUS["machine"], **footing},
        "spaces": list(spaces),
    }


def test_a_relays_folder_that_is_missing(daemon: Any, found: Any) -> None:
    """At the relay of each space, and at every member whom nothing else reaches. Another cause stays another."""
    away = place("laptop", f"folder relay: {GONE}", MOUNT, "offline")
    behind = place("office", f"folder relay: {GONE}", MOUNT, "relayed")
    refused = place("attic", "it runs another version", "Update it.", "refused")
    relay = {"relay": "folder", "state": "waiting", "reason": GONE, "next_step": MOUNT}
    daemon.on("GET", "/v1/relays", {"relays": [{**relay, "space": "home"}, {**relay, "space": "work"}]})
    findings, code = found(status(space("home", away, behind, refused), space("work", away)))
    assert code == 4  # because of the attic
    assert findings == [
        {
            "state": "problem",
            "check": "home: attic",
            "detail": "refused: it runs another version",
            "next_step": "Update it.",
            "affects": [],
        },
        {
            "state": "note",
            "check": "folder relay: home",
            "detail": f"waiting: {GONE}",
            "next_step": MOUNT,
            "affects": [
                "home: laptop (offline)",
                "home: office (relayed)",
                "work: laptop (offline)",
                "folder relay: work (waiting)",
            ],
        },
    ]


def test_a_relay_in_trouble_is_one_problem(daemon: Any, found: Any) -> None:
    """The space and the device are degraded by it."""
    trouble = {"relay": "folder", "space": "home", "state": "trouble", "reason": "not ours", "next_step": "Look."}
    daemon.on("GET", "/v1/relays", {"relays": [trouble]})
    home = space("home", reason="folder relay: not ours", step="Look.", state="degraded")
    device = {"state": "degraded", "reason": "home: folder relay: not ours", "next_step": "Look."}
    (finding,), code = found(status(home, device=device))
    assert (finding["state"], finding["check"], code) == ("problem", "folder relay: home", 4)
    assert finding["affects"] == ["device (degraded)", "space home (degraded)"]


def test_a_damaged_database(daemon: Any, found: Any) -> None:
    daemon.on("GET", "/v1/health/ready", {"live": True, "ready": False, "reason": f"home: {DAMAGED}"}, status=503)
    daemon.on_stream("POST", "/v1/checks", {"space": "home", "problem": DAMAGED, "next_step": REBUILD})
    failed = space("home", reason=DAMAGED, step=REBUILD, state="failed")
    device = {"state": "degraded", "reason": f"home: {DAMAGED}", "next_step": REBUILD}
    (finding,), code = found(status(failed, device=device), "--deep")
    assert (finding["state"], finding["check"], finding["next_step"], code) == ("problem", "database home", REBUILD, 4)
    assert finding["affects"] == ["device (degraded)", "ready", "space home (failed)"]


def test_a_full_disk(found: Any) -> None:
    """A member's disk is another matter, and so is one that a space alone is on."""
    room = "There is no space left for /state/spaces/a1.db; nothing was written."
    step = "Free some space on that file system, then try again."
    stalled = place("nas", "nothing more is taken in here: only 0 MiB are free", "Make room on this device.", "blocked")
    theirs = place("attic", "that device says: its disk is full", "Put it right there.", "blocked")
    home = space("home", stalled, theirs, reason=room, step=step, state="stopped")
    device = {"state": "degraded", "reason": f"home: {room}", "next_step": step}
    findings, _ = found(status(home, device=device, free_bytes=0))
    assert [(one["check"], one["affects"]) for one in findings] == [
        ("disk", ["device (degraded)", "space home (stopped)", "home: nas (blocked)"]),
        ("home: attic", []),
    ]
    elsewhere, _ = found(status(home, device=device))
    assert [(one["check"], one["affects"]) for one in elsewhere] == [
        ("space home", ["device (degraded)"]),
        ("home: nas", []),
        ("home: attic", []),
    ]


def test_no_network(daemon: Any, found: Any, machine: Any) -> None:
    """Whoever may be on this machine itself, is on a relay, or never came is not away because of it."""
    machine("sys/class/net/eth0/operstate", "down\n")
    astray = {"address": "nas:7337", "reason": "There is no address for nas:7337.", "next_step": "Check the name."}
    daemon.on("GET", "/v1/peers", {"peers": [], "astray": [astray]})
    daemon.on(
        "GET", "/v1/relays", {"relays": [{"relay": "folder", "space": "home", "state": "waiting", "reason": GONE}]}
    )
    here = place("twin", "Nothing listens at 127.0.0.1:9.", "Start peerd there.", "offline")
    never = place("tablet", "admitted, never seen", "Invite it again.", "offline")
    relayed = place("attic", f"folder relay: {GONE}", "", "offline")
    peers = [NOT_FOUND, here, never, relayed]
    findings, code = found(status(space("home", *peers), space("work", NOT_FOUND), mdns_interfaces=["lo"]))
    assert code == 0
    assert [(one["check"], one["affects"]) for one in findings] == [
        ("home: twin", []),
        ("home: tablet", []),
        ("folder relay: home", ["home: attic (offline)"]),
        ("network", ["home: nas (offline)", "work: nas (offline)", "network.peers (nas:7337)", "multicast"]),
    ]
    assert "no network is up" in findings[-1]["detail"]


def test_a_member_that_is_away_is_told_once_for_all_spaces(found: Any) -> None:
    findings, code = found(status(space("home", NOT_FOUND), space("work", NOT_FOUND)))
    assert (len(findings), code) == (1, 0)
    assert (findings[0]["check"], findings[0]["affects"]) == ("home: nas", ["work: nas (offline)"])


def test_a_removal_that_several_members_tell_of(found: Any) -> None:
    step = "Ask a member to invite this device again."
    nas, attic = (
        place(name, f"{name} says that this device was removed", step, "refused") for name in ("nas", "attic")
    )
    home = space("home", nas, attic, reason=nas["reason"], step=step, state="degraded")
    device = {"state": "degraded", "reason": f"home: {nas['reason']}", "next_step": step}
    (finding,), _ = found(status(home, device=device))
    assert finding["affects"] == ["device (degraded)", "home: nas (refused)", "home: attic (refused)"]


def test_the_same_words_with_another_next_step_are_another_cause(found: Any) -> None:
    other = {**NOT_FOUND, "name": "attic", "next_step": "Name its address."}
    findings, _ = found(status(space("home", NOT_FOUND, other)))
    assert [one["check"] for one in findings] == ["home: nas", "home: attic"]


def test_mdns_that_cannot_have_its_port(found: Any, machine: Any) -> None:
    machine("proc/net/udp", "head\n   1: 00000000:14E9 00000000:0000 07 0:0 0:0 0     0        0 17 2 0 0\n")
    machine("proc/net/igmp", "")
    device = {"state": "degraded", "reason": "discovery does not work: eth0: in use", "next_step": "Name the peers."}
    (finding,), _ = found(status(space("home"), device=device, mdns="failed"))
    assert (finding["check"], finding["affects"]) == ("mdns port", ["device (degraded)", "multicast"])


def test_a_wrong_clock_and_a_pause(found: Any) -> None:
    said = "this device's clock is 10.0 years ahead of the others'"
    device = {"state": "degraded", "reason": said, "next_step": "Set it right.", "clock_off_ms": 315_360_000_000}
    (clock,), _ = found(status(space("home"), device=device))
    assert (clock["check"], clock["affects"]) == ("clocks", ["device (degraded)"])
    paused = ("links with other devices are paused here", "`peerctl resume` ends that.")
    away = place("nas", *paused, "offline")
    (pause,), code = found(status(space("home", away), device=place("kitchen", *paused, "paused")))
    assert (pause["state"], pause["check"], pause["affects"], code) == ("note", "device", ["home: nas (offline)"], 0)


def test_what_a_cause_affects_is_shown(daemon: Any, on_terminal: Any, peerctl: Any, found: Any) -> None:
    found(status(space("home", NOT_FOUND), space("work", NOT_FOUND)))
    assert (
        "note     home: nas     offline: not found on this network\n"
        "         affects: work: nas (offline)\n         next: Is it switched on?\n"
    ) in on_terminal("doctor", "--no-color").out
    line = "note\thome: nas\toffline: not found on this network\tIs it switched on?\twork: nas (offline)"
    assert line in peerctl("doctor").out.splitlines()


def test_the_words_by_which_a_cause_is_known_are_the_daemons() -> None:
    assert NEVER_SEEN.text == causes.NEVER_SEEN
    assert says_removed("nas").endswith(causes.REMOVED)
    assert disk_full(Path("/state/spaces/a1.db")).next_step.startswith(causes.ROOM)
    assert OURS == causes.OUR_CLOCK
    assert machine_status.NO_MDNS == machine.NO_MDNS
