"""How tables would be bound: what the schema tells, what a person says, and what has to be asked."""

from __future__ import annotations

from typing import Any

import pytest

from peerd.core.tables.plans import KeyClass
from peerd.core.tables.proposals import Choices, Proposal, propose
from peerd.core.tables.shape import Column, Reference, Schema, Table, Trigger, Unique


def numbered(name: str, *columns: str, **more: Any) -> Table:
    """A table whose rows the application numbers."""
    key = Column("id", "INTEGER", key_place=1)
    return Table(name, "", (key, *(Column(one, "TEXT") for one in columns)), ("id",), is_rowid_alias=True, **more)


def named(name: str, *columns: str, **more: Any) -> Table:
    key = Column("code", "TEXT", not_null=True, key_place=1)
    return Table(name, "", (key, *(Column(one, "TEXT") for one in columns)), ("code",), **more)


def to(parent: str, column: str) -> tuple[Reference, ...]:
    return (Reference((column,), parent, ("id",)),)


def proposed(*tables: Table, virtual: frozenset[str] = frozenset(), **choices: Any) -> Proposal:
    schema = Schema({table.name: table for table in tables}, virtual, frozenset(), "wal", 1)
    return propose(schema, "app", Choices(**choices))


UNIQUE_NAME = (Unique("u", ("name",), ("BINARY",)),)


def test_a_declared_key_is_natural_and_a_number_is_a_devices_own() -> None:
    proposal = proposed(numbered("notes", "title"), named("codes"))
    assert {one.table: (one.key_class, one.identity) for one in proposal.tables} == {
        "codes": (KeyClass.NATURAL, ("code",)),
        "notes": (KeyClass.SURROGATE, ()),
    }
    assert {one.collection for one in proposal.tables} == {"app.codes", "app.notes"}
    assert len({one.number for one in proposal.tables}) == 2
    assert "own" in proposal.notes["notes"][0]
    assert not proposal.questions


def test_a_number_beside_something_unique_is_asked_about() -> None:
    tags = numbered("tags", "name", uniques=UNIQUE_NAME)
    (question,) = proposed(tags).questions
    assert (question.table, question.option, question.answers) == ("tags", "keys", ("surrogate", "content"))
    assert "name" in question.question
    (plan,) = proposed(tags, keys={"tags": "content"}).tables
    assert (plan.key_class, plan.identity) == (KeyClass.CONTENT, ("name",))
    assert not proposed(tags, keys={"tags": "surrogate"}).questions


def test_content_needs_its_columns() -> None:
    notes = numbered("notes", "title", "day")
    (question,) = proposed(notes, keys={"notes": "content"}).questions
    assert question.option == "match"
    (plan,) = proposed(notes, match={"notes": ("title", "day")}).tables
    assert (plan.key_class, plan.identity) == (KeyClass.CONTENT, ("title", "day"))


def test_references_are_those_to_numbers_and_parents_come_first() -> None:
    proposal = proposed(
        numbered("a_child", "parent_id", "code", references=(*to("z_parent", "parent_id"), *to("codes", "code"))),
        numbered("z_parent", "up", references=to("z_parent", "up")),
        named("codes"),
    )
    order = [one.table for one in proposal.tables]
    assert order.index("z_parent") < order.index("a_child")
    references = {one.table: dict(one.references) for one in proposal.tables}
    assert references == {"a_child": {"parent_id": "z_parent"}, "z_parent": {"up": "z_parent"}, "codes": {}}


def test_an_undeclared_reference_can_be_named() -> None:
    proposal = proposed(numbered("notes", "folder"), numbered("folders"), references={"notes.folder": "folders"})
    assert {one.table: dict(one.references) for one in proposal.tables}["notes"] == {"folder": "folders"}


def test_a_circle_of_references_has_an_order_too() -> None:
    proposal = proposed(
        numbered("a", "b_id", references=to("b", "b_id")), numbered("b", "a_id", references=to("a", "a_id"))
    )
    assert [one.table for one in proposal.tables] == ["a", "b"]


@pytest.mark.parametrize(
    ("table", "choices", "reason"),
    [
        (named("t"), {"exclude": ("t",)}, "by choice"),
        (named("t"), {"include": ("other",)}, "by choice"),
        (named("t", obstacle="no such function: icu"), {}, "no such function"),
        (numbered("t", "a", tied=(("id", "a"),)), {}, "CHECK"),
        (numbered("t"), {"match": {"t": ("gone",)}}, "no column gone"),
        (named("t", "a"), {"keys": {"t": "surrogate"}}, "no number of its own"),
        (named("t", key_collations=("GERMAN",)), {}, "collation"),
    ],
)
def test_what_cannot_be_bound_is_left_out_with_the_reason(table: Table, choices: dict[str, Any], reason: str) -> None:
    proposal = proposed(table, **choices)
    assert reason in proposal.left_out["t"]
    assert proposal.tables == ()


def test_virtual_tables_and_names_that_do_not_exist_are_named() -> None:
    proposal = proposed(named("t"), virtual=frozenset({"search"}), include=("t", "typo"))
    assert proposal.left_out == {"search": "it is a virtual table", "typo": "there is no such table"}


@pytest.mark.parametrize(
    ("writes", "choices", "becomes"),
    [
        (frozenset({"search"}), {}, "run"),
        (frozenset({"codes"}), {}, "skip"),
        (frozenset({"search"}), {"triggers": {"notes": "skip"}}, "skip"),
        (frozenset({None}), {"triggers": {"notes": "run"}}, "run"),
        (frozenset({None}), {}, None),
    ],
)
def test_triggers_run_if_they_write_no_bound_table(
    writes: frozenset[str | None], choices: dict[str, Any], becomes: str | None
) -> None:
    notes = numbered("notes", triggers=(Trigger("x", "notes", "", writes),))
    proposal = proposed(notes, named("codes"), virtual=frozenset({"search"}), **choices)
    assert proposal.triggers.get("notes") == becomes
    plan = next(one for one in proposal.tables if one.table == "notes")
    assert plan.run_triggers == (becomes == "run")
    assert [one.option for one in proposal.questions] == ([] if becomes else ["triggers"])
