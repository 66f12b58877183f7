"""What columns are when nobody names them."""

from __future__ import annotations

import pytest

from peerd.core.tables.cells import cell_hash
from peerd.core.tables.shape import Column
from peerd.tables.defaults import default_hash, packed_default


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
        ("TEXT", '"a b"', "a b"),
        ("TEXT", "(1 + 1)", "2"),
        ("TEXT", "(date('2020-02-30', '+1 day'))", "2020-03-02"),
        ("INT", "true", 1),
    ],
)
def test_a_default_is_what_sqlite_reads_back(declared: str, default: str | None, cell: object) -> None:
    found = default_hash(Column("c", declared, default=default))
    assert found == cell_hash(cell)  # type: ignore[arg-type]  # a cell


@pytest.mark.parametrize("default", ["CURRENT_TIMESTAMP", "(random())", "(date('now'))", "(CAST(x'ff' AS TEXT))", "("])
def test_a_default_that_is_not_always_the_same_is_none(default: str) -> None:
    assert packed_default(Column("c", "", default=default)) is None


def test_a_default_of_a_function_that_only_the_application_has_is_not_known() -> None:
    assert default_hash(Column("c", "INT", default="(mine())")) is None
