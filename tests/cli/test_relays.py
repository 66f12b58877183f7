"""`peerctl relay`: what is said of storage between devices."""

from __future__ import annotations

import json
from typing import Any

IDLE = {
    "relay": "folder",
    "space": "home",
    "state": "idle",
    "last_success_ms": 1_750_000_000_000,
    "held_bytes": 1_500_000,
    "findings": [],
}
THROTTLED = {
    **IDLE,
    "relay": "cloudkit",
    "state": "waiting",
    "code": "relay-throttled",
    "reason": "CloudKit asks to wait",
    "next_step": "Nothing: it is tried again by itself.",
    "waits_until_ms": 1_750_000_100_000,
    "to_send": 3,
    "to_send_since_ms": 1_749_999_000_000,
    "to_fetch": 1,
    "limit_bytes": 50_000_000,
}
WENT_BACK = {"name": "attic", "code": "relay-rolled-back", "text": "its head went back", "next_step": "Nothing."}
ROLLED_BACK = {**IDLE, "findings": [WENT_BACK]}


def test_status_says_what_is_on_its_way_and_what_stops_it(daemon: Any, peerctl: Any) -> None:
    daemon.on("GET", "/v1/relays", {"relays": [THROTTLED, IDLE]})
    got = peerctl("relay", "status")
    assert got.code == 0
    for words in (
        "cloudkit  home  waiting",
        "CloudKit asks to wait [relay-throttled]",
        "next: Nothing: it is tried again by itself.",
        "next try: ",
        "to be left there: 3 transactions, since ",
        "to be fetched: 1 transaction\n",
        "1.5 MB are there, of at most 50 MB",
        "folder  home  idle",
    ):
        assert words in got.out
    assert json.loads(peerctl("relay", "status", "--json").out) == {"relays": [THROTTLED, IDLE]}


def test_what_is_wrong_on_a_relay_is_an_exit_code_too(daemon: Any, peerctl: Any) -> None:
    daemon.on("GET", "/v1/relays", {"relays": [ROLLED_BACK]})
    got = peerctl("relay", "status")
    assert got.code == 4
    assert "  attic: its head went back [relay-rolled-back]\n  attic: next: Nothing.\n" in got.out
    daemon.on("GET", "/v1/relays", {"relays": [{**IDLE, "state": "trouble", "reason": "no rights", "code": "x"}]})
    assert peerctl("relay", "status").code == 4


def test_of_a_relay_that_could_not_be_looked_at_nothing_is_said_to_be_there(daemon: Any, peerctl: Any) -> None:
    empty = {**IDLE, "held_bytes": 0, "limit_bytes": 50_000_000}
    daemon.on("GET", "/v1/relays", {"relays": [{**empty, "state": "trouble", "code": "relay-denied", "reason": "no"}]})
    assert "are there" not in peerctl("relay", "status").out
    daemon.on("GET", "/v1/relays", {"relays": [empty]})
    assert "0 kB are there, of at most 50 MB" in peerctl("relay", "status").out


def test_of_a_space_that_is_not_here_nothing_is_said_to_be_there(daemon: Any, peerctl: Any) -> None:
    lacking = {"relay": "folder", "space": "home", "state": "trouble", "code": "space-not-found", "reason": "no home"}
    daemon.on("GET", "/v1/relays", {"relays": [lacking]})
    got = peerctl("relay", "status")
    assert "no home [space-not-found]" in got.out
    assert "are there" not in got.out


def test_without_relays_it_says_so(daemon: Any, peerctl: Any) -> None:
    daemon.on("GET", "/v1/relays", {"relays": []})
    got = peerctl("relay", "status")
    assert (got.code, got.out) == (0, "")
    assert "no relay is in use here" in got.err


def test_sync_asks_again_until_it_is_over(daemon: Any, peerctl: Any) -> None:
    answers = [{"relays": [{**IDLE, "state": "working"}]}, {"relays": [IDLE]}]
    daemon.on_call("POST", "/v1/relays/sync", lambda _request: answers.pop(0))
    got = peerctl("relay", "sync", "folder")
    assert got.code == 0
    assert answers == []
    assert "folder  home  idle" in got.out


def test_a_sync_that_failed_is_an_exit_code(daemon: Any, peerctl: Any) -> None:
    """Whatever it waits for; to wait for an answer to a petition is no failure, and has no code to show."""
    daemon.on("POST", "/v1/relays/sync", {"relays": [IDLE, THROTTLED]})
    assert peerctl("relay", "sync").code == 4
    asked = {**IDLE, "state": "waiting", "code": "", "reason": "no member has answered yet", "held_bytes": 4096}
    daemon.on("POST", "/v1/relays/sync", {"relays": [asked]})
    got = peerctl("relay", "sync")
    assert got.code == 0
    assert "no member has answered yet\n" in got.out
    assert "4 kB are there" in got.out


def test_check_shows_every_probe(daemon: Any, peerctl: Any) -> None:
    probes = [
        {"check": "reached", "ok": True, "text": "it answers", "next_step": ""},
        {"check": "rights", "ok": False, "text": "no CREATE", "next_step": "Grant it in the Console."},
    ]
    daemon.on("POST", "/v1/relays/check", {"relays": [{"relay": "cloudkit", "probes": probes}]})
    got = peerctl("relay", "check")
    assert got.code == 4
    assert got.out.splitlines() == [
        "ok       cloudkit  reached  it answers",
        "problem  cloudkit  rights  no CREATE",
        "         next: Grant it in the Console.",
    ]
    daemon.on("POST", "/v1/relays/check", {"relays": [{"relay": "cloudkit", "probes": probes[:1]}]})
    assert peerctl("relay", "check").code == 0
