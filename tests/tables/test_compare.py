"""A schema that moved: triggers come back, rows are compared, and a difference of schemas deletes or edits nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import apsw
import msgspec
import pytest

from peerd.tables import compare, shadow
from peerd.tables.harvest import HarvestLimits
from peerd.tables.shadow import HELD
from tests.tables.harvests import Bound, content, natural, surrogate

Make = Callable[..., apsw.Connection]
NOTE = "CREATE TABLE note(id INTEGER PRIMARY KEY, title TEXT, n INT)"
ROWS = "INSERT INTO note VALUES(1, 'a', 1), (2, 'b', 2), (3, 'c', 3)"


def bound_notes(make: Make, *more: str) -> Bound:
    bound = Bound(make(NOTE, ROWS, *more), surrogate(0, "note"))
    bound.drain()
    return bound


def names_of_triggers(bound: Bound) -> list[str]:
    found = bound.connection.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger' ORDER BY name")
    return [str(name) for (name,) in found]


def test_a_comparison_of_an_unchanged_file_marks_nothing(make: Make) -> None:
    bound = bound_notes(make)
    bound.renew()
    assert not compare.is_due(bound.connection)
    assert bound.harvest() is None
    bound.check()


# ---- columns


@pytest.mark.parametrize("default", ["", "DEFAULT 0", "DEFAULT '7'", "NOT NULL DEFAULT -0.0"])
def test_a_new_column_is_no_edit_of_all_rows(make: Make, default: str) -> None:
    bound = bound_notes(make)
    bound.connection.execute(f"ALTER TABLE note ADD COLUMN more INT {default}")
    assert bound.drain() == []
    assert bound.renewal is not None
    assert bound.renewal.appeared == {"note": ("more",)}


def test_what_is_written_to_a_new_column_is_an_edit_that_has_seen_nothing_of_it(make: Make) -> None:
    bound = bound_notes(make)
    bound.connection.execute("ALTER TABLE note ADD COLUMN more INT DEFAULT 0; UPDATE note SET more = 5 WHERE id = 2")
    (edit,) = bound.drain()
    assert (edit.kind, set(edit.set), edit.seen) == ("patch", {"more"}, frozenset())
    bound.connection.execute(
        "UPDATE note SET more = 6, title = 'B' WHERE id = 2; UPDATE note SET more = 7 WHERE id = 2"
    )
    (edit,) = bound.drain()
    assert set(edit.set) == {"more", "title"}
    assert edit.seen


def test_a_row_that_is_edited_does_not_write_the_default_of_a_new_column(make: Make) -> None:
    bound = bound_notes(make)
    bound.connection.execute("ALTER TABLE note ADD COLUMN more INT DEFAULT '5'; UPDATE note SET n = 9 WHERE id = 2")
    (edit,) = bound.drain()
    assert set(edit.set) == {"n"}


def test_old_and_new_columns_of_one_row_are_told_apart(make: Make) -> None:
    bound = bound_notes(make)
    bound.connection.execute("ALTER TABLE note ADD COLUMN more DEFAULT 0; UPDATE note SET more = 5, n = 9 WHERE id = 2")
    old, new = bound.drain()
    assert (set(old.set), bool(old.seen)) == ({"n"}, True)
    assert (set(new.set), bool(new.seen)) == ({"more"}, False)


def test_a_new_row_shows_its_new_column(make: Make) -> None:
    bound = bound_notes(make)
    bound.connection.execute("ALTER TABLE note ADD COLUMN more DEFAULT 5; INSERT INTO note(title) VALUES('d')")
    (edit,) = bound.drain()
    assert edit.set["more"] == b"\x05"


def test_a_column_that_goes_deletes_nothing(make: Make) -> None:
    bound = bound_notes(make)
    bound.connection.execute("ALTER TABLE note DROP COLUMN n")
    assert bound.drain() == []
    bound.connection.execute("UPDATE note SET title = 'x' WHERE id = 1")
    (edit,) = bound.drain()
    assert set(edit.set) == {"title"}


def test_a_column_that_comes_back_is_another_one(make: Make) -> None:
    bound = bound_notes(make)
    bound.connection.execute("ALTER TABLE note DROP COLUMN n")
    bound.drain()
    bound.connection.execute("ALTER TABLE note ADD COLUMN n INT DEFAULT 4")
    assert bound.drain() == []


def test_a_renamed_column_deletes_nothing_and_its_values_get_the_new_name(make: Make) -> None:
    bound = bound_notes(make)
    bound.connection.execute("ALTER TABLE note RENAME COLUMN n TO number")
    edits = bound.drain()
    assert {(edit.kind, *edit.set) for edit in edits} == {("patch", "number")}
    assert len(edits) == 3


# ---- tables


def rebuild(bound: Bound, *, kept: str = "") -> None:
    bound.connection.execute(
        f"BEGIN; CREATE TABLE new_note(id INTEGER PRIMARY KEY, title TEXT, n INT);"
        f"INSERT INTO new_note SELECT * FROM note {kept}; DROP TABLE note; ALTER TABLE new_note RENAME TO note; COMMIT"
    )


def test_a_rebuilt_table_has_its_triggers_again_and_is_no_edit(make: Make) -> None:
    bound = bound_notes(make)
    rebuild(bound)
    assert names_of_triggers(bound) == []
    assert bound.drain() == []
    assert names_of_triggers(bound) == ["_peerd_i0", "_peerd_u0", "_peerd_x0"]
    bound.connection.execute("UPDATE note SET title = 'x' WHERE id = 1")
    assert len(bound.drain()) == 1
    bound.check()


def test_what_was_written_while_there_were_no_triggers_is_found(make: Make) -> None:
    bound = bound_notes(make)
    rebuild(bound)
    bound.connection.execute("UPDATE note SET title = 'x' WHERE id = 1")
    bound.connection.execute("DELETE FROM note WHERE id = 2; INSERT INTO note VALUES(9, 'new', 9)")
    assert sorted(edit.kind for edit in bound.drain()) == ["delete", "patch", "put"]
    bound.check()


def test_marks_from_before_a_rebuild_still_count(make: Make) -> None:
    bound = bound_notes(make)
    bound.connection.execute("DELETE FROM note WHERE id = 1; INSERT INTO note VALUES(1, 'a', 1)")
    rebuild(bound)
    assert [edit.kind for edit in bound.drain()] == ["delete", "put"]
    bound.check()


def test_a_dropped_table_deletes_no_record(make: Make) -> None:
    bound = bound_notes(make)
    bound.connection.execute("DROP TABLE note")
    assert bound.drain() == []
    assert bound.renewal is not None
    assert bound.renewal.missing == ("note",)
    assert len(bound.records) == 3


def test_a_table_that_is_dropped_and_made_again_is_held_and_its_rows_are_the_same_when_they_come_back(
    make: Make,
) -> None:
    bound = bound_notes(make)
    bound.connection.execute(f"DROP TABLE note; {NOTE}")
    assert bound.drain() == []
    assert bound.renewal is not None
    assert bound.renewal.held == {"note": 3}
    assert list(bound.connection.execute(f"SELECT count(*) FROM _peerd_s0 WHERE f & {HELD}")) == [(3,)]
    bound.connection.execute("INSERT INTO note VALUES(1, 'a', 1), (2, 'changed', 2), (3, 'c', 3)")
    (edit,) = bound.drain()
    assert (edit.kind, set(edit.set)) == ("patch", {"title"})
    bound.check()


def test_a_rebuild_in_two_transactions_deletes_nothing(make: Make) -> None:
    bound = bound_notes(make)
    bound.connection.execute("CREATE TABLE kept AS SELECT * FROM note; DROP TABLE note")
    assert bound.drain() == []
    bound.connection.execute(f"{NOTE}; INSERT INTO note SELECT * FROM kept")
    assert bound.drain() == []
    bound.check()


# ---- rowids


@pytest.mark.parametrize("is_natural", [True, False])
def test_vacuum_gives_hidden_rowids_anew_and_rows_stay_their_records(make: Make, *, is_natural: bool) -> None:
    plan = natural(0, "t", "k") if is_natural else surrogate(0, "t")
    bound = Bound(make("CREATE TABLE t(k TEXT PRIMARY KEY, v)" if is_natural else "CREATE TABLE t(k TEXT, v)"), plan)
    bound.connection.execute("INSERT INTO t VALUES('a', 1), ('b', 1), ('c', 1), ('d', 1)")
    bound.drain()
    bound.connection.execute("DELETE FROM t WHERE k = 'a'")
    bound.drain()
    before = {key: values["k"] for key, values in bound.records.items()}
    if is_natural:  # VACUUM leaves these alone, a copy does not
        bound.connection.execute("CREATE TABLE new(k TEXT PRIMARY KEY, v); INSERT INTO new SELECT * FROM t ORDER BY k")
        bound.connection.execute("DROP TABLE t; ALTER TABLE new RENAME TO t")
    else:
        bound.connection.execute("VACUUM")
    assert bound.connection.execute("SELECT min(rowid) FROM t").fetchall() == [(1,)]
    assert bound.drain() == []
    bound.check()
    bound.connection.execute("UPDATE t SET v = 2 WHERE k = 'c'")
    (edit,) = bound.drain()
    assert before[edit.collection, edit.key] == msgspec.msgpack.encode("c")
    bound.check()


def test_rows_written_just_before_a_vacuum_are_not_lost(make: Make) -> None:
    bound = Bound(make("CREATE TABLE t(k TEXT, v)"), surrogate(0, "t"))
    bound.connection.execute("INSERT INTO t VALUES('a', 1), ('b', 1), ('c', 1)")
    bound.drain()
    bound.connection.execute("DELETE FROM t WHERE k = 'a'; UPDATE t SET v = 2 WHERE k = 'c'; VACUUM")
    bound.drain()
    bound.check()


EDITED = (
    "UPDATE t SET v = 2 WHERE k = 'c'",
    "UPDATE t SET v = 2 WHERE k = 'd'",
    "UPDATE t SET v = 2 WHERE k IN ('b', 'c', 'd')",
    "UPDATE t SET v = 2 WHERE k IN ('b', 'd'); INSERT INTO t VALUES('b', 2, 'x')",
)


@pytest.mark.parametrize("edited", EDITED)
@pytest.mark.parametrize("order", ["{}; VACUUM", "VACUUM; {}"])
def test_rows_edited_beside_a_vacuum_stay_their_records(make: Make, edited: str, order: str) -> None:
    bound = Bound(make("CREATE TABLE t(k TEXT, v, w)"), surrogate(0, "t"))
    bound.connection.execute("INSERT INTO t VALUES('a', 1, 0), ('b', 1, 0), ('c', 1, 0), ('d', 1, 0), ('e', 1, 0)")
    bound.drain()
    bound.connection.execute("DELETE FROM t WHERE k = 'a'")
    bound.drain()
    before = {key: fields["k"] for (_, key), fields in bound.records.items()}
    bound.connection.execute(order.format(edited))
    found = {edit.kind: edit for edit in bound.drain()}
    assert found.keys() == {"patch"} | ({"put"} if "INSERT" in edited else set())
    assert set(found["patch"].set) == {"v"}
    after = {key: fields["k"] for (_, key), fields in bound.records.items() if key in before}
    assert after.items() <= before.items()
    bound.check()


def test_no_row_is_taken_for_its_neighbour_if_all_were_written_before_a_vacuum(make: Make) -> None:
    bound = Bound(make("CREATE TABLE t(k TEXT, v, w)"), surrogate(0, "t"))
    bound.connection.execute("INSERT INTO t VALUES('a', 1, 0), ('b', 1, 0), ('c', 1, 0)")
    bound.drain()
    bound.connection.execute("DELETE FROM t WHERE k = 'a'; UPDATE t SET v = 2; VACUUM")
    assert "patch" not in {edit.kind for edit in bound.drain()}
    bound.check()


@pytest.mark.parametrize(
    "edited",
    [
        "DELETE FROM t WHERE k IN ('a', 'c'); INSERT INTO t VALUES('d', 2, NULL)",
        "UPDATE t SET v = 2 WHERE k = 'b'; DELETE FROM t WHERE k = 'c'",  # which of the two it was is not told any more
    ],
)
def test_a_row_that_may_be_another_one_is_new_after_a_vacuum(make: Make, edited: str) -> None:
    bound = Bound(make("CREATE TABLE t(k TEXT, v, w)"), surrogate(0, "t"))
    bound.connection.execute("INSERT INTO t VALUES('x', 1, NULL), ('a', 1, NULL), ('b', 1, NULL), ('c', 1, NULL)")
    bound.drain()
    bound.connection.execute("DELETE FROM t WHERE k = 'x'")
    bound.drain()
    bound.connection.execute(edited + "; VACUUM")
    assert sorted(edit.kind for edit in bound.drain()) == ["delete", "delete", "put"]
    bound.check()


def test_vacuum_of_tables_with_keys_is_no_edit(make: Make) -> None:
    bound = bound_notes(make)
    bound.connection.execute("DELETE FROM note WHERE id = 1")
    bound.drain()
    bound.connection.execute("VACUUM")
    assert bound.drain() == []
    bound.check()


# ---- other keys

REKEYED = (
    ("k TEXT NOT NULL, n NOT NULL, v, PRIMARY KEY(k)", "k TEXT NOT NULL, n NOT NULL, v, PRIMARY KEY(k, n)"),
    ("k TEXT NOT NULL, n NOT NULL, v, PRIMARY KEY(k, n)", "k TEXT NOT NULL, n NOT NULL, v, PRIMARY KEY(k)"),
    ("k TEXT NOT NULL, n NOT NULL, v, PRIMARY KEY(k, n)", "k TEXT NOT NULL, n NOT NULL, v, PRIMARY KEY(n, k)"),
    ("k TEXT NOT NULL, n NOT NULL, v, PRIMARY KEY(k, n)", "k TEXT NOT NULL, n, v"),
    ("k TEXT NOT NULL, n, v", "k TEXT NOT NULL PRIMARY KEY, n, v"),
)
EDITS: tuple[tuple[str, dict[str, int]], ...] = (
    ("", {}),
    ("UPDATE t SET v = 2 WHERE k = 'c'", {"patch": 1}),
    ("UPDATE t SET v = 2 WHERE k = 'c'; DELETE FROM t WHERE k = 'b'", {"patch": 1, "delete": 1}),
    ("UPDATE t SET v = k", {"patch": 4}),
    ("UPDATE t SET v = k; DELETE FROM t WHERE k = 'd'; INSERT INTO t VALUES('e', 5, 5)",
     {"patch": 3, "delete": 1, "put": 1}),
)  # fmt: skip


@pytest.mark.parametrize("limit", [1, 10_000])
@pytest.mark.parametrize(("edited", "kinds"), EDITS)
@pytest.mark.parametrize(("old", "new"), REKEYED)
def test_rows_stay_their_records_when_a_table_gets_another_key(
    make: Make, old: str, new: str, edited: str, kinds: dict[str, int], limit: int
) -> None:
    """By what makes their identity, as it was bound."""
    bound = Bound(make(f"CREATE TABLE t({old})"), natural(0, "t", "k"), limits=HarvestLimits(rows=limit))
    bound.connection.execute("INSERT INTO t VALUES('a', 1, 1), ('b', 2, 1), ('c', 3, 1), ('d', 4, 1)")
    bound.drain()
    bound.connection.execute(f"CREATE TABLE new({new}); INSERT INTO new SELECT * FROM t ORDER BY n DESC")
    bound.connection.execute("DROP TABLE t; ALTER TABLE new RENAME TO t; " + edited)
    assert Counter(edit.kind for edit in bound.drain()) == kinds
    bound.check()
    assert bound.connection.execute("SELECT name FROM sqlite_schema WHERE name LIKE '%kept%'").fetchall() == []


@pytest.mark.parametrize(
    ("old", "new", "values"),
    [
        ("k TEXT, v", "id INTEGER PRIMARY KEY, k TEXT, v", "NULL, k, v"),
        ("id INTEGER PRIMARY KEY, k TEXT, v", "k TEXT, v, number INTEGER PRIMARY KEY", "k, v, NULL"),
        ("id INTEGER PRIMARY KEY, k TEXT, v", "k TEXT, v", "k, v"),
    ],
)
def test_rows_that_were_numbered_anew_stay_their_records(make: Make, old: str, new: str, values: str) -> None:
    bound = Bound(make(f"CREATE TABLE t({old})"), surrogate(0, "t"))
    bound.connection.execute("INSERT INTO t(k, v) VALUES('a', 1), ('b', 1), ('c', 1), ('d', 1)")
    bound.drain()
    bound.connection.execute("DELETE FROM t WHERE k = 'a'")
    bound.drain()
    names = {key: fields["k"] for (_, key), fields in bound.records.items()}
    bound.connection.execute(f"CREATE TABLE new({new}); INSERT INTO new SELECT {values} FROM t")
    bound.connection.execute("DROP TABLE t; ALTER TABLE new RENAME TO t; UPDATE t SET v = 2 WHERE k = 'c'")
    (edit,) = bound.drain()
    assert (names[edit.key], edit.set) == (msgspec.msgpack.encode("c"), {"v": msgspec.msgpack.encode(2)})
    bound.connection.execute("UPDATE t SET v = 3 WHERE k = 'd'")
    (edit,) = bound.drain()
    assert names[edit.key] == msgspec.msgpack.encode("d")


# ---- a crash


@pytest.mark.parametrize("point", ["reinstalled", "compared"])
def test_a_comparison_that_was_cut_is_done_again(make: Make, point: str) -> None:
    bound = bound_notes(make)
    rebuild(bound)
    bound.connection.execute("UPDATE note SET title = 'x' WHERE id = 1")

    def cut(here: str) -> None:
        if here == point:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare.renew(bound.connection, bound.plan, at=cut)
    assert shadow.get_meta(bound.connection, "comparing") == 1
    assert compare.is_due(bound.connection)
    assert len(bound.drain()) == 1
    bound.check()


def test_content_tables_are_compared_without_their_integers(make: Make) -> None:
    bound = Bound(make("CREATE TABLE tag(id INTEGER PRIMARY KEY, name TEXT UNIQUE)"), content(0, "tag", "name"))
    bound.connection.execute("INSERT INTO tag VALUES(1, 'a'), (2, 'b')")
    bound.drain()
    bound.connection.execute("VACUUM")
    assert bound.drain() == []
    bound.check()
