"""A binding that grows keeps what it has, and takes in what is new by the rules of a first one."""

from __future__ import annotations

from peerd.core.tables.extending import (
    Extension,
    News,
    against_what_is_bound,
    choices_for,
    extended,
    news,
    of_new_tables,
    reference_words,
    scope,
)
from peerd.core.tables.plans import BindingPlan, KeyClass, TablePlan
from peerd.core.tables.proposals import Choices, propose
from peerd.core.tables.settings import BindingSettings
from tests.support.proposed import schema_of

NOTES = "notes(id INTEGER PRIMARY KEY, title NOT NULL UNIQUE, parent)"
FOLDERS = "folders(id INTEGER PRIMARY KEY AUTOINCREMENT, name)"
PLAN = BindingPlan(
    "app",
    (
        TablePlan(3, "gone", "app.gone", KeyClass.SURROGATE),
        TablePlan(7, "notes", "app.notes", KeyClass.CONTENT, ("title",), {"parent": "notes"}),
    ),
)


def grown(*statements: str, settings: BindingSettings | None = None, **choices: object) -> Extension:
    schema = schema_of(*statements)
    wanted = choices_for(PLAN, schema, settings or BindingSettings(), Choices(**choices))  # type: ignore[arg-type]  # any
    return extended(PLAN, propose(schema, "app", wanted))


def test_what_is_bound_stays_and_what_is_new_gets_the_next_number() -> None:
    extension = grown(NOTES, FOLDERS, "tags(name TEXT PRIMARY KEY)")
    assert [(one.table, one.number) for one in extension.new] == [("folders", 8), ("tags", 9)]
    assert [one for one in extension.plan.tables if one.number in {3, 7}] == list(PLAN.tables)
    assert not extension.references


def test_a_column_of_a_bound_table_that_refers_to_a_new_one_is_translated() -> None:
    extension = grown(NOTES.replace("parent", "parent, folder REFERENCES folders"), FOLDERS)
    assert extension.references == {"notes": {"folder": "folders"}}
    assert [(one.table, one.references) for one in extension.plan.tables] == [
        ("gone", {}),
        ("folders", {}),
        ("notes", {"parent": "notes", "folder": "folders"}),
    ]
    assert reference_words(extension.references) == ("notes.folder means rows of folders",)


def test_a_column_by_which_rows_are_told_apart_stays_what_it_is() -> None:
    extension = grown(NOTES.replace("title", "title REFERENCES folders"), FOLDERS)
    assert (extension.references, extension.fixed) == ({}, ("notes.title",))


def test_nothing_new_is_nothing() -> None:
    assert grown(NOTES).is_empty
    assert not grown(NOTES, FOLDERS).is_empty


def test_who_left_tables_out_goes_on_leaving_them_out_until_they_are_named() -> None:
    left_out = BindingSettings(exclude=("folders",))
    assert grown(NOTES, FOLDERS, settings=left_out).is_empty
    assert not grown(NOTES, FOLDERS, settings=left_out, include=("folders",)).is_empty
    only_notes = BindingSettings(include=("notes",))
    assert grown(NOTES, FOLDERS, settings=only_notes).is_empty
    assert not grown(NOTES, FOLDERS, settings=only_notes, include=("folders",)).is_empty
    assert scope(left_out, Choices(include=("folders",), exclude=("a", "a"))) == BindingSettings(exclude=("a",))
    assert scope(only_notes, Choices(include=("folders",))).include == ("notes", "folders")
    assert scope(BindingSettings(), Choices(include=("folders",))).include == ()


def test_what_is_bound_cannot_be_chosen_otherwise() -> None:
    against = Choices(
        exclude=("notes", "folders"),
        keys={"notes": "surrogate", "folders": "surrogate"},
        match={"notes": ("parent",)},
        references={"notes.parent": "folders"},
        triggers={"notes": "run"},
    )
    assert [one.told(declared=False) for one in against_what_is_bound(PLAN, against)] == [
        "--exclude notes: notes is bound",
        "--key notes=surrogate: notes is bound as content",
        "--match notes=parent: notes is bound as content (title)",
        "--triggers notes=run: notes is bound, and its triggers do not run",
        "--reference notes.parent=folders: notes is bound, and parent means rows of notes",
    ]
    same = Choices(keys={"notes": "content"}, match={"notes": ("title",)}, references={"notes.parent": "notes"})
    assert not against_what_is_bound(PLAN, same)


def test_news_are_what_could_be_bound_and_nobody_left_out() -> None:
    schema = schema_of(
        NOTES.replace("parent", "parent, folder REFERENCES folders"),
        FOLDERS,
        "doubtful(id INTEGER PRIMARY KEY, a)",
        "keyless(a)",
        "cache(k TEXT PRIMARY KEY)",
        "CREATE VIEW seen AS SELECT 1",
    )
    settings = BindingSettings(exclude=("cache",))
    assert news(PLAN, schema, settings, Choices()) == News(
        ("doubtful", "folders"), ("doubtful",), ("notes.folder means rows of folders",)
    )
    assert not news(PLAN, schema, BindingSettings(include=("notes",)), Choices())
    assert not news(PLAN, schema_of(NOTES), BindingSettings(), Choices())
    undeclared = news(PLAN, schema_of(NOTES, FOLDERS), BindingSettings(), Choices(references={"notes.parent": "notes"}))
    assert undeclared == News(("folders",))


def test_a_report_is_about_what_is_new() -> None:
    schema = schema_of(NOTES, FOLDERS, "doubtful(id INTEGER PRIMARY KEY, a)")
    proposal = propose(schema, "app", choices_for(PLAN, schema, BindingSettings(), Choices()))
    folders = next(one for one in extended(PLAN, proposal).new if one.table == "folders")
    assert of_new_tables(proposal, [folders]).tables == (folders,)
    assert of_new_tables(proposal, [folders]).questions == ()
