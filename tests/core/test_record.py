"""One record: what each kind of change drops, keeps and adds, and who wins."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from peerd.core.clocks import Clock, Dot
from peerd.core.entry import Change, Kind
from peerd.core.record import NOTHING_DROPPED, Dropped, Record, Stamp, apply_change
from peerd.core.values import pack

A, B, C = (bytes([letter]) * 16 for letter in b"abc")


class Story:
    """A record and the changes that made it, each written having seen `context`."""

    def __init__(self) -> None:
        self.record = Record()

    def change(
        self,
        dot: Dot,
        kind: Kind,
        set_: dict[str, object] | None = None,
        *,
        seen: Clock | None = None,
        drop: tuple[str, ...] = (),
        keep: tuple[Dot, ...] = (),
        stamp: Stamp | None = None,
        answers: Dot | None = None,
    ) -> Dropped:
        raw = {name: Raw(pack(value)) for name, value in (set_ or {}).items()}
        change = Change(kind, "notes", "one", raw, drop, keep, answers)
        return apply_change(self.record, change, dot, stamp or Stamp(dot.seq * 10, 2), seen or {})

    @property
    def fields(self) -> dict[str, dict[Dot, bytes]]:
        return self.record.fields


def values(**fields: object) -> dict[str, bytes]:
    return {name: pack(value) for name, value in fields.items()}


def test_a_put_makes_a_visible_record() -> None:
    story = Story()
    assert story.change(Dot(A, 1), Kind.PUT, {"a": 1}) is NOTHING_DROPPED
    assert story.record.visible
    assert story.record.dots() == {Dot(A, 1)}
    assert story.record.winners() == values(a=1)


def test_a_record_may_have_no_fields() -> None:
    story = Story()
    story.change(Dot(A, 1), Kind.PUT)
    assert story.record.visible
    assert not story.record.empty
    assert not story.record.parked


def test_a_put_replaces_everything_its_author_had_seen() -> None:
    story = Story()
    story.change(Dot(A, 1), Kind.PUT, {"a": 1, "b": 2})
    dropped = story.change(Dot(A, 2), Kind.PUT, {"a": 3}, seen={A: 1})
    assert story.fields == {"a": {Dot(A, 2): pack(3)}}
    assert story.record.births == {Dot(A, 2)}
    assert dropped.births == (Dot(A, 1),)
    assert dropped.fields == {"a": {Dot(A, 1): pack(1)}, "b": {Dot(A, 1): pack(2)}}


def test_a_patch_replaces_only_the_fields_that_it_names() -> None:
    story = Story()
    story.change(Dot(A, 1), Kind.PUT, {"a": 1, "b": 2, "c": 3})
    story.change(Dot(A, 2), Kind.PATCH, {"a": 9}, drop=("b",), seen={A: 1})
    assert story.record.winners() == values(a=9, c=3)
    assert story.record.births == {Dot(A, 1)}


def test_concurrent_writes_of_a_field_stand_side_by_side() -> None:
    story = Story()
    story.change(Dot(A, 1), Kind.PUT, {"a": 1})
    story.change(Dot(A, 2), Kind.PATCH, {"a": 2}, seen={A: 1})
    story.change(Dot(B, 1), Kind.PATCH, {"a": 3}, seen={A: 1})
    assert story.fields["a"] == {Dot(A, 2): pack(2), Dot(B, 1): pack(3)}


def test_a_write_that_had_seen_both_settles_them() -> None:
    story = Story()
    story.change(Dot(A, 1), Kind.PUT, {"a": 1})
    story.change(Dot(B, 1), Kind.PATCH, {"a": 3})
    story.change(Dot(C, 1), Kind.PATCH, {"a": 4}, seen={A: 1, B: 1})
    assert story.fields["a"] == {Dot(C, 1): pack(4)}


def test_a_causally_later_write_replaces_whatever_the_clocks_say() -> None:
    story = Story()
    story.change(Dot(A, 1), Kind.PUT, {"a": "from 2100"}, stamp=Stamp(4_102_444_800_000, 2))
    story.change(Dot(B, 1), Kind.PATCH, {"a": "from 1970"}, seen={A: 1}, stamp=Stamp(0, 0))
    assert story.record.winners() == values(a="from 1970")


def test_what_the_writer_had_not_seen_is_kept() -> None:
    story = Story()
    story.change(Dot(A, 1), Kind.PUT, {"a": 1})
    story.change(Dot(A, 2), Kind.PATCH, {"a": 2}, seen={A: 1}, keep=(Dot(A, 1),))
    assert story.fields["a"] == {Dot(A, 1): pack(1), Dot(A, 2): pack(2)}


def test_a_delete_leaves_nothing_of_what_was_seen() -> None:
    story = Story()
    story.change(Dot(A, 1), Kind.PUT, {"a": 1})
    dropped = story.change(Dot(B, 1), Kind.DELETE, seen={A: 1})
    assert story.record.empty
    assert not story.record.stamps
    assert dropped.stamps == {Dot(A, 1): Stamp(10, 2)}


def test_an_edit_that_a_delete_had_not_seen_is_parked() -> None:
    story = Story()
    story.change(Dot(A, 1), Kind.PUT, {"a": 1, "b": 2})
    story.change(Dot(B, 1), Kind.PATCH, {"a": 3}, seen={A: 1})
    story.change(Dot(C, 1), Kind.DELETE, seen={A: 1})
    assert story.record.parked
    assert not story.record.visible
    assert story.fields == {"a": {Dot(B, 1): pack(3)}}
    assert story.record.writers() == {B}


def test_a_restore_adds_and_removes_nothing() -> None:
    story = Story()
    story.change(Dot(B, 1), Kind.PATCH, {"a": 3})
    dropped = story.change(Dot(B, 2), Kind.RESTORE, {"a": 0, "b": 2}, seen={B: 1}, answers=Dot(C, 1))
    assert dropped is NOTHING_DROPPED
    assert story.record.births == {Dot(B, 2)}
    assert story.fields["a"] == {Dot(B, 1): pack(3), Dot(B, 2): pack(0)}
    assert story.record.stamps[Dot(B, 2)] == Stamp(20, 2, restored=True, answers=Dot(C, 1))


def test_a_restored_value_never_wins_against_a_written_one() -> None:
    story = Story()
    story.change(Dot(A, 1), Kind.PATCH, {"a": "written"}, stamp=Stamp(0, 0))
    story.change(Dot(B, 9), Kind.RESTORE, {"a": "restored"}, stamp=Stamp(2**60, 2))
    assert story.record.winner("a") == pack("written")


def test_a_known_time_beats_an_unknown_one_and_two_kinds_of_known_are_equal() -> None:
    story = Story()
    story.change(Dot(A, 1), Kind.PATCH, {"a": "unknown", "b": "agreed"}, stamp=Stamp(900, 0))
    story.change(Dot(B, 1), Kind.PATCH, {"a": "agreed"}, stamp=Stamp(5, 1))
    assert story.record.winner("a") == pack("agreed")
    story.change(Dot(C, 1), Kind.PATCH, {"a": "synchronised"}, stamp=Stamp(4, 2))
    assert story.record.winner("a") == pack("agreed")


def test_equal_times_are_decided_by_origin_then_sequence() -> None:
    story = Story()
    same = Stamp(7, 2)
    story.change(Dot(B, 1), Kind.PATCH, {"a": "b1"}, stamp=same)
    story.change(Dot(A, 5), Kind.PATCH, {"a": "a5"}, stamp=same)
    assert story.record.winner("a") == pack("b1")
    story.change(Dot(B, 2), Kind.PATCH, {"a": "b2"}, stamp=same)
    assert story.record.winner("a") == pack("b2")


def test_a_stamp_stays_as_long_as_its_dot_stands_somewhere() -> None:
    story = Story()
    story.change(Dot(A, 1), Kind.PUT, {"a": 1, "b": 2})
    story.change(Dot(B, 1), Kind.PATCH, {"a": 3, "b": 4}, seen={A: 1})
    assert story.record.dots() == {Dot(A, 1), Dot(B, 1)}  # the birth is still A's
    story.change(Dot(B, 2), Kind.PATCH, {"a": 5}, seen={A: 1, B: 1})
    story.change(Dot(B, 3), Kind.PATCH, {"b": 6}, seen={A: 1, B: 2})
    assert story.record.dots() == {Dot(A, 1), Dot(B, 2), Dot(B, 3)}


ORIGINS = st.sampled_from([A, B, C])
DOTS = st.builds(Dot, ORIGINS, st.integers(1, 3))
NAMES = st.sampled_from(["a", "b"])
CHANGES = st.builds(
    Change,
    st.sampled_from(Kind),
    st.just("notes"),
    st.just("one"),
    st.dictionaries(NAMES, st.just(Raw(pack(1))), max_size=2),
    st.just(()),
    st.lists(DOTS, max_size=2).map(tuple),
)
CLOCKS = st.dictionaries(ORIGINS, st.integers(1, 3), max_size=3)


@given(st.lists(st.tuples(DOTS, CHANGES, CLOCKS), max_size=8, unique_by=lambda step: step[0]))
def test_whatever_happens_stamps_are_of_the_dots_that_stand(steps: list[tuple[Dot, Change, Clock]]) -> None:
    """And nothing is lost: what leaves the record is what the change gives back."""
    record = Record()
    for dot, change, context in steps:
        births, fields = set(record.births), {name: dict(cells) for name, cells in record.fields.items()}
        dropped = apply_change(record, change, dot, Stamp(1, 2), context)
        assert record.stamps.keys() == record.births.union(*record.fields.values())
        assert all(record.fields.values())
        assert births - record.births == set(dropped.births)
        gone = {
            name: {old: value for old, value in cells.items() if old not in record.fields.get(name, {})}
            for name, cells in fields.items()
        }
        assert {name: cells for name, cells in gone.items() if cells} == dropped.fields
        assert dropped.stamps.keys() == set(dropped.births).union(*dropped.fields.values())
