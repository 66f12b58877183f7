"""What each rule says of a table, from schemas that SQLite has read."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from peerd.core.tables import classify
from peerd.core.tables.classify import Question
from peerd.core.tables.plans import KeyClass, TablePlan
from peerd.core.tables.shape import Column
from tests.support.proposed import proposed, schema_of

NATURAL, SURROGATE, CONTENT = KeyClass.NATURAL, KeyClass.SURROGATE, KeyClass.CONTENT


def plan(*statements: str, table: str = "t", **choices: Any) -> TablePlan:
    proposal = proposed(*statements, **choices)
    assert not [one for one in proposal.questions if one.table == table]
    return next(one for one in proposal.tables if one.table == table)


def refusal(*statements: str, table: str = "t", **choices: Any) -> str:
    return proposed(*statements, **choices).left_out[table]


def question(*statements: str, table: str = "t", **choices: Any) -> Question:
    (found,) = [one for one in proposed(*statements, **choices).questions if one.table == table]
    return found


# ---- keys


@pytest.mark.parametrize(
    ("created", "key_class", "identity"),
    [
        ("t(k TEXT PRIMARY KEY, a)", NATURAL, ("k",)),  # without NOT NULL, as most are written
        ("t(k TEXT PRIMARY KEY NOT NULL, a)", NATURAL, ("k",)),
        ("t(k BLOB PRIMARY KEY) WITHOUT ROWID", NATURAL, ("k",)),
        ("t(k INT PRIMARY KEY)", NATURAL, ("k",)),
        ("t(b, a, PRIMARY KEY(a, b))", NATURAL, ("a", "b")),
        ("t(id INTEGER PRIMARY KEY AUTOINCREMENT)", SURROGATE, ()),
        ("t(id INTEGER PRIMARY KEY AUTOINCREMENT, name NOT NULL UNIQUE)", SURROGATE, ()),
        ("t(id INTEGER PRIMARY KEY CHECK(id = 1), theme)", NATURAL, ("id",)),
        ("t(id INTEGER PRIMARY KEY, up REFERENCES t)", SURROGATE, ()),
    ],
)
def test_the_schema_tells_the_class(created: str, key_class: KeyClass, identity: tuple[str, ...]) -> None:
    found = plan(created)
    assert (found.key_class, found.identity) == (key_class, identity)


def test_an_integer_that_others_refer_to_is_a_row_number() -> None:
    created = "t(id INTEGER PRIMARY KEY, name)"
    for child in ("c(k TEXT PRIMARY KEY, t REFERENCES t)", "c(k TEXT PRIMARY KEY, t REFERENCES T(ID))"):
        assert plan(created, child).key_class is SURROGATE
        assert plan(created, child, exclude=("c",)).key_class is SURROGATE
    assert plan(created, "c(k TEXT PRIMARY KEY, t)", references={"c.t": "t"}).key_class is SURROGATE
    assert question(created, "c(k TEXT PRIMARY KEY, t)").option == "keys"


def test_an_integer_of_which_nothing_tells_what_it_is_is_asked_about() -> None:
    asked = question("t(id INTEGER PRIMARY KEY, name UNIQUE)")
    assert (asked.option, asked.answers) == ("keys", ("surrogate", "natural"))
    asked = question("t(id INTEGER PRIMARY KEY, name NOT NULL UNIQUE)")
    assert asked.answers == ("surrogate", "natural", "content")
    assert "name" in asked.question
    for answer, identity in (("surrogate", ()), ("natural", ("id",)), ("content", ("name",))):
        found = plan("t(id INTEGER PRIMARY KEY, name NOT NULL UNIQUE)", keys={"t": answer})
        assert (found.key_class, found.identity) == (answer, identity)


def test_a_row_that_is_a_part_of_another_is_known_by_that_one() -> None:
    notes = "notes(id INTEGER PRIMARY KEY AUTOINCREMENT)"
    found = plan(notes, "t(id INTEGER PRIMARY KEY REFERENCES notes, more)")
    assert (found.key_class, found.identity, found.references) == (NATURAL, ("id",), {"id": "notes"})


def test_content_takes_the_only_unique_columns_or_asks() -> None:
    created = "t(id INTEGER PRIMARY KEY AUTOINCREMENT, a NOT NULL UNIQUE, b NOT NULL UNIQUE, c, UNIQUE(b, c))"
    asked = question(created, keys={"t": "content"})
    assert (asked.option, asked.answers) == ("match", ("a", "b"))
    found = plan(created, match={"t": ("b", "c")})
    assert (found.key_class, found.identity) == (CONTENT, ("b", "c"))
    one = plan("t(id INTEGER PRIMARY KEY, a NOT NULL UNIQUE)", keys={"t": "content"})
    assert (one.key_class, one.identity) == (CONTENT, ("a",))


def test_it_is_said_if_nothing_keeps_the_identity_unique() -> None:
    created = "t(id INTEGER PRIMARY KEY AUTOINCREMENT, a, b NOT NULL UNIQUE, c UNIQUE)"
    notes = {column: proposed(created, match={"t": (column,)}).notes["t"] for column in ("a", "b", "c")}
    assert any("nothing keeps them unique" in note for note in notes["a"])
    assert not any("captured" in note for note in notes["b"])
    assert any("without c" in note for note in notes["c"])


def test_a_table_without_a_key_is_bound_only_as_a_person_says() -> None:
    assert "no key" in refusal("t(a, b)")
    assert plan("t(a, b)", keys={"t": "surrogate"}).key_class is SURROGATE
    assert any("VACUUM" in note for note in proposed("t(a, b)", keys={"t": "surrogate"}).notes["t"])
    assert plan("t(a NOT NULL UNIQUE, b)", match={"t": ("a",)}).identity == ("a",)
    assert "natural" in refusal("t(a, b)", keys={"t": "natural"})


def test_a_key_that_is_no_row_number_is_not_mapped() -> None:
    created = "t(k TEXT NOT NULL PRIMARY KEY, a NOT NULL UNIQUE)"
    assert "--key t=natural" in refusal(created, keys={"t": "surrogate"})
    assert "--key t=natural" in refusal(created, match={"t": ("a",)})
    assert plan(created, keys={"t": "content"}).key_class is NATURAL
    assert plan(created, match={"t": ("k",)}).key_class is NATURAL


def test_a_check_on_a_row_number_is_refused() -> None:
    created = "t(id INTEGER PRIMARY KEY AUTOINCREMENT, up, CHECK(up <> ID))"
    assert "CHECK names id" in refusal(created)
    assert plan(created, keys={"t": "natural"}).key_class is NATURAL
    assert plan("t(id INTEGER PRIMARY KEY AUTOINCREMENT, a CHECK(a > 0))").key_class is SURROGATE


def test_an_identity_needs_columns_that_are_stored() -> None:
    created = "t(id INTEGER PRIMARY KEY AUTOINCREMENT, a, g AS (a) UNIQUE)"
    assert "no column g" in refusal(created, match={"t": ("g",)})


# ---- obstacles


def test_what_can_never_be_bound_is_named() -> None:
    table = schema_of("t(k TEXT PRIMARY KEY)").tables["t"]
    assert not classify.obstacle(table)
    assert "own()" in classify.obstacle(replace(table, obstacle="no such function: own()"))
    assert "rowid" in classify.obstacle(replace(table, key=()))
    long = (*table.columns, Column("x" * 256, ""))
    assert "255 bytes" in classify.obstacle(replace(table, columns=long))
    assert "hide" in classify.obstacle(replace(table, columns=(*table.columns, Column("a\tb", ""))))
    many = tuple(Column(f"c{number}", "") for number in range(2001))
    assert "2,001 columns" in classify.obstacle(replace(table, columns=many))
    foreign = replace(table, key=("k",), key_collations=("ICU",))
    decided = classify.decide(foreign, given=None, match=(), is_referenced=False, extends=None)
    assert "collation" in decided.refusal


# ---- references


NOTES = "notes(id INTEGER PRIMARY KEY AUTOINCREMENT, slug TEXT UNIQUE, kind, UNIQUE(kind, id))"


@pytest.mark.parametrize(
    ("created", "references"),
    [
        ("t(k TEXT PRIMARY KEY, n REFERENCES notes)", {"n": "notes"}),
        ("t(k TEXT PRIMARY KEY, n REFERENCES NOTES(ID))", {"n": "notes"}),
        ("t(k TEXT PRIMARY KEY, n REFERENCES notes(slug))", {}),
        ("t(k TEXT PRIMARY KEY, a, n, FOREIGN KEY(a, n) REFERENCES notes(kind, id))", {"n": "notes"}),
        ("t(n REFERENCES notes, tag TEXT, PRIMARY KEY(n, tag))", {"n": "notes"}),
        ("t(k TEXT PRIMARY KEY, n REFERENCES nowhere)", {}),
        ("t(k TEXT PRIMARY KEY, a, n AS (a) REFERENCES notes)", {}),
    ],
)
def test_a_reference_is_a_column_that_holds_a_row_number(created: str, references: dict[str, str]) -> None:
    assert plan(NOTES, created).references == references


def test_what_a_row_number_means_is_carried_on() -> None:
    links = "links(note REFERENCES notes, tag TEXT, PRIMARY KEY(note, tag))"
    created = "t(k TEXT PRIMARY KEY, a, b, FOREIGN KEY(a, b) REFERENCES links(note, tag))"
    assert plan(NOTES, links, created).references == {"a": "notes"}
    chain = ("a(id INTEGER PRIMARY KEY REFERENCES notes)", "t(id INTEGER PRIMARY KEY REFERENCES a)")
    assert plan(NOTES, *chain).references == {"id": "notes"}


def test_equal_numbers_of_natural_rows_are_not_mapped() -> None:
    created = "t(k TEXT PRIMARY KEY, n REFERENCES notes)"
    assert plan(NOTES, created, keys={"notes": "natural"}).references == {}
    assert plan(NOTES, created, exclude=("notes",)).references == {}


def test_a_reference_that_is_not_declared_can_be_named() -> None:
    assert plan(NOTES, "t(k TEXT PRIMARY KEY, n)", references={"t.n": "notes"}).references == {"n": "notes"}


# ---- triggers


SEARCH = "CREATE VIRTUAL TABLE fts USING fts5(a)"
T = "t(k TEXT PRIMARY KEY, a)"
LOG = "log(k TEXT PRIMARY KEY, a)"


def trigger(name: str, body: str, on: str = "t") -> str:
    return f"CREATE TRIGGER {name} AFTER INSERT ON {on} BEGIN {body}; END"


FIND = trigger("find", "INSERT INTO fts VALUES(NEW.a)")
STAMP = trigger("stamp", "UPDATE t SET a = 1 WHERE k = NEW.k")
FORBID = trigger("forbid", "SELECT RAISE(ABORT, 'no') WHERE NEW.a = 7")
NOTE = trigger("note", "INSERT INTO log VALUES(NEW.k, 1)")


@pytest.mark.parametrize(
    ("statements", "choices", "verdict"),
    [
        ((T,), {}, None),
        ((T, SEARCH, FIND), {}, "run"),
        ((T, STAMP), {}, "skip"),
        ((T, FORBID), {}, "skip"),
        ((T, SEARCH, FIND, FORBID), {}, "run"),
        ((T, LOG, NOTE), {}, "skip"),
        ((T, LOG, NOTE), {"exclude": ("log",)}, "run"),
        ((T, LOG, NOTE, trigger("back", "UPDATE t SET a = 2", "log")), {"exclude": ("log",)}, "skip"),
        ((T, SEARCH, FIND, STAMP), {"triggers": {"t": "run"}}, "run"),
        ((T, SEARCH, FIND), {"triggers": {"t": "skip"}}, "skip"),
    ],
)
def test_triggers_run_if_they_only_write_elsewhere(
    statements: tuple[str, ...], choices: dict[str, Any], verdict: str | None
) -> None:
    proposal = proposed(*statements, **choices)
    assert proposal.triggers.get("t") == verdict
    assert next(one for one in proposal.tables if one.table == "t").run_triggers == (verdict == "run")


@pytest.mark.parametrize(
    "statements",
    [
        (T, SEARCH, FIND, STAMP),
        (T, "CREATE VIEW v AS SELECT 1 AS a", trigger("through", "INSERT INTO v VALUES(1)")),
    ],
)
def test_triggers_of_both_kinds_are_asked_about(statements: tuple[str, ...]) -> None:
    asked = question(*statements)
    assert (asked.option, asked.answers) == ("triggers", ("run", "skip"))
