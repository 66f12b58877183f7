"""Columns that a CHECK ties together."""

from __future__ import annotations

from peerd.core.tables.ties import groups
from tests.support.proposed import schema_of


def test_columns_are_tied_as_far_as_checks_reach() -> None:
    schema = schema_of("t(a, b, c, d, e CHECK(e > 0), CHECK(a < b), CHECK(c < d), CHECK(b < c))")
    assert groups(schema.tables["t"].tied) == dict.fromkeys("abcd", frozenset("abcd"))


def test_one_column_alone_is_tied_to_nothing() -> None:
    assert groups([("a",), ("a", "a"), ()]) == {}
