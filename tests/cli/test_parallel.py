"""Writing over several connections: everything once, in order for each key, and an end at the first failure."""

from __future__ import annotations

import threading

import pytest

from peerd.cli.parallel import Writers, connection_of
from peerd.control.client import Client
from peerd.errors import PeerdError


def test_everything_is_written_once_and_in_order_for_each_key() -> None:
    """The items of one key arrive as they were put; all answers come back with their items."""
    seen: dict[str, list[int]] = {}
    lock = threading.Lock()

    def write(_: Client, item: tuple[str, int]) -> int:
        with lock:
            seen.setdefault(item[0], []).append(item[1])
        return item[1] * 2

    items = [(f"k{number % 7}", number) for number in range(700)]
    with Writers("unused", write, count=4) as writers:
        answers = [pair for item in items for pair in writers.put(item[0], item)]
        answers += writers.finish()
    assert sorted(answers) == sorted((item, item[1] * 2) for item in items)
    assert all(numbers == sorted(numbers) and len(numbers) == 100 for numbers in seen.values())


def test_several_writes_are_under_way_at_once() -> None:
    """All four threads meet at a barrier, which none of them could pass alone."""
    barrier = threading.Barrier(4, timeout=10)

    def write(_: Client, item: int) -> int:
        barrier.wait()
        return item

    with Writers("unused", write, count=4) as writers:
        keys = {connection_of(key, 4): key for key in "abcdefghijkl"}
        assert len(keys) == 4
        for key in keys.values():
            list(writers.put(key, 1))
        assert len(list(writers.finish())) == 4


def test_a_failure_stops_the_rest_and_is_raised() -> None:
    """What was answered before is told first; items behind the failure are not written."""
    written = []

    def write(_: Client, item: int) -> int:
        if item == 3:
            raise PeerdError("no room")
        written.append(item)
        return item

    answered: list[int] = []

    def put_all() -> None:
        with Writers("unused", write, count=1) as writers:
            for item in range(1000):
                answered.extend(done for done, _ in writers.put("k", item))
            answered.extend(done for done, _ in writers.finish())

    with pytest.raises(PeerdError, match="no room"):
        put_all()
    assert written == [0, 1, 2]
    assert answered == [0, 1, 2]


def test_leaving_early_ends_the_threads() -> None:
    """An interrupted import waits for what is under way and for nothing else; the guard counts threads."""

    def interrupted() -> None:
        with Writers("unused", lambda _client, item: item) as writers:
            list(writers.put("k", 1))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
