"""Text that is not UTF-8, in statements whose names hold question marks."""

from __future__ import annotations

from collections.abc import Callable

import apsw

from peerd.core.tables.cells import BadText
from peerd.tables import exact


def test_bad_text_is_read_and_bound_by_its_bytes(make: Callable[..., apsw.Connection]) -> None:
    connection = make('CREATE TABLE t("what?" TEXT, "a""?" INT, b)')
    values = (BadText(b"\xff?"), 7, BadText(b"\x80"))
    exact.run(connection, 'INSERT INTO t("what?", "a""?", b) VALUES(?, ?, ?)', values)
    exact.run(connection, "INSERT INTO t VALUES(?, ?, ?)", ("fine", 8, b"\xff"))
    columns = ['"what?"', '"a""?"', "b"]
    assert exact.rows(connection, columns, 'FROM t ORDER BY "a""?"') == [values, ("fine", 8, b"\xff")]
    assert exact.rows(connection, columns, 'FROM t WHERE "what?" = ? AND "a""?" = ?', values[:2]) == [values]
    assert list(connection.execute("SELECT typeof(b) FROM t ORDER BY rowid")) == [("text",), ("blob",)]


def test_text_among_bad_text_stays_text(make: Callable[..., apsw.Connection]) -> None:
    connection = make("CREATE TABLE t(a, b)")
    exact.run(connection, "INSERT INTO t VALUES(?, ?)", ("é", BadText(b"\xe9")))
    assert exact.rows(connection, ["a", "b"], "FROM t") == [("é", BadText(b"\xe9"))]
