"""What a table shows of a record."""

from __future__ import annotations

from msgspec import Raw

from peerd.core.clocks import Dot
from peerd.core.entry import Change, Kind
from peerd.core.reading import DEFAULT_RULES, Rules
from peerd.core.record import Lone, Record, Stamp, apply_change
from peerd.core.record_form import encode_lone
from peerd.core.tables.changes import RowImage
from peerd.core.tables.images import image_of
from peerd.core.values import pack

ONE, TWO = Dot(b"1" * 16, 7), Dot(b"2" * 16, 3)


def put(record: Record, dot: Dot, t_ms: int, value: int) -> None:
    apply_change(record, Change(Kind.PUT, "notes", "one", {"a": Raw(pack(value))}), dot, Stamp(t_ms, 2), {})


def test_a_record_shows_its_winner_all_its_dots_and_its_oldest_birth() -> None:
    record = Record()
    put(record, ONE, 10, 5)
    put(record, TWO, 20, 4)
    image = image_of("notes", "one", record, DEFAULT_RULES)
    assert image == RowImage("notes", "one", {"a": pack(4)}, frozenset({ONE, TWO}), (10, ONE.origin, 7))


def test_the_rules_of_the_collection_decide_what_is_shown() -> None:
    record = Record()
    put(record, ONE, 10, 5)
    put(record, TWO, 20, 4)
    assert image_of("notes", "one", record, Rules(policy="max")).fields == {"a": pack(5)}


def test_a_record_of_one_put_is_not_taken_apart() -> None:
    """Nearly every record of a bulk."""
    record = Record.put(Lone(ONE, Stamp(10, 2), encode_lone({"a": Raw(pack(1))})))
    assert image_of("notes", "one", record, DEFAULT_RULES).rank == (10, ONE.origin, 7)


def test_what_is_deleted_or_parked_shows_nothing() -> None:
    parked = Record()
    apply_change(parked, Change(Kind.PATCH, "notes", "one", {"a": Raw(pack(1))}), ONE, Stamp(10, 2), {})
    assert parked.parked
    assert image_of("notes", "one", parked, DEFAULT_RULES) == RowImage("notes", "one", None)
    assert image_of("notes", "one", None, DEFAULT_RULES) == RowImage("notes", "one", None)
