"""The scrub of a copy: what rots on the disk is found, named, and put right from the log."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from peerd.core import digest
from peerd.core.repair.scrub import ScrubState
from peerd.core.values import pack
from peerd.engine.repair import mending, scrubbing
from peerd.errors import StoreDamaged, StoreError

if TYPE_CHECKING:
    from tests.engine.conftest import Device, Until


def meddle(device: Device, statement: str, *parameters: Any) -> int:
    """Change rows behind the daemon's back; gives how many."""
    (path,) = (device.folder / "spaces").glob("*.db")
    with closing(sqlite3.connect(path)) as connection, connection:
        return connection.execute(statement, parameters).rowcount


def flip(device: Device, old: object, new: object, table: str = "record", column: str = "body") -> None:
    """One value for another of the same length, as it stands in the blobs."""
    statement = f"UPDATE {table} SET {column} = CAST(replace({column}, ?, ?) AS BLOB) WHERE instr({column}, ?)"  # noqa: S608 - names of the schema
    assert meddle(device, statement, pack(old), pack(new), pack(old))


async def test_a_value_that_is_none_any_more_is_told_as_damage_and_can_be_written_anew(desk: Device) -> None:
    await desk.put("a", {"text": "good", "other": 1})
    assert meddle(desk, "UPDATE record SET body = CAST(replace(body, ?, ?) AS BLOB)", b"good", b"go\xffd")
    with pytest.raises(StoreDamaged, match="not what was written"):
        await desk.value("a")
    await desk.put("a", {"text": "fine", "other": 1})
    assert await desk.value("a") == {"text": "fine", "other": 1}


async def test_what_keeps_it_from_looking_is_told_until_it_is_over(
    desk: Device, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not until the next hour, in which it would look again anyhow."""
    monkeypatch.setattr(scrubbing, "AGAIN_S", 0.01)
    await desk.put("a", {"text": "good"})
    failures = 0

    async def none_left(*_: object) -> None:
        nonlocal failures
        failures += 1
        raise StoreError("no file descriptors are left", code="too-many-files")

    with monkeypatch.context() as patched:
        patched.setattr(desk.space.store.scrubs, "rows", none_left)
        with pytest.raises(StoreError):
            await desk.space.scrub.round()
        await until(lambda: failures > 2)
        view = await desk.statuses.spaces.view(desk.space)
        assert (view.state, "no file descriptors" in view.reason) == ("degraded", True)
    await until(lambda: desk.space.scrub.trouble is None)
    assert (await desk.statuses.spaces.view(desk.space)).state == "alone"


def findings(device: Device) -> list[tuple[str, str, str]]:
    return [(one.found, one.key, one.done) for one in device.space.damage.findings.all]


def trim(device: Device) -> None:
    """As a log that was trimmed of everything."""
    meddle(device, "UPDATE origin SET horizon = seq")
    meddle(device, "DELETE FROM run")


async def whole(device: Device) -> None:
    """Is the copy in order, and does the next round find nothing?"""
    found = findings(device)
    await device.space.scrub.round()
    assert findings(device) == found
    assert not device.space.damage.is_known
    assert device.space.scrub.state.last_found == 0


async def test_nothing_is_found_in_a_sound_copy(desk: Device) -> None:
    """Also where records stand parked, were restored, or hold several values."""
    await desk.put("a", {"x": 1})
    await desk.put("a", {"x": 2})
    await desk.put("b", {"x": 1})
    await desk.delete("b")
    await desk.park("c")
    before = desk.space.copy
    await whole(desk)
    assert desk.space.copy == before
    state = desk.space.scrub.state
    assert (state.last_records, state.last_runs, state.finished_ms) == (2, 5, desk.clock.now_ms)


@pytest.mark.parametrize("whole_log", [True, False])
async def test_a_flipped_byte_is_found_and_put_right_from_the_log(
    desk: Device,
    whole_log: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    """Without the log it is told as what it is, the digest says so too, and it waits for another device."""
    await desk.put("a", {"text": "good"})
    await desk.put("b", {"text": "other"})
    before = desk.space.copy
    if not whole_log:
        trim(desk)
        desk = await desk.reopen()
    flip(desk, "good", "goad")
    await desk.space.scrub.round()
    if whole_log:
        assert await desk.value("a") == {"text": "good"}
        assert findings(desk) == [("changed", "a", "log")]
        assert desk.space.copy == before
        await whole(desk)
    else:
        assert findings(desk) == [("changed", "a", "")]
        assert desk.space.damage.is_known
        assert desk.space.copy.digest != before.digest
        assert digest.added(desk.space.copy.digest, desk.space.damage.state.owed) == before.digest
        assert await desk.value("b") == {"text": "other"}
    desk = await desk.reopen()
    assert [one.found for one in desk.space.damage.findings.all] == ["changed"]
    assert desk.space.damage.is_known is not whole_log
    await desk.close()


async def test_a_record_that_cannot_be_read_is_put_right(desk: Device) -> None:
    await desk.put("a", {"text": "good"})
    await desk.patch("a", set={"n": 7})
    before = desk.space.copy
    meddle(desk, "UPDATE record SET body = CAST(x'c1' || substr(body, 2) AS BLOB)")
    await desk.space.scrub.round()
    assert await desk.value("a") == {"text": "good", "n": 7}
    assert findings(desk) == [("unreadable", "a", "log")]
    assert desk.space.copy == before
    await whole(desk)


async def test_a_record_that_cannot_be_read_is_set_aside_while_nobody_has_it(desk: Device) -> None:
    """The others go on, it can be written again, and its bytes are kept."""
    await desk.put("a", {"text": "good"})
    await desk.put("b", {"text": "other"})
    trim(desk)
    desk = await desk.reopen()
    meddle(desk, "UPDATE record SET stamps = x'c1' WHERE key = 'a'")
    await desk.space.scrub.round()
    assert findings(desk) == [("unreadable", "a", "")]
    assert desk.space.copy.visible == 1
    await desk.put("a", {"text": "new"})
    assert await desk.value("a") == {"text": "new"}
    (path,) = (desk.folder / "spaces").glob("*.db")
    with closing(sqlite3.connect(path)) as connection:
        ((stamps, body),) = connection.execute("SELECT stamps, body FROM finding").fetchall()
    assert stamps == b"\xc1"
    assert b"good" in body
    await desk.close()


async def test_a_record_that_seems_to_be_none_any_more_is_counted_once(desk: Device) -> None:
    """A bit of its birth flipped: it reads as one that stands parked, and was never counted as that."""
    await desk.put("a", {"text": "good"})
    before = desk.space.copy
    assert before.visible == 1
    assert meddle(desk, "UPDATE record SET body = CAST(x'9200' || substr(body, 3) AS BLOB) WHERE key = 'a'")
    await desk.space.scrub.round()
    assert findings(desk) == [("changed", "a", "log")]
    assert desk.space.copy == before
    await whole(desk)


async def test_a_row_that_is_gone_comes_back_from_the_log(desk: Device) -> None:
    await desk.put("a", {"text": "good"})
    await desk.put("a", {"text": "better"})
    await desk.put("b", {"text": "other"})
    before = desk.space.copy
    meddle(desk, "DELETE FROM record WHERE key = 'a'")
    await desk.space.scrub.round()
    assert await desk.value("a") == {"text": "better"}
    assert findings(desk) == [("missing", "a", "log")]
    assert desk.space.copy == before
    await whole(desk)


async def test_what_was_written_anew_since_it_was_lost_is_owed_no_more(desk: Device) -> None:
    """Nothing is missing, and the sum says that something is: a whole log knows."""
    await desk.put("a", {"text": "good"})
    meddle(desk, "DELETE FROM record WHERE key = 'a'")
    await desk.put("a", {"text": "better"})
    await desk.space.scrub.round()
    assert not desk.space.damage.is_known
    assert await desk.value("a") == {"text": "better"}
    assert findings(desk) == []
    await whole(desk)


async def test_a_change_that_hides_from_the_share_does_not_hide_from_the_sum(desk: Device) -> None:
    """Body and share of another life of the record."""
    await desk.put("a", {"text": "old"})
    (path,) = (desk.folder / "spaces").glob("*.db")
    with closing(sqlite3.connect(path)) as connection:
        share, stamps, body = connection.execute("SELECT share, stamps, body FROM record").fetchone()
    await desk.put("a", {"text": "new"})
    before = desk.space.copy
    meddle(desk, "UPDATE record SET share = ?, stamps = ?, body = ?", share, stamps, body)
    assert await desk.value("a") == {"text": "old"}
    await desk.space.scrub.round()
    assert await desk.value("a") == {"text": "new"}
    assert findings(desk) == [("differs", "a", "log")]
    assert desk.space.copy == before
    await whole(desk)


async def test_a_row_that_nobody_wrote_goes(desk: Device) -> None:
    """A deleted record that is there again, as a page of the disk that was written and lost would have it."""
    await desk.put("a", {"text": "old"})
    (path,) = (desk.folder / "spaces").glob("*.db")
    with closing(sqlite3.connect(path)) as connection:
        row = connection.execute("SELECT * FROM record").fetchone()
    await desk.delete("a")
    before = desk.space.copy
    meddle(desk, "INSERT INTO record VALUES (?, ?, ?, ?, ?, ?, ?)", *row)
    await desk.space.scrub.round()
    assert desk.space.copy == before
    assert not desk.space.damage.is_known
    await whole(desk)
    assert not (await desk.space.store.page("notes", "", None, 10)).records


async def test_a_flag_that_flipped_is_put_right(desk: Device) -> None:
    await desk.put("a", {"x": 1})
    meddle(desk, "UPDATE record SET flags = 1")
    await desk.space.scrub.round()
    assert await desk.value("a") == {"x": 1}
    assert [one[0] for one in findings(desk)] == ["changed"]
    await whole(desk)


async def test_the_log_is_checked_too(desk: Device) -> None:
    """A run whose bytes changed does not follow from the one before; what is damaged proves nothing."""
    await desk.put("a", {"text": "good"})
    await desk.put("b", {"text": "other"})
    flip(desk, "good", "goad", "run", "entries")
    await desk.space.scrub.round()
    (finding,) = desk.space.damage.findings.all
    assert finding.found == "log"
    assert finding.key == f"{next(iter(desk.clock_now())).hex()} 1"
    assert not desk.space.damage.is_known
    flip(desk, "good", "goad")
    await desk.space.scrub.round()
    assert findings(desk)[1] == ("changed", "a", "")
    assert await desk.value("a") == {"text": "goad"}


async def test_a_round_goes_on_where_it_was(desk: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the next life too; writes meanwhile are no findings."""
    monkeypatch.setattr(scrubbing, "PAUSE_S", 0)
    monkeypatch.setattr(scrubbing, "STEP_ROWS", 3)
    for number in range(20):
        await desk.put(f"{number:02}", {"n": number})
    await desk.space.scrub.some(0.25)
    assert 0 < desk.space.scrub.state.row < 20
    assert desk.space.scrub.state.finished_ms is None
    desk = await desk.reopen()
    assert desk.space.scrub.state.records == desk.space.scrub.state.row > 0
    flip(desk, 19, 18)
    await desk.put("00", {"n": 100})
    await desk.delete("01")
    rounds = 0
    while desk.space.scrub.state.finished_ms is None:
        await desk.space.scrub.some(0.25)
        rounds += 1
    assert rounds <= 5
    assert findings(desk) == [("changed", "19", "log")]
    assert await desk.value("19") == {"n": 19}
    assert desk.space.scrub.state.row == 0
    await desk.close()


async def test_writers_do_not_wait_for_a_round(desk: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """They have their turn after each step, and what is written meanwhile counts."""
    monkeypatch.setattr(scrubbing, "STEP_ROWS", 5)
    for number in range(50):
        await desk.put(f"{number:02}", {"n": number})
    scrub = asyncio.create_task(desk.space.scrub.round())
    written = 0
    while not scrub.done():
        await desk.put(f"{written % 50:02}", {"n": 1000 + written})
        written += 1
    await scrub
    assert written > 1
    assert not desk.space.damage.findings.all


async def test_findings_are_forgotten_after_thirty_days(desk: Device) -> None:
    await desk.put("a", {"text": "good"})
    flip(desk, "good", "goad")
    await desk.space.scrub.round()
    await desk.housekeeping.tidy(29 * 24 * 3600 * 1000)
    await desk.space.scrub.round()
    assert len(findings(desk)) == 1
    await desk.housekeeping.tidy(2 * 24 * 3600 * 1000)
    await desk.space.scrub.round()
    assert not findings(desk)


async def test_much_damage_is_put_right_too(desk: Device) -> None:
    for number in range(300):
        await desk.put(f"{number:03}", {"text": f"good {number}"})
    before = desk.space.copy
    meddle(desk, "DELETE FROM record WHERE id % 3 = 0")
    meddle(desk, "UPDATE record SET body = CAST(replace(body, 'good', 'goad') AS BLOB) WHERE id % 3 = 1")
    await desk.space.scrub.round()
    assert desk.space.copy == before
    assert {one[2] for one in findings(desk)} == {"log"}
    assert len(findings(desk)) == 200
    await whole(desk)


async def test_what_cannot_be_read_alarms_the_scrub(desk: Device, until: Until) -> None:
    """A reader or a writer who comes across it hears of it once; then it is put right, and nobody had to wait days."""
    await desk.put("a", {"text": "good"})
    meddle(desk, "UPDATE record SET body = CAST(x'c1' || substr(body, 2) AS BLOB)")
    with pytest.raises(StoreDamaged):
        await desk.value("a")
    await until(lambda: findings(desk) == [("unreadable", "a", "log")])
    assert await desk.value("a") == {"text": "good"}
    await until(lambda: not desk.space.scrub.running)  # it goes on to its end
    meddle(desk, "UPDATE record SET stamps = x'c1'")
    with pytest.raises(StoreDamaged):
        await desk.patch("a", set={"n": 1})
    await asyncio.sleep(0)
    assert not desk.space.scrub.running  # not again at once: it might be the disk itself
    desk.clock.pass_s(601)
    with pytest.raises(StoreDamaged):
        await desk.patch("a", set={"n": 1})
    await until(lambda: len(findings(desk)) == 2 and findings(desk)[1][2] == "log")
    await desk.patch("a", set={"n": 1})
    assert await desk.value("a") == {"text": "good", "n": 1}


async def test_a_run_that_cannot_be_read_is_told_as_damage(desk: Device) -> None:
    """What stands before it is still given to others, and what a record needs from it is not made up."""
    for number in range(3):
        await desk.put(f"{number}", {"text": f"good {number}"})
    meddle(desk, "UPDATE run SET entries = x'c1' WHERE position = 2")
    slice_ = await desk.space.store.runs_after(0, 1 << 20)
    assert ([row.position for row in slice_.rows], slice_.read_up_to) == ([1], 1)
    with pytest.raises(StoreDamaged, match="a run of the log"):
        await desk.space.store.runs_after(1, 1 << 20)
    flip(desk, "good 0", "goad 0")
    flip(desk, "good 1", "goad 1")
    await desk.space.scrub.round()
    assert {one for one in findings(desk) if one[0] == "changed"} == {("changed", "0", "log"), ("changed", "1", "")}


async def test_rows_are_put_right_only_while_the_clock_stands(desk: Device) -> None:
    """A record that is missing may have been deleted since it was looked at."""
    await desk.put("a", {"x": 1})
    clock = desk.clock_now()
    (record,) = (await desk.space.store.read(lambda transaction: transaction.records([("notes", "a")]))).values()
    await desk.delete("a")
    before = desk.space.copy
    back = {("notes", "a"): mending.Mend(record.record, 0)}

    def owing(taken: bytes) -> ScrubState:
        return ScrubState(owed=taken)

    assert not (await mending.replace(desk.space.commits, desk.space.store, back, owing, clock))[0]
    assert desk.space.copy == before
    assert (await mending.replace(desk.space.commits, desk.space.store, back, owing, desk.clock_now()))[
        0
    ] == back.keys()
