"""What a courier does when the relay is not what it remembers, or is not to be trusted."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import Any

import pytest
from msgspec.structs import replace

from peerd.core.chain import Run
from peerd.protocol.relay import names as relay_names
from peerd.protocol.relay.courier_settings import DAY_S, HOUR_S, MINUTE_S
from peerd.protocol.relay.courier_steps import (
    Apply,
    CheckSegments,
    Damage,
    FetchHeads,
    FetchSegments,
    MendRoster,
    PutHead,
    PutSegment,
    SeenHead,
    Step,
)
from peerd.protocol.relay.objects import SEGMENT_BYTES, Head, Segment, decode_segment, encode, first_chain, next_chain
from tests.relay_simulation.bench import Bench
from tests.relay_simulation.device import KEY, Device, Unreachable
from tests.relay_simulation.storage import Storage


def left_by_one() -> tuple[Bench, Device, Device]:
    """Two devices; what the first wrote is on the relay, the second is offline and has nothing."""
    bench = Bench()
    a, b = bench.devices
    b.online = False
    for _ in range(3):
        bench.write(a)
        bench.run(5 * MINUTE_S)
    return bench, a, b


def forge_head(bench: Bench, device: Device, head: Head) -> None:
    """A member writes whatever it likes."""
    name = relay_names.head_name(KEY, device.id)
    there = bench.storage.objects.get(name)
    bench.storage.replace(name, b"H\0" + bytes(8) + encode(head), there[0] if there else None)


def hostile_head(device: Device, **changes: object) -> Head:
    stream = device.id[:16]
    return replace(Head(1, 0, stream, 1, first_chain(stream)), **changes)


# ---- our own stream


def test_a_relay_that_lost_everything_is_filled_again() -> None:
    bench, a, b = left_by_one()
    first = bench.head(a).stream
    bench.storage.objects.clear()
    bench.run(HOUR_S)
    b.online = True
    bench.run(HOUR_S)
    assert b.copy.clock == a.copy.clock
    assert bench.head(a).stream != first
    assert ("relay-rolled-back", a.id) in bench.reports(a)


@pytest.mark.parametrize("insisted", [False, True])
def test_a_relay_that_loses_everything_again_is_filled_less_often_unless_a_person_insists(*, insisted: bool) -> None:
    bench, a, _ = left_by_one()
    bench.storage.objects.clear()
    bench.run(5 * MINUTE_S)
    assert bench.storage.objects
    bench.storage.objects.clear()
    if insisted:
        a.courier.sync_now(a.moment(bench.now_s))
        a.wake_s = bench.now_s
    bench.run(5 * MINUTE_S)
    assert bool(bench.storage.objects) is insisted
    assert (a.courier.status(a.standing(), a.moment(bench.now_s)).renews_at_ms is None) is insisted


def test_a_relay_that_went_back_gets_a_new_stream() -> None:
    bench, a, b = left_by_one()
    saved = bench.storage.saved()
    first = bench.head(a)
    bench.write(a)
    bench.run(HOUR_S)
    bench.storage.roll_back(saved)
    bench.run(HOUR_S)
    b.online = True
    bench.run(HOUR_S)
    assert b.copy.clock == a.copy.clock
    assert bench.head(a).stream != first.stream
    assert bench.head(a).counter > first.counter + 1
    assert ("relay-rolled-back", a.id) in bench.reports(a)


def test_a_relay_that_goes_back_to_the_same_state_twice_is_noticed_twice() -> None:
    bench, a, b = left_by_one()
    saved = bench.storage.saved()
    for _ in range(2):
        bench.write(a)
        bench.run(HOUR_S)
        bench.storage.roll_back(saved)
        bench.run(HOUR_S)
    b.online = True
    bench.run(HOUR_S)
    assert b.copy.clock == a.copy.clock
    head = bench.head(a)
    assert set(bench.segments(a)) == set(range(head.oldest, head.next))


def test_a_lost_head_is_written_again_without_a_new_stream() -> None:
    bench, a, _ = left_by_one()
    before = bench.head(a)
    del bench.storage.objects[relay_names.head_name(KEY, a.id)]
    bench.run(HOUR_S)
    assert bench.head(a).stream == before.stream
    assert bench.head(a).counter > before.counter
    assert bench.steps(a, CheckSegments)


def test_an_object_that_exists_with_other_bytes_is_not_ours() -> None:
    bench, a, b = left_by_one()
    stream, number = bench.head(a).stream, bench.head(a).next
    segment = b"S" + bytes(8) + encode(Segment(bytes(32), runs=[a.copy.log[0].run]))
    bench.storage.create(relay_names.segment_name(KEY, stream, number), segment)
    bench.write(a)
    b.online = True
    bench.run(HOUR_S)
    assert bench.head(a).stream != stream
    assert b.copy.clock == a.copy.clock


def test_a_restored_copy_begins_a_new_stream_and_loses_nothing() -> None:
    bench, a, b = left_by_one()
    backup = a.backup()
    bench.write(a)
    bench.run(HOUR_S)
    all_of_it = dict(a.copy.clock)
    first = bench.head(a).stream
    a.restore(backup, noticed=True)
    a.wake_s = bench.now_s
    bench.run(MINUTE_S)
    assert a.copy.clock == all_of_it, "its own lost transactions come back from its earlier stream"
    bench.write(a)
    bench.run(HOUR_S)
    b.online = True
    bench.run(HOUR_S)
    assert b.copy.clock == a.copy.clock
    assert bench.head(a).stream != first


def test_a_copy_that_went_back_unnoticed_overwrites_nothing() -> None:
    bench, a, b = left_by_one()
    backup = a.backup()
    for _ in range(3):
        bench.write(a)
        bench.run(5 * MINUTE_S)
    first = bench.head(a).stream
    a.restore(backup, noticed=False)
    bench.write(a)
    a.wake_s = bench.now_s
    b.online = True
    bench.run(3 * HOUR_S)
    assert b.copy.clock == a.copy.clock
    assert len(a.copy.clock) == 2
    assert bench.head(a).stream != first
    assert not bench.reports(a), "nobody else writes as this device"


def test_what_is_of_another_history_is_not_written_over_and_costs_looks_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until somebody else says that it has it."""
    bench, a, b = left_by_one()
    backup = a.backup()
    bench.write(a)
    bench.run(5 * MINUTE_S)
    left = bench.storage.objects[relay_names.head_name(KEY, a.id)]
    a.restore(backup, noticed=False)
    fetched, a.journal = a.courier.heads_fetched, []

    def told(*arguments: Any) -> None:
        fetched(*arguments)
        if a.courier.former is not None:
            a.courier.former_is_apart()

    monkeypatch.setattr(a.courier, "heads_fetched", told)  # as the engine does
    a.forged_by = a.id
    bench.write(a)
    a.wake_s = started_s = bench.now_s
    bench.run(DAY_S)
    assert bench.storage.objects[relay_names.head_name(KEY, a.id)] == left
    assert not bench.steps(a, PutSegment, started_s)
    assert len(a.journal) < 1_000
    b.online = True
    bench.run(2 * HOUR_S)
    assert bench.storage.objects[relay_names.head_name(KEY, a.id)] != left


def test_an_earlier_life_without_memory_is_read_before_it_is_overwritten() -> None:
    bench, a, _ = left_by_one()
    earlier = dict(a.copy.clock)
    a.copy = type(a.copy)(bench.truth)
    a.memory, a.outbox = b"", {}
    a.new_life()
    bench.run(HOUR_S)
    assert a.copy.clock == earlier
    assert bench.head(a).clock == earlier


def test_a_head_of_an_earlier_life_that_cannot_be_fetched_yet_is_not_overwritten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench, a, _ = left_by_one()
    backup = a.backup()
    bench.write(a)
    bench.run(HOUR_S)
    all_of_it = dict(a.copy.clock)
    a.restore(backup, noticed=True)
    a.wake_s = bench.now_s

    def look(step: Step, *arguments: Any) -> None:
        if isinstance(step, FetchHeads):
            raise Unreachable
        type(a)._look(a, step, *arguments)  # type: ignore[arg-type]  # it is one that looks

    with monkeypatch.context() as patched:
        patched.setattr(a, "_look", look)
        bench.run(HOUR_S)
    bench.run(HOUR_S)
    assert a.copy.clock == all_of_it


def test_a_complaint_that_proves_true_is_answered_by_a_new_stream() -> None:
    bench, a, b = left_by_one()
    stream = bench.head(a).stream
    del bench.storage.objects[relay_names.segment_name(KEY, stream, 2)]
    b.online = True
    bench.run(50 * MINUTE_S)
    assert b.copy.clock != a.copy.clock, "not found means not yet"
    assert bench.head(a).stream == stream
    bench.run(90 * MINUTE_S)
    assert bench.head(a).stream != stream
    assert b.copy.clock == a.copy.clock
    assert bench.head(b).lost == []


def test_who_runs_for_minutes_at_a_time_complains_all_the_same() -> None:
    """What was missing counts on over restarts, by the time that passed while running: no wall clock has a say."""
    bench, a, b = left_by_one()
    stream = bench.head(a).stream
    del bench.storage.objects[relay_names.segment_name(KEY, stream, 2)]
    b.online = True
    lost: list[bool] = []
    for _ in range(7):
        bench.run(12 * MINUTE_S)
        lost.append(bool(bench.head(b).lost))
        b.restart()
        b.offset_ms += int(DAY_S * 1000)
    assert lost[:4] == [False] * 4
    assert any(step.head.lost for step in bench.steps(b, PutHead))
    bench.run(20 * MINUTE_S)
    assert bench.head(a).stream != stream
    assert b.copy.clock == a.copy.clock


def test_a_complaint_about_what_is_there_is_looked_into_once() -> None:
    bench, a, b = left_by_one()
    head = bench.head(a)
    bench.devices.remove(b)
    forge_head(bench, b, hostile_head(b, lost=[(a.id, head.stream, 2)]))
    bench.run(10 * HOUR_S)
    looked = [step for step in bench.steps(a, FetchSegments) if step.names[0][0] == a.id]
    assert len(looked) == 1
    assert bench.head(a).stream == head.stream


def test_complaints_cannot_make_a_device_leave_everything_again_and_again() -> None:
    bench, a, b = left_by_one()
    bench.devices.remove(b)
    for counter in range(200):
        head = bench.head(a)
        forge_head(bench, b, hostile_head(b, counter=counter, lost=[(a.id, head.stream, head.next)]))
        bench.run(10 * MINUTE_S)
    assert len({step.stream for step in bench.steps(a, PutSegment)}) <= 10


class Lagging(Storage):
    """The relay as a device sees it to which what another one left there comes some hours later, or never."""

    def __init__(self, bench: Bench, writer: Device, hours: Iterable[float]) -> None:
        super().__init__(bench.storage.objects)
        self._bench = bench
        self._writer = writer
        self._hours = iter(hours)
        self._from_s: dict[tuple[bytes, int], float] = {}

    def lookup(self, names: list[str]) -> dict[str, tuple[str, bytes]]:
        for at_s, step in self._writer.journal or []:
            if isinstance(step, PutSegment) and (step.stream, step.number) not in self._from_s:
                self._from_s[step.stream, step.number] = at_s + next(self._hours, 0.0) * HOUR_S
        late = {relay_names.segment_name(KEY, *one) for one, at_s in self._from_s.items() if at_s > self._bench.now_s}
        return super().lookup([name for name in names if name not in late])


NEVER = 1e6  # hours


def lagging(*hours: Iterable[float]) -> tuple[Bench, Device]:
    """A device leaves twelve segments, which come to others as late as their hours say."""
    bench = Bench(1)
    (writer,) = bench.devices
    for one in hours:
        bench.join().storage = Lagging(bench, writer, one)
    for _ in range(12):
        bench.write(writer)
        bench.run(10 * MINUTE_S)
    assert bench.head(writer).next == 13
    return bench, writer


def begun(bench: Bench, writer: Device) -> list[int]:
    """On which days its streams began."""
    days: dict[bytes, int] = {}
    for at_s, step in writer.journal or []:
        if isinstance(step, PutSegment):
            days.setdefault(step.stream, int((at_s - 2 * HOUR_S) // DAY_S))
    assert bench.head(writer).stream in days
    return [max(day, 0) for day in days.values()]


def run(bench: Bench, seconds: float, writer: Device, *, restarts: bool) -> None:
    """For so long; if `restarts` the writer runs for some hours at a time."""
    ends_s = bench.now_s + seconds
    while bench.now_s < ends_s:
        bench.run(min(ends_s - bench.now_s, 7 * HOUR_S))
        if restarts:
            writer.restart()


@pytest.mark.parametrize("restarts", [False, True])
def test_what_arrives_little_by_little_for_days_is_not_left_again_meanwhile(*, restarts: bool) -> None:
    """In any order, as folders are synced."""
    hours = [5.0 * n for n in range(12)]
    Random(1).shuffle(hours)
    bench, writer = lagging(hours)
    run(bench, (max(hours) + 1) * HOUR_S, writer, restarts=restarts)
    assert bench.agree()
    assert begun(bench, writer) == [0]


@pytest.mark.parametrize("restarts", [False, True])
def test_what_never_arrives_is_left_again_after_a_day_and_then_more_seldom(*, restarts: bool) -> None:
    """All of it in one segment, which never arrives either; nor would what comes after it."""
    bench, writer = lagging([0.0] * 11 + [NEVER, NEVER])
    run(bench, 3.5 * DAY_S, writer, restarts=restarts)
    assert begun(bench, writer) == [0, 1, 3]
    assert bench.agree()


def test_a_segment_that_never_arrives_is_left_again_though_others_always_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peerd.protocol.relay.complaints._LONGEST_S", 3 * DAY_S)
    bench, writer = lagging([0.0] * 11 + [NEVER] + [3.0] * 100)
    while bench.now_s < 3.5 * DAY_S:
        bench.write(writer)
        bench.run(5 * HOUR_S)
    assert begun(bench, writer) == [0, 3]


def test_that_more_arrives_at_one_device_is_no_reason_to_leave_another_without() -> None:
    bench, writer = lagging([4.0 * n for n in range(12)], [0.0] * 11 + [NEVER])
    bench.run(1.5 * DAY_S)
    assert begun(bench, writer) == [0, 1]


def test_what_a_device_that_is_gone_lost_is_left_by_others() -> None:
    bench = Bench(devices=3)
    a, b, c = bench.devices
    c.online = False
    bench.write(a)
    bench.run(HOUR_S)
    assert b.copy.clock == a.copy.clock
    bench.devices.remove(a)
    for name in bench.segments(a).values():
        bench.storage.objects[name] = ("other", b"?" + bytes(100))
    c.online = True
    bench.run(5 * HOUR_S)
    assert c.copy.clock == b.copy.clock
    assert bench.head(b).covers == {a.origin: [(1, 1)]}
    assert bench.reports(c) == set()


def test_complaints_of_others_are_believed_by_who_runs_for_minutes_at_a_time() -> None:
    bench = Bench(devices=3)
    a, b, c = bench.devices
    c.online = False
    bench.write(a)
    bench.run(HOUR_S)
    assert b.copy.clock == a.copy.clock
    bench.devices.remove(a)
    for name in bench.segments(a).values():
        bench.storage.objects[name] = ("other", b"?" + bytes(100))
    c.online = True
    for _ in range(12):
        bench.run(15 * MINUTE_S)
        b.restart()
    bench.run(25 * MINUTE_S)
    assert c.copy.clock == b.copy.clock


def test_two_machines_with_one_key_lose_nothing_and_wear_nothing_out() -> None:
    bench, a, b = left_by_one()
    backup = a.backup()
    b.online = True
    twin = bench.join()
    bench.members.discard(twin.id)
    bench.active.discard(twin.id)
    twin.id = a.id
    twin.restore(backup, noticed=True)
    for _ in range(10):
        for device in (a, twin):
            bench.write(device)
        bench.run(HOUR_S)
    bench.run(DAY_S)
    assert b.copy.clock == a.copy.clock == twin.copy.clock
    assert {code for code, _ in bench.reports(a) | bench.reports(twin)} >= {"relay-cloned"}
    assert len(bench.steps(a, PutHead)) + len(bench.steps(twin, PutHead)) < 150
    assert len(bench.steps(a, PutSegment)) + len(bench.steps(twin, PutSegment)) < 80


def test_a_relay_that_goes_on_showing_the_head_that_was_replaced_is_asked_seldom(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Somebody who did not know that we are a member wrote there, and we do not see it yet."""
    bench, a, b = left_by_one()
    name = relay_names.head_name(KEY, a.id)
    before, real = bench.storage.objects[name], bench.storage.lookup
    bench.storage.replace(name, b"F" + bytes(32), before[0])

    def lookup(names: list[str]) -> dict[str, tuple[str, bytes]]:
        return real(names) | ({name: before} if name in names else {})

    with monkeypatch.context() as late:
        late.setattr(bench.storage, "lookup", lookup)
        since_s = bench.now_s
        bench.write(a)
        bench.run(5 * MINUTE_S)
        assert 3 <= len(bench.steps(a, PutHead, since_s)) <= 12
        assert len(bench.requests(a, since_s)) < 60
    b.online = True
    bench.run(HOUR_S)
    assert b.copy.clock == a.copy.clock


# ---- the objects of others


def test_numbers_that_were_read_and_now_hold_something_else_are_read_again() -> None:
    bench, a, b = left_by_one()
    b.online = True
    bench.run(MINUTE_S * 20)
    name = bench.segments(a)[2]
    assert b.copy.clock == a.copy.clock
    later = Run(a.origin, 5, (b"later",), b"")
    needed = Run(a.origin, 4, (b"needed",), b"")
    for run in (needed, later):
        a.copy.write(run, dict(a.copy.clock))
    head = bench.head(a)
    chain = first_chain(head.stream)
    for number in range(1, 5):
        name_there = relay_names.segment_name(KEY, head.stream, number)
        if number in {2, 4}:
            left = needed if number == 2 else later
            segment = Segment(chain, [bench.truth.announcements[a.origin]], [left])
            bench.storage.objects[name_there] = ("other", b"S" + bytes(8) + encode(segment))
        chain = next_chain(chain, bench.storage.objects[name_there][1])
    head = replace(head, chain=chain)
    covers = {a.origin: [(4, 5)]}
    bench.devices.remove(a)
    forge_head(bench, a, replace(head, counter=99, next=5, sizes=[*head.sizes, 100], covers=covers))
    assert name in bench.storage.objects
    bench.run(3 * HOUR_S)
    assert b.copy.clock == {a.origin: 5}


@pytest.mark.parametrize("writers", [1, 2])
def test_runs_in_pieces_that_cannot_go_on_are_not_fetched_in_turn(writers: int) -> None:
    """Of each of two a piece is lost: while one is held the other is not asked for again and again."""
    bench = Bench(writers + 1)
    reader = bench.devices[-1]
    reader.online = False
    lost: dict[str, tuple[str, bytes]] = {}
    for writer in [bench.devices[0], bench.devices[writers - 1]]:
        before = set(bench.storage.objects)
        bench.write(writer, size=2 * SEGMENT_BYTES)
        bench.run(10 * MINUTE_S)
        last = [name for number, name in sorted(bench.segments(writer).items()) if name not in before][-1]
        lost[last] = bench.storage.objects.pop(last)
    reader.online = True
    since_s = bench.now_s
    bench.run(20 * MINUTE_S)
    assert 3 < len(bench.steps(reader, FetchSegments, since_s)) < 40
    bench.storage.objects.update(lost)
    bench.run(HOUR_S)
    assert reader.copy.clock == bench.devices[0].copy.clock
    assert len(reader.copy.clock) == writers


def test_another_devices_older_head_is_reported_and_nothing_is_unlearnt() -> None:
    bench, a, b = left_by_one()
    saved = bench.storage.saved()
    bench.write(a)
    b.online = True
    bench.run(HOUR_S)
    clock = dict(b.copy.clock)
    a.online = False
    bench.storage.roll_back(saved)
    bench.run(HOUR_S)
    assert ("relay-rolled-back", a.id) in bench.reports(b)
    assert b.copy.clock == clock
    a.online = True
    bench.run(HOUR_S)
    assert ("relay-rolled-back", a.id) not in bench.reports(b)


def test_a_damaged_object_is_reported_and_treated_as_not_there() -> None:
    bench, a, b = left_by_one()
    name = bench.segments(a)[1]
    tag, data = bench.storage.objects[name]
    bench.storage.objects[name] = (tag, b"?" + data[1:])
    a.online, b.online = False, True
    bench.run(20 * MINUTE_S)
    assert ("relay-damaged", a.id) in bench.reports(b)
    a.online = True
    bench.run(3 * HOUR_S)
    assert b.copy.clock == a.copy.clock


def swap(bench: Bench, writer: Device, number: int) -> None:
    """Under this number of its stream another segment lies, with nothing in it that was not there before."""
    name = relay_names.segment_name(KEY, bench.head(writer).stream, number)
    before = decode_segment(bench.storage.objects[name][1][9:])
    run = replace(before.runs[0], first=1, entries=(b"again",))
    sealed = b"S" + bytes(8) + encode(Segment(before.previous, before.origins, [run]))
    bench.storage.objects[name] = ("other", sealed)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_swapped_segment_is_found_by_the_chain_and_left_again(number: int) -> None:
    """Everything in it is true, so nothing but the chain tells that something was taken away."""
    bench, a, b = left_by_one()
    swap(bench, a, number)
    a.online, b.online = False, True
    bench.run(20 * MINUTE_S)
    assert ("relay-swapped", a.id) in bench.reports(b)
    (report,) = (one for one in b.courier.reports(b.standing()) if one.code == "relay-swapped")
    assert report.text == f"segment {number} of its stream is not the one that it left there"
    assert b.copy.clock.get(a.origin, 0) == number - 1
    a.online = True
    bench.run(3 * HOUR_S)
    assert b.copy.clock == a.copy.clock
    assert bench.reports(a) == set()
    bench.run(25 * HOUR_S)
    assert bench.reports(b) == set()


def test_a_segment_that_was_swapped_behind_our_back_is_found_when_more_comes() -> None:
    """It was the last one, and read; what follows it names another one."""
    bench, a, b = left_by_one()
    b.online = True
    bench.run(20 * MINUTE_S)
    b.courier._parts.memory.known[a.id].chain = bytes(32)
    bench.write(a)
    bench.run(20 * MINUTE_S)
    assert b.copy.clock == a.copy.clock
    (report,) = (one for one in b.courier.reports(b.standing()) if one.code == "relay-swapped")
    assert report.text == "segment 4 of its stream does not go with the one before it"


def test_a_damaged_head_is_reported_and_its_owner_writes_another() -> None:
    bench, a, b = left_by_one()
    name = relay_names.head_name(KEY, a.id)
    bench.storage.objects[name] = ("other", b"?" + bytes(100))
    a.online, b.online = False, True
    bench.run(20 * MINUTE_S)
    assert ("relay-damaged", a.id) in bench.reports(b)
    a.online = True
    bench.run(HOUR_S)
    assert b.copy.clock == a.copy.clock
    assert ("relay-damaged", a.id) not in bench.reports(b)


def test_a_head_under_an_unknown_key_is_fetched_again_when_the_roster_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    bench, a, b = left_by_one()
    b.online = True
    monkeypatch.setattr(b, "_see", lambda tag, *_: SeenHead(tag, None, Damage.UNKNOWN_KEY))
    bench.run(HOUR_S)
    assert b.copy.clock == {}
    assert ("relay-unknown-key", a.id) in bench.reports(b)
    monkeypatch.undo()
    b.learn_removal(bytes(32))
    b.wake_s = bench.now_s
    bench.run(MINUTE_S)
    assert b.copy.clock == a.copy.clock
    assert not bench.reports(b)


@pytest.mark.parametrize("what", [Damage.FAREWELL, Damage.BEFORE])
def test_what_stands_there_of_before_a_device_came_back_is_not_told_to_people(
    what: Damage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It writes over it when it looks. If it has, and that is there again, the relay was set back."""
    bench, a, b = left_by_one()
    b.online = True
    monkeypatch.setattr(b, "_see", lambda _device, tag, _data: SeenHead(tag, None, what))
    bench.run(HOUR_S)
    assert b.copy.clock == {}
    assert not bench.reports(b)
    monkeypatch.undo()
    b.courier.roster_changed(b.moment(bench.now_s))
    b.wake_s = bench.now_s
    bench.run(MINUTE_S)
    assert b.copy.clock == a.copy.clock
    monkeypatch.setattr(b, "_see", lambda _device, tag, _data: SeenHead(tag, None, what))
    b.courier.roster_changed(b.moment(bench.now_s))
    b.wake_s = bench.now_s
    bench.write(a)
    bench.run(HOUR_S)
    assert bench.reports(b) == {("relay-rolled-back", a.id)}


def test_a_membership_that_ended_takes_its_head_with_it() -> None:
    """Whoever comes back has not what it had: nothing that it had acknowledged counts until it says so again."""
    bench, a, b = left_by_one()
    b.online = True
    bench.run(HOUR_S)
    assert b.courier.heads()[a.id].clock == a.copy.clock
    b.courier.roster_changed(b.moment(bench.now_s), [a.id])
    assert b.courier.heads() == {}
    b.wake_s = bench.now_s
    bench.run(HOUR_S)
    assert b.courier.heads()[a.id].clock == a.copy.clock
    assert not bench.reports(b)


def test_whoever_was_let_in_again_counts_its_heads_from_the_first_on() -> None:
    """It comes with an empty copy. Only then, and from there on, a smaller number than before is an older head."""
    bench, a, b = left_by_one()
    b.online = True
    bench.run(HOUR_S)
    a.online = False
    first = hostile_head(a)
    for ended in ([], [a.id]):
        forge_head(bench, a, first)
        b.courier.roster_changed(b.moment(bench.now_s), ended)
        b.wake_s = bench.now_s
        bench.run(HOUR_S)
        assert bench.reports(b) == (set() if ended else {("relay-rolled-back", a.id)})
    for counter in (2, 1):
        forge_head(bench, a, replace(first, counter=counter))
        bench.run(HOUR_S)
        assert bench.reports(b) == (set() if counter == 2 else {("relay-rolled-back", a.id)})


def test_whoever_was_let_in_again_while_we_were_away_counts_its_heads_from_the_first_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench, a, b = left_by_one()
    standing, admissions = b.standing, {a.id: b"the first one"}
    monkeypatch.setattr(b, "standing", lambda: replace(standing(), admissions=admissions))
    b.online = True
    bench.run(HOUR_S)
    a.online = False
    forge_head(bench, a, hostile_head(a))
    admissions[a.id] = b"the second one"
    b.restart()
    bench.run(HOUR_S)
    assert b.courier.heads()[a.id].counter == 1
    assert not bench.reports(b)
    forge_head(bench, a, hostile_head(a, counter=2))
    b.restart()
    bench.run(HOUR_S)
    forge_head(bench, a, hostile_head(a))
    b.restart()
    bench.run(HOUR_S)
    assert bench.reports(b) == {("relay-rolled-back", a.id)}


def test_a_part_of_a_roster_that_is_missing_is_asked_for_and_complained_about(monkeypatch: pytest.MonkeyPatch) -> None:
    """By whoever reads the head, rarer and rarer; its author looks for it, at most once an hour."""
    bench, a, b = left_by_one()
    part = b"roster part no 1"
    b.online = True
    see = b._see
    monkeypatch.setattr(b, "_see", lambda *there: replace(see(*there), missing=[part]))
    bench.run(40 * MINUTE_S)
    assert b.copy.clock == a.copy.clock
    assert 4 <= len(bench.times(b, FetchHeads)) <= 8
    assert bench.times(b, FetchHeads)[-1] > bench.now_s - 25 * MINUTE_S
    b.courier.sync_now(b.moment(bench.now_s))
    b.wake_s = bench.now_s
    bench.run(10)
    assert bench.times(b, FetchHeads)[-1] > bench.now_s - 10
    assert bench.head(b).lost == []
    b.restart()
    bench.run(HOUR_S)
    assert bench.head(b).lost == [(a.id, part, 0)]
    assert ("relay-lost", a.id) in bench.reports(b)
    assert len(bench.steps(a, MendRoster)) == 1
    monkeypatch.undo()
    bench.run(HOUR_S)
    assert bench.head(b).lost == []
    assert bench.reports(b) == set()
    assert len(bench.steps(a, MendRoster)) == 1


@pytest.mark.parametrize("was_known", [True, False])
def test_a_part_of_a_roster_without_which_a_head_says_nothing_is_complained_about(
    monkeypatch: pytest.MonkeyPatch,
    was_known: bool,  # noqa: FBT001 - a case
) -> None:
    """Its device was let in again, and the part would tell of that. Nobody else would tell it what is missing."""
    bench, a, b = left_by_one()
    part = b"roster part no 1"
    see = b._see
    b.online = True
    if was_known:
        bench.run(HOUR_S)
    monkeypatch.setattr(b, "_see", lambda _device, tag, _data: SeenHead(tag, None, Damage.INCOMPLETE, [part]))
    bench.write(a)
    bench.run(30 * MINUTE_S)
    b.restart()
    bench.run(50 * MINUTE_S)
    assert bench.head(b).lost == [(a.id, part, 0)]
    assert len(bench.steps(a, MendRoster)) == 1
    monkeypatch.setattr(b, "_see", see)
    bench.run(HOUR_S)
    assert bench.head(b).lost == []
    assert b.copy.clock == a.copy.clock


def test_whoever_mended_its_roster_writes_its_head_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """It names the parts as they are there now."""
    bench, a, b = left_by_one()
    b.online = True
    see = b._see
    monkeypatch.setattr(b, "_see", lambda *there: replace(see(*there), missing=[b"roster part no 1"]))
    bench.run(50 * MINUTE_S)
    before = bench.head(a).counter
    bench.run(HOUR_S)
    (mended_s,) = bench.times(a, MendRoster)
    assert bench.times(a, PutHead)[-1] == pytest.approx(mended_s, abs=5)
    assert bench.head(a).counter == before + 1


def test_what_is_refused_at_the_door_is_reported_and_holds_nothing_else_up() -> None:
    bench = Bench(devices=3)
    a, b, c = bench.devices
    a.online = False
    bench.write(b)
    bench.write(c)
    bench.run(HOUR_S)
    a.forged_by = b.id
    a.online = True
    bench.run(HOUR_S)
    assert ("relay-damaged", b.id) in bench.reports(a)
    assert c.origin in a.copy.clock
    assert b.origin not in a.copy.clock
    assert len(bench.steps(a, Apply)) < 20


def refused_for_long() -> tuple[Bench, Device, Device]:
    """The first has refused what the second left, for a day; now it would take it."""
    bench = Bench()
    a, b = bench.devices
    a.forged_by = b.id
    bench.write(b)
    bench.run(DAY_S)
    a.forged_by = b""
    bench.run(30 * MINUTE_S)
    assert not bench.agree()
    return bench, a, b


def test_what_was_refused_is_tried_again_when_a_person_wants_it() -> None:
    bench, a, _ = refused_for_long()
    a.courier.sync_now(a.moment(bench.now_s))
    a.wake_s = bench.now_s
    bench.run(10)
    assert bench.agree()


def test_what_was_refused_is_tried_again_when_nothing_differs_any_more() -> None:
    bench, a, b = refused_for_long()
    for device, taken in ((a, False), (b, True)):
        a.courier.agrees(device.id)
        a.wake_s = bench.now_s
        bench.run(10)
        assert bench.agree() is taken


# ---- a hostile member


def test_a_head_that_promises_what_is_not_there_stops_nobody() -> None:
    bench = Bench(devices=3)
    a, b, liar = bench.devices
    bench.devices.remove(liar)
    huge = (1 << 63) - 1
    for origin in (a.origin, b.origin):
        covers = {origin: [(1, huge)], bytes(16): [(huge, 1), (0, 0)]}
        forge_head(bench, liar, hostile_head(liar, covers=covers, counter=huge))
    bench.write(a)
    bench.write(b)
    bench.run(5 * HOUR_S)
    assert bench.agree()
    assert len(a.copy.clock) == 2


def test_sizes_and_numbers_that_are_not_true_cost_little() -> None:
    bench, a, liar = left_by_one()
    bench.devices.remove(liar)
    sizes = [(1 << 63) - 1, 0] * 25_000
    covers = {bytes(16): [(1, 5)]}
    forge_head(bench, liar, hostile_head(liar, next=50_001, sizes=sizes, covers=covers))
    since_s = bench.now_s
    bench.run(10 * HOUR_S)
    fetched = bench.steps(a, FetchSegments, since_s)
    assert len(fetched) < 500
    assert all(len(step.names) <= 32 for step in fetched)
    assert len(a.courier.memory()) < 20_000


def test_heads_without_end_of_everything_stay_bounded() -> None:
    bench, a, liar = left_by_one()
    bench.devices.remove(liar)
    for counter in range(30):
        covers = {bytes([counter, n]) * 8: [(3 * i + 1, 3 * i + 2) for i in range(8)] for n in range(200)}
        stream = bytes([counter]) * 16
        lost = [(a.id, stream, n) for n in range(1000)]
        forge_head(bench, liar, hostile_head(liar, counter=counter, stream=stream, covers=covers, lost=lost))
        bench.run(10 * MINUTE_S)
    assert len(a.courier.memory()) < 20_000
    assert len(a.courier._parts.picture.coverage) < 2_100


def test_what_an_earlier_life_left_of_a_run_is_given_up_when_the_rest_is_lost() -> None:
    """Else the head that tells of it would stand there for ever, and nothing could be left nor complained of."""
    bench = Bench(1)
    (a,) = bench.devices
    bench.write(a, size=1_500_000)
    bench.run(HOUR_S)
    before = bench.head(a)
    assert before.next - before.oldest >= 3
    a.copy.clock, a.copy.names, a.memory = {}, set(), b""
    a.copy.log.clear()
    a.new_life()
    pieces = [relay_names.segment_name(KEY, before.stream, number) for number in range(before.oldest, before.next)]
    del bench.storage.objects[pieces[1]]
    bench.run(HOUR_S - 5 * MINUTE_S)
    assert a.courier.former is not None
    assert bench.head(a).stream == before.stream
    bench.run(HOUR_S)
    assert a.courier.former is None
    assert bench.head(a).stream != before.stream
    bench.run(DAY_S)
    assert pieces[0] in bench.storage.objects, "what is there is left alone for long"
