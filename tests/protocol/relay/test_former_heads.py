"""Heads of devices that were removed: looked at, for a while, and for nothing but what their rosters say."""

from __future__ import annotations

from msgspec.structs import replace

from peerd.protocol.relay.courier_settings import DAY_S, HOUR_S
from peerd.protocol.relay.courier_steps import FetchHeads, FetchSegments, Poll
from peerd.protocol.relay.former_heads import FormerHeads
from peerd.protocol.relay.memory import Memory
from peerd.protocol.relay.running_time import RunningTime
from tests.relay_simulation.bench import Bench
from tests.relay_simulation.device import Device


def with_a_former_member() -> tuple[Bench, Device, Device]:
    """The second one never hears that it was removed, and goes on writing heads."""
    bench = Bench()
    a, b = bench.devices
    bench.write(b)
    bench.run(HOUR_S)
    bench.members.discard(b.id)
    a.learn_removal(b.id)
    a.courier._parts.memory.known[b.id].told = True
    return bench, a, b


def looks(bench: Bench, device: Device, at: Device, since_s: float) -> int:
    return sum(at.id in step.devices for step in bench.steps(device, FetchHeads, since_s))


def test_it_is_looked_at_when_it_changed_and_nothing_of_it_is_used() -> None:
    bench, a, b = with_a_former_member()
    bench.run(HOUR_S)
    since_s = bench.now_s
    bench.run(HOUR_S)
    assert not looks(bench, a, b, since_s), "it has not changed"
    bench.write(b)
    since_s = bench.now_s
    bench.run(2 * HOUR_S)
    assert looks(bench, a, b, since_s) >= 1
    assert all(name[0] != b.id for step in bench.steps(a, FetchSegments, since_s) for name in step.names)
    assert not any(step.ahead for step in bench.steps(a, FetchHeads, since_s))
    assert a.copy.clock[b.origin] < b.copy.clock[b.origin]
    assert not bench.reports(a)


def test_one_that_is_written_again_and_again_is_looked_at_twice_an_hour() -> None:
    bench, a, b = with_a_former_member()
    for _ in range(60):
        bench.write(b)
        bench.run(HOUR_S / 6)
    since_s = bench.now_s
    for _ in range(120):
        bench.write(b)
        bench.run(HOUR_S / 60)
    assert 1 <= looks(bench, a, b, since_s) <= 5


def test_after_sixty_days_it_is_looked_at_no_more_also_over_restarts() -> None:
    bench, a, b = with_a_former_member()
    bench.run(30 * DAY_S)
    a.restart()
    bench.run(29 * DAY_S)
    assert b.id in bench.steps(a, Poll)[-1].devices
    bench.run(2 * DAY_S)
    assert b.id not in bench.steps(a, Poll)[-1].devices
    a.restart()
    bench.run(DAY_S)
    assert b.id not in bench.steps(a, Poll)[-1].devices


def test_days_for_which_a_device_was_off_do_not_count() -> None:
    """And no clock that is wrong: it has not looked in them."""
    bench, a, b = with_a_former_member()
    bench.run(DAY_S)
    a.offset_ms += int(100 * DAY_S * 1000)
    a.restart()
    bench.run(DAY_S)
    assert b.id in bench.steps(a, Poll)[-1].devices


def test_one_that_is_a_member_again_is_forgotten_and_begins_anew_when_it_is_removed_again() -> None:
    _, a, b = with_a_former_member()
    memory, standing = Memory(), a.standing()
    heads = FormerHeads(memory, RunningTime(memory), a.settings)
    heads.update(standing, a.moment(0.0))
    heads.told_nothing(b.id, 0.0)
    assert (heads.devices, heads.worth(b.id, 1.0)) == ([b.id], False)
    heads.update(replace(standing, removed=()), a.moment(1.0))
    assert (heads.devices, heads.worth(b.id, 1.0), memory.removed) == ([], True, {})
    heads.update(standing, a.moment(61 * DAY_S))
    assert heads.devices == [b.id]
    assert heads.worth(b.id, 61 * DAY_S)
