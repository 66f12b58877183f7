"""Rows that show what the space has lost are said again: as new ones, or what differs; under the same records."""

from __future__ import annotations

from collections.abc import Callable

import apsw
import pytest

from peerd.core.clocks import Dot
from peerd.core.tables.changes import Applied, Harvest
from peerd.core.tables.plans import BindingPlan
from peerd.core.tables.proposals import Choices, propose
from peerd.core.values import unpack
from peerd.tables import compare, install, lost
from peerd.tables.harvest import HarvestLimits, harvest
from peerd.tables.reading import read_schema
from peerd.tables.settle import settle
from tests.tables.harvests import NOW_MS

Make = Callable[..., apsw.Connection]
ORIGIN = b"o" * 16
NOTES = "app.notes"


@pytest.fixture
def bound(make: Make) -> tuple[apsw.Connection, BindingPlan, dict[str, str]]:
    """Two notes of two transactions, and their records by title."""
    connection = make("CREATE TABLE notes(id INTEGER PRIMARY KEY AUTOINCREMENT, title, mark)")
    plan = propose(read_schema(connection), "app", Choices()).plan("app")
    assert plan is not None
    install.install(connection, read_schema(connection), plan, b"b" * 16, applied=Applied(b"c" * 16, 5))
    records = {}
    for seq, title in enumerate(("known", "lost"), 1):
        connection.execute("INSERT INTO notes(title) VALUES(?)", (title,))
        compare.renew(connection, plan)
        (edit,) = taken(connection, plan, seq).edits
        records[title] = edit.key
    return connection, plan, records


def taken(connection: apsw.Connection, plan: BindingPlan, seq: int) -> Harvest:
    found = harvest(connection, read_schema(connection), plan, "device", HarvestLimits(), now_ms=NOW_MS)
    assert found is not None
    settle(connection, read_schema(connection), plan, found.note, Dot(ORIGIN, seq))
    return found


def test_what_the_clock_does_not_cover(bound: tuple[apsw.Connection, BindingPlan, dict[str, str]]) -> None:
    connection, plan, records = bound
    schema = read_schema(connection)
    assert lost.beyond(connection, schema, plan, NOTES, {ORIGIN: 2}) == {}
    assert lost.beyond(connection, schema, plan, NOTES, {ORIGIN: 1}) == {records["lost"]: {Dot(ORIGIN, 2)}}
    assert lost.beyond(connection, schema, plan, "app.others", {}) == {}


def test_a_row_is_said_whole_once(bound: tuple[apsw.Connection, BindingPlan, dict[str, str]]) -> None:
    """Also with what the application has written meanwhile; and then it shows the new transaction."""
    connection, plan, records = bound
    connection.execute("UPDATE notes SET mark = '!' WHERE title = 'lost'")
    lost.say_again(connection, read_schema(connection), plan, NOTES, [records["lost"]], {})
    (edit,) = taken(connection, plan, 3).edits
    assert (edit.kind, edit.key, edit.seen) == ("put", records["lost"], frozenset())
    assert (unpack(edit.set["title"]), unpack(edit.set["mark"])) == ("lost", "!")
    schema = read_schema(connection)
    assert harvest(connection, schema, plan, "device", HarvestLimits(), now_ms=NOW_MS) is None
    assert lost.beyond(connection, schema, plan, NOTES, {ORIGIN: 2}) == {records["lost"]: {Dot(ORIGIN, 3)}}


def test_cells_are_said_with_what_the_row_has_seen(
    bound: tuple[apsw.Connection, BindingPlan, dict[str, str]],
) -> None:
    connection, plan, records = bound
    lost.say_again(connection, read_schema(connection), plan, NOTES, [], {records["lost"]: ()})
    (edit,) = taken(connection, plan, 3).edits
    assert (edit.kind, edit.key, edit.seen) == ("patch", records["lost"], frozenset({Dot(ORIGIN, 2)}))
    assert unpack(edit.set["title"]) == "lost"


def test_columns_that_others_have_written_are_not_said_again(
    bound: tuple[apsw.Connection, BindingPlan, dict[str, str]],
) -> None:
    connection, plan, records = bound
    lost.say_again(connection, read_schema(connection), plan, NOTES, [], {records["lost"]: {"title", "elsewhere"}})
    (edit,) = taken(connection, plan, 3).edits
    assert set(edit.set) == {"mark"}


def test_a_row_that_is_gone_stays_gone(bound: tuple[apsw.Connection, BindingPlan, dict[str, str]]) -> None:
    connection, plan, records = bound
    connection.execute("DELETE FROM notes WHERE title = 'lost'")
    lost.say_again(connection, read_schema(connection), plan, NOTES, [records["lost"]], {records["lost"]: ()})
    (edit,) = taken(connection, plan, 3).edits
    assert (edit.kind, edit.key) == ("delete", records["lost"])


def test_rows_that_are_said_again_come_in_parts(make: Make) -> None:
    connection = make("CREATE TABLE notes(id INTEGER PRIMARY KEY AUTOINCREMENT, title, mark)")
    schema = read_schema(connection)
    plan = propose(schema, "app", Choices()).plan("app")
    assert plan is not None
    install.install(connection, schema, plan, b"b" * 16, applied=Applied(b"c" * 16, 5))
    compare.renew(connection, plan)
    connection.executemany("INSERT INTO notes(title) VALUES(zeroblob(?))", [(1_000,)] * 20)
    records = [edit.key for edit in taken(connection, plan, 1).edits]
    lost.say_again(connection, read_schema(connection), plan, NOTES, records, {})
    limits, said = HarvestLimits(size_bytes=5_000), list[str]()
    while (found := harvest(connection, read_schema(connection), plan, "device", limits, now_ms=NOW_MS)) is not None:
        assert len(found.edits) <= 5
        said += [edit.key for edit in found.edits]
        settle(connection, read_schema(connection), plan, found.note, Dot(ORIGIN, 2))
    assert sorted(said) == sorted(records)
