"""Snapshots on a relay that shows objects late, loses them, or holds what one copy cannot use."""

from __future__ import annotations

import pytest

from peerd.protocol.relay import names as relay_names
from peerd.protocol.relay.courier_settings import DAY_S, HOUR_S, MINUTE_S
from peerd.protocol.relay.courier_steps import CheckSnapshot, MakeSnapshot, TakeSnapshot
from peerd.protocol.relay.stream_reader import COMPLAIN_S
from tests.relay_simulation.bench import Bench
from tests.relay_simulation.device import KEY, Device


def grown() -> tuple[Bench, Device]:
    """A device whose first segments have gone for a snapshot."""
    bench = Bench(1, snapshots=True, snapshot_from_bytes=50_000)
    (a,) = bench.devices
    for _ in range(10):
        bench.write(a, size=10_000)
        bench.run(5 * MINUTE_S)
    bench.run(DAY_S)
    assert bench.head(a).oldest > 1
    return bench, a


def take_parts_away(bench: Bench, maker: Device) -> dict[str, tuple[str, bytes]]:
    """Those of the snapshot that its head names."""
    manifest = bench.head(maker).snapshot
    assert manifest is not None
    names = [relay_names.part_name(KEY, manifest.id, number) for number in range(manifest.parts)]
    return {name: bench.storage.objects.pop(name) for name in names}


@pytest.mark.parametrize("late_s", [MINUTE_S, 2 * HOUR_S])
def test_parts_that_come_after_the_head_are_waited_for(late_s: float) -> None:
    """Also longer than it takes to complain, and though their maker is away."""
    bench, a = grown()
    a.online = False
    parts = take_parts_away(bench, a)
    b = bench.join()
    bench.run(late_s)
    assert b.copy.clock != a.copy.clock
    assert (("relay-lost", a.id) in bench.reports(b)) == (late_s > COMPLAIN_S)
    bench.storage.objects.update(parts)
    bench.run(HOUR_S)
    assert b.copy.clock == a.copy.clock
    assert bench.reports(b) == set()


def test_a_person_need_not_wait_until_they_are_looked_for_again() -> None:
    bench, a = grown()
    a.online = False
    parts = take_parts_away(bench, a)
    b = bench.join()
    bench.run(5 * HOUR_S)
    tried = len(bench.steps(b, TakeSnapshot))
    assert tried <= 20
    bench.storage.objects.update(parts)
    b.courier.sync_now(b.moment(bench.now_s))
    b.wake_s = bench.now_s
    bench.run(MINUTE_S)
    assert b.copy.clock == a.copy.clock


@pytest.mark.parametrize("harm", ["lost", "damaged"])
def test_one_that_is_gone_or_damaged_is_left_again(harm: str) -> None:
    """Its maker looks before it believes that."""
    bench, a = grown()
    parts = take_parts_away(bench, a)
    if harm == "damaged":
        bench.storage.objects.update({name: (tag, b"?" + data) for name, (tag, data) in parts.items()})
    b = bench.join()
    began_s = bench.now_s
    bench.run(COMPLAIN_S - 5 * MINUTE_S)
    assert not bench.steps(a, CheckSnapshot, began_s)
    bench.run(3 * HOUR_S)
    assert [step.contents for step in bench.steps(a, CheckSnapshot, began_s)][:1] == [True]
    assert len(bench.steps(a, MakeSnapshot, began_s)) == 1
    assert b.copy.clock == a.copy.clock
    assert bench.reports(b) == set()


def test_one_that_a_device_cannot_use_stays_for_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """A day later it is made again, in case that helps."""
    bench, a = grown()
    first = bench.head(a).snapshot
    b = bench.join()
    began_s = bench.now_s

    def refuse(_step: object, moment: object, _now_s: float) -> None:
        b.courier.snapshot_taken(moment, complete=False, refused=True)  # type: ignore[arg-type]  # a Moment

    monkeypatch.setattr(b, "_take_snapshot", refuse)
    bench.run(20 * HOUR_S)
    assert len(bench.steps(b, TakeSnapshot)) == 1
    assert bench.head(a).snapshot == first
    assert len(bench.steps(a, CheckSnapshot, began_s)) == 1
    assert ("relay-lost", a.id) in bench.reports(b)
    bench.run(10 * HOUR_S)
    assert bench.head(a).snapshot != first


@pytest.mark.parametrize("refused", [True, False])
def test_another_copy_tries_what_the_one_before_had_done_with(
    monkeypatch: pytest.MonkeyPatch,
    *,
    refused: bool,  # or taken
) -> None:
    bench, a = grown()
    a.online = False
    b = bench.join()
    if refused:
        monkeypatch.setattr(b, "_take_snapshot", lambda _step, moment, _now_s: b.courier.snapshot_taken(
            moment, complete=False, refused=True
        ))  # fmt: skip
    bench.run(HOUR_S)
    monkeypatch.undo()
    bench.run(5 * HOUR_S)
    tried = len(bench.steps(b, TakeSnapshot))
    assert tried == 1
    b.copy.clock, b.copy.names = {}, set()
    b.courier.copy_switched(b"another copy no 1", b.moment(bench.now_s), replaced=True)
    b.wake_s = bench.now_s
    bench.run(HOUR_S)
    assert len(bench.steps(b, TakeSnapshot)) == 2
    assert b.copy.clock == a.copy.clock
