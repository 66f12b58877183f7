"""Bound tables over the socket."""

from __future__ import annotations

from typing import Any

import pytest

from peerd.errors import TableTrouble, UserError
from peerd.protocol.control.tables import HeldAnswer, NewBinding

WHERE = "/v1/spaces/home/bindings"
FILE = "/home/ann/todo.db"


async def test_a_database_is_bound_with_all_that_was_said(talk: Any, service: Any) -> None:
    wish: dict[str, Any] = {
        "database": FILE,
        "name": "todo",
        "include": ["tasks", "tags"],
        "exclude": ["cache"],
        "keys": {"tasks": "surrogate"},
        "match": {"tags": ["name", "list"]},
        "references": {"tasks.list": "lists"},
        "triggers": {"tasks": "skip"},
        "merge": True,
        "dry_run": True,
    }
    reply = await talk.ask("POST", WHERE, wish)
    assert reply.json["tables"][0]["key"] == "surrogate"
    assert service.calls == [("bind", "home", NewBinding(**wish))]


@pytest.mark.parametrize(
    ("wish", "code"),
    [
        ({}, "bad-body"),
        ({"database": "todo.db"}, "bad-value"),
        ({"database": "/a\0b"}, "bad-value"),
        ({"database": "/" + "x" * 5000}, "bad-value"),
        ({"database": FILE, "name": "two words"}, "bad-name"),
        ({"database": FILE, "keys": {"tasks": "guess"}}, "bad-body"),
        ({"database": FILE, "triggers": {"tasks": "maybe"}}, "bad-body"),
        ({"database": FILE, "merge": True, "adopt": True}, "bad-body"),
        ({"database": FILE, "delete": True}, "bad-body"),
    ],
)
async def test_what_makes_no_sense_is_refused_before_anybody_is_asked(
    talk: Any, service: Any, wish: dict[str, Any], code: str
) -> None:
    (await talk.ask("POST", WHERE, wish)).problem(400, code)
    assert service.calls == []


async def test_what_is_left_open_comes_back_with_the_report(talk: Any, service: Any) -> None:
    service.failure = UserError("decide", code="tables-undecided", status=409, report={"questions": []})
    problem = (await talk.ask("POST", WHERE, {"database": FILE})).problem(409, "tables-undecided")
    assert problem["report"] == {"questions": []}


async def test_trouble_with_the_file_is_no_fault_of_the_daemon(talk: Any, service: Any) -> None:
    service.failure = TableTrouble("it is not there", code="file-missing", next_step="Look for it.")
    problem = (await talk.ask("POST", WHERE, {"database": FILE})).problem(409, "file-missing")
    assert problem["next_step"] == "Look for it."


async def test_bindings_are_listed_and_ended(talk: Any, service: Any) -> None:
    assert (await talk.ask("GET", WHERE)).json["bindings"][0]["tables"][0]["rows"] == 3
    assert (await talk.ask("DELETE", f"{WHERE}/todo")).json["cleaned"]
    assert not (await talk.ask("DELETE", f"{WHERE}/todo?force=yes")).json["cleaned"]
    (await talk.ask("DELETE", f"{WHERE}/todo?force=1")).problem(400, "bad-query")
    assert service.calls == [
        ("bindings", "home"),
        ("unbind", "home", "todo", False),
        ("unbind", "home", "todo", True),
    ]


async def test_a_file_that_no_binding_knows_is_cleaned(talk: Any, service: Any) -> None:
    assert (await talk.ask("POST", "/v1/tables/clean", {"database": FILE})).json == {"database": FILE, "cleaned": True}
    (await talk.ask("POST", "/v1/tables/clean", {"database": "todo.db"})).problem(400, "bad-value")
    assert service.calls == [("clean_file", FILE)]


async def test_held_deletes_are_shown_and_answered(talk: Any, service: Any) -> None:
    assert (await talk.ask("GET", f"{WHERE}/todo/held")).json == {"held": [{"table": "tasks", "rows": 150}]}
    reply = await talk.ask("POST", f"{WHERE}/todo/held", {"action": "approve", "table": "tasks"})
    assert reply.json == {"held": []}
    await talk.ask("POST", f"{WHERE}/todo/held", {"action": "restore"})
    (await talk.ask("POST", f"{WHERE}/todo/held", {"action": "ignore"})).problem(400, "bad-body")
    assert service.calls == [
        ("held", "home", "todo"),
        ("answer_held", "home", "todo", HeldAnswer(action="approve", table="tasks")),
        ("answer_held", "home", "todo", HeldAnswer(action="restore")),
    ]
