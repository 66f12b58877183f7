"""`import` and `export`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

POST = "/v1/spaces/home/transactions"
WRITES = "/v1/spaces/home/writes"
RECORDS = "/v1/spaces/home/records/books"


def take(asked: Any) -> dict[str, Any]:
    """Answer a transaction as the daemon does; values with "same" are there already."""
    results = [{"key": c["key"], "changed": "same" not in c["value"]} for c in asked.body["changes"]]
    return {"dot": "aa:1", "changed": any(result["changed"] for result in results), "results": results}


def ndjson(folder: Path, *records: Any, tail: str = "") -> str:
    file = folder / "books.ndjson"
    file.write_text("".join(json.dumps(record) + "\n" for record in records) + tail)
    return str(file)


@pytest.fixture
def file(tmp_path: Path) -> str:
    return ndjson(tmp_path, *({"id": f"k{number}", "n": number} for number in range(2500)))


def test_import_writes_a_thousand_records_in_each_transaction(daemon: Any, peerctl: Any, file: str) -> None:
    daemon.on_call("POST", POST, take)
    got = peerctl("import", "home", "books", file, "--key", "id", "--json")
    report = json.loads(got.out)
    assert (got.code, report["imported"], report["transactions"], report["unchanged"]) == (0, 2500, 3, 0)
    bodies = daemon.bodies("POST")
    assert [len(body["changes"]) for body in bodies] == [1000, 1000, 500]
    put = {"kind": "put", "collection": "books", "key": "k2499", "value": {"id": "k2499", "n": 2499}}
    assert bodies[2]["changes"][-1] == put
    assert daemon.connections == 1


def test_import_talks_on_stderr_and_counts_what_was_there(daemon: Any, peerctl: Any, tmp_path: Path) -> None:
    daemon.on_call("POST", POST, take)
    path = ndjson(tmp_path, {"id": "a"}, {"id": "b", "same": 1})
    got = peerctl("import", "home", "books", path, "--key", "id")
    assert (got.code, got.out) == (0, "")
    assert re.fullmatch(r"imported 2 records in 1 transaction in \d\.\d s, 1 of them unchanged\n", got.err)


def test_import_reads_stdin(daemon: Any, peerctl: Any) -> None:
    daemon.on_call("POST", POST, take)
    got = peerctl("import", "home", "books", "-", "--key", "id", "--json", stdin='{"id": 7}\n{"id": "b"}\n')
    assert json.loads(got.out)["imported"] == 2
    assert [change["key"] for change in daemon.bodies("POST")[0]["changes"]] == ["7", "b"]


def test_import_stops_at_a_bad_line_and_writes_nothing_of_its_batch(daemon: Any, peerctl: Any, tmp_path: Path) -> None:
    """1,000 records are in, the 500 before the bad line are not, and the line is named."""
    daemon.on_call("POST", POST, take)
    path = ndjson(tmp_path, *({"id": str(number)} for number in range(1500)), tail="oops\n")
    got = peerctl("import", "home", "books", path, "--key", "id")
    assert (got.code, got.out) == (2, "")
    assert "line 1501: not JSON" in got.err
    assert "1,000 records had been written before" in got.err
    assert [len(body["changes"]) for body in daemon.bodies("POST")] == [1000]


def test_import_names_the_lines_of_a_transaction_that_is_refused(daemon: Any, peerctl: Any, file: str) -> None:
    daemon.problem("POST", POST, 413, code="too-large", detail="a record is too large", next_step="make it smaller")
    got = peerctl("import", "home", "books", file, "--key", "id")
    assert got.code == 1
    assert "lines 1 to 1000: a record is too large [too-large]" in got.err


def test_import_names_the_one_line_that_the_daemon_complains_of(daemon: Any, peerctl: Any, tmp_path: Path) -> None:
    refusal = {"code": "bad-value", "detail": "change 1: no", "index": 1}
    daemon.on("POST", POST, refusal, status=400)
    path = ndjson(tmp_path, {"id": "a"}, tail='\n\n{"id": "b"}\n')
    assert "peerctl: line 4: change 1: no [bad-value]" in peerctl("import", "home", "books", path, "--key", "id").err


def test_import_of_a_file_that_cannot_be_read_is_misuse(daemon: Any, peerctl: Any, tmp_path: Path) -> None:
    got = peerctl("import", "home", "books", str(tmp_path / "absent"), "--key", "id")
    assert (got.code, daemon.asked) == (2, [])
    assert "cannot read" in got.err
    assert "next: give the path of a file" in got.err
    assert peerctl("import", "home", "books", str(tmp_path), "--key", "id").code == 2


def test_import_of_nothing_writes_nothing(daemon: Any, peerctl: Any, tmp_path: Path) -> None:
    got = peerctl("import", "home", "books", ndjson(tmp_path), "--key", "id", "--json")
    assert (got.code, json.loads(got.out)["imported"], daemon.asked) == (0, 0, [])


def take_each(asked: Any, refused: tuple[str, ...] = ()) -> dict[str, Any]:
    """Answer many transactions as the daemon does."""
    error = {"status": 400, "code": "bad-value", "detail": "not this one", "next_step": "change it"}
    outcomes = []
    for change in asked.body["changes"]:
        same = "same" in change["value"]
        written = {"dot": None if same else "aa:1", "changed": not same, "results": [{"changed": not same}]}
        outcomes.append({"error": error} if change["key"] in refused else written)
    return {"results": outcomes}


def refusing(*keys: str) -> Callable[[Any], dict[str, Any]]:
    return lambda asked: take_each(asked, keys)


def test_import_each_sends_a_thousand_transactions_at_a_time(daemon: Any, peerctl: Any, file: str) -> None:
    """In the order of the file, over one connection."""
    daemon.on_call("POST", WRITES, take_each)
    got = peerctl("import", "home", "books", file, "--key", "id", "--each", "--json")
    report = json.loads(got.out)
    assert (got.code, report["imported"], report["transactions"], report["unchanged"]) == (0, 2500, 2500, 0)
    bodies = daemon.bodies("POST")
    assert [len(body["changes"]) for body in bodies] == [1000, 1000, 500]
    assert [change["key"] for body in bodies for change in body["changes"]] == [f"k{n}" for n in range(2500)]
    assert bodies[0]["changes"][0] == {"kind": "put", "collection": "books", "key": "k0", "value": {"id": "k0", "n": 0}}
    assert daemon.connections == 1


def test_import_each_counts_no_transaction_for_what_was_there(daemon: Any, peerctl: Any, tmp_path: Path) -> None:
    daemon.on_call("POST", WRITES, take_each)
    path = ndjson(tmp_path, {"id": "a"}, {"id": "b", "same": 1}, {"id": "c"})
    got = peerctl("import", "home", "books", path, "--key", "id", "--each")
    assert got.code == 0
    assert re.fullmatch(r"imported 3 records in 2 transactions in \d\.\d s, 1 of them unchanged\n", got.err)


def test_import_each_writes_everything_before_a_bad_line(daemon: Any, peerctl: Any, tmp_path: Path) -> None:
    """Also what would have been sent along with it; nothing behind it."""
    daemon.on_call("POST", WRITES, take_each)
    path = ndjson(tmp_path, *({"id": number} for number in range(1300)), tail='{"id": []}\n{"id": 1}\n')
    got = peerctl("import", "home", "books", path, "--key", "id", "--each")
    assert got.code == 2
    assert "line 1301: " in got.err
    assert "1,300 records had been written before" in got.err
    assert [len(body["changes"]) for body in daemon.bodies("POST")] == [1000, 300]


def test_import_each_with_a_bad_first_line_writes_nothing(daemon: Any, peerctl: Any) -> None:
    got = peerctl("import", "home", "books", "-", "--key", "id", "--each", stdin="oops\n{}\n")
    assert (got.code, daemon.asked) == (2, [])
    assert "line 1: not JSON" in got.err
    assert "nothing of the file was written" in got.err
    assert "had been written" not in got.err


def test_import_each_names_the_first_line_that_is_refused(daemon: Any, peerctl: Any, tmp_path: Path) -> None:
    """Of that request all others may be written and are counted; another request is not made."""
    daemon.on_call("POST", WRITES, refusing("3", "7", "1500"))
    path = ndjson(tmp_path, {"id": 0}, tail="\n" + "".join(f'{{"id": {number}}}\n' for number in range(1, 1600)))
    got = peerctl("import", "home", "books", path, "--key", "id", "--each")
    assert got.code == 2
    assert "peerctl: line 5: not this one [bad-value]\n  next: change it" in got.err
    assert "998 records had been written" in got.err
    assert len(daemon.bodies("POST")) == 1


def test_import_each_names_a_refused_line_before_a_bad_one(daemon: Any, peerctl: Any, tmp_path: Path) -> None:
    """The first in the file is told, although the other one was found first."""
    daemon.on_call("POST", WRITES, refusing("1"))
    got = peerctl(
        "import", "home", "books", ndjson(tmp_path, {"id": 0}, {"id": 1}, tail="oops\n"), "--key", "id", "--each"
    )
    assert "peerctl: line 2: not this one" in got.err
    assert "line 3" not in got.err


def test_import_each_names_the_lines_of_a_request_that_failed(daemon: Any, peerctl: Any, file: str) -> None:
    daemon.problem("POST", WRITES, 507, code="disk-full", detail="no room")
    got = peerctl("import", "home", "books", file, "--key", "id", "--each")
    assert got.code == 1
    assert "lines 1 to 1000: no room [disk-full]" in got.err
    assert len(daemon.bodies("POST")) == 1


def test_import_each_exits_as_a_single_write_would(daemon: Any, peerctl: Any, tmp_path: Path) -> None:
    error = {"status": 409, "code": "needs-newer-peerd", "detail": "too old"}
    daemon.on("POST", WRITES, {"results": [{"error": error}]})
    assert peerctl("import", "home", "books", ndjson(tmp_path, {"id": 0}), "--key", "id", "--each").code == 6


@pytest.mark.parametrize(("flags", "address"), [((), POST), (("--each",), WRITES)])
def test_import_shows_its_progress_on_a_terminal(
    daemon: Any, on_terminal: Any, file: str, flags: tuple[str, ...], address: str
) -> None:
    daemon.on_call("POST", address, take_each if flags else take)
    got = on_terminal("import", "home", "books", file, "--key", "id", *flags)
    assert got.code == 0
    assert re.search(r"\r\x1b\[2K\[#+-*\] +\d+%  1,000 records", got.out)
    many = "2,500" if flags else "3"
    assert re.search(rf"\r\x1b\[2Kimported 2,500 records in {many} transactions in \d+\.\d s\n$", got.out)


def record(key: str, **value: Any) -> dict[str, Any]:
    return {"collection": "books", "key": key, "value": value, "etag": "e", "conflicts": []}


@pytest.fixture
def shelf(daemon: Any) -> Any:
    """Three records on two pages; the key of the last stands in no field."""
    records = [record("a", id="a", t="ü"), record("7", id=7), record("c", t="\u202e")]
    pages = {None: {"records": records[:2], "cursor": "x"}, "x": {"records": records[2:], "cursor": None}}
    daemon.on_call("GET", RECORDS, lambda asked: pages[asked.query.get("cursor")])
    daemon.on("GET", "/v1/spaces/home/collections", {"collections": [{"name": "books", "records": 3}]})
    return daemon


def test_export_prints_records_that_import_takes_again(shelf: Any, peerctl: Any) -> None:
    got = peerctl("export", "home", "books")
    assert (got.code, got.out) == (0, '{"id": "a", "t": "ü"}\n{"id": 7}\n{"t": "\\u202e"}\n')
    assert got.err == "keys that stand in no field of their record: 1; --key FIELD writes them\n"


def test_export_writes_the_key_where_it_is_told_to(shelf: Any, peerctl: Any) -> None:
    got = peerctl("export", "home", "books", "--key", "id")
    assert [json.loads(line)["id"] for line in got.out.splitlines()] == ["a", "7", "c"]
    assert not got.err
    shelf.on_call("POST", POST, take)
    again = peerctl("import", "home", "books", "-", "--key", "id", "--json", stdin=got.out)
    assert json.loads(again.out)["imported"] == 3


def test_export_of_nothing_says_so(daemon: Any, peerctl: Any) -> None:
    """A misspelt collection is an empty file, and a backup of it had better be noticed."""
    daemon.on("GET", RECORDS, {"records": [], "cursor": None})
    daemon.on("GET", "/v1/spaces/home/collections", {"collections": []})
    assert peerctl("export", "home", "books") == (0, "", "home has no records in books\n")


@pytest.mark.parametrize(
    ("view", "says"),
    [
        ({"state": "receiving", "peers": [{"behind": 9}]}, "copy of home is still being filled: what has not come"),
        (
            {"state": "syncing", "peers": [{"behind": 0}, {"behind": 9}]},
            "copy of home lacks 9 transactions that others",
        ),
        ({"state": "in sync", "peers": [{"behind": 0}, {"behind": None}]}, None),
    ],
)
def test_what_a_copy_lacks_is_not_left_out_in_silence(
    daemon: Any, peerctl: Any, view: dict[str, Any], says: str | None
) -> None:
    """An export of it would pass for a whole one, and an empty list for an empty space."""
    daemon.on("GET", "/v1/spaces/home", view)
    daemon.on("GET", "/v1/spaces/home/collections", {"collections": []})
    daemon.on("GET", "/v1/spaces/home/records/books", {"records": [], "cursor": None})
    for command in ("export", "list"):
        got = peerctl(command, "home", "books")
        assert got.code == 0
        assert ("next: `peerctl status` says" in got.err) == (says is not None)
        assert says is None or says in got.err


def test_a_reader_of_an_export_may_leave(daemon: Any, start: Any) -> None:
    daemon.on("GET", RECORDS, {"records": [record("a", id="a", t="x" * 1000)] * 1000, "cursor": "again"})
    daemon.on("GET", "/v1/spaces/home/collections", {"collections": []})
    process = start("export", "home", "books")
    process.stdout.readline()
    process.stdout.close()
    assert process.wait() == 130
    assert not process.stderr.read()
