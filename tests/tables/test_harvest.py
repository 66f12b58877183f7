"""What a harvest makes of rows: each rule by the case that goes wrong without it."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import apsw
import msgspec
import pytest

from peerd.core.clocks import Dot
from peerd.core.tables.cells import BadText, Cell, pack_cell, unpack_cell
from peerd.core.tables.changes import RowEdit
from peerd.core.tables.plans import TablePlan
from peerd.tables import edits, shadow
from peerd.tables.captured import APPROVED, UNCAPTURED
from peerd.tables.harvest import HarvestLimits, SchemaMoved, harvest
from peerd.tables.shadow import HELD
from tests.tables.harvests import DEVICE, NOW_MS, ORIGIN, Bound, content, natural, surrogate

Make = Callable[..., apsw.Connection]
NOTE = "CREATE TABLE note(id INTEGER PRIMARY KEY, title TEXT, n INT)"
PART = "CREATE TABLE part(id INTEGER PRIMARY KEY, note INT REFERENCES note(id), body)"


def kinds(found: tuple[RowEdit, ...] | list[RowEdit]) -> list[str]:
    return [edit.kind for edit in found]


def values(edit: RowEdit) -> dict[str, object]:
    return {name: msgspec.msgpack.decode(packed) for name, packed in edit.set.items()}


def numbers(count: int) -> str:
    """A table in SQL with the numbers up to `count`."""
    return (
        f"(WITH RECURSIVE s(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM s LIMIT {count}) SELECT value FROM s)"
    )


def refers(record: str) -> bytes:
    return msgspec.msgpack.encode(record)


def dangling(integer: int) -> bytes:
    return msgspec.msgpack.encode({"device": DEVICE, "integer": integer})


# ---- what is an edit


def test_nothing_dirty_is_no_harvest_and_writes_nothing(make: Make) -> None:
    bound = Bound(make(NOTE), surrogate(0, "note"))
    before = shadow.counter(bound.connection)
    assert bound.harvest() is None
    assert shadow.counter(bound.connection) == before


def test_a_new_row_is_put_with_all_columns_and_an_id_of_its_own(make: Make) -> None:
    bound = Bound(make(NOTE), surrogate(0, "note"))
    bound.connection.execute("INSERT INTO note(title) VALUES('a'), ('a')")
    one, two = bound.step()
    assert (one.kind, values(one), one.seen) == ("put", {"id": 1, "title": "a", "n": None}, frozenset())
    assert one.key != two.key
    assert len(one.key) == 26
    bound.check()


def test_rows_that_are_harvested_together_have_ids_in_their_order(make: Make) -> None:
    """So they lie beside each other in every index, here and elsewhere."""
    bound = Bound(make(NOTE), surrogate(0, "note"))
    bound.connection.executemany("INSERT INTO note(title) VALUES(?)", [(f"{number}",) for number in range(50)])
    keys = [edit.key for edit in bound.step()]
    assert keys == sorted(set(keys))
    assert len({key[:8] for key in keys}) == 1
    connection = bound.connection
    connection.execute("INSERT INTO note(title) VALUES('alone')")
    (alone,) = bound.step()
    assert alone.key[:8] != keys[0][:8]
    bound.check()


def test_the_same_rows_of_the_same_state_have_the_same_ids(make: Make) -> None:
    """Another row at the same place, or the same row after anything was settled, has another one."""
    bound = Bound(make(NOTE), surrogate(0, "note"))
    bound.connection.execute("INSERT INTO note(title) VALUES('a'), (x'00'), (CAST(x'ff' AS TEXT))")
    found = [bound.harvest(), bound.harvest()]
    bound.connection.execute("UPDATE note SET title = 'b' WHERE id = 1")
    found.append(bound.harvest())
    first, again, changed = ([edit.key for edit in one.edits] for one in found if one is not None)
    assert all(edit.is_new for one in found if one is not None for edit in one.edits)
    assert first == again
    assert first[0] != changed[0]
    assert first[1:] == changed[1:]
    bound.step()
    bound.connection.execute("DELETE FROM note; INSERT INTO note(title) VALUES('a')")
    (new,) = [edit for edit in bound.step() if edit.kind == "put"]
    assert new.key not in {*first, *changed}
    bound.check()


def test_a_write_that_changes_nothing_is_no_edit(make: Make) -> None:
    bound = Bound(make(NOTE, "INSERT INTO note VALUES(1, 'a', 1)"), surrogate(0, "note"))
    bound.drain()
    bound.connection.execute("UPDATE note SET title = 'b'")
    bound.connection.execute("UPDATE note SET title = 'a', n = '1'")  # affinity makes the text an integer
    assert bound.drain() == []
    bound.check()


def test_only_what_changed_is_patched_and_it_has_seen_what_the_row_showed(make: Make) -> None:
    bound = Bound(make(NOTE, "INSERT INTO note VALUES(1, 'a', 1)"), surrogate(0, "note"))
    (put,) = bound.step()
    bound.connection.execute("UPDATE note SET title = 'A'")
    assert bound.step() == (RowEdit("patch", "app.note", put.key, {"title": b"\xa1A"}, frozenset({Dot(ORIGIN, 1)})),)
    bound.check()


@pytest.mark.parametrize(
    ("old", "new"), [("1", "1.0"), ("0.0", "-0.0"), ("'a'", "x'61'"), ("NULL", "x''"), ("''", "x''"), ("'a'", "'A'")]
)
def test_values_that_sqlite_holds_to_be_equal_are_told_apart(make: Make, old: str, new: str) -> None:
    bound = Bound(make("CREATE TABLE t(id INTEGER PRIMARY KEY, v COLLATE NOCASE)"), surrogate(0, "t"))
    bound.connection.execute(f"INSERT INTO t VALUES(1, {old})")
    bound.drain()
    bound.connection.execute(f"UPDATE t SET v = {new}")
    (edit,) = bound.step()
    assert list(edit.set) == ["v"]
    bound.check()


@pytest.mark.parametrize(
    "cell",
    [
        None, 0.0, -0.0, math.inf, -math.inf, (1 << 63) - 1, -(1 << 63), "", b"", "a\0b", BadText(b"a\xff\0b"),
        BadText(b"\xed\xa0\x80"), "\U0010ffff", b"\0" * (50 << 20), 5e-324,
    ],
    ids=lambda cell: repr(cell)[:20],
)  # fmt: skip
def test_every_value_travels_exactly(make: Make, cell: Cell) -> None:
    bound = Bound(make("CREATE TABLE t(id INTEGER PRIMARY KEY, v, other)"), surrogate(0, "t"))
    place, plain = ("CAST(? AS TEXT)", cell.data) if isinstance(cell, BadText) else ("?", cell)
    bound.connection.execute(f"INSERT INTO t VALUES(1, {place}, 1)", (plain,))
    (edit,) = bound.step()
    assert edit.set["v"] == pack_cell(cell)
    assert repr(unpack_cell(edit.set["v"])) == repr(cell)
    bound.connection.execute("UPDATE t SET other = 2")
    (patch,) = bound.step()
    assert list(patch.set) == ["other"]
    bound.check()


def test_text_that_is_no_utf8_can_be_a_key(make: Make) -> None:
    bound = Bound(make("CREATE TABLE s(k TEXT PRIMARY KEY NOT NULL, v)"), natural(0, "s", "k"))
    bound.connection.execute("INSERT INTO s VALUES(CAST(x'ff' AS TEXT), 1), ('a', 2)")
    assert kinds(bound.step()) == ["put", "put"]
    bound.check()
    bound.connection.execute("UPDATE s SET v = 3; DELETE FROM s WHERE k = 'a'")
    assert sorted(kinds(bound.step())) == ["delete", "patch"]
    bound.check()


def test_columns_that_one_check_names_are_written_together(make: Make) -> None:
    sql = "CREATE TABLE span(id INTEGER PRIMARY KEY, a, b, c, d, CHECK(a <= b), CHECK(b <= c))"
    bound = Bound(make(sql, "INSERT INTO span VALUES(1, 1, 2, 3, 4)"), surrogate(0, "span"))
    bound.drain()
    bound.connection.execute("UPDATE span SET a = 0")
    (edit,) = bound.step()
    assert values(edit) == {"a": 0, "b": 2, "c": 3}
    assert edit.together == (frozenset("abc"),)
    bound.connection.execute("UPDATE span SET d = 0")
    (edit,) = bound.step()
    assert values(edit) == {"d": 0}


def test_generated_columns_are_never_sent(make: Make) -> None:
    sql = "CREATE TABLE t(id INTEGER PRIMARY KEY, a, twice AS (a * 2), kept AS (a + 1) STORED)"
    bound = Bound(make(sql, "INSERT INTO t(a) VALUES(1)"), surrogate(0, "t"))
    (edit,) = bound.step()
    assert values(edit) == {"id": 1, "a": 1}


# ---- which record a row is


def test_an_integer_that_is_used_again_is_a_new_record_and_its_children_follow(make: Make) -> None:
    bound = Bound(make(NOTE, PART), surrogate(0, "note"), surrogate(1, "part", note="note"))
    bound.connection.execute("INSERT INTO note VALUES(42, 'old', 1); INSERT INTO part VALUES(1, 42, 'x')")
    old, _ = bound.step()
    bound.connection.execute("DELETE FROM note; INSERT INTO note VALUES(42, 'old', 1)")
    gone, new, child = bound.step()
    assert (gone.kind, gone.key, new.kind) == ("delete", old.key, "put")
    assert new.key != old.key
    assert child.set == {"note": refers(new.key)}
    bound.check()


def test_a_natural_row_that_comes_back_is_the_same_record(make: Make) -> None:
    bound = Bound(make("CREATE TABLE s(k TEXT PRIMARY KEY NOT NULL, v)"), natural(0, "s", "k"))
    bound.connection.execute("INSERT INTO s VALUES('a', 1)")
    bound.step()
    bound.connection.execute("DELETE FROM s; INSERT INTO s VALUES('a', 2)")
    (edit,) = bound.step()
    assert (edit.kind, edit.key, values(edit)) == ("patch", "a", {"v": 2})
    bound.connection.execute("UPDATE s SET k = 'b'")
    assert [(edit.kind, edit.key) for edit in bound.step()] == [("delete", "a"), ("put", "b")]
    bound.check()


def test_a_key_that_changes_its_case_stays_its_record(make: Make) -> None:
    bound = Bound(make("CREATE TABLE s(k TEXT COLLATE NOCASE PRIMARY KEY NOT NULL, v)"), natural(0, "s", "k"))
    bound.connection.execute("INSERT INTO s VALUES('a', 1)")
    bound.step()
    bound.connection.execute("UPDATE s SET k = 'A'")
    (edit,) = bound.step()
    assert (edit.kind, values(edit)) == ("patch", {"k": "A"})
    bound.check()


def test_tags_that_swap_their_names_swap_their_records_and_the_notes_follow(make: Make) -> None:
    tag = "CREATE TABLE tag(id INTEGER PRIMARY KEY, name TEXT UNIQUE, color)"
    link = "CREATE TABLE link(id INTEGER PRIMARY KEY, tag INT REFERENCES tag(id))"
    bound = Bound(make(tag, link), content(0, "tag", "name"), surrogate(1, "link", tag="tag"))
    bound.connection.execute("INSERT INTO tag VALUES(1, 'a', 'red'), (2, 'b', 'blue'); INSERT INTO link VALUES(1, 1)")
    bound.drain()
    bound.connection.execute("UPDATE tag SET name = 'x' WHERE id = 1")
    bound.connection.execute("UPDATE tag SET name = 'a' WHERE id = 2")
    bound.connection.execute("UPDATE tag SET name = 'b' WHERE id = 1")
    found = {(edit.kind, edit.key): edit.set for edit in bound.step()}
    note = next(fields for (kind, key), fields in found.items() if len(key) == 26)
    assert note == {"tag": refers("b")}
    assert found["patch", "a"] == {"color": pack_cell("blue")}
    assert found["patch", "b"] == {"color": pack_cell("red")}
    bound.check()


def test_of_two_rows_with_one_identity_the_second_waits_for_the_first_to_go(make: Make) -> None:
    tag = "CREATE TABLE tag(id INTEGER PRIMARY KEY, name TEXT, color)"
    bound = Bound(make(tag, "INSERT INTO tag VALUES(1, 'a', 'red'), (2, 'a', 'blue')"), content(0, "tag", "name"))
    found = bound.harvest()
    assert found is not None
    assert kinds(found.edits) == ["put"]
    assert found.troubles == (("tag", "2", "another row has the same identity"),)
    bound.settle(found)
    assert bound.harvest() is None
    assert list(bound.connection.execute("SELECT f FROM _peerd_s0 WHERE k0 = 2")) == [(UNCAPTURED,)]
    bound.connection.execute("DELETE FROM tag WHERE id = 1")
    (edit,) = bound.drain()
    assert (edit.kind, values(edit)) == ("patch", {"color": "blue"})
    bound.check()


# ---- references


def test_a_parent_that_is_new_in_the_same_harvest_is_referred_to(make: Make) -> None:
    bound = Bound(make(NOTE, PART), surrogate(0, "note"), surrogate(1, "part", note="note"))
    bound.connection.execute("INSERT INTO part VALUES(1, 5, 'x'); INSERT INTO note VALUES(5, 'a', 1)")
    parent, child = bound.step()
    assert child.set["note"] == refers(parent.key)
    bound.check()


def test_a_dangling_reference_travels_with_the_device_until_its_parent_comes(make: Make) -> None:
    bound = Bound(make(NOTE, PART), surrogate(0, "note"), surrogate(1, "part", note="note"))
    bound.connection.execute("INSERT INTO part VALUES(1, 5, 'x'), (2, NULL, 'y')")
    one, two = bound.step()
    assert (one.set["note"], two.set["note"]) == (dangling(5), pack_cell(None))
    bound.connection.execute("INSERT INTO note VALUES(5, 'a', 1)")
    parent, child = bound.step()
    assert (child.kind, child.set) == ("patch", {"note": refers(parent.key)})
    bound.connection.execute("DELETE FROM note")
    _, child = bound.step()
    assert child.set == {"note": dangling(5)}
    bound.check()


@pytest.mark.parametrize("limit", [1, 2, 10_000])
def test_rows_that_refer_to_rows_of_later_harvests_are_right_at_once(make: Make, limit: int) -> None:
    sql = "CREATE TABLE reply(id INTEGER PRIMARY KEY, answers INT REFERENCES reply(id))"
    plan = surrogate(0, "reply", answers="reply")
    bound = Bound(make(sql), plan, limits=HarvestLimits(rows=limit))
    bound.connection.execute("INSERT INTO reply VALUES(1, 2), (2, 3), (3, 4), (4, 4)")
    assert kinds(bound.drain()) == ["put"] * 4
    bound.check()
    bound.connection.execute("DELETE FROM reply WHERE id = 3; INSERT INTO reply VALUES(3, 1)")
    bound.drain()
    bound.check()


def test_a_key_of_references_is_one_of_records(make: Make) -> None:
    link = "CREATE TABLE link(a INT NOT NULL, b INT NOT NULL, v, PRIMARY KEY(a, b))"
    bound = Bound(make(NOTE, link), surrogate(0, "note"), natural(1, "link", "a", "b", a="note", b="note"))
    bound.connection.execute("INSERT INTO note VALUES(1, 'a', 1), (2, 'b', 1); INSERT INTO link VALUES(1, 2, 'x')")
    one, two, link_put = bound.step()
    assert link_put.key == f"@{one.key}|@{two.key}"
    bound.connection.execute("DELETE FROM note WHERE id = 2; INSERT INTO note VALUES(2, 'b', 1)")
    found = {(edit.kind, edit.collection): edit for edit in bound.step()}
    assert found["delete", "app.link"].key == link_put.key
    assert found["put", "app.link"].key == f"@{one.key}|@{found['put', 'app.note'].key}"
    bound.check()


# ---- rows that vanish silently, many rows, large rows


def test_a_row_that_replace_took_away_without_a_trigger_is_deleted(make: Make) -> None:
    sql = "CREATE TABLE person(id INTEGER PRIMARY KEY, email TEXT UNIQUE)"
    bound = Bound(make(sql, "INSERT INTO person VALUES(1, 'a'), (2, 'b')"), surrogate(0, "person"))
    bound.drain()
    bound.connection.execute("INSERT OR REPLACE INTO person VALUES(3, 'a')")
    assert sorted(kinds(bound.step())) == ["delete", "put"]
    bound.check()


def test_rows_that_vanished_silently_are_found_beyond_the_limit(make: Make) -> None:
    sql = "CREATE TABLE person(id INTEGER PRIMARY KEY, email TEXT UNIQUE, other UNIQUE)"
    rows = "INSERT INTO person VALUES(1, 'a', 1), (2, 'b', 2), (3, 'c', 3), (4, 'd', 4)"
    limits = HarvestLimits(rows=1)
    bound = Bound(make(sql, rows), surrogate(0, "person"), limits=limits)
    bound.drain()
    bound.connection.execute("UPDATE OR REPLACE person SET email = 'd', other = 3 WHERE id = 1")
    bound.connection.execute("UPDATE OR REPLACE person SET email = 'b' WHERE id = 1")
    assert sorted(kinds(bound.drain())) == ["delete", "delete", "delete", "patch"]
    bound.check()


def test_a_row_that_another_one_replaced_and_took_along_is_deleted(make: Make) -> None:
    """The row that is moved onto its own parent goes with it, so that no row and no mark is left there."""
    sql = "CREATE TABLE t(id INTEGER PRIMARY KEY, q INT REFERENCES t(id) ON DELETE CASCADE)"
    bound = Bound(make("PRAGMA foreign_keys = 1", sql, "INSERT INTO t VALUES(2, 2), (5, 2)"), surrogate(0, "t", q="t"))
    bound.drain()
    bound.connection.execute("UPDATE OR REPLACE t SET id = 2 WHERE id = 5")
    assert bound.connection.execute("SELECT * FROM t").fetchall() == []
    assert kinds(bound.drain()) == ["delete"] * 2
    bound.check()


def test_children_follow_a_parent_whose_new_id_was_needed_early(make: Make) -> None:
    sql = "CREATE TABLE t(id INTEGER PRIMARY KEY, q INT REFERENCES t(id))"
    bound = Bound(make(sql, "INSERT INTO t VALUES(4, NULL), (5, 4)"), surrogate(0, "t", q="t"))
    bound.drain()
    bound.limits = HarvestLimits(rows=1)
    bound.connection.execute("INSERT INTO t VALUES(2, 4); DELETE FROM t WHERE id = 4; INSERT INTO t VALUES(4, NULL)")
    bound.drain()
    bound.check()


def test_rows_that_vanished_silently_are_found_when_the_last_dirty_row_came_out_of_turn(make: Make) -> None:
    """Its id was needed by an earlier row, so it is taken beside another one."""
    sql = "CREATE TABLE t(id INTEGER PRIMARY KEY, x UNIQUE ON CONFLICT REPLACE, q INT REFERENCES t(id))"
    bound = Bound(make(sql, "INSERT INTO t VALUES(2, 1, 2)"), surrogate(0, "t", q="t"), limits=HarvestLimits(rows=1))
    bound.drain()
    bound.connection.execute("INSERT INTO t VALUES(4, 4, 1), (5, 1, NULL), (1, 3, 4)")
    assert sorted(kinds(bound.drain())) == ["delete", "put", "put", "put"]
    bound.check()


def test_a_harvest_takes_parents_first_and_no_more_than_its_limit(make: Make) -> None:
    limits = HarvestLimits(rows=3)
    bound = Bound(make(NOTE, PART), surrogate(0, "note"), surrogate(1, "part", note="note"), limits=limits)
    bound.connection.execute("INSERT INTO part VALUES(1, 1, 'x'), (2, 4, 'y')")
    bound.connection.execute("INSERT INTO note(title) VALUES('a'), ('b'), ('c'), ('d')")
    found = bound.harvest()
    assert found is not None
    assert found.more
    assert [edit.collection for edit in found.edits] == ["app.note"] * 3
    bound.settle(found)
    found = bound.harvest()
    assert found is not None
    assert (found.more, [edit.collection for edit in found.edits]) == (False, ["app.note", "app.part", "app.part"])
    bound.settle(found)
    bound.check()


CHUNKS = (
    ("CREATE TABLE t(k TEXT NOT NULL PRIMARY KEY, v)", natural(0, "t", "k"), "UPDATE t SET k = k || '!'"),
    ("CREATE TABLE t(k TEXT NOT NULL PRIMARY KEY, v)", natural(0, "t", "k"), "UPDATE t SET k = 'z' WHERE k = 'a'"),
    ("CREATE TABLE t(k TEXT NOT NULL PRIMARY KEY, v)", natural(0, "t", "k"),
     "UPDATE t SET k = 'z' WHERE k = 'a'; UPDATE t SET k = 'a' WHERE k = 'b'; UPDATE t SET k = 'b' WHERE k = 'z'"),
    ("CREATE TABLE t(id INTEGER PRIMARY KEY, k, v)", surrogate(0, "t"), "UPDATE t SET id = id + 10"),
    ("CREATE TABLE t(id INTEGER PRIMARY KEY, k, v)", surrogate(0, "t"),
     "UPDATE t SET id = 9 WHERE id = 1; UPDATE t SET id = 1 WHERE id = 2; UPDATE t SET id = 2 WHERE id = 9"),
    ("CREATE TABLE t(id INTEGER PRIMARY KEY, k TEXT NOT NULL, v)", content(0, "t", "k"),
     "UPDATE t SET k = CASE k WHEN 'a' THEN 'b' WHEN 'b' THEN 'c' ELSE 'a' END"),
    ("CREATE TABLE t(id INTEGER PRIMARY KEY, k TEXT NOT NULL, v)", content(0, "t", "k"),
     "UPDATE t SET id = id + 10, k = CASE k WHEN 'a' THEN 'b' WHEN 'b' THEN 'a' ELSE k END"),
)  # fmt: skip


@pytest.mark.parametrize("limit", [1, 2, 3])
@pytest.mark.parametrize(("table", "plan", "change"), CHUNKS)
def test_changes_of_keys_that_several_harvests_share_come_to_the_same(
    make: Make, table: str, plan: TablePlan, change: str, limit: int
) -> None:
    """Between them each is a state of its own: whole records, and children that refer to what is there."""
    child = "CREATE TABLE child(id INTEGER PRIMARY KEY, up)"
    bound = Bound(make(table, child), plan, surrogate(1, "child", **({"up": "t"} if plan.maps_integers else {})))
    bound.connection.execute("INSERT INTO t(k, v) VALUES('a', 1), ('b', 2), ('c', 3); INSERT INTO child VALUES(1, 1)")
    bound.drain()
    bound.limits = HarvestLimits(rows=limit, max_deletes=10_000)
    bound.connection.execute(change)
    while bound.step():
        named = [values["k"] for (collection, _), values in bound.records.items() if collection == "app.t"]
        assert len(named) == len(set(named)) or plan.key_class == "surrogate"
    bound.drain()
    bound.check()


def test_a_harvest_takes_no_more_than_its_bytes_and_a_large_row_comes_alone(make: Make) -> None:
    bound = Bound(make(NOTE), surrogate(0, "note"), limits=HarvestLimits(size_bytes=1_000))
    bound.connection.execute(f"INSERT INTO note SELECT value, hex(zeroblob(200)), 1 FROM {numbers(5)}")
    bound.connection.execute("UPDATE note SET title = hex(zeroblob(5000)) WHERE id = 3")
    sizes = []
    while (found := bound.harvest()) is not None:
        sizes.append(len(found.edits))
        bound.settle(found)
    assert sizes == [2, 1, 2]
    bound.check()


def test_a_row_beyond_the_limit_of_an_entry_is_told_and_taken_when_it_is_smaller(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edits, "ROW_BYTES", 1_000)
    bound = Bound(make(NOTE), surrogate(0, "note"))
    bound.connection.execute("INSERT INTO note VALUES(1, hex(zeroblob(600)), 1), (2, 'b', 1)")
    found = bound.harvest()
    assert found is not None
    assert [trouble[:2] for trouble in found.troubles] == [("note", "1")]
    assert len(found.edits) == 1
    bound.settle(found)
    bound.connection.execute("UPDATE note SET title = 'a' WHERE id = 1")
    assert kinds(bound.step()) == ["put"]
    bound.check()
    bound.connection.execute("UPDATE note SET title = hex(zeroblob(600)) WHERE id = 1")
    bound.step()
    bound.connection.execute("UPDATE note SET title = 'small' WHERE id = 1")
    (edit,) = bound.step()
    assert values(edit) == {"title": "small"}
    bound.check()


# ---- the brake


def braked(make: Make, rows: int, max_deletes: int = 3) -> Bound:
    bound = Bound(make(NOTE), surrogate(0, "note"), limits=HarvestLimits(max_deletes=max_deletes, max_share=20))
    bound.connection.execute(f"INSERT INTO note SELECT value, 'a', 1 FROM {numbers(rows)}")
    bound.drain()
    return bound


def test_deletes_that_are_many_and_a_large_share_are_held_and_the_rest_goes_on(make: Make) -> None:
    bound = braked(make, 10)
    bound.connection.execute("DELETE FROM note WHERE id <= 4; UPDATE note SET n = 2 WHERE id = 9")
    found = bound.harvest()
    assert found is not None
    assert (kinds(found.edits), found.held) == (["patch"], {"note": 4})
    bound.settle(found)
    assert bound.harvest() is None
    bound.connection.execute("UPDATE note SET n = 3 WHERE id = 9")
    assert kinds(bound.step()) == ["patch"]
    assert list(bound.connection.execute(f"SELECT count(*) FROM _peerd_s0 WHERE f & {HELD}")) == [(4,)]


@pytest.mark.parametrize(("rows", "deleted"), [(10, 3), (100, 4)])
def test_few_deletes_or_a_small_share_are_not_held(make: Make, rows: int, deleted: int) -> None:
    bound = braked(make, rows)
    bound.connection.execute(f"DELETE FROM note WHERE id <= {deleted}")
    assert kinds(bound.step()) == ["delete"] * deleted
    bound.check()


def test_many_deletes_are_held_though_each_harvest_takes_few(make: Make) -> None:
    bound = braked(make, 10)
    bound.limits = HarvestLimits(rows=2, max_deletes=3, max_share=20)
    bound.connection.execute("DELETE FROM note WHERE id <= 5")
    assert bound.drain() == []
    assert len(bound.records) == 10


def test_approved_deletes_go_and_a_row_at_a_held_key_is_a_new_one(make: Make) -> None:
    bound = braked(make, 5)
    bound.connection.execute("DELETE FROM note")
    assert bound.drain() == []
    bound.connection.execute("INSERT INTO note VALUES(2, 'new', 1)")
    assert kinds(bound.step()) == ["put"]
    bound.connection.execute(f"UPDATE _peerd_s0 SET f = {APPROVED} WHERE f & {HELD}")
    assert kinds(bound.step()) == ["delete"] * 5
    bound.check()


def test_a_natural_row_that_comes_back_is_held_no_more(make: Make) -> None:
    sql = "CREATE TABLE s(k TEXT PRIMARY KEY NOT NULL, v)"
    bound = Bound(make(sql), natural(0, "s", "k"), limits=HarvestLimits(max_deletes=1, max_share=20))
    bound.connection.execute("INSERT INTO s VALUES('a', 1), ('b', 2)")
    bound.drain()
    bound.connection.execute("DELETE FROM s")
    assert bound.drain() == []
    bound.connection.execute("INSERT INTO s VALUES('a', 1), ('b', 3)")
    (edit,) = bound.drain()
    assert values(edit) == {"v": 3}
    bound.check()


# ---- the application meanwhile


def test_a_schema_that_moved_is_not_harvested(make: Make) -> None:
    bound = Bound(make(NOTE), surrogate(0, "note"))
    bound.connection.execute("INSERT INTO note VALUES(1, 'a', 1); ALTER TABLE note ADD COLUMN more")
    with pytest.raises(SchemaMoved):
        harvest(bound.connection, bound.schema, bound.plan, DEVICE, bound.limits, now_ms=NOW_MS)


def test_what_is_read_is_one_state_and_durable_before_it_is_handed_out(make: Make) -> None:
    """It is synced after the reading; what the application writes in between belongs to the next harvest."""
    connection = make("PRAGMA journal_mode = wal", NOTE, "INSERT INTO note VALUES(1, 'a', 1)")
    bound = Bound(connection, surrogate(0, "note"))
    other = apsw.Connection(connection.filename)
    happened: list[str] = []

    def at(point: str) -> None:
        happened.append(point)
        if point == "reading":
            other.execute("INSERT INTO note VALUES(2, 'b', 1)")

    def sync(path: Path) -> bool:
        assert str(path) == connection.filename
        assert not connection.in_transaction
        happened.append("sync")
        return True

    found = harvest(connection, bound.schema, bound.plan, DEVICE, bound.limits, now_ms=NOW_MS, sync=sync, at=at)
    assert happened == ["reading", "read", "sync", "synced"]
    assert found is not None
    assert len(found.edits) == 1
    bound.settle(found)
    assert kinds(bound.step()) == ["put"]
    bound.check()
    other.close()


def test_where_it_cannot_be_synced_a_commit_of_ours_follows_the_reading(make: Make) -> None:
    bound = Bound(make(NOTE, "INSERT INTO note VALUES(1, 'a', 1)"), surrogate(0, "note"))
    other = apsw.Connection(bound.connection.filename)
    counters: dict[str, int] = {}

    def at(point: str) -> None:
        counters[point] = shadow.counter(other)

    found = harvest(
        bound.connection, bound.schema, bound.plan, DEVICE, bound.limits, now_ms=NOW_MS, sync=lambda _: False, at=at
    )
    assert found is not None
    assert counters["synced"] > counters["read"]
    bound.settle(found)
    bound.check()
    other.close()


def test_what_a_disk_does_not_keep_is_not_handed_out(make: Make) -> None:
    bound = Bound(make(NOTE, "INSERT INTO note VALUES(1, 'a', 1)"), surrogate(0, "note"))

    def sync(_: Path) -> bool:
        raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output"):
        harvest(bound.connection, bound.schema, bound.plan, DEVICE, bound.limits, now_ms=NOW_MS, sync=sync)
    assert kinds(bound.step()) == ["put"]
    bound.check()


def test_a_harvest_of_several_tables_takes_one_row_too_many_at_most(make: Make) -> None:
    """A row that is larger than a harvest has one of its own, or nobody could store what they make together."""
    limits = HarvestLimits(size_bytes=10_000)
    bound = Bound(
        make(NOTE, "CREATE TABLE file(id INTEGER PRIMARY KEY, data)"),
        surrogate(0, "note"),
        surrogate(1, "file"),
        limits=limits,
    )
    bound.connection.execute(
        "INSERT INTO note(title) VALUES(zeroblob(9000)); INSERT INTO file(data) VALUES(zeroblob(30000))"
    )
    assert [edit.collection for edit in bound.step()] == ["app.note"]
    assert [edit.collection for edit in bound.step()] == ["app.file"]
    bound.check()
