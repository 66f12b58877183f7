"""All tables of a schema at once: order, remarks, what is left out, what is open."""

from __future__ import annotations

import apsw
from hypothesis import given, settings
from msgspec.structs import replace

from peerd.core.tables.plans import BindingPlan, KeyClass
from peerd.core.tables.proposals import Choices, propose
from peerd.tables import install
from peerd.tables.reading import read_schema
from tests.support.proposed import proposed, schema_of
from tests.tables.schemas import Made, schemas

NOTES = "notes(id INTEGER PRIMARY KEY AUTOINCREMENT, title NOT NULL)"


def test_parents_come_before_children() -> None:
    proposal = proposed(
        "a(k TEXT PRIMARY KEY, n REFERENCES m)",
        "m(id INTEGER PRIMARY KEY AUTOINCREMENT, z REFERENCES z)",
        "z(k TEXT PRIMARY KEY)",
    )
    assert [one.table for one in proposal.tables] == ["z", "m", "a"]
    assert sorted(one.number for one in proposal.tables) == [1, 2, 3]


def test_circles_have_some_order_that_stays() -> None:
    statements = (
        "b(id INTEGER PRIMARY KEY AUTOINCREMENT, a REFERENCES a, b REFERENCES b)",
        "a(id INTEGER PRIMARY KEY AUTOINCREMENT, b REFERENCES b)",
        "c(k TEXT PRIMARY KEY, a REFERENCES a)",
    )
    assert [one.table for one in proposed(*statements).tables] == ["a", "b", "c"]
    assert proposed(*statements) == proposed(*reversed(statements))


def test_there_is_a_plan_once_nothing_is_open() -> None:
    open_one = proposed(NOTES, "t(id INTEGER PRIMARY KEY)")
    assert open_one.plan("app") is None
    settled = proposed(NOTES, "t(id INTEGER PRIMARY KEY)", keys={"t": "natural"})
    assert settled.plan("app") == BindingPlan("app", settled.tables)
    assert proposed("t(a)").plan("app") is None
    assert [one.collection for one in settled.tables] == ["app.notes", "app.t"]


def test_who_takes_what_is_suggested_keeps_rows_apart() -> None:
    schema = schema_of(NOTES, "t(id INTEGER PRIMARY KEY)", "u(id INTEGER PRIMARY KEY)")
    choices = Choices(keys={"u": "natural"})
    taken = propose(schema, "app", choices).suggested(choices)
    assert taken.keys == {"t": "surrogate", "u": "natural"}
    assert not propose(schema, "app", taken).questions


def test_what_is_left_out_says_why() -> None:
    proposal = proposed(
        NOTES,
        "keyless(a)",
        "CREATE VIRTUAL TABLE fts USING fts5(a)",
        "CREATE VIEW seen AS SELECT 1",
        "other(k TEXT PRIMARY KEY)",
        include=("notes", "keyless", "seen", "gone"),
    )
    assert [one.table for one in proposal.tables] == ["notes"]
    assert proposal.left_out.keys() == {"keyless", "fts", "seen", "other", "gone"}
    assert proposal.left_out["gone"] == "there is no such table"
    assert "view" in proposal.left_out["seen"]
    assert "choice" in proposal.left_out["other"]
    assert set(proposed(NOTES, exclude=("notes",)).left_out) == {"notes"}


def test_choices_that_name_nothing_are_told() -> None:
    proposal = proposed(
        NOTES,
        keys={"no": "natural"},
        match={"notes": ("nix",)},
        references={"notes.x": "notes", "notes.title": "no", "n.t": "notes"},
    )
    assert {"no", "notes.nix", "notes.x", "notes.title", "n.t", "notes"} == proposal.left_out.keys()


def test_remarks_name_what_rows_may_wait_for() -> None:
    notes = proposed(
        NOTES, "t(k TEXT PRIMARY KEY, n UNIQUE REFERENCES notes CHECK(n > 0), m REFERENCES nowhere)"
    ).notes["t"]
    text = "; ".join(notes)
    for part in (
        "same row",
        "n means a row of notes",
        "UNIQUE(n)",
        "CHECK(n > 0)",
        "their rows in notes",
        "nowhere, which is not",
    ):
        assert part in text


def test_triggers_that_cannot_run_keep_their_table_out() -> None:
    schema = schema_of(
        "t(id INTEGER PRIMARY KEY AUTOINCREMENT, a)",
        "c(k TEXT PRIMARY KEY, t REFERENCES t)",
        "CREATE VIRTUAL TABLE fts USING fts5(a)",
        "CREATE TRIGGER x AFTER INSERT ON t BEGIN INSERT INTO fts VALUES(NEW.a); END",
    )
    obstructed = replace(schema.tables["t"], trigger_obstacle="no such function: own")
    schema = replace(schema, tables={**schema.tables, "t": obstructed})
    proposal = propose(schema, "app", Choices())
    assert "own" in proposal.left_out["t"]
    assert [(one.table, one.references) for one in proposal.tables] == [("c", {})]
    skipping = propose(schema, "app", Choices(triggers={"t": "skip"}))
    assert [one.table for one in skipping.tables] == ["t", "c"]


@settings(max_examples=100, deadline=None)
@given(schemas())
def test_every_schema_comes_to_a_plan_that_can_be_installed(made: Made) -> None:
    connection = apsw.Connection(":memory:")
    made.make(connection)
    schema = read_schema(connection)
    first = propose(schema, "app", Choices())
    answers = {one.table: one.answers[0] for one in first.questions if one.option == "keys"}
    keyless = {name: "surrogate" for name, table in schema.tables.items() if not table.declared_key}
    proposal = propose(schema, "app", Choices(keys={**keyless, **answers}))
    assert not proposal.questions
    assert {one.table for one in proposal.tables} | proposal.left_out.keys() == schema.tables.keys()
    assert len({one.collection for one in proposal.tables}) == len(proposal.tables)
    for one in proposal.tables:
        table = schema.tables[one.table]
        assert one.key_class is KeyClass.NATURAL or table.is_rowid_alias or table.keyed_by_rowid
        assert set(one.identity) | set(one.references) <= {column.name for column in table.stored}
    plan = proposal.plan("app")
    if plan is not None:
        install.install(connection, schema, plan, b"b" * 16)
        assert install.missing(connection, schema, plan) == frozenset()
    connection.close()
