"""Text that is not UTF-8, in statements whose names hold question marks."""

from __future__ import annotations

from collections.abc import Callable

import apsw
import pytest

from peerd.core.tables.cells import BadText
from peerd.tables import exact
from tests.tables.harvests import Bound, natural

HALF = BadText(b"a\xed\xa0\xbd")  # 'a' and the first half of a surrogate pair
UTF_16 = {"UTF-16le": "61003DD8", "UTF-16be": "0061D83D"}


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


# ---- databases whose text is UTF-16


@pytest.mark.parametrize("encoding", UTF_16)
def test_half_a_surrogate_pair_is_known_by_the_bytes_of_utf8(
    make: Callable[..., apsw.Connection], encoding: str
) -> None:
    connection = make(f"PRAGMA encoding = '{encoding}'", "CREATE TABLE t(a, b)")
    exact.run(connection, "INSERT INTO t VALUES(?, ?)", ("e\u0301\0\U0001f600", HALF))
    assert list(connection.execute("SELECT typeof(b), hex(b) FROM t")) == [("text", UTF_16[encoding])]
    assert exact.rows(connection, ["a", "b", "1"], "FROM t WHERE b = ?", (HALF,)) == [("e\u0301\0\U0001f600", HALF, 1)]


@pytest.mark.parametrize("encoding", UTF_16)
def test_what_utf16_cannot_say_is_shown_as_such(make: Callable[..., apsw.Connection], encoding: str) -> None:
    connection = make(f"PRAGMA encoding = '{encoding}'", "CREATE TABLE t(a)")
    exact.run(connection, "INSERT INTO t VALUES(?)", (BadText(b"a\xff"),))
    assert exact.rows(connection, ["a"], "FROM t") == [("a\ufffd",)]


@pytest.mark.parametrize("encoding", ["UTF-8", *UTF_16])
def test_rows_beside_bad_text_are_harvested_as_they_are(make: Callable[..., apsw.Connection], encoding: str) -> None:
    bound = Bound(
        make(f"PRAGMA encoding = '{encoding}'", "CREATE TABLE t(k TEXT NOT NULL PRIMARY KEY, v)"), natural(0, "t", "k")
    )
    exact.run(bound.connection, "INSERT INTO t VALUES(?, ?), ('a', 'b'), (?, 1)", (HALF, HALF, "\xe9"))
    assert len(bound.drain()) == 3
    bound.check()
    exact.run(bound.connection, "UPDATE t SET v = ? WHERE k = ?", ("c", HALF))
    (edit,) = bound.drain()
    assert set(edit.set) == {"v"}
    bound.check()
