"""Copies that differ at equal clocks find out where, and become the same again."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from peerd.core import digest
from peerd.core.chain import Run
from peerd.core.clocks import Dot
from peerd.core.record import Record, Stamp
from peerd.core.record_form import decode_record, digest_of, encode_body, encode_stamps
from peerd.core.repair.evidence import Evidence
from peerd.core.repair.form import pack_evidence, pack_record, unpack_record
from peerd.core.values import pack
from peerd.engine.feed import Feed
from peerd.engine.repair import answers as repair_answers
from peerd.engine.repair import repairs
from peerd.engine.repair.answers import Large
from peerd.protocol.control.messages import CollectionChange
from peerd.protocol.messages import Locate, Mend, Mended

if TYPE_CHECKING:
    from peerd.engine.space import Space
    from peerd.protocol.repairing import Standing
    from tests.engine.conftest import Device, MakeDevice, Until, Wire

Scene = Callable[..., Awaitable[list["Device"]]]


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repairs, "CALM_S", (0.05, 0.05))
    monkeypatch.setattr(repairs, "DAMAGED_CALM_S", (0.01, 0.01))
    monkeypatch.setattr(repairs, "RUNS_AFTER_S", (0.05, 0.05))
    monkeypatch.setattr(repairs, "RUNS_AGAIN_S", 0.1)


@pytest.fixture
def scene(make: MakeDevice, running_clock: Any) -> Scene:
    """Devices with the same records, not linked yet."""

    async def build(*names: str, records: int = 3, trimmed: bool = False) -> list[Device]:
        devices = [make(name, clock=running_clock()) for name in names]
        await devices[0].spaces.found("home")
        await devices[0].admit(*devices[1:])
        for number in range(records):
            await devices[0].put(f"{number:03}", {"text": f"good {number}", "n": number})
        await devices[0].put("000", {"text": "good 0", "n": 100})
        await devices[0].delete("001")
        await devices[0].tell(*devices[1:])
        if trimmed:
            for number, device in enumerate(devices):
                meddle(device, "UPDATE origin SET horizon = seq")
                meddle(device, "DELETE FROM run")
                devices[number] = await device.reopen()
        return devices

    return build


def meddle(device: Device, statement: str, *parameters: Any) -> int:
    (path,) = (device.folder / "spaces").glob("*.db")
    with closing(sqlite3.connect(path)) as connection, connection:
        return connection.execute(statement, parameters).rowcount


def flip(device: Device, old: object = "good 0", new: object = "goad 0") -> None:
    assert meddle(
        device,
        "UPDATE record SET body = CAST(replace(body, ?, ?) AS BLOB) WHERE instr(body, ?)",
        pack(old), pack(new), pack(old),
    )  # fmt: skip


def flip_with_share(device: Device, key: str, change: Callable[[Record], None]) -> None:
    """What only the digest shows: the row agrees with itself."""
    (path,) = (device.folder / "spaces").glob("*.db")
    with closing(sqlite3.connect(path)) as connection:
        ref_of = dict(connection.execute("SELECT ref, id FROM origin"))
        row = connection.execute("SELECT stamps, body FROM record WHERE key = ?", (key,)).fetchone()
    stamps = msgspec.msgpack.decode(row[0])
    for one in stamps:
        one[0] = ref_of[one[0]]
    record = decode_record(stamps, row[1])
    change(record)
    order, rows = encode_stamps(record.stamps)
    body = encode_body(record.births, record.fields, order)
    share = digest_of("notes", key, rows, body)[1]
    back = {origin: ref for ref, origin in ref_of.items()}
    packed = msgspec.msgpack.encode([[back[one[0]], *one[1:]] for one in rows])
    signed = share - (1 << 64) if share >> 63 else share
    assert meddle(device, "UPDATE record SET stamps = ?, body = ?, share = ? WHERE key = ?", packed, body, signed, key)


def claim(device: Device) -> None:
    """Let the digest be that of the rows, as if the writes had made it so: a fault of the software, not of the disk."""
    (path,) = (device.folder / "spaces").glob("*.db")
    with closing(sqlite3.connect(path)) as connection:
        names = dict(connection.execute("SELECT number, name FROM collection"))
        rows = connection.execute("SELECT collection, key, share FROM record").fetchall()
    steps = [(digest_of(names[number], key, [], b"")[0], share) for number, key, share in rows]
    meddle(device, "UPDATE space SET digest = ?", digest.moved(digest.EMPTY, steps))


def spoil(record: Record) -> None:
    (dot,) = record.fields["text"]
    record.fields["text"][dot] = pack("rotten")


def findings(device: Device) -> list[tuple[str, str, str]]:
    return sorted((one.found, one.key, one.done) for one in device.space.damage.findings.all if one.found != "diverged")


def same(*devices: Device) -> bool:
    links = [link for device in devices for link in device.switchboard.links.values()]
    sessions = [session for link in links for session in link.sessions.values()]
    return (
        len({device.space.copy.digest for device in devices}) == 1
        and len({tuple(sorted(device.clock_now().items())) for device in devices}) == 1
        and not any(device.space.damage.is_known for device in devices)
        and not any(one.diverged for one in sessions)
        and not any(
            one.found == "diverged" and not one.done for device in devices for one in device.space.damage.findings.all
        )
    )


def in_sync(*devices: Device) -> bool:
    sessions = [device.switchboard.sessions(device.space) for device in devices]
    return all(found and all(one.in_sync for one in found) for found in sessions)


async def sound(*devices: Device) -> None:
    """Do the rows make the digests, too?"""
    for device in devices:
        before = len(device.space.damage.findings.all)
        await device.space.scrub.round()
        assert len(device.space.damage.findings.all) == before


async def test_what_is_owed_is_made_up_for_when_the_copies_are_the_same(scene: Scene, wire: Wire, until: Until) -> None:
    """Also where nothing is left of what was found: what was written since made up for it."""
    desk, laptop = await scene("desk", "laptop")
    desk.space.damage.state.owed = digest.moved(digest.EMPTY, [(7, 1)])
    assert desk.space.damage.is_known
    wire.connect(desk, laptop)
    await until(lambda: in_sync(desk, laptop) and not desk.space.damage.is_known)


async def test_who_is_damaged_asks_although_nothing_is_said_at_equal_clocks(
    scene: Scene, wire: Wire, until: Until
) -> None:
    """It has caught up, which the other one takes for the end of it."""
    desk, laptop = await scene("desk", "laptop")
    desk.space.damage.state.owed = digest.moved(digest.EMPTY, [(7, 1)])
    await laptop.put("new", {"n": 1})
    wire.connect(desk, laptop)
    await until(lambda: in_sync(desk, laptop) and not desk.space.damage.is_known)


async def test_a_digest_that_no_record_makes_is_put_right(scene: Scene, wire: Wire, until: Until) -> None:
    """The record was lost on the disk before somebody deleted it: no record differs, and the digests do."""
    desk, laptop = await scene("desk", "laptop", trimmed=True)
    meddle(desk, "DELETE FROM record WHERE key = '000'")
    await laptop.delete("000")
    await laptop.tell(desk)
    assert desk.space.copy.digest != laptop.space.copy.digest
    wire.connect(desk, laptop)
    await until(lambda: same(desk, laptop))
    assert desk.space.copy.visible == laptop.space.copy.visible == 1
    await sound(desk, laptop)


@pytest.mark.parametrize("trimmed", [False, True])
@pytest.mark.parametrize("damage", ["flipped", "unreadable", "gone", "with its share"])
async def test_a_damaged_copy_is_put_right_from_a_peer(
    scene: Scene,
    wire: Wire,
    until: Until,
    damage: str,
    trimmed: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    """Its own scrub finds it; the log puts it right, or, if that is trimmed, the other one's copy."""
    desk, laptop = await scene("desk", "laptop", trimmed=trimmed)
    good = laptop.space.copy
    if damage == "flipped":
        flip(desk)
    elif damage == "unreadable":
        meddle(desk, "UPDATE record SET body = CAST(x'c1' || substr(body, 2) AS BLOB) WHERE key = '000'")
    elif damage == "gone":
        meddle(desk, "DELETE FROM record WHERE key = '000'")
    else:
        flip_with_share(desk, "000", spoil)
    wire.connect(desk, laptop)
    await until(lambda: bool(desk.switchboard.links))
    await desk.space.scrub.round()
    await until(lambda: same(desk, laptop))
    assert desk.space.copy == good == laptop.space.copy
    assert await desk.value("000") == {"text": "good 0", "n": 100}
    await sound(desk, laptop)
    assert len(findings(desk)) == 1, findings(desk)
    (found,) = findings(desk)
    words = {"flipped": "changed", "unreadable": "unreadable", "gone": "missing", "with its share": "differs"}
    assert found[:2] == (words[damage], "000")
    assert found[2] in ({"peer"} if trimmed else {"log", "peer"})
    assert findings(laptop) == []


async def test_a_record_that_was_edited_since_it_was_lost_comes_back_from_the_log(scene: Scene) -> None:
    """What the sum is owed is not what the record lacks by then; a whole log needs no such proof, and no peer."""
    desk, laptop = await scene("desk", "laptop")
    meddle(desk, "DELETE FROM record WHERE key = '000'")
    await laptop.patch("000", set={"n": 7})
    await laptop.tell(desk)
    await desk.space.scrub.round()
    assert await desk.value("000") == {"text": "good 0", "n": 7}
    assert findings(desk) == [("differs", "000", "log")]
    assert desk.space.copy.digest == laptop.space.copy.digest
    assert desk.space.copy.visible == laptop.space.copy.visible
    assert not desk.space.damage.is_known
    await sound(desk, laptop)


async def test_it_waits_for_a_peer(scene: Scene, wire: Wire, until: Until) -> None:
    """Also over a restart; the other side hears of it, and who it was."""
    desk, laptop = await scene("desk", "laptop", trimmed=True)
    flip(desk)
    await desk.space.scrub.round()
    assert findings(desk) == [("changed", "000", "")]
    desk = await desk.reopen()
    wire.connect(desk, laptop)
    await until(lambda: bool(desk.space.damage.findings.all[0].done))
    await until(lambda: same(desk, laptop))
    assert findings(desk) == [("changed", "000", "peer")]
    assert [(one.found, one.device, one.done) for one in laptop.space.damage.findings.all] == [
        ("diverged", desk.id, "equal")
    ]
    await desk.close()


async def test_copies_that_always_differed_are_told_apart_by_the_log(scene: Scene, wire: Wire, until: Until) -> None:
    """Nothing but their digests shows it: as a fault of the software would leave them."""
    desk, laptop = await scene("desk", "laptop")
    good = desk.space.copy
    flip_with_share(laptop, "000", spoil)
    meddle(laptop, "DELETE FROM record WHERE key = '002'")
    claim(laptop)
    laptop = await laptop.reopen()
    assert laptop.space.copy.digest != good.digest
    wire.connect(desk, laptop)
    await until(lambda: same(desk, laptop) and len(findings(laptop)) == 2)
    assert desk.space.copy.digest == laptop.space.copy.digest == good.digest
    assert findings(laptop) == [("differs", "000", "peer"), ("missing", "002", "peer")]
    assert findings(desk) == []
    await sound(desk, laptop)
    await laptop.close()


async def test_without_a_log_nothing_is_lost(scene: Scene, wire: Wire, until: Until) -> None:
    """Of two values under one dot both are shown, as a conflict; what one side lacks it gets."""
    desk, laptop = await scene("desk", "laptop", trimmed=True)
    for device in (desk, laptop):
        meddle(device, "DELETE FROM history")
    flip_with_share(laptop, "000", spoil)
    meddle(laptop, "DELETE FROM record WHERE key = '002'")
    claim(laptop)
    laptop = await laptop.reopen()
    wire.connect(desk, laptop)
    await until(lambda: same(desk, laptop) and desk.space.copy.seq(next(iter(desk.clock_now()))) > 0)
    await until(lambda: any(one[2] == "again" for one in findings(desk) + findings(laptop)))
    await until(lambda: same(desk, laptop))
    for device in (desk, laptop):
        (_, record), *_ = await device.space.store.flagged(None, 10)
        assert {bytes(value) for value in record.fields["text"].values()} == {pack("good 0"), pack("rotten")}
        assert await device.value("002") == {"text": "good 2", "n": 2}
    await sound(desk, laptop)
    await laptop.close()


async def test_a_third_member_decides(scene: Scene, wire: Wire, until: Until) -> None:
    """Two agree, one does not: that one takes what they have, and nothing of its own comes back as a conflict."""
    desk, laptop, tablet = await scene("desk", "laptop", "tablet", trimmed=True)
    good = desk.space.copy
    flip_with_share(tablet, "000", spoil)
    claim(tablet)
    tablet = await tablet.reopen()
    wire.connect(desk, laptop)
    await until(lambda: in_sync(desk, laptop))
    wire.connect(tablet, desk)
    wire.connect(tablet, laptop)
    await until(lambda: len(tablet.switchboard.links) == 2)
    await until(lambda: same(desk, laptop, tablet))
    assert {device.space.copy.digest for device in (desk, laptop, tablet)} == {good.digest}
    assert findings(tablet) == [("differs", "000", "peer")]
    assert not (await desk.space.store.flagged(None, 10))
    await tablet.close()


async def test_damage_that_spread_by_a_snapshot_does_not_win_by_number(scene: Scene, wire: Wire, until: Until) -> None:
    """Two lack a record, and two have it: nobody waits for the others, and nothing is lost."""
    devices = await scene("desk", "laptop", "tablet", "phone", trimmed=True)
    good = devices[0].space.copy
    for number in (2, 3):
        meddle(devices[number], "DELETE FROM record WHERE key = '000'")
        meddle(devices[number], "UPDATE collection SET visible = visible - 1")
        meddle(devices[number], "UPDATE space SET visible = visible - 1")
        claim(devices[number])
        devices[number] = await devices[number].reopen()
    for one, other in ((0, 1), (2, 3)):
        wire.connect(devices[one], devices[other])
        await until(lambda one=one, other=other: in_sync(devices[one], devices[other]))  # type: ignore[misc] # no parameters are given
    for one, other in ((0, 2), (0, 3), (1, 2), (1, 3)):
        wire.connect(devices[one], devices[other])
    await until(lambda: all(len(one.switchboard.links) == 3 for one in devices) and same(*devices))
    assert all(one.space.copy == good for one in devices)
    await sound(*devices)
    for device in devices[2:]:
        await device.close()


async def test_what_only_one_of_three_has_is_not_lost(scene: Scene, wire: Wire, until: Until) -> None:
    """The other two lack it, as a damaged copy and a snapshot of it do."""
    devices = await scene("desk", "laptop", "tablet", trimmed=True)
    good = devices[0].space.copy
    for number in (1, 2):
        meddle(devices[number], "DELETE FROM record WHERE key = '000'")
        meddle(devices[number], "UPDATE collection SET visible = visible - 1")
        meddle(devices[number], "UPDATE space SET visible = visible - 1")
        claim(devices[number])
        devices[number] = await devices[number].reopen()
    wire.connect(devices[1], devices[2])
    await until(lambda: in_sync(*devices[1:]))
    wire.connect(devices[0], devices[1])
    wire.connect(devices[0], devices[2])
    await until(lambda: len(devices[0].switchboard.links) == 2 and same(*devices))
    assert all(one.space.copy == good for one in devices)
    for device in devices[1:]:
        await device.close()


async def test_two_that_were_put_right_at_once_hear_of_each_other(scene: Scene, wire: Wire, until: Until) -> None:
    """Each knows of the other what it said before, and that a third one has what it has itself by now."""
    desk, laptop, tablet = await scene("desk", "laptop", "tablet", trimmed=True)
    for one, other in ((desk, laptop), (desk, tablet), (laptop, tablet)):
        wire.connect(one, other)
    await until(lambda: in_sync(desk, laptop, tablet))
    for one, other in ((desk, laptop), (laptop, desk)):
        (session,) = [each for each in one.switchboard.sessions(one.space) if each.theirs == other.id]
        session.repairs.their_digest = bytes(16)
        session._compared(equal=False)
    assert not same(desk, laptop, tablet)
    await until(lambda: same(desk, laptop, tablet))


async def test_much_is_put_right_in_pages(
    scene: Scene, wire: Wire, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repair_answers, "SHARES", 7)
    monkeypatch.setattr(repair_answers, "ROWS_LOOKED_AT", 50)
    monkeypatch.setattr(repair_answers, "RECORDS_BYTES", 2_000)
    desk, laptop = await scene("desk", "laptop", records=250, trimmed=True)
    good = desk.space.copy
    meddle(laptop, "DELETE FROM record WHERE id % 2 = 0")
    claim(laptop)
    meddle(laptop, "UPDATE space SET visible = (SELECT count(*) FROM record)")
    laptop = await laptop.reopen()
    wire.connect(desk, laptop)
    await until(lambda: same(desk, laptop))
    assert laptop.space.copy.digest == good.digest
    assert laptop.space.copy.visible == good.visible
    await laptop.close()


async def test_writes_meanwhile_do_not_go_under(scene: Scene, wire: Wire, until: Until) -> None:
    desk, laptop = await scene("desk", "laptop", records=40, trimmed=True)
    meddle(laptop, "DELETE FROM record WHERE id % 2 = 0")
    claim(laptop)
    laptop = await laptop.reopen()
    wire.connect(desk, laptop)
    for number in range(30):
        await desk.put(f"{number:03}", {"text": "newer", "n": number})
        await laptop.put(f"new {number}", {"n": number})
    await until(lambda: same(desk, laptop))
    assert await laptop.value("004") == {"text": "newer", "n": 4}
    await sound(desk, laptop)
    await laptop.close()


async def test_a_peer_that_does_not_know_it_is_not_asked(
    scene: Scene, wire: Wire, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An older version would close the link on a message that it does not know."""
    desk, laptop = await scene("desk", "laptop", trimmed=True)
    monkeypatch.setattr("peerd.engine.links.switchboard.CAPABILITY", "other")
    flip(desk)
    await desk.space.scrub.round()
    wire.connect(desk, laptop)
    await until(lambda: bool(desk.switchboard.links) and desk.statuses.peers.of(desk.space)[0].state == "diverged")
    assert findings(desk) == [("changed", "000", "")]
    assert not desk.switchboard.sessions(desk.space)[0].repairs.understood


@pytest.mark.parametrize("lie", ["origin", "seq", "junk", "evidence"])
async def test_a_record_that_cannot_be_is_not_taken(
    scene: Scene, wire: Wire, until: Until, monkeypatch: pytest.MonkeyPatch, lie: str
) -> None:
    """Of transactions that nobody has, or no record at all: the link is closed, and nothing changes."""
    desk, laptop = await scene("desk", "laptop", trimmed=True)
    (origin,) = desk.clock_now()
    honest = repair_answers.records

    async def lying(space: Space, question: Mend, ours: Standing, large: Large) -> Mended:
        answer = await honest(space, question, ours, large)
        dot = Dot(bytes(16), 1) if lie == "origin" else Dot(origin, 1000)
        record = Record()
        record.births, record.stamps = {dot}, {dot: Stamp(1, 2)}
        packed = b"\xc1" if lie == "junk" else pack_record(record)
        false = [
            (collection, key, said if lie == "evidence" else packed, b"\xc1" if lie == "evidence" else proof, False)
            for collection, key, said, proof, _ in answer.records
        ]
        return Mended(answer.space, answer.clock, false)

    monkeypatch.setattr(repair_answers, "records", lying)
    meddle(desk, "DELETE FROM record WHERE key = '000'")
    await desk.space.scrub.round()
    before = desk.space.copy
    wire.connect(desk, laptop)
    await until(lambda: bool(desk.switchboard.links))
    await until(lambda: not desk.switchboard.links)
    trouble = desk.book.note(laptop.id).trouble
    assert trouble is not None
    assert trouble.code == "malformed"
    assert desk.space.copy == before


async def test_who_asks_without_waiting_is_cut_off(scene: Scene, wire: Wire, until: Until) -> None:
    desk, laptop = await scene("desk", "laptop")
    wire.connect(desk, laptop)
    await until(lambda: in_sync(desk, laptop))
    link = laptop.switchboard.links[desk.id]
    for _ in range(100):
        link.say(Locate(desk.space.id, bytes(16), bytes(16), list(range(256))))
    await until(lambda: not desk.switchboard.links)
    trouble = desk.book.note(laptop.id).trouble
    assert trouble is not None
    assert trouble.code == "flood"


@pytest.mark.parametrize("how", ["changed", "unreadable", "head"])
async def test_damaged_runs_of_the_log_come_from_a_peer(scene: Scene, wire: Wire, until: Until, how: str) -> None:
    """They prove themselves: what does not hold is not taken."""
    desk, laptop = await scene("desk", "laptop")
    good = await desk.space.store.runs_after(0, 1 << 20)
    change = {
        "changed": "entries = CAST(replace(entries, 'good 2', 'goad 2') AS BLOB)",
        "unreadable": "entries = x'c1'",
        "head": "head = zeroblob(32)",
    }[how]
    meddle(desk, f"UPDATE run SET {change} WHERE position = 3")  # noqa: S608 - one of the texts above
    await desk.space.scrub.round()
    found = findings(desk)
    assert {one[0] for one in found} == {"log"}
    wire.connect(desk, laptop)
    await until(lambda: all(one[2] == "peer" for one in findings(desk)))
    assert (await desk.space.store.runs_after(0, 1 << 20)).rows == good.rows
    await sound(desk)
    assert len(findings(desk)) == len(found)


async def test_a_run_that_does_not_hold_is_not_taken(scene: Scene) -> None:
    desk, laptop = await scene("desk", "laptop")
    (origin,) = desk.clock_now()
    run = await laptop.space.store.scrubs.run(origin, 3)
    assert run is not None
    scrubs, verify = desk.space.store.scrubs, desk.space.commits.verify
    for bad in (
        Run(origin, 3, (run.entries[0].replace(b"good 2", b"goad 2"),), run.signature),
        Run(origin, 3, run.entries, bytes(64)),
        Run(origin, 2, run.entries, run.signature),
        Run(bytes(16), 3, run.entries, run.signature),
        Run(origin, 1000, run.entries, run.signature),
    ):
        assert not await scrubs.replace_run(bad, verify)
    assert await scrubs.replace_run(run, verify)
    assert await scrubs.run(origin, 1000) is None


async def test_who_follows_the_copy_begins_anew_when_it_is_whole_again(
    scene: Scene, wire: Wire, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not before: what is missing in a damaged copy was not deleted. A position from before means nothing any more."""
    desk, laptop = await scene("desk", "laptop", trimmed=True)
    feed = await Feed(desk.space).open(None, follow=True)
    events: list[Any] = []

    async def follow() -> None:
        async for some in feed:
            events.extend(some)

    following = asyncio.create_task(follow())
    try:
        await until(lambda: len([one for one in events if one.key]) == 2)
        token, events[:] = events[-1].token, []
        meddle(desk, "UPDATE record SET body = CAST(x'c1' || substr(body, 2) AS BLOB) WHERE key = '000'")
        await desk.space.scrub.round()
        before = desk.space.copy_id
        await laptop.put("other", {})
        await laptop.tell(desk)
        await until(lambda: [one.key for one in events if one.key] == ["other"])
        assert before == desk.space.copy_id
        wire.connect(desk, laptop)
        await until(lambda: same(desk, laptop) and desk.space.copy_id != before)
        await until(lambda: {one.key for one in events if one.key} == {"000", "002", "other"})
        assert any(one.kind == "reset" for one in events)
    finally:
        following.cancel()
        await asyncio.wait({following})
        await feed.aclose()
    again = await Feed(desk.space).open(token, follow=False)
    assert [one.kind async for some in again for one in some][0] == "reset"  # noqa: RUF015 - it has to be read to its end
    desk = await desk.reopen()
    assert desk.space.copy_id != before
    await desk.close()


async def test_a_whole_log_is_believed_and_not_what_others_say(
    scene: Scene, wire: Wire, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A member that claims that everything was removed takes nothing from who can prove that it was not."""
    desk, laptop = await scene("desk", "laptop")
    good = desk.space.copy
    honest = repair_answers.records

    async def lying(space: Space, question: Mend, ours: Standing, large: Large) -> Mended:
        answer = await honest(space, question, ours, large)
        false = []
        for collection, key, said, _, doubt in answer.records:
            record = unpack_record(said)
            gone = {(None, dot): dot for dot in record.births}
            gone |= {(field, dot): dot for field, siblings in record.fields.items() for dot in siblings}  # type: ignore[misc] # a birth has no field
            false.append((collection, key, said, pack_evidence(Evidence(Record(), gone)), doubt))  # type: ignore[arg-type] # as above
        return Mended(answer.space, answer.clock, false)

    flip_with_share(laptop, "000", spoil)
    claim(laptop)
    laptop = await laptop.reopen()
    monkeypatch.setattr(repair_answers, "records", lying)
    wire.connect(desk, laptop)
    await until(lambda: same(desk, laptop))
    assert desk.space.copy.digest == laptop.space.copy.digest == good.digest
    await laptop.close()


async def test_of_two_that_are_damaged_neither_takes_from_the_other(scene: Scene, wire: Wire, until: Until) -> None:
    """Both know it of the same record, and say so; a third one has it."""
    desk, laptop, tablet = await scene("desk", "laptop", "tablet", trimmed=True)
    good = tablet.space.copy
    flip(desk, "good 0", "gone 0")
    flip(laptop, "good 0", "bad! 0")
    for device in (desk, laptop):
        await device.space.scrub.round()
    wire.connect(desk, laptop)
    await until(lambda: desk.switchboard.sessions(desk.space) and desk.switchboard.sessions(desk.space)[0].diverged)
    wire.connect(desk, tablet)
    wire.connect(laptop, tablet)
    await until(lambda: len(tablet.switchboard.links) == 2 and same(desk, laptop, tablet))
    assert desk.space.copy.digest == laptop.space.copy.digest == tablet.space.copy.digest == good.digest
    assert not (await desk.space.store.flagged(None, 10))


async def test_what_was_lost_on_the_disk_is_not_taken_for_deleted(scene: Scene, wire: Wire, until: Until) -> None:
    """An edit of it arrives, in a collection in which deletes win: nobody deleted it."""
    desk, laptop = await scene("desk", "laptop")
    await desk.records.set_collection("notes", CollectionChange(delete_wins=True))
    await desk.tell(laptop)
    for number, device in enumerate((desk, laptop)):
        meddle(device, "UPDATE origin SET horizon = seq")
        meddle(device, "DELETE FROM run")
        desk, laptop = (await device.reopen(), laptop) if not number else (desk, await device.reopen())
    meddle(desk, "DELETE FROM record WHERE key = '000'")
    await desk.space.scrub.round()
    await laptop.patch("000", set={"n": 7})
    await laptop.tell(desk)
    wire.connect(desk, laptop)
    await until(lambda: in_sync(desk, laptop) and same(desk, laptop))
    for device in (desk, laptop):
        assert await device.value("000") == {"text": "good 0", "n": 7}
    await desk.close()
    await laptop.close()


@pytest.mark.parametrize("size_bytes", [900, 30_000])
async def test_a_record_that_fits_no_frame_is_put_right_too(
    scene: Scene, wire: Wire, until: Until, monkeypatch: pytest.MonkeyPatch, size_bytes: int
) -> None:
    """In pieces; and so is what stands behind it."""
    monkeypatch.setattr(repair_answers, "RECORDS_BYTES", 2_000)
    desk, laptop = await scene("desk", "laptop")
    for number in range(3):
        await desk.put(f"big {number}", {"text": "x" * size_bytes, "n": number})
    await desk.tell(laptop)
    good = desk.space.copy.digest
    for number, device in enumerate([desk, laptop]):
        meddle(device, "UPDATE origin SET horizon = seq")
        meddle(device, "DELETE FROM run")
        desk, laptop = (await device.reopen(), laptop) if not number else (desk, await device.reopen())
    meddle(laptop, "DELETE FROM record WHERE key IN ('big 0', 'big 2', '002')")
    await laptop.space.scrub.round()
    wire.connect(desk, laptop)
    await until(lambda: same(desk, laptop) and laptop.space.copy.digest == good)
    await sound(desk, laptop)
    assert not desk.switchboard.sessions(desk.space)[0].repairs._large._data
    for device in (desk, laptop):
        await device.close()
