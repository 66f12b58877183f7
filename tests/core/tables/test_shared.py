"""What devices agree on about a table, and which keys follow from it."""

from __future__ import annotations

from typing import Any

import pytest

from peerd.core.record import Record
from peerd.core.tables.plans import KeyClass, TablePlan
from peerd.core.tables.shared import SharedPlan, fields_of, named_by, plan_in, stated
from peerd.core.values import pack
from tests.support.proposed import schema_of

TAGS = SharedPlan("content", ("list", "name"), {"list": "lists"}, "app.tags", (), ("BINARY", "NOCASE"))


def named(plan: SharedPlan, **fields: Any) -> str | None:
    return named_by(plan, {name: pack(value) for name, value in fields.items()})


def test_nothing_that_is_known_is_taken_back() -> None:
    schema = schema_of("t(k TEXT PRIMARY KEY, a, b, CHECK(a < b))")
    plan = TablePlan(1, "t", "app.t", KeyClass.NATURAL, ("k",), {"a": "x"})
    here = stated(plan, schema, None)
    assert here == SharedPlan("natural", ("k",), {"a": "x"}, "app.t", (("a", "b"),), ("BINARY",))
    known = SharedPlan("natural", ("k",), {"b": "y"}, "app.t", (("b", "c"),), ("NOCASE",))
    both = stated(plan, schema, known)
    assert (both.references, both.tied, both.collations) == (
        {"a": "x", "b": "y"},
        (("a", "b"), ("b", "c")),
        ("NOCASE",),
    )
    gone = stated(plan, schema_of("u(a)"), known)
    assert (gone.tied, gone.collations) == (known.tied, known.collations)


def test_what_is_stated_is_read_again() -> None:
    assert fields_of(TAGS).keys() == {"key", "identity", "references", "collection", "tied", "collations"}
    assert plan_in(Record()) is None


def test_a_key_follows_from_the_identity_as_sqlite_compares() -> None:
    assert named(TAGS, list="abc", name="Garden", other=1) == named(TAGS, list="abc", name="GARDEN") == "@abc|garden"
    assert named(TAGS, list={"device": "d", "integer": 1}, name="x") != named(TAGS, list="1", name="x")
    one = SharedPlan("natural", ("k",), {}, "app.t", (), ("BINARY",))
    assert named(one, k=42) == named(one, k=42.0) == "42"
    assert named(one, k="42") == "'42"


def test_what_cannot_be_told_is_not_told() -> None:
    assert named(SharedPlan("surrogate"), a=1) is None
    assert named(SharedPlan("natural", ("k",)), k=1) is None, "an older device stated it"
    with pytest.raises(LookupError, match="name"):
        named(TAGS, list="abc")
    with pytest.raises(ValueError, match="bool"):
        named(TAGS, list="abc", name=True)
