"""What a relay holds, and for how long it has failed instead: for whoever drops what lies there."""

from __future__ import annotations

from peerd.core.clocks import Clock
from peerd.protocol.relay import names as relay_names
from peerd.protocol.relay.courier_settings import DAY_S, HOUR_S, MINUTE_S
from peerd.protocol.relay.courier_steps import CheckSnapshot
from tests.relay_simulation.bench import Bench
from tests.relay_simulation.device import KEY, Device


def held(device: Device) -> Clock:
    return device.courier.held(device.standing())


def failing_s(bench: Bench, device: Device) -> float:
    return device.courier.failing_s(device.moment(bench.now_s))


def test_what_heads_tell_of_is_held_and_nothing_before_they_were_seen() -> None:
    bench = Bench()
    a, b = bench.devices
    bench.write(a, count=3)
    bench.run(HOUR_S)
    assert held(a) == held(b) == {a.origin: 3}
    bench.write(a)
    assert held(a) == {a.origin: 3}
    b.restart()
    assert held(b) == {}


def test_what_our_head_no_longer_tells_of_is_not_held() -> None:
    bench = Bench(1)
    (a,) = bench.devices
    bench.write(a)
    bench.run(HOUR_S)
    assert held(a) == {a.origin: 1}
    a.courier.segment_differs(a.moment(bench.now_s))
    assert held(a) == {}
    bench.run(HOUR_S)
    assert held(a) == {a.origin: 1}
    bench.storage.objects.clear()
    a.courier.polled({}, a.moment(bench.now_s))
    assert held(a) == {}
    bench.run(HOUR_S)
    assert held(a) == {a.origin: 1}


def test_a_snapshot_holds_what_was_collected_once_its_parts_were_found() -> None:
    bench = Bench(snapshots=True, snapshot_from_bytes=50_000)
    a, b = bench.devices
    for _ in range(5):
        bench.write(a, size=20_000)
        bench.run(5 * MINUTE_S)
    bench.run(DAY_S)
    assert bench.head(a).oldest > 1
    assert bench.steps(a, CheckSnapshot)
    assert held(a) == held(b) == {a.origin: 5}
    b.restart()
    heads = {a.id: b._see(a.id, "t", bench.storage.objects[relay_names.head_name(KEY, a.id)][1])}
    b.courier.heads_fetched(heads, b.moment(bench.now_s))
    assert held(b) == {}, "nobody looked yet whether the snapshot that our head tells of is there"


def test_failing_counts_the_time_that_we_run_over_restarts_and_wall_clocks_that_jump() -> None:
    bench = Bench(1)
    (a,) = bench.devices
    bench.run(HOUR_S)
    assert failing_s(bench, a) == 0
    a.online = False
    for _ in range(4):
        bench.run(HOUR_S)
        a.restart()
        a.offset_ms += int(400 * DAY_S * 1000)
        a.wake_s = bench.now_s
    assert 3 * HOUR_S < failing_s(bench, a) < 4 * HOUR_S
    a.online = True
    bench.run(HOUR_S)
    assert failing_s(bench, a) == 0
