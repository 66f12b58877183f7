"""`revert`."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.cli.conftest import Reply

WHERE = "/v1/spaces/home/revert"
DOT = f"{'ab' * 16}:7"


def record(key: str, done: str | None = "created", **more: Any) -> dict[str, Any]:
    empty: dict[str, Any] = {"set": {}, "drop": [], "left": [], "conflicts": [], "reason": ""}
    return {"collection": "books", "key": key, "done": done, **empty, **more}


RECORDS = [
    record("k1", set={"a": 1}),
    record("k2", "changed", set={"a": 2}, drop=["b"], left=["c"], conflicts=["a"]),
    record("k3", "deleted"),
    record("k4", None, left=["(deleted)"]),
    record("k5", None, reason="it is so"),
]


def answering(daemon: Any, *portions: list[dict[str, Any]]) -> None:
    """In as many portions; a preview has no transactions."""

    def answer(request: Any) -> dict[str, Any]:
        number = int(request.body.get("cursor", 0))
        is_preview = request.body.get("preview", False)
        dot = None if is_preview else DOT
        cursor = str(number + 1) if number + 1 < len(portions) else None
        return {"dot": dot, "preview": is_preview, "records": portions[number], "cursor": cursor}

    daemon.on_call("POST", WHERE, answer)
    daemon.on("GET", "/v1/status", {"device": {"id": "KITCHEN-AAAAAAB"}})


def test_one_that_is_left_is_one(daemon: Any, peerctl: Any) -> None:
    answering(daemon, [RECORDS[0], RECORDS[4]])
    assert "1 record would be put back; 1 record left as it is" in peerctl("revert", "home", "abab:3", stdin="n\n").err


def test_it_shows_what_would_be_done_and_asks(daemon: Any, peerctl: Any) -> None:
    answering(daemon, RECORDS[:2], RECORDS[2:])
    got = peerctl("revert", "home", "abab:3", stdin="y\n")
    assert got.code == 0
    assert got.out.splitlines() == [
        'create\tbooks/k1\t{"a": 1}',
        'change\tbooks/k2\t{"a": 2}\tdrop b\tchanged since: c\tin conflict: a',
        "delete\tbooks/k3",
        "leave\tbooks/k4\tchanged since: (deleted)",
        "leave\tbooks/k5\tit is so",
    ]
    assert "3 records would be put back; 3 records left as they are" in got.err
    assert re.search(
        r"to undo that again: peerctl revert home --device KITCHENA --since '\d{4}-\d\d-\d\d \d\d:\d\d:\d\d'", got.err
    )
    assert daemon.bodies("POST") == [
        {"transaction": "abab:3", "preview": True},
        {"transaction": "abab:3", "preview": True, "cursor": "1"},
        {"transaction": "abab:3"},
        {"transaction": "abab:3", "cursor": "1"},
    ]


def test_without_an_answer_nothing_is_done(daemon: Any, peerctl: Any) -> None:
    answering(daemon, RECORDS)
    for typed in ("n\n", ""):
        got = peerctl("revert", "home", "abab:3", stdin=typed)
        assert got.code == 1
        assert "nothing was undone" in got.err
    assert all(body["preview"] for body in daemon.bodies("POST"))


def test_yes_does_it_at_once_and_a_dry_run_never(daemon: Any, peerctl: Any) -> None:
    answering(daemon, RECORDS)
    assert peerctl("revert", "home", "--since", "1970-01-01T00:00:01Z", "--yes").code == 0
    assert daemon.bodies("POST") == [{"since_ms": 1000}]
    got = peerctl("revert", "home", "--since", "1970-01-01T00:00:01Z", "--yes", "--dry-run", "--json")
    assert json.loads(got.out) == {"preview": True, "transactions": [], "records": RECORDS}
    assert daemon.bodies("POST")[1:] == [{"since_ms": 1000, "preview": True}]


def test_json_is_one_document(daemon: Any, peerctl: Any) -> None:
    answering(daemon, RECORDS[:1], RECORDS[1:])
    got = peerctl("revert", "home", "abab:3", "--json", stdin="y\n")
    assert json.loads(got.out) == {"preview": False, "transactions": [DOT, DOT], "records": RECORDS}


def test_a_long_list_is_cut_on_a_terminal(daemon: Any, on_terminal: Any) -> None:
    answering(daemon, [record(f"{number}") for number in range(30)])
    shown = re.sub(r"\x1b\[[0-9;]*m", "", on_terminal("revert", "home", "abab:3", typed="y\n").out)
    assert shown.count("create  books/") == 20
    assert "and 10 more; --json shows all" in shown
    assert "Put back 30 records in home? [y/N]" in shown
    assert "to undo that again: peerctl revert home abababab:7" in shown


def test_nothing_to_undo_is_said_and_what_is_left_is_a_refusal(daemon: Any, peerctl: Any) -> None:
    answering(daemon, [])
    got = peerctl("revert", "home", "abab:3")
    assert (got.code, "there is nothing to undo" in got.err) == (0, True)
    answering(daemon, RECORDS[3:])
    assert peerctl("revert", "home", "abab:3").code == 6
    assert peerctl("revert", "home", "abab:3", "--yes").code == 6


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((), "name a transaction, or a time with --since [usage]\n  next: `peerctl log home` lists"),
        (("--device", "nas"), "name a transaction, or a time with --since"),
        (("abab:3", "--since", "2h"), "a transaction and --since were given: not both [usage]\n  next: name the"),
        (("abab:3", "--device", "nas", "--since", "2h"), "a transaction and --device and --since were given: not both"),
    ],
)
def test_what_is_undone_is_named_in_one_way(daemon: Any, peerctl: Any, given: tuple[str, ...], said: str) -> None:
    got = peerctl("revert", "home", *given)
    assert (got.code, daemon.asked) == (2, [])
    assert got.err.startswith(f"peerctl: {said}")


def test_what_is_done_before_an_error_is_said(daemon: Any, peerctl: Any) -> None:
    def answer(request: Any) -> Any:
        if request.body.get("cursor") is None:
            return {"dot": DOT, "preview": False, "records": RECORDS, "cursor": "c"}
        return Reply(507, {"status": 507, "code": "disk-full", "detail": "the disk is full"})

    daemon.on_call("POST", WHERE, answer)
    got = peerctl("revert", "home", "abab:3", "--yes")
    assert got.code == 1
    assert "3 records put back; then: the disk is full" in got.err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["abab:3", "--since", "1h"],
        ["abab:3", "--device", "nas"],
        ["--device", "nas"],
        ["--since", "2h", "--until", "1h"],
        ["--since", "1h", "--until", "2h", "--device", "nas"],
        ["abab:3", "--key", "k"],
    ],
)
def test_what_contradicts_itself_is_not_sent(daemon: Any, peerctl: Any, arguments: list[str]) -> None:
    assert peerctl("revert", "home", *arguments).code == 2
    assert daemon.asked == []


def test_a_device_and_a_record_are_passed_on(daemon: Any, peerctl: Any) -> None:
    answering(daemon, RECORDS)
    times = ("--since", "1970-01-01T00:00:01Z", "--until", "1970-01-01T00:00:02Z")
    more = ("--device", "nas", "--collection", "books", "--key", "k1", "--anyway", "--yes")
    assert peerctl("revert", "home", *times, *more).code == 0
    assert daemon.bodies("POST") == [
        {"device": "nas", "collection": "books", "key": "k1", "anyway": True, "since_ms": 1000, "until_ms": 2000}
    ]
