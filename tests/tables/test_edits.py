"""Which columns are written together."""

from __future__ import annotations

import apsw

from peerd.tables.edits import tied
from peerd.tables.reading import read_schema


def test_columns_are_tied_as_far_as_checks_reach() -> None:
    connection = apsw.Connection(":memory:")
    connection.execute("CREATE TABLE t(a, b, c, d, e CHECK(e > 0), CHECK(a < b), CHECK(c < d), CHECK(b < c))")
    group = frozenset("abcd")
    assert tied(read_schema(connection).tables["t"]) == dict.fromkeys("abcd", group)
