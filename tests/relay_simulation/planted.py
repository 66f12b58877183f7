"""Mistakes that a courier, or whoever performs its steps, might make. The histories must notice each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from peerd.core.clocks import ReadClock
from peerd.protocol.relay.collecting import Collecting
from peerd.protocol.relay.courier import Courier
from peerd.protocol.relay.own_head import OwnHead
from peerd.protocol.relay.stream_reader import StreamReader
from peerd.protocol.relay.view import Picture

Planted = Callable[[], Any]


@contextmanager
def existing_counts_as_ours() -> Iterator[None]:
    """A segment that is there with other bytes is taken for ours."""

    def differs(self: Courier, moment: Any) -> None:
        self.segment_put(b"whatever", moment)

    with patch.object(Courier, "segment_differs", differs):
        yield


@contextmanager
def collected_before_acknowledged() -> Iterator[None]:
    """Segments go as soon as a snapshot covers them."""
    real = Collecting._collectable

    def collectable(self: Collecting, picture: Picture, snapshot: ReadClock, _: Sequence[ReadClock]) -> int:
        return real(self, picture, snapshot, [])

    with patch.object(Collecting, "_collectable", collectable):
        yield


@contextmanager
def skipped_when_not_found() -> Iterator[None]:
    """A segment that is not there yet is taken for one that never comes."""

    def miss(self: StreamReader, number: int, *_: Any) -> None:
        self._keep(number, {})

    with patch.object(StreamReader, "_miss", miss):
        yield


@contextmanager
def done_when_fetched() -> Iterator[None]:
    """A segment counts as read before our copy has what is in it."""
    real = StreamReader._keep

    def keep(self: StreamReader, number: int, _: Any) -> None:
        real(self, number, {})

    with patch.object(StreamReader, "_keep", keep):
        yield


@contextmanager
def former_life_overwritten() -> Iterator[None]:
    """A head of an earlier life of ours is written over without being read."""
    real = OwnHead.seen

    def seen(self: OwnHead, *arguments: Any) -> str:
        code = real(self, *arguments)
        self.former = None
        return code

    with patch.object(OwnHead, "seen", seen):
        yield


PLANTED: dict[str, Planted] = {
    mistake.__name__: mistake
    for mistake in (
        existing_counts_as_ours,
        collected_before_acknowledged,
        skipped_when_not_found,
        done_when_fetched,
        former_life_overwritten,
    )
}
