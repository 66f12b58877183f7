"""One owner per database: a lock on a file beside it.

Never on the database itself: closing any descriptor of that file would drop the locks SQLite holds on it.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from peerd.errors import StoreBusy
from peerd.store.failures import translate


class Lock:
    """Held from `take` to `release`, or until the process ends, however it ends."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def take(cls, path: Path) -> Lock:
        """Lock the file at `path`, which is made if it is missing and stays when the lock is gone.

        Raises:
            StoreBusy: another process, or another part of this one, has it.
            StoreError: the file cannot be made or opened.
        """
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as problem:
            raise translate(problem, path) from problem
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(descriptor)
            raise StoreBusy(
                f"Another peerd (process {holder}) has {path} locked.",
                next_step="Stop the other daemon, or give this one a state directory of its own.",
            ) from None
        except OSError as problem:
            os.close(descriptor)
            raise translate(problem, path) from problem
        lock = cls(descriptor)
        lock._write_holder()
        return lock

    def _write_holder(self) -> None:
        """The process id is for people only; a disk too full for it does not matter."""
        try:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)
        except OSError:
            return

    def release(self) -> None:
        """Let go. Idempotent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
