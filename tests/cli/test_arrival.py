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
    monkeypatch.setattr(arrival, "_SETTLING_S", 0.0)


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


BLOCKED = {**PEER, "state": "blocked", "reason": "no room", "next_step": "Make room on this device."}
NO_ROOM = view("degraded", peers=[BLOCKED], reason="nas: no room", next_step="Make room on this device.")


@pytest.mark.parametrize("asked", [True, False])
def test_join_ends_where_it_comes_no_further(
    daemon: Any,
    peerctl: Any,
    on_terminal: Any,
    asked: bool,  # noqa: FBT001 - a parameter
) -> None:
    looks(daemon, NO_ROOM)
    got = peerctl("join", "48219073", "--yes", "--wait") if asked else on_terminal("join", "48219073", "--yes")
    said = (got.err if asked else got.out).replace("\r", "")
    assert "0 records here; nas: no room" in said
    assert "  next: Make room on this device." in said
    assert got.code == (4 if asked else 0), "it has joined; who asked to wait has not got what it waited for"


TROUBLE = {**PEER, "name": "kitchen", "state": "blocked", "reason": "two machines run with its keys"}
DEGRADED = {"reason": "kitchen: two machines run with its keys", "next_step": "Keep one."}


@pytest.mark.parametrize(
    "coming",
    [
        view("degraded", peers=[TROUBLE, PEER], **DEGRADED),
        view("degraded", peers=[TROUBLE], snapshot=SNAPSHOT, **DEGRADED),
        view("degraded", peers=[PEER], reason="tables todo: the file is not there", next_step="Put it back."),
        view(
            "syncing", peers=[{**PEER, "behind": 14_089}, {**PEER, "name": "office", "state": "in sync", "behind": 0}]
        ),
    ],
    ids=["one of two members", "a snapshot", "a file", "more of another"],
)
def test_join_waits_while_anybody_brings_something(daemon: Any, peerctl: Any, coming: dict[str, Any]) -> None:
    looks(daemon, *([coming] * 100), DONE)
    got = peerctl("join", "48219073", "--yes", "--wait")
    assert got.err.endswith("1,000,000 records here\n")
    assert got.code == 0


def course(monkeypatch: pytest.MonkeyPatch, *views: dict[str, Any], seconds: int = 60) -> tuple[int | None, bool]:
    """At which second a course of one view a second is over, and whether the space is there."""
    monkeypatch.setattr(arrival, "_SETTLING_S", 5.0)
    now = [0]
    followed = arrival._Course(lambda: float(now[0]))
    for second in range(seconds):
        now[0] = second
        if followed.is_over(views[min(second, len(views) - 1)]):
            return second, followed.is_there
    return None, followed.is_there


def test_a_trouble_that_passes_is_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    assert course(monkeypatch, NO_ROOM, NO_ROOM, view("syncing"), NO_ROOM, NO_ROOM, DONE) == (5, True)
    assert course(monkeypatch, view("syncing"), NO_ROOM) == (6, False)


def test_what_comes_from_a_member_with_a_finding_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    left = [view("degraded", peers=[{**TROUBLE, "behind": behind}], **DEGRADED) for behind in range(40, -1, -1)]
    assert course(monkeypatch, *left) == (46, False)


def test_a_member_that_is_in_step_is_not_the_last_word_while_others_are_met(monkeypatch: pytest.MonkeyPatch) -> None:
    office = {**PEER, "name": "office", "state": "in sync", "behind": 0}
    meeting = view("syncing", peers=[office, {**PEER, "state": "connecting", "behind": None}])
    more = view("syncing", peers=[office, {**PEER, "behind": 9}])
    assert course(monkeypatch, meeting, meeting, more, more, DONE) == (4, True)
    assert course(monkeypatch, meeting) == (6, True)


def test_without_anybody_linked_it_waits_a_little(monkeypatch: pytest.MonkeyPatch) -> None:
    away = view("offline", peers=[{**PEER, "state": "offline"}])
    assert course(monkeypatch, away) == (21, False)
    assert course(monkeypatch, *[view("syncing")] * 30, away) == (50, False)
    assert course(monkeypatch, *[away] * 19, view("syncing"), DONE) == (20, True)


def test_nothing_of_a_relay_is_waited_for_when_there_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    there = view("degraded", peers=[{**PEER, "state": "relayed", "behind": 0}], reason="the relay is full")
    assert course(monkeypatch, there) == (6, False)
    assert course(monkeypatch, view("in sync", peers=there["peers"])) == (0, True)
    assert course(monkeypatch, view("removed", peers=[], reason="this device was removed")) == (0, False)
