"""Names that a person gave and the database lacks."""

from __future__ import annotations

from peerd.core.tables.proposals import Choices
from peerd.core.tables.wrong_names import wrong_names
from tests.support.proposed import schema_of

SCHEMA = schema_of(
    "notes(id INTEGER PRIMARY KEY, title, folder_id, long AS (length(title)))",
    "folders(id INTEGER PRIMARY KEY, name)",
    "tags(name TEXT PRIMARY KEY)",
    "CREATE VIEW seen AS SELECT 1",
    "CREATE VIRTUAL TABLE fts USING fts5(a)",
)


def told(*, declared: bool = False, **choices: object) -> list[str]:
    return [one.told(declared=declared) for one in wrong_names(SCHEMA, Choices(**choices))]  # type: ignore[arg-type]  # any of them


def test_names_that_are_there_are_right() -> None:
    assert not told(
        include=("notes", "seen", "fts"),
        exclude=("tags",),
        keys={"notes": "surrogate"},
        match={"notes": ("title",)},
        references={"notes.folder_id": "folders"},
        triggers={"notes": "skip"},
    )


def test_all_that_is_wrong_is_told_at_once_with_what_was_perhaps_meant() -> None:
    assert told(
        include=("Notes",),
        exclude=("zzz",),
        keys={"tag": "natural"},
        match={"notes": ("titel", "long"), "foldrs": ("name",)},
        references={"notes.folder": "folders", "notes.title": "tags", "folder_id": "note"},
        triggers={"nots": "run"},
    ) == [
        "--include Notes: there is no table Notes; perhaps notes",
        "--exclude zzz: there is no table zzz; the tables are folders, fts, notes, seen, tags",
        "--key tag=natural: there is no table tag; perhaps tags",
        "--match foldrs=name: there is no table foldrs; perhaps folders",
        "--triggers nots=run: there is no table nots; perhaps notes",
        "--match notes=titel,long: notes has no column titel; perhaps title",
        (
            "--match notes=titel,long: long of notes is computed and has no value of its own; "
            "the columns are id, title, folder_id"
        ),
        "--reference notes.folder=folders: notes has no column folder; perhaps folder_id",
        "--reference notes.title=tags: tags has no INTEGER PRIMARY KEY, so that nothing has to be translated",
        "--reference folder_id=note: folder_id is not TABLE.COLUMN",
        "--reference folder_id=note: there is no table note; perhaps notes",
    ]


def test_the_configuration_is_told_by_its_own_words() -> None:
    assert told(declared=True, keys={"tag": "natural"}) == ["keys tag=natural: there is no table tag; perhaps tags"]


def test_a_long_list_is_cut() -> None:
    many = schema_of(*(f"t{number:02}(id INTEGER PRIMARY KEY)" for number in range(30)))
    (wrong,) = wrong_names(many, Choices(include=("zzz",)))
    assert wrong.why.endswith("t18, t19 and 10 more")
