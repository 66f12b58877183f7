"""Some file descriptors that are kept back, so that a person can still ask when the daemon has no others left.

The kernel gives a connection a descriptor before it looks whether anybody waits, so where none is left `accept` fails
whoever asks. Then one that was kept back is closed and `accept` is tried again; when that connection ends, its
descriptor is kept back before anybody else takes it.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import Any, Final

COUNT: Final = 4  # as many connections at one time
_NONE_LEFT: Final = frozenset({errno.EMFILE, errno.ENFILE})


class Spares:
    """Descriptors of nothing, `count` of them as far as there are any."""

    def __init__(self, count: int = COUNT) -> None:
        self._count = count
        self._held: list[int] = []
        self.fill()

    def __len__(self) -> int:
        return len(self._held)

    def fill(self) -> None:
        """Keep back again what was given, as far as descriptors are free."""
        while len(self._held) < self._count:
            try:
                self._held.append(os.open("/", os.O_PATH | os.O_CLOEXEC))
            except OSError:
                return

    def give(self) -> bool:
        """Make one descriptor free. False: none is kept back."""
        if not self._held:
            return False
        os.close(self._held.pop())
        return True

    def drop(self) -> None:
        """Keep none any more."""
        self._count = 0
        while self.give():
            pass


class Listener(socket.socket):
    """A listening socket with spare descriptors, which are dropped when it is closed."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._spares = Spares()

    def accept(self) -> tuple[socket.socket, Any]:
        """As `socket.accept`, also when no descriptor is left."""
        try:
            self._spares.fill()
            return super().accept()
        except OSError as problem:
            if problem.errno not in _NONE_LEFT or not self._spares.give():
                raise
        try:
            descriptor, address = self._accept()  # type: ignore[attr-defined]  # what `socket.accept` is made of
        except OSError:
            self._spares.fill()  # nobody waited
            raise
        return _Guest(self._spares, descriptor), address

    def close(self) -> None:
        self._spares.drop()
        super().close()


class _Guest(socket.socket):
    """A connection over a spare descriptor."""

    def __init__(self, spares: Spares, descriptor: int) -> None:
        super().__init__(fileno=descriptor)
        self.setblocking(False)
        self._spares = spares

    def close(self) -> None:
        super().close()
        self._spares.fill()
