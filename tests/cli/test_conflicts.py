"""`conflicts` and `resolve`."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

WHERE = "/v1/spaces/home/conflicts"
VALUES = [
    {
        "n": 1,
        "value": "Milk",
        "device": "KITCHEN-AAA",
        "device_name": "kitchen",
        "time_ms": 1_700_000_000_000,
        "dot": "aa:4",
        "shown": True,
    },
    {
        "n": 2,
        "value": {"x": "\u202e"},
        "device": "PHONEAA-BBB",
        "device_name": "",
        "time_ms": 0,
        "dot": "bb:9",
        "shown": False,
    },
]
CONFLICT = {
    "id": "3fa8",
    "kind": "field",
    "collection": "books",
    "key": "k1",
    "field": "title",
    "etag": "c1",
    "values": VALUES,
}
RESTORED = {
    **CONFLICT, "id": "77aa", "kind": "restored", "field": None, "values": VALUES[:1],
    "deleted_by": "PHONEAA-BBB", "deleted_by_name": "phone",
}  # fmt: skip


def test_no_conflicts_is_exit_0(daemon: Any, peerctl: Any) -> None:
    daemon.on("GET", WHERE, {"conflicts": [], "cursor": None})
    assert peerctl("conflicts", "home") == (0, "", "no conflicts\n")
    assert peerctl("conflicts", "home", "--json") == (0, '{"conflicts": []}\n', "")


def test_open_conflicts_are_exit_5_with_all_values(daemon: Any, peerctl: Any) -> None:
    pages = {None: {"conflicts": [CONFLICT], "cursor": "c"}, "c": {"conflicts": [RESTORED], "cursor": None}}
    daemon.on_call("GET", WHERE, lambda asked: pages[asked.query.get("cursor")])
    got = peerctl("conflicts", "home", "--json")
    assert (got.code, json.loads(got.out)) == (5, {"conflicts": [CONFLICT, RESTORED]})
    got = peerctl("conflicts", "home")
    assert (got.code, got.err) == (5, "")
    assert got.out.splitlines() == [
        '3fa8\tfield\tbooks\tk1\ttitle\t1\t"Milk"\tkitchen\tKITCHEN-AAA\t2023-11-14 22:13:20\tshown',
        '3fa8\tfield\tbooks\tk1\ttitle\t2\t{"x": "\\u202e"}\t\tPHONEAA-BBB\t1970-01-01 00:00:00\t',
        '77aa\trestored\tbooks\tk1\t\t1\t"Milk"\tkitchen\tKITCHEN-AAA\t2023-11-14 22:13:20\tshown\tdeleted by phone',
    ]


def test_on_a_terminal_each_conflict_is_a_table(daemon: Any, on_terminal: Any) -> None:
    daemon.on("GET", WHERE, {"conflicts": [CONFLICT, RESTORED], "cursor": None})
    got = on_terminal("conflicts", "home")
    assert got.code == 5
    assert re.sub(r"\x1b\[[0-9;]*m", "", got.out) == (
        "books/k1  field title  3fa8\n"
        "N  VALUE            DEVICE    WRITTEN\n"
        '1  "Milk"           kitchen   2023-11-14 22:13:20  shown\n'
        '2  {"x": "\\u202e"}  PHONEAAB  1970-01-01 00:00:00\n'
        "\n"
        "books/k1  edited on one device, deleted on phone: restored  77aa\n"
        "N  VALUE   DEVICE   WRITTEN\n"
        '1  "Milk"  kitchen  2023-11-14 22:13:20  shown\n'
        "\n"
        "2 conflicts; settle with: peerctl resolve home ID --choose N, or --value JSON, or --drop\n"
    )


def test_a_value_that_is_cut_is_said_to_be(daemon: Any, on_terminal: Any, peerctl: Any) -> None:
    long = {**VALUES[0], "value": "x" * 100}
    unknown = {**RESTORED, "values": [long], "deleted_by": None, "deleted_by_name": ""}
    daemon.on("GET", WHERE, {"conflicts": [unknown], "cursor": None})
    shown = on_terminal("conflicts", "home", "--no-color").out
    assert "long values are cut; --json shows them whole" in shown
    assert "deleted on another: restored" in shown
    assert "x" * 100 in peerctl("conflicts", "home").out


def test_conflicts_of_one_record(daemon: Any, peerctl: Any) -> None:
    daemon.on("GET", WHERE, {"conflicts": [], "cursor": None})
    peerctl("conflicts", "home", "--collection", "books", "--key", "k1")
    assert daemon.asked[0].query == {"limit": "1000", "collection": "books", "key": "k1"}
    assert peerctl("conflicts", "home", "--key", "k1").code == 2


@pytest.mark.parametrize(
    ("argv", "body"),
    [
        (("--choose", "2"), {"choose": 2}),
        (("--value", '{"a": 1}'), {"value": {"a": 1}}),
        (("--value", "null"), {"value": None}),
        (("--value", "-"), {"value": [1]}),
        (("--drop",), {"drop": True}),
        (("--choose", "1", "--if-match", '"c1"'), {"choose": 1, "etag": "c1"}),
    ],
)
def test_resolve_sends_one_decision(daemon: Any, peerctl: Any, argv: tuple[str, ...], body: dict[str, Any]) -> None:
    written = {"dot": "aa:5", "changed": True, "results": []}
    daemon.on("POST", f"{WHERE}/3fa8", written)
    got = peerctl("resolve", "home", "3fa8", *argv, stdin="[1]")
    assert (got.code, got.out) == (0, "")
    assert "settled" in got.err
    assert json.loads(peerctl("resolve", "home", "3fa8", *argv, "--json", stdin="[1]").out) == written
    assert daemon.bodies("POST") == [body, body]


@pytest.mark.parametrize("argv", [(), ("--choose", "x"), ("--choose", "1", "--drop"), ("--value", "{")])
def test_resolve_needs_exactly_one_decision(daemon: Any, peerctl: Any, argv: tuple[str, ...]) -> None:
    assert peerctl("resolve", "home", "3fa8", *argv).code == 2
    assert not daemon.asked


def test_a_conflict_that_has_changed_is_a_refusal(daemon: Any, peerctl: Any) -> None:
    daemon.problem("POST", f"{WHERE}/3fa8", 412, code="precondition-failed", detail="it has another value now")
    assert peerctl("resolve", "home", "3fa8", "--choose", "1").code == 6
