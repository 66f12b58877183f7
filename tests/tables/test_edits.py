"""What columns are when nobody names them, and which are written together."""

from __future__ import annotations

import apsw
import pytest

from peerd.core.tables.cells import cell_hash
from peerd.core.tables.shape import Column
from peerd.tables.edits import Defaults, tied
from peerd.tables.reading import read_schema


@pytest.mark.parametrize(
    ("declared", "default", "cell"),
    [
        ("", None, None),
        ("INT", "'7'", 7),
        ("REAL", "1", 1.0),
        ("TEXT", "1", "1"),
        ("", "-0.0", -0.0),
        ("BLOB", "x'00ff'", b"\0\xff"),
        ("TEXT COLLATE NOCASE", "'A'", "A"),
        ("INT", "NULL", None),
        ("TEXT", "abc", "abc"),
    ],
)
def test_a_default_is_what_sqlite_reads_back(declared: str, default: str | None, cell: object) -> None:
    found = Defaults().hash_of(Column("c", declared, default=default))
    assert found == cell_hash(cell)  # type: ignore[arg-type]  # a cell


def test_a_default_of_a_function_that_only_the_application_has_is_not_known() -> None:
    assert Defaults().hash_of(Column("c", "INT", default="(mine())")) is None


def test_columns_are_tied_as_far_as_checks_reach() -> None:
    connection = apsw.Connection(":memory:")
    connection.execute("CREATE TABLE t(a, b, c, d, e CHECK(e > 0), CHECK(a < b), CHECK(c < d), CHECK(b < c))")
    group = frozenset("abcd")
    assert tied(read_schema(connection).tables["t"]) == dict.fromkeys("abcd", group)
