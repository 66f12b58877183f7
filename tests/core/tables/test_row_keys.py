"""Record keys are equal exactly where SQLite holds the identities to be equal, and names of collections are legal."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from peerd.core.limits import KEY_BYTES
from peerd.core.names import check_collection_name, check_key
from peerd.core.tables.cells import BadText, Cell
from peerd.core.tables.row_keys import Parent, Part, collection_name, identity_collations, record_key
from peerd.core.tables.shape import Column, Table, Unique

COLLATIONS = st.sampled_from(["BINARY", "NOCASE", "RTRIM"])
INTEGERS = st.integers(-(1 << 63), (1 << 63) - 1)
TEXTS = st.text(st.sampled_from("aAbB é\0 |\\~@'-019\n"), max_size=5)
CELLS: st.SearchStrategy[Cell] = st.one_of(
    st.none(),
    INTEGERS,
    st.integers(-3, 3),
    st.integers(-3, 3).map(float),
    st.floats(allow_nan=False),
    INTEGERS.map(float),
    TEXTS,
    st.text(st.characters(exclude_categories=["Cs"])),
    TEXTS.map(str.encode),
    st.binary(max_size=4).filter(lambda raw: not _is_utf8(raw)).map(BadText),
)


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def key_of(*parts: Part, collation: str = "BINARY") -> str:
    return record_key(parts, [collation] * len(parts))


@pytest.mark.parametrize(
    ("parts", "key"),
    [
        ((42,), "42"),
        ((-1,), "-1"),
        ((7.0,), "7"),
        ((-0.0,), "0"),
        (("inbox",), "inbox"),
        (("a|b\\c d",), "a|b\\c d"),
        (("42",), "'42"),
        (("-7",), "'-7"),
        (("~x",), "'~x"),
        (("@x",), "'@x"),
        (("'x",), "''x"),
        (("",), "'"),
        (("é",), "é"),
        ((Parent("abc"),), "@abc"),
        ((Parent("a|b"), "c|d\\", 5), "@a\\|b|c\\|d\\\\|5"),
        (("", ""), "'|'"),
    ],
)
def test_a_key_is_readable_where_it_can_be(parts: tuple[Part, ...], key: str) -> None:
    assert key_of(*parts) == key


@pytest.mark.parametrize(
    "part", [None, 1.5, b"x", BadText(b"\xff"), "a\0b", "a\u202eb", "x" * 1025, Parent(None, "device", 3), 1e300]
)
def test_all_else_is_a_hash(part: Part) -> None:
    keys = {key_of(part), key_of(part, "a"), key_of("a", part)}
    assert len(keys) == 3
    assert all(re.fullmatch("~[a-z2-7]{32}", key) for key in keys)


def test_the_longest_text_that_is_a_key_is_one() -> None:
    assert key_of("x" * KEY_BYTES) == "x" * KEY_BYTES
    assert key_of("1" * KEY_BYTES)[0] == "~"


def test_hashes_are_what_they_were() -> None:
    """Devices of other versions must come to the same keys."""
    assert key_of(None) == "~" + KNOWN["none"]
    assert key_of(b"\0", "text", Parent("p")) == "~" + KNOWN["several"]


KNOWN = {"none": "7nz2gwhcvcf46kswfcyniz6qvmbkgb6v", "several": "vh6zzuyseckhoixbcsbetcjlabs5poao"}


def test_collations_decide_what_is_the_same() -> None:
    assert key_of("AbcÉ", collation="NOCASE") == key_of("aBCÉ", collation="NOCASE") == "abcÉ"
    assert key_of("abcé", collation="NOCASE") != key_of("abcÉ", collation="NOCASE")
    assert key_of("a  ", collation="RTRIM") == key_of("a", collation="RTRIM") == "a"
    assert key_of("a\t", collation="RTRIM") != key_of("a", collation="RTRIM")
    assert key_of("A ", collation="NOCASE") == "a "
    assert key_of(b"A", collation="NOCASE") != key_of(b"a", collation="NOCASE")


def sqlite_holds_equal(one: Sequence[Cell], other: Sequence[Cell], collations: Sequence[str]) -> bool:
    """As a UNIQUE index does, but that NULL is NULL."""
    connection = sqlite3.connect(":memory:")
    same = []
    for left, right, collation in zip(one, other, collations, strict=True):
        values = [cell.data if isinstance(cell, BadText) else cell for cell in (left, right)]
        places = ["CAST(? AS TEXT)" if isinstance(cell, BadText) else "?" for cell in (left, right)]
        sql = f"SELECT {places[0]} IS {places[1]} COLLATE {collation}"
        same.append(bool(connection.execute(sql, values).fetchone()[0]))
    connection.close()
    return all(same)


@given(st.data(), st.lists(COLLATIONS, min_size=1, max_size=3))
def test_keys_are_equal_exactly_where_sqlite_holds_identities_to_be_equal(
    data: st.DataObject, collations: list[str]
) -> None:
    pool = data.draw(st.lists(CELLS, min_size=1, max_size=4))
    parts = st.one_of(CELLS, st.sampled_from(pool))
    one = [data.draw(parts) for _ in collations]
    other = [data.draw(st.one_of(st.just(part), st.sampled_from(variants(part)), parts)) for part in one]
    same = record_key(one, collations) == record_key(other, collations)
    assert same == sqlite_holds_equal(one, other, collations)


def variants(cell: Cell) -> list[Cell]:
    """Cells that may be taken for this one, rightly or not."""
    if isinstance(cell, str):
        return [cell.upper(), cell + " ", cell.encode(), cell + "\0", f"'{cell}", cell.swapcase()]
    if isinstance(cell, int):
        return [float(cell), str(cell), cell ^ 1]
    return [cell]


@given(CELLS, CELLS, COLLATIONS)
@example("a\0b", "A\0c", "NOCASE")
@example("a\0b", "A\0cc", "NOCASE")
@example(9007199254740993, 9007199254740992.0, "BINARY")
@example((1 << 63) - 1, float(1 << 63), "BINARY")
@example(-(1 << 63), -float(1 << 63), "BINARY")
def test_one_part_alone(one: Cell, other: Cell, collation: str) -> None:
    same = record_key([one], [collation]) == record_key([other], [collation])
    assert same == sqlite_holds_equal([one], [other], [collation])


@given(st.lists(st.one_of(CELLS, st.builds(Parent, TEXTS.filter(bool))), min_size=1, max_size=4))
def test_every_key_is_legal(parts: list[Part]) -> None:
    check_key(key_of(*parts))


@given(st.lists(st.one_of(st.builds(Parent, TEXTS.filter(bool)), TEXTS, INTEGERS), min_size=2, max_size=2, unique=True))
def test_a_reference_is_no_text_and_no_integer(parts: list[Part]) -> None:
    one, other = parts
    assert key_of(one) != key_of(other)
    assert key_of(one, "x") != key_of(other, "x")


def test_the_collations_of_an_identity_are_those_that_keep_it_unique() -> None:
    table = Table(
        name="t",
        sql="",
        columns=(Column("k", "TEXT", collation="NOCASE"), Column("a", "", collation="RTRIM"), Column("b", "")),
        key=("k",),
        key_collations=("BINARY",),
        uniques=(Unique("p", ("a",), ("NOCASE",), partial=True), Unique("x", ("b", "a"), ("BINARY", "NOCASE"))),
    )
    assert identity_collations(table, ["k"]) == ("BINARY",)
    assert identity_collations(table, ["a", "b"]) == ("NOCASE", "BINARY")
    assert identity_collations(table, ["a"]) == ("RTRIM",)


def test_a_collection_is_named_after_binding_and_table() -> None:
    assert collection_name("todo", "notes") == "todo.notes"
    assert collection_name("todo", "Übersicht_2") == "todo.Übersicht_2"
    assert collection_name("a", "b.c") != collection_name("a.b", "c") == "a.b.c"
    assert re.fullmatch(r"todo\.my_notes-[a-z2-7]{8}", collection_name("todo", "my notes"))
    assert collection_name("todo", "my notes") != collection_name("todo", "my\tnotes")


@given(st.text(max_size=300), st.text(max_size=300))
@example("", "")
@example("_", "x")
@example("é", "\ud800")
def test_every_name_of_a_collection_is_legal(binding: str, table: str) -> None:
    binding, table = (text.encode("utf-8", "replace").decode() for text in (binding, table))
    check_collection_name(collection_name(binding, table))
