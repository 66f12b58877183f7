"""Writing over several connections: everything once, in order for each key, and an end at the first failure."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from peerd.cli.parallel import Writers, connection_of
from peerd.control.client import Client, NotRunning, Problem, path
from peerd.errors import PeerdError


def send(client: Client, item: tuple[str, int]) -> None:
    client.send("PUT", path(item[0]), body=item[1])


def blame(error: PeerdError, item: tuple[str, int]) -> None:
    error.args = (f"item {item[1]}: {error}",)


def write_all(writers: Writers, items: list[tuple[str, int]], answered: list[tuple[Any, Any]]) -> None:
    with writers:
        for item in items:
            answered.extend((done, answer.body) for done, answer in writers.put(item[0], item))
        answered.extend((done, answer.body) for done, answer in writers.finish())


def test_everything_is_written_once_and_in_order_for_each_key(daemon: Any) -> None:
    """The items of one key arrive as they were put; all answers come back with their items."""
    items = [(f"k{number % 7}", number) for number in range(700)]
    for key in {item[0] for item in items}:
        daemon.on_call("PUT", f"/v1/{key}", lambda asked: asked.body * 2)
    answered: list[tuple[Any, Any]] = []
    write_all(Writers(daemon.socket, send, blame, count=4), items, answered)
    assert sorted(answered) == [(item, item[1] * 2) for item in sorted(items)]
    for key in {item[0] for item in items}:
        arrived = [asked.body for asked in daemon.asked if asked.path == f"/v1/{key}"]
        assert arrived == [number for name, number in items if name == key]
    assert daemon.connections <= 4


def test_several_writes_are_under_way_at_once(daemon: Any) -> None:
    """All four requests meet at a barrier, which none of them could pass alone."""
    barrier = threading.Barrier(4, timeout=10)
    keys = list({connection_of(key, 4): key for key in "abcdefghijkl"}.values())
    assert len(keys) == 4
    for key in keys:
        daemon.on_call("PUT", f"/v1/{key}", lambda _: barrier.wait() * 0)
    answered: list[tuple[Any, Any]] = []
    write_all(Writers(daemon.socket, send, blame, count=4), [(key, 1) for key in keys], answered)
    assert len(answered) == 4


def test_a_failure_stops_the_rest_and_is_raised(daemon: Any) -> None:
    """What was answered before is told first; items behind the failure are not sent."""
    refusal = {"code": "disk-full", "detail": "no room"}
    daemon.on("PUT", "/v1/k", {})
    daemon.on("PUT", "/v1/bad", refusal, status=507)
    answered: list[tuple[Any, Any]] = []
    items = [("k", 0), ("k", 1), ("bad", 2), *(("k", number) for number in range(3, 500))]
    with pytest.raises(Problem, match="item 2: no room"):
        write_all(Writers(daemon.socket, send, blame, count=1), items, answered)
    assert [done[1] for done, _ in answered] == [0, 1]
    assert [asked.body for asked in daemon.asked] == [0, 1, 2]


def test_what_was_under_way_beside_a_failure_is_counted(daemon: Any) -> None:
    """The answer of one connection comes only after the other one has been refused; it is not forgotten."""
    refused = threading.Event()
    keys = {connection_of(key, 2): key for key in "abcdef"}

    def refuse(_: Any) -> None:
        refused.set()  # no reply is known for this, which is a 404

    daemon.on_call("PUT", f"/v1/{keys[0]}", lambda _: {"late": refused.wait(10)})
    daemon.on_call("PUT", f"/v1/{keys[1]}", refuse)
    answered: list[tuple[Any, Any]] = []
    with pytest.raises(Problem, match="item 1"):
        write_all(Writers(daemon.socket, send, blame, count=2), [(keys[0], 0), (keys[1], 1)], answered)
    assert answered == [((keys[0], 0), {"late": True})]


def test_nobody_to_write_to_is_said_at_the_first_item() -> None:
    with pytest.raises(NotRunning), Writers("/nowhere/s", send, blame) as writers:
        list(writers.put("k", ("k", 1)))


def test_a_daemon_that_is_stuck_is_given_up(daemon: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peerd.cli.parallel.ANSWER_TIMEOUT_S", 0.05)
    daemon.on_call("PUT", "/v1/k", lambda _: {"never": daemon.released.wait()})
    with pytest.raises(PeerdError, match=r"within 0\.05 s"):
        write_all(Writers(daemon.socket, send, blame), [("k", 1)], [])
