"""Writing over several connections at once, in order for each key.

The daemon commits what arrives together as one group, so a client that waits for each answer before it sends
the next record gets a small part of what the disk can do.
"""

from __future__ import annotations

import queue
import threading
import zlib
from typing import TYPE_CHECKING, Any, Final, Self

from peerd.control.client import Client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CONNECTIONS: Final = 16
_WAITING_PER_CONNECTION: Final = 32


class Writers:
    """A fixed number of threads with a connection each.

    `write(client, item)` is called in the thread that belongs to the item's key. What it raises is raised
    from `put` or `finish`, after what had been answered; nothing that was still waiting is written.
    """

    def __init__(self, socket_path: str, write: Callable[[Client, Any], Any], count: int = CONNECTIONS) -> None:
        self._socket_path = socket_path
        self._write = write
        self._done: queue.SimpleQueue[tuple[Any, Any]] = queue.SimpleQueue()
        self._failure: BaseException | None = None
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._waiting: list[queue.Queue[Any]] = [queue.Queue(_WAITING_PER_CONNECTION) for _ in range(count)]
        self._threads = [threading.Thread(target=self._work, args=(own,), daemon=True) for own in self._waiting]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            self._stopped.set()
        self._end()

    def put(self, key: str, item: Any) -> Iterator[tuple[Any, Any]]:
        """Hand over an item, waiting for room; then yield what has been answered meanwhile."""
        own = self._waiting[connection_of(key, len(self._waiting))]
        while not self._stopped.is_set():
            try:
                own.put((item,), timeout=0.5)
                break
            except queue.Full:
                continue
        yield from self._answered()

    def finish(self) -> Iterator[tuple[Any, Any]]:
        """Wait until everything has been answered, yielding it."""
        self._end()
        yield from self._answered()

    def _answered(self) -> Iterator[tuple[Any, Any]]:
        if self._failure is not None:
            self._end()
        while not self._done.empty():
            yield self._done.get()
        if self._failure is not None:
            raise self._failure

    def _end(self) -> None:
        for own in self._waiting:
            own.put(None)
        for thread in self._threads:
            thread.join()
        self._waiting, self._threads = [], []

    def _work(self, own: queue.Queue[Any]) -> None:
        with Client(self._socket_path) as client:
            while (entry := own.get()) is not None:
                if self._stopped.is_set():
                    continue
                try:
                    self._done.put((entry[0], self._write(client, entry[0])))
                except BaseException as error:  # noqa: BLE001 - it is raised again in the caller's thread
                    with self._lock:
                        self._failure = self._failure or error
                    self._stopped.set()


def connection_of(key: str, count: int) -> int:
    """Which of `count` connections has this key: always the same one, so that its last write comes last."""
    return zlib.crc32(key.encode("utf-8", "surrogatepass")) % count
