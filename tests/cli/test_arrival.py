"""How a space fills, as `status` and `join` show it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from peerd.cli import arrival

JOINED = {"space": "home", "id": "00ff", "device": "NASAAAA", "device_name": "nas"}
SNAPSHOT = {
    "device": "NASAAAA",
    "name": "nas",
    "state": "receiving",
    "records": 412_000,
    "of_records": 1_000_000,
    "bytes": 96_000_000,
    "of_bytes": 233_000_000,
    "left_s": 38.2,
}
PEER = {"name": "nas", "device": "NASAAAA", "state": "syncing", "behind": 7, "ahead": 0, "reason": "", "next_step": ""}


def view(state: str, **more: Any) -> dict[str, Any]:
    return {
        "name": "home", "id": "00ff", "state": state, "records": 0, "conflicts": 0, "clock": {}, "digest": "ab" * 16,
        "peers": [PEER], "reason": "", "next_step": "", **more,
    }  # fmt: skip


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrival, "_LOOK_S", 0.0)


def looks(daemon: Any, *views: dict[str, Any]) -> None:
    """What the space is like at each look; the last one stays."""
    left = list(views)
    daemon.on_call("GET", "/v1/spaces/home", lambda _: left.pop(0) if len(left) > 1 else left[0])
    daemon.on("POST", "/v1/joins", JOINED)


DONE = view("in sync", records=1_000_000, peers=[{**PEER, "state": "in sync"}])


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({}, "receiving a snapshot from nas: 412,000 of 1,000,000 records, 38 s left"),
        ({"left_s": None}, "receiving a snapshot from nas: 412,000 of 1,000,000 records"),
        ({"name": "", "device": ""}, "receiving a snapshot from a relay: 412,000 of 1,000,000 records, 38 s left"),
        ({"state": "merging"}, "merging a snapshot from nas with what was written here"),
    ],
)
def test_a_snapshot_in_words(changed: dict[str, Any], words: str) -> None:
    assert arrival.in_words({**SNAPSHOT, **changed}) == words


def test_status_says_how_far_a_snapshot_is_and_where_history_begins(
    daemon: Any, peerctl: Any, on_terminal: Any
) -> None:
    device = {"id": "NAS", "name": "phone", "state": "running", "reason": "", "next_step": ""}
    taken = {"device": "NASAAAA", "name": "nas", "time_ms": 1_750_000_000_000, "agreed": False}
    space = view("receiving", snapshot=SNAPSHOT, taken=taken)
    daemon.on("GET", "/v1/status", {"version": "0", "device": device, "spaces": [space]})
    shown = on_terminal("status", env={"TZ": "UTC"})
    assert "receiving a snapshot from nas: 412,000 of 1,000,000 records, 38 s left" in shown.out
    assert "its history begins at 2025-06-15 15:06:40, with a snapshot of nas" in shown.out
    assert shown.code == 0
    listed = peerctl("status")
    assert "snapshot\thome\tnas\tNASAAAA\treceiving\t412000\t1000000\t96000000\t233000000\t38.2\n" in listed.out


def test_join_waits_and_says_how_far_it_is(daemon: Any, peerctl: Any) -> None:
    looks(daemon, view("connecting"), view("receiving", snapshot=SNAPSHOT), DONE)
    got = peerctl("join", "48219073", "--yes", "--wait", "--json")
    lines = [json.loads(line) for line in got.out.splitlines()]
    assert lines[0] == JOINED
    assert [line["state"] for line in lines[1:]] == ["connecting", "receiving", "in sync"]
    assert lines[2]["snapshot"] == SNAPSHOT
    assert got.code == 0


def test_join_without_wait_answers_at_once_where_nobody_looks(daemon: Any, peerctl: Any) -> None:
    looks(daemon, view("receiving", snapshot=SNAPSHOT))
    assert json.loads(peerctl("join", "48219073", "--yes", "--json").out) == JOINED


def test_join_shows_a_bar_to_a_person(daemon: Any, on_terminal: Any) -> None:
    looks(daemon, view("connecting"), view("receiving", snapshot=SNAPSHOT), DONE)
    shown = on_terminal("join", "48219073", "--yes")
    assert "]  41%  412,000 records" in shown.out
    assert "38 s left" in shown.out
    assert shown.out.rstrip().endswith("1,000,000 records here")


def test_join_ends_where_it_comes_no_further(daemon: Any, peerctl: Any) -> None:
    looks(daemon, view("degraded", reason="nas: no room", next_step="Make room on this device."))
    got = peerctl("join", "48219073", "--yes", "--wait")
    assert "0 records here; nas: no room\n  next: Make room on this device.\n" in got.err
    assert got.code == 0
