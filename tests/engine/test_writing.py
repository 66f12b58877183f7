"""A transaction of our own: whole or not at all, and what its caller is told of each record."""

from __future__ import annotations

from collections.abc import Sequence
from unittest.mock import Mock

import pytest

from peerd.core import limits
from peerd.core.batch import Author, Batch
from peerd.core.clocks import Dot
from peerd.core.copy import CopyState
from peerd.core.entry import Kind
from peerd.core.intents import Intent
from peerd.core.origin import Announcement, origin_of
from peerd.core.reading import etag
from peerd.core.values import pack
from peerd.engine.collection_rules import CollectionRules
from peerd.engine.writing import Touched, Written, write_one
from peerd.errors import UserError

SPACE = b"S" * 16
ANNOUNCEMENT = Announcement(b"d" * 32, b"a" * 16, b"n" * 16)
AUTHOR = Author(origin_of(SPACE, ANNOUNCEMENT), ANNOUNCEMENT, lambda _: bytes(64))


@pytest.fixture
def batch() -> Batch:
    reader = Mock()
    reader.records.return_value = reader.past.return_value = {}
    return Batch(CopyState(SPACE), reader, lambda *_: None, lambda *_: True)


def put(key: str, value: object = 1, *, must_be_absent: bool = False) -> Intent:
    return Intent(Kind.PUT, "notes", key, {"a": pack(value)}, must_be_absent=must_be_absent)


def write(batch: Batch, *intents: Intent) -> Written:
    batch.load([(intent.collection, intent.key) for intent in intents])
    return write_one(Mock(), batch, AUTHOR, intents, CollectionRules(), 1_000, 2)


def tags(batch: Batch, keys: Sequence[str]) -> list[str | None]:
    records = [batch.records["notes", key] for key in keys]
    return [None if record is None else etag(record) for record in records]


def test_what_is_told_is_what_stands_there_afterwards(batch: Batch) -> None:
    made = write(batch, put("one"), put("two"))
    assert made.dot == Dot(AUTHOR.origin, 1)
    assert made.records == [Touched(tag, changed=True, created=True) for tag in tags(batch, ["one", "two"])]
    again = write(batch, put("one", 2), put("two"), put("three"))
    one, two, three = tags(batch, ["one", "two", "three"])
    assert again.dot == Dot(AUTHOR.origin, 2)
    assert again.records == [
        Touched(one, changed=True, created=False),
        Touched(two, changed=False, created=False),
        Touched(three, changed=True, created=True),
    ]
    assert made.records[0].etag != one
    assert made.records[1].etag == two
    gone = write(batch, Intent(Kind.DELETE, "notes", "one"))
    assert gone.records == [Touched(None, changed=True, created=False)]


def test_where_nothing_differs_nothing_is_written(batch: Batch) -> None:
    write(batch, put("one"))
    again = write(batch, put("one"))
    assert again == (None, [Touched(tags(batch, ["one"])[0], changed=False, created=False)])


def test_a_change_that_is_refused_refuses_all(batch: Batch) -> None:
    write(batch, put("one"))
    with pytest.raises(UserError) as refused:
        write(batch, put("two"), put("one", must_be_absent=True))
    assert refused.value.code == "precondition-failed"
    assert batch.records["notes", "two"] is None
    assert batch.state.seq(AUTHOR.origin) == 1


def test_what_no_receiver_would_take_is_refused(batch: Batch) -> None:
    with pytest.raises(UserError) as refused:
        write(batch, put("one", "x" * limits.ENTRY_BYTES))
    assert refused.value.code == "too-large"
    assert batch.state.seq(AUTHOR.origin) == 0
