"""`tables bind`, `unbind`, `list` and `held`."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

WHERE = "/v1/spaces/home/bindings"
TASKS = {
    "table": "tasks",
    "collection": "todo.tasks",
    "key": "content",
    "identity": ["name"],
    "references": {"list_id": "lists"},
    "triggers": "skip",
    "rows": 3,
    "records": 0,
    "notes": ["its integers are this device's own"],
}
REPORT = {
    "name": "todo",
    "database": "/home/ann/todo.db",
    "bound": False,
    "first": "harvest",
    "tables": [TASKS],
    "left_out": [{"table": "cache", "reason": "it has a virtual table"}],
    "questions": [],
    "backup": None,
}
QUESTION = {
    "table": "tags",
    "option": "keys",
    "question": "Which rows are the same?",
    "answers": ["surrogate", "content"],
}
MATCH = {"table": "tags", "option": "match", "question": "By which columns?", "answers": []}


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def answers(*open_ones: dict[str, Any], first: str = "harvest") -> Any:
    """A daemon that binds once nothing is open any more."""
    left = list(open_ones)

    def reply(asked: Any) -> dict[str, Any]:
        body = asked.body
        still = [one for one in left if one["table"] not in body.get(one["option"], {})]
        decided = body.get("merge") or body.get("adopt")
        state = first if first != "undecided" or not decided else "merge" if body.get("merge") else "adopt"
        return {**REPORT, "questions": still, "bound": not body.get("dry_run"), "first": state}

    return reply


def test_a_database_is_bound_with_everything_that_was_said(daemon: Any, peerctl: Any, tmp_path: Any) -> None:
    daemon.on_call("POST", WHERE, answers())
    file = tmp_path / "todo.db"
    got = peerctl(
        "tables", "bind", "home", str(file), "--name", "todo", "--include", "tasks", "--include", "tags",
        "--exclude", "cache", "--key", "tasks=surrogate", "--key", "tags=content", "--match", "tags=name,list",
        "--reference", "tasks.list_id=lists", "--triggers", "tasks=skip", "--merge", "--yes",
    )  # fmt: skip
    assert got.code == 0
    asked, bound = daemon.bodies("POST")
    assert asked == {**bound, "dry_run": True}
    assert bound == {
        "suggested": True,
        "database": str(file),
        "name": "todo",
        "include": ["tasks", "tags"],
        "exclude": ["cache"],
        "keys": {"tasks": "surrogate", "tags": "content"},
        "match": {"tags": ["name", "list"]},
        "references": {"tasks.list_id": "lists"},
        "triggers": {"tasks": "skip"},
        "merge": True,
    }
    assert got.out == "tasks\tcontent (name)\tlist_id -> lists\tskip\t3\t0\ttodo.tasks\n"
    assert got.err.splitlines() == [
        "tasks: its integers are this device's own",
        "not bound: cache: it has a virtual table",
        "the rows of the file become records",
        "bound as todo; `peerctl tables list` shows how it stands",
    ]


def test_what_is_true_of_several_tables_is_said_once(daemon: Any, peerctl: Any, on_terminal: Any) -> None:
    tags = {**TASKS, "table": "tags", "triggers": "", "notes": ["its integers are this device's own", "only of tags"]}
    left = [{"table": name, "reason": "it is a view"} for name in ("a", "b")]
    daemon.on("POST", WHERE, {**REPORT, "tables": [{**TASKS, "triggers": ""}, tags], "left_out": left})
    said = peerctl("tables", "bind", "home", "/todo.db", "--dry-run")
    assert said.out.count("list_id -> lists") == 2
    assert said.err.splitlines()[:3] == [
        "tasks, tags: its integers are this device's own",
        "tags: only of tags",
        "not bound: a, b: it is a view",
    ]
    lines = plain(on_terminal("tables", "bind", "home", "/todo.db", "--dry-run").out).splitlines()
    assert lines[0].split() == ["TABLE", "KEY", "ROWS", "RECORDS"]
    assert lines[1].split() == ["tasks", "content", "(name)", "3", "0"]


def test_a_dry_run_binds_nothing(daemon: Any, peerctl: Any) -> None:
    daemon.on_call("POST", WHERE, answers(QUESTION))
    got = peerctl("tables", "bind", "home", "/todo.db", "--dry-run", "--json")
    assert (got.code, json.loads(got.out)) == (0, {**REPORT, "questions": [QUESTION]})
    got = peerctl("tables", "bind", "home", "/todo.db", "--dry-run")
    assert "open: tags: Which rows are the same?" in got.err
    assert got.err.endswith("nothing bound yet\n")
    assert all(body["dry_run"] for body in daemon.bodies("POST"))


def test_what_is_open_is_refused_where_nobody_can_be_asked(daemon: Any, peerctl: Any) -> None:
    daemon.problem("POST", WHERE, 409, code="tables-undecided", detail="the schema leaves something open")
    got = peerctl("tables", "bind", "home", "/todo.db", "--yes")
    assert (got.code, got.out) == (6, "")
    assert "[tables-undecided]" in got.err


def test_on_a_terminal_what_is_open_is_asked(daemon: Any, on_terminal: Any) -> None:
    daemon.on_call("POST", WHERE, answers(QUESTION, first="undecided"))
    got = on_terminal("tables", "bind", "home", "/todo.db", typed="surrogate\nmerge\ny\n")
    assert got.code == 0, got.out
    text = plain(got.out)
    assert "tags: Which rows are the same? [surrogate/content]" in text
    assert "[merge/adopt]" in text
    before, asked, after = text.partition("Bind 1 table to home? [y/N]")
    assert asked
    assert "its integers are this device's own" in before
    assert "its integers are this device's own" not in after  # it was on the screen a moment ago
    assert "bound as todo" in after
    assert daemon.bodies("POST")[-1] == {"database": "/todo.db", "keys": {"tags": "surrogate"}, "merge": True}


@pytest.mark.parametrize("first", ["undecided", "merge"])
def test_a_merge_of_rows_that_meet_nothing_is_warned_of(daemon: Any, peerctl: Any, first: str) -> None:
    notes = {**TASKS, "table": "notes", "key": "surrogate", "rows": 3, "records": 2}
    fresh = {**notes, "table": "fresh", "records": 0}
    met = {**TASKS, "records": 3}
    again = {**notes, "table": "again", "known": 3}
    report = {**REPORT, "first": first, "tables": [notes, fresh, met, again]}
    daemon.on("POST", WHERE, report)
    warning = "--merge makes new records of the rows of notes (3 rows, 2 records); what is in both is there twice"
    said = peerctl("tables", "bind", "home", "/todo.db", "--dry-run").err.splitlines()
    assert [line for line in said if "--merge makes" in line] == [warning]
    assert "again: 3 rows were bound before, and will meet their records" in said
    daemon.on("POST", WHERE, {**report, "first": "adopt"})
    assert "--merge makes" not in peerctl("tables", "bind", "home", "/todo.db", "--adopt", "--dry-run").err


def test_of_a_file_that_is_bound_only_what_is_new_is_shown(daemon: Any, peerctl: Any, on_terminal: Any) -> None:
    more = {**REPORT, "left_out": [], "kept": ["lists"], "changes": ["lists.a means rows of tasks from now on"]}
    daemon.on_call("POST", WHERE, lambda asked: {**more, "bound": not asked.body.get("dry_run")})
    said = peerctl("tables", "bind", "home", "/todo.db", "--yes").err.splitlines()
    assert "changes: lists.a means rows of tasks from now on" in said
    assert "bound already, and stays as it is: lists" in said
    assert "Bind 1 more table and 1 change to home? [y/N]" in plain(
        on_terminal("tables", "bind", "home", "/todo.db", typed="n\n").out
    )


def test_nothing_new_is_said_plainly(daemon: Any, peerctl: Any, on_terminal: Any) -> None:
    same = {**REPORT, "tables": [], "left_out": [], "first": "nothing", "kept": ["tasks"], "changes": []}
    daemon.on_call("POST", WHERE, lambda asked: {**same, "bound": not asked.body.get("dry_run")})
    for options in ((), ("--dry-run",)):
        got = peerctl("tables", "bind", "home", "/todo.db", *options)
        assert (got.code, got.out) == (0, "")
        assert got.err.splitlines() == [
            "bound already, and stays as it is: tasks",
            "nothing new: todo stays as it is",
        ]
    assert "[y/N]" not in on_terminal("tables", "bind", "home", "/todo.db").out


def test_columns_are_asked_as_a_list(daemon: Any, on_terminal: Any) -> None:
    daemon.on_call("POST", WHERE, answers(MATCH))
    assert on_terminal("tables", "bind", "home", "/todo.db", typed="name, list\ny\n").code == 0
    last = daemon.bodies("POST")[-1]
    assert (last["keys"], last["match"]) == ({"tags": "content"}, {"tags": ["name", "list"]})


@pytest.mark.parametrize(("typed", "code"), [("perhaps\n", 2), ("\n", 2), ("surrogate\nn\n", 1)])
def test_no_answer_binds_nothing(daemon: Any, on_terminal: Any, typed: str, code: int) -> None:
    daemon.on_call("POST", WHERE, answers(QUESTION))
    assert on_terminal("tables", "bind", "home", "/todo.db", typed=typed).code == code
    assert all(body["dry_run"] for body in daemon.bodies("POST"))


@pytest.mark.parametrize(
    "more",
    [
        ("--key", "tasks"),
        ("--key", "tasks=guess"),
        ("--match", "=name"),
        ("--triggers", "tasks=maybe"),
        ("--merge", "--adopt"),
    ],
)
def test_options_that_make_no_sense_are_refused_here(daemon: Any, peerctl: Any, more: tuple[str, ...]) -> None:
    assert peerctl("tables", "bind", "home", "/todo.db", *more).code == 2
    assert daemon.asked == []


def test_a_relative_path_is_that_of_the_caller(
    daemon: Any, peerctl: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    daemon.on_call("POST", WHERE, answers())
    peerctl("tables", "bind", "home", "todo.db", "--yes")
    assert daemon.bodies("POST")[0]["database"] == str(tmp_path / "todo.db")


def test_unbinding(daemon: Any, peerctl: Any) -> None:
    answer = {"binding": "todo", "database": "/todo.db", "cleaned": True, "left": "", "next_step": ""}
    daemon.on("DELETE", f"{WHERE}/todo", answer)
    got = peerctl("tables", "unbind", "home", "todo")
    assert (got.code, got.out, got.err) == (0, "", "unbound todo; rows and records stay\n")
    assert json.loads(peerctl("tables", "unbind", "home", "todo", "--json").out) == answer


def test_what_unbinding_leaves_in_a_file_is_said(daemon: Any, peerctl: Any) -> None:
    answer = {
        "binding": "todo",
        "database": "/todo.db",
        "cleaned": False,
        "left": "it is away",
        "next_step": "clean it",
    }
    daemon.on("DELETE", f"{WHERE}/todo", answer)
    said = peerctl("tables", "unbind", "home", "todo", "--force").err.splitlines()
    assert daemon.asked[-1].query == {"force": "yes"}
    assert said == ["unbound todo; rows and records stay", "it is away", "  next: clean it"]


def test_a_file_that_no_binding_knows_is_cleaned(daemon: Any, peerctl: Any) -> None:
    daemon.on("POST", "/v1/tables/clean", {"database": "/todo.db", "cleaned": True})
    assert peerctl("tables", "unbind", "--file", "/todo.db").err == "cleaned /todo.db; its rows stay\n"
    daemon.on("POST", "/v1/tables/clean", {"database": "/todo.db", "cleaned": False})
    assert peerctl("tables", "unbind", "--file", "/todo.db").err == "nothing of peerd was in /todo.db\n"
    assert daemon.bodies("POST") == [{"database": "/todo.db"}] * 2
    assert peerctl("tables", "unbind", "home", "todo", "--file", "/todo.db").code == 2
    assert peerctl("tables", "unbind", "home").code == 2


BINDING = {
    "name": "todo",
    "database": "/home/ann/todo.db",
    "state": "in step",
    "reason": "",
    "next_step": "",
    "tables": [
        {
            "table": "tasks",
            "collection": "todo.tasks",
            "key": "natural",
            "rows": 3,
            "waiting": 0,
            "parked": 1,
            "held": 0,
        }
    ],
    "parked": [{"table": "tasks", "key": "7", "code": "unique", "reason": "another row has its name"}],
    "not_captured": [{"table": "tasks", "reason": "row 9: it is larger than 64 MiB"}],
}


def spaces(daemon: Any, *bindings: dict[str, Any]) -> None:
    daemon.on("GET", "/v1/spaces", {"spaces": [{"name": "home", "id": "00"}, {"name": "broken", "id": ""}]})
    daemon.on("GET", WHERE, {"bindings": list(bindings)})


def test_bindings_are_listed_with_what_does_not_show(daemon: Any, peerctl: Any) -> None:
    spaces(daemon, BINDING)
    got = peerctl("tables", "list")
    assert (got.code, got.out) == (0, "home\ttodo\ttasks\tnatural\tin step\t3\t0\t1\t0\n")
    assert got.err.splitlines() == [
        "parked: tasks 7: another row has its name",
        "not captured: tasks: row 9: it is larger than 64 MiB",
    ]
    assert json.loads(peerctl("tables", "list", "--json").out) == {"bindings": [{"space": "home", **BINDING}]}


def test_what_to_do_about_parked_rows_is_said_once_for_each_cause(daemon: Any, peerctl: Any) -> None:
    row = {"table": "tasks", "key": "7", "code": "unique", "reason": "why", "next_step": "rename one"}
    rows = [row, {**row, "key": "8"}, {**row, "key": "9", "code": "parent", "next_step": "bring it back"}]
    spaces(daemon, {**BINDING, "parked": rows, "not_captured": []})
    assert peerctl("tables", "list").err.splitlines() == [
        "parked: tasks 7: why",
        "  next: rename one",
        "parked: tasks 8: why",
        "parked: tasks 9: why",
        "  next: bring it back",
    ]


def test_trouble_is_exit_4_with_the_next_step(daemon: Any, peerctl: Any) -> None:
    spaces(daemon, {**BINDING, "state": "trouble", "reason": "it is locked", "next_step": "Wait.", "parked": []})
    got = peerctl("tables", "list", "--space", "home")
    assert got.code == 4
    assert "todo (/home/ann/todo.db): it is locked\n  next: Wait.\n" in got.err


def test_no_bindings_say_how_to_begin(daemon: Any, peerctl: Any) -> None:
    spaces(daemon)
    assert peerctl("tables", "list") == (0, "", "no tables are bound: `peerctl tables bind SPACE DATABASE`\n")


def test_held_deletes_are_shown_approved_and_restored(daemon: Any, peerctl: Any) -> None:
    held = {"held": [{"table": "tasks", "rows": 150}, {"table": "tags", "rows": 101}]}
    daemon.on("GET", f"{WHERE}/todo/held", held)
    got = peerctl("tables", "held", "home", "todo")
    assert (got.code, got.out) == (0, "tasks\t150\ntags\t101\n")
    assert got.err == "peerctl tables held home todo --approve, or --restore\n"
    assert json.loads(peerctl("tables", "held", "home", "todo", "tags", "--json").out) == {"held": held["held"][1:]}
    daemon.on("POST", f"{WHERE}/todo/held", {"held": []})
    assert peerctl("tables", "held", "home", "todo", "--approve", "tasks").code == 0
    assert peerctl("tables", "held", "home", "todo", "--restore").err == "restored\n"
    assert daemon.bodies("POST") == [{"action": "approve", "table": "tasks"}, {"action": "restore"}]
    daemon.on("GET", f"{WHERE}/todo/held", {"held": []})
    assert peerctl("tables", "held", "home", "todo").err == "no deletes are held\n"


def test_nothing_is_called_approved_where_nothing_was_held(daemon: Any, peerctl: Any) -> None:
    daemon.on("GET", f"{WHERE}/todo/held", {"held": [{"table": "tasks", "rows": 150}]})
    got = peerctl("tables", "held", "home", "todo", "--restore", "tsaks")
    assert (got.code, got.out, got.err) == (0, "", "no deletes of tsaks are held\n")
    daemon.on("GET", f"{WHERE}/todo/held", {"held": []})
    assert peerctl("tables", "held", "home", "todo", "--approve").err == "no deletes are held\n"
    assert daemon.bodies("POST") == []
