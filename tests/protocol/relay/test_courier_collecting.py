"""Snapshots on a relay, and what may go from it."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from peerd.protocol.relay import names as relay_names
from peerd.protocol.relay.courier_settings import DAY_S, HOUR_S, MINUTE_S
from peerd.protocol.relay.courier_steps import (
    CheckSnapshot,
    Delete,
    FetchSegments,
    LeaveFarewell,
    MakeSnapshot,
    PutHead,
    Standing,
    TakeSnapshot,
)
from tests.relay_simulation.bench import Bench
from tests.relay_simulation.device import KEY, Device


def grown(devices: int = 2, **settings: object) -> Bench:
    """Devices that have each other's transactions, more of them than a snapshot is large."""
    bench = Bench(devices, **{"snapshots": True, "snapshot_from_bytes": 50_000, **settings})
    for _ in range(5):
        for device in bench.devices:
            bench.write(device, size=8_000)
        bench.run(5 * MINUTE_S)
    return bench


def makers(bench: Bench) -> list[Device]:
    return [device for device in bench.devices if bench.head(device).snapshot is not None]


def test_one_snapshot_is_made_when_the_segments_outgrow_it() -> None:
    bench = grown(3)
    bench.run(2 * HOUR_S)
    assert len(makers(bench)) == 1
    assert sum(len(bench.steps(device, MakeSnapshot)) for device in bench.devices) <= 2


def test_no_snapshot_is_made_by_whoever_may_not_and_then_nothing_is_collected() -> None:
    bench = grown(snapshots=False)
    bench.run(2 * DAY_S)
    assert not makers(bench)
    for device in bench.devices:
        assert not bench.steps(device, Delete)
        assert bench.head(device).oldest == 1


def test_segments_go_when_all_have_them_and_a_snapshot_covers_them() -> None:
    bench = grown()
    bench.run(DAY_S)
    for device in bench.devices:
        head = bench.head(device)
        assert set(bench.segments(device)) == set(range(head.oldest, head.next))
        assert head.oldest > 1
    assert bench.storage.size_bytes < 120_000


def test_segments_stay_while_an_active_member_lacks_them() -> None:
    bench = grown(3)
    bench.devices[2].online = False
    mark = {device.id: bench.head(device).next for device in bench.devices}
    for _ in range(10):
        for device in bench.devices[:2]:
            bench.write(device, size=8_000)
        bench.run(5 * MINUTE_S)
    bench.run(2 * DAY_S)
    assert makers(bench)
    assert all(bench.head(device).oldest <= mark[device.id] for device in bench.devices)
    bench.active.discard(bench.devices[2].id)
    bench.run(HOUR_S)
    assert all(bench.head(device).oldest > mark[device.id] for device in bench.devices[:2])
    bench.devices[2].online = True
    bench.run(HOUR_S)
    assert bench.agree(), "it takes the snapshot"
    assert bench.steps(bench.devices[2], TakeSnapshot)


def test_beyond_the_size_limit_a_snapshot_is_enough() -> None:
    bench = grown(3, max_bytes=150_000)
    bench.devices[2].online = False
    for _ in range(20):
        for device in bench.devices[:2]:
            bench.write(device, size=8_000)
        bench.run(5 * MINUTE_S)
    bench.run(2 * DAY_S)
    assert bench.storage.size_bytes < 300_000


def test_a_head_says_so_before_anything_it_spoke_of_is_removed() -> None:
    bench = grown()
    bench.run(DAY_S)
    for device in bench.devices:
        journal = [step for _, step in device.journal or [] if isinstance(step, PutHead | Delete)]
        oldest = 1
        for step in journal:
            if isinstance(step, PutHead):
                oldest = step.head.oldest
            else:
                assert all(number < oldest for _, number in step.segments)


def test_a_newcomer_starts_from_the_snapshot_and_goes_on_with_segments() -> None:
    bench = grown()
    bench.run(DAY_S)
    bench.write(bench.devices[0])
    bench.run(HOUR_S)
    newcomer = bench.join()
    bench.run(HOUR_S)
    assert bench.agree()
    assert len(bench.steps(newcomer, TakeSnapshot)) == 1
    assert bench.steps(newcomer, FetchSegments)


def test_a_snapshot_that_is_not_there_is_not_rested_on() -> None:
    bench = grown()
    bench.run(DAY_S)
    (maker,) = makers(bench)
    manifest = bench.head(maker).snapshot
    assert manifest is not None
    del bench.storage.objects[relay_names.part_name(KEY, manifest.id, 1)]
    newcomer = bench.join()
    bench.run(3 * HOUR_S)
    assert bench.agree()
    assert bench.steps(newcomer, TakeSnapshot)
    assert all(bench.head(device).snapshot != manifest for device in bench.devices)


def test_a_snapshot_is_looked_at_before_anything_is_given_up_for_it() -> None:
    bench = grown()
    bench.run(DAY_S)
    for device in bench.devices:
        first_delete_s = min(bench.times(device, Delete))
        assert min(bench.times(device, CheckSnapshot)) < first_delete_s


def test_a_better_snapshot_takes_the_place_of_an_older_one() -> None:
    bench = grown()
    bench.run(DAY_S)
    for _ in range(20):
        for device in bench.devices:
            bench.write(device, size=8_000)
        bench.run(5 * MINUTE_S)
    bench.run(2 * DAY_S)
    assert sum(len(bench.steps(device, MakeSnapshot)) for device in bench.devices) >= 2
    assert len(makers(bench)) == 1
    parts = [name for name, (_, data) in bench.storage.objects.items() if data[:1] == b"P"]
    assert len(parts) == 2


def test_a_snapshot_that_was_begun_and_never_finished_is_removed() -> None:
    bench = grown(1)
    (a,) = bench.devices
    bench.write(a, size=30_000)
    bench.run(2 * MINUTE_S)
    a.weather.lose_after = 0.6
    bench.run(2 * HOUR_S)
    a.weather.lose_after = 0.0
    bench.run(2 * DAY_S)
    assert len(bench.steps(a, MakeSnapshot)) >= 2
    parts = [name for name, (_, data) in bench.storage.objects.items() if data[:1] == b"P"]
    assert len(parts) == 2


def test_what_our_log_no_longer_has_comes_back_as_a_snapshot() -> None:
    bench = grown()
    bench.run(DAY_S)
    for device in bench.devices:
        device.copy.horizon = dict(device.copy.clock)
        device.copy.log.clear()
    bench.storage.objects.clear()
    bench.run(3 * HOUR_S)
    bench.join()
    bench.run(3 * HOUR_S)
    assert bench.agree()


def test_what_former_members_left_goes_after_a_month() -> None:
    bench = Bench(devices=3)
    a, _, c = bench.devices
    bench.write(c)
    bench.run(HOUR_S)
    names = list(bench.segments(c).values())
    head = relay_names.head_name(KEY, c.id)
    bench.devices.remove(c)
    for device in bench.devices:
        device.learn_removal(c.id)
    bench.run(29 * DAY_S)
    assert all(name in bench.storage.objects for name in names)
    bench.run(2 * DAY_S)
    assert not any(name in bench.storage.objects for name in names)
    bench.run(28 * DAY_S)
    assert bench.storage.objects[head][1] == b"F" + c.id, "it is told in the place of its head"
    bench.run(2 * DAY_S)
    assert head not in bench.storage.objects
    assert c.origin in bench.head(a).covers or c.origin in bench.head(bench.devices[1]).covers
    assert a.courier._parts.memory.litter == []


def test_who_was_removed_is_told_once_and_after_everybody_else_could_know() -> None:
    bench = Bench(devices=3)
    a, b, c = bench.devices
    bench.write(c)
    bench.run(HOUR_S)
    removed_s = bench.now_s
    bench.members.discard(c.id)
    a.learn_removal(c.id)
    bench.run(HOUR_S)
    assert c.gone
    (told_s,) = bench.times(a, LeaveFarewell)
    assert any(removed_s < at_s < told_s for at_s in bench.times(a, PutHead))
    bench.run(DAY_S)
    assert len(bench.steps(a, LeaveFarewell)) == 1
    assert len(bench.steps(b, LeaveFarewell)) <= 1


def test_who_was_removed_again_while_we_were_away_is_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """And what it left lies there for as long as after the first removal."""
    bench = Bench()
    a, c = bench.devices
    standing = a.standing
    admissions = {c.id: b"the first one"}
    monkeypatch.setattr(a, "standing", lambda: replace(standing(), admissions=admissions))
    bench.write(c)
    bench.run(HOUR_S)
    (left,) = bench.segments(c).values()
    bench.devices.remove(c)
    bench.members.discard(c.id)
    a.learn_removal(c.id)
    bench.run(20 * DAY_S)
    assert len(bench.steps(a, LeaveFarewell)) == 1
    a.restart()
    admissions[c.id] = b"the second one"
    bench.run(20 * DAY_S)
    assert len(bench.steps(a, LeaveFarewell)) == 2
    assert left in bench.storage.objects
    bench.run(11 * DAY_S)
    assert left not in bench.storage.objects


def test_who_writes_on_where_it_would_be_told_is_not_told_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    a, b = bench.devices
    bench.write(b)
    bench.run(HOUR_S)
    bench.devices.remove(b)
    bench.members.discard(b.id)
    a.learn_removal(b.id)
    replace = bench.storage.replace

    def taken(name: str, data: bytes, tag: str | None) -> str | None:
        return None if data[:1] == b"F" else replace(name, data, tag)

    monkeypatch.setattr(bench.storage, "replace", taken)
    started_s = bench.now_s
    bench.run(HOUR_S)
    assert 2 <= len(bench.steps(a, LeaveFarewell, started_s)) <= 12
    monkeypatch.undo()
    bench.run(HOUR_S)
    assert not a.courier._parts.collecting.farewell(a.standing(), a.moment(bench.now_s))


def test_what_waits_for_a_former_member_is_not_removed_from_one_that_is_back() -> None:
    bench = Bench(devices=3)
    a, _, c = bench.devices
    bench.write(c)
    bench.run(HOUR_S)
    bench.devices.remove(c)
    bench.members.discard(c.id)
    a.learn_removal(c.id)
    bench.run(31 * DAY_S)
    assert [litter.kind for litter in a.courier._parts.memory.litter] == ["head"]
    bench.members.add(c.id)
    a.removed = frozenset()
    bench.run(HOUR_S)
    assert a.courier._parts.memory.litter == []


def test_an_old_stream_of_ours_goes_when_the_new_one_stands() -> None:
    bench = Bench()
    a, b = bench.devices
    bench.write(a)
    bench.run(HOUR_S)
    old = list(bench.segments(a).values())
    backup = a.backup()
    a.restore(backup, noticed=True)
    a.wake_s = bench.now_s
    bench.run(10 * MINUTE_S)
    assert all(name in bench.storage.objects for name in old)
    bench.run(2 * DAY_S)
    assert not any(name in bench.storage.objects for name in old)
    assert b.copy.clock == a.copy.clock


def test_a_snapshot_for_strangers_stands_beside_a_larger_one_of_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    """What they left is of another history: it covers nothing of ours, and nothing of ours gives way to it."""
    bench = Bench(snapshots=True, snapshot_from_bytes=1)
    a, b = bench.devices
    a.online, a.forged_by = False, b.id  # nothing of it passes the door
    bench.write(b, count=50)
    bench.run(DAY_S)
    assert bench.head(b).snapshot is not None
    standing = a.standing

    def apart() -> Standing:
        return replace(standing(), strangers=frozenset({b.id}), wanted={a.origin: 1})

    monkeypatch.setattr(a, "standing", apart)
    a.online, b.online = True, False
    bench.write(a)
    bench.run(DAY_S)
    assert len(bench.steps(a, MakeSnapshot)) == 1
    assert not bench.steps(a, TakeSnapshot)
    assert bench.head(a).snapshot is not None
    assert a.courier.held(apart()) == {a.origin: 1}
    assert bench.segments(a), "they acknowledge what is not ours"
