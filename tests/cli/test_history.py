"""`log` and `show`."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

WHERE = "/v1/spaces/home/log"


def entry(number: int, *changes: dict[str, Any], name: str = "nas") -> dict[str, Any]:
    dot = f"{'ab' * 16}:{number}"
    return {
        "dot": dot,
        "device": "NASAAAA-NASBBBB",
        "device_name": name,
        "time_ms": 1000 * number,
        "arrived_ms": 1000 * number,
        "changes": list(changes),
    }


PUT = {"kind": "put", "collection": "books", "key": "k1", "set": {"a": 1}}
PATCH = {"kind": "patch", "collection": "books", "key": "k2", "set": {"a": 1}, "drop": ["b"]}
DELETE = {"kind": "delete", "collection": "books", "key": "k\n3"}


def test_log_lists_transactions_with_their_changes(daemon: Any, peerctl: Any) -> None:
    page = {"transactions": [entry(2, PATCH, DELETE, name=""), entry(1, PUT)], "cursor": None}
    daemon.on("GET", WHERE, page)
    got = peerctl("log", "home")
    assert got.out.splitlines() == [
        f"1970-01-01 00:00:02\tNASAAAAN\t{'ab' * 16}:2\tpatch books/k2 (a, -b)\tdelete books/k\\n3",
        f"1970-01-01 00:00:01\tnas\t{'ab' * 16}:1\tput books/k1",
    ]
    assert daemon.asked[0].query == {"limit": "50"}
    assert json.loads(peerctl("log", "home", "--json").out) == {"transactions": page["transactions"], "begins": None}


def test_on_a_terminal_a_long_transaction_is_summed_up(daemon: Any, on_terminal: Any) -> None:
    daemon.on("GET", WHERE, {"transactions": [entry(1, *[PUT] * 1000)], "cursor": None})
    shown = re.sub(r"\x1b\[[0-9;]*m", "", on_terminal("log", "home").out)
    assert shown == f"1970-01-01 00:00:01  nas  abababab:1  {'put books/k1  ' * 3}and 997 more\n"


@pytest.mark.parametrize(("limit", "shown", "asked"), [("3", 3, "3"), ("0", 4, "1000"), ("5000", 4, "1000")])
def test_limit_counts_over_pages(daemon: Any, peerctl: Any, limit: str, shown: int, asked: str) -> None:
    pages = {
        None: {"transactions": [entry(4), entry(3)], "cursor": "c"},
        "c": {"transactions": [entry(2), entry(1)], "cursor": None},
    }
    daemon.on_call("GET", WHERE, lambda request: pages[request.query.get("cursor")])
    assert len(peerctl("log", "home", "--limit", limit).out.splitlines()) == shown
    assert daemon.asked[0].query["limit"] == asked


def test_log_says_that_there_is_nothing(daemon: Any, peerctl: Any) -> None:
    daemon.on("GET", WHERE, {"transactions": [], "cursor": None})
    assert peerctl("log", "home", "--collection", "boks") == (0, "", "no such transactions\n")


def test_log_passes_its_filters_on(daemon: Any, peerctl: Any) -> None:
    daemon.on("GET", WHERE, {"transactions": [], "cursor": None})
    assert peerctl("log", "home", "--device", "D", "--collection", "books", "--key", "k").code == 0
    assert daemon.asked[0].query == {"limit": "50", "device": "D", "collection": "books", "key": "k"}
    assert peerctl("log", "home", "--limit", "-1").code == 2
    assert peerctl("log", "home", "--key", "k").code == 2


def test_log_takes_times_and_asks_for_them_in_milliseconds(daemon: Any, peerctl: Any) -> None:
    daemon.on("GET", WHERE, {"transactions": [], "cursor": None})
    assert peerctl("log", "home", "--since", "2026-05-01T00:00Z", "--until", "2026-05-01T00:00:01Z").code == 0
    assert daemon.asked[0].query == {"limit": "50", "since_ms": "1777593600000", "until_ms": "1777593601000"}
    assert peerctl("log", "home", "--since", "1h", "--until", "2h").code == 2
    assert peerctl("log", "home", "--since", "soon").code == 2


def test_a_time_that_is_not_the_arrival_has_it_beside_it(daemon: Any, peerctl: Any) -> None:
    late = {**entry(2, PUT), "arrived_ms": 3_600_000}
    daemon.on("GET", WHERE, {"transactions": [late, {**entry(1, PUT), "arrived_ms": None}], "cursor": None})
    first, second = peerctl("log", "home").out.splitlines()
    assert first.startswith("1970-01-01 00:00:02 (here 1970-01-01 01:00:00)\tnas\t")
    assert second.startswith("1970-01-01 00:00:01\tnas\t")


@pytest.mark.parametrize("cause", ["trimmed", "snapshot", "forgotten", "cut"])
def test_where_the_log_begins_is_said_at_its_end(daemon: Any, peerctl: Any, cause: str) -> None:
    """Not where only a part of it was asked for."""
    begins = {"time_ms": 1000, "cause": cause}
    pages = {
        None: {"transactions": [entry(3)], "cursor": "c", "begins": begins},
        "c": {"transactions": [entry(2)], "cursor": None, "begins": begins},
    }
    daemon.on_call("GET", WHERE, lambda request: pages[request.query.get("cursor")])
    assert "1970-01-01 00:00:01" in peerctl("log", "home").err
    assert peerctl("log", "home", "--limit", "1").err == ""
    assert json.loads(peerctl("log", "home", "--json").out)["begins"] == begins


# ---- show

HISTORY = "/v1/spaces/home/records/books/k%2F1/history"
VERSION = {
    "dot": f"{'ab' * 16}:3",
    "device": "NASAAAA-NASBBBB",
    "device_name": "nas",
    "time_ms": 1000,
    "arrived_ms": 2000,
    "kind": "changed",
    "set": {"a": 1},
    "drop": [],
    "value": {"a": 1},
    "conflicts": [],
}


def test_show_lists_the_versions_of_a_record(daemon: Any, peerctl: Any) -> None:
    gone = {**VERSION, "kind": "deleted", "value": None, "time_ms": None, "arrived_ms": 3000, "device_name": ""}
    page = {"versions": [gone, VERSION], "cursor": None, "begins": {"time_ms": 1000, "cause": "trimmed"}}
    daemon.on("GET", HISTORY, page)
    got = peerctl("show", "home", "books", "k/1")
    assert got.out.splitlines() == [
        f"1970-01-01 00:00:03\tNASAAAAN\t{'ab' * 16}:3\tdeleted",
        f'1970-01-01 00:00:01\tnas\t{"ab" * 16}:3\tchanged\t{{"a": 1}}',
    ]
    assert "begins at 1970-01-01 00:00:01" in got.err
    assert daemon.asked[0].query == {"limit": "50"}
    assert json.loads(peerctl("show", "home", "books", "k/1", "--json").out) == {
        "versions": page["versions"], "begins": page["begins"],
    }  # fmt: skip
    daemon.on("GET", HISTORY, {"versions": [], "cursor": None})
    unknown = peerctl("show", "home", "books", "k/1")
    assert (unknown.code, unknown.err) == (1, "nothing is known here of books/k/1\n")
    assert peerctl("show", "home", "books", "k/1", "--json").code == 1
    assert peerctl("show", "home", "books", "k/1", "--limit", "-1").code == 2


def test_show_at_a_time_prints_the_record(daemon: Any, peerctl: Any) -> None:
    value = {"value": 2, "device": None, "device_name": "nas", "time_ms": 1, "dot": "aa:1", "shown": False}
    then = {"collection": "books", "key": "k/1", "at_ms": 1000, "value": {"a": 1}, "values": {}, "estimated": True}
    daemon.on("GET", f"{HISTORY}/1000", {**then, "values": {"a": [{**value, "shown": True}, value]}})
    got = peerctl("show", "home", "books", "k/1", "--at", "1970-01-01T00:00:01Z")
    assert (got.code, json.loads(got.out)) == (0, {"a": 1})
    assert "a was in conflict; nas had written 2" in got.err
    assert "its author's clock was believed" in got.err
    daemon.on("GET", f"{HISTORY}/1000", {**then, "value": None})
    got = peerctl("show", "home", "books", "k/1", "--at", "1970-01-01T00:00:01Z")
    assert (got.code, got.out) == (1, "")
    assert "there was no books/k/1 here at 1970-01-01 00:00:01" in got.err
    assert (
        json.loads(peerctl("show", "home", "books", "k/1", "--at", "1970-01-01T00:00:01Z", "--json").out)["value"]
        is None
    )
