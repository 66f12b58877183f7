"""`get`, `put`, `patch`, `delete`, `list` and `watch`."""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest

WHERE = "/v1/spaces/home/records/books"
RECORD = {"collection": "books", "key": "k1", "value": {"title": "Küche", "n": 1.0}, "etag": "e1", "conflicts": []}
WRITTEN = {"dot": "aa:1", "changed": True, "results": [{"collection": "books", "key": "k1", "etag": "e2"}]}


def test_get_prints_the_record_alone(daemon: Any, peerctl: Any, on_terminal: Any) -> None:
    daemon.on("GET", f"{WHERE}/k1", RECORD)
    assert peerctl("get", "home", "books", "k1") == (0, '{"title": "Küche", "n": 1.0}\n', "")
    assert json.loads(peerctl("get", "home", "books", "k1", "--json").out) == RECORD
    assert on_terminal("get", "home", "books", "k1").out == '{\n  "title": "Küche",\n  "n": 1.0\n}\n'


def test_get_mentions_other_values_on_stderr(daemon: Any, peerctl: Any) -> None:
    daemon.on("GET", f"{WHERE}/k1", {**RECORD, "conflicts": ["title", "n"]})
    got = peerctl("get", "home", "books", "k1")
    assert got.code == 0
    assert got.err == "several values in title, n: `peerctl conflicts home` shows them\n"


def test_get_says_in_words_that_a_delete_met_an_edit(daemon: Any, peerctl: Any) -> None:
    daemon.on("GET", f"{WHERE}/k1", {**RECORD, "conflicts": ["(deleted)"]})
    got = peerctl("get", "home", "books", "k1")
    assert got.err == "deleted elsewhere while it was edited: `peerctl conflicts home` shows it\n"


def test_get_of_what_is_not_there_fails(daemon: Any, peerctl: Any) -> None:
    daemon.problem("GET", f"{WHERE}/k1", 404, code="record-not-found", detail="no record k1")
    got = peerctl("get", "home", "books", "k1")
    assert (got.code, got.out, got.err) == (1, "", "peerctl: no record k1 [record-not-found]\n")


@pytest.mark.parametrize("key", ["a/b", "..", "🍞 ü", "-x", "%2F", "\x1b[0m", "a?b#c"])
def test_any_key_reaches_the_daemon_unharmed(daemon: Any, peerctl: Any, unquoted: Any, key: str) -> None:
    peerctl("get", "home", "books", "--", key)
    assert unquoted(daemon.asked[0].path) == ["", "v1", "spaces", "home", "records", "books", key]


def test_put_sends_the_object_with_its_conditions(daemon: Any, peerctl: Any) -> None:
    daemon.on("PUT", f"{WHERE}/k1", WRITTEN)
    assert peerctl("put", "home", "books", "k1", '{"a": 1}') == (0, "", "")
    assert json.loads(peerctl("put", "home", "books", "k1", "-", "--json", stdin='{"b": 2}').out) == WRITTEN
    peerctl("put", "home", "books", "k1", '{"c": 3}', "--if-match", "e1", "--seen", '"e0"')
    peerctl("put", "home", "books", "k1", "{}", "--create")
    peerctl("put", "home", "books", "k1", "{}", "--if-match", "*")
    assert daemon.bodies("PUT") == [{"a": 1}, {"b": 2}, {"c": 3}, {}, {}]
    headers = [asked.headers for asked in daemon.asked]
    assert "if-match" not in headers[0]
    assert "peerd-seen" not in headers[0]
    assert (headers[2]["if-match"], headers[2]["peerd-seen"]) == ('"e1"', '"e0"')
    assert headers[3]["if-none-match"] == "*"
    assert headers[4]["if-match"] == "*"


def test_put_patch_and_patch_name_the_fields(daemon: Any, peerctl: Any) -> None:
    daemon.on("PATCH", f"{WHERE}/k1", WRITTEN)
    peerctl("put", "home", "books", "k1", '{"a": null}', "--patch")
    peerctl("patch", "home", "books", "k1", '{"a": 1}', "--drop", "b", "--drop", "c", "--seen", "e0")
    peerctl("patch", "home", "books", "k1", "--drop", "b")
    peerctl("patch", "home", "books", "k1", stdin='{"z": 1}')
    assert daemon.bodies("PATCH") == [
        {"set": {"a": None}},
        {"set": {"a": 1}, "drop": ["b", "c"]},
        {"set": {}, "drop": ["b"]},
        {"set": {"z": 1}, "drop": []},
    ]
    assert daemon.asked[1].headers["peerd-seen"] == '"e0"'


def test_delete_sends_its_conditions(daemon: Any, peerctl: Any) -> None:
    daemon.on("DELETE", f"{WHERE}/k1", WRITTEN)
    assert peerctl("delete", "home", "books", "k1", "--if-match", "e1") == (0, "", "")
    assert daemon.asked[0].headers["if-match"] == '"e1"'
    daemon.on("DELETE", f"{WHERE}/k1", None, status=204)
    assert peerctl("delete", "home", "books", "k1", "--json").out == "{}\n"


def test_a_record_that_changed_meanwhile_is_exit_6(daemon: Any, peerctl: Any) -> None:
    daemon.problem(
        "PUT", f"{WHERE}/k1", 412, code="precondition-failed", detail="it changed", next_step="read it again"
    )
    assert peerctl("put", "home", "books", "k1", "{}", "--if-match", "e1").code == 6


@pytest.mark.parametrize(
    "argv",
    [
        ("put", "home", "books", "k1", "{"),
        ("put", "home", "books", "k1", ""),
        ("put", "home", "books", "k1", '{"a": "\udcff"}'),
        ("put", "home", "books", "k1", "[]"),
        ("put", "home", "books", "k1", '{"a": NaN}'),
        ("put", "home", "books", "k1", "{}", "--create", "--patch"),
        ("put", "home", "books", "k1", "{}", "--if-match", "e\n1"),
        ("patch", "home", "books", "k1", "3"),
        ("list", "home", "--prefix", "a"),
    ],
)
def test_misuse_is_exit_2_and_never_reaches_the_daemon(daemon: Any, peerctl: Any, argv: tuple[str, ...]) -> None:
    got = peerctl(*argv)
    assert (got.code, got.out, daemon.asked) == (2, "", [])
    assert got.err.startswith("peerctl: ")


def test_list_pages_through_a_collection(daemon: Any, peerctl: Any) -> None:
    records = [{**RECORD, "key": f"k{number}", "value": {"n": number}} for number in range(3)]
    pages = {None: {"records": records[:2], "cursor": "c"}, "c": {"records": records[2:], "cursor": None}}
    daemon.on_call("GET", WHERE, lambda asked: pages[asked.query.get("cursor")])
    assert peerctl("list", "home", "books").out == 'k0\t{"n": 0}\nk1\t{"n": 1}\nk2\t{"n": 2}\n'
    assert json.loads(peerctl("list", "home", "books", "--json").out) == {"records": records}
    peerctl("list", "home", "books", "--prefix", "k")
    assert daemon.asked[-2].query == {"limit": "1000", "prefix": "k"}
    assert daemon.asked[-1].query == {"limit": "1000", "prefix": "k", "cursor": "c"}


def test_list_says_that_there_is_nothing(daemon: Any, peerctl: Any) -> None:
    daemon.on("GET", WHERE, {"records": [], "cursor": None})
    assert peerctl("list", "home", "books") == (0, "", "home has no records in books\n")
    said = "home has no records in books whose keys begin with k\n"
    assert peerctl("list", "home", "books", "--prefix", "k") == (0, "", said)
    assert peerctl("list", "home", "books", "--json").err == ""


def test_list_without_collection_lists_collections(daemon: Any, peerctl: Any) -> None:
    view = {"name": "books", "records": 2, "conflicts": 1, "settings": {"policy": "keep", "merge": "field"}}
    daemon.on("GET", "/v1/spaces/home/collections", {"collections": [view]})
    assert peerctl("list", "home").out == "books\t2\t1\tkeep\tfield\n"
    assert json.loads(peerctl("list", "home", "--json").out) == {"collections": [view]}


CHANGES = "/v1/spaces/home/changes"
PUT = {"kind": "put", "token": "t1", "collection": "books", "key": "k1", "value": {"n": 1}, "etag": "e1"}
DELETE = {"kind": "delete", "token": "t2", "collection": "books", "key": "k1"}
OTHER = {"kind": "put", "token": "t3", "collection": "films", "key": "k1", "value": {}, "etag": "e1"}
CURRENT = {"kind": "current", "token": "t3"}
RESET = {"kind": "reset", "token": "t0"}


def test_watch_prints_data_on_stdout_and_talk_on_stderr(daemon: Any, peerctl: Any) -> None:
    daemon.on_stream("GET", CHANGES, RESET, CURRENT, PUT, DELETE)
    got = peerctl("watch", "home")
    assert got.out == 'put\tbooks\tk1\t{"n": 1}\ndelete\tbooks\tk1\n'
    assert "from the beginning" in got.err
    assert "watching home" in got.err
    assert daemon.asked[0].query == {"follow": "1", "since": "now"}


def test_watch_json_has_every_event_with_its_token(daemon: Any, peerctl: Any) -> None:
    events = [RESET, PUT, DELETE, OTHER, CURRENT]
    daemon.on_stream("GET", CHANGES, *events)
    got = peerctl("watch", "home", "--json", "--since", "start")
    assert [json.loads(line) for line in got.out.splitlines()] == events
    assert daemon.asked[0].query == {"follow": "1"}


def test_watch_of_one_collection_keeps_what_concerns_all(daemon: Any, peerctl: Any) -> None:
    daemon.on_stream("GET", CHANGES, RESET, PUT, OTHER, CURRENT)
    got = peerctl("watch", "home", "--json", "--collection", "books", "--since", "t0")
    assert [json.loads(line)["token"] for line in got.out.splitlines()] == ["t0", "t1", "t3"]
    assert daemon.asked[0].query == {"follow": "1", "since": "t0"}


def test_a_feed_that_breaks_off_says_how_to_go_on(daemon: Any, peerctl: Any) -> None:
    daemon.on_stream("GET", CHANGES, PUT, cut=True)
    got = peerctl("watch", "home")
    assert got.code == 3
    assert got.err.endswith("next: once peerd runs again: peerctl watch home --since t1\n")


def test_watch_hands_over_each_change_at_once_and_ends_quietly(daemon: Any, start: Any) -> None:
    daemon.on_stream("GET", CHANGES, CURRENT, PUT, held=True)
    process = start("watch", "home")
    assert process.stdout.readline() == b'put\tbooks\tk1\t{"n": 1}\n'
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130
    assert process.stderr.read() == b"up to date; watching home\n"


def test_a_reader_that_leaves_ends_the_command_quietly(daemon: Any, start: Any) -> None:
    daemon.on_stream("GET", CHANGES, *[PUT] * 10_000, held=True)
    process = start("watch", "home")
    process.stdout.readline()
    process.stdout.close()
    assert process.wait() == 130
    assert not process.stderr.read()
