"""When to look at a relay, and how long to stay away."""

from __future__ import annotations

from peerd.protocol.relay.courier_settings import DAY_S, CourierSettings
from peerd.protocol.relay.courier_steps import Moment
from peerd.protocol.relay.pacing import Patience, Polling


def at(now_s: float, chance: float = 0.5) -> Moment:
    return Moment(now_s, int(now_s * 1000), chance, bytes(32))


def test_pauses_between_looks_grow_until_something_happens() -> None:
    polling = Polling(CourierSettings(poll_min_s=20.0, poll_max_s=300.0))
    pauses = []
    now_s = 0.0
    for _ in range(10):
        polling.done(at(now_s))
        pauses.append(polling.next_s - now_s)
        now_s = polling.next_s
    assert pauses[0] == 20.0
    assert pauses == sorted(pauses)
    assert pauses[-1] == 300.0
    polling.done(at(now_s))
    polling.lively(at(now_s + 1))
    assert polling.next_s == now_s + 21


def test_hints_do_not_make_looks_follow_each_other_at_once() -> None:
    polling = Polling(CourierSettings())
    polling.done(at(100.0))
    polling.soon(at(100.1))
    assert polling.next_s == 102.0
    polling.now(at(100.5))
    assert polling.next_s == 100.5


def test_a_pause_after_a_failure_is_random_and_grows() -> None:
    patience = Patience()
    longest = []
    for _ in range(12):
        patience.until_s = 0.0
        patience.failed("relay-unreachable", at(0.0, 1.0), None, lasting=False)
        longest.append(patience.until_s)
    assert longest[:3] == [2.0, 4.0, 8.0]
    assert longest[-1] == 900.0
    patience.until_s = 0.0
    patience.failed("relay-unreachable", at(0.0, 0.25), None, lasting=False)
    assert patience.until_s == 225.0
    patience.succeeded()
    assert patience.over(at(0.0))
    assert patience.trouble == ""


def test_the_relay_says_how_long_within_reason() -> None:
    patience = Patience()
    patience.failed("relay-throttled", at(0.0, 0.0), 1e12, lasting=False)
    assert patience.until_s == DAY_S
    patience.insist()
    assert not patience.over(at(5.0))
    patience = Patience()
    patience.failed("relay-denied", at(0.0), None, lasting=True)
    assert patience.until_s == 900.0
    patience.insist()
    assert patience.over(at(0.0))
