"""Writing over several connections at once, in order for each key.

The daemon commits what arrives together as one group, so a client that waits for each answer before it sends
the next record gets a small part of what the disk can do. One thread is enough: each connection has at most
one request under way, and whichever is answered first is fed first.
"""

from __future__ import annotations

import selectors
import zlib
from collections import deque
from typing import TYPE_CHECKING, Any, Final, Self

from peerd.control.client import ANSWER_TIMEOUT_S, Answer, Client
from peerd.errors import PeerdError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CONNECTIONS: Final = 16
_WAITING: Final = 32


class _Lane:
    """One connection, the item whose answer it waits for, and those that wait behind it."""

    def __init__(self, socket_path: str) -> None:
        self.client = Client(socket_path)
        self.waiting: deque[Any] = deque()
        self.under_way: Any = None


class Writers:
    """A fixed number of connections.

    `send(client, item)` sends one item; None is no item. `blame(error, item)` is told which item was refused,
    before the error is raised from `put` or `finish`. By then everything under way has been answered and
    yielded, and what was still waiting has not been sent and never will be.
    """

    def __init__(
        self,
        socket_path: str,
        send: Callable[[Client, Any], None],
        blame: Callable[[PeerdError, Any], None],
        count: int = CONNECTIONS,
    ) -> None:
        self._lanes = [_Lane(socket_path) for _ in range(count)]
        self._send = send
        self._blame = blame
        self._selector = selectors.DefaultSelector()
        self._failure: PeerdError | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._selector.close()
        for lane in self._lanes:
            lane.client.close()

    def put(self, key: str, item: Any) -> Iterator[tuple[Any, Answer]]:
        """Hand over an item, waiting while too many wait already; yields what has been answered meanwhile."""
        lane = self._lanes[connection_of(key, len(self._lanes))]
        lane.waiting.append(item)
        self._feed(lane)
        while self._failure is None and len(lane.waiting) > _WAITING:
            yield from self._collect()
        if self._failure is not None:
            yield from self.finish()

    def finish(self) -> Iterator[tuple[Any, Answer]]:
        """Wait until everything has been answered, yielding it."""
        while self._selector.get_map():
            yield from self._collect()
        if self._failure is not None:
            raise self._failure

    def _collect(self) -> Iterator[tuple[Any, Answer]]:
        """Wait for at least one answer and take all that are there."""
        ready = self._selector.select(ANSWER_TIMEOUT_S)
        if not ready:
            raise PeerdError(
                f"peerd did not answer within {ANSWER_TIMEOUT_S:g} s", code="no-answer", next_step="look at its log"
            )
        for key, _ in ready:
            lane: _Lane = key.data
            self._selector.unregister(key.fd)
            item, lane.under_way = lane.under_way, None
            try:
                answer = lane.client.receive()
            except PeerdError as error:
                self._fail(error, item)
            else:
                yield item, answer
            self._feed(lane)

    def _feed(self, lane: _Lane) -> None:
        if lane.under_way is not None or not lane.waiting or self._failure is not None:
            return
        lane.under_way = lane.waiting.popleft()
        try:
            self._send(lane.client, lane.under_way)
        except PeerdError as error:
            self._fail(error, lane.under_way)
        else:
            self._selector.register(lane.client.fileno(), selectors.EVENT_READ, lane)

    def _fail(self, error: PeerdError, item: Any) -> None:
        if self._failure is None:
            self._blame(error, item)
            self._failure = error


def connection_of(key: str, count: int) -> int:
    """Which of `count` connections has this key: always the same one, so that its last write comes last."""
    return zlib.crc32(key.encode("utf-8", "surrogatepass")) % count
