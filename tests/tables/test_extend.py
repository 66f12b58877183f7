"""A bound file to which the application adds tables, and a column that refers to one of them."""

from __future__ import annotations

from collections.abc import Callable

import apsw
import pytest

from peerd.core.clocks import Dot
from peerd.core.tables.changes import Applied, Harvest
from peerd.core.tables.extending import choices_for, extended
from peerd.core.tables.plans import BindingPlan
from peerd.core.tables.proposals import Choices, propose
from peerd.core.tables.settings import BindingSettings
from peerd.core.values import unpack
from peerd.errors import TableTrouble
from peerd.tables import compare, install, shadow
from peerd.tables.extend import extend
from peerd.tables.harvest import HarvestLimits, harvest
from peerd.tables.reading import read_schema
from peerd.tables.settle import settle
from tests.tables.harvests import NOW_MS

Make = Callable[..., apsw.Connection]
BIND = b"b" * 16
DOT = Dot(b"o" * 16, 1)


@pytest.fixture
def bound(make: Make) -> tuple[apsw.Connection, BindingPlan]:
    """Two notes that are records; then the application was updated, and used."""
    connection = make("CREATE TABLE notes(id INTEGER PRIMARY KEY AUTOINCREMENT, title)")
    connection.execute("INSERT INTO notes(title) VALUES('one'), ('two')")
    schema = read_schema(connection)
    plan = propose(schema, "app", Choices()).plan("app")
    assert plan is not None
    install.install(connection, schema, plan, BIND, applied=Applied(b"c" * 16, 5))
    taken(connection, plan)
    connection.execute("CREATE TABLE folders(id INTEGER PRIMARY KEY AUTOINCREMENT, name)")
    connection.execute("ALTER TABLE notes ADD COLUMN folder REFERENCES folders")
    connection.execute("INSERT INTO folders(name) VALUES('garden')")
    connection.execute("UPDATE notes SET folder = 1 WHERE id = 2")
    taken(connection, plan)
    return connection, plan


def taken(connection: apsw.Connection, plan: BindingPlan) -> Harvest:
    compare.renew(connection, plan)
    found = harvest(connection, read_schema(connection), plan, "device", HarvestLimits(), now_ms=NOW_MS)
    assert found is not None
    settle(connection, read_schema(connection), plan, found.note, DOT)
    return found


def grown(connection: apsw.Connection, plan: BindingPlan) -> tuple[BindingPlan, set[int]]:
    schema = read_schema(connection)
    proposal = propose(schema, "app", choices_for(plan, schema, BindingSettings(), Choices()))
    extension = extended(plan, proposal)
    return extension.plan, {one.number for one in extension.new}


def records(connection: apsw.Connection) -> dict[int, str]:
    return dict(connection.execute("SELECT k0, r FROM _peerd_s1"))


def test_new_rows_are_harvested_and_what_was_bound_keeps_its_ids(bound: tuple[apsw.Connection, BindingPlan]) -> None:
    connection, plan = bound
    before = records(connection)
    more, new = grown(connection, plan)
    extend(connection, more, BIND, new, {"notes": {"folder": [before[2]]}})
    assert records(connection) == before
    assert shadow.applied(connection) == Applied(b"", 0)
    folder, note = taken(connection, more).edits
    assert (folder.kind, folder.collection, unpack(folder.set["name"])) == ("put", "app.folders", "garden")
    assert (note.kind, note.key, {name: unpack(cell) for name, cell in note.set.items()}) == (
        "patch",
        before[2],
        {"folder": folder.key},
    )


def test_without_what_is_to_be_said_again_bound_rows_stay_as_they_are(
    bound: tuple[apsw.Connection, BindingPlan],
) -> None:
    connection, plan = bound
    more, new = grown(connection, plan)
    extend(connection, more, BIND, new, {})
    assert [edit.collection for edit in taken(connection, more).edits] == ["app.folders"]


def test_rows_of_the_new_tables_can_give_way(bound: tuple[apsw.Connection, BindingPlan]) -> None:
    connection, plan = bound
    more, new = grown(connection, plan)
    extend(connection, more, BIND, new, {}, empty=True)
    assert list(connection.execute("SELECT count(*) FROM folders")) == [(0,)]
    assert list(connection.execute("SELECT count(*) FROM notes")) == [(2,)]


def test_what_an_attempt_left_is_taken_away(bound: tuple[apsw.Connection, BindingPlan]) -> None:
    connection, plan = bound
    more, new = grown(connection, plan)
    extend(connection, more, BIND, new, {})
    taken(connection, more)
    extend(connection, more, BIND, new, {})  # the crash came before the engine had kept the plan
    assert [edit.kind for edit in taken(connection, more).edits] == ["put"]
    install.uninstall(connection)
    assert not list(connection.execute("SELECT 1 FROM sqlite_schema WHERE name LIKE '\\_peerd%' ESCAPE '\\'"))


def test_a_table_that_was_dropped_just_before_is_seen_by_the_old_plan(
    bound: tuple[apsw.Connection, BindingPlan],
) -> None:
    connection, plan = bound
    more, new = grown(connection, plan)
    connection.execute("DROP TABLE notes")
    connection.execute("CREATE TABLE notes(id INTEGER PRIMARY KEY AUTOINCREMENT, title, folder REFERENCES folders)")
    extend(connection, more, BIND, new, {})
    assert [edit.kind for edit in taken(connection, more).edits] == ["put"], "its rows are held, none is deleted"
    assert list(connection.execute("SELECT count(*) FROM _peerd_s1 WHERE f & 1")) == [(2,)]


def test_another_file_is_left_alone(bound: tuple[apsw.Connection, BindingPlan]) -> None:
    connection, plan = bound
    more, new = grown(connection, plan)
    with pytest.raises(TableTrouble) as refused:
        extend(connection, more, b"x" * 16, new, {})
    assert refused.value.code == "file-unknown"
    assert not list(connection.execute("SELECT 1 FROM sqlite_schema WHERE name = '_peerd_s2'"))
