"""Snapshots that could not be had: tried again while they may only be late, and complained of when they are not."""

from __future__ import annotations

from peerd.protocol.relay.objects import Head, Manifest
from peerd.protocol.relay.snapshot_trials import SnapshotTrials
from peerd.protocol.relay.stream_reader import COMPLAIN_S

DESK, LAPTOP = b"d" * 32, b"l" * 32
OURS, OTHER = b"1" * 16, b"2" * 16


def head(snapshot: bytes) -> Head:
    return Head(1, 0, b"s" * 16, 1, bytes(32), snapshot=Manifest(snapshot, 1, 1, bytes(32), {}, 0))


HEADS = {DESK: head(OURS), LAPTOP: head(OTHER)}


def test_what_is_not_there_is_tried_less_and_less_often() -> None:
    trials = SnapshotTrials([])
    assert trials.may_try(OURS, 0.0)
    now_s, pauses = 0.0, []
    for _ in range(9):
        trials.absent(OURS, now_s)
        next_s = trials.next_s(now_s)
        assert next_s is not None
        assert not trials.may_try(OURS, next_s - 1)
        assert trials.may_try(OURS, next_s)
        pauses.append(next_s - now_s)
        now_s = next_s
    assert pauses[:3] == [20, 40, 80]
    assert pauses[-1] == 1800
    assert trials.may_try(OTHER, 0.0)
    trials.absent(OURS, now_s)
    trials.retry_now()
    assert trials.may_try(OURS, now_s)
    assert trials.next_s(now_s) is None


def test_its_maker_hears_of_it_when_that_lasts() -> None:
    trials = SnapshotTrials([])
    trials.absent(OURS, 10.0)
    trials.absent(OURS, 100.0)
    assert trials.complaints(HEADS, 9.0 + COMPLAIN_S) == []
    assert trials.complaints(HEADS, 10.0 + COMPLAIN_S) == [(DESK, OURS, 0)]
    trials.came(OURS)
    assert trials.complaints(HEADS, 10.0 + COMPLAIN_S) == []


def test_what_was_refused_is_complained_of_at_once_and_not_tried_again() -> None:
    trials = SnapshotTrials([])
    trials.absent(OURS, 0.0)
    trials.refused(OURS)
    trials.retry_now()
    assert not trials.may_try(OURS, 1e9)
    assert trials.next_s(0.0) is None
    assert trials.complaints(HEADS, 0.0) == [(DESK, OURS, 0)]
    trials.forget()
    assert trials.may_try(OURS, 0.0), "another copy may take it"
    assert trials.complaints(HEADS, 1e9) == []


def test_what_no_head_names_any_more_is_forgotten() -> None:
    trials = SnapshotTrials([])
    trials.absent(OURS, 0.0)
    trials.refused(OTHER)
    assert trials.complaints({}, 0.0) == [], "none was looked at yet"
    assert not trials.may_try(OTHER, 0.0)
    trials.complaints({DESK: head(b"3" * 16)}, 0.0)
    assert trials.may_try(OURS, 0.0)
    assert trials.may_try(OTHER, 0.0)


def test_after_a_restart_each_is_complained_of_still_and_tried_once_more() -> None:
    trials = SnapshotTrials([(DESK, OURS, 0), (LAPTOP, OTHER, 7)])
    assert trials.complaints(HEADS, 0.0) == [(DESK, OURS, 0)]
    assert trials.may_try(OURS, 0.0)
    trials.absent(OURS, 0.0)
    assert trials.next_s(0.0) == 20.0
