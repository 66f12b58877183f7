"""Taking in a snapshot on a real disk: killed at any point, the copy is the old one or the new one, with everything
that was acknowledged meanwhile; and what came of the snapshot goes on.
"""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from peerd.core import digest
from peerd.core.record_form import digest_of
from peerd.core.snapshots.intake import Intake, Standing
from peerd.core.snapshots.parts import Records, encode
from peerd.core.snapshots.stored import Phase, RowCursor
from peerd.store import switching
from peerd.store.checkpoints import PAGE_BYTES
from tests.store.copies import SPACE, Copy, MakeCopy, delete, patch, put, write_number
from tests.store.snapshotting import AUTHORITY, ID, made, pack, take, take_in

SCRIPT = Path(__file__).with_name("snapshotting.py")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
ONE_RUNNER = pytest.mark.parametrize("threaded", [True])  # the process that dies is threaded
NOTES = 40


async def nothing() -> None:
    """Nobody writes meanwhile."""


async def whole(copy: Copy) -> None:
    """Digest and counts are those of the rows."""

    def look(transaction: Any) -> tuple[bytes, dict[str, int]]:
        connection, refs = transaction._connection, transaction._refs
        names = {number: name for name, number in refs.number_of.items()}
        steps, visible = [], dict.fromkeys(names.values(), 0)
        for number, key, flags, stamps, body in connection.execute(
            "SELECT collection, key, flags, stamps, body FROM record"
        ):
            steps.append(digest_of(names[number], key, refs.decode_stamps(stamps), body))
            visible[names[number]] += not flags & 1
        return digest.moved(digest.EMPTY, steps), {name: count for name, count in visible.items() if count}

    sums, visible = await copy.store.read(look)
    assert sums == copy.state.digest
    assert {one.name: one.records for one in await copy.store.collections()} == visible
    assert copy.state.visible == sum(visible.values())


async def both(make_copy: MakeCopy) -> tuple[Copy, Copy]:
    """A copy with many notes, and one that is behind it and has written since."""
    theirs, ours = await make_copy("theirs", b"T" * 32), await make_copy("ours")
    for number in range(NOTES):
        await theirs.write([put("notes", f"{number:02}", text="x" * 100, n=1)])
    announcement = theirs.state.origins[theirs.origin].announcement
    await ours.take(announcement, *[row.run for row in (await theirs.store.runs_after(0, 1 << 20)).rows])
    await ours.write([patch("notes", "01", n=2)], [delete("notes", "02")], [put("todo", "last", n=0)])
    await theirs.write([patch("notes", "03", n=3)], [delete("notes", "04")])
    for number in range(NOTES, 2 * NOTES):
        await theirs.write([put("notes", f"{number:02}", text="x" * 100, n=1)])
    return theirs, ours


async def merged(copy: Copy) -> None:
    """What both wrote stands in the copy."""
    await whole(copy)
    page = await copy.store.page("notes", "", None, 1_000)
    assert {key for key, _ in page.records} == {f"{number:02}" for number in range(2 * NOTES)} - {"02", "04"}
    for key, value in (("01", 2), ("03", 3), ("05", 1)):
        assert (await copy.record("notes", key)).record.winners()["n"] == bytes([value])


@pytest.mark.parametrize("max_bytes", [1, 3_000, 70_000, 1 << 20])
async def test_records_of_all_sizes_are_read_once_and_in_order(make_copy: MakeCopy, max_bytes: int) -> None:
    """No more at once than may be, unless it is a single one."""
    copy = await make_copy("theirs", b"T" * 32)
    sizes = [1, 80_000, 100, 66_000, 66_000, 2_000, 5] + [200] * 150
    for collection in ("first", "none", "last"):
        await copy.write([put(collection, f"\u00e9{at:03}", text="x" * size) for at, size in enumerate(sizes)])
    await copy.write([delete("none", f"\u00e9{at:03}") for at in range(len(sizes))])
    cursor: RowCursor | None = (0, "")
    found: list[tuple[str, str]] = []
    while cursor is not None:
        read = await copy.store.snapshots.rows(cursor, max_bytes, 1 << 30)
        assert read.count == sum(len(group.rows) for group in read.groups)
        assert read.count == 1 or len(encode(Records(read.groups))[0]) <= max_bytes
        found += [(group.collection, key) for group in read.groups for key, _, _ in group.rows]
        cursor = read.cursor
    assert found == [(name, f"\u00e9{at:03}") for name in ("first", "last") for at in range(len(sizes))]


@ONE_RUNNER
async def test_what_large_records_add_to_the_journal_is_counted(make_copy: MakeCopy) -> None:
    """By that a checkpoint is due in time, whatever the size of a record."""
    theirs, ours = await make_copy("theirs", b"T" * 32), await make_copy("ours")
    for number in range(4):
        await theirs.write([put("notes", str(number), text="x" * 500_000)])
    store, intake, standing = ours.store.snapshots, Intake(SPACE, AUTHORITY), Standing()
    await store.begin(ID, b"maker")
    checkpoints: Any = ours.store._database._checkpoints
    for number, part in enumerate(await made(theirs)):
        before = checkpoints.pending_pages
        came_bytes = sum(map(len, encode(part)))
        standing = await store.take(standing, partial(take, intake, part, size_bytes=came_bytes), number)
        if isinstance(part, Records):
            assert checkpoints.pending_pages - before >= 500_000 // PAGE_BYTES


async def test_both_sides_are_merged(make_copy: MakeCopy) -> None:
    theirs, ours = await both(make_copy)
    await take_in(ours, await made(theirs), nothing)
    await merged(ours)
    assert ours.state.clock() == {theirs.origin: 2 * NOTES + 2, ours.origin: 3}
    assert ours.state.horizon() == {theirs.origin: 2 * NOTES + 2}
    state = ours.state
    opened = await ours.reopen()
    assert opened.state == state
    assert (opened.own_origin, opened.origin_note) == (ours.origin, "")


@pytest.mark.parametrize("at_once", [1, 2, 5])
async def test_they_are_merged_in_steps(make_copy: MakeCopy, monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr(switching, "ROWS_AT_ONCE", at_once)
    monkeypatch.setattr(switching, "IDS_AT_ONCE", 2 * at_once)
    theirs, ours = await both(make_copy)
    await take_in(ours, await made(theirs), nothing)
    await merged(ours)


async def test_what_is_read_at_once_fits_into_a_part(make_copy: MakeCopy) -> None:
    """Whatever the names are, and as long as no record is too large for that by itself."""
    copy = await make_copy()
    for number in range(20):
        await copy.write([put(f"{number:02}" + "\u20ac" * 83, "\u20ac" * 341, n=1)])
        await copy.write([put("short", f"{number:02}", text="x" * number * 200)])
    parts, cursor = [], (0, "")
    while True:
        read = await copy.store.snapshots.rows(cursor, 9_000, 1 << 30)
        assert read.count == sum(len(group.rows) for group in read.groups)
        parts += encode(Records(read.groups))
        if read.cursor is None:
            break
        cursor = read.cursor
    assert 5 < len(parts) < 20
    assert max(map(len, parts)) <= 9_000


async def test_the_log_begins_at_the_horizon(make_copy: MakeCopy) -> None:
    theirs, ours = await both(make_copy)
    await take_in(ours, await made(theirs), nothing)
    rows = (await ours.store.runs_after(0, 1 << 20)).rows
    assert {row.run.origin for row in rows} == {ours.origin}
    assert await ours.store.position_before({}) == rows[0].position - 1
    before = await ours.store.last_position()
    await ours.write([put("todo", "next", n=1)])
    assert await ours.store.last_position() == before + 1, "positions are never given twice"
    for seq in (1, NOTES, 2 * NOTES + 2):
        ends = [await one.store.read(lambda at: at.hash8(theirs.origin, seq)) for one in (theirs, ours)]  # noqa: B023 - called at once
        assert ends[0] is not None
        assert ends[0] == ends[1]


async def test_merging_again_changes_nothing(make_copy: MakeCopy) -> None:
    """A life that ends after the merging, and one that merges what is merged."""
    theirs, ours = await both(make_copy)
    parts = await made(theirs)

    class Stop(Exception):
        pass

    steps = 0

    async def stop_after_the_merging() -> None:
        nonlocal steps
        found = await ours.store.snapshots.incoming()
        steps += found is not None and found.phase is Phase.MERGING
        if steps == 1:
            steps += 1
            raise Stop

    with pytest.raises(Stop):
        await take_in(ours, parts, stop_after_the_merging)
    await ours.reopen()
    await ours.write([patch("notes", "05", n=1), put("notes", "02", n=1)], [delete("notes", "02")])
    await take_in(ours, parts, nothing)
    await merged(ours)

    def kept(transaction: Any) -> list[Any]:
        found: list[Any] = transaction._connection.execute(
            "SELECT key, count(*) FROM history WHERE by_seq = 0 GROUP BY key ORDER BY key"
        ).fetchall()
        return found

    assert await ours.store.read(kept) == [("03", 1), ("04", 1)]
    images = await ours.store.read(lambda transaction: transaction.images([("notes", "04"), ("notes", "02")]))
    assert images["notes", "04"].removed_by is None
    assert images["notes", "02"].removed_by is not None


async def test_another_database_can_be_read_while_it_is_exchanged(make_copy: MakeCopy) -> None:
    """A reader that began before goes on with what it saw, and statements that are kept find the new table."""
    theirs, ours = await both(make_copy)
    assert (await ours.record("notes", "03")).record.winners()["n"] == b"\x01"
    await take_in(ours, await made(theirs), nothing)
    assert (await ours.record("notes", "03")).record.winners()["n"] == b"\x03"
    await ours.write([patch("notes", "03", n=4)])
    assert (await ours.record("notes", "03")).record.winners()["n"] == b"\x04"


async def test_given_up_it_leaves_nothing(make_copy: MakeCopy) -> None:
    theirs, ours = await both(make_copy)
    store, before = ours.store.snapshots, ours.state

    class Stop(Exception):
        pass

    async def stop_at_the_fourth() -> None:
        found = await store.incoming()
        if found is not None and found.parts == 4:
            raise Stop

    with pytest.raises(Stop):
        await take_in(ours, await made(theirs), stop_at_the_fourth)
    await store.give_up()
    while await store.clear_some(1_000):
        pass
    assert await store.incoming() is None
    opened = await ours.reopen()
    assert opened.state.clock() == before.clock()
    await take_in(ours, await made(theirs), nothing)
    await merged(ours)


# ---- killed


def run(copy: Copy, parts: Path, *arguments: str) -> tuple[int, int]:
    """Let a process take it in until it dies; gives its exit code and the last number that it acknowledged."""
    command = [sys.executable, str(SCRIPT), str(copy.path.parent), str(parts), *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, env=ENVIRONMENT, check=False)
    lines = done.stdout.split()
    return done.returncode, int(lines[-1]) if lines else -1


async def survives(make_copy: MakeCopy, tmp_path: Path, point: str, number: int) -> bool:
    """Did the process die there? What it left is whole, and goes on to the end."""
    theirs, ours = await both(make_copy)
    await write_number(ours, 0)
    parts = await made(theirs)
    file = tmp_path / "parts"
    file.write_bytes(pack(parts))
    await ours.store.close()
    code, acknowledged = run(ours, file, point, str(number))
    opened = await ours.open()
    assert opened.origin_note == ""
    assert opened.own_origin is not None
    await whole(ours)
    page = await ours.store.page("todo", "", None, 1_000)
    numbers = [int(key) for key, _ in page.records if key != "last"]
    assert numbers == list(range(len(numbers)))
    assert acknowledged < len(numbers) <= max(acknowledged, 0) + 2
    await take_in(ours, parts, nothing)
    await merged(ours)
    assert await ours.store.snapshots.incoming() is None
    page = await ours.store.page("todo", "", None, 1_000)
    assert len(page.records) == len(numbers) + 1
    return code == 9


@ONE_RUNNER
@pytest.mark.parametrize(
    ("point", "number"),
    [
        ("+CREATE TABLE incoming_record", 1),
        ("+INSERT INTO incoming ", 1),
        ("+INSERT INTO incoming_record", 2),
        ("+UPDATE incoming SET parts", 2),
        ("+DELETE FROM incoming_image", 1),
        ("+INSERT INTO incoming_history", 1),
        ("-ALTER TABLE record", 1),
        ("+ALTER TABLE record", 1),
        ("+ALTER TABLE incoming_record", 1),
        ("+UPDATE origin SET seq = ?, head = ?, context = ?, signature = ?, horizon", 1),
        ("+UPDATE space SET copy_id", 1),
        ("+INSERT OR REPLACE INTO image", 1),
        ("+INSERT INTO history", 1),
        ("+DELETE FROM run WHERE", 1),
        ("+DELETE FROM former_record", 1),
        ("+DROP TABLE", 1),
        ("-DELETE FROM incoming", 5),
        ("-mark", 6),
    ],
)
async def test_dying_between_two_steps_leaves_the_old_copy_or_the_new_one(
    make_copy: MakeCopy, tmp_path: Path, point: str, number: int
) -> None:
    assert await survives(make_copy, tmp_path, point, number)


@ONE_RUNNER
@pytest.mark.parametrize("when", ["-", "+"])
@pytest.mark.parametrize("number", range(1, 60, 4))
async def test_dying_at_any_commit_leaves_the_old_copy_or_the_new_one(
    make_copy: MakeCopy, tmp_path: Path, when: str, number: int
) -> None:
    await survives(make_copy, tmp_path, f"{when}COMMIT", number)
