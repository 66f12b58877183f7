"""From which version of a row an edit was made, over random histories of projections and forms."""

from __future__ import annotations

from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec import Struct

from peerd.core.tables.earlier import (
    RECENT_MS,
    VERSIONS,
    Version,
    pack_versions,
    unpack_versions,
    version_behind,
    with_version,
)

NOW_MS = 1_750_000_000_000
COLUMNS = range(4)
Row = dict[int, bytes]


class History(Struct):
    """`states` are what the row showed one after the other, the last one shows now; state n was replaced at
    `times[n]`, and its dots are its number.
    """

    states: list[Row]
    times: list[int]
    versions: tuple[Version, ...]


cells = st.sampled_from([b"a", b"b", b"c"])


def project(history: History, changes: Row, time_ms: int) -> None:
    old = history.states[-1]
    before = {number: old[number] for number, cell in changes.items() if old[number] != cell}
    if before:
        new = Version(time_ms, b"%d" % (len(history.states) - 1), before)
        history.versions = with_version(history.versions, new)
        history.states.append(old | changes)
        history.times.append(time_ms)


@st.composite
def histories(draw: st.DrawFn, *, most: int = 6) -> History:
    history = History([{number: draw(cells) for number in COLUMNS}], [], ())
    time_ms = NOW_MS - draw(st.integers(0, RECENT_MS // 2))
    for _ in range(draw(st.integers(1, most))):
        changes = draw(st.dictionaries(st.sampled_from(COLUMNS), cells, min_size=1))
        project(history, changes, time_ms)
        time_ms = min(NOW_MS, time_ms + draw(st.sampled_from([0, 10, 1_000, 60_000])))
    assume(history.versions)
    return history


def read(history: History) -> dict[int, Row]:
    """What the row was before each version, as the versions tell it."""
    told, row = {}, dict(history.states[-1])
    for version in reversed(history.versions):
        row = row | version.before
        told[int(version.seen)] = row
    return told


@given(histories())
def test_versions_tell_exactly_what_stood_there(history: History) -> None:
    told = read(history)
    assert len(told) == min(VERSIONS, len(history.states) - 1)
    assert all(history.states[number] == row for number, row in told.items())
    assert unpack_versions(pack_versions(history.versions)) == history.versions


@given(histories())
def test_the_oldest_recent_version_stays(history: History) -> None:
    kept = [int(version.seen) for version in history.versions]
    assert kept == sorted(kept)
    assert kept[0] == 0


def test_versions_that_stood_for_a_moment_go_first() -> None:
    """Somebody types while a form is open here, with two pauses to think."""
    versions: tuple[Version, ...] = ()
    for number, time_s in enumerate([0, 1, 2, 60, 61, 62, 63, 200, 201]):
        versions = with_version(versions, Version(NOW_MS + time_s * 1_000, b"%d" % number, {0: b"%d" % number}))
    assert [version.seen for version in versions] == [b"0", b"3", b"7"]


@given(histories(), st.data())
def test_whoever_wrote_an_old_row_back_counts_as_having_seen_no_more_than_it(
    history: History, data: st.DataObject
) -> None:
    """And it is recognised wherever a cell has gone back and another one is new."""
    told, shown = read(history), history.states[-1]
    for form, row in told.items():
        edited = data.draw(st.sets(st.sampled_from(COLUMNS)))
        now = row | dict.fromkeys(edited, b"new")
        found = version_behind(history.versions, shown, now, NOW_MS)
        went_back = any(row[number] != shown[number] for number in COLUMNS if number not in edited)
        assert (found is not None) == (went_back and bool(edited))
        assert found is None or int(found.seen) <= form


@given(histories(), st.sets(st.sampled_from(COLUMNS)))
def test_what_was_made_from_the_row_as_it_is_was_not_made_from_an_older_one(history: History, edited: set[int]) -> None:
    shown = history.states[-1]
    now = shown | dict.fromkeys(edited, b"new")
    assert version_behind(history.versions, shown, now, NOW_MS) is None


@given(histories(), st.data())
def test_cells_that_only_go_back_are_an_undo(history: History, data: st.DataObject) -> None:
    row = data.draw(st.sampled_from(list(read(history).values())))
    undone = data.draw(st.sets(st.sampled_from(COLUMNS)))
    now = history.states[-1] | {number: row[number] for number in undone}
    assert version_behind(history.versions, history.states[-1], now, NOW_MS) is None


@given(histories(), st.integers(RECENT_MS + 1, 10 * RECENT_MS), st.sampled_from([-1, 1]))
def test_what_is_not_recent_counts_for_nothing(history: History, later_ms: int, way: int) -> None:
    """Nor what a clock that was set back has in the future."""
    now = history.states[0] | {0: b"new"}
    then_ms = NOW_MS + later_ms if way > 0 else history.times[0] - later_ms
    assert version_behind(history.versions, history.states[-1], now, then_ms) is None
    new = Version(then_ms, b"new", {0: b"x"})
    assert with_version(history.versions, new) == (new,)


def test_what_was_before_an_old_version_goes_with_it() -> None:
    first, second = Version(NOW_MS, b"1", {0: b"a"}), Version(NOW_MS - RECENT_MS - 1, b"2", {1: b"b"})
    third = Version(NOW_MS, b"3", {2: b"c"})
    assert with_version((first, second), third) == (third,)


def test_the_version_that_agrees_with_most_of_the_row_is_the_one() -> None:
    versions = (Version(NOW_MS, b"1", {0: b"a"}), Version(NOW_MS, b"2", {1: b"b"}))
    shown = {0: b"A", 1: b"B", 2: b"c"}
    found = version_behind(versions, shown, {0: b"A", 1: b"b", 2: b"new"}, NOW_MS)
    assert found is not None
    assert found.seen == b"2"  # 0 is as the first projection made it
    found = version_behind(versions, shown, {0: b"new", 1: b"b", 2: b"c"}, NOW_MS)
    assert found is not None
    assert found.seen == b"1"  # who knows


def test_columns_that_are_not_there_any_more_count_for_nothing() -> None:
    versions = (Version(NOW_MS, b"1", {0: b"a", 1: b"b"}),)
    assert version_behind(versions, {1: b"B", 2: b"c"}, {1: b"b", 2: b"new"}, NOW_MS) == versions[0]
    assert version_behind(versions, {2: b"c"}, {1: b"b", 2: b"new"}, NOW_MS) is None
