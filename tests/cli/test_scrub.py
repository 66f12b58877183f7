"""`scrub`, and what `status` says of damage that was found."""

from __future__ import annotations

import json
from typing import Any

FINDING = {
    "at_ms": 1_700_000_000_000,
    "found": "changed",
    "collection": "notes",
    "key": "a",
    "device": "",
    "done": "log",
    "text": "notes/a is not what was written: put right from the log",
}
VIEW: dict[str, Any] = {
    "running": False,
    "progress": 0.5,
    "finished_ms": 1_700_000_000_000,
    "records": 1204,
    "runs": 1,
    "found": 0,
    "damaged": 0,
    "repaired": 0,
    "findings": [],
    "reason": "",
    "next_step": "",
}
REPAIRED = {**VIEW, "found": 1, "repaired": 1, "findings": [FINDING]}
OPEN = {
    **VIEW,
    "found": 1,
    "damaged": 1,
    "findings": [{**FINDING, "done": "", "text": "notes/a is not what was written"}],
    "reason": "1 record in this device's copy is damaged",
    "next_step": "look at the disk",
}


def status(scrub: dict[str, Any]) -> dict[str, Any]:
    space = {
        "name": "home", "id": "00", "state": "in sync", "records": 1, "conflicts": 0, "parked": 0, "clock": {},
        "digest": "0123", "peers": [], "reason": scrub["reason"], "next_step": scrub["next_step"], "scrub": scrub,
    }  # fmt: skip
    device = {"id": "KITCHEN", "name": "kitchen", "state": "running", "reason": "", "next_step": ""}
    return {"version": "1", "device": device, "spaces": [space], "since_ms": 1}


def test_a_sound_copy_is_said_to_be(daemon: Any, peerctl: Any) -> None:
    daemon.on("POST", "/v1/spaces/home/scrub", VIEW)
    got = peerctl("scrub", "home")
    assert (got.code, got.out) == (0, "")
    assert got.err == "looked at 1,204 records and 1 run of the log: all as written\n"
    assert json.loads(peerctl("scrub", "home", "--json").out) == VIEW


def test_what_was_repaired_is_listed(daemon: Any, peerctl: Any) -> None:
    daemon.on("POST", "/v1/spaces/home/scrub", REPAIRED)
    got = peerctl("scrub", "home")
    assert got.code == 0
    assert got.out.rstrip("\n").split("\t")[1:] == ["changed", "log", FINDING["text"]]


def test_what_is_not_repaired_makes_a_bad_exit(daemon: Any, peerctl: Any) -> None:
    daemon.on("POST", "/v1/spaces/home/scrub", OPEN)
    got = peerctl("scrub", "home")
    assert got.code == 4
    assert f"{OPEN['reason']}\n  next: look at the disk\n" in got.err
    assert got.out.split("\t")[1:3] == ["changed", "open"]


def test_so_does_a_copy_that_cannot_be_looked_at(daemon: Any, peerctl: Any) -> None:
    daemon.problem("POST", "/v1/spaces/home/scrub", 500, code="store-damaged", next_step="rebuild it")
    assert peerctl("scrub", "home").code == 4
    daemon.problem("POST", "/v1/spaces/home/scrub", 500, code="store-failed")
    assert peerctl("scrub", "home").code == 1


def test_a_long_one_is_waited_for(daemon: Any, peerctl: Any) -> None:
    daemon.on("POST", "/v1/spaces/home/scrub", {**VIEW, "running": True})
    views = iter([{**VIEW, "running": True}, REPAIRED])
    daemon.on_call("GET", "/v1/spaces/home", lambda _: {"scrub": next(views)})
    assert json.loads(peerctl("scrub", "home", "--json").out) == REPAIRED


def test_status_tells_of_damage(daemon: Any, peerctl: Any, on_terminal: Any) -> None:
    daemon.on("GET", "/v1/status", status(VIEW))
    assert "damage" not in peerctl("status").out
    daemon.on("GET", "/v1/status", status(REPAIRED))
    got = peerctl("status")
    assert got.code == 0
    assert ["damage", "home", "changed", "notes", "a", "log", "", FINDING["text"]] in [
        line.split("\t") for line in got.out.splitlines()
    ]
    shown = on_terminal("status").out
    assert "1 repaired" in shown
    assert "put right from the log" in shown
    theirs = {**FINDING, "done": "equal", "text": "this device's copy and nas's differed: the same as nas has"}
    daemon.on("GET", "/v1/status", status({**VIEW, "findings": [theirs]}))
    assert "  looked at in the last 30 days, and in order here:\n" in on_terminal("status", "--no-color").out
    many = {**VIEW, "repaired": 3, "findings": [theirs, *[FINDING] * 3]}
    daemon.on("GET", "/v1/status", status(many))
    assert "    and 1 more: `peerctl scrub home`" in on_terminal("status", "--no-color").out
    daemon.on("GET", "/v1/status", status(OPEN))
    assert peerctl("status").code == 4
    assert "1 damaged" in on_terminal("status").out
