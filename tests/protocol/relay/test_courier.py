"""A courier between devices that are never online together: what it leaves, when, and what it asks for."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any, NoReturn

import pytest

from peerd.protocol.relay import own_stream
from peerd.protocol.relay.courier import Courier
from peerd.protocol.relay.courier_settings import DAY_S, HOUR_S, MINUTE_S
from peerd.protocol.relay.courier_steps import (
    Apply,
    FetchHeads,
    FetchSegments,
    MakeSnapshot,
    Poll,
    PutHead,
    PutSegment,
    ReadLog,
    Sleep,
    Step,
)
from peerd.protocol.relay.objects import SEGMENT_BYTES
from tests.relay_simulation.bench import Bench
from tests.relay_simulation.device import SPACE, Unreachable


def test_what_one_leaves_another_finds_later() -> None:
    bench = Bench()
    a, b = bench.devices
    b.online = False
    bench.write(a)
    bench.run(HOUR_S)
    a.online, b.online = False, True
    bench.run(HOUR_S)
    assert b.copy.clock == a.copy.clock != {}


def test_our_own_is_left_after_a_little_quiet() -> None:
    bench = Bench()
    a, _ = bench.devices
    bench.run(60)
    started_s = bench.now_s
    for _ in range(3):
        bench.write(a)
        bench.run(3)
    bench.run(60)
    (at_s,) = bench.times(a, PutSegment)
    assert started_s + 6 + 5 <= at_s <= started_s + 40


def test_somebody_who_never_pauses_is_not_waited_for() -> None:
    bench = Bench()
    a, _ = bench.devices
    bench.run(60)
    for _ in range(60):
        bench.write(a)
        bench.run(2)
    assert 2 <= len(bench.times(a, PutSegment)) <= 12


def test_enough_of_our_own_is_left_at_once() -> None:
    bench = Bench(quiet_s=(25.0, 30.0))
    a, _ = bench.devices
    bench.run(60)
    bench.write(a, size=300_000)
    bench.run(5)
    assert bench.steps(a, PutSegment)


def test_what_others_made_is_left_only_if_nobody_else_does() -> None:
    bench = Bench(devices=3)
    a, b, c = bench.devices
    c.online = False
    a.online = False
    bench.write(a)
    bench.link(a, b)
    bench.link()
    bench.run(4.5 * MINUTE_S)
    assert not bench.steps(b, PutSegment)
    bench.run(12 * MINUTE_S)
    assert len(bench.steps(b, PutSegment)) == 1
    a.online = c.online = True
    bench.run(HOUR_S)
    assert not bench.steps(a, PutSegment), "its author finds it there"
    assert bench.agree()


def test_while_all_are_linked_there_is_no_hurry() -> None:
    bench = Bench()
    a, b = bench.devices
    bench.write(a)
    bench.link(a, b)
    bench.run(29 * MINUTE_S)
    assert not bench.steps(a, PutSegment)
    assert not bench.steps(b, PutSegment)
    bench.run(90 * MINUTE_S)
    assert len(bench.steps(a, PutSegment)) + len(bench.steps(b, PutSegment)) == 1


def test_a_person_who_asks_does_not_wait() -> None:
    bench = Bench(poll_min_s=300.0)
    a, b = bench.devices
    bench.run(5)
    bench.write(a)
    bench.link(a, b)
    a.courier.sync_now(a.moment(bench.now_s))
    a.wake_s = bench.now_s
    bench.run(10)
    assert bench.head(a).next == 2


def test_a_run_goes_whole_and_a_large_one_in_pieces() -> None:
    bench = Bench()
    a, b = bench.devices
    bench.write(a, size=3 * SEGMENT_BYTES)
    bench.write(a)
    bench.run(HOUR_S)
    segments = [step.segment for step in bench.steps(a, PutSegment)]
    pieces = [segment.piece for segment in segments if segment and segment.piece]
    assert [(piece.number, piece.count) for piece in pieces] == [(n, 4) for n in range(4)]
    assert b.copy.clock == a.copy.clock


def test_many_small_runs_share_segments_and_few_heads() -> None:
    bench = Bench()
    a, b = bench.devices
    for _ in range(300):
        bench.write(a, size=20_000)
    bench.run(10 * MINUTE_S)
    sizes = bench.head(a).sizes
    assert 12 <= len(sizes) <= 20
    assert max(sizes) < 512 << 10
    assert len(bench.steps(a, PutHead)) <= 5
    assert b.copy.clock == a.copy.clock


def test_very_many_small_segments_are_left_anew_as_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_stream, "SEGMENTS", 20)
    bench = Bench(gather_s=30.0)
    a, _ = bench.devices
    for _ in range(30):
        bench.write(a)
        bench.run(MINUTE_S)
    bench.run(DAY_S)
    assert 1 <= bench.head(a).next <= 15
    assert len({step.stream for step in bench.steps(a, PutSegment)}) == 2
    assert bench.agree()


def test_when_nothing_happens_a_look_at_the_heads_is_all() -> None:
    bench = Bench(poll_min_s=25.0, poll_max_s=600.0)
    a, b = bench.devices
    bench.write(a)
    bench.write(b)
    bench.run(3 * HOUR_S)
    quiet_s = bench.now_s
    bench.run(3 * HOUR_S)
    for device in (a, b):
        steps = bench.requests(device, quiet_s)
        assert {type(step) for step in steps} == {Poll}
        assert 15 <= len(steps) <= 23


def asked_for_changes(bench: Bench) -> list[list[type[Step]]]:
    """What each of two devices asks of the relay because the first one writes, beside the looks."""
    started_s = bench.now_s
    for _ in range(10):
        bench.write(bench.devices[0], size=2_000)
        bench.run(3)
    bench.run(HOUR_S)
    assert bench.agree()
    return [
        [type(step) for step in bench.requests(device, started_s) if not isinstance(step, Poll | ReadLog | Apply)]
        for device in bench.devices
    ]


def test_changes_cost_five_requests_beside_the_looks_and_later_four() -> None:
    """A segment and the head that speaks of it go together, and who gets a device's changes from here asks for them
    together, too.
    """
    bench = Bench()
    bench.run(HOUR_S)
    writer = [PutSegment, FetchHeads]
    assert asked_for_changes(bench) == [writer, [FetchHeads, FetchSegments, PutHead]]
    assert asked_for_changes(bench) == [writer, [FetchHeads, PutHead]]
    assert asked_for_changes(bench) == [writer, [FetchHeads, PutHead]]


def trickle(bench: Bench, for_s: float) -> float:
    """The first device writes a little again and again. Gives how long something waited at most to be left."""
    device = bench.devices[0]
    whole_s, longest_s = bench.now_s, 0.0
    for _ in range(int(for_s / 5)):
        bench.write(device)
        bench.run(5)
        if bench.head(device).clock == device.copy.clock:
            whole_s = bench.now_s
        longest_s = max(longest_s, bench.now_s - whole_s)
    return longest_s


@pytest.mark.parametrize("gather_s", [60.0, 300.0, 900.0])
def test_what_trickles_is_gathered_and_waits_for_a_bounded_time(gather_s: float) -> None:
    """And each time costs one request of the writer and one of the reader."""
    bench = Bench(gather_s=gather_s)
    a, b = bench.devices
    bench.run(HOUR_S)
    started_s = bench.now_s
    longest_s = trickle(bench, 2 * HOUR_S)
    assert gather_s / 2 < longest_s <= gather_s + 20
    left = bench.times(a, PutSegment, started_s)
    assert len(left) <= 2 * HOUR_S / gather_s + 8
    fetched = [step for step in bench.requests(b, started_s) if isinstance(step, FetchHeads | FetchSegments)]
    assert len(fetched) <= len(left) + 2
    written = [step for step in bench.requests(a, started_s) if not isinstance(step, Poll | ReadLog | FetchHeads)]
    assert len(written) == len(left), "the heads go along"
    bench.run(HOUR_S)
    assert bench.agree()


def test_after_a_pause_changes_are_left_soon_again() -> None:
    bench = Bench()
    a, _ = bench.devices
    bench.run(HOUR_S)
    trickle(bench, HOUR_S)
    bench.run(15 * MINUTE_S)
    bench.write(a)
    bench.run(35)
    assert bench.head(a).clock == a.copy.clock


def test_a_person_need_not_wait_for_what_is_gathered() -> None:
    bench = Bench()
    a, _ = bench.devices
    bench.run(HOUR_S)
    trickle(bench, HOUR_S)
    bench.write(a)
    a.courier.sync_now(a.moment(bench.now_s))
    a.wake_s = bench.now_s
    bench.run(10)
    assert bench.head(a).clock == a.copy.clock


def test_the_rest_of_very_much_is_not_gathered() -> None:
    """It came after segments that were full, so nobody gains by its waiting."""
    bench = Bench()
    a, _ = bench.devices
    bench.run(HOUR_S)
    for _ in range(60):
        bench.write(a, size=300_000)
        bench.run(5)
    bench.write(a)
    bench.run(35)
    assert bench.head(a).clock == a.copy.clock


def test_who_trickles_looks_when_it_has_left_something() -> None:
    """Nobody can answer to what is not there yet."""
    bench = Bench()
    a, _ = bench.devices
    bench.run(HOUR_S)
    trickle(bench, HOUR_S)
    started_s = bench.now_s
    trickle(bench, HOUR_S)
    looks = bench.times(a, Poll, started_s)
    assert len(looks) < HOUR_S / 40
    left_s = bench.times(a, PutSegment, started_s)[0]
    assert any(left_s + 15 < at_s < left_s + 35 for at_s in looks)


@pytest.mark.parametrize("done", [0, 1, 2])
def test_a_segment_and_a_head_of_which_only_some_arrive(done: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is lost, said twice or called damaged, whichever of the two operations was carried out."""
    bench = Bench()
    a, b = bench.devices
    bench.run(HOUR_S)
    bench.write(a)
    create, replace_, mishaps = bench.storage.create, bench.storage.replace, [True]

    def failing_create(name: str, data: bytes) -> bool:
        if mishaps and done == 0:
            raise Unreachable
        return create(name, data) if not mishaps or done == 1 else True

    def failing_replace(name: str, data: bytes, tag: str | None) -> str | None:
        if not mishaps:
            return replace_(name, data, tag)
        mishaps.clear()
        if done == 2:
            replace_(name, data, tag)
        raise Unreachable

    monkeypatch.setattr(bench.storage, "create", failing_create)
    monkeypatch.setattr(bench.storage, "replace", failing_replace)
    if done == 0:
        bench.run(40)
        mishaps.clear()
    bench.run(HOUR_S)
    assert not mishaps
    assert bench.agree()
    assert not bench.reports(a) | bench.reports(b)
    assert bench.head(a).next == 2


def test_what_comes_over_links_is_not_asked_for_ahead() -> None:
    bench = Bench()
    a, b = bench.devices
    bench.run(HOUR_S)
    for _ in range(2):
        asked_for_changes(bench)
    assert all(step.ahead for step in bench.steps(b, FetchHeads, bench.now_s - HOUR_S))
    for _ in range(2):
        bench.write(a)
        b.copy.meet(a.copy, frozenset())
        bench.run(HOUR_S)
    assert not any(step.ahead for step in bench.steps(b, FetchHeads, bench.now_s - HOUR_S))


def test_a_segment_that_is_not_there_yet_when_its_head_is_comes_later(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    a, b = bench.devices
    asked_for_changes(bench)
    late = replace(b.weather, late=1.0)
    with monkeypatch.context() as patched:
        patched.setattr(b, "weather", late)
        bench.write(a)
        bench.run(10 * MINUTE_S)
        assert b.copy.clock != a.copy.clock
    bench.run(20 * MINUTE_S)
    assert b.copy.clock == a.copy.clock


def test_looks_are_never_in_step() -> None:
    bench = Bench()
    a, _ = bench.devices
    bench.run(6 * HOUR_S)
    times = bench.times(a, Poll, 3 * HOUR_S)
    pauses = [round(later - earlier) for earlier, later in pairwise(times)]
    assert len(set(pauses)) > len(pauses) / 2
    assert all(480 <= pause <= 721 for pause in pauses)


def test_a_hint_is_followed_soon_and_not_for_ever() -> None:
    bench = Bench(poll_min_s=300.0)
    a, _ = bench.devices
    bench.run(20)
    since_s = bench.now_s
    for _ in range(100):
        a.courier.noticed(a.moment(bench.now_s))
        a.wake_s = bench.now_s
        bench.run(0.1)
    assert 1 <= len(bench.times(a, Poll, since_s)) <= 6


def test_what_comes_while_a_segment_is_left_waits_for_more() -> None:
    """Not in a segment of its own at once: a device that goes on writing leaves one in half a minute."""
    bench = Bench(gather_s=30.0)
    a, _ = bench.devices
    bench.run(HOUR_S)
    started_s = bench.now_s
    for _ in range(120):
        bench.write(a)
        bench.run(5)
    assert len(bench.steps(a, PutSegment, started_s)) <= 21
    assert bench.now_s - max(bench.times(a, PutSegment)) < 40


def test_what_our_log_does_not_have_any_more_is_not_looked_for_again_and_again() -> None:
    """It came by a snapshot, and the relay lacks it. Our own goes on being left as soon as ever."""
    bench = Bench()
    a, b = bench.devices
    b.online = False
    bench.write(a)
    bench.run(HOUR_S)
    a.copy.horizon = dict(a.copy.clock)
    a.copy.log.clear()
    bench.storage.objects.clear()
    bench.run(HOUR_S)
    started_s = bench.now_s
    bench.run(2 * DAY_S)
    assert len(bench.steps(a, ReadLog, started_s)) < 40
    bench.write(a)
    written_s = bench.now_s
    bench.run(5 * MINUTE_S)
    assert bench.times(a, PutSegment, written_s)


def test_acknowledgements_become_rare_while_there_is_more_and_more_to_acknowledge() -> None:
    """Each costs two requests. A single change is acknowledged at once, and the last of many too after a while."""
    bench = Bench()
    a, b = bench.devices
    bench.run(HOUR_S)
    started_s = bench.now_s
    for _ in range(60):
        bench.write(a)
        bench.run(MINUTE_S)
    assert len(bench.times(b, PutHead, started_s)) <= 12
    bench.run(20 * MINUTE_S)
    assert bench.head(b).clock == a.copy.clock
    bench.run(HOUR_S)
    bench.write(a)
    bench.run(20 * MINUTE_S)
    assert bench.head(b).clock == a.copy.clock
    came_s = max(bench.times(b, FetchHeads))
    assert max(bench.times(b, PutHead)) < came_s + 10


def test_acknowledgements_come_at_most_once_a_minute() -> None:
    """Where requests cost nothing not less often either."""
    bench = Bench(acknowledge_s=(MINUTE_S, MINUTE_S))
    a, b = bench.devices
    for _ in range(100):
        bench.write(a)
        bench.run(12)
    heads = bench.times(b, PutHead)
    assert len(heads) <= 21
    assert bench.head(b).clock == b.copy.clock or bench.now_s - heads[-1] < 90


def test_a_person_who_insists_is_acknowledged_to_at_once() -> None:
    """Once: what comes after it waits for its minute again."""
    bench = Bench()
    a, b = bench.devices
    bench.write(a)
    bench.run(HOUR_S)
    for insists in (True, False):
        bench.write(a)
        for device in (a, b):
            device.courier.sync_now(device.moment(bench.now_s))
            device.wake_s = bench.now_s
            bench.run(5)
            if not insists:
                break
        assert (bench.head(b).clock == b.copy.clock == a.copy.clock) == insists


def test_an_unchanged_head_is_not_fetched_again() -> None:
    bench = Bench()
    a, b = bench.devices
    bench.write(a)
    bench.run(HOUR_S)
    before = len(bench.steps(b, FetchHeads))
    bench.run(5 * HOUR_S)
    assert len(bench.steps(b, FetchHeads)) == before


def test_segments_that_hold_nothing_new_are_not_fetched() -> None:
    bench = Bench()
    a, b = bench.devices
    bench.write(a)
    b.online = False
    bench.run(HOUR_S)
    bench.link(a, b)
    b.online = True
    bench.run(HOUR_S)
    assert b.copy.clock == a.copy.clock
    assert not bench.steps(b, FetchSegments)


def test_a_new_epoch_or_roster_is_told_by_a_head() -> None:
    bench = Bench()
    a, _ = bench.devices
    bench.write(a)
    bench.run(HOUR_S)
    before = bench.head(a).counter
    a.learn_removal(bytes(32))
    a.wake_s = bench.now_s
    bench.run(60)
    assert bench.head(a).counter == before + 1


def test_a_removed_device_is_not_listened_to() -> None:
    bench = Bench(devices=3)
    a, b, c = bench.devices
    bench.run(60)
    a.online = b.online = False
    bench.write(c)
    bench.run(HOUR_S)
    a.learn_removal(c.id)
    b.learn_removal(c.id)
    a.online = b.online = True
    bench.run(HOUR_S)
    assert c.origin not in a.copy.clock
    assert not [step for step in bench.steps(a, FetchSegments, HOUR_S) if any(name[0] == c.id for name in step.names)]


def test_accepted_runs_of_a_removed_device_are_left_by_others() -> None:
    bench = Bench(devices=3)
    a, b, c = bench.devices
    b.online = False
    bench.write(c)
    bench.run(HOUR_S)
    assert c.origin in a.copy.clock
    a.learn_removal(c.id)
    bench.devices.remove(c)
    b.online = True
    bench.run(2 * HOUR_S)
    assert b.copy.clock == a.copy.clock
    assert c.origin in bench.head(a).covers


# ---- failures


def test_a_relay_that_asks_for_patience_gets_it_even_after_a_restart() -> None:
    bench = Bench()
    a, _ = bench.devices
    a.weather.throttled_until_s = 5 * HOUR_S
    bench.write(a)
    bench.run(10 * MINUTE_S)
    assert len(bench.requests(a, 0.0)) == 1
    a.restart()
    a.wake_s = bench.now_s
    bench.run(4 * HOUR_S)
    a.courier.sync_now(a.moment(bench.now_s))
    assert len(bench.requests(a, 0.0)) == 1
    status = a.courier.status(a.standing(), a.moment(bench.now_s))
    assert status.paused_until_ms is not None
    bench.run(3 * HOUR_S)
    assert bench.head(a).next == 2


def test_an_unreachable_relay_is_tried_less_and_less_often() -> None:
    bench = Bench()
    a, _ = bench.devices
    a.online = False
    bench.run(6 * HOUR_S)
    times = bench.times(a, Poll)
    assert 20 <= len(times) <= 120
    assert max(later - earlier for earlier, later in pairwise(times)) <= 900


@pytest.mark.parametrize("code", ["relay-full", "relay-unreachable"])
def test_a_relay_that_takes_nothing_is_still_read(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And offered something less and less often, however well each look goes."""
    bench = Bench()
    a, b = bench.devices
    bench.run(30)
    real = a._on_the_way

    def full(chance: float, now_s: float) -> None:
        if isinstance((a.journal or [])[-1][1], (PutSegment, PutHead)):
            raise Unreachable(code)
        real(chance, now_s)

    monkeypatch.setattr(a, "_on_the_way", full)
    bench.write(a)
    since_s = bench.now_s
    bench.run(5 * MINUTE_S)
    bench.write(b)
    bench.run(HOUR_S)
    assert b.origin in a.copy.clock
    assert a.origin not in b.copy.clock
    assert a.courier.status(a.standing(), a.moment(bench.now_s)).trouble == code
    assert len(bench.steps(a, PutSegment)) < 40
    assert len(bench.requests(a, since_s)) < 120
    monkeypatch.undo()
    bench.run(HOUR_S)
    assert a.origin in b.copy.clock
    assert not a.courier.status(a.standing(), a.moment(bench.now_s)).trouble


def test_a_snapshot_that_always_fails_is_tried_seldom_and_stops_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(snapshots=True, snapshot_from_bytes=1)
    a, b = bench.devices

    def failing(*_: object) -> NoReturn:
        raise Unreachable

    monkeypatch.setattr(a, "_make_snapshot", failing)
    monkeypatch.setattr(b, "_make_snapshot", failing)
    for _ in range(30):
        bench.write(a)
        bench.run(4 * MINUTE_S)
        assert b.copy.clock == a.copy.clock
    assert 3 <= len(bench.steps(a, MakeSnapshot)) <= 12


def test_what_failed_and_is_not_wanted_any_more_is_no_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(snapshots=True, snapshot_from_bytes=1)
    a, b = bench.devices
    b.online = False

    def failing(*_: object) -> NoReturn:
        raise Unreachable("relay-full")

    monkeypatch.setattr(a, "_make_snapshot", failing)
    bench.write(a)
    while not a.courier.trouble:
        bench.run(0.1)
    assert bench.steps(a, MakeSnapshot)
    bench.run(0.1)
    assert a.courier.trouble == "relay-full"
    monkeypatch.setattr(a.courier._parts.making, "make", lambda *_: None)
    bench.run(HOUR_S)
    assert not a.courier.trouble


def test_a_request_that_always_fails_stops_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    a, b = bench.devices
    bench.write(b)
    real = a._look

    def look(step: Step, *arguments: Any) -> None:
        if isinstance(step, FetchSegments):
            raise Unreachable("relay-damaged")
        real(step, *arguments)  # type: ignore[arg-type]  # it is one that looks

    monkeypatch.setattr(a, "_look", look)
    bench.run(10 * MINUTE_S)
    bench.write(a)
    bench.run(HOUR_S)
    assert a.origin in b.copy.clock


def test_answers_that_get_lost_cost_repetition_only() -> None:
    bench = Bench()
    a, b = bench.devices
    a.weather.lose_after = b.weather.lose_after = 0.5
    for _ in range(10):
        bench.write(a)
        bench.write(b)
        bench.run(10 * MINUTE_S)
    bench.run(HOUR_S)
    assert bench.agree()
    stream = bench.head(a).stream
    assert {step.stream for step in bench.steps(a, PutSegment)} == {stream}, "no new stream was needed"


def test_a_restart_in_the_middle_goes_on_with_the_same_bytes() -> None:
    bench = Bench()
    a, b = bench.devices
    a.weather.lose_after = 1.0
    bench.write(a)
    bench.run(3 * MINUTE_S)
    a.weather.lose_after = 0.0
    a.restart()
    a.wake_s = bench.now_s
    bench.run(HOUR_S)
    assert b.copy.clock == a.copy.clock
    assert len({step.stream for step in bench.steps(a, PutSegment)}) == 1


@pytest.mark.parametrize("data", [None, b"", b"\xc1", b"\x80", b"nonsense" * 100])
def test_memory_that_makes_no_sense_counts_as_none(data: bytes | None) -> None:
    bench = Bench(devices=1)
    (a,) = bench.devices
    a.courier = Courier(SPACE, a.id, bench.settings, data)
    bench.write(a)
    bench.run(HOUR_S)
    assert bench.head(a).next == 2


def test_a_lone_device_leaves_what_it_has() -> None:
    bench = Bench(devices=1)
    (a,) = bench.devices
    bench.write(a)
    bench.run(HOUR_S)
    assert bench.head(a).covers == {a.origin: [(1, 1)]}
    newcomer = bench.join()
    bench.run(HOUR_S)
    assert newcomer.copy.clock == a.copy.clock


def test_the_status_says_what_waits_in_each_direction() -> None:
    bench = Bench()
    a, b = bench.devices
    bench.run(60)
    b.online = False
    bench.write(a, count=3)
    a.online = False
    bench.run(10)
    status = a.courier.status(a.standing(), a.moment(bench.now_s))
    assert status.to_leave.transactions == 3
    a.online = True
    bench.run(HOUR_S)
    status = a.courier.status(a.standing(), a.moment(bench.now_s))
    assert status.to_leave.transactions == 0
    assert status.segments == 1
    assert status.heads == 1
    assert status.held_bytes > 0
    assert status.last_success_ms is not None
    assert status.reports == ()


def test_a_sleep_is_never_over_at_once() -> None:
    bench = Bench()
    a, b = bench.devices
    bench.write(a)
    bench.write(b)
    bench.run(3 * HOUR_S)
    for device in bench.devices:
        sleeps = [(at_s, step.until_s) for at_s, step in device.journal or [] if isinstance(step, Sleep)]
        assert all(until_s >= at_s + 0.4 for at_s, until_s in sleeps)
