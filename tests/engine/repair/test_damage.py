"""A copy that is known to be damaged gives and takes snapshots, and no record is lost by that nor comes back."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from peerd.core import digest
from peerd.core.record_form import bucket_of
from peerd.core.snapshots.parts import End
from peerd.engine.repair import repairs
from peerd.errors import StoreError
from tests.engine.repair.test_repairs import findings, in_sync, meddle, same, sound
from tests.engine.snapshots.test_snapshots import ONE, each, made, made_while, send, take

if TYPE_CHECKING:
    from tests.engine.conftest import Device, MakeDevice, Until, Wire


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repairs, "CALM_S", (0.05, 0.05))
    monkeypatch.setattr(repairs, "DAMAGED_CALM_S", (0.01, 0.01))


def beside(key: str) -> Iterator[str]:
    """Keys in the same bucket of the digest."""
    wanted = bucket_of("notes", key)
    return (other for number in itertools.count() if bucket_of("notes", other := f"{number}") == wanted)


X = "lost"
Y, Z = itertools.islice(beside(X), 2)  # what is removed, and what is left alone
BUCKET = bucket_of("notes", X)


async def trimmed(device: Device) -> Device:
    """It, without a log: the ends of its runs are kept."""
    meddle(
        device, "INSERT OR IGNORE INTO run_end (origin, seq, hash8) SELECT origin, last, substr(head, 1, 8) FROM run"
    )
    meddle(device, "UPDATE origin SET horizon = seq")
    meddle(device, "DELETE FROM run")
    return await device.reopen()


async def lose(device: Device, key: str = X) -> None:
    """A record, and the device knows it."""
    meddle(device, "DELETE FROM record WHERE key = ?", key)
    await device.space.scrub.round()


@pytest.fixture
async def desk(make: MakeDevice, running_clock: Any) -> Device:
    device = make("desk", clock=running_clock())
    await device.spaces.found("home")
    for key in (X, Y, Z, "other"):
        await device.put(key, {"text": f"good {key}", "n": 1})
    return device


@pytest.fixture
async def laptop(desk: Device, make: MakeDevice, running_clock: Any) -> Device:
    """It has all that the desk has, and was away since."""
    device = make("laptop", clock=running_clock())
    await desk.admit(device)
    await desk.tell(device)
    return device


async def keys(device: Device) -> set[str]:
    page = await device.space.store.page("notes", "", None, 100)
    return {key for key, _ in page.records}


async def test_what_a_snapshot_lost_stays_and_what_it_removed_goes(
    desk: Device, laptop: Device, wire: Wire, until: Until
) -> None:
    """The last good copy of a record is with who takes in the snapshot, and beside it one that was deleted."""
    good = laptop.space.copy.digest
    await desk.delete(Y)
    await desk.patch("other", set={"n": 2})
    desk = await trimmed(desk)
    await lose(desk)
    assert desk.space.damage.owed_buckets() == [BUCKET]
    wire.connect(desk, laptop)
    await until(lambda: in_sync(desk, laptop) and same(desk, laptop))
    for device in (desk, laptop):
        assert await keys(device) == {X, Z, "other"}
        assert await device.value(X) == {"text": f"good {X}", "n": 1}
        assert await device.value("other") == {"text": "good other", "n": 2}
        assert not (await device.space.store.flagged(None, 10))
    assert findings(desk) == [("missing", X, "peer")]
    assert findings(laptop) == []
    assert desk.space.copy.digest != good
    await sound(desk, laptop)
    await desk.close()


@pytest.mark.parametrize("how", ["changed", "unreadable"])
async def test_what_rotted_in_a_snapshot_does_not_replace_what_is_good(
    desk: Device, laptop: Device, wire: Wire, until: Until, how: str
) -> None:
    await desk.delete(Y)
    desk = await trimmed(desk)
    body = "replace(body, 'good lost', 'goad lost')" if how == "changed" else "x'c1' || body"
    meddle(desk, f"UPDATE record SET body = CAST({body} AS BLOB) WHERE key = ?", X)  # noqa: S608 - one of two texts
    await desk.space.scrub.round()
    wire.connect(desk, laptop)
    await until(lambda: in_sync(desk, laptop) and same(desk, laptop))
    for device in (desk, laptop):
        assert await keys(device) == {X, Z, "other"}
        assert await device.value(X) == {"text": f"good {X}", "n": 1}
    await desk.close()


async def test_what_was_written_to_since_it_was_lost_is_kept_too(
    desk: Device, laptop: Device, wire: Wire, until: Until
) -> None:
    """What makes up for what is owed is not to be found any more: nothing goes, and nothing is owed once all agree."""
    await desk.put("elsewhere", {})
    desk = await trimmed(desk)
    await lose(desk)
    await desk.put(X, {"text": "newer"})
    await desk.patch(Z, set={"n": 7})
    desk = await trimmed(desk)
    wire.connect(desk, laptop)
    await until(lambda: in_sync(desk, laptop) and same(desk, laptop))
    for device in (desk, laptop):
        assert await keys(device) == {X, Y, Z, "other", "elsewhere"}
        assert (await device.value(X))["text"] == "newer"
        assert await device.value(Z) == {"text": f"good {Z}", "n": 7}
        assert not (await device.space.store.flagged(None, 10))
    await desk.close()


async def test_a_copy_of_a_damaged_one_owes_the_same_until_somebody_comes_who_has_it(
    desk: Device, laptop: Device, make: MakeDevice, running_clock: Any, wire: Wire, until: Until
) -> None:
    """Two agree, and both lack it: that is no reason to believe that nothing is missing."""
    phone = make("phone", clock=running_clock())
    await desk.delete(Y)
    desk = await trimmed(desk)
    await lose(desk)
    await desk.admit(phone)
    await laptop.space.learn(desk.space.roster.statements)
    wire.connect(desk, phone)
    await until(lambda: in_sync(desk, phone) and phone.space.damage.state.asked == [desk.id])
    await until(lambda: desk.space.damage.state.asked == [phone.id])
    assert await keys(phone) == {Z, "other"}
    assert phone.space.damage.owed_buckets() == desk.space.damage.owed_buckets() == [BUCKET]
    phone = await phone.reopen()
    assert phone.space.damage.owed_buckets() == [BUCKET]
    wire.connect(phone, laptop)
    await until(lambda: same(phone, laptop))
    wire.connect(desk, laptop)
    wire.connect(desk, phone)
    await until(lambda: len(desk.switchboard.links) == 2 and same(desk, phone, laptop))
    for device in (desk, laptop, phone):
        assert await keys(device) == {X, Z, "other"}
    assert not phone.space.damage.state.asked
    await phone.close()
    await desk.close()


async def test_what_no_member_has_any_more_is_told_once(
    desk: Device, make: MakeDevice, running_clock: Any, wire: Wire, until: Until
) -> None:
    """All others were asked: nobody waits for ever for what is nowhere."""
    phone = make("phone", clock=running_clock())
    desk = await trimmed(desk)
    meddle(desk, "UPDATE record SET body = CAST(x'c1' || body AS BLOB) WHERE key = ?", X)
    await desk.space.scrub.round()
    await desk.admit(phone)
    wire.connect(desk, phone)
    await until(lambda: in_sync(desk, phone) and same(desk, phone))
    assert {one.done for one in desk.space.damage.findings.all} <= {"nowhere", "equal"}
    assert await keys(phone) == await keys(desk) == {Y, Z, "other"}
    await desk.close()


async def test_who_is_damaged_takes_in_a_snapshot_and_loses_nothing_of_it(
    desk: Device, laptop: Device, wire: Wire, until: Until
) -> None:
    """What it lacks it did not delete."""
    await desk.delete(Y)
    desk = await trimmed(desk)
    laptop = await trimmed(laptop)
    await lose(laptop)
    await laptop.put("own", {"text": "written here"})
    await send(desk, laptop)
    assert await keys(laptop) == {X, Z, "other", "own"}
    assert not laptop.space.damage.is_known
    wire.connect(desk, laptop)
    await until(lambda: in_sync(desk, laptop) and same(desk, laptop))
    assert await keys(desk) == {X, Z, "other", "own"}
    await desk.close()
    await laptop.close()


async def test_two_that_lost_different_records_have_both_in_the_end(
    desk: Device, laptop: Device, wire: Wire, until: Until
) -> None:
    desk = await trimmed(desk)
    await lose(desk, X)
    await desk.put("more", {})
    desk = await trimmed(desk)
    laptop = await trimmed(laptop)
    await lose(laptop, Z)
    wire.connect(desk, laptop)
    await until(lambda: in_sync(desk, laptop) and same(desk, laptop))
    for device in (desk, laptop):
        assert await keys(device) == {X, Y, Z, "other", "more"}
    await desk.close()
    await laptop.close()


async def test_who_does_not_know_what_is_owed_takes_no_such_snapshot(desk: Device) -> None:
    """It would take what is missing there for deleted."""
    parts = [msgspec.msgpack.decode(part) for part in await made(desk)]
    assert "l" not in parts[0]
    assert "u" not in parts[-1]
    desk = await trimmed(desk)
    await lose(desk)
    parts = [msgspec.msgpack.decode(part) for part in await made(desk)]
    assert parts[0]["l"] == 2
    owed = digest.at(desk.space.damage.state.owed, BUCKET)
    assert parts[-1]["u"] == [[BUCKET, owed.to_bytes(8, "big")]]
    assert msgspec.convert(parts[-1], End).owed
    await desk.close()


async def test_damage_that_is_found_while_a_snapshot_is_made_ends_it(desk: Device) -> None:
    desk = await trimmed(desk)
    meddle(desk, "DELETE FROM record WHERE key = ?", X)
    with pytest.raises(StoreError) as caught:
        await made_while(desk, desk.space.scrub.round)
    assert caught.value.code == "snapshot-gone"
    await desk.close()


async def test_damage_that_a_snapshot_meets_is_located_and_the_next_one_tells_it(
    desk: Device, laptop: Device, until: Until
) -> None:
    desk = await trimmed(desk)
    meddle(desk, "DELETE FROM record WHERE key = ?", X)
    with pytest.raises(StoreError):
        await made(desk)
    await until(lambda: desk.space.damage.owed_buckets() == [BUCKET])
    await until(lambda: not desk.space.scrub.running)
    assert await take(laptop, await made(desk), ONE)
    assert await keys(laptop) == {X, Y, Z, "other"}
    await desk.close()


async def test_what_is_owed_survives_a_crash_at_once(desk: Device) -> None:
    """It is kept with the rows that it is owed for."""
    desk = await trimmed(desk)
    saved: list[object] = []
    desk.space.store.scrubs.save = lambda _: _never(saved)  # type: ignore[method-assign, assignment] # nothing more is kept
    meddle(desk, "UPDATE record SET body = CAST(x'c1' || body AS BLOB) WHERE key = ?", X)
    with pytest.raises(StoreError):
        await desk.space.scrub.round()
    assert saved
    again = await desk.reopen()
    assert again.space.damage.owed_buckets() == [BUCKET]
    await again.close()


async def _never(saved: list[object]) -> None:
    saved.append(None)
    raise StoreError("the power is off")


@pytest.mark.parametrize("whole_log", [True, False])
async def test_a_write_does_not_hide_what_rotted_beside_it(
    desk: Device, laptop: Device, wire: Wire, until: Until, *, whole_log: bool
) -> None:
    """Before anybody looks: what is written anew has a share of its own, and the digest would say so."""
    if not whole_log:
        desk, laptop = await trimmed(desk), await trimmed(laptop)
    for old, new in (("text", "teks"), (f"good {X}", f"goad {X}")):
        meddle(desk, "UPDATE record SET body = CAST(replace(body, ?, ?) AS BLOB) WHERE key = ?", old, new, X)
    await desk.patch(X, set={"n": 2})
    await until(lambda: bool(findings(desk)) and not desk.space.damage._telling)
    assert findings(desk) == [("changed", X, "log" if whole_log else "")]
    assert desk.space.damage.owed_buckets() == ([] if whole_log else [BUCKET])
    wire.connect(desk, laptop)
    await until(lambda: in_sync(desk, laptop) and same(desk, laptop))
    for device in (desk, laptop):
        assert await device.value(X) == {"text": f"good {X}", "n": 2}
    assert findings(laptop) == []
    await desk.close()
    await laptop.close()


async def test_what_rotted_here_unnoticed_does_not_stand_in_a_merge(desk: Device, laptop: Device) -> None:
    await desk.patch(X, set={"n": 2})
    desk = await trimmed(desk)
    meddle(laptop, "UPDATE record SET body = CAST(replace(body, 'text', 'teks') AS BLOB) WHERE key = ?", X)
    await send(desk, laptop)
    assert await laptop.value(X) == {"text": f"good {X}", "n": 2}
    assert laptop.space.copy.digest == desk.space.copy.digest
    await desk.close()


async def test_what_rotted_so_that_nobody_can_read_it_is_not_said_to_others(
    desk: Device, laptop: Device, wire: Wire, until: Until
) -> None:
    """They would take who says it for a liar, and end the link."""
    desk, laptop = await trimmed(desk), await trimmed(laptop)
    meddle(desk, "UPDATE record SET body = CAST(replace(body, 'good', ?) AS BLOB) WHERE key = ?", b"go\xffd", X)
    await desk.patch(X, set={"n": 2})
    await until(lambda: bool(findings(desk)))
    wire.connect(desk, laptop)
    await until(lambda: in_sync(desk, laptop) and same(desk, laptop))
    for device in (desk, laptop):
        assert await device.value(X) == {"text": f"good {X}", "n": 2}
    await desk.close()
    await laptop.close()


async def test_what_was_deleted_goes_again_where_a_sound_copy_shows_it(
    desk: Device, laptop: Device, make: MakeDevice, running_clock: Any, wire: Wire, until: Until
) -> None:
    """Nothing makes up for what is owed, so the laptop has kept what was deleted; a third one that is whole knows."""
    phone = make("phone", clock=running_clock())
    await desk.admit(phone)
    await laptop.space.learn(desk.space.roster.statements)
    await desk.delete(Y)
    await desk.tell(phone)
    desk = await trimmed(desk)
    await lose(desk)
    await phone.patch(X, set={"n": 7})
    await phone.tell(desk)
    desk, phone = await trimmed(desk), await trimmed(phone)
    assert await laptop.space.snapshots.take_in(ONE, each(await made(desk)), maker=desk.id)
    assert await keys(laptop) == {X, Y, Z, "other"}
    assert laptop.space.damage.owed_buckets() == [BUCKET]
    wire.connect(laptop, phone)
    wire.connect(desk, phone)
    await until(lambda: len(phone.switchboard.links) == 2 and same(desk, laptop, phone))
    for device in (desk, laptop, phone):
        assert await keys(device) == {X, Z, "other"}
        assert await device.value(X) == {"text": f"good {X}", "n": 7}
    await desk.close()
    await phone.close()


async def test_what_rotted_is_owed_no_more_when_all_of_the_record_goes(desk: Device) -> None:
    """What is deleted is deleted, whatever it looked like before."""
    desk = await trimmed(desk)
    for key, change in ((X, desk.delete(X)), (Z, desk.put(Z, {"text": "new"}))):
        meddle(desk, "UPDATE record SET body = CAST(replace(body, 'good', 'goad') AS BLOB) WHERE key = ?", key)
        await change
        assert bool(desk.space.damage.owed_buckets()) is (
            key == Z
        )  # `n` was dropped and `text` replaced, but not the birth
    await desk.close()
